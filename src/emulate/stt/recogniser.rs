//! The scripted recogniser: which clip of the script is being played, and where in it.
//!
//! This is not recognition. It compares bytes: what is not an exact copy of a clip of the script (mu-law at 8 kHz, from
//! any place of it on) is silence to it. From the place where it joined a clip it gives the words that *end* after that
//! place, each as soon as the audio up to its end, and the latency on top, has come. A clip that is left in the middle
//! ends there.
//!
//! ```text
//! audio ──► history ──► index: two telling windows at the same place ──► lock: byte by byte ──► words ──► after the latency
//! ```
//!
//! Memory of a stream: a second of history, and the words of the last `latency`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::index::{Index, Place, Rolling, WINDOW, is_telling};
use super::script::{PER_MS, Script, ScriptClip};

/// Bytes kept of the past: how far back the place is followed where a clip was joined.
const HISTORY: usize = 8_000;

/// After a break as short as this the clip goes on where it was left: a lost or doubled frame takes no word away and says
/// none twice.
const BREAK_BYTES_MAX: u64 = 1_600;

/// What the recogniser is called wherever it says what it is.
pub const RECOGNISER: &str = "scripted";

/// A script and its index, shared by all streams of a server.
#[derive(Debug)]
pub(super) struct Library {
    script: Script,
    index: Index,
}

impl Library {
    pub(super) fn new(script: Script) -> Self {
        let index = Index::new(script.clips());
        Self { script, index }
    }

    fn clip(&self, number: usize) -> Option<&ScriptClip> {
        self.script.clips().get(number)
    }
}

/// A word that was heard. Positions are samples at 8 kHz since the stream began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// A clip was found in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The clip's name in the script.
    pub clip: String,
    /// The place in it where the stream joined, in milliseconds.
    pub clip_ms: u64,
    /// Where in the stream that was noticed, in milliseconds of its audio.
    pub at_ms: u64,
}

/// The clip that is being played.
#[derive(Clone, Copy, Debug)]
struct Lock {
    clip: usize,
    /// The next byte of it.
    at: usize,
    /// The next of its words to end.
    word: usize,
    /// Position in the stream minus place in the clip; negative if the stream joined in the middle.
    origin: i64,
}

/// One stream's recogniser.
#[derive(Debug)]
pub(super) struct Recogniser {
    library: Arc<Library>,
    /// Samples from the end of a word to when it is known.
    latency: u64,
    history: VecDeque<u8>,
    rolling: Rolling,
    now: u64,
    lock: Option<Lock>,
    /// A clip that was left before its end, and when.
    left: Option<(Lock, u64)>,
    /// Words that have ended, for the latency.
    ended: VecDeque<Word>,
    speaking: bool,
    quiet_since: Option<u64>,
    found: Option<Found>,
}

impl Recogniser {
    pub(super) fn new(library: Arc<Library>, latency: u64) -> Self {
        Self {
            library,
            latency,
            history: VecDeque::with_capacity(HISTORY),
            rolling: Rolling::silent(),
            now: 0,
            lock: None,
            left: None,
            ended: VecDeque::new(),
            speaking: false,
            quiet_since: None,
            found: None,
        }
    }

    /// Samples heard.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Whether a word is being spoken.
    pub(super) fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// Samples since the last word; `None` while one is spoken, and before the first.
    pub(super) fn quiet(&self) -> Option<u64> {
        let since = self.quiet_since.filter(|_| !self.speaking)?;
        Some(self.now.saturating_sub(since))
    }

    /// Whether every word that has ended was given out.
    pub(super) fn is_settled(&self) -> bool {
        self.ended.is_empty()
    }

    /// Changes how long words take, in samples.
    pub(super) fn set_latency(&mut self, latency: u64) {
        self.latency = latency;
    }

    /// Hears mu-law `audio`, normalised as the script's clips are.
    pub(super) fn hear(&mut self, audio: &[u8]) {
        for byte in audio {
            self.take(*byte);
            self.follow(*byte);
        }
        self.follow_words();
    }

    /// The words whose time has come, given out once.
    pub(super) fn take_known(&mut self) -> Vec<Word> {
        let known = self.ended.iter().take_while(|word| word.end + self.latency <= self.now).count();
        self.ended.drain(..known).collect()
    }

    /// Gives out the words that have ended without waiting for the latency.
    pub(super) fn flush(&mut self) -> Vec<Word> {
        self.ended.drain(..).collect()
    }

