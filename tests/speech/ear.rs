//! What the caller heard, read from the emulated carrier's recording.

use std::time::Duration;

use trunkline::emulate::carrier::{Logged, Outcome};
use trunkline::emulate::cartesia::tone;
use trunkline::ids::CallTime;

/// Length of the windows that are judged.
const WINDOW_MS: u32 = 40;
/// Samples a second of the carrier.
const RATE: u32 = 8_000;
/// Quieter windows are silence, as the root mean square of their samples.
const QUIET_RMS: f64 = 150.0;

/// What one window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sound {
    Silence,
    /// The tone with this number.
    Tone(u32),
    /// Loud, but of no single tone: a voice, or the border between two tones.
    Other,
}

/// A run of equal windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) sound: Sound,
    pub(crate) length: Duration,
}

/// What was heard between two moments, window by window, equal neighbours joined. A last window that is not whole is left out:
/// a few samples may be any tone.
pub(crate) fn runs(outcome: &Outcome, from: CallTime, to: CallTime) -> Vec<Run> {
    let heard = outcome.recording.heard_between(from, to);
    let window = Duration::from_millis(WINDOW_MS.into());
    let mut runs: Vec<Run> = Vec::new();
    for samples in heard.chunks_exact((RATE * WINDOW_MS) as usize / 1_000) {
        let sound = sound_of(samples);
        match runs.last_mut() {
            Some(run) if run.sound == sound => run.length += window,
            Some(_) | None => runs.push(Run { sound, length: window }),
        }
    }
    runs
}

fn sound_of(samples: &[i16]) -> Sound {
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    if energy < QUIET_RMS * QUIET_RMS * samples.len() as f64 {
        return Sound::Silence;
    }
    tone::classify(samples, RATE).map_or(Sound::Other, Sound::Tone)
}

/// The longest silence between two moments.
pub(crate) fn longest_silence(outcome: &Outcome, from: CallTime, to: CallTime) -> Duration {
    let silences = runs(outcome, from, to).into_iter().filter(|run| run.sound == Sound::Silence);
    silences.map(|run| run.length).max().unwrap_or_default()
}

/// How long sounds of a kind were heard between two moments.
pub(crate) fn heard_for(outcome: &Outcome, from: CallTime, to: CallTime, is_it: impl Fn(Sound) -> bool) -> Duration {
    runs(outcome, from, to).into_iter().filter(|run| is_it(run.sound)).map(|run| run.length).sum()
}

/// The tones that were heard, in order, each once for each time that it began.
pub(crate) fn tones(outcome: &Outcome, from: CallTime, to: CallTime) -> Vec<u32> {
    let mut tones = Vec::new();
    for run in runs(outcome, from, to) {
        if let Sound::Tone(tone) = run.sound
            && tones.last() != Some(&tone)
        {
            tones.push(tone);
        }
    }
    tones
}

/// When `clear` came, each time.
pub(crate) fn clears(outcome: &Outcome) -> Vec<CallTime> {
    let is_clear = |logged: &Logged| matches!(logged, Logged::Clear { .. });
    outcome.log.entries().iter().filter(|entry| is_clear(&entry.logged)).map(|entry| entry.at).collect()
}

/// The end of all times.
pub(crate) const END: CallTime = CallTime::from_millis(600_000);
