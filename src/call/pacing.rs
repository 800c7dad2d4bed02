//! When each frame is due: deadlines from a base, never `last + 20`.

use std::time::Duration;

use crate::ids::CallTime;

/// Frames by which a late wake-up may catch up beyond the lead; more than that is a slip.
const CATCH_UP_FRAMES: u64 = 5;
/// How long after its due time the timer fires while the carrier's own frames are the metronome.
const BACKSTOP: Duration = Duration::from_millis(2);

/// The schedule of one burst of audio: from when the carrier starts to play until it has run dry.
#[derive(Clone, Debug)]
pub(super) struct Pacing {
    frame: Duration,
    lead: Duration,
    burst: Option<Burst>,
}

#[derive(Clone, Debug)]
struct Burst {
    /// When the carrier is taken to start playing frame 0.
    base: CallTime,
    /// When the burst began: frames of the lead go out then, and are not late.
    began: CallTime,
    /// A burst that follows a slip: since when its first frame was due.
    overdue_since: Option<CallTime>,
    /// Number of the frame to be sent next.
    next: u64,
    /// Due times lie midway between the carrier's inbound frames.
    in_step: bool,
}

impl Pacing {
    /// A schedule for frames of length `frame`, kept `lead` ahead.
    pub(super) fn new(frame: Duration, lead: Duration) -> Self {
        Pacing { frame, lead, burst: None }
    }

    /// Whether the carrier is being kept supplied.
    pub(super) fn is_running(&self) -> bool {
        self.burst.is_some()
    }

    /// Starts a burst: frame 0 begins to play at `now`.
    pub(super) fn start(&mut self, now: CallTime) {
        self.burst = Some(Burst { base: now, began: now, overdue_since: None, next: 0, in_step: false });
    }

    /// Ends the burst: the carrier has run dry, or was cleared.
    pub(super) fn stop(&mut self) {
        self.burst = None;
    }

    /// When the next frame is due at the carrier's door.
    pub(super) fn due(&self) -> Option<CallTime> {
        self.burst.as_ref().map(|burst| self.plays(burst) - self.lead)
    }

    /// When to wake up for the next frame if nothing else happens.
    pub(super) fn wake(&self) -> Option<CallTime> {
        let burst = self.burst.as_ref()?;
        let due = self.plays(burst) - self.lead;
        Some(if burst.in_step { due + BACKSTOP } else { due })
    }

    /// When the carrier runs dry if nothing more is sent.
    pub(super) fn dry_at(&self) -> Option<CallTime> {
        self.burst.as_ref().map(|burst| self.plays(burst))
    }

    /// How far ahead an inbound frame may release audio: one frame once the schedule is in step with them.
    pub(super) fn look_ahead(&self) -> Duration {
        if self.burst.as_ref().is_some_and(|burst| burst.in_step) { self.frame } else { Duration::ZERO }
    }

    /// Counts one frame as sent at `now`; how late it was. A frame that was there only since `ready_since` was not late
    /// before: its voice was.
    pub(super) fn sent(&mut self, now: CallTime, ready_since: Option<CallTime>) -> Duration {
        let Some(due) = self.due() else { return Duration::ZERO };
        let Some(burst) = &mut self.burst else { return Duration::ZERO };
        burst.next += 1;
        let due = burst.overdue_since.take().unwrap_or(due.max(burst.began));
        now.since(due.max(ready_since.unwrap_or_default()))
    }

    /// Moves the schedule if it is so far behind `now` that catching up would flood the carrier. Whether it did.
    pub(super) fn rebase_if_hopeless(&mut self, now: CallTime) -> bool {
        let (Some(due), Some(burst)) = (self.due(), &self.burst) else { return false };
        let limit = self.lead + self.frame * u32::try_from(CATCH_UP_FRAMES).unwrap_or(u32::MAX);
        let due = due.max(burst.began);
        if now.since(due) <= limit {
            return false;
        }
        // As late as it is: otherwise nobody would see the worst stalls in the figures.
        self.burst = Some(Burst { base: now, began: now, overdue_since: Some(due), next: 0, in_step: false });
        true
    }

