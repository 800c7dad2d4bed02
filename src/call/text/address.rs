//! Addresses of pages and of people, which nobody wants to hear letter by letter.

use super::ahead::{Ahead, Seen};

/// How a bare address begins. `mailto:` has no host; what follows it is a person's address.
const BEGINNINGS: [&str; 3] = ["https://", "http://", "www."];
const MAIL: &str = "mailto:";

/// An address at the head, as far as it has to be spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Length of what is spoken in other words.
    pub(super) length: usize,
    /// Those words.
    pub(super) spoken: String,
    /// A path follows, which is not spoken.
    pub(super) has_path: bool,
}

/// The address of a page: its host is spoken.
pub(super) fn page(ahead: Ahead<'_>) -> Seen<Address> {
    let scheme = match beginning(ahead, &BEGINNINGS) {
        // What `www.` stands before is the host already.
        Seen::Yes("www.") => 0,
        Seen::Yes(scheme) => scheme.len(),
        Seen::No => return Seen::No,
        Seen::Unsure => return Seen::Unsure,
    };
    let all = ahead.from(scheme);
    let length = all.run(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '@' | '%'));
    let next = all.from(length).first();
    if next.is_none() && ahead.is_open() {
        return Seen::Unsure;
    }
    let has_path = matches!(next, Some('/' | '?' | '#'));
    let authority = all.text.get(..length).unwrap_or_default();
    let authority = if has_path { authority } else { authority.trim_end_matches(['.', ':', '-', '_', '%']) };
    let host = authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
    let host = match host.get(..4) {
        Some(www) if www.eq_ignore_ascii_case("www.") => host.get(4..).unwrap_or_default(),
        Some(_) | None => host,
    };
    if !host.contains(|c: char| c.is_ascii_alphanumeric()) || (scheme == 0 && !host.contains('.')) {
        return Seen::No;
    }
    Seen::Yes(Address { length: scheme + authority.len(), spoken: dotted(host), has_path })
}

/// The prefix of a link to a person's address, which is not spoken.
pub(super) fn mail_prefix(ahead: Ahead<'_>) -> Seen<usize> {
    ahead.begins(MAIL).map(|()| MAIL.len())
}

/// The address of a person, or what is left of one whose name began before. `is_eager` says that a mark at the end of the
/// text is taken for the end of a word.
pub(super) fn person(ahead: Ahead<'_>, is_eager: bool) -> Seen<Address> {
    let name = ahead.run(is_of_name);
    match ahead.from(name).first() {
        Some('@') => {}
        // A word of letters alone can be spoken before it is known what it belongs to: they stay as they are.
        None if ahead.text.chars().all(char::is_alphabetic) => return Seen::No,
        None if is_eager && !ahead.text.ends_with(char::is_alphanumeric) => return Seen::No,
        None => return ahead.at_end(),
        Some(_) => return Seen::No,
    }
    let all = ahead.from(name + 1);
    let length = all.run(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    if length == all.text.len() && ahead.is_open() {
        return Seen::Unsure;
    }
    let domain = all.text.get(..length).unwrap_or_default().trim_end_matches(['.', '-']);
    let last = domain.rsplit_once('.').map(|(_, last)| last).unwrap_or_default();
    if last.len() < 2 || !last.chars().all(|c| c.is_ascii_alphabetic()) || domain.starts_with('.') {
        return Seen::No;
    }
    let name = ahead.text.get(..name).unwrap_or_default();
    let spoken = format!("{} at {}", named(name), dotted(domain));
    Seen::Yes(Address { length: name.len() + 1 + domain.len(), spoken, has_path: false })
}

/// Whether a character may stand before the `@`.
pub(super) fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '%')
}

/// How much of a page's path the head of the text is. `depth` counts its open brackets. Marks that could end the sentence
/// are not part of it, so the last ones wait for what follows.
pub(super) fn path(ahead: Ahead<'_>, depth: &mut usize) -> Seen<usize> {
    let is_mark = |c: char| matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '*' | '_' | '~' | ']' | ')');
    let is_part = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | '`' | '{' | '}' | '|' | '\\' | '^');
    let mut at = 0;
    loop {
        let rest = ahead.from(at);
        at += rest.run(|c| is_part(c) && !is_mark(c) && c != '(');
        let rest = ahead.from(at);
        match rest.first() {
            Some('(') => {
                *depth += 1;
                at += 1;
            }
            Some(')') if *depth > 0 => {
                *depth -= 1;
                at += 1;
            }
            Some(c) if is_mark(c) => {
                let marks = rest.run(is_mark);
                match rest.from(marks).first() {
                    None if ahead.is_open() => return if at > 0 { Seen::Yes(at) } else { Seen::Unsure },
                    // A mark inside of the path. One at a time, since a bracket among them may be open.
                    Some(c) if is_part(c) => at += 1,
                    None | Some(_) if rest.text.get(..marks).is_some_and(|marks| *depth > 0 && marks.contains(')')) => {
                        at += 1;
                    }
                    None | Some(_) => return if at > 0 { Seen::Yes(at) } else { Seen::No },
                }
            }
            Some(_) => return if at > 0 { Seen::Yes(at) } else { Seen::No },
            None if at > 0 => return Seen::Yes(at),
            None => return ahead.at_end(),
        }
    }
}

fn beginning<'a>(ahead: Ahead<'_>, beginnings: &[&'a str]) -> Seen<&'a str> {
    let mut seen = Seen::No;
    for beginning in beginnings {
        match ahead.begins(beginning) {
            Seen::Yes(()) => return Seen::Yes(beginning),
            Seen::Unsure => seen = Seen::Unsure,
            Seen::No => {}
        }
    }
    seen
}

fn dotted(host: &str) -> String {
    host.replace('.', " dot ")
}

fn named(name: &str) -> String {
    name.replace('.', " dot ").replace('_', " underscore ").replace('-', " dash ").replace('+', " plus ")
}
