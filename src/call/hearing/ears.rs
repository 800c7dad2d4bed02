//! The links of hearing, and the caller's audio on its way to them: none of it is lost when a link is lost or replaced. A
//! second of it is heard twice, so that no word is torn.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::audio::MediaFormat;
use crate::call::action::HearingCommand;
use crate::call::event::{Fault, FaultKind, LinkNumber};
use crate::call::links::{self, Need};
use crate::call::settings::{Hearing as Settings, Limits};
use crate::ids::CallTime;

/// Audio that a new link is given again after the one before it was lost.
const REPLAYED: Duration = Duration::from_secs(1);
/// Audio that waits for a link at most; beyond it the oldest is forgotten.
const WAITING_MAX: Duration = Duration::from_secs(20);
/// What waited is handed over in pieces of this length.
const PIECE: Duration = Duration::from_millis(200);
/// How long a link that was replaced may take to write down the rest.
const LEAVING_MAX: Duration = Duration::from_secs(4);
/// A successor that could not be had is tried again after so long.
const SUCCESSOR_RETRY: Duration = Duration::from_secs(5);

/// One link.
#[derive(Debug)]
struct Ear {
    number: LinkNumber,
    state: State,
    /// It began with audio that another link had before.
    overlaps: bool,
    /// Since when it has been up.
    since: CallTime,
    last_sent: CallTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Dialling,
    Up,
    /// It gets no more audio; what it still writes down until then counts.
    Leaving(CallTime),
}

/// All links, and the audio on its way to them.
#[derive(Debug)]
pub(super) struct Ears {
    format: MediaFormat,
    session: Option<Duration>,
    keep_alive: Duration,
    /// The oldest first. The last one that is not `successor` takes the audio.
    ears: Vec<Ear>,
    /// Takes the audio; 0 before there is one.
    current: LinkNumber,
    successor: Option<LinkNumber>,
    successor_after: CallTime,
    count: LinkNumber,
    tries: links::Link,
    language: Option<String>,
    /// The caller's language changed, so that a new link is wanted.
    is_stale: bool,
    /// The last of what was sent.
    recent: Audio,
    /// What waits for a link.
    waiting: Audio,
}

/// Audio of a bounded length.
#[derive(Debug, Default)]
struct Audio {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Audio {
    fn push(&mut self, piece: Bytes, bytes_max: usize) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
        self.trim(bytes_max);
    }

    /// Puts what comes before all of it at its head.
    fn prepend(&mut self, before: Audio, bytes_max: usize) {
        let after = std::mem::replace(self, before);
        self.bytes += after.bytes;
        self.pieces.extend(after.pieces);
        self.trim(bytes_max);
    }

    fn trim(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max
            && let Some(oldest) = self.pieces.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }

    /// All of it in longer pieces.
    fn take(&mut self, piece_bytes: usize) -> Vec<Bytes> {
        let mut whole = BytesMut::with_capacity(self.bytes);
        std::mem::take(self).pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        let mut whole = whole.freeze();
        let mut pieces = Vec::new();
        while !whole.is_empty() {
            pieces.push(whole.split_to(piece_bytes.clamp(1, whole.len())));
        }
        pieces
    }
}

impl Ears {
    pub(super) fn new(settings: &Settings, format: MediaFormat, limits: Limits, seed: u64) -> Self {
        Ears {
            format,
            session: settings.session,
            keep_alive: settings.keep_alive,
            ears: Vec::new(),
            current: 0,
            successor: None,
            successor_after: CallTime::ZERO,
            count: 0,
            tries: links::Link::new(limits, seed, false),
            language: settings.language.clone(),
            is_stale: false,
            recent: Audio::default(),
            waiting: Audio::default(),
        }
    }

    /// Somebody is to be listened to: makes the link unless there is one or another try is due.
    pub(super) fn want(&mut self, now: CallTime, tell: &mut dyn FnMut(HearingCommand)) {
        if self.tries.want(now) == Need::Dial {
            self.dial(now, tell);
        }
    }

    /// A try is due.
    pub(super) fn retry(&mut self, now: CallTime, tell: &mut dyn FnMut(HearingCommand)) {
        self.tries.dial();
        self.dial(now, tell);
    }

