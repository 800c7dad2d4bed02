//! From the playout queue to the carrier, and from its marks to turns that were heard.

use std::time::Duration;

use super::action::{Action, AgentReport, CarrierCommand, EndReason, Heard};
use super::contexts::{Author, Context};
use super::settings::OnFailure;
use super::turn::Turn;
use super::{Call, Line};
use crate::ids::{CallTime, ContextId, TurnId};

/// A mark follows so much audio at the latest.
const MARK_EVERY: Duration = Duration::from_millis(200);

impl Call {
    /// Sends every frame that is due by `now + ahead`, and with them those that belong into the same write.
    pub(super) fn release(&mut self, now: CallTime, mut ahead: Duration) {
        let mut companions = self.settings.playout.frames_per_write.saturating_sub(1);
        let turn_max = self.rank_admitted();
        loop {
            self.retire_lines(now);
            let Some(line) = &mut self.line else { return };
            line.playout.admit(turn_max);
            if !line.playout.is_ready(now) {
                return;
            }
            if !line.pacing.is_running() {
                line.pacing.start(now);
            }
            if line.pacing.due().is_some_and(|due| due > now + ahead) {
                return;
            }
            if line.pacing.rebase_if_hopeless(now) {
                self.stats.slips += 1;
            }
            self.send_frame(now);
            if let Some(line) = &self.line {
                ahead += line.format.frame() * std::mem::take(&mut companions);
            }
        }
    }

    /// Rank of the first turn that is not all made: those behind it are heard after it, however long its agent takes.
    fn rank_admitted(&self) -> u64 {
        self.turns.iter().find(|turn| !turn.is_made()).map_or(u64::MAX, |turn| turn.rank)
    }

    /// Takes the lines away that were sent whole, each with a mark behind it.
    fn retire_lines(&mut self, now: CallTime) {
        let Some(line) = &mut self.line else { return };
        let mut is_retired = false;
        while line.playout.pop_finished().is_some() {
            is_retired = true;
        }
        if is_retired {
            // Audio may have ended exactly with a frame that was sent before the voice said that it was the last.
            self.mark_rest(now);
        }
    }

    /// Asks for a mark behind what was sent since the last one, if anything was.
    fn mark_rest(&mut self, now: CallTime) {
        let Some(line) = self.line.as_mut().filter(|line| line.ledger.unmarked() > 0) else { return };
        let mark = line.ledger.mark(now);
        self.tell_carrier(CarrierCommand::Mark(mark));
    }

    fn send_frame(&mut self, now: CallTime) {
        let Some(line) = &mut self.line else { return };
        let position = line.ledger.sent();
        let Some(next) = line.playout.pop(position) else { return };
        let samples = line.format.samples_of(next.frame.len());
        let late = line.pacing.sent(now, next.ready_since);
        line.ledger.on_sent(now, samples);
        let unmarked = line.ledger.unmarked();
        let mark = (next.is_last || line.format.duration_of(unmarked) >= MARK_EVERY).then(|| line.ledger.mark(now));
        line.playout.forget(line.ledger.heard(now), line.ledger.sent());
        self.stats.frames_out += 1;
        self.tell_carrier(CarrierCommand::Media { frame: next.frame, late });
        if let Some(mark) = mark {
            self.tell_carrier(CarrierCommand::Mark(mark));
        }
        self.count_sent(now, next.context, position, samples);
    }

    fn count_sent(&mut self, now: CallTime, context: ContextId, position: u64, samples: u64) {
        let Some(turn) = self.turns.iter_mut().find(|turn| turn.id == context.turn) else { return };
        if let Some(answer) = &mut turn.answer {
            answer.on_frame(now);
        }
        let Some(context) = turn.context_mut(context) else { return };
        context.on_sent(position, samples);
        let (author, first_byte) = (context.author, context.first_byte());
        if author == Author::Agent && !std::mem::replace(&mut turn.begun, true) {
            let turn = turn.id;
            self.report(AgentReport::FirstAudio { turn, first_byte });
        }
    }

