//! One turn: the agent's text on its way into contexts, and what the caller heard of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::action::{Flow, Heard};
use super::answer::Answer;
use super::contexts::{Author, Context, State};
use super::event::{Delivery, Fault, Say, VoiceIndex};
use super::phrases::Phrase;
use super::settings::{Buffering, Interruptible, Limits, Voice};
use super::text::{self, Piece, Rest, Scribe};
use crate::ids::{CallTime, ContextId, TurnId};

/// Text that no context has been given, spoken in one way.
#[derive(Debug)]
struct Run {
    text: Piece,
    /// How long the text takes to say, roughly. It is asked for at every event, and the text may be long.
    micros: u64,
    delivery: Arc<Delivery>,
    /// The agent wants it spoken without waiting for more.
    flush: bool,
}

impl Run {
    fn new(text: Piece, delivery: Arc<Delivery>) -> Self {
        Run { micros: text::spoken_micros(text.spoken()), text, delivery, flush: false }
    }

    /// Adds what a scribe writes.
    fn append(&mut self, write: impl FnOnce(&mut Piece)) {
        let before = self.text.spoken().len();
        write(&mut self.text);
        self.micros += text::spoken_micros(self.text.spoken().get(before..).unwrap_or_default());
    }

    fn prepend(&mut self, mut text: Piece) {
        self.micros += text::spoken_micros(text.spoken());
        text.append(&self.text);
        self.text = text;
    }

    /// Takes the first `bytes` bytes of what is to be spoken, which end at a character's end.
    fn take(&mut self, bytes: usize) -> Piece {
        let head = self.text.take(bytes);
        self.micros -= text::spoken_micros(head.spoken());
        head
    }
}

/// A place in the account that a turn asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permit {
    /// For which of its contexts.
    pub(super) context: ContextId,
    /// Of which voice's account.
    pub(super) voice: VoiceIndex,
    /// It was asked for while another turn was heard.
    pub(super) ahead: bool,
    /// It is there.
    pub(super) granted: bool,
}

/// The next thing to give to a context.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Text to speak.
    Speak(Piece, Arc<Delivery>),
    /// Text without a sound in it: it belongs to the turn's text, not to the wire.
    Pass(Piece),
    /// Speak what was given.
    Flush,
    /// Nothing; what follows is to be spoken in another way, so look again.
    Next,
}

/// Closes above the high water of unheard speech and opens again below the low one.
#[derive(Debug, Default)]
pub(super) struct Gate {
    is_closed: bool,
}

impl Gate {
    /// Takes the length of unheard speech; whether the gate moved.
    pub(super) fn update(&mut self, unheard: Duration, limits: &Limits) -> bool {
        let limit = if self.is_closed { limits.unheard_low } else { limits.unheard_high };
        std::mem::replace(&mut self.is_closed, unheard > limit) != self.is_closed
    }

    /// Whether text may pass.
    pub(super) fn flow(&self) -> Flow {
        if self.is_closed { Flow::Held } else { Flow::Open }
    }
}

