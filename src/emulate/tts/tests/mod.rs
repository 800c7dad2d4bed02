//! The emulators as clients see them, over in-memory sockets in virtual time.

mod deepgram;
mod elevenlabs;
mod faults;
mod gradium;
mod limits;
mod rime;

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

use super::*;

/// An emulator that speaks in tones, without a listener.
struct Bench {
    emulator: Emulator,
    vendor: Vendor,
    tasks: JoinSet<()>,
}

/// What a client reads.
#[derive(Clone, Debug, PartialEq)]
enum Got {
    Json(Value),
    Broken,
    Binary(Vec<u8>),
    Close(u16),
    /// The stream ended without a close frame.
    Cut,
}

/// Where a client of `vendor` connects that wants 16-bit samples at 8 kHz, and how it shows its key.
fn address(vendor: Vendor) -> (&'static str, &'static str, &'static str) {
    match vendor {
        Vendor::Cartesia => ("/tts/websocket?cartesia_version=2026-03-01", "x-api-key", "k"),
        Vendor::Gradium => ("/api/speech/tts", "x-api-key", "k"),
        Vendor::ElevenLabs => (
            "/v1/text-to-speech/v/multi-stream-input?output_format=pcm_8000&auto_mode=true&sync_alignment=true",
            "xi-api-key",
            "k",
        ),
        Vendor::Deepgram => ("/v1/speak?model=m&encoding=linear16&sample_rate=8000", "authorization", "Token k"),
        Vendor::Rime => ("/ws3?speaker=s&audioFormat=pcm&samplingRate=8000", "authorization", "Bearer k"),
    }
}

const FLUX: &str = "/v2/speak?model=m&encoding=linear16&sample_rate=8000";

fn settings(vendor: Vendor, faults: &[&str]) -> Settings {
    let faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
    Settings { voice: Voice::Tone, faults, ..Settings::of(vendor) }
}

impl Bench {
    fn new(vendor: Vendor, faults: &[&str]) -> Self {
        Self::with(settings(vendor, faults))
    }

    fn with(settings: Settings) -> Self {
        let vendor = settings.vendor;
        Self { emulator: Emulator::new(settings).unwrap(), vendor, tasks: JoinSet::new() }
    }

    async fn connect(&mut self) -> Client {
        self.connect_to(address(self.vendor).0).await
    }

    async fn connect_to(&mut self, path: &str) -> Client {
        self.try_connect(path).await.unwrap()
    }

    async fn try_connect(&mut self, path: &str) -> Result<Client, WsError> {
        let (_, header, key) = address(self.vendor);
        self.dial(path, &[(header, key)]).await
    }

