//! Deepgram Flux, recognition by turns: `/v2/listen`.
//!
//! The vendor's model gives a confidence that the turn is over; ours grows in a straight line with the silence, up to the
//! server's certainty. Thresholds and time-out work as documented.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::super::handshake::Refused;
use super::super::input::{Input, InputFormat};
use super::super::journal::Kind;
use super::super::query::Query;
use super::super::recogniser::{Recogniser, Word};
use super::{Heed, Idle, Manner, Outbox, Session, Told, Utterance, calm, samples, seconds};

const EOT: std::ops::RangeInclusive<f64> = 0.5..=1.0;
const EAGER: std::ops::RangeInclusive<f64> = 0.3..=0.9;
const TIMEOUT_MS: std::ops::RangeInclusive<u32> = 500..=60_000;

/// The model that knows languages.
const MULTILINGUAL: &str = "flux-general-multi";

/// Samples between two updates: 240 ms.
const WINDOW: u64 = 1_920;

/// When a turn ends.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Thresholds {
    eot: f64,
    eager: Option<f64>,
    timeout_ms: u32,
}

impl Thresholds {
    fn are_sound(self) -> bool {
        let eager = self.eager.is_none_or(|eager| EAGER.contains(&eager) && eager <= self.eot);
        EOT.contains(&self.eot) && eager && TIMEOUT_MS.contains(&self.timeout_ms)
    }
}

/// What a client asked for.
#[derive(Debug)]
pub(in super::super) struct Settings {
    format: InputFormat,
    thresholds: Thresholds,
    is_multilingual: bool,
    keyterms: Vec<String>,
    language_hints: Vec<String>,
}

