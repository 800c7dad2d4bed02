//! What holds for every call, whatever goes wrong with its vendors.

use std::collections::BTreeSet;
use std::time::Duration;

use trunkline::emulate::tts::tone;

use crate::bench::{Outcome, Spoken};
use crate::line::Sound;
use crate::vendors::Said;

/// Silence that a caller may hear while speech is owed, whatever goes wrong.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(5);
/// The same where another voice can speak.
pub(crate) const HANDOVER_MAX: Duration = Duration::from_millis(2_500);
/// The least of the fallback line that is heard.
const LINE_MIN: Duration = Duration::from_millis(600);

/// Who spoke a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The vendor, to the last word.
    Vendor,
    /// The vendor, and the voice behind it from the first unheard word on; or that one alone.
    Next,
    /// The local voice, with the fallback line.
    Fallback,
}

/// Checks that the caller was never left in silence for longer than `most`; the longest there was. What a vendor sends
/// counts as heard if `is_heard` says so.
pub(crate) fn silence(
    outcome: &Outcome,
    turns: &[Spoken],
    most: Duration,
    is_heard: impl Fn(Sound) -> bool + Copy,
) -> Duration {
    let longest = turns.iter().map(|turn| outcome.tape.longest_without(turn.from, turn.to, is_heard)).max();
    let longest = longest.unwrap_or_default();
    assert!(longest <= most, "{longest:?} of silence in {turns:?}");
    longest
}

/// Checks that nothing of what was cut off was heard after `clear`, until `end` or the next turn.
pub(crate) fn nothing_stale(outcome: &Outcome, turns: &[Spoken], end: Duration, said: &[Said]) {
    let tape = &outcome.tape;
    for clear in &tape.clears {
        // The next one may begin in the same moment.
        let next = turns.iter().map(|turn| turn.from).find(|from| from >= clear).unwrap_or(end);
        let stale = tape.heard_for(*clear, next, |_| true);
        assert_eq!(stale, Duration::ZERO, "right after clear at {clear:?}");
        if said.len() > tone::TONES as usize {
            // Tones repeat.
            continue;
        }
        // Turns come one after the other, so that whatever was begun before is what was cut off, or older.
        let old = said.iter().filter(|said| said.at < *clear);
        let old: BTreeSet<u32> = old.filter_map(|said| said.tone).collect();
        let stale =
            tape.heard_for(*clear, Duration::MAX, |sound| matches!(sound, Sound::Tone(tone) if old.contains(&tone)));
        assert_eq!(stale, Duration::ZERO, "long after clear at {clear:?}");
    }
}

/// Who spoke a turn that was not cut off; checks that whoever did spoke all of it.
pub(crate) fn who(outcome: &Outcome, turn: &Spoken) -> Who {
    if outcome.failed(turn.turn) {
        let line = outcome.heard(turn, |sound| sound == Sound::Other);
        assert!(line >= LINE_MIN, "only {line:?} of the fallback line in {turn:?}");
        return Who::Fallback;
    }
    assert_eq!(turn.heard.text, turn.text);
    let tones = outcome.heard(turn, |sound| matches!(sound, Sound::Tone(_)));
    let whole = length_of(&turn.text);
    if is_next(outcome, turn) {
        let all = outcome.heard(turn, |sound| sound != Sound::Silence);
        assert!(2 * all >= whole, "{all:?} of {whole:?} in {turn:?}");
        return Who::Next;
    }
    // A frame in which two tones meet is of neither.
    assert!(tones + whole / 4 >= whole, "{tones:?} of {whole:?} in {turn:?}");
    Who::Vendor
}

/// Whether another voice than the first one spoke in a turn.
fn is_next(outcome: &Outcome, turn: &Spoken) -> bool {
    outcome.failed_over(turn.turn) || outcome.heard(turn, |sound| sound == Sound::Other) > LINE_MIN
}

/// How long a vendor speaks at a text, in tones.
pub(crate) fn length_of(text: &str) -> Duration {
    Duration::from_millis(text.chars().count() as u64 * u64::from(tone::MS_PER_CHAR))
}
