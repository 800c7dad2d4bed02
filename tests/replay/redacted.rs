//! A redacted tape is as good as the real one.

use trunkline::replay::redacted;
use trunkline::tape::{Audio, Tape, Text};

/// The words are made up from this here, so that a failure is the same in every run.
const KEY: [u8; 32] = [7; 32];

/// What is wrong with the tape once its words are made up: with its audio it must send the same bytes, and without it the
/// same frames, marks and clears.
pub(crate) fn differs(tape: &Tape) -> Vec<String> {
    let attempt = |audio: Audio| redacted(tape, Text::Redact, audio, KEY).err().map(|fault| (audio, fault));
    let faults = [Audio::Keep, Audio::Silence].into_iter().filter_map(attempt);
    faults.map(|(audio, fault)| format!("redacted, audio {audio:?}: {fault}")).collect()
}
