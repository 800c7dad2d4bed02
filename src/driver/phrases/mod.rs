//! What voices have spoken before it is needed: a store of the whole node, the link by which a call asks it, and the studio
//! that fills it.
//!
//! The store keeps speech for phrases that are known beforehand and for no others. So it needs no rule by which one makes
//! place for another: with such a rule, phrases that do not fit together would be made again for call after call. What
//! comes when it is full is not kept, and said so once.

mod link;
mod studio;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::meter::{Meter, PhraseEnd};
use crate::audio::{MediaFormat, SourceFormat};
use crate::call::action::Place;
use crate::call::event::{TimedWord, VoiceIndex};
use crate::call::phrases::Phrase;
use crate::call::settings::Voice;

pub(super) use link::serve;
pub use studio::fill;

/// Sampling rates in which phrases may be wanted: carriers have few, and a voice that takes its rate from the carrier has
/// to speak them in each.
const RATES_MAX: usize = 4;

/// Tries at one phrase that its voice broke off, each of which it bills.
const TRIES_MAX: u32 = 5;

/// Something that a voice said of a phrase, in the order in which it did.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Audio(Bytes),
    Words(Vec<TimedWord>),
    /// So many sentences are spoken.
    Spoken(usize),
}

/// The speech of one phrase. A clone is a reference.
type Speech = Arc<[Part]>;

/// Which phrase, by its number, in how many samples a second: the phrase says the voice and all else that shapes the sound.
type Key = (usize, u32);

/// Speech that was made before it is needed. Clones share everything.
#[derive(Clone)]
pub struct Phrases(Arc<Shared>);

struct Shared {
    phrases: Vec<Phrase>,
    voices: Vec<Voice>,
    bytes_max: usize,
    state: Mutex<State>,
    /// Something is wanted that is not there.
    wanted: Notify,
    meter: Arc<Meter>,
}

#[derive(Default)]
struct State {
    kept: BTreeMap<Key, Speech>,
    bytes: usize,
    /// To be made, the next one first.
    wanted: VecDeque<Key>,
    /// How often each was begun in vain.
    tries: BTreeMap<Key, u32>,
    /// Not to be made: its voice will not have it, or there is no room.
    given_up: BTreeSet<Key>,
    rates: BTreeSet<u32>,
}

impl Default for Phrases {
    /// A store without phrases.
    fn default() -> Self {
        Phrases::new(Vec::new(), Vec::new(), 0, Arc::default())
    }
}

impl std::fmt::Debug for Phrases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Phrases").field("count", &self.0.phrases.len()).finish_non_exhaustive()
    }
}

impl Phrases {
    /// A store for `phrases` of `voices`, in at most `bytes_max` bytes. All of them are wanted at a telephone's rate.
    pub fn new(phrases: Vec<Phrase>, voices: Vec<Voice>, bytes_max: usize, meter: Arc<Meter>) -> Self {
        let shared = Shared { phrases, voices, bytes_max, state: Mutex::default(), wanted: Notify::new(), meter };
        let store = Phrases(Arc::new(shared));
        for number in 0..store.0.phrases.len() {
            if let Some(key) = store.key(number, MediaFormat::TELEPHONE.rate) {
                store.want(&mut store.state(), key);
            }
        }
        store
    }

    /// Whether there are no phrases at all.
    pub fn is_empty(&self) -> bool {
        self.0.phrases.is_empty()
    }

    /// The speech of `text`, spoken by `voice` as `on` wants it. What is a phrase and not there is wanted from now on.
    fn find(&self, voice: VoiceIndex, on: &Place, text: &str) -> Option<Speech> {
        let is_it = |phrase: &Phrase| phrase.voice == voice && phrase.text == text && phrase.delivery == *on.delivery;
        let number = self.0.phrases.iter().position(is_it);
        let key = number.and_then(|number| self.key(number, on.format.rate));
        let mut state = self.state();
        let found =
            key.and_then(|key| state.kept.get(&key)).filter(|_| self.format(voice, on.format.rate) == Some(on.format));
        let found = found.cloned();
        if let Some(key) = key.filter(|_| found.is_none()) {
            self.want(&mut state, key);
        }
        self.0.meter.phrase(if found.is_some() { PhraseEnd::Hit } else { PhraseEnd::Miss });
        found
    }

