//! ElevenLabs' TTS over one WebSocket, at most five contexts on it. Voice and model stand in the URL: they are the socket's.
//!
//! A context is opened by a message of its own, the only one that may say how it sounds. A sixth context, or a setting in a
//! later message, makes the server close the socket with everything on it.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Language, Link, Names, address, millis};
use crate::audio::{Encoding, SourceFormat};
use crate::call::action::{Place, TtsCommand};
use crate::call::event::{Fault, FaultKind, TimedWord, TtsEvent};
use crate::call::settings::Buffering;
use crate::dialect::{Handshake, Message, Outgoing, TtsDialect, fault_of_close, url_with};
use crate::ids::{CallTime, ContextId, StreamSid};
use crate::wire::elevenlabs::{Alignment, Request, Response, VoiceSettings};
use crate::secret::Secret;

/// Contexts that the vendor allows on a socket; one that is closed counts until it says that it is final.
pub const CONTEXTS_MAX: u32 = 5;
/// The vendor drops a context that got nothing for so long. It is the longest time that can be asked for, far beyond the half
/// minute after which the core finishes an open turn that gets no text.
pub const INACTIVITY: Duration = Duration::from_secs(180);
/// The range of speeds that the vendor accepts; another one would cost the socket.
const SPEED: (f32, f32) = (0.7, 1.2);

/// What is the same in every call.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// `ws` or `wss` URL of the server, without the path of a voice.
    pub url: String,
    /// API key. Never written anywhere.
    #[serde(skip)]
    pub api_key: Secret,
    /// Model.
    pub model: String,
    /// The voice.
    pub voice: String,
    /// ISO code of the language; `None`: the vendor finds out.
    pub language: Option<String>,
    /// What the audio has to look like.
    pub format: SourceFormat,
    /// 0 to 1: how much one reading is like the next.
    pub stability: Option<f32>,
    /// 0 to 1: how close it keeps to the original voice.
    pub similarity_boost: Option<f32>,
    /// Speed, 0.7 to 1.2, unless an utterance names another.
    pub speed: Option<f32>,
    /// Who waits for a sentence to be whole.
    pub buffering: Buffering,
}

impl Settings {
    /// The same without the query of the URL, in which proxies have their keys: what may be written down.
    #[must_use]
    pub fn without_query(&self) -> Self {
        Settings { url: address(&self.url).to_owned(), ..self.clone() }
    }

    /// What is spoken in the call whose stream is `stream`.
    pub fn language(&self, stream: &StreamSid) -> Language {
        Language::Socket(Box::new(Elevenlabs::new(self.clone(), stream)))
    }

    fn whole_url(&self) -> String {
        let voice: String = form_urlencoded::byte_serialize(self.voice.as_bytes()).collect();
        let (url, query) = self.url.split_once('?').map_or((self.url.as_str(), None), |(url, query)| (url, Some(query)));
        let mut url = format!("{}/v1/text-to-speech/{voice}/multi-stream-input", url.trim_end_matches('/'));
        if let Some(query) = query {
            url = format!("{url}?{query}");
        }
        let encoding = match self.format.encoding {
            Encoding::PcmS16Le => "pcm",
            Encoding::Mulaw => "ulaw",
            Encoding::Alaw => "alaw",
        };
        let format = format!("{encoding}_{}", self.format.rate);
        // Whole sentences are spoken at once; tokens have to be gathered by the vendor.
        let auto = self.buffering == Buffering::Gateway;
        let mut query = vec![
            ("model_id", self.model.clone()),
            ("output_format", format),
            ("inactivity_timeout", INACTIVITY.as_secs().to_string()),
            ("auto_mode", auto.to_string()),
            ("sync_alignment", true.to_string()),
        ];
        query.extend(self.language.clone().map(|language| ("language_code", language)));
        url_with(&url, &query)
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("url", &address(&self.url)).field("model", &self.model).finish_non_exhaustive()
    }
}

/// One call's codec.
#[derive(Debug)]
pub struct Elevenlabs {
    settings: Settings,
    names: Names,
    /// The contexts of this link that are not final. What bears any other name is nobody's.
    contexts: BTreeMap<ContextId, Live>,
    link: Link,
}

