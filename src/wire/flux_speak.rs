//! Deepgram's Flux for speech, `/v2/speak`, both directions. Source: Deepgram's reference of Flux text to speech and its Python SDK
//! 7.17.0. What the vendor calls a turn is a speech here: text up to a `Flush`. One is spoken at a time, later ones wait. Audio
//! comes as binary frames without a name, between `SpeechStarted` and `SpeechMetadata`.

use serde::{Deserialize, Serialize};

/// A message to the server.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub enum Request<'a> {
    /// More text of the speech, joined to what came before.
    Speak {
        /// The text. Where one ends says nothing to the vendor.
        text: &'a str,
    },
    /// No more text of the speech.
    Flush,
    /// Ends the speech that is spoken.
    Interrupt {
        /// How much the caller heard; without it, the vendor reckons with all that it made.
        #[serde(skip_serializing_if = "Option::is_none")]
        playback_offset: Option<PlaybackOffset>,
    },
    /// How it is spoken from here on.
    Configure {
        /// 0.5 to 1.5 in steps of 0.05.
        speed: f32,
    },
}

/// A place in the audio of a session.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PlaybackOffset {
    /// Always `time_ms`.
    pub r#type: &'static str,
    /// Milliseconds from the beginning of the session, over all speeches; greater than in any `Interrupt` before.
    pub value: u64,
}

/// A message from the server.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub enum Response {
    /// The audio of a speech begins.
    SpeechStarted {
        /// The vendor's name for it.
        speech_id: String,
    },
    /// All audio of a speech has been sent.
    SpeechMetadata {
        /// The vendor's name for it.
        speech_id: String,
    },
    /// An `Interrupt` was obeyed.
    SpeechInterrupted {
        /// Where the session stands now, in milliseconds: what the next `Interrupt` has to go beyond.
        #[serde(default)]
        audio_played_ms: u64,
        /// What is told of the speech.
        #[serde(default)]
        metadata: Option<Interrupted>,
    },
    /// Something was not done as asked; the socket lives on.
    Warning {
        /// A word of the vendor's, such as `NO_ACTIVE_SPEECH`.
        #[serde(default)]
        code: Option<String>,
    },
    /// Something failed, and the socket closes.
    Error {
        /// A word of the vendor's, such as `DATA-0000`.
        #[serde(default)]
        code: Option<String>,
    },
    /// Something newer, or of no consequence: `Connected`, `Flushed`, which is not the end of a speech, `ConfigureSuccess`,
    /// `ConfigureFailure`, `SessionMetadata`.
    #[serde(other)]
    Unknown,
}

/// What is told of a speech that was interrupted.
#[derive(Debug, Deserialize)]
pub struct Interrupted {
    /// The vendor's name for it.
    pub speech_id: String,
}
