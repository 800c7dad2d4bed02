//! What every caller of a load says: one loop of frames, written once.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::caller::SPEECH_LEVEL;
use crate::audio::{MediaFormat, g711};

/// Samples of one frame.
const FRAME_SAMPLES: usize = 160;

/// When a load's callers speak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Says {
    /// Never.
    #[default]
    Nothing,
    /// These samples at 8 kHz, over and over, each call beginning somewhere else in them.
    All(Vec<i16>),
    /// These samples at 8 kHz, begun anew whenever the time has passed, with silence between.
    Every(Vec<i16>, Duration),
}

/// One frame of the loop.
#[derive(Debug)]
pub(super) struct Frame {
    /// Base64 of mu-law.
    pub(super) payload: String,
    /// In the frame with which the caller begins to speak: how long before its end.
    pub(super) onset: Option<Duration>,
}

/// The frames in their order.
#[derive(Debug)]
pub(super) struct Sound {
    frames: Vec<Frame>,
}

impl Sound {
    pub(super) fn new(says: &Says) -> Self {
        let (samples, marks_onset) = match says {
            Says::Nothing => (Vec::new(), false),
            Says::All(samples) => (samples.clone(), false),
            Says::Every(samples, period) => {
                let mut samples = samples.clone();
                let frames = period.as_millis() / u128::from(MediaFormat::TELEPHONE.frame_ms);
                samples.resize(usize::try_from(frames).unwrap_or(0) * FRAME_SAMPLES, 0);
                (samples, true)
            }
        };
        let loud = |sample: &i16| sample.unsigned_abs() >= SPEECH_LEVEL;
        let onset = samples.iter().position(loud).filter(|_| marks_onset);
        let mut words = Vec::with_capacity(samples.len() + FRAME_SAMPLES);
        g711::encode_mulaw_into(&samples, &mut words);
        // Silence of at least one frame, and no frame cut short.
        words.resize(words.len().max(1).next_multiple_of(FRAME_SAMPLES), 0xFF);
        let frames = words.chunks(FRAME_SAMPLES).enumerate().map(|(index, words)| {
            let end = (index + 1) * FRAME_SAMPLES;
            let here = onset.filter(|onset| *onset >= index * FRAME_SAMPLES && *onset < end);
            let onset = here.map(|onset| Duration::from_micros((end - onset) as u64 * 125));
            Frame { payload: STANDARD.encode(words), onset }
        });
        Sound { frames: frames.collect() }
    }

    /// The `n`-th frame of the endless loop. It is never empty.
    pub(super) fn frame(&self, n: u64) -> Option<&Frame> {
        self.frames.get(usize::try_from(n % self.len()).unwrap_or(0))
    }

    /// Frames of one turn of the loop, at least one.
    pub(super) fn len(&self) -> u64 {
        (self.frames.len() as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_one_frame_and_speech_is_rounded_up() {
        let silence = Sound::new(&Says::Nothing);
        assert_eq!((silence.len(), silence.frame(7).unwrap().payload.len()), (1, 216));
        assert!(silence.frame(0).unwrap().payload.starts_with("////"));
        assert_eq!(Sound::new(&Says::All(vec![5_000; 161])).len(), 2);
    }

    #[test]
    fn the_onset_is_in_the_frame_of_the_first_loud_sample() {
        let clip = [vec![0; 200], vec![5_000; 400]].concat();
        let sound = Sound::new(&Says::Every(clip.clone(), Duration::from_secs(3)));
        assert_eq!(sound.len(), 150);
        let onsets: Vec<_> = (0..300).filter_map(|n| sound.frame(n).unwrap().onset.map(|onset| (n, onset))).collect();
        // Sample 200 of 320: 15 ms before the end of the second frame.
        let before = Duration::from_millis(15);
        assert_eq!(onsets, [(1, before), (151, before)]);
        assert!(Sound::new(&Says::All(clip)).frame(1).unwrap().onset.is_none());
    }
}
