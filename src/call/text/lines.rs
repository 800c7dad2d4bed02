//! What the place in a line says of text: headings, lists, quotations, tables, blocks of code, and where lines end.

use super::Rest;
use super::ahead::{Ahead, Seen};
use super::inline::is_pictograph;
use super::markdown;
use super::piece::{Leans, Piece};
use super::scribe::{Inside, Line, Scribe};

impl Scribe {
    /// A line of a fenced block, or as much of it as there is.
    pub(super) fn fenced(&mut self, text: &str, rest: Rest, fence: (char, usize, bool), piece: &mut Piece) -> usize {
        let (mark, marks, is_start) = fence;
        let end = text.find('\n').map(|end| end + 1);
        let line = text.get(..end.unwrap_or(text.len())).unwrap_or(text);
        if is_start {
            let found = line.trim();
            let is_fence = found.chars().all(|c| c == mark);
            if end.is_none() && rest == Rest::Open && is_fence {
                return 0;
            }
            if is_fence && found.len() >= marks {
                self.inside = Inside::Speech;
                let length = self.remove(text, line.len(), Leans::Before, piece);
                self.line = Line::Start;
                return length;
            }
        }
        self.inside = Inside::Fence { mark, marks, is_start: end.is_some() };
        self.remove(text, line.len(), Leans::Before, piece)
    }

    /// What stands at the head of a line; `None` if it is ordinary text.
    pub(super) fn line_head(&mut self, ahead: Ahead<'_>, piece: &mut Piece) -> Option<usize> {
        match self.line {
            Line::Start => {}
            Line::Bullet => {
                self.line = Line::Alone;
                let boxes = ["[ ] ", "[x] ", "[X] "].map(|mark| (mark, ahead.begins(mark)));
                if boxes.iter().any(|(_, seen)| *seen == Seen::Unsure) {
                    self.line = Line::Bullet;
                    return Some(0);
                }
                let found = boxes.iter().find(|(_, seen)| *seen == Seen::Yes(()));
                return found.map(|(mark, _)| self.remove(ahead.text, mark.len(), Leans::After, piece));
            }
            Line::Alone | Line::Row | Line::Text => return None,
        }
        let first = ahead.first()?;
        let seen = match first {
            ' ' | '\t' => return Some(self.keep_first(ahead.text, piece)),
            '`' | '~' => return self.fence_head(ahead, first, piece),
            '|' => return self.row_head(ahead, piece),
            '0'..='9' => {
                let seen = markdown::number(ahead);
                if let Seen::Yes(length) = seen {
                    self.line = Line::Alone;
                    return Some(self.keep(ahead.text, length, piece));
                }
                seen
            }
            '>' => match ahead.from(1).first() {
                Some('>' | '\n') => Seen::Yes(1),
                Some(_) | None => markdown::marker(ahead, 1),
            },
            '#' => self.heading(ahead),
            '-' | '*' | '+' | '_' | '=' | '•' => self.bullet(ahead, first),
            _ => Seen::No,
        };
        match seen {
            Seen::Yes(length) => Some(self.remove(ahead.text, length, Leans::After, piece)),
            Seen::Unsure => Some(0),
            Seen::No => {
                // A picture at the head of a line is a bullet of a kind.
                let is_bullet = self.rules.emoji && is_pictograph(first);
                if !first.is_whitespace() && !is_bullet {
                    self.line = Line::Text;
                }
                None
            }
        }
    }

    fn fence_head(&mut self, ahead: Ahead<'_>, mark: char, piece: &mut Piece) -> Option<usize> {
        match markdown::fence(ahead, mark) {
            Seen::Yes((marks, length)) => {
                self.inside = Inside::Fence { mark, marks, is_start: true };
                Some(self.remove(ahead.text, length, Leans::Before, piece))
            }
            Seen::Unsure => Some(0),
            Seen::No => {
                self.line = Line::Text;
                None
            }
        }
    }

    fn row_head(&mut self, ahead: Ahead<'_>, piece: &mut Piece) -> Option<usize> {
        match markdown::row(ahead) {
            // Below the bar is handled as every bar of the row.
            Seen::Yes((true, _)) => {
                self.line = Line::Row;
                None
            }
            Seen::Yes((false, length)) => Some(self.remove(ahead.text, length, Leans::Before, piece)),
            Seen::Unsure => Some(0),
            Seen::No => {
                self.line = Line::Text;
                None
            }
        }
    }

    fn heading(&mut self, ahead: Ahead<'_>) -> Seen<usize> {
        const LEVELS: usize = 6;
        let marks = ahead.run(|c| c == '#');
        let seen = if marks <= LEVELS { markdown::marker(ahead, marks) } else { Seen::No };
        if let Seen::Yes(_) = seen {
            self.line = Line::Alone;
        }
        seen
    }

    fn bullet(&mut self, ahead: Ahead<'_>, mark: char) -> Seen<usize> {
        if !matches!(mark, '+' | '•') {
            match markdown::rule(ahead, mark) {
                Seen::No => {}
                seen @ (Seen::Yes(_) | Seen::Unsure) => return seen,
            }
        }
        if matches!(mark, '_' | '=') {
            return Seen::No;
        }
        let seen = markdown::marker(ahead, mark.len_utf8());
        if let Seen::Yes(_) = seen {
            self.line = Line::Bullet;
        }
        seen
    }

    /// White space, and the bars of a row.
    pub(super) fn white(&mut self, ahead: Ahead<'_>, piece: &mut Piece) -> usize {
        if self.swallows_space && ahead.first() == Some(' ') {
            self.swallows_space = false;
            return self.remove(ahead.text, 1, Leans::Before, piece);
        }
        let is_row = self.line == Line::Row;
        if !is_row && self.line != Line::Alone {
            return self.keep_first(ahead.text, piece);
        }
        let length = ahead.run(|c| matches!(c, ' ' | '\t' | '\r') || (is_row && c == '|'));
        let gap = ahead.text.get(..length).unwrap_or_default();
        match ahead.from(length).first() {
            None if ahead.is_open() => 0,
            None | Some('\n') if gap.contains('|') => {
                let stop = self.stop();
                self.replace(ahead.text, length, stop, piece)
            }
            Some('\n') => {
                self.insert_stop(piece);
                self.keep(ahead.text, length, piece)
            }
            Some(_) if gap.contains('|') && self.spoken_in_row() => self.replace(ahead.text, length, ", ", piece),
            Some(_) if gap.contains('|') => self.remove(ahead.text, length, Leans::After, piece),
            None | Some(_) => self.keep(ahead.text, length, piece),
        }
    }

    pub(super) fn line_end(&mut self, ahead: Ahead<'_>, piece: &mut Piece) -> usize {
        if matches!(self.line, Line::Alone | Line::Row) {
            self.insert_stop(piece);
        }
        if self.line == Line::Start {
            // Emphasis does not go beyond its paragraph.
            self.open = [0; 3];
        }
        let length = self.keep_first(ahead.text, piece);
        self.line = Line::Start;
        length
    }

    /// Whether a cell of this row has been spoken.
    fn spoken_in_row(&self) -> bool {
        self.before.is_some_and(|c| c != '\n') && self.spoken.is_some()
    }

    /// The mark that is missing at the end of a line which is a sentence by itself.
    fn stop(&self) -> &'static str {
        if self.spoken.is_some_and(char::is_alphanumeric) { "." } else { "" }
    }

    fn insert_stop(&mut self, piece: &mut Piece) {
        if !self.stop().is_empty() {
            piece.insert(".");
            self.spoken = Some('.');
        }
    }
}
