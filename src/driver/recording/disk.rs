//! The thread that writes recordings, and the files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hound::{SampleFormat, WavSpec, WavWriter};

use super::super::record::probe;
use super::{Batch, Meter, Settings};
use crate::audio::{MediaFormat, Mixer};
use crate::ids::CallTime;

/// How often the thread looks for what calls handed over.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Audio after which a file's header is brought up to date: so much is missing if the process is killed, and what lies
/// between the call and its recording.
const HEADER_EVERY: Duration = Duration::from_secs(4);
/// Written bytes, over all calls, after which the free space is looked at again: a minute of one call, a tenth of a second of
/// five hundred.
const LOOK_AT_SPACE_EVERY: u64 = 1024 * 1024;
/// What the header of a WAV file can count, with room for the header itself.
const FILE_BYTES_MAX: u64 = u32::MAX as u64 - 1024;
/// Bytes of a moment of both sides.
const MOMENT_BYTES: u64 = 4;
/// Samples that are written at once: each file keeps memory for as many.
const WRITE_SAMPLES: usize = 4_096;
/// Calls of the same names whose recordings find a place beside one another.
const SAME_NAME_MAX: u32 = 1_000;
/// What a file is called when its call is over, and until then.
const DONE: &str = ".wav";
const PART: &str = ".wav.part";

/// A recording that is to be begun.
#[derive(Debug)]
pub(super) struct Opening {
    /// Without what comes behind the names.
    pub(super) path: PathBuf,
    pub(super) mixer: Mixer,
    pub(super) batches: Receiver<Batch>,
    /// When the call ended; set before the last sender is gone.
    pub(super) end: Arc<OnceLock<CallTime>>,
}

/// Whether calls can be recorded, as far as the disk told.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Too little space is left: nothing more is written.
    is_full: AtomicBool,
    /// No file could be made: what is being written goes on.
    is_barred: AtomicBool,
}

impl Room {
    /// Whether another recording can be begun.
    pub(super) fn is_there(&self) -> bool {
        !self.is_full() && !self.is_barred.load(Ordering::Relaxed)
    }

    fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }
}

/// Every recording that is being written.
pub(super) struct Disk {
    directory: PathBuf,
    free_bytes_min: u64,
    free_bytes: fn(&Path) -> io::Result<u64>,
    room: Arc<Room>,
    /// Bytes that were written since the free space was looked at.
    unlooked: u64,
    writing: Vec<Writing>,
    /// Samples on their way from a mixer to a file.
    block: Vec<i16>,
    meter: Arc<Meter>,
}

/// One recording.
struct Writing {
    opening: Opening,
    /// `None` once it cannot be written any more.
    file: Option<Wave>,
    /// When the last thing happened that is known of.
    known: CallTime,
}

impl Disk {
    pub(super) fn new(
        settings: &Settings,
        free_bytes: fn(&Path) -> io::Result<u64>,
        room: Arc<Room>,
        meter: Arc<Meter>,
    ) -> Self {
        Disk {
            directory: settings.directory.clone(),
            free_bytes_min: settings.free_bytes_min,
            free_bytes,
            room,
            unlooked: 0,
            writing: Vec::new(),
            block: Vec::new(),
            meter,
        }
    }

