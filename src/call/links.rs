//! The links to the voices: when to dial, when to try again, when to stop trying.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::event::{Fault, FaultKind};
use super::settings::Limits;
use crate::ids::{CallTime, ContextId};

/// First wait between two tries; each further one is twice as long, with jitter.
const WAIT_MIN: Duration = Duration::from_millis(150);
/// Longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// First rest of a voice that failed; while others can speak for it, each further one is twice as long.
const REST_MIN: Duration = Duration::from_secs(3);
/// Longest rest.
const REST_MAX: Duration = Duration::from_secs(24);

/// Waits between tries, jittered so that the calls of a node do not come back all at once.
pub(super) fn back_off(limits: &Limits, seed: u64) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(WAIT_MIN)
        .with_max_delay(WAIT_MAX)
        .with_max_times(limits.tries.saturating_sub(1) as usize)
        .with_jitter()
        .with_jitter_seed(seed)
        .build()
}

/// What a link is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody asked for it yet.
    Cold,
    /// Being made.
    Dialling,
    /// Ready.
    Up,
    /// Lost or refused; the next try is at this time.
    Waiting(CallTime),
    /// Tries used up. After a rest, new text starts a new series.
    Spent(Fault),
    /// Trying again cannot help.
    Dead(Fault),
}

/// What has to be done about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Dial now.
    Dial,
    /// Nothing.
    Nothing,
}

/// The link to one voice.
#[derive(Debug)]
pub(super) struct Link {
    state: State,
    waits: ExponentialBackoff,
    limits: Limits,
    seed: u64,
    up_since: Option<CallTime>,
    /// When anything was last heard on it.
    pub(super) last_heard: CallTime,
    /// It has been up before.
    was_up: bool,
    /// Another voice speaks while this one cannot.
    has_successor: bool,
    /// Failures in a row of the voice, be it the link or what came on it.
    failures: u32,
    /// It failed, and is not asked again before this.
    rests_until: CallTime,
    /// Cancelled contexts whose vendor has not said yet that nothing more comes of them, and since when.
    pub(super) leaving: Vec<(ContextId, CallTime)>,
}

impl Link {
    /// A link that was never dialled.
    pub(super) fn new(limits: Limits, seed: u64, has_successor: bool) -> Self {
        Link {
            state: State::Cold,
            waits: back_off(&limits, seed),
            limits,
            seed,
            up_since: None,
            last_heard: CallTime::ZERO,
            was_up: false,
            has_successor,
            failures: 0,
            rests_until: CallTime::ZERO,
            leaving: Vec::new(),
        }
    }

    /// Whether another voice speaks while this one cannot.
    pub(super) fn has_successor(&self) -> bool {
        self.has_successor
    }

    /// Whether the voice may be given text, or its link be waited for. One that failed has to be there again first.
    pub(super) fn is_usable(&self, now: CallTime) -> bool {
        let is_resting = now < self.rests_until;
        match self.state {
            State::Dead(_) => false,
            State::Up => !is_resting,
            State::Cold | State::Dialling | State::Waiting(_) => !is_resting && self.failures == 0,
            State::Spent(_) => !is_resting && !self.has_successor,
        }
    }

    /// The voice failed: it rests.
    pub(super) fn fail(&mut self, now: CallTime, kind: FaultKind) {
        if now < self.rests_until {
            return;
        }
        let rest = match (self.has_successor, kind) {
            // Nobody else speaks meanwhile.
            (false, _) => REST_MIN,
            (true, FaultKind::Fatal) => REST_MAX,
            (true, _) => REST_MIN.saturating_mul(1 << self.failures.min(8)).min(REST_MAX),
        };
        self.failures += 1;
        self.rests_until = now + rest;
    }

    /// It spoke a context to its end: what was wrong is over.
    pub(super) fn succeed(&mut self) {
        self.failures = 0;
    }

    /// Nothing more comes of a context that was cancelled.
    pub(super) fn leave(&mut self, context: ContextId) {
        self.leaving.retain(|(id, _)| *id != context);
    }

    /// Something still comes of a context that was cancelled: its vendor is at work on letting it go.
    pub(super) fn still_leaves(&mut self, now: CallTime, context: ContextId) {
        for (_, since) in self.leaving.iter_mut().filter(|(id, _)| *id == context) {
            *since = now;
        }
    }

    /// It is dropped by us in good order, and made again at once.
    pub(super) fn renew(&mut self) {
        self.up_since = None;
        self.leaving.clear();
        self.state = State::Dialling;
    }

    /// What it is doing.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Somebody has text for it.
    pub(super) fn want(&mut self, now: CallTime) -> Need {
        match self.state {
            State::Spent(_) if now < self.rests_until => Need::Nothing,
            State::Cold | State::Spent(_) => {
                self.state = State::Dialling;
                Need::Dial
            }
            State::Dialling | State::Up | State::Waiting(_) | State::Dead(_) => Need::Nothing,
        }
    }

    /// It was made. Whether it had been lost before.
    pub(super) fn on_up(&mut self, now: CallTime) -> bool {
        self.state = State::Up;
        self.up_since = Some(now);
        self.last_heard = now;
        std::mem::replace(&mut self.was_up, true)
    }

