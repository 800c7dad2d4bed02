//! The rig's voice: it speaks its turn's number, at a fixed pace, and fails as its mood says.

use std::time::Duration;

use bytes::Bytes;

use super::rig::Rig;
use crate::call::action::TtsCommand;
use crate::call::event::{Event, Fault, FaultKind, TimedWord, TtsEvent};
use crate::call::settings::{Buffering, Cancel};
use crate::ids::ContextId;

/// How long the model voice takes for a character.
pub(super) const CHAR_MS: u64 = 60;

/// How the model voice misbehaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Mood {
    /// Speaks nothing at all.
    pub(super) mute: bool,
    /// So are the others.
    pub(super) mute_others: bool,
    /// Ends contexts without saying so.
    pub(super) no_done: bool,
    /// Tells no word times.
    pub(super) untimed: bool,
    /// Goes on after a cancel.
    pub(super) deaf_to_cancel: bool,
    /// Falls silent for ever after so many chunks of a context.
    pub(super) stall_after: Option<usize>,
    /// Answers each text with this fault.
    pub(super) refuse: Option<FaultKind>,
    /// Says after so many milliseconds that nothing more comes of a cancelled context.
    pub(super) lets_go_after: Option<u64>,
    /// Grants a place in the account after so many milliseconds.
    pub(super) grants_after: u64,
    /// Refuses the link with this fault.
    pub(super) no_link: Option<FaultKind>,
    /// What was spoken before: all of it is there.
    pub(super) phrases: bool,
}

#[derive(Debug)]
pub(super) struct Speaking {
    context: ContextId,
    voice: usize,
    made_ms: u64,
    /// Text that waits for a flush or the end, if the voice buffers.
    held: String,
    finished: bool,
    dead: bool,
}

impl Rig {
    fn later(&mut self, ms: u64, event: TtsEvent) {
        self.pending.push((self.now + Duration::from_millis(ms), Event::Tts(event)));
        self.pending.sort_by_key(|(at, _)| *at);
    }

    pub(super) fn speak(&mut self, command: TtsCommand) {
        match command {
            TtsCommand::Dial { voice } => match self.mood.no_link.filter(|_| voice == 0) {
                Some(kind) => self.later(30, TtsEvent::Down { voice, fault: fault(kind) }),
                None => self.later(30, TtsEvent::Up { voice }),
            },
            TtsCommand::HangUp { voice } => self.drop_link(voice),
            TtsCommand::Reserve { context, .. } => self.later(self.mood.grants_after, TtsEvent::Granted { context }),
            TtsCommand::Speak { on, text } => {
                let buffers = self.is_phrase(on.voice)
                    || matches!(self.call.settings.voices[on.voice].buffering, Buffering::Vendor { .. });
                if !self.contexts.iter().any(|speaking| speaking.context == on.context) {
                    self.contexts.push(Speaking {
                        context: on.context,
                        voice: on.voice,
                        made_ms: 0,
                        held: String::new(),
                        finished: false,
                        dead: false,
                    });
                }
                if let Some(kind) = self.mood.refuse.filter(|_| on.voice == 0) {
                    self.later(20, TtsEvent::Failed { context: Some(on.context), fault: fault(kind) });
                    return;
                }
                let at = self.speaking(on.context);
                assert!(!self.contexts[at].finished, "text after the end of {}", on.context);
                self.contexts[at].held.push_str(&text);
                if !buffers {
                    self.utter(at);
                }
            }
            TtsCommand::Flush { on } => {
                let at = self.speaking(on.context);
                self.utter(at);
            }
            TtsCommand::Finish { on } if self.is_phrase(on.voice) => {
                let at = self.speaking(on.context);
                self.answer_phrase(at);
            }
            TtsCommand::Finish { on } => {
                let at = self.speaking(on.context);
                self.utter(at);
                self.contexts[at].finished = true;
                let (made, muted) = (self.contexts[at].made_ms, self.is_mute(on.voice));
                if !muted && !self.contexts[at].dead && !self.mood.no_done {
                    self.later(100 + made / 4, TtsEvent::Done { context: on.context });
                }
            }
            TtsCommand::Play { on, times, from, length, .. } => {
                // A clip of three seconds, loud all through.
                let end = Duration::from_secs(3) * times;
                let until = (from + length).min(end);
                if self.mood.mute {
                    return;
                }
                let samples = until.saturating_sub(from).as_millis() as usize * 8;
                let audio = Bytes::from(1_000_i16.to_le_bytes().repeat(samples));
                self.later(30, TtsEvent::Audio { context: on.context, audio });
                if until == end {
                    self.later(31, TtsEvent::Done { context: on.context });
                }
            }
            TtsCommand::Cancel { voice, context } => {
                if !self.mood.deaf_to_cancel {
                    self.pending.retain(|(_, event)| context_of(event) != Some(context));
                }
                let is_awaited = self.call.settings.voices.get(voice).is_some_and(|v| v.cancel == Cancel::Awaited);
                if let Some(ms) = self.mood.lets_go_after.filter(|_| is_awaited) {
                    self.later(ms, TtsEvent::Done { context });
                }
            }
        }
    }

