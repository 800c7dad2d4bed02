//! Voice detection on the caller's audio: a small neural detector behind an energy gate and a debounce.
//!
//! The detector is `earshot` (16 kHz, 16 ms at a time). Telephone audio is brought to 16 kHz by a cubic polynomial
//! *without* an anti-image filter on purpose: with a clean upsampler the detector takes white noise for speech.

use std::time::Duration;

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Async, FixedAsync, PolynomialDegree, Resampler as _};
use serde::{Deserialize, Serialize};

use super::format::{Encoding, MediaFormat};
use super::{g711, pcm};

/// The detector looks at this many samples at a time, at [`DETECTOR_RATE`].
const WINDOW: usize = 256;
const DETECTOR_RATE: u32 = 16_000;
/// Length of a window.
const WINDOW_MS: u32 = 16;
/// Windows that peak below this are silence without asking the detector: -54 dBFS, some 14 dB under soft speech on a line.
const GATE_PEAK: u16 = 64;
/// After so many windows under the gate the net's memory is all silence.
const QUIET_WINDOWS: u32 = 4;
/// Samples before interpolation that stay below this cannot reach the gate: a cubic through them rises by a quarter at most.
const BLOCK_PEAK: u16 = 48;
/// Longest speech that the debounce can be asked to wait for, in windows.
const HISTORY: u32 = 128;

/// When speech counts as speech.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Speech shorter than this never counts, in milliseconds, 20 to 2,000.
    pub min_speech_ms: u32,
    /// How sure the detector has to be, 0.0 to 1.0.
    pub threshold: f32,
    /// Silence that ends the caller's speech, in milliseconds.
    pub silence_ms: u32,
    /// Shorter silence that may be its end, in milliseconds; `None`: none is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { min_speech_ms: 100, threshold: 0.65, silence_ms: 700, pause_ms: None }
    }
}

/// A change that the detector is sure of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The caller has been speaking for `min_speech_ms`.
    Started,
    /// The caller has been silent for `pause_ms`, which may be the end.
    Paused,
    /// The caller goes on after a pause.
    Resumed,
    /// The caller has been silent for `silence_ms`.
    Stopped,
}

/// Detects the start and the end of speech in one stream.
pub struct Detector {
    encoding: Encoding,
    settings: Settings,
    net: Box<earshot::Detector>,
    upsampler: Option<Async<f32>>,
    /// The upsampler was left out, so that what it remembers is not what came last.
    is_upsampler_stale: bool,
    reader: pcm::SampleReader,
    decoded: Vec<i16>,
    /// Samples at the carrier's rate that do not fill the upsampler's block yet.
    narrow: Vec<f32>,
    wide: Vec<f32>,
    /// Samples at the detector's rate that do not fill a window yet.
    window: Vec<f32>,
    /// One bit a window, the newest lowest: was it speech?
    recent: u128,
    speaking: bool,
    silent_windows: u32,
    /// Windows in a row under the gate, after which the net is reset rather than fed.
    quiet_windows: u32,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detector").field("speaking", &self.speaking).finish_non_exhaustive()
    }
}

impl Detector {
    /// A detector for a stream of `format`. A rate that cannot be brought to 16 kHz gives a detector that hears nothing.
    pub fn new(format: MediaFormat, settings: Settings) -> Self {
        let block = (format.rate / 100).max(1) as usize;
        let upsampler = (format.rate != DETECTOR_RATE)
            .then(|| {
                let ratio = f64::from(DETECTOR_RATE) / f64::from(format.rate.max(1));
                Async::new_poly(ratio, 1.0, PolynomialDegree::Cubic, block, 1, FixedAsync::Input).ok()
            })
            .flatten();
        let wide = vec![0.0; upsampler.as_ref().map_or(0, |upsampler| upsampler.output_frames_max())];
        Detector {
            encoding: format.encoding,
            settings,
            net: earshot::Detector::default_boxed(),
            upsampler,
            is_upsampler_stale: false,
            reader: pcm::SampleReader::default(),
            decoded: Vec::new(),
            narrow: Vec::new(),
            wide,
            window: Vec::with_capacity(2 * WINDOW),
            recent: 0,
            speaking: false,
            silent_windows: 0,
            quiet_windows: 0,
        }
    }

