//! Streams that were promised a place: a token was handed out for them and has not come back yet.

use std::collections::BTreeMap;

/// Tokens remembered at one time: a thousand calls a second for a token's whole life. Further ones are not waited for.
const OPEN_MAX: usize = 60_000;

/// Tokens of this node that have neither been used nor expired.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// Token to its expiry, in seconds of Unix time.
    open: BTreeMap<String, u64>,
    pruned_at: u64,
}

impl Promises {
    /// A token was handed out. Both times in seconds of Unix time.
    pub(super) fn give(&mut self, token: &str, expiry: u64, now: u64) {
        if now != self.pruned_at {
            self.pruned_at = now;
            self.open.retain(|_, expiry| *expiry > now);
        }
        if self.open.len() < OPEN_MAX {
            self.open.insert(token.to_owned(), expiry);
        }
    }

    /// Its stream has come. Another replica's token is none of ours.
    pub(super) fn keep(&mut self, token: &str) {
        self.open.remove(token);
    }

    /// Seconds until the last open one expires; 0 if there is none.
    pub(super) fn last_s(&self, now: u64) -> u64 {
        self.open.values().max().map_or(0, |expiry| expiry.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_open_promise_counts() {
        let mut promises = Promises::default();
        assert_eq!(promises.last_s(0), 0);
        promises.give("a", 160, 100);
        promises.give("b", 165, 105);
        promises.keep("of another replica");
        assert_eq!(promises.last_s(110), 55);
        promises.keep("b");
        assert_eq!(promises.last_s(110), 50);
        assert_eq!(promises.last_s(200), 0);
        promises.give("c", 260, 200);
        assert_eq!(promises.open.len(), 1, "what has expired is forgotten");
    }
}
