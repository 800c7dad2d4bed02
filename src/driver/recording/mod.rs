//! Calls as sound: a stereo WAV file of each, written while the call goes on by one thread for all calls, off their path.
//!
//! A call notes what it took and sent, and hands the notes over once a second. The thread lays them out on the call's clock
//! ([`Mixer`]) and writes what is settled. Each call's queue is short; when the disk is too slow for it, the recording has
//! silence where the notes were dropped, and goes on. The call never waits.

mod disk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use disk::{Disk, Opening, Room};

use super::Meter;
use super::record::{file_name, open_directory};
use crate::audio::{MediaFormat, Mixer, Sound};
use crate::call::action::CarrierCommand;
use crate::call::event::{CarrierEvent, Event};
use crate::ids::{CallSid, CallTime, StreamSid};

pub use disk::is_recording;

/// Notes are handed over when there are so many bytes of audio, or after [`HAND_OVER_EVERY`].
const BATCH_BYTES: usize = 64 * 1024;
const HAND_OVER_EVERY: Duration = Duration::from_secs(1);
/// Batches of one call that may wait for the disk: eight seconds of a telephone's audio, 130 KB.
const BATCHES_WAITING_MAX: usize = 8;
/// Recordings that may wait to be begun. More calls do not begin in the quarter of a second between two looks.
const OPENINGS_WAITING_MAX: usize = 1_024;

/// Where recordings go, and when they stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory.
    pub directory: PathBuf,
    /// Bytes that are left free on its disk: with less, no recording is begun or goes on.
    pub free_bytes_min: u64,
}

/// A directory in which every call leaves a recording.
#[derive(Debug)]
pub struct Recordings {
    directory: PathBuf,
    openings: Mutex<Option<SyncSender<Opening>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Whether the disk takes another one.
    room: Arc<Room>,
    meter: Arc<Meter>,
}

impl Recordings {
    /// Opens a directory for recordings, makes it if it is missing, and starts the thread that writes them. Directory and
    /// files can be read by their owner only.
    ///
    /// # Errors
    /// The directory cannot be made or written to, or there is no thread for it.
    pub fn open(settings: &Settings, meter: Arc<Meter>) -> io::Result<Self> {
        open_directory(&settings.directory)?;
        let (recordings, openings) = Self::unattended(&settings.directory, meter);
        let disk = Disk::new(settings, disk::free_bytes, recordings.room.clone(), recordings.meter.clone());
        let writer =
            std::thread::Builder::new().name("recordings".to_owned()).spawn(move || disk.write_all(&openings))?;
        *recordings.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(recordings)
    }

    /// A directory whose queues nobody empties yet.
    fn unattended(directory: &Path, meter: Arc<Meter>) -> (Self, Receiver<Opening>) {
        let (sender, openings) = sync_channel(OPENINGS_WAITING_MAX);
        let recordings = Recordings {
            directory: directory.to_owned(),
            openings: Mutex::new(Some(sender)),
            writer: Mutex::default(),
            room: Arc::default(),
            meter,
        };
        (recordings, openings)
    }

    /// Begins the recording of a call whose stream has these formats. `None` if there is none: the disk is full or far
    /// behind, both directions do not fit into one file, or the directory is closed. That is counted.
    pub fn begin(
        &self,
        call: &CallSid,
        stream: &StreamSid,
        inbound: MediaFormat,
        outbound: Option<MediaFormat>,
    ) -> Option<Recording> {
        let recording = self.begun(call, stream, inbound, outbound);
        match &recording {
            Some(_) => self.meter.recording_begun(),
            None => self.meter.recording_broken(),
        }
        recording
    }

    fn begun(
        &self,
        call: &CallSid,
        stream: &StreamSid,
        inbound: MediaFormat,
        outbound: Option<MediaFormat>,
    ) -> Option<Recording> {
        let mixer = Mixer::new(inbound, outbound).filter(|_| self.room.is_there())?;
        let openings = self.openings.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (batches, waiting) = sync_channel(BATCHES_WAITING_MAX);
        let end = Arc::<OnceLock<CallTime>>::default();
        let path = self.directory.join(format!("{}-{}", file_name(call.as_str()), file_name(stream.as_str())));
        openings.try_send(Opening { path, mixer, batches: waiting, end: end.clone() }).ok()?;
        Some(Recording {
            batches,
            batch: Batch::default(),
            lost_from: None,
            handed_over_at: CallTime::ZERO,
            now: CallTime::ZERO,
            end,
            meter: self.meter.clone(),
        })
    }

