//! What a rule may look at: the text from one place on, as far as it is known and as far as a construct may reach.

use super::Rest;

/// A construct that is longer than this is taken as plain text, so that nothing is held back for longer.
pub(super) const CONSTRUCT_BYTES_MAX: usize = 256;

/// What a rule sees at the head of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<T> {
    /// Its construct.
    Yes(T),
    /// Something else.
    No,
    /// It depends on what follows.
    Unsure,
}

impl<T> Seen<T> {
    /// The construct with something else told of it.
    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Seen::Yes(construct) => Seen::Yes(f(construct)),
            Seen::No => Seen::No,
            Seen::Unsure => Seen::Unsure,
        }
    }
}

/// Text that begins where a rule is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead<'a> {
    pub(super) text: &'a str,
    rest: Rest,
}

impl<'a> Ahead<'a> {
    /// As much of `text` as a construct may take up. What lies beyond is as good as the end, so that a decision is the same
    /// however much of it is known.
    pub(super) fn new(text: &'a str, rest: Rest) -> Self {
        if text.len() <= CONSTRUCT_BYTES_MAX {
            return Ahead { text, rest };
        }
        let end = (0..=CONSTRUCT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        Ahead { text: text.get(..end).unwrap_or(text), rest: Rest::Complete }
    }

    /// The same from byte `at` on.
    pub(super) fn from(self, at: usize) -> Self {
        Ahead { text: self.text.get(at..).unwrap_or_default(), rest: self.rest }
    }

    /// What the end of the text means for a construct that is not whole.
    pub(super) fn at_end<T>(self) -> Seen<T> {
        match self.rest {
            Rest::Open => Seen::Unsure,
            Rest::Complete => Seen::No,
        }
    }

    /// Whether nothing follows, or not yet.
    pub(super) fn is_empty(self) -> bool {
        self.text.is_empty()
    }

    /// Whether more may follow.
    pub(super) fn is_open(self) -> bool {
        self.rest == Rest::Open
    }

    /// The first character.
    pub(super) fn first(self) -> Option<char> {
        self.text.chars().next()
    }

    /// Number of bytes at the head for which `is_part` holds.
    pub(super) fn run(self, is_part: impl Fn(char) -> bool) -> usize {
        self.text.len() - self.text.trim_start_matches(is_part).len()
    }

    /// Whether the text begins with `prefix`, in whatever case.
    pub(super) fn begins(self, prefix: &str) -> Seen<()> {
        let length = prefix.len().min(self.text.len());
        // Bytes, because the text may have a wide character where the prefix ends.
        let (Some(head), Some(wanted)) = (self.text.as_bytes().get(..length), prefix.as_bytes().get(..length)) else {
            return Seen::No;
        };
        match (head.eq_ignore_ascii_case(wanted), length == prefix.len()) {
            (false, _) => Seen::No,
            (true, true) => Seen::Yes(()),
            (true, false) => self.at_end(),
        }
    }
}
