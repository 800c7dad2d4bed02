//! A recording, and what is heard in it.

use std::path::Path;

use hound::{SampleFormat, WavReader};
use trunkline::audio::g711;
use trunkline::ids::CallTime;

/// Samples that are looked for first: so many in a row are nowhere twice.
const NEEDLE: usize = 400;

/// Both sides of a recording at 8 kHz.
pub(crate) struct Stereo {
    pub(crate) left: Vec<i16>,
    pub(crate) right: Vec<i16>,
}

impl Stereo {
    pub(crate) fn read(path: &Path) -> Self {
        let mut file = WavReader::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let spec = file.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (2, 8_000, 16));
        assert_eq!(spec.sample_format, SampleFormat::Int);
        let samples: Vec<i16> = file.samples().map(Result::unwrap).collect();
        let side = |n| samples.iter().copied().skip(n).step_by(2).collect();
        Stereo { left: side(0), right: side(1) }
    }

    pub(crate) fn interleaved(&self) -> Vec<i16> {
        self.left.iter().zip(&self.right).flat_map(|(left, right)| [*left, *right]).collect()
    }

    /// When it ends.
    pub(crate) fn end(&self) -> CallTime {
        CallTime::from_micros(self.right.len() as u64 * 125)
    }

    /// Where in the right side `samples` begin that were played about `at`, and how many of them are there in a row.
    pub(crate) fn find(&self, at: CallTime, samples: &[i16]) -> (u64, usize) {
        // Speech begins with silence, which is everywhere.
        let lead = samples.iter().position(|sample| sample.unsigned_abs() > 50).unwrap_or(0);
        let needle = &samples[lead..samples.len().min(lead + NEEDLE)];
        let around = usize::try_from(at.as_micros() / 125).unwrap() + lead;
        let place = place(&self.right, around, needle).filter(|place| *place >= lead);
        let start = place.unwrap_or_else(|| panic!("what was played at {at} is not there")) - lead;
        let same = self.right[start..].iter().zip(samples).take_while(|(a, b)| a == b).count();
        (start as u64, same)
    }

    /// How many milliseconds later than spoken the caller is on the left side: looked at wherever he is loud.
    pub(crate) fn caller_lies(&self, spoken: &[i16]) -> Vec<i64> {
        // As the wire carries it.
        let (mut words, mut spoken_there) = (Vec::new(), Vec::new());
        g711::encode_mulaw_into(spoken, &mut words);
        g711::decode_mulaw_into(&words, &mut spoken_there);
        let pieces = (0_usize..).step_by(NEEDLE).zip(spoken_there.chunks_exact(NEEDLE));
        let loud = pieces.filter(|(_, piece)| loudest(piece) > 2_000);
        let later = loud.map(|(at, piece)| {
            let place = place(&self.left, at, piece);
            place.map(|place| (i64::try_from(place).unwrap() - i64::try_from(at).unwrap()) / 8)
        });
        later.collect::<Option<_>>().expect("all that the caller said")
    }
}

/// Where `needle` begins in `samples`, up to a second from `around`.
fn place(samples: &[i16], around: usize, needle: &[i16]) -> Option<usize> {
    let mut places = around.saturating_sub(8_000)..(around + 8_000).min(samples.len());
    places.find(|place| samples[*place..].starts_with(needle))
}

pub(crate) fn loudest(samples: &[i16]) -> u16 {
    samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or_default()
}
