//! One synthesis context: what it was given, what came back, how much of it was sent and heard.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::action::{Heard, Place};
use super::event::{Delivery, VoiceIndex};
use super::heard::{Resume, Transcript};
use super::settings::{Buffering, Limits};
use super::text;
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
    /// From when on the vendor is bound to send audio; `None` while it owes none.
    owed_since: Option<CallTime>,
    /// Length of the text when the last chunk came.
    text_at_chunk: usize,
    /// Samples heard in epochs that a `clear` ended.
    heard_before: u64,
    /// Ledger position of its first sample in this epoch.
    start: Option<u64>,
    /// Samples sent in this epoch.
    sent: u64,
    /// Samples queued or sent in its whole life.
    made: u64,
}

impl Context {
    /// A context that was just opened.
    pub(super) fn new(on: &Place, author: Author, converter: Converter, format: MediaFormat, now: CallTime) -> Self {
        Context {
            id: on.context,
            voice: on.voice,
            author,
            state: State::Open,
            delivery: on.delivery.clone(),
            source: on.format,
            format,
            transcript: Transcript::default(),
            converter: Some(converter),
            received_bytes: 0,
            opened: now,
            first_byte: None,
            last_chunk: None,
            owed_since: None,
            text_at_chunk: 0,
            heard_before: 0,
            start: None,
            sent: 0,
            made: 0,
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
    pub(super) fn push_words(&mut self, words: &[super::event::TimedWord]) {
        self.transcript.push_words(words);
    }

    /// Whether the vendor may have dropped it, being without a chunk for `idle`.
    pub(super) fn is_idle(&self, now: CallTime, idle: Option<Duration>) -> bool {
        matches!((idle, self.last_chunk), (Some(idle), Some(last)) if now.since(last) >= idle)
    }

    /// Adds text that is not worth a sound.
    pub(super) fn pass_text(&mut self, piece: &str) {
        self.transcript.push_text(piece);
    }

    /// Counts `piece` as given to the vendor.
    pub(super) fn on_text(&mut self, now: CallTime, piece: &str, buffering: Buffering) {
        self.transcript.push_text(piece);
        if text::is_speakable(piece) {
            let due = match buffering {
                Buffering::Gateway => now,
                Buffering::Vendor { max_delay } => now + max_delay,
            };
            self.owed_since = Some(self.owed_since.map_or(due, |since| since.min(due)));
        }
    }

    /// The vendor was told to speak what it holds.
    pub(super) fn on_flush(&mut self, now: CallTime) {
        self.owed_since = self.owed_since.map(|since| since.min(now));
    }

    /// The vendor was told that no more text comes.
    pub(super) fn on_finish(&mut self, now: CallTime) {
        self.state = State::Finishing;
        self.owed_since = Some(self.owed_since.map_or(now, |since| since.min(now)));
    }

    /// Takes a chunk; the whole frames that are ready.
    pub(super) fn on_audio(&mut self, now: CallTime, audio: &[u8]) -> Bytes {
        self.first_byte.get_or_insert(now.since(self.opened));
        self.last_chunk = Some(now);
        self.received_bytes += audio.len() as u64;
        self.text_at_chunk = self.transcript.text().len();
        if self.state == State::Open && (!self.transcript.is_timed() || self.transcript.is_proved(self.received_us())) {
            self.owed_since = None;
        }
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

    /// Whether any audio came.
    pub(super) fn has_audio(&self) -> bool {
        self.received_bytes > 0
    }

    /// From when on the vendor has been bound to send audio that did not come.
    pub(super) fn owed_since(&self) -> Option<CallTime> {
        self.owed_since.map(|since| self.last_chunk.map_or(since, |last| last.max(since)))
    }

    /// Time from its opening to its first audio.
    pub(super) fn first_byte(&self) -> Duration {
        self.first_byte.unwrap_or_default()
    }

    /// When its silence becomes a fault.
    pub(super) fn overdue_at(&self, limits: &Limits) -> Option<CallTime> {
        let since = self.owed_since()?;
        let limit = match (self.last_chunk, self.overdue()) {
            (None, _) => limits.first_audio,
            (Some(_), Overdue::Over) => limits.done,
            (Some(_), Overdue::Stalled) => limits.between_chunks,
        };
        Some(since + limit)
    }

    /// What its silence means.
    pub(super) fn overdue(&self) -> Overdue {
        let timed = self.transcript.is_proved(self.received_us());
        let all_text_answered = self.text_at_chunk == self.transcript.text().len();
        let plausible = self.received_us() * 2 >= text::spoken_micros(self.transcript.text());
        let untimed = !self.transcript.is_timed() && all_text_answered && plausible;
        if self.has_audio() && (timed || untimed) { Overdue::Over } else { Overdue::Stalled }
    }

    /// Microseconds of speech that its text will still bring, roughly.
    pub(super) fn unmade_us(&self) -> u64 {
        match self.state {
            State::Open | State::Finishing => {
                text::spoken_micros(self.transcript.text()).saturating_sub(self.received_us())
            }
            State::Done => 0,
        }
    }

    /// Where to go on after it broke off.
    pub(super) fn resume(&self) -> Resume {
        self.transcript.resume(self.received_us())
    }

    /// Ends it at `resume`: its text is what was spoken, its audio what is worth playing. The text that is left over, and
    /// how many samples of what is queued may stay.
    pub(super) fn break_off(&mut self, resume: Resume) -> (String, u64) {
        let whole = self.transcript.text().to_owned();
        let rest = whole.get(resume.at..).unwrap_or_default().to_owned();
        self.transcript.truncate(resume.spoken);
        let keep = self.format.samples_in(Duration::from_micros(resume.keep_us)).max(self.heard_before + self.sent);
        let queued_keep = keep - self.heard_before - self.sent;
        (rest, queued_keep)
    }

    /// Counts samples that were dropped from the queue.
    pub(super) fn on_dropped(&mut self, samples: u64) {
        self.made = self.made.saturating_sub(samples);
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
    pub(super) fn heard(&self, position: u64) -> Heard {
        let samples = self.heard_before + self.start.map_or(0, |start| position.saturating_sub(start).min(self.sent));
        let played = self.format.duration_of(samples);
        let is_whole = self.state == State::Done && samples >= self.made;
        let total = (self.state == State::Done).then(|| micros(self.format.duration_of(self.made)));
        let text = if is_whole { self.transcript.text() } else { self.transcript.heard(micros(played), total) };
        Heard { text: text.to_owned(), played, estimated: !is_whole && !self.transcript.is_timed() && samples > 0 }
    }

    /// Whether all of its text has been heard.
    pub(super) fn is_heard(&self, position: u64) -> bool {
        let samples = self.heard_before + self.start.map_or(0, |start| position.saturating_sub(start).min(self.sent));
        self.state == State::Done && samples >= self.made
    }

    fn received_us(&self) -> u64 {
        self.source.micros_of(self.received_bytes)
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
