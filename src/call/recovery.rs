//! What happens when a voice fails: try again, go on elsewhere, or apologise.

use std::sync::Arc;

use super::Call;
use super::action::{AgentReport, TtsCommand};
use super::contexts::{Context, State};
use super::event::{Delivery, Fault, FaultKind, VoiceIndex};
use super::links::{self, Need};
use super::text::Piece;
use crate::ids::{CallTime, ContextId, TurnId};

/// What is left of a context that broke off, and of those behind it.
struct Broken {
    text: Piece,
    delivery: Arc<Delivery>,
    behind: Vec<(Piece, Arc<Delivery>)>,
    made_progress: bool,
}

impl Call {
    pub(super) fn on_failed(&mut self, now: CallTime, named: Option<ContextId>, fault: Fault) {
        if let Some(id) = named {
            self.on_left(id);
        }
        let Some(id) = named.or_else(|| self.likely_context()) else {
            self.stats.garbage += 1;
            return;
        };
        if self.is_clip(id) {
            self.fail_clip(now, id, fault);
            return;
        }
        let Some(context) = self.live_context(id) else { return };
        let voice = context.voice;
        if context.is_spoken() {
            // A vendor may refuse the end of a context that it has already forgotten: everything was spoken.
            self.complete(now, id);
        } else if named.is_none() {
            // Another one may be meant, so that it is only tried again, even if trying again could not help.
            self.cancel(now, voice, id);
            self.recover(now, id, fault);
        } else if fault.kind == FaultKind::Fatal && !context.has_audio() && !self.has_successor(voice) {
            self.give_up(now, id.turn, fault);
        } else {
            // What has spoken before is not wrong in itself: its vendor has lost or ended it.
            self.recover(now, id, fault);
        }
    }

    /// The context that an error without a name most likely means: the newest one that waits for its first audio, or the
    /// only one there is.
    fn likely_context(&self) -> Option<ContextId> {
        // Voices of this process name what they speak of.
        let is_meant = |context: &&Context| context.state != State::Done && context.voice < self.player();
        let live = || self.turns.iter().flat_map(|turn| &turn.contexts).filter(is_meant);
        let silent = live().rfind(|context| !context.has_audio());
        silent.or_else(|| live().next().filter(|_| live().count() == 1)).map(|context| context.id)
    }

    pub(super) fn on_stalled(&mut self, now: CallTime, id: ContextId) {
        let Some(context) = self.live_context(id) else { return };
        let (voice, owed) = (context.voice, context.owed_since());
        let fault = Fault { kind: FaultKind::Retryable, reason: "the voice fell silent".to_owned() };
        let heard_since = |link: &links::Link| owed.is_some_and(|owed| link.last_heard > owed);
        if self.links.get(voice).is_some_and(heard_since) || self.is_phrase(id) {
            self.cancel(now, voice, id);
            self.recover(now, id, fault);
            return;
        }
        // Nothing at all came on the link: it may be half dead, which nothing but a new one would show.
        self.tell_voice(TtsCommand::HangUp { voice });
        self.forget_places(voice);
        self.recover_all(now, voice, &fault);
        match self.links.get_mut(voice).map(|link| link.redial(now)) {
            Some(Need::Dial) => self.tell_voice(TtsCommand::Dial { voice }),
            Some(Need::Nothing) | None => {}
        }
    }

    pub(super) fn on_link_up(&mut self, now: CallTime, voice: VoiceIndex) {
        if self.links.get_mut(voice).is_some_and(|link| link.on_up(now)) {
            self.stats.reconnects += 1;
        }
    }

    pub(super) fn on_link_down(&mut self, now: CallTime, voice: VoiceIndex, fault: &Fault) {
        let Some(link) = self.links.get_mut(voice) else { return };
        let is_refused = *link.state() == links::State::Dialling;
        match link.on_down(now, fault) {
            Need::Dial => self.tell_voice(TtsCommand::Dial { voice }),
            Need::Nothing => {}
        }
        if is_refused || fault.kind == FaultKind::Fatal {
            self.fail_voice(now, voice, fault);
        }
        self.forget_places(voice);
        self.recover_all(now, voice, fault);
        // Turns that wait for this link end with it, or wait for its next try.
        self.give_text(now);
    }

    fn recover_all(&mut self, now: CallTime, voice: VoiceIndex, fault: &Fault) {
        let live: Vec<ContextId> = self.live_on(voice).map(|context| context.id).collect();
        for id in live {
            self.recover(now, id, fault.clone());
        }
    }

