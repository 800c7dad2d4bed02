//! Random calls against a telephone that plays letters at the pace of speech.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::rig::{Rig, heard_text, rig_of, settings};
use crate::agent::llm::answer::AskError;
use crate::agent::llm::brain::Outcome;
use crate::agent::llm::settings::{Greeting, Settings};
use crate::agent::llm::wire::Message;
use crate::audio::vad::Change;
use crate::call::action::{AgentReport, Cause};
use crate::call::event::AgentEvent;
use crate::ids::TurnId;

/// Letters in ten milliseconds.
const LETTERS_PER_STEP: f64 = 0.15;

#[derive(Clone, Debug)]
enum Step {
    /// Time passes, in tens of milliseconds.
    Wait(u64),
    /// The caller starts to speak, and interrupts what is heard.
    Interrupt,
    Stop,
    Prompt,
    Probable,
    Resume,
    Key,
    /// The model says a few words.
    Words,
    Done,
    Call(usize),
    Fail,
    ToolAnswers,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_u64..200).prop_map(Step::Wait),
        3 => Just(Step::Interrupt),
        3 => Just(Step::Stop),
        4 => Just(Step::Prompt),
        2 => Just(Step::Probable),
        1 => Just(Step::Resume),
        1 => Just(Step::Key),
        10 => Just(Step::Words),
        3 => Just(Step::Done),
        2 => (0_usize..4).prop_map(Step::Call),
        1 => Just(Step::Fail),
        2 => Just(Step::ToolAnswers),
    ]
}

/// The turns that the telephone has, in the order in which they are heard, and how many letters of each were.
struct Telephone {
    rig: Rig,
    told: usize,
    turns: VecDeque<(TurnId, f64)>,
    /// Text of each turn, and whether it was closed, as it came.
    text: std::collections::BTreeMap<TurnId, (String, bool)>,
    /// What was truly heard of each turn that is over.
    heard: Vec<(TurnId, String)>,
    answered: usize,
    hung_up: bool,
    prompts: usize,
}

impl Telephone {
    fn new() -> Self {
        let rig = rig_of(Settings { greeting: Greeting::Line("Welcome to this line.".into()), ..settings() });
        let mut telephone = Telephone {
            rig,
            told: 0,
            turns: VecDeque::new(),
            text: Default::default(),
            heard: Vec::new(),
            answered: 0,
            hung_up: false,
            prompts: 0,
        };
        telephone.hear();
        telephone
    }

    /// Takes what the agent told since the last time.
    fn hear(&mut self) {
        for event in &self.rig.told[self.told..] {
            match event {
                AgentEvent::Say(say) => {
                    if self.heard.iter().any(|(turn, _)| *turn == say.turn) {
                        continue;
                    }
                    let (text, closed) = self.text.entry(say.turn).or_insert_with(|| {
                        self.turns.push_back((say.turn, 0.0));
                        (String::new(), false)
                    });
                    text.push_str(&say.text);
                    *closed = say.last;
                }
                AgentEvent::Play(play) => {
                    self.turns.push_back((play.turn, 0.0));
                    self.text.insert(play.turn, ("x".repeat(20), true));
                }
                AgentEvent::HangUp | AgentEvent::Lost(_) => self.hung_up = true,
                other => panic!("{other:?}"),
            }
        }
        self.told = self.rig.told.len();
    }

    fn play(&mut self, steps: u64) {
        for _ in 0..steps {
            self.rig.wait(10);
            self.hear();
            let Some((turn, letters)) = self.turns.front_mut() else { continue };
            *letters += LETTERS_PER_STEP;
            let (text, closed) = &self.text[turn];
            if *closed && *letters >= text.chars().count() as f64 {
                let (turn, text) = (*turn, text.clone());
                self.turns.pop_front();
                self.heard.push((turn, text.clone()));
                self.rig.report(AgentReport::TurnOver { turn, heard: heard_text(&text) });
                self.hear();
            }
        }
    }

    fn interrupt(&mut self) {
        self.rig.speech(Change::Started);
        while let Some((turn, letters)) = self.turns.pop_front() {
            let (text, _) = &self.text[&turn];
            let played: String = text.chars().take(letters as usize).collect();
            // Cut down to a word, as the core does.
            let heard = if played.len() == text.len() {
                played.as_str()
            } else {
                played.rsplit_once(' ').map_or("", |cut| cut.0)
            };
            let (heard, queued) = (heard.to_owned(), !self.heard.is_empty() && letters == 0.0);
            self.heard.push((turn, heard.clone()));
            let (heard, cause) = (heard_text(&heard), Cause::Speech);
            self.rig.report(AgentReport::Interrupted { turn, heard, cause, queued });
        }
        self.hear();
    }

