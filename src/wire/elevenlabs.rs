//! ElevenLabs' `multi-stream-input` WebSocket, many contexts on one socket. Source: ElevenLabs' API reference, and the
//! messages that pipecat 1.14 and livekit's plugin 1.8 exchange with it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A message to the server about one context. What is absent is not written.
#[derive(Debug, Default, Serialize)]
pub struct Request<'a> {
    /// Text, joined verbatim to what the context got before. A single space in the first message of a context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    /// Any string, never used twice.
    pub context_id: &'a str,
    /// How the context sounds. In its first message and in no other: the server closes the socket otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice_settings: Option<VoiceSettings>,
    /// Speak what is held back. For a name that the server never saw it opens a context.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub flush: bool,
    /// No more text will come. What was flushed is still spoken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub close_context: bool,
}

/// How a context sounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct VoiceSettings {
    /// 0 to 1: how much one reading is like the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stability: Option<f32>,
    /// 0 to 1: how close it keeps to the original voice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity_boost: Option<f32>,
    /// 0.7 to 1.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<f32>,
}

/// A message from the server. It has no type: its fields say what it is. Names are in camel case; some pages of the
/// reference show snake case.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// Whose; an error may not say.
    #[serde(default, alias = "context_id")]
    pub context_id: Option<String>,
    /// Base64 of headerless samples, of any length.
    #[serde(default)]
    pub audio: Option<String>,
    /// When the characters of the text are spoken; its times begin anew in every message.
    #[serde(default)]
    pub alignment: Option<Alignment>,
    /// The same for the characters as they are pronounced.
    #[serde(default, alias = "normalized_alignment")]
    pub normalized_alignment: Option<Alignment>,
    /// Nothing more comes of the context.
    #[serde(default, alias = "is_final")]
    pub is_final: Option<bool>,
    /// A short word for what went wrong.
    #[serde(default)]
    pub error: Option<String>,
    /// The same in words for people.
    #[serde(default)]
    pub message: Option<String>,
    /// The code with which the socket is closed then.
    #[serde(default)]
    pub code: Option<Value>,
}

/// Three lists of equal length.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alignment {
    /// Characters of the text, white space included.
    #[serde(default, alias = "characters")]
    pub chars: Vec<String>,
    /// Milliseconds from the start of the audio of the same message.
    #[serde(default, alias = "char_start_times_ms")]
    pub char_start_times_ms: Vec<f64>,
    /// Milliseconds.
    #[serde(default, alias = "char_durations_ms")]
    pub char_durations_ms: Vec<f64>,
}
