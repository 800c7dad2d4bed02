//! From an agent's tokens to pieces that can be spoken.
//!
//! The [`Scribe`] turns written text into what is spoken, and `sentence` and `portion` cut that into pieces; a [`Piece`]
//! knows the way back.

mod address;
mod ahead;
mod digits;
mod inline;
mod lines;
mod markdown;
mod piece;
mod scribe;
#[cfg(test)]
pub(super) mod written;

pub(crate) use piece::Piece;
pub(crate) use scribe::Scribe;

/// The first piece of a turn may end at a clause once it has this many characters: the first sound counts most.
const EARLY_CHARS: usize = 20;
/// A piece longer than this is cut at its last space.
const PIECE_CHARS_MAX: usize = 200;
/// A vendor that buffers takes long text in portions of this many bytes, so that holding text back can work.
const PORTION_BYTES_MAX: usize = 400;
/// How long a character of text takes to say, for text whose audio is not there yet.
pub(super) const MICROS_PER_CHAR: u64 = 65_000;

/// Words that end in a full stop without ending a sentence. The rest is caught by what follows the stop.
pub(crate) const ABBREVIATIONS: [&str; 18] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "no", "approx", "dept", "inc", "ltd", "co", "e.g",
    "i.e",
];

/// Whether there is anything in `text` that a voice could say.
pub(super) fn is_speakable(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// How long `text` takes to say, roughly.
pub(super) fn spoken_micros(text: &str) -> u64 {
    text.chars().count() as u64 * MICROS_PER_CHAR
}

/// What is known about text that waits to be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// More may follow.
    Open,
    /// It has to be spoken as it stands.
    Complete,
}

/// Length of the next whole sentence at the start of `text`, in bytes, its closing marks and white space included;
/// `None` if it may go on.
pub(super) fn sentence(text: &str, is_first: bool, rest: Rest) -> Option<usize> {
    let mut chars_held = 0;
    let mut in_tag = false;
    let mut last_space = None;
    for (at, c) in text.char_indices() {
        chars_held += 1;
        match c {
            '<' if is_tag(text, at) => in_tag = true,
            '>' => in_tag = false,
            _ if in_tag => {}
            '。' | '！' | '？' | '…' => return Some(end_of_marks(text, at)),
            '.' | '!' | '?' | '\n' if ends_sentence(text, at) => return Some(end_of_marks(text, at)),
            ',' | ':' | ';' | '—' if is_first && chars_held >= EARLY_CHARS && is_clause_end(text, at) => {
                return Some(end_of_marks(text, at));
            }
            _ if c.is_whitespace() => last_space = Some(at + c.len_utf8()),
            _ => {}
        }
        if chars_held >= PIECE_CHARS_MAX
            && !in_tag
            && let Some(cut) = last_space
        {
            return Some(cut);
        }
    }
    (rest == Rest::Complete && !text.is_empty()).then_some(text.len())
}

/// Length of `text` up to its last white space, in bytes; `None` if there is none.
pub(super) fn whole_words(text: &str) -> Option<usize> {
    text.char_indices().rev().find(|(_, c)| c.is_whitespace()).map(|(at, c)| at + c.len_utf8())
}

/// Length of the next portion of `text` for a vendor that buffers, in bytes: all of it, unless it is very long.
pub(super) fn portion(text: &str) -> Option<usize> {
    if text.len() <= PORTION_BYTES_MAX {
        return (!text.is_empty()).then_some(text.len());
    }
    let mut limit = PORTION_BYTES_MAX;
    while !text.is_char_boundary(limit) {
        limit -= 1;
    }
    let head = text.get(..limit).unwrap_or(text);
    let cut = head.char_indices().rev().find(|(_, c)| c.is_whitespace()).map_or(limit, |(at, c)| at + c.len_utf8());
    Some(cut)
}

/// A mark ends a sentence only when what follows says so: white space that is itself followed by something, else a
/// number, an address or an abbreviation may go on in the next token.
fn ends_sentence(text: &str, at: usize) -> bool {
    let after = text.get(at + 1..).unwrap_or_default();
    let closed = after.trim_start_matches(|c: char| is_closing(c) || matches!(c, '.' | '!' | '?'));
    if !closed.starts_with(char::is_whitespace) || closed.trim_start().is_empty() {
        return false;
    }
    let is_stop = text.get(at..).is_some_and(|rest| rest.starts_with('.'));
    !is_stop || !is_abbreviation(text.get(..at).unwrap_or_default(), closed.trim_start())
}

