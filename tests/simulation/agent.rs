//! A model of an agent: tokens as a language model writes them, several turns at once, pauses, changes of mind.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use trunkline::call::action::{AgentReport, Flow};
use trunkline::call::event::{AgentEvent, Say};
use trunkline::call::settings::Interruptible;
use trunkline::ids::{CallTime, TurnId};

use crate::dice::Dice;
use crate::thinker::Thinker;

/// What agents say, with everything in it that makes cutting hard.
pub(crate) const SENTENCES: [&str; 14] = [
    "Your appointment is on Tuesday at 5 p.m. with Dr. Smith.",
    "It costs $12.50, which includes delivery!",
    "Yes.",
    "Certainly, I can help you with that; let me see what we have.",
    "The order number is 4 1 7 0 -- please write it down.",
    "Hmm... one moment, I am looking.",
    "Would you like the red one, the blue one, or both?",
    "\"Never mind,\" she said, e.g. to her brother.",
    "Version 3.14 is out. Really?!",
    "Naïve café owners met in Zürich.",
    "I have found three results: a flat in St. Ives, a house near the sea, and a room above the old bakery on the corner.",
    "No",
    "Please hold the line while I transfer you to somebody who can answer this question better than I can.",
    "Thank you, goodbye.",
];

/// Turns that an agent begins in one call at most.
const TURNS_MAX: u32 = 60;

/// How a random agent behaves.
#[derive(Clone, Debug)]
pub(crate) struct Temper {
    /// Between two turns that it begins of its own accord, in milliseconds.
    pub(crate) pauses_ms: Vec<u64>,
    /// It goes on with turns that were cut off.
    pub(crate) stubborn: bool,
    /// Of a thousand turns, how many may not be cut off by everything.
    pub(crate) firm: u64,
    /// Of a thousand tokens, how many are followed by a look into a database.
    pub(crate) tools: u64,
    /// Of a thousand turns, how many are never ended.
    pub(crate) open: u64,
    /// Of a thousand turns, how many are very long.
    pub(crate) long: u64,
}

/// The agent.
#[derive(Debug)]
pub(crate) struct Agent {
    temper: Option<Temper>,
    pieces: VecDeque<(CallTime, AgentEvent)>,
    next_turn: u32,
    next_start: Option<CallTime>,
    dropped: BTreeSet<TurnId>,
    held: BTreeSet<TurnId>,
    hushed: bool,
    /// It asks a language model, and does nothing else.
    thinker: Option<Arc<Mutex<Thinker>>>,
}

impl Agent {
    /// An agent that says what is in its script, and nothing else.
    pub(crate) fn scripted(script: Vec<(CallTime, AgentEvent)>) -> Self {
        Agent {
            temper: None,
            pieces: script.into(),
            next_turn: 1,
            next_start: None,
            dropped: BTreeSet::new(),
            held: BTreeSet::new(),
            hushed: false,
            thinker: None,
        }
    }

    /// An agent that asks a language model.
    pub(crate) fn thinking(thinker: Arc<Mutex<Thinker>>) -> Self {
        Agent { thinker: Some(thinker), ..Agent::scripted(Vec::new()) }
    }

    /// An agent with a will of its own.
    pub(crate) fn random(temper: Temper, dice: &mut Dice) -> Self {
        let next_start = Some(CallTime::ZERO + dice.millis(150, 900));
        Agent { temper: Some(temper), next_start, ..Agent::scripted(Vec::new()) }
    }

    fn is_held(&self, event: &AgentEvent) -> bool {
        matches!(event, AgentEvent::Say(say) if self.held.contains(&say.turn))
    }

    pub(crate) fn next_at(&self) -> Option<CallTime> {
        if let Some(thinker) = &self.thinker {
            return thinker.lock().unwrap().next_at();
        }
        let piece = self.pieces.iter().find(|(_, event)| !self.is_held(event)).map(|(at, _)| *at);
        piece.into_iter().chain(self.next_start).min()
    }

