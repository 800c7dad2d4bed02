//! What really happened, for tests and measurements: the truth that a client's account is compared with.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::voice::Word;

/// Requests remembered; the oldest are forgotten first.
pub const RECORDS_MAX: usize = 5_000;

/// Bytes of the texts remembered, all together; the oldest are forgotten first.
pub const TEXTS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How the serving of a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was sent.
    Complete,
    /// The request was answered with an error status.
    Refused,
    /// A fault ended the answer: an error in the body, something else in its place, or the connection was cut.
    Failed,
    /// The client closed the connection before the answer's end.
    Cancelled,
    /// The server was stopped before the answer's end.
    Stopped,
}

impl End {
    /// The name in `GET /journal`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
        }
    }
}

/// One request for speech.
#[derive(Clone, Default, PartialEq)]
pub struct Record {
    /// Which it is, counted from 1.
    pub number: u64,
    /// The connection that it came on, counted from 1.
    pub connection: u64,
    /// When the request was read, since the server started.
    pub at: Duration,
    /// HTTP status; `None` if a fault withholds it.
    pub status: Option<u16>,
    /// The parameter for which the request was refused.
    pub refused_param: Option<String>,
    /// The model that was asked for.
    pub model: String,
    /// The voice that was asked for.
    pub voice: String,
    /// The text that was to be spoken, verbatim; empty if the request was refused for what is in it.
    pub input: String,
    /// How it was to be spoken.
    pub instructions: Option<String>,
    /// The speed that was asked for.
    pub speed: Option<f32>,
    /// Which tone it sounds at, as [`tone::classify`](crate::emulate::tts::tone::classify) reports it.
    pub tone: Option<u32>,
    /// True times of the words, in milliseconds from the first sample.
    pub words: Vec<Word>,
    /// Samples of the whole answer.
    pub samples: u64,
    /// Samples handed to the socket. The client may have left without reading the last of them.
    pub samples_sent: u64,
    /// When the first of them were, since the server started.
    pub first_at: Option<Duration>,
    /// When it ended, since the server started, and how.
    pub ended: Option<(Duration, End)>,
}

impl Record {
    fn to_json(&self) -> Value {
        let ended = self.ended.map(|(at, end)| json!({"at_ms": millis(at), "how": end.name()}));
        let words: Vec<Value> = self.words.iter().map(|word| json!([word.text, word.start_ms, word.end_ms])).collect();
        json!({
            "number": self.number,
            "connection": self.connection,
            "at_ms": millis(self.at),
            "status": self.status,
            "refused_param": self.refused_param,
            "model": self.model,
            "voice": self.voice,
            "input": self.input,
            "instructions": self.instructions,
            "speed": self.speed,
            "tone": self.tone,
            "words": words,
            "samples": self.samples,
            "samples_sent": self.samples_sent,
            "first_at_ms": self.first_at.map(millis),
            "ended": ended,
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Record {
    /// Without the text, which may be a caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("number", &self.number)
            .field("connection", &self.connection)
            .field("at", &self.at)
            .field("status", &self.status)
            .field("refused_param", &self.refused_param)
            .field("input", &self.input.len())
            .field("samples", &self.samples)
            .field("samples_sent", &self.samples_sent)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// What the server counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections taken.
    pub connections: u64,
    /// Such connections that are no more, however they ended.
    pub closed: u64,
    /// Requests for speech read, refused ones included.
    pub requests: u64,
    /// Requests refused because too many were served (429).
    pub refused_429: u64,
    /// Requests served at once, at most.
    pub active_most: u32,
}

/// Shared handle on the record of one server. Bounded: [`RECORDS_MAX`], [`TEXTS_BYTES_MAX`].
#[derive(Clone, Debug)]
pub struct Journal {
    state: Arc<Mutex<State>>,
    started: Instant,
}

#[derive(Debug, Default)]
struct State {
    records: VecDeque<Record>,
    bytes: usize,
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

    /// All requests still remembered, in the order in which they were read.
    pub fn records(&self) -> Vec<Record> {
        self.state().records.iter().cloned().collect()
    }

    /// The latest request.
    pub fn last(&self) -> Option<Record> {
        self.state().records.back().cloned()
    }

    /// The counters.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// What `GET /journal` answers.
    pub(super) fn to_json(&self) -> Value {
        let state = self.state();
        let records: Vec<Value> = state.records.iter().map(Record::to_json).collect();
        let counts = state.counts;
        json!({
            "requests": records,
            "counts": {
                "connections": counts.connections,
                "closed": counts.closed,
                "requests": counts.requests,
                "refused_429": counts.refused_429,
                "active_most": counts.active_most,
            },
        })
    }

    pub(super) fn count(&self, step: impl FnOnce(&mut Counts)) {
        step(&mut self.state().counts);
    }

    /// The number of a new request.
    pub(super) fn number(&self) -> u64 {
        let mut state = self.state();
        state.counts.requests += 1;
        state.counts.requests
    }

    /// Remembers a request.
    pub(super) fn begin(&self, record: Record) {
        let at = self.started.elapsed();
        let mut state = self.state();
        state.bytes += record.input.len();
        state.records.push_back(Record { at, ..record });
        while state.records.len() > RECORDS_MAX || (state.bytes > TEXTS_BYTES_MAX && state.records.len() > 1) {
            if let Some(forgotten) = state.records.pop_front() {
                state.bytes -= forgotten.input.len();
            }
        }
    }

    pub(super) fn update(&self, number: u64, change: impl FnOnce(&mut Record)) {
        let mut state = self.state();
        if let Some(record) = state.records.iter_mut().rev().find(|record| record.number == number) {
            change(record);
        }
    }

    pub(super) fn sent(&self, number: u64, samples: u64) {
        let at = self.started.elapsed();
        self.update(number, |record| {
            record.samples_sent += samples;
            record.first_at = record.first_at.or(Some(at));
        });
    }

    pub(super) fn ended(&self, number: u64, end: End) {
        let at = self.started.elapsed();
        self.update(number, |record| record.ended = Some((at, end)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(journal: &Journal, bytes: usize) -> u64 {
        let number = journal.number();
        journal.begin(Record { number, input: "x".repeat(bytes), ..Record::default() });
        number
    }

    #[tokio::test]
    async fn it_forgets_the_oldest() {
        let journal = Journal::new();
        for _ in 0..RECORDS_MAX + 5 {
            begin(&journal, 1);
        }
        let kept = journal.records();
        assert_eq!((kept.len(), kept[0].number, journal.counts().requests), (RECORDS_MAX, 6, 5_005));
        let large = begin(&journal, TEXTS_BYTES_MAX - 2);
        assert_eq!((journal.records().len(), journal.last().unwrap().number), (3, large));
        let larger = begin(&journal, TEXTS_BYTES_MAX + 1);
        journal.sent(large, 1);
        journal.ended(larger, End::Complete);
        let kept = journal.records();
        assert_eq!((kept.len(), kept[0].ended.unwrap().1), (1, End::Complete));
        assert!(!format!("{:?}", kept[0]).contains("xx"));
    }
}
