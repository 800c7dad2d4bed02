//! The carrier's playout buffer: what is queued, what has been played, which marks are out.
//!
//! Nothing ticks. The buffer is played from an absolute clock, so the moment at which it runs dry is known when audio
//! arrives, and every question about it is arithmetic.

use std::collections::VecDeque;
use std::time::Duration;

use super::plan::Marks;
use super::recording::Segment;
use crate::audio::MediaFormat;
use crate::ids::CallTime;

/// Audio a carrier holds before it throws more away: ten minutes (Twilio's warning 31931).
const QUEUE_MAX: Duration = Duration::from_secs(600);

/// Marks that may be out at once. Beyond that a gateway is broken, and the emulator must not grow with it.
const MARKS_MAX: usize = 4_096;

/// What became of arriving audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Audio that was still to be played when this came.
    pub(super) ahead: Duration,
    /// When its first sample is played.
    pub(super) plays_at: CallTime,
    /// Samples thrown away because the buffer was full.
    pub(super) discarded: u64,
}

/// What `clear` threw away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cleared {
    /// Samples that will not be played.
    pub(super) samples: u64,
    /// Marks that were out, in order; they are echoed at once.
    pub(super) marks: Vec<String>,
}

/// A mark that has come due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DueMark {
    pub(super) name: String,
    /// When the audio before it had been played.
    pub(super) due: CallTime,
}

/// Why a mark is not going to be echoed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyMarks;

/// The buffer of one stream.
#[derive(Debug)]
pub(super) struct Playout {
    format: MediaFormat,
    behaviour: Marks,
    /// When the last queued sample has been played; in the past if the buffer is dry.
    dry_at: CallTime,
    /// What has been and will be played. Only the last one can lie in the future, because a new one begins only when
    /// the buffer is dry.
    segments: Vec<Segment>,
    marks: VecDeque<DueMark>,
}

impl Playout {
    pub(super) fn new(format: MediaFormat, behaviour: Marks) -> Self {
        Playout { format, behaviour, dry_at: CallTime::ZERO, segments: Vec::new(), marks: VecDeque::new() }
    }

    /// When the buffer runs, or ran, dry.
    pub(super) fn dry_at(&self) -> CallTime {
        self.dry_at
    }

    /// Queues `samples`, which came at `now`.
    pub(super) fn push(&mut self, now: CallTime, samples: &[i16]) -> Arrival {
        let ahead = self.dry_at.since(now);
        let plays_at = self.dry_at.max(now);
        let room = usize::try_from(self.format.samples_in(QUEUE_MAX.saturating_sub(ahead))).unwrap_or(usize::MAX);
        let kept = samples.get(..room).unwrap_or(samples);
        match self.segments.last_mut() {
            Some(segment) if ahead > Duration::ZERO => segment.samples.extend_from_slice(kept),
            Some(_) | None => self.segments.push(Segment { at: plays_at, samples: kept.to_vec() }),
        }
        self.dry_at = plays_at + self.format.duration_of(kept.len() as u64);
        Arrival { ahead, plays_at, discarded: (samples.len() - kept.len()) as u64 }
    }

    /// Takes a mark that came at `now`.
    ///
    /// # Errors
    /// Too many marks are out.
    pub(super) fn mark(&mut self, now: CallTime, name: String) -> Result<(), TooManyMarks> {
        if self.marks.len() >= MARKS_MAX {
            return Err(TooManyMarks);
        }
        let due = match self.behaviour {
            Marks::Normal => self.dry_at.max(now),
            Marks::AtOnce => now,
            Marks::Never => return Ok(()),
        };
        self.marks.push_back(DueMark { name, due });
        Ok(())
    }

    /// Drops what has not been played at `now`.
    pub(super) fn clear(&mut self, now: CallTime) -> Cleared {
        let samples = self.cut(now);
        Cleared { samples, marks: self.marks.drain(..).map(|mark| mark.name).collect() }
    }

    /// The next mark due by `now`.
    pub(super) fn pop_mark(&mut self, now: CallTime) -> Option<DueMark> {
        if self.mark_due()? > now {
            return None;
        }
        self.marks.pop_front()
    }

    /// When the next mark is due.
    pub(super) fn mark_due(&self) -> Option<CallTime> {
        self.marks.front().map(|mark| mark.due)
    }

    /// Marks that are out.
    pub(super) fn marks_out(&self) -> usize {
        self.marks.len()
    }

    /// Ends the call at `now`: what had been played, and how many samples had not.
    pub(super) fn finish(mut self, now: CallTime) -> (Vec<Segment>, u64) {
        let unplayed = self.cut(now);
        (self.segments, unplayed)
    }

