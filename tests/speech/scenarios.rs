//! Runs scenarios side by side, each on a thread and a runtime of its own.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// Scenarios at one time, however many tests are under way. They wait most of the time; more would make a small machine late.
const AT_ONCE: usize = 24;

/// Seats of this process.
static SEATS: Seats = Seats { free: Mutex::new(AT_ONCE), given_back: Condvar::new() };

/// Longest time for a scenario.
const SCENARIO_MAX: Duration = Duration::from_secs(150);

struct Seats {
    free: Mutex<usize>,
    given_back: Condvar,
}

/// Held by a scenario that runs.
struct Seat;

impl Seats {
    fn take(&self) -> Seat {
        let mut free = self.given_back.wait_while(self.free.lock().unwrap(), |free| *free == 0).unwrap();
        *free -= 1;
        Seat
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *SEATS.free.lock().unwrap() += 1;
        SEATS.given_back.notify_one();
    }
}

type Work = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// A scenario and its name.
pub(crate) struct Scenario {
    name: String,
    work: Work,
}

/// Names a scenario.
pub(crate) fn scenario<F: Future<Output = ()> + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> F + Send + 'static,
) -> Scenario {
    Scenario { name: name.into(), work: Box::new(|| Box::pin(work())) }
}

/// Runs one.
pub(crate) fn alone<F: Future<Output = ()>>(work: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(SCENARIO_MAX, work).await.unwrap() });
    // Work of the local voice that nobody waits for any more.
    runtime.shutdown_timeout(Duration::from_secs(2));
}

/// Runs all, or those whose name the variable `SCENARIO` is a part of, and names those that failed.
pub(crate) fn run_all(mut scenarios: Vec<Scenario>) {
    if let Ok(part) = std::env::var("SCENARIO") {
        scenarios.retain(|scenario| scenario.name.contains(&part));
    }
    let count = scenarios.len();
    let waiting = Mutex::new(VecDeque::from(scenarios));
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(count) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().pop_front();
                    let Some(Scenario { name, work }) = next else { return };
                    let _seat = SEATS.take();
                    if let Err(reason) = catch_unwind(AssertUnwindSafe(|| alone(work()))) {
                        failed.lock().unwrap().push(format!("{name}: {}", words_of(&*reason)));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {count} failed:\n{}", failed.len(), failed.join("\n"));
}

fn words_of(reason: &(dyn std::any::Any + Send)) -> String {
    let text = reason.downcast_ref::<String>().cloned();
    let words = text.or_else(|| reason.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    words.unwrap_or_default().chars().take(600).collect()
}
