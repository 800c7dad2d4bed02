//! The tone voice: every context sounds at its own frequency, so that samples prove which turn a frame belongs to.
//!
//! **The rule.** Contexts are counted from 0 over the life of a server; context *n* sounds at
//! `1150 + 100 * ((9 * n) mod 23)` Hz: 23 tones from 1150 to 3350 Hz, inside the telephone band. All are odd multiples of
//! 50 Hz, therefore:
//!
//! - any 20 ms or 40 ms of a tone hold whole periods of it, and a Goertzel filter at one tone sees nothing of another;
//! - second harmonics are even multiples of 50 Hz and meet no tone; third harmonics lie above the band.
//!
//! Neighbours in time are at least 900 Hz apart. Tones repeat after 23 contexts.
//!
//! A tone lasts [`MS_PER_CHAR`] for each character of the text, white space and punctuation too, and a word sounds while
//! its characters do: from milliseconds to the place in the text is one division.

use std::f64::consts::TAU;

/// Number of different tones, a prime, so that stepping through them visits all.
pub const TONES: u32 = 23;

/// How long one character of text sounds at natural speed, in milliseconds.
pub const MS_PER_CHAR: u32 = 60;

/// Peak of a tone: about 10 dB below full scale.
const PEAK: f64 = 10_000.0;

/// Share of a frame's energy that must be at one tone for the frame to belong to it.
const SHARE_MIN: f64 = 0.6;

/// Quietest frame that is judged at all, as the root mean square of its samples.
const RMS_MIN: f64 = 300.0;

/// Frequency in Hz of context number `index`, counted from 0.
pub const fn frequency_of(index: u32) -> u32 {
    1_150 + 100 * (9 * (index % TONES) % TONES)
}

/// Which tone `samples` at `rate` Hz belong to, as the number of its context modulo [`TONES`].
///
/// `None` for silence, speech or a mixture in which no tone has the greater part. Use 20 to 40 ms: less cannot tell the
/// tones apart.
pub fn classify(samples: &[i16], rate: u32) -> Option<u32> {
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    let count = samples.len() as f64;
    if samples.is_empty() || energy < RMS_MIN * RMS_MIN * count {
        return None;
    }
    let (index, power) = (0..TONES)
        .map(|index| (index, power_at(samples, f64::from(frequency_of(index)) / f64::from(rate))))
        .max_by(|one, other| one.1.total_cmp(&other.1))?;
    // A pure tone of energy E over n samples has a Goertzel power of E * n / 2.
    (power >= SHARE_MIN * energy * count / 2.0).then_some(index)
}

/// Goertzel's filter: squared magnitude of `samples` at `frequency`, given as a fraction of the sampling rate.
fn power_at(samples: &[i16], frequency: f64) -> f64 {
    let coefficient = 2.0 * (TAU * frequency).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        let now = f64::from(*sample) + coefficient * last - before;
        (before, last) = (last, now);
    }
    last * last + before * before - coefficient * last * before
}

/// Samples `from..from + count` of the tone of context `index` at `rate` Hz. The phase is that of sample 0, so pieces join
/// without a click.
pub(in crate::emulate) fn samples(index: u32, rate: u32, from: u64, count: usize) -> Vec<i16> {
    let (frequency, rate) = (u64::from(frequency_of(index)), u64::from(rate.max(1)));
    (from..).take(count).map(|n| sample(frequency.wrapping_mul(n) % rate, rate)).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "a sine of PEAK fits into i16")]
fn sample(phase: u64, rate: u64) -> i16 {
    ((TAU * phase as f64 / rate as f64).sin() * PEAK).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::g711;

    fn through_mulaw(samples: &[i16]) -> Vec<i16> {
        let (mut words, mut out) = (Vec::new(), Vec::new());
        g711::encode_mulaw_into(samples, &mut words);
        g711::decode_mulaw_into(&words, &mut out);
        out
    }

    #[test]
    fn every_tone_is_recognised_in_20_ms_through_mulaw_at_any_phase() {
        for index in 0..3 * TONES {
            for from in [0, 37, 1_001] {
                let tone = samples(index, 8_000, from, 160);
                assert_eq!(classify(&through_mulaw(&tone), 8_000), Some(index % TONES), "context {index} from {from}");
            }
        }
    }

    #[test]
    fn every_tone_is_recognised_at_every_rate() {
        for rate in [16_000, 22_050, 24_000, 44_100, 48_000] {
            for index in 0..TONES {
                let tone = samples(index, rate, 11, rate as usize / 50);
                assert_eq!(classify(&tone, rate), Some(index), "context {index} at {rate} Hz");
            }
        }
    }

    #[test]
    fn all_tones_lie_in_the_telephone_band_and_differ() {
        let mut frequencies: Vec<_> = (0..TONES).map(frequency_of).collect();
        assert!(frequencies.windows(2).all(|pair| pair[0].abs_diff(pair[1]) >= 900));
        frequencies.sort_unstable();
        frequencies.dedup();
        assert_eq!(frequencies.len(), 23);
        assert_eq!((frequencies[0], frequencies[22]), (1_150, 3_350));
    }

    #[test]
    fn silence_noise_and_equal_mixtures_belong_to_nobody() {
        assert_eq!(classify(&[0; 160], 8_000), None);
        assert_eq!(classify(&[], 8_000), None);
        let mut state: u32 = 1;
        let noise: Vec<i16> = (0..160)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                i16::from_le_bytes([state.to_le_bytes()[2], state.to_le_bytes()[3]]) / 4
            })
            .collect();
        assert_eq!(classify(&noise, 8_000), None);
        let mix: Vec<i16> =
            samples(1, 8_000, 0, 160).iter().zip(samples(2, 8_000, 0, 160)).map(|(a, b)| a / 2 + b / 2).collect();
        assert_eq!(classify(&mix, 8_000), None);
    }

    #[test]
    fn a_leak_under_a_louder_tone_does_not_hide_it() {
        let mix: Vec<i16> =
            samples(4, 8_000, 0, 160).iter().zip(samples(5, 8_000, 0, 160)).map(|(a, b)| a + b / 4).collect();
        assert_eq!(classify(&through_mulaw(&mix), 8_000), Some(4));
    }

    #[test]
    fn pieces_join_without_a_click() {
        let whole = samples(7, 8_000, 0, 1_000);
        let pieces = [samples(7, 8_000, 0, 333), samples(7, 8_000, 333, 667)].concat();
        assert!(whole == pieces);
    }
}
