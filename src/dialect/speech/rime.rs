//! Rime's TTS over its `/ws3` WebSocket, one context at a time: the server remembers one name, and its operations bear none.
//!
//! The server is asked to cut nothing into segments, so that each text is spoken because a flush follows it, and is answered by a
//! `done` of its own. A context is over when all of its texts are. What the server was told to clear it drops without a word, so
//! nobody can know when the next name is safe: speech is broken off by a new link.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Language, Link, Names, address, timed_words};
use crate::audio::SourceFormat;
use crate::call::action::{Place, TtsCommand};
use crate::call::event::{Fault, FaultKind, TtsEvent};
use crate::dialect::{Handshake, Message, Outgoing, TtsDialect, kind_of_words, url_with};
use crate::ids::{CallTime, ContextId, StreamSid};
use crate::wire::rime::{Operation, Response, Text, WordTimestamps};
use crate::secret::Secret;

/// What is the same in every call.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// `ws` or `wss` URL of the socket, with further parameters in its query if it needs any.
    pub url: String,
    /// API key. Never written anywhere.
    #[serde(skip)]
    pub api_key: Secret,
    /// Model.
    pub model: String,
    /// The voice.
    pub voice: String,
    /// What the audio has to look like; PCM.
    pub format: SourceFormat,
}

impl Settings {
    /// The same without the query of the URL, in which proxies have their keys: what may be written down.
    #[must_use]
    pub fn without_query(&self) -> Self {
        Settings { url: address(&self.url).to_owned(), ..self.clone() }
    }

    /// What is spoken in the call whose stream is `stream`.
    pub fn language(&self, stream: &StreamSid) -> Language {
        Language::Socket(Box::new(Rime::new(self.clone(), stream)))
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("url", &address(&self.url)).field("model", &self.model).finish_non_exhaustive()
    }
}

/// One call's codec.
#[derive(Debug)]
pub struct Rime {
    settings: Settings,
    names: Names,
    /// The context that is spoken.
    live: Option<Live>,
    link: Link,
}

#[derive(Debug)]
struct Live {
    context: ContextId,
    /// Texts that were given and are not done.
    owed: usize,
    received_bytes: u64,
    /// Where the times of the text that is spoken begin, in microseconds of the context's audio.
    base_us: u64,
    /// Start and end of the last word.
    last: (u64, u64),
}

impl Rime {
    /// The codec of the call whose stream is `stream`.
    pub fn new(settings: Settings, stream: &StreamSid) -> Self {
        Rime { settings, names: Names::new(stream), live: None, link: Link::default() }
    }

    fn decode_text(&mut self, text: &str) -> Option<TtsEvent> {
        let response: Response = serde_json::from_str(text).ok()?;
        let named = response.context_id.as_deref();
        let of_name = named.and_then(|name| self.names.context_of(name));
        let is_live = self.live.as_ref().is_some_and(|live| Some(live.context) == of_name);
        Some(match response.r#type.as_str() {
            "error" if named.is_some() && !is_live => TtsEvent::Ignored,
            // A limit is the account's, and the socket is closed next.
            "error" if fault_of(&response).kind == FaultKind::Busy => self.link.lost(fault_of(&response)),
            // There is only one that it can mean.
            "error" => TtsEvent::Failed { context: self.live.take().map(|live| live.context), fault: fault_of(&response) },
            _ if !is_live => TtsEvent::Ignored,
            "chunk" => {
                let audio = STANDARD.decode(response.data.as_deref()?).ok()?;
                let live = self.live.as_mut()?;
                live.received_bytes += audio.len() as u64;
                TtsEvent::Audio { context: live.context, audio: Bytes::from(audio) }
            }
            "timestamps" => self.live.as_mut()?.on_words(response.word_timestamps.unwrap_or_default())?,
            "done" => self.on_done()?,
            _ => TtsEvent::Ignored,
        })
    }

    fn on_done(&mut self) -> Option<TtsEvent> {
        let live = self.live.as_mut()?;
        live.owed = live.owed.saturating_sub(1);
        live.base_us = self.settings.format.micros_of(live.received_bytes);
        live.last = (live.base_us, live.base_us);
        if live.owed > 0 {
            return Some(TtsEvent::Ignored);
        }
        self.live.take().map(|live| TtsEvent::Done { context: live.context })
    }

    fn speak(&mut self, on: &Place, text: &str, send: &mut dyn FnMut(Outgoing)) {
        self.link.voice = Some(on.voice);
        let context = on.context;
        if self.live.as_ref().is_none_or(|live| live.context != context) {
            self.live = Some(Live { context, owed: 0, received_bytes: 0, base_us: 0, last: (0, 0) });
        }
        if let Some(live) = &mut self.live {
            live.owed += 1;
        }
        say(&Text { text, context_id: &self.names.name_of(context) }, send);
        say(&Operation { operation: "flush" }, send);
    }
}

