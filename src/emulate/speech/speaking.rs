//! Text to samples, and samples to what stands in a body.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::request::{Format, Framing, Request};
use super::{Shared, Voice};
use crate::audio::pcm;
use crate::emulate::tts::speaker::{resample, tone_words};
use crate::emulate::tts::tone;
use crate::voice::Word;

/// Speech for one text, not yet written down.
#[derive(Debug)]
pub(super) struct Speech {
    source: Source,
    /// Samples in all.
    pub(super) samples: u64,
    /// Word times in milliseconds from the first sample.
    pub(super) words: Vec<Word>,
}

#[derive(Debug)]
enum Source {
    Pcm(Vec<i16>),
    /// Computed when it is read, so that long texts cost nothing in advance.
    Tone {
        index: u32,
        rate: u32,
    },
}

impl Speech {
    /// Speaks for request number `number`, counted from 1. `None` if the voice failed.
    pub(super) async fn of(request: &Request, number: u64, shared: &Shared) -> Option<Self> {
        let rate = shared.settings.rate;
        match shared.settings.voice {
            Voice::Local => {
                let utterance = shared.pool.synthesize(&request.input, request.speed).await.ok()?;
                let (words, pcm) = (utterance.words, utterance.pcm);
                let pcm = tokio::task::spawn_blocking(move || resample(pcm, rate)).await.ok()??;
                Some(Self { samples: pcm.len() as u64, source: Source::Pcm(pcm), words })
            }
            Voice::Tone => {
                let speed = request.speed.unwrap_or(1.0);
                let at = |chars: usize| stretched(chars, speed);
                let samples = u64::from(at(request.input.chars().count())) * u64::from(rate) / 1_000;
                let source = Source::Tone { index: tone_of(number), rate };
                Some(Self { source, samples, words: tone_words(&request.input, at) })
            }
        }
    }

    /// Samples `at..at + count`, fewer at the end.
    pub(super) fn read(&self, at: u64, count: u64) -> Vec<i16> {
        let count = usize::try_from(count.min(self.samples.saturating_sub(at))).unwrap_or(usize::MAX);
        match &self.source {
            Source::Pcm(pcm) => {
                pcm.iter().skip(usize::try_from(at).unwrap_or(usize::MAX)).take(count).copied().collect()
            }
            Source::Tone { index, rate } => tone::samples(*index, *rate, at, count),
        }
    }
}

/// Which tone request number `number`, counted from 1, sounds at, as [`tone::classify`] reports it.
pub(super) fn tone_of(number: u64) -> u32 {
    u32::try_from(number.saturating_sub(1) % u64::from(tone::TONES)).unwrap_or_default()
}

/// When `chars` characters have sounded, in milliseconds.
#[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and texts are short")]
fn stretched(chars: usize, speed: f32) -> u32 {
    (chars as f64 * f64::from(tone::MS_PER_CHAR) / f64::from(speed)) as u32
}

/// What stands before the first sample of a body.
pub(super) fn preamble(format: Format, rate: u32) -> Vec<u8> {
    match format {
        Format::Pcm => Vec::new(),
        Format::Wav => wav_header(rate),
    }
}

/// A header for sound whose end nobody knows yet: both lengths are the largest there are, as streaming servers write them.
fn wav_header(rate: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(44);
    header.extend(b"RIFF\xff\xff\xff\xffWAVEfmt ");
    header.extend(16_u32.to_le_bytes());
    // Uncompressed, one channel.
    header.extend([1, 0, 1, 0]);
    header.extend(rate.to_le_bytes());
    header.extend((rate * 2).to_le_bytes());
    // Two bytes for a moment of all channels, 16 bits a sample.
    header.extend([2, 0, 16, 0]);
    header.extend(b"data\xff\xff\xff\xff");
    header
}

/// The bytes of samples.
pub(super) fn bytes_of(samples: &[i16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(samples.len() * 2);
    pcm::write_into(samples, &mut bytes);
    bytes
}

/// Audio as it stands in a body.
pub(super) fn framed(audio: Vec<u8>, framing: Framing) -> Vec<u8> {
    match framing {
        Framing::Audio => audio,
        Framing::Sse => event(&json!({"type": "speech.audio.delta", "audio": BASE64_STANDARD.encode(audio)})),
    }
}

/// What stands behind the last sample of a body.
pub(super) fn epilogue(framing: Framing, request: &Request) -> Vec<u8> {
    match framing {
        Framing::Audio => Vec::new(),
        Framing::Sse => {
            let tokens = request.input.split_whitespace().count();
            let usage = json!({"input_tokens": tokens, "output_tokens": tokens, "total_tokens": 2 * tokens});
            event(&json!({"type": "speech.audio.done", "usage": usage}))
        }
    }
}

fn event(data: &serde_json::Value) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wav_header_is_read_by_others() {
        let mut file = wav_header(24_000);
        // That reader takes a whole file only, whose lengths are known.
        file[4..8].copy_from_slice(&42_u32.to_le_bytes());
        file[40..].copy_from_slice(&6_u32.to_le_bytes());
        file.extend(bytes_of(&[1, -2, 3]));
        let reader = hound::WavReader::new(file.as_slice()).unwrap();
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 24_000, 16));
        let samples: Vec<i16> = reader.into_samples().map(Result::unwrap).collect();
        assert_eq!(samples, [1, -2, 3]);
    }
}