    fn is_phrase(&self, voice: usize) -> bool {
        voice > self.call.settings.voices.len()
    }

    /// All that was spoken before comes at once, or the word that it was not.
    fn answer_phrase(&mut self, at: usize) {
        let text = std::mem::take(&mut self.contexts[at].held);
        let context = self.contexts[at].context;
        self.contexts[at].finished = true;
        if !self.mood.phrases {
            let fault = Fault { kind: FaultKind::Retryable, reason: "not spoken before".to_owned() };
            self.later(1, TtsEvent::Failed { context: Some(context), fault });
            return;
        }
        let words = words_of(&text, 0);
        self.truth.extend(words.iter().map(|word| (context, word.text.clone(), word.end_us / 1_000)));
        self.later(1, TtsEvent::Words { context, words });
        let audio = Bytes::from(vec![100 + context.turn.0 as u8; text.chars().count() * CHAR_MS as usize * 8]);
        self.later(1, TtsEvent::Audio { context, audio });
        self.later(1, TtsEvent::Done { context });
    }

    /// The last voice never is.
    fn is_mute(&self, voice: usize) -> bool {
        let is_last = voice + 1 == self.call.settings.voices.len();
        !is_last && self.mood.mute && (voice == 0 || self.mood.mute_others)
    }

    fn speaking(&self, context: ContextId) -> usize {
        self.contexts.iter().position(|speaking| speaking.context == context).expect("spoken to before")
    }

    /// Speaks what a context holds, four times as fast as it is heard, in chunks of 90 ms.
    fn utter(&mut self, at: usize) {
        let text = std::mem::take(&mut self.contexts[at].held);
        let Speaking { context, voice, made_ms, .. } = self.contexts[at];
        if text.is_empty() || self.is_mute(voice) || self.contexts[at].dead {
            return;
        }
        let length = text.chars().count() as u64 * CHAR_MS;
        if !self.mood.untimed {
            let words = words_of(&text, made_ms);
            self.truth.extend(words.iter().map(|word| (context, word.text.clone(), word.end_us / 1_000)));
            self.later(90 + made_ms / 4, TtsEvent::Words { context, words });
        }
        let mut done = 0;
        while done < length {
            let chunk = 90.min(length - done);
            if self.mood.stall_after.is_some_and(|most| voice == 0 && (made_ms + done) / 90 >= most as u64) {
                self.contexts[at].dead = true;
                break;
            }
            let byte = match voice {
                0 => context.turn.0 as u8,
                _ if voice + 1 < self.call.settings.voices.len() => 100 + context.turn.0 as u8,
                _ => 200,
            };
            let audio = Bytes::from(vec![byte; chunk as usize * 8]);
            self.later(90 + (made_ms + done) / 4, TtsEvent::Audio { context, audio });
            done += chunk;
        }
        self.contexts[at].made_ms += length;
    }

    /// The voice's link breaks, and with it everything that was on its way.
    pub(super) fn lose_link(&mut self, kind: FaultKind) {
        self.drop_link(0);
        self.handle(Event::Tts(TtsEvent::Down { voice: 0, fault: fault(kind) }));
    }

    fn drop_link(&mut self, voice: usize) {
        let gone: Vec<ContextId> =
            self.contexts.iter().filter(|speaking| speaking.voice == voice).map(|speaking| speaking.context).collect();
        self.pending.retain(|(_, event)| context_of(event).is_none_or(|context| !gone.contains(&context)));
    }
}

fn fault(kind: FaultKind) -> Fault {
    Fault { kind, reason: "rig".to_owned() }
}

fn context_of(event: &Event) -> Option<ContextId> {
    match event {
        Event::Tts(TtsEvent::Audio { context, .. } | TtsEvent::Words { context, .. } | TtsEvent::Done { context }) => {
            Some(*context)
        }
        _ => None,
    }
}

fn words_of(text: &str, offset_ms: u64) -> Vec<TimedWord> {
    let mut words = Vec::new();
    let mut chars = 0;
    for token in text.split_inclusive(char::is_whitespace) {
        let word = token.trim_end();
        let at = |chars: u64| (offset_ms + chars * CHAR_MS) * 1_000;
        let length = word.chars().count() as u64;
        if length > 0 {
            words.push(TimedWord { text: word.to_owned(), start_us: at(chars), end_us: at(chars + length) });
        }
        chars += token.chars().count() as u64;
    }
    words
}
