//! Audio that says of itself what it is, so that nobody has to be believed about what was played.
//!
//! *Counted* sound carries, in every millisecond of eight mu-law samples, the number of its context and the number of the
//! millisecond. The upper bits of each sample say which of the eight it is, so that a shifted, foreign or mixed sample is
//! seen at once. It survives mu-law and 16-bit PCM at 8 kHz. *Tones* give each context a frequency; they survive resampling.

use std::f64::consts::TAU;

/// Samples of a millisecond on the telephone line.
pub(crate) const PER_MS: usize = 8;
/// Mu-law silence, which pads the last frame of a context.
pub(crate) const SILENCE: u8 = 0xFF;
/// Upper bits of each of the eight samples of a counted millisecond.
const PLACES: [u8; PER_MS] = [0x00, 0x20, 0x40, 0x80, 0xA0, 0xC0, 0xE0, 0x60];
/// Frequencies lie so far apart that twenty milliseconds of one hold nothing of another.
const TONE_STEP_HZ: u32 = 100;
const TONE_FIRST_HZ: u32 = 400;
const TONES: u32 = 24;
/// Fewer samples of a tone, where speech begins or ends, say too little about its frequency.
const SPAN_MIN: usize = 100;

/// How a context's audio is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sound {
    Counted,
    Tones,
}

/// How a voice was asked to write samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Mulaw8k,
    Pcm { rate: u32 },
}

impl Coding {
    pub(crate) fn bytes_per_ms(self) -> usize {
        match self {
            Coding::Mulaw8k => PER_MS,
            Coding::Pcm { rate } => rate as usize / 1_000 * 2,
        }
    }
}

/// One millisecond of speech: whose, and which one of its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unit {
    pub(crate) number: u16,
    pub(crate) ms: u32,
}

/// The milliseconds from `from` to `to` of the context `number`.
pub(crate) fn make(sound: Sound, coding: Coding, number: u16, from: u32, to: u32) -> Vec<u8> {
    match (sound, coding) {
        (Sound::Counted, Coding::Mulaw8k) => counted(number, from, to),
        (Sound::Counted, Coding::Pcm { rate: 8_000 }) => {
            counted(number, from, to).into_iter().flat_map(|byte| linear(byte).to_le_bytes()).collect()
        }
        (Sound::Counted, Coding::Pcm { rate }) => panic!("counters do not survive {rate} Hz"),
        (Sound::Tones, Coding::Mulaw8k) => tone(8_000, number, from, to).into_iter().map(mulaw).collect(),
        (Sound::Tones, Coding::Pcm { rate }) => {
            tone(rate, number, from, to).into_iter().flat_map(i16::to_le_bytes).collect()
        }
    }
}

fn counted(number: u16, from: u32, to: u32) -> Vec<u8> {
    assert!(number < 1_024, "{number} contexts are more than can be told apart");
    let mut bytes = Vec::with_capacity((to - from) as usize * PER_MS);
    for ms in from..to {
        let values = [
            u32::from(number),
            u32::from(number) >> 5,
            ms,
            ms >> 5,
            ms >> 10,
            ms >> 15,
            u32::from(number) & 15,
            ms & 15,
        ];
        bytes.extend(PLACES.iter().zip(values).map(|(place, value)| place | (value & 31) as u8));
    }
    bytes
}

fn tone(rate: u32, number: u16, from: u32, to: u32) -> Vec<i16> {
    let step = TAU * f64::from(frequency(number)) / f64::from(rate);
    let per_ms = rate / 1_000;
    (from * per_ms..to * per_ms).map(|n| (8_000.0 * (step * f64::from(n)).sin()) as i16).collect()
}

fn frequency(number: u16) -> u32 {
    TONE_FIRST_HZ + TONE_STEP_HZ * (u32::from(number) % TONES)
}

/// What a frame of counted sound holds: one entry for each millisecond, `None` where it is padding.
pub(crate) fn read_counted(frame: &[u8]) -> Vec<Option<Unit>> {
    frame.chunks(PER_MS).map(read_unit).collect()
}

