//! Deepgram's streaming recognition, `/v1/listen`. Source: Deepgram's API reference and its Python SDK 7.17.0.

use serde::Deserialize;

/// Without audio for ten seconds a session is closed, unless this comes. It and the next two must be text frames.
pub const KEEP_ALIVE: &str = r#"{"type":"KeepAlive"}"#;
/// Asks for every word of the audio so far. Answered by `Results` with `from_finalize`, unless there was next to nothing
/// to answer with.
pub const FINALIZE: &str = r#"{"type":"Finalize"}"#;
/// Ends a session: the last results, a summary and the server's close frame follow.
pub const CLOSE_STREAM: &str = r#"{"type":"CloseStream"}"#;

/// A message from the server.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub enum Message {
    /// Words of a stretch of audio.
    Results(Results),
    /// The caller began to speak; only with `vad_events`.
    SpeechStarted,
    /// There were no words for `utterance_end_ms`.
    UtteranceEnd,
    /// A summary, the last message of a session.
    Metadata,
    /// Something failed. Most failures are told by the close frame alone.
    Error {
        /// A short word of the vendor's.
        #[serde(default)]
        variant: Option<String>,
    },
    /// Something newer.
    #[serde(other)]
    Unknown,
}

/// Words of a stretch of audio.
#[derive(Debug, Deserialize)]
pub struct Results {
    /// Whether they stand; if not, the next message is about the same stretch again.
    #[serde(default)]
    pub is_final: bool,
    /// The caller fell silent at the end of the stretch, for as long as `endpointing` says.
    #[serde(default)]
    pub speech_final: bool,
    /// It answers a `Finalize`.
    #[serde(default)]
    pub from_finalize: bool,
    /// The words.
    pub channel: Channel,
}

/// The words of one channel.
#[derive(Debug, Deserialize)]
pub struct Channel {
    /// What may have been said, the best first.
    #[serde(default)]
    pub alternatives: Vec<Alternative>,
}

/// What may have been said.
#[derive(Debug, Deserialize)]
pub struct Alternative {
    /// The words; empty if there were none.
    pub transcript: String,
    /// Language codes, the most spoken first; only where several languages are understood at once.
    #[serde(default)]
    pub languages: Vec<String>,
}
