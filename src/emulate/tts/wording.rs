//! What happens to a context, and how a vendor says it.

use crate::voice::Word;

/// One frame for the client, or the end of the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::emulate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Close(u16, &'static str),
}

/// Why a context ends with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulate) struct Failure {
    /// 400 if the client is to blame, 500 if not.
    pub(in crate::emulate) status: u16,
    pub(in crate::emulate) title: &'static str,
    pub(in crate::emulate) message: &'static str,
    /// The message says whose it is, where the protocol has ids.
    pub(in crate::emulate) named: bool,
}

impl Failure {
    /// A mistake of the client.
    pub(in crate::emulate) const fn invalid(message: &'static str) -> Self {
        Self { status: 400, title: "Invalid request", message, named: true }
    }

    /// A mistake of the server.
    pub(in crate::emulate) const fn internal(title: &'static str, message: &'static str) -> Self {
        Self { status: 500, title, message, named: true }
    }
}

/// One piece of audio.
#[derive(Clone, Copy, Debug)]
pub(in crate::emulate) struct Piece<'a> {
    /// The samples, encoded as they were asked for; cut anywhere if a fault wants it.
    pub(in crate::emulate) bytes: &'a [u8],
    /// Where the piece begins and ends in the audio of the context, in milliseconds.
    pub(in crate::emulate) from_ms: u64,
    pub(in crate::emulate) to_ms: u64,
    /// How many flushes were answered before, plus one.
    pub(in crate::emulate) flush_id: u32,
    /// How long it took to make, in milliseconds.
    pub(in crate::emulate) step_ms: f64,
}

/// What happens to a context.
#[derive(Clone, Copy, Debug)]
pub(in crate::emulate) enum Event<'a> {
    /// Its first audio is about to come, and word times with it if they are wanted and no fault withholds them.
    Started {
        timed: bool,
    },
    /// The times of some words, in milliseconds from the first sample of the context.
    Words {
        words: &'a [Word],
        /// Where the text of these words begins.
        text_from_ms: u32,
        flush_id: u32,
    },
    Audio(Piece<'a>),
    /// A fault: the same audio, of a context that nobody began.
    Stray(Piece<'a>),
    /// All that came before a flush was sent.
    Flushed {
        flush_id: u32,
    },
    /// All was sent, and no more text can come.
    Done {
        samples: u64,
    },
    /// Its time is up.
    Expired,
    /// Text came when its time was just up.
    TooLate,
    Failed(Failure),
    /// The `n`-th of some frames that are no protocol messages.
    Garbage(u32),
    /// The `n`-th of some messages that are not known yet.
    Unknown(u32),
}

/// How a vendor says what happens to one context. Nothing is said of what the protocol has no words for.
pub(in crate::emulate) trait Wording: Send + 'static {
    /// The frames for `event`, in order.
    fn say(&mut self, event: Event<'_>) -> Vec<Frame>;
}

/// A message of no known type that has `kib` KiB, whatever the vendor.
pub(super) fn huge(kib: u32) -> Frame {
    let padding = "x".repeat(usize::try_from(kib).unwrap_or_default() * 1_024);
    Frame::Text(serde_json::json!({ "type": "server_notice", "notice": padding }).to_string())
}