    /// It was refused or lost.
    pub(super) fn on_down(&mut self, now: CallTime, fault: &Fault) -> Need {
        self.leaving.clear();
        let lived = self.up_since.take().map(|since| now.since(since));
        if lived.is_some_and(|lived| lived >= self.limits.link_proved) {
            self.start_over();
        }
        match fault.kind {
            FaultKind::Fatal => self.state = State::Dead(fault.clone()),
            // It is not there, so that it cannot go: told twice, or told late.
            _ if !matches!(self.state, State::Dialling | State::Up) => {}
            FaultKind::Idle if lived.is_some_and(|lived| lived >= self.limits.link_proved) => {
                self.state = State::Dialling;
                return Need::Dial;
            }
            // A voice that others speak for is tried once after each rest.
            _ if self.has_successor && self.failures > 0 && lived.is_none() => self.spend(now, fault.clone()),
            FaultKind::Idle | FaultKind::Retryable | FaultKind::Busy => match self.waits.next() {
                Some(wait) => self.state = State::Waiting(now + wait),
                None => self.spend(now, fault.clone()),
            },
        }
        Need::Nothing
    }

    /// All tries failed.
    fn spend(&mut self, now: CallTime, fault: Fault) {
        self.fail(now, fault.kind);
        self.state = State::Spent(fault);
        self.start_over();
    }

    /// It is dropped by us, and made again at once.
    pub(super) fn redial(&mut self, now: CallTime) -> Need {
        self.up_since = None;
        self.leaving.clear();
        match self.waits.next() {
            Some(_) => {
                self.state = State::Dialling;
                Need::Dial
            }
            None => {
                let reason = "no answer on a link that was made several times".to_owned();
                self.last_heard = now;
                self.spend(now, Fault { kind: FaultKind::Retryable, reason });
                Need::Nothing
            }
        }
    }

    /// Audio came: what was wrong is over.
    pub(super) fn on_audio(&mut self) {
        self.start_over();
    }

    /// When the next try is due.
    pub(super) fn due(&self) -> Option<CallTime> {
        match self.state {
            State::Waiting(at) => Some(at),
            // So that it is there again when the next turn begins.
            State::Spent(_) if self.has_successor => Some(self.rests_until),
            State::Cold | State::Dialling | State::Up | State::Spent(_) | State::Dead(_) => None,
        }
    }

    /// The next try is due.
    pub(super) fn dial(&mut self) {
        self.state = State::Dialling;
    }

    fn start_over(&mut self) {
        self.waits = back_off(&self.limits, self.seed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: FaultKind) -> Fault {
        Fault { kind, reason: "test".to_owned() }
    }

    #[test]
    fn tries_are_spaced_and_end() {
        let mut link = Link::new(Limits::default(), 7, false);
        assert_eq!(link.want(CallTime::ZERO), Need::Dial);
        let (mut now, mut waits) = (CallTime::ZERO, Vec::new());
        loop {
            link.on_down(now, &fault(FaultKind::Busy));
            let Some(due) = link.due() else { break };
            waits.push(due.since(now).as_millis());
            now = due;
            link.dial();
        }
        assert_eq!(waits.len(), 3, "{waits:?}");
        for (wait, floor) in waits.iter().zip([150, 300, 600]) {
            assert!((floor..floor * 2 + 151).contains(wait), "{waits:?}");
        }
        assert!(matches!(link.state(), State::Spent(_)));
        // Refused at once, tries would otherwise come without end.
        assert_eq!((link.want(now), link.due()), (Need::Nothing, None));
        assert_eq!(link.want(now + REST_MIN), Need::Dial);
    }

    #[test]
    fn a_voice_that_others_speak_for_rests_longer_each_time_and_is_probed_once_after_each() {
        let mut link = Link::new(Limits::default(), 7, true);
        link.want(CallTime::ZERO);
        link.on_down(CallTime::ZERO, &fault(FaultKind::Busy));
        link.fail(CallTime::ZERO, FaultKind::Busy);
        let (mut now, mut rests) = (CallTime::ZERO, Vec::new());
        for _ in 0..6 {
            assert!(!link.is_usable(now));
            now = link.due().unwrap();
            link.dial();
            assert!(!link.is_usable(now), "not before it is there");
            link.on_down(now, &fault(FaultKind::Retryable));
            rests.push(link.due().unwrap().since(now).as_secs());
        }
        assert_eq!(rests[1..], [6, 12, 24, 24, 24], "{rests:?}");
        now = link.due().unwrap();
        link.dial();
        link.on_up(now);
        assert!(link.is_usable(now));
        link.fail(now, FaultKind::Busy);
        assert!(!link.is_usable(now) && link.is_usable(now + REST_MAX));
        link.succeed();
        link.fail(now + REST_MAX, FaultKind::Busy);
        assert!(link.is_usable(now + REST_MAX + REST_MIN));
    }

    #[test]
    fn an_idle_close_of_a_good_link_is_dialled_again_at_once_and_a_bad_key_never() {
        let mut link = Link::new(Limits::default(), 7, false);
        link.want(CallTime::ZERO);
        link.on_up(CallTime::ZERO);
        assert_eq!(link.on_down(CallTime::from_millis(300_000), &fault(FaultKind::Idle)), Need::Dial);
        assert!(link.on_up(CallTime::from_millis(300_100)));
        // A server that closes at once every time is not dialled for ever.
        assert_eq!(link.on_down(CallTime::from_millis(300_200), &fault(FaultKind::Idle)), Need::Nothing);
        link.on_down(CallTime::from_millis(301_000), &fault(FaultKind::Fatal));
        assert!(matches!(link.state(), State::Dead(_)));
        assert_eq!(link.want(CallTime::from_millis(400_000)), Need::Nothing);
    }
}
