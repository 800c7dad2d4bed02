//! Decoded samples, and pieces of them.

use std::time::Duration;

use bytes::Bytes;

use super::decode::{self, DecodeError};
use crate::audio::pcm;

/// Decoded samples of one channel. A clone is a reference.
#[derive(Clone, PartialEq, Eq)]
pub struct Sound {
    /// Little-endian 16-bit samples.
    pcm: Bytes,
    rate: u32,
}

impl std::fmt::Debug for Sound {
    /// Sizes only: what is played to a caller does not belong into logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sound").field("length", &self.length()).field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl Sound {
    /// Bytes of one sample.
    const SAMPLE: usize = 2;

    pub(super) fn new(samples: &[i16], rate: u32) -> Self {
        let mut bytes = Vec::with_capacity(samples.len() * Self::SAMPLE);
        pcm::write_into(samples, &mut bytes);
        Sound { pcm: Bytes::from(bytes), rate }
    }

    /// The sound of a WAV or MP3 file, as one channel of `rate` samples a second. Takes a second for ten minutes of MP3: not for a
    /// thread that others wait for.
    ///
    /// # Errors
    /// [`DecodeError`], [`DecodeError::Long`] among it if it plays longer than `length_max`.
    pub fn decode(file: Vec<u8>, rate: u32, length_max: Duration) -> Result<Self, DecodeError> {
        decode::decode(file, rate, length_max)
    }

    /// Its length, played once.
    pub fn length(&self) -> Duration {
        Duration::from_micros((self.samples() * 1_000_000).checked_div(u64::from(self.rate)).unwrap_or(0))
    }

    /// Bytes that it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.pcm.len()
    }

    /// What is heard from `from` on for `length`, if the sound is played `times` times without a gap: little-endian 16-bit
    /// samples in slices of at most `slice`, and whether the sound ends there.
    pub fn piece(&self, times: u32, from: Duration, length: Duration, slice: Duration) -> Piece {
        let all = self.samples() * u64::from(times);
        let end = self.position(from + length);
        Piece {
            sound: self.clone(),
            at: self.position(from).min(all),
            end: end.min(all),
            slice: self.position(slice).max(1),
            is_last: end >= all,
        }
    }

    fn samples(&self) -> u64 {
        (self.pcm.len() / Self::SAMPLE) as u64
    }

    fn position(&self, time: Duration) -> u64 {
        u64::try_from(time.as_micros() * u128::from(self.rate) / 1_000_000).unwrap_or(u64::MAX)
    }
}

/// A stretch of a sound: an iterator over slices that share the sound's memory.
#[derive(Clone, Debug)]
pub struct Piece {
    sound: Sound,
    at: u64,
    end: u64,
    slice: u64,
    is_last: bool,
}

impl Piece {
    /// Whether nothing follows it.
    pub fn is_last(&self) -> bool {
        self.is_last
    }
}

impl Iterator for Piece {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let samples = self.sound.samples();
        let within = self.at.checked_rem(samples)?;
        let count = (self.end - self.at).min(self.slice).min(samples - within);
        if count == 0 {
            return None;
        }
        self.at += count;
        let byte = |sample: u64| usize::try_from(sample).unwrap_or(usize::MAX).saturating_mul(Sound::SAMPLE);
        Some(self.sound.pcm.slice(byte(within)..byte(within + count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn heard(sound: &Sound, times: u32, from: u32, length: u32) -> (Vec<i16>, bool) {
        let piece = sound.piece(times, from * MS, length * MS, 3 * MS);
        let (is_last, mut samples) = (piece.is_last(), Vec::new());
        for bytes in piece {
            assert!(bytes.len() <= 2 * 3);
            samples.extend(bytes.chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
        }
        (samples, is_last)
    }

    #[test]
    fn pieces_join_without_a_gap_whatever_their_length() {
        let sound = Sound::new(&[1, 2, 3, 4, 5, 6, 7], 1_000);
        assert_eq!(sound.length(), 7 * MS);
        let whole: Vec<i16> = (1..=7).cycle().take(21).collect();
        for length in 1..25 {
            let (mut all, mut from) = (Vec::new(), 0);
            loop {
                let (samples, is_last) = heard(&sound, 3, from, length);
                all.extend(samples);
                from += length;
                if is_last {
                    break;
                }
            }
            assert_eq!(all, whole, "pieces of {length}");
            assert_eq!(from.div_ceil(length), 21_u32.div_ceil(length), "the end is told with the last sample");
        }
    }

    #[test]
    fn there_is_nothing_beyond_the_end_and_nothing_in_silence_without_length() {
        let sound = Sound::new(&[1, 2], 1_000);
        assert_eq!(heard(&sound, 2, 4, 10), (vec![], true));
        assert_eq!(heard(&sound, 2, 90, 10), (vec![], true));
        assert_eq!(heard(&Sound::new(&[], 8_000), 5, 0, 10), (vec![], true));
    }
}
