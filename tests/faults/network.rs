//! A network of pipes, or of loopback's sockets: it leads calls to the emulated vendors by host name, counts the sockets
//! and the bytes on both of their sides, and has faults of its own, below any protocol.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, duplex};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trunkline::driver::{ByteStream, Connect, Tcp};
use trunkline::http::{Exchange, Unreachable};

use crate::vendors::Vendor;

/// Bytes that fit into a pipe, each way: less than the shortest buffer that a real socket has.
const PIPE_BYTES: usize = 4 * 1024;
/// How long what a call leaves behind may take to go; the slowest handshake of an emulated vendor is longer than the rest.
const LEAVE_MAX: Duration = Duration::from_secs(20);

/// How long the tasks of a call's own connections may take to notice that it is over.
const NOTICE: Duration = Duration::from_millis(20);

/// What goes wrong with the network itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Nothing.
    Good,
    /// Nobody listens.
    Refused,
    /// Nobody answers.
    Hangs,
}

/// What connections are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Made {
    /// Memory: the only ones that fit a paused clock.
    #[default]
    Pipes,
    /// TCP on this machine.
    Tcp,
}

impl Made {
    /// Both ends of a connection.
    async fn ends(self) -> io::Result<(Box<dyn ByteStream>, Box<dyn ByteStream>)> {
        match self {
            Made::Pipes => {
                let (ours, theirs) = duplex(PIPE_BYTES);
                Ok((Box::new(ours), Box::new(theirs)))
            }
            Made::Tcp => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                let ours = Tcp.connect("127.0.0.1", listener.local_addr()?.port()).await?;
                let (theirs, _) = listener.accept().await?;
                theirs.set_nodelay(true)?;
                Ok((ours, Box::new(theirs)))
            }
        }
    }
}

/// How often something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    Once,
    Always,
}

/// What has been counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections asked for.
    pub(crate) dialled: AtomicU64,
    /// Ends of them that are alive, on the side of calls and on that of vendors.
    open: [AtomicI64; 2],
    /// Bytes that vendors have written.
    pub(crate) written: AtomicU64,
    /// Bytes of these that calls have read.
    pub(crate) read: AtomicU64,
    /// Most bytes that waited to be read, of all connections together.
    pub(crate) unread_max: AtomicU64,
}

impl Counts {
    fn open_on(&self, side: Side) -> i64 {
        self.open[side as usize].load(Ordering::Relaxed)
    }
}

struct Place {
    vendor: Arc<dyn Vendor>,
    wire: Wire,
    times: Times,
    /// The wire's fault has happened.
    happened: bool,
}

/// The way from calls to vendors.
#[derive(Default)]
pub(crate) struct Network {
    made: Made,
    places: Mutex<BTreeMap<String, Place>>,
    served: Mutex<JoinSet<()>>,
    stop: CancellationToken,
    pub(crate) counts: Arc<Counts>,
}

impl Network {
    pub(crate) fn of(made: Made) -> Arc<Self> {
        Arc::new(Network { made, ..Network::default() })
    }

    /// Puts a vendor where `host` leads.
    pub(crate) fn place(&self, host: &str, vendor: Arc<dyn Vendor>, wire: Wire, times: Times) {
        self.places.lock().unwrap().insert(host.to_owned(), Place { vendor, wire, times, happened: false });
    }

    /// Checks that the calls have left nothing open, and waits until every vendor has noticed that its clients are gone.
    /// One that does not read any more never does, and is told in the end.
    pub(crate) async fn left(&self) {
        // A connection that requests were sent over notices in its own task that nobody wants it any more.
        sleep(NOTICE).await;
        assert_eq!(self.counts.open_on(Side::Call), 0, "a call has left its end of a socket");
        let mut served = std::mem::take(&mut *self.served.lock().unwrap());
        let mut all = std::pin::pin!(async {
            while let Some(ended) = served.join_next().await {
                ended.unwrap();
            }
        });
        if timeout(LEAVE_MAX, &mut all).await.is_err() {
            self.stop.cancel();
            timeout(LEAVE_MAX, all).await.expect("a vendor does not stop");
        }
        assert_eq!(self.counts.open_on(Side::Vendor), 0, "a vendor has left its end of a socket");
    }

    /// What the wire to a host does this time.
    fn wire_to(&self, host: &str) -> io::Result<(Arc<dyn Vendor>, Wire)> {
        let mut places = self.places.lock().unwrap();
        let place = places.get_mut(host).ok_or(io::ErrorKind::HostUnreachable)?;
        let is_over = place.happened && place.times == Times::Once;
        place.happened = true;
        Ok((place.vendor.clone(), if is_over { Wire::Good } else { place.wire }))
    }
}

impl Network {
    /// Connects to a host.
    async fn open(&self, host: &str) -> io::Result<Box<dyn ByteStream>> {
        self.counts.dialled.fetch_add(1, Ordering::Relaxed);
        let (vendor, wire) = self.wire_to(host)?;
        match wire {
            Wire::Good => {}
            Wire::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
            Wire::Hangs => return std::future::pending().await,
        }
        let (ours, theirs) = self.made.ends().await?;
        let theirs = End::new(theirs, Side::Vendor, &self.counts);
        self.served.lock().unwrap().spawn(vendor.serve(Box::new(theirs), self.stop.clone()));
        Ok(Box::new(End::new(ours, Side::Call, &self.counts)))
    }
}

impl Connect for Network {
    fn connect<'a>(&'a self, host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Box<dyn ByteStream>>> {
        self.open(host).boxed()
    }
}

/// A network as a carrier of requests: each goes over a connection of its own.
#[derive(Clone)]
pub(crate) struct Requests(pub(crate) Arc<Network>);

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requests")
    }
}

impl Exchange for Requests {
    fn exchange(&self, request: reqwest::Request) -> BoxFuture<'static, Result<reqwest::Response, Unreachable>> {
        let network = self.0.clone();
        async move {
            let stream = network.open(request.url().host_str().unwrap()).await.map_err(|_| Unreachable)?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| Unreachable)?;
            network.served.lock().unwrap().spawn(connection.map(drop));
            let request = hyper::Request::<reqwest::Body>::try_from(request).map_err(|_| Unreachable)?;
            let response = sender.send_request(request).await.map_err(|_| Unreachable)?;
            Ok(response.map(reqwest::Body::wrap).into())
        }
        .boxed()
    }
}

/// Whose end of a connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Call,
    Vendor,
}

/// One end of a connection, counted while it lives.
struct End {
    stream: Box<dyn ByteStream>,
    side: Side,
    counts: Arc<Counts>,
}

impl End {
    fn new(stream: Box<dyn ByteStream>, side: Side, counts: &Arc<Counts>) -> Self {
        counts.open[side as usize].fetch_add(1, Ordering::Relaxed);
        End { stream, side, counts: counts.clone() }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.counts.open[self.side as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = (buffer.filled().len() - before) as u64;
        if self.side == Side::Call {
            self.counts.read.fetch_add(read, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let (Poll::Ready(Ok(count)), Side::Vendor) = (&polled, self.side) {
            let counts = &self.counts;
            let written = counts.written.fetch_add(*count as u64, Ordering::Relaxed) + *count as u64;
            let unread = written.saturating_sub(counts.read.load(Ordering::Relaxed));
            counts.unread_max.fetch_max(unread, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