    /// The clip that was found since the last time this was asked; of several the latest.
    pub(super) fn take_found(&mut self) -> Option<Found> {
        self.found.take()
    }

    fn take(&mut self, byte: u8) {
        let gone = self.history.len().checked_sub(WINDOW).and_then(|at| self.history.get(at));
        self.rolling.roll(byte, gone.copied().unwrap_or(0xFF));
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(byte);
        self.now += 1;
    }

    /// Compares the newest byte with the clip that is played, or looks for one.
    fn follow(&mut self, byte: u8) {
        let Some(lock) = &mut self.lock else { return self.search() };
        let clip = self.library.clip(lock.clip);
        if clip.and_then(|clip| clip.audio.get(lock.at)) == Some(&byte) {
            lock.at += 1;
            if clip.is_some_and(|clip| clip.audio.len() == lock.at) {
                self.follow_words();
                self.leave();
            }
            return;
        }
        // What came before this byte still was the clip.
        self.follow_words();
        self.left = self.lock.map(|lock| (lock, self.now));
        self.leave();
        self.search();
    }

    fn leave(&mut self) {
        if self.speaking {
            self.quiet_since = Some(self.now);
        }
        self.speaking = false;
        self.lock = None;
    }

    /// Notes the words that ended up to the place that was reached, and whether another one has begun.
    fn follow_words(&mut self) {
        let Some(lock) = &mut self.lock else { return };
        let Some(clip) = self.library.clip(lock.clip) else { return };
        let place = |ms: u32| u64::from(ms) * PER_MS;
        let position = |ms: u32| u64::try_from(lock.origin.saturating_add_unsigned(place(ms))).unwrap_or_default();
        while let Some(word) = clip.words.get(lock.word).filter(|word| place(word.end_ms) <= lock.at as u64) {
            let (start, end) = (position(word.start_ms), position(word.end_ms));
            self.ended.push_back(Word { text: word.text.clone(), start, end });
            self.quiet_since = Some(end);
            lock.word += 1;
        }
        self.speaking = clip.words.get(lock.word).is_some_and(|word| place(word.start_ms) < lock.at as u64);
    }

    /// Whether the newest window stands in a clip, and the one before it in the same place; if in several, the one that
    /// was followed for longest.
    fn search(&mut self) {
        let mut best: Option<(usize, Place)> = None;
        for place in self.library.index.places(self.rolling) {
            let Some(clip) = self.library.clip(place.clip) else { continue };
            let at = place.at + WINDOW;
            let length = self.agreement(clip, at);
            if length >= 2 * WINDOW && best.is_none_or(|(longest, _)| length > longest) {
                best = Some((length, Place { at, ..place }));
            }
        }
        let Some((length, place)) = best else { return };
        let earlier: Vec<u8> = self.history.iter().rev().skip(WINDOW).take(WINDOW).copied().collect();
        let library = Arc::clone(&self.library);
        if let Some(clip) = library.clip(place.clip).filter(|_| is_telling(&earlier)) {
            self.join(clip, place, length);
        }
    }

    /// How many of the newest bytes are those of `clip` before `at`.
    fn agreement(&self, clip: &ScriptClip, at: usize) -> usize {
        let before = clip.audio.get(..at).unwrap_or_default();
        before.iter().rev().zip(self.history.iter().rev()).take_while(|(known, heard)| known == heard).count()
    }

    fn join(&mut self, clip: &ScriptClip, place: Place, length: usize) {
        let joined = place.at - length;
        let origin = self.now.cast_signed() - (place.at as u64).cast_signed();
        let after = |at: usize| clip.words.partition_point(|word| u64::from(word.end_ms) * PER_MS <= at as u64);
        let word = match self.left.take() {
            Some((left, when)) if is_same(&left, when, self.now - length as u64, place.clip, joined) => left.word,
            _ => after(joined),
        };
        let clip_ms = joined as u64 / PER_MS;
        self.found = Some(Found { clip: clip.name.clone(), clip_ms, at_ms: self.now / PER_MS });
        self.lock = Some(Lock { clip: place.clip, at: place.at, word, origin });
        self.follow_words();
    }
}

/// Whether a clip that is joined at `place` is the one that was just left.
fn is_same(left: &Lock, when: u64, now: u64, clip: usize, place: usize) -> bool {
    let apart = (left.at as u64).abs_diff(place as u64);
    left.clip == clip && now.saturating_sub(when) <= BREAK_BYTES_MAX && apart <= BREAK_BYTES_MAX
}
