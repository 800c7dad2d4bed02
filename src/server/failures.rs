//! Attempts to guess a token: counted by where they come from, so that they are loud and cheap.
//!
//! No token of 256 random bits is found by trying, so that this is no defence of theirs. It keeps the log readable, tells a
//! client with an old token to go slower, and makes a scan visible.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Failures of one source within [`WINDOW`] that are answered with 401; further ones are told to wait.
const FAILURES_MAX: u32 = 30;
const WINDOW: Duration = Duration::from_secs(60);
/// Sources that are known at one time. With more of them the oldest is forgotten: nothing depends on it but a status code.
const SOURCES_MAX: usize = 1_024;
/// Who has failed of late.
#[derive(Debug, Default)]
pub(super) struct Failures {
    sources: BTreeMap<IpAddr, (Instant, u32)>,
}

impl Failures {
    /// Takes note of a failure; how long to wait before the next attempt, if there were too many.
    pub(super) fn note(&mut self, source: IpAddr, now: Instant) -> Option<Duration> {
        let (since, count) = self.count(source, now);
        (count > FAILURES_MAX).then(|| WINDOW.saturating_sub(now.duration_since(since)))
    }

    fn count(&mut self, source: IpAddr, now: Instant) -> (Instant, u32) {
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            let oldest = self.sources.iter().min_by_key(|(_, (since, _))| *since).map(|(source, _)| *source);
            oldest.map(|oldest| self.sources.remove(&oldest));
        }
        let (since, count) = self.sources.entry(source).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        (*since, *count)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn at(now: Instant, ms: u64) -> Instant {
        now + Duration::from_millis(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_fails_too_often_is_told_to_wait_and_then_forgiven() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        for n in 0..u64::from(FAILURES_MAX) {
            assert_eq!(failures.note(address, at(now, n)), None, "{n}");
        }
        assert_eq!(failures.note(address, at(now, 10_000)), Some(Duration::from_secs(50)));
        assert_eq!(failures.note("192.0.2.2".parse().unwrap(), at(now, 10_000)), None);
        assert_eq!(failures.note(address, at(now, 60_000)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_sources_are_known_and_no_more() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for n in 0..5_000_u128 {
            failures.note(Ipv6Addr::from(n << 64).into(), now);
        }
        assert_eq!(failures.sources.len(), SOURCES_MAX);
    }
}
