//! Text in two forms: as the agent wrote it and as a voice speaks it, with the way back from one to the other.

use super::is_speakable;

/// A stretch of text as it was written, how it is spoken, and where the two differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    written: String,
    spoken: String,
    /// Where they differ, in order. What lies between two of them is the same in both.
    edits: Vec<Edit>,
}

/// A place where what is spoken is not what was written. Nothing spoken: it was removed; nothing written: it was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edit {
    written: Span,
    spoken: Span,
    leans: Leans,
}

/// A range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: usize,
    end: usize,
}

/// To which word removed text belongs: it is heard, or spoken again, together with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leans {
    /// To the one before it, as a closing mark does.
    Before,
    /// To the one behind it, as an opening mark does.
    After,
}

impl Span {
    fn shifted(self, by: usize) -> Self {
        Span { start: self.start + by, end: self.end + by }
    }

    fn is_empty(self) -> bool {
        self.start == self.end
    }
}

impl Piece {
    /// Text that is spoken as it was written.
    pub(crate) fn plain(text: &str) -> Self {
        Piece { written: text.to_owned(), spoken: text.to_owned(), edits: Vec::new() }
    }

    /// The agent's own text.
    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    /// What a voice is given.
    pub(crate) fn spoken(&self) -> &str {
        &self.spoken
    }

    /// What a voice is given, when the rest is not needed any more.
    pub(crate) fn into_spoken(self) -> String {
        self.spoken
    }

    /// Whether there is nothing in it, not even removed text.
    pub(crate) fn is_empty(&self) -> bool {
        self.written.is_empty() && self.spoken.is_empty()
    }

    /// Adds text that is spoken as it was written.
    pub(super) fn keep(&mut self, text: &str) {
        self.written.push_str(text);
        self.spoken.push_str(text);
    }

    /// Adds text that is not spoken.
    pub(super) fn remove(&mut self, text: &str, leans: Leans) {
        match self.edits.last_mut() {
            // A long address or program is removed token by token, and is one gap all the same.
            Some(last)
                if (last.leans, leans) == (Leans::Before, Leans::Before)
                    && (last.written.end, last.spoken.end) == (self.written.len(), self.spoken.len()) =>
            {
                self.written.push_str(text);
                last.written.end = self.written.len();
            }
            Some(_) | None => self.edit(text, "", leans),
        }
    }

    /// Adds text that is spoken in other words.
    pub(super) fn replace(&mut self, written: &str, spoken: &str) {
        self.edit(written, spoken, Leans::Before);
    }

    /// Adds sounds that were not written.
    pub(super) fn insert(&mut self, spoken: &str) {
        self.edit("", spoken, Leans::Before);
    }

    fn edit(&mut self, written: &str, spoken: &str, leans: Leans) {
        let start = (self.written.len(), self.spoken.len());
        self.written.push_str(written);
        self.spoken.push_str(spoken);
        self.edits.push(Edit {
            written: Span { start: start.0, end: self.written.len() },
            spoken: Span { start: start.1, end: self.spoken.len() },
            leans,
        });
    }

    /// Lets the last edit begin earlier, at the first of the characters directly before it that `belongs`: those are part
    /// of the same word, and it is heard as a whole or not at all.
    pub(super) fn widen(&mut self, belongs: impl Fn(char) -> bool) {
        let Some((last, others)) = self.edits.split_last_mut() else { return };
        let free = others.last().map_or(0, |edit| edit.spoken.end);
        let before = self.spoken.get(free..last.spoken.start).unwrap_or_default();
        let length = before.len() - before.trim_end_matches(belongs).len();
        last.spoken.start -= length;
        last.written.start -= length;
    }

    /// Adds another piece behind this one.
    pub(crate) fn append(&mut self, other: &Piece) {
        let (written, spoken) = (self.written.len(), self.spoken.len());
        self.written.push_str(&other.written);
        self.spoken.push_str(&other.spoken);
        let moved = other.edits.iter().map(|edit| Edit {
            written: edit.written.shifted(written),
            spoken: edit.spoken.shifted(spoken),
            leans: edit.leans,
        });
        self.edits.extend(moved);
    }

