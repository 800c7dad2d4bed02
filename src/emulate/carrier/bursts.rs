//! The gateway's audio cut into bursts, and what they say about its pacing. Tested through the figures.

use std::collections::BTreeMap;
use std::time::Duration;

use super::figures::{PAUSE_MIN, ms, rank, sorted};
use super::log::{Log, Logged};
use super::report::{Span, Underruns};
use crate::audio::MediaFormat;
use crate::ids::CallTime;

/// How long a burst takes to reach the lead that its sender aims at.
const SETTLE: Duration = Duration::from_millis(500);

/// How often a distance between marks must occur to be the gateway's regular one.
const CADENCE_MIN: usize = 3;

/// Audio that came before the buffer ran dry or was cleared.
#[derive(Debug)]
pub(super) struct Burst {
    /// Arrivals: when, how much of the burst came before, how much was still to be played.
    arrivals: Vec<(CallTime, Duration, Duration)>,
    audio: Duration,
    /// How much of the burst came before each mark.
    marks: Vec<Duration>,
    /// Whether `clear` came before the next burst.
    cleared: bool,
}

impl Burst {
    fn base(&self) -> CallTime {
        self.arrivals.first().map(|(at, ..)| *at).unwrap_or_default()
    }

    fn dry_at(&self) -> CallTime {
        self.base() + self.audio
    }

    /// The largest lead reached while the burst was young.
    fn lead(&self) -> Duration {
        let young = self.arrivals.iter().filter(|(at, ..)| at.since(self.base()) <= SETTLE);
        young.map(|(at, before, _)| before.saturating_sub(at.since(self.base()))).max().unwrap_or_default()
    }

    /// How late something comes at `at` that is preceded by `before` of the burst's audio.
    fn late(&self, lead: Duration, at: CallTime, before: Duration) -> Duration {
        at.since(self.base() + before.saturating_sub(lead))
    }
}

pub(super) fn bursts(log: &Log) -> Vec<Burst> {
    let mut bursts: Vec<Burst> = Vec::new();
    for entry in log.entries() {
        if let Logged::Media { samples, ahead_us } = entry.logged {
            if !bursts.last().is_some_and(|burst| !burst.cleared && burst.dry_at() >= entry.at) {
                let (arrivals, marks) = (Vec::new(), Vec::new());
                bursts.push(Burst { arrivals, audio: Duration::ZERO, marks, cleared: false });
            }
            if let Some(burst) = bursts.last_mut() {
                burst.arrivals.push((entry.at, burst.audio, Duration::from_micros(ahead_us)));
                burst.audio += MediaFormat::TELEPHONE.duration_of(samples);
            }
        } else if let Some(burst) = bursts.last_mut() {
            if entry.logged == Logged::Mark {
                burst.marks.push(burst.audio);
            } else if let Logged::Clear { .. } = entry.logged {
                burst.cleared = true;
            }
        }
    }
    bursts
}

/// Underruns and pauses between utterances.
pub(super) fn gaps(bursts: &[Burst]) -> (Underruns, u64) {
    let cadence = cadence(bursts);
    let (mut underruns, mut pauses) = (Underruns::default(), 0);
    for (before, after) in bursts.iter().zip(bursts.iter().skip(1)) {
        let gap = after.base().since(before.dry_at());
        if before.cleared || gap >= PAUSE_MIN {
            continue;
        }
        if is_marked_end(before, cadence) {
            pauses += 1;
        } else {
            underruns.count += 1;
            underruns.total_ms += ms(gap);
            underruns.longest_ms = underruns.longest_ms.max(ms(gap));
        }
    }
    (underruns, pauses)
}

/// Whether a mark out of the regular cadence lies at the end of the burst.
fn is_marked_end(burst: &Burst, cadence: Option<Duration>) -> bool {
    distances(burst).any(|(at, distance)| at == burst.audio && Some(distance) != cadence)
}

/// The regular distance between marks, if there is one.
fn cadence(bursts: &[Burst]) -> Option<Duration> {
    let mut counts: BTreeMap<Duration, usize> = BTreeMap::new();
    for (_, distance) in bursts.iter().flat_map(distances).filter(|(_, distance)| *distance > Duration::ZERO) {
        *counts.entry(distance).or_default() += 1;
    }
    let (distance, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count >= CADENCE_MIN).then_some(distance)
}

/// A burst's marks, each with its distance from the one before or from the burst's begin.
fn distances(burst: &Burst) -> impl Iterator<Item = (Duration, Duration)> + '_ {
    let before = [Duration::ZERO].into_iter().chain(burst.marks.iter().copied());
    burst.marks.iter().zip(before).map(|(at, before)| (*at, at.saturating_sub(before)))
}

pub(super) fn lateness(bursts: &[Burst]) -> Vec<f64> {
    let cadence = cadence(bursts);
    let mut late = Vec::new();
    let mut earlier: Option<&Burst> = None;
    for burst in bursts {
        // The message that ends an underrun is late against the schedule which it should have kept.
        let resumed = earlier.filter(|earlier| {
            let gap = burst.base().since(earlier.dry_at());
            !earlier.cleared && gap < PAUSE_MIN && !is_marked_end(earlier, cadence)
        });
        let lead = burst.lead();
        for (n, (at, before, _)) in burst.arrivals.iter().enumerate() {
            late.push(ms(match resumed {
                Some(earlier) if n == 0 => earlier.late(earlier.lead(), *at, earlier.audio),
                Some(_) | None => burst.late(lead, *at, *before),
            }));
        }
        earlier = Some(burst);
    }
    late
}

pub(super) fn ahead(bursts: &[Burst]) -> Option<Span> {
    let settled = |burst: &&Burst, at: CallTime| at.since(burst.base()) >= SETTLE;
    let ahead = bursts.iter().flat_map(|burst| {
        burst.arrivals.iter().filter(move |(at, ..)| settled(&burst, *at)).map(|(_, _, ahead)| ms(*ahead))
    });
    let ahead = sorted(ahead.collect());
    Some(Span { min: *ahead.first()?, median: rank(&ahead, 50)?, max: *ahead.last()? })
}
