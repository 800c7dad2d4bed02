//! Codecs between what peers write and what the core understands: synchronous, pure, one file per vendor.
//!
//! A vendor's quirks live here and nowhere else. The asynchronous part (sockets, tasks, limits) exists once, in `driver`.

pub mod hearing;
mod input;
mod peers;
pub mod relay;
pub mod speech;
pub mod twilio;

pub use input::{Body, Input, Port, Refusal};
pub use peers::{Peers, carrier_event};

use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;

use crate::call::action::{AgentReport, CarrierCommand, HearingCommand, Place, TtsCommand};
use crate::call::event::{AgentEvent, CarrierEvent, Fault, FaultKind, HearingEvent, TtsEvent};
use crate::ids::CallTime;
use crate::secret::Secret;

/// A message as it came from a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text frame.
    Text(&'a str),
    /// A binary frame.
    Binary(&'a [u8]),
}

/// A message for a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Bytes),
    /// A close frame; nothing follows it.
    Close {
        /// Close code (RFC 6455, section 7.4).
        code: u16,
        /// A reason of at most 123 bytes.
        reason: &'static str,
    },
}

/// The language of a carrier's media stream.
pub trait CarrierDialect: Send {
    /// What a message means.
    fn decode(&mut self, message: Message<'_>) -> CarrierEvent;
    /// How to say a command, as a text frame.
    fn encode(&mut self, command: &CarrierCommand) -> String;
    /// When the audio that was decoded last was spoken, by the carrier's own count from the beginning of the stream; `None`
    /// if it does not say. It shapes no call: only recordings of what was said are laid out by it.
    fn stamp(&self) -> Option<Duration> {
        None
    }
}

/// Where and how to dial a voice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// A `ws` or `wss` URL without a secret in it.
    pub url: String,
    /// Headers. The values of some are secret, and so all are kept as if they were.
    pub headers: Vec<(&'static str, Secret)>,
}

/// The language of a voice's WebSocket. It may have a state: what was said on the link so far.
pub trait TtsDialect: Send {
    /// A new link: where and how to dial. What was said on the one before is forgotten.
    fn dial(&mut self) -> Handshake;
    /// What a message means. A cancelled context's end is told as [`TtsEvent::Done`] where the vendor tells of it.
    fn decode(&mut self, message: Message<'_>) -> TtsEvent;
    /// How to say a command at a moment: any number of messages.
    fn encode(&mut self, at: CallTime, command: &TtsCommand, send: &mut dyn FnMut(Outgoing));
}

/// A request for speech, over HTTP. `Debug` shows nothing of what is to be spoken.
#[derive(Clone, PartialEq, Eq)]
pub struct SpeechRequest {
    /// An `http` or `https` URL, to which it is posted.
    pub url: String,
    /// Headers. The values of some are secret, and so all are kept as if they were.
    pub headers: Vec<(&'static str, Secret)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for SpeechRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpeechRequest").field("body", &self.body.len()).finish_non_exhaustive()
    }
}

/// The language of a voice that is sent a request for each text, and answers each with headerless samples. It has no state.
pub trait TtsRequests: Send + Sync {
    /// How to ask for a text; `None` if there is nothing in it that could be heard.
    fn request(&self, on: &Place, text: &str) -> Option<SpeechRequest>;
    /// Whether an answer with this status and this `Content-Type` (empty if it has none) may be speech.
    fn is_speech(&self, status: u16, content_type: &str) -> bool;
    /// What an answer means that is none; `body` is its beginning, as far as it came.
    fn refusal(&self, status: u16, body: &[u8]) -> Fault;
    /// What is wrong if a piece of an answer is no speech after all. `is_first`: the answer begins with it.
    fn fault_in(&self, piece: &[u8], is_first: bool) -> Option<Fault>;
}

/// The language of a vendor that writes down what the caller says.
pub trait SttDialect: Send {
    /// A new link: where and how to dial, and what is spoken on it. `language` is the caller's, if it is not the vendor's
    /// setting.
    fn dial(&self, language: Option<&str>) -> (Handshake, Box<dyn SttLink>);
}

/// What is spoken on one link to a vendor that writes down what the caller says. It has a state: audio that does not fill
/// a message yet, and where the vendor's turn stands.
pub trait SttLink: Send {
    /// What a message means.
    fn decode(&mut self, message: Message<'_>) -> HearingEvent;
    /// How to say a command: any number of messages. `Dial` gives what has to be said first.
    fn encode(&mut self, command: &HearingCommand, send: &mut dyn FnMut(Outgoing));
}

/// The language of an agent outside this process.
pub trait AgentDialect: Send {
    /// Where and how to dial.
    fn handshake(&self) -> Handshake;
    /// What a message means.
    fn decode(&mut self, message: Message<'_>) -> AgentEvent;
    /// What the call is given when the link is made.
    fn connected(&mut self) -> AgentEvent;
    /// How to tell a report of a moment: any number of messages.
    fn encode(&mut self, at: CallTime, report: &AgentReport, send: &mut dyn FnMut(Outgoing));
}

/// What it means that a handshake was answered with an HTTP status.
pub fn fault_of_status(status: u16) -> Fault {
    let kind = match status {
        429 => FaultKind::Busy,
        // The server, or a proxy before it, ran out of patience with a request that was good.
        408 => FaultKind::Retryable,
        400..=499 => FaultKind::Fatal,
        _ => FaultKind::Retryable,
    };
    Fault { kind, reason: format!("status {status}") }
}

/// What it means that a socket was closed with a code (RFC 6455, section 7.4), or without one.
pub fn fault_of_close(code: Option<u16>, reason: &str) -> Fault {
    let kind = match (code, kind_of_words(reason)) {
        (Some(1000), _) => FaultKind::Idle,
        // Limits of all sorts end with this code, and so do mistakes: only the words tell.
        (Some(1008), kind @ (FaultKind::Busy | FaultKind::Idle)) => kind,
        // Deepgram's word for a message that it could not use, which says nothing of the next one.
        (Some(1008), _) if reason.starts_with("DATA-") => FaultKind::Retryable,
        // A plea for time.
        (Some(1013), FaultKind::Busy) => FaultKind::Busy,
        (Some(1002 | 1003 | 1007 | 1008), _) => FaultKind::Fatal,
        (Some(_) | None, _) => FaultKind::Retryable,
    };
    let reason = code.map_or_else(|| "the connection broke".to_owned(), |code| format!("closed with code {code}"));
    Fault { kind, reason }
}

/// `url` with `query` behind its own, encoded as HTML forms are.
fn url_with(url: &str, query: &[(&str, String)]) -> String {
    let mut text = url.split('#').next().unwrap_or_default().to_owned();
    let start = match text.find('?') {
        Some(mark) => mark + 1,
        None => {
            text.push('?');
            text.len()
        }
    };
    Serializer::for_suffix(text, start).extend_pairs(query).finish()
}

/// What a vendor's words for people mean, where nothing else says what is wrong.
pub fn kind_of_words(words: &str) -> FaultKind {
    let words = words.to_lowercase();
    let has = |any: &[&str]| any.iter().any(|word| words.contains(word));
    if has(&["concurren", "limit", "too many", "max_active"]) {
        FaultKind::Busy
    } else if has(&["timeout", "timed out", "inactiv"]) {
        FaultKind::Idle
    } else {
        FaultKind::Retryable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_close_codes_say_whether_to_try_again() {
        assert_eq!(fault_of_status(401).kind, FaultKind::Fatal);
        assert_eq!(fault_of_status(429).kind, FaultKind::Busy);
        assert_eq!(fault_of_status(503).kind, FaultKind::Retryable);
        assert_eq!(fault_of_status(408).kind, FaultKind::Retryable);
        assert_eq!(fault_of_close(Some(1000), "connection idle timeout").kind, FaultKind::Idle);
        assert_eq!(fault_of_close(Some(1011), "").kind, FaultKind::Retryable);
        assert_eq!(fault_of_close(Some(1008), "Too many concurrent contexts").kind, FaultKind::Busy);
        assert_eq!(fault_of_close(Some(1008), "max_active_conversations").kind, FaultKind::Busy);
        assert_eq!(fault_of_close(Some(1008), "input_timeout_exceeded").kind, FaultKind::Idle);
        assert_eq!(fault_of_close(Some(1013), "too many requests").kind, FaultKind::Busy);
        assert_eq!(fault_of_close(Some(1013), "").kind, FaultKind::Retryable);
        assert_eq!(fault_of_close(Some(1008), "bad key").kind, FaultKind::Fatal);
        assert_eq!(fault_of_close(Some(1008), "DATA-0000").kind, FaultKind::Retryable);
        assert_eq!(fault_of_close(None, "").kind, FaultKind::Retryable);
    }
}