    /// Once a burst, when an inbound frame arrives: moves the schedule by at most half a frame so that due times lie
    /// midway between inbound frames. From then on each inbound frame releases the one that is due next, ten
    /// milliseconds of its jitter change nothing, and the timer is a backstop that hardly ever fires.
    pub(super) fn fall_into_step(&mut self, now: CallTime) {
        let (frame, lead) = (self.frame, self.lead);
        let Some(due) = self.due() else { return };
        let Some(burst) = &mut self.burst else { return };
        let leading = frame * u32::try_from(burst.next).unwrap_or(u32::MAX) >= lead;
        if burst.in_step || !leading || due < now || due.since(now) > frame {
            return;
        }
        let (gap, middle) = (due.since(now), frame / 2);
        burst.base = if gap <= middle { burst.base + (middle - gap) } else { burst.base - (gap - middle) };
        burst.in_step = true;
    }

    fn plays(&self, burst: &Burst) -> CallTime {
        let frames = u64::try_from(self.frame.as_micros()).unwrap_or(u64::MAX).saturating_mul(burst.next);
        burst.base + Duration::from_micros(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);
    const LEAD: Duration = Duration::from_millis(120);

    fn at(ms: u64) -> CallTime {
        CallTime::from_millis(ms)
    }

    fn release(pacing: &mut Pacing, now: CallTime, ahead: Duration) -> u32 {
        let mut released = 0;
        while pacing.due().is_some_and(|due| due <= now + ahead) {
            pacing.sent(now, None);
            released += 1;
        }
        released
    }

    #[test]
    fn a_burst_sends_its_lead_at_once_and_is_not_late() {
        let mut pacing = Pacing::new(FRAME, LEAD);
        pacing.start(at(1_000));
        assert_eq!(pacing.sent(at(1_000), None), Duration::ZERO);
        assert_eq!(release(&mut pacing, at(1_000), Duration::ZERO), 6);
        assert_eq!(pacing.due(), Some(at(1_020)));
        assert_eq!(pacing.dry_at(), Some(at(1_140)));
    }

    #[test]
    fn lateness_does_not_add_up() {
        let mut pacing = Pacing::new(FRAME, LEAD);
        pacing.start(at(0));
        release(&mut pacing, at(0), Duration::ZERO);
        for n in 1..=500 {
            assert_eq!(pacing.sent(at(n * 20 + 7), Some(at(5))), Duration::from_millis(7));
        }
        assert_eq!(pacing.sent(at(501 * 20 + 90), Some(at(501 * 20 + 89))), Duration::from_millis(1));
        assert_eq!(pacing.dry_at(), Some(at(508 * 20)));
    }

    #[test]
    fn a_stall_within_the_limit_is_caught_up_and_a_longer_one_slips() {
        let mut pacing = Pacing::new(FRAME, LEAD);
        pacing.start(at(0));
        release(&mut pacing, at(0), Duration::ZERO);
        assert!(!pacing.rebase_if_hopeless(at(240)));
        assert_eq!(release(&mut pacing, at(240), Duration::ZERO), 12);
        assert!(pacing.rebase_if_hopeless(at(481 + 20)));
        assert_eq!(pacing.dry_at(), Some(at(501)));
        // The frame that was waited for is as late as it is, and those of the new lead are not.
        assert_eq!(pacing.sent(at(501), None), Duration::from_millis(501 - 260));
        assert_eq!(pacing.sent(at(501), None), Duration::ZERO);
    }

    #[test]
    fn the_schedule_falls_into_step_with_inbound_frames() {
        for phase in 0..20 {
            let mut pacing = Pacing::new(FRAME, LEAD);
            pacing.start(at(1_000));
            release(&mut pacing, at(1_000), Duration::ZERO);
            let mut total = 0;
            for n in 0..50 {
                // Inbound frames that jitter, by at most 9 ms against the one that set the step.
                let jitter = (n * 7 + phase) % 10;
                let now = at(1_020 + phase + n * 20 + jitter);
                let ahead = pacing.look_ahead();
                let released = release(&mut pacing, now, ahead);
                pacing.fall_into_step(now);
                total += released;
                if n > 2 {
                    assert_eq!(released, 1, "phase {phase}, frame {n}");
                    assert!(pacing.wake().unwrap() > now);
                }
            }
            assert!((47..=52).contains(&total), "phase {phase}: {total}");
        }
    }
}
