//! The chain of voices: which one speaks, and when the next one takes over.
//!
//! A voice that fails moves its turns to the next one at once, and rests. Its link is made again meanwhile, and the first
//! turn that begins after the rest is its own again, if the link is there: nobody waits for a voice on probation.

use std::time::Duration;

use super::Call;
use super::action::AgentReport;
use super::event::{Fault, VoiceIndex};
use super::turn::Turn;
use crate::ids::{CallTime, TurnId};

/// Silence that the caller hears at most for a link, or for a place in the account, while another voice could speak.
const HANDOVER: Duration = Duration::from_secs(1);

impl Call {
    /// The voice that speaks what begins now: the first of the chain that can, else the last.
    pub(super) fn voice_now(&self, now: CallTime) -> VoiceIndex {
        let chain = self.settings.chain.clamp(1, self.settings.voices.len().max(1));
        let usable = self.links.iter().take(chain).position(|link| link.is_usable(now));
        usable.unwrap_or(chain - 1)
    }

    /// Whether another voice of the chain speaks when this one cannot.
    pub(super) fn has_successor(&self, voice: VoiceIndex) -> bool {
        self.links.get(voice).is_some_and(super::links::Link::has_successor)
    }

    /// Text that no open context takes goes to the voice that speaks now.
    pub(super) fn choose_voice(&mut self, now: CallTime, index: usize) {
        let chosen = self.voice_now(now);
        let Some(turn) = self.turns.get_mut(index) else { return };
        let is_free = turn.failed.is_none() && !turn.is_clip() && turn.open_context().is_none();
        if is_free && turn.voice != chosen {
            (turn.voice, turn.voice_since) = (chosen, now);
            turn.dialled = false;
            self.change_turn(index, Self::give_up_place);
        }
    }

    /// A voice failed in a turn. If another one can go on with it, it does: whether that is so.
    pub(super) fn fail_over(&mut self, now: CallTime, id: TurnId, fault: &Fault) -> bool {
        let Some(index) = self.turns.iter().position(|turn| turn.id == id && turn.failed.is_none()) else {
            return false;
        };
        let Some(from) = self.turns.get(index).map(|turn| turn.voice) else { return false };
        if !self.fail_voice(now, from, fault) {
            return false;
        }
        let to = self.voice_now(now);
        if let Some(turn) = self.turns.get_mut(index) {
            (turn.voice, turn.voice_since) = (to, now);
            turn.dialled = false;
            turn.tries = 0;
            turn.retry_at = None;
        }
        self.change_turn(index, Self::give_up_place);
        self.stats.failovers += 1;
        let name = |voice: VoiceIndex| self.voice(voice).map(|voice| voice.name.clone()).unwrap_or_default();
        let (from, to) = (name(from), name(to));
        self.report(AgentReport::FailedOver { turn: id, from, to, fault: fault.clone() });
        true
    }

    /// A voice failed: it rests, and the link of the one that speaks in its place is made. Whether there is one.
    pub(super) fn fail_voice(&mut self, now: CallTime, voice: VoiceIndex, fault: &Fault) -> bool {
        let Some(link) = self.links.get_mut(voice).filter(|link| link.has_successor()) else { return false };
        link.fail(now, fault.kind);
        let next = self.voice_now(now);
        self.dial(now, next);
        next != voice
    }

    /// A wait that begins after the caller has heard silence for long enough is none.
    pub(super) fn hand_over_if_due(&mut self, now: CallTime) {
        if self.handover_at().is_some_and(|at| at <= now) {
            self.on_handover(now);
        }
    }

    /// When the turn that is heard is given to another voice, because its own keeps the caller waiting.
    pub(super) fn handover_at(&self) -> Option<CallTime> {
        let turn = self.turns.front()?;
        let since = self.owed_silence?.max(turn.voice_since);
        (self.has_successor(turn.voice) && self.fault_of_wait(0).is_some())
            .then(|| (since + HANDOVER).max(self.patient_until))
    }

    /// The voice of the turn that is heard has kept the caller waiting for too long.
    pub(super) fn on_handover(&mut self, now: CallTime) {
        let fault = self.fault_of_wait(0);
        if let Some((id, fault)) = self.turns.front().map(|turn| turn.id).zip(fault) {
            self.fail_over(now, id, &fault);
            self.give_text(now);
        }
    }

    /// Changes a turn by what needs the rest of the call as well.
    pub(super) fn change_turn(&mut self, index: usize, change: impl FnOnce(&mut Self, &mut Turn)) {
        if let Some(mut turn) = self.turns.remove(index) {
            change(self, &mut turn);
            self.turns.insert(index, turn);
        }
    }
}
