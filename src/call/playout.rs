//! The playout queue: encoded audio tagged with its context, in the order in which it is to be heard.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::audio::MediaFormat;
use crate::ids::{CallTime, ContextId, TurnId};

/// Audio waits at most so long for the prebuffer to fill.
const PREBUFFER_WAIT: Duration = Duration::from_millis(150);

/// A context's place in the order: the turn's rank, then the context's number within it.
pub(super) type Rank = (u64, u32);

/// The audio of one context that has not been sent.
#[derive(Debug)]
struct Line {
    rank: Rank,
    context: ContextId,
    chunks: VecDeque<Bytes>,
    queued_bytes: usize,
    /// When audio came while none was queued, or when it was enough to start.
    waiting_since: Option<CallTime>,
    /// No more audio will come.
    complete: bool,
    /// Enough has been there to start; taken back by an underrun.
    armed: bool,
}

/// A frame that was sent and is not proved to have been heard.
#[derive(Clone, Debug)]
struct Retained {
    /// Position of its first sample in the ledger.
    position: u64,
    rank: Rank,
    context: ContextId,
    frame: Bytes,
}

/// A frame to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// Whose it is.
    pub(super) context: ContextId,
    /// The frame.
    pub(super) frame: Bytes,
    /// It is the last one of its context.
    pub(super) is_last: bool,
    /// Since when it could have been sent, if it had been due.
    pub(super) ready_since: Option<CallTime>,
}

/// The queue of one call. It is bounded by holding text back, never by cutting speech.
#[derive(Debug)]
pub(super) struct Playout {
    format: MediaFormat,
    prebuffer: Duration,
    lines: VecDeque<Line>,
    /// Lines of later turns than this have to wait.
    turn_max: u64,
    retained: VecDeque<Retained>,
    retain: Duration,
}

impl Line {
    fn new(rank: Rank, context: ContextId) -> Self {
        Line {
            rank,
            context,
            chunks: VecDeque::new(),
            queued_bytes: 0,
            waiting_since: None,
            complete: false,
            armed: false,
        }
    }
}

impl Playout {
    /// An empty queue for audio of `format`. Frames are kept for `retain` after they were sent, if not proved heard.
    pub(super) fn new(format: MediaFormat, prebuffer: Duration, retain: Duration) -> Self {
        Playout { format, prebuffer, lines: VecDeque::new(), turn_max: 0, retained: VecDeque::new(), retain }
    }

    /// Adds a line for a context at its place in the order.
    pub(super) fn open(&mut self, rank: Rank, context: ContextId) {
        let at = self.lines.partition_point(|line| line.rank < rank);
        self.lines.insert(at, Line::new(rank, context));
    }

    /// Lets the turns of rank `turn_max` and before be sent. Those behind wait, however much of them is there, because
    /// the turn of that rank is not all made.
    pub(super) fn admit(&mut self, turn_max: u64) {
        self.turn_max = turn_max;
    }

    /// Appends whole frames to a context's line.
    pub(super) fn push(&mut self, now: CallTime, context: ContextId, frames: Bytes) {
        if frames.is_empty() {
            return;
        }
        if let Some(line) = self.line_mut(context) {
            line.waiting_since.get_or_insert(now);
            line.queued_bytes += frames.len();
            line.chunks.push_back(frames);
        }
    }

    /// No more audio will come for a context.
    pub(super) fn complete(&mut self, context: ContextId) {
        if let Some(line) = self.line_mut(context) {
            line.complete = true;
        }
    }

    /// Drops a context's line and all its audio; how many samples that were.
    pub(super) fn drop_line(&mut self, context: ContextId) -> u64 {
        let Some(at) = self.lines.iter().position(|line| line.context == context) else { return 0 };
        self.lines.remove(at).map_or(0, |line| self.format.samples_of(line.queued_bytes))
    }

    /// Leaves of a context's queued audio only the first `samples` samples, rounded up to whole frames; how many samples
    /// were dropped.
    pub(super) fn truncate(&mut self, context: ContextId, samples: u64) -> u64 {
        let format = self.format;
        let Some(line) = self.line_mut(context) else { return 0 };
        let frames = usize::try_from(samples).unwrap_or(usize::MAX).div_ceil(format.frame_samples().max(1));
        let keep = frames.saturating_mul(format.frame_bytes()).min(line.queued_bytes);
        let dropped = line.queued_bytes - keep;
        let mut surplus = dropped;
        while surplus > 0
            && let Some(chunk) = line.chunks.back_mut()
        {
            let cut = surplus.min(chunk.len());
            chunk.truncate(chunk.len() - cut);
            surplus -= cut;
            if chunk.is_empty() {
                line.chunks.pop_back();
            }
        }
        line.queued_bytes = keep;
        format.samples_of(dropped)
    }

    /// Length of a turn's audio that waits to be sent.
    pub(super) fn queued(&self, turn: TurnId) -> Duration {
        let lines = self.lines.iter().filter(|line| line.context.turn == turn);
        let bytes = lines.map(|line| line.queued_bytes).sum();
        self.format.duration_of(self.format.samples_of(bytes))
    }

