//! Deepgram's Flux: `/v2/speak`.
//!
//! Text comes in turns: the first `Speak` begins one, `Flush` ends its text. One turn is active, those behind it wait. Its
//! audio, binary and without ids, lies between `SpeechStarted` and `SpeechMetadata`. A turn is a context of the journal under
//! its `speech_id`. Where the public documentation is silent, this server chooses:
//!
//! - Whole sentences are spoken as soon as more text follows, without a `Flush`.
//! - `Flushed` comes with the first audio that is sent after the `Flush`, so that more audio follows it; at the latest just
//!   before `SpeechMetadata`.
//! - An `Interrupt` ends the active turn and drops those that wait. It is about the turn in which its offset lies, which may
//!   be one that was sent long ago; an offset beyond all audio counts as its end. A word is spoken if it was heard to its
//!   end. Until the answer is sent nothing else the client says is listened to, so none is ever in progress.
//! - The speed may be 0.7 to 1.5 and holds for turns that begin after it.
//! - The fault `no-done` withholds `SpeechMetadata` and `SpeechInterrupted`; `wrong-ids` mixes in the `SpeechMetadata` of
//!   turns that never were.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value, json};

use super::super::connection::{Outgoing, failed, outgoing};
use super::super::order::{Buffering, Input, Lifetime, Order, Part};
use super::super::roster::{Line, Queueing, Roster};
use super::super::wording::{Event, Failure, Frame, Wording};
use super::super::{ContextRecord, FaultKind, Place};
use super::{Model, Rates, Told, noise, object, uuid};

/// The rates that may be asked for.
pub(super) const RATES: Rates = (&[8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000], &[8_000, 16_000]);

/// Turns whose audio can still be interrupted; older ones count as heard.
const TURNS_MAX: usize = 1_000;

/// What a turn's two sides both know.
#[derive(Debug, Default)]
struct Turn {
    characters: AtomicU32,
    /// `Flush` has come, and was not answered yet.
    flushing: AtomicBool,
}

/// A turn, as it is remembered for interruptions.
#[derive(Debug)]
struct Said {
    /// Its number in the journal.
    number: u32,
    id: String,
    turn: Arc<Turn>,
}

/// One connection's side.
#[derive(Debug)]
pub(in crate::emulate) struct Flux {
    line: Line,
    model: Model,
    roster: Roster<()>,
    /// The turn that takes text.
    current: Option<(String, Arc<Turn>)>,
    begun: u32,
    speed: Option<f32>,
    /// Turns since the last interruption, and the session's audio before them.
    turns: Vec<Said>,
    base_ms: u64,
    /// Where the last interruption was.
    interrupted_ms: Option<u64>,
    characters: u64,
    /// The socket closes when all is said.
    ending: bool,
}

impl Flux {
    pub(super) fn new(model: Model, line: Line) -> Self {
        Self {
            roster: Roster::new(line.clone()),
            line,
            model,
            current: None,
            begun: 0,
            speed: None,
            turns: Vec::new(),
            base_ms: 0,
            interrupted_ms: None,
            characters: 0,
            ending: false,
        }
    }

    pub(super) fn greet(&mut self) -> Vec<Outgoing> {
        say(&json!({
            "type": "Connected", "request_id": uuid(self.line.connection, 0), "model_name": self.model.name,
            "model_version": "emulated", "model_uuids": [uuid(self.line.connection, 1)],
        }))
    }

    pub(super) async fn reap(&mut self) -> Vec<Outgoing> {
        self.roster.reap().await;
        self.leave()
    }

    /// Closes the socket if the client wanted that and all is said.
    fn leave(&self) -> Vec<Outgoing> {
        if !(self.ending && self.roster.is_quiet()) {
            return Vec::new();
        }
        let metadata = json!({
            "type": "SessionMetadata", "total_audio_duration_ms": self.total_ms(),
            "total_input_character_count": self.characters, "total_billable_character_count": self.characters,
        });
        outgoing(vec![Frame::Text(metadata.to_string()), Frame::Close(1_000, "")])
    }

