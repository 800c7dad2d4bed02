//! Both sides of a call on one clock: what the caller said on the left, what the caller heard on the right.
//!
//! It takes what a call took and sent, in order and each at its time, and gives samples once nothing can change them any
//! more. Its memory is what lies between the two, a few seconds however long the call. A recording made while the call goes
//! on and one made from its tape come from here, so the same call gives the same samples.
//!
//! The gateway's side is laid out as a carrier plays it that plays without delay: each frame where the one before it ends, or
//! at its own moment if that is later. The caller's side follows the carrier's own stamps where they make sense, and the
//! count of samples where they do not; either is tied to our clock by the piece that was under way for the shortest time.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Encoding, MediaFormat, g711, pcm};
use crate::ids::CallTime;

/// How far behind the call its samples are given. Audio of the caller that is later than this is lost.
pub const BEHIND: Duration = Duration::from_secs(2);

/// The shortest way of a piece is looked for in so much of the call: as long as a good network is bad now and then, and short
/// enough to follow a carrier's clock that is not ours.
const WINDOW: Duration = Duration::from_secs(10);
/// The caller's side is put right at once when it is wrong by more than this, and one sample a piece when it is wrong by more
/// than [`BAND`]: that cannot be heard, and two clocks never come apart so fast.
const SLACK: Duration = Duration::from_millis(40);
const BAND: Duration = Duration::from_millis(5);
/// Stamps are whole milliseconds, pieces need not be.
const STAMP_ROUNDING: Duration = Duration::from_millis(2);
/// Audio of the gateway that would be played later than this is dropped: no call is so far ahead.
const AHEAD_MAX: Duration = Duration::from_secs(30);
/// Samples of each side that are given at once.
const BLOCK_SAMPLES: u64 = 8_192;
/// Samples that are kept together: few, so that what was given is soon free.
const RUN_SAMPLES: usize = 2_048;

/// Something that happened to the sound of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound<'a> {
    /// A piece of the caller's audio came, in the inbound format.
    Caller {
        /// When it was spoken, by the carrier's count from the beginning of the stream.
        stamp: Option<Duration>,
        /// The piece, of any length.
        audio: &'a [u8],
    },
    /// A frame was sent, in the outbound format.
    Gateway(&'a [u8]),
    /// The carrier was told to drop what it has not played.
    Clear {
        /// Audio that it is taken to hold.
        held: Duration,
    },
    /// What happened since that moment is not known.
    Lost {
        /// When the first of it happened.
        from: CallTime,
    },
}

/// Both sides of one call.
#[derive(Debug)]
pub struct Mixer {
    inbound: MediaFormat,
    outbound: Encoding,
    caller: Caller,
    gateway: Side,
    /// Position before which nothing changes any more.
    settled: u64,
    /// Position before which everything was given.
    given: u64,
    ended: bool,
}

impl Mixer {
    /// An empty recording of a call with these formats; `outbound` is `None` if nothing can be said on it. `None` if a stream
    /// cannot have them, or if the two sides have different rates: one file has one.
    pub fn new(inbound: MediaFormat, outbound: Option<MediaFormat>) -> Option<Self> {
        let outbound = outbound.unwrap_or(inbound);
        let is_sound = inbound.is_sound() && outbound.is_sound() && inbound.rate == outbound.rate;
        is_sound.then(|| Mixer {
            inbound,
            outbound: outbound.encoding,
            caller: Caller::new(inbound),
            gateway: Side::default(),
            settled: 0,
            given: 0,
            ended: false,
        })
    }

    /// Samples a second of each side.
    pub fn rate(&self) -> u32 {
        self.inbound.rate
    }

    /// Takes what happened at `at`; times never run backwards.
    pub fn take(&mut self, at: CallTime, sound: Sound<'_>) {
        if self.ended {
            return;
        }
        let now = self.position(at);
        self.settle(now.saturating_sub(self.inbound.samples_in(BEHIND)));
        match sound {
            Sound::Caller { stamp, audio } => {
                let stamp = stamp.map(|stamp| signed(self.inbound.samples_in(stamp)));
                self.caller.take(now, stamp, decode(self.inbound.encoding, audio));
            }
            Sound::Gateway(frame) => {
                let place = self.gateway.end().max(now);
                if place <= now + self.inbound.samples_in(AHEAD_MAX) {
                    self.gateway.put(place, &decode(self.outbound, frame));
                }
            }
            Sound::Clear { held } => {
                let heard = self.gateway.end().saturating_sub(self.inbound.samples_in(held));
                self.gateway.cut(now.min(heard));
            }
            Sound::Lost { from } => {
                // Whether what was sent before was heard to its end, nobody knows.
                self.gateway.cut(self.position(from));
                self.caller.lose_track();
            }
        }
    }

