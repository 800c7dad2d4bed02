//! Tapes that somebody sends.

use trunkline::replay::{perform, redacted};
use trunkline::tape::{Audio, Lines, Tape, Text, What};

/// Reads a tape. One that can be read is performed, covered, and written and read again.
pub fn tape(text: &[u8]) {
    let Ok(mut tape) = Tape::read(text) else { return };
    let session = perform(&tape, |_, _| {});
    assert_eq!(perform(&tape, |_, _| {}).digest(), session.digest(), "the same tape, another call");
    // What the live call sent is its own affair: an arbitrary tape knows nothing of it.
    tape.entries.retain(|entry| !matches!(entry.what, What::End(_)));
    let Ok(covered) = redacted(&tape, Text::Redact, Audio::Silence, [7; 32]) else { return };
    let mut lines = Lines::default();
    lines.push_header(&covered.header);
    covered.entries.iter().for_each(|entry| lines.push_entry(entry));
    let (written, _) = lines.take();
    let read = Tape::read(written.as_slice()).expect("what we wrote");
    assert_eq!(read.entries.len(), covered.entries.len());
    assert_eq!(perform(&read, |_, _| {}).digest(), perform(&covered, |_, _| {}).digest(), "another call once written");
}
