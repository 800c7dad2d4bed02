//! Every deadline of a call, and what happens when it passes.

use std::time::Duration;

use super::contexts::Overdue;
use super::event::{Fault, FaultKind};
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
    /// An open context has been idle for so long that others are to have its place.
    IdleContext(ContextId),
    /// A vendor has not let go of a cancelled context.
    Leaving(usize),
    /// The voice of the turn that is heard keeps the caller waiting, and another could speak.
    Handover,
    /// The caller has heard silence for too long.
    Silence,
    /// Something is due on a link of hearing, or last words are waited for no longer.
    Hearing,
    /// Nobody has said anything for too long.
    Idle,
    /// The call has lasted as long as it may.
    Longest,
}

/// Deadlines that one `handle` settles at most. Each settled deadline moves, so this is never reached; it is there so
/// that a mistake costs one call's time and not a thread's.
const SETTLED_MAX: usize = 10_000;

/// A deadline noticed so much later means that our own process slept.
const ASLEEP: Duration = Duration::from_millis(250);
/// After that, others have so long to be heard before their silence counts: what they said is in the inbox.
const PATIENCE: Duration = Duration::from_millis(250);

impl Call {
    /// Settles every decision due by `now`, in order. Frames are not sent here: `handle` ends with them, so that no flood
    /// of events can starve the pacer, and what the event stops is not sent first.
    pub(super) fn settle(&mut self, now: CallTime) {
        for _ in 0..SETTLED_MAX {
            let Some((at, timer)) = self.decision.filter(|(at, _)| *at <= now) else { return };
            if now.since(at) > ASLEEP {
                self.patient_until = now + PATIENCE;
            }
            if self.next_decision() == Some((at, timer)) {
                self.fire(at, now, timer);
            }
            if self.end.is_some() {
                return;
            }
            self.decision = self.next_decision();
        }
        debug_assert!(false, "a deadline did not move");
    }

    /// The next deadline.
    pub(super) fn next_deadline(&self) -> Option<(CallTime, Timer)> {
        let frame = self.next_frame();
        match (frame, self.decision) {
            (Some(frame), Some(decision)) => Some(if decision.0 < frame.0 { decision } else { frame }),
            (frame, decision) => frame.or(decision),
        }
    }

    fn next_frame(&self) -> Option<(CallTime, Timer)> {
        let line = self.line.as_ref()?;
        if line.playout.is_flowing() {
            line.pacing.wake().map(|at| (at, Timer::Pace))
        } else {
            line.playout.ready_at().map(|at| (at, Timer::Prebuffer))
        }
    }

    /// The next deadline that is not a frame.
    pub(super) fn next_decision(&self) -> Option<(CallTime, Timer)> {
        let mut next: Option<(CallTime, Timer)> = None;
        let mut offer = |at: Option<CallTime>, timer: Timer| {
            if let Some(at) = at
                && next.is_none_or(|(soonest, _)| at < soonest)
            {
                next = Some((at, timer));
            }
        };
        let limits = &self.settings.limits;
        if let Some(line) = &self.line {
            if !line.playout.is_flowing() {
                offer(line.pacing.dry_at(), Timer::Dry);
            }
            offer(line.ledger.lapses_at(), Timer::MarkLapse);
        }
        offer(self.front_heard_at(), Timer::Heard);
        for turn in &self.turns {
            offer(turn.retry_at, Timer::Retry(turn.id));
            offer(turn.starves_at(limits), Timer::OpenTurn(turn.id));
            for context in &turn.contexts {
                let at = context.overdue_at(limits).map(|at| at.max(self.patient_until));
                offer(at, Timer::Overdue(context.id));
                offer(self.idle_at(context), Timer::IdleContext(context.id));
            }
        }
        for (voice, link) in self.links.iter().enumerate() {
            offer(link.due(), Timer::Redial(voice));
            offer(Self::leaves_at(link), Timer::Leaving(voice));
        }
        offer(self.handover_at(), Timer::Handover);
        offer(self.owed_silence.map(|since| (since + limits.silence).max(self.patient_until)), Timer::Silence);
        offer(self.hearing.as_ref().and_then(super::hearing::Hearing::due), Timer::Hearing);
        if let Some((at, timer)) = self.lifetime_due() {
            offer(Some(at), timer);
        }
        next
    }

    /// `at` is when the deadline was due, `now` when we woke up for it. What is told to others is told now, and their time
    /// to answer begins now.
    fn fire(&mut self, at: CallTime, now: CallTime, timer: Timer) {
        match timer {
            // `handle` sends what is due.
            Timer::Pace | Timer::Prebuffer => {}
            Timer::Dry => self.run_dry(at),
            Timer::MarkLapse => self.lapse_marks(now),
            Timer::Heard => self.close_turns(now),
            Timer::Overdue(context) => self.on_overdue(now, context),
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
                self.give_text(now);
            }
            Timer::OpenTurn(turn) => {
                if let Some(turn) = self.turn_mut(turn) {
                    turn.close();
                }
                self.give_text(now);
            }
            Timer::IdleContext(context) => self.on_idle_context(now, context),
            Timer::Leaving(voice) => {
                self.renewals.insert(voice);
                self.renew_links(now);
            }
            Timer::Handover => self.on_handover(now),
            Timer::Silence => self.on_silence(now),
            Timer::Hearing => self.on_hearing_due(now),
            Timer::Idle => self.on_idle(now),
            Timer::Longest => self.on_longest(now),
        }
        self.watch_silence(now);
    }

    fn on_overdue(&mut self, now: CallTime, id: ContextId) {
        if self.is_clip(id) {
            let reason = "the clip did not come in time".to_owned();
            self.fail_clip(now, id, Fault { kind: FaultKind::Retryable, reason });
            return;
        }
        match self.live_context(id).map(|context| context.overdue()) {
            Some(Overdue::Over) => self.complete_untold(now, id),
            Some(Overdue::Stalled) => self.on_stalled(now, id),
            None => {}
        }
    }

    /// Notes since when the caller has been hearing silence while speech is owed.
    pub(super) fn watch_silence(&mut self, now: CallTime) {
        let since = self.owed_since(now);
        self.owed_silence = since.map(|since| self.owed_silence.unwrap_or(since));
    }

    fn owed_since(&self, now: CallTime) -> Option<CallTime> {
        let (turn, line) = (self.turns.front()?, self.line.as_ref()?);
        if line.pacing.is_running() || line.playout.is_flowing() {
            return None;
        }
        let is_linked = self.links.get(turn.voice).is_some_and(|link| *link.state() == State::Up);
        // Text that waits although it could be sent is half a sentence: the agent owes the other half, not we. What it
        // waited for the agent before does not count either.
        let is_held_up = turn.retrying || turn.retry_at.is_some() || turn.lacks_place || !is_linked;
        let is_blocked = turn.is_waiting() && is_held_up && !self.waits_for_phrase(turn);
        let contexts = turn.contexts.iter().filter_map(|context| context.owed_since()).filter(|since| *since <= now);
        contexts.map(|since| since.max(line.quiet_since)).chain(is_blocked.then_some(now)).min()
    }
}
