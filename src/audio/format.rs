//! What a stream of audio looks like on the wire.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How one sample is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// G.711 mu-law, one byte a sample.
    Mulaw,
    /// G.711 A-law, one byte a sample.
    Alaw,
    /// Signed 16-bit PCM, little-endian.
    PcmS16Le,
}

impl Encoding {
    /// Bytes of one sample.
    pub const fn sample_bytes(self) -> usize {
        match self {
            Encoding::Mulaw | Encoding::Alaw => 1,
            Encoding::PcmS16Le => 2,
        }
    }

    /// The byte that, repeated, is silence.
    pub const fn silence(self) -> u8 {
        match self {
            Encoding::Mulaw => 0xFF,
            Encoding::Alaw => 0xD5,
            Encoding::PcmS16Le => 0x00,
        }
    }
}

/// Encoding, rate and frame length of one direction of a stream, as negotiated when the stream started. One channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MediaFormat {
    /// How a sample is written.
    pub encoding: Encoding,
    /// Samples a second, [`MediaFormat::RATES`].
    pub rate: u32,
    /// Length of one frame in milliseconds, 10 to 200.
    pub frame_ms: u32,
}

impl MediaFormat {
    /// Sampling rates that a stream may have, in Hz.
    pub const RATES: [u32; 6] = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000];

    /// What telephone networks speak: mu-law at 8 kHz in frames of 20 ms, 160 bytes each.
    pub const TELEPHONE: MediaFormat = MediaFormat { encoding: Encoding::Mulaw, rate: 8_000, frame_ms: 20 };

    /// Length of one frame.
    pub const fn frame(self) -> Duration {
        Duration::from_millis(self.frame_ms as u64)
    }

    /// Samples in one frame.
    pub const fn frame_samples(self) -> usize {
        self.rate as usize * self.frame_ms as usize / 1_000
    }

    /// Bytes in one frame.
    pub const fn frame_bytes(self) -> usize {
        self.frame_samples() * self.encoding.sample_bytes()
    }

    /// Whether it is one that streams can have: a rate of [`MediaFormat::RATES`], and frames of 10 to 200 ms that are whole
    /// samples. Only with such a format do the other methods make sense.
    pub fn is_sound(self) -> bool {
        Self::RATES.contains(&self.rate)
            && (10..=200).contains(&self.frame_ms)
            && (self.rate * self.frame_ms).is_multiple_of(1_000)
    }

    /// How long `samples` samples last.
    pub fn duration_of(self, samples: u64) -> Duration {
        Duration::from_micros(samples.saturating_mul(1_000_000) / u64::from(self.rate))
    }

    /// How many samples fit into `span`, rounded down.
    pub fn samples_in(self, span: Duration) -> u64 {
        let micros = span.as_micros().saturating_mul(u128::from(self.rate)) / 1_000_000;
        u64::try_from(micros).unwrap_or(u64::MAX)
    }

    /// How many samples `bytes` bytes hold, rounded down.
    pub fn samples_of(self, bytes: usize) -> u64 {
        (bytes / self.encoding.sample_bytes()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_sizes_that_carriers_document() {
        let format = |encoding, rate, frame_ms| MediaFormat { encoding, rate, frame_ms }.frame_bytes();
        assert_eq!(MediaFormat::TELEPHONE.frame_bytes(), 160);
        assert_eq!(format(Encoding::PcmS16Le, 8_000, 20), 320);
        assert_eq!(format(Encoding::PcmS16Le, 16_000, 20), 640);
        assert_eq!(format(Encoding::PcmS16Le, 8_000, 100), 1_600);
        assert_eq!(format(Encoding::Alaw, 8_000, 20), 160);
    }

    #[test]
    fn a_format_that_no_stream_can_have_is_told_apart() {
        let format = |rate, frame_ms| MediaFormat { encoding: Encoding::Mulaw, rate, frame_ms };
        assert!(format(8_000, 20).is_sound() && format(22_050, 20).is_sound() && format(48_000, 200).is_sound());
        for (rate, frame_ms) in
            [(0, 20), (8_001, 20), (8_000, 0), (8_000, 5), (8_000, 201), (22_050, 10), (8_000, u32::MAX)]
        {
            assert!(!format(rate, frame_ms).is_sound(), "{rate} Hz, {frame_ms} ms");
        }
    }

    #[test]
    fn durations_and_samples_convert_both_ways() {
        let phone = MediaFormat::TELEPHONE;
        assert_eq!(phone.duration_of(1_600), Duration::from_millis(200));
        assert_eq!(phone.samples_in(Duration::from_millis(200)), 1_600);
        assert_eq!(phone.samples_in(Duration::from_micros(124)), 0);
        assert_eq!(phone.samples_of(161), 161);
    }
}
