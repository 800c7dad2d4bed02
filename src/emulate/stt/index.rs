//! Where in which clip a piece of audio stands: an index of windows, found by a hash that rolls over the stream.
//!
//! Every sixteenth window of every clip is indexed, and every window of the stream is looked up, so that any 79 bytes of a
//! clip hold one that is found, wherever they begin. An entry is 16 bytes: ten minutes of clips take under 5 MiB.

use super::script::ScriptClip;

/// Bytes of a window: 8 ms.
pub(super) const WINDOW: usize = WINDOW_BYTES as usize;

/// The same, as an exponent.
const WINDOW_BYTES: u32 = 64;

/// Bytes between two indexed windows of a clip.
const STRIDE: usize = 16;

/// A window with fewer different bytes than this is silence, hum or a steady tone, which says nothing about its place.
const DIFFERENT_MIN: usize = 12;

/// Places looked at for one hash: what repeats more often than this is not looked for further.
const PLACES_MAX: usize = 16;

/// Any odd number does; this one is 2^64 divided by the golden ratio.
const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

/// A hash over the last [`WINDOW`] bytes of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rolling(u64);

impl Rolling {
    /// Of a stream that has been silent, byte 0xFF, for at least a window.
    pub(super) fn silent() -> Self {
        Self::of(&[0xFF; WINDOW])
    }

    /// The hash once `byte` has come and `gone`, which came a window earlier, has left.
    pub(super) fn roll(&mut self, byte: u8, gone: u8) {
        let leaving = value(gone).wrapping_mul(LEAVING);
        self.0 = self.0.wrapping_mul(BASE).wrapping_add(value(byte)).wrapping_sub(leaving);
    }

    fn of(window: &[u8]) -> Self {
        Self(window.iter().fold(0, |hash, byte| hash.wrapping_mul(BASE).wrapping_add(value(*byte))))
    }
}

/// The weight of a byte that came [`WINDOW`] bytes ago.
const LEAVING: u64 = BASE.wrapping_pow(WINDOW_BYTES);

/// Zero must count too: where it stands is part of the window.
const fn value(byte: u8) -> u64 {
    byte as u64 + 1
}

/// A place in a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Which clip of the script.
    pub(super) clip: usize,
    /// A byte of it.
    pub(super) at: usize,
}

/// The windows of all clips of a script.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Sorted by hash.
    windows: Vec<(u64, Place32)>,
}

#[derive(Clone, Copy, Debug)]
struct Place32 {
    clip: u32,
    at: u32,
}

impl Index {
    pub(super) fn new(clips: &[ScriptClip]) -> Self {
        let mut windows = Vec::new();
        for (clip, number) in clips.iter().zip(0..) {
            for (window, at) in clip.audio.windows(WINDOW).step_by(STRIDE).zip((0..).step_by(STRIDE)) {
                if is_telling(window) {
                    windows.push((Rolling::of(window).0, Place32 { clip: number, at }));
                }
            }
        }
        windows.sort_by_key(|(hash, place)| (*hash, place.clip, place.at));
        Self { windows }
    }

    /// Where windows of this hash begin; the bytes are still to be compared. At most sixteen places.
    pub(super) fn places(&self, hash: Rolling) -> impl Iterator<Item = Place> {
        let first = self.windows.partition_point(|(known, _)| *known < hash.0);
        let found = self.windows.get(first..).unwrap_or_default().iter().take_while(move |(known, _)| *known == hash.0);
        found.take(PLACES_MAX).map(|(_, place)| Place { clip: place.clip as usize, at: place.at as usize })
    }
}

/// Whether a window can tell places apart.
pub(super) fn is_telling(window: &[u8]) -> bool {
    let mut seen = [false; 256];
    for byte in window {
        if let Some(seen) = seen.get_mut(usize::from(*byte)) {
            *seen = true;
        }
    }
    seen.iter().filter(|seen| **seen).count() >= DIFFERENT_MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulate::stt::script::Script;

    #[test]
    fn rolling_gives_what_hashing_the_window_gives() {
        let audio: Vec<u8> = (0..1_000_u32).map(|n| (n * n % 251) as u8).collect();
        let mut rolling = Rolling::of(&audio[..WINDOW]);
        for at in 1..audio.len() - WINDOW {
            rolling.roll(audio[at + WINDOW - 1], audio[at - 1]);
            assert_eq!(rolling.0, Rolling::of(&audio[at..at + WINDOW]).0, "at {at}");
        }
    }

    #[test]
    fn every_indexed_window_is_found_where_it_stands_and_silence_is_not_indexed() {
        let script = Script::built_in().unwrap();
        let index = Index::new(script.clips());
        let mut found = 0;
        for (number, clip) in script.clips().iter().enumerate() {
            for at in (0..clip.audio.len() - WINDOW).step_by(STRIDE) {
                let window = &clip.audio[at..at + WINDOW];
                let place = Place { clip: number, at };
                assert_eq!(index.places(Rolling::of(window)).any(|found| found == place), is_telling(window));
                found += usize::from(is_telling(window));
            }
        }
        assert_eq!(found, index.windows.len());
        // Ten clips of 22 seconds, most of which is speech.
        assert!((5_000..12_000).contains(&found), "{found} windows");
        assert!(!is_telling(&[0xFF; WINDOW]) && !is_telling(&[0xFF, 0xFE, 0x7E, 0x7D].repeat(16)));
    }
}
