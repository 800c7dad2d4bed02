//! The thread that writes tapes, and what it is told.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::Meter;

/// Bytes that may wait for the disk, over all calls.
pub(super) const BYTES_WAITING_MAX: usize = 32 * 1024 * 1024;
/// How often the thread looks for tapes whose end it was not told of: after so long without a job, or so many jobs.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_AFTER_JOBS: u32 = 256;
/// Calls of the same names whose tapes find a place beside one another.
const SAME_NAME_MAX: u32 = 1_000;

/// What the thread is told.
pub(super) enum Job {
    Open { tape: u64, path: PathBuf, header: Buffer, last: Arc<OnceLock<Last>> },
    Lines { tape: u64, lines: Buffer },
    Ended { tape: u64 },
}

/// The end of a tape.
pub(super) struct Last {
    /// Buffers of the same tape that come first.
    pub(super) after: u64,
    pub(super) lines: Buffer,
}

/// Lines that wait for the disk, and are counted for as long as they do.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    queued: Arc<AtomicUsize>,
}

impl Buffer {
    /// `None` if too much waits already.
    pub(super) fn fitting(queued: &Arc<AtomicUsize>, bytes: Vec<u8>) -> Option<Self> {
        let buffer = Buffer::forced(queued, bytes);
        (queued.load(Ordering::Relaxed) <= BYTES_WAITING_MAX).then_some(buffer)
    }

    /// For what has to get through, however much waits.
    pub(super) fn forced(queued: &Arc<AtomicUsize>, bytes: Vec<u8>) -> Self {
        queued.fetch_add(bytes.len(), Ordering::Relaxed);
        Buffer { bytes, queued: queued.clone() }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.queued.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Every tape that is being written.
pub(super) struct Disk {
    tapes: BTreeMap<u64, Writing>,
    meter: Arc<Meter>,
}

struct Writing {
    file: File,
    /// Buffers written, besides the header.
    buffers: u64,
    last: Arc<OnceLock<Last>>,
}

impl Disk {
    pub(super) fn new(meter: Arc<Meter>) -> Self {
        Disk { tapes: BTreeMap::new(), meter }
    }

    /// Writes until every sender is gone, and with them every call.
    pub(super) fn write_all(mut self, jobs: &Receiver<Job>) {
        let mut taken = 0;
        loop {
            match jobs.recv_timeout(LOOK_EVERY) {
                Ok(job) => {
                    self.take(job);
                    taken += 1;
                    if taken < LOOK_AFTER_JOBS {
                        continue;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            taken = 0;
            self.end_tapes();
        }
        self.end_tapes();
    }

    pub(super) fn take(&mut self, job: Job) {
        match job {
            Job::Open { tape, path, header, last } => {
                let made = new_tape(&path).and_then(|mut file| file.write_all(&header.bytes).map(|()| file));
                match made {
                    Ok(file) => drop(self.tapes.insert(tape, Writing { file, buffers: 0, last })),
                    Err(error) => self.failed(&error),
                }
            }
            Job::Lines { tape, lines } => {
                let Some(writing) = self.tapes.get_mut(&tape) else { return };
                writing.buffers += 1;
                if let Err(error) = writing.file.write_all(&lines.bytes) {
                    // A tape with a hole that it does not tell of would be worse than a short one.
                    self.tapes.remove(&tape);
                    self.failed(&error);
                }
            }
            Job::Ended { tape } => self.end(tape),
        }
    }

    /// Ends the tapes whose calls are over. Word of an end does not get through while the queue is full.
    pub(super) fn end_tapes(&mut self) {
        let ended: Vec<u64> =
            self.tapes.iter().filter(|(_, writing)| writing.last.get().is_some()).map(|(tape, _)| *tape).collect();
        ended.into_iter().for_each(|tape| self.end(tape));
    }

    /// Ends a tape, unless something of it is still on its way.
    fn end(&mut self, tape: u64) {
        let Some(writing) = self.tapes.get_mut(&tape) else { return };
        let last = writing.last.clone();
        let Some(last) = last.get().filter(|last| last.after == writing.buffers) else { return };
        let written = writing.file.write_all(&last.lines.bytes);
        self.tapes.remove(&tape);
        if let Err(error) = written {
            self.failed(&error);
        }
    }

    #[cfg(test)]
    pub(super) fn open_files(&self) -> usize {
        self.tapes.len()
    }

    fn failed(&self, error: &io::Error) {
        self.meter.tape_broken();
        tracing::warn!(%error, "a tape cannot be written any further");
    }
}

/// A new file `{path}.jsonl`, with a number if a carrier gave the same names to several calls.
fn new_tape(path: &Path) -> io::Result<File> {
    let mut number = 1;
    loop {
        let end = if number == 1 { ".jsonl".to_owned() } else { format!("-{number}.jsonl") };
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < SAME_NAME_MAX => number += 1,
            made => return made,
        }
    }
}
