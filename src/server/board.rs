//! What a call looks like from outside: its turns, and the events that changed them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use crate::audio::vad;
use crate::call::action::{AgentReport, Flow, Heard, Wait};
use crate::driver::meter::end_name;
use crate::ids::{CallTime, TurnId};

/// Turns that are remembered.
const TURNS_MAX: usize = 256;

/// What became of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It waits, or is being spoken.
    Live,
    /// The caller heard it to its end.
    Heard,
    /// It was cut off or dropped.
    Interrupted,
    /// It could not be spoken.
    Failed,
}

/// One turn, as it stands.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TurnView {
    pub(super) turn: TurnId,
    pub(super) outcome: Outcome,
    /// The agent's own text that was heard so far.
    pub(super) heard: String,
    pub(super) heard_ms: u64,
    /// The text was reckoned, not proved.
    pub(super) estimated: bool,
    /// How long the caller waited for it, if it answered something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wait: Option<WaitView>,
    /// The voices that spoke it, if one failed and another went on.
    #[serde(skip_serializing_if = "Option::is_none")]
    voices: Option<Vec<Cow<'static, str>>>,
    #[serde(skip)]
    pub(super) is_held: bool,
    /// Audio of it was sent.
    #[serde(skip)]
    is_begun: bool,
    /// It has had its last text.
    #[serde(skip)]
    pub(super) is_closed: bool,
    #[serde(skip)]
    has_failed: bool,
}

/// The time between the caller's last sound and the first sound of the answer, in milliseconds; the parts add up.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct WaitView {
    hearing_ms: f64,
    thinking_ms: f64,
    gathering_ms: f64,
    speaking_ms: f64,
    sending_ms: f64,
    line_ms: f64,
    total_ms: f64,
}

impl From<&Wait> for WaitView {
    fn from(wait: &Wait) -> Self {
        let ms = |span: Duration| span.as_secs_f64() * 1_000.0;
        WaitView {
            hearing_ms: ms(wait.hearing),
            thinking_ms: ms(wait.thinking),
            gathering_ms: ms(wait.gathering),
            speaking_ms: ms(wait.speaking),
            sending_ms: ms(wait.sending),
            line_ms: ms(wait.line),
            total_ms: ms(wait.total()),
        }
    }
}

/// Something that happened, for those who watch.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CallEvent {
    /// Milliseconds since the call was accepted.
    pub(super) at_ms: u64,
    #[serde(flatten)]
    pub(super) what: What,
}

impl CallEvent {
    fn new(at: CallTime, what: What) -> Self {
        CallEvent { at_ms: at.as_micros() / 1_000, what }
    }
}

/// What happened. The names are the events of `GET /v1/calls/{id}/events`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum What {
    Started,
    TurnStarted { turn: TurnId },
    FirstAudio { turn: TurnId, first_byte_ms: u64 },
    WordsHeard { turn: TurnId, heard: String, heard_ms: u64, estimated: bool },
    TurnOver { turn: TurnId, outcome: Outcome, heard: String, heard_ms: u64, estimated: bool },
    Interrupted { turn: TurnId, cause: &'static str, heard: String, heard_ms: u64, estimated: bool },
    FailedOver { turn: TurnId, from: Cow<'static, str>, to: Cow<'static, str>, reason: String },
    SpeechFailed { turn: TurnId, reason: String },
    Digit { digit: char },
    CallerSpeech { speaking: bool },
    Prompt { text: String, last: bool },
    HearingFailed { reason: String },
    AgentLost { reason: String },
    Announced { turn: TurnId, text: String },
    Answered { turn: TurnId, wait: WaitView },
    Draining,
    Ended { reason: &'static str },
}

impl What {
    /// Whether nothing can follow it.
    pub(super) const fn is_last(&self) -> bool {
        matches!(self, What::Ended { .. })
    }

    /// Name of the event.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            What::Started => "started",
            What::TurnStarted { .. } => "turn_started",
            What::FirstAudio { .. } => "first_audio",
            What::WordsHeard { .. } => "words_heard",
            What::TurnOver { .. } => "turn_over",
            What::Interrupted { .. } => "interrupted",
            What::FailedOver { .. } => "failed_over",
            What::SpeechFailed { .. } => "speech_failed",
            What::Digit { .. } => "digit",
            What::CallerSpeech { .. } => "caller_speech",
            What::Prompt { .. } => "prompt",
            What::HearingFailed { .. } => "hearing_failed",
            What::AgentLost { .. } => "agent_lost",
            What::Announced { .. } => "announced",
            What::Answered { .. } => "answered",
            What::Draining => "draining",
            What::Ended { .. } => "ended",
        }
    }
}

