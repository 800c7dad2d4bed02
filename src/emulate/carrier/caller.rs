//! The caller's side of the call: what is spoken, when, and cut into which frames.

use std::time::Duration;

use crate::audio::MediaFormat;
use crate::ids::CallTime;

/// A sample as loud as this is speech: -40 dB of full scale.
pub const SPEECH_LEVEL: u16 = 328;

/// When the caller begins to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long after `start`.
    AfterStart(Duration),
    /// So long after the gateway's first audio began to play.
    AfterFirstAudio(Duration),
    /// So long after the gateway spoke again, counted from the first time it did so after the caller's previous clip
    /// began. It speaks again when audio follows a `clear` or a second of silence.
    AfterResumed(Duration),
}

/// Something the caller says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// When.
    pub at: Moment,
    /// What: samples at 8 kHz.
    pub samples: Vec<i16>,
}

/// One frame of the caller's audio, and what began or ended in it.
#[derive(Debug, Default)]
pub(super) struct CallerFrame {
    pub(super) samples: Vec<i16>,
    /// The clip whose first sample is in this frame.
    pub(super) began: Option<usize>,
    /// The clip whose first sample at [`SPEECH_LEVEL`] is in this frame.
    pub(super) speaks: Option<usize>,
    /// The clip whose last sample is in this frame.
    pub(super) ended: Option<usize>,
}

#[derive(Debug)]
struct Speaking {
    clip: usize,
    /// Samples sent so far.
    sent: usize,
    /// Whether a loud sample has been sent.
    loud: bool,
}

/// Cuts the caller's clips into frames on absolute deadlines.
#[derive(Debug)]
pub(super) struct Caller {
    format: MediaFormat,
    start: CallTime,
    clips: Vec<Clip>,
    /// The next clip to begin.
    next: usize,
    speaking: Option<Speaking>,
    /// When the latest clip began.
    began: CallTime,
    /// When the caller last said something.
    quiet_since: CallTime,
    frames: u64,
    /// When the gateway began to speak, first and each time again.
    speeches: Vec<CallTime>,
}

impl Caller {
    pub(super) fn new(format: MediaFormat, start: CallTime, clips: Vec<Clip>) -> Self {
        Caller {
            format,
            start,
            clips,
            next: 0,
            speaking: None,
            began: start,
            quiet_since: start,
            frames: 0,
            speeches: Vec::new(),
        }
    }

    /// When the next frame is due: a frame is sent once its last sample has been spoken.
    pub(super) fn due(&self) -> CallTime {
        self.start + self.spoken(self.frames.saturating_add(1))
    }

    /// Frames sent so far.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// The gateway began to speak at `at`.
    pub(super) fn gateway_speaks(&mut self, at: CallTime) {
        self.speeches.push(at);
    }

    /// When the caller last said something.
    pub(super) fn quiet_since(&self) -> CallTime {
        self.quiet_since
    }

    /// Whether the caller speaks, or is going to at a moment already known.
    pub(super) fn has_more(&self) -> bool {
        self.speaking.is_some() || self.next_at().is_some()
    }

    /// The next frame, silence where the caller says nothing.
    pub(super) fn frame(&mut self) -> CallerFrame {
        let from = self.start + self.spoken(self.frames);
        self.frames = self.frames.saturating_add(1);
        let mut frame = CallerFrame::default();
        self.begin_clip(from, &mut frame);
        self.speak(&mut frame);
        frame.samples.resize(self.format.frame_samples(), 0);
        frame
    }

    fn begin_clip(&mut self, from: CallTime, frame: &mut CallerFrame) {
        if self.speaking.is_some() || self.next_at().is_none_or(|at| at > from) {
            return;
        }
        self.speaking = Some(Speaking { clip: self.next, sent: 0, loud: false });
        self.began = from;
        frame.began = Some(self.next);
        self.next += 1;
    }

    fn speak(&mut self, frame: &mut CallerFrame) {
        let Some(speaking) = &mut self.speaking else { return };
        let clip = self.clips.get(speaking.clip).map_or(&[][..], |clip| clip.samples.as_slice());
        let rest = clip.get(speaking.sent..).unwrap_or_default();
        let now = rest.get(..self.format.frame_samples()).unwrap_or(rest);
        frame.samples.extend_from_slice(now);
        speaking.sent += now.len();
        if !speaking.loud && now.iter().any(|sample| sample.unsigned_abs() >= SPEECH_LEVEL) {
            speaking.loud = true;
            frame.speaks = Some(speaking.clip);
        }
        let over = speaking.sent >= clip.len();
        self.quiet_since = self.start + self.spoken(self.frames);
        if over {
            frame.ended = self.speaking.take().map(|speaking| speaking.clip);
        }
    }

    /// When the next clip begins, if its moment is known yet.
    fn next_at(&self) -> Option<CallTime> {
        match self.clips.get(self.next)?.at {
            Moment::AfterStart(wait) => Some(self.start + wait),
            Moment::AfterFirstAudio(wait) => self.speeches.first().map(|at| *at + wait),
            // The first audio itself is not speaking again, so with no clip before this one the second time counts.
            Moment::AfterResumed(wait) => {
                self.speeches.iter().skip(1).find(|at| **at > self.began).map(|at| *at + wait)
            }
        }
    }

    fn spoken(&self, frames: u64) -> Duration {
        Duration::from_millis(frames.saturating_mul(u64::from(self.format.frame_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn caller(clips: Vec<Clip>) -> Caller {
        Caller::new(MediaFormat::TELEPHONE, CallTime::from_millis(3), clips)
    }

    #[test]
    fn frames_are_due_on_an_absolute_schedule() {
        let mut caller = caller(Vec::new());
        for n in 1..=500 {
            assert_eq!(caller.due(), CallTime::from_millis(3 + 20 * n));
            assert_eq!(caller.frame().samples, [0; 160]);
        }
    }

    #[test]
    fn a_clip_begins_at_its_moment_and_names_its_first_loud_frame() {
        let mut samples = vec![100; 200];
        samples.extend([-400; 200]);
        let mut caller = caller(vec![Clip { at: Moment::AfterStart(ms(40)), samples }]);
        let frames: Vec<CallerFrame> = (0..6).map(|_| caller.frame()).collect();
        let events: Vec<_> = frames.iter().map(|frame| (frame.began, frame.speaks, frame.ended)).collect();
        let quiet = (None, None, None);
        assert_eq!(events, [quiet, quiet, (Some(0), None, None), (None, Some(0), None), (None, None, Some(0)), quiet]);
        assert_eq!(frames[3].samples[39..42], [100, -400, -400]);
        assert_eq!(frames[4].samples[79..82], [-400, 0, 0]);
    }

    #[test]
    fn moments_follow_the_gateways_speech() {
        let clip = |at| Clip { at, samples: vec![1_000; 160] };
        let mut caller = caller(vec![clip(Moment::AfterFirstAudio(ms(100))), clip(Moment::AfterResumed(ms(50)))]);
        let mut began = Vec::new();
        for n in 0..40_u64 {
            let from = 20 * n;
            if n == 5 {
                caller.gateway_speaks(CallTime::from_millis(from + 3));
            }
            // Speech again before the first clip has begun does not count for the second.
            if n == 7 || n == 20 {
                caller.gateway_speaks(CallTime::from_millis(from + 3));
            }
            if caller.frame().began.is_some() {
                began.push(from);
            }
        }
        assert_eq!(began, [200, 460]);
        assert!(!caller.has_more());
    }
}
