//! What is known of calls that are not live: for a while, and of so many.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::ids::CallSid;

/// Something about each of the latest calls.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    /// The oldest first: everything lives equally long.
    entries: VecDeque<(Instant, CallSid, T)>,
    entries_max: usize,
    life: Duration,
}

impl<T> Remembered<T> {
    pub(super) const fn new(entries_max: usize, life: Duration) -> Self {
        Remembered { entries: VecDeque::new(), entries_max, life }
    }

    /// Remembers `value` of a call, in place of what was known of it. Without room the oldest is forgotten.
    pub(super) fn put(&mut self, call: CallSid, value: T, now: Instant) {
        self.take(&call, now);
        if self.entries.len() >= self.entries_max {
            self.entries.pop_front();
        }
        self.entries.push_back((now, call, value));
    }

    /// What is known of a call, once.
    pub(super) fn take(&mut self, call: &CallSid, now: Instant) -> Option<T> {
        let at = self.find(call, now)?;
        self.entries.remove(at).map(|(.., value)| value)
    }

    /// Whether something is known of a call.
    pub(super) fn knows(&mut self, call: &CallSid, now: Instant) -> bool {
        self.find(call, now).is_some()
    }

    fn find(&mut self, call: &CallSid, now: Instant) -> Option<usize> {
        while self.entries.front().is_some_and(|(since, ..)| now.duration_since(*since) >= self.life) {
            self.entries.pop_front();
        }
        // What is asked for is mostly new.
        self.entries.iter().rposition(|(_, known, _)| known == call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str) -> CallSid {
        CallSid::parse(name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_known_once_for_a_while_and_among_the_latest() {
        let (mut known, start) = (Remembered::new(2, Duration::from_secs(10)), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        known.put(call("a"), 1, start);
        known.put(call("b"), 2, after(5));
        known.put(call("b"), 3, after(6));
        assert!(known.knows(&call("b"), after(6)));
        assert_eq!(known.take(&call("b"), after(6)), Some(3));
        assert_eq!(known.take(&call("b"), after(6)), None);
        assert_eq!(known.take(&call("a"), after(10)), None, "its time is over");
        for (name, value) in [("c", 4), ("d", 5), ("e", 6)] {
            known.put(call(name), value, after(20));
        }
        assert_eq!(known.take(&call("c"), after(20)), None, "there was no room");
        assert_eq!((known.take(&call("d"), after(29)), known.take(&call("e"), after(29))), (Some(5), Some(6)));
    }
}