/// One turn, from its first token until it was heard or cut off.
#[derive(Debug)]
pub(super) struct Turn {
    /// Its name.
    pub(super) id: TurnId,
    /// Its place among all turns of the call.
    pub(super) rank: u64,
    /// What may cut it off.
    pub(super) interruptible: Interruptible,
    /// Whether a later turn takes its place.
    pub(super) preemptible: bool,
    /// How it is spoken unless its text says otherwise.
    pub(super) base: Arc<Delivery>,
    /// How long the caller has been waiting for it, if it answers something.
    pub(super) answer: Option<Answer>,
    /// The voice that speaks it.
    pub(super) voice: VoiceIndex,
    /// Since when it is that one.
    pub(super) voice_since: CallTime,
    /// Its contexts, in the order in which they are heard.
    pub(super) contexts: Vec<Context>,
    /// Tries at the same text that failed in a row.
    pub(super) tries: u32,
    /// What waits has been given to a voice before, and is not left to wait for more text again.
    pub(super) retrying: bool,
    /// How much of the text that waits was given before, from the front on.
    again_bytes: usize,
    /// No new try before this.
    pub(super) retry_at: Option<CallTime>,
    /// Why it could not be spoken; the fallback line takes its place.
    pub(super) failed: Option<Fault>,
    /// A frame of it has been sent.
    pub(super) begun: bool,
    /// A series of tries at its voice's link was begun for it.
    pub(super) dialled: bool,
    /// Holds its text back from its voice.
    pub(super) text_gate: Gate,
    /// Holds its agent back.
    pub(super) agent_gate: Gate,
    /// Whether it has asked for a place for its next context.
    pub(super) permit: Option<Permit>,
    /// Text of it waits for a place.
    pub(super) lacks_place: bool,
    /// The voice of which a phrase turned out to be missing: no other one is asked for.
    pub(super) unphrased: Option<VoiceIndex>,
    runs: VecDeque<Run>,
    /// Reads the agent's text. What it holds belongs behind the last run.
    scribe: Scribe,
    /// Text without a sound that came before the first context.
    passed: Piece,
    /// No more text will come.
    closed: bool,
    /// When text came last, or could come again.
    last_text: CallTime,
    serial: u32,
    heard_reported: usize,
}

impl Turn {
    /// A turn without text.
    pub(super) fn new(id: TurnId, rank: u64, interruptible: Interruptible, scribe: Scribe, now: CallTime) -> Self {
        Turn {
            id,
            rank,
            interruptible,
            preemptible: false,
            base: Arc::default(),
            answer: None,
            voice: 0,
            voice_since: now,
            contexts: Vec::new(),
            tries: 0,
            retrying: false,
            again_bytes: 0,
            retry_at: None,
            failed: None,
            begun: false,
            dialled: false,
            text_gate: Gate::default(),
            agent_gate: Gate::default(),
            permit: None,
            lacks_place: false,
            unphrased: None,
            runs: VecDeque::new(),
            scribe,
            passed: Piece::default(),
            closed: false,
            last_text: now,
            serial: 0,
            heard_reported: 0,
        }
    }

    /// Takes more text.
    pub(super) fn push(&mut self, now: CallTime, say: Say) {
        if self.closed {
            return;
        }
        self.last_text = now;
        self.interruptible = say.interruptible.unwrap_or(self.interruptible);
        self.preemptible = say.preemptible.unwrap_or(self.preemptible);
        let delivery = say.delivery.unwrap_or_else(|| self.delivery());
        if !self.runs.back().is_some_and(|run| run.delivery == delivery && !run.flush) {
            self.settle();
            self.scribe.set_language(delivery.language.as_deref());
            self.runs.push_back(Run::new(Piece::default(), delivery));
        }
        if let Some(run) = self.runs.back_mut() {
            run.append(|piece| self.scribe.push(&say.text, piece));
            run.flush |= say.flush;
        }
        if say.last || say.flush {
            self.settle();
        }
        self.closed = say.last;
    }

    /// No text comes that could change the meaning of what came last.
    fn settle(&mut self) {
        if let Some(run) = self.runs.back_mut() {
            run.append(|piece| self.scribe.settle(piece));
        }
    }

    /// Puts text that was given to a context, but not spoken, back to the head of what waits.
    fn push_back(&mut self, text: Piece, delivery: Arc<Delivery>) {
        if text.is_empty() {
            return;
        }
        match self.runs.front_mut() {
            Some(run) if run.delivery == delivery => run.prepend(text),
            _ => self.runs.push_front(Run::new(text, delivery)),
        }
    }

    /// Puts the rest of a context that broke off, and the text of those behind it, back to the head of what waits.
    pub(super) fn push_back_all(&mut self, rest: Piece, delivery: Arc<Delivery>, behind: Vec<(Piece, Arc<Delivery>)>) {
        let before = self.waiting_bytes();
        let passed = std::mem::take(&mut self.passed);
        let last = behind.last().map_or(&delivery, |(_, delivery)| delivery).clone();
        self.push_back(passed, last);
        for (text, delivery) in behind.into_iter().rev() {
            self.push_back(text, delivery);
        }
        self.push_back(rest, delivery);
        self.retrying = self.is_waiting();
        self.again_bytes = self.waiting_bytes() - before;
    }

