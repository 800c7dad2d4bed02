//! From one vendor to another in the middle of a sentence, whoever the two are: the caller hears each word, and the second
//! one is asked for those that were not heard.

use std::time::Duration;

use crate::bench::Bench;
use crate::checks::{self, HANDOVER_MAX, length_of};
use crate::faults::{Cause, FAULTS, Fault};
use crate::line::Sound;
use crate::network::{Made, Network, Times, Wire};
use crate::runs::{Time, side_by_side};
use crate::vendors::{ROWS, Row};

/// What is said; each of the faults is in the middle of it.
const TEXT: &str = "When a voice is lost in the middle of it all then the next one says the rest.";
const CAUSES: [Cause; 2] = [Cause::Switch("abort=5"), Cause::Switch("stall=5")];
/// A frame in which two voices meet is of neither, and so may be the one beside it.
const SEAM: Duration = Duration::from_millis(40);
/// What may be heard twice where a vendor does not tell when its words are spoken: so much, two words of middling length.
const TWICE: &str = "middling words";

#[test]
fn from_any_vendor_to_any_other_in_mid_sentence() {
    let mut jobs: Vec<(&Fault, &Row, &Row)> = Vec::new();
    for cause in CAUSES {
        let fault = FAULTS.iter().find(|fault| fault.cause == cause).unwrap();
        let pairs = ROWS.iter().flat_map(|first| ROWS.iter().map(move |next| (fault, first, next)));
        jobs.extend(pairs.filter(|(_, first, next)| first.name != next.name));
    }
    let ended = side_by_side(Time::Paused, &jobs, |(fault, first, next)| hand_over(fault, first, next));
    let failed: Vec<String> = jobs
        .iter()
        .zip(ended)
        .filter_map(|((fault, first, next), ended)| {
            ended.err().map(|why| format!("{}, {} to {}: {why}", fault.about, first.name, next.name))
        })
        .collect();
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), jobs.len(), failed.join("\n"));
}

async fn hand_over(fault: &Fault, first: &Row, next: &Row) {
    let (lost, heir) = ((first.vendor)(&[fault.switch(Times::Always).unwrap()]).unwrap(), (next.vendor)(&[]).unwrap());
    let network = Network::of(Made::Pipes);
    network.place(&first.host(), lost, Wire::Good, Times::Always);
    network.place(&next.host(), heir.clone(), Wire::Good, Times::Always);
    let bench = Bench::start(&network, &format!("{}{}", first.toml(&[next.name]), next.section()));
    let turn = bench.speak(TEXT).await;
    let outcome = bench.hang_up().await;
    checks::silence(&outcome, std::slice::from_ref(&turn), HANDOVER_MAX, |sound| sound != Sound::Silence);
    assert!(outcome.failed_over(turn.turn) && !outcome.failed(turn.turn));
    assert_eq!(turn.heard.text, TEXT);
    let asked: String = heir.said().into_iter().map(|said| said.text).collect();
    let rest = TEXT.strip_suffix(asked.trim()).unwrap_or_else(|| panic!("{asked:?} was asked for"));
    assert!(rest.ends_with(' '), "it begins in mid-word: {asked:?}");
    // Everything sounds at one pace, white space too, so that what is left out is missing and what is said twice is too much.
    let heard = outcome.heard(&turn, |sound| matches!(sound, Sound::Tone(_)));
    let twice = if first.is_timed { "" } else { TWICE };
    let (least, most) =
        (length_of(rest.trim_end()) + length_of(&asked), length_of(rest) + length_of(&asked) + length_of(twice));
    assert!(
        heard + SEAM >= least && heard <= most + SEAM,
        "{heard:?}, not {least:?} to {most:?}: {asked:?} by the next voice"
    );
}
