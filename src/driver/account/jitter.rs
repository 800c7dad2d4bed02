//! Small random spans that keep calls and nodes from acting in step. Not for secrets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where the state moves to at each draw (Weyl sequence of SplitMix64).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A source of them.
#[derive(Debug)]
pub(super) struct Jitter(AtomicU64);

impl Jitter {
    /// The same seed gives the same spans.
    pub(super) fn new(seed: u64) -> Self {
        Jitter(AtomicU64::new(seed))
    }

    /// A span of less than `most`.
    pub(super) fn within(&self, most: Duration) -> Duration {
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(z % most.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_differ_and_stay_below_their_limit() {
        let (jitter, most) = (Jitter::new(1), Duration::from_millis(100));
        let spans: Vec<Duration> = (0..1_000).map(|_| jitter.within(most)).collect();
        assert!(spans.iter().all(|span| *span < most));
        let mean = spans.iter().sum::<Duration>() / 1_000;
        assert!((40..60).contains(&mean.as_millis()), "{mean:?}");
        assert_eq!(jitter.within(Duration::ZERO), Duration::ZERO);
    }
}
