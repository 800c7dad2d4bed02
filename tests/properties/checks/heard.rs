//! What the agent is told that the caller heard, against what the carrier really played.

use super::{Verdict, ensure};
use crate::evidence::{Evidence, Kind, Told, millis};
use crate::trace::{Marks, Truth};

/// What is said to be heard is a prefix of what the agent said.
pub(crate) fn heard_is_a_prefix_of_what_was_said(evidence: &Evidence<'_>) -> Verdict {
    let wrong = evidence.told.iter().find(|told| !told.said.starts_with(&told.heard.text));
    ensure(wrong.is_none(), || format!("no prefix: {wrong:?}"))
}

/// What is said to be heard never lasts longer than what was played, nor has it more words.
pub(crate) fn heard_is_never_more_than_was_played(evidence: &Evidence<'_>) -> Verdict {
    for told in &evidence.told {
        let played: u64 = told.played.iter().map(|(_, ms)| ms).sum();
        let most = played + lie_ms(evidence, told);
        ensure(millis(told.heard.played) <= most, || format!("{most} ms can have been heard: {told:?}"))?;
        let Some(truth) = &evidence.trace.truth else { continue };
        let Some((words, tolerance)) = words_played(truth, told) else { continue };
        let said = words_of(&told.heard.text);
        ensure(said <= words + tolerance, || format!("{words} words were played: {told:?}"))?;
    }
    Ok(())
}

/// What a carrier may make us believe: a mark may come 60 ms early, or a little more by its drifting clock, and the padding
/// of a last frame counts as played.
fn lie_ms(evidence: &Evidence<'_>, told: &Told) -> u64 {
    let frame = evidence.format.map_or(0, |format| u64::from(format.frame_ms));
    60 + told.at.as_micros() / 3_000_000 + (told.played.len() as u64 + 1) * frame
}

/// With honest marks and words that are told in time, what is said to be heard lacks at most the word that is being spoken.
pub(crate) fn heard_lags_by_one_word_at_most(evidence: &Evidence<'_>) -> Verdict {
    let Some(truth) = evidence.trace.truth.as_ref().filter(|truth| truth.marks == Marks::Honest && truth.foretold)
    else {
        return Ok(());
    };
    for told in &evidence.told {
        let Some((words, 0)) = words_played(truth, told) else { continue };
        let said = words_of(&told.heard.text);
        ensure(said + 1 >= words, || format!("{words} words were played: {told:?}"))?;
    }
    Ok(())
}

/// A turn that was heard to its end was heard with all its words.
pub(crate) fn a_turn_that_is_over_was_heard_whole(evidence: &Evidence<'_>) -> Verdict {
    let words = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let is_short = |told: &&Told| words(&told.heard.text).len() < words(&told.said).len();
    let over = evidence.told.iter().filter(|told| told.kind == Kind::Whole && !told.failed && !told.starved);
    let short = over.into_iter().find(is_short);
    ensure(short.is_none(), || format!("not whole: {short:?}"))
}

/// Words of a turn that had ended, and by how many a report may be wrong; nothing if there is no telling.
fn words_played(truth: &Truth, told: &Told) -> Option<(usize, usize)> {
    // Without word times, or before they came, what was heard is a guess that says so.
    if !truth.timed || (told.heard.estimated && !truth.foretold) {
        return None;
    }
    let (mut words, mut is_faulty) = (0, told.failed);
    for script in truth.scripts.iter().filter(|script| script.context.turn == told.turn) {
        let played = told.played.iter().find(|(context, _)| *context == script.context).map_or(0, |(_, ms)| *ms);
        // The model's milliseconds are whole ones.
        words += script.word_ends.iter().filter(|end| **end <= played + 1).count();
        is_faulty |= script.faulty.is_some_and(|since| since <= told.at);
        if script.lied.is_some_and(|since| since <= told.at) {
            return None;
        }
    }
    // A mark that comes back at once may be taken for one that comes back a little early, and a voice that stalls in the
    // last moments of a word for one that has spoken it.
    if told.heard.estimated && is_faulty {
        return None;
    }
    let is_early = matches!(truth.marks, Marks::AtOnce | Marks::Wild);
    Some((words, usize::from(is_early) + usize::from(is_faulty)))
}

fn words_of(text: &str) -> usize {
    text.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).count()
}
