//! Cartesia Ink with built-in turns: `/stt/turns/websocket`.
//!
//! The vendor's model gives a probability that somebody still speaks; ours is 1 while a word is spoken and falls to 0 in a
//! straight line over the server's certainty of silence. Its thresholds and its time-out work as documented.

use serde_json::{Value, json};

use super::super::handshake::Refused;
use super::super::input::{Input, InputFormat};
use super::super::journal::Kind;
use super::super::query::Query;
use super::super::recogniser::{Recogniser, Word};
use super::{
    Heed, INK_ENCODINGS, INK_IDLE, Idle, Manner, Outbox, Session, Told, Utterance, calm, cartesia_error, samples,
};

const START: std::ops::RangeInclusive<f64> = 0.5..=0.9;
const EAGER: std::ops::RangeInclusive<f64> = 0.3..=0.6;
const END: std::ops::RangeInclusive<f64> = 0.05..=0.5;
const TIMEOUT_MS: std::ops::RangeInclusive<f64> = 640.0..=11_200.0;

/// When a turn begins and ends.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Thresholds {
    start: f64,
    eager: f64,
    end: f64,
    timeout_ms: f64,
}

impl Thresholds {
    /// Each in its range, and start above eager above end.
    fn are_sound(self) -> bool {
        let ranges = [(START, self.start), (EAGER, self.eager), (END, self.end), (TIMEOUT_MS, self.timeout_ms)];
        ranges.iter().all(|(range, value)| range.contains(value)) && self.start > self.eager && self.eager > self.end
    }
}

/// What a client asked for.
#[derive(Debug)]
pub(in super::super) struct Settings {
    format: InputFormat,
    thresholds: Thresholds,
}