    fn take(&mut self, step: &Step) {
        let is_open = self.rig.open.is_some();
        match step {
            Step::Wait(steps) => self.play(*steps),
            Step::Interrupt => self.interrupt(),
            Step::Stop => self.rig.speech(Change::Stopped),
            Step::Prompt => {
                self.prompts += 1;
                let text = format!("Question {}.", self.prompts);
                self.rig.prompt(&text);
            }
            Step::Probable => {
                let text = format!("question {}", self.prompts + 1);
                self.rig.probable(&text);
            }
            Step::Resume => self.rig.report(AgentReport::Resumed),
            Step::Key => self.rig.keys("7"),
            Step::Words if is_open => self.rig.text(" some words that are said"),
            Step::Done if is_open => self.rig.done(),
            Step::Call(which) if is_open => {
                let call = [
                    ("look", "{}"),
                    ("collect_digits", r#"{"count":2}"#),
                    ("send_digits", r#"{"digits":"1"}"#),
                    ("nothing", "{"),
                ][*which];
                self.rig.calls(&[call, ("count", "{}")]);
            }
            Step::Fail if is_open => self.rig.fail(AskError::Broken),
            Step::ToolAnswers if self.answered < self.rig.posted.len() => {
                self.rig.ran(self.answered, Outcome::Good("found".into()));
                self.answered += 1;
            }
            Step::Words | Step::Done | Step::Call(_) | Step::Fail | Step::ToolAnswers => {}
        }
        self.hear();
    }

    fn check(&self) {
        for said in self.rig.brain.history().said() {
            let (text, _) = &self.text[&said.turn];
            assert!(text.starts_with(&said.sent) || said.fate.is_some(), "{said:?} against {text:?}");
            if let Some(fate) = &said.fate {
                let heard = self.heard.iter().find(|(turn, _)| *turn == said.turn).expect("it was heard");
                assert_eq!(fate.heard, heard.1, "what is committed is what was heard");
                assert!(said.sent.starts_with(&fate.heard), "{said:?}");
            }
        }
        for (n, (_, question)) in self.rig.asked.iter().enumerate() {
            check_question(n, &question.messages);
        }
    }

    /// The caller is quiet from here on: sooner or later the agent has nothing left to do, and owes nothing.
    fn settle(&mut self) {
        self.rig.speech(Change::Stopped);
        for _ in 0..60 {
            if self.hung_up {
                return;
            }
            while self.answered < self.rig.posted.len() {
                self.rig.ran(self.answered, Outcome::Good("found".into()));
                self.answered += 1;
            }
            if self.rig.open.is_some() {
                self.rig.text(" the last words");
                self.hear();
            }
            if self.rig.open.is_some() {
                self.rig.done();
                self.hear();
            }
            self.play(1_000);
        }
        assert!(self.turns.is_empty(), "{:?}", self.turns);
        assert_eq!(self.rig.open, None);
        assert_eq!(self.rig.brain.poll_timeout(), None, "nothing is waited for");
        let (last_user, last_answer) = last_places(&self.rig);
        assert!(last_answer >= last_user, "every question has an answer");
    }
}

/// No server takes roles out of order, a result without its call, or a call without its result.
fn check_question(n: usize, messages: &[Message]) {
    assert!(matches!(messages.last(), Some(Message::User { .. } | Message::Tool { .. })), "{n}: {messages:?}");
    let mut owed: Vec<String> = Vec::new();
    let mut before = None;
    for message in messages {
        match message {
            Message::Tool { tool_call_id, content } => {
                assert!(owed.first() == Some(tool_call_id), "{n}: {messages:?}");
                assert_ne!(content, "no answer yet");
                owed.remove(0);
            }
            Message::Assistant { content, tool_calls } => {
                assert!(owed.is_empty() && before != Some("assistant"), "{n}: {messages:?}");
                assert!(!content.is_empty() || !tool_calls.is_empty());
                owed = tool_calls.iter().map(|call| call.id.clone()).collect();
            }
            Message::User { .. } => assert!(owed.is_empty() && before != Some("user"), "{n}: {messages:?}"),
            Message::System { .. } => {}
        }
        before = match message {
            Message::Assistant { .. } => Some("assistant"),
            Message::User { .. } => Some("user"),
            Message::Tool { .. } | Message::System { .. } => None,
        };
    }
    assert!(owed.is_empty());
}

/// When the last question was asked, and when the last answer was begun, by number of request.
fn last_places(rig: &Rig) -> (usize, usize) {
    let asked = rig.asked.len();
    let messages = rig.brain.history().messages(Some("?"));
    let answered = !matches!(messages.iter().rev().nth(1), Some(Message::Tool { .. }));
    (asked, if answered { asked } else { 0 })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_random_call_keeps_its_promises(steps in prop::collection::vec(step(), 1..120)) {
        let mut telephone = Telephone::new();
        for step in &steps {
            if telephone.hung_up {
                break;
            }
            telephone.take(step);
            telephone.check();
        }
        telephone.settle();
        telephone.check();
    }

    #[test]
    fn an_interruption_at_any_moment_leaves_what_was_heard(moments in prop::collection::vec(0_u64..600, 3)) {
        let mut telephone = Telephone::new();
        for moment in moments {
            telephone.take(&Step::Prompt);
            for _ in 0..4 {
                telephone.take(&Step::Words);
                telephone.play(moment / 4);
            }
            telephone.take(&Step::Interrupt);
            telephone.play(50);
            telephone.take(&Step::Stop);
            telephone.check();
        }
        prop_assert!(telephone.heard.len() >= 3);
    }
}

#[test]
fn the_telephone_plays_and_is_interrupted() {
    let mut telephone = Telephone::new();
    telephone.play(200);
    assert_eq!(telephone.heard.len(), 1, "the greeting was heard");
    telephone.take(&Step::Prompt);
    telephone.take(&Step::Words);
    telephone.play(50);
    telephone.take(&Step::Interrupt);
    assert_eq!(telephone.heard[1].1, " some");
    assert!(telephone.rig.now.since(crate::ids::CallTime::ZERO) > Duration::from_secs(2));
}
