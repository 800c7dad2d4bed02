//! How long what calls leave on the disk is kept: what is older is deleted, and nothing else is touched.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use super::node::{Node, unix_time};
use crate::driver::record::is_tape;
use crate::driver::recording::is_recording;

/// How often the directories are looked through; the first time at once.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// What is deleted from a directory, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The directory. What lies in directories below it is let be.
    pub directory: PathBuf,
    /// What is looked for in it.
    pub kind: KeptKind,
    /// Days after which a file is deleted that was not changed since.
    pub days: u32,
}

/// What a call leaves on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptKind {
    /// Recordings as sound, and those that a crash left unfinished.
    Recording,
    /// Tapes.
    Tape,
}

impl KeptKind {
    /// Its name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            KeptKind::Recording => "recording",
            KeptKind::Tape => "tape",
        }
    }
}

/// What became of a look through a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files that were deleted.
    pub deleted: u64,
    /// Files that are old enough, and could not be looked at or deleted.
    pub failed: u64,
}

impl Node {
    /// Deletes what is too old, now and every hour, until the node begins to stop.
    pub(super) async fn keep_within_age(self) {
        let mut ticks = interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.stopping().drain.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                biased;
                () = self.stopping().drain.cancelled() => return,
                () = self.sweep_all() => {}
            }
        }
    }

    async fn sweep_all(&self) {
        let (kept, now) = (self.settings().kept.clone(), unix_time());
        let (done, swept) = oneshot::channel();
        let sweep_all = move || {
            let all = kept.into_iter().map(|kept| (kept.kind, sweep(&kept, now))).collect::<Vec<_>>();
            let _ = done.send(all);
        };
        // A thread of its own, which nobody waits for at the end: a disk may hang for ever.
        if let Err(error) = std::thread::Builder::new().name("retention".to_owned()).spawn(sweep_all) {
            tracing::warn!(%error, "no thread to look for files that are too old");
            return;
        }
        for (kind, swept) in swept.await.unwrap_or_default() {
            self.tell_swept(kind, swept);
        }
    }

    fn tell_swept(&self, kind: KeptKind, swept: io::Result<Swept>) {
        let kind = kind.name();
        match swept {
            Ok(Swept { deleted, failed }) => {
                self.meter().expired(kind, deleted);
                if deleted > 0 {
                    tracing::info!(kind, deleted, "files were deleted because of their age");
                }
                if failed > 0 {
                    tracing::warn!(kind, failed, "files that are too old cannot be deleted");
                }
            }
            Err(error) => {
                tracing::warn!(kind, %error, "the directory cannot be looked through for files that are too old")
            }
        }
    }
}

/// Deletes the files of a directory that were changed last more than so many days before `now`, which is Unix time. Only
/// regular files are, whose names and beginnings are those of our own; symbolic links are not followed.
///
/// # Errors
/// The directory cannot be read.
pub fn sweep(kept: &Kept, now: Duration) -> io::Result<Swept> {
    let limit = now.saturating_sub(DAY * kept.days);
    let mut swept = Swept::default();
    for entry in fs::read_dir(&kept.directory)? {
        let entry = entry?;
        // Of the entry itself: what a link leads to is not asked.
        let Ok(metadata) = entry.metadata() else { continue };
        let changed = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or(now);
        if !metadata.is_file() || changed >= limit {
            continue;
        }
        match delete_ours(kept.kind, &entry.file_name().to_string_lossy(), &entry.path()) {
            Ok(true) => swept.deleted += 1,
            Ok(false) => {}
            // Another node that shares the directory was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => swept.failed += 1,
        }
    }
    Ok(swept)
}

