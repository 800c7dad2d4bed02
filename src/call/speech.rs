//! From text to contexts, and from a voice's answers to the playout queue.

use std::sync::Arc;

use super::action::{Action, AgentReport, Cause, Flow, Heard, Place, TtsCommand};
use super::agent::ANNOUNCEMENTS;
use super::contexts::Context;
use super::event::{Delivery, Fault, FaultKind, Say, TimedWord};
use super::links;
use super::settings::{Buffering, Voice};
use super::text::{Piece, Scribe};
use super::turn::{Step, Turn};
use super::{Call, TURNS_MAX};
use crate::audio::{Converter, SourceFormat};
use crate::ids::{CallTime, ContextId, TurnId};

/// Turns that are synthesised at once: the one that is heard, and the next.
const TURNS_AHEAD: usize = 2;

impl Call {
    pub(super) fn on_say(&mut self, now: CallTime, say: Say) {
        let id = say.turn;
        if self.turn_mut(id).is_some_and(|turn| turn.is_clip()) {
            return;
        }
        if self.open_turn(now, id)
            && let Some(turn) = self.turn_mut(id)
        {
            turn.push(now, say);
        }
    }

    /// Opens a turn behind those that are live, unless it is one of them. `false` if it is over, or refused.
    pub(super) fn open_turn(&mut self, now: CallTime, id: TurnId) -> bool {
        if self.over.contains(id) {
            return false;
        }
        if self.turn_mut(id).is_some() {
            return true;
        }
        if self.turns.len() >= TURNS_MAX || self.line.is_none() || self.closing.is_some() {
            self.over.insert(id);
            let (heard, cause) = (Heard::default(), Cause::Request);
            self.report(AgentReport::Interrupted { turn: id, heard, cause, queued: true });
            return false;
        }
        self.preempt(now);
        self.turns_seen += 1;
        let buffering = self.settings.voices.first().map_or(Buffering::Gateway, |voice| voice.buffering);
        let scribe = Scribe::new(self.settings.text, buffering);
        let mut turn = Turn::new(id, self.turns_seen, self.settings.interruptible, scribe, now);
        turn.voice = self.voice_now(now);
        turn.base = self.delivery.clone();
        turn.answer = self.answer.take_if(|_| id.0 < ANNOUNCEMENTS).map(|answer| answer.begin(now));
        self.turns.push_back(turn);
        self.report(AgentReport::TurnStarted { turn: id });
        true
    }

    /// Gives text to contexts as far as links, limits and the audio that is still unheard allow.
    pub(super) fn give_text(&mut self, now: CallTime) {
        self.give_steps(now);
        if self.regulate_flow(now) {
            // Text that waited for an agent may not wait for one that has to wait itself.
            self.give_steps(now);
        }
    }

    fn give_steps(&mut self, now: CallTime) {
        for index in 0..self.turns.len().min(TURNS_AHEAD) {
            while self.give_step(now, index) {}
        }
    }

    /// Takes one step with the text of a turn; whether there may be another.
    fn give_step(&mut self, now: CallTime, index: usize) -> bool {
        if self.turns.get(index).is_some_and(Turn::is_clip) {
            self.give_clip(now, index);
            return false;
        }
        self.choose_voice(now, index);
        if self.give_phrase(now, index) {
            return false;
        }
        if !self.may_give(now, index) {
            self.hurry_retry(now, index);
            return false;
        }
        let Some(turn) = self.turns.get(index) else { return false };
        let Some(voice) = self.settings.voices.get(turn.voice) else { return false };
        let (fits, buffering) = (turn.fits(now, voice), voice.buffering);
        if !fits && turn.has_sound_to_give(buffering, fits, &self.settings.limits) {
            // What is open cannot take it, and gives its place back.
            self.finish_context(now, index);
            if !self.has_place(now, index) {
                return false;
            }
        }
        let Some(turn) = self.turns.get_mut(index) else { return false };
        match turn.next_step(buffering, fits, &self.settings.limits) {
            Some(Step::Speak(piece, delivery)) => {
                if !fits && !self.open_context(now, index, delivery) {
                    return false;
                }
                self.speak(now, index, piece);
                true
            }
            Some(Step::Pass(piece)) => {
                turn.pass(&piece);
                true
            }
            Some(Step::Flush) => {
                self.flush_context(now, index);
                true
            }
            Some(Step::Next) => true,
            None => {
                if self.turns.get(index).is_some_and(Turn::is_said) {
                    self.finish_context(now, index);
                } else {
                    self.hurry_retry(now, index);
                }
                false
            }
        }
    }

