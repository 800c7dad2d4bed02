//! A carrier that plays what it is sent, knows every millisecond that it played, and lies about marks if told to.

use std::collections::VecDeque;

use super::Dice;
use crate::audio::MediaFormat;
use crate::ids::{CallTime, ContextId, MarkId, TurnId};

/// What a carrier does with its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    Honest,
    Late,
    Never,
    AtOnce,
    /// Lost, late, doubled, out of order: a new throw of the dice for each.
    Wild,
}

/// One millisecond of speech: whose, and which one of its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) context: ContextId,
    pub(super) ms: u64,
}

#[derive(Debug)]
enum Queued {
    Audio(VecDeque<Option<Unit>>),
    Mark(MarkId),
}

#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) marks: Marks,
    queue: VecDeque<Queued>,
    /// When the millisecond at the head of the queue begins to play.
    head_ns: u64,
    /// Milliseconds of each context that were played to their end.
    pub(super) played: Vec<(ContextId, u64)>,
    /// When speech was last heard.
    pub(super) last_sound: CallTime,
    /// Marks that come back, and when.
    pub(super) echoes: Vec<(CallTime, MarkId)>,
}

const MS_NS: u64 = 1_000_000;

pub(super) fn bytes_per_ms(format: MediaFormat) -> usize {
    format.frame_bytes() / format.frame_ms as usize
}

/// The audio that says of itself what it is.
pub(super) fn audio_of(format: MediaFormat, context: ContextId, from_ms: u64, to_ms: u64) -> Vec<u8> {
    let mut audio = Vec::new();
    for ms in from_ms..to_ms {
        audio.extend([context.turn.0 as u8, context.serial as u8, ms as u8, (ms >> 8) as u8]);
        audio.resize(((ms + 1 - from_ms) as usize) * bytes_per_ms(format), 1);
    }
    audio
}

/// What a frame holds; `None` for a millisecond of padding.
pub(super) fn units_of(format: MediaFormat, frame: &[u8]) -> Vec<Option<Unit>> {
    // A millisecond that broke off is filled up with silence.
    let unit = |bytes: &[u8]| {
        (bytes.last() == Some(&1)).then(|| Unit {
            context: ContextId { turn: TurnId(u32::from(bytes[0])), serial: u32::from(bytes[1]) },
            ms: u64::from(bytes[2]) + 256 * u64::from(bytes[3]),
        })
    };
    frame.chunks(bytes_per_ms(format)).map(unit).collect()
}

impl Carrier {
    pub(super) fn new(marks: Marks) -> Self {
        Carrier {
            marks,
            queue: VecDeque::new(),
            head_ns: 0,
            played: Vec::new(),
            last_sound: CallTime::ZERO,
            echoes: Vec::new(),
        }
    }

    /// Plays until `now`.
    pub(super) fn play(&mut self, now: CallTime, dice: &mut Dice) {
        let now_ns = now.as_micros() * 1_000;
        loop {
            match self.queue.front_mut() {
                Some(Queued::Mark(mark)) => {
                    let (mark, at) = (*mark, CallTime::from_micros(self.head_ns / 1_000));
                    self.queue.pop_front();
                    self.echo(mark, at, dice);
                }
                Some(Queued::Audio(units)) if units.is_empty() => {
                    self.queue.pop_front();
                }
                Some(Queued::Audio(units)) if self.head_ns + MS_NS <= now_ns => {
                    self.head_ns += MS_NS;
                    if let Some(Some(unit)) = units.pop_front() {
                        self.last_sound = CallTime::from_micros(self.head_ns / 1_000);
                        match self.played.iter_mut().find(|(id, _)| *id == unit.context) {
                            Some((_, played)) => *played = (*played).max(unit.ms + 1),
                            None => self.played.push((unit.context, unit.ms + 1)),
                        }
                    }
                }
                Some(Queued::Audio(_)) | None => return,
            }
        }
    }

    pub(super) fn media(&mut self, now: CallTime, units: Vec<Option<Unit>>) {
        if self.held_ms() == 0 {
            self.head_ns = now.as_micros() * 1_000;
        }
        self.queue.push_back(Queued::Audio(units.into()));
    }

    pub(super) fn mark(&mut self, now: CallTime, mark: MarkId) {
        match self.marks {
            Marks::AtOnce => self.echoes.push((now, mark)),
            Marks::Honest | Marks::Late | Marks::Never | Marks::Wild => self.queue.push_back(Queued::Mark(mark)),
        }
    }

    pub(super) fn clear(&mut self, now: CallTime, dice: &mut Dice) {
        for queued in std::mem::take(&mut self.queue) {
            if let Queued::Mark(mark) = queued {
                self.echo(mark, now, dice);
            }
        }
    }

    /// Audio that was received but not played, in milliseconds.
    pub(super) fn held_ms(&self) -> u64 {
        let lengths = self.queue.iter().map(|queued| match queued {
            Queued::Audio(units) => units.len() as u64,
            Queued::Mark(_) => 0,
        });
        lengths.sum()
    }

    /// When something will happen of itself.
    pub(super) fn next_at(&self) -> Option<CallTime> {
        let mut ahead = 0;
        for queued in &self.queue {
            match queued {
                Queued::Audio(units) => ahead += units.len() as u64,
                Queued::Mark(_) => return Some(CallTime::from_micros((self.head_ns + ahead * MS_NS) / 1_000)),
            }
        }
        None
    }

    fn echo(&mut self, mark: MarkId, at: CallTime, dice: &mut Dice) {
        let later = |ms: u64| at + std::time::Duration::from_millis(ms);
        match self.marks {
            Marks::Honest => self.echoes.push((at, mark)),
            Marks::Late => self.echoes.push((later(dice.below(400)), mark)),
            Marks::Never | Marks::AtOnce => {}
            Marks::Wild => match dice.below(8) {
                0 => {}
                1 => self.echoes.push((later(dice.below(4_000)), mark)),
                2 => self.echoes.extend([(at, mark), (later(dice.below(300)), mark)]),
                3 => self.echoes.push((at, MarkId(mark.0 + 1 + dice.below(3)))),
                _ => self.echoes.push((later(dice.below(60)), mark)),
            },
        }
    }

    pub(super) fn played_ms(&self, context: ContextId) -> u64 {
        self.played.iter().find(|(id, _)| *id == context).map_or(0, |(_, played)| *played)
    }
}
