//! A model of the voice in this process: the core's own commands in, its own events out.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use trunkline::audio::Encoding;
use trunkline::call::action::TtsCommand;
use trunkline::call::event::{TimedWord, TtsEvent};
use trunkline::ids::{CallTime, ContextId};

use crate::cartesia::words_of;
use crate::session::Body;
use crate::sound::{self, Coding, Sound};

/// Audio of one event.
const CHUNK_MS: u32 = 100;
/// It speaks so many times faster than it is heard.
const SPEED: u64 = 20;
const CHAR_MS: u32 = 60;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) id: ContextId,
    pub(crate) number: u16,
    pub(crate) made_ms: u32,
    pub(crate) words: Vec<(String, u32, u32)>,
    free_at: CallTime,
    ended: bool,
}

/// The voice.
#[derive(Debug)]
pub(crate) struct Local {
    sound: Sound,
    pub(crate) contexts: Vec<Context>,
    out: BTreeMap<(CallTime, u64), (ContextId, Body)>,
    count: u64,
}

impl Local {
    pub(crate) fn new(sound: Sound) -> Self {
        Local { sound, contexts: Vec::new(), out: BTreeMap::new(), count: 0 }
    }

    pub(crate) fn next_at(&self) -> Option<CallTime> {
        self.out.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn take(&mut self, now: CallTime) -> Option<Body> {
        let (at, _) = *self.out.first_key_value()?.0;
        if at > now {
            return None;
        }
        self.out.pop_first().map(|(_, (_, body))| body)
    }

    pub(crate) fn drop_link(&mut self) {
        self.out.clear();
    }

    fn later(&mut self, at: CallTime, context: ContextId, event: TtsEvent) {
        self.count += 1;
        self.out.insert((at, self.count), (context, Body::Voice(event)));
    }

    pub(crate) fn hear(&mut self, now: CallTime, command: &TtsCommand, numbers: &mut u16) {
        match command {
            TtsCommand::Speak { on, text } => {
                let coding = match (on.format.encoding, on.format.rate) {
                    (Encoding::Mulaw, 8_000) => Coding::Mulaw8k,
                    (Encoding::PcmS16Le, rate) => Coding::Pcm { rate },
                    other => panic!("a format that was not agreed on: {other:?}"),
                };
                self.speak(now, on.context, coding, text, numbers);
            }
            TtsCommand::Finish { on } => {
                let context = self.find(on.context);
                assert!(!context.ended, "{} ends twice", on.context);
                context.ended = true;
                let at = context.free_at.max(now);
                self.later(at, on.context, TtsEvent::Done { context: on.context });
            }
            TtsCommand::Cancel { context, .. } => {
                self.find(*context).ended = true;
                self.out.retain(|_, (whose, _)| whose != context);
            }
            TtsCommand::Flush { .. } => {}
            TtsCommand::Play { .. } => panic!("it speaks; the player plays"),
            TtsCommand::Reserve { .. } => panic!("it is nobody's account"),
            TtsCommand::Dial { .. } | TtsCommand::HangUp { .. } => panic!("links are the session's own"),
        }
    }

    fn find(&mut self, id: ContextId) -> &mut Context {
        self.contexts.iter_mut().find(|context| context.id == id).expect("a context that was spoken to")
    }

    fn speak(&mut self, now: CallTime, id: ContextId, coding: Coding, text: &str, numbers: &mut u16) {
        if !self.contexts.iter().any(|context| context.id == id) {
            *numbers += 1;
            let context = Context { id, number: *numbers, made_ms: 0, words: Vec::new(), free_at: now, ended: false };
            self.contexts.push(context);
        }
        let sound = self.sound;
        let context = self.find(id);
        assert!(!context.ended, "text after the end of {id}");
        let (number, from) = (context.number, context.made_ms);
        let to = from + text.chars().count() as u32 * CHAR_MS;
        let words = words_of(text, from, CHAR_MS);
        context.words.extend(words.iter().cloned());
        context.made_ms = to;
        let begin = context.free_at.max(now + Duration::from_millis(20));
        context.free_at = begin + Duration::from_millis(u64::from(to - from) / SPEED);
        let micros = |ms: u32| u64::from(ms) * 1_000;
        let words = words.into_iter().map(|(text, start, end)| TimedWord {
            text,
            start_us: micros(start),
            end_us: micros(end),
        });
        self.later(begin, id, TtsEvent::Words { context: id, words: words.collect() });
        for at in (from..to).step_by(CHUNK_MS as usize) {
            let audio = Bytes::from(sound::make(sound, coding, number, at, (at + CHUNK_MS).min(to)));
            self.later(
                begin + Duration::from_millis(u64::from(at - from) / SPEED),
                id,
                TtsEvent::Audio { context: id, audio },
            );
        }
    }
}
