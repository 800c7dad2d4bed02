//! A socket that is lost in the middle of a turn: what came is heard, and speech goes on at the first word without audio.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use trunkline::emulate::carrier::Outcome;
use trunkline::emulate::cartesia::{self, ContextRecord};
use trunkline::ids::CallTime;

use crate::bench::{Bench, SILENCE_MAX, cartesia_length, vendor};
use crate::ear::{self, END, Sound};
use crate::scenarios::{run_all, scenario};

const TEXT: &str =
    "Yesterday afternoon everybody enjoyed wonderful strawberries. Nobody, of course, remembered any of it.";
/// Judged in windows of 40 ms, and a frame is 20 ms.
const BLUR: Duration = Duration::from_millis(100);

/// How exactly the vendor knows what reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// A close frame comes after all that was sent.
    Exactly,
    /// A reset may overtake the last chunks.
    AtMost,
}

#[test]
fn speech_goes_on_where_it_broke_off() {
    let mut scenarios = Vec::new();
    let formats = ["", "speech.cartesia.sample_rate = 16000", "speech.cartesia.buffering = { managed_ms = 300 }"];
    for (chunks, toml) in (1_u32..=12).zip(formats.into_iter().cycle()) {
        for (fault, known) in [("close-1011", Known::Exactly), ("abort", Known::AtMost)] {
            let fault = format!("{fault}={chunks}:1");
            scenarios.push(scenario(format!("{fault} with {toml}"), move || lost(fault, toml, known)));
        }
    }
    scenarios.push(scenario("two turns at once", two_turns));
    scenarios.push(scenario("idle between two turns", idle_between));
    scenarios.push(scenario("idle in the middle of a turn", idle_within));
    run_all(scenarios);
}

async fn lost(fault: String, toml: &str, known: Known) {
    let bench = Bench::with_vendor(cartesia::Settings { speed_factor: 2.0, ..vendor(&[&fault]) }, toml).await;
    let call = bench.call(|_| {}).await;
    let spoken = call.speak(TEXT).await;
    let failed = call.events.of("speech_failed");
    let outcome = call.hang_up().await;
    spoken.check_silence(&outcome);
    assert_eq!((spoken.view["outcome"].as_str(), spoken.view["heard"].as_str()), (Some("heard"), Some(TEXT)));
    assert!(failed.is_empty(), "{failed:?}");
    let contexts = bench.journal.contexts();
    assert_eq!((contexts.len(), bench.journal.counts().handshakes), (2, 2), "{contexts:?}");
    check_resumed(&contexts, &outcome, spoken.from, known);
    bench.finish().await;
}

/// Compares what was asked for again, and what was heard, with what the vendor had sent.
fn check_resumed(contexts: &[ContextRecord], outcome: &Outcome, from: CallTime, known: Known) {
    let (before, after) = (&contexts[0], &contexts[1]);
    let again = after.inputs.concat();
    let done = TEXT.strip_suffix(&again).unwrap_or_else(|| panic!("{again:?} is not the rest of the text"));
    let is_between_words = done.is_empty() || done.ends_with(' ') || again.starts_with(' ');
    assert!(is_between_words, "broken inside a word: {done:?}");
    let received_ms = before.samples_sent * 1_000 / u64::from(before.rate);
    let whole = before.words.iter().take_while(|word| u64::from(word.end_ms) <= received_ms).count();
    let words_done = done.split_whitespace().count();
    match known {
        Known::Exactly => assert_eq!(words_done, whole, "{done:?} after {received_ms} ms"),
        Known::AtMost => assert!(words_done <= whole, "{done:?} after {received_ms} ms"),
    }
    let heard = |context: &ContextRecord| {
        let tone = context.tone.unwrap();
        ear::heard_for(outcome, from, END, |sound| sound == Sound::Tone(tone))
    };
    // All that is not said again was heard, and of what is said again at most the broken word.
    let kept = done.trim_end().chars().count() as u64 * u64::from(cartesia::tone::MS_PER_CHAR);
    let broken = u64::try_from(again.split_whitespace().next().map_or(0, str::len) + 1).unwrap() * 60;
    let (least, most) = (Duration::from_millis(kept), Duration::from_millis(kept + broken));
    assert!(
        heard(before) + BLUR >= least && heard(before) <= most + BLUR,
        "{:?} of {least:?}..{most:?}",
        heard(before)
    );
    let rest = cartesia_length(&again);
    assert!(heard(after) + BLUR >= rest && heard(after) <= rest + BLUR, "{:?} of {rest:?}", heard(after));
}

async fn two_turns() {
    let bench = Bench::with_vendor(cartesia::Settings { speed_factor: 1.5, ..vendor(&["close-1011=20:1"]) }, "").await;
    let call = bench.call(|_| {}).await;
    let from = call.now();
    let turns = [call.say(json!({ "text": TEXT })).await, call.say(json!({ "text": "And then?" })).await];
    assert_eq!(call.over(turns[0]).await["heard"], TEXT);
    assert_eq!(call.over(turns[1]).await["heard"], "And then?");
    let to = call.now();
    let outcome = call.hang_up().await;
    assert!(ear::longest_silence(&outcome, from, to) <= SILENCE_MAX);
    // The order of turns holds whichever context speaks them.
    let contexts = bench.journal.contexts();
    let turn_of = |tone: u32| contexts.iter().find(|context| context.tone == Some(tone)).unwrap().id.contains("-2.");
    let order: Vec<bool> = ear::tones(&outcome, from, END).into_iter().map(turn_of).collect();
    assert!(order.is_sorted(), "{contexts:?}");
    assert_eq!(bench.journal.counts().handshakes, 2);
    bench.finish().await;
}

async fn idle_between() {
    let bench = Bench::with_vendor(vendor(&["idle-close=900:1"]), "").await;
    let call = bench.call(|_| {}).await;
    let first = call.speak("Wait a moment.").await;
    sleep(Duration::from_millis(2_000)).await;
    let last = call.speak("Here we are again.").await;
    assert!(call.events.of("speech_failed").is_empty());
    let outcome = call.hang_up().await;
    first.check_spoken(&outcome, "Wait a moment.");
    last.check_spoken(&outcome, "Here we are again.");
    assert_eq!(bench.journal.counts().handshakes, 2);
    bench.finish().await;
}

/// Text that waits at the vendor for its other half when the socket is closed.
async fn idle_within() {
    let toml = "speech.cartesia.buffering = { managed_ms = 5000 }";
    let bench = Bench::with_vendor(vendor(&["idle-close=1200:1"]), toml).await;
    let call = bench.call(|_| {}).await;
    let from = call.now();
    let turn = call.say(json!({ "text": "Good morning. We have", "last": false })).await;
    call.sounds(turn).await;
    sleep(Duration::from_millis(3_000)).await;
    call.say(json!({ "text": " nothing left.", "last": true, "turn": turn })).await;
    assert_eq!(call.over(turn).await["heard"], "Good morning. We have nothing left.");
    let outcome = call.hang_up().await;
    let contexts = bench.journal.contexts();
    let again: String = contexts[1..].iter().flat_map(|context| context.inputs.iter().map(String::as_str)).collect();
    // The white space before it may go either way.
    assert_eq!(again.trim_start(), "We have nothing left.");
    let whole = cartesia_length("Good morning. We have nothing left.");
    let heard = ear::heard_for(&outcome, from, END, |sound| matches!(sound, Sound::Tone(_)));
    assert!(heard + BLUR >= whole && heard <= whole + BLUR, "{heard:?} of {whole:?}");
    bench.finish().await;
}
