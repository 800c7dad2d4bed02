//! Turns that overlap on one socket: in order, and none inside another.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use trunkline::emulate::cartesia;

use crate::bench::{Bench, cartesia_length, vendor};
use crate::ear::{self, END, Sound};
use crate::scenarios::{run_all, scenario};

const TURNS: [&str; 3] =
    ["The first of three turns, and it takes a while.", "Here is the second one, said meanwhile.", "And a third."];

/// Slow enough for two turns to be spoken at once.
fn slow(faults: &[&str]) -> cartesia::Settings {
    cartesia::Settings { speed_factor: 1.6, ..vendor(faults) }
}

#[test]
fn turns_follow_each_other_and_never_mix() {
    let mut scenarios = vec![scenario("three turns at once", in_order)];
    for (after_ms, faults) in
        [(200, "late-chunks"), (900, "late-chunks-done"), (1_700, "cancel-done"), (2_600, "burst")]
    {
        let name = format!("cut off after {after_ms} ms with {faults}");
        scenarios.push(scenario(name, move || cut_off(Duration::from_millis(after_ms), faults)));
    }
    scenarios.push(scenario("an uninterruptible turn survives", survives));
    run_all(scenarios);
}

async fn in_order() {
    let bench = Bench::with_vendor(slow(&[]), "").await;
    let call = bench.call(|_| {}).await;
    let from = call.now();
    let mut turns = Vec::new();
    for text in TURNS {
        turns.push(call.say(json!({ "text": text })).await);
    }
    for (turn, text) in turns.iter().zip(TURNS) {
        assert_eq!(call.over(*turn).await["heard"], text);
    }
    let outcome = call.hang_up().await;
    let contexts = bench.journal.contexts();
    let (first, second) = (&contexts[0], &contexts[1]);
    assert!(second.started_at < first.ended.unwrap().0, "the second turn was not made while the first one was");
    assert_eq!(first.connection, second.connection);
    assert_eq!(ear::tones(&outcome, from, END), [0, 1, 2]);
    for (tone, text) in (0..).zip(TURNS) {
        let heard = ear::heard_for(&outcome, from, END, |sound| sound == Sound::Tone(tone));
        let (least, most) = (cartesia_length(text), cartesia_length(text) + Duration::from_millis(80));
        assert!(heard + Duration::from_millis(120) >= least && heard <= most, "tone {tone}: {heard:?} of {least:?}");
    }
    bench.finish().await;
}

async fn cut_off(after: Duration, fault: &str) {
    let bench = Bench::with_vendor(slow(&[fault]), "").await;
    let call = bench.call(|_| {}).await;
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
    assert_eq!(ear::tones(&outcome, from, clears[0]), [0]);
    let news = bench.journal.contexts().iter().find(|context| context.id.contains("-3.")).unwrap().tone.unwrap();
    assert_eq!(ear::tones(&outcome, clears[0], END), [news]);
    bench.finish().await;
}

async fn survives() {
    let bench = Bench::with_vendor(slow(&[]), "").await;
    let call = bench.call(|plan| plan.dtmf = vec![(Duration::from_millis(2_000), '5')]).await;
    let cut = call.say(json!({ "text": TURNS[0] })).await;
    let kept = call.say(json!({ "text": TURNS[1], "interruptible": "none" })).await;
    let cut = call.over(cut).await;
    assert_eq!((cut["event"].as_str(), cut["cause"].as_str()), (Some("interrupted"), Some("dtmf")));
    assert_eq!(call.over(kept).await["heard"], TURNS[1]);
    let outcome = call.hang_up().await;
    let clears = ear::clears(&outcome);
    assert_eq!(ear::tones(&outcome, clears[0], END), [1]);
    let heard = ear::heard_for(&outcome, clears[0], END, |sound| sound == Sound::Tone(1));
    assert!(heard + Duration::from_millis(120) >= cartesia_length(TURNS[1]), "{heard:?}");
    bench.finish().await;
}
