//! What can happen to a call.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::settings::Interruptible;
use crate::audio::{MediaFormat, vad};
use crate::ids::{CallSid, ContextId, MarkId, StreamSid, TurnId};

/// One input of the core.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The carrier said something.
    Carrier(CarrierEvent),
    /// The agent wants something.
    Agent(AgentEvent),
    /// A voice answered.
    Tts(TtsEvent),
    /// Who writes down what the caller says answered.
    Hearing {
        /// On which of its links.
        link: LinkNumber,
        /// What.
        event: HearingEvent,
    },
    /// Somebody other than the core's own detector heard the caller start or stop.
    Speech(SpeechEvent),
    /// A deadline passed.
    Wake,
    /// The node is about to stop; the call goes on.
    Drain,
    /// The node cannot keep the call: the caller is said goodbye to, and the call ends.
    Leave,
}

/// What a carrier reports, in no vendor's words.
#[derive(Clone, Debug, PartialEq)]
pub enum CarrierEvent {
    /// The stream began.
    Started(Box<Start>),
    /// A piece of the caller's audio, of any length, in the inbound format.
    Media(Bytes),
    /// Audio before this mark is said to have been played, or was cleared.
    Mark(MarkId),
    /// The caller pressed a key.
    Digit(char),
    /// The carrier ended the stream.
    Stopped,
    /// The socket closed or failed without an end of stream.
    Lost,
    /// Something of no consequence.
    Ignored,
    /// A message that made no sense: counted and dropped.
    Garbage,
}

/// What a stream begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The carrier's name for the stream.
    pub stream: StreamSid,
    /// The carrier's name for the call.
    pub call: CallSid,
    /// How the caller's audio is written.
    pub inbound: MediaFormat,
    /// How our audio has to be written; `None` if the stream only listens.
    pub outbound: Option<MediaFormat>,
    /// What the webhook's answer attached to the stream.
    pub parameters: BTreeMap<String, String>,
}

/// What an agent wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentEvent {
    /// Text to speak.
    Say(Say),
    /// A recording or tones to play, as a turn of its own.
    Play(Play),
    /// Fall silent at once and forget every turn.
    Clear,
    /// What is said, and what is heard, is in another language from the next turn on. `None` keeps what holds.
    Language {
        /// Of the voice, as the agent names it.
        speech: Option<String>,
        /// Of the caller.
        hearing: Option<String>,
    },
    /// The agent is done with the call at once, whatever is still to be heard; what follows the stream goes on.
    End {
        /// What the agent hands to whoever goes on.
        handoff: Option<String>,
    },
    /// End the call.
    HangUp,
    /// The link to an agent outside this process is made.
    Up {
        /// What is said first.
        greeting: Option<Say>,
    },
    /// The link to an agent outside this process could not be made, or broke.
    Lost(Fault),
    /// Something that made no sense, in words for the agent: it is told, and too many in a row end its link.
    Malformed(String),
    /// Something of no consequence.
    Ignored,
}

/// A piece of a turn's text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Say {
    /// The turn; a number not seen before opens a new one behind those that are live.
    pub turn: TurnId,
    /// The text, verbatim: white space belongs to it, and it may be empty.
    pub text: String,
    /// No more text will come for this turn.
    pub last: bool,
    /// Speak what was given so far; the turn goes on.
    pub flush: bool,
    /// What may cut the turn off; `None` keeps what holds.
    pub interruptible: Option<Interruptible>,
    /// How to speak from here on; `None` keeps what holds.
    pub delivery: Option<Arc<Delivery>>,
    /// Whether a later turn cuts this one off rather than wait for its end; `None` keeps what holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preemptible: Option<bool>,
}

/// A turn that is played, not spoken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Play {
    /// The turn; a number not seen before.
    pub turn: TurnId,
    /// What is played.
    pub clip: Clip,
    /// How often, at least once.
    pub times: u32,
    /// What may cut it off; `None` takes the call's setting.
    pub interruptible: Option<Interruptible>,
    /// Whether a later turn cuts it off rather than wait for its end.
    pub preemptible: bool,
}

/// Something that sounds without a voice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clip {
    /// A recording, by its URL.
    Recording(String),
    /// The tones of a keypad: `0` to `9`, `*`, `#`, and `w` for half a second of silence.
    Tones(String),
}

/// How an utterance is spoken. What is `None` is the voice's own setting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The vendor's id of the voice.
    pub voice: Option<String>,
    /// ISO code of the language.
    pub language: Option<String>,
    /// Speed as a factor.
    pub speed: Option<f32>,
    /// Volume as a factor.
    pub volume: Option<f32>,
    /// The vendor's word for an emotion.
    pub emotion: Option<String>,
}

/// Index of a voice in [`Settings::voices`](super::settings::Settings::voices).
pub type VoiceIndex = usize;

