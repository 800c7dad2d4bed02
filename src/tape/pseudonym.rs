//! Made-up words: the same length, case and kind of character as the real ones, and the same for the same word.
//!
//! Letter *n* of a word is put through a permutation of the alphabet that a secret key and the word's first *n - 1* letters
//! choose. So words that begin alike still begin alike, different words stay different, and a word may come in pieces, as
//! tokens do. That is what keeps a redacted call in step: word times still find their text, heard text is still a prefix.
//! Without the key, which is never kept, the words are gone, but not everything about them. Whoever reads the tape still sees
//!
//! - the length of each word and text, its case, spaces and punctuation, and where digits stand;
//! - which words are the same, and which begin alike;
//! - the first letters of words that look like one of the core's abbreviations, for as long as they do, since an abbreviation
//!   decides where a sentence ends: the `pro` of `promise` (`prof`), the `d` of `Doe` (`dr`), and all of `no`.
//!
//! In a short text that may be enough to guess a word. A redacted tape is fit for people who are trusted with that.

use std::collections::BTreeSet;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::call::ABBREVIATIONS;

const LETTERS: usize = 26;
const DIGITS: usize = 10;
/// Letters of other scripts change places within aligned blocks of this many code points.
const BLOCK: u32 = 64;
/// Length of the core's longest abbreviation; most letters of most words come later.
const ABBREVIATION_BYTES_MAX: usize = 6;
/// The beginning of a name that says what it names, such as `MZ` and `CA` at Twilio.
const NAME_PREFIX: usize = 2;

/// What came of a word so far, when it may go on in the next piece.
#[derive(Clone, Debug, Default)]
pub(super) struct Word(String);

/// A source of made-up words.
pub(super) struct Pseudonyms {
    key: [u8; 32],
}

