//! Cartesia Ink finalised by the client: `/stt/websocket`.
//!
//! Commands are bare text, not JSON. Texts are deltas since the last final one and bring their own spaces: each word has
//! one behind it, so that finals put end to end read well without anything between.

use serde_json::{Value, json};

use super::super::handshake::Refused;
use super::super::input::{Input, InputFormat};
use super::super::journal::Kind;
use super::super::query::Query;
use super::super::recogniser::{Recogniser, Word};
use super::{Heed, INK_ENCODINGS, INK_IDLE, Idle, Manner, Outbox, Session, Told, Utterance, cartesia_error, seconds};

/// The older model, which finalises after a silence of its own.
const WHISPERS: [&str; 2] = ["ink-whisper", "ink-whisper-2025-06-04"];

/// What a client asked for.
#[derive(Debug)]
pub(in super::super) struct Settings {
    format: InputFormat,
    language: String,
    /// Samples of silence after which the model finalises by itself.
    silence: Option<u64>,
}

impl Settings {
    pub(super) fn read(query: &Query) -> Result<Self, Refused> {
        query.only(&[
            "model",
            "encoding",
            "sample_rate",
            "keyterm",
            "language",
            "min_volume",
            "max_silence_duration_secs",
            "api_key",
            "access_token",
            "cartesia_version",
        ])?;
        let model = query.must("model", &["ink-2", "ink-whisper", "ink-whisper-2025-06-04"])?;
        query.terms("keyterm", 100, 1_200)?;
        let language = match query.one("language")? {
            Some(language) if WHISPERS.contains(&model) => language,
            _ => query.choice("language", &["en"])?.unwrap_or("en"),
        };
        let whispered = ["min_volume", "max_silence_duration_secs"];
        if !WHISPERS.contains(&model) && whispered.iter().any(|name| query.all(name).next().is_some()) {
            let reason = "min_volume and max_silence_duration_secs are ink-whisper's";
            return Err(Refused::new(tokio_tungstenite::tungstenite::http::StatusCode::BAD_REQUEST, reason));
        }
        query.number("min_volume", 0.0..=1.0)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
        let silence = query.number("max_silence_duration_secs", 0.0..=60.0)?.map(|limit| (limit * 8_000.0) as u64);
        let format = query.format("pcm_mulaw", "pcm_s16le", &INK_ENCODINGS)?;
        Ok(Self { format, language: language.to_owned(), silence })
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct InkManual {
    manner: Manner,
    input: Input,
    language: String,
    silence: Option<u64>,
    utterance: Utterance,
    /// Where the last final transcript ended.
    final_at: u64,
}

impl InkManual {
    pub(super) fn new(settings: Settings, manner: Manner) -> Self {
        Self {
            manner,
            input: Input::new(settings.format),
            language: settings.language,
            silence: settings.silence,
            utterance: Utterance::default(),
            final_at: 0,
        }
    }

    fn transcript(&self, kind: Kind, words: &[Word], now: u64, out: &mut Outbox) {
        let text: String = words.iter().map(|word| format!("{} ", word.text)).collect();
        let timed = |word: &Word| json!({ "word": word.text, "start": seconds(word.start), "end": seconds(word.end) });
        let message = json!({
            "type": "transcript", "request_id": self.manner.request_id, "text": text,
            "is_final": kind == Kind::Final, "duration": seconds(now.saturating_sub(self.final_at)),
            "language": self.language, "words": words.iter().map(timed).collect::<Vec<_>>(),
        });
        out.transcript(kind, &text, message);
    }

    fn finalise(&mut self, now: u64, out: &mut Outbox) {
        let utterance = self.utterance.take();
        if !utterance.words.is_empty() {
            self.transcript(Kind::Final, &utterance.words, now, out);
        }
        self.final_at = now;
    }

    fn hear(&mut self, words: Vec<Word>, now: u64, out: &mut Outbox) {
        if words.is_empty() {
            return;
        }
        self.utterance.words.extend(words);
        if self.utterance.is_full() {
            return self.finalise(now, out);
        }
        self.transcript(Kind::Interim, &self.utterance.guess(self.manner.wavers), now, out);
    }

    fn event(&self, name: &str) -> Value {
        json!({ "type": name, "request_id": self.manner.request_id })
    }
}

impl Session for InkManual {
    fn greet(&mut self, _out: &mut Outbox) {}

    fn told(&mut self, told: Told<'_>, ear: &mut Recogniser, out: &mut Outbox) -> Heed {
        match told {
            Told::Binary(bytes) => Heed::Audio(self.input.mulaw(bytes)),
            Told::Text("finalize") => Heed::Flush(Value::Null),
            Told::Text("close" | "done") => {
                self.utterance.words.extend(ear.flush());
                self.finalise(ear.now(), out);
                out.say(self.event("done"));
                out.close(1_000, "");
                Heed::Done
            }
            Told::Text(_) => {
                let message = "a command is one of the bare words finalize and close";
                out.say(cartesia_error(&self.manner.request_id, 400, "Bad request", message));
                Heed::Done
            }
        }
    }

    fn step(&mut self, words: Vec<Word>, ear: &Recogniser, out: &mut Outbox) {
        self.hear(words, ear.now(), out);
        let is_over = self.silence.is_some_and(|limit| ear.quiet().is_some_and(|quiet| quiet >= limit));
        if is_over && ear.is_settled() && !self.utterance.words.is_empty() {
            self.finalise(ear.now(), out);
        }
    }

    fn flush(&mut self, _mark: Value, ear: &mut Recogniser, out: &mut Outbox) {
        self.utterance.words.extend(ear.flush());
        self.finalise(ear.now(), out);
        out.say(self.event("flush_done"));
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
