//! Rime's `/ws3` WebSocket. Source: Rime's API reference, and the messages that pipecat 1.14 exchanges with it.

use serde::{Deserialize, Serialize};

/// Text to be spoken.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Text<'a> {
    /// The text.
    pub text: &'a str,
    /// Comes back in what is spoken of it. The server keeps one such name at a time, the last that it was given.
    pub context_id: &'a str,
}

/// Something that concerns all that the socket holds: an operation bears no name.
#[derive(Debug, Serialize)]
pub struct Operation {
    /// `flush` speaks what is held, `clear` drops it.
    pub operation: &'static str,
}

/// A message from the server. Flat, since an error may lack any of its fields.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// `chunk`, `timestamps`, `done`, `error`, or something newer.
    pub r#type: String,
    /// Whose; an error may not say.
    #[serde(default)]
    pub context_id: Option<String>,
    /// Of `chunk`: base64 of headerless samples, of any length.
    #[serde(default)]
    pub data: Option<String>,
    /// Of `timestamps`.
    #[serde(default, rename = "word_timestamps")]
    pub word_timestamps: Option<WordTimestamps>,
    /// Of `error`: words for people.
    #[serde(default)]
    pub message: Option<String>,
}

/// Three lists of equal length.
#[derive(Debug, Default, Deserialize)]
pub struct WordTimestamps {
    /// The words.
    #[serde(default)]
    pub words: Vec<String>,
    /// Seconds from the start of what is synthesised at the moment.
    #[serde(default)]
    pub start: Vec<f64>,
    /// The same.
    #[serde(default)]
    pub end: Vec<f64>,
}
