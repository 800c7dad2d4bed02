//! From a file to samples of one channel at a line's rate: WAV in the encodings of telephony and of sound editors, and MP3.

use std::io::Cursor;
use std::time::Duration;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Fault;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use symphonia::default::formats::{MpaReader, WavReader};
use symphonia::default::get_codecs;

use super::sound::Sound;
use crate::audio::resample::Resampler;

/// Sampling rates that a file may have: beyond them lies no recording, but resamplers of any size.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;
/// Within so many bytes, tags left out, the first frame of an MP3 begins: in noise there is something like one sooner or later.
const JUNK_BYTES_MAX: usize = 4 * 1024;
/// Bytes in front of an ID3v2 tag's content (id3.org, ID3v2.4.0, section 3.1).
const TAG_HEAD: usize = 10;
/// An encoder may count a frame more or less than it wrote; of MPEG's longest frames, two.
const MISSING_SAMPLES_MAX: u64 = 2 * 1_152;
/// Broken frames that are passed over: a recording that was cut out of a longer one begins with some.
const BROKEN_FRAMES_MAX: usize = 8;

/// Why a file cannot be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is neither of the two.
    #[error("the file is neither wav nor mp3")]
    Unknown,
    /// An encoding, a rate or a number of channels that we do not know.
    #[error("the file has an encoding or a sampling rate that cannot be played")]
    Unsupported,
    /// It makes no sense.
    #[error("the file is broken")]
    Broken,
    /// It ends before it should.
    #[error("the file ends too early")]
    Cut,
    /// It has no samples.
    #[error("the file holds no sound")]
    Empty,
    /// It plays too long.
    #[error("the recording is longer than player.max_s allows")]
    Long,
}

/// Decodes a file to one channel of `rate` samples a second. Takes a second for ten minutes of MP3: not for a thread that
/// others wait for.
pub(super) fn decode(file: Vec<u8>, rate: u32, length_max: Duration) -> Result<Sound, DecodeError> {
    let reader = open(file)?;
    let track = reader.default_track(TrackType::Audio).ok_or(DecodeError::Unknown)?;
    let Some(CodecParameters::Audio(parameters)) = &track.codec_params else { return Err(DecodeError::Unsupported) };
    let from = parameters.sample_rate.filter(|rate| RATES.contains(rate)).ok_or(DecodeError::Unsupported)?;
    let decoder = get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default());
    let frames = track.num_frames;
    let length_max = length_max.as_micros() * u128::from(rate) / 1_000_000;
    let decoding = Decoding {
        reader,
        decoder: decoder.map_err(|_| DecodeError::Unsupported)?,
        from,
        resampler: Resampler::new(from, rate).map_err(|_| DecodeError::Unsupported)?,
        samples: Vec::new(),
        samples_max: usize::try_from(length_max).unwrap_or(usize::MAX),
    };
    Ok(Sound::new(&decoding.run(frames)?, rate))
}

/// Opens a file by what it begins with.
fn open(mut file: Vec<u8>) -> Result<Box<dyn FormatReader>, DecodeError> {
    let is_wav = file.starts_with(b"RIFF") && file.get(8..12) == Some(b"WAVE");
    if is_wav {
        tell_length(&mut file);
    } else {
        file.drain(..tag_bytes(&file));
        let head = file.get(..JUNK_BYTES_MAX).unwrap_or(&file);
        // Eleven bits that are all set begin a frame (ISO/IEC 11172-3, section 2.4.1.3).
        let first = head.windows(2).position(|pair| matches!(pair, [0xFF, second] if second & 0xE0 == 0xE0));
        file.drain(..first.ok_or(DecodeError::Unknown)?);
    }
    // Without a way to seek, the reader counts on no length that is not written in the file.
    let source = Box::new(ReadOnlySource::new(Cursor::new(file)));
    let (stream, options) = (MediaSourceStream::new(source, Default::default()), FormatOptions::default());
    if is_wav {
        WavReader::try_new(stream, options).map(boxed).map_err(|fault| fault_of(&fault))
    } else {
        // Whatever is wrong, it was no MP3.
        MpaReader::try_new(stream, options).map(boxed).map_err(|_| DecodeError::Unknown)
    }
}

fn boxed(reader: impl FormatReader + 'static) -> Box<dyn FormatReader> {
    Box::new(reader)
}

