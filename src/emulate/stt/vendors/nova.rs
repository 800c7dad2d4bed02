//! Deepgram's streaming recognition: `/v1/listen`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::super::handshake::Refused;
use super::super::input::{Input, InputFormat};
use super::super::journal::Kind;
use super::super::query::Query;
use super::super::recogniser::{Recogniser, Word};
use super::{Heed, Idle, Manner, Outbox, Session, Told, Utterance, samples, seconds};

/// An utterance longer than this is made final piece by piece: three seconds.
const PIECE: u64 = 3 * 8_000;

/// Without speech an empty final result comes this often: five seconds.
const EMPTY: u64 = 5 * 8_000;

/// Every parameter that the vendor documents. Those that change what a scripted transcript could not show are taken and
/// have no effect.
const PARAMETERS: [&str; 31] = [
    "callback",
    "callback_method",
    "channels",
    "detect_entities",
    "diarize",
    "diarize_model",
    "dictation",
    "encoding",
    "endpointing",
    "extra",
    "interim_results",
    "keyterm",
    "keywords",
    "language",
    "language_hint",
    "mip_opt_out",
    "model",
    "multichannel",
    "no_delay",
    "numerals",
    "profanity_filter",
    "punctuate",
    "redact",
    "replace",
    "sample_rate",
    "search",
    "smart_format",
    "tag",
    "utterance_end_ms",
    "vad_events",
    "version",
];

const ENCODINGS: [&str; 10] =
    ["linear16", "linear32", "flac", "alaw", "mulaw", "amr-nb", "amr-wb", "opus", "ogg-opus", "speex"];

/// What a client asked for.
#[derive(Debug)]
pub(in super::super) struct Settings {
    format: InputFormat,
    model: String,
    interim: bool,
    /// Samples of silence that end an utterance; `None` if nothing does.
    endpointing: Option<u64>,
    utterance_end: Option<u64>,
    vad_events: bool,
    /// Punctuation and capitals in the transcript.
    formatted: bool,
}

impl Settings {
    pub(super) fn read(query: &Query) -> Result<Self, Refused> {
        let bad = |reason| Err(Refused::new(StatusCode::BAD_REQUEST, reason));
        query.only(&PARAMETERS)?;
        let interim = query.flag("interim_results")?;
        let utterance_end = query.millis("utterance_end_ms", 1_000..=5_000)?;
        if utterance_end.is_some() && !interim {
            return bad("utterance_end_ms needs interim_results=true");
        }
        if query.choice("channels", &["1"])?.is_none() && query.flag("multichannel")? {
            return bad("one channel is compared, no more");
        }
        let endpointing = match query.one("endpointing")? {
            None | Some("true") => Some(10),
            Some("false") => None,
            Some(_) => query.millis("endpointing", 0..=60_000)?,
        };
        Ok(Self {
            format: query.format("mulaw", "linear16", &ENCODINGS)?,
            model: query.one("model")?.unwrap_or("general").to_owned(),
            interim,
            endpointing: endpointing.map(samples),
            utterance_end: utterance_end.map(samples),
            vad_events: query.flag("vad_events")?,
            formatted: query.flag("smart_format")? || query.flag("punctuate")?,
        })
    }
}

/// What a final result says beside its words.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    speech_final: bool,
    from_finalize: bool,
}

/// One session.
#[derive(Debug)]
pub(super) struct Nova {
    manner: Manner,
    settings: Settings,
    input: Input,
    utterance: Utterance,
    /// Where the last final result ended, which is where the next one begins.
    final_at: u64,
    /// Whether `SpeechStarted` holds since the last end of speech.
    started: bool,
    /// The end of the last word, until `UtteranceEnd` has told of it.
    last_word: Option<u64>,
}

impl Nova {
    pub(super) fn new(settings: Settings, manner: Manner) -> Self {
        let input = Input::new(settings.format);
        let utterance = Utterance::default();
        Self { manner, settings, input, utterance, final_at: 0, started: false, last_word: None }
    }

    fn word(&self, word: &Word) -> Value {
        let confidence = 0.99;
        let bare = bare(&word.text);
        let (start, end) = (seconds(word.start), seconds(word.end));
        if self.settings.formatted {
            return json!({ "word": bare, "start": start, "end": end, "confidence": confidence, "punctuated_word": word.text });
        }
        json!({ "word": bare, "start": start, "end": end, "confidence": confidence })
    }

    fn results(&self, kind: Kind, words: &[Word], marks: Marks, now: u64, out: &mut Outbox) {
        let text = |word: &Word| if self.settings.formatted { word.text.clone() } else { bare(&word.text) };
        let transcript = words.iter().map(text).collect::<Vec<_>>().join(" ");
        let words: Vec<Value> = words.iter().map(|word| self.word(word)).collect();
        let confidence = if words.is_empty() { 0.0 } else { 0.98 };
        let message = json!({
            "type": "Results", "channel_index": [0, 1], "duration": seconds(now.saturating_sub(self.final_at)),
            "start": seconds(self.final_at), "is_final": kind == Kind::Final, "speech_final": marks.speech_final,
            "from_finalize": marks.from_finalize,
            "channel": {
                "alternatives": [{ "transcript": transcript, "confidence": confidence, "words": words }],
            },
            "metadata": {
                "request_id": self.manner.request_id,
                "model_info": { "name": self.settings.model, "version": "scripted", "arch": "scripted" },
                "model_uuid": "00000000-0000-4000-8000-000000000000",
            },
        });
        out.transcript(kind, &transcript, message);
    }

