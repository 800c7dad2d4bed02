//! The agent that asks a language model, with a model of that model: it answers in tokens, fails now and then, calls tools.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use trunkline::agent::llm::Brain;
use trunkline::agent::llm::answer::{AnswerEvent, AskError, Finish, ToolCall};
use trunkline::agent::llm::brain::{Errand, Input, Outcome, Output};
use trunkline::agent::llm::settings::{BuiltIn, Greeting, Settings, Tool};
use trunkline::agent::llm::toolbox::Toolbox;
use trunkline::audio::vad::Change;
use trunkline::call::action::{AgentReport, Flow};
use trunkline::call::event::AgentEvent;
use trunkline::ids::{CallTime, TurnId};

use crate::agent::{SENTENCES, tokens};
use crate::dice::Dice;

/// The agent, its model, and the words of its caller.
#[derive(Debug)]
pub(crate) struct Thinker {
    pub(crate) brain: Brain,
    /// What became of each turn, as the gateway told it.
    pub(crate) heard: BTreeMap<TurnId, String>,
    /// Turns that the caller cut off by speaking.
    pub(crate) cut: u64,
    pub(crate) asked: u64,
    wants: VecDeque<AgentEvent>,
    /// The question that is open, and what is still to come of its answer.
    open: Option<u32>,
    answer: VecDeque<(CallTime, AnswerEvent)>,
    is_held: bool,
    tools: Vec<(CallTime, Errand)>,
    /// When the caller's words are there.
    words_at: Option<CallTime>,
    is_quiet: bool,
    now: CallTime,
}

impl Thinker {
    pub(crate) fn new() -> Self {
        let tool = Tool {
            name: "look".to_owned(),
            description: "looks something up".to_owned(),
            parameters: serde_json::json!({ "type": "object" }),
            url: "http://tools.example/".to_owned(),
            token: None,
            timeout: Duration::from_secs(5),
            filler: "Let me look that up for you.".to_owned(),
            filler_after: Duration::from_millis(400),
        };
        let settings = Arc::new(Settings {
            greeting: Greeting::Line("Good morning and welcome to the northern lighthouse museum.".to_owned()),
            built_in: BuiltIn { end_call: false, send_digits: false, ..BuiltIn::default() },
            tools: vec![tool],
            ..Settings::default()
        });
        let mut turn = 0;
        let turns = move || {
            turn += 1;
            TurnId(turn)
        };
        Thinker {
            brain: Brain::new(settings.clone(), Toolbox::new(settings, false), Box::new(turns)),
            heard: BTreeMap::new(),
            cut: 0,
            asked: 0,
            wants: VecDeque::new(),
            open: None,
            answer: VecDeque::new(),
            is_held: false,
            tools: Vec::new(),
            words_at: None,
            is_quiet: false,
            now: CallTime::ZERO,
        }
    }

    pub(crate) fn next_at(&self) -> Option<CallTime> {
        let wanted = (!self.wants.is_empty()).then_some(self.now);
        let token = self.answer.front().filter(|_| !self.is_held).map(|(at, _)| *at);
        let tool = self.tools.iter().map(|(at, _)| *at).min();
        [wanted, token, tool, self.words_at, self.brain.poll_timeout()].into_iter().flatten().min()
    }

    /// The next thing that it wants by `now`.
    pub(crate) fn take(&mut self, now: CallTime, dice: &mut Dice) -> Option<AgentEvent> {
        self.now = now;
        while self.wants.is_empty() && self.next_at().is_some_and(|at| at <= now) {
            self.happen(now, dice);
        }
        self.wants.pop_front()
    }

    /// The caller says nothing new any more.
    pub(crate) fn hush(&mut self) {
        self.is_quiet = true;
        self.words_at = None;
    }

    pub(crate) fn on_report(&mut self, now: CallTime, report: &AgentReport, dice: &mut Dice) {
        match report {
            AgentReport::TurnOver { turn, heard } => drop(self.heard.insert(*turn, heard.text.clone())),
            AgentReport::Interrupted { turn, heard, .. } => {
                self.heard.insert(*turn, heard.text.clone());
                self.cut += 1;
            }
            AgentReport::CallerSpeech(Change::Started) => self.words_at = None,
            // One noise in ten becomes no words.
            AgentReport::CallerSpeech(Change::Stopped) if !self.is_quiet && !dice.happens(100) => {
                self.words_at = Some(now + dice.millis(100, 600));
            }
            _ => {}
        }
        self.give(now, Input::Report(report.clone()), dice);
    }

    /// Lets one thing happen that is due.
    fn happen(&mut self, now: CallTime, dice: &mut Dice) {
        if self.words_at.take_if(|at| *at <= now).is_some() {
            let text = format!("Question number {}.", self.asked);
            let prompt = AgentReport::Prompt { text, last: true, language: None };
            return self.give(now, Input::Report(prompt), dice);
        }
        if let Some(at) = self.tools.iter().position(|(at, _)| *at <= now) {
            let (_, errand) = self.tools.remove(at);
            return self.give(now, Input::Ran { errand, outcome: Outcome::Good("found".to_owned()) }, dice);
        }
        if !self.is_held
            && self.answer.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, event)) = self.answer.pop_front()
            && let Some(request) = self.open
        {
            return self.give(now, Input::Answer { request, event }, dice);
        }
        self.give(now, Input::Tick, dice);
    }

    fn give(&mut self, now: CallTime, input: Input, dice: &mut Dice) {
        self.now = now;
        self.brain.handle(now, input);
        while let Some(output) = self.brain.poll() {
            match output {
                Output::Tell(event) => self.wants.push_back(event),
                Output::Ask { request, .. } => {
                    self.asked += 1;
                    (self.open, self.is_held) = (Some(request), false);
                    self.answer = answer(now, dice);
                }
                Output::Drop { .. } => {
                    self.open = None;
                    self.answer.clear();
                }
                Output::Read { flow, .. } => self.is_held = flow == Flow::Held,
                Output::Post { errand, .. } => self.tools.push((now + dice.millis(50, 3_000), errand)),
                Output::Transfer { .. } => panic!("nobody can be handed over"),
            }
        }
    }
}

/// What the model answers, and when.
fn answer(now: CallTime, dice: &mut Dice) -> VecDeque<(CallTime, AnswerEvent)> {
    let mut at = now + dice.millis(50, 700);
    let mut events = VecDeque::new();
    if dice.happens(50) {
        events.push_back((at, AnswerEvent::Failed(AskError::Broken)));
        return events;
    }
    let sentences: Vec<&str> = (0..1 + dice.below(6)).map(|_| dice.pick(&SENTENCES)).collect();
    for token in tokens(&sentences.join(" "), dice) {
        at = at + dice.millis(5, 40);
        events.push_back((at, AnswerEvent::Text(token)));
        if dice.happens(2) {
            events.push_back((at, AnswerEvent::Failed(AskError::Broken)));
            return events;
        }
    }
    let call = ToolCall { id: String::new(), name: "look".to_owned(), arguments: "{}".to_owned() };
    let calls = if dice.happens(250) { vec![call] } else { vec![] };
    events.push_back((at, AnswerEvent::Done { finish: Finish::Complete, calls }));
    events
}
