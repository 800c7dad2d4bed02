//! What the caller is saying, put together from what one link after the other wrote down.

use crate::call::event::{LinkNumber, Words};
use crate::call::settings::Joins;

/// Words at the end of one part that are looked for at the beginning of the next: more than a second of speech.
const OVERLAP_WORDS_MAX: usize = 8;

/// One utterance, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Utterance {
    /// In the order of their audio.
    parts: Vec<Part>,
    /// The last words of the utterance before, if its audio may be heard again.
    before: String,
    language: Option<String>,
}

/// What one link wrote down of it.
#[derive(Debug)]
struct Part {
    link: LinkNumber,
    /// What will not change any more.
    fixed: String,
    /// What may.
    changing: String,
    /// Its audio begins before that of the part before it ends.
    overlaps: bool,
}

impl Utterance {
    /// Takes what a link wrote down. `overlaps` says that the link began with audio that another one had before.
    pub(super) fn take(&mut self, link: LinkNumber, words: Words, overlaps: bool, joins: Joins) {
        if words.language.is_some() {
            self.language = words.language;
        }
        let at = match self.parts.iter().position(|part| part.link == link) {
            Some(at) => at,
            None if words.text.trim().is_empty() => return,
            None => {
                let at = self.parts.partition_point(|part| part.link < link);
                let part = Part { link, fixed: String::new(), changing: String::new(), overlaps };
                self.parts.insert(at, part);
                at
            }
        };
        let Some(part) = self.parts.get_mut(at) else { return };
        part.changing.clear();
        if words.is_final {
            join(&mut part.fixed, &words.text, joins);
        } else {
            part.changing = words.text;
        }
    }

    /// A link is gone: what it was still unsure of will not change any more.
    pub(super) fn settle(&mut self, link: LinkNumber, joins: Joins) {
        if let Some(part) = self.parts.iter_mut().find(|part| part.link == link) {
            let changing = std::mem::take(&mut part.changing);
            join(&mut part.fixed, &changing, joins);
        }
    }

    /// All of it.
    pub(super) fn text(&self, joins: Joins) -> String {
        let mut text = String::new();
        for part in &self.parts {
            let mut own = part.fixed.clone();
            join(&mut own, &part.changing, joins);
            let own = own.trim();
            match (part.overlaps, text.is_empty()) {
                (true, true) => text = without_first(&self.before, own),
                (true, false) => merge(&mut text, own),
                (false, _) => join(&mut text, own, Joins::Space),
            }
        }
        text
    }

    /// Whether nothing is known of it.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.fixed.trim().is_empty() && part.changing.trim().is_empty())
    }

    /// The caller's language, if it was told.
    pub(super) fn language(&self) -> Option<String> {
        self.language.clone()
    }

    /// It is over, and the next one begins. `told` is what it was, if some of it may be heard again.
    pub(super) fn clear(&mut self, told: Option<&str>) {
        self.parts.clear();
        self.before = told.unwrap_or_default().to_owned();
    }
}

fn join(text: &mut String, more: &str, joins: Joins) {
    match joins {
        Joins::Verbatim => text.push_str(more),
        Joins::Space => {
            let more = more.trim();
            if !text.is_empty() && !more.is_empty() {
                text.push(' ');
            }
            text.push_str(more);
        }
    }
}

/// Adds `more`, whose first words may be the last ones of `text`: the same audio was written down twice. At the seam, the
/// last word of the one and the first of the other may be half a word each.
fn merge(text: &mut String, more: &str) {
    let (old, new): (Vec<&str>, Vec<&str>) = (text.split_whitespace().collect(), more.split_whitespace().collect());
    let Seam { keep, skip, .. } = seam(&old, &new);
    let merged: Vec<&str> = old.iter().take(keep).chain(new.iter().skip(skip)).copied().collect();
    *text = merged.join(" ");
}

