//! Text that has come and is not spoken yet: where the vendor's managed buffering cuts it.

/// Longest text spoken in one go, in characters; the local voice takes twice as much.
const PIECE_CHARS_MAX: usize = 1_000;

/// Words of an unfinished sentence that are held at most while a model lags behind its text.
const LAGGING_WORDS_MAX: usize = 12;

/// Words that it lags behind.
const LAGGING_WORDS: usize = 3;

/// Short words whose full stop ends no sentence.
const ABBREVIATIONS: [&str; 12] = ["dr", "mr", "mrs", "ms", "st", "prof", "no", "vs", "etc", "e.g", "i.e", "approx"];

/// Whether there is anything to say: a letter or a digit of any script.
pub(in crate::emulate) fn is_speakable(text: &str) -> bool {
    text.contains(char::is_alphanumeric)
}

/// The unspoken text of one context, verbatim.
#[derive(Debug, Default)]
pub(in crate::emulate) struct TextBuffer {
    text: String,
}

impl TextBuffer {
    /// Adds what came, nothing put between: joining is the client's business.
    pub(in crate::emulate) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Characters held.
    pub(in crate::emulate) fn chars(&self) -> usize {
        self.text.chars().count()
    }

    /// Whether something speakable waits.
    pub(in crate::emulate) fn is_waiting(&self) -> bool {
        is_speakable(&self.text)
    }

    /// All whole sentences, if there is one. A sentence is whole when white space follows its end.
    pub(in crate::emulate) fn take_sentences(&mut self) -> Option<String> {
        self.take_until(last_boundary(&self.text)?)
    }

    /// All whole sentences; of a long one that is not whole, all but its last few words.
    pub(in crate::emulate) fn take_lagging(&mut self) -> Option<String> {
        let starts = word_starts(&self.text);
        if starts.len() <= LAGGING_WORDS_MAX {
            return self.take_sentences();
        }
        let cut = starts.get(starts.len() - LAGGING_WORDS).copied()?;
        self.take_until(cut)
    }

    /// All words but the last, which may not be whole.
    pub(in crate::emulate) fn take_words(&mut self) -> Option<String> {
        let cut = word_starts(&self.text).last().copied()?;
        self.take_until(cut)
    }

    /// Everything before the byte `cut`, if it can be said.
    fn take_until(&mut self, cut: usize) -> Option<String> {
        let (head, _) = self.text.split_at(cut);
        if !is_speakable(head) {
            return None;
        }
        let rest = self.text.split_off(cut);
        Some(std::mem::replace(&mut self.text, rest))
    }

    /// Everything. Text that nobody can say stays for what comes after it.
    pub(in crate::emulate) fn take_all(&mut self) -> Option<String> {
        self.is_waiting().then(|| std::mem::take(&mut self.text))
    }
}

/// Byte after the white space that follows the last sentence end.
fn last_boundary(text: &str) -> Option<usize> {
    let mut cut = None;
    let mut word_start = 0;
    let mut ended = false;
    for (at, c) in text.char_indices() {
        if matches!(c, '。' | '！' | '？' | '\n') {
            cut = Some(at + c.len_utf8());
            word_start = at + c.len_utf8();
            ended = false;
        } else if c.is_whitespace() {
            if ended && !is_abbreviation(text.get(word_start..at).unwrap_or_default()) {
                cut = Some(at + c.len_utf8());
            }
            word_start = at + c.len_utf8();
            ended = false;
        } else if matches!(c, '.' | '!' | '?' | '…') {
            ended = true;
        } else if !matches!(c, '"' | '\'' | ')' | ']' | '”' | '’') {
            ended = false;
        }
    }
    cut
}

/// Bytes at which words begin.
fn word_starts(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut inside = false;
    for (at, c) in text.char_indices() {
        if !inside && !c.is_whitespace() {
            starts.push(at);
        }
        inside = !c.is_whitespace();
    }
    starts
}

fn is_abbreviation(word: &str) -> bool {
    let Some(stem) = word.strip_suffix('.') else { return false };
    let stem = stem.trim_start_matches(['(', '"', '\'']).to_lowercase();
    ABBREVIATIONS.contains(&stem.as_str())
}

/// `text` in pieces of at most [`PIECE_CHARS_MAX`], cut at white space where there is any. The pieces join to the text.
pub(in crate::emulate) fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((limit, _)) = rest.char_indices().nth(PIECE_CHARS_MAX) {
        let (head, _) = rest.split_at(limit);
        let at = head.rfind(char::is_whitespace).filter(|at| *at > 0).unwrap_or(limit);
        let (piece, after) = rest.split_at(at);
        pieces.push(piece.to_owned());
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(rest.to_owned());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(parts: &[&str]) -> (Option<String>, String) {
        let mut buffer = TextBuffer::default();
        parts.iter().for_each(|part| buffer.push(part));
        (buffer.take_sentences(), buffer.text)
    }

    #[test]
    fn sentences_are_cut_after_the_white_space_that_follows_them() {
        let cut = |parts: &[&str]| sentences(parts);
        assert_eq!(cut(&["One. Two? Thr", "ee"]), (Some("One. Two? ".to_owned()), "Three".to_owned()));
        assert_eq!(cut(&["(He said \"no.\") Then"]), (Some("(He said \"no.\") ".to_owned()), "Then".to_owned()));
        assert_eq!(cut(&["一。二"]), (Some("一。".to_owned()), "二".to_owned()));
    }

    #[test]
    fn numbers_abbreviations_and_unfinished_sentences_are_not_cut() {
        for text in ["It costs 3.", "3.14 of", "Ask Dr. Smith", "See e.g. this", "no end", "", "... "] {
            assert_eq!(sentences(&[text]), (None, text.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn text_that_nobody_can_say_waits_for_the_rest() {
        let mut buffer = TextBuffer::default();
        buffer.push(" - ");
        assert_eq!(buffer.take_all(), None);
        buffer.push("yes");
        assert_eq!(buffer.take_all().as_deref(), Some(" - yes"));
        assert_eq!(buffer.chars(), 0);
    }

    #[test]
    fn a_lagging_model_holds_the_last_words_of_a_long_sentence() {
        let mut buffer = TextBuffer::default();
        buffer.push("one two three four five six seven eight nine ten eleven twelve");
        assert_eq!(buffer.take_lagging(), None);
        buffer.push(" thirteen");
        assert_eq!(buffer.take_lagging().as_deref(), Some("one two three four five six seven eight nine ten "));
        assert_eq!(buffer.text, "eleven twelve thirteen");
        buffer.push(". Four");
        assert_eq!(buffer.take_lagging().as_deref(), Some("eleven twelve thirteen. "));
        assert_eq!(buffer.take_words(), None);
        buffer.push("teen fif");
        assert_eq!(buffer.take_words().as_deref(), Some("Fourteen "));
    }

    #[test]
    fn long_text_is_cut_at_white_space_and_joins_again() {
        for text in ["word ".repeat(900), "é".repeat(2_500), "short".to_owned()] {
            let pieces = pieces(&text);
            assert!(pieces.iter().all(|piece| piece.chars().count() <= PIECE_CHARS_MAX));
            assert_eq!(pieces.concat(), text);
        }
        assert!(pieces("").is_empty());
    }
}
