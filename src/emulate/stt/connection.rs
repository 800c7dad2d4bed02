//! One socket: handshake, audio in steps of ten milliseconds, writing, and the ways in which a connection ends.
//!
//! A connection is one task. Audio is cut at multiples of ten milliseconds of the stream, however it came, so that what is
//! said depends on the audio alone; real time counts only where a vendor counts it, and for faults that say so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::fault::FaultKind;
use super::handshake::{self, Accepted, Refused};
use super::journal::{End, Kind};
use super::recogniser::Recogniser;
use super::script::PER_MS;
use super::vendors::{Heed, Manner, Outbox, Reply, Session, Told};

/// Longest message taken from a client.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Read and write buffer of one socket: all messages are small.
const BUFFER_BYTES: usize = 8 * 1024;

/// Longest handshake, a delay that was asked for not counted.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Longest wait for a client to answer a close frame.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Longest wait for a client to read.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// Messages waiting to be written; when there are so many, nothing is read.
const QUEUE_MAX: usize = 4_096;

/// Samples of a step: ten milliseconds.
const STEP: u64 = 10 * PER_MS;

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

/// How a connection ends.
#[derive(Debug)]
enum Ending {
    /// The client went, or the socket broke.
    Gone,
    Close(u16, &'static str),
    Abort,
}

/// Serves one connection to its end.
pub(super) async fn serve<S: Link>(stream: S, shared: Arc<Shared>, room: Room, cancel: CancellationToken) {
    let number = shared.connections_begun.fetch_add(1, Ordering::Relaxed);
    shared.journal.count(|counts| counts.connections += 1);
    let opened = tokio::select! {
        opened = open(stream, &shared, room) => opened,
        () = cancel.cancelled() => None,
    };
    let Some((mut socket, accepted)) = opened else { return };
    shared.journal.open(number, accepted.dialect);
    let settings = &shared.settings;
    let samples = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX / PER_MS) * PER_MS;
    let manner = Manner {
        request_id: format!("00000000-0000-4000-8000-{number:012}"),
        certainty: samples(settings.certainty),
        wavers: settings.wavers,
    };
    let mut line = Line {
        number,
        session: accepted.opening.session(manner),
        ear: Recogniser::new(Arc::clone(&shared.library), samples(settings.latency)),
        outbox: Outbox::default(),
        queue: VecDeque::new(),
        is_silent: shared.faults.take(FaultKind::Silent).is_some(),
        garbage: shared.faults.take(FaultKind::Garbage).map(|_| 0),
        has_spoken: false,
        ending: None,
        closing: false,
        shared: Arc::clone(&shared),
    };
    let ending = line.hold(&mut socket, cancel).await;
    let end = match ending {
        Ending::Gone => End::Gone,
        Ending::Close(code, _) => End::Closed(code),
        Ending::Abort => End::Dropped,
    };
    // Before the socket shows it, so that a client that has seen the end finds it in the journal.
    shared.journal.ended(number, end);
    part(socket, ending).await;
}

/// Ends a socket properly, or as improperly as a fault wants.
async fn part<S: Link>(mut socket: WebSocketStream<S>, ending: Ending) {
    match ending {
        Ending::Gone => {}
        Ending::Close(code, reason) => {
            let goodbye = async {
                let frame = CloseFrame { code: code.into(), reason: reason.into() };
                socket.close(Some(frame)).await.ok();
                while let Some(Ok(_)) = socket.next().await {}
            };
            // Whether the client says goodbye as well is its own affair.
            timeout(CLOSE_LIMIT, goodbye).await.ok();
        }
        Ending::Abort => socket.get_mut().sever(),
    }
}

/// The handshake: the socket and what the client asked for, or `None` if it was refused or failed.
async fn open<S: Link>(stream: S, shared: &Shared, room: Room) -> Option<(WebSocketStream<S>, Accepted)> {
    let faults = &shared.faults;
    if let Some(delay_ms) = faults.take(FaultKind::SlowHandshake) {
        sleep(Duration::from_millis(delay_ms.into())).await;
    }
    let refused = if room == Room::Full {
        Some(Refused::new(StatusCode::TOO_MANY_REQUESTS, "too many connections"))
    } else {
        faults.take(FaultKind::Refuse).map(|status| {
            let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
            Refused::new(status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE), "refused (a fault that was switched on)")
        })
    };
    let api_key = shared.settings.api_key.as_ref().map(|key| key.0.as_str());
    let mut checked = Err(Refused::new(StatusCode::BAD_REQUEST, "no request"));
    #[expect(clippy::result_large_err, reason = "the shape is the library's")]
    let callback = |upgrade: &Upgrade, mut response: Response| {
        checked = refused.map_or_else(|| handshake::check(upgrade, api_key), Err);
        let accepted = checked.as_ref().map_err(Refused::response)?;
        if let Some(protocol) = accepted.subprotocol {
            response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
        }
        Ok(response)
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0);
    let accepting = Box::pin(tokio_tungstenite::accept_hdr_async_with_config(stream, callback, Some(config)));
    let accepted = timeout(HANDSHAKE_LIMIT, accepting).await;
    if let Err(refused) = &checked {
        shared.journal.count(|counts| match refused.status {
            StatusCode::UNAUTHORIZED => counts.refused_401 += 1,
            _ => counts.refused_other += 1,
        });
    }
    Some((accepted.ok()?.ok()?, checked.ok()?))
}