    /// Writes until nobody can begin a recording any more and all have ended.
    pub(super) fn write_all(mut self, openings: &Receiver<Opening>) {
        self.look_at_space();
        let mut is_open = true;
        while is_open || !self.writing.is_empty() {
            match openings.recv_timeout(LOOK_EVERY) {
                Ok(opening) => self.begin(opening),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    is_open = false;
                    self.write();
                    std::thread::sleep(LOOK_EVERY);
                }
            }
            self.write();
        }
    }

    pub(super) fn begin(&mut self, opening: Opening) {
        let file = match self.has_space().and_then(|()| Wave::create(&opening.path, opening.mixer.rate())) {
            Ok(file) => Some(file),
            Err(error) => {
                self.room.is_barred.store(!self.room.is_full(), Ordering::Relaxed);
                self.failed(&error);
                None
            }
        };
        self.writing.push(Writing { opening, file, known: CallTime::ZERO });
    }

    /// Writes what calls handed over, and ends the recordings of those that are over.
    pub(super) fn write(&mut self) {
        if self.room.is_barred.load(Ordering::Relaxed) && probe(&self.directory).is_ok() {
            self.room.is_barred.store(false, Ordering::Relaxed);
            tracing::info!("files can be made again: calls are recorded");
        }
        if self.room.is_full() || self.unlooked >= LOOK_AT_SPACE_EVERY {
            self.look_at_space();
        }
        let mut writing = std::mem::take(&mut self.writing);
        writing.retain_mut(|writing| self.go_on(writing));
        self.writing = writing;
    }

    /// Whether the call goes on.
    fn go_on(&mut self, writing: &mut Writing) -> bool {
        loop {
            match writing.opening.batches.try_recv() {
                Ok(batch) => {
                    let known = batch.notes.last().map_or(writing.known, |(at, _)| *at);
                    if writing.file.is_none() {
                        self.meter.recording_lost(known.since(writing.known));
                    }
                    writing.known = known;
                    batch.play(&mut writing.opening.mixer);
                    self.pour(writing);
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => {
                    let end = writing.opening.end.get().copied().unwrap_or(writing.known);
                    writing.opening.mixer.end(end);
                    self.pour(writing);
                    if let Some(Err(error)) = writing.file.take().map(Wave::finish) {
                        self.failed(&error);
                    }
                    return false;
                }
            }
        }
    }

    /// Writes what is settled of a recording, or drops it if that is no longer possible.
    fn pour(&mut self, writing: &mut Writing) {
        let mut is_more = true;
        while is_more {
            self.block.clear();
            is_more = writing.opening.mixer.give(&mut self.block);
            let Some(file) = &mut writing.file else { continue };
            let written = match self.room.is_full() {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => file.write(&self.block),
            };
            self.unlooked += 2 * self.block.len() as u64;
            if let Err(error) = written {
                // What was written so far is a whole recording, only a short one.
                if let Some(Err(error)) = writing.file.take().map(Wave::finish) {
                    tracing::warn!(%error, "a recording cannot be ended");
                }
                self.failed(&error);
            }
        }
    }

    fn has_space(&mut self) -> io::Result<()> {
        self.look_at_space();
        if self.room.is_full() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn look_at_space(&mut self) {
        self.unlooked = 0;
        let is_full = match (self.free_bytes)(&self.directory) {
            Ok(free) => free < self.free_bytes_min,
            // Whether anything can be written will be seen when it is.
            Err(_) => false,
        };
        if self.room.is_full.swap(is_full, Ordering::Relaxed) != is_full {
            match is_full {
                true => tracing::warn!("too little space is left on the disk: calls are not recorded"),
                false => tracing::info!("there is space on the disk again: calls are recorded"),
            }
        }
    }

    fn failed(&self, error: &io::Error) {
        self.meter.recording_broken();
        tracing::warn!(%error, "a recording cannot be written any further");
    }
}

/// Free bytes on the disk of `directory`, for those who are not its administrator.
pub(super) fn free_bytes(directory: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// A stereo WAV file that can be opened at any time: its header is never far behind.
struct Wave {
    writer: WavWriter<File>,
    /// Its name now and when it is done.
    part: PathBuf,
    done: PathBuf,
    rate: u32,
    /// Moments of both sides in the file, and those that its header counts.
    moments: u64,
    counted: u64,
}

impl Wave {
    fn create(path: &Path, rate: u32) -> io::Result<Self> {
        let (file, part, done) = new_file(path)?;
        let spec = WavSpec { channels: 2, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let writer = WavWriter::new(file, spec).map_err(|error| {
            // Nobody would know it for a recording, and it would stay for ever.
            let _ = std::fs::remove_file(&part);
            io_error(error)
        })?;
        Ok(Wave { writer, part, done, rate, moments: 0, counted: 0 })
    }

    /// Appends samples, left and right by turns.
    fn write(&mut self, samples: &[i16]) -> io::Result<()> {
        let moments = samples.len() as u64 / 2;
        if (self.moments + moments) * MOMENT_BYTES > FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        for some in samples.chunks(WRITE_SAMPLES) {
            let mut block = self.writer.get_i16_writer(u32::try_from(some.len()).unwrap_or_default());
            some.iter().for_each(|sample| block.write_sample(*sample));
            block.flush().map_err(io_error)?;
        }
        self.moments += moments;
        if self.moments - self.counted >= HEADER_EVERY.as_secs() * u64::from(self.rate) {
            self.writer.flush().map_err(io_error)?;
            self.counted = self.moments;
        }
        Ok(())
    }

    /// Ends the file and gives it its name.
    fn finish(self) -> io::Result<()> {
        self.writer.finalize().map_err(io_error)?;
        std::fs::rename(&self.part, &self.done)
    }
}

fn io_error(error: hound::Error) -> io::Error {
    match error {
        hound::Error::IoError(error) => error,
        other @ (hound::Error::FormatError(_)
        | hound::Error::TooWide
        | hound::Error::UnfinishedSample
        | hound::Error::Unsupported
        | hound::Error::InvalidSampleFormat) => io::Error::other(other),
    }
}

/// A new file for a recording and its two names, with a number if a carrier gave the same names to several calls.
fn new_file(path: &Path) -> io::Result<(File, PathBuf, PathBuf)> {
    let mut number = 1;
    loop {
        let named = |end: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(if number == 1 { String::new() } else { format!("-{number}") });
            name.push(end);
            PathBuf::from(name)
        };
        let (part, done) = (named(PART), named(DONE));
        let made = match done.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part),
        };
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < SAME_NAME_MAX => number += 1,
            made => return made.map(|file| (file, part, done)),
        }
    }
}

/// Whether a file is a recording of ours, finished or not: by its name, and by what it begins with.
pub fn is_recording(name: &str, file: impl Read) -> bool {
    let names = name.strip_suffix(DONE).or_else(|| name.strip_suffix(PART));
    names.is_some_and(super::super::record::is_named_after_call) && has_our_header(file).unwrap_or(false)
}

/// Whether a file begins as those of [`Wave`] do, with two 16-bit channels and nothing in front of the samples. Many programs write
/// more; what has the very same header and name is taken for ours.
fn has_our_header(mut file: impl Read) -> io::Result<bool> {
    let mut header = [0; 44];
    file.read_exact(&mut header)?;
    let [riff, _, wave, fmt, size, kind, rate, _, sample, data, _] = header.as_chunks::<4>().0 else {
        return Ok(false);
    };
    let number = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
    let begins = [riff, wave, fmt, data] == [b"RIFF", b"WAVE", b"fmt ", b"data"];
    // PCM in two channels; four bytes a moment, of 16 bits each.
    let is_stereo = number(size) == 16 && number(kind) == 0x0002_0001 && number(sample) == 0x0010_0004;
    Ok(begins && is_stereo && MediaFormat::RATES.contains(&number(rate)))
}
