//! What a live call counted, for those who look at it from outside.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::call::stats::Stats;

/// Classes of lateness in each doubling of it.
const STEPS: usize = 4;
/// Up to half a minute; whatever is later counts as that late.
const CLASSES: usize = 24 * STEPS;

/// How late the frames of a call were sent, in classes whose width is at most a quarter of what they hold.
#[derive(Clone, Copy, Debug)]
pub struct Lateness {
    classes: [u32; CLASSES],
    frames: u32,
    longest: Duration,
}

impl Default for Lateness {
    fn default() -> Self {
        Lateness { classes: [0; CLASSES], frames: 0, longest: Duration::ZERO }
    }
}

impl Lateness {
    /// Counts a frame that was sent `late` after its due time.
    pub(super) fn observe(&mut self, late: Duration) {
        if let Some(class) = self.classes.get_mut(class_of(late)) {
            *class = class.saturating_add(1);
        }
        self.frames = self.frames.saturating_add(1);
        self.longest = self.longest.max(late);
    }

    /// The latest frame of all.
    pub const fn longest(&self) -> Duration {
        self.longest
    }

    /// At most so late were 99 of 100 frames; never too small, and a quarter too long at most.
    pub fn p99(&self) -> Duration {
        let rank = self.frames - self.frames / 100;
        let mut earlier = 0;
        let class = self.classes.iter().position(|frames| {
            earlier += frames;
            earlier >= rank
        });
        class.map_or(self.longest, upper_end).min(self.longest)
    }
}

fn class_of(late: Duration) -> usize {
    let micros = usize::try_from(late.as_micros()).unwrap_or(usize::MAX);
    if micros < STEPS {
        return micros;
    }
    let doublings = micros.ilog2() as usize;
    let step = (micros >> (doublings - STEPS.ilog2() as usize)) % STEPS;
    ((doublings - 1) * STEPS + step).min(CLASSES - 1)
}

/// The longest lateness of a class.
fn upper_end(class: usize) -> Duration {
    let (doublings, step) = ((class / STEPS).saturating_sub(1), class % STEPS);
    let micros = if class < STEPS { class } else { ((STEPS + step + 1) << doublings) - 1 };
    Duration::from_micros(micros as u64)
}

/// What a call counted so far, as it stood at most a second ago.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// The core's counters.
    pub stats: Stats,
    /// How late its frames were sent.
    pub lateness: Lateness,
}

/// Where a call leaves its figures.
#[derive(Clone, Debug, Default)]
pub(super) struct Notice(Arc<Mutex<Figures>>);

impl Notice {
    /// Leaves them.
    pub(super) fn put(&self, figures: Figures) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    /// What was left last.
    pub(super) fn get(&self) -> Figures {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lateness_has_a_class_that_holds_it() {
        let mut before = 0;
        for micros in (0..100_000).chain([999_999, 1_000_000, 33_000_000]) {
            let late = Duration::from_micros(micros);
            let class = class_of(late);
            let end = upper_end(class);
            assert!(class >= before && end >= late, "{micros}: {class}, {end:?}");
            assert!(end <= late + late / 4 + Duration::from_micros(1), "{micros}: {end:?}");
            before = class;
        }
        assert_eq!(class_of(Duration::MAX), CLASSES - 1);
    }

    #[test]
    fn one_of_a_hundred_may_be_later() {
        let mut lateness = Lateness::default();
        assert_eq!((lateness.p99(), lateness.longest()), (Duration::ZERO, Duration::ZERO));
        (0..99).for_each(|_| lateness.observe(Duration::from_micros(1_000)));
        lateness.observe(Duration::from_millis(80));
        assert!((1_000..=1_250).contains(&lateness.p99().as_micros()), "{:?}", lateness.p99());
        assert_eq!(lateness.longest(), Duration::from_millis(80));
        (0..3).for_each(|_| lateness.observe(Duration::from_millis(80)));
        assert_eq!(lateness.p99(), Duration::from_millis(80));
    }
}
