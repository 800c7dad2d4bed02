//! What became of things that are counted by their end.

/// What became of a recording that was to be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum ClipEnd {
    Fetched,
    Cached,
    Failed,
}

/// What became of a phrase: one that a call wanted, or one that was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum PhraseEnd {
    Hit,
    Miss,
    Made,
    Failed,
}

/// What became of spans of traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanEnd {
    /// The collector has them.
    Sent,
    /// There was no room for them.
    Dropped,
    /// The collector did not take them.
    Failed,
}

impl SpanEnd {
    pub(super) const fn name(self) -> &'static str {
        match self {
            SpanEnd::Sent => "sent",
            SpanEnd::Dropped => "dropped",
            SpanEnd::Failed => "failed",
        }
    }
}
