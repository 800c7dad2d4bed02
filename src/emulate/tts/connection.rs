//! One socket: handshake, dispatch to contexts, writing, and the ways in which a connection ends.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::CancellationToken;

use super::fault::FaultKind;
use super::handshake::Refused;
use super::roster::Line;
use super::vendors::{self, Desk, Opening, Told};
use super::wording::Frame;
use super::{Shared, SocketPlace};

/// Longest message taken from a client.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Read and write buffer of one socket: requests are small, chunks a few KiB.
const BUFFER_BYTES: usize = 8 * 1024;

/// Longest handshake, a delay that was asked for not counted.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Longest wait for a client to answer a close frame.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// How long a server that no longer reads goes on: it would never learn that the client is gone.
const UNREAD_LIMIT: Duration = Duration::from_secs(12);

/// Batches of messages waiting to be written; when full, contexts wait: a client that does not read gets no audio.
const OUTBOX: usize = 32;

/// What is written to the socket.
#[derive(Debug)]
pub(in crate::emulate) enum Outgoing {
    Frame(Frame),
    /// An error, which the journal counts.
    Error(Frame),
    /// A piece of audio, which connection faults and the journal count.
    Chunk {
        frame: Frame,
        /// The context's number in the journal.
        context: u32,
        samples: u64,
    },
}

/// Frames that nothing is counted for.
pub(in crate::emulate) fn outgoing(frames: Vec<Frame>) -> Vec<Outgoing> {
    frames.into_iter().map(Outgoing::Frame).collect()
}

/// Frames of which the first has `samples` of audio in it.
pub(super) fn sounding(frames: Vec<Frame>, context: u32, samples: u64) -> impl Iterator<Item = Outgoing> {
    let mut frames = frames.into_iter();
    let audio = frames.next().map(|frame| Outgoing::Chunk { frame, context, samples });
    audio.into_iter().chain(frames.map(Outgoing::Frame))
}

/// Frames of which the first is an error.
pub(in crate::emulate) fn failed(frames: Vec<Frame>) -> Vec<Outgoing> {
    let mut frames = frames.into_iter();
    let error = frames.next().map(Outgoing::Error);
    error.into_iter().chain(frames.map(Outgoing::Frame)).collect()
}

/// A byte stream that carries a connection.
pub(super) trait Link: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Link for S {}

