//! One synthesis context: what it was given, what came back, how much of it was sent and heard.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::action::Place;
use super::event::{Clip, Delivery, VoiceIndex};
use super::heard::Transcript;
use super::settings::{Buffering, Limits};
use super::text::{self, Piece};
use crate::audio::{Converter, MediaFormat, SourceFormat};
use crate::ids::{CallTime, ContextId};

/// What a context accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Text and audio.
    Open,
    /// Audio; no more text.
    Finishing,
    /// Nothing: all its audio came, or was broken off.
    Done,
}

/// Whose words a context speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    /// The agent's.
    Agent,
    /// Our own, when speech failed.
    Gateway,
}

/// Where a context stands when its vendor has been silent for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// All its speech came; only the vendor's word for it is missing.
    Over,
    /// Speech is missing.
    Stalled,
}

/// What a context plays, if it does not speak.
#[derive(Debug)]
pub(super) struct Recorded {
    /// What.
    pub(super) clip: Clip,
    /// How often.
    pub(super) times: u32,
    /// How much of it was asked for.
    pub(super) asked: Duration,
    /// When it was last asked for.
    pub(super) asked_at: CallTime,
}

/// What is left of a context that broke off.
#[derive(Debug)]
pub(super) struct Rest {
    /// Text that was not spoken and has to be.
    pub(super) text: Piece,
    /// Some of its text was spoken.
    pub(super) made_progress: bool,
    /// Its last frames.
    pub(super) audio: Bytes,
    /// How many samples of what is queued, last frames included, are worth playing.
    pub(super) keep: u64,
    /// The converter, for the next context.
    pub(super) converter: Option<Converter>,
}

/// What was heard of one context. It borrows, because it is asked for with every mark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// A prefix of the context's text, as the agent wrote it.
    pub(super) text: &'a str,
    /// How much of its audio was played.
    pub(super) played: Duration,
    /// The text is a guess.
    pub(super) estimated: bool,
}

/// One context of a turn.
#[derive(Debug)]
pub(super) struct Context {
    /// Its name.
    pub(super) id: ContextId,
    /// The voice that speaks it.
    pub(super) voice: VoiceIndex,
    /// Whose words.
    pub(super) author: Author,
    /// What it accepts.
    pub(super) state: State,
    /// What it plays, if it does not speak.
    pub(super) recorded: Option<Recorded>,
    /// Silence becomes a fault so soon, if that is sooner than usual.
    pub(super) patience: Option<Duration>,
    /// How it sounds; the same for its whole life.
    pub(super) delivery: Arc<Delivery>,
    source: SourceFormat,
    format: MediaFormat,
    transcript: Transcript,
    converter: Option<Converter>,
    received_bytes: u64,
    opened: CallTime,
    first_byte: Option<Duration>,
    last_chunk: Option<CallTime>,
    /// When its vendor last sent anything for it.
    last_sign: Option<CallTime>,
    /// From when on the vendor is bound to send audio, if its text was not all spoken since.
    owed_since: Option<CallTime>,
    /// Length of the spoken text when the last chunk came.
    text_at_chunk: usize,
    /// Length of the audio when the last text was given.
    received_us_at_text: u64,
    /// Samples heard in epochs that a `clear` ended.
    heard_before: u64,
    /// Ledger position of its first sample in this epoch.
    start: Option<u64>,
    /// Samples sent in this epoch.
    sent: u64,
    /// Samples queued or sent in its whole life.
    made: u64,
    /// It broke off, and how much of its text was spoken is a guess.
    is_guess: bool,
}

impl Context {
    /// A context that was just opened.
    pub(super) fn new(on: &Place, author: Author, converter: Converter, format: MediaFormat, now: CallTime) -> Self {
        Context {
            id: on.context,
            voice: on.voice,
            author,
            state: State::Open,
            recorded: None,
            patience: None,
            delivery: on.delivery.clone(),
            source: on.format,
            format,
            transcript: Transcript::default(),
            converter: Some(converter),
            received_bytes: 0,
            opened: now,
            first_byte: None,
            last_chunk: None,
            last_sign: None,
            owed_since: None,
            text_at_chunk: 0,
            received_us_at_text: 0,
            heard_before: 0,
            start: None,
            sent: 0,
            made: 0,
            is_guess: false,
        }
    }

    /// Where its vendor finds it.
    pub(super) fn place(&self) -> Place {
        Place { voice: self.voice, context: self.id, format: self.source, delivery: self.delivery.clone() }
    }

    /// The text and its timing.
    pub(super) fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Adds timed words.
    pub(super) fn push_words(&mut self, now: CallTime, words: &[super::event::TimedWord]) {
        self.last_sign = Some(now);
        self.transcript.push_words(words);
    }

    /// The audio so far ends where text number `texts` that it was given ends.
    pub(super) fn on_spoken(&mut self, now: CallTime, texts: usize) {
        self.last_sign = Some(now);
        self.transcript.anchor(texts, self.received_us());
    }

