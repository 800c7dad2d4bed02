//! A brain in virtual time, with what it wanted written down.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::llm::answer::{AnswerEvent, AskError, Finish, ToolCall};
use crate::agent::llm::brain::{Brain, Errand, Input, Outcome, Output};
use crate::agent::llm::settings::{BuiltIn, Greeting, Limits, Settings, Tool};
use crate::agent::llm::stream::Question;
use crate::agent::llm::toolbox::Toolbox;
use crate::agent::llm::wire::Message;
use crate::audio::vad::Change;
use crate::call::action::{AgentReport, Cause, Heard};
use crate::call::event::AgentEvent;
use crate::ids::{CallTime, TurnId};

pub(super) struct Rig {
    pub(super) brain: Brain,
    pub(super) now: CallTime,
    pub(super) asked: Vec<(u32, Question)>,
    /// The question that is open.
    pub(super) open: Option<u32>,
    pub(super) dropped: Vec<u32>,
    /// Everything that was told to the call.
    pub(super) told: Vec<AgentEvent>,
    /// Text by turn, and whether the turn was closed.
    pub(super) turns: Vec<(TurnId, String, bool)>,
    pub(super) posted: Vec<(Errand, String)>,
    pub(super) transferred: Vec<(Errand, String)>,
    pub(super) read: Vec<crate::call::action::Flow>,
}

pub(super) fn settings() -> Settings {
    let tool = |name: &str, filler: &str| Tool {
        name: name.into(),
        description: "looks something up".into(),
        parameters: serde_json::json!({ "type": "object" }),
        url: "http://127.0.0.1/".into(),
        token: None,
        timeout: Duration::from_secs(10),
        filler: filler.into(),
        filler_after: Duration::from_secs(1),
    };
    let transfers = [("sales".to_owned(), "+15550100".to_owned())].into();
    Settings {
        greeting: Greeting::Nothing,
        built_in: BuiltIn { transfers, ..BuiltIn::default() },
        tools: vec![tool("look", "Let me look."), tool("count", "")],
        limits: Limits::default(),
        ..Settings::default()
    }
}

pub(super) fn rig() -> Rig {
    rig_of(settings())
}

pub(super) fn rig_of(settings: Settings) -> Rig {
    let settings = Arc::new(settings);
    let mut number = 0;
    let turns = move || {
        number += 1;
        TurnId(number)
    };
    let mut rig = Rig {
        brain: Brain::new(settings.clone(), Toolbox::new(settings, true), Box::new(turns)),
        now: CallTime::ZERO,
        asked: Vec::new(),
        open: None,
        dropped: Vec::new(),
        told: Vec::new(),
        turns: Vec::new(),
        posted: Vec::new(),
        transferred: Vec::new(),
        read: Vec::new(),
    };
    rig.report(AgentReport::Started);
    rig
}

impl Rig {
    fn give(&mut self, input: Input) {
        self.brain.handle(self.now, input);
        while let Some(output) = self.brain.poll() {
            match output {
                Output::Ask { request, question } => {
                    assert_eq!(self.open, None, "one question at a time");
                    self.open = Some(request);
                    self.asked.push((request, question));
                }
                Output::Drop { request } => {
                    self.open.take_if(|open| *open == request);
                    self.dropped.push(request);
                }
                Output::Read { flow, .. } => self.read.push(flow),
                Output::Post { errand, id, .. } => self.posted.push((errand, id)),
                Output::Transfer { errand, number } => self.transferred.push((errand, number)),
                Output::Tell(event) => self.tell(event),
            }
        }
        if let Some(at) = self.brain.poll_timeout() {
            assert!(at > self.now, "what is due at {at} was not done at {}", self.now);
        }
    }

    fn tell(&mut self, event: AgentEvent) {
        if let AgentEvent::Say(say) = &event {
            match self.turns.iter_mut().find(|(turn, ..)| *turn == say.turn) {
                Some((_, text, closed)) => {
                    assert!(!*closed, "text for a turn that was closed");
                    text.push_str(&say.text);
                    *closed = say.last;
                }
                None => self.turns.push((say.turn, say.text.clone(), say.last)),
            }
        }
        self.told.push(event);
    }

