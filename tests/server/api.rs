//! Control over HTTP: looking at calls, saying things, silence, hanging up.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use trunkline::emulate::cartesia;

use crate::support::gateway::{Gateway, Vendor};
use crate::support::http::Events;
use crate::support::until;

/// Some seven seconds of speech.
const LONG: &str = "This is a rather long sentence, which goes on and on, so that there is enough time to cut it off \
    long before it has come to its end.";

#[tokio::test]
async fn calls_are_listed_and_shown() {
    let gateway = Gateway::open("").await;
    let list = gateway.get("/v1/calls").await.json();
    assert_eq!(list["calls"], json!([]));
    assert_eq!((&list["node"]["calls"], &list["node"]["draining"]), (&json!(0), &json!(false)));
    assert!(list["node"]["uptime_s"].as_f64().unwrap() >= 0.0 && list["node"]["calls_max"].as_u64().unwrap() > 0);
    let _one = gateway.call("CA1").await;
    let _two = gateway.call("CA2").await;
    gateway.say("CA2", json!({ "text": LONG })).await;
    let list = gateway.get("/v1/calls").await.json();
    let ids: Vec<&Value> = list["calls"].as_array().unwrap().iter().map(|call| &call["id"]).collect();
    assert_eq!(ids, ["CA1", "CA2"]);
    let shown = gateway.get("/v1/calls/CA2").await.json();
    assert_eq!((&shown["id"], &shown["call_sid"], &shown["stream_sid"]), (&json!("CA2"), &json!("CA2"), &json!("MZ1")));
    assert!(shown["seconds"].as_f64().unwrap() >= 0.0);
    let turn = json!({ "turn": 1, "outcome": "live", "heard": "", "heard_ms": 0, "estimated": false });
    assert_eq!(shown["turns"], json!([turn]));
    assert_eq!((&shown["voice"], &shown["failovers"]), (&json!("local"), &json!(0)));
    assert_eq!(list["calls"][0]["voice"], Value::Null, "nothing was said in the first call");
}

#[tokio::test]
async fn unknown_calls_and_turns_are_not_found() {
    let gateway = Gateway::open("").await;
    let _phone = gateway.call("CA1").await;
    for (method, path) in [
        ("GET", "/v1/calls/CA9"),
        ("DELETE", "/v1/calls/CA9"),
        ("POST", "/v1/calls/CA9/say"),
        ("POST", "/v1/calls/CA9/clear"),
        ("GET", "/v1/calls/CA9/events"),
    ] {
        let answer = gateway.api(method, path).json(&json!({ "text": "x" })).send(gateway.address).await;
        assert_eq!(answer.status, 404, "{method} {path}");
        // With many nodes it is most likely another one's.
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("on this node") && error.contains("control_url"), "{error}");
    }
    let answer = gateway.say("CA1", json!({ "text": "More.", "turn": 7 })).await;
    assert_eq!(answer.status, 404);
    assert!(answer.json()["error"].as_str().unwrap().starts_with("turn 7 was never opened"), "{answer:?}");
    assert_eq!(gateway.say("CA1", json!({ "text": "First." })).await.turn(), 1);
}

