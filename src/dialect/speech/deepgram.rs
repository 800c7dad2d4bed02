//! Deepgram's Aura over one WebSocket, which speaks one text at a time: audio comes without a name, and belongs to the one
//! context that is open.
//!
//! - The text of a context goes out sentence by sentence. The first one is followed by a `Flush`, so that the first word does
//!   not depend on what the vendor speaks of itself, and so are later ones while few flushes were sent; the end always is.
//! - `Flushed` comes behind all audio of the text before it. So it says where in the audio that text ends, and behind the last
//!   text of a context that is finished, it is the context's end.
//! - A context is ended early by `Clear`. Audio goes on until `Cleared`; it is still the cancelled context's.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Language, address};
use crate::audio::Encoding;
use crate::call::action::TtsCommand;
use crate::call::event::{Fault, FaultKind, TtsEvent, VoiceIndex};
use crate::dialect::{Handshake, Message, Outgoing, TtsDialect, url_with};
use crate::ids::{CallTime, ContextId, StreamSid};
use crate::wire::aura::{Request, Response};
use crate::secret::Secret;

/// What is the same in every call. On a socket, nothing of it can be changed.
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
}

impl Settings {
    /// The same without the query of the URL, in which proxies have their keys: what may be written down.
    #[must_use]
    pub fn without_query(&self) -> Self {
        Settings { url: address(&self.url).to_owned(), ..self.clone() }
    }

    /// What is spoken in the call whose stream is `stream`. Nothing on the wire bears its name.
    pub fn language(&self, _stream: &StreamSid) -> Language {
        Language::Socket(Box::new(Deepgram::new(self.clone())))
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("url", &address(&self.url)).field("model", &self.model).finish_non_exhaustive()
    }
}

/// One call's codec.
#[derive(Debug)]
pub struct Deepgram {
    settings: Settings,
    /// Which voice of the call it is, as the commands say.
    voice: VoiceIndex,
    state: State,
    flushes: Flushes,
    /// Flushes of contexts that are over and were not answered: some answers may still come.
    stale: usize,
    /// The context that was open last.
    last: Option<ContextId>,
}

/// What the one text of the socket is.
#[derive(Debug)]
enum State {
    Idle,
    Speaking(Speech),
    /// What still comes is this context's, until the `Clear` is answered.
    Clearing(ContextId),
}

/// The context that is open.
#[derive(Debug)]
struct Speech {
    context: ContextId,
    /// Texts that it was given.
    texts: usize,
    /// Those of them, from the first on, that a flush was sent behind.
    flushed: usize,
    /// The same for each flush that was not answered yet, the oldest first.
    asked: VecDeque<usize>,
    /// No more text will come.
    is_finished: bool,
    /// Some of its audio came.
    sounds: bool,
}

impl Deepgram {
    /// The codec of one call.
    pub fn new(settings: Settings) -> Self {
        Deepgram {
            settings,
            voice: 0,
            state: State::Idle,
            flushes: Flushes::default(),
            stale: 0,
            last: None,
        }
    }

    /// The context that is open, which `context` becomes if it is not. `None` while what is open may not be joined by another.
    fn speech(&mut self, context: ContextId) -> Option<&mut Speech> {
        match &self.state {
            State::Speaking(speech) if speech.context == context => {}
            // The core opens no context before the one before it is over.
            State::Clearing(_) => return None,
            State::Speaking(speech) => {
                self.stale += speech.asked.len();
                self.state = State::Speaking(Speech::new(context));
            }
            State::Idle => self.state = State::Speaking(Speech::new(context)),
        }
        match &mut self.state {
            State::Speaking(speech) => Some(speech),
            State::Idle | State::Clearing(_) => None,
        }
    }

    /// The context that is open, if it is `context`.
    fn open(&mut self, context: ContextId) -> Option<&mut Speech> {
        match &mut self.state {
            State::Speaking(speech) if speech.context == context => Some(speech),
            State::Speaking(_) | State::Idle | State::Clearing(_) => None,
        }
    }

    /// Asks for the audio of all text so far, if `cause` is worth one of the flushes that are left.
    fn flush(&mut self, at: CallTime, cause: Cause, send: &mut dyn FnMut(Outgoing)) {
        let State::Speaking(speech) = &mut self.state else { return };
        if self.flushes.take(at, cause) {
            speech.flushed = speech.texts;
            speech.asked.push_back(speech.texts);
            say(&Request::Flush, send);
        }
    }

    fn close(&mut self, context: ContextId) -> TtsEvent {
        self.state = State::Idle;
        self.last = Some(context);
        TtsEvent::Done { context }
    }

    fn on_audio(&mut self, audio: &[u8]) -> TtsEvent {
        let context = match &mut self.state {
            State::Speaking(speech) => {
                speech.sounds = true;
                Some(speech.context)
            }
            State::Clearing(context) => Some(*context),
            State::Idle => self.last,
        };
        let audio = Bytes::copy_from_slice(audio);
        context.map_or(TtsEvent::Garbage, |context| TtsEvent::Audio { context, audio })
    }

    fn on_flushed(&mut self) -> TtsEvent {
        let State::Speaking(speech) = &mut self.state else {
            // It crossed our `Clear`, and the audio that it is about is not wanted.
            self.stale = self.stale.saturating_sub(1);
            return TtsEvent::Ignored;
        };
        if self.stale > 0 && !speech.sounds {
            self.stale -= 1;
            return TtsEvent::Ignored;
        }
        self.stale = 0;
        let Some(texts) = speech.asked.pop_front() else { return TtsEvent::Ignored };
        let context = speech.context;
        if speech.is_finished && speech.asked.is_empty() && texts == speech.texts {
            self.close(context)
        } else {
            TtsEvent::Spoken { context, texts }
        }
    }