    /// The phrase of a number where the carrier has so many samples a second.
    fn key(&self, number: usize, rate: u32) -> Option<Key> {
        let phrase = self.0.phrases.get(number)?;
        Some((number, self.format(phrase.voice, rate)?.rate))
    }

    fn format(&self, voice: VoiceIndex, rate: u32) -> Option<SourceFormat> {
        let voice = self.0.voices.get(voice)?;
        Some(SourceFormat { encoding: voice.encoding, rate: voice.rate.unwrap_or(rate) })
    }

    fn want(&self, state: &mut State, key: Key) {
        let is_new = !state.wanted.contains(&key) && !state.kept.contains_key(&key) && !state.given_up.contains(&key);
        let is_known = state.rates.contains(&key.1) || state.rates.len() < RATES_MAX;
        if is_new && is_known {
            state.rates.insert(key.1);
            state.wanted.push_back(key);
            self.0.wanted.notify_one();
        }
    }

    /// What is to be made next; waits while nothing is. Cancel-safe.
    async fn next_wanted(&self) -> Key {
        loop {
            if let Some(key) = self.first_wanted() {
                return key;
            }
            self.0.wanted.notified().await;
        }
    }

    fn first_wanted(&self) -> Option<Key> {
        self.state().wanted.front().copied()
    }

    /// A phrase was made. It is kept if there is room for it.
    fn keep(&self, key: Key, speech: Speech) {
        let bytes = speech.iter().map(Part::bytes).sum::<usize>();
        let mut state = self.state();
        state.wanted.retain(|wanted| *wanted != key);
        if state.bytes + bytes > self.0.bytes_max {
            state.given_up.insert(key);
            drop(state);
            tracing::warn!(bytes, "no room for a phrase: speech.phrase_cache_mib is too small for all of them");
            return;
        }
        state.bytes += bytes;
        state.kept.insert(key, speech);
        self.0.meter.phrases_kept(state.bytes);
        self.0.meter.phrase(PhraseEnd::Made);
    }

    /// A phrase could not be made now; others go first. It is given up when that has happened too often.
    fn put_off(&self, key: Key) {
        self.0.meter.phrase(PhraseEnd::Failed);
        let mut state = self.state();
        state.wanted.retain(|wanted| *wanted != key);
        let tries = state.tries.entry(key).or_default();
        *tries += 1;
        if *tries < TRIES_MAX {
            state.wanted.push_back(key);
        } else {
            state.given_up.insert(key);
        }
    }

