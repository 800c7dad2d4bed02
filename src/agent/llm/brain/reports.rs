//! What the call reports: words, noises, keys, and what became of turns.

use super::{Brain, Floor, Kind};
use crate::agent::llm::settings::Greeting;
use crate::audio::vad::Change;
use crate::call::action::{AgentReport, Cause, Heard};
use crate::ids::TurnId;

/// Keys in a row that are passed on together at most.
const PRESSED_MAX: usize = 32;

/// What a model that says the first word is asked.
const CONNECTED: &str = "[The caller has just been connected. Greet them.]";

impl Brain {
    pub(super) fn on_report(&mut self, report: AgentReport) {
        match report {
            AgentReport::Started => self.on_started(),
            AgentReport::TurnOver { turn, heard } => self.on_turn_over(turn, &heard),
            AgentReport::Interrupted { turn, heard, cause, .. } => self.on_interrupted(turn, &heard, cause),
            AgentReport::SpeechFailed { turn, .. } => self.on_speech_failed(turn),
            AgentReport::Digit(key) => self.on_key(key),
            AgentReport::CallerSpeech(Change::Started) => self.on_speech_started(),
            AgentReport::CallerSpeech(Change::Stopped) => {
                // The words may have come before the detector was sure of the silence.
                if self.floor == Floor::Taken {
                    self.floor = Floor::Waiting(self.now);
                }
            }
            // What pauses mean for the words is reported with them.
            AgentReport::CallerSpeech(Change::Paused | Change::Resumed) => {}
            AgentReport::Prompt { text, last: true, .. } => self.on_prompt(text.trim()),
            AgentReport::Prompt { text, last: false, .. } => self.on_partial(&text),
            AgentReport::Probable { text } => self.guess(text.trim()),
            AgentReport::Resumed => {
                self.drop_guess();
                self.wait_for_words();
            }
            AgentReport::Announced { turn, text } => {
                self.live.insert(turn, Kind::Line);
                self.history.say(turn, &text);
            }
            AgentReport::Flow { turn, flow } => self.on_flow(turn, flow),
            AgentReport::Ended(_) => {
                self.drop_question();
                self.is_over = true;
            }
            AgentReport::TurnStarted { .. }
            | AgentReport::FirstAudio { .. }
            | AgentReport::Heard { .. }
            | AgentReport::FailedOver { .. }
            | AgentReport::HearingFailed { .. }
            | AgentReport::Connected
            | AgentReport::Refused { .. }
            | AgentReport::Dismissed
            | AgentReport::AgentLost { .. }
            | AgentReport::HandedOff { .. }
            | AgentReport::Answered { .. }
            | AgentReport::Draining => {}
        }
    }

    fn on_started(&mut self) {
        match self.settings.greeting.clone() {
            Greeting::Nothing => {}
            Greeting::Line(line) => self.say_line(Kind::Line, &line),
            Greeting::Model => {
                self.history.push_user(CONNECTED);
                self.owed = Some(self.now);
            }
        }
    }

    /// The caller has finished.
    fn on_prompt(&mut self, text: &str) {
        self.floor = Floor::Free;
        self.take_pressed();
        if text.is_empty() {
            // A noise: what was dropped because of it is asked again.
            self.drop_guess();
            return;
        }
        self.has_filled = false;
        self.rounds = 0;
        self.owed = Some(self.now);
        self.yield_round();
        if !self.confirm(text) {
            // Nothing was said yet: both are answered together. What is being said is said to its end first.
            self.drop_unsaid();
            self.history.push_user(text);
        }
    }

    /// Words that are not all of it yet.
    fn on_partial(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        if self.floor == Floor::Free && self.asking.as_ref().is_none_or(|asking| !asking.is_guess()) {
            self.drop_unsaid();
        }
        self.wait_for_words();
    }

    /// The caller is not done: what was said so far is answered only if nothing more comes.
    fn wait_for_words(&mut self) {
        match self.floor {
            Floor::Free | Floor::Waiting(_) => self.floor = Floor::Waiting(self.now),
            Floor::Taken => {}
        }
    }

    fn on_speech_started(&mut self) {
        self.floor = Floor::Taken;
        self.drop_unsaid();
    }

    fn on_key(&mut self, key: char) {
        if self.collect(key) {
            return;
        }
        self.drop_unsaid();
        self.revoke();
        let (keys, at) = self.pressed.get_or_insert_with(|| (String::new(), self.now));
        keys.push(key);
        *at = self.now;
        if key == '#' || keys.len() >= PRESSED_MAX {
            self.take_pressed();
        }
    }

    /// The keys that were pressed are words of the caller.
    pub(super) fn take_pressed(&mut self) {
        if let Some((keys, _)) = self.pressed.take() {
            self.history.push_user(&format!("[pressed {keys}]"));
            self.has_filled = false;
            self.rounds = 0;
            self.owed = Some(self.now);
        }
    }

    fn on_turn_over(&mut self, turn: TurnId, heard: &Heard) {
        self.history.commit(turn, &heard.text, false);
        self.close_answer(turn);
        self.forget_turn(turn, false);
    }

    fn on_interrupted(&mut self, turn: TurnId, heard: &Heard, cause: Cause) {
        self.history.commit(turn, &heard.text, true);
        let kind = self.forget_turn(turn, true);
        if self.asking.as_ref().is_some_and(|asking| asking.turn() == Some(turn)) {
            self.drop_question();
        }
        match cause {
            Cause::Speech => {
                if self.floor == Floor::Free {
                    self.floor = Floor::Waiting(self.now);
                }
                // Nothing of the answer was heard, so that it is still owed, should no words come of the noise.
                if kind == Some(Kind::Answer) && heard.text.trim().is_empty() {
                    self.owed.get_or_insert(self.now);
                }
                self.revoke();
            }
            Cause::Request => {
                self.drop_question();
                self.owed = None;
                self.revoke();
            }
            Cause::Dtmf => self.revoke(),
            Cause::Preempted | Cause::CallEnded => {}
        }
    }

    /// A voice cannot say the rest of a turn: more text for it would be for nobody.
    fn on_speech_failed(&mut self, turn: TurnId) {
        self.fail_tones(turn);
        if self.asking.as_ref().is_some_and(|asking| asking.turn() == Some(turn) && asking.has_said()) {
            self.drop_question();
        }
    }

    fn forget_turn(&mut self, turn: TurnId, was_cut: bool) -> Option<Kind> {
        let kind = self.live.remove(&turn);
        if kind.is_some() && self.live.is_empty() {
            self.quiet_since = self.now;
        }
        self.end_tones(turn, was_cut);
        kind
    }
}
