//! What really happened, for tests and measurements: the truth that a client's account is compared with.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::request::Input;
use crate::voice::Word;

/// Contexts remembered; the oldest are forgotten first.
pub const CONTEXTS_MAX: usize = 10_000;

/// Texts and words remembered of one context; later ones are counted only by their samples.
pub const ENTRIES_MAX: usize = 20_000;

/// How a context ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was sent, `done` included (or withheld by a fault).
    Done,
    /// The client cancelled it.
    Cancelled,
    /// It ended with an error event.
    Failed,
    /// Nothing came for too long after its last audio.
    Expired,
    /// The connection went before it ended.
    Lost,
}

/// One context, from its first text.
#[derive(Clone, PartialEq, Eq)]
pub struct ContextRecord {
    /// The client's id for it.
    pub id: String,
    /// Which connection it came on, counted from 0.
    pub connection: u64,
    /// Its tone, comparable with [`super::tone::classify`]; `None` for the local voice.
    pub tone: Option<u32>,
    /// Sampling rate that the client asked for, in Hz.
    pub rate: u32,
    /// The transcripts as they came, in order.
    pub inputs: Vec<String>,
    /// Inputs with `flush`.
    pub flushes: u32,
    /// An input without `continue` has come.
    pub input_ended: bool,
    /// The words with their true times, in milliseconds from the first sample of the context.
    pub words: Vec<Word>,
    /// Samples made so far, all texts together.
    pub samples_generated: u64,
    /// Samples written to the socket.
    pub samples_sent: u64,
    /// When its first text came, since the server started.
    pub started_at: Duration,
    /// When the client cancelled it, since the server started.
    pub cancelled_at: Option<Duration>,
    /// When it ended, since the server started, and how.
    pub ended: Option<(Duration, End)>,
}

impl std::fmt::Debug for ContextRecord {
    /// Without the texts, which may be a caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContextRecord")
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
}

/// Shared handle on the record of one server. Bounded: [`CONTEXTS_MAX`], [`ENTRIES_MAX`].
#[derive(Clone, Debug)]
pub struct Journal {
    state: Arc<Mutex<State>>,
    started: Instant,
}

#[derive(Debug, Default)]
struct State {
    contexts: VecDeque<ContextRecord>,
    counts: Counts,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self { state: Arc::default(), started: Instant::now() }
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

    /// The counters.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    pub(super) fn count(&self, step: impl FnOnce(&mut Counts)) {
        step(&mut self.state().counts);
    }

    pub(super) fn begin(&self, id: &str, connection: u64, tone: Option<u32>, rate: u32) {
        let mut state = self.state();
        state.counts.contexts += 1;
        if state.contexts.len() == CONTEXTS_MAX {
            state.contexts.pop_front();
        }
        state.contexts.push_back(ContextRecord {
            id: id.to_owned(),
            connection,
            tone,
            rate,
            inputs: Vec::new(),
            flushes: 0,
            input_ended: false,
            words: Vec::new(),
            samples_generated: 0,
            samples_sent: 0,
            started_at: self.started.elapsed(),
            cancelled_at: None,
            ended: None,
        });
    }

    fn update(&self, connection: u64, id: &str, change: impl FnOnce(&mut ContextRecord)) {
        let mut state = self.state();
        let mut newest_first = state.contexts.iter_mut().rev();
        if let Some(record) = newest_first.find(|record| record.connection == connection && record.id == id) {
            change(record);
        }
    }

    pub(super) fn input(&self, connection: u64, id: &str, input: &Input) {
        self.update(connection, id, |record| {
            record.flushes += u32::from(input.flush);
            record.input_ended |= !input.more;
            if record.inputs.len() < ENTRIES_MAX {
                record.inputs.push(input.transcript.clone());
            }
        });
    }

    pub(super) fn generated(&self, connection: u64, id: &str, samples: u64, words: &[Word]) {
        self.update(connection, id, |record| {
            record.samples_generated += samples;
            let room = ENTRIES_MAX.saturating_sub(record.words.len());
            record.words.extend(words.iter().take(room).cloned());
        });
    }

    pub(super) fn sent(&self, connection: u64, id: &str, samples: u64) {
        self.update(connection, id, |record| record.samples_sent += samples);
    }

    pub(super) fn cancelled(&self, connection: u64, id: &str) {
        let at = self.started.elapsed();
        self.update(connection, id, |record| record.cancelled_at = record.cancelled_at.or(Some(at)));
    }

    /// The first end of a context counts.
    pub(super) fn ended(&self, connection: u64, id: &str, end: End) {
        let at = self.started.elapsed();
        self.update(connection, id, |record| record.ended = record.ended.or(Some((at, end))));
    }

    /// Marks what a closed connection left open.
    pub(super) fn lost(&self, connection: u64) {
        let at = self.started.elapsed();
        for record in self.state().contexts.iter_mut().filter(|record| record.connection == connection) {
            record.ended = record.ended.or(Some((at, End::Lost)));
        }
    }
}
