//! Calls side by side: each in a thread's own runtime, mostly on a clock of its own that stands still while anybody works.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{available_parallelism, scope};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::timeout;

/// Virtual time that no call of these tests needs.
const CALL_MAX: Duration = Duration::from_secs(4 * 3_600);
/// Letters of a failure that are told.
const TOLD_CHARS: usize = 600;

/// Which clock calls go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// One that jumps to the next moment at which anything happens.
    Paused,
    /// The machine's.
    Real,
}

impl Time {
    /// How many calls are run at once: those in real time wait most of it.
    fn threads(self) -> usize {
        match self {
            Time::Paused => available_parallelism().map_or(1, usize::from),
            Time::Real => 16,
        }
    }

    fn run<T>(self, work: impl Future<Output = T>) -> T {
        let runtime = Builder::new_current_thread().enable_all().start_paused(self == Time::Paused).build().unwrap();
        let done = runtime.block_on(async { timeout(CALL_MAX, Box::pin(work)).await.expect("a call without an end") });
        // Work of the local voice that nobody waits for any more.
        runtime.shutdown_timeout(Duration::from_secs(2));
        done
    }
}

/// What became of each job, in their order; a panic is told in its words.
pub(crate) fn side_by_side<J, T, F>(time: Time, jobs: &[J], run: impl Fn(J) -> F + Sync) -> Vec<Result<T, String>>
where
    J: Copy + Sync,
    T: Send,
    F: Future<Output = T>,
{
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    scope(|threads| {
        for _ in 0..time.threads() {
            threads.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index).copied() else { return };
                    let ended = catch_unwind(AssertUnwindSafe(|| time.run(run(job))));
                    done.lock().unwrap().push((index, ended.map_err(|reason| words_of(&*reason))));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, ended)| ended).collect()
}

fn words_of(reason: &(dyn Any + Send)) -> String {
    let text = reason.downcast_ref::<String>().cloned();
    let words = text.or_else(|| reason.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    words.unwrap_or_default().chars().take(TOLD_CHARS).collect()
}