    /// Ends the call at `at`: what had not been played by then never was.
    pub fn end(&mut self, at: CallTime) {
        if self.ended {
            return;
        }
        let end = self.position(at);
        self.caller.place_before(i64::MAX);
        self.caller.side.cut(end);
        self.gateway.cut(end);
        self.settled = self.settled.max(end);
        self.ended = true;
    }

    /// Appends samples that are settled to `out`, left and right by turns. Whether there may be more.
    pub fn give(&mut self, out: &mut Vec<i16>) -> bool {
        let until = self.settled.min(self.given + BLOCK_SAMPLES);
        let start = out.len();
        let samples = usize::try_from(until - self.given).unwrap_or_default();
        out.resize(start + 2 * samples, 0);
        let block = out.get_mut(start..).unwrap_or_default();
        self.caller.side.pour(self.given, until, block.iter_mut().step_by(2));
        self.gateway.pour(self.given, until, block.iter_mut().skip(1).step_by(2));
        self.given = until;
        self.given < self.settled
    }

    /// Where the call is in the file that it makes, in samples of each side.
    pub fn position(&self, at: CallTime) -> u64 {
        self.inbound.samples_in(at.since(CallTime::ZERO))
    }

    fn settle(&mut self, until: u64) {
        self.settled = self.settled.max(until);
        self.caller.place_before(signed(self.settled));
        self.caller.side.settle(self.settled);
        self.gateway.settle(self.settled);
    }
}

/// The caller's side: pieces that wait until the way they took is known.
#[derive(Debug)]
struct Caller {
    format: MediaFormat,
    waiting: VecDeque<Piece>,
    /// When pieces came and how long each was under way, apart from a constant: only those that a later one has not undercut,
    /// so that the first is the shortest way of the window.
    ways: VecDeque<(u64, i64)>,
    last: Option<Last>,
    side: Side,
}

#[derive(Debug)]
struct Piece {
    /// Its first sample, by the carrier's count.
    stamp: i64,
    /// Samples between the piece before it and this one that the carrier says there are, and did not send.
    gap: u64,
    samples: Vec<i16>,
}

/// What is known of the piece that came last.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// Stamp of the sample behind it.
    next: i64,
    came: u64,
}

impl Caller {
    fn new(format: MediaFormat) -> Self {
        Caller { format, waiting: VecDeque::new(), ways: VecDeque::new(), last: None, side: Side::default() }
    }

    fn take(&mut self, now: u64, stamp: Option<i64>, samples: Vec<i16>) {
        let length = signed(samples.len() as u64);
        if length == 0 {
            return;
        }
        // It was spoken before it came.
        let begins = signed(now) - length;
        let (stamp, gap) = match self.last {
            None => (stamp.unwrap_or(begins), 0),
            Some(last) => {
                let stamp = stamp.filter(|stamp| self.is_sound(*stamp, last, now)).unwrap_or(last.next);
                (stamp, unsigned(stamp - last.next))
            }
        };
        let way = begins - stamp;
        let behind = signed(self.format.samples_in(BEHIND));
        if self.way().is_some_and(|shortest| way > shortest + behind) {
            // No delay is so long: the caller's side stood still for a while, and nobody counted.
            self.lose_track();
        }
        while self.ways.back().is_some_and(|(_, other)| *other >= way) {
            self.ways.pop_back();
        }
        self.ways.push_back((now, way));
        let window = self.format.samples_in(WINDOW);
        while self.ways.front().is_some_and(|(came, _)| came + window < now) {
            self.ways.pop_front();
        }
        self.last = Some(Last { next: stamp + length, came: now });
        self.waiting.push_back(Piece { stamp, gap, samples });
    }

    /// Whether a stamp can be true: not before the end of the last piece, and not further behind it than time has passed.
    /// One that is as good as counting is not taken, so that rounding leaves no trace.
    fn is_sound(&self, stamp: i64, last: Last, now: u64) -> bool {
        let in_samples = |span| signed(self.format.samples_in(span));
        let elapsed = signed(now.saturating_sub(last.came));
        let gap = stamp - last.next;
        gap > in_samples(STAMP_ROUNDING) && gap <= elapsed + in_samples(BEHIND)
    }

    fn way(&self) -> Option<i64> {
        self.ways.front().map(|(_, way)| *way)
    }

    /// Puts the pieces that begin before `limit` to their places.
    fn place_before(&mut self, limit: i64) {
        let Some(way) = self.way() else { return };
        while self.waiting.front().is_some_and(|piece| piece.stamp + way < limit)
            && let Some(piece) = self.waiting.pop_front()
        {
            self.place(piece.stamp + way, piece.gap, &piece.samples);
        }
    }