    pub(super) async fn told(&mut self, told: Told<'_>) -> Vec<Outgoing> {
        let fields = match told {
            Told::Text(text) => object(text),
            Told::Binary => None,
        };
        let Some(fields) = fields else { return error("MESSAGE-0000", "The message is not a JSON object.") };
        if self.ending {
            return Vec::new();
        }
        match fields.get("type").and_then(Value::as_str) {
            Some("Speak") => match fields.get("text").and_then(Value::as_str) {
                Some(text) => self.speak(text).await,
                None => error("DATA-0000", "Speak has no text."),
            },
            Some("Flush") => self.flush().await,
            Some("Interrupt") => match fields.get("playback_offset") {
                None | Some(Value::Null) => self.interrupt(None).await,
                Some(offset) => match (offset.get("type").and_then(Value::as_str), offset.get("value")) {
                    (Some("time_ms"), Some(Value::Number(value))) if value.is_u64() => {
                        self.interrupt(value.as_u64()).await
                    }
                    _ => error("DATA-0000", "playback_offset is not a time in milliseconds."),
                },
            },
            Some("Configure") => self.configure(fields.get("speed")),
            Some("Close") => {
                self.ending = true;
                self.finish().await;
                self.leave()
            }
            Some(_) | None => error("MESSAGE-0000", "The type is not known."),
        }
    }

    fn open(&mut self) -> Option<(String, Arc<Turn>)> {
        if self.current.is_none() {
            let place = Place::take(&self.line.shared)?;
            let id = format!("dg_sp_{:06x}{:06x}", self.line.connection & 0xFF_FFFF, self.begun & 0xFF_FFFF);
            self.begun += 1;
            let order = Order {
                encoding: self.model.encoding,
                rate: self.model.rate,
                buffering: Buffering::Sentences(None),
                timestamps: false,
                speed: self.speed,
                volume: None,
            };
            let turn = Arc::<Turn>::default();
            let messages =
                Messages { id: id.clone(), turn: Arc::clone(&turn), rate: self.model.rate, has_started: false };
            let kind = (order, Lifetime::Endless, Queueing::Behind);
            let number = self.roster.begin(&id, &id, place, kind, (), messages).number;
            if self.turns.len() == TURNS_MAX {
                let oldest = self.turns.remove(0);
                self.base_ms += self.sent_ms(oldest.number);
            }
            self.turns.push(Said { number, id: id.clone(), turn: Arc::clone(&turn) });
            self.current = Some((id, turn));
        }
        self.current.clone()
    }

    async fn speak(&mut self, text: &str) -> Vec<Outgoing> {
        if let Some((id, turn)) = self.open() {
            let count = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
            turn.characters.fetch_add(count, Ordering::Relaxed);
            self.characters += u64::from(count);
            let parts = vec![Part::Text(text.to_owned())];
            self.roster.input(&id, Input { shown: Some(text.to_owned()), parts, more: true }).await;
        }
        Vec::new()
    }

    async fn flush(&mut self) -> Vec<Outgoing> {
        if self.current.is_none() {
            return warning("NO_ACTIVE_SPEECH", "There is no turn to flush.");
        }
        self.finish().await;
        Vec::new()
    }

    async fn finish(&mut self) {
        if let Some((id, turn)) = self.current.take() {
            turn.flushing.store(true, Ordering::Relaxed);
            self.roster.input(&id, Input { shown: None, parts: vec![Part::Flush], more: false }).await;
        }
    }

    fn record(&self, number: u32) -> Option<ContextRecord> {
        self.line.shared.journal.numbered(number)
    }

    /// Audio of a turn that was sent.
    fn sent_ms(&self, number: u32) -> u64 {
        self.record(number).map_or(0, |record| record.samples_sent * 1_000 / u64::from(record.rate.max(1)))
    }