    /// A phrase will not be made.
    fn give_up(&self, key: Key) {
        self.0.meter.phrase(PhraseEnd::Failed);
        let mut state = self.state();
        state.wanted.retain(|wanted| *wanted != key);
        state.given_up.insert(key);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change under the lock is whole by itself.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Bytes that it takes in memory, roughly.
    fn bytes(&self) -> usize {
        match self {
            Part::Audio(audio) => size_of::<Part>() + audio.len(),
            Part::Words(words) => {
                size_of::<Part>() + words.iter().map(|word| size_of::<TimedWord>() + word.text.len()).sum::<usize>()
            }
            Part::Spoken(_) => size_of::<Part>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Encoding;
    use crate::call::event::Delivery;
    use crate::ids::{ContextId, TurnId};

    const ON: ContextId = ContextId { turn: TurnId(1), serial: 1 };

    fn phrase(voice: VoiceIndex, text: &str) -> Phrase {
        Phrase { voice, text: text.to_owned(), delivery: Delivery::default() }
    }

    fn store(bytes_max: usize) -> Phrases {
        let voices =
            vec![Voice::plain("own", Encoding::PcmS16Le, None), Voice::plain("fixed", Encoding::Mulaw, Some(8_000))];
        Phrases::new(
            vec![phrase(0, "Hello."), phrase(1, "Hello."), phrase(0, "Bye.")],
            voices,
            bytes_max,
            Arc::default(),
        )
    }

    fn place(encoding: Encoding, rate: u32, delivery: Delivery) -> Place {
        Place { voice: 3, context: ON, format: SourceFormat { encoding, rate }, delivery: Arc::new(delivery) }
    }

    fn plain(rate: u32) -> Place {
        place(Encoding::PcmS16Le, rate, Delivery::default())
    }

    fn speech(bytes: usize) -> Speech {
        [Part::Audio(Bytes::from(vec![7; bytes]))].into()
    }

    fn wanted(store: &Phrases) -> Vec<Key> {
        store.state().wanted.iter().copied().collect()
    }

    #[test]
    fn speech_is_found_by_voice_text_sound_and_format() {
        let store = store(10_000);
        assert_eq!(wanted(&store), [(0, 8_000), (1, 8_000), (2, 8_000)]);
        store.keep((0, 8_000), speech(100));
        assert_eq!(store.find(0, &plain(8_000), "Hello."), Some(speech(100)));
        assert_eq!(store.find(1, &place(Encoding::Mulaw, 8_000, Delivery::default()), "Hello."), None);
        assert_eq!(store.find(0, &place(Encoding::Mulaw, 8_000, Delivery::default()), "Hello."), None);
        let other = Delivery { speed: Some(1.5), ..Delivery::default() };
        assert_eq!(store.find(0, &place(Encoding::PcmS16Le, 8_000, other), "Hello."), None);
        assert_eq!(store.find(0, &plain(8_000), "Something else."), None);
        let told = store.0.meter.render();
        assert!(told.contains("trunkline_phrases_total{kind=\"hit\"} 1\n"), "{told}");
        assert!(told.contains("trunkline_phrases_total{kind=\"miss\"} 4\n"), "{told}");
    }

    #[test]
    fn what_another_carrier_wants_is_made_for_it_and_rates_are_few() {
        let store = store(10_000);
        assert_eq!(store.find(0, &plain(16_000), "Bye."), None);
        assert_eq!(store.find(0, &plain(16_000), "Bye."), None);
        assert_eq!(wanted(&store), [(0, 8_000), (1, 8_000), (2, 8_000), (2, 16_000)]);
        for rate in 1..100 {
            assert_eq!(store.find(0, &plain(rate), "Bye."), None);
        }
        assert_eq!(store.state().rates.len(), RATES_MAX);
        assert_eq!(wanted(&store).len(), 3 + RATES_MAX - 1);
    }

    #[test]
    fn nothing_makes_place_and_what_does_not_fit_is_not_made_again() {
        let store = store(1_000);
        store.keep((0, 8_000), speech(600));
        store.keep((2, 8_000), speech(600));
        assert_eq!(store.find(0, &plain(8_000), "Hello."), Some(speech(600)));
        assert_eq!(store.find(0, &plain(8_000), "Bye."), None);
        assert_eq!(wanted(&store), [(1, 8_000)]);
        let bytes = store.state().bytes;
        assert!((600..1_000).contains(&bytes), "{bytes}");
        assert!(store.0.meter.render().contains(&format!("trunkline_phrase_cache_bytes {bytes}\n")));
    }

    #[test]
    fn a_phrase_that_fails_lets_others_go_first_and_one_that_is_refused_is_not_tried_again() {
        let store = store(1_000);
        store.put_off((0, 8_000));
        assert_eq!(wanted(&store), [(1, 8_000), (2, 8_000), (0, 8_000)]);
        store.give_up((1, 8_000));
        assert_eq!(store.find(1, &place(Encoding::Mulaw, 8_000, Delivery::default()), "Hello."), None);
        assert_eq!(wanted(&store), [(2, 8_000), (0, 8_000)]);
        for _ in 1..TRIES_MAX {
            store.put_off((0, 8_000));
        }
        assert_eq!(store.find(0, &plain(8_000), "Hello."), None);
        assert_eq!(wanted(&store), [(2, 8_000)]);
    }
}
