//! What the limits of a node met, and how late its frames are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Label, Meter};

/// A limit that somebody met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A TLS handshake was not over in time.
    Handshake,
    /// The head of a request did not come in time.
    Head,
    /// A stream did not begin in time.
    FirstMessage,
    /// A body did not come in time.
    Body,
    /// A carrier neither sent anything nor answered a ping.
    Silence,
    /// Nobody on a call said anything for too long.
    Idle,
    /// A call lasted as long as it may.
    Duration,
    /// A message was too long.
    MessageSize,
    /// A carrier sends so many messages that it is read more slowly.
    MessageRate,
    /// A carrier reads too slowly.
    SlowReader,
    /// Too many connections a second from one source.
    SourceRate,
    /// Too many connections at one time from one source.
    SourceConnections,
    /// Too many calls a second of one account.
    AccountRate,
    /// Too many streams that have not begun yet.
    Arrivals,
}

impl Limit {
    /// Every one.
    pub const ALL: [Limit; 14] = [
        Limit::Handshake,
        Limit::Head,
        Limit::FirstMessage,
        Limit::Body,
        Limit::Silence,
        Limit::Idle,
        Limit::Duration,
        Limit::MessageSize,
        Limit::MessageRate,
        Limit::SlowReader,
        Limit::SourceRate,
        Limit::SourceConnections,
        Limit::AccountRate,
        Limit::Arrivals,
    ];

    /// Its name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Limit::Handshake => "handshake",
            Limit::Head => "head",
            Limit::FirstMessage => "first_message",
            Limit::Body => "body",
            Limit::Silence => "silence",
            Limit::Idle => "idle",
            Limit::Duration => "duration",
            Limit::MessageSize => "message_size",
            Limit::MessageRate => "message_rate",
            Limit::SlowReader => "slow_reader",
            Limit::SourceRate => "source_rate",
            Limit::SourceConnections => "source_connections",
            Limit::AccountRate => "account_rate",
            Limit::Arrivals => "arrivals",
        }
    }
}

/// The counters of all that.
#[derive(Debug, Default)]
pub(super) struct Limits {
    met: Family<Label, Counter>,
    strained: Gauge,
    frames: AtomicU64,
    late: AtomicU64,
    /// Frames later than this are counted as late, in microseconds; 0: none is.
    late_us: AtomicU64,
}

impl Limits {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register("limits", "Limits that somebody met, by limit", self.met.clone());
        let strained = "1 while new calls are refused because frames are late";
        to.register("strained", strained, self.strained.clone());
    }

    /// Begins every series at zero.
    pub(super) fn begin(&self) {
        for limit in Limit::ALL {
            drop(self.met.get_or_create(&Label { kind: limit.name() }));
        }
    }

    pub(super) fn sent(&self, late: Duration) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        let limit = self.late_us.load(Ordering::Relaxed);
        if limit > 0 && late > Duration::from_micros(limit) {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Meter {
    /// Somebody met a limit.
    pub fn limit(&self, limit: Limit) {
        self.limits.met.get_or_create(&Label { kind: limit.name() }).inc();
    }

    /// From when on a frame counts as late in [`Meter::frames_sent`].
    pub fn count_late_above(&self, late: Duration) {
        self.limits.late_us.store(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Frames that were sent, and how many of them too late.
    pub fn frames_sent(&self) -> (u64, u64) {
        (self.limits.frames.load(Ordering::Relaxed), self.limits.late.load(Ordering::Relaxed))
    }

    /// Whether new calls are refused because frames are late.
    pub fn show_strained(&self, is_strained: bool) {
        self.limits.strained.set(i64::from(is_strained));
    }
}
