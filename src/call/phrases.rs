//! Phrases: texts that are said in call after call, and may have been spoken before they are needed.
//!
//! Behind the player stands, for each voice, a voice of this process that speaks what was made already and nothing else.
//! When the text at the head of a turn begins with a phrase, the core gives the whole of it to that voice, which answers at
//! once: with the speech, or that it is not there. Then the turn's own voice is given the same text as if nothing had been.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Call;
use super::action::TtsCommand;
use super::contexts::State;
use super::event::{Delivery, VoiceIndex};
use super::settings::{self, Buffering};
use super::speech::source_format;
use super::text::{self, Piece, Rest, Scribe};
use super::turn::Turn;
use crate::ids::{CallTime, ContextId};

/// Longest phrase, in characters: a good minute of speech. What is longer is rarely said twice.
pub const PHRASE_CHARS_MAX: usize = 1_000;

/// Longest wait for speech that is there or not. Only a process that can hardly do anything at all is slower.
const PATIENCE: Duration = Duration::from_millis(250);

/// A text that may have been spoken before it is needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phrase {
    /// The voice that speaks it: nobody else's turns are spoken so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub voice: VoiceIndex,
    /// What that voice is given, without white space around it.
    pub text: String,
    /// How it sounds; a turn that is to sound otherwise is not spoken so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delivery: Delivery,
}

impl Phrase {
    /// What a voice is given that is to say an agent's `line` as a turn of its own. `rules` and `buffering` are those of the
    /// call. `None` if there is nothing to hear in it, or if it is longer than [`PHRASE_CHARS_MAX`].
    pub fn of_line(
        line: &str,
        rules: settings::Text,
        buffering: Buffering,
        voice: VoiceIndex,
        delivery: Delivery,
    ) -> Option<Self> {
        let mut scribe = Scribe::new(rules, buffering);
        scribe.set_language(delivery.language.as_deref());
        let mut piece = Piece::default();
        scribe.push(line, &mut piece);
        scribe.settle(&mut piece);
        Phrase::of_piece(piece, rules, buffering, voice, delivery)
    }

    /// The same of a line of ours that no rule is applied to: the apology when nobody can speak.
    pub fn of_plain_line(line: &str, rules: settings::Text, buffering: Buffering, voice: VoiceIndex) -> Option<Self> {
        Phrase::of_piece(Piece::plain(line), rules, buffering, voice, Delivery::default())
    }

    fn of_piece(
        mut piece: Piece,
        rules: settings::Text,
        buffering: Buffering,
        voice: VoiceIndex,
        delivery: Delivery,
    ) -> Option<Self> {
        if buffering == Buffering::Gateway && rules.closing {
            piece.close();
        }
        let text = piece.spoken().trim();
        let is_sound = text::is_speakable(text) && text.chars().count() <= PHRASE_CHARS_MAX;
        is_sound.then(|| Phrase { voice, text: text.to_owned(), delivery })
    }

    /// Its sentences, as a voice is given them one by one, white space behind them included. What has no sound is none.
    pub fn sentences(&self) -> impl Iterator<Item = &str> {
        let mut rest = self.text.as_str();
        let sentences = std::iter::from_fn(move || {
            let length = text::sentence(rest, false, Rest::Complete)?;
            let (sentence, tail) = rest.split_at_checked(length)?;
            rest = tail;
            Some(sentence)
        });
        sentences.filter(|sentence| text::is_speakable(sentence))
    }

    /// How much of `text` it is, white space included, if `text` begins with the whole of it and its last sentence ends
    /// there. `closes` says that the end of the text is closed with a full stop.
    pub(super) fn length_in(&self, text: &str, rest: Rest, closes: bool) -> Option<usize> {
        let body = text.trim_start();
        let Some(behind) = body.strip_prefix(self.text.as_str()) else {
            return (closes && self.is_closed_form_of(body.trim_end())).then_some(text.len());
        };
        if behind.trim_start().is_empty() {
            return (rest == Rest::Complete).then_some(text.len());
        }
        let end = text.len() - behind.len();
        let mut next = 0;
        while next < end {
            next += text.get(next..).and_then(|rest| text::sentence(rest, false, Rest::Complete))?;
        }
        let is_between = text.get(end..next).is_some_and(|gap| gap.trim().is_empty());
        (is_between && self.ends_a_sentence()).then_some(next)
    }

