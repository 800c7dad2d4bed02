//! The agent's mind: when the model is asked, what becomes of its answer, and what of both when the caller speaks.
//!
//! A state machine without IO or clock: [`Brain::handle`] takes what happened and when, [`Brain::poll`] gives what has to
//! be done, [`Brain::poll_timeout`] says when to come back.
//!
//! Three facts decide whether the model is asked: an answer is *owed*, the *floor* is free, and nothing is under way. The
//! caller takes the floor by speaking, which drops a question that has not been answered yet; words, or the lack of any,
//! give it back. So a question is never lost: it is merged with the words that follow, or asked again after a cough.

mod asking;
mod reports;
mod round;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::answer::AnswerEvent;
use super::history::History;
use super::settings::Settings;
use super::stream::{Question, Tools};
use super::toolbox::Toolbox;
use crate::call::action::{AgentReport, Flow};
use crate::call::event::{AgentEvent, Say};
use crate::ids::{CallTime, TurnId};
use asking::Asking;
use round::Round;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The call reports.
    Report(AgentReport),
    /// The model answers.
    Answer {
        /// Which question.
        request: u32,
        /// What.
        event: AnswerEvent,
    },
    /// A task that was run is done.
    Ran {
        /// Which.
        errand: Errand,
        /// What the model is told of it.
        outcome: Outcome,
    },
    /// Time has passed.
    Tick,
}

/// Names a task outside this machine: the round of tools, and the place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errand {
    /// The question whose answer called the tool.
    pub request: u32,
    /// The place of the call in that answer.
    pub place: usize,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should; for the model.
    Good(String),
    /// In another way; for the model.
    Bad(String),
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Tell the call.
    Tell(AgentEvent),
    /// Ask the model. At most one question is open.
    Ask {
        /// Its number, never used before.
        request: u32,
        /// What.
        question: Question,
    },
    /// Drop the question: its connection closes at once.
    Drop {
        /// Which.
        request: u32,
    },
    /// Whether to go on reading the answer.
    Read {
        /// Which question's.
        request: u32,
        /// Go on or wait.
        flow: Flow,
    },
    /// Post the arguments to a tool.
    Post {
        /// Where the result belongs.
        errand: Errand,
        /// Index of [`Settings::tools`].
        tool: usize,
        /// The model's id of the call.
        id: String,
        /// The arguments.
        arguments: Map<String, Value>,
    },
    /// Hand the caller over.
    Transfer {
        /// Where the result belongs.
        errand: Errand,
        /// To which number.
        number: String,
    },
}

/// Whose turn it is to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Floor {
    /// Whoever wants to.
    Free,
    /// The caller speaks.
    Taken,
    /// The caller spoke until then, and the words are still to come.
    Waiting(CallTime),
}

/// What a live turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An answer of the model, or the line that stands for one that failed.
    Answer,
    /// Another line of the settings, or of the gateway itself.
    Line,
    /// Tones.
    Tones,
}

/// The agent of one call.
pub struct Brain {
    settings: Arc<Settings>,
    toolbox: Toolbox,
    turns: Box<dyn FnMut() -> TurnId + Send>,
    history: History,
    outputs: VecDeque<Output>,
    now: CallTime,
    floor: Floor,
    /// Since when the caller waits for an answer.
    owed: Option<CallTime>,
    asking: Option<Asking>,
    round: Option<Round>,
    /// Rounds of tools since the caller said something.
    rounds: u32,
    /// What is being heard, or will be.
    live: BTreeMap<TurnId, Kind>,
    /// Since when nothing is.
    quiet_since: CallTime,
    /// Keys that were pressed, and when the last one was.
    pressed: Option<(String, CallTime)>,
    /// A filler was said for the answer that is owed.
    has_filled: bool,
    /// Answers that failed in a row.
    failures: u32,
    requests: u32,
    is_over: bool,
}

impl std::fmt::Debug for Brain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Nothing of what was said.
        f.debug_struct("Brain").field("floor", &self.floor).field("owed", &self.owed).finish_non_exhaustive()
    }
}

impl Brain {
    /// The agent of a call that has not begun. `turns` gives out numbers that nobody else has.
    pub fn new(settings: Arc<Settings>, toolbox: Toolbox, turns: Box<dyn FnMut() -> TurnId + Send>) -> Self {
        let history = History::new(&settings.system_prompt, &settings.interrupted_marker, &settings.limits);
        Brain {
            settings,
            toolbox,
            turns,
            history,
            outputs: VecDeque::new(),
            now: CallTime::ZERO,
            floor: Floor::Free,
            owed: None,
            asking: None,
            round: None,
            rounds: 0,
            live: BTreeMap::new(),
            quiet_since: CallTime::ZERO,
            pressed: None,
            has_filled: false,
            failures: 0,
            requests: 0,
            is_over: false,
        }
    }