    /// Whether the vendor may have dropped it, being without a chunk for `idle`.
    pub(super) fn is_idle(&self, now: CallTime, idle: Option<Duration>) -> bool {
        matches!((idle, self.last_chunk), (Some(idle), Some(last)) if now.since(last) >= idle)
    }

    /// Whether its vendor is about to end it, being `age` old.
    pub(super) fn is_old(&self, now: CallTime, age: Option<Duration>) -> bool {
        age.is_some_and(|age| now.since(self.opened) >= age)
    }

    /// Adds text that is not worth a sound.
    pub(super) fn pass_text(&mut self, piece: &Piece) {
        let is_answered = self.text_at_chunk == self.spoken().len();
        self.transcript.push_text(piece);
        if is_answered {
            self.text_at_chunk = self.spoken().len();
        }
    }

    /// Counts `piece` as given to the vendor.
    pub(super) fn on_text(&mut self, now: CallTime, piece: &Piece, buffering: Buffering) {
        if !text::is_speakable(piece.spoken()) {
            self.pass_text(piece);
        } else {
            let due = match buffering {
                Buffering::Gateway => now,
                Buffering::Vendor { max_delay } => now + max_delay,
            };
            self.owed_since = Some(self.owed_since().map_or(due, |since| since.min(due)));
            self.received_us_at_text = self.received_us();
            self.transcript.push_text(piece);
            self.transcript.end_given_text();
        }
    }

    /// The vendor was told to speak what it holds.
    pub(super) fn on_flush(&mut self, now: CallTime) {
        self.owed_since = self.owed_since().map(|since| since.min(now));
    }

    /// The vendor was told that no more text comes.
    pub(super) fn on_finish(&mut self, now: CallTime) {
        self.owed_since = Some(self.owed_since().map_or(now, |since| since.min(now)));
        self.state = State::Finishing;
    }

    /// Takes a chunk; the whole frames that are ready.
    pub(super) fn on_audio(&mut self, now: CallTime, audio: &[u8]) -> Bytes {
        self.first_byte.get_or_insert(now.since(self.opened));
        self.last_chunk = Some(now);
        self.last_sign = Some(now);
        self.received_bytes += audio.len() as u64;
        self.text_at_chunk = self.spoken().len();
        let frames = self.converter.as_mut().map(|converter| converter.push(audio)).unwrap_or_default();
        self.made += self.format.samples_of(frames.len());
        frames
    }

    /// All its audio came: the last frames, and the converter for the next context.
    pub(super) fn finish(&mut self) -> (Bytes, Option<Converter>) {
        self.state = State::Done;
        self.owed_since = None;
        let mut converter = self.converter.take();
        let rest = converter.as_mut().map(Converter::finish).unwrap_or_default();
        self.made += self.format.samples_of(rest.len());
        (rest, converter)
    }

    /// Gives the converter back without the rest.
    pub(super) fn abandon(&mut self) -> Option<Converter> {
        self.state = State::Done;
        self.owed_since = None;
        let mut converter = self.converter.take();
        if let Some(converter) = &mut converter {
            converter.reset();
        }
        converter
    }

    /// Whether its vendor's word that all was sent must be wrong: no audio came, or less than the word times say, or its
    /// end was not asked for and text is missing.
    pub(super) fn ends_early(&self) -> bool {
        let is_silent = !self.has_audio() && text::is_speakable(self.spoken());
        let is_cut = self.state == State::Open && self.owed_since().is_some();
        is_silent || is_cut || self.transcript.lacks_audio(self.received_us())
    }

    /// Whether any audio came.
    pub(super) fn has_audio(&self) -> bool {
        self.received_bytes > 0
    }

    /// From when on the vendor has been bound to send audio that did not come. An open context whose text was all spoken
    /// owes nothing until it is given more.
    pub(super) fn owed_since(&self) -> Option<CallTime> {
        let since = self.owed_since?;
        let is_settled = self.state == State::Open && self.overdue() == Overdue::Over;
        (!is_settled).then(|| self.last_sign.map_or(since, |last| last.max(since)))
    }

    /// Whether the times of all its words prove that nothing more will come.
    pub(super) fn is_all_spoken(&self) -> bool {
        self.transcript.is_all_timed(self.received_us()) || self.transcript.is_all_anchored()
    }

    /// When its vendor last sent anything for it.
    pub(super) fn last_sign(&self) -> Option<CallTime> {
        self.last_sign
    }

    /// Length of the audio that came.
    pub(super) fn received(&self) -> Duration {
        Duration::from_micros(self.received_us())
    }

    /// Time from its opening to its first audio.
    pub(super) fn first_byte(&self) -> Duration {
        self.first_byte.unwrap_or_default()
    }