    async fn dial(&mut self, path: &str, headers: &[(&'static str, &str)]) -> Result<Client, WsError> {
        let (near, far) = tokio::io::duplex(1 << 21);
        let emulator = self.emulator.clone();
        self.tasks.spawn(async move { emulator.serve(far).await });
        let mut request = format!("ws://localhost{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let (socket, _) = tokio_tungstenite::client_async(request, near).await?;
        Ok(Client { socket, connected: Instant::now() })
    }

    /// The HTTP status with which a handshake is answered.
    async fn status(&mut self, path: &str, headers: &[(&'static str, &str)]) -> u16 {
        match self.dial(path, headers).await {
            Ok(_) => 101,
            Err(WsError::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    }

    fn journal(&self) -> Journal {
        self.emulator.journal()
    }

    fn record(&self, id: &str) -> ContextRecord {
        self.journal().context(id).unwrap()
    }

    fn end_of(&self, id: &str) -> Option<End> {
        self.record(id).ended.map(|(_, end)| end)
    }
}

/// One client and when its socket opened.
struct Client {
    socket: WebSocketStream<DuplexStream>,
    connected: Instant,
}

impl Client {
    async fn send(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    fn elapsed_ms(&self) -> u128 {
        self.connected.elapsed().as_millis()
    }

    /// What comes next within `limit_ms`; `None` if nothing does.
    async fn within(&mut self, limit_ms: u64) -> Option<Got> {
        loop {
            return Some(match timeout(Duration::from_millis(limit_ms), self.socket.next()).await.ok()? {
                Some(Ok(Message::Text(text))) => serde_json::from_str(&text).map_or(Got::Broken, Got::Json),
                Some(Ok(Message::Binary(bytes))) => Got::Binary(bytes.to_vec()),
                Some(Ok(Message::Close(frame))) => Got::Close(frame.map_or(1_005, |frame| frame.code.into())),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Err(_)) | None => Got::Cut,
            });
        }
    }

    async fn next(&mut self) -> Got {
        self.within(60_000).await.expect("something within a minute")
    }

    /// The next frame, which must be a JSON object.
    async fn json(&mut self) -> Value {
        match self.next().await {
            Got::Json(value) => value,
            got => panic!("no JSON but {}", name(&got)),
        }
    }

    /// Everything up to the first for which `last` holds, that one included.
    async fn until(&mut self, last: impl Fn(&Value) -> bool) -> Vec<Got> {
        let mut all = Vec::new();
        loop {
            let got = self.next().await;
            let (found, over) = match &got {
                Got::Json(value) => (last(value), false),
                Got::Close(_) | Got::Cut => (false, true),
                Got::Broken | Got::Binary(_) => (false, false),
            };
            all.push(got);
            assert!(!over, "the socket ended after {:?}", kinds(&all));
            if found {
                return all;
            }
        }
    }

    /// Everything until nothing comes for `quiet_ms`, or the socket ends.
    async fn drain(&mut self, quiet_ms: u64) -> Vec<Got> {
        let mut all = Vec::new();
        while let Some(got) = self.within(quiet_ms).await {
            let over = matches!(got, Got::Close(_) | Got::Cut);
            all.push(got);
            if over {
                break;
            }
        }
        all
    }
}

/// What kind of thing was read, in a word.
fn name(got: &Got) -> String {
    match got {
        Got::Json(value) => match value["type"].as_str() {
            Some(kind) => kind.to_owned(),
            None if value["isFinal"] == true => "isFinal".to_owned(),
            None if value["audio"].is_string() => "audio".to_owned(),
            None if value["code"].is_u64() => "error".to_owned(),
            None => "?".to_owned(),
        },
        Got::Broken => "broken".to_owned(),
        Got::Binary(_) => "binary".to_owned(),
        Got::Close(code) => code.to_string(),
        Got::Cut => "cut".to_owned(),
    }
}

fn kinds(all: &[Got]) -> Vec<String> {
    all.iter().map(name).collect()
}

/// The kinds, those that follow themselves once only.
fn course(all: &[Got]) -> String {
    let mut kinds = kinds(all);
    kinds.dedup();
    kinds.join(" ")
}

fn count(all: &[Got], kind: &str) -> usize {
    all.iter().filter(|got| name(got) == kind).count()
}

fn jsons(all: &[Got]) -> impl Iterator<Item = &Value> {
    all.iter().filter_map(|got| match got {
        Got::Json(value) => Some(value),
        Got::Broken | Got::Binary(_) | Got::Close(_) | Got::Cut => None,
    })
}

/// The audio bytes in `all`: binary frames, or base64 under `field` where `of` holds.
fn audio_where(all: &[Got], field: &str, of: impl Fn(&Value) -> bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for got in all {
        match got {
            Got::Binary(binary) => bytes.extend(binary),
            Got::Json(value) if of(value) => {
                if let Some(Ok(decoded)) = value[field].as_str().map(|text| BASE64_STANDARD.decode(text)) {
                    bytes.extend(decoded);
                }
            }
            Got::Json(_) | Got::Broken | Got::Close(_) | Got::Cut => {}
        }
    }
    bytes
}

/// Checks that every whole 20 ms of 16-bit samples at 8 kHz sound at `tone`.
fn assert_tone(bytes: &[u8], tone: Option<u32>) {
    let samples: Vec<i16> = bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
    assert!(tone.is_some() && samples.len() >= 160);
    for (index, frame) in samples.chunks_exact(160).enumerate() {
        assert_eq!(super::tone::classify(frame, 8_000), tone, "frame {index}");
    }
}

/// 16-bit samples at 8 kHz that `chars` characters sound, in bytes.
fn bytes_of(chars: usize) -> usize {
    chars * 60 * 16
}