impl Settings {
    pub(super) fn read(query: &Query) -> Result<Self, Refused> {
        let bad = |reason| Err(Refused::new(StatusCode::BAD_REQUEST, reason));
        query.only(&[
            "model",
            "encoding",
            "sample_rate",
            "eot_threshold",
            "eager_eot_threshold",
            "eot_timeout_ms",
            "keyterm",
            "language_hint",
            "profanity_filter",
            "numerals",
            "redact",
            "mip_opt_out",
            "tag",
        ])?;
        let model = query.must("model", &["flux-general-en", MULTILINGUAL])?;
        let language_hints = query.terms("language_hint", 20, 200)?;
        if !language_hints.is_empty() && model != MULTILINGUAL {
            return bad("language_hint is flux-general-multi's");
        }
        let thresholds = Thresholds {
            eot: query.number("eot_threshold", EOT)?.unwrap_or(0.7),
            eager: query.number("eager_eot_threshold", EAGER)?,
            timeout_ms: query.millis("eot_timeout_ms", TIMEOUT_MS)?.unwrap_or(5_000),
        };
        if !thresholds.are_sound() {
            return bad("eager_eot_threshold must not be above eot_threshold");
        }
        Ok(Self {
            format: query.format(
                "mulaw",
                "linear16",
                &["linear16", "linear32", "mulaw", "alaw", "opus", "ogg-opus"],
            )?,
            thresholds,
            is_multilingual: model == MULTILINGUAL,
            keyterms: query.terms("keyterm", 100, 10_000)?,
            language_hints,
        })
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct Flux {
    manner: Manner,
    settings: Settings,
    input: Input,
    utterance: Utterance,
    sequence: u64,
    turn: u64,
    /// `StartOfTurn` was sent.
    is_open: bool,
    /// `EagerEndOfTurn` was sent and not taken back.
    eager: bool,
    /// Where the last window ended.
    window: u64,
    /// Words came since.
    is_new: bool,
}

impl Flux {
    pub(super) fn new(settings: Settings, manner: Manner) -> Self {
        Self {
            manner,
            input: Input::new(settings.format),
            settings,
            utterance: Utterance::default(),
            sequence: 0,
            turn: 0,
            is_open: false,
            eager: false,
            window: 0,
            is_new: false,
        }
    }

    /// A message with what all of them have; every one counts.
    fn message(&mut self, kind: &str, rest: Value) -> Value {
        let mut message = json!({ "type": kind, "request_id": self.manner.request_id, "sequence_id": self.sequence });
        self.sequence += 1;
        if let (Some(message), Value::Object(rest)) = (message.as_object_mut(), rest) {
            message.extend(rest);
        }
        message
    }

    /// How sure it is that the turn is over. Never quite certain, so that a threshold of 1 is never reached.
    fn confidence(&self, ear: &Recogniser) -> f64 {
        ((0.04 + 0.92 * calm(ear, self.manner.certainty)) * 1_000.0).round() / 1_000.0
    }

    fn info(&mut self, event: &str, kind: Kind, trigger: Option<&str>, ear: &Recogniser, out: &mut Outbox) {
        // What was given out as a whole turn, or may be one, is not a guess.
        let wavers = self.manner.wavers && kind == Kind::Interim && !self.eager;
        let words = self.utterance.guess(wavers);
        let text = Utterance { words: words.clone() }.text();
        let words: Vec<Value> = words.iter().map(|word| json!({ "word": word.text, "confidence": 0.99 })).collect();
        let mut rest = json!({
            "event": event, "turn_index": self.turn, "audio_window_start": seconds(self.window),
            "audio_window_end": seconds(ear.now()), "transcript": text, "words": words,
            "end_of_turn_confidence": self.confidence(ear),
        });
        if let Some(rest) = rest.as_object_mut() {
            if let Some(trigger) = trigger {
                rest.insert("trigger".to_owned(), trigger.into());
            }
            if self.settings.is_multilingual && !text.is_empty() {
                rest.insert("languages".to_owned(), json!(["en"]));
            }
            if !self.settings.language_hints.is_empty() {
                rest.insert("languages_hinted".to_owned(), json!(self.settings.language_hints));
            }
        }
        let message = self.message("TurnInfo", rest);
        out.transcript(kind, &text, message);
        self.window = ear.now();
        self.is_new = false;
    }

    fn hear(&mut self, words: Vec<Word>, ear: &Recogniser, out: &mut Outbox) {
        if words.is_empty() {
            return;
        }
        self.utterance.words.extend(words);
        self.is_new = true;
        self.resume(ear, out);
        if !self.is_open {
            self.is_open = true;
            self.info("StartOfTurn", Kind::Interim, None, ear, out);
        }
    }

    fn resume(&mut self, ear: &Recogniser, out: &mut Outbox) {
        if std::mem::take(&mut self.eager) {
            self.info("TurnResumed", Kind::Interim, None, ear, out);
        }
    }

    fn end(&mut self, trigger: &str, ear: &Recogniser, out: &mut Outbox) {
        self.info("EndOfTurn", Kind::Final, Some(trigger), ear, out);
        self.utterance.take();
        self.turn += 1;
        self.is_open = false;
        self.eager = false;
    }

    /// Ends the turn, or tells that it may be over, if the silence says so.
    fn settle(&mut self, ear: &Recogniser, out: &mut Outbox) {
        let Thresholds { eot, eager, timeout_ms } = self.settings.thresholds;
        let confidence = self.confidence(ear);
        if confidence >= eot || self.utterance.is_full() {
            self.end("model", ear, out);
        } else if ear.quiet().is_some_and(|quiet| quiet >= samples(timeout_ms)) {
            self.end("timeout", ear, out);
        } else if !self.eager && eager.is_some_and(|eager| confidence >= eager) {
            self.eager = true;
            self.info("EagerEndOfTurn", Kind::Interim, None, ear, out);
        }
    }

    fn configure(&mut self, message: &Value, out: &mut Outbox) {
        let Some(settings) = self.wanted(message) else {
            let rest = json!({ "code": "CONFIGURE_INVALID", "description": "the configuration is out of range" });
            let failure = self.message("ConfigureFailure", rest);
            return out.say(failure);
        };
        let (thresholds, keyterms, language_hints) = settings;
        self.settings.thresholds = thresholds;
        self.settings.keyterms = keyterms;
        self.settings.language_hints = language_hints;
        let mut rest = json!({
            "thresholds": {
                "eager_eot_threshold": thresholds.eager, "eot_threshold": thresholds.eot,
                "eot_timeout_ms": thresholds.timeout_ms,
            },
            "keyterms": self.settings.keyterms,
        });
        if let Some(rest) = rest.as_object_mut().filter(|_| self.settings.is_multilingual) {
            rest.insert("language_hints".to_owned(), json!(self.settings.language_hints));
        }
        let success = self.message("ConfigureSuccess", rest);
        out.say(success);
    }

    /// What a `Configure` asks for; what it leaves out, or names as null, stays.
    fn wanted(&self, message: &Value) -> Option<(Thresholds, Vec<String>, Vec<String>)> {
        let texts = |name: &str, now: &Vec<String>| match message.get(name) {
            None | Some(Value::Null) => Some(now.clone()),
            Some(value) => value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        };
        let mut thresholds = self.settings.thresholds;
        if let Some(given) = message.get("thresholds").filter(|given| !given.is_null()) {
            let given = given.as_object()?;
            for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                match name.as_str() {
                    "eot_threshold" => thresholds.eot = value.as_f64()?,
                    "eager_eot_threshold" => thresholds.eager = Some(value.as_f64()?),
                    "eot_timeout_ms" => thresholds.timeout_ms = u32::try_from(value.as_u64()?).ok()?,
                    _ => return None,
                }
            }
        }
        let hints = texts("language_hints", &self.settings.language_hints)?;
        let may_hint = hints.is_empty() || self.settings.is_multilingual;
        let keyterms = texts("keyterms", &self.settings.keyterms)?;
        (thresholds.are_sound() && may_hint).then_some((thresholds, keyterms, hints))
    }

    fn fatal(&mut self, code: &str, description: &str, out: &mut Outbox) {
        let message =
            json!({ "type": "Error", "sequence_id": self.sequence, "code": code, "description": description });
        self.sequence += 1;
        out.say(message);
        out.close(1_011, "fatal error");
    }
}

impl Session for Flux {
    fn greet(&mut self, out: &mut Outbox) {
        let connected = self.message("Connected", json!({}));
        out.say(connected);
    }