/// `more` without the words that were already told in `text`.
fn without_first(text: &str, more: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (text.split_whitespace().collect(), more.split_whitespace().collect());
    let Seam { skip, same, .. } = seam(&old, &new);
    if same == 0 { more.to_owned() } else { new.get(skip + same..).unwrap_or_default().join(" ") }
}

/// Where two texts of overlapping audio meet.
struct Seam {
    /// Words of the first that stand before what both have.
    keep: usize,
    /// Words of the second that are torn.
    skip: usize,
    /// Words that both have.
    same: usize,
}

fn seam(old: &[&str], new: &[&str]) -> Seam {
    // How many words are torn at either side of the seam.
    let seams = [(0, 0), (0, 1), (1, 0), (1, 1)];
    // The words are compared as spoken: without case and marks.
    let found = seams.iter().find_map(|&(torn_old, torn_new)| {
        let (kept, rest) = (old.get(..old.len().checked_sub(torn_old)?)?, new.get(torn_new..)?);
        let most = kept.len().min(rest.len()).min(OVERLAP_WORDS_MAX);
        let same = (1..=most).rev().find(|&count| {
            let ends = kept.iter().rev().take(count).rev();
            ends.zip(rest).all(|(left, right)| is_same(left, right))
        })?;
        Some(Seam { keep: kept.len() - same, skip: torn_new, same })
    });
    found.unwrap_or(Seam { keep: old.len(), skip: 0, same: 0 })
}

fn is_same(left: &str, right: &str) -> bool {
    let bare =
        |word: &str| word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    let (left, right) = (bare(left), bare(right));
    !left.is_empty() && left == right
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, is_final: bool) -> Words {
        Words { text: text.to_owned(), is_final, ..Words::default() }
    }

    #[test]
    fn what_may_change_is_replaced_and_what_may_not_is_kept() {
        let mut utterance = Utterance::default();
        for (text, is_final) in [("I", false), ("I would lie", false), ("I would like", true), ("two", false)] {
            utterance.take(1, words(text, is_final), false, Joins::Space);
        }
        assert_eq!(utterance.text(Joins::Space), "I would like two");
        utterance.take(1, words("Tuesday.", true), false, Joins::Space);
        assert_eq!(utterance.text(Joins::Space), "I would like Tuesday.");
        utterance.clear(None);
        assert!(utterance.is_empty() && utterance.text(Joins::Space).is_empty());
    }

    #[test]
    fn deltas_that_bring_their_own_spaces_are_joined_as_they_stand() {
        let mut utterance = Utterance::default();
        for text in ["I would li", "ke ", "it."] {
            utterance.take(1, words(text, true), false, Joins::Verbatim);
        }
        assert_eq!(utterance.text(Joins::Verbatim), "I would like it.");
    }

    #[test]
    fn words_that_two_links_heard_are_said_once() {
        let cases = [
            ("I would like", "would like Tuesday please.", "I would like Tuesday please."),
            // The second link began in the middle of a word.
            ("I would like", "ould like Tuesday", "I would like Tuesday"),
            // The first one was lost in the middle of one.
            ("I would like Tues", "like Tuesday please", "I would like Tuesday please"),
            ("I would like Tues", "ould like Tuesday please", "I would like Tuesday please"),
            ("One, two.", "Two three", "One, Two three"),
            ("Nothing", "in common", "Nothing in common"),
            ("", "all new", "all new"),
        ];
        for (first, second, whole) in cases {
            let mut utterance = Utterance::default();
            utterance.take(1, words(first, false), false, Joins::Space);
            utterance.settle(1, Joins::Space);
            utterance.take(2, words(second, false), true, Joins::Space);
            assert_eq!(utterance.text(Joins::Space), whole, "{first} + {second}");
        }
    }

    #[test]
    fn what_an_older_link_says_late_stands_before_what_its_successor_says() {
        let mut utterance = Utterance::default();
        utterance.take(2, words("the end", false), false, Joins::Space);
        utterance.take(1, words("From the beginning to", true), false, Joins::Space);
        assert_eq!(utterance.text(Joins::Space), "From the beginning to the end");
    }
}
