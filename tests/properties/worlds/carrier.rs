//! A carrier that plays what it is sent, and lies about marks if told to.

use std::collections::VecDeque;
use std::time::Duration;

use trunkline::ids::{CallTime, MarkId};

use super::Dice;
use crate::trace::Marks;

/// What a carrier has been given and has not played: the time at which each mark's audio ends.
#[derive(Debug)]
pub(super) struct Carrier {
    marks: Marks,
    queue: VecDeque<(CallTime, MarkId)>,
    /// When everything that it holds will have been played.
    free_at: CallTime,
    /// Marks that come back, and when.
    pub(super) echoes: Vec<(CallTime, MarkId)>,
}

impl Carrier {
    pub(super) fn new(marks: Marks) -> Self {
        Carrier { marks, queue: VecDeque::new(), free_at: CallTime::ZERO, echoes: Vec::new() }
    }

    /// Plays until `now`.
    pub(super) fn play(&mut self, now: CallTime, dice: &mut Dice) {
        while let Some((at, mark)) = self.queue.front().copied().filter(|(at, _)| *at <= now) {
            self.queue.pop_front();
            self.echo(mark, at, dice);
        }
    }

    pub(super) fn media(&mut self, now: CallTime, length: Duration) {
        self.free_at = self.free_at.max(now) + length;
    }

    pub(super) fn mark(&mut self, now: CallTime, mark: MarkId) {
        match self.marks {
            Marks::AtOnce => self.echoes.push((now, mark)),
            Marks::Honest | Marks::Late | Marks::Never | Marks::Wild => {
                self.queue.push_back((self.free_at, mark));
            }
        }
    }

    pub(super) fn clear(&mut self, now: CallTime, dice: &mut Dice) {
        self.free_at = now;
        for (_, mark) in std::mem::take(&mut self.queue) {
            self.echo(mark, now, dice);
        }
    }

    /// When something will happen of itself.
    pub(super) fn next_at(&self) -> Option<CallTime> {
        self.queue.front().map(|(at, _)| *at)
    }

    fn echo(&mut self, mark: MarkId, at: CallTime, dice: &mut Dice) {
        let later = |ms: u64| at + Duration::from_millis(ms);
        match self.marks {
            Marks::Honest => self.echoes.push((at, mark)),
            Marks::Late => self.echoes.push((later(dice.below(400)), mark)),
            Marks::Never | Marks::AtOnce => {}
            Marks::Wild => match dice.below(8) {
                0 => {}
                1 => self.echoes.push((later(dice.below(4_000)), mark)),
                2 => self.echoes.extend([(at, mark), (later(dice.below(300)), mark)]),
                3 => self.echoes.push((at, MarkId(mark.0 + 1 + dice.below(3)))),
                _ => self.echoes.push((later(dice.below(60)), mark)),
            },
        }
    }
}