    fn is_closed_form_of(&self, text: &str) -> bool {
        self.text.strip_suffix('.') == Some(text) && {
            let mut piece = Piece::plain(text);
            piece.close();
            piece.spoken() == self.text
        }
    }

    /// Very long text is cut between words, where a phrase would sound as if it were over.
    fn ends_a_sentence(&self) -> bool {
        let text = self.text.trim_end_matches(['"', '\'', ')', ']', '}', '”', '’', '»']);
        text.ends_with(['.', '!', '?', '…', '。', '！', '？'])
    }
}

impl Call {
    /// The first of the voices that speak what was made before; one stands there for each voice, in their order.
    fn phrases_from(&self) -> VoiceIndex {
        self.player() + 1
    }

    /// Has the head of a turn's text spoken from what was made before, if it is a phrase. Whether the rest of the text has
    /// to wait: until the phrase has come, or is known to be missing, nothing follows it.
    pub(super) fn give_phrase(&mut self, now: CallTime, index: usize) -> bool {
        let Some(turn) = self.turns.get(index).filter(|_| !self.settings.phrases.is_empty()) else { return false };
        if self.waits_for_phrase(turn) {
            return true;
        }
        let is_free = turn.retry_at.is_none() && turn.unphrased != Some(turn.voice);
        let is_open = turn.contexts.last().is_some_and(|last| last.state == State::Open);
        let Some(length) = self.phrase_length(turn).filter(|_| is_free && !is_open) else { return false };
        if self.is_ahead(index) {
            return false;
        }
        // The place that it may have asked for was to be for other words.
        self.change_turn(index, Self::give_up_place);
        self.speak_phrase(now, index, length)
    }

    /// How much of the text that waits in a turn is a phrase of its voice: the longest that fits.
    fn phrase_length(&self, turn: &Turn) -> Option<usize> {
        let buffering = self.voice(turn.voice)?.buffering;
        let own = self.settings.phrases.iter().filter(|phrase| phrase.voice == turn.voice);
        own.filter_map(|phrase| turn.phrase_length(phrase, buffering)).max()
    }

    fn speak_phrase(&mut self, now: CallTime, index: usize, length: usize) -> bool {
        let from = self.phrases_from();
        let (Some(turn), Some(line)) = (self.turns.get_mut(index), &self.line) else { return false };
        let Some(own) = self.settings.voices.get(turn.voice) else { return false };
        let (id, voice, format) = (turn.id, from + turn.voice, source_format(own, line.format.rate));
        let Some((mut phrase, delivery)) = turn.take_phrase(length, own.buffering) else { return false };
        if let Some(answer) = &mut turn.answer {
            answer.on_text(now);
        }
        let is_open = self.open_place(now, id, format, |context| {
            (context.voice, context.delivery, context.patience) = (voice, delivery, Some(PATIENCE));
        });
        if !is_open {
            return false;
        }
        while let Some(length) = text::sentence(phrase.spoken(), false, Rest::Complete) {
            let sentence = phrase.take(length);
            let Some(context) = self.turns.get_mut(index).and_then(Turn::open_context) else { return false };
            context.on_text(now, &sentence, Buffering::Gateway);
            let on = context.place();
            self.tell_voice(TtsCommand::Speak { on, text: sentence.into_spoken() });
        }
        self.finish_context(now, index);
        true
    }

    /// Whether a turn's text waits for a phrase before it, and for no voice.
    pub(super) fn waits_for_phrase(&self, turn: &Turn) -> bool {
        let from = self.phrases_from();
        turn.contexts.last().is_some_and(|last| last.state != State::Done && last.voice >= from)
    }

    /// Whether a context is one that speaks what was made before.
    pub(super) fn is_phrase(&mut self, id: ContextId) -> bool {
        let from = self.phrases_from();
        self.live_context(id).is_some_and(|context| context.voice >= from)
    }

    /// A phrase is not there, or broke off: its turn's own voice says the rest. Nobody has failed, and nobody is told.
    pub(super) fn miss_phrase(&mut self, now: CallTime, id: ContextId) {
        let from = self.phrases_from();
        let was_retrying = self.turn_mut(id.turn).is_some_and(|turn| turn.retrying);
        let voice = self.live_context(id).map(|context| context.voice - from);
        self.begin_again(now, id);
        if let Some(turn) = self.turn_mut(id.turn) {
            turn.unphrased = voice;
            turn.retrying = was_retrying;
            // What follows is spoken as the beginning of the turn, if it is that.
            turn.contexts.retain(|context| context.id != id || context.has_audio());
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
