//! The carrier's end of a media stream: plays what it is sent in real time and echoes marks as they are played.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::soon;

/// What came from the gateway so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) frames: u64,
    pub(crate) marks: u64,
    pub(crate) clears: u64,
    /// Code and reason of the close frame; `Some((None, ..))` if the socket ended without one.
    pub(crate) closed: Option<(Option<u16>, String)>,
}

impl Seen {
    /// Code of the close frame.
    pub(crate) fn code(&self) -> Option<u16> {
        self.closed.as_ref().and_then(|(code, _)| *code)
    }
}

/// Why there is no stream: the HTTP answer to the upgrade.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
}

/// One media stream. Dropping it drops the socket.
pub(crate) struct Phone {
    outbox: mpsc::Sender<Message>,
    seen: watch::Receiver<Seen>,
    _pump: JoinSet<()>,
}

impl Phone {
    /// Opens the socket and says nothing.
    pub(crate) async fn dial(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Self, Refused> {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::dial_over(stream, &format!("ws://{address}{path}"), headers).await
    }

    /// The same over a connection that there is, whatever it speaks.
    pub(crate) async fn dial_over<S>(stream: S, url: &str, headers: &[(&str, &str)]) -> Result<Self, Refused>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        let socket = match soon("the upgrade", client_async(request, stream)).await {
            Ok((socket, _)) => socket,
            Err(tungstenite::Error::Http(answer)) => {
                return Err(Refused { status: answer.status().as_u16() });
            }
            Err(error) => panic!("{error}"),
        };
        let (outbox, pending) = mpsc::channel(1_024);
        let (told, seen) = watch::channel(Seen::default());
        let mut pump = JoinSet::new();
        pump.spawn(run(socket, pending, told));
        Ok(Phone { outbox, seen, _pump: pump })
    }

    /// Sends a message as it is.
    pub(crate) fn send(&self, message: Value) {
        self.send_raw(Message::text(message.to_string()));
    }

    /// Whether what was to be sent has not been taken yet.
    pub(crate) fn is_full(&self) -> bool {
        self.outbox.capacity() == 0
    }

    pub(crate) fn send_raw(&self, message: Message) {
        self.outbox.try_send(message).unwrap();
    }

    /// `connected` and `start`, as Twilio words them.
    pub(crate) fn start(&self, call: &str, parameters: &[(&str, &str)]) {
        self.send(json!({ "event": "connected", "protocol": "Call", "version": "1.0.0" }));
        self.send(start(call, parameters));
    }

    /// A frame of silence from the caller.
    pub(crate) fn hush(&self) {
        self.send(json!({ "event": "media", "sequenceNumber": "2", "streamSid": "MZ1",
            "media": { "track": "inbound", "chunk": "1", "timestamp": "0", "payload": STANDARD.encode([0xFF; 160]) } }));
    }

    /// The caller presses a key.
    pub(crate) fn press(&self, digit: char) {
        self.send(json!({ "event": "dtmf", "streamSid": "MZ1", "dtmf": { "track": "inbound_track", "digit": digit } }));
    }

    /// The caller hangs up.
    pub(crate) fn stop(&self) {
        self.send(json!({ "event": "stop", "streamSid": "MZ1", "stop": { "accountSid": "AC1", "callSid": "CA1" } }));
    }

    /// What came so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until what came is enough.
    pub(crate) async fn sees(&mut self, what: &str, is_enough: impl FnMut(&Seen) -> bool) -> Seen {
        soon(what, self.seen.wait_for(is_enough)).await.unwrap().clone()
    }

    /// Waits for the end of the stream; its code, if there was a close frame.
    pub(crate) async fn end(&mut self) -> Option<u16> {
        self.sees("the end of the stream", |seen| seen.closed.is_some()).await.code()
    }
}

/// A `start` message.
pub(crate) fn start(call: &str, parameters: &[(&str, &str)]) -> Value {
    let parameters: serde_json::Map<String, Value> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    json!({ "event": "start", "sequenceNumber": "1", "streamSid": "MZ1", "start": {
        "accountSid": "AC1", "streamSid": "MZ1", "callSid": call, "tracks": ["inbound"],
        "mediaFormat": { "encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1 },
        "customParameters": parameters } })
}

async fn run<S>(mut socket: WebSocketStream<S>, mut outbox: mpsc::Receiver<Message>, told: watch::Sender<Seen>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut marks: VecDeque<(Instant, Value)> = VecDeque::new();
    let mut played_until = Instant::now();
    loop {
        let due = marks.front().map(|(due, _)| *due);
        tokio::select! {
            message = outbox.recv() => match message {
                Some(message) => {
                    if socket.send(message).await.is_err() {
                        // What the other side said before it closed is still to be read.
                        outbox.close();
                    }
                }
                None => match socket.next().await {
                    Some(Ok(message)) => note_close(&message, &told),
                    Some(Err(_)) | None => break,
                },
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                if let Some((_, mark)) = marks.pop_front() {
                    let _ = socket.send(Message::text(mark.to_string())).await;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    assert_eq!(message["streamSid"], "MZ1");
                    match message["event"].as_str().unwrap() {
                        "media" => {
                            played_until = played_until.max(Instant::now()) + Duration::from_millis(20);
                            told.send_modify(|seen| seen.frames += 1);
                        }
                        "mark" => {
                            marks.push_back((played_until, message));
                            told.send_modify(|seen| seen.marks += 1);
                        }
                        "clear" => {
                            played_until = Instant::now();
                            marks.iter_mut().for_each(|(due, _)| *due = played_until);
                            told.send_modify(|seen| seen.clears += 1);
                        }
                        event => panic!("unknown event {event}"),
                    }
                }
                Some(Ok(message)) => note_close(&message, &told),
                Some(Err(_)) | None => break,
            },
        }
    }
    told.send_modify(|seen| {
        seen.closed.get_or_insert((None, String::new()));
    });
}

fn note_close(message: &Message, told: &watch::Sender<Seen>) {
    if let Message::Close(frame) = message {
        let (code, reason) = frame
            .as_ref()
            .map_or((None, String::new()), |frame| (Some(u16::from(frame.code)), frame.reason.to_string()));
        told.send_modify(|seen| seen.closed = Some((code, reason)));
    }
}