/// A context that is not final.
#[derive(Debug, Default)]
struct Live {
    received_bytes: u64,
    /// Characters of its text, and of those whose times came, without white space.
    given: usize,
    aligned: usize,
    /// A word whose last characters may be in the next message.
    open_word: Option<TimedWord>,
    is_closed: bool,
}

impl Elevenlabs {
    /// The codec of the call whose stream is `stream`.
    pub fn new(settings: Settings, stream: &StreamSid) -> Self {
        Elevenlabs { settings, names: Names::new(stream), contexts: BTreeMap::new(), link: Link::default() }
    }

    fn decode_text(&mut self, text: &str) -> Option<TtsEvent> {
        let response: Response = serde_json::from_str(text).ok()?;
        let named = response.context_id.as_deref();
        let context = named.and_then(|name| self.names.context_of(name)).filter(|id| self.contexts.contains_key(id));
        let is_error = response.error.is_some() || response.code.is_some();
        let event = match context {
            // Without a name it ends the socket.
            None if is_error && named.is_none() => self.link.lost(fault_of(&response)),
            None => TtsEvent::Ignored,
            Some(id) if is_error => {
                self.contexts.remove(&id);
                TtsEvent::Failed { context, fault: fault_of(&response) }
            }
            Some(context) => {
                let event = self.contexts.get_mut(&context)?.on(context, self.settings.format, &response)?;
                self.link.note(&event);
                // The last message may have audio as well: that is heard, and the core does without the other word.
                if event == TtsEvent::Ignored && response.is_final == Some(true) {
                    self.contexts.remove(&context);
                    return Some(TtsEvent::Done { context });
                }
                event
            }
        };
        Some(event)
    }

    fn speak(&mut self, on: &Place, text: &str, send: &mut dyn FnMut(Outgoing)) {
        self.link.voice = Some(on.voice);
        let context_id = &self.names.name_of(on.context);
        let live = self.contexts.entry(on.context).or_insert_with(|| {
            let speed = on.delivery.speed.or(self.settings.speed).map(|speed| speed.clamp(SPEED.0, SPEED.1));
            let Settings { stability, similarity_boost, .. } = self.settings;
            let voice_settings = VoiceSettings { stability, similarity_boost, speed };
            let voice_settings = (voice_settings != VoiceSettings::default()).then_some(voice_settings);
            say(&Request { text: Some(" "), context_id, voice_settings, ..Request::default() }, send);
            Live::default()
        });
        live.given += letters(text);
        // The vendor wants a space behind what is whole. A token is not, and goes as it came.
        let is_open = self.settings.buffering == Buffering::Gateway && !text.ends_with(char::is_whitespace);
        let spaced = is_open.then(|| format!("{text} "));
        say(&Request { text: Some(spaced.as_deref().unwrap_or(text)), context_id, ..Request::default() }, send);
    }

    /// A request about a context that the server knows and that is open there: any other name would open a new one.
    fn about(&mut self, context: ContextId, shape: impl FnOnce(&mut Live, &mut Vec<Request<'_>>), send: &mut dyn FnMut(Outgoing)) {
        let Some(live) = self.contexts.get_mut(&context).filter(|live| !live.is_closed) else { return };
        let context_id = &self.names.name_of(context);
        let mut requests = Vec::new();
        shape(live, &mut requests);
        for request in requests {
            say(&Request { context_id, ..request }, send);
        }
    }
}

impl TtsDialect for Elevenlabs {
    fn dial(&mut self) -> Handshake {
        self.contexts.clear();
        self.link = Link::default();
        Handshake { url: self.settings.whole_url(), headers: vec![("xi-api-key", self.settings.api_key.clone())] }
    }

    fn decode(&mut self, message: Message<'_>) -> TtsEvent {
        match message {
            Message::Text(text) => self.decode_text(text).unwrap_or(TtsEvent::Garbage),
            Message::Binary(_) => TtsEvent::Garbage,
        }
    }

