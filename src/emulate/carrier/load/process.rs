//! What a process uses, as Linux tells it. Elsewhere nothing is observed.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

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

/// What the process `pid` uses, this one if absent. `None` if it is gone or the system does not say.
pub fn usage(pid: Option<u32>) -> Option<Usage> {
    let folder = PathBuf::from("/proc").join(pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string()));
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let mut cpu = Duration::ZERO;
    // To the nanosecond and thread by thread: `stat` counts in hundredths of a second, too coarse for a single call. What
    // a thread that ended has used is lost; a runtime's workers live as long as the process.
    for thread in fs::read_dir(folder.join("task")).ok()? {
        let schedule = fs::read_to_string(thread.ok()?.path().join("schedstat")).unwrap_or_default();
        cpu += Duration::from_nanos(schedule.split(' ').next().and_then(|spent| spent.parse().ok()).unwrap_or(0));
    }
    Some(Usage {
        cpu,
        rss_kib: rss.split_whitespace().next()?.parse().ok()?,
        descriptors: fs::read_dir(folder.join("fd")).ok()?.count() as u64,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_one_that_is_not_there_is_not_observed() {
        let before = usage(None).unwrap();
        let burnt: u64 =
            (0..20_000_000_u64).fold(0, |sum, n| sum.wrapping_mul(31).wrapping_add(std::hint::black_box(n)));
        let file = fs::File::open("/proc/self/status").unwrap();
        let after = usage(None).unwrap();
        assert!(after.cpu > before.cpu, "{burnt}");
        assert!(after.rss_kib > 1_000 && after.descriptors > 2);
        drop(file);
        assert_eq!(usage(Some(u32::MAX)), None);
    }
}