#[tokio::test]
async fn every_mistake_in_a_say_names_its_field() {
    let gateway = Gateway::open("").await;
    let _phone = gateway.call("CA1").await;
    for (body, field) in [
        (json!({ "txt": "secret" }), "txt"),
        (json!({ "text": "secret", "txt": "secret" }), "txt"),
        (json!({ "text": 5 }), "text"),
        (json!({ "text": "secret", "turn": "1" }), "turn"),
        (json!({ "text": "secret", "turn": 0 }), "turn"),
        (json!({ "text": "secret", "last": "secret" }), "last"),
        (json!({ "text": "secret", "flush": 1 }), "flush"),
        (json!({ "text": "secret", "interruptible": "secret" }), "interruptible"),
        (json!({ "text": "secret", "interruptible": true }), "interruptible"),
        (json!({ "text": "secret", "voice": ["secret"] }), "voice"),
        (json!({ "text": "secret", "voice": "" }), "voice"),
        (json!({ "text": "secret", "language": 1 }), "language"),
        (json!({ "text": "secret", "speed": "fast" }), "speed"),
        (json!({ "text": "secret", "speed": 1.51 }), "speed"),
        (json!({ "text": "secret", "volume": 0.49 }), "volume"),
        (json!({ "text": "secret", "emotion": false }), "emotion"),
        (json!({}), "text"),
    ] {
        let answer = gateway.say("CA1", body.clone()).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)), "{body} {answer:?}");
        assert!(answer.json()["error"].as_str().unwrap().starts_with(&format!("{field}: ")), "{answer:?}");
        assert!(!answer.body.contains("secret"), "{answer:?}");
    }
    for (query, field) in
        [("wait=done", "wait"), ("speed=1", "speed"), ("wiat=heard", "wiat"), ("wait=heard&wait=heard", "wait")]
    {
        let request = gateway.api("POST", &format!("/v1/calls/CA1/say?{query}")).json(&json!({ "text": "x" }));
        let answer = request.send(gateway.address).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)), "{query} {answer:?}");
    }
    for (query, field) in
        [("speed=9", "speed"), ("turn=x", "turn"), ("interruptible=maybe", "interruptible"), ("text=x", "text")]
    {
        let request = gateway.api("POST", &format!("/v1/calls/CA1/say?{query}")).body("text/plain", "x");
        let answer = request.send(gateway.address).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)), "{query} {answer:?}");
    }
    for (body, status) in [("", 400), ("{\"text\": secret}", 400), ("[]", 400), (&"x".repeat(70 * 1024), 413)] {
        let request = gateway.api("POST", "/v1/calls/CA1/say").body("application/json", body);
        let answer = request.send(gateway.address).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.json()["error"].is_string() && !answer.body.contains("secret"), "{answer:?}");
    }
    // None of it opened a turn.
    assert_eq!(gateway.say("CA1", json!({ "text": "First." })).await.turn(), 1);
}

#[tokio::test]
async fn a_turn_is_said_in_pieces_and_heard_as_it_was_written() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.call("CA1").await;
    let turn = gateway.say("CA1", json!({ "text": "Good ", "last": false, "interruptible": "none" })).await.turn();
    // Half a sentence waits, unless it is flushed.
    assert_eq!(
        gateway.say("CA1", json!({ "turn": turn, "text": "day", "last": false, "flush": true })).await.turn(),
        turn
    );
    phone.sees("the flushed half", |seen| seen.frames > 0).await;
    assert_eq!(gateway.say("CA1", json!({ "turn": turn, "text": " to you.", "last": false })).await.turn(), turn);
    let ended = gateway.say_and_wait("CA1", json!({ "turn": turn, "last": true })).await;
    let view = ended.json();
    assert_eq!((ended.status, &view["outcome"], &view["heard"]), (200, &json!("heard"), &json!("Good day to you.")));
    assert!(view["heard_ms"].as_u64().unwrap() > 300, "{view}");
}

#[tokio::test]
async fn how_to_speak_reaches_the_voice() {
    let vendor = Vendor::start(cartesia::Settings { voices: Some(vec!["v2".to_owned()]), ..Default::default() }).await;
    let gateway = Gateway::open(&vendor.toml).await;
    let mut phone = gateway.call("CA1").await;
    let body =
        json!({ "text": "Hello.", "voice": "v2", "language": "en", "speed": 1.2, "volume": 1, "emotion": "calm" });
    assert_eq!(gateway.say_and_wait("CA1", body).await.json()["outcome"], "heard");
    // The voice that the settings name is not known to this vendor, so that the field made the difference.
    let answer = gateway.say_and_wait("CA1", json!({ "text": "Hello." })).await;
    assert_eq!(answer.json()["outcome"], "failed");
    phone.sees("speech", |seen| seen.frames > 10).await;
}