    /// Removes lines that are complete and empty from the front, and names the first one removed.
    pub(super) fn pop_finished(&mut self) -> Option<ContextId> {
        let finished = self.lines.front().is_some_and(|line| line.complete && line.chunks.is_empty());
        if finished { self.lines.pop_front().map(|line| line.context) } else { None }
    }

    /// Whether there is a line for a turn: audio that is queued, or still to come.
    pub(super) fn has_line(&self, turn: TurnId) -> bool {
        self.lines.iter().any(|line| line.context.turn == turn)
    }

    /// Whether the next frame is there and may be sent. A line starts when the prebuffer is full, complete, or has
    /// waited long enough.
    pub(super) fn is_ready(&mut self, now: CallTime) -> bool {
        let prebuffer = self.prebuffer;
        let format = self.format;
        let Some(line) = self.front_mut() else { return false };
        if line.chunks.is_empty() {
            return false;
        }
        let is_enough = || {
            line.complete
                || format.duration_of(format.samples_of(line.queued_bytes)) >= prebuffer
                || line.waiting_since.is_some_and(|since| now.since(since) >= PREBUFFER_WAIT)
        };
        if !line.armed && is_enough() {
            line.armed = true;
            line.waiting_since = Some(now);
        }
        line.armed
    }

    /// When the front line may start although its prebuffer is not full.
    pub(super) fn ready_at(&self) -> Option<CallTime> {
        let line = self.front()?;
        if line.armed || line.complete || line.chunks.is_empty() {
            return None;
        }
        line.waiting_since.map(|since| since + PREBUFFER_WAIT)
    }

    /// Whether the front line has a frame and has started.
    pub(super) fn is_flowing(&self) -> bool {
        self.front().is_some_and(|line| line.armed && !line.chunks.is_empty())
    }

    /// The carrier has run dry, so the front line's start has to be prepared again.
    pub(super) fn run_dry(&mut self) {
        if let Some(line) = self.lines.front_mut() {
            line.armed = false;
        }
    }

    /// Takes the next frame to be sent at the ledger's `position`.
    pub(super) fn pop(&mut self, position: u64) -> Option<Next> {
        let frame_bytes = self.format.frame_bytes();
        let line = self.front_mut()?;
        let (ready_since, rank) = (line.waiting_since, line.rank);
        let chunk = line.chunks.front_mut()?;
        let frame = chunk.split_to(frame_bytes.min(chunk.len()));
        if chunk.is_empty() {
            line.chunks.pop_front();
        }
        line.queued_bytes -= frame.len();
        if line.chunks.is_empty() {
            line.waiting_since = None;
        }
        let next = Next { context: line.context, frame, is_last: line.complete && line.chunks.is_empty(), ready_since };
        self.retained.push_back(Retained { position, rank, context: next.context, frame: next.frame.clone() });
        Some(next)
    }

    /// Forgets sent frames that lie wholly before `heard`, and those too old to be of use.
    pub(super) fn forget(&mut self, heard: u64, sent: u64) {
        let oldest = sent.saturating_sub(self.format.samples_in(self.retain));
        let until = heard.max(oldest);
        let format = self.format;
        while self.retained.front().is_some_and(|kept| kept.position + format.samples_of(kept.frame.len()) <= until) {
            self.retained.pop_front();
        }
    }

    /// After a `clear` at `now`: puts the frames of turns that live on back to the head of their lines, unless all of a
    /// frame was heard, and forgets the others. Names each context with the samples that it got back.
    pub(super) fn take_back(
        &mut self,
        now: CallTime,
        heard: u64,
        lives_on: impl Fn(TurnId) -> bool,
    ) -> Vec<(ContextId, u64)> {
        let format = self.format;
        let mut returned: Vec<(ContextId, u64)> = Vec::new();
        while let Some(kept) = self.retained.pop_back() {
            let samples = format.samples_of(kept.frame.len());
            if kept.position + samples <= heard || !lives_on(kept.context.turn) {
                continue;
            }
            if self.line_mut(kept.context).is_none() {
                // All of it had been sent, so that its line was gone.
                self.open(kept.rank, kept.context);
                self.complete(kept.context);
            }
            let Some(line) = self.line_mut(kept.context) else { continue };
            line.queued_bytes += kept.frame.len();
            line.chunks.push_front(kept.frame);
            line.waiting_since = Some(now);
            line.armed = false;
            match returned.iter_mut().find(|(context, _)| *context == kept.context) {
                Some((_, sum)) => *sum += samples,
                None => returned.push((kept.context, samples)),
            }
        }
        returned
    }

    /// The line whose audio comes next, if it may be sent.
    fn front(&self) -> Option<&Line> {
        self.lines.front().filter(|line| line.rank.0 <= self.turn_max)
    }

    fn front_mut(&mut self) -> Option<&mut Line> {
        self.lines.front_mut().filter(|line| line.rank.0 <= self.turn_max)
    }

