//! A replayed call as something to listen to.

use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavSpec, WavWriter};
use trunkline::audio::MediaFormat;

/// A stereo WAV file: the caller left, what the caller heard right.
pub(super) struct Wav {
    path: PathBuf,
    /// Made with the first samples, which know their rate.
    file: Result<Option<WavWriter<BufWriter<File>>>, hound::Error>,
}

impl Wav {
    pub(super) fn new(path: &Path) -> Self {
        Wav { path: path.to_owned(), file: Ok(None) }
    }

    /// Appends samples, left and right by turns. A mistake is kept for the end.
    pub(super) fn write(&mut self, rate: u32, samples: &[i16]) {
        let written = match &mut self.file {
            Ok(Some(file)) => samples.iter().try_for_each(|sample| file.write_sample(*sample)),
            Ok(None) => {
                self.file = create(&self.path, rate).map(Some);
                return self.write(rate, samples);
            }
            Err(_) => return,
        };
        if let Err(error) = written {
            self.file = Err(error);
        }
    }

    /// Ends the file. A call without a sound leaves an empty one.
    ///
    /// # Errors
    /// Something could not be written.
    pub(super) fn finish(self) -> Result<(), hound::Error> {
        let file = self.file?.map_or_else(|| create(&self.path, MediaFormat::TELEPHONE.rate), Ok)?;
        file.finalize()
    }
}

fn create(path: &Path, rate: u32) -> Result<WavWriter<BufWriter<File>>, hound::Error> {
    let spec = WavSpec { channels: 2, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
    // Somebody's voice: for the owner alone.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    WavWriter::new(BufWriter::new(file), spec)
}
