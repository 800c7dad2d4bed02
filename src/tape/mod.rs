//! Recorded calls: a header with all that shaped the call, then one line for each call of `Call::handle`.
//!
//! A tape is a JSONL file. Its first line is the [`Header`], every further line an [`Entry`]; times are microseconds of the
//! call. It holds what the call took from its inbox, as it came from the wire, so that a replay goes through the same
//! decoders and makes the same calls. The last entry of a whole tape is [`What::End`], which says what the call sent.

mod app;
mod digest;
mod message;
mod pseudonym;
mod read;
mod redact;
mod write;

use serde::{Deserialize, Serialize};

pub use digest::Digest;
pub use read::{Tape, TapeError};
pub use redact::Redactor;
pub use write::Lines;

pub use crate::dialect::hearing::Settings as Hearing;

use crate::audio::MediaFormat;
use crate::call::action::EndReason;
use crate::call::event::{Event, SpeechEvent};
use crate::call::settings::Settings;
use crate::dialect::relay::{self, Relay};
use crate::dialect::speech::{self, Language, providers};
use crate::dialect::twilio::Twilio;
use crate::dialect::{AgentDialect, CarrierDialect, Input, Peers, TtsDialect};
use crate::ids::{CallTime, StreamSid};

/// The version of the format that this module writes and reads.
pub const FORMAT: u32 = 1;

/// All that shaped a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format: [`FORMAT`].
    pub tape: u32,
    /// Version of the software that wrote the tape.
    pub trunkline: String,
    /// Whether wake-ups are on the tape.
    #[serde(default)]
    pub wakes: Wakes,
    /// What became of text, numbers and names.
    #[serde(default)]
    pub text: Text,
    /// What became of audio.
    #[serde(default)]
    pub audio: Audio,
    /// The core's whole effective settings.
    pub settings: Settings,
    /// The carrier's language.
    pub carrier: Carrier,
    /// The languages of the voices, in the order of the settings.
    pub voices: Vec<Voice>,
    /// The language of the agent, if it was outside the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    /// The language of whoever writes down what the caller says, without the key; `None`: nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hearing: Option<Hearing>,
}

/// Whether wake-ups are on a tape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wakes {
    /// Every one, as in a recording: a replay makes exactly the calls of `handle` that the live call made.
    #[default]
    Recorded,
    /// None, as in a tape that was composed: a replay wakes the call when it asks for it.
    Due,
}

/// What became of text, numbers and names when the tape was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Text {
    /// They stand as they were.
    Keep,
    /// Words, numbers and names are made up, of the same shape.
    #[default]
    Redact,
}

/// What became of audio when the tape was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audio {
    /// It stands as it was.
    #[default]
    Keep,
    /// All of it is silence of the same length; what the detector heard stands beside it.
    Silence,
}

/// The language of a carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// Twilio's media streams.
    Twilio,
}

macro_rules! voices {
    ($($(#[$doc:meta])* $name:ident $module:ident,)*) => {
        /// The language of a voice.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Voice {
            /// The voice in this process.
            Local,
            $(
                $(#[$doc])*
                $name {
                    /// The stream that its contexts are named after.
                    stream: StreamSid,
                    /// What shaped its messages, without the key.
                    settings: Box<speech::$module::Settings>,
                },
            )*
        }

        impl Voice {
            /// The voice of a vendor in the call whose stream is `stream`.
            pub fn remote(stream: &StreamSid, settings: speech::Settings) -> Self {
                match settings {
                    $(speech::Settings::$name(settings) => Voice::$name { stream: stream.clone(), settings },)*
                }
            }

            /// Stream and vendor, unless it is in this process.
            pub fn vendor(&self) -> Option<(&StreamSid, speech::Settings)> {
                match self {
                    Voice::Local => None,
                    $(Voice::$name { stream, settings } => Some((stream, speech::Settings::$name(settings.clone()))),)*
                }
            }
        }
    };
}

providers!(voices);

/// The language of an agent outside the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Agent {
    /// ConversationRelay, with what shaped the session.
    Relay(Box<relay::Settings>),
}

/// One line of a tape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in microseconds of the call.
    #[serde(rename = "at_us")]
    pub at: CallTime,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What a call took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Something from its inbox.
    Input(Input),
    /// A deadline passed.
    Wake,
    /// The node is about to stop.
    Drain,
    /// The node cannot keep the call.
    Leave,
    /// What the detector heard in the input that follows, on a tape whose audio is silence.
    Speech(SpeechEvent),
    /// So many lines are missing here, because the disk was too slow: a replay cannot be exact beyond this.
    Lost(u64),
    /// The call is over.
    End(End),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Why; `None` if the call panicked.
    pub reason: Option<EndReason>,
    /// What it told its carrier.
    pub sent: Digest,
    /// Of that, what still waited for the socket when a `clear` overtook it, and so never left: by the number of `clear`s
    /// before, how many of the last messages. Nothing, unless the machine or the carrier was very slow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<(u64, u64)>,
}

impl Header {
    /// The peers of the call that is described, for a replay.
    pub fn peers(&self) -> Peers {
        let carrier: Box<dyn CarrierDialect> = match self.carrier {
            Carrier::Twilio => Box::<Twilio>::default(),
        };
        let dialect = |voice: &Voice| -> Option<Box<dyn TtsDialect>> {
            let (stream, settings) = voice.vendor()?;
            match settings.language(stream) {
                Language::Socket(dialect) => Some(dialect),
                // Its link answers in the core's own words, as that of a voice in this process does.
                Language::Requests(_) => None,
            }
        };
        // A call whose audio hearing does not take was recorded without it.
        let hearing = self.hearing.as_ref().and_then(|hearing| hearing.dialect(MediaFormat::TELEPHONE).ok());
        let agent = self.agent.as_ref().map(|agent| -> Box<dyn AgentDialect> {
            match agent {
                Agent::Relay(settings) => Box::new(Relay::new(settings.as_ref().clone())),
            }
        });
        Peers::new(carrier, self.voices.iter().map(dialect).collect()).with_hearing(hearing).with_agent(agent)
    }
}

impl What {
    /// What the core is given; `None` for what concerns the tape alone.
    pub fn event(&self, peers: &mut Peers) -> Option<Event> {
        match self {
            What::Input(input) => Some(peers.decode(input)),
            What::Wake => Some(Event::Wake),
            What::Drain => Some(Event::Drain),
            What::Leave => Some(Event::Leave),
            What::Speech(speech) => Some(Event::Speech(*speech)),
            What::Lost(_) | What::End(_) => None,
        }
    }
}