    fn on_response(&mut self, response: &Response) -> TtsEvent {
        let voice = self.voice;
        match (response, &self.state) {
            (Response::Flushed, _) => self.on_flushed(),
            (Response::Cleared, State::Clearing(context)) => self.close(*context),
            // A flush that was not obeyed will not be answered, and the text before it may never be spoken. On a new link it is.
            (Response::Warning { code: Some(code) }, State::Speaking(_)) if is_about_flushes(code) => {
                TtsEvent::Down { voice, fault: Fault { kind: FaultKind::Busy, ..fault_of(Some(code)) } }
            }
            // What is spoken after it is anybody's guess, and has no name to tell it by.
            (Response::Error { code }, _) => TtsEvent::Down { voice, fault: fault_of(code.as_deref()) },
            (Response::Cleared | Response::Warning { .. } | Response::Unknown, _) => TtsEvent::Ignored,
        }
    }
}

impl TtsDialect for Deepgram {
    fn dial(&mut self) -> Handshake {
        *self = Deepgram::new(self.settings.clone());
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
                serde_json::from_str(text).map_or(TtsEvent::Garbage, |response| self.on_response(&response))
            }
        }
    }

    fn encode(&mut self, at: CallTime, command: &TtsCommand, send: &mut dyn FnMut(Outgoing)) {
        self.voice = command.voice();
        match command {
            TtsCommand::Speak { on, text } => {
                let Some(speech) = self.speech(on.context) else { return };
                speech.texts += 1;
                let cause = if speech.texts == 1 { Cause::FirstText } else { Cause::MoreText };
                say(&Request::Speak { text }, send);
                self.flush(at, cause, send);
            }
            TtsCommand::Flush { on } => {
                if self.open(on.context).is_some_and(|speech| speech.texts > speech.flushed) {
                    self.flush(at, Cause::Asked, send);
                }
            }
            TtsCommand::Finish { on } => {
                let Some(speech) = self.open(on.context) else { return };
                speech.is_finished = true;
                // The answer to a flush that is under way is the end, unless there is text behind it.
                if speech.texts > speech.flushed || speech.asked.is_empty() {
                    self.flush(at, Cause::End, send);
                }
            }
            TtsCommand::Cancel { context, .. } => {
                let Some(speech) = self.open(*context) else { return };
                self.stale += std::mem::take(&mut speech.asked).len();
                self.state = State::Clearing(*context);
                say(&Request::Clear, send);
            }
            TtsCommand::Dial { .. }
            | TtsCommand::HangUp { .. }
            | TtsCommand::Reserve { .. }
            | TtsCommand::Play { .. } => {}
        }
    }
}

impl Speech {
    fn new(context: ContextId) -> Self {
        Speech { context, texts: 0, flushed: 0, asked: VecDeque::new(), is_finished: false, sounds: false }
    }
}

/// Why a flush is sent. The vendor obeys so many in a while, so the less one matters the earlier it is left out.
#[derive(Clone, Copy, Debug)]
enum Cause {
    /// A text that is not the first of its context: the vendor most likely speaks it anyway, and its place in the audio is told.
    MoreText,
    /// The first text of a context: its first word may come later without.
    FirstText,
    /// The agent wants to hear what it said.
    Asked,
    /// Nothing else tells the end of a context.
    End,
}

impl Cause {
    /// How many flushes may have been sent in [`Flushes::WINDOW`] before it is left out.
    fn flushes_max(self) -> usize {
        match self {
            Cause::MoreText => 6,
            Cause::FirstText => 13,
            Cause::Asked => 16,
            Cause::End => 20,
        }
    }
}

/// When flushes were sent.
#[derive(Debug, Default)]
struct Flushes {
    sent: VecDeque<CallTime>,
}

impl Flushes {
    /// The vendor's minute, and a second more: its clock sees them closer together than ours now and then.
    const WINDOW: Duration = Duration::from_secs(61);

    /// Whether one may be sent, which then counts.
    fn take(&mut self, at: CallTime, cause: Cause) -> bool {
        while self.sent.front().is_some_and(|sent| at.since(*sent) >= Flushes::WINDOW) {
            self.sent.pop_front();
        }
        let may = self.sent.len() < cause.flushes_max();
        if may {
            self.sent.push_back(at);
        }
        may
    }
}

/// What both of Deepgram's interfaces for speech are asked for in their URL.
pub(super) fn query(model: &str, encoding: Encoding, rate: u32) -> [(&'static str, String); 3] {
    let encoding = match encoding {
        Encoding::PcmS16Le => "linear16",
        Encoding::Mulaw => "mulaw",
        Encoding::Alaw => "alaw",
    };
    [("model", model.to_owned()), ("encoding", encoding.to_owned()), ("sample_rate", rate.to_string())]
}

/// What an error means. Its codes tell a message that was not understood from the vendor's own troubles, but none says that the next
/// text would fare no better: a wrong key or model is refused when the link is made.
pub(super) fn fault_of(code: Option<&str>) -> Fault {
    // A longer text, or one of several words, may quote what was spoken.
    let code = code.filter(|code| code.len() <= 64 && !code.contains(char::is_whitespace));
    Fault { kind: FaultKind::Retryable, reason: code.unwrap_or("error without a code").to_owned() }
}

fn is_about_flushes(code: &str) -> bool {
    code.to_ascii_uppercase().contains("FLUSH")
}

/// Sends a request; it has nothing in it that could not be written as JSON.
pub(super) fn say(request: &impl Serialize, send: &mut dyn FnMut(Outgoing)) {
    if let Ok(text) = serde_json::to_string(request) {
        send(Outgoing::Text(text));
    }
}

#[cfg(test)]
mod tests;