#[tokio::test]
async fn a_wait_ends_when_the_turn_is_interrupted_or_the_call_is_over() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.call("CA1").await;
    let waiting = gateway.say_and_wait("CA1", json!({ "text": LONG }));
    let pressing = async {
        phone.sees("speech", |seen| seen.frames > 60).await;
        phone.press('5');
        phone.sees("the clear", |seen| seen.clears == 1).await;
    };
    let (answer, ()) = tokio::join!(waiting, pressing);
    let view = answer.json();
    assert_eq!((answer.status, &view["turn"], &view["outcome"]), (200, &json!(1), &json!("interrupted")));
    let heard = view["heard"].as_str().unwrap();
    assert!(LONG.starts_with(heard) && !heard.is_empty() && heard.len() < LONG.len(), "{heard:?}");

    let waiting = gateway.say_and_wait("CA1", json!({ "text": LONG }));
    let hanging_up = async {
        phone.sees("speech", |seen| seen.frames > 80).await;
        phone.stop();
    };
    let (answer, ()) = tokio::join!(waiting, hanging_up);
    assert_eq!((answer.status, &answer.json()["outcome"]), (200, &json!("interrupted")), "{answer:?}");
}

#[tokio::test]
async fn text_for_a_turn_that_is_over_ends_with_409_and_what_was_heard() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.call("CA1").await;
    let turn = gateway.say("CA1", json!({ "text": format!("{LONG} "), "last": false })).await.turn();
    phone.sees("speech", |seen| seen.frames > 60).await;
    phone.press('5');
    phone.sees("the clear", |seen| seen.clears == 1).await;
    let answer = gateway.say("CA1", json!({ "turn": turn, "text": "More." })).await;
    let view = answer.json();
    assert_eq!((answer.status, &view["turn"], &view["outcome"]), (409, &json!(turn), &json!("interrupted")), "{view}");
    let heard = view["heard"].as_str().unwrap();
    assert!(LONG.starts_with(heard) && !heard.is_empty(), "{heard:?}");

    // Behind its last text a turn takes no more either, although it is still being spoken.
    let turn = gateway.say("CA1", json!({ "text": LONG })).await.turn();
    let answer = gateway.say("CA1", json!({ "turn": turn, "text": "More." })).await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (409, &json!("live")), "{answer:?}");
}

#[tokio::test]
async fn clear_brings_silence_and_drops_every_turn() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.call("CA1").await;
    gateway.say("CA1", json!({ "text": LONG, "interruptible": "none" })).await;
    let queued = gateway.say_and_wait("CA1", json!({ "text": LONG }));
    let clearing = async {
        phone.sees("speech", |seen| seen.frames > 30).await;
        // The caller may not interrupt this one.
        phone.press('5');
        let answer = gateway.api("POST", "/v1/calls/CA1/clear").send(gateway.address).await;
        assert_eq!((answer.status, answer.body.as_str()), (202, ""));
        phone.sees("the clear", |seen| seen.clears == 1).await;
    };
    let (queued, ()) = tokio::join!(queued, clearing);
    assert_eq!((&queued.json()["outcome"], &queued.json()["heard"]), (&json!("interrupted"), &json!("")));
    assert_eq!(gateway.get("/v1/calls/CA1").await.json()["turns"][0]["outcome"], "interrupted");
    assert_eq!(gateway.say_and_wait("CA1", json!({ "text": "Again." })).await.json()["outcome"], "heard");
}

#[tokio::test]
async fn delete_closes_the_stream_so_that_the_carrier_goes_on() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.call("CA1").await;
    gateway.say("CA1", json!({ "text": LONG })).await;
    let answer = gateway.api("DELETE", "/v1/calls/CA1").send(gateway.address).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    assert_eq!(phone.end().await, Some(1000));
    gateway.is_gone("CA1").await;
    assert_eq!(gateway.metric("trunkline_calls_ended_total{kind=\"hung_up\"}").await, 1.0);
}

