//! Voice detection on recorded human speech over a telephone line, clean and in noise.

#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "tests know their own numbers")]

use std::path::Path;

use trunkline::audio::vad::{Change, Detector, Settings};
use trunkline::audio::{MediaFormat, g711};
use trunkline::emulate::carrier::read_clip;

/// Samples in a millisecond of telephone audio.
const PER_MS: usize = 8;
/// Silence before and after each clip.
const MARGIN_MS: usize = 1_500;

/// Clip, and where its speech begins and ends in milliseconds, from the table in `fixtures/audio/README.md`.
const CLIPS: [(&str, usize, usize); 4] =
    [("question", 109, 2_609), ("statement", 184, 2_769), ("thank-you", 112, 798), ("long", 86, 3_761)];

struct Noise(u32);

impl Noise {
    /// A sample of white noise, evenly spread over one below and above zero.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.0 >> 8) / f64::from(1 << 23) - 1.0
    }
}

/// A clip between margins of silence, with white noise `noise` below the clip's own level in decibels.
fn line(clip: &str, noise: Option<f64>) -> Vec<u8> {
    let file = format!("fixtures/audio/{clip}.wav");
    let speech = read_clip(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let power = speech.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / speech.len() as f64;
    let margin = vec![0_i16; MARGIN_MS * PER_MS];
    let mut samples = [margin.clone(), speech, margin].concat();
    if let Some(decibels) = noise {
        // Evenly spread noise of amplitude 1 has a power of one third.
        let amplitude = (3.0 * power / 10_f64.powf(decibels / 10.0)).sqrt();
        let mut noise = Noise(7);
        for sample in &mut samples {
            *sample = (f64::from(*sample) + amplitude * noise.next()).clamp(-32_768.0, 32_767.0) as i16;
        }
    }
    let mut words = Vec::new();
    g711::encode_mulaw_into(&samples, &mut words);
    words
}

/// When the detector was sure of what, in milliseconds.
fn changes(audio: &[u8], settings: Settings) -> Vec<(usize, Change)> {
    let mut detector = Detector::new(MediaFormat::TELEPHONE, settings);
    let frames = audio.chunks(160).enumerate();
    frames.filter_map(|(n, frame)| detector.push(frame).map(|change| ((n + 1) * 20, change))).collect()
}

#[test]
fn a_human_voice_is_heard_soon_and_once_in_clean_and_in_noise() {
    for (clip, from, to) in CLIPS {
        for noise in [None, Some(20.0), Some(10.0)] {
            let seen = changes(&line(clip, noise), Settings::default());
            let [(started, Change::Started), (stopped, Change::Stopped)] = seen[..] else {
                panic!("{clip} with noise {noise:?}: {seen:?}")
            };
            let (from, to) = (MARGIN_MS + from, MARGIN_MS + to);
            // A hundred milliseconds of speech are the least that counts; the rest is the detector's own delay.
            assert!(
                (from..from + 400).contains(&started),
                "{clip}, {noise:?}: started at {started}, spoke from {from}"
            );
            assert!((to..to + 1_000).contains(&stopped), "{clip}, {noise:?}: stopped at {stopped}, spoke to {to}");
        }
    }
}

#[test]
fn the_minimum_of_speech_is_waited_for() {
    let audio = line("question", None);
    let started = |min_speech_ms| changes(&audio, Settings { min_speech_ms, ..Settings::default() })[0].0;
    assert!(started(300) >= started(100) + 150, "{} {}", started(100), started(300));
    assert_eq!(changes(&line("no", None), Settings { min_speech_ms: 1_500, ..Settings::default() }), []);
}

#[test]
fn noise_alone_is_nobody() {
    for amplitude in [40.0, 400.0, 4_000.0] {
        let mut noise = Noise(3);
        let samples: Vec<i16> = (0..60_000 * PER_MS).map(|_| (amplitude * noise.next()) as i16).collect();
        let mut words = Vec::new();
        g711::encode_mulaw_into(&samples, &mut words);
        assert_eq!(changes(&words, Settings::default()), [], "amplitude {amplitude}");
    }
}