    /// Puts a piece to where it belongs, or right behind the one before it if that is nearly the same.
    fn place(&mut self, at: i64, gap: u64, samples: &[i16]) {
        let in_samples = |span| signed(self.format.samples_in(span));
        let end = (self.side.end + gap).max(self.side.settled);
        let wrong = at - signed(end);
        let at = unsigned(at);
        if self.side.is_fresh() || wrong > in_samples(SLACK) {
            let early = unsigned(-wrong.min(0));
            self.side.put(at.max(end), samples.get(index(early)..).unwrap_or_default());
        } else if wrong < -in_samples(SLACK) {
            self.side.put(end, samples.get(index(unsigned(-wrong))..).unwrap_or_default());
        } else if wrong > in_samples(BAND) {
            self.side.put(end, samples.get(..1).unwrap_or_default());
            self.side.put(end + 1, samples);
        } else if wrong < -in_samples(BAND) {
            self.side.put(end, samples.get(1..).unwrap_or_default());
        } else {
            self.side.put(end, samples);
        }
    }

    /// Pieces are missing, nobody knows how many: those before are placed by what is known of them, those behind anew.
    fn lose_track(&mut self) {
        self.place_before(i64::MAX);
        self.ways.clear();
    }
}

/// One side: what was laid out and not given yet. What lies between is silence, and takes no memory.
#[derive(Debug, Default)]
struct Side {
    runs: VecDeque<Run>,
    /// Behind the last sample.
    end: u64,
    /// Nothing changes before this. When samples are given makes no difference to them.
    settled: u64,
}

/// Samples without a gap.
#[derive(Debug)]
struct Run {
    at: u64,
    samples: Vec<i16>,
}

impl Side {
    fn end(&self) -> u64 {
        self.end.max(self.settled)
    }

    fn settle(&mut self, until: u64) {
        self.settled = until;
    }

    /// Whether nothing was ever laid out.
    fn is_fresh(&self) -> bool {
        self.end == 0
    }

    /// Lays samples out at `at`, not before the end.
    fn put(&mut self, at: u64, samples: &[i16]) {
        if samples.is_empty() {
            return;
        }
        let length = samples.len() as u64;
        match self.runs.back_mut() {
            Some(run) if run.end() == at && run.samples.len() + samples.len() <= RUN_SAMPLES => {
                run.samples.extend_from_slice(samples);
            }
            Some(_) | None => {
                let mut run = Run { at, samples: Vec::with_capacity(RUN_SAMPLES.max(samples.len())) };
                run.samples.extend_from_slice(samples);
                self.runs.push_back(run);
            }
        }
        self.end = at + length;
    }

    /// Takes back everything from `at` on that is not settled.
    fn cut(&mut self, at: u64) {
        let at = at.max(self.settled);
        while let Some(run) = self.runs.back_mut().filter(|run| run.end() > at) {
            run.samples.truncate(index(at.saturating_sub(run.at)));
            if !run.samples.is_empty() {
                break;
            }
            self.runs.pop_back();
        }
        self.end = self.end.min(at);
    }

    /// Gives what lies between two positions to `out`, which holds silence.
    fn pour<'a>(&mut self, from: u64, until: u64, out: impl Iterator<Item = &'a mut i16>) {
        let (mut out, mut at) = (out, from);
        while let Some(run) = self.runs.front_mut().filter(|run| run.at < until) {
            let skipped = run.at.saturating_sub(at);
            let mut room = out.by_ref().skip(index(skipped));
            let count = run.samples.len().min(index(until - run.at.max(at)));
            for sample in run.samples.drain(..count) {
                if let Some(to) = room.next() {
                    *to = sample;
                }
            }
            run.at += count as u64;
            at = run.at;
            if run.samples.is_empty() {
                self.runs.pop_front();
            }
        }
    }
}

impl Run {
    fn end(&self) -> u64 {
        self.at + self.samples.len() as u64
    }
}

fn decode(encoding: Encoding, bytes: &[u8]) -> Vec<i16> {
    let mut samples = Vec::with_capacity(bytes.len() / encoding.sample_bytes());
    match encoding {
        Encoding::Mulaw => g711::decode_mulaw_into(bytes, &mut samples),
        Encoding::Alaw => g711::decode_alaw_into(bytes, &mut samples),
        Encoding::PcmS16Le => pcm::SampleReader::default().read_into(bytes, &mut samples),
    }
    samples
}

/// Positions are far below what either type can hold: a call would have to last for millions of years.
fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX / 4)
}

fn unsigned(position: i64) -> u64 {
    u64::try_from(position).unwrap_or_default()
}

fn index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
