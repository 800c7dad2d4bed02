//! A server of the same protocol for loads: what it speaks was made before, and is the same whatever the text.
//!
//! A text lasts as long as a voice would take to say it, its words are spread evenly over that time, and its audio is the
//! beginning of one recorded passage, from base64 that is only copied. There are no faults and no journal. Texts of one
//! socket are spoken one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::sync::CancellationToken;

use super::request::{self, Input, Refusal, Request};
use super::{PATH, handshake, reply};
use crate::audio::pcm;
use crate::emulate::tts::handshake::Refused;
use crate::emulate::tts::speaker::{SampleEncoding, resample, tone_words};
use crate::voice::{Pool, Settings as VoiceSettings, VoiceError};

/// From a text to its first audio.
const FIRST_BYTE: Duration = Duration::from_millis(75);

/// Audio of one chunk, in milliseconds.
const CHUNK_MS: u32 = 90;

/// From one chunk to the next: three times as fast as they play.
const CHUNK_EVERY: Duration = Duration::from_millis(30);

/// How long one character is spoken: 98 of them in 5.3 seconds.
const MS_PER_CHAR: usize = 54;

/// The rates in which the passage is held, in Hz.
const RATES: [u32; 2] = [8_000, 16_000];

/// What is spoken: some six seconds.
const PASSAGE: &str = "The quick survey of the harbour took all afternoon, and by evening the boats had come back in, \
    one after another.";

/// Requests are small, chunks 2 or 4 KiB.
const BUFFER_BYTES: usize = 4 * 1024;

/// Longest handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Longest message taken from a client.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum PrerenderedError {
    /// The address could not be bound.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The passage could not be spoken.
    #[error("the passage cannot be made")]
    Voice(#[from] VoiceError),
    /// The passage could not be brought to its rate.
    #[error("the passage cannot be resampled")]
    Resample,
}

/// How much audio was sent, for whoever wants to know how much of it is still queued elsewhere. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Served(Arc<AtomicU64>);

impl Served {
    /// Microseconds of audio sent so far.
    pub fn micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The passage at one rate.
#[derive(Debug)]
struct Passage {
    rate: u32,
    /// Base64 of the chunks of whole length.
    chunks: Vec<String>,
}

/// A listening server. Nothing is accepted before [`Prerendered::run`].
#[derive(Debug)]
pub struct Prerendered {
    listener: TcpListener,
    local_addr: SocketAddr,
    passages: Arc<[Passage]>,
    served: Served,
}

impl Prerendered {
    /// Binds `addr` (port 0 takes a free one) and makes the passage.
    ///
    /// # Errors
    /// [`PrerenderedError`].
    pub async fn bind(addr: SocketAddr) -> Result<Self, PrerenderedError> {
        let listen = |source| PrerenderedError::Listen { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(listen)?;
        let local_addr = listener.local_addr().map_err(listen)?;
        let spoken = Pool::new(VoiceSettings::default()).synthesize(PASSAGE, None).await?;
        let passage = |rate| {
            let samples = resample(spoken.pcm.clone(), rate).ok_or(PrerenderedError::Resample)?;
            let mut bytes = Vec::new();
            pcm::write_into(&samples, &mut bytes);
            let chunks = bytes.chunks_exact((rate * CHUNK_MS / 1_000 * 2) as usize);
            Ok(Passage { rate, chunks: chunks.map(|chunk| BASE64_STANDARD.encode(chunk)).collect() })
        };
        let passages = RATES.map(passage).into_iter().collect::<Result<_, PrerenderedError>>()?;
        Ok(Prerendered { listener, local_addr, passages, served: Served::default() })
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("ws://{}{PATH}", self.local_addr)
    }

    /// How much audio was sent; goes on being true while the server runs.
    pub fn served(&self) -> Served {
        self.served.clone()
    }

    /// Serves until `cancel`, then drops every socket. Dropping the future does the same.
    pub async fn run(self, cancel: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    // Without it, small messages wait for acknowledgements; if it fails, so will the connection.
                    stream.set_nodelay(true).ok();
                    connections.spawn(serve(stream, Arc::clone(&self.passages), self.served.clone()));
                }
                // Out of descriptors, mostly.
                Err(_) => sleep_until(Instant::now() + FIRST_BYTE).await,
            }
        }
    }
}

