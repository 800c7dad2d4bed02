//! Decoded recordings that are kept for a while, by URL and rate: bounded in bytes, the longest unused go first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::PlayerError;
use super::sound::Sound;

/// Recordings that are kept at most, however short they are.
const ENTRIES_MAX: usize = 1_024;

/// URL and rate.
pub(super) type Key = (String, u32);

/// A recording, or why there is none; empty while it is being fetched.
pub(super) type Entry = Arc<OnceCell<Result<Kept, PlayerError>>>;

/// A recording and how long it may be kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) sound: Sound,
    /// `None`: for nobody but those who wait for it already.
    pub(super) keep: Option<Duration>,
}

struct Slot {
    entry: Entry,
    /// Grows with each use.
    used: u64,
    bytes: usize,
    /// `None` until it has come.
    fresh_until: Option<Instant>,
}

/// What is kept.
pub(super) struct Cache {
    bytes_max: usize,
    bytes: usize,
    uses: u64,
    slots: BTreeMap<Key, Slot>,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Cache { bytes_max, bytes: 0, uses: 0, slots: BTreeMap::new() }
    }

    /// The place of a recording: filled, being filled, or to be filled by whoever asks.
    pub(super) fn entry(&mut self, key: &Key, now: Instant) -> Entry {
        self.uses += 1;
        if self.slots.get(key).is_some_and(|slot| slot.fresh_until.is_some_and(|until| until <= now)) {
            self.remove(key);
        }
        if let Some(slot) = self.slots.get_mut(key) {
            slot.used = self.uses;
            return slot.entry.clone();
        }
        let entry = Entry::default();
        let slot = Slot { entry: entry.clone(), used: self.uses, bytes: 0, fresh_until: None };
        self.slots.insert(key.clone(), slot);
        self.shrink();
        entry
    }

    /// An entry was filled: it is kept if it may be and there is room, and what is older makes place for it.
    pub(super) fn settle(&mut self, key: &Key, entry: &Entry, now: Instant) {
        let Some(slot) = self.slots.get_mut(key).filter(|slot| Arc::ptr_eq(&slot.entry, entry)) else { return };
        let kept = entry.get().and_then(|found| found.as_ref().ok());
        match kept.and_then(|kept| Some((kept.sound.bytes(), kept.keep?))) {
            Some((bytes, keep)) if bytes <= self.bytes_max => {
                slot.bytes = bytes;
                slot.fresh_until = Some(now + keep);
                self.bytes += bytes;
                self.shrink();
            }
            Some(_) | None => self.remove(key),
        }
    }

    fn shrink(&mut self) {
        while self.bytes > self.bytes_max || self.slots.len() > ENTRIES_MAX {
            let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(slot) = self.slots.remove(key) {
            self.bytes -= slot.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::player::FetchError;

    fn key(name: &str) -> Key {
        (name.to_owned(), 8_000)
    }

    /// Fills the entry of `name` with `samples` samples.
    fn put(cache: &mut Cache, name: &str, samples: usize, keep: Option<Duration>, now: Instant) {
        let entry = cache.entry(&key(name), now);
        let kept = Kept { sound: Sound::new(&vec![0; samples], 8_000), keep };
        entry.set(Ok(kept)).unwrap();
        cache.settle(&key(name), &entry, now);
    }

    fn has(cache: &mut Cache, name: &str, now: Instant) -> bool {
        let is_there = cache.entry(&key(name), now).get().is_some();
        if !is_there {
            cache.remove(&key(name));
        }
        is_there
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_unused_make_place() {
        let (mut cache, now, minute) = (Cache::new(100), Instant::now(), Some(Duration::from_secs(60)));
        put(&mut cache, "a", 20, minute, now);
        put(&mut cache, "b", 20, minute, now);
        assert!(has(&mut cache, "a", now));
        put(&mut cache, "c", 20, minute, now);
        assert_eq!(["a", "b", "c"].map(|name| has(&mut cache, name, now)), [true, false, true]);
        put(&mut cache, "huge", 51, minute, now);
        assert_eq!(["a", "c", "huge"].map(|name| has(&mut cache, name, now)), [true, true, false]);
        assert_eq!(cache.bytes, 80);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stale_or_not_to_be_kept_is_asked_for_again() {
        let (mut cache, now) = (Cache::new(100), Instant::now());
        put(&mut cache, "a", 1, Some(Duration::from_secs(60)), now);
        put(&mut cache, "b", 1, None, now);
        assert_eq!(["a", "b"].map(|name| has(&mut cache, name, now + Duration::from_secs(59))), [true, false]);
        assert!(!has(&mut cache, "a", now + Duration::from_secs(60)));
        let entry = cache.entry(&key("c"), now);
        entry.set(Err(FetchError::Unreachable.into())).unwrap();
        cache.settle(&key("c"), &entry, now);
        assert!(!has(&mut cache, "c", now));
        assert_eq!((cache.bytes, cache.slots.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_made_place_while_it_was_fetched_is_not_counted() {
        let (mut cache, now) = (Cache::new(100), Instant::now());
        let early = cache.entry(&key("early"), now);
        for n in 0..=ENTRIES_MAX {
            cache.entry(&key(&n.to_string()), now);
        }
        assert_eq!(cache.slots.len(), ENTRIES_MAX);
        early.set(Ok(Kept { sound: Sound::new(&[0; 10], 8_000), keep: Some(Duration::from_secs(1)) })).unwrap();
        cache.settle(&key("early"), &early, now);
        assert_eq!((cache.bytes, cache.slots.len()), (0, ENTRIES_MAX));
    }
}
