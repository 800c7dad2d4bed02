//! From played microseconds to the agent's own words.

use super::event::TimedWord;
use super::text::{self, Piece};

/// How many tokens ahead a timed word is looked for before it counts as not written.
const LOOK_AHEAD_TOKENS: usize = 12;

/// Without word times, so much of the audio since the last known place counts as speech of an ordinary pace: a voice may be
/// a good deal slower.
const SURE_PERCENT: u64 = 80;

/// A word's time may run past the end of the audio by so much.
const TIMING_SLACK_US: u64 = 100_000;

/// The text of one context and what is known about when its words are spoken. Inside, everything is counted in what is
/// spoken; what is told is the agent's own text.
#[derive(Clone, Debug, Default)]
pub(super) struct Transcript {
    text: Piece,
    words: Vec<Aligned>,
    /// Where in the spoken text the next timed word is looked for.
    cursor: usize,
    /// Where in the spoken text each of the texts ends that the voice was given.
    given: Vec<usize>,
    /// Places that are known without word times: a byte of the spoken text, and the microseconds of audio up to it.
    anchors: Vec<(usize, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Aligned {
    text_start: usize,
    text_end: usize,
    start_us: u64,
    end_us: u64,
}

/// Where speech has to go on after a context broke off. A word that is spoken in other words is spoken again as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resume {
    /// Byte of the spoken text from which to speak again; what is before it was spoken.
    pub(super) at: usize,
    /// Microseconds of the received audio that are worth playing.
    pub(super) keep_us: u64,
}

impl Transcript {
    /// Adds text that the context was given.
    pub(super) fn push_text(&mut self, text: &Piece) {
        self.text.append(text);
    }

    /// What was pushed so far is one more text that the voice was given, to its end.
    pub(super) fn end_given_text(&mut self) {
        self.given.push(self.text.spoken().len());
    }

    /// The first `texts` of the texts that the voice was given end where `received_us` of audio ends.
    pub(super) fn anchor(&mut self, texts: usize, received_us: u64) {
        let Some(at) = texts.checked_sub(1).and_then(|last| self.given.get(last)).copied() else { return };
        if self.anchors.last().is_none_or(|(before, _)| *before < at) {
            self.anchors.push((at, received_us));
        }
    }

    /// Whether it is known that all of the text was spoken, apart from what has no sound.
    pub(super) fn is_all_anchored(&self) -> bool {
        let rest = self.anchors.last().and_then(|(at, _)| self.text.spoken().get(*at..));
        rest.is_some_and(|rest| !text::is_speakable(rest))
    }

    /// All text that the context was given.
    pub(super) fn text(&self) -> &Piece {
        &self.text
    }

    /// Leaves only what was spoken when the context broke off, and gives what is to be spoken again.
    pub(super) fn cut(&mut self, resume: Resume) -> Piece {
        let rest = self.text.split_off(resume.at);
        self.words.retain(|word| word.text_end <= resume.at);
        self.cursor = self.cursor.min(resume.at);
        self.anchors.retain(|(at, _)| *at <= resume.at);
        self.given.retain(|end| *end <= resume.at);
        rest
    }

    /// Adds words as they were timed. A word that was not written is passed over, and so is one that was told before.
    pub(super) fn push_words(&mut self, words: &[TimedWord]) {
        for word in words {
            let is_new = self.words.last().is_none_or(|last| last.end_us < word.end_us);
            if is_new && let Some((text_start, text_end)) = self.find(&word.text) {
                self.words.push(Aligned { text_start, text_end, start_us: word.start_us, end_us: word.end_us });
                self.cursor = text_end;
            }
        }
    }

    /// Whether words come with times.
    pub(super) fn is_timed(&self) -> bool {
        !self.words.is_empty()
    }

    /// Whether every word of the text has its time, and audio up to it: `received_us` is what came, `before_us` of it before
    /// the last of the text was given. A last word that the vendor wrote in another way has no time; it is spoken if there
    /// is audio for it.
    pub(super) fn is_proved(&self, received_us: u64, before_us: u64) -> bool {
        let rest = self.untimed();
        let Some(last) = self.words.last() else { return false };
        let behind = received_us.saturating_sub(last.end_us.max(before_us));
        self.is_all_timed(received_us) || (!self.lacks_audio(received_us) && behind * 2 >= text::spoken_micros(rest))
    }

