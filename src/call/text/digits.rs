//! Numbers that are names: of telephones, of cards, of bookings. They are said digit by digit, everything else stays as
//! it was written. The rules are few and sure, because a quantity said digit by digit is worse than a code said as one.

use super::ahead::{Ahead, Seen};

/// No number of this kind, with all its spaces and brackets, is longer.
const CLUSTER_BYTES_MAX: usize = 40;
/// Digits without a space or a mark that are a name rather than a quantity, at least.
const RUN_DIGITS_MIN: usize = 5;
/// Digits of a telephone number, by E.164 at most.
const PHONE_DIGITS_MAX: usize = 15;
/// Letters and digits of a spelled code.
const CODE_CHARS: std::ops::RangeInclusive<usize> = 3..=16;
/// Longest word that is remembered; no longer one matters.
const WORD_BYTES_MAX: usize = 16;

/// What the words before a number say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Cue {
    /// Nothing.
    #[default]
    None,
    /// It is a code.
    Code,
    /// It may be one: "number" is said of quantities as well.
    Number,
    /// It is a telephone number, if it looks like one.
    Phone,
    /// A key of a telephone is pressed.
    Key,
}

/// The words before the place where a text is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    /// The one that is being read, in lower case.
    word: String,
    cue: Cue,
}

impl Words {
    /// Reads on.
    pub(super) fn read(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_alphanumeric() {
                if self.word.len() < WORD_BYTES_MAX {
                    self.word.extend(c.to_lowercase());
                }
                continue;
            }
            self.end_word();
            if matches!(c, '.' | '!' | '?' | '\n') {
                self.cue = Cue::None;
            }
        }
    }

    /// What is known of a number that comes now.
    pub(super) fn cue(&self) -> Cue {
        self.cue
    }

    fn end_word(&mut self) {
        if self.word.is_empty() {
            return;
        }
        self.cue = match self.word.as_str() {
            "code" | "codes" | "pin" | "passcode" | "otp" | "reference" | "confirmation" | "tracking" | "serial"
            | "extension" | "ext" | "zip" => Cue::Code,
            // A "confirmation number" is still a code.
            "number" if matches!(self.cue, Cue::Code | Cue::Phone) => self.cue,
            "number" | "booking" | "order" | "account" | "ticket" | "case" => Cue::Number,
            "phone" | "telephone" | "tel" | "fax" | "call" | "dial" | "callback" => Cue::Phone,
            "press" | "hit" | "key" | "enter" => Cue::Key,
            "is" | "was" | "are" | "the" | "your" | "our" | "us" | "me" | "at" | "on" | "back" | "of" | "id" | "no" => {
                self.cue
            }
            _ => Cue::None,
        };
        self.word.clear();
    }
}

/// A number as it was written: digits in groups.
struct Cluster<'a> {
    has_plus: bool,
    has_bracket: bool,
    groups: Vec<&'a str>,
    marks: Vec<char>,
    length: usize,
}

/// A number at the head that is said digit by digit: its length, and what is said. `plus` is the word for a plus sign.
pub(super) fn number(ahead: Ahead<'_>, before: Option<char>, cue: Cue, plus: &str) -> Seen<(usize, String)> {
    if before.is_some_and(|c| c.is_alphanumeric() || "$€£¥₹.,:/-+=~^".contains(c)) {
        return Seen::No;
    }
    let whole = match cluster(ahead, true) {
        Seen::Yes(whole) => whole,
        Seen::No => return Seen::No,
        Seen::Unsure => return Seen::Unsure,
    };
    let mut seen = is_name(&whole, ahead, cue);
    let mut cluster = whole;
    if seen == Seen::No && cluster.marks.contains(&' ') {
        // What stands behind a space may be another number.
        match self::cluster(ahead, false) {
            Seen::Yes(first) => cluster = first,
            Seen::No => return Seen::No,
            Seen::Unsure => return Seen::Unsure,
        }
        seen = is_name(&cluster, ahead, cue);
    }
    seen.map(|()| {
        let groups: Vec<String> = cluster.groups.iter().map(|group| spelled(group)).collect();
        let plus = if cluster.has_plus { plus } else { "" };
        (cluster.length, format!("{plus}{}", groups.join(", ")))
    })
}