    /// The session's audio.
    fn total_ms(&self) -> u64 {
        self.base_ms + self.turns.iter().map(|told| self.sent_ms(told.number)).sum::<u64>()
    }

    async fn interrupt(&mut self, offset_ms: Option<u64>) -> Vec<Outgoing> {
        if self.total_ms() == 0 {
            return warning("NO_AUDIO_GENERATED", "The session has produced no audio yet.");
        }
        if let (Some(offset), Some(before)) = (offset_ms, self.interrupted_ms)
            && offset <= before
        {
            return warning(
                "INVALID_INTERRUPT_OFFSET",
                "The offset did not advance past that of an earlier Interrupt.",
            );
        }
        self.current = None;
        self.roster.cancel_all().await;
        let played_ms = offset_ms.unwrap_or_else(|| self.total_ms());
        let answer = self.interrupted(played_ms, offset_ms.is_some());
        (self.base_ms, self.interrupted_ms) = (played_ms, Some(played_ms));
        self.turns.clear();
        if self.line.shared.faults.take(FaultKind::NoDone).is_some() {
            return Vec::new();
        }
        answer.map_or_else(
            || warning("NO_ACTIVE_SPEECH", "Nothing was said since the last Interrupt."),
            |answer| say(&answer),
        )
    }

    /// What is said about an interruption at `played_ms` of the session's audio.
    fn interrupted(&self, played_ms: u64, splits: bool) -> Option<Value> {
        let mut from_ms = self.base_ms;
        let mut hit = None;
        for told in &self.turns {
            let length = self.sent_ms(told.number);
            if length > 0 || hit.is_none() {
                hit = Some((told, from_ms, length));
            }
            from_ms += length;
            if played_ms < from_ms {
                break;
            }
        }
        let (told, from_ms, length_ms) = hit?;
        let mut answer = json!({
            "type": "SpeechInterrupted", "audio_played_ms": played_ms,
            "metadata": metadata(&told.id, length_ms, told.turn.characters.load(Ordering::Relaxed)),
        });
        if let (true, Some(record), Some(fields)) = (splits, self.record(told.number), answer.as_object_mut()) {
            let (spoken, remaining) = split(&record, played_ms.saturating_sub(from_ms));
            fields.insert("text_spoken".to_owned(), Value::from(spoken));
            fields.insert("text_remaining".to_owned(), Value::from(remaining));
        }
        Some(answer)
    }

    fn configure(&mut self, speed: Option<&Value>) -> Vec<Outgoing> {
        let failure = |code, value: Option<f64>| {
            let description = "The speed must be 0.7 to 1.5 in steps of 0.05.";
            let mut failure = json!({ "type": "ConfigureFailure", "code": code, "description": description });
            if let (Some(value), Some(fields)) = (value, failure.as_object_mut()) {
                fields.insert("field".to_owned(), Value::from("speed"));
                fields.insert("value".to_owned(), Value::from(value));
            }
            say(&failure)
        };
        let asked = match speed {
            None | Some(Value::Null) => None,
            Some(speed) => match speed.as_f64() {
                None => return failure("SPEED_OUT_OF_RANGE", None),
                Some(speed) if !(0.7..=1.5).contains(&speed) => return failure("SPEED_OUT_OF_RANGE", Some(speed)),
                Some(speed) if ((speed * 20.0) - (speed * 20.0).round()).abs() > 1e-6 => {
                    return failure("SPEED_INCREMENT_INVALID", Some(speed));
                }
                Some(speed) => Some(speed),
            },
        };
        #[expect(clippy::cast_possible_truncation, reason = "a small setting: the digits beyond f32 mean nothing")]
        if let Some(speed) = asked {
            self.speed = Some(speed as f32);
        }
        let applied = asked.map_or_else(|| json!({}), |speed| json!({ "speed": speed }));
        say(&json!({ "type": "ConfigureSuccess", "applied": applied }))
    }
}

