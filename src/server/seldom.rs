//! Log lines about things that a flood repeats: each kind at most once a second.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::node::lock;

/// Between two lines of one kind.
const EVERY: Duration = Duration::from_secs(1);

/// When each kind was told of last, and how often it happened since.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<BTreeMap<&'static str, (Instant, u64)>>);

impl Seldom {
    /// Calls `line` with the number of times that were not told of, unless `kind` was told of within the last second.
    pub(super) fn tell(&self, kind: &'static str, line: impl FnOnce(u64)) {
        let now = Instant::now();
        let mut kinds = lock(&self.0);
        let more = match kinds.get_mut(kind) {
            Some((told, more)) if now.duration_since(*told) < EVERY => {
                *more += 1;
                return;
            }
            Some((_, more)) => *more,
            None => 0,
        };
        kinds.insert(kind, (now, 0));
        drop(kinds);
        line(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_leaves_a_line_a_second_which_tells_how_many_there_were() {
        let (seldom, mut lines) = (Seldom::default(), Vec::new());
        for _ in 0..25 {
            seldom.tell("a", |more| lines.push(("a", more)));
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        seldom.tell("b", |more| lines.push(("b", more)));
        assert_eq!(lines, [("a", 0), ("a", 9), ("a", 9), ("b", 0)]);
    }
}
