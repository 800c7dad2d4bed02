//! The tones of a keypad, as ITU-T Q.23 has them: two at a time, one for the row and one for the column.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::time::Duration;

use super::sound::Sound;

/// Most keys at one time. With a pause in every second place they take minutes.
pub const KEYS_MAX: usize = 256;

/// Frequencies of the rows and of the columns in Hz, and the keys where they cross.
const ROWS: [(f64, [char; 4]); 4] = [
    (697.0, ['1', '2', '3', 'A']),
    (770.0, ['4', '5', '6', 'B']),
    (852.0, ['7', '8', '9', 'C']),
    (941.0, ['*', '0', '#', 'D']),
];
const COLUMNS: [f64; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];

/// Length of a key's tones, and of the silence behind them. Receivers want at least 40 ms of each (ITU-T Q.24).
const TONE: Duration = Duration::from_millis(100);
const GAP: Duration = Duration::from_millis(100);
/// What `w` stands for, as in Twilio's `<Play digits>`.
const PAUSE: Duration = Duration::from_millis(500);
/// Each of the two tones at -8 dBFS: together they stay below full scale.
const LEVEL: f64 = 0.398;
/// A tone that begins with its full level clicks, which receivers may take for something else.
const EDGE: Duration = Duration::from_millis(5);

/// Not keys that can be heard. It does not repeat what it was: that may be a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {KEYS_MAX} of 0-9, A-D, * and #, with w for a pause of half a second")]
pub struct TonesError;

/// Keys and pauses. `Debug` shows how many: they may be a PIN.
#[derive(Clone, PartialEq, Eq)]
pub struct Tones(Vec<Key>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Pause,
    /// Row and column.
    Tones(usize, usize),
}

impl std::fmt::Debug for Tones {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tones({})", self.0.len())
    }
}

impl Tones {
    /// Reads `0`-`9`, `A`-`D`, `*`, `#` and `w`; letters of either case.
    ///
    /// # Errors
    /// [`TonesError`].
    pub fn parse(text: &str) -> Result<Self, TonesError> {
        if !(1..=KEYS_MAX).contains(&text.len()) {
            return Err(TonesError);
        }
        text.chars().map(|c| key(c.to_ascii_uppercase())).collect::<Option<_>>().map(Tones).ok_or(TonesError)
    }

    /// How they sound, in `rate` samples a second.
    pub fn sound(&self, rate: u32) -> Sound {
        let mut rendered: BTreeMap<Key, Vec<i16>> = BTreeMap::new();
        let mut samples = Vec::new();
        for key in &self.0 {
            samples.extend_from_slice(rendered.entry(*key).or_insert_with(|| key.samples(rate)));
        }
        Sound::new(&samples, rate)
    }
}

fn key(c: char) -> Option<Key> {
    if c == 'W' {
        return Some(Key::Pause);
    }
    let place = |(row, (_, keys)): (usize, &(f64, [char; 4]))| {
        keys.iter().position(|key| *key == c).map(|column| Key::Tones(row, column))
    };
    ROWS.iter().enumerate().find_map(place)
}

impl Key {
    fn samples(self, rate: u32) -> Vec<i16> {
        let Key::Tones(row, column) = self else { return vec![0; count(PAUSE, rate)] };
        let (Some((low, _)), Some(high)) = (ROWS.get(row), COLUMNS.get(column)) else { return Vec::new() };
        let (tone, edge) = (count(TONE, rate), count(EDGE, rate).max(1));
        let wave = |n: usize| {
            let turns = |hz: f64| (TAU * hz * n as f64 / f64::from(rate.max(1))).sin();
            let from_edge = n.min(tone - 1 - n).min(edge) as f64 / edge as f64;
            let swell = 0.5 - 0.5 * (from_edge * TAU / 2.0).cos();
            to_i16((turns(*low) + turns(*high)) * LEVEL * swell)
        };
        (0..tone).map(wave).chain(std::iter::repeat_n(0, count(GAP, rate))).collect()
    }
}

/// Samples in so much time.
fn count(time: Duration, rate: u32) -> usize {
    usize::try_from(time.as_micros() * u128::from(rate) / 1_000_000).unwrap_or(0)
}