/// Deletes a file if it is one of ours; whether it was.
fn delete_ours(kind: KeptKind, name: &str, path: &Path) -> io::Result<bool> {
    let is_named = match kind {
        KeptKind::Recording => name.ends_with(".wav") || name.ends_with(".wav.part"),
        KeptKind::Tape => name.ends_with(".jsonl"),
    };
    if !is_named {
        return Ok(false);
    }
    let file = File::open(path)?;
    let is_ours = match kind {
        KeptKind::Recording => is_recording(name, file),
        KeptKind::Tape => is_tape(name, file),
    };
    if is_ours {
        fs::remove_file(path)?;
    }
    Ok(is_ours)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::FileTimes;
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    use hound::{SampleFormat, WavSpec, WavWriter};

    use super::*;

    const NOW: Duration = Duration::from_secs(1_900_000_000);
    const TAPE: &str = include_str!("../../fixtures/calls/plain-greeting/tape.jsonl");

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("trunkline-retention-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("below")).unwrap();
        directory
    }

    fn age(path: &Path, days: f64) {
        let changed: SystemTime = UNIX_EPOCH + Duration::from_secs_f64(NOW.as_secs_f64() - days * DAY.as_secs_f64());
        File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(changed)).unwrap();
    }

    fn wav(path: &Path, channels: u16, days: f64) {
        let spec = WavSpec { channels, sample_rate: 8_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
        WavWriter::create(path, spec).unwrap().finalize().unwrap();
        age(path, days);
    }

    fn names(directory: &Path) -> BTreeSet<String> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_is_too_old_and_ours_is_deleted_and_nothing_else() {
        let (directory, elsewhere) = (directory("ours"), directory("elsewhere"));
        let at = |name: &str| directory.join(name);
        wav(&at("CA1-MZ1.wav"), 2, 30.1);
        wav(&at("CA1-MZ1-2.wav"), 2, 400.0);
        wav(&at("CA2-MZ2.wav.part"), 2, 31.0);
        wav(&at("CA3-MZ3.wav"), 2, 29.9);
        wav(&at("CA4-MZ4.wav.part"), 2, 0.0);
        // Changed in what is the future to a clock that was set back.
        wav(&at("CA5-MZ5.wav"), 2, -5.0);
        // Somebody else's: by its name, by what is in it, by where it lies.
        wav(&at("music.wav"), 2, 400.0);
        wav(&at("on-hold.wav"), 1, 400.0);
        wav(&at("below/CA6-MZ6.wav"), 2, 400.0);
        fs::write(at("CA7-MZ7.wav"), "not a sound").unwrap();
        age(&at("CA7-MZ7.wav"), 400.0);
        fs::write(at("CA8-MZ8.jsonl"), TAPE).unwrap();
        age(&at("CA8-MZ8.jsonl"), 400.0);
        let target = elsewhere.join("CA9-MZ9.wav");
        wav(&target, 2, 400.0);
        symlink(&target, at("CA9-MZ9.wav")).unwrap();
        symlink(&elsewhere, at("CA10-MZ10.wav")).unwrap();

        let kept = Kept { directory: directory.clone(), kind: KeptKind::Recording, days: 30 };
        let before = names(&directory);
        assert_eq!(sweep(&kept, NOW).unwrap(), Swept { deleted: 3, failed: 0 });
        let gone: Vec<String> = before.difference(&names(&directory)).cloned().collect();
        assert_eq!(gone, ["CA1-MZ1-2.wav", "CA1-MZ1.wav", "CA2-MZ2.wav.part"]);
        assert!(target.exists() && at("below/CA6-MZ6.wav").exists());
        assert_eq!(sweep(&kept, NOW).unwrap(), Swept::default());
        // A day later, the next one is due.
        assert_eq!(sweep(&kept, NOW + DAY).unwrap(), Swept { deleted: 1, failed: 0 });
        assert!(!at("CA3-MZ3.wav").exists());
        for directory in [directory, elsewhere] {
            fs::remove_dir_all(directory).unwrap();
        }
    }

    #[test]
    fn tapes_have_an_age_of_their_own() {
        let directory = directory("tapes");
        for (name, text, days) in [
            ("CA1-MZ1.jsonl", TAPE, 8.0),
            ("CA2-MZ2.jsonl", TAPE, 6.0),
            ("CA3-MZ3.jsonl", "{\"other\":1}\n", 8.0),
            ("expected.jsonl", TAPE, 8.0),
        ] {
            fs::write(directory.join(name), text).unwrap();
            age(&directory.join(name), days);
        }
        wav(&directory.join("CA4-MZ4.wav"), 2, 8.0);
        let kept = Kept { directory: directory.clone(), kind: KeptKind::Tape, days: 7 };
        assert_eq!(sweep(&kept, NOW).unwrap(), Swept { deleted: 1, failed: 0 });
        let left = ["CA2-MZ2.jsonl", "CA3-MZ3.jsonl", "CA4-MZ4.wav", "below", "expected.jsonl"];
        assert_eq!(names(&directory), left.map(str::to_owned).into());
        fs::remove_dir_all(&directory).unwrap();
        assert!(sweep(&kept, NOW).is_err());
    }
}
