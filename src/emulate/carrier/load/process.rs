//! What a process uses, as Linux tells it. Elsewhere nothing is observed.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The system's number for a process or thread that is not there (`ESRCH`).
const NO_SUCH_PROCESS: i32 = 3;

/// What a process has used and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of its threads, user and system.
    pub cpu: Duration,
    /// Memory in RAM (resident set), in KiB.
    pub rss_kib: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

/// What the process `pid` uses, this one if absent. `None` if it is gone or the system does not say all of it.
pub fn usage(pid: Option<u32>) -> Option<Usage> {
    let folder = folder(pid);
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let mut cpu = Duration::ZERO;
    // To the nanosecond and thread by thread: `stat` counts in hundredths of a second, too coarse for a single call. What
    // a thread that ended has used is lost; a runtime's workers live as long as the process.
    for thread in fs::read_dir(folder.join("task")).ok()? {
        match fs::read_to_string(thread.ok()?.path().join("schedstat")) {
            Ok(schedule) => cpu += Duration::from_nanos(schedule.split(' ').next()?.parse().ok()?),
            // It ended since the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS) => {}
            Err(_) => return None,
        }
    }
    Some(Usage {
        // No process runs for no time: a kernel that does not count writes zeros, or nothing at all.
        cpu: Some(cpu).filter(|cpu| !cpu.is_zero())?,
        rss_kib: rss.split_whitespace().next()?.parse().ok()?,
        descriptors: fs::read_dir(folder.join("fd")).ok()?.count() as u64,
    })
}

/// How many descriptors this process may have open. `None` if there is no limit, or the system does not say.
pub(super) fn descriptors_max() -> Option<u64> {
    soft_limit(&fs::read_to_string(folder(None).join("limits")).ok()?)
}

/// The soft limit in the text of a process's limits.
fn soft_limit(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

fn folder(pid: Option<u32>) -> PathBuf {
    PathBuf::from("/proc").join(pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string()))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_one_that_is_not_there_is_not_observed() {
        let burn =
            || (0..20_000_000_u64).fold(0_u64, |sum, n| sum.wrapping_mul(31).wrapping_add(std::hint::black_box(n)));
        // Other tests run in this process, and what a thread of theirs has used goes when it ends.
        let grows = (0..20).any(|_| {
            let before = usage(None).unwrap();
            std::hint::black_box(burn());
            usage(None).unwrap().cpu > before.cpu
        });
        assert!(grows);
        let file = fs::File::open("/proc/self/status").unwrap();
        let after = usage(None).unwrap();
        assert!(after.rss_kib > 1_000 && after.descriptors > 2);
        drop(file);
        assert_eq!(usage(Some(u32::MAX)), None);
    }

    #[test]
    fn the_soft_limit_of_descriptors_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max processes             64                   64                   processes\n\
                      Max open files            1024                 1048576              files\n";
        assert_eq!(soft_limit(limits), Some(1_024));
        assert_eq!(soft_limit(&limits.replace("1024 ", "unlimited")), None);
        assert_eq!(soft_limit(""), None);
        assert!(descriptors_max().is_none_or(|max| max > 2));
    }
}
