//! Long calls, with the limits that the vendors document: a speech of five minutes, and a call of two hours.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::bench::{Bench, More, Outcome, Spoken};
use crate::checks::{self, Who};
use crate::line::Sound;
use crate::network::{Made, Network, Times, Wire};
use crate::runs::{Time, side_by_side};
use crate::vendors::{ROWS, Row, Said, Vendor};

/// How long the caller may hear nothing inside a speech.
const GAP_MAX: Duration = Duration::from_millis(200);
/// From a text to its first sound, the dialling of a new link included.
const FIRST_SOUND_MAX: Duration = Duration::from_millis(1_500);
/// Speech that a vendor may have made and nobody heard: the core holds text back from 20 s on, sentences are whole, and the
/// next one may be asked for while one is still under way.
const UNHEARD_MAX: Duration = Duration::from_secs(40);
/// How often a caller's silence is heard in a call of two hours, in which each frame costs.
const HUSH_EVERY: Duration = Duration::from_secs(1);
/// How often the speech that nobody has heard yet is measured.
const MEASURE_EVERY: Duration = Duration::from_millis(500);

const WORDS: [&str; 16] = [
    "river", "window", "garden", "paper", "silver", "corner", "winter", "market", "bridge", "candle", "forest",
    "harbor", "island", "jacket", "kettle", "ladder",
];

/// Sentences that are all different, of about four seconds each.
fn sentence(number: usize) -> String {
    let word = |place: u32| WORDS[(number / WORDS.len().pow(place)) % WORDS.len()];
    format!("Behind the {} there is a {}, and by the {} somebody waits for us. ", word(0), word(1), word(2))
}

#[test]
fn a_speech_of_five_minutes_has_no_gap() {
    let rows: Vec<&Row> = ROWS.iter().collect();
    told(&rows, side_by_side(Time::Paused, &rows, five_minutes));
}

#[test]
fn a_call_of_two_hours_has_no_gap() {
    let rows: Vec<&Row> = ROWS.iter().collect();
    told(&rows, side_by_side(Time::Paused, &rows, two_hours));
}