    /// Spoken text that no context was given.
    fn waiting_bytes(&self) -> usize {
        self.runs.iter().map(|run| run.text.spoken().len()).sum()
    }

    /// It cannot be spoken: replaces all that waits by our own line, spoken by `voice`. Whether that is news.
    pub(super) fn fail(&mut self, line: &str, voice: VoiceIndex, fault: Fault) -> bool {
        self.runs.clear();
        self.passed = Piece::default();
        if self.failed.is_none() && text::is_speakable(line) {
            self.runs.push_back(Run::new(Piece::plain(line), Arc::default()));
        }
        self.voice = voice;
        self.closed = true;
        self.retry_at = None;
        self.tries = 0;
        self.dialled = false;
        self.failed.replace(fault).is_none()
    }

    /// No more text will come.
    pub(super) fn close(&mut self) {
        self.settle();
        self.closed = true;
    }

    /// Whether it is played, not spoken.
    pub(super) fn is_clip(&self) -> bool {
        self.contexts.first().is_some_and(|context| context.recorded.is_some())
    }

    /// Whether more text may come.
    pub(super) fn is_open(&self) -> bool {
        !self.closed
    }

    /// When it ends for want of text. A turn that is told to wait is not short of any.
    pub(super) fn starves_at(&self, limits: &Limits) -> Option<CallTime> {
        (self.is_open() && self.agent_gate.flow() == Flow::Open).then(|| self.last_text + limits.open_turn)
    }

    /// Tells the agent to wait or to go on, if that is news. `queued` is the length of its audio that waits to be sent.
    pub(super) fn regulate(&mut self, now: CallTime, queued: Duration, limits: &Limits) -> Option<Flow> {
        let unheard = queued + self.unmade() + self.waiting();
        if !self.agent_gate.update(unheard, limits) {
            return None;
        }
        self.last_text = now;
        Some(self.agent_gate.flow())
    }

    /// Whether text that could be spoken waits for a context.
    pub(super) fn is_waiting(&self) -> bool {
        self.runs.iter().any(|run| text::is_speakable(run.text.spoken()))
    }

    /// How long the text that waits will take to say, roughly.
    pub(super) fn waiting(&self) -> Duration {
        Duration::from_micros(self.runs.iter().map(|run| run.micros).sum())
    }

    /// How much speech the contexts still owe, roughly.
    pub(super) fn unmade(&self) -> Duration {
        Duration::from_micros(self.contexts.iter().map(Context::unmade_us).sum())
    }

    /// Whose words are being spoken now.
    pub(super) fn author(&self) -> Author {
        if self.failed.is_some() { Author::Gateway } else { Author::Agent }
    }

    /// Keeps text that is not worth a sound in its place, so that what was heard stays a prefix of what was written.
    pub(super) fn pass(&mut self, piece: &Piece) {
        match self.open_context() {
            Some(context) => context.pass_text(piece),
            None => self.passed.append(piece),
        }
    }

    /// Adds a context that was just opened.
    pub(super) fn add_context(&mut self, mut context: Context) {
        context.pass_text(&std::mem::take(&mut self.passed));
        self.contexts.push(context);
    }

    /// The next name for a context: the one that a place was asked for, if one was.
    pub(super) fn next_context(&mut self) -> ContextId {
        self.lacks_place = false;
        if let Some(permit) = self.permit.take() {
            return permit.context;
        }
        self.serial += 1;
        ContextId { turn: self.id, serial: self.serial }
    }

    /// Whether the open context can take the text that comes next.
    pub(super) fn fits(&self, now: CallTime, voice: &Voice) -> bool {
        let context = self.contexts.last().filter(|context| context.state == State::Open);
        context.zip(self.runs.front()).is_some_and(|(context, run)| {
            context.voice == self.voice
                && context.delivery == run.delivery
                && !context.is_idle(now, voice.context_idle)
                && !context.is_old(now, voice.context_age)
        })
    }

