//! When nobody speaks, when a call has lasted long enough, and when its node has to stop.

use super::Call;
use super::action::{Cause, EndReason};
use super::timers::Timer;
use crate::ids::CallTime;

impl Call {
    /// Notes since when nobody has said anything although nothing is owed.
    pub(super) fn watch_idleness(&mut self, now: CallTime) {
        if self.settings.conversation.lifetime.idle.is_none() {
            return;
        }
        let is_heard = self.hearing.as_ref().is_some_and(super::hearing::Hearing::is_busy);
        let is_idle = self.detector.is_some() && self.turns.is_empty() && !self.is_caller_speaking && !is_heard;
        self.idle_since = is_idle.then(|| self.idle_since.unwrap_or(now));
    }

    /// The caller did something.
    pub(super) fn stir(&mut self) {
        (self.idle_asked, self.idle_since) = (0, None);
    }

    /// The next deadline of the call's whole life.
    pub(super) fn lifetime_due(&self) -> Option<(CallTime, Timer)> {
        let lifetime = &self.settings.conversation.lifetime;
        if self.closing.is_some() {
            return None;
        }
        let idle = self.idle_since.zip(lifetime.idle).map(|(since, idle)| (since + idle, Timer::Idle));
        let longest = self.began.zip(lifetime.longest).map(|(began, longest)| (began + longest, Timer::Longest));
        idle.into_iter().chain(longest).min_by_key(|(at, _)| *at)
    }

    /// Nobody has said anything for too long: the caller is asked, and in the end the call is over.
    pub(super) fn on_idle(&mut self, now: CallTime) {
        self.idle_since = None;
        let lifetime = &self.settings.conversation.lifetime;
        match lifetime.idle_lines.get(self.idle_asked).cloned() {
            Some(line) => {
                self.idle_asked += 1;
                self.announce(now, line, self.settings.interruptible);
            }
            None => {
                let goodbye = lifetime.goodbye.clone();
                self.close_with(now, goodbye, EndReason::Idle);
            }
        }
    }

    /// The call has lasted as long as it may: what is being said is cut off for a goodbye.
    pub(super) fn on_longest(&mut self, now: CallTime) {
        let goodbye = self.settings.conversation.lifetime.goodbye.clone();
        self.break_off_with(now, goodbye, EndReason::TimeUp);
    }

    /// The node cannot keep the call. One that is ending anyway goes on doing so.
    pub(super) fn on_leave(&mut self, now: CallTime) {
        if self.closing.is_none() {
            let leaving = self.settings.conversation.lifetime.leaving.clone();
            self.break_off_with(now, leaving, EndReason::SentAway);
        }
    }

    fn break_off_with(&mut self, now: CallTime, line: String, reason: EndReason) {
        self.interrupt(now, Cause::Request);
        // What was cut off may have been the line that ends a call without a voice.
        if self.end.is_none() {
            self.close_with(now, line, reason);
        }
    }
}