impl TtsDialect for Rime {
    fn dial(&mut self) -> Handshake {
        self.live = None;
        self.link = Link::default();
        let Settings { url, model, voice, format, .. } = &self.settings;
        let query = [
            ("speaker", voice.clone()),
            ("modelId", model.clone()),
            ("audioFormat", "pcm".to_owned()),
            ("samplingRate", format.rate.to_string()),
            ("segment", "never".to_owned()),
        ];
        Handshake {
            url: url_with(url, &query),
            headers: vec![("authorization", self.settings.api_key.after("Bearer "))],
        }
    }

    fn decode(&mut self, message: Message<'_>) -> TtsEvent {
        match message {
            Message::Text(text) => self.decode_text(text).unwrap_or(TtsEvent::Garbage),
            Message::Binary(_) => TtsEvent::Garbage,
        }
    }

    fn encode(&mut self, _at: CallTime, command: &TtsCommand, send: &mut dyn FnMut(Outgoing)) {
        match command {
            TtsCommand::Speak { on, text } => self.speak(on, text, send),
            TtsCommand::Cancel { context, .. } => {
                if self.live.take_if(|live| live.context == *context).is_some() {
                    say(&Operation { operation: "clear" }, send);
                }
            }
            // Each text has its flush, and with the last of them the context is done; `eos` would close the socket.
            TtsCommand::Flush { .. }
            | TtsCommand::Finish { .. }
            | TtsCommand::Dial { .. }
            | TtsCommand::HangUp { .. }
            | TtsCommand::Reserve { .. }
            | TtsCommand::Play { .. } => {}
        }
    }
}

impl Live {
    fn on_words(&mut self, times: WordTimestamps) -> Option<TtsEvent> {
        let mut words = timed_words(times.words, &times.start, &times.end)?;
        // Times begin anew with each text. Where that was not seen by its `done`, they run backwards.
        if words.first().is_some_and(|first| self.base_us + first.start_us < self.last.0) {
            self.base_us = self.last.1;
        }
        for word in &mut words {
            word.start_us += self.base_us;
            word.end_us += self.base_us;
        }
        if let Some(last) = words.last() {
            self.last = (last.start_us, last.end_us);
        }
        Some(TtsEvent::Words { context: self.context, words })
    }
}

fn say(message: &impl Serialize, send: &mut dyn FnMut(Outgoing)) {
    // A value without maps and foreign types always becomes text.
    if let Ok(text) = serde_json::to_string(message) {
        send(Outgoing::Text(text));
    }
}

/// An error has words and no code. They may quote what was to be spoken, so that only their sense is kept.
fn fault_of(response: &Response) -> Fault {
    let message = response.message.as_deref().unwrap_or_default();
    Fault { kind: kind_of_words(message), reason: "error without a code".to_owned() }
}

#[cfg(test)]
#[path = "rime_tests.rs"]
mod tests;
