//! Deepgram's Flux, `/v2/listen`, which finds turns. Source: Deepgram's API reference and its Python SDK 7.17.0.

use serde::Deserialize;

/// Ends the turn that the caller is in.
pub const FORCE_END_TURN: &str = r#"{"type":"ForceEndTurn"}"#;
/// Ends a session.
pub const CLOSE_STREAM: &str = r#"{"type":"CloseStream"}"#;

/// A message from the server.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub enum Message {
    /// The session takes audio.
    Connected,
    /// Where the turn stands.
    TurnInfo(TurnInfo),
    /// The session is over.
    Error {
        /// A short word of the vendor's.
        #[serde(default)]
        code: Option<String>,
    },
    /// Something newer, or of no consequence: warnings and answers to `Configure`, which is never sent.
    #[serde(other)]
    Unknown,
}

/// Where the turn stands.
#[derive(Debug, Deserialize)]
pub struct TurnInfo {
    /// What happened.
    pub event: TurnEvent,
    /// The whole turn so far.
    pub transcript: String,
    /// Language codes, the most spoken first; only of a model of several languages.
    #[serde(default)]
    pub languages: Vec<String>,
}

/// What happened to a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum TurnEvent {
    /// The caller began to speak: the moment to interrupt.
    StartOfTurn,
    /// More is known.
    Update,
    /// It is probably over; only with `eager_eot_threshold`.
    EagerEndOfTurn,
    /// It was not.
    TurnResumed,
    /// It is over.
    EndOfTurn,
    /// Something newer.
    #[serde(other)]
    Unknown,
}