/// What a call is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallState {
    /// The caller hears a turn.
    Speaking,
    /// A turn is opened but not heard yet, or the caller has said something that nobody has answered yet.
    Thinking,
    /// Neither: it is the caller's turn.
    Listening,
}

/// The turns of one call.
#[derive(Debug, Default)]
pub(super) struct Board {
    turns: VecDeque<TurnView>,
    /// The caller has said something, and no turn was opened since.
    is_asked: bool,
    is_caller_speaking: bool,
    /// How long the caller waited for the last answer.
    pub(super) last_wait: Option<Duration>,
    /// When the stream began.
    started_at: Option<CallTime>,
    /// The newest turn that is not remembered any more.
    forgotten: Option<TurnId>,
    /// Turns that were opened, those that are forgotten included.
    pub(super) turns_opened: u64,
    /// Times that another voice went on with a turn.
    pub(super) failovers: u32,
    pub(super) is_over: bool,
}

impl Board {
    /// Takes a report; what to tell those who watch.
    pub(super) fn take(&mut self, at: CallTime, report: &AgentReport) -> Option<CallEvent> {
        let what = match report {
            AgentReport::Started => {
                self.started_at = Some(at);
                What::Started
            }
            AgentReport::TurnStarted { turn } => {
                self.is_asked = false;
                self.open(*turn);
                What::TurnStarted { turn: *turn }
            }
            AgentReport::FirstAudio { turn, first_byte } => {
                if let Some(view) = self.turn_mut(*turn) {
                    view.is_begun = true;
                }
                What::FirstAudio { turn: *turn, first_byte_ms: millis(*first_byte) }
            }
            AgentReport::Heard { turn, heard } => {
                let view = self.heard(*turn, heard, None);
                What::WordsHeard { turn: *turn, heard: view.0, heard_ms: view.1, estimated: heard.estimated }
            }
            AgentReport::TurnOver { turn, heard } => {
                let failed = self.turn(*turn).is_some_and(|view| view.has_failed);
                let outcome = if failed { Outcome::Failed } else { Outcome::Heard };
                let (text, heard_ms) = self.heard(*turn, heard, Some(outcome));
                What::TurnOver { turn: *turn, outcome, heard: text, heard_ms, estimated: heard.estimated }
            }
            AgentReport::Interrupted { turn, heard, cause, .. } => {
                self.open(*turn);
                let (text, heard_ms) = self.heard(*turn, heard, Some(Outcome::Interrupted));
                What::Interrupted {
                    turn: *turn,
                    cause: cause.name(),
                    heard: text,
                    heard_ms,
                    estimated: heard.estimated,
                }
            }
            AgentReport::FailedOver { turn, from, to, fault } => {
                self.failovers += 1;
                let (from, to) = (from.clone(), to.clone());
                if let Some(view) = self.turn_mut(*turn) {
                    view.voices.get_or_insert_with(|| vec![from.clone()]).push(to.clone());
                }
                What::FailedOver { turn: *turn, from, to, reason: fault.reason.clone() }
            }
            AgentReport::SpeechFailed { turn, fault } => {
                if let Some(view) = self.turn_mut(*turn) {
                    view.has_failed = true;
                }
                What::SpeechFailed { turn: *turn, reason: fault.reason.clone() }
            }
            AgentReport::Digit(digit) => What::Digit { digit: *digit },
            AgentReport::CallerSpeech(change @ (vad::Change::Started | vad::Change::Stopped)) => {
                self.is_caller_speaking = *change == vad::Change::Started;
                What::CallerSpeech { speaking: self.is_caller_speaking }
            }
            AgentReport::CallerSpeech(vad::Change::Paused | vad::Change::Resumed) => return None,
            AgentReport::Flow { turn, flow } => {
                if let Some(view) = self.turn_mut(*turn) {
                    view.is_held = *flow == Flow::Held;
                }
                return None;
            }
            AgentReport::Prompt { text, last, .. } => {
                self.is_asked |= last;
                What::Prompt { text: text.clone(), last: *last }
            }
            AgentReport::HearingFailed { fault } => What::HearingFailed { reason: fault.reason.clone() },
            AgentReport::AgentLost { fault } => What::AgentLost { reason: fault.reason.clone() },
            AgentReport::Announced { turn, text } => What::Announced { turn: *turn, text: text.clone() },
            AgentReport::Answered { turn, wait } => {
                self.last_wait = Some(wait.total());
                if let Some(view) = self.turn_mut(*turn) {
                    view.wait = Some(WaitView::from(wait));
                }
                What::Answered { turn: *turn, wait: WaitView::from(wait) }
            }
            // Between the call and its agent.
            AgentReport::Probable { .. }
            | AgentReport::Resumed
            | AgentReport::Connected
            | AgentReport::Refused { .. }
            | AgentReport::Dismissed
            | AgentReport::HandedOff { .. } => return None,
            AgentReport::Draining => What::Draining,
            AgentReport::Ended(reason) => {
                self.is_over = true;
                What::Ended { reason: end_name(*reason) }
            }
        };
        Some(CallEvent::new(at, what))
    }

