//! A place for a context: on its link, which may carry only so many, and in the account, which may have only so many. And
//! how a place is given back.

use std::time::Duration;

use super::Call;
use super::action::TtsCommand;
use super::contexts::{Context, State};
use super::event::{Fault, FaultKind, VoiceIndex};
use super::links;
use super::settings::{Cancel, Voice};
use super::turn::{Permit, Turn};
use crate::ids::{CallTime, ContextId};

/// How long a vendor may take to say that nothing more comes of a cancelled context, from the last that came of it.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);
/// An open context of a shared account that has been without audio for so long is ended, so that others have its place.
const IDLE: Duration = Duration::from_millis(800);

impl Call {
    /// Whether there is a place for a turn's next context. If it has to be asked for, it is.
    pub(super) fn has_place(&mut self, now: CallTime, index: usize) -> bool {
        let has_place = self.has_place_on_link(index) && self.has_permit(now, index);
        if let Some(turn) = self.turns.get_mut(index) {
            turn.lacks_place = !has_place;
        }
        has_place
    }

    /// A turn may not take the last place while one before it may still need one.
    fn has_place_on_link(&self, index: usize) -> bool {
        let Some(turn) = self.turns.get(index) else { return false };
        let Some(limit) = self.voice(turn.voice).and_then(|voice| voice.contexts) else { return true };
        let live = self.live_on(turn.voice).count();
        let leaving = self.links.get(turn.voice).map_or(0, |link| link.leaving.len());
        let spared = usize::from(self.turns.iter().take(index).any(|before| !before.is_made()));
        live + leaving + spared < limit as usize
    }

    fn has_permit(&mut self, now: CallTime, index: usize) -> bool {
        let within = self.silent_in(now, index);
        let ahead = index > 0;
        let Some(turn) = self.turns.get_mut(index) else { return false };
        let voice = turn.voice;
        if !self.settings.voices.get(voice).is_some_and(|voice| voice.shared_out) {
            return true;
        }
        let context = match &mut turn.permit {
            Some(permit) if permit.granted => return true,
            Some(permit) if permit.ahead == ahead => return false,
            Some(permit) => {
                permit.ahead = ahead;
                permit.context
            }
            None => {
                let context = turn.next_context();
                turn.permit = Some(Permit { context, voice, ahead, granted: false });
                context
            }
        };
        self.tell_voice(TtsCommand::Reserve { voice, context, within, ahead });
        false
    }

    /// How long the caller still hears something before the next context of a turn is needed.
    fn silent_in(&self, now: CallTime, index: usize) -> Duration {
        let Some(line) = &self.line else { return Duration::ZERO };
        let held = line.pacing.dry_at().map_or(Duration::ZERO, |dry| dry.since(now));
        let queued = self.turns.iter().take(index + 1).map(|turn| line.playout.queued(turn.id));
        held + queued.sum::<Duration>()
    }

    /// One of the account's contexts is free for the context that asked for it.
    pub(super) fn on_granted(&mut self, id: ContextId) {
        if let Some(permit) = self.turn_mut(id.turn).and_then(|turn| turn.permit.as_mut())
            && permit.context == id
        {
            permit.granted = true;
        }
    }

    /// A turn needs no place any more.
    pub(super) fn give_up_place(&mut self, turn: &mut Turn) {
        turn.lacks_place = false;
        if let Some(Permit { voice, context, .. }) = turn.permit.take() {
            self.tell_voice(TtsCommand::Cancel { voice, context });
        }
    }

    /// A link has ended, and with it every place that was asked for on it.
    pub(super) fn forget_places(&mut self, voice: VoiceIndex) {
        for turn in &mut self.turns {
            turn.permit.take_if(|permit| permit.voice == voice);
        }
    }

    /// Wants no more speech of a context.
    pub(super) fn cancel(&mut self, now: CallTime, voice: VoiceIndex, context: ContextId) {
        match self.voice(voice).map(|voice| voice.cancel) {
            Some(Cancel::Reconnect) => drop(self.renewals.insert(voice)),
            Some(Cancel::Awaited) => {
                self.tell_voice(TtsCommand::Cancel { voice, context });
                // A link that is gone holds nothing.
                if let Some(link) = self.links.get_mut(voice).filter(|link| *link.state() == links::State::Up) {
                    link.leaving.push((context, now));
                }
            }
            Some(Cancel::Message) | None => self.tell_voice(TtsCommand::Cancel { voice, context }),
        }
    }

    /// Takes a context as spoken to its end without its vendor's word for it: who counts contexts is told.
    pub(super) fn complete_untold(&mut self, now: CallTime, id: ContextId) {
        let Some(voice) = self.live_context(id).map(|context| context.voice) else { return };
        let is_counted = |voice: &Voice| voice.shared_out || voice.cancel == Cancel::Awaited;
        if self.voice(voice).is_some_and(is_counted) {
            self.cancel(now, voice, id);
        }
        self.complete(now, id);
    }

    /// When a vendor has taken too long to let go of a cancelled context.
    pub(super) fn leaves_at(link: &links::Link) -> Option<CallTime> {
        link.leaving.iter().map(|(_, since)| *since + LEAVE_LIMIT).min()
    }

    /// Makes the links anew of which that is wanted: what lives on them is begun again where its audio ends.
    pub(super) fn renew_links(&mut self, now: CallTime) {
        while let Some(voice) = self.renewals.pop_first() {
            let live: Vec<ContextId> = self.live_on(voice).map(|context| context.id).collect();
            for id in live {
                self.begin_again(now, id);
            }
            self.forget_places(voice);
            if let Some(link) = self.links.get_mut(voice).filter(|link| *link.state() == links::State::Up) {
                link.renew();
                self.tell_voice(TtsCommand::HangUp { voice });
                self.tell_voice(TtsCommand::Dial { voice });
            }
        }
    }

    /// When an open context of a shared account is ended so that others have its place.
    pub(super) fn idle_at(&self, context: &Context) -> Option<CallTime> {
        let voice = self.voice(context.voice).filter(|voice| voice.shared_out)?;
        let is_idle = context.state == State::Open && context.owed_since().is_none();
        context.last_sign().filter(|_| is_idle).map(|last| last + voice.context_idle.unwrap_or(IDLE))
    }

    /// An open context has been idle for too long.
    pub(super) fn on_idle_context(&mut self, now: CallTime, id: ContextId) {
        if let Some(index) = self.turns.iter().position(|turn| turn.id == id.turn) {
            self.finish_context(now, index);
        }
    }

    /// The contexts that live on a voice's link.
    pub(super) fn live_on(&self, voice: VoiceIndex) -> impl Iterator<Item = &Context> {
        let contexts = self.turns.iter().flat_map(|turn| &turn.contexts);
        contexts.filter(move |context| context.voice == voice && context.state != State::Done)
    }

    pub(super) fn voice(&self, voice: VoiceIndex) -> Option<&Voice> {
        self.settings.voices.get(voice)
    }

    /// Why a turn goes to another voice that has waited for its own in vain.
    pub(super) fn fault_of_wait(&self, index: usize) -> Option<Fault> {
        let turn = self.turns.get(index).filter(|turn| turn.is_waiting() && !self.waits_for_phrase(turn))?;
        let is_up = self.links.get(turn.voice).is_some_and(|link| *link.state() == links::State::Up);
        let reason = match (is_up, turn.lacks_place) {
            (false, _) => "its link was not there in time",
            (true, true) => "no context was free in time",
            (true, false) => return None,
        };
        Some(Fault { kind: FaultKind::Busy, reason: reason.to_owned() })
    }
}