    /// Why there will be no link, if that is so.
    pub(super) fn fault(&self) -> Option<&Fault> {
        match self.tries.state() {
            links::State::Dead(fault) | links::State::Spent(fault) => Some(fault),
            links::State::Cold | links::State::Dialling | links::State::Up | links::State::Waiting(_) => None,
        }
    }

    fn dial(&mut self, now: CallTime, tell: &mut dyn FnMut(HearingCommand)) {
        let overlaps = self.current > 0;
        self.current = self.open(now, overlaps, tell);
    }

    fn open(&mut self, now: CallTime, overlaps: bool, tell: &mut dyn FnMut(HearingCommand)) -> LinkNumber {
        self.count += 1;
        let number = self.count;
        self.ears.push(Ear { number, state: State::Dialling, overlaps, since: now, last_sent: now });
        self.is_stale = false;
        tell(HearingCommand::Dial { link: number, language: self.language.clone() });
        number
    }

    fn ear(&mut self, number: LinkNumber) -> Option<&mut Ear> {
        self.ears.iter_mut().find(|ear| ear.number == number)
    }

    /// Whether a link began with audio that another one had before.
    pub(super) fn overlaps(&self, number: LinkNumber) -> bool {
        self.ears.iter().any(|ear| ear.number == number && ear.overlaps)
    }

    /// Whether what comes from a link counts.
    pub(super) fn knows(&self, number: LinkNumber) -> bool {
        self.ears.iter().any(|ear| ear.number == number)
    }

    /// Whether a link that was replaced may still write something down.
    pub(super) fn is_leaving(&self) -> bool {
        self.ears.iter().any(|ear| matches!(ear.state, State::Leaving(_)))
    }

    /// Whether `number` is the link that takes the audio.
    pub(super) fn is_current(&self, number: LinkNumber) -> bool {
        self.current == number
    }

    /// The caller's audio.
    pub(super) fn push(&mut self, now: CallTime, audio: &Bytes, tell: &mut dyn FnMut(HearingCommand)) {
        let (replayed, waiting) = (self.bytes_of(REPLAYED), self.bytes_of(WAITING_MAX));
        let current = self.current;
        match self.ear(current).filter(|ear| ear.state == State::Up) {
            Some(ear) => {
                ear.last_sent = now;
                self.recent.push(audio.clone(), replayed);
                tell(HearingCommand::Audio { link: current, audio: audio.clone() });
            }
            None => self.waiting.push(audio.clone(), waiting),
        }
    }

    /// An utterance is over and told: none of its audio is to be heard again. `is_complete` says that every word of it came.
    /// Whether some of it may still be written down once more.
    pub(super) fn forget(&mut self, is_complete: bool) -> bool {
        self.recent = Audio::default();
        let current = self.current;
        match self.ear(current).filter(|ear| is_complete && ear.state == State::Up) {
            Some(ear) => {
                ear.overlaps = false;
                false
            }
            None => true,
        }
    }

    /// Asks for every word so far; whether there was anybody to ask.
    pub(super) fn finalise(&mut self, tell: &mut dyn FnMut(HearingCommand)) -> bool {
        let link = self.current;
        let is_up = self.ear(link).is_some_and(|ear| ear.state == State::Up);
        if is_up {
            tell(HearingCommand::Finalise { link });
        }
        is_up
    }

    /// A link is made. Whether it is the one that was waited for.
    pub(super) fn on_up(&mut self, now: CallTime, number: LinkNumber, tell: &mut dyn FnMut(HearingCommand)) -> bool {
        let Some(ear) = self.ear(number) else { return false };
        (ear.state, ear.since, ear.last_sent) = (State::Up, now, now);
        if number != self.current {
            return false;
        }
        self.tries.on_up(now);
        self.hand_over(tell);
        true
    }

    /// Gives the current link what waited for it.
    fn hand_over(&mut self, tell: &mut dyn FnMut(HearingCommand)) {
        let (link, piece, replayed) = (self.current, self.bytes_of(PIECE), self.bytes_of(REPLAYED));
        for audio in self.waiting.take(piece) {
            self.recent.push(audio.clone(), replayed);
            tell(HearingCommand::Audio { link, audio });
        }
    }

