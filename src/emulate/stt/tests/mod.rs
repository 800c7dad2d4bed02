//! The emulator as a client sees it, over in-memory sockets in virtual time.

mod faults;
mod handshakes;
mod recogniser;
mod sockets;
mod turns;
mod words;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::CancellationToken;

use super::connection::{self, Link, Room};
use super::*;
use crate::audio::{g711, pcm};
use crate::emulate::carrier::read_clip;

const QUESTION: &str = "Which folder should I save the message to?";
const LONG: &str = "I'm sorry, but I was unable to locate the person you are calling.";

impl Link for DuplexStream {
    fn sever(&mut self) {}
}

/// A recorded caller as a carrier sends it: mu-law at 8 kHz.
fn raw(clip: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio").join(clip);
    let mut audio = Vec::new();
    g711::encode_mulaw_into(&read_clip(&path).unwrap(), &mut audio);
    audio
}

fn silence(ms: usize) -> Vec<u8> {
    vec![0xFF; ms * 8]
}

fn noise(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}

/// What every client of a dialect sends to be let in: query and headers.
fn credentials(dialect: Dialect) -> (&'static str, &'static [(&'static str, &'static str)]) {
    match dialect {
        Dialect::InkTurns | Dialect::InkManual => (
            "model=ink-2&encoding=pcm_mulaw&sample_rate=8000",
            &[("X-API-Key", "k"), ("Cartesia-Version", "2026-08-14")],
        ),
        Dialect::Nova => ("model=nova-3&encoding=mulaw&sample_rate=8000", &[("Authorization", "Token k")]),
        Dialect::Flux => ("model=flux-general-en&encoding=mulaw&sample_rate=8000", &[("Authorization", "Token k")]),
        Dialect::Gradium => ("", &[("x-api-key", "k")]),
    }
}

/// A server without a listener.
struct Bench {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    cancel: CancellationToken,
}

fn with_faults(faults: &[&str]) -> Settings {
    Settings { faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(), ..Settings::default() }
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let shared = Arc::new(Shared::new(settings).unwrap());
        Self { shared, tasks: JoinSet::new(), cancel: CancellationToken::new() }
    }

    /// A client of `dialect` whose query has `more` behind what it needs. Gradium's is set up with it instead, as JSON.
    async fn connect(&mut self, dialect: Dialect, more: &str) -> Client {
        let (query, headers) = credentials(dialect);
        let joint = if more.is_empty() || query.is_empty() { "" } else { "&" };
        let extra = if dialect == Dialect::Gradium { "" } else { more };
        let path = format!("{}?{query}{joint}{extra}", dialect.path());
        let mut client = self.connect_with(dialect, &path, headers).await.unwrap();
        if dialect == Dialect::Gradium {
            let config = if more.is_empty() { "{}" } else { more };
            client.send(json!({ "json_config": config, "input_format": "ulaw_8000", "type": "setup" })).await;
        }
        client
    }

    async fn connect_with(
        &mut self,
        dialect: Dialect,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Client, WsError> {
        let (near, far) = tokio::io::duplex(1 << 20);
        self.tasks.spawn(connection::serve(far, Arc::clone(&self.shared), Room::Free, self.cancel.child_token()));
        let mut request = format!("ws://localhost{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let (socket, _) = tokio_tungstenite::client_async(request, near).await?;
        Ok(Client { dialect, socket, connected: Instant::now() })
    }

    fn journal(&self) -> Journal {
        self.shared.journal.clone()
    }

    /// The last connection that opened.
    fn record(&self) -> ConnectionRecord {
        self.journal().connections().pop().unwrap()
    }
}

/// One client and when its socket opened.
struct Client {
    dialect: Dialect,
    socket: WebSocketStream<DuplexStream>,
    connected: Instant,
}

impl Client {
    async fn send(&mut self, message: Value) {
        self.text(&message.to_string()).await;
    }

    async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Sends audio in pieces of 20 ms, as fast as it goes; gives up when the socket is gone.
    async fn play(&mut self, audio: &[u8]) {
        for frame in audio.chunks(160) {
            let message = match self.dialect {
                Dialect::Gradium => {
                    Message::text(json!({ "type": "audio", "audio": BASE64_STANDARD.encode(frame) }).to_string())
                }
                _ => Message::binary(frame.to_vec()),
            };
            if self.socket.send(message).await.is_err() {
                return;
            }
        }
    }

    fn elapsed_ms(&self) -> u128 {
        self.connected.elapsed().as_millis()
    }

    /// The next message of any kind within `limit_ms`; `None` if there is none.
    async fn raw_within(&mut self, limit_ms: u64) -> Option<Result<Message, WsError>> {
        let next = timeout(Duration::from_millis(limit_ms), self.socket.next()).await.ok();
        // The end of the stream reads like a broken one.
        next.map(|next| next.unwrap_or(Err(WsError::ConnectionClosed)))
    }

    /// Everything that comes until nothing comes for `quiet_ms`, or the socket ends.
    async fn drain(&mut self, quiet_ms: u64) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(Ok(Message::Text(text))) = self.raw_within(quiet_ms).await {
            all.push(serde_json::from_str(&text).expect("JSON"));
        }
        all
    }

    /// Everything up to the end, and how the socket ended: its close code, or `None` without one.
    async fn until_the_end(&mut self) -> (Vec<Value>, Option<u16>) {
        let mut all = Vec::new();
        loop {
            match self.raw_within(60_000).await.expect("an end within a minute") {
                Ok(Message::Text(text)) => all.push(serde_json::from_str(&text).expect("JSON")),
                Ok(Message::Close(frame)) => return (all, frame.map(|frame| frame.code.into())),
                Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {
                    panic!("other traffic")
                }
                Err(_) => return (all, None),
            }
        }
    }
}

/// The kind of each message, repetitions in a row left out.
fn kinds(messages: &[Value]) -> Vec<&str> {
    let kind = |message: &'_ Value| message["event"].as_str().is_none();
    let mut kinds: Vec<&str> = messages
        .iter()
        .map(|message| if kind(message) { &message["type"] } else { &message["event"] })
        .map(|kind| kind.as_str().unwrap())
        .collect();
    kinds.dedup();
    kinds
}

fn of_type<'a>(messages: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    messages.iter().filter(move |message| message["type"] == kind || message["event"] == kind)
}

/// The whole text of the final transcripts in `messages`, of whatever dialect.
fn finals(dialect: Dialect, messages: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    match dialect {
        Dialect::InkTurns => {
            of_type(messages, "turn.end").map(|end| text(&end["transcript"])).collect::<Vec<_>>().join(" ")
        }
        Dialect::InkManual => {
            let finals = of_type(messages, "transcript").filter(|part| part["is_final"] == true);
            finals.map(|part| text(&part["text"])).collect::<String>().trim_end().to_owned()
        }
        Dialect::Nova => {
            let finals = of_type(messages, "Results").filter(|part| part["is_final"] == true);
            let texts = finals.map(|part| text(&part["channel"]["alternatives"][0]["transcript"]));
            texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
        }
        Dialect::Flux => {
            of_type(messages, "EndOfTurn").map(|end| text(&end["transcript"])).collect::<Vec<_>>().join(" ")
        }
        Dialect::Gradium => of_type(messages, "text").map(|word| text(&word["text"])).collect::<Vec<_>>().join(" "),
    }
}
