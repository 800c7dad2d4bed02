//! Reads an agent's text token by token and says how it is spoken.
//!
//! Each rule looks at the text from one place on and either knows its construct, or knows that it is none, or waits for what
//! follows. So the result does not depend on how the text was cut into tokens, and no construct is ever cut. `lines.rs` has
//! what depends on the place in a line, `inline.rs` the rest.

use super::Rest;
use super::address;
use super::ahead::{Ahead, Seen};
use super::digits::Words;
use super::piece::{Leans, Piece};
use crate::call::settings::{self, Buffering};

/// What a line is, as far as it matters to how it is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing but white space and quotation marks has been read of it.
    Start,
    /// The mark of a list's item has been read.
    Bullet,
    /// It ends like a sentence, whether it is written so or not: a heading, or an item of a list.
    Alone,
    /// A row of a table.
    Row,
    /// Part of a paragraph.
    Text,
}

/// What the text goes on with that is not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// Nothing: it is spoken.
    Speech,
    /// A fenced block, opened by so many of a mark. `is_start` says that a line of it begins.
    Fence { mark: char, marks: usize, is_start: bool },
    /// The path of an address with so many open brackets.
    Path { depth: usize },
}

/// Reads the text of one turn.
#[derive(Clone, Debug)]
pub(crate) struct Scribe {
    pub(super) rules: settings::Text,
    /// Where the rules need words, they have English ones.
    pub(super) is_english: bool,
    /// The mark at the end of a sentence is not kept waiting, although it may stand in an address. Whoever collects whole
    /// sentences waits for what follows anyway; a vendor speaks when it has the mark.
    pub(super) is_eager: bool,
    /// Text that may still turn into something else.
    held: String,
    /// The character before, as it was written.
    pub(super) before: Option<char>,
    /// The last character that was spoken, white space aside.
    pub(super) spoken: Option<char>,
    pub(super) line: Line,
    pub(super) inside: Inside,
    /// Open emphasis marks: `*`, `_`, `~`.
    pub(super) open: [usize; 3],
    pub(super) words: Words,
    pub(super) in_link: bool,
    /// A pictograph was removed behind white space, so that the space after it is one too many.
    pub(super) swallows_space: bool,
}

impl Scribe {
    /// A scribe that keeps to `rules` and writes for a voice that gathers text as `buffering` says.
    pub(crate) fn new(rules: settings::Text, buffering: Buffering) -> Self {
        Scribe {
            rules,
            is_english: rules.english,
            is_eager: matches!(buffering, Buffering::Vendor { .. }),
            held: String::new(),
            before: None,
            spoken: None,
            line: Line::Start,
            inside: Inside::Speech,
            open: [0; 3],
            words: Words::default(),
            in_link: false,
            swallows_space: false,
        }
    }

    /// Whether the end of a turn is closed with a full stop.
    pub(crate) fn closes(&self) -> bool {
        self.rules.closing
    }

    /// The language of what comes next, if it is known.
    pub(crate) fn set_language(&mut self, language: Option<&str>) {
        self.is_english = language.map_or(self.rules.english, settings::is_english);
    }

    /// Reads more; what is certain goes to `piece`.
    pub(crate) fn push(&mut self, text: &str, piece: &mut Piece) {
        if self.rules.keeps_all() {
            piece.keep(text);
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        let text = if held.is_empty() {
            text
        } else {
            held.push_str(text);
            &held
        };
        let read = self.read(text, Rest::Open, piece);
        self.held = text.get(read..).unwrap_or_default().to_owned();
    }

    /// No more comes that could change the meaning of what is held.
    pub(crate) fn settle(&mut self, piece: &mut Piece) {
        let held = std::mem::take(&mut self.held);
        self.read(&held, Rest::Complete, piece);
    }

    /// Reads as far as it can; the number of bytes.
    pub(super) fn read(&mut self, text: &str, rest: Rest, piece: &mut Piece) -> usize {
        let mut at = 0;
        while let Some(tail) = text.get(at..).filter(|tail| !tail.is_empty()) {
            let length = self.step(tail, rest, piece);
            at += match (length, rest) {
                (0, Rest::Open) => break,
                // No rule waits at the end, and if one did, the text would be lost.
                (0, Rest::Complete) => self.keep_first(tail, piece),
                (length, _) => length,
            };
        }
        at
    }

    /// Reads one thing; 0 if it depends on what follows.
    fn step(&mut self, text: &str, rest: Rest, piece: &mut Piece) -> usize {
        let ahead = Ahead::new(text, rest);
        match self.inside {
            Inside::Fence { mark, marks, is_start } => return self.fenced(text, rest, (mark, marks, is_start), piece),
            Inside::Path { mut depth } => match address::path(ahead, &mut depth) {
                Seen::Yes(length) => {
                    self.inside = Inside::Path { depth };
                    return self.remove(text, length, Leans::Before, piece);
                }
                Seen::No => self.inside = Inside::Speech,
                Seen::Unsure => return 0,
            },
            Inside::Speech => {}
        }
        if self.rules.markdown
            && let Some(length) = self.line_head(ahead, piece)
        {
            return length;
        }
        self.inline(ahead, piece)
    }

    pub(super) fn keep_first(&mut self, text: &str, piece: &mut Piece) -> usize {
        self.keep(text, text.chars().next().map_or(0, char::len_utf8), piece)
    }

    pub(super) fn keep(&mut self, text: &str, length: usize, piece: &mut Piece) -> usize {
        let text = text.get(..length).unwrap_or_default();
        piece.keep(text);
        self.words.read(text);
        self.before = text.chars().next_back().or(self.before);
        self.spoken = text.trim_end().chars().next_back().or(self.spoken);
        length
    }

    pub(super) fn remove(&mut self, text: &str, length: usize, leans: Leans, piece: &mut Piece) -> usize {
        let text = text.get(..length).unwrap_or_default();
        piece.remove(text, leans);
        self.before = text.chars().next_back().or(self.before);
        length
    }

    pub(super) fn replace(&mut self, text: &str, length: usize, spoken: &str, piece: &mut Piece) -> usize {
        let text = text.get(..length).unwrap_or_default();
        piece.replace(text, spoken);
        self.words.read(text);
        self.before = text.chars().next_back().or(self.before);
        self.spoken = spoken.trim_end().chars().next_back().or(self.spoken);
        length
    }
}
