//! Text to samples at the client's rate, and samples to the client's encoding.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};

use super::order::Order;
use super::tone;
use crate::audio::{g711, pcm};
use crate::voice::{self, Pool, Word};

/// Length of the resampler's blocks in milliseconds: short enough not to smear, and a whole number of samples at every
/// rate (22,050 Hz has 441 in 20 ms).
const BLOCK_MS: u32 = 20;

/// How a sample is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulate) enum SampleEncoding {
    S16Le,
    F32Le,
    Mulaw,
    Alaw,
}

impl SampleEncoding {
    pub(in crate::emulate) const fn sample_bytes(self) -> usize {
        match self {
            SampleEncoding::S16Le => 2,
            SampleEncoding::F32Le => 4,
            SampleEncoding::Mulaw | SampleEncoding::Alaw => 1,
        }
    }
}

/// What speaks for one context.
#[derive(Clone, Debug)]
pub(in crate::emulate) enum Speaker {
    /// The embedded voice.
    Local(Pool),
    /// The tone of the context with this number.
    Tone(u32),
}

/// Speech for one text, not yet encoded.
#[derive(Debug)]
pub(in crate::emulate) struct Speech {
    source: Source,
    /// Samples in all, at the client's rate.
    pub(in crate::emulate) samples: u64,
    /// Word times in milliseconds from the first sample of this text.
    pub(in crate::emulate) words: Vec<Word>,
}

#[derive(Debug)]
enum Source {
    Pcm(Vec<i16>),
    /// A tone is computed when it is read, so that long texts at high rates cost nothing in advance.
    Tone {
        index: u32,
        from: u64,
        rate: u32,
    },
    Silence,
}

impl Speaker {
    /// Speaks `text`; `from` samples of the context came before. `None` if the voice failed.
    pub(in crate::emulate) async fn speak(&self, text: &str, from: u64, order: &Order) -> Option<Speech> {
        let rate = order.rate;
        let mut speech = match self {
            Speaker::Local(pool) => {
                let utterance = pool.synthesize(text, order.speed).await.ok()?;
                let words = utterance.words;
                let pcm = tokio::task::spawn_blocking(move || resample(utterance.pcm, rate)).await.ok()??;
                Speech { samples: pcm.len() as u64, source: Source::Pcm(pcm), words }
            }
            Speaker::Tone(index) => {
                let speed = order.speed.unwrap_or(1.0);
                let at = |chars: usize| stretched(chars, speed);
                let samples = u64::from(at(text.chars().count())) * u64::from(rate) / 1_000;
                Speech { samples, source: Source::Tone { index: *index, from, rate }, words: tone_words(text, at) }
            }
        };
        if let (Some(volume), Source::Pcm(pcm)) = (order.volume, &mut speech.source) {
            pcm.iter_mut().for_each(|sample| *sample = scaled(*sample, volume));
        }
        Some(speech)
    }
}

/// When `chars` characters have sounded, in milliseconds.
#[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and texts are short")]
fn stretched(chars: usize, speed: f32) -> u32 {
    (chars as f64 * f64::from(tone::MS_PER_CHAR) / f64::from(speed)) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "a float cast saturates: loud samples clip, as they should")]
fn scaled(sample: i16, volume: f32) -> i16 {
    (f32::from(sample) * volume).round() as i16
}

/// Each word sounds while its characters do.
pub(in crate::emulate) fn tone_words(text: &str, at: impl Fn(usize) -> u32) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut inside = false;
    for (index, c) in text.chars().enumerate() {
        if c.is_whitespace() {
            inside = false;
            continue;
        }
        if !inside {
            words.push(Word { text: String::new(), start_ms: at(index), end_ms: at(index) });
            inside = true;
        }
        if let Some(word) = words.last_mut() {
            word.text.push(c);
            word.end_ms = at(index + 1);
        }
    }
    words
}

impl Speech {
    /// Nothing for `ms` milliseconds.
    pub(in crate::emulate) fn silence(ms: u32, rate: u32) -> Self {
        Self { source: Source::Silence, samples: u64::from(ms) * u64::from(rate) / 1_000, words: Vec::new() }
    }

