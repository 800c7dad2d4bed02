//! What is sent to OpenAI's `POST /v1/audio/speech` and understood of its errors, as OpenAI's API reference documents it.
//! The answer itself is audio and has no types.
//!
//! Self-hosted engines read the same request. Their errors differ: those built on FastAPI put theirs under `detail`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request for speech.
#[derive(Clone, Debug, Serialize)]
pub struct Request<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// The text, at most 4096 characters.
    pub input: &'a str,
    /// Who speaks.
    pub voice: Voice<'a>,
    /// `pcm`: headerless 16-bit samples, little-endian, one channel, 24 kHz with OpenAI.
    pub response_format: &'static str,
    /// 0.25 to 4.0, 1.0 if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<f32>,
    /// How to speak, in words; at most 4096 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<&'a str>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Voice<'a> {
    /// One of the server's voices.
    Name(&'a str),
    /// A voice of one's own, which has an id.
    Own {
        /// Its id.
        id: &'a str,
    },
}

/// The body of a refusal, as far as anybody documents one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// As OpenAI writes it: an object with a `code` and a `type`.
    pub error: Value,
    /// As FastAPI writes it: an object of the engine's with an `error` and a `type`, a list, or a text.
    pub detail: Value,
}