    /// Waits until every recording is on the disk whose call has ended. Blocks: not for a task. Later calls leave none.
    pub fn close(&self) {
        *self.openings.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the thread that writes recordings panicked");
        }
    }
}

/// What happened in about a second of a call.
#[derive(Debug, Default)]
struct Batch {
    notes: Vec<(CallTime, Note)>,
    /// The audio of all of them, one behind the other.
    audio: Vec<u8>,
}

/// A [`Sound`] without its audio: how much of the batch's it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Caller { stamp: Option<Duration>, bytes: usize },
    Gateway { bytes: usize },
    Clear { held: Duration },
    Lost { from: CallTime },
}

impl Batch {
    fn push(&mut self, at: CallTime, note: Note, audio: &[u8]) {
        self.notes.push((at, note));
        self.audio.extend_from_slice(audio);
    }

    /// Gives everything to `mixer`.
    fn play(&self, mixer: &mut Mixer) {
        let mut audio = self.audio.as_slice();
        for (at, note) in &self.notes {
            let mut next = |bytes| {
                let (head, tail) = audio.split_at_checked(bytes).unwrap_or((audio, &[]));
                audio = tail;
                head
            };
            let sound = match *note {
                Note::Caller { stamp, bytes } => Sound::Caller { stamp, audio: next(bytes) },
                Note::Gateway { bytes } => Sound::Gateway(next(bytes)),
                Note::Clear { held } => Sound::Clear { held },
                Note::Lost { from } => Sound::Lost { from },
            };
            mixer.take(*at, sound);
        }
    }
}

/// One call's end of its recording. Dropped, it hands over what it holds and ends the file, whatever became of the call.
pub struct Recording {
    batches: SyncSender<Batch>,
    batch: Batch,
    /// Since when everything was dropped, if it was and the thread does not know it yet.
    lost_from: Option<CallTime>,
    handed_over_at: CallTime,
    now: CallTime,
    /// Where the end is left for the disk, for whose word there may be no room.
    end: Arc<OnceLock<CallTime>>,
    meter: Arc<Meter>,
}

impl Recording {
    /// Takes note of what the call is about to be given. `stamp` is the carrier's own time of it, if it is audio.
    pub(super) fn take(&mut self, now: CallTime, event: &Event, stamp: Option<Duration>) {
        self.now = now;
        if self.batch.audio.len() >= BATCH_BYTES || now.since(self.handed_over_at) >= HAND_OVER_EVERY {
            self.hand_over();
        }
        if let Event::Carrier(CarrierEvent::Media(audio)) = event {
            self.note(Note::Caller { stamp, bytes: audio.len() }, audio);
        }
    }

    /// Takes note of what the carrier is told because of it.
    pub(super) fn sent(&mut self, command: &CarrierCommand) {
        match command {
            CarrierCommand::Media { frame, .. } => self.note(Note::Gateway { bytes: frame.len() }, frame),
            CarrierCommand::Clear { held } => self.note(Note::Clear { held: *held }, &[]),
            CarrierCommand::Mark(_) => {}
        }
    }

    fn note(&mut self, note: Note, audio: &[u8]) {
        if let Some(from) = self.lost_from.filter(|_| self.batch.notes.is_empty()) {
            self.batch.push(self.now, Note::Lost { from }, &[]);
        }
        self.batch.push(self.now, note, audio);
    }

    fn hand_over(&mut self) {
        let began = std::mem::replace(&mut self.handed_over_at, self.now);
        if self.batch.notes.is_empty() {
            return;
        }
        // The next second is like this one.
        let next = Batch {
            notes: Vec::with_capacity(self.batch.notes.len()),
            audio: Vec::with_capacity(self.batch.audio.len()),
        };
        match self.batches.try_send(std::mem::replace(&mut self.batch, next)) {
            Ok(()) => self.lost_from = None,
            Err(_) => {
                self.lost_from.get_or_insert(began);
                self.meter.recording_lost(self.now.since(began));
            }
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.end.set(self.now);
        self.hand_over();
    }
}

#[cfg(test)]
mod tests;