    /// Whether the next thing to give to a context has a sound.
    pub(super) fn has_sound_to_give(&self, buffering: Buffering, with_context: bool, limits: &Limits) -> bool {
        let length = self.next_length(buffering, with_context, limits);
        let text = self.runs.front().map_or("", |run| run.text.spoken());
        length.is_some_and(|length| text::is_speakable(text.get(..length).unwrap_or_default()))
    }

    /// How much of the text that waits is to be given next, in bytes of what is spoken.
    fn next_length(&self, buffering: Buffering, with_context: bool, limits: &Limits) -> Option<usize> {
        // An agent that waits for us does not complete its sentence, and would wait for ever if its own text held it back.
        let is_stuck = self.agent_gate.flow() == Flow::Held && self.waiting() > limits.unheard_low;
        let is_complete = self.runs.len() > 1 || self.closed || self.retrying || is_stuck;
        let run = self.runs.front()?;
        let text = run.text.spoken();
        let rest = if run.flush || is_complete { Rest::Complete } else { Rest::Open };
        match buffering {
            // A vendor refuses a first text without a letter, so it waits for one.
            Buffering::Vendor { .. } if !with_context && !text::is_speakable(text) && rest == Rest::Open => None,
            // What is removed has no sound to wait for.
            _ if text.is_empty() && !run.text.is_empty() => Some(0),
            Buffering::Vendor { .. } => text::portion(text),
            Buffering::Gateway => {
                let is_first = self.contexts.is_empty();
                let whole = text::sentence(text, is_first, Rest::Open);
                if whole.is_some() || rest == Rest::Open || text.is_empty() {
                    return whole;
                }
                if run.flush || self.closed || self.runs.len() > 1 {
                    return text::sentence(text, is_first, Rest::Complete);
                }
                // Text that is only hurried may end inside a word, whose rest is still to come. Voices put a space between
                // texts, so that it would become two. What was given before ended where it was meant to.
                let is_meant = is_stuck && text::whole_words(text).is_none() || text.len() <= self.again_bytes;
                if is_meant { Some(text.len()) } else { text::whole_words(text) }
            }
        }
    }

    /// The next thing to give to a context; `None` until more text comes. `with_context` says whether the open one
    /// [`fits`](Turn::fits).
    pub(super) fn next_step(&mut self, buffering: Buffering, with_context: bool, limits: &Limits) -> Option<Step> {
        let length = self.next_length(buffering, with_context, limits);
        let is_last = self.runs.len() == 1;
        let is_gathered = matches!(buffering, Buffering::Vendor { .. });
        let closes = self.closes(buffering);
        let run = self.runs.front_mut()?;
        if let Some(length) = length {
            let mut piece = run.take(length);
            self.again_bytes = self.again_bytes.saturating_sub(length);
            // In the middle of a context a vendor takes white space and marks verbatim, and needs them.
            let is_spoken =
                (is_gathered && with_context && !piece.spoken().is_empty()) || text::is_speakable(piece.spoken());
            if is_spoken && closes && run.text.is_empty() {
                piece.close();
            }
            return Some(if is_spoken { Step::Speak(piece, run.delivery.clone()) } else { Step::Pass(piece) });
        }
        if !run.text.is_empty() {
            return None;
        }
        let flush = std::mem::take(&mut run.flush);
        if !is_last || self.closed {
            self.runs.pop_front();
        }
        match (flush && is_gathered, is_last) {
            (true, _) => Some(Step::Flush),
            (false, true) => None,
            (false, false) => Some(Step::Next),
        }
    }

    /// How much of the text that waits is `phrase`, in bytes of what is spoken, if that is what it begins with.
    pub(super) fn phrase_length(&self, phrase: &Phrase, buffering: Buffering) -> Option<usize> {
        let run = self.runs.front().filter(|run| *run.delivery == phrase.delivery)?;
        let is_complete = self.runs.len() > 1 || self.closed || self.retrying || run.flush;
        let rest = if is_complete { Rest::Complete } else { Rest::Open };
        let length = phrase.length_in(run.text.spoken(), rest, self.closes(buffering))?;
        // A word that was replaced is not taken apart.
        (run.text.whole_words(length) == length).then_some(length)
    }

