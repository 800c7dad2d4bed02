//! Markdown within a line and at its head, as CommonMark has it where that matters to the ear.

use super::ahead::{Ahead, Seen};

/// Tags whose content is for the voice alone.
const VERBATIM: [&str; 4] = ["spell", "say-as", "phoneme", "sub"];

/// A fenced block begins with at least so many marks.
const FENCE_MARKS_MIN: usize = 3;

/// A bracket pair with the address behind it: `[text](address)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Where its text ends, counted from the opening bracket.
    pub(super) text_end: usize,
    /// Where all of it ends.
    pub(super) end: usize,
}

/// What a run of emphasis marks does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emphasis {
    /// Opens with so many marks.
    Opens(usize),
    /// Closes with so many marks.
    Closes(usize),
    /// Nothing; it is so many plain characters.
    Plain(usize),
}

/// The line that opens a fenced block: its mark, how many of them, and the length of the line with its end.
pub(super) fn fence(ahead: Ahead<'_>, mark: char) -> Seen<(usize, usize)> {
    let marks = ahead.run(|c| c == mark);
    if marks == ahead.text.len() && ahead.is_open() {
        return Seen::Unsure;
    }
    if marks < FENCE_MARKS_MIN {
        return Seen::No;
    }
    let line = match ahead.text.find('\n') {
        Some(end) => end + 1,
        None if ahead.is_open() => return Seen::Unsure,
        None => ahead.text.len(),
    };
    let info = ahead.text.get(marks..line).unwrap_or_default();
    if mark == '`' && info.contains('`') { Seen::No } else { Seen::Yes((marks, line)) }
}

/// A line that is nothing but a rule, or that underlines the heading above it: its length without its end.
pub(super) fn rule(ahead: Ahead<'_>, mark: char) -> Seen<usize> {
    let length = ahead.run(|c| c == mark || matches!(c, ' ' | '\t' | '\r'));
    match ahead.from(length).first() {
        None if ahead.is_open() => Seen::Unsure,
        None | Some('\n') if ahead.text.chars().take_while(|c| *c != '\n').filter(|c| *c == mark).count() >= 3 => {
            Seen::Yes(length)
        }
        None | Some(_) => Seen::No,
    }
}

/// A mark of so many bytes with white space behind it, which is part of what is told.
pub(super) fn marker(ahead: Ahead<'_>, mark: usize) -> Seen<usize> {
    match ahead.from(mark).first() {
        Some(' ' | '\t') => Seen::Yes(mark + 1),
        Some(_) => Seen::No,
        None => ahead.at_end(),
    }
}

/// The number of an item of a list, with the white space behind it.
pub(super) fn number(ahead: Ahead<'_>) -> Seen<usize> {
    const DIGITS_MAX: usize = 3;
    let digits = ahead.run(|c| c.is_ascii_digit());
    match ahead.from(digits).first() {
        None => ahead.at_end(),
        Some('.' | ')') if digits <= DIGITS_MAX => marker(ahead, digits + 1),
        Some(_) => Seen::No,
    }
}

/// The first bar of a table's row: `false` for the row of dashes below the headings, with its length, else `true`.
pub(super) fn row(ahead: Ahead<'_>) -> Seen<(bool, usize)> {
    let dashes = ahead.run(|c| matches!(c, '|' | '-' | ':' | ' ' | '\t' | '\r'));
    let head = ahead.text.get(..dashes).unwrap_or_default();
    match ahead.from(dashes).first() {
        None if ahead.is_open() => return Seen::Unsure,
        None | Some('\n') if head.contains('-') => return Seen::Yes((false, dashes)),
        None | Some(_) => {}
    }
    let line = ahead.text.split('\n').next().unwrap_or_default();
    match line.get(1..).is_some_and(|rest| rest.contains('|')) {
        true => Seen::Yes((true, 0)),
        false if line.len() < ahead.text.len() => Seen::No,
        false => ahead.at_end(),
    }
}

/// Code between backticks: how many there are on each side, and the length of what lies between.
pub(super) fn code(ahead: Ahead<'_>) -> Seen<(usize, usize)> {
    let ticks = ahead.run(|c| c == '`');
    let mut at = ticks;
    loop {
        let rest = ahead.from(at);
        let gap = rest.run(|c| c != '`');
        if rest.text.get(..gap).is_some_and(|gap| gap.contains("\n\n")) {
            return Seen::No;
        }
        let closing = rest.from(gap).run(|c| c == '`');
        at += gap + closing;
        if at == ahead.text.len() && (ahead.is_open() || closing == 0) {
            return ahead.at_end();
        }
        if closing == ticks {
            return Seen::Yes((ticks, at - 2 * ticks));
        }
    }
}

/// A link that begins with the bracket at the head.
pub(super) fn link(ahead: Ahead<'_>) -> Seen<Link> {
    let text_end = match closing(ahead, '[', ']') {
        Seen::Yes(end) => end,
        Seen::No => return Seen::No,
        Seen::Unsure => return Seen::Unsure,
    };
    let target = ahead.from(text_end + 1);
    match target.first() {
        None => return ahead.at_end(),
        Some('(') => {}
        Some(_) => return Seen::No,
    }
    closing(target, '(', ')').map(|end| Link { text_end, end: text_end + 1 + end + 1 })
}

