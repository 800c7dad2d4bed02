//! One question: asked, answered, dropped, asked a second time, given up.

use std::time::Duration;

use super::{Brain, Kind, Output};
use crate::agent::llm::answer::{AnswerEvent, AskError, Finish, ToolCall};
use crate::agent::llm::settings::Limits;
use crate::agent::llm::stream::{Question, Tools};
use crate::call::action::Flow;
use crate::call::event::{AgentEvent, Fault, FaultKind};
use crate::ids::{CallTime, TurnId};

/// Pause before the second try, if the server asks for none.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A question that is open.
#[derive(Debug)]
pub(super) struct Asking {
    request: u32,
    /// For a second try.
    question: Question,
    /// The caller has only probably said what is asked.
    guess: Option<Guess>,
    /// The turn that is open for the answer.
    turn: Option<TurnId>,
    /// The beginning of the answer, as long as there is no sound in it.
    head: String,
    /// Something of the answer was said.
    has_said: bool,
    /// The model has begun: text or a call came, be it without a sound.
    has_begun: bool,
    is_second: bool,
    /// The second try is due then.
    retry_at: Option<CallTime>,
    /// The caller's patience is counted from here.
    since: CallTime,
    /// When this try began; later by the time for which it was held up.
    begun: CallTime,
    last_sign: CallTime,
    held_since: Option<CallTime>,
}

/// An answer prepared for what the caller has probably said. Nothing of it is heard before that is certain.
#[derive(Debug)]
struct Guess {
    prompt: String,
    /// The caller's inputs that it knows of.
    inputs: u64,
    events: Vec<AnswerEvent>,
}

impl Asking {
    /// Whether it is prepared only.
    pub(super) fn is_guess(&self) -> bool {
        self.guess.is_some()
    }

    /// Whether something of the answer was said.
    pub(super) fn has_said(&self) -> bool {
        self.has_said
    }

    /// The turn that is open for the answer.
    pub(super) fn turn(&self) -> Option<TurnId> {
        self.turn
    }

    /// When something has to be done about it.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<CallTime> {
        if self.held_since.is_some() {
            return None;
        }
        let whole = self.begun + limits.answer;
        if self.is_guess() {
            return Some(whole);
        }
        if let Some(at) = self.retry_at {
            return Some(at);
        }
        Some(whole.min(self.silent_at(limits)))
    }

    /// When its silence is too long.
    fn silent_at(&self, limits: &Limits) -> CallTime {
        if self.has_begun { self.last_sign + limits.between_tokens } else { self.since + limits.first_token }
    }

    /// When the second try may be made after `error`, if it may.
    fn second_try(&self, now: CallTime, error: &AskError, limits: &Limits) -> Option<CallTime> {
        if self.is_second || !error.is_retryable() {
            return None;
        }
        let pause = if let AskError::Status { retry_after_s: Some(seconds), .. } = error {
            Duration::from_secs((*seconds).into())
        } else {
            RETRY_PAUSE
        };
        Some(now + pause).filter(|at| *at < self.since + limits.first_token)
    }
}

impl Brain {
    /// Asks the model. With `guess`, nothing of the answer is said until the caller has said just that.
    pub(super) fn ask(&mut self, question: Question, guess: Option<&str>) {
        let inputs = self.history.inputs();
        let guess = guess.map(|prompt| Guess { prompt: prompt.to_owned(), inputs, events: Vec::new() });
        self.requests += 1;
        let (request, now) = (self.requests, self.now);
        self.outputs.push_back(Output::Ask { request, question: question.clone() });
        self.asking = Some(Asking {
            request,
            question,
            guess,
            turn: None,
            head: String::new(),
            has_said: false,
            has_begun: false,
            is_second: false,
            retry_at: None,
            since: now,
            begun: now,
            last_sign: now,
            held_since: None,
        });
    }

