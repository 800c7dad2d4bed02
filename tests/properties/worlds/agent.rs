//! An agent that says things in pieces, at its own pace, and does not always finish.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use trunkline::call::action::AgentReport;
use trunkline::call::event::{Delivery, Say};
use trunkline::call::settings::Interruptible;
use trunkline::ids::{CallTime, TurnId};

use super::Dice;

/// What an agent that has lines says again and again. The last is the beginning of another.
pub(super) const LINES: [&str; 4] = ["One moment please. ", "Hello! How are you? ", "Bye. ", "Hello! "];

const WORDS: [&str; 8] = ["a", "is", "cat", "door", "eleven", "fourteen", "government", "I"];

/// An agent that begins a new turn every now and then.
#[derive(Debug)]
pub(super) struct Agent {
    pieces: VecDeque<(CallTime, Say)>,
    next_turn: u32,
    next_start: CallTime,
    word: u64,
    /// Pieces that the agent has for a turn that it should have forgotten are still sent.
    stubborn: bool,
    dropped: Vec<TurnId>,
    /// Thrown for lines, by an agent that has any.
    lines: Option<Dice>,
}

impl Agent {
    pub(super) fn new(lines: Option<Dice>, dice: &mut Dice) -> Self {
        Agent {
            lines,
            pieces: VecDeque::new(),
            next_turn: 1,
            next_start: CallTime::from_millis(dice.below(1_000)),
            word: 0,
            stubborn: dice.below(2) == 0,
            dropped: Vec::new(),
        }
    }

    pub(super) fn next_at(&self) -> Option<CallTime> {
        let piece = self.pieces.front().map(|(at, _)| *at);
        Some(piece.map_or(self.next_start, |at| at.min(self.next_start)))
    }

    /// The next piece that is due, beginning a new turn if it is time for one.
    pub(super) fn take(&mut self, now: CallTime, lively: bool, dice: &mut Dice) -> Option<Say> {
        if self.next_start <= now {
            if lively && self.next_turn < 120 {
                self.compose(now, dice);
            }
            self.next_start = now + Duration::from_millis(dice.pick(&[100, 1_000, 4_000, 9_000]));
        }
        let (_, say) = self.pieces.front().filter(|(at, _)| *at <= now)?.clone();
        self.pieces.pop_front();
        (self.stubborn || !self.dropped.contains(&say.turn)).then_some(say)
    }

    pub(super) fn on_report(&mut self, report: &AgentReport) {
        if let AgentReport::Interrupted { turn, .. } = report {
            self.dropped.push(*turn);
        }
    }

    fn compose(&mut self, now: CallTime, dice: &mut Dice) {
        let turn = TurnId(self.next_turn);
        self.next_turn += 1;
        let interruptible = match dice.below(8) {
            0 => Some(Interruptible::None),
            1 => Some(Interruptible::Dtmf),
            _ => None,
        };
        let (count, at_once, open) = (1 + dice.below(25), dice.below(3) == 0, dice.below(12) == 0);
        let mut at = now;
        for n in 1..=count {
            if !at_once {
                at = at + Duration::from_millis(dice.pick(&[0, 30, 100, 300, 300, 1_200]));
            }
            let is_end = n == count;
            let line = self.lines.as_mut().and_then(|dice| (dice.below(3) == 0).then(|| dice.pick(&LINES)));
            if let Some(line) = line.filter(|_| n == 1) {
                self.pieces.push_back((at, piece_of(turn, interruptible, line)));
            }
            self.word += 1;
            let mark = if is_end { "." } else { dice.pick(&["", "", "", "", ",", ".", "!", " --"]) };
            let gap = if is_end { "" } else { dice.pick(&[" ", " ", " ", "  "]) };
            let word = format!("{}{}{mark}{gap}", dice.pick(&WORDS), self.word);
            let voice = dice.pick(&["one", "two"]).to_owned();
            let say = |text: &str| piece_of(turn, interruptible, text);
            // The pieces of a word come together, or what was heard could not be counted in words.
            let is_cut = dice.below(3) == 0;
            // Text that is held back between two of them is spoken as two words by a vendor that gathers, and then an agent with
            // lines, which makes a turn's text longer, could not be counted either.
            let cut = if is_cut && self.lines.is_none() { 1 } else { 0 };
            self.pieces.push_back((at, say(&word[..cut])));
            let mut piece = say(&word[cut..]);
            piece.flush = dice.below(12) == 0;
            piece.last = is_end && !open;
            if dice.below(25) == 0 && cut == 0 {
                piece.delivery = Some(Arc::new(Delivery { voice: Some(voice), ..Delivery::default() }));
            }
            self.pieces.push_back((at, piece));
        }
        self.pieces.make_contiguous().sort_by_key(|(at, _)| *at);
    }
}

fn piece_of(turn: TurnId, interruptible: Option<Interruptible>, text: &str) -> Say {
    Say { turn, text: text.to_owned(), last: false, flush: false, interruptible, delivery: None, preemptible: None }
}
