//! What was really spoken and played, sample by sample.

use std::path::Path;

use crate::ids::CallTime;

/// Samples a second, both ways.
const RATE: u32 = 8_000;
const SAMPLE_MICROS: u64 = 1_000_000 / RATE as u64;

/// Samples that were played without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// When the first of them was played.
    pub at: CallTime,
    /// The samples, at 8 kHz.
    pub samples: Vec<i16>,
}

/// Both sides of a call at 8 kHz, on one clock that begins with the call. What `clear` dropped is not in it, nor what was
/// still queued at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    caller: Vec<i16>,
    played: Vec<Segment>,
}

impl Recording {
    pub(super) fn new(caller: Vec<i16>, played: Vec<Segment>) -> Self {
        Recording { caller, played }
    }

    /// What the caller said; sample *n* was spoken *n* / 8000 seconds into the call.
    pub fn caller(&self) -> &[i16] {
        &self.caller
    }

    /// What the caller heard, with the time at which each stretch began to play.
    pub fn played(&self) -> &[Segment] {
        &self.played
    }

    /// How many of the gateway's samples had been played by `at`. Gaps do not count.
    pub fn samples_played_by(&self, at: CallTime) -> u64 {
        let by = |segment: &Segment| (segment.samples.len() as u64).min(position(at.since(segment.at).as_micros()));
        self.played.iter().map(by).sum()
    }

    /// What the caller heard from `from` until `to`, silence in the gaps: one sample for each 125 microseconds.
    pub fn heard_between(&self, from: CallTime, to: CallTime) -> Vec<i16> {
        let first = position(u128::from(from.as_micros()));
        let count = position(u128::from(to.as_micros())).saturating_sub(first);
        let mut heard = vec![0; usize::try_from(count).unwrap_or_default()];
        for segment in &self.played {
            let begins = position(u128::from(segment.at.as_micros()));
            let skip = usize::try_from(first.saturating_sub(begins)).unwrap_or(usize::MAX);
            let place = usize::try_from(begins.saturating_sub(first)).unwrap_or(usize::MAX);
            let room = heard.get_mut(place..).unwrap_or_default();
            let samples = segment.samples.get(skip..).unwrap_or_default();
            for (to, from) in room.iter_mut().zip(samples) {
                *to = *from;
            }
        }
        heard
    }

    /// Writes a stereo WAV file of 16-bit samples: the caller left, the gateway right, each at its own time.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_wav(&self, path: &Path) -> Result<(), hound::Error> {
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: RATE,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let end =
            self.played.iter().map(|segment| segment.at.as_micros() + segment.samples.len() as u64 * SAMPLE_MICROS);
        let end = end.chain([self.caller.len() as u64 * SAMPLE_MICROS]).max().unwrap_or_default();
        let gateway = self.heard_between(CallTime::ZERO, CallTime::from_micros(end));
        let mut file = hound::WavWriter::create(path, spec)?;
        for (n, right) in gateway.into_iter().enumerate() {
            file.write_sample(self.caller.get(n).copied().unwrap_or_default())?;
            file.write_sample(right)?;
        }
        file.finalize()
    }
}

/// Whole samples in so many microseconds.
fn position(micros: u128) -> u64 {
    u64::try_from(micros / u128::from(SAMPLE_MICROS)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording() -> Recording {
        let segment = |at, value| Segment { at: CallTime::from_micros(at), samples: vec![value; 8] };
        Recording::new(vec![5; 4], vec![segment(1_060, 1), segment(3_000, 2)])
    }

    #[test]
    fn samples_lie_where_they_were_played() {
        let all = recording().heard_between(CallTime::ZERO, CallTime::from_millis(4));
        assert_eq!(all.len(), 32);
        assert_eq!(all[..8], [0; 8]);
        assert_eq!(all[8..16], [1; 8]);
        assert_eq!(all[16..24], [0; 8]);
        assert_eq!(all[24..], [2; 8]);
        let middle = recording().heard_between(CallTime::from_micros(1_500), CallTime::from_micros(3_250));
        assert_eq!(middle, [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2]);
    }

    #[test]
    fn played_samples_are_counted_without_the_gaps() {
        let by = |micros| recording().samples_played_by(CallTime::from_micros(micros));
        assert_eq!([by(0), by(1_310), by(2_500), by(3_126), by(9_000)], [0, 2, 8, 9, 16]);
    }

    #[test]
    fn the_file_has_the_caller_left_and_the_gateway_right() {
        let path = std::env::temp_dir().join(format!("trunkline-recording-{}.wav", std::process::id()));
        recording().write_wav(&path).unwrap();
        let mut file = hound::WavReader::open(&path).unwrap();
        let samples: Vec<i16> = file.samples().map(Result::unwrap).collect();
        assert_eq!((file.spec().channels, file.spec().sample_rate, samples.len()), (2, 8_000, 64));
        assert_eq!(samples[..8], [5, 0, 5, 0, 5, 0, 5, 0]);
        assert_eq!(samples[16..20], [0, 1, 0, 1]);
        std::fs::remove_file(path).unwrap();
    }
}
