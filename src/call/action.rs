//! What a call wants done.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::event::{Delivery, Fault, VoiceIndex};
use crate::audio::{SourceFormat, vad};
use crate::ids::{ContextId, MarkId, TurnId};

/// One output of the core, to be carried out in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Tell the carrier.
    Carrier(CarrierCommand),
    /// Tell a voice.
    Tts(TtsCommand),
    /// Tell the agent, and whoever watches.
    Agent(AgentReport),
    /// The call is over: close the stream and every link.
    End(EndReason),
}

/// What to tell the carrier.
#[derive(Clone, Debug, PartialEq)]
pub enum CarrierCommand {
    /// One frame to play.
    Media {
        /// The frame, in the outbound format.
        frame: Bytes,
        /// How long after its due time it is sent.
        late: Duration,
    },
    /// Report when everything before this has been played.
    Mark(MarkId),
    /// Drop everything that has not been played.
    Clear {
        /// Audio that the carrier is taken to hold, and will drop.
        held: Duration,
    },
}

/// What to tell a voice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TtsCommand {
    /// Make the link. Answered by `Up` or `Down`.
    Dial {
        /// Which voice.
        voice: VoiceIndex,
    },
    /// Drop the link. Not answered.
    HangUp {
        /// Which voice.
        voice: VoiceIndex,
    },
    /// Speak text on a context; its first text opens it.
    Speak {
        /// Where and how.
        on: Place,
        /// The text, verbatim.
        text: String,
    },
    /// Speak what the context holds back; more text may come.
    Flush {
        /// Where and how.
        on: Place,
    },
    /// No more text will come on the context.
    Finish {
        /// Where and how.
        on: Place,
    },
    /// Make no more speech for the context. Late chunks are normal.
    Cancel {
        /// Which voice.
        voice: VoiceIndex,
        /// Which context.
        context: ContextId,
    },
}

impl TtsCommand {
    /// Which voice is told.
    pub fn voice(&self) -> VoiceIndex {
        match self {
            TtsCommand::Dial { voice } | TtsCommand::HangUp { voice } | TtsCommand::Cancel { voice, .. } => *voice,
            TtsCommand::Speak { on, .. } | TtsCommand::Flush { on } | TtsCommand::Finish { on } => on.voice,
        }
    }
}

/// A context and all that stays the same for its whole life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Which voice.
    pub voice: VoiceIndex,
    /// Which context.
    pub context: ContextId,
    /// What the voice has to send.
    pub format: SourceFormat,
    /// How it has to sound.
    pub delivery: Arc<Delivery>,
}

/// What the agent, and whoever watches, is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentReport {
    /// The stream began.
    Started,
    /// A turn was opened.
    TurnStarted {
        /// Which.
        turn: TurnId,
    },
    /// The first frame of a turn went out.
    FirstAudio {
        /// Which.
        turn: TurnId,
        /// From the turn's first text on the wire to its first audio.
        first_byte: Duration,
    },
    /// The caller has heard more of a turn.
    Heard {
        /// Which.
        turn: TurnId,
        /// All that was heard of it so far.
        heard: Heard,
    },
    /// The caller has heard a turn to its end.
    TurnOver {
        /// Which.
        turn: TurnId,
        /// All that was heard.
        heard: Heard,
    },
    /// A turn was cut off, or dropped before it was heard.
    Interrupted {
        /// Which.
        turn: TurnId,
        /// All that was heard.
        heard: Heard,
        /// By what.
        cause: Cause,
    },
    /// Words of a turn that the caller will not hear although the turn goes on, because a voice failed in the middle.
    Skipped {
        /// Which.
        turn: TurnId,
        /// The words.
        text: String,
    },
    /// A turn cannot be spoken to its end. What was received is still played, then the fallback line; `TurnOver` or
    /// `Interrupted` says in the end what was heard of the agent's own text.
    SpeechFailed {
        /// Which.
        turn: TurnId,
        /// Why.
        fault: Fault,
    },
    /// The caller pressed a key.
    Digit(char),
    /// The caller started or stopped speaking.
    CallerSpeech(vad::Change),
    /// Whether the agent should go on producing text for a turn.
    Flow {
        /// Which.
        turn: TurnId,
        /// Go on or wait.
        flow: Flow,
    },
    /// The node is about to stop.
    Draining,
    /// The call is over.
    Ended(EndReason),
}

/// What the caller heard of a turn, in the agent's own text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// A prefix of the turn's text, cut at a word. What a failing voice skipped is left out.
    pub text: String,
    /// How much of the turn's audio was played.
    pub played: Duration,
    /// The text was reckoned from the length of the audio, or the time from our own clock alone.
    pub estimated: bool,
}

/// What cut a turn off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The caller spoke.
    Speech,
    /// The caller pressed a key.
    Dtmf,
    /// The agent asked for silence.
    Request,
    /// The call ended.
    CallEnded,
}

/// Whether the agent should go on producing text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    /// Go on.
    Open,
    /// Wait: enough speech is made but unheard.
    Held,
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The carrier ended the stream.
    CarrierStopped,
    /// The carrier's socket closed or failed.
    CarrierLost,
    /// The agent hung up.
    HungUp,
    /// Speech failed and the settings say to close.
    SpeechFailed,
}