    /// The carrier has run dry. That is an underrun if speech is owed, and a pause if the agent owes text.
    pub(super) fn run_dry(&mut self, now: CallTime) {
        let Some(line) = &mut self.line else { return };
        line.playout.run_dry();
        line.pacing.stop();
        line.quiet_since = now;
        // What was said before a pause is settled in the pause.
        self.mark_rest(now);
        let Some(turn) = self.turns.front().filter(|turn| turn.begun) else { return };
        let is_owed = turn.retry_at.is_some()
            || turn.lacks_place
            || turn.contexts.iter().any(|context| context.owed_since().is_some());
        if is_owed {
            self.stats.underruns += 1;
        }
    }

    /// Marks that are too late are given up.
    pub(super) fn lapse_marks(&mut self, now: CallTime) {
        if let Some(line) = &mut self.line {
            self.stats.marks_lapsed += line.ledger.lapse(now);
        }
        self.report_heard(now);
    }

    /// Reports what more the caller has heard of the turn that is playing.
    pub(super) fn report_heard(&mut self, now: CallTime) {
        let Some(line) = &self.line else { return };
        let (heard, is_estimate) = (line.ledger.heard(now), line.ledger.is_estimate());
        let Some(turn) = self.turns.front_mut() else { return };
        if let Some(wait) = turn.answer.filter(|_| turn.is_heard_of(heard)).and_then(|answer| answer.on_heard(now)) {
            let (id, _) = (turn.id, turn.answer.take());
            self.actions.push_back(Action::Agent(AgentReport::Answered { turn: id, wait }));
        }
        if let Some(heard) = turn.heard_more(heard, is_estimate) {
            let turn = turn.id;
            self.report(AgentReport::Heard { turn, heard });
        }
    }

    /// Ends the turns that the caller has heard to their end.
    pub(super) fn close_turns(&mut self, now: CallTime) {
        loop {
            self.retire_lines(now);
            if self.turns.is_empty()
                && let Some(reason) = self.closing.take()
            {
                self.finish(now, reason);
                return;
            }
            if !self.is_front_heard(now) {
                return;
            }
            let (Some(turn), Some(line)) = (self.turns.pop_front(), &mut self.line) else { return };
            line.tail = turn.interruptible;
            let heard = turn.heard(line.ledger.heard(now), line.ledger.is_estimate());
            let heard = Heard { made: turn.made(), ..heard };
            let failed = turn.failed.is_some();
            self.report(AgentReport::TurnOver { turn: turn.id, heard });
            self.recycle(turn);
            if failed && self.settings.on_failure == OnFailure::Close {
                self.finish(now, EndReason::SpeechFailed);
                return;
            }
            self.give_text(now);
        }
    }

    /// When the turn that is playing will count as heard by the clock alone, if that is what decides.
    pub(super) fn front_heard_at(&self) -> Option<CallTime> {
        let (turn, line) = self.front_sent()?;
        turn.end().and_then(|end| line.ledger.heard_at(end))
    }

    fn is_front_heard(&self, now: CallTime) -> bool {
        let Some((turn, line)) = self.front_sent() else { return false };
        turn.end().is_none_or(|end| line.ledger.has_heard(now, end))
    }

    /// The turn that is heard first, if all of it was sent.
    fn front_sent(&self) -> Option<(&Turn, &Line)> {
        let (turn, line) = (self.turns.front()?, self.line.as_ref()?);
        (turn.is_made() && !line.playout.has_line(turn.id)).then_some((turn, line))
    }

    /// A context that still takes audio.
    pub(super) fn live_context(&mut self, id: ContextId) -> Option<&mut Context> {
        self.turn_mut(id.turn)?.context_mut(id).filter(|context| context.state != super::contexts::State::Done)
    }

    pub(super) fn turn_mut(&mut self, id: TurnId) -> Option<&mut super::turn::Turn> {
        self.turns.iter_mut().find(|turn| turn.id == id)
    }

    /// Words may come after their audio was played.
    pub(super) fn heard_on(&mut self, now: CallTime, context: ContextId) {
        if self.turns.front().is_some_and(|turn| turn.id == context.turn) {
            self.report_heard(now);
        }
    }
}
