//! Gradium's streaming recognition, `/api/speech/asr`. Source: Gradium's API reference, its Python SDK 0.6.4 and its Rust
//! crate 0.1.16.

use serde::{Deserialize, Serialize};

/// A message to the server.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request<'a> {
    /// The first one. Nobody has to wait for `ready`.
    Setup {
        /// Model.
        model_name: &'a str,
        /// How the audio is written; fixed for the session.
        input_format: &'static str,
        /// Everything else.
        #[serde(skip_serializing_if = "Tuning::is_default")]
        json_config: Tuning<'a>,
    },
    /// Audio.
    Audio {
        /// Base64.
        audio: &'a str,
    },
    /// Asks for every word of the audio so far.
    Flush {
        /// Comes back in `flushed`.
        flush_id: u64,
    },
    /// No more audio will come.
    EndOfStream,
}

/// How speech is recognised.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tuning<'a> {
    /// ISO code; absent: found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<&'a str>,
    /// Frames of 80 ms that a word may be behind its sound: 7, 8, 10, 12, 14, 16, 20, 24, 32, 36 or 48. More frames make
    /// fewer mistakes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_in_frames: Option<u32>,
}

impl Tuning<'_> {
    fn is_default(&self) -> bool {
        *self == Tuning::default()
    }
}

/// A message from the server.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// The session takes audio.
    Ready,
    /// Words that stand, nearly always one.
    Text {
        /// The words, to be joined to those before with one space.
        text: String,
    },
    /// When the words before ended.
    EndText,
    /// Comes for every 80 ms of audio.
    Step {
        /// How likely the caller says nothing for so long, one for each of a few lengths.
        #[serde(default)]
        vad: Vec<Horizon>,
    },
    /// Every word before a `flush` has been sent, but for one or two that may trail it.
    Flushed {
        /// What the `flush` had, as a number or as text.
        #[serde(default)]
        flush_id: Option<serde_json::Value>,
    },
    /// No more words will come.
    EndOfStream,
    /// Something failed. The socket is closed with the same code.
    Error {
        /// Close code (RFC 6455, section 7.4).
        #[serde(default)]
        code: Option<u16>,
    },
    /// Something newer.
    #[serde(other)]
    Unknown,
}

/// How likely the caller says nothing for a while.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Horizon {
    /// The length in seconds.
    pub horizon_s: f64,
    /// 0 to 1.
    pub inactivity_prob: f64,
}
