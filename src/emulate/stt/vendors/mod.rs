//! The protocols in front of the recogniser, one file each, and what they share.
//!
//! A session never sees the socket or a clock: it is told of messages and of every ten milliseconds of audio, and leaves
//! what it says in an [`Outbox`]. Every rule about time is therefore in audio time.

mod flux;
mod gradium;
mod ink_manual;
mod ink_turns;
mod nova;

use std::time::Duration;

use serde_json::{Value, json};

use super::handshake::Refused;
use super::journal::Kind;
use super::query::Query;
use super::recogniser::{Recogniser, Word};

/// A protocol of a vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Cartesia Ink with turns of its own.
    InkTurns,
    /// Cartesia Ink, finalised by the client.
    InkManual,
    /// Deepgram `/v1/listen`.
    Nova,
    /// Deepgram `/v2/listen`.
    Flux,
    /// Gradium.
    Gradium,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 5] =
        [Dialect::InkTurns, Dialect::InkManual, Dialect::Nova, Dialect::Flux, Dialect::Gradium];

    /// The path at which it is spoken.
    pub const fn path(self) -> &'static str {
        match self {
            Dialect::InkTurns => "/stt/turns/websocket",
            Dialect::InkManual => "/stt/websocket",
            Dialect::Nova => "/v1/listen",
            Dialect::Flux => "/v2/listen",
            Dialect::Gradium => "/api/speech/asr",
        }
    }

    pub(super) fn of_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.path() == path)
    }
}

/// What all sessions of a server have in common.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// What the server calls this session.
    pub(super) request_id: String,
    /// Silence in samples after which a turn is over without any doubt.
    pub(super) certainty: u64,
    /// Whether the last word of an interim transcript is wrong.
    pub(super) wavers: bool,
}

/// The query of a handshake, read: what a session needs to begin.
#[derive(Debug)]
pub(super) enum Opening {
    InkTurns(ink_turns::Settings),
    InkManual(ink_manual::Settings),
    Nova(nova::Settings),
    Flux(flux::Settings),
    Gradium,
}

impl Opening {
    pub(super) fn read(dialect: Dialect, query: &Query) -> Result<Self, Refused> {
        Ok(match dialect {
            Dialect::InkTurns => Opening::InkTurns(ink_turns::Settings::read(query)?),
            Dialect::InkManual => Opening::InkManual(ink_manual::Settings::read(query)?),
            Dialect::Nova => Opening::Nova(nova::Settings::read(query)?),
            Dialect::Flux => Opening::Flux(flux::Settings::read(query)?),
            Dialect::Gradium => {
                query.only(&["token"])?;
                Opening::Gradium
            }
        })
    }

    pub(super) fn session(self, manner: Manner) -> Box<dyn Session> {
        match self {
            Opening::InkTurns(settings) => Box::new(ink_turns::InkTurns::new(settings, manner)),
            Opening::InkManual(settings) => Box::new(ink_manual::InkManual::new(settings, manner)),
            Opening::Nova(settings) => Box::new(nova::Nova::new(settings, manner)),
            Opening::Flux(settings) => Box::new(flux::Flux::new(settings, manner)),
            Opening::Gradium => Box::new(gradium::Gradium::new(manner)),
        }
    }
}

/// A frame that a client sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

/// What a frame was.
#[derive(Debug)]
pub(super) enum Heed {
    /// Audio, as mu-law.
    Audio(Vec<u8>),
    /// A sign of life that is no audio.
    Alive,
    /// A command to give out all that was heard; [`Session::flush`] does it, unless a fault forbids. The value is the
    /// command's own mark, to be sent back.
    Flush(Value),
    /// Something else, dealt with.
    Done,
}

/// How long a client may send neither audio nor a sign of life, and how it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    pub(super) limit: Duration,
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

/// One connection's side of a protocol.
pub(super) trait Session: Send {
    /// What is said before anything was heard.
    fn greet(&mut self, out: &mut Outbox);

