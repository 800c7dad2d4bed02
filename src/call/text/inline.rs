//! What stands within a line: emphasis, links, code, tags, addresses, numbers, pictures and signs.

use icu_properties::CodePointSetData;
use icu_properties::props::{EmojiPresentation, ExtendedPictographic};

use super::Rest;
use super::address::{self, Address};
use super::ahead::{Ahead, Seen};
use super::digits::{self, Cue};
use super::markdown::{self, Emphasis};
use super::piece::{Leans, Piece};
use super::scribe::{Inside, Line, Scribe};

impl Scribe {
    /// What stands within a line.
    pub(super) fn inline(&mut self, ahead: Ahead<'_>, piece: &mut Piece) -> usize {
        let Some(first) = ahead.first() else { return 0 };
        if first != ' ' && !is_modifier(first) && !is_pictograph(first) {
            self.swallows_space = false;
        }
        let is_mid_word = self.before.is_some_and(char::is_alphanumeric);
        match first {
            '\n' => self.line_end(ahead, piece),
            ' ' | '\t' | '\r' => self.white(ahead, piece),
            '<' => self.tag(ahead, piece),
            '|' if self.line == Line::Row => self.white(ahead, piece),
            '.' | '_' | '-' | '+' | '@' if self.rules.urls && self.is_english && is_mid_word => {
                let seen = address::person(ahead, self.is_eager);
                self.or_mark(ahead, seen.map(|address| (address.length, address.spoken)), piece)
            }
            '+' | '(' | '0'..='9' if !is_mid_word => self.word(ahead, piece),
            c if is_modifier(c) || is_pictograph(c) => self.pictograph(ahead.text, c, piece),
            c if c.is_ascii_alphanumeric() && !self.before.is_some_and(|c| c.is_ascii_alphanumeric()) => {
                self.word(ahead, piece)
            }
            c if c.is_alphanumeric() => self.letters(ahead.text, piece),
            _ => self.mark(ahead, piece),
        }
    }

    /// Removes, replaces or keeps a mark.
    fn mark(&mut self, ahead: Ahead<'_>, piece: &mut Piece) -> usize {
        let Some(first) = ahead.first() else { return 0 };
        let is_behind_space = self.before.is_none_or(char::is_whitespace);
        match first {
            '\\' | '`' | '[' | '!' | '*' | '_' | '~' if self.rules.markdown => self.markup(ahead, first, piece),
            '&' | '→' | '⇒' | '-' | '=' if self.rules.symbols && is_behind_space => {
                let (length, word) = match first {
                    '&' => (1, if self.is_english { "and" } else { "&" }),
                    '→' | '⇒' => (first.len_utf8(), ","),
                    _ => (2, ","),
                };
                let arrow = if length == 2 { ahead.from(1).begins(">") } else { Seen::Yes(()) };
                let seen = match (arrow, ahead.from(length).first()) {
                    (Seen::Yes(()), Some(c)) if c.is_whitespace() => Seen::Yes((length, word.to_owned())),
                    (Seen::Yes(()), None) => ahead.at_end(),
                    (Seen::Yes(()), Some(_)) | (Seen::No, _) => Seen::No,
                    (Seen::Unsure, _) => Seen::Unsure,
                };
                self.or_keep(ahead, seen, piece)
            }
            '#' if self.rules.symbols && self.is_english => {
                let seen = digits::rank(ahead, self.before, self.words.cue());
                let word = if self.words.cue() == Cue::Number { "" } else { "number " };
                let seen = seen.map(|_| (1, word.to_owned()));
                if let Seen::Yes(_) = seen {
                    self.words.read(" number ");
                }
                self.or_keep(ahead, seen, piece)
            }
            _ => self.keep_first(ahead.text, piece),
        }
    }