    /// Takes the head that speaks at least the first `at` bytes: a word that was replaced stays whole.
    pub(crate) fn take(&mut self, at: usize) -> Piece {
        let inside = self.edits.iter().find(|edit| edit.spoken.start < at && at < edit.spoken.end);
        let tail = self.split_off(inside.map_or(at, |edit| edit.spoken.end));
        std::mem::replace(self, tail)
    }

    /// Leaves the head that speaks the first `at` bytes, which do not end inside a replaced word, and gives the rest.
    pub(crate) fn split_off(&mut self, at: usize) -> Piece {
        let (kept, written) =
            if at >= self.spoken.len() { (self.edits.len(), self.written.len()) } else { self.place(at) };
        let at = at.min(self.spoken.len());
        let back = |span: Span, by: usize| Span { start: span.start.saturating_sub(by), end: span.end - by };
        let edits = self.edits.drain(kept..).map(|edit| Edit {
            written: back(edit.written, written),
            spoken: back(edit.spoken, at),
            leans: edit.leans,
        });
        let edits = edits.collect();
        Piece { edits, written: self.written.split_off(written), spoken: self.spoken.split_off(at) }
    }

    /// The start of the replaced word inside which byte `at` of the spoken text lies, else `at` itself.
    pub(crate) fn whole_words(&self, at: usize) -> usize {
        let edit = self.edits.get(self.edits.partition_point(|edit| edit.spoken.end <= at));
        edit.filter(|edit| edit.spoken.start < at).map_or(at, |edit| edit.spoken.start)
    }

    /// How much of the written text is heard when the first `end` bytes of the spoken text are. Never falls when `end`
    /// grows, as long as no `end` follows white space.
    pub(crate) fn heard(&self, end: usize) -> usize {
        let end = self.whole_heard(end);
        if end == 0 {
            return 0;
        }
        let (mut next, mut written) = self.place(end);
        // Removed text that stands alone belongs to the word before it, so the space between the two does as well.
        let mut spoken = end;
        while let Some(edit) = self.edits.get(next)
            && edit.spoken.is_empty()
            && edit.leans == Leans::Before
            && self.spoken.get(spoken..edit.spoken.start).is_some_and(|gap| gap.trim().is_empty())
        {
            (written, spoken) = (edit.written.end, edit.spoken.end);
            next += 1;
        }
        written
    }

    /// `end` without a replaced word of which only a part was spoken, and with all of one that lacks only marks.
    fn whole_heard(&self, mut end: usize) -> usize {
        while let Some(edit) = self.edits.get(self.edits.partition_point(|edit| edit.spoken.end <= end))
            && edit.spoken.start < end
        {
            let rest = self.spoken.get(end..edit.spoken.end).unwrap_or_default();
            if !is_speakable(rest) {
                return edit.spoken.end;
            }
            // That may be in the middle of another one, which lacks the white space at its end.
            end = self.spoken.get(..edit.spoken.start).unwrap_or_default().trim_end().len();
        }
        end
    }

    /// How many edits lie before byte `at` of the spoken text, and the byte of the written text that stands there.
    fn place(&self, at: usize) -> (usize, usize) {
        if at == 0 {
            return (0, 0);
        }
        let mut next = self.edits.partition_point(|edit| edit.spoken.end < at);
        while self.edits.get(next).is_some_and(|edit| edit.spoken.end == at && edit.leans == Leans::Before) {
            next += 1;
        }
        let last = next.checked_sub(1).and_then(|last| self.edits.get(last));
        let (spoken, written) = last.map_or((0, 0), |edit| (edit.spoken.end, edit.written.end));
        (next, written + (at - spoken))
    }

    /// Ends it with a full stop if it ends with a word: without one, some voices do not know that they may speak it, and
    /// others end as if it went on.
    pub(crate) fn close(&mut self) {
        let end = self.spoken.trim_end().len();
        let last = self.spoken.get(..end).and_then(|text| text.chars().next_back());
        // Scripts that do not end a sentence with this mark begin above.
        if !last.is_some_and(|c| c.is_alphanumeric() && c < '\u{590}') {
            return;
        }
        let mut tail = self.split_off(end);
        // What belongs to the word before the stop stays before it.
        self.insert(".");
        self.append(&std::mem::take(&mut tail));
    }
}
