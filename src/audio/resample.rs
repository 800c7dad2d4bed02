//! One continuous anti-aliased rate change, for chunks of any length.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

/// Why a rate change cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("no resampler from {from} to {to} samples a second")]
pub struct RateError {
    from: u32,
    to: u32,
}

/// Changes the rate of a stream of samples. Equal rates pass through untouched.
///
/// The filter's delay is taken out again: sample *n* of the output lies at the same moment as its input, so that word
/// timings hold, and [`Resampler::finish`] brings the last milliseconds.
#[derive(Debug)]
pub struct Resampler {
    filter: Option<Filter>,
}

struct Filter {
    // f64, because rubato's FFT picks vector code at run time and its f32 output differs between processors.
    fft: Fft<f64>,
    from: u64,
    to: u64,
    /// Samples that do not fill a block yet.
    pending: Vec<f64>,
    block: Vec<f64>,
    /// Output samples still to be left out at the start, the filter's own delay.
    lead_in: usize,
    samples_in: u64,
    samples_out: u64,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filter({} -> {})", self.from, self.to)
    }
}

impl Resampler {
    /// A resampler between two rates in Hz. Building one costs some 100 us: build it once a call and [`reset`] it.
    ///
    /// # Errors
    /// [`RateError`] if a rate is 0 or the ratio is beyond what the filter can do.
    ///
    /// [`reset`]: Resampler::reset
    pub fn new(from: u32, to: u32) -> Result<Self, RateError> {
        if from == to {
            return Ok(Resampler { filter: None });
        }
        let error = || RateError { from, to };
        if from == 0 || to == 0 {
            return Err(error());
        }
        // Blocks of 10 ms: 5 ms of delay, flat to 3.4 kHz at 8 kHz out, aliases below -145 dB.
        let block = (from / 100).max(1) as usize;
        let fft =
            Fft::<f64>::new_custom(from as usize, to as usize, block, 1, 1, WindowFunction::Hann2, FixedSync::Both)
                .map_err(|_| error())?;
        let lead_in = fft.output_delay();
        let block = vec![0.0; fft.output_frames_max()];
        let filter = Filter {
            fft,
            from: u64::from(from),
            to: u64::from(to),
            pending: Vec::new(),
            block,
            lead_in,
            samples_in: 0,
            samples_out: 0,
        };
        Ok(Resampler { filter: Some(filter) })
    }

    /// Takes samples and appends to `out` what is ready; less than one block (10 ms) stays behind.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        match &mut self.filter {
            None => out.extend_from_slice(samples),
            Some(filter) => {
                filter.samples_in += samples.len() as u64;
                filter.pending.extend(samples.iter().map(|sample| f64::from(*sample)));
                filter.run(out);
            }
        }
    }

    /// Appends what is still inside, so that the output is as long as the input, and starts afresh.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        if let Some(filter) = &mut self.filter {
            let owed = filter.samples_in * filter.to / filter.from;
            while filter.samples_out < owed {
                let missing = filter.fft.input_frames_next().saturating_sub(filter.pending.len());
                filter.pending.extend(std::iter::repeat_n(0.0, missing));
                let before = out.len();
                filter.run(out);
                let extra = usize::try_from(filter.samples_out.saturating_sub(owed)).unwrap_or(0);
                out.truncate(out.len().saturating_sub(extra).max(before));
            }
        }
        self.reset();
    }

    /// Forgets everything that was pushed.
    pub fn reset(&mut self) {
        if let Some(filter) = &mut self.filter {
            filter.fft.reset();
            filter.pending.clear();
            filter.lead_in = filter.fft.output_delay();
            filter.samples_in = 0;
            filter.samples_out = 0;
        }
    }
}

