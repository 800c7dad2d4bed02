//! What a call takes from its inbox, before anybody has understood it.
//!
//! It is what a tape holds, so that it can be written and read: bytes as base64, everything else as it stands.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::call::event::{AgentEvent, Fault, LinkNumber, TimedWord, TtsEvent, VoiceIndex};
use crate::ids::ContextId;

/// Where an input came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Port {
    /// The carrier's socket.
    Carrier,
    /// The link to a voice; links are counted, so that the last words of a dead one are not taken for its successor's.
    Voice {
        /// Which voice.
        voice: VoiceIndex,
        /// Which of its links.
        link: u32,
    },
    /// A link to whoever writes down what the caller says.
    Hearing {
        /// Which of its links.
        link: LinkNumber,
    },
    /// The link to an agent outside this process.
    App,
    /// An agent in this process, or a person through the API.
    Agent,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(#[serde(with = "base64_text")] Bytes),
    /// A message too long to be read.
    Oversize,
    /// The socket is open.
    Up,
    /// The socket could not be opened.
    Refused(Refusal),
    /// The socket was closed, or broke.
    Closed {
        /// Close code, if the peer said one.
        code: Option<u16>,
        /// The peer's reason.
        reason: String,
    },
    /// Our outbox for the socket is full: it takes nothing any more.
    Stuck,
    /// What an agent wants.
    Agent(AgentEvent),
    /// What a voice in this process answered.
    Voice(#[serde(with = "Answer")] TtsEvent),
}

/// Why a socket could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The server answered with an HTTP status other than 101.
    Status(u16),
    /// It could not be reached, or not in time.
    Unreachable(String),
    /// It can be reached but must not be trusted.
    Untrusted(String),
    /// It was not even dialled: it failed too often in the calls of this node, or all its sockets are in use.
    Spared(String),
}

/// One input of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Where it came from.
    pub port: Port,
    /// What it is.
    #[serde(flatten)]
    pub body: Body,
}

/// How a voice's event is written: the core's own type knows no format.
#[derive(Serialize, Deserialize)]
#[serde(remote = "TtsEvent", rename_all = "snake_case")]
enum Answer {
    Up {
        voice: VoiceIndex,
    },
    Down {
        voice: VoiceIndex,
        fault: Fault,
    },
    Audio {
        context: ContextId,
        #[serde(with = "base64_text")]
        audio: Bytes,
    },
    Words {
        context: ContextId,
        words: Vec<TimedWord>,
    },
    TimedAudio {
        context: ContextId,
        #[serde(with = "base64_text")]
        audio: Bytes,
        words: Vec<TimedWord>,
    },
    Spoken {
        context: ContextId,
        texts: usize,
    },
    Granted {
        context: ContextId,
    },
    Done {
        context: ContextId,
    },
    Failed {
        context: Option<ContextId>,
        fault: Fault,
    },
    Ignored,
    Garbage,
}

mod base64_text {
    use std::borrow::Cow;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        STANDARD.decode(text.as_bytes()).map(Bytes::from).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::event::{FaultKind, Say};
    use crate::ids::TurnId;

    #[test]
    fn every_kind_of_input_is_read_as_it_was_written() {
        let context = ContextId { turn: TurnId(7), serial: 1 };
        let fault = Fault { kind: FaultKind::Busy, reason: "busy".to_owned() };
        let word = TimedWord { text: "Hi".to_owned(), start_us: 1, end_us: 2 };
        let say = Say {
            turn: TurnId(1),
            text: " a".to_owned(),
            last: true,
            flush: false,
            interruptible: None,
            delivery: Some(std::sync::Arc::default()),
            preemptible: None,
        };
        let voice = Port::Voice { voice: 1, link: 3 };
        let inputs = [
            (Port::Carrier, Body::Text("{\"event\":\"stop\"}".to_owned())),
            (Port::Carrier, Body::Binary(Bytes::from_static(&[0, 255, 7]))),
            (Port::Carrier, Body::Oversize),
            (voice, Body::Up),
            (voice, Body::Refused(Refusal::Status(401))),
            (voice, Body::Closed { code: Some(1011), reason: String::new() }),
            (voice, Body::Stuck),
            (Port::Agent, Body::Agent(AgentEvent::Say(say))),
            (Port::Agent, Body::Agent(AgentEvent::Clear)),
            (Port::Agent, Body::Agent(AgentEvent::End { handoff: Some("{}".to_owned()) })),
            (Port::App, Body::Text("{\"type\":\"end\"}".to_owned())),
            (Port::Hearing { link: 2 }, Body::Up),
            (voice, Body::Voice(TtsEvent::Audio { context, audio: Bytes::from_static(b"\x01\x02") })),
            (voice, Body::Voice(TtsEvent::Words { context, words: vec![word] })),
            (voice, Body::Voice(TtsEvent::Failed { context: Some(context), fault })),
            (voice, Body::Voice(TtsEvent::Garbage)),
        ];
        for (port, body) in inputs {
            let input = Input { port, body };
            let line = serde_json::to_string(&input).unwrap();
            assert_eq!(serde_json::from_str::<Input>(&line).unwrap(), input, "{line}");
        }
    }
}