    /// Samples `at..at + count`, fewer at the end.
    pub(in crate::emulate) fn read(&self, at: u64, count: u64) -> Vec<i16> {
        let count = usize::try_from(count.min(self.samples.saturating_sub(at))).unwrap_or(usize::MAX);
        match &self.source {
            Source::Pcm(pcm) => {
                pcm.iter().skip(usize::try_from(at).unwrap_or(usize::MAX)).take(count).copied().collect()
            }
            Source::Tone { index, from, rate } => tone::samples(*index, *rate, from + at, count),
            Source::Silence => vec![0; count],
        }
    }
}

/// The local voice's samples at `rate`, without delay and of the same length in time. `None` is a bug in the arguments.
pub(in crate::emulate) fn resample(pcm: Vec<i16>, rate: u32) -> Option<Vec<i16>> {
    if rate == voice::RATE || pcm.is_empty() {
        return Some(pcm);
    }
    let block = (voice::RATE * BLOCK_MS / 1_000) as usize;
    let mut resampler = Fft::<f64>::new(voice::RATE as usize, rate as usize, block, 1, FixedSync::Both).ok()?;
    let input: Vec<f64> = pcm.iter().map(|sample| f64::from(*sample)).collect();
    let adapter = InterleavedSlice::new(&input, 1, input.len()).ok()?;
    let output = resampler.process_all(&adapter, input.len(), None).ok()?;
    Some(output.take_data().into_iter().map(rounded).collect())
}

#[expect(clippy::cast_possible_truncation, reason = "a float cast saturates: overshoot clips, as it should")]
fn rounded(sample: f64) -> i16 {
    sample.round() as i16
}

/// `samples` in the client's encoding.
pub(in crate::emulate) fn encode(samples: &[i16], encoding: SampleEncoding) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(samples.len() * encoding.sample_bytes());
    match encoding {
        SampleEncoding::S16Le => pcm::write_into(samples, &mut bytes),
        SampleEncoding::F32Le => {
            bytes.extend(samples.iter().flat_map(|sample| (f32::from(*sample) / 32_768.0).to_le_bytes()));
        }
        SampleEncoding::Mulaw => g711::encode_mulaw_into(samples, &mut bytes),
        SampleEncoding::Alaw => g711::encode_alaw_into(samples, &mut bytes),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tone_words_cover_their_characters() {
        let words = tone_words(" Hé, you", |chars| stretched(chars, 1.0));
        let spans: Vec<_> = words.iter().map(|word| (word.text.as_str(), word.start_ms, word.end_ms)).collect();
        assert_eq!(spans, [("Hé,", 60, 240), ("you", 300, 480)]);
        assert_eq!(stretched(10, 1.5), 400);
    }

    #[test]
    fn resampling_keeps_length_and_pitch_at_every_rate() {
        let tone: Vec<i16> = tone::samples(3, 16_000, 0, 8_000);
        for rate in [8_000_u32, 22_050, 24_000, 44_100, 48_000] {
            let out = resample(tone.clone(), rate).unwrap();
            assert_eq!(out.len(), rate as usize / 2, "{rate}");
            let middle = &out[out.len() / 2..out.len() / 2 + rate as usize / 50];
            assert_eq!(tone::classify(middle, rate), Some(3), "{rate}");
        }
    }

    #[test]
    fn encodings_have_their_sizes_and_values() {
        let samples = [0, 16_384, i16::MIN];
        assert_eq!(encode(&samples, SampleEncoding::S16Le), [0, 0, 0, 0x40, 0, 0x80]);
        let floats: Vec<f32> = encode(&samples, SampleEncoding::F32Le)
            .chunks(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        assert_eq!(floats, [0.0, 0.5, -1.0]);
        assert_eq!(encode(&samples, SampleEncoding::Mulaw).len(), 3);
        assert_eq!(encode(&[0], SampleEncoding::Alaw), [0xD5]);
    }
}