    fn cut(&mut self, now: CallTime) -> u64 {
        let Some(segment) = self.segments.last_mut().filter(|_| self.dry_at > now) else { return 0 };
        let played = usize::try_from(self.format.samples_in(now.since(segment.at))).unwrap_or(usize::MAX);
        let dropped = segment.samples.len().saturating_sub(played);
        segment.samples.truncate(played);
        self.dry_at = now;
        dropped as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> CallTime {
        CallTime::from_millis(millis)
    }

    fn playout() -> Playout {
        Playout::new(MediaFormat::TELEPHONE, Marks::Normal)
    }

    fn due(playout: &mut Playout, now: CallTime) -> Vec<(String, CallTime)> {
        std::iter::from_fn(|| playout.pop_mark(now)).map(|mark| (mark.name, mark.due)).collect()
    }

    #[test]
    fn audio_of_any_length_plays_back_to_back() {
        let mut playout = playout();
        let ahead = |arrival: Arrival| (arrival.ahead.as_micros(), arrival.plays_at.as_micros());
        assert_eq!(ahead(playout.push(at(100), &[1; 160])), (0, 100_000));
        assert_eq!(ahead(playout.push(at(100), &[2; 7])), (20_000, 120_000));
        assert_eq!(ahead(playout.push(at(110), &[3; 1_000])), (10_875, 120_875));
        assert_eq!(playout.dry_at().as_micros(), 245_875);
        // Dry for 54.125 ms: the next audio begins a segment of its own.
        assert_eq!(ahead(playout.push(at(300), &[4; 160])), (0, 300_000));
        let (segments, unplayed) = playout.finish(at(310));
        let sizes: Vec<_> = segments.iter().map(|segment| (segment.at.as_micros(), segment.samples.len())).collect();
        assert_eq!((sizes, unplayed), (vec![(100_000, 1_167), (300_000, 80)], 80));
    }

    #[test]
    fn a_mark_is_due_when_what_was_queued_before_it_has_played() {
        let mut playout = playout();
        playout.mark(at(5), "early".into()).unwrap();
        assert_eq!(due(&mut playout, at(5)), [("early".into(), at(5))]);
        playout.push(at(10), &[1; 800]);
        playout.mark(at(11), "a".into()).unwrap();
        playout.push(at(12), &[1; 160]);
        playout.mark(at(13), "b".into()).unwrap();
        assert_eq!(playout.mark_due(), Some(at(110)));
        assert_eq!(due(&mut playout, at(109)), []);
        assert_eq!(due(&mut playout, at(200)), [("a".into(), at(110)), ("b".into(), at(130))]);
    }

    #[test]
    fn clear_drops_what_has_not_played_and_frees_every_mark() {
        let mut playout = playout();
        playout.push(at(0), &[1; 1_600]);
        playout.mark(at(0), "a".into()).unwrap();
        playout.mark(at(0), "b".into()).unwrap();
        let cleared = playout.clear(at(50));
        assert_eq!(cleared, Cleared { samples: 1_200, marks: vec!["a".into(), "b".into()] });
        assert_eq!(playout.clear(at(51)), Cleared { samples: 0, marks: vec![] });
        playout.push(at(60), &[2; 160]);
        let (segments, unplayed) = playout.finish(at(1_000));
        assert_eq!(segments.iter().map(|segment| segment.samples.len()).collect::<Vec<_>>(), [400, 160]);
        assert_eq!(unplayed, 0);
    }

    #[test]
    fn misbehaving_carriers_echo_never_or_at_once() {
        let mut never = Playout::new(MediaFormat::TELEPHONE, Marks::Never);
        never.push(at(0), &[1; 160]);
        never.mark(at(0), "a".into()).unwrap();
        assert_eq!(due(&mut never, at(900)), []);
        assert_eq!(never.clear(at(901)).marks, Vec::<String>::new());

        let mut at_once = Playout::new(MediaFormat::TELEPHONE, Marks::AtOnce);
        at_once.push(at(0), &[1; 160]);
        at_once.mark(at(1), "a".into()).unwrap();
        assert_eq!(due(&mut at_once, at(1)), [("a".into(), at(1))]);
    }

    #[test]
    fn more_than_ten_minutes_is_thrown_away() {
        let mut playout = playout();
        let minute = vec![0; 60 * 8_000];
        for n in 0..10 {
            assert_eq!(playout.push(at(n), &minute).discarded, 0, "minute {n}");
        }
        assert_eq!(playout.push(at(10), &minute).discarded, 60 * 8_000 - 80);
        for n in 0..MARKS_MAX {
            playout.mark(at(10), n.to_string()).unwrap();
        }
        assert_eq!(playout.mark(at(10), "one more".into()), Err(TooManyMarks));
    }
}