    /// Lets time pass, with every deadline at its own time.
    pub(super) fn wait(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(at) = self.brain.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.give(Input::Tick);
        }
        self.now = end;
    }

    pub(super) fn report(&mut self, report: AgentReport) {
        self.give(Input::Report(report));
    }

    pub(super) fn answer(&mut self, event: AnswerEvent) {
        let request = self.open.expect("a question is open");
        if matches!(event, AnswerEvent::Done { .. } | AnswerEvent::Failed(_)) {
            self.open = None;
        }
        self.give(Input::Answer { request, event });
    }

    pub(super) fn text(&mut self, text: &str) {
        self.answer(AnswerEvent::Text(text.to_owned()));
    }

    pub(super) fn done(&mut self) {
        self.calls(&[]);
    }

    /// The answer ends with calls of tools: name and arguments.
    pub(super) fn calls(&mut self, calls: &[(&str, &str)]) {
        let call = |(name, arguments): &(&str, &str)| ToolCall {
            id: format!("id-{name}"),
            name: (*name).to_owned(),
            arguments: (*arguments).to_owned(),
        };
        self.answer(AnswerEvent::Done { finish: Finish::Complete, calls: calls.iter().map(call).collect() });
    }

    pub(super) fn fail(&mut self, error: AskError) {
        self.answer(AnswerEvent::Failed(error));
    }

    pub(super) fn ran(&mut self, place: usize, outcome: Outcome) {
        let (errand, _) = self.posted[place].clone();
        self.give(Input::Ran { errand, outcome });
    }

    pub(super) fn handed_over(&mut self, outcome: Outcome) {
        let (errand, _) = self.transferred.last().expect("a transfer").clone();
        self.give(Input::Ran { errand, outcome });
    }

    pub(super) fn prompt(&mut self, text: &str) {
        self.report(AgentReport::Prompt { text: text.into(), last: true, language: None });
    }

    pub(super) fn probable(&mut self, text: &str) {
        self.report(AgentReport::Probable { text: text.into() });
    }

    pub(super) fn speech(&mut self, change: Change) {
        self.report(AgentReport::CallerSpeech(change));
    }

    pub(super) fn keys(&mut self, keys: &str) {
        for key in keys.chars() {
            self.report(AgentReport::Digit(key));
        }
    }

    /// The turn was heard to its end.
    pub(super) fn over(&mut self, turn: u32) {
        let heard = self.sent(turn);
        self.report(AgentReport::TurnOver { turn: TurnId(turn), heard: heard_text(&heard) });
    }

    pub(super) fn cut(&mut self, turn: u32, heard: &str, cause: Cause) {
        self.report(AgentReport::Interrupted { turn: TurnId(turn), heard: heard_text(heard), cause, queued: false });
    }

    /// All text of a turn.
    pub(super) fn sent(&self, turn: u32) -> String {
        self.turns.iter().find(|(id, ..)| id.0 == turn).map(|(_, text, _)| text.clone()).unwrap_or_default()
    }

    pub(super) fn is_closed(&self, turn: u32) -> bool {
        self.turns.iter().any(|(id, _, closed)| id.0 == turn && *closed)
    }

    /// What was said, turn by turn.
    pub(super) fn texts(&self) -> Vec<&str> {
        self.turns.iter().map(|(_, text, _)| text.as_str()).collect()
    }

    /// The messages of the latest question in short: a letter for the role, then the text.
    pub(super) fn shown(&self) -> Vec<String> {
        let (_, question) = self.asked.last().expect("a question");
        let line = |message: &Message| match message {
            Message::System { content } => format!("s {content}"),
            Message::User { content } => format!("u {content}"),
            Message::Assistant { content, tool_calls } => {
                let names: String = tool_calls.iter().map(|call| format!("+{}", call.function.name)).collect();
                format!("a {content}{names}")
            }
            Message::Tool { content, .. } => format!("t {content}"),
        };
        question.messages.iter().map(line).collect()
    }

    pub(super) fn has_hung_up(&self) -> bool {
        self.told.contains(&AgentEvent::HangUp)
    }
}

pub(super) fn heard_text(text: &str) -> Heard {
    Heard { text: text.into(), ..Heard::default() }
}