    /// Prepares an answer to what the caller has probably said.
    pub(super) fn guess(&mut self, text: &str) {
        if self.asking.as_ref().and_then(|asking| asking.guess.as_ref()).is_some_and(|guess| same(&guess.prompt, text))
        {
            return;
        }
        self.drop_guess();
        if self.asking.is_none() && self.round.is_none() && self.pressed.is_none() {
            let question = Question { messages: self.history.messages(Some(text)), tools: Tools::Offered };
            self.ask(question, Some(text));
        }
    }

    /// The caller said `text`: whether an answer was prepared for just that. It is then given out.
    pub(super) fn confirm(&mut self, text: &str) -> bool {
        let inputs = self.history.inputs();
        let now = self.now;
        let fits = |guess: &mut Guess| guess.inputs == inputs && same(&guess.prompt, text);
        let Some(asking) = &mut self.asking else { return false };
        let Some(guess) = asking.guess.take_if(fits) else { return false };
        asking.since = now;
        self.history.push_user(text);
        let request = asking.request;
        for event in guess.events {
            self.on_answer(request, event);
        }
        true
    }

    /// Drops an answer that was only prepared.
    pub(super) fn drop_guess(&mut self) {
        if self.asking.as_ref().is_some_and(Asking::is_guess) {
            self.drop_question();
        }
    }

    /// Drops a question of whose answer nothing was said yet. It is still owed.
    pub(super) fn drop_unsaid(&mut self) {
        if self.asking.as_ref().is_some_and(|asking| !asking.has_said) {
            self.drop_question();
        }
    }

    /// Drops the question that is open. A turn that is still being heard ends with what was said of it.
    pub(super) fn drop_question(&mut self) {
        let Some(asking) = self.asking.take() else { return };
        self.outputs.push_back(Output::Drop { request: asking.request });
        if let Some(turn) = asking.turn.filter(|turn| self.live.contains_key(turn)) {
            self.say(turn, "", true);
        }
    }

    /// The turn in which an answer was said takes no more text.
    pub(super) fn close_answer(&mut self, turn: TurnId) {
        if let Some(asking) = &mut self.asking {
            asking.turn.take_if(|open| *open == turn);
        }
    }

    pub(super) fn on_answer(&mut self, request: u32, event: AnswerEvent) {
        let now = self.now;
        let Some(asking) = self.asking.as_mut().filter(|asking| asking.request == request) else { return };
        if asking.retry_at.is_some() {
            return;
        }
        asking.last_sign = now;
        if let Some(guess) = &mut asking.guess {
            match event {
                AnswerEvent::Alive => {}
                // There will be a real question soon enough.
                AnswerEvent::Failed(_) => self.drop_question(),
                AnswerEvent::Text(_) | AnswerEvent::Calling | AnswerEvent::Done { .. } => guess.events.push(event),
            }
            return;
        }
        match event {
            AnswerEvent::Alive => {}
            AnswerEvent::Calling => asking.has_begun = true,
            AnswerEvent::Text(text) => self.on_text(&text),
            AnswerEvent::Done { finish, calls } => self.on_done(finish, &calls),
            AnswerEvent::Failed(error) => self.fail(&error),
        }
    }

    fn on_text(&mut self, text: &str) {
        let Some(asking) = &mut self.asking else { return };
        asking.has_begun = true;
        asking.head.push_str(text);
        // White space and marks alone open no turn: an answer of nothing else is no answer.
        if !asking.has_said && !has_sound(&asking.head) {
            return;
        }
        let text = std::mem::take(&mut asking.head);
        if !std::mem::replace(&mut asking.has_said, true) {
            self.owed = None;
        }
        let turn = match asking.turn {
            Some(turn) => turn,
            None => {
                let turn = self.open_turn(Kind::Answer);
                if let Some(asking) = &mut self.asking {
                    asking.turn = Some(turn);
                }
                turn
            }
        };
        self.say(turn, &text, false);
    }

