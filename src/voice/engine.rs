//! The synthesis engine with its word times: plain computation, no threads.

use std::sync::Arc;

use flite_rs::language::Language;
use flite_rs::utterance::ItemId;
use flite_rs::{Engine as Flite, KAL16_VOICE_DATA, Voice, pipeline, voice};

use super::text::{self, Token};
use super::{RATE, Utterance, Word};

/// Slowest and fastest speech, as multiples of the natural speed; beyond them the voice is a blur.
const SPEED: std::ops::RangeInclusive<f32> = 0.5..=2.0;

/// The parsed language models and the recordings of the 16 kHz voice. Dear to build (a few milliseconds), cheap to use.
pub(super) struct Engine {
    language: Arc<Language>,
    voice: Voice,
}

impl Engine {
    /// Parses the data that is compiled into the program; `None` if it is broken.
    pub(super) fn new() -> Option<Self> {
        let language = Flite::try_new().ok()?.language();
        let voice = Voice::parse(KAL16_VOICE_DATA).ok()?;
        (voice.sample_rate == RATE).then_some(Self { language, voice })
    }

    /// Speaks `text` at `speed` times the natural speed.
    pub(super) fn speak(&self, text: &str, speed: Option<f32>) -> Utterance {
        let tokens = text::tokens(text);
        let mut params = self.voice.params();
        let speed = speed.filter(|speed| speed.is_finite()).unwrap_or(1.0);
        params.duration_stretch /= speed.clamp(*SPEED.start(), *SPEED.end());

        let mut spoken = Utterance { pcm: Vec::new(), rate: RATE, words: Vec::new() };
        // The engine cuts the same text at the same white space, so its tokens pair up with ours in order.
        let mut written = tokens.iter();
        for sentence in flite_rs::text::sentences(&joined(&tokens)) {
            let analysis = pipeline::analyse(&self.language, &sentence, &params);
            let audio = voice::synthesise(&self.voice, &analysis, &params);
            let offset_ms = millis(spoken.pcm.len());
            let end_ms = millis(spoken.pcm.len() + audio.samples.len());
            spoken.pcm.extend_from_slice(&audio.samples);
            for (item, token) in analysis.iter_relation("Token").zip(written.by_ref().take(sentence.len())) {
                let Some((start, end)) = span(&analysis, item) else { continue };
                let earliest = spoken.words.last().map_or(offset_ms, |word: &Word| word.end_ms);
                let start_ms = (offset_ms + seconds_to_millis(start)).clamp(earliest, end_ms);
                let end_ms = (offset_ms + seconds_to_millis(end)).clamp(start_ms, end_ms);
                spoken.words.push(Word { text: token.written.to_owned(), start_ms, end_ms });
            }
        }
        spoken
    }
}

/// The tokens as one text that the engine cuts exactly where we did.
fn joined(tokens: &[Token<'_>]) -> String {
    let mut text = String::new();
    for token in tokens {
        if !text.is_empty() {
            text.push_str(if token.paragraph { "\n\n" } else { " " });
        }
        text.push_str(&token.spoken);
    }
    text
}

/// First and last moment of a token's sounds, in seconds of its sentence; `None` if nothing is said for it.
fn span(analysis: &flite_rs::Utterance, token: ItemId) -> Option<(f32, f32)> {
    let daughters = |item: Option<ItemId>| analysis.iter_from(item.and_then(|item| analysis.daughter(item)));
    let mut segments = daughters(Some(token))
        .flat_map(|word| daughters(analysis.item_as(word, "SylStructure")))
        .flat_map(|syllable| daughters(Some(syllable)))
        .filter_map(|segment| analysis.item_as(segment, "Segment"));
    let first = segments.next()?;
    let last = segments.last().unwrap_or(first);
    let start = analysis.prev(first).map_or(0.0, |before| analysis.feature_f32(before, "end"));
    Some((start, analysis.feature_f32(last, "end")))
}

/// Milliseconds that `samples` samples last, rounded down.
fn millis(samples: usize) -> u32 {
    u32::try_from(samples as u64 * 1_000 / u64::from(RATE)).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and a sentence lasts minutes at most")]
fn seconds_to_millis(seconds: f32) -> u32 {
    (seconds * 1_000.0) as u32
}