impl Settings {
    pub(super) fn read(query: &Query) -> Result<Self, Refused> {
        query.only(&[
            "model",
            "encoding",
            "sample_rate",
            "keyterm",
            "turn_start_threshold",
            "turn_eager_end_threshold",
            "turn_end_threshold",
            "turn_end_timeout_ms",
            "api_key",
            "access_token",
            "cartesia_version",
        ])?;
        query.must("model", &["ink-2"])?;
        query.terms("keyterm", 100, 1_200)?;
        let thresholds = Thresholds {
            start: query.number("turn_start_threshold", START)?.unwrap_or(0.8),
            eager: query.number("turn_eager_end_threshold", EAGER)?.unwrap_or(0.4),
            end: query.number("turn_end_threshold", END)?.unwrap_or(0.2),
            timeout_ms: query.number("turn_end_timeout_ms", TIMEOUT_MS)?.unwrap_or(5_600.0),
        };
        if !thresholds.are_sound() {
            let reason = "the start threshold must be above the eager one, and that above the end one";
            return Err(Refused::new(tokio_tungstenite::tungstenite::http::StatusCode::BAD_REQUEST, reason));
        }
        let format = query.format("pcm_mulaw", "pcm_s16le", &INK_ENCODINGS)?;
        Ok(Self { format, thresholds })
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct InkTurns {
    manner: Manner,
    input: Input,
    thresholds: Thresholds,
    utterance: Utterance,
    is_open: bool,
    /// `turn.eager_end` was sent and not taken back.
    eager: bool,
}

impl InkTurns {
    pub(super) fn new(settings: Settings, manner: Manner) -> Self {
        Self {
            manner,
            input: Input::new(settings.format),
            thresholds: settings.thresholds,
            utterance: Utterance::default(),
            is_open: false,
            eager: false,
        }
    }

    fn event(&self, name: &str) -> Value {
        json!({ "type": name, "request_id": self.manner.request_id })
    }

    fn with_text(&self, name: &str, text: &str) -> Value {
        json!({ "type": name, "request_id": self.manner.request_id, "transcript": text })
    }

    fn open(&mut self, out: &mut Outbox) {
        if !self.is_open {
            self.is_open = true;
            out.say(self.event("turn.start"));
        }
    }

    fn resume(&mut self, out: &mut Outbox) {
        if std::mem::take(&mut self.eager) {
            out.say(self.event("turn.resume"));
        }
    }

    fn hear(&mut self, words: Vec<Word>, out: &mut Outbox) {
        if words.is_empty() {
            return;
        }
        self.open(out);
        self.resume(out);
        self.utterance.words.extend(words);
        let text = self.utterance.guessed(self.manner.wavers);
        out.transcript(Kind::Interim, &text, self.with_text("turn.update", &text));
    }

    fn end(&mut self, out: &mut Outbox) {
        let text = self.utterance.take().text();
        out.transcript(Kind::Final, &text, self.with_text("turn.end", &text));
        self.is_open = false;
        self.eager = false;
    }

    fn refuse(&self, message: &str, out: &mut Outbox) {
        out.say(cartesia_error(&self.manner.request_id, 400, "Bad request", message));
    }

    /// `{"type":"config","turn":{...}}`: what is named changes, the rest stays.
    fn configure(&mut self, message: &Value, out: &mut Outbox) {
        let turn = message.get("turn").unwrap_or(&Value::Null);
        let number = |name: &str, now: f64| match turn.get(name) {
            None | Some(Value::Null) => Some(now),
            Some(value) => value.as_f64(),
        };
        let now = self.thresholds;
        let wanted = || {
            Some(Thresholds {
                start: number("start_threshold", now.start)?,
                eager: number("eager_end_threshold", now.eager)?,
                end: number("end_threshold", now.end)?,
                timeout_ms: number("end_timeout_ms", now.timeout_ms)?,
            })
        };
        match wanted().filter(|thresholds| thresholds.are_sound() && (turn.is_object() || turn.is_null())) {
            Some(thresholds) => self.thresholds = thresholds,
            None => self.refuse("the turn settings are out of range", out),
        }
    }
}

impl Session for InkTurns {
    fn greet(&mut self, out: &mut Outbox) {
        out.say(self.event("connected"));
    }

    fn told(&mut self, told: Told<'_>, ear: &mut Recogniser, out: &mut Outbox) -> Heed {
        let text = match told {
            Told::Binary(bytes) => return Heed::Audio(self.input.mulaw(bytes)),
            Told::Text(text) => text,
        };
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        match message.get("type").and_then(Value::as_str) {
            Some("close") => {
                self.hear(ear.flush(), out);
                if self.is_open {
                    self.end(out);
                }
                out.close(1_000, "");
            }
            Some("config") => self.configure(&message, out),
            Some(_) => self.refuse("unknown command", out),
            None => self.refuse("a command is a json object with a type", out),
        }
        Heed::Done
    }

    fn step(&mut self, words: Vec<Word>, ear: &Recogniser, out: &mut Outbox) {
        self.hear(words, out);
        if ear.is_speaking() {
            self.open(out);
            self.resume(out);
            if !self.utterance.is_full() {
                return;
            }
        }
        if !self.is_open || !ear.is_settled() {
            return;
        }
        let speaking = 1.0 - calm(ear, self.manner.certainty);
        let quiet_ms = ear.quiet().map_or(0.0, |quiet| quiet as f64 / samples(1) as f64);
        if speaking <= self.thresholds.end || quiet_ms >= self.thresholds.timeout_ms || self.utterance.is_full() {
            self.end(out);
        } else if speaking <= self.thresholds.eager && !self.eager {
            self.eager = true;
            let text = self.utterance.text();
            out.transcript(Kind::Interim, &text, self.with_text("turn.eager_end", &text));
        }
    }

    /// There is no such command here; the connection never asks.
    fn flush(&mut self, _mark: Value, ear: &mut Recogniser, out: &mut Outbox) {
        self.hear(ear.flush(), out);
    }

    fn idle(&self) -> Option<Idle> {
        Some(INK_IDLE)
    }

    /// The vendor documents no limit and no farewell: a plain close.
    fn expire(&mut self, out: &mut Outbox) {
        out.close(1_000, "session duration limit reached");
    }

    fn fail(&mut self, out: &mut Outbox) {
        out.say(cartesia_error(&self.manner.request_id, 500, "Internal error", "the transcription failed"));
        out.close(1_011, "internal error");
    }
}