    /// Whether every word of the text has its time without exception, and audio up to it.
    pub(super) fn is_all_timed(&self, received_us: u64) -> bool {
        self.is_timed() && !text::is_speakable(self.untimed()) && !self.lacks_audio(received_us)
    }

    /// Whether there are word times beyond the `received_us` of audio that came.
    pub(super) fn lacks_audio(&self, received_us: u64) -> bool {
        self.words.last().is_some_and(|last| last.end_us > received_us + TIMING_SLACK_US)
    }

    /// Microseconds of speech that are still to come when `received_us` of audio came, roughly.
    pub(super) fn unmade_us(&self, received_us: u64) -> u64 {
        match self.words.last() {
            Some(last) => (last.end_us + text::spoken_micros(self.untimed())).saturating_sub(received_us),
            None => text::spoken_micros(self.text.spoken()).saturating_sub(received_us),
        }
    }

    /// The spoken text behind the last timed word.
    fn untimed(&self) -> &str {
        self.text.spoken().get(self.cursor..).unwrap_or_default()
    }

    /// The agent's own text whose words had ended after `played_us` of audio. Without times it is reckoned from `total_us`, the
    /// length of the whole audio if that is known, and cut down to a word.
    pub(super) fn heard(&self, played_us: u64, total_us: Option<u64>) -> &str {
        let end = if self.is_timed() {
            self.words.iter().take_while(|word| word.end_us <= played_us).last().map_or(0, |word| word.text_end)
        } else {
            self.reckon(played_us, total_us)
        };
        let written = self.text.written();
        written.get(..self.text.heard(self.with_closing_marks(end))).unwrap_or(written)
    }

    /// Where to go on when only `received_us` of audio came. Without word times a word or two may be heard twice, so that
    /// none is lost.
    pub(super) fn resume(&self, received_us: u64) -> Resume {
        if received_us == 0 {
            return Resume { at: 0, keep_us: 0 };
        }
        if !self.is_timed() {
            let text = self.text.spoken();
            let known_us = self.anchors.last().map_or(0, |(_, us)| *us);
            let sure_us = known_us + (received_us - known_us) * SURE_PERCENT / 100;
            let at = self.text.whole_words(self.with_closing_marks(self.reckon(sure_us, None)));
            if at == 0 {
                return Resume { at: 0, keep_us: 0 };
            }
            let rest = text.get(at..).unwrap_or_default();
            return Resume { at: text.len() - rest.trim_start().len(), keep_us: received_us };
        }
        let (end, keep_us) = match self.words.iter().find(|word| word.end_us > received_us) {
            Some(word) => (word.text_start, word.start_us),
            None => (self.with_closing_marks(self.cursor), received_us),
        };
        let at = self.text.whole_words(end);
        let again = self.words.iter().find(|word| word.text_start >= at).filter(|_| at < end);
        let keep_us = again.map_or(keep_us, |word| word.start_us).min(received_us);
        Resume { at, keep_us }
    }

    fn reckon(&self, played_us: u64, total_us: Option<u64>) -> usize {
        let text = self.text.spoken();
        // Between two places that are known, every character takes as long.
        let before = self.anchors.iter().rfind(|(_, us)| *us <= played_us).copied().unwrap_or_default();
        let whole = total_us.filter(|total| *total > before.1).map(|total| (text.len(), total));
        let after = self.anchors.iter().find(|(at, us)| *us > played_us && *at > before.0).copied().or(whole);
        let rest = text.get(before.0..).unwrap_or_default();
        let us = played_us - before.1;
        let chars = match after {
            Some((end, end_us)) => {
                let chars = text.get(before.0..end).unwrap_or_default().chars().count() as u64;
                let span = end_us - before.1;
                u128::from(chars) * u128::from(us.min(span)) / u128::from(span)
            }
            None => u128::from(us / text::MICROS_PER_CHAR),
        };
        let chars = usize::try_from(chars).unwrap_or(usize::MAX);
        let at = rest.char_indices().nth(chars).map_or(text.len(), |(at, _)| before.0 + at);
        if at == text.len() {
            return at;
        }
        let head = text.get(..at).unwrap_or_default();
        let is_end = text.get(at..).is_some_and(is_word_end);
        let head = if is_end { head } else { head.trim_end_matches(|c: char| !c.is_whitespace() && !is_wide_mark(c)) };
        head.trim_end().len()
    }