/// Who writes a WAV file into a pipe does not know its length before, and leaves none or the largest; by now it is known.
fn tell_length(file: &mut [u8]) {
    const UNKNOWN: [u32; 2] = [0, u32::MAX];
    let length = |file: &[u8], at: usize| file.get(at..)?.first_chunk().copied().map(u32::from_le_bytes);
    let end = file.len();
    let tell = |file: &mut [u8], at: usize| {
        if let (Some(place), Ok(bytes)) = (file.get_mut(at..at + 4), u32::try_from(end - at - 4)) {
            place.copy_from_slice(&bytes.to_le_bytes());
        }
    };
    if !length(file, 4).is_some_and(|bytes| UNKNOWN.contains(&bytes)) {
        return;
    }
    tell(file, 4);
    // Behind the form's name, each chunk has a name and a length, and is padded to an even one.
    let mut at = 12_usize;
    while let Some(bytes) = length(file, at.saturating_add(4).min(end)) {
        if file.get(at..).is_some_and(|chunk| chunk.starts_with(b"data")) && UNKNOWN.contains(&bytes) {
            return tell(file, at + 4);
        }
        at = at.saturating_add(8).saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(1) & !1);
    }
}

/// Length of the ID3v2 tag that a file begins with: names and pictures, in which anything may look like sound.
fn tag_bytes(file: &[u8]) -> usize {
    let size = |bytes: &[u8]| bytes.iter().fold(0, |size, byte| size << 7 | usize::from(byte & 0x7F));
    match (file.starts_with(b"ID3"), file.get(6..TAG_HEAD)) {
        (true, Some(bytes)) => (TAG_HEAD + size(bytes)).min(file.len()),
        (true, None) | (false, _) => 0,
    }
}

struct Decoding {
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    /// The file's rate.
    from: u32,
    resampler: Resampler,
    samples: Vec<i16>,
    samples_max: usize,
}

impl Decoding {
    /// Decodes to the end; `owed` is how many samples the file says that it has.
    fn run(mut self, owed: Option<u64>) -> Result<Vec<i16>, DecodeError> {
        let (mut interleaved, mut mono, mut decoded, mut broken) = (Vec::new(), Vec::new(), 0_u64, 0);
        loop {
            let packet = match self.reader.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(fault) => return Err(fault_of(&fault)),
            };
            match self.decoder.decode(&packet) {
                Ok(audio) => {
                    // A file may change in the middle, which ours never do.
                    if audio.spec().rate() != self.from {
                        return Err(DecodeError::Unsupported);
                    }
                    decoded += audio.frames() as u64;
                    audio.copy_to_vec_interleaved::<f32>(&mut interleaved);
                    mix(&interleaved, audio.num_planes(), &mut mono);
                }
                Err(Fault::DecodeError(_)) if broken < BROKEN_FRAMES_MAX => {
                    broken += 1;
                    continue;
                }
                Err(fault) => return Err(fault_of(&fault)),
            }
            self.resampler.push(&mono, &mut self.samples);
            if self.samples.len() > self.samples_max {
                return Err(DecodeError::Long);
            }
        }
        if owed.is_some_and(|owed| decoded + MISSING_SAMPLES_MAX < owed) {
            return Err(DecodeError::Cut);
        }
        self.resampler.finish(&mut self.samples);
        if self.samples.is_empty() { Err(DecodeError::Empty) } else { Ok(self.samples) }
    }
}

/// The mean of all channels.
fn mix(interleaved: &[f32], channels: usize, mono: &mut Vec<i16>) {
    mono.clear();
    mono.extend(interleaved.chunks_exact(channels.max(1)).map(|frame| {
        let sum: f64 = frame.iter().map(|sample| f64::from(*sample)).sum();
        to_i16(sum / frame.len() as f64)
    }));
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to the range of i16 first")]
fn to_i16(level: f64) -> i16 {
    (level * 32_768.0).round().clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16
}

fn fault_of(fault: &Fault) -> DecodeError {
    match fault {
        Fault::IoError(_) => DecodeError::Cut,
        Fault::Unsupported(_) => DecodeError::Unsupported,
        // The enum may grow; whatever else goes wrong while a file is read lies in the file.
        Fault::DecodeError(_) | Fault::SeekError(_) | Fault::LimitError(_) | Fault::ResetRequired | _ => {
            DecodeError::Broken
        }
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
