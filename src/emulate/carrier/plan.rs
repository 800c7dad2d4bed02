//! What the emulated call is to do.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::caller::Clip;
use super::dial::Line;
use crate::ids::{CallSid, StreamSid};

/// An account's secret, with which requests are signed. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthToken(String);

impl AuthToken {
    /// Takes the secret as configured.
    pub fn new(secret: impl Into<String>) -> Self {
        AuthToken(secret.into())
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AuthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthToken(redacted)")
    }
}

/// When the caller hangs up. [`Plan::duration_max`] holds in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// When both sides have been silent for so long after the gateway's first audio. Clips whose moment has come or is
    /// known to come are waited for.
    AfterSilence(Duration),
    /// So long after `start`.
    After(Duration),
    /// Never; the gateway is expected to close the stream.
    WhenGatewayCloses,
}

/// How the carrier treats marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Marks {
    /// Echoed when the audio before them has been played, or at once when `clear` drops it.
    #[default]
    Normal,
    /// Never echoed, as a broken carrier would.
    Never,
    /// Echoed on arrival, before anything can have been heard, as another broken carrier would.
    AtOnce,
}

/// Sizes of the socket's buffers in bytes. Small, because a read buffer is zeroed before each read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Read buffer, 512 to 131,072.
    pub read: usize,
    /// Bytes collected before a write is forced, 0 to 131,072.
    pub write: usize,
}

impl Default for Buffers {
    fn default() -> Self {
        Buffers { read: 4 * 1024, write: 2 * 1024 }
    }
}

/// One emulated call.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The media-stream URL as the carrier was told it: `ws` or `wss`. This is also what is signed.
    pub url: String,
    /// How the URL is reached, and the secret for signing the upgrade.
    pub line: Line,
    /// Further headers of the upgrade request.
    pub headers: Vec<(String, String)>,
    /// Name of the call.
    pub call_sid: CallSid,
    /// Name of the stream.
    pub stream_sid: StreamSid,
    /// Name of the account, sent in `start` and `stop`.
    pub account_sid: String,
    /// Sent as `start.customParameters`.
    pub custom_parameters: BTreeMap<String, String>,
    /// What the caller says, in order. A clip whose moment passes while another is spoken follows it.
    pub caller: Vec<Clip>,
    /// Keys that the caller presses, each so long after `start`.
    pub dtmf: Vec<(Duration, char)>,
    /// Longest call; bounds the memory that log and recording take.
    pub duration_max: Duration,
    /// When the caller hangs up.
    pub hang_up: HangUp,
    /// Length of the caller's media frames in milliseconds, 10 to 200. Held to that range.
    pub frame_ms: u32,
    /// How marks are treated.
    pub marks: Marks,
    /// Sizes of the socket's buffers.
    pub buffers: Buffers,
}

impl Plan {
    /// A silent caller who hangs up after five seconds of silence, or after a minute.
    pub fn new(url: impl Into<String>, call_sid: CallSid, stream_sid: StreamSid) -> Self {
        Plan {
            url: url.into(),
            line: Line::default(),
            headers: Vec::new(),
            call_sid,
            stream_sid,
            account_sid: format!("AC{:032}", 1),
            custom_parameters: BTreeMap::new(),
            caller: Vec::new(),
            dtmf: Vec::new(),
            duration_max: Duration::from_secs(60),
            hang_up: HangUp::AfterSilence(Duration::from_secs(5)),
            frame_ms: 20,
            marks: Marks::Normal,
            buffers: Buffers::default(),
        }
    }
}

/// A fresh name of the carrier's shape: `prefix` and 32 hexadecimal digits.
///
/// # Errors
/// The system has no source of randomness.
pub fn random_sid(prefix: &str) -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{prefix}{:032x}", u128::from_be_bytes(bytes)))
}
