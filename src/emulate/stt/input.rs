//! What clients send as audio, as the mu-law that the recogniser compares.

use crate::audio::g711;
use crate::audio::pcm::SampleReader;

use super::script::normalise;

/// How the samples of a stream are written. Always 8 kHz and one channel: other rates could not be compared byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputFormat {
    Mulaw,
    S16,
}

/// A reader of one stream's audio, in messages cut anywhere.
#[derive(Debug)]
pub(super) struct Input {
    format: InputFormat,
    reader: SampleReader,
}

impl Input {
    pub(super) fn new(format: InputFormat) -> Self {
        Self { format, reader: SampleReader::default() }
    }

    /// The whole samples of `bytes` as mu-law, minus zero written as zero.
    pub(super) fn mulaw(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut mulaw = Vec::with_capacity(bytes.len());
        match self.format {
            InputFormat::Mulaw => mulaw.extend_from_slice(bytes),
            InputFormat::S16 => {
                let mut samples = Vec::with_capacity(bytes.len() / 2 + 1);
                self.reader.read_into(bytes, &mut samples);
                g711::encode_mulaw_into(&samples, &mut mulaw);
            }
        }
        normalise(&mut mulaw);
        mulaw
    }
}
