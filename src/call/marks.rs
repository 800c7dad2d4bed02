//! The ledger: what was sent, what is proved to have been heard, and what `clear` cut off.
//!
//! Positions are samples sent since the call began. The heard position is the *sent clock* (when a carrier that plays
//! without pause would be where) held between two facts: not less than the last mark that came back, not more than the
//! first one that is still out. The sent clock runs as late as the last mark did: a carrier may begin late, play slowly,
//! or be far away, and only in the last case is it ahead of what its marks say.

use std::collections::VecDeque;
use std::time::Duration;

use crate::audio::MediaFormat;
use crate::ids::{CallTime, MarkId};

/// A mark this much earlier than its audio can have been played is not believed.
const EARLY_MAX: Duration = Duration::from_millis(60);
/// In a long burst, a carrier whose clock is fast may be earlier by this part of the burst: 300 ppm, as two bad quartzes.
const DRIFT_DIVISOR: u32 = 3_333;
/// A mark that has not come back so long after its due time never will.
const LAPSE: Duration = Duration::from_secs(2);
/// How long a carrier whose marks are dead may hold audio after the clock says that it has played it.
const DOUBT: Duration = Duration::from_secs(1);

/// What became of a mark that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    /// Everything before it has been played.
    Played,
    /// It came back before its audio can have been played, so it proves nothing.
    Disbelieved,
    /// It was flushed by a `clear`, given up, or never sent.
    Stale,
}

/// What a `clear` cuts off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// Position up to which the caller has heard.
    pub(super) heard: u64,
    /// Length of the audio that was sent but not heard.
    pub(super) held: Duration,
    /// Marks that will not count any more.
    pub(super) marks: u64,
}

/// Who is believed about what was played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Marks come back, and at times that can be true.
    Marks,
    /// They do not: our own clock decides.
    Clock,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    mark: MarkId,
    position: u64,
    /// When the audio before it can have been played at the earliest.
    earliest: CallTime,
}

/// The ledger of one call.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    format: MediaFormat,
    sent: u64,
    /// A carrier that plays at once begins with the sample at this position at this moment.
    anchor: (CallTime, u64),
    /// How much later than possible the last mark came back.
    lag: Duration,
    /// Position up to which marks have proved playing, or at which the epoch began.
    proved: u64,
    /// Position at which the epoch began.
    epoch: u64,
    out: VecDeque<Out>,
    last_mark: u64,
    /// Position of the last mark that was taken, or at which the epoch began.
    marked: u64,
    trust: Trust,
}

impl Ledger {
    /// An empty ledger for audio of `format`.
    pub(super) fn new(format: MediaFormat) -> Self {
        Ledger {
            format,
            sent: 0,
            anchor: (CallTime::ZERO, 0),
            lag: Duration::ZERO,
            proved: 0,
            epoch: 0,
            out: VecDeque::new(),
            last_mark: 0,
            marked: 0,
            trust: Trust::Marks,
        }
    }

    /// Position of the next sample to be sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether heard positions come from our own clock alone.
    pub(super) fn is_estimate(&self) -> bool {
        self.trust == Trust::Clock
    }

    /// Counts `samples` as written at `now`.
    pub(super) fn on_sent(&mut self, now: CallTime, samples: u64) {
        if self.earliest(self.sent) <= now {
            // The carrier may have run dry, so it may start to play at once.
            self.anchor = (now, self.sent);
        }
        self.sent += samples;
    }

    /// Takes the next mark at the end of what was sent.
    pub(super) fn mark(&mut self, now: CallTime) -> MarkId {
        self.last_mark += 1;
        let mark = MarkId(self.last_mark);
        self.marked = self.sent;
        self.out.push_back(Out { mark, position: self.sent, earliest: self.earliest(self.sent).max(now) });
        mark
    }

    /// Samples sent since the last mark.
    pub(super) fn unmarked(&self) -> u64 {
        self.sent - self.marked
    }

    /// Takes a mark that came back. Marks come back in order, so it answers for those before it too; how many it settled
    /// is the second value.
    pub(super) fn on_echo(&mut self, now: CallTime, mark: MarkId) -> (Echo, u64) {
        let Some(out) = self.out.iter().find(|out| out.mark == mark).copied() else { return (Echo::Stale, 0) };
        let settled = self.settle(|other| other.mark <= mark);
        if out.earliest.since(now) > self.early_max(now) {
            self.trust = Trust::Clock;
            return (Echo::Disbelieved, settled);
        }
        self.trust = Trust::Marks;
        self.proved = self.proved.max(out.position);
        self.lag = now.since(out.earliest);
        (Echo::Played, settled)
    }

    /// How early a mark may be. Once one was not believed, drift is no excuse.
    fn early_max(&self, now: CallTime) -> Duration {
        match self.trust {
            Trust::Marks => EARLY_MAX + now.since(self.anchor.0) / DRIFT_DIVISOR,
            Trust::Clock => EARLY_MAX,
        }
    }