    /// What the call is doing.
    pub(super) fn state(&self) -> CallState {
        let mut live = self.turns.iter().filter(|view| view.outcome == Outcome::Live).peekable();
        let is_opened = live.peek().is_some();
        if live.any(|view| view.is_begun) {
            CallState::Speaking
        } else if (is_opened || self.is_asked) && !self.is_caller_speaking {
            CallState::Thinking
        } else {
            CallState::Listening
        }
    }

    /// The event that every watcher sees first, if it is past.
    pub(super) fn started(&self) -> Option<CallEvent> {
        self.started_at.map(|at| CallEvent::new(at, What::Started))
    }

    /// No more text will be taken for a turn.
    pub(super) fn close(&mut self, turn: TurnId) {
        if let Some(view) = self.turn_mut(turn) {
            view.is_closed = true;
        }
    }

    /// Whether a turn is too old to be remembered.
    pub(super) fn has_forgotten(&self, turn: TurnId) -> bool {
        self.turn(turn).is_none() && self.forgotten.is_some_and(|newest| turn <= newest)
    }

    /// A turn by name, if it is remembered.
    pub(super) fn turn(&self, id: TurnId) -> Option<&TurnView> {
        self.turns.iter().find(|view| view.turn == id)
    }

    /// The turns that are remembered, the oldest first.
    pub(super) fn turns(&self) -> Vec<TurnView> {
        self.turns.iter().cloned().collect()
    }

    fn turn_mut(&mut self, id: TurnId) -> Option<&mut TurnView> {
        self.turns.iter_mut().find(|view| view.turn == id)
    }

    fn open(&mut self, turn: TurnId) {
        if self.turn(turn).is_some() {
            return;
        }
        self.turns_opened += 1;
        if self.turns.len() >= TURNS_MAX {
            // The oldest that is over; there are never as many live ones.
            let over = self.turns.iter().position(|view| view.outcome != Outcome::Live).unwrap_or(0);
            let forgotten = self.turns.remove(over).map(|view| view.turn);
            self.forgotten = self.forgotten.max(forgotten);
        }
        self.turns.push_back(TurnView {
            turn,
            outcome: Outcome::Live,
            heard: String::new(),
            heard_ms: 0,
            estimated: false,
            wait: None,
            voices: None,
            is_held: false,
            is_begun: false,
            is_closed: false,
            has_failed: false,
        });
    }

    fn heard(&mut self, turn: TurnId, heard: &Heard, outcome: Option<Outcome>) -> (String, u64) {
        let heard_ms = millis(heard.played);
        if let Some(view) = self.turn_mut(turn) {
            view.heard.clone_from(&heard.text);
            view.heard_ms = heard_ms;
            view.estimated = heard.estimated;
            view.outcome = outcome.unwrap_or(view.outcome);
            view.is_held &= outcome.is_none();
        }
        (heard.text.clone(), heard_ms)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