fn read_unit(bytes: &[u8]) -> Option<Unit> {
    let heard = bytes.iter().position(|byte| *byte == SILENCE).unwrap_or(bytes.len());
    assert!(bytes[heard..].iter().all(|byte| *byte == SILENCE), "speech behind padding: {bytes:02x?}");
    for (byte, place) in bytes[..heard].iter().zip(PLACES) {
        assert_eq!(byte & 0xE0, place, "a sample that nobody made, or not here: {bytes:02x?}");
    }
    let low = |at: usize| u32::from(bytes[at] & 31);
    // A millisecond that broke off is filled up with silence: it says too little to be anybody's.
    (heard == PER_MS).then(|| {
        let unit =
            Unit { number: (low(0) | low(1) << 5) as u16, ms: low(2) | low(3) << 5 | low(4) << 10 | low(5) << 15 };
        assert_eq!((low(6), low(7)), (u32::from(unit.number) & 15, unit.ms & 15), "two contexts in one millisecond");
        unit
    })
}

/// Whose tone a frame holds: the one among `live` whose frequency has most of its power; `None` if it is silent.
pub(crate) fn read_tone(frame: &[u8], live: &[u16]) -> Option<u16> {
    let is_loud = |byte: &&u8| linear(**byte).unsigned_abs() > 300;
    let first = frame.iter().position(|byte| is_loud(&byte))?;
    let last = frame.iter().rposition(|byte| is_loud(&byte))?;
    if last - first < SPAN_MIN {
        return None;
    }
    let samples: Vec<f64> = frame[first..=last].iter().map(|byte| f64::from(linear(*byte))).collect();
    let power = samples.iter().map(|sample| sample * sample).sum::<f64>() / samples.len() as f64;
    let share = |number: u16| {
        let step = TAU * f64::from(frequency(number)) / 8_000.0;
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let angle = step * n as f64;
            re += sample * angle.cos();
            im += sample * angle.sin();
        }
        2.0 * (re * re + im * im) / (samples.len() as f64).powi(2) / power
    };
    let best = live.iter().copied().max_by(|a, b| share(*a).total_cmp(&share(*b))).expect("somebody speaks");
    assert!(share(best) > 0.5, "a sound that nobody made: {:.2} of it is {best}'s", share(best));
    Some(best)
}

/// A mu-law byte as a 16-bit sample (ITU-T G.711).
pub(crate) fn linear(byte: u8) -> i16 {
    let bits = !byte;
    let magnitude = ((i16::from(bits & 0x0F) << 3) + 0x84) << ((bits & 0x70) >> 4);
    if bits & 0x80 == 0 { magnitude - 0x84 } else { 0x84 - magnitude }
}

/// A 16-bit sample as a mu-law byte.
pub(crate) fn mulaw(sample: i16) -> u8 {
    let magnitude = (i32::from(sample).abs() + 0x84).min(0x7FFF);
    let exponent = (24 - magnitude.leading_zeros()).min(7);
    let mantissa = magnitude >> (exponent + 3) & 0x0F;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

#[test]
fn counted_sound_tells_what_it_is() {
    let bytes = make(Sound::Counted, Coding::Mulaw8k, 700, 39, 60);
    let units: Vec<Unit> = read_counted(&bytes).into_iter().flatten().collect();
    assert_eq!(units.len(), 21);
    assert_eq!((units[0], units[20]), (Unit { number: 700, ms: 39 }, Unit { number: 700, ms: 59 }));
    let pcm = make(Sound::Counted, Coding::Pcm { rate: 8_000 }, 700, 39, 60);
    let again: Vec<u8> = pcm.chunks(2).map(|two| mulaw(i16::from_le_bytes([two[0], two[1]]))).collect();
    assert_eq!(bytes, again, "counters survive linear samples");
    assert!(std::panic::catch_unwind(|| read_counted(&bytes[3..11])).is_err(), "a shifted sample is seen");
}

#[test]
fn tones_are_told_apart() {
    let frame = make(Sound::Tones, Coding::Mulaw8k, 5, 7, 27);
    assert_eq!(read_tone(&frame, &[3, 4, 5, 6, 7]), Some(5));
    assert_eq!(read_tone(&[SILENCE; 160], &[5]), None);
    assert!(std::panic::catch_unwind(|| read_tone(&frame, &[3, 4])).is_err(), "a foreign tone is seen");
}

#[test]
fn every_mulaw_byte_survives() {
    // The two zeros are one number.
    for byte in (0..=u8::MAX).filter(|byte| *byte != 0x7F) {
        assert_eq!(mulaw(linear(byte)), byte, "{byte:02x} {}", linear(byte));
    }
}
