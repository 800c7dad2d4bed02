//! From what a voice sends to what a carrier takes: decode, change the rate, encode, cut into whole frames.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::format::{Encoding, MediaFormat};
use super::resample::{RateError, Resampler};
use super::{g711, pcm};

/// Headerless audio as a voice sends it, one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFormat {
    /// How a sample is written.
    pub encoding: Encoding,
    /// Samples a second.
    pub rate: u32,
}

impl SourceFormat {
    /// Microseconds that `bytes` bytes last.
    pub fn micros_of(self, bytes: u64) -> u64 {
        bytes.saturating_mul(1_000_000) / (self.encoding.sample_bytes() as u64 * u64::from(self.rate).max(1))
    }

    /// Whole samples' worth of bytes in `micros` microseconds, rounded down.
    pub fn bytes_in(self, micros: u64) -> u64 {
        micros.saturating_mul(u64::from(self.rate)) / 1_000_000 * self.encoding.sample_bytes() as u64
    }
}

/// Turns chunks of any length into whole frames of the carrier's format.
///
/// It borrows nothing and allocates once a chunk; frames are slices of that one allocation.
#[derive(Debug)]
pub struct Converter {
    source: SourceFormat,
    target: MediaFormat,
    reader: pcm::SampleReader,
    resampler: Resampler,
    decoded: Vec<i16>,
    resampled: Vec<i16>,
    encoded: Vec<u8>,
    /// Encoded bytes that do not fill a frame yet.
    tail: BytesMut,
}

impl Converter {
    /// A converter from `source` to frames of `target`.
    ///
    /// # Errors
    /// [`RateError`] if no resampler joins the two rates.
    pub fn new(source: SourceFormat, target: MediaFormat) -> Result<Self, RateError> {
        Ok(Converter {
            source,
            target,
            reader: pcm::SampleReader::default(),
            resampler: Resampler::new(source.rate, target.rate)?,
            decoded: Vec::new(),
            resampled: Vec::new(),
            encoded: Vec::new(),
            tail: BytesMut::new(),
        })
    }

    /// What goes in.
    pub fn source(&self) -> SourceFormat {
        self.source
    }

    /// Takes a chunk and gives the whole frames that are ready, none or more in one slice.
    pub fn push(&mut self, chunk: &[u8]) -> Bytes {
        if self.is_pass_through() {
            self.tail.extend_from_slice(chunk);
            return self.whole_frames();
        }
        self.decoded.clear();
        match self.source.encoding {
            Encoding::Mulaw => g711::decode_mulaw_into(chunk, &mut self.decoded),
            Encoding::Alaw => g711::decode_alaw_into(chunk, &mut self.decoded),
            Encoding::PcmS16Le => self.reader.read_into(chunk, &mut self.decoded),
        }
        self.resampled.clear();
        self.resampler.push(&self.decoded, &mut self.resampled);
        self.encode();
        self.whole_frames()
    }

    /// Gives the rest, the last frame filled up with the format's silence, and starts afresh.
    pub fn finish(&mut self) -> Bytes {
        self.resampled.clear();
        self.resampler.finish(&mut self.resampled);
        self.encode();
        let partial = self.tail.len() % self.target.frame_bytes();
        if partial != 0 {
            let whole = self.tail.len() + self.target.frame_bytes() - partial;
            self.tail.resize(whole, self.target.encoding.silence());
        }
        let rest = self.whole_frames();
        self.reset();
        rest
    }

    /// Forgets everything that was pushed.
    pub fn reset(&mut self) {
        self.reader.reset();
        self.resampler.reset();
        self.tail.clear();
    }

    fn is_pass_through(&self) -> bool {
        self.source.encoding == self.target.encoding && self.source.rate == self.target.rate
    }

    fn encode(&mut self) {
        self.encoded.clear();
        match self.target.encoding {
            Encoding::Mulaw => g711::encode_mulaw_into(&self.resampled, &mut self.encoded),
            Encoding::Alaw => g711::encode_alaw_into(&self.resampled, &mut self.encoded),
            Encoding::PcmS16Le => pcm::write_into(&self.resampled, &mut self.encoded),
        }
        self.tail.extend_from_slice(&self.encoded);
    }

    fn whole_frames(&mut self) -> Bytes {
        let whole = self.tail.len() - self.tail.len() % self.target.frame_bytes();
        self.tail.split_to(whole).freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::super::resample::tests::tone;
    use super::*;

    const WIDE: SourceFormat = SourceFormat { encoding: Encoding::PcmS16Le, rate: 16_000 };

    fn bytes_of(samples: &[i16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        pcm::write_into(samples, &mut bytes);
        bytes
    }

    fn convert(source: SourceFormat, target: MediaFormat, audio: &[u8], chunk: usize) -> Vec<u8> {
        let mut converter = Converter::new(source, target).unwrap();
        let mut out = Vec::new();
        for part in audio.chunks(chunk) {
            let frames = converter.push(part);
            assert_eq!(frames.len() % target.frame_bytes(), 0);
            out.extend_from_slice(&frames);
        }
        out.extend_from_slice(&converter.finish());
        out
    }

    #[test]
    fn odd_chunks_and_whole_audio_give_the_same_frames() {
        let audio = bytes_of(&tone(600.0, 16_000, 0.333));
        let whole = convert(WIDE, MediaFormat::TELEPHONE, &audio, audio.len());
        // 333 ms are 16 whole frames and a partial one.
        assert_eq!(whole.len(), 17 * 160);
        for chunk in [1, 3, 641, 2_879] {
            assert!(convert(WIDE, MediaFormat::TELEPHONE, &audio, chunk) == whole, "chunks of {chunk}");
        }
    }

    #[test]
    fn mulaw_passes_through_and_is_padded_with_silence() {
        let source = SourceFormat { encoding: Encoding::Mulaw, rate: 8_000 };
        let audio: Vec<u8> = (0..=255).cycle().take(500).collect();
        let out = convert(source, MediaFormat::TELEPHONE, &audio, 77);
        assert_eq!(&out[..500], &audio[..]);
        assert_eq!(out.len(), 640);
        assert!(out[500..].iter().all(|byte| *byte == 0xFF));
    }

    #[test]
    fn a_carrier_may_speak_wide_pcm_in_long_frames() {
        let target = MediaFormat { encoding: Encoding::PcmS16Le, rate: 16_000, frame_ms: 100 };
        let audio = bytes_of(&tone(500.0, 16_000, 0.25));
        let out = convert(WIDE, target, &audio, 999);
        assert_eq!(out.len(), 3 * 3_200);
        assert_eq!(&out[..audio.len()], &audio[..]);
        assert_eq!(WIDE.micros_of(audio.len() as u64), 250_000);
        assert_eq!(WIDE.bytes_in(250_000), audio.len() as u64);
    }
}