    /// Text that is tried again has waited before: its voice is not left to wait for more, be it the agent's to give or ours.
    fn hurry_retry(&mut self, now: CallTime, index: usize) {
        if self.turns.get(index).is_some_and(|turn| turn.retrying && turn.is_held_by_voice(now)) {
            self.flush_context(now, index);
        }
    }

    /// Whether a turn's text may go to its voice now. Text without a sound in it needs no voice.
    fn may_give(&mut self, now: CallTime, index: usize) -> bool {
        let Some(turn) = self.turns.get_mut(index) else { return false };
        if !turn.is_waiting() {
            return true;
        }
        let (id, voice) = (turn.id, turn.voice);
        if turn.retry_at.is_some() {
            return false;
        }
        match self.links.get(voice).map(|link| link.state().clone()) {
            Some(links::State::Up) => !self.is_ahead(index),
            Some(links::State::Dead(fault)) => {
                self.give_up(now, id, fault);
                false
            }
            Some(links::State::Spent(fault)) if turn.dialled => {
                self.give_up(now, id, fault);
                false
            }
            Some(_) => {
                turn.dialled = true;
                self.dial(now, voice);
                false
            }
            None => false,
        }
    }

    /// Gives a piece to the turn's open context.
    fn speak(&mut self, now: CallTime, index: usize, piece: Piece) {
        let Some(turn) = self.turns.get_mut(index) else { return };
        let Some(voice) = self.settings.voices.get(turn.voice) else { return };
        if let Some(answer) = &mut turn.answer {
            answer.on_text(now);
        }
        let Some(context) = turn.open_context() else { return };
        context.on_text(now, &piece, voice.buffering);
        let on = context.place();
        self.tell_voice(TtsCommand::Speak { on, text: piece.into_spoken() });
    }

    fn open_context(&mut self, now: CallTime, index: usize, delivery: Arc<Delivery>) -> bool {
        let (Some(turn), Some(line)) = (self.turns.get(index), &self.line) else { return false };
        let Some(voice) = self.settings.voices.get(turn.voice) else { return false };
        let format = source_format(voice, line.format.rate);
        self.open_place(now, turn.id, format, |context| context.delivery = delivery)
    }

    /// Opens a context of a turn for audio of `format`, as `shape` wants it.
    pub(super) fn open_place(
        &mut self,
        now: CallTime,
        id: TurnId,
        format: SourceFormat,
        shape: impl FnOnce(&mut Context),
    ) -> bool {
        let (Some(turn), Some(line)) = (self.turns.iter_mut().find(|turn| turn.id == id), &mut self.line) else {
            return false;
        };
        let on = Place { voice: turn.voice, context: turn.next_context(), format, delivery: Arc::default() };
        let pooled = self.converters.iter().position(|converter| converter.source() == format);
        let converter = match pooled {
            Some(at) => self.converters.swap_remove(at),
            None => match Converter::new(format, line.format) {
                Ok(converter) => converter,
                Err(error) => {
                    let fault = Fault { kind: FaultKind::Fatal, reason: error.to_string() };
                    self.give_up(now, id, fault);
                    return false;
                }
            },
        };
        line.playout.open((turn.rank, on.context.serial), on.context);
        let mut context = Context::new(&on, turn.author(), converter, line.format, now);
        shape(&mut context);
        turn.add_context(context);
        true
    }

    fn flush_context(&mut self, now: CallTime, index: usize) {
        let Some(context) = self.turns.get_mut(index).and_then(Turn::open_context) else { return };
        context.on_flush(now);
        let on = context.place();
        self.tell_voice(TtsCommand::Flush { on });
    }