    fn told(&mut self, told: Told<'_>, ear: &mut Recogniser, out: &mut Outbox) -> Heed {
        let text = match told {
            Told::Binary(bytes) => return Heed::Audio(self.input.mulaw(bytes)),
            Told::Text(text) => text,
        };
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        match message.get("type").and_then(Value::as_str) {
            Some("ForceEndTurn") => return Heed::Flush(Value::Null),
            Some("Configure") => self.configure(&message, out),
            Some("CloseStream") => {
                // The vendor says what it has heard; that this ends the turn, it does not say.
                let words = ear.flush();
                self.hear(words, ear, out);
                if self.is_new || self.is_open {
                    self.info("Update", Kind::Final, None, ear, out);
                }
                out.close(1_000, "");
            }
            Some(_) | None => self.fatal("UNPARSABLE_CLIENT_MESSAGE", "the message is none of the known ones", out),
        }
        Heed::Done
    }

    fn step(&mut self, words: Vec<Word>, ear: &Recogniser, out: &mut Outbox) {
        self.hear(words, ear, out);
        if ear.is_speaking() && self.is_open {
            self.resume(ear, out);
        }
        if self.is_open && ear.is_settled() && (!ear.is_speaking() || self.utterance.is_full()) {
            self.settle(ear, out);
        }
        if ear.now().saturating_sub(self.window) >= WINDOW {
            self.info("Update", Kind::Interim, None, ear, out);
        }
    }

    fn flush(&mut self, _mark: Value, ear: &mut Recogniser, out: &mut Outbox) {
        let words = ear.flush();
        self.hear(words, ear, out);
        if self.is_open {
            self.end("manual", ear, out);
        }
    }

    /// Assumed to be as in v1, without a sign of life other than audio.
    fn idle(&self) -> Option<Idle> {
        let reason = "NET-0001: no audio within the timeout window";
        Some(Idle { limit: Duration::from_secs(10), code: 1_011, reason })
    }

    /// The vendor documents no limit; fatal errors end in a close.
    fn expire(&mut self, out: &mut Outbox) {
        self.fatal("SESSION_LIMIT", "the session lasted too long", out);
    }

    fn fail(&mut self, out: &mut Outbox) {
        self.fatal("INTERNAL_SERVER_ERROR", "the transcription failed", out);
    }
}