/// What a voice reports, in no vendor's words.
#[derive(Clone, Debug, PartialEq)]
pub enum TtsEvent {
    /// The link can be spoken on.
    Up {
        /// Which voice.
        voice: VoiceIndex,
    },
    /// The link could not be made, or broke.
    Down {
        /// Which voice.
        voice: VoiceIndex,
        /// Why.
        fault: Fault,
    },
    /// A piece of speech, of any length.
    Audio {
        /// Whose.
        context: ContextId,
        /// Headerless samples in the voice's format.
        audio: Bytes,
    },
    /// When words are spoken.
    Words {
        /// Whose.
        context: ContextId,
        /// In the order of speech.
        words: Vec<TimedWord>,
    },
    /// A piece of speech together with when words of it, or of what comes next, are spoken.
    TimedAudio {
        /// Whose.
        context: ContextId,
        /// Headerless samples in the voice's format.
        audio: Bytes,
        /// In the order of speech.
        words: Vec<TimedWord>,
    },
    /// The audio so far ends where one of the texts ends that the context was given: what a voice without word times knows.
    Spoken {
        /// Whose.
        context: ContextId,
        /// How many of the texts that `Speak` gave the context it speaks, from the first on.
        texts: usize,
    },
    /// One of the account's contexts is free for the context that asked for it.
    Granted {
        /// Whose request.
        context: ContextId,
    },
    /// All speech of a context has been sent. For one that was cancelled: nothing more comes of it.
    Done {
        /// Whose.
        context: ContextId,
    },
    /// A context, or something unnamed, failed.
    Failed {
        /// Whose, if the vendor says.
        context: Option<ContextId>,
        /// Why.
        fault: Fault,
    },
    /// Something of no consequence, or unknown.
    Ignored,
    /// A message that made no sense: counted and dropped.
    Garbage,
}

/// A word and its place in its context's audio.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedWord {
    /// The word, as far as possible as it was written.
    pub text: String,
    /// Start, in microseconds from the start of the context's audio.
    pub start_us: u64,
    /// End, in microseconds from the start of the context's audio.
    pub end_us: u64,
}

/// Counts the links of one call to whoever writes down what the caller says.
pub type LinkNumber = u32;

/// What whoever writes down the caller's words reports, in no vendor's words.
#[derive(Clone, Debug, PartialEq)]
pub enum HearingEvent {
    /// The link takes audio.
    Up,
    /// The link could not be made, or broke.
    Down(Fault),
    /// Words, or a sign of where a turn of the caller begins or ends, or both.
    Heard(Words),
    /// Every word of the audio before our request to finalise has been reported.
    Finalised,
    /// The vendor refused something; the link lives on.
    Failed(Fault),
    /// Something of no consequence, or unknown.
    Ignored,
    /// A message that made no sense: counted and dropped.
    Garbage,
}

/// What the caller said, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The text. If it may still change, it replaces what was reported since the last text that could not.
    pub text: String,
    /// The text will not change any more: what follows is reported apart from it.
    pub is_final: bool,
    /// Where the caller's turn stands, if the vendor says.
    pub turn: Option<TurnSign>,
    /// Language code, if the vendor tells.
    pub language: Option<String>,
    /// With them, every word of the audio before our request to finalise has been reported: what
    /// [`HearingEvent::Finalised`] says where it is a message of its own.
    pub finalised: bool,
}

/// What a vendor says of the caller's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnSign {
    /// The caller began to speak.
    Started,
    /// The caller has probably finished.
    Probable,
    /// The caller goes on after all.
    Resumed,
    /// The caller has finished, but words may be missing until they are asked for.
    Quiet,
    /// The caller has finished, and every word has been reported.
    Ended,
}

/// Why speech, hearing or an agent failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What it means for the next try.
    pub kind: FaultKind,
    /// A code or a few words for people; never text that was spoken.
    pub reason: String,
}

/// What a fault means for the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Trying again cannot help: wrong key, voice, model, or protocol.
    Fatal,
    /// Trying again may help.
    Retryable,
    /// Too much at once on this account: trying again later helps.
    Busy,
    /// The vendor closed an idle link in good order.
    Idle,
}

/// What an outside detector heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpeechEvent {
    /// The caller started to speak.
    Started,
    /// The caller pauses, which may be the end.
    Paused,
    /// The caller goes on after a pause.
    Resumed,
    /// The caller stopped.
    Stopped,
}

impl From<SpeechEvent> for vad::Change {
    fn from(event: SpeechEvent) -> Self {
        match event {
            SpeechEvent::Started => vad::Change::Started,
            SpeechEvent::Paused => vad::Change::Paused,
            SpeechEvent::Resumed => vad::Change::Resumed,
            SpeechEvent::Stopped => vad::Change::Stopped,
        }
    }
}

impl From<vad::Change> for SpeechEvent {
    fn from(change: vad::Change) -> Self {
        match change {
            vad::Change::Started => SpeechEvent::Started,
            vad::Change::Paused => SpeechEvent::Paused,
            vad::Change::Resumed => SpeechEvent::Resumed,
            vad::Change::Stopped => SpeechEvent::Stopped,
        }
    }
}