    /// A context broke off: what was received is played, and its text goes on where the audio ended, in a fresh context.
    pub(super) fn recover(&mut self, now: CallTime, id: ContextId, fault: Fault) {
        if self.is_phrase(id) {
            self.miss_phrase(now, id);
            return;
        }
        let (limits, seed) = (self.settings.limits, self.settings.seed ^ u64::from(id.serial));
        if !self.begin_again(now, id) || self.fail_over(now, id.turn, &fault) {
            return;
        }
        let Some(turn) = self.turn_mut(id.turn) else { return };
        turn.tries += 1;
        let wait = links::back_off(&limits, seed).nth(turn.tries as usize - 1);
        turn.retry_at = wait.map(|wait| now + wait);
        self.stats.retries += 1;
        if wait.is_none() {
            self.give_up(now, id.turn, fault);
        }
    }

    /// Ends a context where its audio ends, and puts its rest back to what waits. Whether any waits.
    pub(super) fn begin_again(&mut self, now: CallTime, id: ContextId) -> bool {
        let Some(rest) = self.break_off(now, id) else { return false };
        let Some(turn) = self.turn_mut(id.turn) else { return false };
        turn.push_back_all(rest.text, rest.delivery, rest.behind);
        if rest.made_progress {
            turn.tries = 0;
        }
        turn.is_waiting()
    }

    /// Nothing more comes of a context that was cancelled.
    pub(super) fn on_left(&mut self, id: ContextId) {
        for link in &mut self.links {
            link.leave(id);
        }
    }

    /// Ends a context where its audio ends, and drops those behind it: they wait their turn again, and nothing of them can
    /// have been sent.
    fn break_off(&mut self, now: CallTime, id: ContextId) -> Option<Broken> {
        let turn = self.turns.iter_mut().find(|turn| turn.id == id.turn)?;
        let at = turn.contexts.iter().position(|context| context.id == id && context.state != State::Done)?;
        let later = turn.contexts.split_off(at + 1);
        let context = turn.contexts.last_mut()?;
        let rest = context.break_off();
        if let Some(line) = &mut self.line {
            line.playout.push(now, id, rest.audio);
            context.on_dropped(line.playout.truncate(id, rest.keep));
            line.playout.complete(id);
        }
        let delivery = context.delivery.clone();
        self.converters.extend(rest.converter);
        let mut behind = Vec::new();
        for mut context in later {
            self.drop_context(now, &context);
            behind.push((context.transcript().text().clone(), context.delivery.clone()));
            self.converters.extend(context.abandon());
        }
        Some(Broken { text: rest.text, delivery, behind, made_progress: rest.made_progress })
    }

    /// A turn cannot be spoken: what was received is played, then the fallback line takes the place of the rest.
    pub(super) fn give_up(&mut self, now: CallTime, id: TurnId, fault: Fault) {
        let fallback = self.settings.voices.len().saturating_sub(1);
        let line = self.settings.fallback_line.clone();
        // One apology is enough when several turns fail together.
        let is_said = self.turns.iter().any(|turn| turn.failed.is_some());
        let Some(turn) = self.turn_mut(id) else { return };
        let broken = turn.contexts.iter().find(|context| context.state != State::Done);
        let broken = broken.map(|context| (context.voice, context.id));
        // Without another voice there is nobody to say the line, and none is left when the line itself fails.
        let line = if is_said || fallback == turn.voice { String::new() } else { line };
        if turn.fail(&line, fallback, fault.clone()) {
            self.stats.speech_failures += 1;
            self.report(AgentReport::SpeechFailed { turn: id, fault });
        }
        if let Some((voice, context)) = broken {
            self.cancel(now, voice, context);
            self.break_off(now, context);
        }
        if let Some(index) = self.turns.iter().position(|turn| turn.id == id) {
            self.change_turn(index, Self::give_up_place);
        }
        self.give_text(now);
    }

    fn drop_context(&mut self, now: CallTime, context: &Context) {
        if let Some(line) = &mut self.line {
            line.playout.drop_line(context.id);
        }
        if context.state != State::Done {
            self.cancel(now, context.voice, context.id);
        }
    }

    /// The caller has been hearing silence for too long.
    pub(super) fn on_silence(&mut self, now: CallTime) {
        self.owed_silence = None;
        if let Some(id) = self.turns.front().map(|turn| turn.id) {
            let reason = "no speech came in time".to_owned();
            self.give_up(now, id, Fault { kind: FaultKind::Retryable, reason });
        }
    }
}
