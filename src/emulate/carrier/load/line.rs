//! One call of a load: what it writes at each of its ticks, and what it makes of what it reads.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::net::tcp::OwnedWriteHalf;

use super::super::messages::{Names, Scribe};
use super::frames::{self, Received};
use super::playback::Playback;
use super::report::Tally;
use super::scan::{Said, said};
use super::sound::Sound;
use crate::ids::CallTime;

/// Bytes that may wait for a gateway that does not read; more, and it takes nothing any more.
const UNSENT_MAX: usize = 64 * 1024;

/// Close code of a call that is over (RFC 6455, section 7.4.1).
const CLOSE_NORMAL: u16 = 1000;

/// The key that is pressed.
const KEY: char = '1';

/// Length of a frame in milliseconds.
const FRAME_MS: u64 = 20;

/// What sets one call apart from the others.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) names: Names,
    pub(super) hang_up_at: CallTime,
    /// Where in the loop of the caller's sound it begins, and how its keys are set off against those of other calls.
    pub(super) from: u64,
    /// A key is pressed whenever so many frames have passed.
    pub(super) key_frames: Option<u64>,
    /// A gap as long as this is a pause of the gateway's speech and no underrun.
    pub(super) pause: Duration,
    /// Interruptions up to then have time enough to be answered, and count while the window is open.
    pub(super) counts_until: CallTime,
}

/// Interruptions that were made while something could be heard, and that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Armed {
    pub(super) keys: u64,
    pub(super) onsets: u64,
}

/// An interruption that waits for its `clear`.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: CallTime,
    counts: bool,
}

/// What becomes of a call after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    /// There is nothing more to write.
    HungUp,
    /// The gateway takes nothing any more.
    Stuck,
}

/// How a gateway ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a close frame, after the caller had hung up.
    InOrder,
    /// Before the caller hung up.
    Early,
    /// With what is no message.
    Broken,
    /// Without a close frame, after the caller had hung up.
    Unclosed,
}

/// A live call.
#[derive(Debug)]
pub(super) struct Line {
    writer: OwnedWriteHalf,
    unsent: Vec<u8>,
    message: Vec<u8>,
    scribe: Scribe,
    part: Part,
    playback: Playback,
    started_at: CallTime,
    frames: u64,
    has_heard: bool,
    /// The last key, until its `clear`.
    key: Option<Waiting>,
    /// The last time that the caller began to speak, until its `clear`.
    onset: Option<Waiting>,
    pub(super) hung_up: bool,
}

impl Line {
    /// A call over an open socket; it says its `start` at once.
    pub(super) fn new(writer: OwnedWriteHalf, part: Part, now: CallTime) -> Self {
        let mut scribe = Scribe::new(part.names.clone());
        let (connected, start) = (scribe.connected(), scribe.start(&BTreeMap::new()));
        let mut line = Line {
            writer,
            unsent: Vec::new(),
            message: Vec::new(),
            scribe,
            playback: Playback::new(part.pause),
            part,
            started_at: now,
            frames: 0,
            has_heard: false,
            key: None,
            onset: None,
            hung_up: false,
        };
        frames::push_text(&mut line.unsent, connected.as_bytes());
        frames::push_text(&mut line.unsent, start.as_bytes());
        // What cannot be written yet is written at the first tick.
        let _ = line.flush();
        line
    }

