//! The emulator as a client sees it, over in-memory sockets in virtual time.

mod faults;
mod protocol;
mod sockets;

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

use super::*;

/// A server without a listener.
struct Bench {
    emulator: Emulator,
    tasks: JoinSet<()>,
    cancel: CancellationToken,
}

fn tone() -> Settings {
    Settings { voice: Voice::Tone, ..Settings::default() }
}

fn with_faults(faults: &[&str]) -> Settings {
    Settings { faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(), ..tone() }
}

impl Bench {
    fn new(settings: Settings) -> Self {
        Self { emulator: Emulator::new(settings).unwrap(), tasks: JoinSet::new(), cancel: CancellationToken::new() }
    }

    async fn connect(&mut self) -> Client {
        let headers = [("X-API-Key", "k"), ("Cartesia-Version", "2026-08-14")];
        self.connect_with(PATH, &headers).await.unwrap()
    }

    async fn connect_with(&mut self, path: &str, headers: &[(&'static str, &str)]) -> Result<Client, WsError> {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (emulator, cancel) = (self.emulator.clone(), self.cancel.child_token());
        self.tasks.spawn(async move { emulator.serve_until(far, cancel).await });
        let mut request = format!("ws://localhost{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let (socket, _) = tokio_tungstenite::client_async(request, near).await?;
        Ok(Client { socket, connected: Instant::now() })
    }

    fn journal(&self) -> Journal {
        self.emulator.journal()
    }
}

/// One client and when its socket opened.
struct Client {
    socket: WebSocketStream<DuplexStream>,
    connected: Instant,
}

/// A generation request with everything that the defaults of these tests need.
fn request(context: &str, transcript: &str) -> Value {
    json!({
        "model_id": "sonic-3", "transcript": transcript, "voice": { "mode": "id", "id": "v" }, "language": "en",
        "context_id": context, "output_format": { "container": "raw", "encoding": "pcm_s16le", "sample_rate": 8_000 },
        "continue": true, "max_buffer_delay_ms": 0, "add_timestamps": true,
    })
}

fn last(context: &str, transcript: &str) -> Value {
    with(request(context, transcript), "continue", json!(false))
}

fn with(mut request: Value, field: &str, value: Value) -> Value {
    request[field] = value;
    request
}

impl Client {
    async fn send(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn cancel(&mut self, context: &str) {
        self.send(json!({ "context_id": context, "cancel": true })).await;
    }

    /// Milliseconds since the socket opened.
    fn elapsed_ms(&self) -> u128 {
        self.connected.elapsed().as_millis()
    }

    /// The next message of any kind within `limit_ms`; `None` if there is none.
    async fn raw_within(&mut self, limit_ms: u64) -> Option<Result<Message, WsError>> {
        timeout(Duration::from_millis(limit_ms), self.socket.next()).await.ok().map(|next| {
            // The end of the stream reads like a broken one.
            next.unwrap_or(Err(WsError::ConnectionClosed))
        })
    }

    /// The next message, which must be JSON and come within `limit_ms`.
    async fn within(&mut self, limit_ms: u64) -> Option<Value> {
        let message = self.raw_within(limit_ms).await?.expect("the socket is open");
        Some(serde_json::from_str(message.to_text().expect("a text frame")).expect("JSON"))
    }

    async fn next(&mut self) -> Value {
        self.within(60_000).await.expect("a message within a minute")
    }

    /// Everything up to and including the first message of type `kind` for `context`.
    async fn until(&mut self, kind: &str, context: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let message = self.next().await;
            let found = message["type"] == kind && message["context_id"] == context;
            all.push(message);
            if found {
                return all;
            }
        }
    }

    /// Everything that comes until nothing comes for `quiet_ms`.
    async fn drain(&mut self, quiet_ms: u64) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(message) = self.within(quiet_ms).await {
            all.push(message);
        }
        all
    }
}

fn of_type<'a>(messages: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    messages.iter().filter(move |message| message["type"] == kind)
}

/// The audio bytes of `context` in `messages`.
fn audio(messages: &[Value], context: &str) -> Vec<u8> {
    of_type(messages, "chunk")
        .filter(|chunk| chunk["context_id"] == context)
        .flat_map(|chunk| BASE64_STANDARD.decode(chunk["data"].as_str().unwrap()).unwrap())
        .collect()
}

fn pcm(bytes: &[u8]) -> Vec<i16> {
    bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
}

/// Words with start and end in milliseconds, all `timestamps` messages together.
fn words(messages: &[Value]) -> Vec<(String, u32, u32)> {
    #[expect(clippy::cast_possible_truncation, reason = "a test's times are short")]
    let ms = |value: &Value| (value.as_f64().unwrap() * 1_000.0).round() as u32;
    let mut all = Vec::new();
    for message in of_type(messages, "timestamps") {
        let times = &message["word_timestamps"];
        for index in 0..times["words"].as_array().unwrap().len() {
            let text = times["words"][index].as_str().unwrap().to_owned();
            all.push((text, ms(&times["start"][index]), ms(&times["end"][index])));
        }
    }
    all
}

fn journal_words(record: &ContextRecord) -> Vec<(String, u32, u32)> {
    record.words.iter().map(|word| (word.text.clone(), word.start_ms, word.end_ms)).collect()
}

/// Checks that every whole 20 ms of `samples` at 8 kHz sound at `tone`.
fn assert_tone(samples: &[i16], tone: Option<u32>) {
    assert!(tone.is_some() && samples.len() >= 160);
    for (index, frame) in samples.chunks_exact(160).enumerate() {
        assert_eq!(super::tone::classify(frame, 8_000), tone, "frame {index}");
    }
}
