//! What really happened, for tests and measurements: the truth that a client's account is compared with.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::voice::Word;

/// Contexts remembered; the oldest are forgotten first.
pub const CONTEXTS_MAX: usize = 10_000;

/// Texts and words remembered of one context; later ones are counted only by their samples.
pub const ENTRIES_MAX: usize = 20_000;

/// Most bytes of [`ContextRecord::text`].
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// How a context ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was sent, the final message included (or withheld by a fault).
    Done,
    /// The client cancelled it.
    Cancelled,
    /// It ended with an error event.
    Failed,
    /// Its time was up: nothing came for too long, or it lasted too long, as its vendor has it.
    Expired,
    /// The connection went before it ended.
    Lost,
}

impl End {
    const fn name(self) -> &'static str {
        match self {
            End::Done => "done",
            End::Cancelled => "cancelled",
            End::Failed => "failed",
            End::Expired => "expired",
            End::Lost => "lost",
        }
    }
}

/// One context, from its first text. What a vendor calls a request, a turn or all text up to a flush is one too.
#[derive(Clone, PartialEq, Eq)]
pub struct ContextRecord {
    /// Its number, counted from 0 over the life of the server.
    pub number: u32,
    /// The client's id for it; where the protocol has none, one that the server made.
    pub id: String,
    /// Which connection it came on, counted from 0.
    pub connection: u64,
    /// Its tone, comparable with [`super::tone::classify`]; `None` for the local voice.
    pub tone: Option<u32>,
    /// Sampling rate that the client asked for, in Hz.
    pub rate: u32,
    /// The transcripts as they came, in order.
    pub inputs: Vec<String>,
    /// The text to be spoken: all transcripts joined as the vendor joins them, without marks that are commands. Text that
    /// the client took back before it was spoken is in it too.
    pub text: String,
    /// Inputs that asked for a flush.
    pub flushes: u32,
    /// The client has said that no more text comes.
    pub input_ended: bool,
    /// The words with their true times, in milliseconds from the first sample of the context.
    pub words: Vec<Word>,
    /// Samples made so far, all texts together.
    pub samples_generated: u64,
    /// Samples written to the socket.
    pub samples_sent: u64,
    /// When its first text came, since the server started.
    pub started_at: Duration,
    /// When its first audio was written to the socket, since the server started.
    pub first_sent_at: Option<Duration>,
    /// When its latest audio was written to the socket, since the server started.
    pub last_sent_at: Option<Duration>,
    /// When the client cancelled it, since the server started.
    pub cancelled_at: Option<Duration>,
    /// When it ended, since the server started, and how.
    pub ended: Option<(Duration, End)>,
}

impl std::fmt::Debug for ContextRecord {
    /// Without the texts, which may be a caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContextRecord")
            .field("number", &self.number)
            .field("id", &self.id)
            .field("connection", &self.connection)
            .field("tone", &self.tone)
            .field("rate", &self.rate)
            .field("inputs", &self.inputs.len())
            .field("flushes", &self.flushes)
            .field("input_ended", &self.input_ended)
            .field("words", &self.words.len())
            .field("samples_generated", &self.samples_generated)
            .field("samples_sent", &self.samples_sent)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl ContextRecord {
    fn json(&self) -> Value {
        let ms = |at: Duration| u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        json!({
            "number": self.number,
            "id": self.id,
            "connection": self.connection,
            "tone": self.tone,
            "rate": self.rate,
            "inputs": self.inputs,
            "text": self.text,
            "flushes": self.flushes,
            "input_ended": self.input_ended,
            "words": self.words.iter().map(|word| json!([word.text, word.start_ms, word.end_ms])).collect::<Vec<_>>(),
            "samples_generated": self.samples_generated,
            "samples_sent": self.samples_sent,
            "started_ms": ms(self.started_at),
            "first_sent_ms": self.first_sent_at.map(ms),
            "last_sent_ms": self.last_sent_at.map(ms),
            "cancelled_ms": self.cancelled_at.map(ms),
            "ended_ms": self.ended.map(|(at, _)| ms(at)),
            "end": self.ended.map(|(_, end)| end.name()),
        })
    }
}

/// What the server counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// TCP connections taken.
    pub connections: u64,
    /// Handshakes that became a WebSocket.
    pub handshakes: u64,
    /// Such sockets that the client ended with a close frame of its own, not in answer to ours.
    pub goodbyes: u64,
    /// Such sockets that are no more, however they ended.
    pub closed: u64,
    /// Handshakes refused for their credentials (HTTP 401).
    pub refused_401: u64,
    /// Handshakes refused because there are too many (HTTP 429).
    pub refused_429: u64,
    /// Handshakes refused for anything else.
    pub refused_other: u64,
    /// Text frames received.
    pub messages: u64,
    /// Error events sent.
    pub errors: u64,
    /// Contexts begun.
    pub contexts: u64,
    /// New contexts that were refused because too many were active.
    pub contexts_refused: u64,
    /// Most contexts that were active at the same time.
    pub contexts_most: u32,
    /// Most sockets that were open at the same time, those in their handshake included.
    pub sockets_most: u32,
}

