//! Deepgram's Aura, `/v1/speak`, both directions. Source: Deepgram's reference of text to speech over WebSockets and its Python
//! SDK 7.17.0. Audio comes as binary frames without a name: headerless samples of any length.

use serde::{Deserialize, Serialize};

/// A message to the server. All of them concern the one text that the socket has.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub enum Request<'a> {
    /// More text, joined to what came before.
    Speak {
        /// The text, at most 2000 characters.
        text: &'a str,
    },
    /// Speak what there is now, without waiting for more. At most 20 in 60 s are obeyed.
    Flush,
    /// Forget text and audio that were not sent yet.
    Clear,
}

/// A message from the server.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub enum Response {
    /// All audio of the text before a `Flush` has been sent.
    Flushed,
    /// A `Clear` has been obeyed: what follows is the speech of later text.
    Cleared,
    /// Something was not done as asked; the socket lives on.
    Warning {
        /// A word of the vendor's; older servers send none.
        #[serde(default)]
        code: Option<String>,
    },
    /// Something failed. Most failures are told by the close frame alone.
    Error {
        /// A word of the vendor's, such as `DATA-0000`.
        #[serde(default)]
        code: Option<String>,
    },
    /// Something newer, or of no consequence: `Metadata`.
    #[serde(other)]
    Unknown,
}