/// How a connection ends.
#[derive(Debug)]
enum Ending {
    /// The client went, or the socket broke.
    Gone,
    /// With a close frame; 1005 stands for one without a code.
    Close(u16, &'static str),
    Abort,
}

type Sink<S> = SplitSink<WebSocketStream<S>, Message>;
type Source<S> = SplitStream<WebSocketStream<S>>;

/// Serves one connection to its end. Every task of it has ended when this returns. `sever` makes the coming close of the
/// stream a reset, where it can.
pub(super) async fn serve<S: Link>(stream: S, sever: fn(&mut S), shared: Arc<Shared>, cancel: CancellationToken) {
    let number = shared.connections_begun.fetch_add(1, Ordering::Relaxed);
    shared.journal.count(|counts| counts.connections += 1);
    let opened = tokio::select! {
        opened = open(stream, &shared) => opened,
        () = cancel.cancelled() => None,
    };
    let Some((socket, opening, place)) = opened else { return };
    shared.journal.count(|counts| counts.handshakes += 1);
    Box::pin(hold(socket, sever, number, opening, &shared, cancel)).await;
    drop(place);
    shared.journal.count(|counts| counts.closed += 1);
}

/// Speaks over an open socket until it ends, then ends it properly, or as improperly as a fault wants.
async fn hold<S: Link>(
    socket: WebSocketStream<S>,
    sever: fn(&mut S),
    number: u64,
    opening: Opening,
    shared: &Arc<Shared>,
    cancel: CancellationToken,
) {
    let (mut sink, mut source) = socket.split();
    let (outbox, mut queue) = mpsc::channel(OUTBOX);
    let activity = Mutex::new(Instant::now());
    let hand = Hand { number, shared: Arc::clone(shared), activity: &activity };
    let ending = tokio::select! {
        ending = hand.write(&mut sink, &mut queue) => ending,
        ending = hand.read(&mut source, opening, outbox) => ending,
        ending = hand.idle() => ending,
        () = cancel.cancelled() => Ending::Close(CloseCode::Away.into(), "the server stops"),
    };
    shared.journal.lost(number);
    match ending {
        Ending::Gone => {}
        Ending::Close(code, reason) => {
            let frame = (code != 1_005).then(|| CloseFrame { code: code.into(), reason: reason.into() });
            let goodbye = async {
                sink.send(Message::Close(frame)).await?;
                while let Some(Ok(_)) = source.next().await {}
                Ok::<(), WsError>(())
            };
            // Whether the client says goodbye as well is its own affair.
            timeout(CLOSE_LIMIT, goodbye).await.ok();
        }
        Ending::Abort => {
            if let Ok(mut socket) = sink.reunite(source) {
                sever(socket.get_mut());
            }
        }
    }
}

/// The refusal that a fault or a limit has, if one has.
fn refusal(shared: &Shared, place: Option<&SocketPlace>) -> Option<Refused> {
    let faults = &shared.faults;
    if place.is_none() {
        return Some(Refused::new(StatusCode::TOO_MANY_REQUESTS, "too many connections"));
    }
    if faults.take(FaultKind::Handshake429).is_some() {
        let reason = "too many connections (a fault that was switched on)";
        return Some(Refused::new(StatusCode::TOO_MANY_REQUESTS, reason));
    }
    if faults.take(FaultKind::Handshake401).is_some() {
        let reason = "the API key is not valid (a fault that was switched on)";
        return Some(Refused::new(StatusCode::UNAUTHORIZED, reason));
    }
    let status = u16::try_from(faults.take(FaultKind::Refuse)?).ok().and_then(|code| StatusCode::from_u16(code).ok());
    Some(Refused::new(status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE), "refused (a fault that was switched on)"))
}

