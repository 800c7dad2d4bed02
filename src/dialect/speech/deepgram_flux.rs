//! Deepgram's Flux over one WebSocket: speeches, one spoken after the other, whose audio comes without a name between the
//! beginning and the end of its speech.
//!
//! - Each text of a context, which is a sentence, is a speech with a `Flush` behind it: without, the vendor may wait for more, and an
//!   agent may pause. Its tone is carried from one speech to the next.
//! - A speech ends with `SpeechMetadata`, not with `Flushed`. So it says where in the audio a text ends, and behind the last text of a
//!   context that is finished it is the context's end.
//! - A context is ended early by `Interrupt`. What comes until it is answered is still the cancelled context's.
//!
//! An `Interrupt` says how much of the session's audio was heard, which the vendor wants to grow each time. What is known here is how
//! much was received, and that is what it is told; where nothing came since the last time, it is told nothing and reckons with what it
//! made. What it answers about heard text is not used: the core knows better what was played.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::deepgram::{fault_of, query, say};
use super::{Language, address};
use crate::audio::{Encoding, SourceFormat};
use crate::call::action::{Place, TtsCommand};
use crate::call::event::{Fault, FaultKind, TtsEvent, VoiceIndex};
use crate::dialect::{Handshake, Message, Outgoing, TtsDialect, url_with};
use crate::ids::{CallTime, ContextId, StreamSid};
use crate::wire::flux_speak::{PlaybackOffset, Request, Response};
use crate::secret::Secret;

/// What is the same in every call.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// `ws` or `wss` URL of the socket. A query in it is kept, and ours comes after it.
    pub url: String,
    /// API key. Never written anywhere.
    #[serde(skip)]
    pub api_key: Secret,
    /// Model, which is also the voice and its language.
    pub model: String,
    /// How samples are to be written.
    pub encoding: Encoding,
    /// Samples a second.
    pub rate: u32,
    /// Speed, 0.5 to 1.5, unless an utterance names another.
    pub speed: Option<f32>,
}

impl Settings {
    /// The same without the query of the URL, in which proxies have their keys: what may be written down.
    #[must_use]
    pub fn without_query(&self) -> Self {
        Settings { url: address(&self.url).to_owned(), ..self.clone() }
    }

    /// What is spoken in the call whose stream is `stream`. Nothing on the wire bears its name.
    pub fn language(&self, _stream: &StreamSid) -> Language {
        Language::Socket(Box::new(DeepgramFlux::new(self.clone())))
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("url", &address(&self.url)).field("model", &self.model).finish_non_exhaustive()
    }
}

/// The vendor's own speed.
const SPEED: f32 = 1.0;

/// One call's codec.
#[derive(Debug)]
pub struct DeepgramFlux {
    settings: Settings,
    /// Which voice of the call it is, as the commands say.
    voice: VoiceIndex,
    state: State,
    /// The speech that sounds, by the vendor's name.
    sounding: Option<String>,
    /// The speech that was interrupted last.
    dead: Option<String>,
    /// The next speech to end had nothing in it that could be spoken, and never began.
    is_silent: bool,
    session: Position,
    /// The speed that the vendor was told.
    speed: f32,
    /// The context that was open last.
    last: Option<ContextId>,
}

/// What the socket is used for.
#[derive(Debug)]
enum State {
    Idle,
    Speaking(Speech),
    Interrupting(Interrupt),
}

/// The context that is open.
#[derive(Debug)]
struct Speech {
    context: ContextId,
    /// Texts that it was given.
    texts: usize,
    /// Those of them, from the first on, whose speech is over.
    spoken: usize,
    /// No more text will come.
    is_finished: bool,
}

/// A context that is being ended early.
#[derive(Debug)]
struct Interrupt {
    context: ContextId,
    /// Its speeches that are not known to be over.
    left: usize,
    /// The vendor has answered, whether it obeyed or not.
    is_answered: bool,
}

impl DeepgramFlux {
    /// The codec of one call.
    pub fn new(settings: Settings) -> Self {
        DeepgramFlux {
            settings,
            voice: 0,
            state: State::Idle,
            sounding: None,
            dead: None,
            is_silent: false,
            session: Position::default(),
            speed: SPEED,
            last: None,
        }
    }