    /// When the oldest mark that is out will be given up.
    pub(super) fn lapses_at(&self) -> Option<CallTime> {
        self.out.front().map(|out| out.earliest + self.lag + LAPSE)
    }

    /// Gives up the marks that are too late, and with them the trust in marks; how many.
    pub(super) fn lapse(&mut self, now: CallTime) -> u64 {
        let lag = self.lag;
        let lapsed = self.settle(|out| out.earliest + lag + LAPSE <= now);
        if lapsed > 0 {
            self.trust = Trust::Clock;
        }
        lapsed
    }

    /// Position up to which the caller has heard.
    pub(super) fn heard(&self, now: CallTime) -> u64 {
        let clock = self.clock(now).max(self.proved);
        match (self.trust, self.out.front()) {
            (Trust::Marks, Some(first)) => clock.min(first.position),
            (Trust::Marks, None) | (Trust::Clock, _) => clock,
        }
    }

    /// Whether it is settled that the caller has heard everything before `position`.
    pub(super) fn has_heard(&self, now: CallTime, position: u64) -> bool {
        self.proved >= position || self.heard_at(position).is_some_and(|at| at <= now)
    }

    /// When [`has_heard`](Ledger::has_heard) will hold by the clock alone, if that is what decides.
    pub(super) fn heard_at(&self, position: u64) -> Option<CallTime> {
        (self.is_estimate() && self.proved < position).then(|| self.played_at(position))
    }

    /// Whether the carrier may hold audio that it has not played. In doubt it does.
    pub(super) fn may_hold(&self, now: CallTime) -> bool {
        match self.trust {
            Trust::Marks => self.proved < self.sent,
            Trust::Clock => self.sent > self.epoch && now < self.played_at(self.sent) + DOUBT,
        }
    }

    /// Freezes what was heard and ends the epoch: no mark that is out counts any more. The last `unwritten` samples were
    /// counted as sent but never reached the carrier.
    pub(super) fn cut_epoch(&mut self, now: CallTime, unwritten: u64) -> Cut {
        let written = self.sent.saturating_sub(unwritten).max(self.epoch);
        let heard = self.heard(now).min(written);
        let cut = Cut { heard, held: self.format.duration_of(written - heard), marks: self.settle(|_| true) };
        self.anchor = (now, self.sent);
        self.proved = self.sent;
        self.epoch = self.sent;
        self.marked = self.sent;
        cut
    }

    /// Where a carrier that plays without pause is at `now`.
    fn clock(&self, now: CallTime) -> u64 {
        let (since, from) = self.anchor;
        from.saturating_add(self.format.samples_in(now.since(since + self.lag))).min(self.sent)
    }

    /// When everything before `position` will have been played.
    fn played_at(&self, position: u64) -> CallTime {
        self.earliest(position) + self.lag
    }

    /// When everything before `position` can have been played at the earliest.
    fn earliest(&self, position: u64) -> CallTime {
        let (since, from) = self.anchor;
        since + self.format.duration_of(position.saturating_sub(from))
    }