/// The handshake: the socket and what the client asked for, or `None` if it was refused or failed.
async fn open<S: Link>(stream: S, shared: &Arc<Shared>) -> Option<(WebSocketStream<S>, Opening, SocketPlace)> {
    if let Some(delay_ms) = shared.faults.take(FaultKind::HandshakeSlow) {
        sleep(Duration::from_millis(delay_ms.into())).await;
    }
    let place = SocketPlace::take(shared);
    let refused = refusal(shared, place.as_ref());
    let mut checked = Err(Refused::new(StatusCode::BAD_REQUEST, "no request"));
    #[expect(clippy::result_large_err, reason = "the shape is the library's")]
    let callback = |upgrade: &Upgrade, response: Response| {
        checked = refused.map_or_else(|| vendors::check(upgrade, &shared.settings), Err);
        checked.as_ref().map(|_| response).map_err(|refused| refused.response())
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES);
    let accepted = Box::pin(tokio_tungstenite::accept_hdr_async_with_config(stream, callback, Some(config)));
    let socket = timeout(HANDSHAKE_LIMIT, accepted).await.ok().and_then(Result::ok);
    match (socket, checked) {
        (Some(socket), Ok(opening)) => Some((socket, opening, place?)),
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
struct Hand<'a> {
    number: u64,
    shared: Arc<Shared>,
    /// When the last message came or went; pings do not count.
    activity: &'a Mutex<Instant>,
}

impl Hand<'_> {
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
                return Ending::Close(CloseCode::Normal.into(), "connection idle timeout");
            }
            sleep_until(due).await;
        }
    }

    /// Writes what the contexts say, until the socket breaks, the vendor ends it or a fault cuts in.
    async fn write<S: Link>(&self, sink: &mut Sink<S>, queue: &mut mpsc::Receiver<Vec<Outgoing>>) -> Ending {
        let mut chunks = 0_u32;
        while let Some(batch) = queue.recv().await {
            for outgoing in batch {
                let (frame, sent) = match outgoing {
                    Outgoing::Frame(frame) => (frame, None),
                    Outgoing::Chunk { frame, context, samples } => (frame, Some((context, samples))),
                    Outgoing::Error(frame) => {
                        self.shared.journal.count(|counts| counts.errors += 1);
                        (frame, None)
                    }
                };
                let message = match frame {
                    Frame::Text(text) => Message::text(text),
                    Frame::Binary(bytes) => Message::binary(bytes),
                    Frame::Close(code, reason) => return Ending::Close(code, reason),
                };
                if sink.send(message).await.is_err() {
                    return Ending::Gone;
                }
                self.touch();
                let Some((context, samples)) = sent else { continue };
                self.shared.journal.sent(context, samples);
                chunks += 1;
                if let Some(ending) = self.cut(chunks) {
                    return ending;
                }
            }
        }
        Ending::Gone
    }

    /// How a fault ends the connection after so many chunks, if one does.
    fn cut(&self, chunks: u32) -> Option<Ending> {
        let faults = &self.shared.faults;
        if faults.take_at(FaultKind::Abort, chunks) {
            return Some(Ending::Abort);
        }
        if faults.take_at(FaultKind::Drop, chunks) {
            return Some(Ending::Close(1_005, ""));
        }
        if faults.take_at(FaultKind::Close1000, chunks) {
            return Some(Ending::Close(CloseCode::Normal.into(), "goodbye"));
        }
        let fails = faults.take_at(FaultKind::Close1011, chunks);
        fails.then(|| Ending::Close(CloseCode::Error.into(), "internal error"))
    }

    /// A fault: what has come is dealt with; what comes now is not read, and then the connection is cut off.
    async fn stop_reading(&self, desk: &mut Desk, outbox: &mpsc::Sender<Vec<Outgoing>>) -> Ending {
        let speaking = async {
            loop {
                let said = desk.reap().await;
                if !said.is_empty() && outbox.send(said).await.is_err() {
                    return;
                }
            }
        };
        timeout(UNREAD_LIMIT, speaking).await.ok();
        Ending::Abort
    }

    /// Reads what the client says and hands it to the contexts.
    async fn read<S: Link>(
        &self,
        source: &mut Source<S>,
        opening: Opening,
        outbox: mpsc::Sender<Vec<Outgoing>>,
    ) -> Ending {
        let shared = Arc::clone(&self.shared);
        let mut desk = opening.desk(Line { connection: self.number, shared, outbox: outbox.clone() });
        let mut answer = desk.greet();
        let mut messages = 0_u32;
        loop {
            if !answer.is_empty() && outbox.send(std::mem::take(&mut answer)).await.is_err() {
                return Ending::Gone;
            }
            if self.shared.faults.take_at(FaultKind::SlowReader, messages) {
                return self.stop_reading(&mut desk, &outbox).await;
            }
            let message = tokio::select! {
                biased;
                said = desk.reap() => {
                    answer = said;
                    continue;
                }
                message = source.next() => message,
            };
            answer = match message {
                None | Some(Err(_)) => return Ending::Gone,
                Some(Ok(Message::Text(text))) => {
                    self.touch();
                    messages = messages.saturating_add(1);
                    self.shared.journal.count(|counts| counts.messages += 1);
                    desk.told(Told::Text(text.as_str())).await
                }
                Some(Ok(Message::Binary(_))) => {
                    self.touch();
                    desk.told(Told::Binary).await
                }
                // A close frame is answered by the library when it is asked for the next message.
                Some(Ok(Message::Close(_))) => {
                    self.shared.journal.count(|counts| counts.goodbyes += 1);
                    Vec::new()
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Vec::new(),
            };
        }
    }
}
