//! Calls that were promised a seat: the carrier was told a moment ago to open a stream to us, and has not yet.

use std::collections::BTreeMap;
use std::time::Duration;

use super::node::{Node, Trust};
use crate::ids::CallSid;

/// Calls remembered at one time: a thousand a second. Further ones are not waited for.
const OPEN_MAX: usize = 15_000;
/// For so long a promise holds a seat, and a node that stops waits for it. A carrier opens its stream within a second or two;
/// a caller who hung up meanwhile, or whose stream came to another replica, should not cost as long as the token lives.
pub(super) const KEPT_S: u64 = 15;

/// Promises that have neither been kept nor waited for long enough. Seconds are the node's own, which no clock sets back.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// Until when each call is waited for.
    open: BTreeMap<CallSid, u64>,
    /// How many of them end in each such second.
    ends: BTreeMap<u64, usize>,
    pruned_at: u64,
}

impl Promises {
    /// A call was promised a seat at `now`, for so many seconds. A promise that is made again is still one.
    pub(super) fn give(&mut self, call: &CallSid, now: u64, kept_s: u64) {
        if now != self.pruned_at {
            self.pruned_at = now;
            self.open.retain(|_, end| *end > now);
            self.ends = self.ends.split_off(&(now + 1));
        }
        self.forget(call);
        if self.open.len() < OPEN_MAX {
            let end = now + kept_s;
            self.open.insert(call.clone(), end);
            *self.ends.entry(end).or_default() += 1;
        }
    }

    /// It has come; whether it was promised a seat that is still kept for it. Another replica's promise is none of ours.
    pub(super) fn keep(&mut self, call: &CallSid, now: u64) -> bool {
        self.forget(call).is_some_and(|end| end > now)
    }

    fn forget(&mut self, call: &CallSid) -> Option<u64> {
        let end = self.open.remove(call)?;
        if let Some(count) = self.ends.get_mut(&end) {
            *count -= 1;
            if *count == 0 {
                self.ends.remove(&end);
            }
        }
        Some(end)
    }

    /// Seconds until the last open one need not be waited for; 0 if there is none.
    pub(super) fn last_s(&self, now: u64) -> u64 {
        self.ends.last_key_value().map_or(0, |(end, _)| end.saturating_sub(now))
    }

    /// Seats that are kept free for those who were promised one a moment ago.
    pub(super) fn seats(&self, now: u64) -> usize {
        self.ends.range(now + 1..).map(|(_, count)| count).sum()
    }
}

impl Node {
    /// Promises a call a seat, and keeps it for so many seconds.
    pub(super) fn expect(&self, call: &CallSid, kept_s: u64) {
        self.promises().give(call, self.uptime().as_secs(), kept_s);
    }

    /// A call has come; whether it was promised a seat by this node, and in time.
    pub(super) fn was_expected(&self, call: &CallSid) -> bool {
        self.promises().keep(call, self.uptime().as_secs())
    }

    /// Seats that are kept free for streams that were promised one.
    pub(super) fn promised_seats(&self) -> usize {
        self.promises().seats(self.uptime().as_secs())
    }

    /// How long streams may still come that were promised a place. In open mode nobody is waited for: it is for trying
    /// things out, where a stop should be one.
    pub(super) fn promised(&self) -> Duration {
        match self.settings().trust {
            Trust::Open => Duration::ZERO,
            Trust::Signed { .. } | Trust::Insecure => {
                let last_s = self.promises().last_s(self.uptime().as_secs());
                // Somebody whose keys are still being pressed finds another process, or a port that is closed.
                Duration::from_secs(last_s.min(KEPT_S))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str) -> CallSid {
        CallSid::parse(name).unwrap()
    }

    fn give(promises: &mut Promises, name: &str, now: u64) {
        promises.give(&call(name), now, KEPT_S);
    }

    #[test]
    fn the_last_open_promise_counts() {
        let mut promises = Promises::default();
        assert_eq!(promises.last_s(0), 0);
        give(&mut promises, "a", 100);
        give(&mut promises, "b", 105);
        assert!(!promises.keep(&call("of-another-replica"), 106));
        assert_eq!(promises.last_s(110), KEPT_S - 5);
        assert!(promises.keep(&call("b"), 110));
        assert!(!promises.keep(&call("b"), 110));
        assert_eq!(promises.last_s(110), KEPT_S - 10);
        assert_eq!(promises.last_s(1_000), 0);
        give(&mut promises, "c", 1_000);
        assert_eq!((promises.open.len(), promises.ends.len()), (1, 1), "what has expired is forgotten");
    }

    #[test]
    fn a_promise_holds_a_seat_for_a_while_and_one_seat_only() {
        let mut promises = Promises::default();
        give(&mut promises, "a", 100);
        give(&mut promises, "b", 100);
        give(&mut promises, "c", 103);
        // The carrier asked twice.
        give(&mut promises, "c", 104);
        assert_eq!(promises.seats(104), 3);
        assert!(promises.keep(&call("a"), 104));
        assert_eq!((promises.seats(114), promises.seats(115), promises.seats(119)), (2, 1, 0));
        assert!(!promises.keep(&call("b"), 115), "it lapsed, and its seat may be another's");
    }
}