    fn on_done(&mut self, finish: Finish, calls: &[ToolCall]) {
        let Some(asking) = &self.asking else { return };
        let (request, has_said) = (asking.request, asking.has_said);
        let may_call = asking.question.tools == Tools::Offered;
        let calls = if may_call { calls } else { &[] };
        if finish == Finish::Filtered {
            self.fail(&AskError::Filtered);
            return;
        }
        if !has_said && calls.is_empty() {
            self.fail(&AskError::Empty);
            return;
        }
        self.failures = 0;
        if let Some(asking) = self.asking.take()
            && let Some(turn) = asking.turn
        {
            self.say(turn, "", true);
        }
        // What the caller said since the answer began comes before what it wanted done.
        let is_outdated = has_said && self.owed.is_some();
        if !calls.is_empty() && !is_outdated {
            self.begin_round(request, calls, finish);
        }
    }

    /// An answer failed: it is asked for again, ended, or replaced by the fallback line.
    fn fail(&mut self, error: &AskError) {
        let (now, limits) = (self.now, self.settings.limits);
        let Some(mut asking) = self.asking.take() else { return };
        self.outputs.push_back(Output::Drop { request: asking.request });
        tracing::warn!(%error, said = asking.has_said, "an answer of the model failed");
        if asking.has_said {
            self.break_off(asking.turn);
            return;
        }
        if let Some(at) = asking.second_try(now, error, &limits) {
            asking.is_second = true;
            asking.retry_at = Some(at);
            self.asking = Some(asking);
            return;
        }
        self.owed = None;
        self.failures += 1;
        if self.failures >= limits.failures {
            let kind = if error.is_retryable() { FaultKind::Retryable } else { FaultKind::Fatal };
            self.tell(AgentEvent::Lost(Fault { kind, reason: error.to_string() }));
            self.is_over = true;
            return;
        }
        let line = self.settings.lines.fallback.clone();
        self.say_line(Kind::Answer, &line);
    }

    /// Ends an answer that broke off: what was said of it stays.
    fn break_off(&mut self, turn: Option<TurnId>) {
        let line = self.settings.lines.cut.clone();
        match turn {
            Some(turn) if line.is_empty() => self.say(turn, "", true),
            Some(turn) => self.say(turn, &format!(" {line}"), true),
            None => self.say_line(Kind::Line, &line),
        }
    }

    pub(super) fn settle_asking(&mut self) {
        let (now, limits) = (self.now, self.settings.limits);
        let Some(asking) = &mut self.asking else { return };
        if asking.deadline(&limits).is_none_or(|at| now < at) {
            return;
        }
        if asking.is_guess() {
            self.drop_question();
        } else if asking.retry_at.take().is_some() {
            self.requests += 1;
            (asking.request, asking.begun, asking.last_sign) = (self.requests, now, now);
            asking.has_begun = false;
            asking.head.clear();
            self.outputs.push_back(Output::Ask { request: asking.request, question: asking.question.clone() });
        } else if now >= asking.silent_at(&limits) {
            self.fail(&AskError::Silent);
        } else {
            self.fail(&AskError::Slow);
        }
    }

    /// The call has enough of a turn that nobody heard yet, or wants more of it.
    pub(super) fn on_flow(&mut self, turn: TurnId, flow: Flow) {
        let now = self.now;
        let Some(asking) = self.asking.as_mut().filter(|asking| asking.turn == Some(turn)) else { return };
        match flow {
            Flow::Held => {
                asking.held_since.get_or_insert(now);
            }
            Flow::Open => {
                if let Some(since) = asking.held_since.take() {
                    // Nobody read meanwhile: the model is not to blame for that time.
                    asking.begun = asking.begun + now.since(since);
                    asking.last_sign = now;
                }
            }
        }
        let request = asking.request;
        self.outputs.push_back(Output::Read { request, flow });
    }
}

/// Whether there is anything in `text` that can be heard.
fn has_sound(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// Whether two transcripts say the same: case, marks and white space are a matter of taste.
fn same(one: &str, other: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let words =
            text.split_whitespace().map(|word| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>());
        words.map(|word| word.to_lowercase()).filter(|word| !word.is_empty()).collect()
    };
    words(one) == words(other)
}