impl Pseudonyms {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Pseudonyms { key }
    }

    /// Replaces the words of whole text.
    pub(super) fn text(&self, text: &str) -> String {
        self.piece(&mut Word::default(), text)
    }

    /// Replaces the words of a piece of text that goes on from the piece before.
    pub(super) fn piece(&self, word: &mut Word, text: &str) -> String {
        text.chars().map(|c| self.next(word, c)).collect()
    }

    /// Replaces a name, such as a call's, but not the two capitals that say what it names.
    pub(super) fn name(&self, name: &str) -> String {
        let kept = name.get(..NAME_PREFIX).filter(|prefix| prefix.chars().all(|c| c.is_ascii_uppercase()));
        let (kept, rest) = name.split_at(kept.map_or(0, str::len));
        format!("{kept}{}", self.text(rest))
    }

    fn next(&self, word: &mut Word, c: char) -> char {
        if !c.is_alphanumeric() {
            word.0.clear();
            return c;
        }
        let covered = match c {
            'a'..='z' | 'A'..='Z' => self.letter(&word.0, c),
            '0'..='9' => self.digit(&word.0, c),
            other => match counterpart(other) {
                // The same word in capitals has the same letters.
                Some(lower) if other.is_uppercase() => counterpart(self.foreign(lower)).unwrap_or(other),
                Some(_) | None => self.foreign(other),
            },
        };
        word.0.extend(c.to_lowercase());
        covered
    }

    fn letter(&self, before: &str, c: char) -> char {
        let lower = c.to_ascii_lowercase();
        // An abbreviation decides where a sentence ends: the real ones stay, and no other word becomes one.
        let staying = abbreviating(before);
        if staying.contains(&lower) {
            return c;
        }
        let free: Vec<char> = ('a'..='z').filter(|letter| !staying.contains(letter)).collect();
        let place = free.iter().position(|letter| *letter == lower).unwrap_or_default();
        let other = self.permuted(b'a', before, free.len().min(LETTERS), place);
        let covered = free.get(other).copied().unwrap_or(lower);
        if c.is_ascii_uppercase() { covered.to_ascii_uppercase() } else { covered }
    }

    fn digit(&self, before: &str, c: char) -> char {
        let place = c.to_digit(10).and_then(|digit| usize::try_from(digit).ok()).unwrap_or_default();
        let other = self.permuted(b'0', before, DIGITS, place);
        u32::try_from(other).ok().and_then(|digit| char::from_digit(digit, 10)).unwrap_or('0')
    }

    /// Letters of other scripts: in their block, the next one of the same kind along a secret stride. They do not depend on
    /// what stands before them, since vendors cut text without spaces into words of their own.
    fn foreign(&self, c: char) -> char {
        let start = u32::from(c) / BLOCK * BLOCK;
        let [stride, shift, ..] = self.bytes(b'u', &start.to_string(), 0);
        let (stride, shift) = (u32::from(stride) | 1, u32::from(shift));
        let mut at = u32::from(c) - start;
        loop {
            at = (at * stride + shift) % BLOCK;
            match char::from_u32(start + at) {
                Some(other) if is_alike(c, other) => return other,
                Some(_) | None => {}
            }
        }
    }

    /// Where `place` of `size` places goes under the permutation that `before` chooses.
    fn permuted(&self, domain: u8, before: &str, size: usize, place: usize) -> usize {
        let mut order: Vec<usize> = (0..size).collect();
        let bytes = self.bytes(domain, before, 0);
        for (at, byte) in (1..size).rev().zip(bytes) {
            order.swap(at, usize::from(byte) % (at + 1));
        }
        order.get(place).copied().unwrap_or(place)
    }

    fn bytes(&self, domain: u8, before: &str, round: u8) -> [u8; 32] {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return [0; 32] };
        mac.update(&[domain, round]);
        mac.update(before.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// The letters with which `before` begins one of the core's abbreviations, or a part of one with stops in it.
fn abbreviating(before: &str) -> BTreeSet<char> {
    if before.len() >= ABBREVIATION_BYTES_MAX {
        return BTreeSet::new();
    }
    let parts = ABBREVIATIONS.iter().flat_map(|whole| whole.split('.'));
    parts.filter_map(|part| part.strip_prefix(before)?.chars().next()).collect()
}

/// Whether two characters are the same to everything that looks at text: length in UTF-8, kind, case.
fn is_alike(a: char, b: char) -> bool {
    let other_case = |c: char| counterpart(c).map(char::len_utf8);
    a.len_utf8() == b.len_utf8()
        && b.is_alphanumeric()
        && a.is_numeric() == b.is_numeric()
        && a.is_uppercase() == b.is_uppercase()
        && a.is_lowercase() == b.is_lowercase()
        && other_case(a) == other_case(b)
}

/// The same letter in the other case, if there is exactly one and the way leads back.
fn counterpart(c: char) -> Option<char> {
    let (upper, lower) = (only(c.to_uppercase()), only(c.to_lowercase()));
    match (upper, lower) {
        (Some(upper), _) if c.is_lowercase() => Some(upper).filter(|upper| only(upper.to_lowercase()) == Some(c)),
        (_, Some(lower)) if c.is_uppercase() => Some(lower).filter(|lower| only(lower.to_uppercase()) == Some(c)),
        (_, _) => None,
    }
}

fn only(mut chars: impl Iterator<Item = char>) -> Option<char> {
    chars.next().filter(|_| chars.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pseudonyms() -> Pseudonyms {
        Pseudonyms::new([7; 32])
    }

    #[test]
    fn no_abbreviation_is_longer_than_is_looked_for() {
        assert_eq!(ABBREVIATIONS.iter().map(|whole| whole.len()).max(), Some(ABBREVIATION_BYTES_MAX));
    }

    #[test]
    fn words_change_and_their_shape_stays() {
        let text = "Hello, Mr. Brown! Your code is 4711-XK, e.g. don't tell.";
        let covered = pseudonyms().text(text);
        assert_eq!(covered.len(), text.len());
        let shape = |text: &str| -> String {
            let kind = |c: char| match c {
                'a'..='z' => 'a',
                'A'..='Z' => 'A',
                '0'..='9' => '0',
                other => other,
            };
            text.chars().map(kind).collect()
        };
        assert_eq!(shape(&covered), shape(text));
        for secret in ["Hello", "Brown", "4711", "code", "tell"] {
            assert!(!covered.contains(secret), "{covered}");
        }
        assert!(covered.contains("Mr.") && covered.contains("e.g."), "{covered}");
        // Another key, other words.
        assert_ne!(Pseudonyms::new([8; 32]).text(text), covered);
    }

    #[test]
    fn a_name_keeps_what_it_names() {
        let covered = pseudonyms().name("MZ0123456789abcdef");
        assert!(covered.starts_with("MZ") && covered.len() == 18 && covered != "MZ0123456789abcdef");
        assert_eq!(pseudonyms().name("x"), pseudonyms().name("x"));
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(text in "[a-zA-Z0-9 .,'äéßЖ你]{0,40}", cut in 0_usize..40) {
            let cut = text.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(text.len());
            let (head, tail) = text.split_at(cut);
            let mut word = Word::default();
            let pieces = pseudonyms().piece(&mut word, head) + &pseudonyms().piece(&mut word, tail);
            prop_assert_eq!(pieces, pseudonyms().text(&text));
        }

        #[test]
        fn different_words_stay_different_and_lengths_stay(a in "[a-z0-9äéЖ你ß]{1,8}", b in "[a-z0-9äéЖ你ß]{1,8}") {
            let (x, y) = (pseudonyms().text(&a), pseudonyms().text(&b));
            prop_assert_eq!(a == b, x == y);
            prop_assert_eq!(a.starts_with(&b), x.starts_with(&y));
            prop_assert_eq!(a.len(), x.len());
        }

        #[test]
        fn case_goes_along(word in "[a-zäéж]{1,8}") {
            prop_assert_eq!(pseudonyms().text(&word.to_uppercase()), pseudonyms().text(&word).to_uppercase());
        }

        #[test]
        fn any_text_survives(text in any::<String>()) {
            let covered = pseudonyms().text(&text);
            prop_assert_eq!(covered.len(), text.len());
        }
    }
}
