//! Gradium's TTS over one WebSocket, many requests on it: each context is a request of its own, with its own setup.
//!
//! The server puts one space between the texts that it gets, so each of them is whole words without white space around. It
//! keeps the last few words back until more text comes; therefore each text ends with a tag that asks for all of it. That tag
//! stands in the message of its text: as a message of its own it would mean the same, and cost another one.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Language, Link, Names, address, micros};
use crate::audio::{Encoding, SourceFormat};
use crate::call::action::{Place, TtsCommand};
use crate::call::event::{Fault, FaultKind, TimedWord, TtsEvent};
use crate::dialect::{Handshake, Message, Outgoing, TtsDialect, fault_of_close, fault_of_status};
use crate::ids::{CallTime, ContextId, StreamSid};
use crate::wire::gradium_tts::{Request, Response};
use crate::secret::Secret;

/// Asks for the audio of all text before it.
const FLUSH: &str = "<flush>";

/// What is the same in every call.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// `ws` or `wss` URL of the socket.
    pub url: String,
    /// API key. Never written anywhere.
    #[serde(skip)]
    pub api_key: Secret,
    /// Model.
    pub model: String,
    /// The voice, unless an utterance names another.
    pub voice: String,
    /// The vendor's further parameters, by their own names.
    pub json_config: Map<String, Value>,
}

impl Settings {
    /// The same without the query of the URL, in which proxies have their keys: what may be written down.
    #[must_use]
    pub fn without_query(&self) -> Self {
        Settings { url: address(&self.url).to_owned(), ..self.clone() }
    }

    /// What is spoken in the call whose stream is `stream`.
    pub fn language(&self, stream: &StreamSid) -> Language {
        Language::Socket(Box::new(Gradium::new(self.clone(), stream)))
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("url", &address(&self.url)).field("model", &self.model).finish_non_exhaustive()
    }
}

/// One call's codec.
#[derive(Debug)]
pub struct Gradium {
    settings: Settings,
    /// The further parameters as they are sent: the vendor's own tools write the object as text.
    json_config: Option<String>,
    names: Names,
    /// The requests of this link that are not over. What bears any other name is nobody's.
    requests: BTreeMap<ContextId, Live>,
    link: Link,
}

/// A request that is not over.
#[derive(Debug)]
struct Live {
    format: SourceFormat,
    /// Texts that it was given, each with a flush at its end.
    texts: usize,
    /// Flushes that were answered.
    flushed: usize,
    received_bytes: u64,
    /// The last word, if its end is not known: the server does not always tell it.
    open_word: Option<(String, u64)>,
    /// It was told that no more text comes.
    is_finished: bool,
}

impl Gradium {
    /// The codec of the call whose stream is `stream`.
    pub fn new(settings: Settings, stream: &StreamSid) -> Self {
        let json_config = (!settings.json_config.is_empty()).then(|| Value::from(settings.json_config.clone()).to_string());
        Gradium { settings, json_config, names: Names::new(stream), requests: BTreeMap::new(), link: Link::default() }
    }

    fn decode_text(&mut self, text: &str) -> Option<TtsEvent> {
        let response: Response = serde_json::from_str(text).ok()?;
        let named = response.client_req_id.as_deref();
        let context = named.and_then(|name| self.names.context_of(name)).filter(|id| self.requests.contains_key(id));
        let event = match (response.r#type.as_str(), context) {
            // One with somebody else's name is not ours.
            ("error", None) if named.is_some() => TtsEvent::Ignored,
            // Without one it is the socket's, which is closed next.
            ("error", None) => self.link.lost(fault_of(&response)),
            ("error", Some(id)) => {
                self.requests.remove(&id);
                TtsEvent::Failed { context, fault: fault_of(&response) }
            }
            ("end_of_stream", Some(context)) => {
                self.requests.remove(&context);
                TtsEvent::Done { context }
            }
            (kind, Some(context)) => {
                let event = self.requests.get_mut(&context)?.on(context, kind, &response)?;
                self.link.note(&event);
                event
            }
            (_, None) => TtsEvent::Ignored,
        };
        Some(event)
    }

    fn speak(&mut self, on: &Place, text: &str, send: &mut dyn FnMut(Outgoing)) {
        // A tag of the agent's own would be answered as well, and the answers are counted.
        let words = text.replace(FLUSH, " ");
        let words = words.trim();
        if words.is_empty() {
            return;
        }
        self.link.voice = Some(on.voice);
        let name = self.names.name_of(on.context);
        let live = self.requests.entry(on.context).or_insert_with(|| {
            let setup = Request::Setup {
                model_name: &self.settings.model,
                voice_id: on.delivery.voice.as_deref().unwrap_or(&self.settings.voice),
                output_format: &output_format(on.format),
                client_req_id: &name,
                close_ws_on_eos: false,
                json_config: self.json_config.as_deref(),
            };
            say(&setup, send);
            Live {
                format: on.format,
                texts: 0,
                flushed: 0,
                received_bytes: 0,
                open_word: None,
                is_finished: false,
            }
        });
        live.texts += 1;
        say(&Request::Text { text: &format!("{words} {FLUSH}"), client_req_id: &name }, send);
    }