    /// `end` moved over punctuation that belongs to the word before it; white space stays outside.
    fn with_closing_marks(&self, end: usize) -> usize {
        if end == 0 {
            return 0;
        }
        let rest = self.text.spoken().get(end..).unwrap_or_default();
        end + rest.find(|c: char| c.is_whitespace() || c.is_alphanumeric() || c == '<').unwrap_or(rest.len())
    }

    /// Finds the next place where `word` is in the spoken text, as a range of bytes.
    fn find(&self, word: &str) -> Option<(usize, usize)> {
        let word = strip_tags(word);
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        if bare.is_empty() {
            return None;
        }
        let mut at = self.cursor;
        for _ in 0..LOOK_AHEAD_TOKENS {
            let rest = self.text.spoken().get(at..)?;
            at += rest.len() - skip_marks(rest).len();
            let rest = self.text.spoken().get(at..)?;
            if rest.is_empty() {
                return None;
            }
            if let Some(after) = strip_prefix_ignoring_case(rest, bare) {
                return Some((at, at + rest.len() - after.len()));
            }
            at += rest.find(|c: char| c.is_whitespace() || c == '<').unwrap_or(rest.len()).max(1);
        }
        None
    }
}

/// Whether a word ends where `rest` begins: marks inside of one, as in "o'clock", end nothing.
fn is_word_end(rest: &str) -> bool {
    let after = rest.trim_start_matches(|c: char| !c.is_alphanumeric() && !c.is_whitespace());
    let marks = rest.get(..rest.len() - after.len()).unwrap_or_default();
    after.is_empty() || after.starts_with(char::is_whitespace) || marks.contains(is_wide_mark)
}

/// Marks of scripts that do not put white space between words.
fn is_wide_mark(c: char) -> bool {
    matches!(c, '。' | '，' | '！' | '？' | '、' | '；' | '：')
}

/// `text` without leading white space, punctuation and whole tags.
fn skip_marks(text: &str) -> &str {
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '<');
        match (trimmed.starts_with('<'), trimmed.find('>')) {
            (true, Some(end)) => rest = trimmed.get(end + 1..).unwrap_or_default(),
            (true, None) => return trimmed.get(1..).unwrap_or_default(),
            (false, _) => return trimmed,
        }
    }
}

