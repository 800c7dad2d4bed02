//! A limit of an account: what the operator wrote, and for a while less, when the provider said that it was too much.

use std::time::Duration;

use tokio::time::Instant;

/// After a refusal the limit rises by one in each of these.
const STEP: Duration = Duration::from_secs(5);
/// Where the operator wrote no limit, a refusal is forgotten after so long.
const MEMORY: Duration = Duration::from_secs(60);

/// How many of something may be in use at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ceiling {
    most: Option<u32>,
    cut: Option<(u32, Instant)>,
}

impl Ceiling {
    /// As the operator wrote it; `None`: no limit.
    pub(super) fn new(most: Option<u32>) -> Self {
        Ceiling { most, cut: None }
    }

    /// What the operator wrote.
    pub(super) fn most(&self) -> Option<u32> {
        self.most
    }

    /// What holds now; `None`: no limit. Never 0: only another try shows that there is room again.
    pub(super) fn at(&self, now: Instant) -> Option<u32> {
        let Some((to, since)) = self.cut else { return self.most };
        let passed = now.duration_since(since);
        match self.most {
            None if passed >= MEMORY => None,
            most => {
                let steps = u32::try_from(passed.as_secs() / STEP.as_secs()).unwrap_or(u32::MAX);
                Some(to.saturating_add(steps).min(most.unwrap_or(u32::MAX)))
            }
        }
    }

    /// Whether there is room for one more beside `in_use`.
    pub(super) fn has_room(&self, now: Instant, in_use: u32) -> bool {
        self.at(now).is_none_or(|limit| in_use < limit)
    }

    /// The provider refused one of the `in_use`: it takes fewer, whoever else uses the account.
    pub(super) fn lower(&mut self, now: Instant, in_use: u32) {
        let held = self.at(now).map_or(in_use, |limit| limit.min(in_use));
        self.cut = Some((held.saturating_sub(1).max(1), now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_lowers_it_below_what_was_in_use_and_it_rises_again_step_by_step() {
        let (mut ceiling, now) = (Ceiling::new(Some(15)), Instant::now());
        assert!(ceiling.has_room(now, 14) && !ceiling.has_room(now, 15));
        ceiling.lower(now, 12);
        assert_eq!(ceiling.at(now), Some(11));
        ceiling.lower(now, 11);
        assert_eq!(ceiling.at(now), Some(10));
        let after = |steps: u32| ceiling.at(now + STEP * steps);
        assert_eq!([after(1), after(4), after(5), after(50)], [Some(11), Some(14), Some(15), Some(15)]);
    }

    #[test]
    fn it_never_falls_to_nothing() {
        let (mut ceiling, now) = (Ceiling::new(Some(2)), Instant::now());
        for in_use in [2, 1, 1, 0] {
            ceiling.lower(now, in_use);
        }
        assert_eq!(ceiling.at(now), Some(1));
    }

    #[test]
    fn without_a_limit_of_the_operators_it_is_forgotten() {
        let (mut ceiling, now) = (Ceiling::new(None), Instant::now());
        assert_eq!(ceiling.at(now), None);
        ceiling.lower(now, 40);
        assert_eq!(ceiling.at(now), Some(39));
        assert_eq!(ceiling.at(now + STEP), Some(40));
        assert_eq!(ceiling.at(now + MEMORY), None);
    }
}
