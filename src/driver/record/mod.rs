//! The tap at the inbox: each call's tape, written by one thread for all calls, off their path.
//!
//! A call puts lines into a buffer of its own and hands the buffer over once a second. The queue to the disk is bounded, in
//! buffers and in bytes; when it is full, a call loses lines, never time, and the tape says how many. How a tape begins and
//! ends always gets through.

mod disk;

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use disk::{Buffer, Disk, Job, Last};

use super::Meter;
use crate::audio::vad;
use crate::call::action::{CarrierCommand, EndReason};
use crate::call::event::Event;
use crate::ids::{CallSid, CallTime, StreamSid};
use crate::tape::{Audio, Digest, End, Entry, Header, Lines, Redactor, What};

/// A buffer is handed over when it has so many bytes, or after [`HAND_OVER_EVERY`].
const BUFFER_BYTES: usize = 32 * 1024;
const HAND_OVER_EVERY: Duration = Duration::from_secs(1);
/// Buffers that may wait for the disk, over all calls: one second of two thousand of them.
const BUFFERS_WAITING_MAX: usize = 2048;
/// Shows that files can be made. Nobody else's, so that one which a kill left behind may be taken away.
const PROBE: &str = ".trunkline-writable";
/// How the header of every tape begins.
const TAPE_BEGINS: &[u8] = b"{\"tape\":";
/// Longest part of a carrier's name in a file name.
const NAME_CHARS_MAX: usize = 64;

/// A directory in which every call leaves its tape.
#[derive(Debug)]
pub struct Shelf {
    directory: PathBuf,
    jobs: Mutex<(Option<SyncSender<Job>>, u64)>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Bytes that wait for the disk, over all calls.
    queued: Arc<AtomicUsize>,
    meter: Arc<Meter>,
}

impl Shelf {
    /// Opens a directory for tapes, makes it if it is missing, and starts the thread that writes them. Directory and tapes
    /// can be read by their owner only.
    ///
    /// # Errors
    /// The directory cannot be made or written to, or there is no thread for it.
    pub fn open(directory: &Path, meter: Arc<Meter>) -> io::Result<Self> {
        open_directory(directory)?;
        let (shelf, jobs) = Self::unattended(directory, meter, BUFFERS_WAITING_MAX);
        let disk = Disk::new(shelf.meter.clone());
        let writer = std::thread::Builder::new().name("tapes".to_owned()).spawn(move || disk.write_all(&jobs))?;
        *shelf.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(shelf)
    }

    /// A shelf whose queue nobody empties yet.
    fn unattended(directory: &Path, meter: Arc<Meter>, buffers_max: usize) -> (Self, Receiver<Job>) {
        let (sender, jobs) = sync_channel(buffers_max);
        let shelf = Shelf {
            directory: directory.to_owned(),
            jobs: Mutex::new((Some(sender), 0)),
            writer: Mutex::default(),
            queued: Arc::default(),
            meter,
        };
        (shelf, jobs)
    }

    /// Begins the tape of a call. `key` covers what is private; it must be random. `None` once the shelf is closed.
    pub fn begin(&self, header: &Header, call: &CallSid, stream: &StreamSid, key: [u8; 32]) -> Option<Tap> {
        let redactor = Redactor::new(header, key);
        let header = redactor.header(header.clone());
        let (jobs, tape) = {
            let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            jobs.1 += 1;
            (jobs.0.clone()?, jobs.1)
        };
        let path = self.directory.join(format!("{}-{}", file_name(call.as_str()), file_name(stream.as_str())));
        let mut first = Lines::default();
        first.push_header(&header);
        let last = Arc::<OnceLock<Last>>::default();
        let open = Buffer::fitting(&self.queued, first.take().0).map(|header| Job::Open {
            tape,
            path,
            header,
            last: last.clone(),
        });
        if open.is_none_or(|open| jobs.try_send(open).is_err()) {
            self.meter.tape_broken();
            return None;
        }
        Some(Tap {
            jobs,
            tape,
            redactor,
            audio: header.audio,
            lines: Lines::default(),
            buffers: 0,
            lost: 0,
            handed_over_at: CallTime::ZERO,
            now: CallTime::ZERO,
            digest: Digest::default(),
            end: None,
            withdrawn: Vec::new(),
            last,
            queued: self.queued.clone(),
            meter: self.meter.clone(),
        })
    }

    /// Waits until every tape that has ended is on the disk. Blocks: not for a task. Later calls leave no tape.
    pub fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).0 = None;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the thread that writes tapes panicked");
        }
    }
}

/// Makes a directory that its owner alone can read, if it is missing, and sees that it can be written to.
pub(super) fn open_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    probe(directory)
}

/// Letters and digits of a carrier's name, which anybody may have made up.
pub(super) fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    name.chars().take(NAME_CHARS_MAX).map(plain).collect()
}

