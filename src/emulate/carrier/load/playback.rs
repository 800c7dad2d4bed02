//! A model of the carrier's playback: it plays what it has from the moment it has it, without any cushion of its own.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ids::CallTime;

/// A gap as long as this is a pause of the speaker, a shorter one is audio that came too late. If the gateway is known to
/// speak without a pause, no gap is one: [`Playback::new`].
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Samples a second of the telephone line.
const RATE: u64 = 8_000;

/// Marks that may be out at one call.
const MARKS_MAX: usize = 4_096;

/// What a piece of audio showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    /// How much later it came than the earliest pace of its burst would have had it.
    pub(super) late: Duration,
    /// The silence before it, if it came too late to be played without one.
    pub(super) gap: Option<Duration>,
}

/// One call's buffer at the carrier.
#[derive(Debug)]
pub(super) struct Playback {
    pause: Duration,
    burst: Option<Burst>,
    /// Marks that are out, and when the audio before each has been played.
    marks: VecDeque<(CallTime, Vec<u8>)>,
}

/// Audio that is played without a break.
#[derive(Debug)]
struct Burst {
    began: CallTime,
    /// Audio received since then.
    received: Duration,
    /// The smallest difference seen between when audio came and where it stands in the burst, in microseconds: the
    /// earliest pace so far. It falls during the first volley, which fills the lead, and hardly afterwards.
    pace: i64,
}

impl Playback {
    /// An empty buffer. A gap as long as `pause` is no underrun.
    pub(super) fn new(pause: Duration) -> Self {
        Playback { pause, burst: None, marks: VecDeque::new() }
    }

    /// Takes `samples` of mu-law at `now`.
    pub(super) fn take(&mut self, now: CallTime, samples: u64) -> Arrived {
        let length = Duration::from_micros(samples * 1_000_000 / RATE);
        let Some(burst) = &mut self.burst else {
            self.burst = Some(Burst::start(now, length));
            return Arrived { late: Duration::ZERO, gap: None };
        };
        let late = burst.lateness(now);
        let silence = now.since(burst.began + burst.received);
        burst.received += length;
        if silence.is_zero() {
            return Arrived { late, gap: None };
        }
        *burst = Burst::start(now, length);
        if silence < self.pause {
            Arrived { late, gap: Some(silence) }
        } else {
            Arrived { late: Duration::ZERO, gap: None }
        }
    }

    /// Takes a mark at `now`; whether there was room for it.
    pub(super) fn mark(&mut self, now: CallTime, name: &[u8]) -> bool {
        let due = self.burst.as_ref().map_or(now, |burst| now.max(burst.began + burst.received));
        let fits = self.marks.len() < MARKS_MAX;
        if fits {
            self.marks.push_back((due, name.to_vec()));
        }
        fits
    }

    /// Drops what is queued. Its marks are due at once.
    pub(super) fn clear(&mut self, now: CallTime) {
        self.burst = None;
        self.marks.iter_mut().for_each(|(due, _)| *due = now.min(*due));
    }

    /// The next mark that has been played by `now`.
    pub(super) fn pop_mark(&mut self, now: CallTime) -> Option<Vec<u8>> {
        self.marks.front().filter(|(due, _)| *due <= now)?;
        self.marks.pop_front().map(|(_, name)| name)
    }

    /// How long there has been nothing to play at `now`. `None` while there is, before the first audio, and after a
    /// `clear` that nothing followed.
    pub(super) fn silence(&self, now: CallTime) -> Option<Duration> {
        let burst = self.burst.as_ref()?;
        Some(now.since(burst.began + burst.received)).filter(|silence| !silence.is_zero())
    }

    /// Whether something can be heard at `now`.
    pub(super) fn is_playing(&self, now: CallTime) -> bool {
        self.burst.as_ref().is_some_and(|burst| burst.began + burst.received > now)
    }
}

impl Burst {
    fn start(now: CallTime, length: Duration) -> Self {
        Burst { began: now, received: length, pace: 0 }
    }

