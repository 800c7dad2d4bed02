//! Recordings and keys of an app, on a caller's line.

use std::io::Cursor;

use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::app::App;
use crate::support::carrier::{PUBLIC_URL, ask, stream};
use crate::support::gateway::Gateway;
use crate::support::until;

/// Half a second of nothing much.
fn recording() -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    (0..8_000).for_each(|_| writer.write_sample(100_i16).unwrap());
    writer.finalize().unwrap();
    file.into_inner()
}

async fn over(gateway: &Gateway, number: usize) -> Value {
    until("the end of a turn", async || {
        let turn = gateway.get("/v1/calls/CA1").await.json()["turns"].get(number - 1)?.clone();
        (turn["outcome"] != "live").then_some(turn)
    })
    .await
}

#[tokio::test]
async fn recordings_and_keys_are_heard_in_their_place() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = format!("http://{}/jingle.wav", listener.local_addr().unwrap());
    let library = axum::Router::new().route("/jingle.wav", get(async || recording()));
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, library).await.unwrap() });
    let app = App::start().await;
    let gateway = Gateway::open(&app.toml("[player]\nallow_http = true")).await;
    let _phone = gateway.call("CA1").await;
    let (mut session, _) = app.begin().await;
    session.say(json!({ "type": "play", "source": source, "loop": 3 })).await;
    session.token("That was it.", true).await;
    session.say(json!({ "type": "sendDigits", "digits": "12w" })).await;
    session.say(json!({ "type": "play", "source": "http://127.0.0.1:9/nobody-there.wav" })).await;
    let (jingle, speech) = (over(&gateway, 1).await, over(&gateway, 2).await);
    assert_eq!((&jingle["outcome"], &jingle["heard_ms"]), (&json!("heard"), &json!(1_500)));
    assert_eq!(speech["heard"], "That was it.");
    // Two keys of 200 ms and a pause.
    assert_eq!(over(&gateway, 3).await["heard_ms"], 900);
    assert_eq!(over(&gateway, 4).await["outcome"], "failed");
}

#[tokio::test]
async fn an_app_does_not_reach_through_us_what_only_we_reach() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, app) = (listener.local_addr().unwrap().port(), App::start().await);
    let gateway = Gateway::signed(PUBLIC_URL, &app.toml("[player]\nallow_http = true")).await;
    let offer = ask(&gateway, &format!("{PUBLIC_URL}/twilio/voice"), "CA1").await;
    let (_phone, _) = stream(&gateway, "CA1", &offer).await;
    let (mut session, _) = app.begin().await;
    for (turn, host) in (1..).zip(["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"]) {
        session.say(json!({ "type": "play", "source": format!("http://{host}:{port}/admin") })).await;
        assert_eq!(over(&gateway, turn).await["outcome"], "failed", "{host}");
    }
    assert_eq!(gateway.metric("trunkline_outbound_refused_total{kind=\"play\"}").await, 4.0);
    let asked = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(asked.is_err(), "somebody was asked");
}
