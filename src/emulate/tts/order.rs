//! What a client wants of a context: how it is spoken, when it ends, and what comes for it.

use std::time::Duration;

use super::speaker::SampleEncoding;

/// What a client ordered for a context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::emulate) struct Order {
    pub(in crate::emulate) encoding: SampleEncoding,
    /// Samples a second.
    pub(in crate::emulate) rate: u32,
    pub(in crate::emulate) buffering: Buffering,
    /// Word times are wanted.
    pub(in crate::emulate) timestamps: bool,
    pub(in crate::emulate) speed: Option<f32>,
    pub(in crate::emulate) volume: Option<f32>,
}

/// Which text is spoken before a flush or the end asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulate) enum Buffering {
    /// All of it.
    AtOnce,
    /// Whole sentences, and after this delay everything.
    Sentences(Option<Duration>),
    /// Whole sentences, and of a long one all but the last few words.
    Lagging,
    /// Whole words, when so many characters are there.
    Filled(usize),
}

/// When a context ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulate) enum Lifetime {
    /// So long after its last audio, if no text waits.
    AfterAudio(Duration),
    /// So long after the client's last message for it, if no text waits.
    AfterInput(Duration),
    /// So long after its beginning, whatever it is at.
    Whole(Duration),
    Endless,
}

impl Lifetime {
    /// The same rule with another length.
    pub(super) fn lasting(self, length: Duration) -> Self {
        match self {
            Lifetime::AfterAudio(_) => Lifetime::AfterAudio(length),
            Lifetime::AfterInput(_) => Lifetime::AfterInput(length),
            Lifetime::Whole(_) => Lifetime::Whole(length),
            Lifetime::Endless => Lifetime::Endless,
        }
    }
}

/// Part of what came for a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::emulate) enum Part {
    Text(String),
    /// All text so far is to be spoken now.
    Flush,
    /// A pause of so many milliseconds.
    Break(u32),
    /// Text that nobody asked to be spoken yet is forgotten.
    Discard,
}

/// One message for a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::emulate) struct Input {
    /// The transcript as it came, for the journal; `None` if the message had none.
    pub(in crate::emulate) shown: Option<String>,
    pub(in crate::emulate) parts: Vec<Part>,
    /// More inputs may follow.
    pub(in crate::emulate) more: bool,
}

/// Why a context is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulate) enum Stop {
    /// The client cancelled it.
    Cancel,
    /// The client broke a rule; the error is already on its way.
    Fail,
}