    /// Takes a phrase of `length` bytes from the head of what waits.
    pub(super) fn take_phrase(&mut self, length: usize, buffering: Buffering) -> Option<(Piece, Arc<Delivery>)> {
        let closes = self.closes(buffering);
        let run = self.runs.front_mut()?;
        let mut piece = run.take(length);
        if closes && run.text.is_empty() {
            piece.close();
        }
        Some((piece, run.delivery.clone()))
    }

    /// Whether the text that waits ends the turn, and is closed for a voice that is given text as `buffering` says: one that
    /// collects sentences is told of the end; one that does not has only the text to tell it by.
    fn closes(&self, buffering: Buffering) -> bool {
        buffering == Buffering::Gateway && self.runs.len() == 1 && self.closed && self.scribe.closes()
    }

    /// Whether all text has been given to contexts and none will come.
    pub(super) fn is_said(&self) -> bool {
        self.closed && self.runs.iter().all(|run| run.text.is_empty())
    }

    /// The context that takes text.
    pub(super) fn open_context(&mut self) -> Option<&mut Context> {
        self.contexts.last_mut().filter(|context| context.state == State::Open)
    }

    /// A context by name.
    pub(super) fn context_mut(&mut self, id: ContextId) -> Option<&mut Context> {
        self.contexts.iter_mut().find(|context| context.id == id)
    }

    /// Whether its voice is waiting for more text before it speaks what it has.
    pub(super) fn is_held_by_voice(&self, now: CallTime) -> bool {
        let context = self.contexts.last().filter(|context| context.state == State::Open);
        context.and_then(Context::owed_since).is_some_and(|since| since > now)
    }

    /// Whether all its audio is there.
    pub(super) fn is_made(&self) -> bool {
        self.is_said() && self.contexts.iter().all(|context| context.state == State::Done)
    }

    /// Ledger position at which its audio ends so far.
    pub(super) fn end(&self) -> Option<u64> {
        self.contexts.iter().filter_map(Context::end).max()
    }

    /// What the caller heard of the agent's own text, when everything before the ledger's `position` was heard.
    pub(super) fn heard(&self, position: u64, is_estimate: bool) -> Heard {
        let mut heard = Heard { text: String::with_capacity(self.heard_len(position)), ..Heard::default() };
        for context in self.heard_contexts(position) {
            let part = context.heard(position);
            heard.text.push_str(part.text);
            heard.played += part.played;
            heard.estimated |= part.estimated || (is_estimate && context.was_sent());
        }
        heard
    }

    /// Whether anything of it was heard when everything before the ledger's `position` was.
    pub(super) fn is_heard_of(&self, position: u64) -> bool {
        self.contexts.iter().any(|context| !context.heard(position).played.is_zero())
    }

    /// What was heard, if it is more than was last reported.
    pub(super) fn heard_more(&mut self, position: u64, is_estimate: bool) -> Option<Heard> {
        // Most marks bring no new word: then nothing is put together.
        let length = self.heard_len(position);
        if length <= self.heard_reported {
            return None;
        }
        self.heard_reported = length;
        Some(self.heard(position, is_estimate))
    }

    /// Length of the text that was heard, in bytes.
    fn heard_len(&self, position: u64) -> usize {
        self.heard_contexts(position).map(|context| context.heard(position).text.len()).sum()
    }

    /// The agent's contexts up to the first that was not heard to its end.
    fn heard_contexts(&self, position: u64) -> impl Iterator<Item = &Context> {
        let mut goes_on = true;
        let own = self.contexts.iter().filter(|context| context.author == Author::Agent);
        own.take_while(move |context| std::mem::replace(&mut goes_on, context.is_heard(position)))
    }

    /// How the newest text is spoken.
    fn delivery(&self) -> Arc<Delivery> {
        let newest = self.runs.back().map(|run| &run.delivery);
        newest.or_else(|| self.contexts.last().map(|context| &context.delivery)).unwrap_or(&self.base).clone()
    }
}
