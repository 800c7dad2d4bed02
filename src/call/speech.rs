//! From text to contexts, from a voice's answers to the playout queue, and what happens when a voice fails.

use std::sync::Arc;

use super::action::{Action, AgentReport, Flow, Place, TtsCommand};
use super::contexts::{Context, Overdue, State};
use super::event::{Delivery, Fault, FaultKind, Say, VoiceIndex};
use super::links::{self, Need};
use super::settings::Voice;
use super::text;
use super::turn::{Step, Turn};
use super::{Call, TURNS_MAX};
use crate::audio::{Converter, SourceFormat};
use crate::ids::{CallTime, ContextId, TurnId};

/// Turns that are synthesised at once: the one that is heard, and the next.
const TURNS_AHEAD: usize = 2;

impl Call {
    pub(super) fn on_say(&mut self, now: CallTime, say: Say) {
        let id = say.turn;
        if self.over.contains(&id) {
            return;
        }
        if self.turn_mut(id).is_none() {
            if self.turns.len() >= TURNS_MAX || self.line.is_none() {
                self.over.push_back(id);
                let cause = super::Cause::Request;
                self.report(AgentReport::Interrupted { turn: id, heard: super::action::Heard::default(), cause });
                return;
            }
            self.turns_seen += 1;
            self.turns.push_back(Turn::new(id, self.turns_seen, self.settings.interruptible, now));
            self.report(AgentReport::TurnStarted { turn: id });
        }
        if let Some(turn) = self.turn_mut(id) {
            turn.push(now, say);
        }
    }

    /// Gives text to contexts as far as links, limits and the audio that is still unheard allow.
    pub(super) fn give_text(&mut self, now: CallTime) {
        for index in 0..self.turns.len().min(TURNS_AHEAD) {
            while self.give_step(now, index) {}
        }
        self.regulate_flow();
    }

    /// Takes one step with the text of a turn; whether there may be another.
    fn give_step(&mut self, now: CallTime, index: usize) -> bool {
        let Some(turn) = self.turns.get_mut(index) else { return false };
        let (id, voice) = (turn.id, turn.voice);
        let Some(buffering) = self.settings.voices.get(voice).map(|voice| voice.buffering) else { return false };
        if turn.retry_at.is_some() {
            return false;
        }
        match self.links.get(voice).map(|link| link.state().clone()) {
            Some(links::State::Up) => {}
            Some(links::State::Dead(fault)) if turn.is_waiting() => {
                self.give_up(now, id, fault);
                return false;
            }
            Some(links::State::Spent(fault)) if turn.is_waiting() && turn.dialled => {
                self.give_up(now, id, fault);
                return false;
            }
            Some(_) => {
                if turn.is_waiting() {
                    turn.dialled = true;
                    self.dial(now, voice);
                }
                return false;
            }
            None => return false,
        }
        if turn.is_waiting() && self.is_ahead(index) {
            return false;
        }
        let Some(turn) = self.turns.get_mut(index) else { return false };
        let with_context = turn.open_context().is_some();
        match turn.next_step(buffering, with_context) {
            Some(Step::Speak(piece, delivery)) => self.speak(now, index, &piece, delivery),
            Some(Step::Pass(piece)) => {
                turn.pass(&piece);
                true
            }
            Some(Step::Flush) => {
                self.flush_context(now, index);
                true
            }
            None => {
                if self.turns.get(index).is_some_and(Turn::is_said) {
                    self.finish_context(now, index);
                } else if self.turns.get(index).is_some_and(|turn| turn.tries > 0) {
                    // What was lost once is not left to wait for more text again.
                    self.flush_context(now, index);
                }
                false
            }
        }
    }

    /// Gives a piece to the turn's open context, or to a fresh one. Whether that could be done.
    fn speak(&mut self, now: CallTime, index: usize, piece: &str, delivery: Arc<Delivery>) -> bool {
        let Some(turn) = self.turns.get_mut(index) else { return false };
        let Some(voice) = self.settings.voices.get(turn.voice) else { return false };
        let (buffering, idle, index_of_voice) = (voice.buffering, voice.context_idle, turn.voice);
        let fits = turn.open_context().is_some_and(|context| {
            context.voice == index_of_voice && context.delivery == delivery && !context.is_idle(now, idle)
        });
        if !fits {
            self.finish_context(now, index);
            if !self.open_context(now, index, delivery) {
                return false;
            }
        }
        let Some(context) = self.turns.get_mut(index).and_then(Turn::open_context) else { return false };
        context.on_text(now, piece, buffering);
        let on = context.place();
        self.tell_voice(TtsCommand::Speak { on, text: piece.to_owned() });
        true
    }

