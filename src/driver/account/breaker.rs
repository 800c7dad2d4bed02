//! A circuit breaker for one provider: when it keeps failing in the calls of a node, further dials are spared, and one at a
//! time finds out whether it is back.
//!
//! What tripped it has to succeed before it closes. A made link proves that the door opens again, which is all that was
//! wrong if dials failed; where links were made and speech failed on them, another made link proves nothing, and only audio
//! does.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

/// Failures in a row, in all calls together, that open it. A call that fails over costs its caller a second or two, so that
/// it should not take many; one call's unlucky link must not take the voice from all.
const FAILURES: u32 = 5;
/// Failures further apart than this are not in a row: on a quiet node they are chance.
const ROW: Duration = Duration::from_secs(30);
/// First time for which it stays open; each further one is twice as long, with jitter.
const OPEN_MIN: Duration = Duration::from_secs(2);
/// Longest time for which it stays open, before jitter, which at most doubles it.
const OPEN_MAX: Duration = Duration::from_secs(20);
/// How long a probe may go on without a verdict: a call may have nothing to say on its new link.
const PROBE_LIMIT: Duration = Duration::from_secs(5);

/// What fails or succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Making a link.
    Dial,
    /// Speaking on one.
    Speech,
}

/// How it stands, for those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Dials pass.
    Closed,
    /// One dial is finding out whether the provider is back.
    HalfOpen,
    /// Dials are spared.
    Open,
}

impl Condition {
    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Condition::Closed => "closed",
            Condition::HalfOpen => "half_open",
            Condition::Open => "open",
        }
    }
}

/// What becomes of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Dial.
    Free,
    /// Dial, and everybody waits for what becomes of it.
    Probe(u64),
    /// Do not dial.
    Refused,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open { part: Part, until: Instant },
    HalfOpen { part: Part, probe: Option<(u64, Instant)> },
}

/// Failures without a success between them.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    length: u32,
    last: Option<Instant>,
}

impl Row {
    fn add(&mut self, now: Instant) -> u32 {
        let is_new = self.last.is_none_or(|last| now.duration_since(last) > ROW);
        self.length = if is_new { 1 } else { self.length.saturating_add(1) };
        self.last = Some(now);
        self.length
    }
}

/// The breaker of one provider.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    dials: Row,
    speech: Row,
    waits: ExponentialBackoff,
    /// Where the jitter of the next outage begins.
    seed: u64,
    probes: u64,
}

impl Breaker {
    /// A closed one. Nodes with different seeds do not probe in step.
    pub(super) fn new(seed: u64) -> Self {
        Breaker {
            state: State::Closed,
            dials: Row::default(),
            speech: Row::default(),
            waits: waits(seed),
            seed,
            probes: 0,
        }
    }

    /// How it stands.
    pub(super) fn condition(&self) -> Condition {
        match self.state {
            State::Closed => Condition::Closed,
            State::Open { .. } | State::HalfOpen { probe: None, .. } => Condition::Open,
            State::HalfOpen { probe: Some(_), .. } => Condition::HalfOpen,
        }
    }

    /// Somebody wants to dial.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        let part = match self.state {
            State::Closed => return Admission::Free,
            State::Open { until, .. } if now < until => return Admission::Refused,
            State::HalfOpen { probe: Some((_, until)), .. } if now < until => return Admission::Refused,
            State::Open { part, .. } | State::HalfOpen { part, .. } => part,
        };
        self.probes += 1;
        self.state = State::HalfOpen { part, probe: Some((self.probes, now + PROBE_LIMIT)) };
        Admission::Probe(self.probes)
    }

    /// A probe ended, whatever it found: without a verdict, the next dial is one.
    pub(super) fn probe_over(&mut self, number: u64) {
        if let State::HalfOpen { probe, .. } = &mut self.state {
            *probe = probe.filter(|(running, _)| *running != number);
        }
    }

    /// Something succeeded. Links that were made before it opened may still speak: only what was tried since counts.
    pub(super) fn succeed(&mut self, done: Part) {
        match done {
            Part::Dial => self.dials = Row::default(),
            Part::Speech => self.speech = Row::default(),
        }
        if let State::HalfOpen { part, probe: Some(_) } = self.state
            && part == done
        {
            self.state = State::Closed;
            self.dials = Row::default();
            self.speech = Row::default();
            // The next outage waits as long as this one did at first, but not by the same jitter.
            self.seed = self.seed.wrapping_add(1);
            self.waits = waits(self.seed);
        }
    }

    /// Something failed. Whether the breaker opened because of it.
    pub(super) fn fail(&mut self, now: Instant, failed: Part) -> bool {
        let row = match failed {
            Part::Dial => self.dials.add(now),
            Part::Speech => self.speech.add(now),
        };
        let opens = match self.state {
            State::Closed => row >= FAILURES,
            State::HalfOpen { part, probe } => part == failed && probe.is_some(),
            State::Open { .. } => false,
        };
        if opens {
            let wait = self.waits.next().unwrap_or(OPEN_MAX);
            self.state = State::Open { part: failed, until: now + wait };
        }
        opens
    }
}

