//! A model of Cartesia's TTS socket, written from its API reference: strict about what it is sent, and free to fail in
//! every way that it was seen to fail.

mod context;
mod faults;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use trunkline::ids::CallTime;

use crate::dice::Dice;
use crate::session::{Body, Refusal};
use crate::sound::{self, Sound};
use context::timestamps;
pub(crate) use context::{Context, words_of};
pub(crate) use faults::Mishap;

/// How it speaks when it does, and how often it does not.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// Speech of one character, white space included.
    pub(crate) char_ms: u32,
    /// From text to its first audio.
    pub(crate) first_ms: (u64, u64),
    /// How much faster than it is heard speech is made, in percent.
    pub(crate) speed_percent: u64,
    /// Lengths of chunks. They need not be whole milliseconds, nor whole samples.
    pub(crate) chunk_bytes: (u64, u64),
    /// Word times come at all, and before their audio.
    pub(crate) timed: bool,
    pub(crate) foretold: bool,
    /// Of a thousand requests, how many go wrong.
    pub(crate) faults: u64,
    /// Of a thousand dials, how many are refused.
    pub(crate) refusals: u64,
    /// Of a thousand cancels, how many are obeyed at once. The others finish what they had begun.
    pub(crate) obeys: u64,
    /// `flush_done` is sent for every request, asked for or not.
    pub(crate) flush_each: bool,
    /// A context is forgotten when it has been silent for a while.
    pub(crate) expires: bool,
    pub(crate) dial_ms: (u64, u64),
}

/// The vendor.
#[derive(Debug)]
pub(crate) struct Cartesia {
    pub(crate) manner: Manner,
    sound: Sound,
    up: bool,
    /// The socket was closed, or broke, on this side.
    closed: bool,
    half_dead: bool,
    pub(crate) dials: Vec<CallTime>,
    pub(crate) contexts: Vec<Context>,
    out: BTreeMap<(CallTime, u64), (Option<u16>, Body)>,
    count: u64,
    refuse: Option<(u16, Option<&'static str>, bool)>,
    shut: Option<Option<u16>>,
    stalled_until: CallTime,
}

impl Cartesia {
    pub(crate) fn new(manner: Manner, sound: Sound) -> Self {
        Cartesia {
            manner,
            sound,
            up: false,
            closed: false,
            half_dead: false,
            dials: Vec::new(),
            contexts: Vec::new(),
            out: BTreeMap::new(),
            count: 0,
            refuse: None,
            shut: None,
            stalled_until: CallTime::ZERO,
        }
    }

    /// When it does something of itself.
    pub(crate) fn next_at(&self) -> Option<CallTime> {
        let said = self.out.first_key_value().map(|((at, _), _)| (*at).max(self.stalled_until));
        let buffers = self.contexts.iter().filter_map(|context| context.speak_at);
        said.into_iter().chain(buffers).min()
    }

    /// The next message that leaves by `now`.
    pub(crate) fn take(&mut self, now: CallTime, dice: &mut Dice) -> Option<Body> {
        while let Some(at) = self.contexts.iter().position(|context| context.speak_at.is_some_and(|at| at <= now)) {
            self.utter(now, at, dice);
        }
        let (at, _) = *self.out.first_key_value()?.0;
        if at.max(self.stalled_until) > now {
            return None;
        }
        let (_, (_, body)) = self.out.pop_first()?;
        match &body {
            Body::Up => self.up = true,
            Body::Closed { .. } => {
                self.drop_link();
                self.closed = true;
            }
            _ => {}
        }
        Some(body)
    }

    fn later(&mut self, at: CallTime, number: Option<u16>, body: Body) {
        self.count += 1;
        self.out.insert((at, self.count), (number, body));
    }

    fn say(&mut self, at: CallTime, number: Option<u16>, message: &Value) {
        self.later(at, number, Body::Text(message.to_string()));
    }

    /// The gateway hangs up, or the socket is gone.
    pub(crate) fn drop_link(&mut self) {
        self.up = false;
        self.closed = false;
        self.half_dead = false;
        self.stalled_until = CallTime::ZERO;
        let unsaid: Vec<u16> = self.out.values().filter_map(|(number, _)| *number).collect();
        self.out.clear();
        for context in &mut self.contexts {
            let is_cut = unsaid.contains(&context.number) || context.speak_at.is_some() || !context.finished;
            context.faulty |= is_cut && !context.dead;
            context.dead = true;
            context.speak_at = None;
        }
    }

    pub(crate) fn dial(&mut self, now: CallTime, dice: &mut Dice) {
        assert!(!self.up, "dialled although the socket is open");
        self.dials.push(now);
        self.out.clear();
        let (from, to) = self.manner.dial_ms;
        let at = now + dice.millis(from, to);
        let refused = match self.shut {
            Some(status) => Some(status),
            None if dice.happens(self.manner.refusals) => {
                Some(dice.pick(&[Some(429), Some(429), Some(503), Some(401), None]))
            }
            None => None,
        };
        let body = match refused {
            Some(Some(status)) => Body::Refused(Refusal::Status(status)),
            Some(None) => Body::Refused(Refusal::Unreachable("no route".to_owned())),
            None => Body::Up,
        };
        self.later(at, None, body);
    }