    /// Takes a frame of the client.
    fn told(&mut self, told: Told<'_>, ear: &mut Recogniser, out: &mut Outbox) -> Heed;

    /// Ten more milliseconds of audio came, and with them `words` became known.
    fn step(&mut self, words: Vec<Word>, ear: &Recogniser, out: &mut Outbox);

    /// The client wants everything that was heard, now.
    fn flush(&mut self, mark: Value, ear: &mut Recogniser, out: &mut Outbox);

    /// The vendor's rule about silent clients, where one is known.
    fn idle(&self) -> Option<Idle>;

    /// Ends the session because it lasted too long.
    fn expire(&mut self, out: &mut Outbox);

    /// Ends the session with the vendor's fatal error.
    fn fail(&mut self, out: &mut Outbox);
}

/// Something to be written.
#[derive(Debug)]
pub(super) enum Reply {
    Message(Value),
    Transcript {
        kind: Kind,
        text: String,
        message: Value,
    },
    /// The last thing that is written.
    Close {
        code: u16,
        reason: &'static str,
    },
}

/// What a session has said and nobody has written yet.
#[derive(Debug, Default)]
pub(super) struct Outbox(Vec<Reply>);

impl Outbox {
    pub(super) fn say(&mut self, message: Value) {
        self.0.push(Reply::Message(message));
    }

    /// A message with a transcript in it; an empty text makes it an ordinary message.
    pub(super) fn transcript(&mut self, kind: Kind, text: &str, message: Value) {
        if text.trim().is_empty() {
            return self.say(message);
        }
        self.0.push(Reply::Transcript { kind, text: text.to_owned(), message });
    }

    pub(super) fn close(&mut self, code: u16, reason: &'static str) {
        self.0.push(Reply::Close { code, reason });
    }

    pub(super) fn take(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.0)
    }
}

/// Most words of one utterance; a session ends the utterance there, which bounds its memory.
const WORDS_MAX: usize = 2_000;

/// What the last word of an interim transcript is while the recogniser wavers.
const WRONG: &str = "hmm";

/// The words of the utterance that is being spoken.
#[derive(Debug, Default)]
struct Utterance {
    words: Vec<Word>,
}

impl Utterance {
    fn is_full(&self) -> bool {
        self.words.len() >= WORDS_MAX
    }

    /// The words, single spaces between.
    fn text(&self) -> String {
        self.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The words as an interim transcript has them: if the recogniser wavers, the last one is wrong until another comes.
    fn guess(&self, wavers: bool) -> Vec<Word> {
        let mut words = self.words.clone();
        if let Some(last) = words.last_mut().filter(|_| wavers) {
            WRONG.clone_into(&mut last.text);
        }
        words
    }

    /// The text of [`Utterance::guess`].
    fn guessed(&self, wavers: bool) -> String {
        Utterance { words: self.guess(wavers) }.text()
    }

    fn take(&mut self) -> Utterance {
        std::mem::take(self)
    }
}

/// A position in seconds, to the millisecond.
fn seconds(samples: u64) -> f64 {
    (samples as f64 / 8.0).round() / 1_000.0
}

/// Milliseconds as samples.
fn samples(ms: u32) -> u64 {
    u64::from(ms) * 8
}

/// How sure it is that nothing more comes, from 0 (somebody speaks, or just has) to 1.
fn calm(ear: &Recogniser, certainty: u64) -> f64 {
    match ear.quiet() {
        Some(quiet) => (quiet as f64 / certainty.max(1) as f64).min(1.0),
        None => 0.0,
    }
}

/// The error event that both of Cartesia's protocols have.
fn cartesia_error(request_id: &str, status: u16, title: &str, message: &str) -> Value {
    json!({
        "type": "error", "request_id": request_id, "status_code": status, "title": title, "message": message,
        "error_code": null,
    })
}

/// Cartesia's encodings.
const INK_ENCODINGS: [&str; 6] = ["pcm_s16le", "pcm_s32le", "pcm_f16le", "pcm_f32le", "pcm_mulaw", "pcm_alaw"];

/// Cartesia closes a socket on which no audio came for so long, as its documentation of 2025-10 has it; today's limit is
/// unknown.
const INK_IDLE: Idle = Idle { limit: Duration::from_secs(20), code: 1_000, reason: "no audio for 20 seconds" };