    /// The next thing that it wants by `now`.
    pub(crate) fn take(&mut self, now: CallTime, dice: &mut Dice) -> Option<AgentEvent> {
        if let Some(thinker) = &self.thinker {
            return thinker.lock().unwrap().take(now, dice);
        }
        if self.next_start.is_some_and(|at| at <= now) {
            self.begin(now, dice);
        }
        let at = self.pieces.iter().position(|(at, event)| *at <= now && !self.is_held(event))?;
        let (_, event) = self.pieces.remove(at)?;
        let is_stubborn = self.temper.as_ref().is_none_or(|temper| temper.stubborn);
        match &event {
            AgentEvent::Say(say) if self.dropped.contains(&say.turn) && !is_stubborn => None,
            _ => Some(event),
        }
    }

    /// It begins nothing new any more.
    pub(crate) fn hush(&mut self) {
        if let Some(thinker) = &self.thinker {
            thinker.lock().unwrap().hush();
        }
        self.next_start = None;
        self.hushed = true;
    }

    /// Listens to what it is told.
    pub(crate) fn on_report(&mut self, now: CallTime, report: &AgentReport, dice: &mut Dice) {
        if let Some(thinker) = &self.thinker {
            return thinker.lock().unwrap().on_report(now, report, dice);
        }
        match report {
            AgentReport::Interrupted { turn, .. } => {
                self.dropped.insert(*turn);
                self.held.remove(turn);
            }
            AgentReport::TurnOver { turn, .. } => {
                self.held.remove(turn);
            }
            AgentReport::Flow { turn, flow: Flow::Held } => {
                self.held.insert(*turn);
            }
            AgentReport::Flow { turn, flow: Flow::Open } => {
                self.held.remove(turn);
            }
            AgentReport::CallerSpeech(trunkline::audio::vad::Change::Stopped)
                if self.temper.is_some() && !self.hushed =>
            {
                // An answer, after the time that a model needs.
                self.next_start = Some(now + dice.millis(200, 900));
            }
            _ => {}
        }
    }

    fn begin(&mut self, now: CallTime, dice: &mut Dice) {
        let Some(temper) = self.temper.clone() else { return };
        self.next_start = Some(now + Duration::from_millis(dice.pick(&temper.pauses_ms)));
        if self.next_turn > TURNS_MAX {
            return;
        }
        let turn = TurnId(self.next_turn);
        self.next_turn += 1;
        let interruptible = dice
            .happens(temper.firm)
            .then(|| dice.pick(&[Interruptible::None, Interruptible::Dtmf, Interruptible::Speech]));
        let count = if dice.happens(temper.long) { 30 } else { 1 + dice.below(4) };
        let sentences: Vec<&str> = (0..count).map(|_| dice.pick(&SENTENCES)).collect();
        let is_open = dice.happens(temper.open);
        let tokens = tokens(&sentences.join(" "), dice);
        let (at_once, last) = (dice.happens(300), tokens.len() - 1);
        let mut at = now;
        for (n, token) in tokens.into_iter().enumerate() {
            if !at_once {
                at = at + dice.millis(5, 30);
            }
            if dice.happens(temper.tools) {
                at = at + dice.millis(700, 3_500);
            }
            let flush = dice.happens(15);
            let say = Say {
                turn,
                text: token,
                last: n == last && !is_open,
                flush,
                interruptible,
                delivery: None,
                preemptible: None,
            };
            self.pieces.push_back((at, AgentEvent::Say(say)));
        }
        if dice.happens(40) {
            self.pieces.push_back((at + dice.millis(0, 1_500), AgentEvent::Clear));
        }
        self.pieces.make_contiguous().sort_by_key(|(at, _)| *at);
    }
}

/// Text as tokens: half words, white space at their front, marks on their own.
pub(crate) fn tokens(text: &str, dice: &mut Dice) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut room = 0;
    for c in text.chars() {
        let begins = c.is_whitespace() || (!c.is_alphanumeric() && dice.happens(500));
        if begins || room == 0 || tokens.is_empty() {
            tokens.push(String::new());
            room = 2 + dice.below(6);
        }
        room -= 1;
        if let Some(token) = tokens.last_mut() {
            token.push(c);
        }
    }
    tokens
}