    /// Whether the socket was closed, or broke, on this side.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// A request arrives. Whatever Cartesia would refuse or misunderstand ends the test.
    pub(crate) fn hear(&mut self, now: CallTime, text: &str, numbers: &mut u16, dice: &mut Dice) {
        if self.closed {
            // It was under way when the socket broke.
            return;
        }
        assert!(self.up, "text without a socket");
        let mut request: Value = serde_json::from_str(text).expect("a request is JSON");
        let fields = request.as_object_mut().expect("a request is an object");
        let name = fields["context_id"].as_str().expect("a request names its context").to_owned();
        if fields.remove("cancel") == Some(json!(true)) {
            assert_eq!(fields.len(), 1, "a cancel has two fields: {text}");
            return self.cancel(&name, dice);
        }
        let mut take = |field: &str| fields.remove(field).unwrap_or_else(|| panic!("no {field}: {text}"));
        let transcript = take("transcript").as_str().expect("a transcript is text").to_owned();
        let more = take("continue").as_bool().expect("continue is yes or no");
        let flush = take("flush").as_bool().expect("flush is yes or no");
        let at = match self.contexts.iter().position(|context| context.name == name) {
            Some(at) => at,
            None => {
                assert!(transcript.chars().any(char::is_alphanumeric), "a first transcript with no sound in it");
                *numbers += 1;
                self.contexts.push(Context::new(name, *numbers, request.clone(), now, self.manner.timed));
                self.contexts.len() - 1
            }
        };
        let context = &mut self.contexts[at];
        assert_eq!(context.template, request, "a context stays as it was opened");
        assert!(!context.finished, "{text} after the end of its context");
        assert!(!context.cancelled, "{text} after the cancel of its context");
        assert!(!transcript.is_empty() || flush || !more, "a request for nothing");
        context.text.push_str(&transcript);
        context.finished = !more;
        if self.goes_wrong(now, at, dice) {
            return;
        }
        let context = &mut self.contexts[at];
        context.held.push_str(&transcript);
        let is_sentence = context.held.trim_end().ends_with(['.', '!', '?', '…', '。']);
        if !more || flush || context.delay.is_zero() || is_sentence {
            self.utter(now, at, dice);
        } else if !context.held.is_empty() && context.speak_at.is_none() {
            context.speak_at = Some(now + context.delay);
        }
        if flush || self.manner.flush_each {
            self.flush_done(now, at);
        }
        if !more {
            self.done(now, at, dice);
        }
    }

    fn cancel(&mut self, name: &str, dice: &mut Dice) {
        let at = self.contexts.iter().position(|context| context.name == name).expect("a cancel is for what was begun");
        let context = &mut self.contexts[at];
        context.cancelled = true;
        context.speak_at = None;
        if dice.happens(self.manner.obeys) {
            context.dead = true;
            let number = Some(context.number);
            self.out.retain(|_, (whose, _)| *whose != number);
        }
    }

    fn flush_done(&mut self, now: CallTime, at: usize) {
        let context = &mut self.contexts[at];
        if context.dead || self.half_dead {
            return;
        }
        let (name, number, id, at) = (context.name.clone(), context.number, context.flush_id, context.free_at.max(now));
        context.flush_id += 1;
        let message = json!({"type": "flush_done", "context_id": name, "done": false, "flush_done": true, "flush_id": id,
            "status_code": 206});
        self.say(at, Some(number), &message);
    }

    fn done(&mut self, now: CallTime, at: usize, dice: &mut Dice) {
        let is_silent = dice.happens(self.manner.faults);
        let context = &self.contexts[at];
        if context.dead || self.half_dead || is_silent {
            return;
        }
        let message = json!({"type": "done", "context_id": context.name, "done": true, "status_code": 206});
        let (number, at) = (context.number, context.free_at.max(now));
        self.say(at + dice.millis(0, 20), Some(number), &message);
    }

    /// Speaks what a context holds.
    fn utter(&mut self, now: CallTime, at: usize, dice: &mut Dice) {
        let (sound, manner, half_dead) = (self.sound, self.manner.clone(), self.half_dead);
        let context = &mut self.contexts[at];
        context.speak_at = None;
        let text = std::mem::take(&mut context.held);
        if text.is_empty() || context.dead || half_dead {
            return;
        }
        let from = context.made_ms;
        let to = from + text.chars().count() as u32 * manner.char_ms;
        let words = words_of(&text, from, manner.char_ms);
        context.words.extend(words.iter().cloned());
        let mut audio = sound::make(sound, context.coding, context.number, from, to);
        if dice.happens(manner.faults) {
            // It falls silent in the middle, for ever.
            audio.truncate(dice.below(audio.len() as u64) as usize);
            context.dead = true;
            context.faulty = true;
        }
        context.made_ms = to;
        let (name, number, coding, flush_id) = (context.name.clone(), context.number, context.coding, context.flush_id);
        // A voice that is at work already needs no time to begin.
        let begin = if context.free_at > now {
            context.free_at
        } else {
            now + dice.millis(manner.first_ms.0, manner.first_ms.1)
        };
        let words_first = manner.foretold || dice.below(2) == 0;
        let mut at = begin;
        let times = timestamps(&name, &words);
        if context.timed && words_first && !words.is_empty() {
            self.say(at, Some(number), &times);
        }
        let mut rest = &audio[..];
        while !rest.is_empty() {
            let length = manner.chunk_bytes.0 + dice.below(manner.chunk_bytes.1 - manner.chunk_bytes.0 + 1);
            let (chunk, behind) = rest.split_at(rest.len().min(length.max(1) as usize));
            let micros = 1_000 * chunk.len() as u64 / coding.bytes_per_ms() as u64 * 100 / manner.speed_percent;
            let message = format!(
                r#"{{"type":"chunk","context_id":"{name}","data":"{}","step_time":41.7,"flush_id":{flush_id},"done":false,"status_code":206}}"#,
                STANDARD.encode(chunk)
            );
            self.later(at, Some(number), Body::Text(message));
            at = at + Duration::from_micros(micros);
            rest = behind;
        }
        if manner.timed && !words_first && !words.is_empty() {
            self.say(at, Some(number), &times);
        }
        if let Some(context) = self.contexts.iter_mut().find(|context| context.number == number) {
            context.free_at = at;
        }
    }
}