    /// Whether the caller is speaking.
    pub fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// How long the caller has been silent, as far as the detector can tell.
    pub fn silence(&self) -> Duration {
        Duration::from_millis(u64::from(self.silent_windows) * u64::from(WINDOW_MS))
    }

    /// Takes a piece of the caller's audio of any length; the last change in it, if there was one.
    pub fn push(&mut self, audio: &[u8]) -> Option<Change> {
        self.decoded.clear();
        match self.encoding {
            Encoding::Mulaw => g711::decode_mulaw_into(audio, &mut self.decoded),
            Encoding::Alaw => g711::decode_alaw_into(audio, &mut self.decoded),
            Encoding::PcmS16Le => self.reader.read_into(audio, &mut self.decoded),
        }
        self.widen();
        let mut change = None;
        let mut taken = 0;
        while let Some(window) = self.window.get(taken..taken + WINDOW) {
            let peak = window.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
            let speech = if peak * 32_768.0 < f32::from(GATE_PEAK) {
                // Once its memory is all silence, the net would say silence: do not ask it.
                self.quiet_windows = self.quiet_windows.saturating_add(1);
                if self.quiet_windows == QUIET_WINDOWS {
                    self.net.reset();
                }
                false
            } else {
                self.quiet_windows = 0;
                self.net.predict_f32(window) >= self.settings.threshold
            };
            taken += WINDOW;
            change = self.debounce(speech).or(change);
        }
        self.window.drain(..taken);
        change
    }

    /// Brings the decoded samples to the detector's rate.
    fn widen(&mut self) {
        let scaled = self.decoded.iter().map(|sample| f32::from(*sample) / 32_768.0);
        let Some(upsampler) = &mut self.upsampler else {
            self.window.extend(scaled);
            return;
        };
        self.narrow.extend(scaled);
        let needed = upsampler.input_frames_next();
        let mut taken = 0;
        while let Some(input) = self.narrow.get(taken..taken + needed) {
            let frames = self.wide.len();
            taken += needed;
            let is_quiet = || input.iter().all(|sample| sample.abs() * 32_768.0 < f32::from(BLOCK_PEAK));
            if self.quiet_windows >= QUIET_WINDOWS && is_quiet() {
                // The net sleeps and these samples would not wake it, so they need not be interpolated: most callers are
                // silent most of the time.
                self.window.extend(std::iter::repeat_n(0.0, upsampler.output_frames_next()));
                self.is_upsampler_stale = true;
                continue;
            }
            if std::mem::take(&mut self.is_upsampler_stale) {
                upsampler.reset();
            }
            let (Ok(input), Ok(mut output)) =
                (InterleavedSlice::new(input, 1, needed), InterleavedSlice::new_mut(&mut self.wide, 1, frames))
            else {
                debug_assert!(false, "slices are as long as they say");
                break;
            };
            match upsampler.process_into_buffer(&input, &mut output, None) {
                // Interpolation may overshoot a full-scale sample, which the net does not take.
                Ok((_, written)) => {
                    self.window.extend(self.wide.iter().take(written).map(|sample| sample.clamp(-1.0, 1.0)));
                }
                Err(error) => debug_assert!(false, "a whole block always converts: {error}"),
            }
        }
        self.narrow.drain(..taken);
    }