#[expect(clippy::cast_possible_truncation, reason = "two tones at their level stay within the range")]
fn to_i16(level: f64) -> i16 {
    (level * f64::from(i16::MAX)).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::g711;

    const RATE: u32 = 8_000;
    const KEYS: &str = "1234567890*#ABCD";

    /// Power of `hz` in `samples`, by Goertzel's recurrence: 1 for a tone of full scale.
    fn power(samples: &[i16], hz: f64) -> f64 {
        let w = TAU * hz / f64::from(RATE);
        let (mut one, mut two) = (0.0, 0.0);
        for sample in samples {
            let next = f64::from(*sample) / 32_768.0 + 2.0 * w.cos() * one - two;
            (two, one) = (one, next);
        }
        let sum = one * one + two * two - 2.0 * w.cos() * one * two;
        sum * 4.0 / (samples.len() as f64).powi(2)
    }

    /// What a receiver makes of 40 ms: a key, if one row and one column stand out by 12 dB and make up nearly all of it.
    fn recognise(samples: &[i16]) -> Option<char> {
        let all: f64 = samples.iter().map(|sample| (f64::from(*sample) / 32_768.0).powi(2)).sum();
        let all = all * 2.0 / samples.len() as f64;
        let one_of = |tones: [f64; 4]| {
            let powers = tones.map(|hz| power(samples, hz));
            let best = (0..4).max_by(|a, b| powers[*a].total_cmp(&powers[*b])).unwrap();
            let stands_out = (0..4).all(|other| other == best || powers[other] * 16.0 < powers[best]);
            stands_out.then_some((best, powers[best]))
        };
        let ((row, low), (column, high)) = (one_of(ROWS.map(|(hz, _)| hz))?, one_of(COLUMNS)?);
        (low + high > 0.8 * all && low > 0.05 && high > 0.05).then(|| ROWS[row].1[column])
    }

    /// The keys of a sound, each with the 10 ms blocks in which it was recognised.
    fn keys(samples: &[i16]) -> Vec<(char, usize)> {
        let (mut found, mut before): (Vec<(char, usize)>, _) = (Vec::new(), None);
        for window in samples.windows(320).step_by(80) {
            let now = recognise(window);
            match (now, found.last_mut()) {
                (Some(key), Some((last, blocks))) if before == now && *last == key => *blocks += 1,
                (Some(key), _) => found.push((key, 1)),
                (None, _) => {}
            }
            before = now;
        }
        found
    }

    fn after_the_line(tones: &str) -> Vec<i16> {
        let sound = Tones::parse(tones).unwrap().sound(RATE);
        let piece = sound.piece(1, Duration::ZERO, sound.length(), Duration::from_secs(1));
        let samples: Vec<i16> = piece
            .flat_map(|bytes| bytes.to_vec())
            .collect::<Vec<u8>>()
            .chunks(2)
            .map(|b| i16::from_le_bytes([b[0], b[1]]))
            .collect();
        let (mut mulaw, mut heard) = (Vec::new(), Vec::new());
        g711::encode_mulaw_into(&samples, &mut mulaw);
        g711::decode_mulaw_into(&mulaw, &mut heard);
        heard
    }

    #[test]
    fn every_key_is_recognised_on_a_telephone_line_and_nothing_else_is() {
        let heard = after_the_line(KEYS);
        assert_eq!(heard.len(), KEYS.len() * 1_600);
        let found = keys(&heard);
        assert_eq!(found.iter().map(|(key, _)| *key).collect::<String>(), KEYS);
        // 100 ms of tones hold seven windows of 40 ms, and some more on their edges.
        assert!(found.iter().all(|(_, blocks)| (6..=10).contains(blocks)), "{found:?}");
        assert!(heard.iter().all(|sample| sample.unsigned_abs() < 27_000), "two tones clip");
    }

    #[test]
    fn the_same_key_twice_is_two_and_a_pause_lasts_half_a_second() {
        let heard = after_the_line("55w5");
        assert_eq!(keys(&heard).iter().map(|(key, _)| *key).collect::<String>(), "555");
        assert_eq!(heard.len(), 3 * 1_600 + 4_000);
        assert!(heard[2 * 1_600..2 * 1_600 + 4_000].iter().all(|sample| *sample == 0));
    }

    #[test]
    fn tones_begin_and_end_softly_at_minus_eight_decibels_each() {
        let heard = after_the_line("1");
        assert!(heard[..8].iter().chain(&heard[792..]).all(|sample| sample.unsigned_abs() < 2_500));
        for hz in [697.0, 1_209.0] {
            let level = 10.0 * power(&heard[80..720], hz).log10();
            assert!((-8.5..-7.5).contains(&level), "{hz} Hz: {level} dB");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_never_shown() {
        for text in ["", "1 2", "x", "1p2", "é", &"1".repeat(KEYS_MAX + 1)] {
            assert_eq!(Tones::parse(text), Err(TonesError), "{text}");
        }
        assert_eq!(Tones::parse("bW#"), Tones::parse("Bw#"));
        assert_eq!(format!("{:?}", Tones::parse("4711").unwrap()), "Tones(4)");
    }
}
