//! `GET /v1/calls/{id}/events`: every kind of event, in its order, to the end of the call.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;
use trunkline::audio::g711;
use trunkline::emulate::cartesia;

use crate::support::gateway::{Gateway, Vendor};
use crate::support::http::Events;
use crate::support::phone::Phone;

const LONG: &str = "This is a rather long sentence, which goes on and on, so that there is enough time to cut it off.";

async fn events(gateway: &Gateway) -> Events {
    Events::open(gateway.api("GET", "/v1/calls/CA1/events"), gateway.address).await
}

/// Recorded speech of a caller, at the pace of speech.
pub(crate) async fn speak(phone: &Phone, clip: &str) {
    let path = format!("{}/fixtures/audio/{clip}.wav", env!("CARGO_MANIFEST_DIR"));
    let samples: Vec<i16> = hound::WavReader::open(path).unwrap().samples().map(|sample| sample.unwrap()).collect();
    let mut coded = Vec::new();
    g711::encode_mulaw_into(&samples, &mut coded);
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    for frame in coded.chunks(160) {
        ticks.tick().await;
        phone.send(json!({ "event": "media", "media": { "track": "inbound", "payload": STANDARD.encode(frame) } }));
    }
}

#[tokio::test]
async fn a_call_is_told_from_its_start_to_its_end() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.call("CA1").await;
    let mut events = events(&gateway).await;
    // The call began before anybody could ask.
    let (name, first) = events.next().await.unwrap();
    assert_eq!((name.as_str(), &first["event"]), ("started", &json!("started")));

    gateway.say("CA1", json!({ "text": "Hello there." })).await;
    let (name, turn) = events.next().await.unwrap();
    assert_eq!((name.as_str(), &turn["turn"]), ("turn_started", &json!(1)));
    let (name, audio) = events.next().await.unwrap();
    assert_eq!((name.as_str(), &audio["turn"]), ("first_audio", &json!(1)));
    assert!(audio["first_byte_ms"].is_u64(), "{audio}");
    let words = events.skip_to("words_heard").await;
    assert!("Hello there.".starts_with(words["heard"].as_str().unwrap()), "{words}");
    let over = events.skip_to("turn_over").await;
    assert_eq!(
        (&over["outcome"], &over["heard"], &over["estimated"]),
        (&json!("heard"), &json!("Hello there."), &json!(false))
    );

    gateway.say("CA1", json!({ "text": LONG, "interruptible": "speech" })).await;
    let before = phone.seen().frames;
    phone.sees("speech", |seen| seen.frames > before + 50).await;
    phone.press('#');
    let digit = events.skip_to("digit").await;
    assert_eq!(digit["digit"], "#");
    speak(&phone, "question").await;
    let speech = events.skip_to("caller_speech").await;
    assert_eq!(speech["speaking"], true);
    let (name, cut) = events.next().await.unwrap();
    assert_eq!((name.as_str(), &cut["turn"], &cut["cause"]), ("interrupted", &json!(2), &json!("speech")));
    let heard = cut["heard"].as_str().unwrap();
    assert!(LONG.starts_with(heard) && !heard.is_empty() && heard.len() < LONG.len(), "{cut}");
    assert!(cut["heard_ms"].as_u64().unwrap() >= 500, "{cut}");

    phone.stop();
    let ended = events.skip_to("ended").await;
    assert_eq!(ended["reason"], "carrier_stopped");
    assert!(ended["at_ms"].as_u64() >= cut["at_ms"].as_u64());
    assert_eq!(events.next().await, None, "nothing follows the end");
}

#[tokio::test]
async fn a_voice_that_fails_is_told_with_the_reason() {
    let vendor =
        Vendor::start(cartesia::Settings { voices: Some(vec!["another".to_owned()]), ..Default::default() }).await;
    let gateway = Gateway::open(&vendor.toml).await;
    let mut phone = gateway.call("CA1").await;
    let mut events = events(&gateway).await;
    gateway.say("CA1", json!({ "text": "Hello there." })).await;
    let failed = events.skip_to("speech_failed").await;
    assert_eq!(failed["turn"], 1);
    assert!(!failed["reason"].as_str().unwrap().is_empty(), "{failed}");
    assert!(!failed["reason"].as_str().unwrap().contains("Hello"), "{failed}");
    // Never silence: the fallback line is spoken by the local voice.
    phone.sees("the fallback line", |seen| seen.frames > 20).await;
    let over = events.skip_to("turn_over").await;
    assert_eq!((&over["turn"], &over["outcome"]), (&json!(1), &json!("failed")));
}

#[tokio::test]
async fn everybody_who_watches_sees_the_same_and_hanging_up_ends_it_for_all() {
    let gateway = Gateway::open("").await;
    let _phone = gateway.call("CA1").await;
    let (mut one, mut two) = (events(&gateway).await, events(&gateway).await);
    gateway.say("CA1", json!({ "text": "Hello there." })).await;
    one.skip_to("turn_over").await;
    gateway.api("DELETE", "/v1/calls/CA1").send(gateway.address).await;
    let collect = async |events: &mut Events| {
        let mut all: Vec<(String, Value)> = Vec::new();
        while let Some(event) = events.next().await {
            all.push(event);
        }
        all
    };
    assert_eq!(collect(&mut one).await.last().unwrap().1["reason"], "hung_up");
    let all = collect(&mut two).await;
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "words_heard").collect();
    assert_eq!(names, ["started", "turn_started", "first_audio", "turn_over", "ended"]);
    let times: Vec<u64> = all.iter().map(|(_, data)| data["at_ms"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}