    /// Takes what happened at `now`.
    pub fn handle(&mut self, now: CallTime, input: Input) {
        if self.is_over {
            return;
        }
        self.now = now;
        match input {
            Input::Report(report) => self.on_report(report),
            Input::Answer { request, event } => self.on_answer(request, event),
            Input::Ran { errand, outcome } => self.on_ran(errand, &outcome),
            Input::Tick => {}
        }
        if !self.is_over {
            self.settle();
            self.go_on();
            self.fill();
        }
    }

    /// The next thing to do, in order. Drain it to `None` after every `handle`.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle` with [`Input::Tick`] if nothing else happens.
    pub fn poll_timeout(&self) -> Option<CallTime> {
        if self.is_over {
            return None;
        }
        let limits = &self.settings.limits;
        let floor = match self.floor {
            Floor::Waiting(since) => Some(since + limits.resume),
            Floor::Free | Floor::Taken => None,
        };
        let pressed = self.pressed.as_ref().map(|(_, at)| *at + limits.digits_pause);
        let asking = self.asking.as_ref().and_then(|asking| asking.deadline(limits));
        let round = self.round.as_ref().and_then(|round| self.round_deadline(round));
        [floor, pressed, asking, round, self.filler_due().map(|(at, _)| at)].into_iter().flatten().min()
    }

    /// Whether the call has ended.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The conversation so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Everything that is due by now.
    fn settle(&mut self) {
        let limits = self.settings.limits;
        if let Floor::Waiting(since) = self.floor
            && self.now >= since + limits.resume
        {
            self.floor = Floor::Free;
            // No words came of it. Patience begins anew.
            self.owed = self.owed.map(|_| self.now);
        }
        if self.pressed.as_ref().is_some_and(|(_, at)| self.now >= *at + limits.digits_pause) {
            self.take_pressed();
        }
        self.settle_asking();
        self.settle_round();
    }

    /// Asks the model if it has to be asked, and may.
    fn go_on(&mut self) {
        let is_busy = self.round.is_some() || self.asking.as_ref().is_some_and(|asking| !asking.is_guess());
        if self.owed.is_none() || is_busy || self.floor != Floor::Free || self.pressed.is_some() {
            return;
        }
        self.drop_question();
        let tools = if self.rounds < self.settings.limits.tool_rounds { Tools::Offered } else { Tools::Withheld };
        let question = Question { messages: self.history.messages(None), tools };
        self.ask(question, None);
    }

    /// Tells the caller that an answer is on its way, if that is due.
    fn fill(&mut self) {
        if let Some((_, line)) = self.filler_due().filter(|(at, _)| self.now >= *at) {
            self.has_filled = true;
            self.say_line(Kind::Line, &line);
        }
    }

    /// When the caller has waited long enough to be told so, and the line for it.
    fn filler_due(&self) -> Option<(CallTime, String)> {
        if self.has_filled || self.floor != Floor::Free || !self.live.is_empty() {
            return None;
        }
        let (since, after, line) = match (&self.round, &self.asking) {
            (Some(round), _) => {
                let (after, line) = round.filler(&self.settings)?;
                (round.begun(), after, line)
            }
            (None, Some(asking)) if !asking.is_guess() => {
                let lines = &self.settings.lines;
                (self.owed?, lines.filler_after, lines.filler.as_str())
            }
            (None, Some(_) | None) => return None,
        };
        (!line.is_empty()).then(|| (since.max(self.quiet_since) + after, line.to_owned()))
    }

    /// Says a line of the settings as a turn of its own.
    fn say_line(&mut self, kind: Kind, line: &str) {
        if line.is_empty() {
            return;
        }
        let turn = self.open_turn(kind);
        self.say(turn, line, true);
    }

    fn open_turn(&mut self, kind: Kind) -> TurnId {
        let turn = (self.turns)();
        self.live.insert(turn, kind);
        turn
    }

    fn say(&mut self, turn: TurnId, text: &str, last: bool) {
        if !text.is_empty() {
            self.history.say(turn, text);
        }
        let say = Say {
            turn,
            text: text.to_owned(),
            last,
            flush: false,
            interruptible: None,
            delivery: None,
            preemptible: None,
        };
        self.tell(AgentEvent::Say(say));
    }

    fn tell(&mut self, event: AgentEvent) {
        self.outputs.push_back(Output::Tell(event));
    }
}