/// Something to send, in order.
enum Work {
    Speech { context: Arc<str>, rate: u32, next: usize, chunks: usize, words: Option<String> },
    Word { context: Arc<str>, text: String },
}

/// One socket.
struct Connection {
    socket: WebSocketStream<TcpStream>,
    passages: Arc<[Passage]>,
    served: Served,
    version: String,
    work: VecDeque<Work>,
    /// Milliseconds of audio that each live context was promised.
    contexts: BTreeMap<String, u32>,
    due: Instant,
}

async fn serve(stream: TcpStream, passages: Arc<[Passage]>, served: Served) {
    let Some((socket, version)) = open(stream).await else { return };
    let (work, contexts, due) = (VecDeque::new(), BTreeMap::new(), Instant::now());
    let mut connection = Connection { socket, passages, served, version, work, contexts, due };
    // However it ends, the client knows as much as we do.
    let _ = connection.hold().await;
}

async fn open(stream: TcpStream) -> Option<(WebSocketStream<TcpStream>, String)> {
    let mut version = String::new();
    #[expect(clippy::result_large_err, reason = "the shape that the library asks for, once a connection")]
    let check = |request: &Upgrade, response: Response| {
        version = handshake::check(request, None).map_err(Refused::response)?;
        Ok(response)
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let accepted = Box::pin(tokio_tungstenite::accept_hdr_async_with_config(stream, check, Some(config)));
    let socket = timeout(HANDSHAKE_LIMIT, accepted).await.ok()?.ok()?;
    Some((socket, version))
}

impl Connection {
    /// Until either side ends it.
    async fn hold(&mut self) -> Option<()> {
        loop {
            tokio::select! {
                message = self.socket.next() => match message?.ok()? {
                    Message::Text(text) => {
                        if let Err(refusal) = self.take(text.as_str()) {
                            self.send(reply::error(&self.version, &refusal, "load")).await?;
                        }
                    }
                    // The library answers a close when it is asked for the next message.
                    Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
                },
                () = sleep_until(self.due), if !self.work.is_empty() => self.speak().await?,
            }
        }
    }

    async fn send(&mut self, text: String) -> Option<()> {
        self.socket.send(Message::text(text)).await.ok()
    }

    fn take(&mut self, text: &str) -> Result<(), Refusal> {
        let (context, template, input) = match request::parse(text, 0)? {
            Request::Generate { context, template, input } => (context, template, input),
            Request::Cancel { context } => {
                self.work.retain(|work| work.context() != context);
                self.contexts.remove(&context);
                return Ok(());
            }
        };
        if template.order.encoding != SampleEncoding::S16Le || !RATES.contains(&template.order.rate) {
            return Err(Refusal::invalid(Some(&context), "only pcm_s16le at 8000 or 16000 Hz was made before"));
        }
        if self.work.is_empty() {
            self.due = Instant::now() + FIRST_BYTE;
        }
        let name: Arc<str> = context.as_str().into();
        let Input { transcript, more, flush } = input;
        let chars = transcript.trim().chars().count();
        if chars > 0 {
            let chunks = (chars * MS_PER_CHAR).div_ceil(CHUNK_MS as usize);
            let length = CHUNK_MS * u32::try_from(chunks).unwrap_or(u32::MAX);
            let from = self.contexts.entry(context.clone()).or_default();
            let words = template.order.timestamps.then(|| timestamps(&context, &transcript, *from));
            *from = from.saturating_add(length);
            self.work.push_back(Work::Speech {
                context: name.clone(),
                rate: template.order.rate,
                next: 0,
                chunks,
                words,
            });
        }
        if flush {
            self.work.push_back(Work::Word { context: name.clone(), text: reply::flush_done(&context, 1) });
        }
        if !more {
            self.contexts.remove(&context);
            self.work.push_back(Work::Word { context: name, text: reply::done(&context) });
        }
        Ok(())
    }

    /// Sends the next chunk, or the words between texts.
    async fn speak(&mut self) -> Option<()> {
        while let Some(Work::Word { .. }) = self.work.front() {
            if let Some(Work::Word { text, .. }) = self.work.pop_front() {
                self.send(text).await?;
            }
        }
        let Some(Work::Speech { context, rate, next, chunks, words }) = self.work.front_mut() else { return Some(()) };
        let passage = self.passages.iter().find(|passage| passage.rate == *rate)?;
        let data = passage.chunks.get(*next % passage.chunks.len().max(1))?;
        let chunk = format!(
            "{{\"type\":\"chunk\",\"context_id\":\"{context}\",\"data\":\"{data}\",\"step_time\":1.5,\"flush_id\":1,\
             \"done\":false,\"status_code\":206}}"
        );
        *next += 1;
        let (words, is_last) = (words.take(), next == chunks);
        self.socket.feed(Message::text(chunk)).await.ok()?;
        if let Some(words) = words {
            self.socket.feed(Message::text(words)).await.ok()?;
        }
        self.socket.flush().await.ok()?;
        self.served.0.fetch_add(u64::from(CHUNK_MS) * 1_000, Ordering::Relaxed);
        if is_last {
            self.work.pop_front();
        }
        self.due += CHUNK_EVERY;
        Some(())
    }
}

impl Work {
    fn context(&self) -> &str {
        match self {
            Work::Speech { context, .. } | Work::Word { context, .. } => context,
        }
    }
}

/// The words of `text`, which begins `from` milliseconds into its context, spread over its characters.
fn timestamps(context: &str, text: &str, from: u32) -> String {
    let at = |chars: usize| from + u32::try_from(chars * MS_PER_CHAR).unwrap_or(u32::MAX - from);
    reply::timestamps(context, &tone_words(text.trim(), at), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

    async fn ask(rate: u32, encoding: &str) -> Vec<Value> {
        let server = Prerendered::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (url, served) = (server.url(), server.served());
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(CancellationToken::new()));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("x-api-key", "k".parse().unwrap());
        request.headers_mut().insert("cartesia-version", "2026-03-01".parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let format = json!({"container": "raw", "encoding": encoding, "sample_rate": rate});
        let text = json!({"model_id": "m", "transcript": "One two.", "voice": {"mode": "id", "id": "v"},
            "context_id": "c", "output_format": format, "add_timestamps": true});
        socket.send(Message::text(text.to_string())).await.unwrap();
        let mut answers = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            answers.push(serde_json::from_str::<Value>(message.to_text().unwrap()).unwrap());
            if answers.last().unwrap()["done"] == true {
                break;
            }
        }
        assert!(served.micros() == 450_000 || answers.len() == 1);
        answers
    }

    #[tokio::test]
    async fn a_text_lasts_as_long_as_it_would_take_to_say() {
        for (rate, bytes) in [(8_000, 1_440), (16_000, 2_880)] {
            let answers = ask(rate, "pcm_s16le").await;
            let kinds: Vec<&str> = answers.iter().map(|answer| answer["type"].as_str().unwrap()).collect();
            // Eight characters: 432 ms, five chunks.
            assert_eq!(kinds, ["chunk", "timestamps", "chunk", "chunk", "chunk", "chunk", "done"]);
            let audio = BASE64_STANDARD.decode(answers[2]["data"].as_str().unwrap()).unwrap();
            assert_eq!(audio.len(), bytes);
            assert!(audio.iter().any(|byte| *byte != 0), "silence");
            assert_eq!(answers[1]["word_timestamps"]["words"], json!(["One", "two."]));
            assert_eq!(answers[1]["word_timestamps"]["end"], json!([0.162, 0.432]));
        }
    }

    #[tokio::test]
    async fn what_was_not_made_before_is_refused() {
        let answers = ask(44_100, "pcm_s16le").await;
        assert_eq!((answers.len(), answers[0]["type"].as_str().unwrap()), (1, "error"));
    }
}
