//! What a call wants done.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::event::{Clip, Delivery, Fault, LinkNumber, VoiceIndex};
use crate::audio::{SourceFormat, vad};
use crate::ids::{ContextId, MarkId, TurnId};

/// One output of the core, to be carried out in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Tell the carrier.
    Carrier(CarrierCommand),
    /// Tell a voice.
    Tts(TtsCommand),
    /// Tell whoever writes down what the caller says.
    Hearing(HearingCommand),
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
    /// Ask for one of the account's contexts, where those are shared out. Answered by `Granted`, when one is free; asked
    /// again for the same context, only its urgency is new.
    Reserve {
        /// Which voice.
        voice: VoiceIndex,
        /// For which context.
        context: ContextId,
        /// The caller hears silence in so long.
        within: Duration,
        /// Another turn is heard before: everybody who is waited for goes first.
        ahead: bool,
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
    /// Give the next piece of a clip: audio of the context, then its `Done` if the clip ends within the piece. Only the
    /// player is told this; it stands behind the voices of the settings.
    Play {
        /// Where, and in which format.
        on: Place,
        /// What.
        clip: Clip,
        /// How often the clip is to be played in all.
        times: u32,
        /// Where the piece begins, from the start of the first time.
        from: Duration,
        /// Its length.
        length: Duration,
    },
    /// Make no more speech for the context, or take back the request for it. Late chunks are normal.
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
            TtsCommand::Dial { voice }
            | TtsCommand::HangUp { voice }
            | TtsCommand::Reserve { voice, .. }
            | TtsCommand::Cancel { voice, .. } => *voice,
            TtsCommand::Speak { on, .. }
            | TtsCommand::Flush { on }
            | TtsCommand::Finish { on }
            | TtsCommand::Play { on, .. } => on.voice,
        }
    }
}

/// What to tell whoever writes down what the caller says. Links are counted, and for a moment there may be two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HearingCommand {
    /// Make a link. Answered by `Up` or `Down`.
    Dial {
        /// Its number, never used before.
        link: LinkNumber,
        /// The caller's language; `None` takes the vendor's setting.
        language: Option<String>,
    },
    /// The caller's audio, in the inbound format.
    Audio {
        /// On which link.
        link: LinkNumber,
        /// Headerless samples of any length.
        audio: Bytes,
    },
    /// The caller has paused: report every word of the audio so far. Answered by `Finalised`, as far as vendors can.
    Finalise {
        /// On which link.
        link: LinkNumber,
    },
    /// Nothing was sent for a while; the link is still wanted.
    KeepAlive {
        /// On which link.
        link: LinkNumber,
    },
    /// No more audio will come. What is still reported is wanted.
    Close {
        /// Which link.
        link: LinkNumber,
    },
    /// Drop the link. Not answered.
    HangUp {
        /// Which link.
        link: LinkNumber,
    },
}

impl HearingCommand {
    /// Which link is meant.
    pub fn link(&self) -> LinkNumber {
        match self {
            HearingCommand::Dial { link, .. }
            | HearingCommand::Audio { link, .. }
            | HearingCommand::Finalise { link }
            | HearingCommand::KeepAlive { link }
            | HearingCommand::Close { link }
            | HearingCommand::HangUp { link } => *link,
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
        /// It waited behind another turn, with which it was dropped.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        queued: bool,
    },
    /// A turn cannot be spoken to its end. What was received is still played, then the fallback line; `TurnOver` or
    /// `Interrupted` says in the end what was heard of the agent's own text.
    SpeechFailed {
        /// Which.
        turn: TurnId,
        /// Why.
        fault: Fault,
    },
    /// A voice failed in a turn, and the next one of the chain goes on with it.
    FailedOver {
        /// Which turn.
        turn: TurnId,
        /// Name of the voice that failed.
        from: Cow<'static, str>,
        /// Name of the voice that goes on.
        to: Cow<'static, str>,
        /// Why.
        fault: Fault,
    },
    /// The caller pressed a key.
    Digit(char),
    /// The caller started or stopped speaking.
    CallerSpeech(vad::Change),
    /// What the caller said.
    Prompt {
        /// The whole of it, or all that is known so far.
        text: String,
        /// The caller has finished. Until then, what follows replaces it.
        last: bool,
        /// Language code, if it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
    },
    /// The caller has probably finished: an answer may be prepared, but not spoken before the `Prompt` that is the last.
    Probable {
        /// What the caller said.
        text: String,
    },
    /// The caller goes on after all: what was prepared since `Probable` is void.
    Resumed,
    /// Hearing failed for good, or for now: what the caller says is not written down.
    HearingFailed {
        /// Why.
        fault: Fault,
    },
    /// The gateway itself speaks, because nobody else did or because time is up: these words were not the agent's.
    Announced {
        /// The turn in which it does.
        turn: TurnId,
        /// What it says.
        text: String,
    },
    /// The link to an agent outside this process is made.
    Connected,
    /// What the agent sent made no sense, in words for the agent.
    Refused {
        /// Why.
        reason: String,
    },
    /// So many messages in a row made no sense that the agent's link is ended.
    Dismissed,
    /// The link to an agent outside this process could not be made, or broke.
    AgentLost {
        /// Why.
        fault: Fault,
    },
    /// What the agent hands to whoever goes on with the call.
    HandedOff {
        /// The agent's own text.
        data: String,
    },
    /// How long the caller waited for a turn that answers a prompt, once its first sound was heard.
    Answered {
        /// Which turn.
        turn: TurnId,
        /// Part by part.
        wait: Wait,
    },
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
    /// A prefix of the turn's text, cut at a word.
    pub text: String,
    /// How much of the turn's audio was played.
    pub played: Duration,
    /// The text was reckoned from the length of the audio, or the time from our own clock alone.
    pub estimated: bool,
    /// What there was to be heard, once the turn is over. For those who watch: no agent is told, and no tape holds it.
    #[serde(skip)]
    pub made: Made,
}

/// How much of a turn there was when it was over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Characters of the agent's text, spoken or not.
    pub chars: usize,
    /// Audio of the turn, played or not.
    pub audio: Duration,
    /// The voice that was to speak last; `None` if none was, or if the turn was played.
    pub voice: Option<VoiceIndex>,
}

/// The time between the caller's last sound and the first sound of the answer, part by part: their sum is the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// From the end of the caller's speech to the transcript.
    pub hearing: Duration,
    /// To the agent's first token.
    pub thinking: Duration,
    /// To the first text that the voice was given.
    pub gathering: Duration,
    /// To the first audio of it.
    pub speaking: Duration,
    /// To the first frame that was sent.
    pub sending: Duration,
    /// To the first mark that was heard.
    pub line: Duration,
}

impl Wait {
    /// The whole wait.
    pub fn total(&self) -> Duration {
        self.hearing + self.thinking + self.gathering + self.speaking + self.sending + self.line
    }
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
    /// A later turn took its place.
    Preempted,
    /// The call ended.
    CallEnded,
}

impl Cause {
    /// Its name in the API, in logs and in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::Speech => "speech",
            Cause::Dtmf => "dtmf",
            Cause::Request => "request",
            Cause::Preempted => "preempted",
            Cause::CallEnded => "call_ended",
        }
    }
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
    /// The agent was done with it.
    AgentDone,
    /// The agent was lost.
    AgentLost,
    /// The call lasted as long as it may.
    TimeUp,
    /// Neither side said anything for too long.
    Idle,
    /// The node could not keep it: it stopped and could not wait any longer, or it was full.
    SentAway,
}