impl Filter {
    fn run(&mut self, out: &mut Vec<i16>) {
        let needed = self.fft.input_frames_next();
        let mut taken = 0;
        while let Some(input) = self.pending.get(taken..taken + needed) {
            let frames = self.block.len();
            let (Ok(input), Ok(mut output)) =
                (InterleavedSlice::new(input, 1, needed), InterleavedSlice::new_mut(&mut self.block, 1, frames))
            else {
                debug_assert!(false, "slices are as long as they say");
                break;
            };
            let written = match self.fft.process_into_buffer(&input, &mut output, None) {
                Ok((_, written)) => written,
                Err(error) => {
                    debug_assert!(false, "a whole block always converts: {error}");
                    0
                }
            };
            taken += needed;
            let skipped = written.min(self.lead_in);
            self.lead_in -= skipped;
            let ready = self.block.get(skipped..written).unwrap_or_default();
            self.samples_out += ready.len() as u64;
            out.extend(ready.iter().map(|sample| to_i16(*sample)));
        }
        self.pending.drain(..taken);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to the range of i16 first")]
fn to_i16(sample: f64) -> i16 {
    sample.round().clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::f64::consts::TAU;

    pub(crate) fn tone(hz: f64, rate: u32, seconds: f64) -> Vec<i16> {
        let count = (f64::from(rate) * seconds) as usize;
        (0..count).map(|n| (12_000.0 * (TAU * hz * n as f64 / f64::from(rate)).sin()).round() as i16).collect()
    }

    fn convert(from: u32, to: u32, samples: &[i16], chunk: usize) -> Vec<i16> {
        let (mut resampler, mut out) = (Resampler::new(from, to).unwrap(), Vec::new());
        for part in samples.chunks(chunk) {
            resampler.push(part, &mut out);
        }
        resampler.finish(&mut out);
        out
    }

    fn decibels(samples: &[i16], reference: f64) -> f64 {
        let power: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / samples.len() as f64;
        10.0 * ((power + 1e-9) / reference.powi(2)).log10()
    }

    #[test]
    fn chunking_does_not_change_a_sample() {
        let speech = tone(700.0, 16_000, 0.4);
        let whole = convert(16_000, 8_000, &speech, speech.len());
        for chunk in [1, 7, 159, 160, 161, 1_000] {
            assert!(convert(16_000, 8_000, &speech, chunk) == whole, "chunks of {chunk}");
        }
    }

    #[test]
    fn length_and_position_are_kept() {
        // Odd blocks have their middle between two samples: a shift of a fraction of a sample, -26 dB at this pitch.
        let pairs = [(16_000, 8_000, -60.0), (24_000, 8_000, -60.0), (8_000, 16_000, -60.0), (48_000, 8_000, -60.0)];
        for (from, to, bound) in pairs.into_iter().chain([(22_050, 8_000, -26.0), (44_100, 8_000, -26.0)]) {
            let out = convert(from, to, &tone(440.0, from, 0.5), 333);
            assert_eq!(out.len(), to as usize / 2, "{from} -> {to}");
            let ideal = tone(440.0, to, 0.5);
            let middle = 1_000..3_000;
            let error: Vec<i16> = out[middle.clone()].iter().zip(&ideal[middle]).map(|(a, b)| a - b).collect();
            assert!(decibels(&error, 12_000.0) < bound, "{from} -> {to}: {}", decibels(&error, 12_000.0));
        }
    }

    #[test]
    fn six_kilohertz_leaves_no_alias_at_eight() {
        let out = convert(16_000, 8_000, &tone(6_000.0, 16_000, 1.0), 90);
        let level = decibels(&out[200..out.len() - 200], 12_000.0 / 2f64.sqrt());
        assert!(level < -60.0, "{level} dB");
    }

    #[test]
    fn a_reset_stream_starts_clean() {
        let mut resampler = Resampler::new(16_000, 8_000).unwrap();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        resampler.push(&tone(900.0, 16_000, 0.123), &mut first);
        resampler.reset();
        resampler.push(&[0; 1_600], &mut second);
        resampler.finish(&mut second);
        assert_eq!(second, vec![0; 800]);
    }
}