    fn settle(&mut self, is_settled: impl Fn(&Out) -> bool) -> u64 {
        let before = self.out.len();
        while self.out.front().is_some_and(&is_settled) {
            self.out.pop_front();
        }
        (before - self.out.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> CallTime {
        CallTime::from_millis(ms)
    }

    /// A ledger with two marks, at 200 and 400 ms, all sent at 1 s.
    fn two_marks() -> (Ledger, MarkId, MarkId) {
        let mut ledger = Ledger::new(MediaFormat::TELEPHONE);
        ledger.on_sent(at(1_000), 1_600);
        let first = ledger.mark(at(1_000));
        ledger.on_sent(at(1_000), 1_600);
        let second = ledger.mark(at(1_000));
        (ledger, first, second)
    }

    #[test]
    fn heard_lies_between_the_last_mark_in_and_the_first_mark_out() {
        let (mut ledger, first, second) = two_marks();
        assert_eq!(ledger.heard(at(1_100)), 800);
        // The mark at 200 ms is late: no more than that can have been heard.
        assert_eq!(ledger.heard(at(1_350)), 1_600);
        assert_eq!(ledger.on_echo(at(1_360), first), (Echo::Played, 1));
        assert_eq!(ledger.heard(at(1_360)), 1_600);
        // What made it late will make the next one late.
        assert_eq!(ledger.heard(at(1_460)), 2_400);
        assert!(!ledger.has_heard(at(1_500), 3_200));
        assert_eq!(ledger.on_echo(at(1_560), second), (Echo::Played, 1));
        assert!(ledger.has_heard(at(1_560), 3_200));
        assert!(!ledger.may_hold(at(1_560)));
        assert_eq!(ledger.on_echo(at(1_570), second), (Echo::Stale, 0));
    }

    #[test]
    fn a_mark_answers_for_the_lost_ones_before_it() {
        let (mut ledger, _, second) = two_marks();
        assert_eq!(ledger.on_echo(at(1_400), second), (Echo::Played, 2));
        assert_eq!(ledger.heard(at(1_400)), 3_200);
    }

    #[test]
    fn clear_freezes_what_was_heard_and_ends_every_mark() {
        let (mut ledger, first, second) = two_marks();
        let cut = ledger.cut_epoch(at(1_150), 0);
        assert_eq!(cut, Cut { heard: 1_200, held: Duration::from_millis(250), marks: 2 });
        assert!(!ledger.may_hold(at(1_150)));
        // The carrier echoes cleared marks at once, and nothing on the wire tells them from played ones.
        assert_eq!(ledger.on_echo(at(1_160), first).0, Echo::Stale);
        assert_eq!(ledger.on_echo(at(1_160), second).0, Echo::Stale);
        ledger.on_sent(at(2_000), 160);
        assert_eq!(ledger.heard(at(2_010)), 3_200 + 80);
    }

    #[test]
    fn marks_that_come_at_once_prove_nothing() {
        let (mut ledger, first, second) = two_marks();
        assert_eq!(ledger.on_echo(at(1_001), first).0, Echo::Disbelieved);
        assert_eq!(ledger.on_echo(at(1_001), second).0, Echo::Disbelieved);
        assert_eq!(ledger.heard(at(1_100)), 800);
        assert!(ledger.is_estimate());
        assert!(!ledger.has_heard(at(1_399), 3_200));
        assert_eq!(ledger.heard_at(3_200), Some(at(1_400)));
        assert!(ledger.has_heard(at(1_400), 3_200));
        // In doubt, the carrier still holds something a second later.
        assert!(ledger.may_hold(at(2_399)));
        assert!(!ledger.may_hold(at(2_400)));
    }

    #[test]
    fn marks_that_never_come_put_the_carrier_on_the_clock() {
        let (mut ledger, first, _) = two_marks();
        assert_eq!(ledger.lapses_at(), Some(at(3_200)));
        assert_eq!(ledger.lapse(at(3_199)), 0);
        assert!(!ledger.has_heard(at(3_199), 1_600));
        assert_eq!(ledger.lapse(at(3_200)), 1);
        assert!(ledger.is_estimate());
        assert!(ledger.has_heard(at(3_200), 3_200));
        assert_eq!(ledger.on_echo(at(3_300), first).0, Echo::Stale);
    }

    #[test]
    fn the_clock_runs_as_late_as_the_last_mark() {
        let (mut ledger, first, second) = two_marks();
        assert_eq!(ledger.on_echo(at(2_700), first).0, Echo::Played);
        // 1.5 s late: the rest is expected 1.5 s later too.
        assert_eq!(ledger.heard(at(2_750)), 2_000);
        assert_eq!(ledger.lapses_at(), Some(at(1_400 + 1_500 + 2_000)));
        // The lateness was the network's, which brings the next one along: that is no reason to doubt it.
        assert_eq!(ledger.on_echo(at(2_700), second).0, Echo::Played);
        assert!(!ledger.may_hold(at(2_700)));
    }

    #[test]
    fn what_was_never_written_was_never_heard() {
        let (mut ledger, ..) = two_marks();
        assert_eq!(ledger.lapse(at(9_000)), 2);
        let cut = ledger.cut_epoch(at(9_000), 800);
        assert_eq!((cut.heard, cut.held), (2_400, Duration::ZERO));
    }

    /// Ten minutes of speech without a pause, to a carrier whose clock is off by `ppm`.
    fn drift(ppm: i64) -> (Ledger, u64) {
        let (mut ledger, mut worst) = (Ledger::new(MediaFormat::TELEPHONE), 0);
        let truth = |us: u64| us.saturating_add_signed(us as i64 * ppm / 1_000_000) * 8 / 1_000;
        let mut marks = VecDeque::new();
        for frame in 0..30_000_u64 {
            let now = frame * 20_000;
            while marks.front().is_some_and(|(position, _)| *position <= truth(now)) {
                let (_, mark) = marks.pop_front().unwrap();
                assert_eq!(ledger.on_echo(CallTime::from_micros(now), mark).0, Echo::Played, "at {now} us");
            }
            // A lead of 120 ms goes out with the first frame.
            for _ in 0..if frame == 0 { 7 } else { 1 } {
                ledger.on_sent(CallTime::from_micros(now), 160);
                if ledger.unmarked() >= 1_600 {
                    marks.push_back((ledger.sent(), ledger.mark(CallTime::from_micros(now))));
                }
            }
            worst = worst.max(ledger.heard(CallTime::from_micros(now)).saturating_sub(truth(now)));
        }
        (ledger, worst)
    }

    #[test]
    fn a_carriers_clock_may_drift() {
        for ppm in [-200, 0, 200] {
            let (ledger, worst) = drift(ppm);
            assert!(!ledger.is_estimate(), "{ppm} ppm");
            // Marks are looked at every 20 ms here, so a mark may seem to be late by as much.
            assert!(worst <= 160, "{ppm} ppm: {worst} samples more than were played");
        }
    }
}
