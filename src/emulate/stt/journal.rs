//! What really happened, for tests and measurements: the truth that a client's account is compared with.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::recogniser::{Found, RECOGNISER};
use super::vendors::Dialect;

/// Connections remembered; the oldest are forgotten first.
pub const CONNECTIONS_KEPT: usize = 1_000;

/// Transcripts, and clips found, remembered of one connection; later ones are only counted.
pub const ENTRIES_MAX: usize = 2_000;

/// What kind of transcript was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It may still change.
    Interim,
    /// It stays.
    Final,
}

/// A transcript that was written to the socket. Empty ones are not recorded.
#[derive(Clone, PartialEq, Eq)]
pub struct Sent {
    /// How much audio had come when it was made, in milliseconds.
    pub audio_ms: u64,
    /// When it was written, since the server started.
    pub at: Duration,
    /// Whether it stays.
    pub kind: Kind,
    /// The transcript as it was sent.
    pub text: String,
}

impl std::fmt::Debug for Sent {
    /// Without the text, which may be a caller's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sent").field("audio_ms", &self.audio_ms).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client went, or the socket broke.
    Gone,
    /// The server closed it with this code.
    Closed(u16),
    /// A fault cut it off.
    Dropped,
}

/// One socket, from its handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRecord {
    /// Counted from 0, refused handshakes included.
    pub number: u64,
    /// Which protocol was spoken.
    pub dialect: Dialect,
    /// What recognised: always `"scripted"`, so that nobody takes what follows for recognition.
    pub recogniser: &'static str,
    /// When the socket opened, since the server started.
    pub opened_at: Duration,
    /// How much audio came, in samples at 8 kHz.
    pub samples: u64,
    /// Text frames that came.
    pub messages: u64,
    /// Commands to finalise, flush or end the turn, ignored ones included.
    pub flushes: u64,
    /// The clips that were found, and where.
    pub found: Vec<Found>,
    /// The transcripts that were sent, in order.
    pub sent: Vec<Sent>,
    /// Transcripts that were sent, all of them.
    pub sent_count: u64,
    /// When it ended, since the server started, and how.
    pub ended: Option<(Duration, End)>,
}

impl ConnectionRecord {
    /// The final transcripts in one line, single spaces between.
    pub fn final_text(&self) -> String {
        let finals = self.sent.iter().filter(|sent| sent.kind == Kind::Final);
        finals.flat_map(|sent| sent.text.split_whitespace()).collect::<Vec<_>>().join(" ")
    }

    /// How much audio came, in milliseconds.
    pub fn audio_ms(&self) -> u64 {
        self.samples / 8
    }
}

/// What the server counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// TCP connections taken.
    pub connections: u64,
    /// Handshakes that became a WebSocket.
    pub handshakes: u64,
    /// Handshakes refused with HTTP 401.
    pub refused_401: u64,
    /// Handshakes refused with any other status.
    pub refused_other: u64,
    /// Sockets that the client ended with a close frame of its own, not in answer to ours.
    pub goodbyes: u64,
    /// Sockets that are no more, however they ended.
    pub closed: u64,
}

/// Shared handle on the record of one server. Bounded: [`CONNECTIONS_KEPT`], [`ENTRIES_MAX`].
#[derive(Clone, Debug)]
pub struct Journal {
    state: Arc<Mutex<State>>,
    started: Instant,
}

#[derive(Debug, Default)]
struct State {
    connections: VecDeque<ConnectionRecord>,
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

    /// What recognises here: always `"scripted"`.
    pub fn recogniser(&self) -> &'static str {
        RECOGNISER
    }

    /// All connections still remembered, in the order in which they opened.
    pub fn connections(&self) -> Vec<ConnectionRecord> {
        self.state().connections.iter().cloned().collect()
    }

    /// The counters.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    pub(super) fn count(&self, step: impl FnOnce(&mut Counts)) {
        step(&mut self.state().counts);
    }

    pub(super) fn open(&self, number: u64, dialect: Dialect) {
        let opened_at = self.started.elapsed();
        let mut state = self.state();
        state.counts.handshakes += 1;
        if state.connections.len() == CONNECTIONS_KEPT {
            state.connections.pop_front();
        }
        state.connections.push_back(ConnectionRecord {
            number,
            dialect,
            recogniser: RECOGNISER,
            opened_at,
            samples: 0,
            messages: 0,
            flushes: 0,
            found: Vec::new(),
            sent: Vec::new(),
            sent_count: 0,
            ended: None,
        });
    }

    pub(super) fn update(&self, number: u64, change: impl FnOnce(&mut ConnectionRecord)) {
        let mut state = self.state();
        let mut newest_first = state.connections.iter_mut().rev();
        if let Some(record) = newest_first.find(|record| record.number == number) {
            change(record);
        }
    }

    pub(super) fn found(&self, number: u64, found: Found) {
        self.update(number, |record| {
            if record.found.len() < ENTRIES_MAX {
                record.found.push(found);
            }
        });
    }

    pub(super) fn sent(&self, number: u64, audio_ms: u64, kind: Kind, text: String) {
        let at = self.started.elapsed();
        self.update(number, |record| {
            record.sent_count += 1;
            if record.sent.len() < ENTRIES_MAX {
                record.sent.push(Sent { audio_ms, at, kind, text });
            }
        });
    }

    pub(super) fn ended(&self, number: u64, end: End) {
        let at = self.started.elapsed();
        self.state().counts.closed += 1;
        self.update(number, |record| record.ended = Some((at, end)));
    }
}
