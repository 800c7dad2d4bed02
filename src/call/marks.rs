//! The ledger: what was sent, what is proved to have been heard, and what `clear` cut off.
//!
//! Positions are samples sent since the call began. The heard position is the *sent clock* (when a carrier that plays
//! without pause would be where) held between two facts: not less than the last mark that came back, not more than the
//! first one that is still out.

use std::collections::VecDeque;
use std::time::Duration;

use crate::audio::MediaFormat;
use crate::ids::{CallTime, MarkId};

/// A mark this much earlier than its audio can have been played is not believed; less is the drift of two clocks.
const EARLY_MAX: Duration = Duration::from_millis(60);
/// A mark later than this moves the sent clock.
const LATE_MAX: Duration = Duration::from_secs(1);
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    due: CallTime,
}

/// The ledger of one call.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    format: MediaFormat,
    sent: u64,
    /// The sent clock: the sample at this position starts to play at this moment.
    anchor: (CallTime, u64),
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
        if self.clock(now) >= self.sent {
            // The carrier had run dry, so it starts to play at once.
            self.anchor = (now, self.sent);
        }
        self.sent += samples;
    }

    /// Takes the next mark at the end of what was sent.
    pub(super) fn mark(&mut self, now: CallTime) -> MarkId {
        self.last_mark += 1;
        let mark = MarkId(self.last_mark);
        self.marked = self.sent;
        self.out.push_back(Out { mark, position: self.sent, due: self.played_at(self.sent).max(now) });
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
        if out.due.since(now) > EARLY_MAX {
            self.trust = Trust::Clock;
            return (Echo::Disbelieved, settled);
        }
        self.trust = Trust::Marks;
        self.proved = self.proved.max(out.position);
        let late = now.since(out.due);
        if late > LATE_MAX {
            self.anchor.0 = self.anchor.0 + late;
            for other in &mut self.out {
                other.due = other.due + late;
            }
        }
        (Echo::Played, settled)
    }

    /// When the oldest mark that is out will be given up.
    pub(super) fn lapses_at(&self) -> Option<CallTime> {
        self.out.front().map(|out| out.due + LAPSE)
    }

    /// Gives up the marks that are too late, and with them the trust in marks; how many.
    pub(super) fn lapse(&mut self, now: CallTime) -> u64 {
        let lapsed = self.settle(|out| out.due + LAPSE <= now);
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
        self.proved >= position || (self.is_estimate() && self.clock(now) >= position)
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

    /// Freezes what was heard and ends the epoch: no mark that is out counts any more.
    pub(super) fn cut_epoch(&mut self, now: CallTime) -> Cut {
        let heard = self.heard(now);
        let cut = Cut { heard, held: self.format.duration_of(self.sent - heard), marks: self.settle(|_| true) };
        self.anchor = (now, self.sent);
        self.proved = self.sent;
        self.epoch = self.sent;
        self.marked = self.sent;
        cut
    }

    /// Where a carrier that plays without pause is at `now`.
    fn clock(&self, now: CallTime) -> u64 {
        let (since, from) = self.anchor;
        from.saturating_add(self.format.samples_in(now.since(since))).min(self.sent)
    }

    fn played_at(&self, position: u64) -> CallTime {
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
        assert_eq!(ledger.heard(at(1_360)), 2_880);
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
        let cut = ledger.cut_epoch(at(1_150));
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
    fn a_very_late_mark_moves_the_clock_later() {
        let (mut ledger, first, second) = two_marks();
        assert_eq!(ledger.on_echo(at(2_700), first).0, Echo::Played);
        // 1.5 s late: the rest is expected 1.5 s later too.
        assert_eq!(ledger.heard(at(2_750)), 2_000);
        assert_eq!(ledger.lapses_at(), Some(at(1_400 + 1_500 + 2_000)));
        assert_eq!(ledger.on_echo(at(2_900), second).0, Echo::Played);
    }
}