/// Whether the full stop between `before` and `after` belongs to an abbreviation, an initial or a list's number.
fn is_abbreviation(before: &str, after: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace() || matches!(c, '(' | '"')).next().unwrap_or_default();
    let lower = word.to_lowercase();
    let is_single = |word: &str| word.chars().count() == 1;
    // In a code that is spelled, letters stand alone as well.
    let is_sign = |word: &str| is_single(word) && word.chars().all(|c| c.is_ascii_digit() || c.is_uppercase());
    let is_spelled = before.split_whitespace().rev().nth(1).is_some_and(is_sign);
    let is_initial = is_single(word) && word.chars().all(char::is_uppercase) && !is_spelled;
    let is_list_number = !word.is_empty()
        && word.chars().all(|c| c.is_ascii_digit())
        && before.trim_end_matches(|c: char| c.is_ascii_digit()).trim().is_empty();
    let is_dotted = word.contains('.') && word.split('.').all(|part| part.chars().count() == 1);
    is_initial
        || is_list_number
        || ABBREVIATIONS.contains(&lower.as_str())
        || (is_dotted && after.starts_with(char::is_lowercase))
}

/// Whether a bracket opens a tag, and is not a sign for "less than".
fn is_tag(text: &str, at: usize) -> bool {
    text.get(at + 1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/'))
}

fn is_clause_end(text: &str, at: usize) -> bool {
    let mut after = text.get(at..).unwrap_or_default().chars().skip(1);
    after.next().is_some_and(char::is_whitespace) && after.any(|c| !c.is_whitespace())
}

fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '}' | '”' | '’' | '»')
}

/// Where the sentence ends whose mark stands at `at`: after further marks, closing quotes and white space.
fn end_of_marks(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let marks =
        rest.trim_start_matches(|c: char| is_closing(c) || matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？'));
    let marks = if marks.len() == rest.len() { rest.get(first_len(rest)..).unwrap_or_default() } else { marks };
    text.len() - marks.trim_start().len()
}

fn first_len(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str) -> Vec<&str> {
        let (mut rest, mut pieces) = (text, Vec::new());
        while let Some(length) = sentence(rest, false, Rest::Complete) {
            pieces.push(&rest[..length]);
            rest = &rest[length..];
        }
        assert_eq!(pieces.concat(), text);
        pieces
    }

    #[test]
    fn a_sentence_keeps_its_marks_and_white_space() {
        assert_eq!(sentences("Hello there. How are you?  Fine!"), ["Hello there. ", "How are you?  ", "Fine!"]);
        assert_eq!(sentences("He said \"go.\" Then left."), ["He said \"go.\" ", "Then left."]);
        assert_eq!(sentences("Really?! Yes... maybe."), ["Really?! ", "Yes... ", "maybe."]);
        assert_eq!(sentences("你好。再见！"), ["你好。", "再见！"]);
    }

    #[test]
    fn numbers_addresses_and_abbreviations_stay_whole() {
        for whole in [
            "It costs 3.14 euros today.",
            "See www.example.com for more.",
            "Dr. Smith lives in St. Ives.",
            "Bring fruit, e.g. apples.",
            "John F. Kennedy spoke.",
            "1. Open the box.",
            "At 5 p.m. we close.",
        ] {
            assert_eq!(sentences(whole), [whole]);
        }
    }

    #[test]
    fn a_sentence_ends_only_when_what_follows_is_known() {
        assert_eq!(sentence("Version 3.", false, Rest::Open), None);
        assert_eq!(sentence("Version 3. ", false, Rest::Open), None);
        assert_eq!(sentence("Version 3. N", false, Rest::Open), Some(11));
        assert_eq!(sentence("Version 3.", false, Rest::Complete), Some(10));
    }

    #[test]
    fn the_first_piece_may_end_at_a_clause() {
        let text = "Thank you for calling us, how may I help you today";
        assert_eq!(sentence(text, true, Rest::Open).map(|n| &text[..n]), Some("Thank you for calling us, "));
        assert_eq!(sentence(text, false, Rest::Open), None);
        assert_eq!(sentence("Well, then we should see", true, Rest::Open), None);
    }

    #[test]
    fn very_long_text_is_cut_at_a_space_and_tags_stay_whole() {
        let text = "word ".repeat(100);
        assert_eq!(sentence(&text, false, Rest::Open), Some(200));
        assert_eq!(sentences("Wait <break time=\"0.5. s\" /> now."), ["Wait <break time=\"0.5. s\" /> now."]);
        assert_eq!(portion("short"), Some(5));
        assert_eq!(portion(&"é".repeat(500)), Some(400));
        assert_eq!(portion(&text), Some(400));
    }
}