fn strip_tags(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut in_tag = false;
    for c in word.chars() {
        match c {
            '<' => in_tag = true,
            '>' => in_tag = false,
            _ if !in_tag => out.push(c),
            _ => {}
        }
    }
    out
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let mut rest = text.chars();
    for wanted in prefix.chars() {
        let got = rest.next()?;
        if got != wanted && !got.to_lowercase().eq(wanted.to_lowercase()) {
            return None;
        }
    }
    Some(rest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(text: &str, words: &[(&str, u64, u64)]) -> Transcript {
        let mut transcript = Transcript::default();
        transcript.push_text(&Piece::plain(text));
        let words: Vec<TimedWord> = words
            .iter()
            .map(|(word, start, end)| TimedWord {
                text: (*word).to_owned(),
                start_us: start * 1_000,
                end_us: end * 1_000,
            })
            .collect();
        transcript.push_words(&words);
        transcript
    }

    #[test]
    fn timed_words_give_the_text_with_its_own_spacing() {
        let transcript =
            timed("Well,  hello \"World\".  Bye.", &[("Well", 0, 300), ("hello", 320, 600), ("world", 610, 900)]);
        assert_eq!(transcript.heard(0, None), "");
        assert_eq!(transcript.heard(599_999, None), "Well,");
        assert_eq!(transcript.heard(600_000, None), "Well,  hello");
        assert_eq!(transcript.heard(2_000_000, None), "Well,  hello \"World\".");
        assert!(!transcript.is_proved(1_000_000, 0));
    }

    #[test]
    fn unwritten_words_are_passed_over_and_characters_align_too() {
        let transcript =
            timed("It is 5 now.", &[("It", 0, 100), ("is", 100, 200), ("five", 200, 300), ("now", 300, 400)]);
        assert_eq!(transcript.heard(350_000, None), "It is");
        assert_eq!(transcript.heard(400_000, None), "It is 5 now.");
        assert!(transcript.is_proved(400_000, 0));
        let last = timed("It costs $5.", &[("It", 0, 100), ("costs", 100, 400), ("five dollars", 400, 900)]);
        assert!(!last.is_proved(420_000, 0));
        assert!(last.is_proved(900_000, 0) && !last.is_proved(900_000, 800_000));
        assert_eq!((last.unmade_us(420_000), last.unmade_us(900_000)), (240_000, 0));
        let twice = timed("so, so it is so", &[("so", 0, 200), ("so", 0, 200), ("so", 250, 400), ("it", 400, 500)]);
        assert_eq!(twice.heard(240_000, None), "so,");
        assert_eq!(twice.heard(500_000, None), "so, so it");
        let chinese = timed("你好。再见", &[("你", 0, 100), ("好", 100, 200), ("。", 200, 210), ("再", 300, 400)]);
        assert_eq!(chinese.heard(250_000, None), "你好。");
        let tagged =
            timed("Wait <break time=\"1s\"/> here", &[("Wait", 0, 100), ("<break time=\"1s\"/>here", 900, 1_100)]);
        assert_eq!(tagged.heard(1_100_000, None), "Wait <break time=\"1s\"/> here");
    }

    #[test]
    fn without_times_the_text_is_reckoned_and_cut_at_a_word() {
        let mut transcript = Transcript::default();
        transcript.push_text(&Piece::plain("one two three four"));
        assert_eq!(transcript.heard(500_000, Some(1_000_000)), "one two");
        assert_eq!(transcript.heard(1_000_000, Some(1_000_000)), "one two three four");
        assert_eq!(transcript.heard(4 * text::MICROS_PER_CHAR, None), "one");
        for (text, heard) in
            [("It is 5 o'clock", "It is 5"), ("(well) now", "(well)"), ("你好。再见", "你好。"), ("**so", "")]
        {
            let mut transcript = Transcript::default();
            transcript.push_text(&Piece::plain(text));
            let mut last = 0;
            let all =
                (0..=text.chars().count() as u64).map(|at| transcript.heard(at, Some(text.chars().count() as u64)));
            let parts: Vec<&str> =
                all.inspect(|part| assert!(std::mem::replace(&mut last, part.len()) <= part.len())).collect();
            assert_eq!((parts[parts.len() - 2], parts[parts.len() - 1]), (heard, text));
        }
    }

    #[test]
    fn speech_goes_on_at_the_first_word_without_whole_audio() {
        let transcript = timed("one two three. four", &[("one", 0, 300), ("two", 310, 600), ("three.", 620, 990)]);
        assert_eq!(transcript.resume(0), Resume { at: 0, keep_us: 0 });
        assert_eq!(transcript.resume(700_000), Resume { at: 8, keep_us: 620_000 });
        assert_eq!(transcript.resume(1_000_000), Resume { at: 14, keep_us: 1_000_000 });
        let mut untimed = Transcript::default();
        untimed.push_text(&Piece::plain("One two. Three four. Five."));
        assert_eq!(untimed.resume(3 * text::MICROS_PER_CHAR), Resume { at: 0, keep_us: 0 });
        assert_eq!(untimed.resume(5 * text::MICROS_PER_CHAR), Resume { at: 4, keep_us: 325_000 });
    }

    #[test]
    fn between_known_places_every_character_takes_as_long() {
        let mut transcript = Transcript::default();
        for text in ["One two. ", "Three four. ", "Five six."] {
            transcript.push_text(&Piece::plain(text));
            transcript.end_given_text();
        }
        transcript.anchor(1, 900_000);
        assert!(!transcript.is_all_anchored());
        transcript.anchor(2, 1_200_000);
        // What is known does not move back, and nobody gave a fourth text.
        transcript.anchor(1, 2_000_000);
        transcript.anchor(4, 2_000_000);
        assert_eq!(transcript.heard(899_999, None), "One two.");
        assert_eq!(transcript.heard(300_000, None), "One");
        assert_eq!(transcript.heard(1_050_000, None), "One two. Three");
        assert_eq!(transcript.heard(1_200_000, None), "One two. Three four.");
        assert_eq!(transcript.resume(1_250_000), Resume { at: 21, keep_us: 1_250_000 });
        transcript.anchor(3, 1_800_000);
        assert!(transcript.is_all_anchored());
    }
}
