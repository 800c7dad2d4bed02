//! The door: every connection that comes, from the first packet to the last answer.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::guard::Peer;
use super::node::Node;
use super::sources::Held;
use super::tls::Tls;
use super::{Routes, router};
use crate::driver::meter::Limit;

/// Longest head of a request in bytes, and how far a streamed body is read ahead. Least that `hyper` takes is 8192.
const READ_BYTES_MAX: usize = 16 * 1024;
/// Connections beside those of calls: requests, event streams, text streams. Further ones wait to be accepted.
const CONNECTIONS_SPARE: usize = 1_024;
/// Wait after the system refused a connection, out of descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests that are no calls may take to end once there is no call any more.
const REQUESTS_LIMIT: Duration = Duration::from_secs(5);

/// How long written bytes may wait for a peer to take them, in milliseconds.
#[cfg(target_os = "linux")]
const UNREAD_LIMIT_MS: u32 = 30_000;
/// From the first packet to the end of the TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// The first byte of a TLS connection: a record of a handshake (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// What somebody hears who speaks plain HTTP to a port of TLS.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 41\r\n\
    Connection: close\r\n\r\nthis port speaks TLS: use https and wss.\n";

/// Every connection that is not a media stream. A free task would outlive the server.
pub(super) struct Door {
    routes: Routes,
    router: Router,
    node: Node,
    tls: Option<Tls>,
    connections: JoinSet<()>,
    connections_max: usize,
    /// Cancelled when connections have to end after the request that they are at.
    closing: CancellationToken,
}

impl Door {
    pub(super) fn new(node: &Node, routes: Routes) -> Self {
        Door {
            routes,
            router: router(node.clone(), routes),
            node: node.clone(),
            tls: None,
            connections: JoinSet::new(),
            connections_max: node.settings().calls_max.saturating_add(CONNECTIONS_SPARE),
            closing: CancellationToken::new(),
        }
    }

    /// The same door, speaking TLS, or plain HTTP if there is none.
    pub(super) fn speaking(self, tls: Option<Tls>) -> Self {
        Door { tls, ..self }
    }

    /// Accepts connections for as long as it is polled. Cancel-safe.
    pub(super) async fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let has_room = self.connections.len() < self.connections_max;
            let accepted = tokio::select! {
                Some(_) = self.connections.join_next() => continue,
                accepted = listener.accept(), if has_room => accepted,
            };
            match accepted {
                Ok((stream, from)) => match self.admit(from.ip()) {
                    Ok(held) => self.enter(stream, from.ip(), held),
                    // It is closed without a word: an answer would cost more than the question did.
                    Err(limit) => self.node.refused_by(limit),
                },
                // Not a listener (any more).
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The control port is for one's own people, who may have a connection for each call.
    fn admit(&self, from: IpAddr) -> Result<Held, Limit> {
        match self.routes {
            Routes::Control => Ok(Held::default()),
            Routes::All | Routes::Carrier => self.node.sources().connected(from),
        }
    }

    fn enter(&mut self, stream: TcpStream, from: IpAddr, held: Held) {
        let service = Service { peer: Peer(from), router: TowerToHyperService::new(self.router.clone()) };
        let (node, closing) = (self.node.clone(), self.closing.clone());
        // A frame every 20 ms must not wait for the next one. A socket that cannot is served all the same.
        let _ = stream.set_nodelay(true);
        give_up_unread(&stream);
        let acceptor = self.tls.as_ref().map(Tls::acceptor);
        self.connections.spawn(async move {
            match acceptor {
                None => connection(stream, service, &node, closing).await,
                Some(acceptor) => encrypted(stream, acceptor, service, &node, closing).await,
            }
            drop(held);
        });
    }

    /// Connections end after the request that they are at.
    pub(super) fn begin_to_close(&self) {
        self.closing.cancel();
    }

    /// Event streams and waiting requests end with their calls; what is left then is cut off.
    pub(super) async fn close(mut self) {
        let ended = async { while self.connections.join_next().await.is_some() {} };
        let _ = timeout(REQUESTS_LIMIT, ended).await;
        self.connections.shutdown().await;
    }
}

/// What a peer does not take for so long ends its connection. `hyper` has no limit for a client that asks and never reads: its
/// answers would hold the connection for ever. (RFC 5482; where the system has no such option, such a client is not cut off.)
fn give_up_unread(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, UNREAD_LIMIT_MS);
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

/// The routes, told whose connection a request came over.
struct Service {
    peer: Peer,
    router: TowerToHyperService<Router>,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.router.call(request)
    }
}

/// A connection that has to begin with a handshake.
async fn encrypted(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    service: Service,
    node: &Node,
    closing: CancellationToken,
) {
    let from = service.peer.0;
    let Ok(handshake) = timeout(HANDSHAKE_LIMIT, Box::pin(handshake(stream, &acceptor))).await else {
        node.meter().refused("handshake");
        return node.refused_by(Limit::Handshake);
    };
    match handshake {
        Ok(Some(stream)) => connection(stream, service, node, closing).await,
        // A load balancer that looks whether somebody is there says nothing and leaves.
        Ok(None) => {}
        Err(error) => {
            node.meter().refused("handshake");
            node.tell("handshake", |more| tracing::warn!(%from, %error, more, "no TLS handshake came about"));
        }
    }
}

/// TLS over a connection; `None` if it ended without a word.
async fn handshake(mut stream: TcpStream, acceptor: &TlsAcceptor) -> io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if first != [HANDSHAKE_RECORD] {
        // Whoever wrote to the wrong port is told so, as far as that goes.
        let _ = stream.write_all(NOT_TLS).await;
        let _ = stream.shutdown().await;
        return Err(io::Error::other("it is no TLS"));
    }
    acceptor.accept(stream).await.map(Some)
}

async fn connection<S>(stream: S, service: Service, node: &Node, closing: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(node.settings().head)
        .max_buf_size(READ_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // What else goes wrong on a connection is its client's affair: there is nobody to answer any more.
    if ended.is_err_and(|error| error.is_timeout()) {
        node.refused_by(Limit::Head);
    }
}
