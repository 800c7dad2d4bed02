//! One socket: handshake, dispatch to contexts, writing, and the ways in which a connection ends.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::CancellationToken;

use super::dispatch::Dispatcher;
use super::fault::FaultKind;
use super::handshake::{self, Refused};
use super::request::Refusal;
use super::{Shared, reply};

/// Longest message taken from a client.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Read and write buffer of one socket: requests are small, chunks a few KiB.
const BUFFER_BYTES: usize = 8 * 1024;

/// Longest handshake, a delay that was asked for not counted.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Longest wait for a client to answer a close frame.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Messages waiting to be written; when full, contexts wait: a client that does not read gets no audio.
const OUTBOX: usize = 64;

/// What is written to the socket.
#[derive(Debug)]
pub(super) enum Outgoing {
    Text(String),
    Binary(Vec<u8>),
    Error(Refusal),
    /// A `chunk` message, which connection faults and the journal count.
    Chunk {
        text: String,
        context: Arc<str>,
        samples: u64,
    },
}

/// Whether one more socket fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    Full,
}

/// A byte stream that can be cut off without a word.
pub(super) trait Link: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Makes the coming close a reset.
    fn sever(&mut self);
}

impl Link for TcpStream {
    fn sever(&mut self) {
        // If it fails the connection still ends without a close frame.
        self.set_zero_linger().ok();
    }
}

impl Link for TlsStream<TcpStream> {
    fn sever(&mut self) {
        self.get_mut().0.sever();
    }
}

/// Any other byte stream: dropped without a close frame, it is as good as cut off.
#[derive(Debug)]
pub(super) struct Piped<S>(pub(super) S);

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Link for Piped<S> {
    fn sever(&mut self) {}
}

impl<S: AsyncRead + Unpin> AsyncRead for Piped<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Piped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// How a connection ends.
#[derive(Debug)]
enum Ending {
    /// The client went, or the socket broke.
    Gone,
    Close(CloseCode, &'static str),
    Abort,
}

type Sink<S> = SplitSink<WebSocketStream<S>, Message>;
type Source<S> = SplitStream<WebSocketStream<S>>;

/// Serves one connection to its end. Every task of it has ended when this returns.
pub(super) async fn serve<S: Link>(stream: S, shared: Arc<Shared>, room: Room, cancel: CancellationToken) {
    let number = shared.connections_begun.fetch_add(1, Ordering::Relaxed);
    shared.journal.count(|counts| counts.connections += 1);
    let opened = tokio::select! {
        opened = open(stream, &shared, room) => opened,
        () = cancel.cancelled() => None,
    };
    let Some((socket, version)) = opened else { return };
    shared.journal.count(|counts| counts.handshakes += 1);
    hold(socket, number, version, &shared, cancel).await;
    shared.journal.count(|counts| counts.closed += 1);
}

/// Speaks over an open socket until it ends, then ends it properly, or as improperly as a fault wants.
async fn hold<S: Link>(
    socket: WebSocketStream<S>,
    number: u64,
    version: Arc<str>,
    shared: &Arc<Shared>,
    cancel: CancellationToken,
) {
    let (mut sink, mut source) = socket.split();
    let (outbox, mut queue) = mpsc::channel(OUTBOX);
    let activity = Mutex::new(Instant::now());
    let line = Line { number, version, shared: Arc::clone(shared), activity: &activity };
    let ending = tokio::select! {
        ending = line.write(&mut sink, &mut queue) => ending,
        ending = line.read(&mut source, outbox) => ending,
        ending = line.idle() => ending,
        () = cancel.cancelled() => Ending::Close(CloseCode::Away, "the server stops"),
    };
    shared.journal.lost(number);
    match ending {
        Ending::Gone => {}
        Ending::Close(code, reason) => {
            let goodbye = async {
                sink.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
                while let Some(Ok(_)) = source.next().await {}
                Ok::<(), WsError>(())
            };
            // Whether the client says goodbye as well is its own affair.
            timeout(CLOSE_LIMIT, goodbye).await.ok();
        }
        Ending::Abort => {
            if let Ok(mut socket) = sink.reunite(source) {
                socket.get_mut().sever();
            }
        }
    }
}

/// The handshake: the socket and the API version that the client asked for, or `None` if it was refused or failed.
async fn open<S: Link>(stream: S, shared: &Shared, room: Room) -> Option<(WebSocketStream<S>, Arc<str>)> {
    let faults = &shared.faults;
    if let Some(delay_ms) = faults.take(FaultKind::HandshakeSlow) {
        sleep(Duration::from_millis(delay_ms.into())).await;
    }
    let refused = if room == Room::Full {
        Some(Refused::new(StatusCode::TOO_MANY_REQUESTS, "too many connections"))
    } else if faults.take(FaultKind::Handshake429).is_some() {
        Some(Refused::new(StatusCode::TOO_MANY_REQUESTS, "too many connections (a fault that was switched on)"))
    } else if faults.take(FaultKind::Handshake401).is_some() {
        Some(Refused::new(StatusCode::UNAUTHORIZED, "the API key is not valid (a fault that was switched on)"))
    } else {
        None
    };
    let api_key = shared.settings.api_key.as_ref().map(|key| key.0.as_str());
    let mut checked = Err(Refused::new(StatusCode::BAD_REQUEST, "no request"));
    #[expect(clippy::result_large_err, reason = "the shape is the library's")]
    let callback = |upgrade: &Upgrade, response: Response| {
        checked = refused.map_or_else(|| handshake::check(upgrade, api_key), Err);
        checked.as_ref().map(|_| response).map_err(|refused| refused.response())
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES);
    let accepted = tokio_tungstenite::accept_hdr_async_with_config(stream, callback, Some(config));
    let socket = timeout(HANDSHAKE_LIMIT, accepted).await.ok().and_then(Result::ok);
    match (socket, checked) {
        (Some(socket), Ok(version)) => Some((socket, version.into())),
        (_, Err(refused)) => {
            shared.journal.count(|counts| match refused.status {
                StatusCode::UNAUTHORIZED => counts.refused_401 += 1,
                StatusCode::TOO_MANY_REQUESTS => counts.refused_429 += 1,
                _ => counts.refused_other += 1,
            });
            None
        }
        (None, Ok(_)) => None,
    }
}

/// An open connection, seen from both of its halves.
struct Line<'a> {
    number: u64,
    version: Arc<str>,
    shared: Arc<Shared>,
    /// When the last message came or went; pings do not count.
    activity: &'a Mutex<Instant>,
}

