//! Deepgram's Aura: `/v1/speak`.
//!
//! One stream of binary audio without ids. All text up to a `Flush` is a context of the journal, named by the connection and
//! counted from 0; they are spoken one after the other. Where the public documentation is silent, this server chooses:
//!
//! - Whole sentences are spoken as soon as more text follows, without a `Flush`.
//! - `Flush` is answered with `Flushed` when all audio before it was sent, `Clear` with `Cleared` when nothing of the old text
//!   comes any more; until then nothing else the client says is listened to. Both count from one sequence.
//! - `Close` ends the socket when all text was spoken.
//! - A failure is a close frame with a code and Deepgram's name for it: there is no message for errors. A message that cannot
//!   be read closes the socket with code 1008.
//! - The fault `no-done` withholds `Flushed` and `Cleared`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::connection::{Outgoing, failed, outgoing};
use super::super::order::{Buffering, Input, Lifetime, Order, Part};
use super::super::roster::{Line, Queueing, Roster};
use super::super::wording::{Event, Failure, Frame, Wording};
use super::super::{FaultKind, Place};
use super::{Model, Rates, Told, noise, object, uuid};

/// The rates that may be asked for.
pub(super) const RATES: Rates = (&[8_000, 16_000, 24_000, 32_000, 48_000], &[8_000, 16_000]);

/// Flushes that are taken in one [`FLUSH_SPAN`].
const FLUSHES_MAX: usize = 20;
const FLUSH_SPAN: Duration = Duration::from_secs(60);

/// One connection's side.
#[derive(Debug)]
pub(in crate::emulate) struct Aura {
    line: Line,
    model: Model,
    roster: Roster<()>,
    /// The context that takes text.
    current: Option<String>,
    begun: u32,
    flushes: VecDeque<Instant>,
    /// The next answer's number.
    sequence: Arc<AtomicU64>,
    /// The socket closes when all is said.
    ending: bool,
}

impl Aura {
    pub(super) fn new(model: Model, line: Line) -> Self {
        let (current, flushes, sequence) = (None, VecDeque::new(), Arc::default());
        Self { roster: Roster::new(line.clone()), line, model, current, begun: 0, flushes, sequence, ending: false }
    }

    pub(super) fn greet(&mut self) -> Vec<Outgoing> {
        let metadata = json!({
            "type": "Metadata", "request_id": uuid(self.line.connection, 0), "model_name": self.model.name,
            "model_version": "emulated", "model_uuid": uuid(self.line.connection, 1),
        });
        text(&metadata)
    }

    pub(super) async fn reap(&mut self) -> Vec<Outgoing> {
        self.roster.reap().await;
        self.leave()
    }

    fn leave(&self) -> Vec<Outgoing> {
        if self.ending && self.roster.is_quiet() {
            return outgoing(vec![Frame::Close(1_000, "")]);
        }
        Vec::new()
    }

    pub(super) async fn told(&mut self, told: Told<'_>) -> Vec<Outgoing> {
        let fields = match told {
            Told::Text(text) => object(text),
            Told::Binary => None,
        };
        let fields = fields.unwrap_or_default();
        if self.ending {
            return Vec::new();
        }
        match (fields.get("type").and_then(Value::as_str), fields.get("text").and_then(Value::as_str)) {
            (Some("Speak"), Some(text)) => self.speak(text).await,
            (Some("Flush"), _) => return self.flush().await,
            (Some("Clear"), _) => return self.clear().await,
            (Some("Close"), _) => {
                self.ending = true;
                self.finish(Vec::new()).await;
                return self.leave();
            }
            (Some(_) | None, _) => return failed(vec![Frame::Close(1_008, "DATA-0000")]),
        }
        Vec::new()
    }

    /// The context that takes text, begun if there is none.
    fn open(&mut self) -> Option<String> {
        if self.current.is_none() {
            let place = Place::take(&self.line.shared)?;
            let key = format!("{}.{}", self.line.connection, self.begun);
            self.begun += 1;
            let order = Order {
                encoding: self.model.encoding,
                rate: self.model.rate,
                buffering: Buffering::Sentences(None),
                timestamps: false,
                speed: None,
                volume: None,
            };
            let messages = Messages { sequence: Arc::clone(&self.sequence) };
            self.roster.begin(&key, &key, place, (order, Lifetime::Endless, Queueing::Behind), (), messages);
            self.current = Some(key);
        }
        self.current.clone()
    }

    async fn speak(&mut self, text: &str) {
        if let Some(key) = self.open() {
            let parts = vec![Part::Text(text.to_owned())];
            self.roster.input(&key, Input { shown: Some(text.to_owned()), parts, more: true }).await;
        }
    }

    /// No more text comes for the context that takes it.
    async fn finish(&mut self, parts: Vec<Part>) {
        if let Some(key) = self.current.take() {
            self.roster.input(&key, Input { shown: None, parts, more: false }).await;
        }
    }

    async fn flush(&mut self) -> Vec<Outgoing> {
        let now = Instant::now();
        while self.flushes.front().is_some_and(|at| *at + FLUSH_SPAN <= now) {
            self.flushes.pop_front();
        }
        if self.flushes.len() >= FLUSHES_MAX {
            let description = "Too many Flush messages: at most 20 in 60 seconds. This one is ignored.";
            return text(&json!({ "type": "Warning", "code": "FLUSH_LIMIT", "description": description }));
        }
        self.flushes.push_back(now);
        self.open();
        self.finish(vec![Part::Flush]).await;
        Vec::new()
    }

    async fn clear(&mut self) -> Vec<Outgoing> {
        self.current = None;
        self.roster.cancel_all().await;
        if self.line.shared.faults.take(FaultKind::NoDone).is_some() {
            return Vec::new();
        }
        let sequence_id = self.sequence.fetch_add(1, Ordering::Relaxed);
        text(&json!({ "type": "Cleared", "sequence_id": sequence_id }))
    }
}

fn text(message: &Value) -> Vec<Outgoing> {
    outgoing(vec![Frame::Text(message.to_string())])
}

/// The messages of one context.
#[derive(Debug)]
struct Messages {
    sequence: Arc<AtomicU64>,
}

impl Wording for Messages {
    fn say(&mut self, event: Event<'_>) -> Vec<Frame> {
        match event {
            // There is nothing in the stream that could have a wrong id, and no word for these.
            Event::Started { .. }
            | Event::Words { .. }
            | Event::Stray(_)
            | Event::Flushed { .. }
            | Event::Expired
            | Event::TooLate => Vec::new(),
            Event::Audio(piece) => vec![Frame::Binary(piece.bytes.to_vec())],
            Event::Done { .. } => {
                let sequence_id = self.sequence.fetch_add(1, Ordering::Relaxed);
                vec![Frame::Text(json!({ "type": "Flushed", "sequence_id": sequence_id }).to_string())]
            }
            Event::Failed(Failure { status, .. }) => {
                vec![if status < 500 { Frame::Close(1_008, "DATA-0000") } else { Frame::Close(1_011, "NET-0000") }]
            }
            // A binary frame would be audio.
            Event::Garbage(turn) => vec![noise::garbage(turn, &json!({ "type": "Metadata" }), "request_id")],
            Event::Unknown(turn) => vec![noise::unknown(turn)],
        }
    }
}
