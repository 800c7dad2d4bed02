//! A voice on the other side of a link that may fail in every way that a vendor was seen to fail.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use trunkline::audio::MediaFormat;
use trunkline::call::action::{Place, TtsCommand};
use trunkline::call::event::{Fault, FaultKind, TimedWord, TtsEvent, VoiceIndex};
use trunkline::ids::{CallTime, ContextId};

use super::Dice;
use crate::label::{audio_of, bytes_per_ms};
use crate::trace::ScriptTruth;

/// How a voice speaks when it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) char_ms: u64,
    /// How many times faster than it is heard.
    pub(super) speed: u64,
    pub(super) timed: bool,
    /// Words are always told before their audio.
    pub(super) foretold: bool,
    /// The vendor gathers tokens for so long at most.
    pub(super) gathers: Option<Duration>,
    /// Of a thousand commands, how many go wrong.
    pub(super) faults: u64,
    /// Says when nothing more comes of a cancelled context, unless that goes wrong.
    pub(super) lets_go: bool,
    /// A place in the account comes within so many milliseconds, unless that goes wrong.
    pub(super) grants_ms: u64,
}

impl Manner {
    /// Nothing goes wrong.
    pub(super) const HONEST: Manner = Manner {
        char_ms: 60,
        speed: 4,
        timed: true,
        foretold: true,
        gathers: None,
        faults: 0,
        lets_go: false,
        grants_ms: 0,
    };
}

/// What a voice sends, or does of itself.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Event(TtsEvent),
    /// Speak what has been gathered for long enough.
    Gathered(ContextId),
}

/// What it was given for a context, and what it made of it.
#[derive(Clone, Debug)]
struct Script {
    on: Place,
    held: String,
    made_ms: u64,
    /// The milliseconds at which its words end.
    word_ends: Vec<u64>,
    last_delivery: CallTime,
    finished: bool,
    cancelled: bool,
    /// Sends no audio any more.
    dead: bool,
    /// Since when something has been wrong with it.
    faulty: Option<CallTime>,
    /// When it said that it was done when it was not.
    lied: Option<CallTime>,
}

#[derive(Clone, Debug)]
pub(super) struct Voice {
    index: VoiceIndex,
    /// In this process, and never dialled.
    is_there: bool,
    format: MediaFormat,
    pub(super) manner: Manner,
    up: bool,
    half_dead: bool,
    generation: u32,
    scripts: Vec<Script>,
    items: BTreeMap<(CallTime, u64), (u32, Item)>,
    count: u64,
}

fn fault(kind: FaultKind) -> Fault {
    Fault { kind, reason: "chaos".to_owned() }
}

fn any_kind(dice: &mut Dice) -> FaultKind {
    match dice.below(8) {
        0 => FaultKind::Fatal,
        1 | 2 => FaultKind::Busy,
        3 => FaultKind::Idle,
        _ => FaultKind::Retryable,
    }
}

impl Voice {
    pub(super) fn new(index: VoiceIndex, format: MediaFormat, manner: Manner) -> Self {
        Voice {
            index,
            is_there: false,
            format,
            manner,
            up: false,
            half_dead: false,
            generation: 0,
            scripts: Vec::new(),
            items: BTreeMap::new(),
            count: 0,
        }
    }

    /// One of this process, whose link nobody makes and nothing breaks.
    pub(super) fn there(index: VoiceIndex, format: MediaFormat, manner: Manner) -> Self {
        Voice { is_there: true, up: true, ..Voice::new(index, format, manner) }
    }

