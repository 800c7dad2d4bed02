//! The links to the voices: when to dial, when to try again, when to stop trying.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::event::{Fault, FaultKind};
use super::settings::Limits;
use crate::ids::CallTime;

/// First wait between two tries; each further one is twice as long, with jitter.
const WAIT_MIN: Duration = Duration::from_millis(150);
/// Longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(2);

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
    /// Tries used up. New text starts a new series.
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
}

impl Link {
    /// A link that was never dialled.
    pub(super) fn new(limits: Limits, seed: u64) -> Self {
        Link {
            state: State::Cold,
            waits: back_off(&limits, seed),
            limits,
            seed,
            up_since: None,
            last_heard: CallTime::ZERO,
            was_up: false,
        }
    }

    /// What it is doing.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Somebody has text for it.
    pub(super) fn want(&mut self) -> Need {
        match self.state {
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
            FaultKind::Idle | FaultKind::Retryable | FaultKind::Busy => match self.waits.next() {
                Some(wait) => self.state = State::Waiting(now + wait),
                None => {
                    self.state = State::Spent(fault.clone());
                    self.start_over();
                }
            },
        }
        Need::Nothing
    }

    /// It is dropped by us, and made again at once.
    pub(super) fn redial(&mut self, now: CallTime) -> Need {
        self.up_since = None;
        match self.waits.next() {
            Some(_) => {
                self.state = State::Dialling;
                Need::Dial
            }
            None => {
                let reason = "no answer on a link that was made several times".to_owned();
                self.state = State::Spent(Fault { kind: FaultKind::Retryable, reason });
                self.last_heard = now;
                self.start_over();
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
        let mut link = Link::new(Limits::default(), 7);
        assert_eq!(link.want(), Need::Dial);
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
        assert_eq!(link.want(), Need::Dial);
    }

    #[test]
    fn an_idle_close_of_a_good_link_is_dialled_again_at_once_and_a_bad_key_never() {
        let mut link = Link::new(Limits::default(), 7);
        link.want();
        link.on_up(CallTime::ZERO);
        assert_eq!(link.on_down(CallTime::from_millis(300_000), &fault(FaultKind::Idle)), Need::Dial);
        assert!(link.on_up(CallTime::from_millis(300_100)));
        // A server that closes at once every time is not dialled for ever.
        assert_eq!(link.on_down(CallTime::from_millis(300_200), &fault(FaultKind::Idle)), Need::Nothing);
        link.on_down(CallTime::from_millis(301_000), &fault(FaultKind::Fatal));
        assert!(matches!(link.state(), State::Dead(_)));
        assert_eq!(link.want(), Need::Nothing);
    }
}
