//! Barge-in: what may be cut off by what, and the one step in which it happens.

use super::action::{Action, AgentReport, CarrierCommand, Cause, TtsCommand};
use super::contexts::State;
use super::settings::Interruptible;
use super::turn::Turn;
use super::{Call, OVER_MAX};
use crate::ids::CallTime;

impl Interruptible {
    /// Whether `cause` may cut off what carries this policy.
    pub fn allows(self, cause: Cause) -> bool {
        match cause {
            Cause::Request | Cause::CallEnded => true,
            Cause::Speech => matches!(self, Interruptible::Any | Interruptible::Speech),
            Cause::Dtmf => matches!(self, Interruptible::Any | Interruptible::Dtmf),
        }
    }
}

impl Call {
    /// The caller spoke, pressed a key, or the agent asked for silence. If that may cut off the turn that is being heard:
    /// `clear`, cancel, report, in this order. Queued turns that it may cut off are dropped with it, others live on.
    pub(super) fn interrupt(&mut self, now: CallTime, cause: Cause) {
        // A turn exists from its first text on: stopping it before its first sound is an interruption too.
        if !self.turns.front().is_some_and(|turn| turn.interruptible.allows(cause)) {
            return;
        }
        self.stats.barge_ins += 1;
        let (dropped, kept): (Vec<Turn>, Vec<Turn>) =
            self.turns.drain(..).partition(|turn| turn.interruptible.allows(cause));
        self.turns = kept.into();
        let heard = self.clear(now, &dropped);
        for turn in &dropped {
            self.cancel_contexts(turn);
        }
        for turn in dropped {
            self.report_dropped(&turn, heard, cause);
            self.recycle(turn);
        }
    }

    /// Silences the carrier and drops the audio of `dropped`; the ledger's position that was heard.
    fn clear(&mut self, now: CallTime, dropped: &[Turn]) -> u64 {
        let Some(line) = &mut self.line else { return 0 };
        for context in dropped.iter().flat_map(|turn| &turn.contexts) {
            line.playout.drop_line(context.id);
        }
        if !line.ledger.may_hold(now) {
            return line.ledger.heard(now);
        }
        let cut = line.ledger.cut_epoch(now);
        let returned = line.playout.take_back(cut.heard);
        line.pacing.stop();
        line.quiet_since = now;
        for context in self.turns.iter_mut().flat_map(|turn| &mut turn.contexts) {
            let samples = returned.iter().find(|(id, _)| *id == context.id).map_or(0, |(_, samples)| *samples);
            context.on_cut(samples);
        }
        self.stats.clears += 1;
        self.stats.marks_flushed += cut.marks;
        // Frames that the driver has not fetched yet must not follow the `clear`.
        self.actions.retain(|action| {
            !matches!(action, Action::Carrier(CarrierCommand::Media { .. } | CarrierCommand::Mark(_)))
        });
        self.tell_carrier(CarrierCommand::Clear { held: cut.held });
        cut.heard
    }

    fn cancel_contexts(&mut self, turn: &Turn) {
        for context in turn.contexts.iter().filter(|context| context.state != State::Done) {
            self.tell_voice(TtsCommand::Cancel { voice: context.voice, context: context.id });
        }
    }

    pub(super) fn report_dropped(&mut self, turn: &Turn, heard: u64, cause: Cause) {
        let is_estimate = self.line.as_ref().is_some_and(|line| line.ledger.is_estimate());
        let heard = turn.heard(heard, is_estimate);
        self.report(AgentReport::Interrupted { turn: turn.id, heard, cause });
    }

    /// Takes what a finished turn borrowed, and remembers that it is over.
    pub(super) fn recycle(&mut self, mut turn: Turn) {
        self.converters.extend(turn.contexts.iter_mut().filter_map(super::contexts::Context::abandon));
        self.over.push_back(turn.id);
        if self.over.len() > OVER_MAX {
            self.over.pop_front();
        }
    }
}