    /// No more text of a request: at its end, or because nobody wants to hear it any more.
    fn finish(&mut self, context: ContextId, send: &mut dyn FnMut(Outgoing)) {
        if let Some(live) = self.requests.get_mut(&context)
            && !std::mem::replace(&mut live.is_finished, true)
        {
            say(&Request::EndOfStream { client_req_id: &self.names.name_of(context) }, send);
        }
    }
}

impl TtsDialect for Gradium {
    fn dial(&mut self) -> Handshake {
        self.requests.clear();
        self.link = Link::default();
        Handshake { url: self.settings.url.clone(), headers: vec![("x-api-key", self.settings.api_key.clone())] }
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
            TtsCommand::Finish { on } => self.finish(on.context, send),
            // There is no other way to say that a request is not wanted: its `end_of_stream` is the answer.
            TtsCommand::Cancel { context, .. } => self.finish(*context, send),
            // Every text is flushed as it is given.
            TtsCommand::Flush { .. }
            | TtsCommand::Dial { .. }
            | TtsCommand::HangUp { .. }
            | TtsCommand::Reserve { .. }
            | TtsCommand::Play { .. } => {}
        }
    }
}

impl Live {
    /// What a message about it means; `None` if it makes no sense.
    fn on(&mut self, context: ContextId, kind: &str, response: &Response) -> Option<TtsEvent> {
        Some(match kind {
            "audio" => {
                let audio = STANDARD.decode(response.audio.as_deref()?).ok()?;
                self.received_bytes += audio.len() as u64;
                TtsEvent::Audio { context, audio: Bytes::from(audio) }
            }
            "text" => words_or_nothing(context, self.on_words(response.text.as_deref()?, response)),
            "flushed" => self.on_flushed(context),
            // `ready`, `need_more_text`, and whatever is newer.
            _ => TtsEvent::Ignored,
        })
    }

    /// The words of a segment share its times: which of them is spoken when is not known.
    fn on_words(&mut self, text: &str, response: &Response) -> Vec<TimedWord> {
        let Some(start_us) = response.start_s.map(micros) else { return Vec::new() };
        let mut words: Vec<TimedWord> = self.close_word(start_us).into_iter().collect();
        let stop_us = response.stop_s.map(|stop| micros(stop).max(start_us));
        for text in text.split_whitespace().map(str::to_owned) {
            match stop_us {
                Some(end_us) => words.push(TimedWord { text, start_us, end_us }),
                None => {
                    words.extend(self.close_word(start_us));
                    self.open_word = Some((text, start_us));
                }
            }
        }
        words
    }

    /// A word without an end lasts until what follows it: to count it as heard when it begins would be too early.
    fn close_word(&mut self, at_us: u64) -> Option<TimedWord> {
        let (text, start_us) = self.open_word.take()?;
        Some(TimedWord { text, start_us, end_us: at_us.max(start_us) })
    }

    fn on_flushed(&mut self, context: ContextId) -> TtsEvent {
        self.flushed = (self.flushed + 1).min(self.texts);
        match self.close_word(self.format.micros_of(self.received_bytes)) {
            Some(word) => TtsEvent::Words { context, words: vec![word] },
            None => TtsEvent::Spoken { context, texts: self.flushed },
        }
    }
}

fn words_or_nothing(context: ContextId, words: Vec<TimedWord>) -> TtsEvent {
    if words.is_empty() { TtsEvent::Ignored } else { TtsEvent::Words { context, words } }
}

fn output_format(format: SourceFormat) -> String {
    let encoding = match format.encoding {
        Encoding::PcmS16Le => "pcm",
        Encoding::Mulaw => "ulaw",
        Encoding::Alaw => "alaw",
    };
    format!("{encoding}_{}", format.rate)
}

fn say(request: &Request<'_>, send: &mut dyn FnMut(Outgoing)) {
    // A value without maps and foreign types always becomes text.
    if let Ok(text) = serde_json::to_string(request) {
        send(Outgoing::Text(text));
    }
}

/// Codes are those of RFC 6455; a server that writes HTTP's is understood as well. The message may quote what was to be
/// spoken, so that only its sense is kept.
fn fault_of(response: &Response) -> Fault {
    let message = response.message.as_deref().unwrap_or_default();
    let code = response.code.as_ref().and_then(code_of);
    let kind = match code {
        Some(status @ 400..=599) => fault_of_status(status).kind,
        // Good order is not what an error tells of.
        code => match fault_of_close(code, message).kind {
            FaultKind::Idle => FaultKind::Retryable,
            kind @ (FaultKind::Fatal | FaultKind::Retryable | FaultKind::Busy) => kind,
        },
    };
    Fault { kind, reason: code.map_or_else(|| "error without a code".to_owned(), |code| format!("error {code}")) }
}

fn code_of(code: &Value) -> Option<u16> {
    let number = code.as_u64().or_else(|| code.as_str()?.parse().ok())?;
    u16::try_from(number).ok()
}

#[cfg(test)]
#[path = "gradium_tests.rs"]
mod tests;
