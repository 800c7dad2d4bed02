//! What holds for every call, whatever goes wrong with its vendors.

use std::collections::BTreeSet;
use std::time::Duration;

use trunkline::emulate::tts::{ContextRecord, tone};

use crate::bench::{Outcome, Spoken};
use crate::line::Sound;

/// Silence that a caller may hear while speech is owed, whatever goes wrong.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(5);
/// The least of the fallback line that is heard.
const LINE_MIN: Duration = Duration::from_millis(600);

/// Who spoke a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The vendor, to the last word.
    Vendor,
    /// The local voice, with the fallback line.
    Fallback,
}

/// Checks that the caller was never left in silence; the longest there was.
pub(crate) fn silence(outcome: &Outcome, turns: &[Spoken]) -> Duration {
    let longest = turns.iter().map(|turn| outcome.tape.longest_silence(turn.from, turn.to)).max().unwrap_or_default();
    assert!(longest <= SILENCE_MAX, "{longest:?} of silence in {turns:?}");
    longest
}

/// Checks that nothing of what was cut off was heard after `clear`, until `end` or the next turn.
pub(crate) fn nothing_stale(outcome: &Outcome, turns: &[Spoken], end: Duration, contexts: &[ContextRecord]) {
    let tape = &outcome.tape;
    for clear in &tape.clears {
        let next = turns.iter().map(|turn| turn.from).find(|from| from > clear).unwrap_or(end);
        let stale = tape.heard_for(*clear, next, |_| true);
        assert_eq!(stale, Duration::ZERO, "right after clear at {clear:?}");
        if contexts.len() > tone::TONES as usize {
            // Tones repeat.
            continue;
        }
        let of_old = |context: &&ContextRecord| turns.iter().any(|turn| turn.from < *clear && is_of(context, turn));
        let old: BTreeSet<u32> = contexts.iter().filter(of_old).filter_map(|context| context.tone).collect();
        let stale =
            tape.heard_for(*clear, Duration::MAX, |sound| matches!(sound, Sound::Tone(tone) if old.contains(&tone)));
        assert_eq!(stale, Duration::ZERO, "long after clear at {clear:?}");
    }
}

/// Who spoke a turn that was not cut off; checks that whoever did spoke all of it.
pub(crate) fn who(outcome: &Outcome, turn: &Spoken) -> Who {
    if outcome.failure(turn.turn).is_some() {
        let line = outcome.heard(turn, |sound| sound == Sound::Other);
        assert!(line >= LINE_MIN, "only {line:?} of the fallback line in {turn:?}");
        return Who::Fallback;
    }
    assert_eq!(turn.heard.text, turn.text);
    let tones = outcome.heard(turn, |sound| matches!(sound, Sound::Tone(_)));
    let whole = length_of(&turn.text);
    // A frame in which two tones meet is of neither.
    assert!(tones + whole / 4 >= whole, "{tones:?} of {whole:?} in {turn:?}");
    Who::Vendor
}

/// How long a vendor speaks at a text, in tones.
pub(crate) fn length_of(text: &str) -> Duration {
    Duration::from_millis(text.chars().count() as u64 * u64::from(tone::MS_PER_CHAR))
}

/// Whether a context was begun for a turn.
fn is_of(context: &ContextRecord, turn: &Spoken) -> bool {
    context.id.contains(&format!("-{}.", turn.turn.0))
}