    /// A link is gone. Whether it was the one that took the audio.
    pub(super) fn on_down(
        &mut self,
        now: CallTime,
        number: LinkNumber,
        fault: &Fault,
        tell: &mut dyn FnMut(HearingCommand),
    ) -> bool {
        self.ears.retain(|ear| ear.number != number);
        if self.successor == Some(number) {
            self.successor = None;
            self.successor_after = now + SUCCESSOR_RETRY;
        }
        if number != self.current {
            return false;
        }
        // What it had last is heard again: nobody knows what of it was written down.
        let waiting = self.bytes_of(WAITING_MAX);
        self.waiting.prepend(std::mem::take(&mut self.recent), waiting);
        if let Some(successor) = self.successor.take_if(|_| fault.kind != FaultKind::Fatal)
            && let Some(ear) = self.ear(successor)
        {
            // It was on its way to take over anyway.
            let is_up = ear.state == State::Up;
            self.current = successor;
            if is_up {
                self.hand_over(tell);
            }
            return true;
        }
        if self.tries.on_down(now, fault) == Need::Dial {
            self.dial(now, tell);
        }
        true
    }

    /// The caller speaks another language from now on.
    pub(super) fn set_language(&mut self, language: Option<String>) {
        self.is_stale = self.language != language;
        self.language = language;
    }

    /// Replaces a link that grows old: in a pause of the caller if there is one, and in the middle of a word if there is
    /// none. `is_quiet` says that nobody speaks and nothing is waited for.
    pub(super) fn renew(&mut self, now: CallTime, is_quiet: bool, tell: &mut dyn FnMut(HearingCommand)) {
        let current = self.current;
        let Some(ear) = self.ear(current).filter(|ear| ear.state == State::Up) else { return };
        let age = now.since(ear.since);
        let session = self.session;
        let old = |percent: u32| session.is_some_and(|session| age * 100 >= session * percent);
        let is_wanted = self.is_stale || (is_quiet && old(80)) || old(90);
        let Some(successor) = self.successor else {
            if is_wanted && now >= self.successor_after {
                self.successor = Some(self.open(now, true, tell));
            }
            return;
        };
        let is_up = self.ear(successor).is_some_and(|ear| ear.state == State::Up);
        if is_up && (is_quiet || old(97)) {
            tell(HearingCommand::Close { link: current });
            if is_quiet {
                // It has nothing to say any more. What sounds like silence may be the onset of a word, which its successor
                // hears again, and which it must not tell as well.
                self.hang_up(current, tell);
            } else if let Some(ear) = self.ear(current) {
                ear.state = State::Leaving(now + LEAVING_MAX);
            }
            (self.current, self.successor) = (successor, None);
            // A word that the change tore is whole in what is heard twice.
            let waiting = self.bytes_of(WAITING_MAX);
            self.waiting.prepend(std::mem::take(&mut self.recent), waiting);
            self.hand_over(tell);
        }
    }

    /// When something has to be done although nothing happens, and what.
    pub(super) fn due(&self) -> Option<(CallTime, Due)> {
        let retry = self.tries.due().map(|at| (at, Due::Retry));
        let ears = self.ears.iter().filter_map(|ear| match ear.state {
            State::Dialling => None,
            State::Up => Some((ear.last_sent + self.keep_alive, Due::KeepAlive(ear.number))),
            State::Leaving(until) => Some((until, Due::HangUp(ear.number))),
        });
        retry.into_iter().chain(ears).min_by_key(|(at, _)| *at)
    }

    /// Tells a link that it is still wanted.
    pub(super) fn keep_alive(&mut self, now: CallTime, number: LinkNumber, tell: &mut dyn FnMut(HearingCommand)) {
        if let Some(ear) = self.ear(number) {
            ear.last_sent = now;
            tell(HearingCommand::KeepAlive { link: number });
        }
    }

    /// Waits no longer for the rest of a link that was replaced.
    pub(super) fn hang_up(&mut self, number: LinkNumber, tell: &mut dyn FnMut(HearingCommand)) {
        self.ears.retain(|ear| ear.number != number);
        tell(HearingCommand::HangUp { link: number });
    }

    fn bytes_of(&self, span: Duration) -> usize {
        let frames = span.as_millis() / self.format.frame().as_millis().max(1);
        usize::try_from(frames).unwrap_or(usize::MAX).saturating_mul(self.format.frame_bytes())
    }
}

/// What is due on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Another try.
    Retry,
    /// A sign of life.
    KeepAlive(LinkNumber),
    /// The end of the wait for a link that was replaced.
    HangUp(LinkNumber),
}
