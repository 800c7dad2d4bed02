//! Barge-in: what may be cut off by what, and the one step in which it happens.

use super::Call;
use super::action::{Action, AgentReport, CarrierCommand, Cause, EndReason, Heard};
use super::contexts::State;
use super::marks::Cut;
use super::settings::{Interruptible, OnFailure};
use super::turn::Turn;
use crate::ids::CallTime;

impl Interruptible {
    /// Whether `cause` may cut off what carries this policy.
    pub fn allows(self, cause: Cause) -> bool {
        match cause {
            Cause::Request | Cause::Preempted | Cause::CallEnded => true,
            Cause::Speech => matches!(self, Interruptible::Any | Interruptible::Speech),
            Cause::Dtmf => matches!(self, Interruptible::Any | Interruptible::Dtmf),
        }
    }
}

impl Call {
    /// The caller spoke, pressed a key, or the agent asked for silence. If that may cut off the turn that is being heard:
    /// `clear`, cancel, report, in this order. Queued turns that it may cut off are dropped with it, others live on.
    pub(super) fn interrupt(&mut self, now: CallTime, cause: Cause) {
        if !self.may_interrupt(now, cause) {
            return;
        }
        self.stats.barge_ins += 1;
        let (mut dropped, kept): (Vec<Turn>, Vec<Turn>) =
            self.turns.drain(..).partition(|turn| turn.interruptible.allows(cause));
        self.turns = kept.into();
        let heard = self.clear(now, &dropped);
        for turn in &mut dropped {
            self.cancel_contexts(now, turn);
        }
        let failed = dropped.iter().any(|turn| turn.failed.is_some());
        for (place, turn) in dropped.into_iter().enumerate() {
            self.report_dropped(&turn, heard, cause, place > 0);
            self.recycle(turn);
        }
        if failed && self.settings.on_failure == OnFailure::Close {
            self.finish(now, EndReason::SpeechFailed);
        }
    }

    /// A vendor heard the caller start, before or without our own detector.
    pub(super) fn on_vendor_speech(&mut self, now: CallTime) {
        if !self.is_caller_speaking {
            self.interrupt(now, Cause::Speech);
        }
    }

    /// Whether input of the caller that may not interrupt what is heard now is kept from the agent as well. What the call
    /// begins with keeps nothing from the agent: it is the operator's wish, not the agent's.
    pub(super) fn is_input_swallowed(&self, cause: Cause) -> bool {
        let is_uninterruptible =
            self.turns.front().is_some_and(|turn| !turn.interruptible.allows(cause) && !self.is_opening(turn.id));
        is_uninterruptible && !self.settings.conversation.reported_during_speech.allows(cause)
    }

    /// A later turn opens: one before it that gives way to later ones is cut off, or dropped unheard.
    pub(super) fn preempt(&mut self, now: CallTime) {
        let Some(turn) =
            self.turns.back().is_some_and(|turn| turn.preemptible).then(|| self.turns.pop_back()).flatten()
        else {
            return;
        };
        let dropped = [turn];
        let begun = dropped.iter().any(|turn| turn.begun);
        let heard = if begun { self.clear(now, &dropped) } else { self.drop_lines(&dropped) };
        let [mut turn] = dropped;
        self.cancel_contexts(now, &mut turn);
        self.report_dropped(&turn, heard, Cause::Preempted, !self.turns.is_empty());
        self.recycle(turn);
    }

    /// Drops the audio of turns of which nothing was sent; the ledger's position that was heard.
    fn drop_lines(&mut self, dropped: &[Turn]) -> u64 {
        let Some(line) = &mut self.line else { return 0 };
        for context in dropped.iter().flat_map(|turn| &turn.contexts) {
            line.playout.drop_line(context.id);
        }
        0
    }

    /// Whether `cause` may cut off what is heard now. A turn exists from its first text on: stopping it before its first
    /// sound is an interruption too. A carrier whose marks are dead may still play a turn that counts as over.
    fn may_interrupt(&self, now: CallTime, cause: Cause) -> bool {
        match (self.turns.front(), &self.line) {
            (Some(turn), _) => turn.interruptible.allows(cause),
            (None, Some(line)) => line.tail.allows(cause) && line.ledger.may_hold(now),
            (None, None) => false,
        }
    }

    /// Silences the carrier and drops the audio of `dropped`; the ledger's position that was heard.
    fn clear(&mut self, now: CallTime, dropped: &[Turn]) -> u64 {
        let Some(line) = &mut self.line else { return 0 };
        for context in dropped.iter().flat_map(|turn| &turn.contexts) {
            line.playout.drop_line(context.id);
        }
        if !line.ledger.may_hold(now) {
            // It ran dry while frames for it were late; those are gone now, and its schedule with them.
            line.pacing.stop();
            line.quiet_since = now;
            return line.ledger.heard(now);
        }
        let cut = self.cut_epoch(now);
        if let Some(line) = &mut self.line {
            let lives_on = |id| self.turns.iter().any(|turn| turn.id == id);
            let returned = line.playout.take_back(now, cut.heard, lives_on);
            line.pacing.stop();
            line.quiet_since = now;
            for context in self.turns.iter_mut().flat_map(|turn| &mut turn.contexts) {
                let samples = returned.iter().find(|(id, _)| *id == context.id).map_or(0, |(_, samples)| *samples);
                context.on_cut(samples);
            }
        }
        self.stats.clears += 1;
        self.tell_carrier(CarrierCommand::Clear { held: cut.held });
        cut.heard
    }

    /// Freezes what was heard. Frames and marks that the driver has not fetched yet are withdrawn: they must not follow a
    /// `clear`, and nobody heard them.
    pub(super) fn cut_epoch(&mut self, now: CallTime) -> Cut {
        let Some(line) = &mut self.line else { return Cut::default() };
        let mut withdrawn = 0;
        self.actions.retain(|action| match action {
            Action::Carrier(CarrierCommand::Media { frame, .. }) => {
                withdrawn += line.format.samples_of(frame.len());
                self.stats.frames_withdrawn += 1;
                false
            }
            Action::Carrier(CarrierCommand::Mark(_)) => false,
            Action::Carrier(CarrierCommand::Clear { .. })
            | Action::Tts(_)
            | Action::Hearing(_)
            | Action::Agent(_)
            | Action::End(_) => true,
        });
        let cut = line.ledger.cut_epoch(now, withdrawn);
        self.stats.marks_flushed += cut.marks;
        cut
    }

    fn cancel_contexts(&mut self, now: CallTime, turn: &mut Turn) {
        for context in turn.contexts.iter().filter(|context| context.state != State::Done) {
            self.cancel(now, context.voice, context.id);
        }
        self.give_up_place(turn);
    }

    pub(super) fn report_dropped(&mut self, turn: &Turn, heard: u64, cause: Cause, queued: bool) {
        let is_estimate = self.line.as_ref().is_some_and(|line| line.ledger.is_estimate());
        let heard = Heard { made: turn.made(), ..turn.heard(heard, is_estimate) };
        self.report(AgentReport::Interrupted { turn: turn.id, heard, cause, queued });
    }

    /// Takes what a finished turn borrowed, and remembers that it is over.
    pub(super) fn recycle(&mut self, mut turn: Turn) {
        self.converters.extend(turn.contexts.iter_mut().filter_map(super::contexts::Context::abandon));
        self.over.insert(turn.id);
    }
}