/// Something to be written, and when.
struct Queued {
    due: Instant,
    /// How much audio had come when it was said.
    audio_ms: u64,
    reply: Reply,
}

/// An open connection.
struct Line {
    number: u64,
    session: Box<dyn Session>,
    ear: Recogniser,
    outbox: Outbox,
    queue: VecDeque<Queued>,
    is_silent: bool,
    /// Which nonsense is next, if any is.
    garbage: Option<usize>,
    /// A transcript was sent, or a fault came instead of one.
    has_spoken: bool,
    /// How a fault ends the connection, as soon as what was said before is written.
    ending: Option<Ending>,
    /// The session has said its last.
    closing: bool,
    shared: Arc<Shared>,
}

impl Line {
    async fn hold<S: Link>(&mut self, socket: &mut WebSocketStream<S>, cancel: CancellationToken) -> Ending {
        let limit = self.shared.faults.take(FaultKind::SessionLimit);
        let mut expiry = limit.map(|ms| Instant::now() + Duration::from_millis(ms.into()));
        let mut alive = Instant::now();
        self.session.greet(&mut self.outbox);
        self.collect();
        loop {
            if let Some(ending) = self.write(socket).await {
                return ending;
            }
            let idle = self.session.idle().filter(|_| !self.closing);
            let idle_at = idle.map(|idle| alive + idle.limit);
            let due = self.queue.front().map(|queued| queued.due);
            let wake = [due, idle_at, expiry.filter(|_| !self.closing)].into_iter().flatten().min();
            let message = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ending::Close(1_001, "the server stops"),
                () = sleep_until(wake.unwrap_or(alive)), if wake.is_some() => {
                    let now = Instant::now();
                    if expiry.take_if(|expiry| *expiry <= now).is_some() {
                        self.session.expire(&mut self.outbox);
                        self.collect();
                    } else if let Some(idle) = idle.filter(|_| idle_at.is_some_and(|at| at <= now)) {
                        return Ending::Close(idle.code, idle.reason);
                    }
                    continue;
                }
                message = socket.next(), if self.queue.len() < QUEUE_MAX => message,
            };
            match message {
                None | Some(Err(_)) => return Ending::Gone,
                Some(Ok(Message::Text(text))) => {
                    self.shared.journal.update(self.number, |record| record.messages += 1);
                    if self.told(Told::Text(text.as_str())) {
                        alive = Instant::now();
                    }
                }
                Some(Ok(Message::Binary(bytes))) => {
                    if self.told(Told::Binary(&bytes)) {
                        alive = Instant::now();
                    }
                }
                // A close frame is answered by the library when it is asked for the next message.
                Some(Ok(Message::Close(_))) => self.shared.journal.count(|counts| counts.goodbyes += 1),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            }
        }
    }

    /// Writes what is due. Some way to end if it is time for that.
    async fn write<S: Link>(&mut self, socket: &mut WebSocketStream<S>) -> Option<Ending> {
        while let Some(queued) = self.queue.pop_front() {
            if queued.due > Instant::now() {
                self.queue.push_front(queued);
                return self.ending.take_if(|ending| matches!(ending, Ending::Abort));
            }
            let (message, sent) = match queued.reply {
                Reply::Message(message) => (message, None),
                Reply::Transcript { kind, text, message } => (message, Some((kind, text))),
                Reply::Close { code, reason } => return Some(Ending::Close(code, reason)),
            };
            let nonsense = self.garbage.as_mut().map(|turn| {
                *turn += 1;
                nonsense(*turn)
            });
            for message in nonsense.into_iter().chain([Message::text(message.to_string())]) {
                // A client that does not read is as good as gone.
                if !matches!(timeout(WRITE_LIMIT, socket.send(message)).await, Ok(Ok(()))) {
                    return Some(Ending::Gone);
                }
            }
            if let Some((kind, text)) = sent {
                self.shared.journal.sent(self.number, queued.audio_ms, kind, text);
            }
        }
        self.ending.take()
    }

    /// Takes a frame; whether it was a sign of life.
    fn told(&mut self, told: Told<'_>) -> bool {
        if self.closing || self.ending.is_some() {
            return true;
        }
        let is_alive = match self.session.told(told, &mut self.ear, &mut self.outbox) {
            Heed::Audio(audio) => {
                self.hear(&audio);
                !audio.is_empty()
            }
            Heed::Alive => true,
            Heed::Flush(mark) => {
                self.shared.journal.update(self.number, |record| record.flushes += 1);
                if self.shared.faults.take(FaultKind::NoFlushAnswer).is_none() {
                    self.session.flush(mark, &mut self.ear, &mut self.outbox);
                }
                false
            }
            Heed::Done => false,
        };
        self.collect();
        is_alive
    }

    fn hear(&mut self, audio: &[u8]) {
        let mut rest = audio;
        while !rest.is_empty() && self.ending.is_none() && !self.closing {
            let to_step = STEP - self.ear.now() % STEP;
            let length = usize::try_from(to_step).unwrap_or(rest.len()).min(rest.len());
            let (piece, later) = rest.split_at(length);
            rest = later;
            self.ear.hear(piece);
            if let Some(found) = self.ear.take_found() {
                self.shared.journal.found(self.number, found);
            }
            if self.ear.now().is_multiple_of(STEP) {
                self.step();
                self.collect();
                self.cut();
            }
        }
        self.shared.journal.update(self.number, |record| record.samples = self.ear.now());
    }

    fn step(&mut self) {
        let words = self.ear.take_known();
        self.session.step(words, &self.ear, &mut self.outbox);
    }

    /// Drops the connection if that much audio came.
    fn cut(&mut self) {
        let is_due = |ms: u32| u64::from(ms.max(10) / 10) * STEP == self.ear.now();
        let due = self.shared.faults.amount(FaultKind::Drop).is_some_and(is_due);
        if due && self.shared.faults.take(FaultKind::Drop).is_some() {
            self.ending = Some(Ending::Abort);
        }
    }

    /// Moves what the session has said into the queue, past the faults.
    fn collect(&mut self) {
        for reply in self.outbox.take() {
            if self.is_silent && !matches!(reply, Reply::Close { .. }) {
                continue;
            }
            if matches!(reply, Reply::Transcript { .. }) && !self.has_spoken {
                self.has_spoken = true;
                if self.fail_instead() {
                    return;
                }
            }
            self.enqueue(reply);
        }
    }

    /// What a fault has in place of the first transcript.
    fn fail_instead(&mut self) -> bool {
        if let Some(code) = self.shared.faults.take(FaultKind::Close) {
            let code = u16::try_from(code).unwrap_or(1_011);
            self.ending = Some(Ending::Close(code, "a fault that was switched on"));
            return true;
        }
        if self.shared.faults.take(FaultKind::Error).is_some() {
            self.session.fail(&mut self.outbox);
            for reply in self.outbox.take() {
                self.enqueue(reply);
            }
            return true;
        }
        false
    }

    fn enqueue(&mut self, reply: Reply) {
        if self.closing {
            return;
        }
        self.closing = matches!(reply, Reply::Close { .. });
        let mut due = self.queue.back().map_or_else(Instant::now, |queued| queued.due);
        if matches!(reply, Reply::Transcript { kind: Kind::Final, .. })
            && let Some(ms) = self.shared.faults.take(FaultKind::LateFinal)
        {
            due = due.max(Instant::now() + Duration::from_millis(ms.into()));
        }
        self.queue.push_back(Queued { due, audio_ms: self.ear.now() / PER_MS, reply });
    }
}

/// Frames that no client should stumble over.
fn nonsense(turn: usize) -> Message {
    let kinds: [&dyn Fn() -> Message; 6] = [
        &|| Message::text("{\"type\":"),
        &|| Message::text(Value::Null.to_string()),
        &|| Message::text(json!({ "type": "from_the_future", "transcript": 7 }).to_string()),
        &|| Message::binary(vec![0_u8, 159, 146, 150]),
        &|| Message::text(json!({ "type": ["Results"], "channel": "no" }).to_string()),
        &|| Message::text(""),
    ];
    kinds.get(turn % kinds.len()).map_or_else(|| Message::text(""), |make| make())
}
