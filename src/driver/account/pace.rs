//! How fast one provider is dialled by all calls of a node together: after an outage everybody comes back at once.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::jitter::Jitter;
use crate::driver::rate::Rate;

/// Dials a second, and as many at once after a quiet time. A node that fills up with calls stays far below; one that lost
/// some hundred links is back within seconds, and its provider is not met by all of them in one packet.
const DIALS: NonZeroU32 = NonZeroU32::new(50).unwrap();
/// Whoever has to wait is spread over so much more, so that those who waited together do not go together.
const SPREAD: Duration = Duration::from_millis(100);

/// The limiter of one provider.
#[derive(Debug)]
pub(super) struct Pace(Rate);

impl Pace {
    /// A limiter that has seen no dial yet.
    pub(super) fn new() -> Self {
        Pace(Rate::new(DIALS, DIALS))
    }

    /// Waits until one may dial, but not much longer than `patience`; whether one may. Dropped while it waits, nothing was
    /// taken.
    pub(super) async fn wait(&self, patience: Duration, jitter: &Jitter) -> bool {
        let begun = Instant::now();
        loop {
            let Err(wait) = self.0.take() else { return true };
            if begun.elapsed() + wait > patience {
                return false;
            }
            sleep(wait + jitter.within(SPREAD)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of `dials` that come at once may dial.
    async fn at_once(dials: u32, patience: Duration) -> Vec<Option<Duration>> {
        let (pace, jitter, begun) = (Pace::new(), Jitter::new(3), Instant::now());
        let each = (0..dials).map(|_| async {
            let may = pace.wait(patience, &jitter).await;
            may.then(|| begun.elapsed())
        });
        futures_util::future::join_all(each).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_stampede_is_spread_over_time_and_nobody_waits_for_ever() {
        let patience = Duration::from_secs(2);
        let times = at_once(300, patience).await;
        let at_once = times.iter().filter(|time| **time == Some(Duration::ZERO)).count();
        assert_eq!(at_once, DIALS.get() as usize);
        let dialled: Vec<Duration> = times.iter().copied().flatten().collect();
        for second in 0..3 {
            let span = Duration::from_secs(second)..Duration::from_secs(second + 1);
            let count = dialled.iter().filter(|time| **time > Duration::ZERO && span.contains(*time)).count();
            assert!(count <= DIALS.get() as usize + 1, "{count} in second {second}");
        }
        assert!(dialled.iter().max().unwrap() <= &(patience + SPREAD));
        assert!(dialled.len() > 130 && dialled.len() < 160, "{}", dialled.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_dials_do_not_wait() {
        assert_eq!(at_once(40, Duration::ZERO).await, vec![Some(Duration::ZERO); 40]);
    }
}