    pub(super) fn next_at(&self) -> Option<CallTime> {
        self.items.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next thing that arrives by `now`.
    pub(super) fn take(&mut self, now: CallTime, dice: &mut Dice) -> Option<TtsEvent> {
        let ((_, _), (generation, item)) =
            self.items.first_entry().filter(|entry| entry.key().0 <= now)?.remove_entry();
        if generation != self.generation {
            return Some(TtsEvent::Ignored);
        }
        match item {
            Item::Gathered(context) => {
                if let Some(index) = self.find(context).filter(|index| !self.scripts[*index].cancelled) {
                    self.utter(now, index, dice);
                }
                Some(TtsEvent::Ignored)
            }
            Item::Event(event) => {
                match &event {
                    TtsEvent::Up { .. } => self.up = true,
                    TtsEvent::Down { .. } => self.drop_link(now),
                    _ => {}
                }
                Some(event)
            }
        }
    }

    /// What it made of each context.
    pub(super) fn truth(&self) -> Vec<ScriptTruth> {
        let truth = |script: &Script| ScriptTruth {
            context: script.on.context,
            word_ends: script.word_ends.clone(),
            faulty: script.faulty,
            lied: script.lied,
        };
        self.scripts.iter().map(truth).collect()
    }

    fn drop_link(&mut self, now: CallTime) {
        self.up = false;
        self.half_dead = false;
        self.generation += 1;
        for script in &mut self.scripts {
            if !script.finished || script.last_delivery > CallTime::ZERO {
                script.faulty.get_or_insert(now);
            }
            script.dead = true;
        }
    }

    fn later(&mut self, at: CallTime, event: TtsEvent) {
        self.count += 1;
        self.items.insert((at, self.count), (self.generation, Item::Event(event)));
    }

    fn find(&self, context: ContextId) -> Option<usize> {
        self.scripts.iter().position(|script| script.on.context == context)
    }

    pub(super) fn command(&mut self, now: CallTime, command: &TtsCommand, dice: &mut Dice) {
        match command {
            TtsCommand::Dial { .. } => self.dial(now, dice),
            // No agent of these worlds plays anything.
            TtsCommand::Play { .. } => {}
            TtsCommand::Reserve { context, .. } => {
                if dice.below(1_000) >= self.manner.faults {
                    let at = now + Duration::from_millis(dice.below(self.manner.grants_ms));
                    self.later(at, TtsEvent::Granted { context: *context });
                }
            }
            TtsCommand::HangUp { .. } => self.drop_link(now),
            TtsCommand::Speak { on, text } => self.speak(now, on, text, dice),
            TtsCommand::Flush { on } => {
                if let Some(index) = self.listens(on) {
                    self.utter(now, index, dice);
                }
            }
            TtsCommand::Finish { on } => self.finish(now, on, dice),
            TtsCommand::Cancel { context, .. } => {
                if self.manner.lets_go && self.up && dice.below(1_000) >= self.manner.faults {
                    let at = now + Duration::from_millis(20 + dice.below(400));
                    self.later(at, TtsEvent::Done { context: *context });
                }
                let Some(index) = self.find(*context) else { return };
                self.scripts[index].cancelled = true;
                if dice.below(3) > 0 {
                    self.scripts[index].dead = true;
                    let is_kept =
                        |item: &Item| matches!(item, Item::Event(TtsEvent::Done { .. })) && self.manner.lets_go;
                    self.items.retain(|_, (_, item)| context_of(item) != Some(*context) || is_kept(item));
                }
            }
        }
    }

    fn dial(&mut self, now: CallTime, dice: &mut Dice) {
        self.generation += 1;
        if dice.below(1_000) < self.manner.faults * 2 {
            let kind = if dice.below(12) == 0 { FaultKind::Fatal } else { FaultKind::Busy };
            let voice = self.index;
            self.later(now + Duration::from_millis(dice.below(1_500)), TtsEvent::Down { voice, fault: fault(kind) });
        } else {
            self.later(now + Duration::from_millis(10 + dice.below(200)), TtsEvent::Up { voice: self.index });
        }
    }

    fn speak(&mut self, now: CallTime, on: &Place, text: &str, dice: &mut Dice) {
        if self.find(on.context).is_none() {
            self.scripts.push(Script {
                on: on.clone(),
                held: String::new(),
                made_ms: 0,
                word_ends: Vec::new(),
                last_delivery: CallTime::ZERO,
                finished: false,
                cancelled: false,
                dead: false,
                faulty: None,
                lied: None,
            });
        }
        let Some(index) = self.listens(on) else { return };
        if self.is_refused(now, index, dice) {
            return;
        }
        self.scripts[index].held.push_str(text);
        let Some(wait) = self.manner.gathers else { return self.utter(now, index, dice) };
        if text.contains(['.', '!', '?']) {
            self.utter(now, index, dice);
        } else {
            self.count += 1;
            self.items.insert((now + wait, self.count), (self.generation, Item::Gathered(on.context)));
        }
    }

    /// The context that a command is for, if the voice can hear it. What comes without a link, or after the end of its
    /// context, is lost; the properties see that it was sent.
    fn listens(&self, on: &Place) -> Option<usize> {
        let index = self.find(on.context)?;
        let script = &self.scripts[index];
        (self.up && !script.finished && !script.cancelled).then_some(index)
    }

    /// Something goes wrong with a command, or its context has been forgotten.
    fn is_refused(&mut self, now: CallTime, index: usize, dice: &mut Dice) -> bool {
        let script = &mut self.scripts[index];
        let context = script.on.context;
        let soon = now + Duration::from_millis(5 + dice.below(150));
        let named = (dice.below(3) > 0).then_some(context);
        let forgotten = script.made_ms > 0 && now.since(script.last_delivery) >= Duration::from_secs(1);
        if forgotten {
            script.dead = true;
            let kind = if dice.below(2) == 0 { FaultKind::Fatal } else { FaultKind::Retryable };
            self.later(soon, TtsEvent::Failed { context: named, fault: fault(kind) });
            return true;
        }
        if script.dead || dice.below(1_000) >= self.manner.faults {
            return false;
        }
        script.faulty.get_or_insert(now);
        match dice.below(7) {
            0 | 1 => {
                script.dead = true;
                self.later(soon, TtsEvent::Failed { context: named, fault: fault(any_kind(dice)) });
                true
            }
            2 if !self.is_there => {
                let at = now + Duration::from_millis(dice.below(2_500));
                self.later(at, TtsEvent::Down { voice: self.index, fault: fault(any_kind(dice)) });
                false
            }
            3 => {
                self.half_dead = true;
                true
            }
            4 => {
                script.dead = true;
                script.lied = Some(now);
                self.later(soon, TtsEvent::Done { context });
                true
            }
            5 => {
                self.later(soon, TtsEvent::Garbage);
                false
            }
            _ => {
                script.dead = true;
                true
            }
        }
    }

    fn finish(&mut self, now: CallTime, on: &Place, dice: &mut Dice) {
        let Some(index) = self.listens(on) else { return };
        let refused = self.is_refused(now, index, dice);
        self.scripts[index].finished = true;
        if refused {
            return;
        }
        self.utter(now, index, dice);
        let script = &self.scripts[index];
        if !script.dead && !self.half_dead && dice.below(1_000) >= self.manner.faults {
            let at = script.last_delivery.max(now) + Duration::from_millis(dice.below(200));
            self.later(at, TtsEvent::Done { context: on.context });
        }
    }

    /// Speaks what a context holds, in chunks of any size.
    fn utter(&mut self, now: CallTime, index: usize, dice: &mut Dice) {
        let (manner, format, half_dead) = (self.manner, self.format, self.half_dead);
        let script = &mut self.scripts[index];
        let text = std::mem::take(&mut script.held);
        if text.is_empty() || script.dead || half_dead {
            return;
        }
        let context = script.on.context;
        let (from, to) = (script.made_ms, script.made_ms + text.chars().count() as u64 * manner.char_ms);
        let words = words_of(&text, from, manner.char_ms);
        script.word_ends.extend(words.iter().map(|word| word.end_us / 1_000));
        let size = bytes_per_ms(format);
        let mut audio = audio_of(format, context, from as usize * size, (to - from) as usize * size);
        if dice.below(1_000) < manner.faults {
            // It stalls for ever in the middle.
            audio.truncate(dice.below(audio.len() as u64) as usize);
            script.dead = true;
            script.faulty.get_or_insert(now);
        }
        script.made_ms = to;
        let mut at = script.last_delivery.max(now + Duration::from_millis(30 + dice.below(250)));
        let words_first = manner.foretold || dice.below(2) == 0;
        let mut events = Vec::new();
        let words = TtsEvent::Words { context, words };
        if manner.timed && words_first {
            events.push((at, words.clone()));
        }
        let mut rest = &audio[..];
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(rest.len().min(1 + dice.below(4_000) as usize));
            at = at + Duration::from_micros(1_000 * chunk.len() as u64 / bytes_per_ms(format) as u64 / manner.speed);
            events.push((at, TtsEvent::Audio { context, audio: Bytes::copy_from_slice(chunk) }));
            rest = behind;
        }
        if manner.timed && !words_first {
            events.push((at, words));
        }
        script.last_delivery = at;
        for (at, event) in events {
            self.later(at, event);
        }
    }
}

fn context_of(item: &Item) -> Option<ContextId> {
    match item {
        Item::Event(TtsEvent::Audio { context, .. } | TtsEvent::Words { context, .. } | TtsEvent::Done { context })
        | Item::Gathered(context) => Some(*context),
        Item::Event(_) => None,
    }
}

fn words_of(text: &str, offset_ms: u64, char_ms: u64) -> Vec<TimedWord> {
    let (mut words, mut chars) = (Vec::new(), 0);
    for token in text.split_inclusive(char::is_whitespace) {
        let word = token.trim_end();
        let at = |chars: u64| (offset_ms + chars * char_ms) * 1_000;
        if word.chars().any(char::is_alphanumeric) {
            let end_us = at(chars + word.chars().count() as u64);
            words.push(TimedWord { text: word.to_owned(), start_us: at(chars), end_us });
        }
        chars += token.chars().count() as u64;
    }
    words
}