    fn encode(&mut self, _at: CallTime, command: &TtsCommand, send: &mut dyn FnMut(Outgoing)) {
        let flush = || Request { flush: true, ..Request::default() };
        let close = || Request { close_context: true, ..Request::default() };
        match command {
            TtsCommand::Speak { on, text } => self.speak(on, text, send),
            TtsCommand::Flush { on } => self.about(on.context, |_, requests| requests.push(flush()), send),
            // Closed without a flush, a context would lose what the vendor holds back.
            TtsCommand::Finish { on } => self.about(
                on.context,
                |live, requests| {
                    live.is_closed = true;
                    requests.extend([flush(), close()]);
                },
                send,
            ),
            TtsCommand::Cancel { context, .. } => self.about(
                *context,
                |live, requests| {
                    live.is_closed = true;
                    requests.push(close());
                },
                send,
            ),
            TtsCommand::Dial { .. }
            | TtsCommand::HangUp { .. }
            | TtsCommand::Reserve { .. }
            | TtsCommand::Play { .. } => {}
        }
    }
}

impl Live {
    /// What a message about it means, apart from its end; `None` if it makes no sense.
    fn on(&mut self, context: ContextId, format: SourceFormat, response: &Response) -> Option<TtsEvent> {
        let audio = match response.audio.as_deref() {
            Some(audio) => STANDARD.decode(audio).ok()?,
            None => Vec::new(),
        };
        // Times begin anew with the audio of each message, so that what came before is what has to be added.
        let base_us = format.micros_of(self.received_bytes);
        self.received_bytes += audio.len() as u64;
        let alignment = response.alignment.as_ref().or(response.normalized_alignment.as_ref());
        let words = alignment.map(|alignment| self.on_alignment(alignment, base_us)).unwrap_or_default();
        Some(match (audio.is_empty(), words.is_empty()) {
            (true, true) => TtsEvent::Ignored,
            (true, false) => TtsEvent::Words { context, words },
            (false, true) => TtsEvent::Audio { context, audio: Bytes::from(audio) },
            (false, false) => TtsEvent::TimedAudio { context, audio: Bytes::from(audio), words },
        })
    }

    fn on_alignment(&mut self, alignment: &Alignment, base_us: u64) -> Vec<TimedWord> {
        let Alignment { chars, char_start_times_ms: starts, char_durations_ms: lengths } = alignment;
        if chars.len() != starts.len() || chars.len() != lengths.len() {
            return Vec::new();
        }
        let mut words = Vec::new();
        for ((char, start), length) in chars.iter().zip(starts).zip(lengths) {
            let start_us = base_us + millis(*start);
            let end_us = start_us + millis(*length);
            // In the middle of a character, an empty one may stand for its rest.
            if char.is_empty() {
                self.open_word.iter_mut().for_each(|word| word.end_us = word.end_us.max(end_us));
                continue;
            }
            if char.trim().is_empty() {
                words.extend(self.open_word.take());
                continue;
            }
            let word = TimedWord { text: String::new(), start_us, end_us: start_us };
            let word = self.open_word.get_or_insert(word);
            word.text.push_str(char);
            word.end_us = word.end_us.max(end_us);
            self.aligned += letters(char);
        }
        // A word may be in two messages, unless a mark ends it or there is no more text.
        let is_whole = |word: &TimedWord| word.text.ends_with(|c: char| !c.is_alphanumeric());
        if self.aligned >= self.given || self.open_word.as_ref().is_some_and(is_whole) {
            words.extend(self.open_word.take());
        }
        words
    }
}

fn letters(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}

fn say(request: &Request<'_>, send: &mut dyn FnMut(Outgoing)) {
    // A value without maps and foreign types always becomes text.
    if let Ok(text) = serde_json::to_string(request) {
        send(Outgoing::Text(text));
    }
}

/// Nearly everything is code 1008, and only the words tell a limit from a mistake. They may quote what was to be spoken, so that
/// none but the vendor's own short word is kept.
fn fault_of(response: &Response) -> Fault {
    let word = response.error.as_deref().unwrap_or_default();
    let message = response.message.as_deref().unwrap_or_default();
    let code = response.code.as_ref().and_then(serde_json::Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let kind = match fault_of_close(code, &format!("{word} {message}")).kind {
        // The socket may be in good order, but what was on it is lost.
        FaultKind::Idle => FaultKind::Retryable,
        kind @ (FaultKind::Fatal | FaultKind::Retryable | FaultKind::Busy) => kind,
    };
    let is_short = !word.is_empty() && word.len() <= 64 && !word.contains(char::is_whitespace);
    let reason = match (is_short, code) {
        (true, _) => word.to_owned(),
        (false, Some(code)) => format!("error {code}"),
        (false, None) => "error without a code".to_owned(),
    };
    Fault { kind, reason }
}

#[cfg(test)]
#[path = "elevenlabs_tests.rs"]
mod tests;