fn told(rows: &[&Row], ended: Vec<Result<(), String>>) {
    let failed: Vec<String> = rows
        .iter()
        .zip(ended)
        .filter_map(|(row, ended)| ended.err().map(|why| format!("{}: {why}", row.name)))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A call through a vendor with which nothing goes wrong.
fn call(row: &Row, hush_every: Duration) -> (Bench, Arc<dyn Vendor>) {
    let vendor = (row.vendor)(&[]).unwrap();
    let network = Network::of(Made::Pipes);
    network.place(&row.host(), vendor.clone(), Wire::Good, Times::Once);
    (Bench::changed(&network, &row.toml(&[]), hush_every, |_| {}), vendor)
}

/// A speech that is written much faster than it is heard.
async fn five_minutes(row: &Row) {
    let (bench, vendor) = call(row, HUSH_EVERY);
    let sentences: Vec<String> = (0..80).map(sentence).collect();
    let text = sentences.concat();
    assert!(checks::length_of(&text) > Duration::from_secs(300));
    let (turn, from) = (bench.next_turn(), bench.now());
    let write = async {
        for (index, sentence) in sentences.iter().enumerate() {
            let more = if index + 1 == sentences.len() { More::Never } else { More::Soon };
            bench.give(turn, sentence, more).await;
            sleep(Duration::from_millis(100)).await;
        }
        bench.over(turn).await
    };
    let measure = async {
        let mut most = Duration::ZERO;
        loop {
            most = most.max(unheard(&bench, &*vendor));
            assert!(most <= UNHEARD_MAX, "{most:?} of speech waits to be heard");
            sleep(MEASURE_EVERY).await;
        }
    };
    let (to, heard) = tokio::select! { over = write => over, () = measure => unreachable!() };
    let spoken = Spoken { turn, text, from, to, heard };
    let outcome = bench.hang_up().await;
    assert_eq!(checks::who(&outcome, &spoken), Who::Vendor);
    assert!(outcome.tape.longest_silence(from + FIRST_SOUND_MAX, to) <= GAP_MAX);
    assert_eq!(asked(&*vendor), words(&[&spoken]), "what the vendor was asked to say");
}

/// Answers of all lengths, with pauses between them and within them that cross every limit of the vendors.
async fn two_hours(row: &Row) {
    let (bench, vendor) = call(row, HUSH_EVERY);
    let mut answers = Vec::new();
    // Seconds of silence between turns: within a link's life, at its limits, and beyond.
    let mut pauses = [3, 20, 61, 150, 301, 30, 302, 10, 95, 240, 299, 19, 181].into_iter().cycle();
    let mut number = 0;
    while bench.now() < Duration::from_secs(2 * 3_600) {
        let count = 2 + answers.len() % 4;
        let sentences: Vec<String> = (number..number + count).map(sentence).collect();
        number += count;
        // Every third answer stops in its middle, as a model does that asks a tool: longer than a context lives.
        let stop = if answers.len() % 3 == 2 { Duration::from_secs(20) } else { Duration::ZERO };
        answers.push(Answer::give(&bench, &sentences, stop).await);
        sleep(Duration::from_secs(pauses.next().unwrap())).await;
    }
    let outcome = bench.hang_up().await;
    for answer in &answers {
        assert_eq!(checks::who(&outcome, &answer.spoken), Who::Vendor);
        answer.check_silence(&outcome);
    }
    let turns: Vec<&Spoken> = answers.iter().map(|answer| &answer.spoken).collect();
    assert_eq!(asked(&*vendor), words(&turns), "what the vendor was asked to say");
}

/// An answer that was given sentence by sentence.
#[derive(Debug)]
struct Answer {
    spoken: Spoken,
    /// When its last sentence was given, if that was long after the others.
    resumed: Option<Duration>,
}

impl Answer {
    async fn give(bench: &Bench, sentences: &[String], stop: Duration) -> Self {
        let (turn, from) = (bench.next_turn(), bench.now());
        let mut resumed = None;
        for (index, sentence) in sentences.iter().enumerate() {
            let last = index + 1 == sentences.len();
            if last && !stop.is_zero() {
                sleep(stop).await;
                resumed = Some(bench.now());
            }
            // Whoever stops to think wants to be heard before.
            let before_stop = !stop.is_zero() && index + 2 == sentences.len();
            bench
                .give(
                    turn,
                    sentence,
                    if before_stop {
                        More::Later
                    } else if last {
                        More::Never
                    } else {
                        More::Soon
                    },
                )
                .await;
        }
        let (to, heard) = bench.over(turn).await;
        Answer { spoken: Spoken { turn, text: sentences.concat(), from, to, heard }, resumed }
    }

    /// Speech begins in time, at the beginning and after the stop, and goes on without a gap.
    fn check_silence(&self, outcome: &Outcome) {
        let Answer { spoken, resumed } = self;
        for from in [Some(spoken.from), *resumed].into_iter().flatten() {
            let silence = outcome.tape.longest_silence(from, from + FIRST_SOUND_MAX);
            assert!(silence < FIRST_SOUND_MAX, "nothing was heard after {from:?} of {self:?}");
        }
        let silence = outcome.tape.longest_silence(resumed.unwrap_or(spoken.from) + FIRST_SOUND_MAX, spoken.to);
        assert!(silence <= GAP_MAX, "{silence:?} of silence in {self:?}");
    }
}

/// Speech that a vendor has sent and that the caller has not heard yet.
fn unheard(bench: &Bench, vendor: &dyn Vendor) -> Duration {
    let sent: Duration = vendor.said().iter().map(Said::length).sum();
    sent.saturating_sub(bench.heard_so_far(|sound| matches!(sound, Sound::Tone(_))))
}

/// Every word that a vendor was asked to say, in order.
fn asked(vendor: &dyn Vendor) -> Vec<String> {
    vendor.said().iter().flat_map(|said| said.text.split_whitespace()).map(str::to_owned).collect()
}

/// Every word of some turns.
fn words(turns: &[&Spoken]) -> Vec<String> {
    turns.iter().flat_map(|turn| turn.text.split_whitespace()).map(str::to_owned).collect()
}