    /// Markdown that does not stand at the head of a line.
    fn markup(&mut self, ahead: Ahead<'_>, first: char, piece: &mut Piece) -> usize {
        match first {
            '\\' => match ahead.from(1).first() {
                None if ahead.is_open() => 0,
                Some(c) if "\\`*_{}[]()#+-.!|~<>".contains(c) => {
                    let removed = self.remove(ahead.text, 1, Leans::After, piece);
                    removed + self.keep_first(ahead.from(1).text, piece)
                }
                None | Some(_) => self.keep_first(ahead.text, piece),
            },
            '`' => match markdown::code(ahead) {
                Seen::Yes((ticks, length)) => {
                    self.remove(ahead.text, ticks, Leans::After, piece);
                    self.keep(ahead.from(ticks).text, length, piece);
                    self.remove(ahead.from(ticks + length).text, ticks, Leans::Before, piece);
                    length + 2 * ticks
                }
                Seen::No => self.keep(ahead.text, ahead.run(|c| c == '`'), piece),
                Seen::Unsure => 0,
            },
            '!' => match ahead.from(1).first() {
                // At the end of a sentence it is no picture's.
                _ if self.before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '!' | '?')) => {
                    self.keep_first(ahead.text, piece)
                }
                None if ahead.is_open() => 0,
                Some('[') => self.link(ahead, 1, piece),
                None | Some(_) => self.keep_first(ahead.text, piece),
            },
            '[' => self.link(ahead, 0, piece),
            _ => self.emphasis(ahead, first, piece),
        }
    }

    fn emphasis(&mut self, ahead: Ahead<'_>, mark: char, piece: &mut Piece) -> usize {
        let kind = match mark {
            '*' => 0,
            '_' => 1,
            _ => 2,
        };
        let open = self.open.get(kind).copied().unwrap_or_default();
        let (open, length) = match markdown::emphasis(ahead, mark, self.before, open) {
            Seen::Yes(Emphasis::Opens(marks)) => (open + marks, self.remove(ahead.text, marks, Leans::After, piece)),
            Seen::Yes(Emphasis::Closes(marks)) => (open - marks, self.remove(ahead.text, marks, Leans::Before, piece)),
            Seen::Yes(Emphasis::Plain(marks)) => (open, self.keep(ahead.text, marks, piece)),
            Seen::No | Seen::Unsure => return 0,
        };
        if let Some(slot) = self.open.get_mut(kind) {
            *slot = open;
        }
        length
    }

    /// A link, or a picture with one mark before its bracket.
    fn link(&mut self, ahead: Ahead<'_>, marks: usize, piece: &mut Piece) -> usize {
        let bracket = ahead.from(marks);
        // A picture may be the text of a link; a link may not.
        let seen = if self.in_link && marks == 0 { Seen::No } else { markdown::link(bracket) };
        match seen {
            Seen::Yes(link) => {
                let text = bracket.text.get(1..link.text_end).unwrap_or_default();
                self.remove(ahead.text, marks + 1, Leans::After, piece);
                self.read_whole(text, piece);
                self.remove(bracket.from(link.text_end).text, link.end - link.text_end, Leans::Before, piece);
                marks + link.end
            }
            Seen::No => self.keep(ahead.text, marks + 1, piece),
            Seen::Unsure => 0,
        }
    }

    /// Reads text that ends where it ends.
    fn read_whole(&mut self, text: &str, piece: &mut Piece) {
        let outer = std::mem::replace(&mut self.in_link, true);
        self.read(text, Rest::Complete, piece);
        self.in_link = outer;
        self.inside = Inside::Speech;
    }

    /// Tags belong to the voice. An address between their brackets is none.
    fn tag(&mut self, ahead: Ahead<'_>, piece: &mut Piece) -> usize {
        let length = match markdown::tag(ahead) {
            Seen::Yes(length) => length,
            Seen::No => return self.keep_first(ahead.text, piece),
            Seen::Unsure => return 0,
        };
        let inner = ahead.text.get(1..length - 1).unwrap_or_default();
        let is_address = (inner.contains("://") || inner.contains('@')) && !inner.contains(char::is_whitespace);
        if !self.rules.markdown || !is_address {
            return self.keep(ahead.text, length, piece);
        }
        self.remove(ahead.text, 1, Leans::After, piece);
        self.read_whole(inner, piece);
        self.remove(ahead.from(length - 1).text, 1, Leans::Before, piece);
        length
    }

    /// A word that may be an address, a number or a code.
    fn word(&mut self, ahead: Ahead<'_>, piece: &mut Piece) -> usize {
        let is_mark = matches!(ahead.first(), Some('+' | '('));
        if self.rules.urls && self.is_english && !is_mark {
            match address::mail_prefix(ahead) {
                Seen::Yes(length) => return self.remove(ahead.text, length, Leans::After, piece),
                Seen::No => {}
                Seen::Unsure => return 0,
            }
            match address::page(ahead) {
                Seen::Yes(Address { length, spoken, has_path }) => {
                    if has_path {
                        self.inside = Inside::Path { depth: 0 };
                    }
                    return self.replace(ahead.text, length, &spoken, piece);
                }
                Seen::No => {}
                Seen::Unsure => return 0,
            }
            match address::person(ahead, self.is_eager) {
                Seen::Yes(address) => return self.replace(ahead.text, address.length, &address.spoken, piece),
                Seen::No => {}
                Seen::Unsure => return 0,
            }
        }
        if self.rules.digits {
            let cue = self.words.cue();
            let plus = if self.is_english { "plus " } else { "+" };
            let is_number = is_mark || ahead.first().is_some_and(|c| c.is_ascii_digit());
            let seen = if is_number { digits::number(ahead, self.before, cue, plus) } else { Seen::No };
            let seen = if seen == Seen::No && !is_mark { digits::code(ahead, cue) } else { seen };
            match seen {
                Seen::Yes((length, spoken)) => return self.replace(ahead.text, length, &spoken, piece),
                Seen::No => {}
                Seen::Unsure => return 0,
            }
        }
        if is_mark { self.keep_first(ahead.text, piece) } else { self.letters(ahead.text, piece) }
    }

    /// Ordinary letters and digits, up to where a word of another script begins.
    fn letters(&mut self, text: &str, piece: &mut Piece) -> usize {
        let is_ascii = text.starts_with(|c: char| c.is_ascii());
        let is_part = |c: char| c.is_alphanumeric() && c.is_ascii() == is_ascii;
        let length = text.len() - text.trim_start_matches(is_part).len();
        self.keep(text, length, piece)
    }

    fn pictograph(&mut self, text: &str, c: char, piece: &mut Piece) -> usize {
        if !self.rules.emoji {
            return self.keep_first(text, piece);
        }
        let is_first = !self.before.is_some_and(|before| is_modifier(before) || is_pictograph(before));
        // Joiners have their place in other scripts; there they do not follow a pictograph.
        if is_first && c == JOINER {
            return self.keep_first(text, piece);
        }
        if is_first {
            self.swallows_space = self.before.is_none_or(char::is_whitespace);
        }
        if self.rules.markdown && self.line == Line::Start {
            self.line = Line::Alone;
        }
        self.remove(text, c.len_utf8(), Leans::Before, piece)
    }

    /// Replaces, or keeps the first character.
    fn or_keep(&mut self, ahead: Ahead<'_>, seen: Seen<(usize, String)>, piece: &mut Piece) -> usize {
        match seen {
            Seen::Yes((length, spoken)) => self.replace(ahead.text, length, &spoken, piece),
            Seen::No => self.keep_first(ahead.text, piece),
            Seen::Unsure => 0,
        }
    }

    /// Replaces together with the rest of the word that it belongs to, or treats the first character as a mark.
    fn or_mark(&mut self, ahead: Ahead<'_>, seen: Seen<(usize, String)>, piece: &mut Piece) -> usize {
        match seen {
            Seen::Yes((length, spoken)) => {
                let length = self.replace(ahead.text, length, &spoken, piece);
                piece.widen(address::is_of_name);
                length
            }
            Seen::No => self.mark(ahead, piece),
            Seen::Unsure => 0,
        }
    }
}

/// The zero-width joiner, which makes one picture of several.
const JOINER: char = '\u{200D}';

/// What changes the look of the picture or digit before it, and has no sound.
fn is_modifier(c: char) -> bool {
    matches!(c, JOINER | '\u{FE0E}' | '\u{FE0F}' | '\u{20E3}' | '\u{E0020}'..='\u{E007F}')
}

/// Whether a character is a picture. Signs that are text unless somebody asks for a picture, and are read as words, are not.
pub(super) fn is_pictograph(c: char) -> bool {
    if c.is_ascii() || matches!(c, '©' | '®' | '™' | 'ℹ' | '‼' | '⁉' | 'Ⓜ' | '↔'..='↪' | '〰'..='㊙')
    {
        return false;
    }
    matches!(c, '\u{1F1E6}'..='\u{1F1FF}')
        || CodePointSetData::new::<EmojiPresentation>().contains(c)
        || CodePointSetData::new::<ExtendedPictographic>().contains(c)
}
