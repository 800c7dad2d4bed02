//! Cartesia's TTS WebSocket, both directions. Source: Cartesia's API reference and its Python SDK 4.2.0.

use serde::{Deserialize, Serialize};

/// A generation request. All fields but `transcript`, `continue` and `flush` must be the same in every request of a
/// context, so one value is built per context and those three are varied.
#[derive(Debug, Serialize)]
pub struct Request<'a> {
    /// Model.
    pub model_id: &'a str,
    /// Text, joined verbatim to what the context got before. Empty only to flush or to finish.
    pub transcript: &'a str,
    /// Voice.
    pub voice: Voice<'a>,
    /// ISO code; fixed for the context.
    pub language: &'a str,
    /// Any string, never used twice.
    pub context_id: &'a str,
    /// What the audio has to look like.
    pub output_format: OutputFormat,
    /// More text may follow on this context.
    pub r#continue: bool,
    /// Speak what is buffered.
    pub flush: bool,
    /// Longest wait for more text in milliseconds, 0 to 5000. Always sent, because its default depends on the version.
    pub max_buffer_delay_ms: u32,
    /// Send word times.
    pub add_timestamps: bool,
    /// Word times for the words as written.
    pub use_normalized_timestamps: bool,
    /// How it has to sound.
    #[serde(skip_serializing_if = "GenerationConfig::is_default")]
    pub generation_config: GenerationConfig<'a>,
}

/// A voice by its id.
#[derive(Debug, Serialize)]
pub struct Voice<'a> {
    /// Always `id`.
    pub mode: &'static str,
    /// The vendor's id.
    pub id: &'a str,
}

/// What the audio has to look like.
#[derive(Debug, Serialize)]
pub struct OutputFormat {
    /// Always `raw`.
    pub container: &'static str,
    /// `pcm_s16le`, `pcm_mulaw` or `pcm_alaw`.
    pub encoding: &'static str,
    /// 8000, 16000, 22050, 24000, 44100 or 48000.
    pub sample_rate: u32,
}

/// How it has to sound.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct GenerationConfig<'a> {
    /// 0.6 to 1.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<f32>,
    /// 0.5 to 2.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<f32>,
    /// One of the vendor's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emotion: Option<&'a str>,
}

impl GenerationConfig<'_> {
    fn is_default(&self) -> bool {
        *self == GenerationConfig::default()
    }
}

/// Ends a context early.
#[derive(Debug, Serialize)]
pub struct Cancel<'a> {
    /// Which.
    pub context_id: &'a str,
    /// Always true.
    pub cancel: bool,
}

/// A message from the server. Flat, since an error may lack any of its fields.
#[derive(Debug, Deserialize)]
pub struct Response {
    /// `chunk`, `timestamps`, `flush_done`, `done`, `error`, or something newer.
    pub r#type: String,
    /// Whose; an error may not say.
    #[serde(default)]
    pub context_id: Option<String>,
    /// Of `chunk`: base64 of headerless samples, of any length.
    #[serde(default)]
    pub data: Option<String>,
    /// Of `timestamps`.
    #[serde(default)]
    pub word_timestamps: Option<WordTimestamps>,
    /// HTTP-like; means something for `error` only.
    #[serde(default)]
    pub status_code: Option<u16>,
    /// Of `error` from version 2026-03-01 on.
    #[serde(default)]
    pub error_code: Option<String>,
}

/// Three lists of equal length.
#[derive(Debug, Default, Deserialize)]
pub struct WordTimestamps {
    /// The words.
    #[serde(default)]
    pub words: Vec<String>,
    /// Seconds from the start of the context's audio.
    #[serde(default)]
    pub start: Vec<f64>,
    /// Seconds from the start of the context's audio.
    #[serde(default)]
    pub end: Vec<f64>,
}
