//! What the vendor sees: one socket a call, contexts that are begun, flushed, ended and cancelled as its protocol says.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};
use trunkline::emulate::cartesia;

use crate::bench::{Bench, vendor};
use crate::scenarios::{run_all, scenario};

const MANAGED: &str = "speech.cartesia.buffering = { managed_ms = 5000 }";
const LONG: &str = "And now we talk for far too long so that you can cut us off in the end.";

/// A vendor that is still speaking when it is cancelled.
fn slow() -> cartesia::Settings {
    cartesia::Settings { speed_factor: 1.2, ..vendor(&[]) }
}

#[test]
fn the_vendor_is_spoken_to_in_its_own_way() {
    run_all(vec![
        scenario("one socket, before there is text", one_socket),
        scenario("flush speaks, and the turn goes on", flushed),
        scenario("cancel on barge-in", cancelled),
        scenario("another voice is another context", redelivered),
        scenario("a context that has been idle gets no text", idle),
        scenario("text comes faster than it can be written", a_flood_of_tokens),
        scenario("a call that ends in the middle of speech", ended_in_the_middle),
        scenario("a call that ends while the vendor is dialled", ended_while_dialling),
    ]);
}

async fn one_socket() {
    let bench = Bench::with_vendor(vendor(&[]), "").await;
    let call = bench.call(|_| {}).await;
    let until = Instant::now() + Duration::from_secs(5);
    while bench.journal.counts().handshakes == 0 && Instant::now() < until {
        sleep(Duration::from_millis(5)).await;
    }
    let counts = bench.journal.counts();
    assert_eq!((counts.handshakes, counts.messages, counts.contexts), (1, 0, 0));
    for text in ["One.", "Two. And a half.", "Three!"] {
        assert_eq!(call.speak(text).await.view["heard"], text);
    }
    call.hang_up().await;
    let names: Vec<String> = bench.journal.contexts().into_iter().map(|context| context.id).collect();
    assert_eq!(names, ["MZ0001-1.1", "MZ0001-2.1", "MZ0001-3.1"]);
    let journal = bench.journal.clone();
    bench.finish().await;
    let counts = journal.counts();
    assert_eq!((counts.connections, counts.handshakes, counts.goodbyes, counts.closed), (1, 1, 1, 1));
}

async fn flushed() {
    let bench = Bench::with_vendor(vendor(&[]), MANAGED).await;
    let call = bench.call(|_| {}).await;
    let started = Instant::now();
    let turn = call.say(json!({ "text": "Let me", "last": false })).await;
    call.say(json!({ "text": " see", "last": false, "flush": true, "turn": turn })).await;
    call.sounds(turn).await;
    // Unflushed, the vendor would have waited for more text for five seconds.
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    call.say(json!({ "text": ", yes, here it is", "last": true, "turn": turn })).await;
    assert_eq!(call.over(turn).await["heard"], "Let me see, yes, here it is");
    call.hang_up().await;
    let contexts = bench.journal.contexts();
    assert!(contexts.iter().all(|context| context.input_ended), "{contexts:?}");
    assert_eq!(contexts.iter().map(|context| context.flushes).sum::<u32>(), 1);
    let said: String = contexts.iter().flat_map(|context| context.inputs.iter().map(String::as_str)).collect();
    assert_eq!(said, "Let me see, yes, here it is");
    bench.finish().await;
}

async fn cancelled() {
    let bench = Bench::with_vendor(slow(), "").await;
    let call = bench.call(|_| {}).await;
    let (turn, next) = (call.say(json!({ "text": LONG })).await, call.say(json!({ "text": LONG })).await);
    call.sounds(turn).await;
    sleep(Duration::from_millis(400)).await;
    call.clear().await;
    for turn in [turn, next] {
        assert_eq!(call.over(turn).await["event"], "interrupted");
    }
    assert_eq!(call.speak("Yes?").await.view["heard"], "Yes?");
    call.hang_up().await;
    let ends: Vec<_> = bench.journal.contexts().iter().map(|context| context.ended.unwrap().1).collect();
    assert_eq!(ends, [cartesia::End::Cancelled, cartesia::End::Cancelled, cartesia::End::Done]);
    bench.finish().await;
}

async fn redelivered() {
    let bench = Bench::with_vendor(vendor(&[]), "").await;
    let call = bench.call(|_| {}).await;
    let turn = call.say(json!({ "text": "So he said", "last": false })).await;
    call.say(json!({ "text": " go away", "last": false, "turn": turn, "voice": "his", "speed": 1.5 })).await;
    call.say(json!({ "text": " and left.", "last": true, "turn": turn, "voice": "mine" })).await;
    assert_eq!(call.over(turn).await["heard"], "So he said go away and left.");
    call.hang_up().await;
    let inputs: Vec<String> = bench.journal.contexts().iter().map(|context| context.inputs.concat()).collect();
    assert_eq!(inputs, ["So he said", " go away", " and left."]);
    bench.finish().await;
}

async fn idle() {
    let bench = Bench::with_vendor(vendor(&[]), "").await;
    let call = bench.call(|_| {}).await;
    let turn = call.say(json!({ "text": "Please wait. Now", "last": false })).await;
    call.sounds(turn).await;
    sleep(Duration::from_millis(2_000)).await;
    call.say(json!({ "text": " it is done.", "last": true, "turn": turn })).await;
    assert_eq!(call.over(turn).await["heard"], "Please wait. Now it is done.");
    call.hang_up().await;
    let contexts = bench.journal.contexts();
    let inputs: Vec<String> = contexts.iter().map(|context| context.inputs.concat()).collect();
    assert_eq!(inputs, ["Please wait. ", "Now it is done."]);
    bench.finish().await;
}

async fn a_flood_of_tokens() {
    let text = "This is a text of which each letter is a token of its own, and they all come at once. ".repeat(4);
    let bench = Bench::with_vendor(vendor(&[]), MANAGED).await;
    let call = bench.call(|_| {}).await;
    let turn = call.stream(text.trim_end()).await;
    let over = call.over(turn).await;
    assert_eq!(over["heard"], text.trim_end());
    call.hang_up().await;
    let contexts = bench.journal.contexts();
    let said: String = contexts.iter().flat_map(|context| context.inputs.iter().map(String::as_str)).collect();
    assert_eq!(said, text.trim_end());
    assert_eq!(bench.journal.counts().handshakes, 1);
    bench.finish().await;
}

async fn ended_in_the_middle() {
    let bench = Bench::with_vendor(slow(), "").await;
    let call = bench.call(|_| {}).await;
    let turn = call.say(json!({ "text": LONG })).await;
    call.sounds(turn).await;
    sleep(Duration::from_millis(300)).await;
    call.hang_up().await;
    let journal = bench.journal.clone();
    bench.finish().await;
    assert_eq!(journal.counts().goodbyes, 1);
}

async fn ended_while_dialling() {
    let bench = Bench::with_vendor(vendor(&["handshake-slow=2500"]), "").await;
    let call = bench.call(|_| {}).await;
    let started = Instant::now();
    call.hang_up().await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    bench.finish().await;
}