    pub(super) fn finish_context(&mut self, now: CallTime, index: usize) {
        let Some(turn) = self.turns.get_mut(index) else { return };
        let idle = self.settings.voices.get(turn.voice).and_then(|voice| voice.context_idle);
        let Some(context) = turn.open_context() else { return };
        if context.is_idle(now, idle) && context.is_all_spoken() {
            // Everything was spoken, and its vendor may have forgotten it: it would only answer with an error.
            let id = context.id;
            self.complete_untold(now, id);
            return;
        }
        context.on_finish(now);
        let on = context.place();
        self.tell_voice(TtsCommand::Finish { on });
    }

    pub(super) fn on_audio(&mut self, now: CallTime, id: ContextId, audio: &[u8]) {
        let Some(context) = self.live_context(id) else {
            self.stats.late_chunks += 1;
            self.links.iter_mut().for_each(|link| link.still_leaves(now, id));
            return;
        };
        let frames = context.on_audio(now, audio);
        let voice = context.voice;
        if let Some(turn) = self.turn_mut(id.turn) {
            turn.retrying = false;
            if let Some(answer) = &mut turn.answer {
                answer.on_audio(now);
            }
        }
        if let Some(link) = self.links.get_mut(voice) {
            link.last_heard = now;
            link.on_audio();
        }
        if let Some(line) = &mut self.line {
            line.playout.push(now, id, frames);
        }
    }

    pub(super) fn on_timed_words(&mut self, now: CallTime, id: ContextId, words: &[TimedWord]) {
        match self.live_context(id) {
            Some(context) => context.push_words(now, words),
            None => self.stats.late_chunks += 1,
        }
        self.heard_on(now, id);
    }

    /// The audio of a context so far ends where its text number `texts` ends.
    pub(super) fn on_spoken(&mut self, now: CallTime, id: ContextId, texts: usize) {
        if let Some(context) = self.live_context(id) {
            context.on_spoken(now, texts);
        }
        self.heard_on(now, id);
    }

    pub(super) fn on_done(&mut self, now: CallTime, id: ContextId) {
        self.on_left(id);
        let Some(context) = self.live_context(id) else { return };
        if context.ends_early() {
            let reason = "the voice ended a context too early".to_owned();
            self.recover(now, id, Fault { kind: FaultKind::Retryable, reason });
        } else {
            let voice = context.voice;
            if let Some(link) = self.links.get_mut(voice) {
                link.succeed();
            }
            self.complete(now, id);
        }
    }

    /// All audio of a context came.
    pub(super) fn complete(&mut self, now: CallTime, id: ContextId) {
        let Some(turn) = self.turn_mut(id.turn) else { return };
        turn.tries = 0;
        let Some(context) = turn.context_mut(id) else { return };
        let (rest, converter) = context.finish();
        self.converters.extend(converter);
        if let Some(line) = &mut self.line {
            line.playout.push(now, id, rest);
            line.playout.complete(id);
        }
    }

    /// Whether enough speech of a turn is made but unheard that its text has to wait.
    pub(super) fn is_ahead(&mut self, index: usize) -> bool {
        let (Some(turn), Some(line)) = (self.turns.get_mut(index), &self.line) else { return false };
        let made = line.playout.queued(turn.id) + turn.unmade();
        turn.text_gate.update(made, &self.settings.limits);
        turn.text_gate.flow() == Flow::Held
    }

    /// Holds the agent's text back while enough of a turn is made or waits, but is unheard. Whether an agent was told.
    fn regulate_flow(&mut self, now: CallTime) -> bool {
        let Some(line) = &self.line else { return false };
        let mut is_told = false;
        for turn in &mut self.turns {
            let queued = line.playout.queued(turn.id);
            if let Some(flow) = turn.regulate(now, queued, &self.settings.limits) {
                self.actions.push_back(Action::Agent(AgentReport::Flow { turn: turn.id, flow }));
                is_told = true;
            }
        }
        is_told
    }
}

/// What a voice has to send, when the carrier has so many samples a second.
pub(super) fn source_format(voice: &Voice, carrier_rate: u32) -> SourceFormat {
    SourceFormat { encoding: voice.encoding, rate: voice.rate.unwrap_or(carrier_rate) }
}