    fn line_mut(&mut self, context: ContextId) -> Option<&mut Line> {
        self.lines.iter_mut().find(|line| line.context == context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(turn: u32, serial: u32) -> ContextId {
        ContextId { turn: TurnId(turn), serial }
    }

    fn frames(fill: u8, count: usize) -> Bytes {
        Bytes::from(vec![fill; count * 160])
    }

    fn playout() -> Playout {
        let mut playout = Playout::new(MediaFormat::TELEPHONE, Duration::from_millis(60), Duration::from_secs(2));
        playout.admit(u64::MAX);
        playout
    }

    fn at(ms: u64) -> CallTime {
        CallTime::from_millis(ms)
    }

    #[test]
    fn contexts_are_heard_in_order_however_their_audio_comes() {
        let mut playout = playout();
        playout.open((2, 1), context(7, 1));
        playout.open((1, 1), context(3, 1));
        playout.push(at(0), context(7, 1), frames(7, 3));
        playout.push(at(0), context(3, 1), frames(3, 3));
        assert!(playout.is_ready(at(0)));
        assert_eq!(playout.pop(0).unwrap().frame[0], 3);
        playout.complete(context(3, 1));
        assert!(!playout.pop(160).unwrap().is_last);
        assert!(playout.pop(320).unwrap().is_last);
        assert_eq!(playout.pop_finished(), Some(context(3, 1)));
        assert_eq!(playout.pop(480).unwrap().context, context(7, 1));
    }

    #[test]
    fn a_line_starts_with_its_prebuffer_or_when_complete_or_after_a_while() {
        let mut playout = playout();
        playout.open((1, 1), context(1, 1));
        assert!(!playout.is_ready(at(0)));
        playout.push(at(5), context(1, 1), frames(1, 2));
        assert!(!playout.is_ready(at(10)));
        assert_eq!(playout.ready_at(), Some(at(155)));
        assert!(playout.is_ready(at(155)));
        playout.run_dry();
        assert!(!playout.is_ready(at(10)));
        playout.complete(context(1, 1));
        assert!(playout.is_ready(at(10)));
    }

    #[test]
    fn truncating_leaves_whole_frames() {
        let mut playout = playout();
        playout.open((1, 1), context(1, 1));
        playout.push(at(0), context(1, 1), frames(1, 2));
        playout.push(at(0), context(1, 1), frames(2, 2));
        assert_eq!(playout.truncate(context(1, 1), 380), 160);
        assert_eq!(playout.queued(TurnId(1)), Duration::from_millis(60));
        assert_eq!(playout.truncate(context(1, 1), 0), 480);
        assert_eq!(playout.drop_line(context(1, 1)), 0);
    }

    #[test]
    fn what_lives_on_gets_its_unheard_frames_back() {
        let mut playout = playout();
        playout.open((1, 1), context(1, 1));
        playout.open((2, 1), context(2, 1));
        playout.push(at(0), context(1, 1), frames(1, 2));
        playout.complete(context(1, 1));
        playout.push(at(0), context(2, 1), frames(2, 3));
        for n in 0..4 {
            playout.pop_finished();
            playout.pop(n * 160).unwrap();
        }
        let second = |turn| turn == TurnId(2);
        assert_eq!(playout.take_back(at(50), 160, second), [(context(2, 1), 320)]);
        assert_eq!(playout.queued(TurnId(2)), Duration::from_millis(60));
        assert_eq!(playout.pop(640).unwrap().frame[0], 2);
        // A line that had been sent whole comes back too, and a frame that was half heard is heard again.
        playout.complete(context(2, 1));
        playout.pop(800).unwrap();
        assert!(playout.pop(960).unwrap().is_last);
        assert_eq!(playout.pop_finished(), Some(context(2, 1)));
        assert_eq!(playout.take_back(at(90), 700, second), [(context(2, 1), 480)]);
        assert!(playout.is_ready(at(90)));
    }

    #[test]
    fn a_turn_waits_until_the_one_before_it_is_made() {
        let mut playout = playout();
        playout.open((2, 1), context(2, 1));
        playout.push(at(0), context(2, 1), frames(2, 5));
        playout.admit(1);
        assert!(!playout.is_ready(at(0)) && !playout.is_flowing() && playout.pop(0).is_none());
        assert_eq!(playout.ready_at(), None);
        playout.admit(2);
        assert!(playout.is_ready(at(500)));
        assert_eq!(playout.pop(0).unwrap().ready_since, Some(at(500)));
    }

    #[test]
    fn heard_and_old_frames_are_forgotten() {
        let mut playout = playout();
        playout.open((1, 1), context(1, 1));
        playout.push(at(0), context(1, 1), frames(1, 200));
        for n in 0..200 {
            playout.pop(n * 160).unwrap();
        }
        playout.forget(320, 32_000);
        assert_eq!(playout.retained.len(), 100);
        playout.forget(31_840, 32_000);
        assert_eq!(playout.retained.len(), 1);
    }
}