    /// Writes what is due: marks that were played, a key, a frame; at the end `stop` and a close. Interruptions are counted
    /// in `armed`, if there is one.
    pub(super) fn tick(&mut self, now: CallTime, sound: &Sound, armed: Option<&mut Armed>) -> Next {
        let can_be_heard = self.playback.is_playing(now);
        let mut armed = armed.filter(|_| now <= self.part.counts_until);
        let counts = armed.is_some();
        let waiting = |since| can_be_heard.then_some(Waiting { since, counts });
        while let Some(name) = self.playback.pop_mark(now) {
            let mark = self.scribe.mark(String::from_utf8_lossy(&name).into_owned());
            frames::push_text(&mut self.unsent, mark.as_bytes());
        }
        self.frames += 1;
        if let Some(frame) = sound.frame(self.part.from + self.frames) {
            self.scribe.write_media(self.frames, self.frames * FRAME_MS, &frame.payload, &mut self.message);
            frames::push_text(&mut self.unsent, &self.message);
            if let Some(before) = frame.onset {
                self.onset = waiting(now - before);
                armed.iter_mut().for_each(|armed| armed.onsets += u64::from(can_be_heard));
            }
        }
        if self.part.key_frames.is_some_and(|every| (self.part.from + self.frames).is_multiple_of(every)) {
            let key = self.scribe.dtmf(KEY);
            frames::push_text(&mut self.unsent, key.as_bytes());
            self.key = waiting(now);
            armed.iter_mut().for_each(|armed| armed.keys += u64::from(can_be_heard));
        }
        if now >= self.part.hang_up_at {
            let stop = self.scribe.stop();
            frames::push_text(&mut self.unsent, stop.as_bytes());
            frames::push_close(&mut self.unsent, CLOSE_NORMAL);
            self.hung_up = true;
        }
        match self.flush() {
            Err(Stuck) => Next::Stuck,
            Ok(()) if self.hung_up => Next::HungUp,
            Ok(()) => Next::GoOn,
        }
    }

    /// Takes a message of the gateway. Its end, if it is one.
    pub(super) fn take(&mut self, now: CallTime, message: Received<'_>, tally: &mut Tally) -> Option<End> {
        match message {
            Received::Text(text) => match said(text) {
                Said::Media(samples) => self.take_media(now, samples, tally),
                Said::Mark(name) => return (!self.playback.mark(now, name)).then_some(End::Broken),
                Said::Clear => self.take_clear(now, tally),
                Said::Other => {}
            },
            Received::Ping(body) => frames::push_pong(&mut self.unsent, body),
            Received::Binary | Received::Pong => {}
            Received::Close(_) => return Some(if self.hung_up { End::InOrder } else { End::Early }),
        }
        None
    }

    /// How long there has been nothing to play at `now`, since the start if nothing ever came.
    pub(super) fn silence(&self, now: CallTime) -> Option<Duration> {
        if self.has_heard { self.playback.silence(now) } else { Some(now.since(self.started_at)) }
    }

    fn take_media(&mut self, now: CallTime, samples: u64, tally: &mut Tally) {
        let arrived = self.playback.take(now, samples);
        tally.received_us += samples * 125;
        if !std::mem::replace(&mut self.has_heard, true) {
            tally.first_media.add(now.since(self.started_at), 1);
        }
        if !tally.open {
            return;
        }
        tally.frames += samples / 160;
        tally.send_late.add(arrived.late, 1);
        arrived.gap.into_iter().for_each(|gap| tally.ran_dry(gap));
    }

    fn take_clear(&mut self, now: CallTime, tally: &mut Tally) {
        self.playback.clear(now);
        tally.clears += u64::from(tally.open);
        // A key and a voice at once: whichever came last cannot be told from the other, so neither was answered.
        let (histogram, waiting) = match (self.key.take(), self.onset.take()) {
            (Some(key), None) => (&mut tally.key_to_clear, key),
            (None, Some(onset)) => (&mut tally.onset_to_clear, onset),
            (Some(_), Some(_)) | (None, None) => return,
        };
        if waiting.counts {
            histogram.add(now.since(waiting.since), 1);
        }
    }

    fn flush(&mut self) -> Result<(), Stuck> {
        while !self.unsent.is_empty() {
            match self.writer.try_write(&self.unsent) {
                Ok(bytes) => drop(self.unsent.drain(..bytes)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.unsent.len() < UNSENT_MAX => break,
                Err(_) => return Err(Stuck),
            }
        }
        Ok(())
    }
}

/// The gateway takes nothing any more.
struct Stuck;

/// How long after a call's end the gateway may take to close it.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(3);