    fn debounce(&mut self, speech: bool) -> Option<Change> {
        self.recent = self.recent << 1 | u128::from(speech);
        let paused = self.settings.pause_ms.map(|pause| pause.div_ceil(WINDOW_MS).max(1));
        let was_paused = self.speaking && paused.is_some_and(|paused| self.silent_windows >= paused);
        self.silent_windows = if speech { 0 } else { self.silent_windows.saturating_add(1) };
        let needed = self.settings.min_speech_ms.div_ceil(WINDOW_MS).clamp(1, HISTORY - 1);
        // One window of doubt is allowed, so that a plosive's gap does not restart the count.
        let seen = (self.recent & ((1_u128 << (needed + 1)) - 1)).count_ones();
        if !self.speaking && seen >= needed && speech {
            self.speaking = true;
            return Some(Change::Started);
        }
        if self.speaking && self.silent_windows >= self.settings.silence_ms.div_ceil(WINDOW_MS) {
            self.speaking = false;
            return Some(Change::Stopped);
        }
        if self.speaking && paused == Some(self.silent_windows) {
            return Some(Change::Paused);
        }
        (was_paused && speech).then_some(Change::Resumed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::resample::tests::tone;
    use super::*;

    fn line(samples: &[i16]) -> Vec<u8> {
        let mut words = Vec::new();
        g711::encode_mulaw_into(samples, &mut words);
        words
    }

    fn changes(audio: &[u8], frame: usize, settings: Settings) -> Vec<(usize, Change)> {
        let mut detector = Detector::new(MediaFormat::TELEPHONE, settings);
        let frames = audio.chunks(frame).enumerate();
        frames.filter_map(|(n, part)| detector.push(part).map(|change| (n * frame / 8, change))).collect()
    }

    fn noise(count: usize, amplitude: i32) -> Vec<i16> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i32
        };
        (0..count).map(|_| (next() % (2 * amplitude) - amplitude) as i16).collect()
    }

    #[test]
    fn silence_noise_and_tones_are_not_speech() {
        let settings = Settings::default();
        assert_eq!(changes(&vec![0xFF; 80_000], 160, settings), []);
        assert_eq!(changes(&line(&noise(80_000, 300)), 160, settings), []);
        assert_eq!(changes(&line(&tone(1_000.0, 8_000, 5.0)), 160, settings), []);
    }

    #[test]
    fn silence_that_is_not_quite_silent_changes_nothing() {
        // Speech-like bursts after long pauses: one line without a sound in them, one with a murmur below the gate.
        let burst: Vec<i16> = (0..60).flat_map(|n| tone(180.0 + 9.0 * f64::from(n % 7), 8_000, 0.01)).collect();
        let with_pauses = |murmur: i32| {
            let pause = noise(8_013, murmur);
            line(&[&pause[..], &burst, &pause, &burst, &pause].concat())
        };
        let settings = Settings { threshold: 0.1, ..Settings::default() };
        let (still, murmur) = (with_pauses(1), with_pauses(40));
        assert!(!changes(&still, 160, settings).is_empty(), "the bursts count as speech");
        assert_eq!(changes(&still, 160, settings), changes(&murmur, 160, settings));
    }

    #[test]
    fn a_pause_is_told_once_and_so_is_its_end() {
        let settings = Settings { min_speech_ms: 48, silence_ms: 160, pause_ms: Some(64), ..Settings::default() };
        let mut detector = Detector::new(MediaFormat::TELEPHONE, settings);
        let changes: Vec<Change> =
            "####......##....#...........".bytes().filter_map(|b| detector.debounce(b == b'#')).collect();
        use Change::{Paused, Resumed, Started, Stopped};
        assert_eq!(changes, [Started, Paused, Resumed, Paused, Resumed, Paused, Stopped]);
    }

    #[test]
    fn the_debounce_wants_speech_nearly_all_of_the_time() {
        let mut detector = Detector::new(MediaFormat::TELEPHONE, Settings { min_speech_ms: 96, ..Settings::default() });
        let mut feed = |pattern: &str| pattern.bytes().filter_map(|b| detector.debounce(b == b'#')).next();
        assert_eq!(feed("#####.....##.##..##.##.."), None);
        assert_eq!(feed("###.##"), None);
        assert_eq!(feed("#"), Some(Change::Started));
        assert_eq!(feed(&"#..".repeat(60)), None);
        assert_eq!(feed(&".".repeat(44)), Some(Change::Stopped));
    }
}
