//! Whether the node is busier than its calls can bear: seen in how late their frames are, before anybody hears it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::node::Node;

/// How often frames are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Looks that count.
const WINDOW: usize = 5;
/// Fewer frames in that time prove nothing.
const FRAMES_MIN: u64 = 50;
/// More late frames than one in so many: new calls are refused.
const LATE_ONE_IN: u64 = 100;
/// Fewer than one in so many: they are welcome again.
const CALM_ONE_IN: u64 = 500;

/// Looks at a node's frames until it begins to stop.
pub(super) async fn watch(node: Node) {
    let mut strain = Strain::default();
    let mut ticks = tokio::time::interval(EVERY);
    // Looks that were missed are not made up for: in one moment they would see nothing.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // From now on new calls are refused for another reason, and those that were promised a seat are taken.
            () = node.stopping().drain.cancelled() => break,
        }
        let (frames, late) = node.meter().frames_sent();
        let was = strain.is_strained;
        let is_strained = strain.look(frames, late);
        if is_strained != was {
            let calls = node.running().len();
            if is_strained {
                tracing::warn!(calls, "frames are late: new calls are refused until they are in time again");
            } else {
                tracing::info!(calls, "frames are in time again: new calls are welcome");
            }
            node.admission().strain(is_strained);
            node.meter().show_strained(is_strained);
        }
    }
    node.admission().strain(false);
    node.meter().show_strained(false);
}

/// The last few looks at two counters that only grow.
#[derive(Debug, Default)]
struct Strain {
    looks: VecDeque<(u64, u64)>,
    is_strained: bool,
}

impl Strain {
    /// Takes what was counted so far; whether the node is strained now.
    fn look(&mut self, frames: u64, late: u64) -> bool {
        let (frames_before, late_before) = self.looks.front().copied().unwrap_or((frames, late));
        self.looks.push_back((frames, late));
        if self.looks.len() > WINDOW {
            self.looks.pop_front();
        }
        let (frames, late) = (frames - frames_before, late - late_before);
        self.is_strained = match self.is_strained {
            true => late * CALM_ONE_IN >= frames && late > 0,
            false => frames >= FRAMES_MIN && late * LATE_ONE_IN > frames,
        };
        self.is_strained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each look says, of frames and late ones in each second.
    fn looks(seconds: &[(u64, u64)]) -> Vec<bool> {
        let (mut strain, mut frames, mut late) = (Strain::default(), 0, 0);
        strain.look(0, 0);
        let look = |(more, more_late): &(u64, u64)| {
            (frames, late) = (frames + more, late + more_late);
            strain.look(frames, late)
        };
        seconds.iter().map(look).collect()
    }

    #[test]
    fn one_late_frame_in_a_hundred_refuses_and_five_calm_seconds_admit() {
        assert_eq!(looks(&[(1_000, 10), (1_000, 9)]), [false, false]);
        let storm = [(1_000, 0), (1_000, 30), (1_000, 0), (1_000, 0), (1_000, 0), (1_000, 0), (1_000, 0)];
        assert_eq!(looks(&storm), [false, true, true, true, true, true, false]);
    }

    #[test]
    fn a_few_frames_prove_nothing_and_silence_is_calm() {
        assert_eq!(looks(&[(10, 10), (30, 30)]), [false, false]);
        assert_eq!(looks(&[(100, 100), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)]), [true, true, true, true, true, false]);
    }
}