    fn open_context(&mut self, now: CallTime, index: usize, delivery: Arc<Delivery>) -> bool {
        let (Some(turn), Some(line)) = (self.turns.get_mut(index), &mut self.line) else { return false };
        let Some(voice) = self.settings.voices.get(turn.voice) else { return false };
        let format = source_format(voice, line.format.rate);
        let on = Place { voice: turn.voice, context: turn.next_context(), format, delivery };
        let pooled = self.converters.iter().position(|converter| converter.source() == format);
        let converter = match pooled {
            Some(at) => self.converters.swap_remove(at),
            None => match Converter::new(format, line.format) {
                Ok(converter) => converter,
                Err(error) => {
                    let (id, fault) = (turn.id, Fault { kind: FaultKind::Fatal, reason: error.to_string() });
                    self.give_up(now, id, fault);
                    return false;
                }
            },
        };
        line.playout.open((turn.rank, on.context.serial), on.context);
        let context = Context::new(&on, turn.author(), converter, line.format, now);
        turn.add_context(context);
        true
    }

    fn flush_context(&mut self, now: CallTime, index: usize) {
        let Some(context) = self.turns.get_mut(index).and_then(Turn::open_context) else { return };
        if context.owed_since().is_some_and(|since| since > now) || context.owed_since().is_none() {
            context.on_flush(now);
            let on = context.place();
            self.tell_voice(TtsCommand::Flush { on });
        }
    }

    fn finish_context(&mut self, now: CallTime, index: usize) {
        let Some(context) = self.turns.get_mut(index).and_then(Turn::open_context) else { return };
        context.on_finish(now);
        let on = context.place();
        self.tell_voice(TtsCommand::Finish { on });
    }

    pub(super) fn on_audio(&mut self, now: CallTime, id: ContextId, audio: &[u8]) {
        let Some(context) = self.live_context(id) else {
            self.stats.late_chunks += 1;
            return;
        };
        let frames = context.on_audio(now, audio);
        let voice = context.voice;
        if let Some(turn) = self.turn_mut(id.turn) {
            turn.tries = 0;
        }
        if let Some(link) = self.links.get_mut(voice) {
            link.last_heard = now;
            link.on_audio();
        }
        if let Some(line) = &mut self.line {
            line.playout.push(now, id, frames);
        }
    }

    pub(super) fn on_done(&mut self, now: CallTime, id: ContextId) {
        let Some(context) = self.live_context(id) else { return };
        let was_spoken_to = text::is_speakable(context.transcript().text());
        if was_spoken_to && !context.has_audio() {
            let reason = "the voice ended a context without any audio".to_owned();
            self.recover(now, id, Fault { kind: FaultKind::Retryable, reason });
            return;
        }
        let (rest, converter) = context.finish();
        self.converters.extend(converter);
        if let Some(line) = &mut self.line {
            line.playout.push(now, id, rest);
            line.playout.complete(id);
        }
    }

    pub(super) fn on_failed(&mut self, now: CallTime, id: Option<ContextId>, fault: Fault) {
        let Some(id) = id.or_else(|| self.likely_context()) else {
            self.stats.garbage += 1;
            return;
        };
        let Some(context) = self.live_context(id) else { return };
        // A vendor may refuse the end of a context that it has already forgotten: everything was spoken.
        let is_over = context.state == State::Finishing && context.overdue() == Overdue::Over;
        match fault.kind {
            _ if is_over => self.on_done(now, id),
            // What has spoken before is not wrong in itself: its vendor has lost or ended it.
            FaultKind::Fatal if !context.has_audio() => self.give_up(now, id.turn, fault),
            FaultKind::Fatal | FaultKind::Retryable | FaultKind::Busy | FaultKind::Idle => self.recover(now, id, fault),
        }
    }

    /// The context that an error without a name most likely means: the newest one that waits for its first audio, or the
    /// only one there is.
    fn likely_context(&self) -> Option<ContextId> {
        let live = || self.turns.iter().flat_map(|turn| &turn.contexts).filter(|context| context.state != State::Done);
        let silent = live().rfind(|context| !context.has_audio());
        silent.or_else(|| live().next().filter(|_| live().count() == 1)).map(|context| context.id)
    }

    pub(super) fn on_stalled(&mut self, now: CallTime, id: ContextId) {
        let Some(context) = self.live_context(id) else { return };
        let (voice, owed) = (context.voice, context.owed_since());
        let fault = Fault { kind: FaultKind::Retryable, reason: "the voice fell silent".to_owned() };
        let heard_since = |link: &links::Link| owed.is_some_and(|owed| link.last_heard > owed);
        if self.links.get(voice).is_some_and(heard_since) {
            self.tell_voice(TtsCommand::Cancel { voice, context: id });
            self.recover(now, id, fault);
            return;
        }
        // Nothing at all came on the link: it may be half dead, which nothing but a new one would show.
        self.tell_voice(TtsCommand::HangUp { voice });
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
        match link.on_down(now, fault) {
            Need::Dial => self.tell_voice(TtsCommand::Dial { voice }),
            Need::Nothing => {}
        }
        self.recover_all(now, voice, fault);
        // Turns that wait for this link end with it, or wait for its next try.
        self.give_text(now);
    }

    fn recover_all(&mut self, now: CallTime, voice: VoiceIndex, fault: &Fault) {
        let live: Vec<ContextId> = (self.turns.iter().flat_map(|turn| &turn.contexts))
            .filter(|context| context.voice == voice && context.state != State::Done)
            .map(|context| context.id)
            .collect();
        for id in live {
            self.recover(now, id, fault.clone());
        }
    }

