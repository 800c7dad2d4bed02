//! Who may have one of the account's contexts: the caller who hears silence soonest first, turns that others are heard
//! before last.
//!
//! Plain state that is told the time, so that a simulation shares slots out exactly as a node does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::ceiling::Ceiling;

/// How much somebody needs a slot; the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Urgency {
    /// Another turn of the same call is heard before.
    pub ahead: bool,
    /// When the caller hears silence without it.
    pub due: Instant,
}

/// Counts the requests of an account.
pub type Request = u64;

/// A request that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which.
    pub request: Request,
    /// How long it waited.
    pub waited: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    urgency: Urgency,
    since: Instant,
}

/// The slots of one account and those who wait for one.
#[derive(Debug)]
pub struct Slots {
    ceiling: Ceiling,
    requests: Request,
    held: BTreeSet<Request>,
    waiting: BTreeMap<Request, Waiting>,
    /// The same in the order in which they go.
    line: BTreeSet<(Urgency, Request)>,
}

impl Slots {
    /// All slots free; `most` of them, `None`: any number.
    pub fn new(most: Option<u32>) -> Self {
        Slots {
            ceiling: Ceiling::new(most),
            requests: 0,
            held: BTreeSet::new(),
            waiting: BTreeMap::new(),
            line: BTreeSet::new(),
        }
    }

    /// Asks for a slot. [`Slots::grant`] says who has one.
    pub fn ask(&mut self, now: Instant, urgency: Urgency) -> Request {
        self.requests += 1;
        self.waiting.insert(self.requests, Waiting { urgency, since: now });
        self.line.insert((urgency, self.requests));
        self.requests
    }

    /// A request that waits is more urgent than it was, or less.
    pub fn urge(&mut self, request: Request, urgency: Urgency) {
        if let Some(waiting) = self.waiting.get_mut(&request) {
            self.line.remove(&(waiting.urgency, request));
            waiting.urgency = urgency;
            self.line.insert((urgency, request));
        }
    }

    /// Takes a request back, or its slot.
    pub fn leave(&mut self, request: Request) {
        self.held.remove(&request);
        if let Some(waiting) = self.waiting.remove(&request) {
            self.line.remove(&(waiting.urgency, request));
        }
    }

    /// Gives a free slot to whoever is first in line. To be asked until it says no, after every change: the limit also
    /// rises with time, but whoever waits for that is served when the next slot is given back at the latest.
    pub fn grant(&mut self, now: Instant) -> Option<Grant> {
        if !self.ceiling.has_room(now, self.in_use()) {
            return None;
        }
        let (_, request) = self.line.pop_first()?;
        let waited = self.waiting.remove(&request).map(|waiting| now.duration_since(waiting.since));
        self.held.insert(request);
        Some(Grant { request, waited: waited.unwrap_or_default() })
    }

    /// The provider refused a context for there being too many.
    pub fn refused(&mut self, now: Instant) {
        self.ceiling.lower(now, self.in_use());
    }

    /// Slots in use.
    pub fn in_use(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX)
    }

    /// Requests that wait.
    pub fn waiting(&self) -> u32 {
        u32::try_from(self.waiting.len()).unwrap_or(u32::MAX)
    }

    /// Slots that there are now; `None`: any number.
    pub fn limit(&self, now: Instant) -> Option<u32> {
        self.ceiling.at(now)
    }

    /// Slots that the operator says there are.
    pub fn most(&self) -> Option<u32> {
        self.ceiling.most()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_ms(now: Instant, ms: u64, ahead: bool) -> Urgency {
        Urgency { ahead, due: now + Duration::from_millis(ms) }
    }

    fn granted(slots: &mut Slots, now: Instant) -> Vec<Request> {
        std::iter::from_fn(|| slots.grant(now)).map(|grant| grant.request).collect()
    }

    #[test]
    fn the_call_nearest_to_silence_goes_first_and_turns_ahead_of_their_time_last() {
        let (mut slots, now) = (Slots::new(Some(1)), Instant::now());
        let first = slots.ask(now, in_ms(now, 5_000, false));
        assert_eq!(granted(&mut slots, now), [first]);
        let ahead = slots.ask(now, in_ms(now, 0, true));
        let calm = slots.ask(now, in_ms(now, 3_000, false));
        let pressing = slots.ask(now, in_ms(now, 100, false));
        assert_eq!((slots.in_use(), slots.waiting()), (1, 3));
        let mut order = Vec::new();
        let mut held = first;
        for ms in [10, 20, 30] {
            slots.leave(held);
            let grant = slots.grant(now + Duration::from_millis(ms)).unwrap();
            assert_eq!(grant.waited, Duration::from_millis(ms));
            assert_eq!(slots.grant(now), None);
            order.push(grant.request);
            held = grant.request;
        }
        assert_eq!(order, [pressing, calm, ahead]);
    }

    #[test]
    fn among_equals_whoever_came_first_goes_first_and_a_turn_whose_time_has_come_overtakes() {
        let (mut slots, now) = (Slots::new(Some(1)), Instant::now());
        let [held, a, b, c] = [(); 4].map(|()| slots.ask(now, in_ms(now, 0, true)));
        assert_eq!(granted(&mut slots, now), [held]);
        slots.urge(b, in_ms(now, 50, false));
        slots.urge(held, in_ms(now, 0, false));
        slots.leave(held);
        assert_eq!(granted(&mut slots, now), [b], "one that holds a slot is not in line again");
        slots.leave(a);
        slots.leave(b);
        assert_eq!(granted(&mut slots, now), [c], "a request that was taken back is forgotten");
        slots.leave(c);
        slots.leave(c);
        assert_eq!((slots.in_use(), slots.waiting(), slots.grant(now)), (0, 0, None));
    }

    #[test]
    fn a_refusal_makes_others_wait_and_the_limit_rises_again() {
        let (mut slots, now) = (Slots::new(Some(3)), Instant::now());
        for _ in 0..4 {
            slots.ask(now, in_ms(now, 0, false));
        }
        assert_eq!(granted(&mut slots, now), [1, 2, 3]);
        slots.refused(now);
        slots.leave(3);
        assert_eq!((slots.limit(now), slots.most(), granted(&mut slots, now)), (Some(2), Some(3), vec![]));
        let later = now + Duration::from_secs(5);
        assert_eq!(granted(&mut slots, later), [4]);
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let (mut slots, now) = (Slots::new(None), Instant::now());
        for _ in 0..1_000 {
            slots.ask(now, in_ms(now, 0, true));
        }
        assert_eq!((granted(&mut slots, now).len(), slots.limit(now)), (1_000, None));
    }
}
