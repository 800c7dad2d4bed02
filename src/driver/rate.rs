//! How often something may happen: `governor` on tokio's time, so that tests can pause it.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// Keys that are remembered before those are looked for that nobody has used lately.
const KEYS_MAX: usize = 10_000;

#[derive(Clone, Debug)]
struct Since(Instant);

impl Clock for Since {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// One rate.
#[derive(Debug)]
pub struct Rate {
    limiter: RateLimiter<NotKeyed, InMemoryState, Since, NoOpMiddleware<Duration>>,
    clock: Since,
}

impl Rate {
    /// So many a second, and up to `burst` at once after a quiet time.
    pub fn new(a_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let clock = Since(Instant::now());
        let quota = Quota::per_second(a_second).allow_burst(burst);
        Rate { limiter: RateLimiter::direct_with_clock(quota, clock.clone()), clock }
    }

    /// Takes one now.
    ///
    /// # Errors
    /// How long to wait; nothing was taken.
    pub fn take(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|early| early.wait_time_from(self.clock.now()))
    }
}

/// A rate for each key.
#[derive(Debug)]
pub struct Rates<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, HashMapStateStore<K>, Since, NoOpMiddleware<Duration>>,
    clock: Since,
    /// The second in which unused keys were last looked for: a flood of new ones is not to look at all of them each time.
    pruned_s: AtomicU64,
}

impl<K: Hash + Eq + Clone> Rates<K> {
    /// So many a second for each key, and twice as many at once after a quiet time.
    pub fn new(a_second: NonZeroU32) -> Self {
        let quota = Quota::per_second(a_second).allow_burst(a_second.saturating_mul(NonZeroU32::MIN.saturating_add(1)));
        let clock = Since(Instant::now());
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        Rates { limiter, clock, pruned_s: AtomicU64::new(0) }
    }

    /// Takes one for `key`; whether there was one.
    pub fn take(&self, key: &K) -> bool {
        let now_s = self.clock.now().as_secs();
        if self.limiter.len() > KEYS_MAX && self.pruned_s.swap(now_s, Ordering::Relaxed) != now_s {
            // A key that was not used for two seconds has all of its burst again, as one that was never seen.
            self.limiter.retain_recent();
        }
        self.limiter.check_key(key).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: NonZeroU32 = NonZeroU32::new(10).unwrap();

    #[tokio::test(start_paused = true)]
    async fn a_rate_says_how_long_to_wait() {
        let rate = Rate::new(TEN, TEN);
        assert_eq!((0..10).filter(|_| rate.take().is_ok()).count(), 10);
        let wait = rate.take().unwrap_err();
        assert_eq!(wait.as_millis(), 100);
        tokio::time::advance(wait).await;
        assert!(rate.take().is_ok() && rate.take().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn each_key_has_a_rate_of_its_own_and_is_forgotten() {
        let rates = Rates::new(TEN);
        assert_eq!((0..30).filter(|_| rates.take(&0)).count(), 20);
        assert!(rates.take(&1));
        for key in 2..=10_001 {
            assert!(rates.take(&key));
        }
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(rates.take(&0));
        assert!(rates.limiter.len() < 10, "{}", rates.limiter.len());
    }
}