    /// A context broke off: what was received is played, and its text goes on where the audio ended, in a fresh context.
    pub(super) fn recover(&mut self, now: CallTime, id: ContextId, fault: Fault) {
        let limits = self.settings.limits;
        let Some(turn) = self.turns.iter_mut().find(|turn| turn.id == id.turn) else { return };
        let Some(at) = turn.contexts.iter().position(|context| context.id == id) else { return };
        let mut left_over = Vec::new();
        let later = turn.contexts.split_off(at + 1);
        for mut context in later {
            // Text behind the gap waits its turn again. Nothing of it can have been sent yet.
            self.drop_context(&context);
            left_over.push((context.transcript().text().to_owned(), context.delivery.clone()));
            self.converters.extend(context.abandon());
        }
        let Some(turn) = self.turns.iter_mut().find(|turn| turn.id == id.turn) else { return };
        let Some(context) = turn.contexts.last_mut().filter(|context| context.state != State::Done) else { return };
        let resume = context.resume();
        let skipped = context.transcript().text().get(resume.spoken..resume.at).unwrap_or_default().to_owned();
        let (rest, queued_keep) = context.break_off(resume);
        let delivery = context.delivery.clone();
        self.converters.extend(context.abandon());
        if let Some(line) = &mut self.line {
            context.on_dropped(line.playout.truncate(id, queued_keep));
            line.playout.complete(id);
        }
        turn.push_back_all(now, rest, delivery, left_over);
        turn.tries += 1;
        let tries = turn.tries;
        self.stats.retries += 1;
        if text::is_speakable(&skipped) {
            self.report(AgentReport::Skipped { turn: id.turn, text: skipped });
        }
        let wait = links::back_off(&limits, self.settings.seed ^ u64::from(id.serial)).nth(tries as usize - 1);
        match (wait, self.turn_mut(id.turn)) {
            (Some(wait), Some(turn)) if turn.is_waiting() => turn.retry_at = Some(now + wait),
            (None, _) => self.give_up(now, id.turn, fault),
            (Some(_), _) => {}
        }
    }

    /// A turn cannot be spoken: what was received is played, then the fallback line takes the place of the rest.
    pub(super) fn give_up(&mut self, now: CallTime, id: TurnId, fault: Fault) {
        let fallback = self.settings.voices.len().saturating_sub(1);
        let line = self.settings.fallback_line.clone();
        // One apology is enough when several turns fail together.
        let is_said = self.turns.iter().any(|turn| turn.failed.is_some());
        let Some(turn) = self.turns.iter_mut().find(|turn| turn.id == id) else { return };
        // Without another voice there is nobody to say the line, and none is left when the line itself fails.
        let line = if is_said || fallback == turn.voice { String::new() } else { line };
        if turn.fail(now, &line, fallback, fault.clone()) {
            self.stats.speech_failures += 1;
            self.report(AgentReport::SpeechFailed { turn: id, fault });
        }
        self.break_off_contexts(id);
        self.give_text(now);
    }

    /// Ends every context of a turn where its sent audio ends.
    fn break_off_contexts(&mut self, id: TurnId) {
        let Some(turn) = self.turns.iter_mut().find(|turn| turn.id == id) else { return };
        let mut cancelled = Vec::new();
        for context in &mut turn.contexts {
            if context.state != State::Done {
                cancelled.push(TtsCommand::Cancel { voice: context.voice, context: context.id });
                self.converters.extend(context.abandon());
            }
            if let Some(line) = &mut self.line {
                line.playout.complete(context.id);
            }
        }
        for command in cancelled {
            self.tell_voice(command);
        }
    }

    fn drop_context(&mut self, context: &Context) {
        if let Some(line) = &mut self.line {
            line.playout.drop_line(context.id);
        }
        if context.state != State::Done {
            self.tell_voice(TtsCommand::Cancel { voice: context.voice, context: context.id });
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

    /// Whether enough speech of a turn is made but unheard that its text has to wait.
    fn is_ahead(&mut self, index: usize) -> bool {
        let (Some(turn), Some(line)) = (self.turns.get_mut(index), &self.line) else { return false };
        let made = line.playout.queued(turn.id) + turn.unmade();
        turn.text_gate.update(made, &self.settings.limits);
        turn.text_gate.flow() == Flow::Held
    }

    /// Holds the agent's text back while enough of a turn is made or waits, but is unheard.
    fn regulate_flow(&mut self) {
        let Some(line) = &self.line else { return };
        for turn in &mut self.turns {
            let unheard = line.playout.queued(turn.id) + turn.unmade() + turn.waiting();
            if turn.agent_gate.update(unheard, &self.settings.limits) {
                let (turn, flow) = (turn.id, turn.agent_gate.flow());
                self.actions.push_back(Action::Agent(AgentReport::Flow { turn, flow }));
            }
        }
    }
}

fn source_format(voice: &Voice, carrier_rate: u32) -> SourceFormat {
    SourceFormat { encoding: voice.encoding, rate: voice.rate.unwrap_or(carrier_rate) }
}
