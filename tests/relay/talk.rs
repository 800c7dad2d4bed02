//! What the app says, and what the caller does meanwhile.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::app::App;
use crate::support::gateway::Gateway;
use crate::support::until;
use crate::voice::{QUESTION, speak};

const LONG: &str = "I will go on for quite a while now, so that there is something to cut off, whenever you like.";

async fn turn(gateway: &Gateway, number: u64) -> Value {
    let call = gateway.get("/v1/calls/CA1").await.json();
    let turns = call["turns"].as_array().unwrap();
    turns.iter().find(|turn| turn["turn"] == number).cloned().unwrap_or(Value::Null)
}

async fn outcome(gateway: &Gateway, number: u64, outcome: &str) -> Value {
    until(outcome, async || Some(turn(gateway, number).await).filter(|turn| turn["outcome"] == outcome)).await
}

#[tokio::test]
async fn a_talk_cycle_is_spoken_before_its_last_token() {
    let app = App::start().await;
    let gateway = Gateway::open(&app.toml("")).await;
    let mut phone = gateway.call("CA1").await;
    let (mut session, _) = app.begin().await;
    session.token("We open ", false).await;
    session.token("at nine. And", false).await;
    phone.sees("speech", |seen| seen.frames > 10).await;
    assert_eq!(turn(&gateway, 1).await["outcome"], "live");
    session.token(" we close at six.", false).await;
    session.token("", true).await;
    let view = outcome(&gateway, 1, "heard").await;
    assert_eq!(view["heard"], "We open at nine. And we close at six.");
}

#[tokio::test]
async fn speech_interrupts_once_with_what_was_heard() {
    let app = App::start().await;
    let gateway = Gateway::open(&app.toml("events = \"speaker-events\"")).await;
    let mut phone = gateway.call("CA1").await;
    let (mut session, _) = app.begin().await;
    session.token(LONG, true).await;
    session.token("This waits behind it.", true).await;
    phone.sees("a second of speech", |seen| seen.frames > 60).await;
    speak(&phone, QUESTION).await;
    let interrupt = session.skip_to("interrupt").await;
    let heard = interrupt["utteranceUntilInterrupt"].as_str().unwrap();
    assert!(LONG.starts_with(heard) && heard.len() > 5 && heard.len() < LONG.len(), "{heard:?}");
    let played = interrupt["durationUntilInterruptMs"].as_u64().unwrap();
    assert!((500..6_000).contains(&played), "{played}");
    assert_eq!(phone.seen().clears, 1);
    outcome(&gateway, 2, "interrupted").await;
    // The rest of the queue went with it, without a second message.
    phone.stop();
    let (_, _, rest) = session.closed().await;
    assert!(rest.iter().all(|message| message["type"] == "info"), "{rest:?}");
}

#[tokio::test]
async fn a_key_interrupts_and_is_told_if_wanted() {
    for (toml, is_told) in [("", false), ("dtmf_detection = true", true)] {
        let app = App::start().await;
        let gateway = Gateway::open(&app.toml(toml)).await;
        let mut phone = gateway.call("CA1").await;
        let (mut session, _) = app.begin().await;
        session.token(LONG, true).await;
        phone.sees("speech", |seen| seen.frames > 20).await;
        phone.press('5');
        let mut message = session.next("what the key did").await;
        if is_told {
            assert_eq!(message, json!({"type": "dtmf", "digit": "5"}));
            message = session.next("the interruption").await;
        }
        assert_eq!(message["type"], "interrupt");
    }
}

#[tokio::test]
async fn late_tokens_of_a_cut_cycle_are_not_spoken() {
    let app = App::start().await;
    let gateway = Gateway::open(&app.toml("")).await;
    let mut phone = gateway.call("CA1").await;
    let (mut session, _) = app.begin().await;
    session.token(LONG, false).await;
    phone.sees("speech", |seen| seen.frames > 20).await;
    phone.press('5');
    session.skip_to("interrupt").await;
    let frames = phone.seen().frames;
    session.token(" This comes too late.", false).await;
    session.token(" And so does this.", true).await;
    sleep(Duration::from_millis(500)).await;
    assert!(phone.seen().frames <= frames + 10, "{} after {frames}", phone.seen().frames);
    session.token("Yes, please?", true).await;
    assert_eq!(outcome(&gateway, 2, "heard").await["heard"], "Yes, please?");
}

#[tokio::test]
async fn a_preemptible_cycle_gives_way_and_others_are_waited_for() {
    let app = App::start().await;
    let gateway = Gateway::open(&app.toml("")).await;
    let mut phone = gateway.call("CA1").await;
    let (mut session, _) = app.begin().await;
    session.say(json!({"type": "text", "token": LONG, "last": true, "preemptible": true})).await;
    phone.sees("speech", |seen| seen.frames > 20).await;
    session.token("This takes its place.", true).await;
    session.token("And this comes after.", true).await;
    outcome(&gateway, 1, "interrupted").await;
    outcome(&gateway, 3, "heard").await;
    assert_eq!(turn(&gateway, 2).await["outcome"], "heard");
    assert_eq!(phone.seen().clears, 1);
    // The caller did nothing, so that the app is told nothing.
    phone.stop();
    assert_eq!(session.closed().await.2, Vec::<Value>::new());
}

#[tokio::test]
async fn what_may_not_be_interrupted_is_not() {
    let app = App::start().await;
    let gateway = Gateway::open(&app.toml("dtmf_detection = true")).await;
    let mut phone = gateway.call("CA1").await;
    let (mut session, _) = app.begin().await;
    session.say(json!({"type": "text", "token": "Hear me out.", "last": true, "interruptible": false})).await;
    phone.sees("speech", |seen| seen.frames > 10).await;
    phone.press('5');
    assert_eq!(outcome(&gateway, 1, "heard").await["heard"], "Hear me out.");
    // Nor is the key told: the noun's reportInputDuringAgentSpeech is "none" by default.
    phone.stop();
    assert_eq!(session.closed().await.2, Vec::<Value>::new());
}

#[tokio::test]
async fn what_the_api_says_has_numbers_of_its_own() {
    let app = App::start().await;
    let gateway = Gateway::open(&app.toml("")).await;
    let _phone = gateway.call("CA1").await;
    let (mut session, _) = app.begin().await;
    session.token("The app's.", true).await;
    let turn = gateway.say_and_wait("CA1", json!({"text": "The operator's."})).await.json();
    assert!(turn["turn"].as_u64().unwrap() > 1 << 30, "{turn}");
    assert_eq!(turn["heard"], "The operator's.");
    session.token("The app's again.", true).await;
    assert_eq!(outcome(&gateway, 2, "heard").await["heard"], "The app's again.");
    // Nobody adds to what the app says.
    assert_eq!(gateway.say("CA1", json!({"text": "x", "turn": 1})).await.status, 404);
}
