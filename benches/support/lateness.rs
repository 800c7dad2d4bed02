//! How late a process runs: by a documented distribution, or as late as real timers were on this machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use trunkline::ids::CallTime;

use super::world::{Lateness, Reason};

/// A fixed seed, so that the documented distribution gives the same figures every time.
const SEED: u64 = 20;

/// Numbers that look random and are the same every time: Steele, Lea and Flood's SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Above 0 and at most 1, evenly.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Exponentially distributed with this mean.
    fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-self.unit().ln())
    }
}

/// A process that stands still now and then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stalls {
    /// Stalls begin so often on average, independently of each other.
    pub(crate) per_second: f64,
    /// They last so long on average, exponentially distributed.
    pub(crate) mean: Duration,
}

impl Stalls {
    pub(crate) fn begin(self) -> Stalling {
        let mut stalling = Stalling { stalls: self, numbers: Numbers(SEED), from: CallTime::ZERO, to: CallTime::ZERO };
        stalling.next_stall();
        stalling
    }
}

/// Where in time such a process is.
#[derive(Debug)]
pub(crate) struct Stalling {
    stalls: Stalls,
    numbers: Numbers,
    /// The stall that is next, or going on.
    from: CallTime,
    to: CallTime,
}

impl Stalling {
    fn next_stall(&mut self) {
        let pause = self.numbers.exponential(Duration::from_secs_f64(1.0 / self.stalls.per_second));
        self.from = self.to + pause;
        self.to = self.from + self.numbers.exponential(self.stalls.mean);
    }
}

impl Lateness for Stalling {
    fn runs_at(&mut self, wanted: CallTime, reason: Reason) -> CallTime {
        let at = match reason {
            // The runtime's timer wheel has steps of a millisecond and rounds up.
            Reason::Timer => wanted + Duration::from_millis(1) + Duration::from_millis(1).mul_f64(self.numbers.unit()),
            Reason::Arrival => wanted,
        };
        while self.to <= at {
            self.next_stall();
        }
        if self.from <= at { self.to } else { at }
    }
}

/// A process whose every wake-up is as late as one that was measured.
#[derive(Debug)]
pub(crate) struct Drawn {
    samples: Vec<Duration>,
    numbers: Numbers,
}

impl Drawn {
    pub(crate) fn new(samples: Vec<Duration>) -> Self {
        Drawn { samples, numbers: Numbers(SEED) }
    }
}

impl Lateness for Drawn {
    fn runs_at(&mut self, wanted: CallTime, _: Reason) -> CallTime {
        let count = u64::try_from(self.samples.len()).unwrap();
        let index = usize::try_from(self.numbers.next() % count).unwrap();
        wanted + *self.samples.get(index).unwrap()
    }
}

/// How late timers of 20 ms are on this machine, while `threads` threads that never rest want its cores too. Takes ten
/// seconds.
pub(crate) fn measured(threads: usize) -> Vec<Duration> {
    /// Timers at one time, spread over the 20 ms.
    const TIMERS: u32 = 50;
    const ROUNDS: u32 = 500;
    let over = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..threads)
        .map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || while !over.load(Ordering::Relaxed) {})
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let samples = runtime.block_on(async {
        let start = Instant::now() + Duration::from_millis(50);
        let mut timers = JoinSet::new();
        for timer in 0..TIMERS {
            timers.spawn(async move {
                let phase = Duration::from_millis(20) * timer / TIMERS;
                let mut late = Vec::new();
                for round in 0..ROUNDS {
                    let due = start + phase + Duration::from_millis(20) * round;
                    sleep_until(due).await;
                    late.push(Instant::now().saturating_duration_since(due));
                }
                late
            });
        }
        timers.join_all().await.concat()
    });
    over.store(true, Ordering::Relaxed);
    for thread in busy {
        thread.join().unwrap();
    }
    samples
}
