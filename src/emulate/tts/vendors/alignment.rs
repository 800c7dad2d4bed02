//! ElevenLabs' times of characters, told with the audio in which they sound.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::super::wording::Piece;
use crate::voice::Word;

/// Characters whose times were not sent yet.
#[derive(Debug, Default)]
pub(super) struct Alignment {
    /// Each with its beginning in milliseconds from the first sample of the context.
    chars: VecDeque<(char, u64)>,
    /// Where the last word ended.
    words_end: Option<u32>,
    /// The last character that was sent.
    last: Option<char>,
    /// Audio up to here has its characters.
    sent_to_ms: u64,
}

impl Alignment {
    pub(super) fn add(&mut self, words: &[Word]) {
        for word in words {
            if let Some(end) = self.words_end.replace(word.end_ms) {
                self.chars.push_back((' ', u64::from(end)));
            }
            let count = word.text.chars().count().max(1) as u64;
            let length = u64::from(word.end_ms.saturating_sub(word.start_ms));
            let at = |index: u64| u64::from(word.start_ms) + length * index / count;
            self.chars.extend((0..).zip(word.text.chars()).map(|(index, c)| (c, at(index))));
        }
    }

    /// The characters that begin in a piece of audio, with times from its first sample, to its last.
    pub(super) fn take(&mut self, piece: Piece<'_>) -> Value {
        // Another part of a piece that was cut has its characters.
        if piece.to_ms <= self.sent_to_ms {
            return Value::Null;
        }
        self.sent_to_ms = piece.to_ms;
        let count = self.chars.partition_point(|(_, at)| *at < piece.to_ms);
        let mut chars: Vec<(Option<char>, u64)> =
            self.chars.drain(..count).map(|(c, at)| (Some(c), at.saturating_sub(piece.from_ms))).collect();
        // What sounds at the beginning of the piece: the rest of a character that was sent before, or a pause.
        let is_pause = self.last.is_none_or(char::is_whitespace);
        match chars.first_mut() {
            Some((_, at)) if !is_pause => *at = 0,
            Some((_, 0)) => {}
            Some(_) => chars.insert(0, (Some(' '), 0)),
            None => {
                let is_over =
                    self.chars.is_empty() && self.words_end.is_some_and(|end| u64::from(end) <= piece.from_ms);
                chars.push(((is_pause || is_over).then_some(' '), 0));
            }
        }
        self.last = chars.last().and_then(|(c, _)| *c).or(self.last);
        let ends = chars.iter().skip(1).map(|(_, at)| *at).chain([piece.to_ms - piece.from_ms]);
        let durations: Vec<u64> = chars.iter().zip(ends).map(|((_, at), end)| end.saturating_sub(*at)).collect();
        json!({
            "chars": chars.iter().map(|(c, _)| c.map_or_else(String::new, String::from)).collect::<Vec<_>>(),
            "charStartTimesMs": chars.iter().map(|(_, at)| *at).collect::<Vec<_>>(),
            "charDurationsMs": durations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(from_ms: u64, to_ms: u64) -> Piece<'static> {
        Piece { bytes: &[], from_ms, to_ms, flush_id: 1, step_ms: 0.0 }
    }

    #[test]
    fn characters_cover_their_audio_and_begin_again_in_every_message() {
        let word = |text: &str, start_ms, end_ms| Word { text: text.to_owned(), start_ms, end_ms };
        let mut alignment = Alignment::default();
        assert_eq!(alignment.take(piece(0, 90))["chars"], json!([" "]));
        alignment.add(&[word("Ab", 100, 200), word("c", 260, 320)]);
        let taken = alignment.take(piece(90, 180));
        assert_eq!(taken["chars"], json!([" ", "A", "b"]));
        assert_eq!(taken["charStartTimesMs"], json!([0, 10, 60]));
        assert_eq!(taken["charDurationsMs"], json!([10, 50, 30]));
        // The other half of the same piece.
        assert_eq!(alignment.take(piece(90, 180)), Value::Null);
        // What is left of "b" is not told again, lest the word be torn.
        let taken = alignment.take(piece(180, 270));
        assert_eq!(taken["chars"], json!([" ", "c"]));
        assert_eq!(taken["charStartTimesMs"], json!([0, 80]));
        assert_eq!(taken["charDurationsMs"], json!([80, 10]));
        assert_eq!(alignment.take(piece(270, 300))["chars"], json!([""]));
        let silence = alignment.take(piece(330, 360));
        assert_eq!((&silence["chars"], &silence["charDurationsMs"]), (&json!([" "]), &json!([30])));
    }
}
