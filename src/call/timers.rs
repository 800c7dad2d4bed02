//! Every deadline of a call, and what happens when it passes.

use std::time::Duration;

use super::contexts::Overdue;
use super::links::State;
use super::{Call, TtsCommand};
use crate::ids::{CallTime, ContextId, TurnId};

/// Why a call wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// A frame is due.
    Pace,
    /// The prebuffer has waited long enough.
    Prebuffer,
    /// The carrier runs dry.
    Dry,
    /// A mark is given up.
    MarkLapse,
    /// A turn counts as heard by the clock.
    Heard,
    /// A voice has been silent for too long on a context.
    Overdue(ContextId),
    /// A lost link is tried again.
    Redial(usize),
    /// A turn's text is tried again.
    Retry(TurnId),
    /// An open turn has had no text for too long.
    OpenTurn(TurnId),
    /// The caller has heard silence for too long.
    Silence,
}

/// Deadlines that one `handle` settles at most. Each settled deadline moves, so this is never reached; it is there so
/// that a mistake costs one call's time and not a thread's.
const SETTLED_MAX: usize = 10_000;

impl Call {
    /// Settles every deadline due by `now`, in order and at its own time, so that no flood of events can starve the pacer.
    pub(super) fn settle(&mut self, now: CallTime) {
        for _ in 0..SETTLED_MAX {
            let Some((at, timer)) = self.next_deadline().filter(|(at, _)| *at <= now) else { return };
            self.fire(at, now, timer);
            if self.end.is_some() {
                return;
            }
        }
        debug_assert!(false, "a deadline did not move");
    }

    pub(super) fn next_deadline(&self) -> Option<(CallTime, Timer)> {
        let mut next: Option<(CallTime, Timer)> = None;
        let mut offer = |at: Option<CallTime>, timer: Timer| {
            if let Some(at) = at
                && next.is_none_or(|(soonest, _)| at < soonest)
            {
                next = Some((at, timer));
            }
        };
        if let Some(line) = &self.line {
            if line.playout.is_flowing() {
                offer(line.pacing.wake(), Timer::Pace);
            } else {
                offer(line.playout.ready_at(), Timer::Prebuffer);
                offer(line.pacing.dry_at(), Timer::Dry);
            }
            offer(line.ledger.lapses_at(), Timer::MarkLapse);
        }
        offer(self.front_heard_at(), Timer::Heard);
        for turn in &self.turns {
            offer(turn.retry_at, Timer::Retry(turn.id));
            if turn.is_open() {
                offer(Some(turn.last_text() + self.settings.limits.open_turn), Timer::OpenTurn(turn.id));
            }
            for context in &turn.contexts {
                offer(context.overdue_at(&self.settings.limits), Timer::Overdue(context.id));
            }
        }
        for (voice, link) in self.links.iter().enumerate() {
            offer(link.due(), Timer::Redial(voice));
        }
        offer(self.owed_silence.map(|since| since + self.settings.limits.silence), Timer::Silence);
        next
    }

    /// `at` is when the deadline was due, `now` when we woke up for it. What we send goes out now; what we decide was
    /// decided then.
    fn fire(&mut self, at: CallTime, now: CallTime, timer: Timer) {
        match timer {
            Timer::Pace | Timer::Prebuffer => {
                self.release(now, Duration::ZERO);
            }
            Timer::Dry => self.run_dry(at),
            Timer::MarkLapse => self.lapse_marks(at),
            Timer::Heard => self.close_turns(at),
            Timer::Overdue(context) => self.on_overdue(at, context),
            Timer::Redial(voice) => {
                if let Some(link) = self.links.get_mut(voice) {
                    link.dial();
                    self.tell_voice(TtsCommand::Dial { voice });
                }
            }
            Timer::Retry(turn) => {
                if let Some(turn) = self.turn_mut(turn) {
                    turn.retry_at = None;
                }
                self.give_text(at);
            }
            Timer::OpenTurn(turn) => {
                if let Some(turn) = self.turn_mut(turn) {
                    turn.close();
                }
                self.give_text(at);
                self.close_turns(at);
            }
            Timer::Silence => self.on_silence(at),
        }
        self.watch_silence(at);
    }

    fn on_overdue(&mut self, now: CallTime, id: ContextId) {
        match self.live_context(id).map(|context| context.overdue()) {
            Some(Overdue::Over) => self.on_done(now, id),
            Some(Overdue::Stalled) => self.on_stalled(now, id),
            None => {}
        }
    }

    /// Notes since when the caller has been hearing silence while speech is owed.
    pub(super) fn watch_silence(&mut self, now: CallTime) {
        self.owed_silence = match (self.owed_since(now), self.owed_silence) {
            (Some(_), Some(since)) => Some(since),
            (since, _) => since,
        };
    }

    fn owed_since(&self, now: CallTime) -> Option<CallTime> {
        let (turn, line) = (self.turns.front()?, self.line.as_ref()?);
        if line.pacing.is_running() || line.playout.is_flowing() {
            return None;
        }
        let is_linked = self.links.get(turn.voice).is_some_and(|link| *link.state() == State::Up);
        // Text that waits although it could be sent is half a sentence: the agent owes the other half, not we.
        let blocked = turn.retry_at.is_some() || !is_linked;
        let waiting = turn.waiting_since().filter(|_| blocked).map(|since| since.max(line.quiet_since));
        let contexts = turn.contexts.iter().filter_map(|context| context.owed_since()).filter(|since| *since <= now);
        contexts.map(|since| since.max(line.quiet_since)).chain(waiting).min()
    }
}