/// Shared handle on the record of one server. Bounded: [`CONTEXTS_MAX`], [`ENTRIES_MAX`], [`TEXT_BYTES_MAX`].
#[derive(Clone, Debug)]
pub struct Journal {
    state: Arc<Mutex<State>>,
    started: Instant,
}

#[derive(Debug, Default)]
struct State {
    /// Without a gap in their numbers.
    contexts: VecDeque<ContextRecord>,
    begun: u32,
    counts: Counts,
    /// Gets a line for each context when its socket is gone.
    file: Option<File>,
}

impl State {
    fn context(&mut self, number: u32) -> Option<&mut ContextRecord> {
        let first = self.contexts.front()?.number;
        self.contexts.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }
}

impl Journal {
    pub(in crate::emulate) fn new(file: Option<File>) -> Self {
        let state = State { file, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), started: Instant::now() }
    }

    /// A poisoned lock still holds whole records: nothing below can stop half-way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All contexts still remembered, in the order in which they began.
    pub fn contexts(&self) -> Vec<ContextRecord> {
        self.state().contexts.iter().cloned().collect()
    }

    /// The latest context of this id.
    pub fn context(&self, id: &str) -> Option<ContextRecord> {
        self.state().contexts.iter().rev().find(|record| record.id == id).cloned()
    }

    /// The context of this number, if it is still remembered.
    pub fn numbered(&self, number: u32) -> Option<ContextRecord> {
        self.state().context(number).cloned()
    }

    /// The counters.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    pub(in crate::emulate) fn count(&self, step: impl FnOnce(&mut Counts)) {
        step(&mut self.state().counts);
    }

    /// Opens a record and gives back its number. `tone` makes the tone of a number.
    pub(in crate::emulate) fn begin(
        &self,
        id: &str,
        connection: u64,
        tone: impl FnOnce(u32) -> Option<u32>,
        rate: u32,
    ) -> u32 {
        let mut state = self.state();
        let number = state.begun;
        state.begun = state.begun.wrapping_add(1);
        state.counts.contexts += 1;
        if state.contexts.len() == CONTEXTS_MAX {
            state.contexts.pop_front();
        }
        state.contexts.push_back(ContextRecord {
            number,
            id: id.to_owned(),
            connection,
            tone: tone(number),
            rate,
            inputs: Vec::new(),
            text: String::new(),
            flushes: 0,
            input_ended: false,
            words: Vec::new(),
            samples_generated: 0,
            samples_sent: 0,
            started_at: self.started.elapsed(),
            first_sent_at: None,
            last_sent_at: None,
            cancelled_at: None,
            ended: None,
        });
        number
    }

    fn update(&self, number: u32, change: impl FnOnce(&mut ContextRecord)) {
        if let Some(record) = self.state().context(number) {
            change(record);
        }
    }

    /// A transcript as it came.
    pub(in crate::emulate) fn shown(&self, number: u32, transcript: &str) {
        self.update(number, |record| {
            if record.inputs.len() < ENTRIES_MAX {
                record.inputs.push(transcript.to_owned());
            }
        });
    }

    /// Text that is to be spoken.
    pub(in crate::emulate) fn text(&self, number: u32, text: &str) {
        self.update(number, |record| {
            if record.text.len() + text.len() <= TEXT_BYTES_MAX {
                record.text.push_str(text);
            }
        });
    }

    pub(in crate::emulate) fn flushed(&self, number: u32) {
        self.update(number, |record| record.flushes += 1);
    }

    pub(in crate::emulate) fn input_ended(&self, number: u32) {
        self.update(number, |record| record.input_ended = true);
    }

    pub(in crate::emulate) fn generated(&self, number: u32, samples: u64, words: &[Word]) {
        self.update(number, |record| {
            record.samples_generated += samples;
            let room = ENTRIES_MAX.saturating_sub(record.words.len());
            record.words.extend(words.iter().take(room).cloned());
        });
    }

    pub(in crate::emulate) fn sent(&self, number: u32, samples: u64) {
        let at = self.started.elapsed();
        self.update(number, |record| {
            record.samples_sent += samples;
            record.first_sent_at = record.first_sent_at.or(Some(at));
            record.last_sent_at = Some(at);
        });
    }

    pub(in crate::emulate) fn cancelled(&self, number: u32) {
        let at = self.started.elapsed();
        self.update(number, |record| record.cancelled_at = record.cancelled_at.or(Some(at)));
    }

    /// The first end of a context counts.
    pub(in crate::emulate) fn ended(&self, number: u32, end: End) {
        let at = self.started.elapsed();
        self.update(number, |record| record.ended = record.ended.or(Some((at, end))));
    }

    /// Marks what a closed connection left open, and writes all its contexts to the file, if there is one.
    pub(in crate::emulate) fn lost(&self, connection: u64) {
        let at = self.started.elapsed();
        let mut lines = String::new();
        let mut state = self.state();
        let is_wanted = state.file.is_some();
        for record in state.contexts.iter_mut().filter(|record| record.connection == connection) {
            record.ended = record.ended.or(Some((at, End::Lost)));
            if is_wanted {
                lines.push_str(&record.json().to_string());
                lines.push('\n');
            }
        }
        if let Some(file) = &mut state.file
            && let Err(error) = file.write_all(lines.as_bytes())
        {
            tracing::warn!(%error, "cannot write the journal");
            state.file = None;
        }
    }
}