impl Line<'_> {
    fn touch(&self) {
        *self.activity.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Ends when nothing has moved for too long.
    async fn idle(&self) -> Ending {
        loop {
            let fault = self.shared.faults.amount(FaultKind::IdleClose);
            let limit = fault.map_or(self.shared.settings.idle, |ms| Duration::from_millis(ms.into()));
            let due = *self.activity.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if due <= Instant::now() {
                self.shared.faults.take(FaultKind::IdleClose);
                return Ending::Close(CloseCode::Normal, "connection idle timeout");
            }
            sleep_until(due).await;
        }
    }

    /// Writes what the contexts say, until the socket breaks or a fault cuts in.
    async fn write<S: Link>(&self, sink: &mut Sink<S>, queue: &mut mpsc::Receiver<Outgoing>) -> Ending {
        let (mut chunks, mut errors) = (0_u32, 0_u32);
        while let Some(outgoing) = queue.recv().await {
            let (message, sent) = match outgoing {
                Outgoing::Text(text) => (Message::text(text), None),
                Outgoing::Binary(bytes) => (Message::binary(bytes), None),
                Outgoing::Chunk { text, context, samples } => (Message::text(text), Some((context, samples))),
                Outgoing::Error(refusal) => {
                    errors += 1;
                    self.shared.journal.count(|counts| counts.errors += 1);
                    let context = refusal.context.as_deref().unwrap_or("-");
                    let request_id = format!("{}:{context}:{errors}", self.number);
                    (Message::text(reply::error(&self.version, &refusal, &request_id)), None)
                }
            };
            if sink.send(message).await.is_err() {
                return Ending::Gone;
            }
            self.touch();
            let Some((context, samples)) = sent else { continue };
            self.shared.journal.sent(self.number, &context, samples);
            chunks += 1;
            if self.shared.faults.take_at(FaultKind::Abort, chunks) {
                return Ending::Abort;
            }
            if self.shared.faults.take_at(FaultKind::Close1011, chunks) {
                return Ending::Close(CloseCode::Error, "internal error");
            }
        }
        Ending::Gone
    }

    /// Reads what the client says and hands it to the contexts.
    async fn read<S: Link>(&self, source: &mut Source<S>, outbox: mpsc::Sender<Outgoing>) -> Ending {
        let mut dispatcher =
            Dispatcher::new(self.number, Arc::clone(&self.version), Arc::clone(&self.shared), outbox.clone());
        loop {
            let message = tokio::select! {
                () = dispatcher.reap() => continue,
                message = source.next() => message,
            };
            let refused = match message {
                None | Some(Err(_)) => return Ending::Gone,
                Some(Ok(Message::Text(text))) => {
                    self.touch();
                    self.shared.journal.count(|counts| counts.messages += 1);
                    dispatcher.take(text.as_str()).await
                }
                Some(Ok(Message::Binary(_))) => {
                    self.touch();
                    Err(Refusal::invalid(None, "binary frames are not part of the protocol"))
                }
                // A close frame is answered by the library when it is asked for the next message.
                Some(Ok(Message::Close(_))) => {
                    self.shared.journal.count(|counts| counts.goodbyes += 1);
                    Ok(())
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            };
            if let Err(refusal) = refused
                && outbox.send(Outgoing::Error(refusal)).await.is_err()
            {
                return Ending::Gone;
            }
        }
    }
}
