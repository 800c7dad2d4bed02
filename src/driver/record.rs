//! The tap at the inbox: each call's tape, written by one thread for all calls, off their path.
//!
//! A call puts lines into a buffer of its own and hands the buffer over once a second. The queue to the disk is bounded;
//! when it is full, a call loses lines, never time, and the tape says how many.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Meter;
use crate::audio::vad;
use crate::call::action::{CarrierCommand, EndReason};
use crate::call::event::Event;
use crate::ids::{CallSid, CallTime, StreamSid};
use crate::tape::{Audio, Digest, End, Entry, Header, Lines, Redactor, What};

/// A buffer is handed over when it has so many bytes, or after [`HAND_OVER_EVERY`].
const BUFFER_BYTES: usize = 16 * 1024;
const HAND_OVER_EVERY: Duration = Duration::from_secs(1);
/// Buffers that may wait for the disk, over all calls: at most about 32 MiB.
const BUFFERS_WAITING_MAX: usize = 2048;
/// Calls of the same names whose tapes find a place beside one another.
const SAME_NAME_MAX: u32 = 1_000;
/// Longest part of a carrier's name in a file name.
const NAME_CHARS_MAX: usize = 64;

/// What the thread is told.
enum Job {
    Open { tape: u64, path: PathBuf },
    Lines { tape: u64, lines: Vec<u8> },
    Close { tape: u64 },
}

/// A directory in which every call leaves its tape.
#[derive(Debug)]
pub struct Shelf {
    directory: PathBuf,
    jobs: Mutex<(Option<SyncSender<Job>>, u64)>,
    writer: Mutex<Option<JoinHandle<()>>>,
    meter: Arc<Meter>,
}

impl Shelf {
    /// Opens a directory for tapes, makes it if it is missing, and starts the thread that writes them. Directory and tapes
    /// can be read by their owner only.
    ///
    /// # Errors
    /// The directory cannot be made or written to, or there is no thread for it.
    pub fn open(directory: &Path, meter: Arc<Meter>) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let probe = directory.join(format!(".writable-{}", std::process::id()));
        new_file(&probe)?;
        std::fs::remove_file(&probe)?;
        let (sender, jobs) = sync_channel(BUFFERS_WAITING_MAX);
        let counted = meter.clone();
        let writer = std::thread::Builder::new().name("tapes".to_owned()).spawn(move || write_all(&jobs, &counted))?;
        Ok(Shelf {
            directory: directory.to_owned(),
            jobs: Mutex::new((Some(sender), 0)),
            writer: Mutex::new(Some(writer)),
            meter,
        })
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
        if jobs.try_send(Job::Open { tape, path }).is_err() {
            self.meter.tape_broken();
            return None;
        }
        let mut tap = Tap {
            jobs,
            tape,
            redactor,
            audio: header.audio,
            lines: Lines::default(),
            lost: 0,
            handed_over_at: CallTime::ZERO,
            now: CallTime::ZERO,
            digest: Digest::default(),
            end: None,
            withdrawn: Vec::new(),
            meter: self.meter.clone(),
        };
        tap.lines.push_header(&header);
        Some(tap)
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

/// Letters and digits of a carrier's name, which anybody may have made up.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    name.chars().take(NAME_CHARS_MAX).map(plain).collect()
}

/// A new file `{path}.jsonl`, with a number if a carrier gave the same names to several calls.
fn new_tape(path: &Path) -> io::Result<File> {
    let mut number = 1;
    loop {
        let end = if number == 1 { ".jsonl".to_owned() } else { format!("-{number}.jsonl") };
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        match new_file(Path::new(&name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < SAME_NAME_MAX => number += 1,
            made => return made,
        }
    }
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// One call's end of its tape. Dropped, it hands over what it holds, so that a call that panicked leaves its last input.
pub struct Tap {
    jobs: SyncSender<Job>,
    tape: u64,
    redactor: Redactor,
    audio: Audio,
    lines: Lines,
    /// Lines that the disk had no room for, and that the tape does not tell of yet.
    lost: u64,
    handed_over_at: CallTime,
    now: CallTime,
    digest: Digest,
    end: Option<EndReason>,
    withdrawn: Vec<(u64, u64)>,
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
        if lines.is_empty() || self.send(Job::Lines { tape: self.tape, lines }) {
            self.lost = 0;
            return;
        }
        self.lost += count;
        self.meter.tape_lines_lost(count);
        self.lines.push_entry(&Entry { at: self.now, what: What::Lost(self.lost) });
    }

    /// Whether there was room.
    fn send(&self, job: Job) -> bool {
        match self.jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let end = End { reason: self.end, sent: self.digest, withdrawn: std::mem::take(&mut self.withdrawn) };
        self.lines.push_entry(&Entry { at: self.now, what: What::End(end) });
        self.hand_over();
        self.send(Job::Close { tape: self.tape });
    }
}

/// The thread: writes until every sender is gone.
fn write_all(jobs: &Receiver<Job>, meter: &Meter) {
    let mut files: BTreeMap<u64, File> = BTreeMap::new();
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Open { tape, path } => match new_tape(&path) {
                Ok(file) => drop(files.insert(tape, file)),
                Err(error) => failed(meter, &error),
            },
            Job::Lines { tape, lines } => {
                let written = files.get_mut(&tape).map(|file| file.write_all(&lines));
                if let Some(Err(error)) = written {
                    // A tape with a hole that it does not tell of would be worse than a short one.
                    files.remove(&tape);
                    failed(meter, &error);
                }
            }
            Job::Close { tape } => drop(files.remove(&tape)),
        }
    }
}

fn failed(meter: &Meter, error: &io::Error) {
    meter.tape_broken();
    tracing::warn!(%error, "a tape cannot be written any further");
}