    fn finalise(&mut self, marks: Marks, now: u64, out: &mut Outbox) {
        let utterance = self.utterance.take();
        self.results(Kind::Final, &utterance.words, marks, now, out);
        self.final_at = now;
        if marks.speech_final {
            self.started = false;
        }
    }

    fn hear(&mut self, words: Vec<Word>, now: u64, out: &mut Outbox) {
        let (Some(first), Some(last)) = (words.first(), words.last()) else { return };
        self.last_word = Some(last.end);
        let begun = self.utterance.words.first().map_or(first.start, |word| word.start);
        if self.utterance.is_full() || first.end.saturating_sub(begun) > PIECE {
            self.finalise(Marks::default(), first.start.max(self.final_at), out);
        }
        self.utterance.words.extend(words);
        if self.settings.interim {
            let guess = self.utterance.guess(self.manner.wavers);
            self.results(Kind::Interim, &guess, Marks::default(), now, out);
        }
    }

    /// What silence brings: the end of speech, the end of the utterance, an empty result now and then.
    fn settle(&mut self, ear: &Recogniser, out: &mut Outbox) {
        let passed = |limit: Option<u64>| limit.is_some_and(|limit| ear.quiet().is_some_and(|quiet| quiet >= limit));
        if !self.utterance.words.is_empty() && passed(self.settings.endpointing) {
            self.finalise(Marks { speech_final: true, ..Marks::default() }, ear.now(), out);
        }
        if let Some(last) = self.last_word.filter(|_| passed(self.settings.utterance_end)) {
            if !self.utterance.words.is_empty() {
                self.finalise(Marks::default(), ear.now(), out);
            }
            self.last_word = None;
            self.started = false;
            out.say(json!({ "type": "UtteranceEnd", "channel": [0, 1], "last_word_end": seconds(last) }));
        }
        if self.utterance.words.is_empty() && ear.now().saturating_sub(self.final_at) >= EMPTY {
            self.finalise(Marks::default(), ear.now(), out);
        }
    }

    fn refuse(&self, description: &str, out: &mut Outbox) {
        out.say(json!({ "type": "Error", "variant": "SchemaError", "description": description, "message": "" }));
    }

    fn goodbye(&mut self, ear: &mut Recogniser, out: &mut Outbox) {
        self.utterance.words.extend(ear.flush());
        self.finalise(Marks { speech_final: true, ..Marks::default() }, ear.now(), out);
        out.say(json!({
            "type": "Metadata", "transaction_key": "deprecated", "request_id": self.manner.request_id,
            "sha256": "0".repeat(64), "created": "1970-01-01T00:00:00.000Z", "duration": seconds(ear.now()), "channels": 1,
            "models": ["00000000-0000-4000-8000-000000000000"],
            "model_info": {
                "00000000-0000-4000-8000-000000000000":
                    { "name": self.settings.model, "version": "scripted", "arch": "scripted" },
            },
        }));
        out.close(1_000, "");
    }
}

/// A word without punctuation and capitals; an apostrophe stays.
fn bare(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric() || *c == '\'').flat_map(char::to_lowercase).collect()
}

impl Session for Nova {
    fn greet(&mut self, _out: &mut Outbox) {}

    fn told(&mut self, told: Told<'_>, ear: &mut Recogniser, out: &mut Outbox) -> Heed {
        let text = match told {
            // The older way to end a stream.
            Told::Binary([]) => {
                self.goodbye(ear, out);
                return Heed::Done;
            }
            Told::Binary(bytes) => return Heed::Audio(self.input.mulaw(bytes)),
            Told::Text(text) => text,
        };
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        match message.get("type").and_then(Value::as_str) {
            Some("KeepAlive") => return Heed::Alive,
            Some("Finalize") => return Heed::Flush(Value::Null),
            Some("CloseStream") => self.goodbye(ear, out),
            Some(_) => self.refuse("unknown message type", out),
            None => self.refuse("the message could not be parsed", out),
        }
        Heed::Done
    }

    fn step(&mut self, words: Vec<Word>, ear: &Recogniser, out: &mut Outbox) {
        if self.settings.vad_events && !self.started && (ear.is_speaking() || !words.is_empty()) {
            self.started = true;
            let timestamp = words.first().map_or(ear.now(), |word| word.start);
            out.say(json!({ "type": "SpeechStarted", "channel": [0, 1], "timestamp": seconds(timestamp) }));
        }
        self.hear(words, ear.now(), out);
        if ear.is_settled() && !ear.is_speaking() {
            self.settle(ear, out);
        }
    }

    /// The vendor does not answer if there is nothing worth it, and does not end the speech either.
    fn flush(&mut self, _mark: Value, ear: &mut Recogniser, out: &mut Outbox) {
        let words = ear.flush();
        self.last_word = words.last().map(|word| word.end).or(self.last_word);
        self.utterance.words.extend(words);
        if ear.now() > self.final_at || !self.utterance.words.is_empty() {
            self.finalise(Marks { from_finalize: true, ..Marks::default() }, ear.now(), out);
        }
    }

    fn idle(&self) -> Option<Idle> {
        let reason = "NET-0001: no audio and no KeepAlive within the timeout window";
        Some(Idle { limit: Duration::from_secs(10), code: 1_011, reason })
    }

    /// The vendor documents no limit; its other ends of this kind are 1011 with a NET code.
    fn expire(&mut self, out: &mut Outbox) {
        out.close(1_011, "NET-0000: the session lasted too long");
    }

    fn fail(&mut self, out: &mut Outbox) {
        out.say(json!({ "type": "Error", "variant": "InternalError", "description": "the transcription failed", "message": "" }));
        out.close(1_011, "NET-0000: internal error");
    }
}