#[tokio::test]
async fn a_request_whose_body_does_not_come_is_not_waited_for() {
    let gateway = Gateway::open("").await;
    let _phone = gateway.call("CA1").await;
    let halves = ["/twilio/voice", "/v1/calls/CA1/say"].map(|path| async {
        let mut request = gateway.api("POST", path).stream(gateway.address).await;
        request.stream.write_all(b"5\r\nCall").await.unwrap();
        request.answer().await.status
    });
    let [voice, say] = halves;
    assert_eq!(tokio::join!(voice, say), (408, 408));
}

/// The script agent greets and answers digits, through the same inbox as the API, which may speak in between.
#[tokio::test]
async fn the_script_speaks_beside_the_api() {
    let script = "agent.kind = \"script\"\nagent.script = { greeting = \"Hi.\", lines = [\"Yes?\"], digits = { \"5\" = \"Five.\" } }";
    let gateway = Gateway::open(script).await;
    let mut phone = gateway.dial().await.unwrap();
    phone.start("CA1", &[]);
    gateway.is_listed("CA1").await;
    let mut events = Events::open(gateway.api("GET", "/v1/calls/CA1/events"), gateway.address).await;
    phone.sees("the greeting", |seen| seen.frames > 5).await;
    loop {
        let over = events.skip_to("turn_over").await;
        if over["turn"] == 1 {
            assert_eq!(over["heard"], "Hi.");
            break;
        }
    }
    assert_eq!(gateway.say("CA1", json!({ "text": "Between." })).await.turn(), 2);
    assert_eq!(events.skip_to("turn_over").await["heard"], "Between.");
    phone.press('7');
    phone.press('5');
    assert_eq!(events.skip_to("turn_over").await["heard"], "Five.");
    assert!(
        timeout(Duration::from_millis(300), events.skip_to("turn_over")).await.is_err(),
        "a key without a line is silent"
    );
}

#[tokio::test]
async fn the_list_tells_what_each_call_is_doing_and_turns_only_if_they_are_wanted() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.dial().await.unwrap();
    phone.start("CA1", &[("trunkline.from", "+15550100001")]);
    gateway.is_listed("CA1").await;
    let call = async |query: &str| {
        let answer = gateway.get(&format!("/v1/calls{query}")).await;
        assert!(!answer.body.contains("15550100001"), "numbers are not shown: {answer:?}");
        answer.json()["calls"][0].clone()
    };
    assert_eq!(call("").await["state"], "listening");
    let text = "A sentence that takes a while to say, so that there is time to look at it in the middle of it all.";
    gateway.say("CA1", json!({ "text": text })).await;
    phone.sees("speech", |seen| seen.frames > 60).await;
    let figures = call("?turns=false").await;
    assert_eq!(
        (&figures["state"], &figures["turn_count"], &figures["turns"]),
        (&json!("speaking"), &json!(1), &Value::Null)
    );
    assert!(call("?turns=true").await["turns"].is_array());
    phone.press('5');
    until("the interruption", async || (call("").await["interruptions"] == 1).then_some(())).await;
    let figures = call("").await;
    assert_eq!((&figures["state"], &figures["underruns"]), (&json!("listening"), &json!(0)));
    assert!(figures["late_p99_ms"].is_f64() && figures["last_wait_ms"].is_null(), "{figures}");
    // A turn whose first word is not there yet.
    gateway.say("CA1", json!({ "text": "Not", "last": false })).await;
    assert_eq!(call("").await["state"], "thinking");
    assert_eq!(gateway.get("/v1/calls?turns=perhaps").await.json()["field"], "turns");
    assert_eq!(gateway.get("/v1/calls?turn=false").await.status, 422);
}