/// Whether a file's name, without its ending, is made of what [`file_name`] leaves of two names.
pub(super) fn is_named_after_call(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    name.chars().all(is_plain)
        && name.split_once('-').is_some_and(|(call, stream)| !call.is_empty() && !stream.is_empty())
}

/// Whether a file is a tape: by its name, and by what it begins with.
pub fn is_tape(name: &str, file: impl Read) -> bool {
    let mut begins = Vec::new();
    name.strip_suffix(".jsonl").is_some_and(is_named_after_call)
        && file.take(TAPE_BEGINS.len() as u64).read_to_end(&mut begins).is_ok()
        && begins == TAPE_BEGINS
}

/// Makes a file in a directory and takes it away again. A gateway that shares the directory may do the same at the same time.
pub(super) fn probe(directory: &Path) -> io::Result<()> {
    let path = &directory.join(PROBE);
    // One that was left behind may be another user's.
    let _ = std::fs::remove_file(path);
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// One call's end of its tape. Dropped, it hands over what it holds, so that a call that panicked leaves its last input.
pub struct Tap {
    jobs: SyncSender<Job>,
    tape: u64,
    redactor: Redactor,
    audio: Audio,
    lines: Lines,
    /// Buffers that are on their way to the disk, or there.
    buffers: u64,
    /// Lines that the disk had no room for, and that the tape does not tell of yet; if any, the first line that waits does.
    lost: u64,
    handed_over_at: CallTime,
    now: CallTime,
    digest: Digest,
    end: Option<EndReason>,
    withdrawn: Vec<(u64, u64)>,
    /// Where the tape's end is left for the disk, which need not be told of it.
    last: Arc<OnceLock<Last>>,
    queued: Arc<AtomicUsize>,
    meter: Arc<Meter>,
}

impl Tap {
    /// Records what the call is about to be given, and that it means `event`.
    pub(super) fn take(&mut self, now: CallTime, what: What, event: &Event) {
        self.now = now;
        if self.lines.len() >= BUFFER_BYTES || now.since(self.handed_over_at) >= HAND_OVER_EVERY {
            self.hand_over();
        }
        let what = self.redactor.cover(what, event);
        self.lines.push_entry(&Entry { at: now, what });
    }

    /// Records what the detector heard in the input that was recorded last, where the tape's audio will not tell.
    pub(super) fn heard(&mut self, change: vad::Change) {
        if self.audio == Audio::Keep {
            return;
        }
        // Before the input, so that a replay gives the call both in the order in which it took them.
        self.lines.push_before_last(&Entry { at: self.now, what: What::Speech(change.into()) });
    }

    /// Takes note of what the carrier was told.
    pub(super) fn sent(&mut self, command: &CarrierCommand) {
        self.digest.take(command, self.audio);
    }

    /// Takes note of how the call ended.
    pub(super) fn ended(&mut self, now: CallTime, reason: EndReason) {
        self.now = now;
        self.end = Some(reason);
    }

    /// Ends the tape. `withdrawn` are messages that never reached the carrier's socket.
    pub(super) fn finish(mut self, withdrawn: Vec<(u64, u64)>) {
        self.withdrawn = withdrawn;
    }

    fn hand_over(&mut self) {
        self.handed_over_at = self.now;
        let (lines, count) = self.lines.take();
        if lines.is_empty() {
            return;
        }
        let job = Buffer::fitting(&self.queued, lines).map(|lines| Job::Lines { tape: self.tape, lines });
        if job.is_some_and(|job| self.jobs.try_send(job).is_ok()) {
            self.buffers += 1;
            self.lost = 0;
        } else {
            self.lose(count);
        }
    }

    /// Tells of lines that there was no room for. One of them may be the line that told so before.
    fn lose(&mut self, count: u64) {
        let lines = count - u64::from(self.lost > 0);
        self.lost += lines;
        self.meter.tape_lines_lost(lines);
        if self.lost > 0 {
            self.lines.push_entry(&Entry { at: self.now, what: What::Lost(self.lost) });
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let end = End { reason: self.end, sent: self.digest, withdrawn: std::mem::take(&mut self.withdrawn) };
        let end = Entry { at: self.now, what: What::End(end) };
        self.lines.push_entry(&end);
        let (lines, count) = self.lines.take();
        let lines = Buffer::fitting(&self.queued, lines).unwrap_or_else(|| {
            // However many calls end before a disk that hangs, no more than two lines of each have to wait.
            self.lose(count - 1);
            self.lines.push_entry(&end);
            Buffer::forced(&self.queued, self.lines.take().0)
        });
        let _ = self.last.set(Last { after: self.buffers, lines });
        // Only so that it is written at once: without this word the thread finds it by itself.
        let _ = self.jobs.try_send(Job::Ended { tape: self.tape });
    }
}

#[cfg(test)]
mod tests;
