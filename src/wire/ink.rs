//! Cartesia's Ink, which writes down speech: both of its WebSockets, the one that finds turns (`/stt/turns/websocket`) and
//! the one that is told when to finalise (`/stt/websocket`). Source: Cartesia's API reference and its Python SDK 4.2.0.

use serde::Deserialize;

/// Ends a session of the socket that finds turns: JSON there.
pub const CLOSE_TURNS: &str = r#"{"type":"close"}"#;
/// Ends a session of the other one: bare text there. In 2025 it was `done`.
pub const CLOSE_MANUAL: &str = "close";
/// Asks for every word of the audio so far; on the socket that finds turns there is no such request.
pub const FINALIZE: &str = "finalize";

/// A message from the server, of either socket.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub enum Message {
    /// The session takes audio. Nobody has to wait for it.
    #[serde(rename = "connected")]
    Connected,
    /// The caller began to speak.
    #[serde(rename = "turn.start")]
    TurnStart,
    /// More of the turn is known.
    #[serde(rename = "turn.update")]
    TurnUpdate {
        /// The whole turn so far.
        transcript: String,
    },
    /// The turn is probably over.
    #[serde(rename = "turn.eager_end")]
    TurnEagerEnd {
        /// The whole turn so far.
        transcript: String,
    },
    /// It was not.
    #[serde(rename = "turn.resume")]
    TurnResume,
    /// The turn is over.
    #[serde(rename = "turn.end")]
    TurnEnd {
        /// The whole turn.
        transcript: String,
    },
    /// Words, where there are no turns.
    #[serde(rename = "transcript")]
    Transcript(Transcript),
    /// Every word before a `finalize` has been sent.
    #[serde(rename = "flush_done")]
    FlushDone,
    /// Every word before a `close` has been sent.
    #[serde(rename = "done")]
    Done,
    /// Something failed.
    #[serde(rename = "error")]
    Error(Failure),
    /// Something newer.
    #[serde(other)]
    Unknown,
}

/// Words, where there are no turns.
#[derive(Debug, Deserialize)]
pub struct Transcript {
    /// A piece that is joined to those before without a space added or taken.
    pub text: String,
    /// Whether it stands; if not, the next piece replaces it.
    #[serde(default)]
    pub is_final: bool,
    /// ISO code.
    #[serde(default)]
    pub language: Option<String>,
}

/// What failed. Title and message are for people and may quote what was said.
#[derive(Debug, Deserialize)]
pub struct Failure {
    /// HTTP-like.
    #[serde(default)]
    pub status_code: Option<u16>,
    /// A short word of the vendor's.
    #[serde(default)]
    pub error_code: Option<String>,
}
