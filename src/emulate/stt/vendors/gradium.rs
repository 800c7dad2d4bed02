//! Gradium's streaming recognition: `/api/speech/asr`.
//!
//! Words are final as they come, but late: by `delay_in_frames` frames of 80 ms. A flush gives out what was heard at once.
//! Whether the turn is over is left to the client, who is told every 80 ms how likely silence is.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::super::input::{Input, InputFormat};
use super::super::journal::Kind;
use super::super::recogniser::{Recogniser, Word};
use super::{Heed, Idle, Manner, Outbox, Session, Told, calm, seconds};

/// Samples of one frame: 80 ms.
const FRAME: u64 = 640;

/// The delays that a client may choose, in frames.
const DELAYS: [u64; 11] = [7, 8, 10, 12, 14, 16, 20, 24, 32, 36, 48];

/// The delay of a client that chooses none.
const DELAY_DEFAULT: u64 = 16;

/// Every input format that the vendor has; the scripted recogniser compares those at 8 kHz in mu-law and s16.
const FORMATS: [&str; 12] = [
    "pcm",
    "pcm_8000",
    "pcm_16000",
    "pcm_22050",
    "pcm_24000",
    "pcm_44100",
    "pcm_48000",
    "ulaw_8000",
    "mulaw_8000",
    "alaw_8000",
    "wav",
    "opus",
];

/// The horizons in seconds, and how likely silence is while somebody speaks.
const HORIZONS: [(f64, f64); 4] = [(0.5, 0.05), (1.0, 0.08), (2.0, 0.12), (3.0, 0.15)];

/// How likely silence is after a long one.
const SILENT: f64 = 0.98;

/// What closes a socket on which the protocol was broken.
const POLICY: u16 = 1_008;

/// One session.
#[derive(Debug)]
pub(super) struct Gradium {
    manner: Manner,
    /// `None` before `setup`.
    input: Option<Input>,
    steps: u64,
}

/// What a `setup` asks for.
#[derive(Debug)]
struct Setup {
    format: InputFormat,
    model: String,
    delay: u64,
}

impl Setup {
    fn read(message: &Value) -> Result<Self, &'static str> {
        // The SDKs send the configuration as a JSON text.
        let config = match message.get("json_config") {
            None | Some(Value::Null) => Value::Null,
            Some(Value::String(text)) => serde_json::from_str(text).map_err(|_| "json_config is not json")?,
            Some(config) => config.clone(),
        };
        if !(config.is_null() || config.is_object()) {
            return Err("json_config is not an object");
        }
        let delay = match config.get("delay_in_frames") {
            None | Some(Value::Null) => DELAY_DEFAULT,
            Some(delay) => {
                delay.as_u64().filter(|delay| DELAYS.contains(delay)).ok_or("delay_in_frames is not possible")?
            }
        };
        let format = match message.get("input_format").map_or(Some("wav"), Value::as_str) {
            Some("ulaw_8000" | "mulaw_8000") => InputFormat::Mulaw,
            Some("pcm_8000") => InputFormat::S16,
            Some(format) if FORMATS.contains(&format) => {
                return Err("the scripted recogniser compares ulaw_8000 and pcm_8000 only");
            }
            Some(_) | None => return Err("unknown input_format"),
        };
        let model = message.get("model_name").map_or(Some("default"), Value::as_str).ok_or("model_name is not text")?;
        Ok(Self { format, model: model.to_owned(), delay })
    }
}

impl Gradium {
    pub(super) fn new(manner: Manner) -> Self {
        Self { manner, input: None, steps: 0 }
    }

    fn refuse(message: &str, out: &mut Outbox) {
        out.say(json!({ "type": "error", "message": message, "code": POLICY }));
        out.close(POLICY, "protocol error");
    }

