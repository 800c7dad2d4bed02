//! WAV files as what a caller says.

use std::f64::consts::PI;
use std::io::Read;
use std::path::Path;

use crate::audio::MediaFormat;

/// Sampling rates read, in Hz.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=48_000;

/// Longest recording read, in seconds: bounds the memory that a wrong file can take.
const SECONDS_MAX: u32 = 600;

/// Zero crossings of the resampling filter on either side. The tests hold 6 kHz at 60 dB below full level with it.
const CROSSINGS: f64 = 32.0;

/// Where the filter begins to cut, relative to half the lower rate.
const BAND: f64 = 0.95;

/// Why a recording cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// The file cannot be read as WAV.
    #[error("not a readable wav file")]
    Wav(#[from] hound::Error),
    /// The samples are not 16-bit integers.
    #[error("the samples are not 16-bit integers")]
    Samples,
    /// More than one channel.
    #[error("the recording has {0} channels, one is needed")]
    Channels(u16),
    /// A sampling rate outside 8 to 48 kHz.
    #[error("the sampling rate is {0} hz, from 8000 to 48000 are possible")]
    Rate(u32),
    /// Longer than ten minutes.
    #[error("the recording is longer than {SECONDS_MAX} seconds")]
    Long,
}

/// Reads a WAV file of one channel and 16-bit samples at 8 to 48 kHz as samples at 8 kHz.
///
/// # Errors
/// [`ClipError`] says what is wrong with the file.
pub fn read_clip(path: &Path) -> Result<Vec<i16>, ClipError> {
    clip_from(hound::WavReader::open(path)?)
}

/// The same for a WAV file in memory.
///
/// # Errors
/// [`ClipError`] says what is wrong with it.
pub fn clip_of(wav: &[u8]) -> Result<Vec<i16>, ClipError> {
    clip_from(hound::WavReader::new(wav)?)
}

fn clip_from<R: Read>(mut file: hound::WavReader<R>) -> Result<Vec<i16>, ClipError> {
    let spec = file.spec();
    if spec.channels != 1 {
        return Err(ClipError::Channels(spec.channels));
    }
    if spec.bits_per_sample != 16 || spec.sample_format != hound::SampleFormat::Int {
        return Err(ClipError::Samples);
    }
    if !RATES.contains(&spec.sample_rate) {
        return Err(ClipError::Rate(spec.sample_rate));
    }
    if file.duration() > spec.sample_rate.saturating_mul(SECONDS_MAX) {
        return Err(ClipError::Long);
    }
    let samples = file.samples().collect::<Result<Vec<i16>, _>>()?;
    Ok(to_telephone_rate(samples, spec.sample_rate))
}

/// Band-limited interpolation with a windowed sinc: slow, exact, and done once a file.
fn to_telephone_rate(samples: Vec<i16>, rate: u32) -> Vec<i16> {
    let target = MediaFormat::TELEPHONE.rate;
    if rate == target {
        return samples;
    }
    let step = f64::from(rate) / f64::from(target);
    let cutoff = BAND / step;
    let reach = (CROSSINGS / cutoff).ceil();
    let count = samples.len() as u64 * u64::from(target) / u64::from(rate);
    (0..count)
        .map(|n| {
            let centre = n as f64 * step;
            let first = index(centre - reach);
            let taps = samples.iter().enumerate().skip(first).take(index(2.0 * reach) + 2);
            let sum: f64 = taps.map(|(k, sample)| f64::from(*sample) * tap(k as f64 - centre, cutoff, reach)).sum();
            sample(sum)
        })
        .collect()
}

/// The filter's value `x` samples from its centre.
fn tap(x: f64, cutoff: f64, reach: f64) -> f64 {
    if x.abs() >= reach {
        return 0.0;
    }
    let sinc = if x == 0.0 { cutoff } else { (PI * cutoff * x).sin() / (PI * x) };
    let window = 0.42 + 0.5 * (PI * x / reach).cos() + 0.08 * (2.0 * PI * x / reach).cos();
    sinc * window
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast stops at the ends")]
fn index(value: f64) -> usize {
    value.max(0.0) as usize
}

#[expect(clippy::cast_possible_truncation, reason = "a float cast stops at the ends, which is what clipping is")]
fn sample(value: f64) -> i16 {
    value.round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64, rate: u32) -> Vec<i16> {
        let step = 2.0 * PI * hertz / f64::from(rate);
        (0..rate).map(|n| sample(10_000.0 * (step * f64::from(n)).sin())).collect()
    }

    fn level(samples: &[i16]) -> f64 {
        let middle = &samples[1_000..samples.len() - 1_000];
        (middle.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / middle.len() as f64).sqrt()
    }

    #[test]
    fn speech_survives_the_change_of_rate_and_what_telephones_lack_does_not() {
        for rate in [16_000, 22_050, 44_100] {
            let low = to_telephone_rate(tone(1_000.0, rate), rate);
            assert_eq!(low.len(), 8_000);
            let expected = tone(1_000.0, 8_000);
            let errors: Vec<i16> = low.iter().zip(&expected).map(|(a, b)| a - b).collect();
            assert!(level(&errors) < 30.0, "{rate}: {}", level(&errors));
            let high = to_telephone_rate(tone(6_000.0, rate), rate);
            assert!(level(&high) < 10.0, "{rate}: {}", level(&high));
        }
    }

    #[test]
    fn files_that_cannot_be_spoken_are_refused() {
        let path = std::env::temp_dir().join(format!("trunkline-clip-{}.wav", std::process::id()));
        let write = |channels, sample_rate| {
            let sample_format = hound::SampleFormat::Int;
            let spec = hound::WavSpec { channels, sample_rate, bits_per_sample: 16, sample_format };
            let mut file = hound::WavWriter::create(&path, spec).unwrap();
            for n in 0..160_i16 {
                file.write_sample(n).unwrap();
            }
            file.finalize().unwrap();
        };
        write(1, 8_000);
        assert_eq!(read_clip(&path).unwrap(), (0..160).collect::<Vec<i16>>());
        write(1, 16_000);
        assert_eq!(read_clip(&path).unwrap().len(), 80);
        write(2, 8_000);
        assert!(matches!(read_clip(&path), Err(ClipError::Channels(2))));
        write(1, 4_000);
        assert!(matches!(read_clip(&path), Err(ClipError::Rate(4_000))));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read_clip(&path), Err(ClipError::Wav(_))));
    }
}