/// A turn's text, divided behind the last word that was heard to its end.
fn split(record: &ContextRecord, heard_ms: u64) -> (String, String) {
    let mut cut = 0;
    for word in record.words.iter().take_while(|word| u64::from(word.end_ms) <= heard_ms) {
        let found = record.text.get(cut..).and_then(|rest| rest.find(&word.text));
        cut += found.map_or(0, |at| at + word.text.len());
    }
    let (spoken, remaining) = record.text.split_at_checked(cut).unwrap_or((&record.text, ""));
    (spoken.to_owned(), remaining.to_owned())
}

fn metadata(id: &str, audio_ms: u64, characters: u32) -> Value {
    json!({
        "speech_id": id, "audio_duration_ms": audio_ms, "input_character_count": characters,
        "billable_character_count": characters,
        "controls_applied": { "pronunciations_applied": 0, "breaks_applied": 0, "pronunciation_warnings": 0 },
    })
}

fn say(message: &Value) -> Vec<Outgoing> {
    outgoing(vec![Frame::Text(message.to_string())])
}

fn warning(code: &str, description: &str) -> Vec<Outgoing> {
    say(&json!({ "type": "Warning", "code": code, "description": description }))
}

/// An error, and the end of the socket with it.
fn error(code: &str, description: &str) -> Vec<Outgoing> {
    failed(fatal(code, description, 1_008))
}

fn fatal(code: &str, description: &str, close: u16) -> Vec<Frame> {
    let error = json!({ "type": "Error", "code": code, "description": description });
    vec![Frame::Text(error.to_string()), Frame::Close(close, "fatal error")]
}

/// The messages of one turn.
#[derive(Debug)]
struct Messages {
    id: String,
    turn: Arc<Turn>,
    rate: u32,
    has_started: bool,
}

impl Messages {
    fn flushed(&self) -> Option<Frame> {
        let was_asked = self.turn.flushing.swap(false, Ordering::Relaxed);
        was_asked.then(|| Frame::Text(json!({ "type": "Flushed", "speech_id": self.id }).to_string()))
    }

    fn ended(&self, id: &str, samples: u64) -> Frame {
        let characters = self.turn.characters.load(Ordering::Relaxed);
        let mut message = metadata(id, samples * 1_000 / u64::from(self.rate.max(1)), characters);
        if let Some(fields) = message.as_object_mut() {
            fields.insert("type".to_owned(), Value::from("SpeechMetadata"));
        }
        Frame::Text(message.to_string())
    }
}

impl Wording for Messages {
    fn say(&mut self, event: Event<'_>) -> Vec<Frame> {
        match event {
            Event::Words { .. } | Event::Flushed { .. } | Event::Expired | Event::TooLate => Vec::new(),
            Event::Started { .. } => {
                self.has_started = true;
                vec![Frame::Text(json!({ "type": "SpeechStarted", "speech_id": self.id }).to_string())]
            }
            Event::Audio(piece) => {
                [Some(Frame::Binary(piece.bytes.to_vec())), self.flushed()].into_iter().flatten().collect()
            }
            Event::Stray(_) => vec![self.ended("dg_sp_ffffffffffff", 0)],
            Event::Done { samples } => {
                let description = "The text of the turn had nothing to say.";
                let silent = json!({ "type": "Warning", "code": "NO_SYNTHESIZABLE_TEXT", "description": description });
                let silent = (!self.has_started).then(|| Frame::Text(silent.to_string()));
                [self.flushed(), silent, Some(self.ended(&self.id, samples))].into_iter().flatten().collect()
            }
            Event::Failed(Failure { status, message, .. }) => {
                if status < 500 {
                    fatal("DATA-0000", message, 1_008)
                } else {
                    fatal("NET-0000", message, 1_011)
                }
            }
            // A binary frame would be audio.
            Event::Garbage(turn) => vec![noise::garbage(turn, &json!({ "type": "Warning" }), "code")],
            Event::Unknown(turn) => vec![noise::unknown(turn)],
        }
    }
}
