//! The agent's text while no context has been given it: what it is made of, and how much of it goes out next.

use std::sync::Arc;
use std::time::Duration;

use super::{Flow, Turn};
use crate::call::event::{Delivery, Say};
use crate::call::phrases::Phrase;
use crate::call::settings::{Buffering, Limits};
use crate::call::text::{self, Piece, Rest};
use crate::ids::CallTime;

/// Text that no context has been given, spoken in one way.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) text: Piece,
    /// How long the text takes to say, roughly. It is asked for at every event, and the text may be long.
    micros: u64,
    pub(super) delivery: Arc<Delivery>,
    /// The agent wants it spoken without waiting for more.
    flush: bool,
}

impl Run {
    pub(super) fn new(text: Piece, delivery: Arc<Delivery>) -> Self {
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

/// The next thing to give to a context.
#[derive(Debug, PartialEq)]
pub(in crate::call) enum Step {
    /// Text to speak.
    Speak(Piece, Arc<Delivery>),
    /// Text without a sound in it: it belongs to the turn's text, not to the wire.
    Pass(Piece),
    /// Speak what was given.
    Flush,
    /// Nothing; what follows is to be spoken in another way, so look again.
    Next,
}

impl Turn {
    /// Takes more text.
    pub(in crate::call) fn push(&mut self, now: CallTime, say: Say) {
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
    pub(super) fn settle(&mut self) {
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
    pub(in crate::call) fn push_back_all(
        &mut self,
        rest: Piece,
        delivery: Arc<Delivery>,
        behind: Vec<(Piece, Arc<Delivery>)>,
    ) {
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

    /// Whether text that could be spoken waits for a context.
    pub(in crate::call) fn is_waiting(&self) -> bool {
        self.runs.iter().any(|run| text::is_speakable(run.text.spoken()))
    }

    /// How long the text that waits will take to say, roughly.
    pub(in crate::call) fn waiting(&self) -> Duration {
        Duration::from_micros(self.runs.iter().map(|run| run.micros).sum())
    }

    /// Whether the next thing to give to a context has a sound.
    pub(in crate::call) fn has_sound_to_give(&self, buffering: Buffering, with_context: bool, limits: &Limits) -> bool {
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
    pub(in crate::call) fn next_step(
        &mut self,
        buffering: Buffering,
        with_context: bool,
        limits: &Limits,
    ) -> Option<Step> {
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
    pub(in crate::call) fn phrase_length(&self, phrase: &Phrase, buffering: Buffering) -> Option<usize> {
        let run = self.runs.front().filter(|run| *run.delivery == phrase.delivery)?;
        let is_complete = self.runs.len() > 1 || self.closed || self.retrying || run.flush;
        let rest = if is_complete { Rest::Complete } else { Rest::Open };
        let length = phrase.length_in(run.text.spoken(), rest, self.closes(buffering))?;
        // A word that was replaced is not taken apart.
        (run.text.whole_words(length) == length).then_some(length)
    }

    /// Takes a phrase of `length` bytes from the head of what waits.
    pub(in crate::call) fn take_phrase(
        &mut self,
        length: usize,
        buffering: Buffering,
    ) -> Option<(Piece, Arc<Delivery>)> {
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
    pub(in crate::call) fn is_said(&self) -> bool {
        self.closed && self.runs.iter().all(|run| run.text.is_empty())
    }
}