    fn lateness(&mut self, now: CallTime) -> Duration {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let offset = micros(now.since(self.began)) - micros(self.received);
        self.pace = self.pace.min(offset);
        Duration::from_micros((offset - self.pace).unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> CallTime {
        CallTime::from_millis(ms)
    }

    /// A lead of 120 ms and then a frame every 20 ms, each `late(n)` milliseconds late.
    fn arrivals(late: impl Fn(u64) -> u64) -> Vec<Arrived> {
        arrivals_with(PAUSE, late)
    }

    fn arrivals_with(pause: Duration, late: impl Fn(u64) -> u64) -> Vec<Arrived> {
        let mut playback = Playback::new(pause);
        (0..100_u64).map(|n| playback.take(at(1_000 + (20 * n).saturating_sub(120) + late(n)), 160)).collect()
    }

    #[test]
    fn the_first_volley_is_not_late_and_what_follows_is_held_against_it() {
        assert!(arrivals(|_| 0).iter().all(|frame| *frame == Arrived { late: Duration::ZERO, gap: None }));
        let late = arrivals(|n| if n == 50 { 90 } else { 0 });
        assert_eq!(late.iter().map(|frame| frame.late.as_millis()).max(), Some(90));
        assert!(late.iter().all(|frame| frame.gap.is_none()));
        // A schedule that moves by 10 ms after the volley is 10 ms late from then on.
        let moved = arrivals(|n| if n > 8 { 10 } else { 0 });
        assert_eq!(moved.iter().filter(|frame| frame.late.as_millis() == 10).count(), 91);
    }

    #[test]
    fn what_comes_behind_the_lead_is_an_underrun_and_after_a_second_a_pause() {
        let gaps: Vec<u128> =
            arrivals(|n| if n >= 50 { 150 } else { 0 }).iter().filter_map(|f| f.gap).map(|g| g.as_millis()).collect();
        assert_eq!(gaps, [30]);
        let late = |n| if n >= 50 { 1_200 } else { 0 };
        assert!(arrivals(late).iter().all(|frame| frame.gap.is_none() && frame.late < PAUSE));
        // Unless it is known that there is no pause.
        let unbroken = arrivals_with(Duration::MAX, late);
        assert_eq!(
            unbroken.iter().filter_map(|frame| frame.gap).map(|gap| gap.as_millis()).collect::<Vec<_>>(),
            [1_080]
        );
        assert_eq!(unbroken.iter().map(|frame| frame.late.as_millis()).max(), Some(1_200));
    }

    #[test]
    fn silence_begins_when_all_that_came_was_played() {
        let mut playback = Playback::new(PAUSE);
        assert_eq!(playback.silence(at(5)), None);
        playback.take(at(10), 800);
        assert_eq!((playback.silence(at(110)), playback.silence(at(115))), (None, Some(Duration::from_millis(5))));
        playback.clear(at(120));
        assert_eq!(playback.silence(at(130)), None);
    }

    #[test]
    fn marks_come_back_when_they_are_played_and_at_once_after_clear() {
        let mut playback = Playback::new(PAUSE);
        assert!(playback.mark(at(5), b"nothing before it"));
        assert_eq!(playback.pop_mark(at(5)).as_deref(), Some(&b"nothing before it"[..]));
        playback.take(at(10), 800);
        playback.mark(at(10), b"a");
        playback.take(at(20), 800);
        playback.mark(at(20), b"b");
        assert!(playback.is_playing(at(209)) && !playback.is_playing(at(210)));
        assert_eq!(playback.pop_mark(at(109)), None);
        assert_eq!(playback.pop_mark(at(110)).as_deref(), Some(&b"a"[..]));
        playback.clear(at(120));
        assert_eq!(playback.pop_mark(at(120)).as_deref(), Some(&b"b"[..]));
        assert!(!playback.is_playing(at(120)));
        // What follows a clear begins anew, however short the silence was.
        assert_eq!(playback.take(at(400), 160).gap, None);
    }
}