fn waits(seed: u64) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(OPEN_MIN)
        .with_max_delay(OPEN_MAX)
        .without_max_times()
        .with_jitter()
        .with_jitter_seed(seed)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(part: Part) -> (Breaker, Instant) {
        let (mut breaker, now) = (Breaker::new(7), Instant::now());
        for n in 1..=FAILURES {
            assert_eq!(breaker.admit(now), Admission::Free);
            assert_eq!(breaker.fail(now, part), n == FAILURES);
        }
        assert_eq!((breaker.admit(now), breaker.condition()), (Admission::Refused, Condition::Open));
        (breaker, now)
    }

    /// How long it stays open.
    fn rest(breaker: &mut Breaker, now: Instant) -> Duration {
        let State::Open { until, .. } = breaker.state else { panic!("{breaker:?}") };
        assert_eq!(breaker.admit(until - Duration::from_millis(1)), Admission::Refused);
        until - now
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_probe_at_a_time_closes_it() {
        let (mut breaker, mut now) = opened(Part::Dial);
        now += rest(&mut breaker, now);
        assert_eq!(breaker.admit(now), Admission::Probe(1));
        assert_eq!((breaker.admit(now), breaker.condition()), (Admission::Refused, Condition::HalfOpen));
        breaker.succeed(Part::Dial);
        assert_eq!((breaker.admit(now), breaker.condition()), (Admission::Free, Condition::Closed));
        assert!(!breaker.fail(now, Part::Dial), "the count begins anew");
    }

    #[test]
    fn each_probe_that_fails_doubles_the_rest_up_to_a_limit() {
        let (mut breaker, mut now) = opened(Part::Dial);
        let mut rests = Vec::new();
        for probe in 1..=7 {
            let open = rest(&mut breaker, now);
            rests.push(open);
            now += open;
            assert_eq!(breaker.admit(now), Admission::Probe(probe));
            assert!(breaker.fail(now, Part::Dial));
        }
        for (rest, floor) in rests.iter().zip([2, 4, 8, 16, 20, 20, 20]) {
            assert!((floor..=2 * floor).contains(&rest.as_secs()), "{rests:?}");
        }
        let other = opened(Part::Dial).0;
        assert!(matches!(other.state, State::Open { .. }));
        assert_ne!(waits(7).next(), waits(8).next(), "nodes do not probe in step");
    }

    #[test]
    fn where_speech_failed_a_made_link_proves_nothing() {
        let (mut breaker, mut now) = opened(Part::Speech);
        now += rest(&mut breaker, now);
        breaker.succeed(Part::Speech);
        assert_eq!(breaker.admit(now), Admission::Probe(1), "what old links still say does not close it");
        breaker.succeed(Part::Dial);
        assert_eq!(breaker.admit(now), Admission::Refused);
        breaker.succeed(Part::Speech);
        assert_eq!(breaker.admit(now), Admission::Free);
    }

    #[test]
    fn a_made_link_does_not_forgive_speech_that_fails_on_every_link() {
        let (mut breaker, now) = (Breaker::new(7), Instant::now());
        for n in 1..=FAILURES {
            breaker.succeed(Part::Dial);
            assert_eq!(breaker.fail(now, Part::Speech), n == FAILURES);
        }
    }

    #[test]
    fn a_probe_without_a_verdict_makes_room_for_the_next() {
        let (mut breaker, mut now) = opened(Part::Dial);
        now += rest(&mut breaker, now);
        assert_eq!(breaker.admit(now), Admission::Probe(1));
        breaker.probe_over(1);
        assert_eq!(breaker.condition(), Condition::Open);
        assert_eq!(breaker.admit(now), Admission::Probe(2));
        breaker.probe_over(1);
        assert_eq!(breaker.admit(now), Admission::Refused, "the end of an old probe is not the end of this one");
        assert_eq!(breaker.admit(now + PROBE_LIMIT), Admission::Probe(3));
    }

    #[test]
    fn failures_far_apart_or_with_a_success_between_them_are_chance() {
        let (mut breaker, mut now) = (Breaker::new(7), Instant::now());
        for _ in 0..20 {
            assert!(!breaker.fail(now, Part::Dial));
            now += ROW + Duration::from_secs(1);
        }
        for _ in 0..20 {
            assert!(!breaker.fail(now, Part::Speech));
            breaker.succeed(Part::Speech);
        }
        assert_eq!(breaker.condition(), Condition::Closed);
    }
}
