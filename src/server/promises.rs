//! Streams that were promised a seat: a token was handed out for them a moment ago and has not come back yet.

use std::collections::BTreeMap;

/// Tokens remembered at one time: a thousand calls a second. Further ones are not waited for.
const OPEN_MAX: usize = 15_000;
/// For so long a promise holds a seat, and a node that stops waits for it. A carrier opens its stream within a second or two;
/// a caller who hung up meanwhile, or whose stream came to another replica, should not cost as long as the token lives.
const KEPT_S: u64 = 15;

/// Tokens of this node that have neither been used nor waited for long enough.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// Token to when it need not be waited for any more, in seconds of Unix time.
    open: BTreeMap<String, u64>,
    /// How many tokens of each such second there are.
    ends: BTreeMap<u64, usize>,
    pruned_at: u64,
}

impl Promises {
    /// A token was handed out at `now`, in seconds of Unix time.
    pub(super) fn give(&mut self, token: &str, now: u64) {
        if now != self.pruned_at {
            self.pruned_at = now;
            self.open.retain(|_, end| *end > now);
            self.ends = self.ends.split_off(&(now + 1));
        }
        let end = now + KEPT_S;
        if self.open.len() < OPEN_MAX && self.open.insert(token.to_owned(), end).is_none() {
            *self.ends.entry(end).or_default() += 1;
        }
    }

    /// Its stream has come. Another replica's token is none of ours.
    pub(super) fn keep(&mut self, token: &str) {
        let Some(end) = self.open.remove(token) else { return };
        if let Some(count) = self.ends.get_mut(&end) {
            *count -= 1;
            if *count == 0 {
                self.ends.remove(&end);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_open_promise_counts() {
        let mut promises = Promises::default();
        assert_eq!(promises.last_s(0), 0);
        promises.give("a", 100);
        promises.give("b", 105);
        promises.keep("of another replica");
        assert_eq!(promises.last_s(110), KEPT_S - 5);
        promises.keep("b");
        promises.keep("b");
        assert_eq!(promises.last_s(110), KEPT_S - 10);
        assert_eq!(promises.last_s(1_000), 0);
        promises.give("c", 1_000);
        assert_eq!((promises.open.len(), promises.ends.len()), (1, 1), "what has expired is forgotten");
    }

    #[test]
    fn a_promise_holds_a_seat_for_a_while() {
        let mut promises = Promises::default();
        promises.give("a", 100);
        promises.give("b", 100);
        promises.give("c", 104);
        assert_eq!(promises.seats(104), 3);
        promises.keep("a");
        assert_eq!((promises.seats(114), promises.seats(115), promises.seats(119)), (2, 1, 0));
    }
}
