//! What is counted of the accounts with providers, by voice.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of the waiting time for a context, in seconds. At the core's limit of silence the fallback line is said.
const WAITS: [f64; 10] = [0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Voice {
    voice: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VoiceKind {
    voice: String,
    kind: &'static str,
}

/// Why a dial was spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum Spared {
    Breaker,
    Sockets,
    Pace,
}

impl Spared {
    const ALL: [Spared; 3] = [Spared::Breaker, Spared::Sockets, Spared::Pace];

    const fn name(self) -> &'static str {
        match self {
            Spared::Breaker => "breaker",
            Spared::Sockets => "sockets",
            Spared::Pace => "pace",
        }
    }
}

/// What a provider refused for there being too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum Refused {
    Context,
    Socket,
}

impl Refused {
    const ALL: [Refused; 2] = [Refused::Context, Refused::Socket];

    const fn name(self) -> &'static str {
        match self {
            Refused::Context => "context",
            Refused::Socket => "socket",
        }
    }
}

/// The families.
#[derive(Debug)]
pub(super) struct Accounts {
    failovers: Family<Voice, Counter>,
    breaker: Family<Voice, Gauge>,
    opens: Family<Voice, Counter>,
    spared: Family<VoiceKind, Counter>,
    refused: Family<VoiceKind, Counter>,
    contexts: Family<Voice, Gauge>,
    contexts_limit: Family<Voice, Gauge>,
    contexts_waiting: Family<Voice, Gauge>,
    wait: Family<Voice, Histogram, fn() -> Histogram>,
    sockets: Family<Voice, Gauge>,
    sockets_limit: Family<Voice, Gauge>,
    warm: Family<Voice, Gauge>,
    adoptions: Family<Voice, Counter>,
}

impl Default for Accounts {
    fn default() -> Self {
        Accounts {
            failovers: Family::default(),
            breaker: Family::default(),
            opens: Family::default(),
            spared: Family::default(),
            refused: Family::default(),
            contexts: Family::default(),
            contexts_limit: Family::default(),
            contexts_waiting: Family::default(),
            wait: Family::new_with_constructor(|| Histogram::new(WAITS)),
            sockets: Family::default(),
            sockets_limit: Family::default(),
            warm: Family::default(),
            adoptions: Family::default(),
        }
    }
}

impl Accounts {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register(
            "tts_failovers",
            "Turns that another voice went on with, by the voice that failed",
            self.failovers.clone(),
        );
        let states = "Circuit breaker of a voice: 0 closed, 1 half-open, 2 open";
        to.register("tts_breaker", states, self.breaker.clone());
        to.register("tts_breaker_opens", "Times that the breaker of a voice opened", self.opens.clone());
        to.register("tts_dials_spared", "Dials of a voice that were not made, by reason", self.spared.clone());
        to.register("tts_refusals", "What a voice refused because there was too much of it", self.refused.clone());
        to.register("tts_contexts", "Contexts of the account in use", self.contexts.clone());
        to.register("tts_contexts_limit", "Contexts that the account has now", self.contexts_limit.clone());
        to.register("tts_contexts_waiting", "Contexts that wait for a place", self.contexts_waiting.clone());
        to.register("tts_context_wait_seconds", "How long a context waited for its place", self.wait.clone());
        to.register("tts_sockets", "Sockets to a voice, warm ones included", self.sockets.clone());
        to.register("tts_sockets_limit", "Sockets that the account has now", self.sockets_limit.clone());
        to.register("tts_sockets_warm", "Sockets that wait for the next calls", self.warm.clone());
        to.register("tts_warm_adoptions", "Calls that took over a warm socket", self.adoptions.clone());
    }

    /// Counts a turn that another voice went on with.
    pub(super) fn failed_over(&self, from: &str) {
        self.failovers.get_or_create(&Voice { voice: from.to_owned() }).inc();
    }

    /// What one account counts, every series begun at zero.
    pub(super) fn of(&self, voice: &str) -> AccountMeter {
        let label = Voice { voice: voice.to_owned() };
        let kind = |kind| VoiceKind { voice: voice.to_owned(), kind };
        drop(self.failovers.get_or_create(&label));
        AccountMeter {
            breaker: self.breaker.get_or_create_owned(&label),
            opens: self.opens.get_or_create_owned(&label),
            spared: Spared::ALL.map(|spared| self.spared.get_or_create_owned(&kind(spared.name()))),
            refused: Refused::ALL.map(|refused| self.refused.get_or_create_owned(&kind(refused.name()))),
            contexts: self.contexts.get_or_create_owned(&label),
            contexts_limit: Limit { family: self.contexts_limit.clone(), label: label.clone() },
            contexts_waiting: self.contexts_waiting.get_or_create_owned(&label),
            wait: self.wait.get_or_create_owned(&label),
            sockets: self.sockets.get_or_create_owned(&label),
            sockets_limit: Limit { family: self.sockets_limit.clone(), label: label.clone() },
            warm: self.warm.get_or_create_owned(&label),
            adoptions: self.adoptions.get_or_create_owned(&label),
        }
    }
}

/// A limit that may be absent, and then has no series.
#[derive(Debug)]
struct Limit {
    family: Family<Voice, Gauge>,
    label: Voice,
}

impl Limit {
    fn set(&self, limit: Option<u32>) {
        match limit {
            Some(limit) => drop(self.family.get_or_create(&self.label).set(limit.into())),
            None => drop(self.family.remove(&self.label)),
        }
    }
}

/// What one account counts.
#[derive(Debug)]
pub(in crate::driver) struct AccountMeter {
    breaker: Gauge,
    opens: Counter,
    spared: [Counter; 3],
    refused: [Counter; 2],
    contexts: Gauge,
    contexts_limit: Limit,
    contexts_waiting: Gauge,
    wait: Histogram,
    sockets: Gauge,
    sockets_limit: Limit,
    warm: Gauge,
    adoptions: Counter,
}

impl AccountMeter {
    /// How the breaker stands: 0 closed, 1 half-open, 2 open.
    pub(in crate::driver) fn breaker(&self, level: i64) {
        self.breaker.set(level);
    }

    pub(in crate::driver) fn opened(&self) {
        self.opens.inc();
    }

    pub(in crate::driver) fn spared(&self, why: Spared) {
        count(&Spared::ALL, &self.spared, why);
    }

    pub(in crate::driver) fn refused(&self, what: Refused) {
        count(&Refused::ALL, &self.refused, what);
    }

    pub(in crate::driver) fn contexts(&self, in_use: u32, waiting: u32, limit: Option<u32>) {
        self.contexts.set(in_use.into());
        self.contexts_waiting.set(waiting.into());
        self.contexts_limit.set(limit);
    }

    pub(in crate::driver) fn waited(&self, wait: Duration) {
        self.wait.observe(wait.as_secs_f64());
    }

    pub(in crate::driver) fn sockets(&self, in_use: u32, limit: Option<u32>) {
        self.sockets.set(in_use.into());
        self.sockets_limit.set(limit);
    }

    pub(in crate::driver) fn warm(&self, sockets: usize) {
        self.warm.set(i64::try_from(sockets).unwrap_or(i64::MAX));
    }

    pub(in crate::driver) fn adopted(&self) {
        self.adoptions.inc();
    }
}

fn count<K: PartialEq>(kinds: &[K], counters: &[Counter], kind: K) {
    if let Some((_, counter)) = kinds.iter().zip(counters).find(|(known, _)| **known == kind) {
        counter.inc();
    }
}