    fn set_up(&mut self, message: &Value, ear: &mut Recogniser, out: &mut Outbox) {
        match Setup::read(message) {
            Ok(_) if self.input.is_some() => Self::refuse("setup was sent before", out),
            Ok(setup) => {
                ear.set_latency(setup.delay * FRAME);
                self.input = Some(Input::new(setup.format));
                out.say(json!({
                    "type": "ready", "request_id": self.manner.request_id, "model_name": setup.model,
                    "sample_rate": 24_000, "frame_size": 1_920, "delay_in_frames": setup.delay,
                    "text_stream_names": ["text"], "audio_stream_names": [],
                }));
            }
            Err(reason) => Self::refuse(reason, out),
        }
    }

    fn say(words: Vec<Word>, out: &mut Outbox) {
        for word in words {
            let text = json!({ "type": "text", "text": word.text, "start_s": seconds(word.start), "stream_id": 0 });
            out.transcript(Kind::Final, &word.text, text);
            out.say(json!({ "type": "end_text", "stop_s": seconds(word.end), "stream_id": 0 }));
        }
    }

    fn vad(&self, ear: &Recogniser) -> Vec<Value> {
        // Before the first word it is as silent as after the last.
        let silence = match ear.quiet() {
            None if !ear.is_speaking() => 1.0,
            _ => calm(ear, self.manner.certainty),
        };
        let likely = |speaking: f64| ((speaking + (SILENT - speaking) * silence) * 1_000.0).round() / 1_000.0;
        let horizon =
            |(seconds, speaking): &(f64, f64)| json!({ "horizon_s": seconds, "inactivity_prob": likely(*speaking) });
        HORIZONS.iter().map(horizon).collect()
    }
}

impl Session for Gradium {
    fn greet(&mut self, _out: &mut Outbox) {}

    fn told(&mut self, told: Told<'_>, ear: &mut Recogniser, out: &mut Outbox) -> Heed {
        let Told::Text(text) = told else {
            Self::refuse("binary frames are not part of the protocol", out);
            return Heed::Done;
        };
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let kind = message.get("type").and_then(Value::as_str);
        match (kind, &mut self.input) {
            (Some("setup"), _) => self.set_up(&message, ear, out),
            (Some("audio" | "flush" | "end_of_stream"), None) => Self::refuse("setup must come first", out),
            (Some("audio"), Some(input)) => {
                let audio = message.get("audio").and_then(Value::as_str);
                match audio.and_then(|audio| BASE64_STANDARD.decode(audio).ok()) {
                    Some(bytes) => return Heed::Audio(input.mulaw(&bytes)),
                    None => Self::refuse("audio is not base64", out),
                }
            }
            (Some("flush"), Some(_)) => return Heed::Flush(message.get("flush_id").cloned().unwrap_or_default()),
            (Some("end_of_stream"), Some(_)) => {
                Self::say(ear.flush(), out);
                out.say(json!({ "type": "end_of_stream" }));
                out.close(1_000, "");
            }
            (Some(_) | None, _) => Self::refuse("unknown message type", out),
        }
        Heed::Done
    }

    fn step(&mut self, words: Vec<Word>, ear: &Recogniser, out: &mut Outbox) {
        Self::say(words, out);
        if ear.now().is_multiple_of(FRAME) {
            out.say(json!({
                "type": "step", "step_idx": self.steps, "step_duration_s": 0.08, "total_duration_s": seconds(ear.now()),
                "vad": self.vad(ear),
            }));
            self.steps += 1;
        }
    }

    fn flush(&mut self, mark: Value, ear: &mut Recogniser, out: &mut Outbox) {
        Self::say(ear.flush(), out);
        out.say(json!({ "type": "flushed", "flush_id": mark }));
    }

    /// Nothing is known about silent clients.
    fn idle(&self) -> Option<Idle> {
        None
    }

    /// The vendor's errors carry the code with which the socket is closed.
    fn expire(&mut self, out: &mut Outbox) {
        out.say(json!({ "type": "error", "message": "the session lasted too long", "code": POLICY }));
        out.close(POLICY, "session limit");
    }

    fn fail(&mut self, out: &mut Outbox) {
        out.say(json!({ "type": "error", "message": "the transcription failed", "code": 1_011 }));
        out.close(1_011, "internal error");
    }
}