    /// When its silence becomes a fault.
    pub(super) fn overdue_at(&self, limits: &Limits) -> Option<CallTime> {
        if self.recorded.is_some() {
            return self.clip_overdue_at(limits.clip);
        }
        let since = self.owed_since()?;
        let limit = match (self.last_chunk, self.overdue()) {
            (None, _) => limits.first_audio,
            // Without word times nothing proves that no chunk is missing, so the wait is as long as for one.
            (Some(_), Overdue::Over) if self.transcript.is_timed() => limits.done,
            (Some(_), Overdue::Over | Overdue::Stalled) => limits.between_chunks,
        };
        Some(since + self.patience.map_or(limit, |patience| patience.min(limit)))
    }

    /// Whether its vendor may be believed that there is nothing more of it to say. Without word times that is only likely.
    pub(super) fn is_spoken(&self) -> bool {
        let is_likely = self.state == State::Finishing && self.overdue() == Overdue::Over;
        self.is_all_spoken() || (!self.transcript.is_timed() && is_likely)
    }

    /// What its silence means. An agent that pauses is more likely than a stall, and a stall is more likely than a vendor
    /// that forgets to say that it is done: so an open context has the benefit of the doubt, and a finishing one has not.
    pub(super) fn overdue(&self) -> Overdue {
        let all_text_answered = self.text_at_chunk == self.spoken().len();
        // Counted only where it decides: this is asked at every event of a call.
        let is_plausible = || self.received_us() * 2 >= text::spoken_micros(self.spoken());
        let is_over = match (self.transcript.is_timed(), self.state) {
            (true, State::Open) => self.transcript.is_proved(self.received_us(), self.received_us_at_text),
            (true, State::Finishing | State::Done) => self.is_all_spoken(),
            (false, _) => self.transcript.is_all_anchored() || (all_text_answered && is_plausible()),
        };
        if self.has_audio() && is_over { Overdue::Over } else { Overdue::Stalled }
    }

    /// Microseconds of speech that its text will still bring, roughly. A context that owes nothing brings nothing, however
    /// fast its voice speaks: an estimate that stayed above zero would hold text back for ever.
    pub(super) fn unmade_us(&self) -> u64 {
        match self.owed_since() {
            Some(_) => self.transcript.unmade_us(self.received_us()),
            None => 0,
        }
    }

    /// Ends it where its audio ends, in the middle of its text.
    pub(super) fn break_off(&mut self) -> Rest {
        let resume = self.transcript.resume(self.received_us());
        self.is_guess = self.has_audio() && !self.transcript.is_timed();
        let text = self.transcript.cut(resume);
        // What the converter holds belongs to the last word that counts as spoken.
        let (audio, converter) = self.finish();
        let sent = self.heard_before + self.sent;
        let keep = self.format.samples_in(Duration::from_micros(resume.keep_us)).max(sent) - sent;
        Rest { text, made_progress: resume.at > 0, audio, keep, converter }
    }

    /// Counts samples that were dropped from the queue.
    pub(super) fn on_dropped(&mut self, samples: u64) {
        self.made = self.made.saturating_sub(samples);
    }

    /// All of its audio so far, queued or sent.
    pub(super) fn made(&self) -> Duration {
        self.format.duration_of(self.made)
    }

    /// Counts a frame as sent at the ledger's `position`.
    pub(super) fn on_sent(&mut self, position: u64, samples: u64) {
        self.start.get_or_insert(position);
        self.sent += samples;
    }

    /// Ledger position at which its audio ends, if any was sent in this epoch.
    pub(super) fn end(&self) -> Option<u64> {
        self.start.map(|start| start + self.sent)
    }

    /// Whether anything of it was ever sent.
    pub(super) fn was_sent(&self) -> bool {
        self.start.is_some() || self.heard_before > 0
    }

    /// A `clear` ended the epoch, and `returned` samples went back into the queue.
    pub(super) fn on_cut(&mut self, returned: u64) {
        self.heard_before += self.sent.saturating_sub(returned);
        self.start = None;
        self.sent = 0;
    }

    /// What was heard when everything before the ledger's `position` was.
    pub(super) fn heard(&self, position: u64) -> Part<'_> {
        let samples = self.heard_before + self.start.map_or(0, |start| position.saturating_sub(start).min(self.sent));
        let played = self.format.duration_of(samples);
        let is_whole = self.state == State::Done && samples >= self.made;
        let total = (self.state == State::Done).then(|| micros(self.format.duration_of(self.made)));
        let text =
            if is_whole { self.transcript.text().written() } else { self.transcript.heard(micros(played), total) };
        let is_reckoned = !is_whole && !self.transcript.is_timed() && samples > 0;
        Part { text, played, estimated: is_reckoned || self.is_guess }
    }

    /// Whether all of its text has been heard.
    pub(super) fn is_heard(&self, position: u64) -> bool {
        let samples = self.heard_before + self.start.map_or(0, |start| position.saturating_sub(start).min(self.sent));
        self.state == State::Done && samples >= self.made
    }

    /// All that its voice was given.
    fn spoken(&self) -> &str {
        self.transcript.text().spoken()
    }

    fn received_us(&self) -> u64 {
        self.source.micros_of(self.received_bytes)
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