    fn speak(&mut self, on: &Place, text: &str, send: &mut dyn FnMut(Outgoing)) {
        match &self.state {
            State::Speaking(speech) if speech.context == on.context => {}
            // The core opens no context before the one before it is over.
            State::Interrupting(_) => return,
            State::Speaking(_) | State::Idle => self.state = State::Speaking(Speech::new(on.context)),
        }
        let speed = on.delivery.speed.or(self.settings.speed).map_or(SPEED, stepped);
        if (speed - self.speed).abs() > f32::EPSILON {
            self.speed = speed;
            say(&Request::Configure { speed }, send);
        }
        if let State::Speaking(speech) = &mut self.state {
            speech.texts += 1;
        }
        say(&Request::Speak { text }, send);
        say(&Request::Flush, send);
    }

    /// The context that is open, if it is `context`.
    fn open(&mut self, context: ContextId) -> Option<&mut Speech> {
        match &mut self.state {
            State::Speaking(speech) if speech.context == context => Some(speech),
            State::Speaking(_) | State::Idle | State::Interrupting(_) => None,
        }
    }

    fn interrupt(&mut self, context: ContextId, send: &mut dyn FnMut(Outgoing)) {
        let Some(speech) = self.open(context) else { return };
        let left = speech.texts - speech.spoken;
        self.state = State::Interrupting(Interrupt { context, left, is_answered: false });
        let value = self.session.advance(self.format());
        let playback_offset = value.map(|value| PlaybackOffset { r#type: "time_ms", value });
        say(&Request::Interrupt { playback_offset }, send);
    }

    fn format(&self) -> SourceFormat {
        SourceFormat { encoding: self.settings.encoding, rate: self.settings.rate }
    }

    fn close(&mut self, context: ContextId) -> TtsEvent {
        self.state = State::Idle;
        self.last = Some(context);
        TtsEvent::Done { context }
    }

    fn on_audio(&mut self, audio: &[u8]) -> TtsEvent {
        self.session.received_bytes += audio.len() as u64;
        let context = match &self.state {
            // Of no speech that began: it cannot be this context's.
            State::Speaking(_) if self.sounding.is_none() => None,
            State::Speaking(speech) => Some(speech.context),
            State::Interrupting(interrupt) => Some(interrupt.context),
            State::Idle => self.last,
        };
        let audio = Bytes::copy_from_slice(audio);
        context.map_or(TtsEvent::Garbage, |context| TtsEvent::Audio { context, audio })
    }

    fn on_started(&mut self, speech_id: String) -> TtsEvent {
        let is_asked_for = match &self.state {
            State::Speaking(speech) => speech.spoken < speech.texts,
            State::Interrupting(_) => true,
            State::Idle => false,
        };
        if !is_asked_for {
            let reason = "a speech that was interrupted begins".to_owned();
            return TtsEvent::Down { voice: self.voice, fault: Fault { kind: FaultKind::Retryable, reason } };
        }
        self.sounding = Some(speech_id);
        TtsEvent::Ignored
    }

    /// A speech is over.
    fn on_end(&mut self, speech_id: &str) -> TtsEvent {
        let is_ours = match self.sounding.as_deref() {
            Some(sounding) => sounding == speech_id,
            None => std::mem::take(&mut self.is_silent),
        };
        if !is_ours || self.dead.as_deref() == Some(speech_id) {
            return TtsEvent::Ignored;
        }
        self.sounding = None;
        match &mut self.state {
            State::Speaking(speech) => {
                // Never more than there are: the end of one that was not begun here is passed over.
                speech.spoken = speech.texts.min(speech.spoken + 1);
                let Speech { context, spoken, .. } = *speech;
                if speech.is_over() { self.close(context) } else { TtsEvent::Spoken { context, texts: spoken } }
            }
            State::Interrupting(interrupt) => {
                interrupt.left = interrupt.left.saturating_sub(1);
                self.settle()
            }
            State::Idle => TtsEvent::Ignored,
        }
    }

    fn on_interrupted(&mut self, audio_played_ms: u64, speech_id: Option<String>) -> TtsEvent {
        let State::Interrupting(interrupt) = &mut self.state else { return TtsEvent::Ignored };
        interrupt.is_answered = true;
        // What waited behind it is taken to be dropped as well; if it begins all the same, the link ends.
        interrupt.left = 0;
        self.dead = speech_id.or_else(|| self.sounding.take());
        self.sounding = None;
        self.session.rebase(audio_played_ms);
        self.settle()
    }

    fn on_warning(&mut self, code: &str) -> TtsEvent {
        match (&mut self.state, code) {
            (State::Interrupting(interrupt), "NO_ACTIVE_SPEECH") => {
                interrupt.is_answered = true;
                interrupt.left = 0;
                self.settle()
            }
            // It was not obeyed, so the speech goes on: to its end, or until the core has waited long enough.
            (State::Interrupting(interrupt), "NO_AUDIO_GENERATED" | "INVALID_INTERRUPT_OFFSET") => {
                interrupt.is_answered = true;
                self.settle()
            }
            // The answer to a `Flush` that had nothing left to end.
            (State::Speaking(speech), "NO_ACTIVE_SPEECH") if speech.is_over() => {
                let context = speech.context;
                self.close(context)
            }
            (_, "NO_SYNTHESIZABLE_TEXT") => {
                self.is_silent = true;
                TtsEvent::Ignored
            }
            _ => TtsEvent::Ignored,
        }
    }

    /// Ends a cancelled context when nothing more can come of it.
    fn settle(&mut self) -> TtsEvent {
        match &self.state {
            State::Interrupting(Interrupt { context, left: 0, is_answered: true }) => self.close(*context),
            State::Interrupting(_) | State::Speaking(_) | State::Idle => TtsEvent::Ignored,
        }
    }

    fn on_response(&mut self, response: Response) -> TtsEvent {
        match response {
            Response::SpeechStarted { speech_id } => self.on_started(speech_id),
            Response::SpeechMetadata { speech_id } => self.on_end(&speech_id),
            Response::SpeechInterrupted { audio_played_ms, metadata } => {
                self.on_interrupted(audio_played_ms, metadata.map(|metadata| metadata.speech_id))
            }
            Response::Warning { code } => self.on_warning(code.as_deref().unwrap_or_default()),
            Response::Error { code } => TtsEvent::Down { voice: self.voice, fault: fault_of(code.as_deref()) },
            Response::Unknown => TtsEvent::Ignored,
        }
    }
}

impl TtsDialect for DeepgramFlux {
    fn dial(&mut self) -> Handshake {
        *self = DeepgramFlux::new(self.settings.clone());
        let Settings { url, model, api_key, .. } = &self.settings;
        Handshake {
            url: url_with(url, &query(model, self.settings.encoding, self.settings.rate)),
            headers: vec![("authorization", api_key.after("Token "))],
        }
    }

    fn decode(&mut self, message: Message<'_>) -> TtsEvent {
        match message {
            Message::Binary(audio) => self.on_audio(audio),
            Message::Text(text) => {
                serde_json::from_str(text).map_or(TtsEvent::Garbage, |response| self.on_response(response))
            }
        }
    }

    fn encode(&mut self, _at: CallTime, command: &TtsCommand, send: &mut dyn FnMut(Outgoing)) {
        self.voice = command.voice();
        match command {
            TtsCommand::Speak { on, text } => self.speak(on, text, send),
            TtsCommand::Finish { on } => {
                let Some(speech) = self.open(on.context) else { return };
                speech.is_finished = true;
                if speech.is_over() {
                    // The warning that there is nothing to end is the end.
                    say(&Request::Flush, send);
                }
            }
            TtsCommand::Cancel { context, .. } => self.interrupt(*context, send),
            // Nothing is ever held back.
            TtsCommand::Flush { .. }
            | TtsCommand::Dial { .. }
            | TtsCommand::HangUp { .. }
            | TtsCommand::Reserve { .. }
            | TtsCommand::Play { .. } => {}
        }
    }
}

impl Speech {
    fn new(context: ContextId) -> Self {
        Speech { context, texts: 0, spoken: 0, is_finished: false }
    }

    /// Whether it is finished, and every text of it spoken.
    fn is_over(&self) -> bool {
        self.is_finished && self.spoken == self.texts
    }
}

/// Where a session's audio stands.
#[derive(Debug, Default)]
struct Position {
    /// Milliseconds up to the last interruption, as the vendor counts.
    base_ms: u64,
    /// Audio since then.
    received_bytes: u64,
    /// What an `Interrupt` has to go beyond.
    floor_ms: u64,
}

impl Position {
    /// How much was received, if that is more than the vendor knows; it then does.
    fn advance(&mut self, format: SourceFormat) -> Option<u64> {
        let heard_ms = self.base_ms + format.micros_of(self.received_bytes) / 1_000;
        let is_further = heard_ms > self.floor_ms;
        self.floor_ms = self.floor_ms.max(heard_ms);
        is_further.then_some(heard_ms)
    }

    /// The vendor counts on from `played_ms`.
    fn rebase(&mut self, played_ms: u64) {
        self.base_ms = played_ms;
        self.floor_ms = self.floor_ms.max(played_ms);
        self.received_bytes = 0;
    }
}

/// The nearest speed that the vendor takes.
fn stepped(speed: f32) -> f32 {
    const STEPS: f32 = 20.0;
    (speed.clamp(0.5, 1.5) * STEPS).round() / STEPS
}

#[cfg(test)]
mod tests;
