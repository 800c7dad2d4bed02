//! Deepgram's two interfaces, whose audio has no name: turns, cuts, and whose audio is whose.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use trunkline::emulate::tts;

use crate::bench::{Bench, Call};
use crate::ear::{self, END, Sound};
use crate::scenarios::{run_all, scenario};

const TURNS: [&str; 3] = [
    "The first of three turns. It takes a while, and it has two sentences.",
    "Here is the second one, said meanwhile.",
    "And a third.",
];
/// Provider and path of its socket.
const VOICES: [(&str, &str); 2] = [("deepgram", "/v1/speak"), ("deepgram_flux", "/v2/speak")];

/// A gateway whose voice is slow enough to be cut off while it is made, and a call.
async fn call((name, path): (&str, &str), faults: &[&str]) -> (Bench, Call) {
    let vendor = tts::Settings {
        voice: tts::Voice::Tone,
        speed_factor: 1.6,
        faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(),
        ..tts::Settings::of(tts::Vendor::Deepgram)
    };
    let bench = Bench::with_provider(vendor, name, path, "").await;
    let call = bench.call(|_| {}).await;
    (bench, call)
}

/// The tones of what the vendor was asked to say of a turn.
fn tones_of(bench: &Bench, turn: &str) -> Vec<u32> {
    let is_of = |context: &tts::ContextRecord| !context.text.trim().is_empty() && turn.contains(context.text.trim());
    bench.journal.contexts().iter().filter(|context| is_of(context)).filter_map(|context| context.tone).collect()
}

#[test]
fn audio_without_a_name_finds_its_turn() {
    let mut scenarios = Vec::new();
    for voice in VOICES {
        scenarios.push(scenario(format!("{}: three turns at once", voice.0), move || in_order(voice)));
        for (after_ms, fault) in [(200, "burst"), (700, "late-chunks"), (1_500, "garbage"), (2_600, "odd-chunks")] {
            let name = format!("{}: cut off after {after_ms} ms with {fault}", voice.0);
            scenarios.push(scenario(name, move || cut_off(voice, Duration::from_millis(after_ms), fault)));
        }
        scenarios.push(scenario(format!("{}: cut off before the first sound", voice.0), move || unheard(voice)));
    }
    run_all(scenarios);
}

async fn in_order(voice: (&'static str, &'static str)) {
    let (bench, call) = call(voice, &[]).await;
    let from = call.now();
    let mut turns = Vec::new();
    for text in TURNS {
        turns.push(call.say(json!({ "text": text })).await);
    }
    for (turn, text) in turns.iter().zip(TURNS) {
        assert_eq!(call.over(*turn).await["heard"], text);
    }
    let outcome = call.hang_up().await;
    let asked: Vec<u32> = TURNS.iter().flat_map(|text| tones_of(&bench, text)).collect();
    assert!(asked.len() >= TURNS.len(), "{asked:?}");
    assert_eq!(ear::tones(&outcome, from, END), asked);
    assert_eq!(bench.journal.counts().handshakes, 1);
    bench.finish().await;
}

async fn cut_off(voice: (&'static str, &'static str), after: Duration, fault: &str) {
    let (bench, call) = call(voice, &[fault]).await;
    let from = call.now();
    let turns = [call.say(json!({ "text": TURNS[0] })).await, call.say(json!({ "text": TURNS[1] })).await];
    call.sounds(turns[0]).await;
    sleep(after).await;
    call.clear().await;
    let last = call.speak(TURNS[2]).await;
    let outcome = call.hang_up().await;
    assert_eq!(last.view["heard"], TURNS[2]);
    let clears = ear::clears(&outcome);
    assert_eq!(clears.len(), 1);
    let old = tones_of(&bench, TURNS[0]);
    let before = ear::tones(&outcome, from, clears[0]);
    assert!(
        before.iter().all(|tone| old.contains(tone)),
        "{before:?} and not only {old:?}: {:?}",
        bench.journal.contexts()
    );
    assert_eq!(ear::tones(&outcome, clears[0], END), tones_of(&bench, TURNS[2]));
    assert_eq!(bench.journal.counts().handshakes, 1, "the cancel was answered, and the link is still good");
    bench.finish().await;
}

/// Flux does not interrupt a session that has not sounded yet: then the link is made anew.
async fn unheard(voice: (&'static str, &'static str)) {
    let (bench, call) = call(voice, &[]).await;
    let turn = call.say(json!({ "text": TURNS[0] })).await;
    call.clear().await;
    let over = call.over(turn).await;
    assert_eq!(over["event"], "interrupted");
    let last = call.speak(TURNS[2]).await;
    let outcome = call.hang_up().await;
    last.check_spoken(&outcome, TURNS[2]);
    let heard = ear::heard_for(&outcome, last.from, END, |sound| matches!(sound, Sound::Tone(_)));
    let new = tones_of(&bench, TURNS[2]);
    let of_new =
        ear::heard_for(&outcome, last.from, END, |sound| matches!(sound, Sound::Tone(tone) if new.contains(&tone)));
    assert_eq!(heard, of_new, "something of what was cut off was heard");
    bench.finish().await;
}