/// Where the bracket at the head is closed, on the same paragraph.
fn closing(ahead: Ahead<'_>, open: char, close: char) -> Seen<usize> {
    let (mut depth, mut is_escaped, mut before) = (0_usize, false, ' ');
    for (at, c) in ahead.text.char_indices() {
        match c {
            '\n' if before == '\n' || open == '(' => return Seen::No,
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == open => depth += 1,
            c if c == close => {
                depth -= 1;
                if depth == 0 {
                    return Seen::Yes(at);
                }
            }
            _ => {}
        }
        before = c;
    }
    ahead.at_end()
}

/// What the run of emphasis marks at the head does, behind the character `before`, when `open` of its marks are open.
pub(super) fn emphasis(ahead: Ahead<'_>, mark: char, before: Option<char>, open: usize) -> Seen<Emphasis> {
    const MARKS_MAX: usize = 3;
    let marks = ahead.run(|c| c == mark);
    let content = ahead.from(marks);
    if content.is_empty() && ahead.is_open() {
        return Seen::Unsure;
    }
    let sides = Sides::of(before, content.first());
    let is_usual = marks <= MARKS_MAX && (mark != '~' || marks == 2);
    if is_usual && sides.may_close && marks <= open {
        return Seen::Yes(Emphasis::Closes(marks));
    }
    if !is_usual || !sides.may_open || open + marks > MARKS_MAX {
        return Seen::Yes(Emphasis::Plain(marks));
    }
    match is_closed(content, mark, marks) {
        Seen::Yes(()) => Seen::Yes(Emphasis::Opens(marks)),
        Seen::No => Seen::Yes(Emphasis::Plain(marks)),
        Seen::Unsure => Seen::Unsure,
    }
}

/// What a run of marks may do, by the characters beside it.
struct Sides {
    may_open: bool,
    may_close: bool,
}

impl Sides {
    fn of(before: Option<char>, after: Option<char>) -> Self {
        let is_space = |c: Option<char>| c.is_none_or(char::is_whitespace);
        let is_mark = |c: Option<char>| c.is_some_and(|c| !c.is_alphanumeric() && !c.is_whitespace());
        let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let is_inside = is_word(before) && is_word(after);
        Sides {
            may_open: !is_inside && !is_space(after) && (!is_mark(after) || is_space(before) || is_mark(before)),
            may_close: !is_inside && !is_space(before) && (!is_mark(before) || is_space(after) || is_mark(after)),
        }
    }
}

/// Whether emphasis that was opened by so many marks is closed in `content`.
fn is_closed(content: Ahead<'_>, mark: char, marks: usize) -> Seen<()> {
    let (mut at, mut before) = (0, Some(mark));
    loop {
        let rest = content.from(at);
        let gap = rest.run(|c| c != mark);
        let between = rest.text.get(..gap).unwrap_or_default();
        if between.contains("\n\n") {
            return Seen::No;
        }
        before = between.chars().next_back().or(before);
        let closing = rest.from(gap).run(|c| c == mark);
        let after = rest.from(gap + closing).first();
        if closing == 0 || (after.is_none() && content.is_open()) {
            return content.at_end();
        }
        let is_enough = if marks == 1 { closing % 2 == 1 } else { closing >= marks };
        if is_enough && Sides::of(before, after).may_close {
            // Codes that are dialled have stars and no emphasis.
            let inside = content.text.get(..at + gap).unwrap_or_default();
            let is_dialled = mark == '*' && inside.chars().all(|c| c.is_ascii_digit() || matches!(c, '#' | '*'));
            return if is_dialled { Seen::No } else { Seen::Yes(()) };
        }
        (at, before) = (at + gap + closing, Some(mark));
    }
}

/// A tag at the head, with its content where that is for the voice alone: its length.
pub(super) fn tag(ahead: Ahead<'_>) -> Seen<usize> {
    match ahead.from(1).first() {
        None => return ahead.at_end(),
        Some(c) if c.is_ascii_alphabetic() || c == '/' => {}
        Some(_) => return Seen::No,
    }
    let inside = 1 + ahead.from(1).run(|c| !matches!(c, '<' | '>' | '\n'));
    match ahead.from(inside).first() {
        None => return ahead.at_end(),
        Some('>') => {}
        Some(_) => return Seen::No,
    }
    let head = ahead.text.get(1..inside).unwrap_or_default();
    let name = head.split([' ', '/']).next().unwrap_or_default().to_ascii_lowercase();
    if head.ends_with('/') || !VERBATIM.contains(&name.as_str()) {
        return Seen::Yes(inside + 1);
    }
    let end = format!("</{name}>");
    let content = ahead.from(inside + 1).text.to_ascii_lowercase();
    match content.find(&end) {
        Some(at) => Seen::Yes(inside + 1 + at + end.len()),
        None if ahead.is_open() => Seen::Unsure,
        None => Seen::Yes(inside + 1),
    }
}
