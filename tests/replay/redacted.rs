//! A redacted tape is as good as the real one.

use trunkline::replay::perform;
use trunkline::tape::{Digest, Entry, Redactor, Tape, Text};

/// The words are made up from this here, so that a failure is the same in every run.
const KEY: [u8; 32] = [7; 32];

/// What is wrong with the tape once it is redacted, the audio being kept: it must send the same audio, marks and clears.
pub(crate) fn differs(tape: &Tape, digest: Digest) -> Option<String> {
    let mut header = tape.header.clone();
    header.text = Text::Redact;
    let mut peers = header.peers();
    let mut redactor = Redactor::new(&header, KEY);
    let cover = |entry: &Entry| {
        let what = match entry.what.event(&mut peers) {
            Some(event) => redactor.cover(entry.what.clone(), &event),
            None => entry.what.clone(),
        };
        Entry { at: entry.at, what }
    };
    let entries = tape.entries.iter().map(cover).collect();
    let session = perform(&Tape { header: redactor.header(header), entries }, |_, _| ());
    let redacted = session.digest();
    (redacted != digest).then(|| format!("redacted, the call sends {redacted:?} instead of {digest:?}"))
}