/// A code of capitals and digits at the head, spelled. Only words before it can tell that it is one.
pub(super) fn code(ahead: Ahead<'_>, cue: Cue) -> Seen<(usize, String)> {
    if !matches!(cue, Cue::Code | Cue::Number) {
        return Seen::No;
    }
    let length = ahead.run(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-');
    match ahead.from(length).first() {
        None if ahead.is_open() => return Seen::Unsure,
        Some(c) if c.is_alphanumeric() || matches!(c, '@' | '_' | '/') => return Seen::No,
        None | Some(_) => {}
    }
    let text = ahead.text.get(..length).unwrap_or_default().trim_end_matches('-');
    let has_letter = text.contains(|c: char| c.is_ascii_uppercase());
    let has_digit = text.contains(|c: char| c.is_ascii_digit());
    let chars = text.chars().filter(|c| *c != '-').count();
    if !has_letter || !has_digit || !CODE_CHARS.contains(&chars) || text.contains("--") {
        return Seen::No;
    }
    let groups: Vec<String> = text.split('-').map(spelled).collect();
    Seen::Yes((text.len(), groups.join(", ")))
}

/// The digits behind a number sign at the head, if that sign says "number": how many there are.
pub(super) fn rank(ahead: Ahead<'_>, before: Option<char>, cue: Cue) -> Seen<usize> {
    if cue == Cue::Key || !before.is_none_or(|c| c.is_whitespace() || c == '(') {
        return Seen::No;
    }
    let digits = ahead.from(1).run(|c| c.is_ascii_digit());
    match ahead.from(1 + digits).first() {
        None if ahead.is_open() => Seen::Unsure,
        Some(c) if c.is_alphanumeric() || matches!(c, '#' | '*') => Seen::No,
        None | Some(_) if digits == 0 => Seen::No,
        None | Some(_) => Seen::Yes(digits),
    }
}

/// Letters and digits with a space between any two.
fn spelled(group: &str) -> String {
    let mut spelled = String::with_capacity(group.len() * 2);
    for c in group.chars() {
        if !spelled.is_empty() {
            spelled.push(' ');
        }
        spelled.push(c);
    }
    spelled
}

/// Reads a number, over spaces too if `spaces` says so.
fn cluster(ahead: Ahead<'_>, spaces: bool) -> Seen<Cluster<'_>> {
    let has_plus = ahead.first() == Some('+');
    let mut found =
        Cluster { has_plus, has_bracket: false, groups: Vec::new(), marks: Vec::new(), length: usize::from(has_plus) };
    let mut at = found.length;
    loop {
        let is_bracket = ahead.from(at).first() == Some('(');
        let start = at + usize::from(is_bracket);
        let end = start + ahead.from(start).run(|c| c.is_ascii_digit());
        let after = ahead.from(end).first();
        if after.is_none() && ahead.is_open() {
            return Seen::Unsure;
        }
        if end == start || (is_bracket && after != Some(')')) || end > CLUSTER_BYTES_MAX {
            break;
        }
        found.groups.push(ahead.text.get(start..end).unwrap_or_default());
        found.has_bracket |= is_bracket;
        found.length = end + usize::from(is_bracket);
        at = found.length;
        let mark = match ahead.from(at).first() {
            None if ahead.is_open() => return Seen::Unsure,
            Some(c @ ('-' | '.')) => c,
            Some(' ') if spaces => ' ',
            // A bracket may stand beside the next group without a space.
            Some('(' | '0'..='9') if is_bracket != (ahead.from(at).first() == Some('(')) => {
                found.marks.push(')');
                continue;
            }
            None | Some(_) => break,
        };
        at += 1;
        match ahead.from(at).first() {
            None if ahead.is_open() => return Seen::Unsure,
            Some('0'..='9' | '(') => found.marks.push(mark),
            None | Some(_) => break,
        }
    }
    found.marks.truncate(found.groups.len().saturating_sub(1));
    if found.groups.is_empty() { Seen::No } else { Seen::Yes(found) }
}

/// Whether a number is a name.
fn is_name(cluster: &Cluster<'_>, ahead: Ahead<'_>, cue: Cue) -> Seen<()> {
    let after = ahead.from(cluster.length);
    match after.first() {
        Some(c) if c.is_alphanumeric() || "%‰°$€£¥₹/:#*".contains(c) => return Seen::No,
        Some('.' | ',' | '-') => match after.from(1).first() {
            None if ahead.is_open() => return Seen::Unsure,
            Some(c) if c.is_alphanumeric() => return Seen::No,
            None | Some(_) => {}
        },
        None | Some(_) => {}
    }
    let is_sure = match cluster.groups.as_slice() {
        [run] => return is_run(run, cluster, after, cue),
        groups => is_grouped(groups, cluster, cue),
    };
    if is_sure { Seen::Yes(()) } else { Seen::No }
}

/// Whether digits without a mark between them are a name.
fn is_run(run: &str, cluster: &Cluster<'_>, after: Ahead<'_>, cue: Cue) -> Seen<()> {
    const ROUND: &str = "00";
    let is_round = run.ends_with(ROUND);
    let is_told = match cue {
        Cue::Code => run.len() >= *CODE_CHARS.start(),
        Cue::Number => run.len() > *CODE_CHARS.start() && !is_round,
        Cue::None | Cue::Phone | Cue::Key => false,
    };
    if cluster.has_bracket {
        return Seen::No;
    }
    if is_told {
        return Seen::Yes(());
    }
    if run.len() < RUN_DIGITS_MIN || is_round {
        return Seen::No;
    }
    if cluster.has_plus && run.len() > PHONE_DIGITS_MAX {
        return Seen::No;
    }
    is_free_of_units(after)
}

/// Whether no unit follows, which would make a quantity of the number before it.
fn is_free_of_units(after: Ahead<'_>) -> Seen<()> {
    const UNITS: [&str; 32] = [
        "dollars",
        "euros",
        "pounds",
        "cents",
        "percent",
        "people",
        "miles",
        "kilometers",
        "kilometres",
        "meters",
        "metres",
        "feet",
        "steps",
        "users",
        "customers",
        "words",
        "points",
        "times",
        "years",
        "hours",
        "minutes",
        "seconds",
        "square",
        "tons",
        "kilograms",
        "grams",
        "km",
        "kg",
        "usd",
        "eur",
        "million",
        "items",
    ];
    let space = after.run(|c| c == ' ');
    let word = after.from(space).run(char::is_alphabetic);
    if space + word == after.text.len() && after.is_open() {
        return Seen::Unsure;
    }
    let unit = after.from(space).text.get(..word).unwrap_or_default().to_ascii_lowercase();
    if space > 0 && UNITS.contains(&unit.as_str()) { Seen::No } else { Seen::Yes(()) }
}

/// Whether digits in groups are a name: by their lengths, by a sign or a bracket, or by the words before.
fn is_grouped(groups: &[&str], cluster: &Cluster<'_>, cue: Cue) -> bool {
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let digits: usize = lengths.iter().sum();
    let only = |allowed: &[char]| cluster.marks.iter().all(|mark| allowed.contains(mark));
    let leads_with_zero = groups.first().is_some_and(|group| group.starts_with('0'));
    if matches!(lengths.as_slice(), [4, 2, 2] | [1 | 2, 1 | 2, 2 | 4]) {
        return false;
    }
    if cluster.has_plus {
        return (7..=PHONE_DIGITS_MAX).contains(&digits);
    }
    if only(&['.']) {
        return lengths == [3, 3, 4];
    }
    if !only(&['-', ' ', ')']) {
        return false;
    }
    match lengths.as_slice() {
        [3, 3, 4] | [1, 3, 3, 4] | [4, 4, 4, 4] => true,
        [3, 2, 4] => only(&['-']),
        [3, 4] if only(&['-']) && groups.last().is_some_and(|group| group.starts_with('0')) => true,
        _ if leads_with_zero && (9..=12).contains(&digits) => true,
        _ => match cue {
            Cue::Phone => groups.len() <= 5 && (7..=13).contains(&digits),
            Cue::Code => {
                only(&['-']) && digits >= 4 || lengths.windows(2).all(|pair| matches!(pair, [a, b] if a == b && *a > 1))
            }
            Cue::None | Cue::Number | Cue::Key => false,
        },
    }
}
