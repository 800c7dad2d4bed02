//! Gradium's streaming speech, `/api/speech/tts`, many requests on one socket. Source: Gradium's API reference, its Python
//! SDK 0.6.4 and its Rust crate 0.1.16.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A message to the server.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request<'a> {
    /// The first one of a request. Nobody has to wait for `ready`.
    Setup {
        /// Model.
        model_name: &'a str,
        /// Voice.
        voice_id: &'a str,
        /// `pcm_` and a rate, `ulaw_8000` or `alaw_8000`: headerless samples, mono, PCM with 16 bits.
        output_format: &'a str,
        /// Name of the request, which stands in every message about it. Never that of one that is still live.
        client_req_id: &'a str,
        /// Whether the server closes the socket when the request is over. It does unless it is told not to.
        close_ws_on_eos: bool,
        /// A JSON object, written as text.
        #[serde(skip_serializing_if = "Option::is_none")]
        json_config: Option<&'a str>,
    },
    /// Text, joined with exactly one space to what the request got before.
    Text {
        /// Whole words. `<flush>` in it asks for the audio of all text up to there.
        text: &'a str,
        /// Whose.
        client_req_id: &'a str,
    },
    /// No more text will come for the request. Without a name it would end the socket.
    EndOfStream {
        /// Whose.
        client_req_id: &'a str,
    },
}

/// A message from the server. Flat, since an error may lack any of its fields.
#[derive(Debug, Deserialize)]
pub struct Response {
    /// `ready`, `audio`, `text`, `flushed`, `need_more_text`, `end_of_stream`, `error`, or something newer.
    pub r#type: String,
    /// Whose; an error may not say.
    #[serde(default)]
    pub client_req_id: Option<String>,
    /// Of `audio`: base64 of headerless samples, of any length.
    #[serde(default)]
    pub audio: Option<String>,
    /// Of `text`: a word, or a few, without the white space around.
    #[serde(default)]
    pub text: Option<String>,
    /// Of `text`: seconds from the start of the request's audio.
    #[serde(default)]
    pub start_s: Option<f64>,
    /// Of `text`: the same of its end; may be missing.
    #[serde(default)]
    pub stop_s: Option<f64>,
    /// Of `error`: the code with which the socket is closed, if all of it fails.
    #[serde(default)]
    pub code: Option<Value>,
    /// Of `error`: words for people.
    #[serde(default)]
    pub message: Option<String>,
}
