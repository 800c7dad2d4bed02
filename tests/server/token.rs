//! Stream tokens: who may speak on a stream, and that nothing happens for anybody else.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use trunkline::emulate::cartesia;
use trunkline::ids::CallSid;
use trunkline::server::twilio::signature::{Algorithm, SIGNATURE_HEADER, sign};
use trunkline::server::twilio::token::{Minter, PARAMETER};

use crate::support::gateway::{AUTH_TOKEN, Gateway, TOKEN_KEY, Vendor};
use crate::support::http::Request;
use crate::support::logs::Logs;
use crate::support::phone::Phone;
use crate::support::until;
use trunkline::secret::Secret;

const PUBLIC_URL: &str = "https://gw.example.com";

pub(crate) async fn dial(gateway: &Gateway) -> Phone {
    let signature = sign(Algorithm::HmacSha1, AUTH_TOKEN, "wss://gw.example.com/twilio/media", &[]);
    Phone::dial(gateway.address, "/twilio/media", &[(SIGNATURE_HEADER, &signature)]).await.unwrap()
}

/// The token of another replica: this one never heard of the call.
pub(crate) fn of_another_replica(call: &str) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    Minter::new(&Secret::new(TOKEN_KEY)).mint(&CallSid::parse(call).unwrap(), now, [7; 16])
}

/// What the webhook answers to a form of one field.
pub(crate) async fn answer(gateway: &Gateway, field: &str, value: &str) -> String {
    let url = format!("{PUBLIC_URL}/twilio/voice");
    let signature = sign(Algorithm::HmacSha1, AUTH_TOKEN, &url, &[(field, value)]);
    let request = Request::new("POST", "/twilio/voice").form(&format!("{field}={value}"));
    request.header(SIGNATURE_HEADER, &signature).send(gateway.address).await.body
}

/// The token that the webhook hands out for a call.
pub(crate) async fn token(gateway: &Gateway, call: &str) -> String {
    let answer = answer(gateway, "CallSid", call).await;
    let (_, rest) = answer.split_once("trunkline_token\" value=\"").expect("a stream with a token");
    rest.split_once('"').unwrap().0.to_owned()
}

/// A call with everything that is asked for.
pub(crate) async fn call(gateway: &Gateway, call: &str) -> Phone {
    let phone = dial(gateway).await;
    phone.start(call, &[(PARAMETER, &token(gateway, call).await)]);
    gateway.is_listed(call).await;
    phone
}

#[tokio::test]
async fn a_stream_without_a_good_token_is_closed_with_1008_and_nothing_is_dialled() {
    let logs = Logs::take();
    let vendor = Vendor::start(cartesia::Settings::default()).await;
    let gateway = Gateway::signed(PUBLIC_URL, &vendor.toml).await;
    let good = token(&gateway, "CA1").await;
    let late = Minter::new(&Secret::new(TOKEN_KEY)).mint(&CallSid::parse("CA1").unwrap(), 1_000_000, [7; 16]);
    let forged = Minter::new(&Secret::new("another key")).mint(&CallSid::parse("CA1").unwrap(), u64::MAX / 2, [7; 16]);
    for (why, call, parameters) in [
        ("missing", "CA1", vec![("tenant", "acme")]),
        ("empty", "CA1", vec![(PARAMETER, "")]),
        ("of another call", "CA2", vec![(PARAMETER, good.as_str())]),
        ("expired", "CA1", vec![(PARAMETER, late.as_str())]),
        ("forged", "CA1", vec![(PARAMETER, forged.as_str())]),
    ] {
        let mut phone = dial(&gateway).await;
        phone.start(call, &parameters);
        assert_eq!(phone.end().await, Some(1008), "{why}");
    }
    assert_eq!(vendor.journal.counts().connections, 0);
    assert_eq!(gateway.metric("trunkline_calls_ended_total{kind=\"carrier_lost\"}").await, 0.0);

    // None of this has used the token up, but its first good use does. The voice is dialled then, before any text.
    let mut phone = dial(&gateway).await;
    phone.start("CA1", &[(PARAMETER, &good)]);
    gateway.is_listed("CA1").await;
    until("the dialled voice", async || (vendor.journal.counts().handshakes == 1).then_some(())).await;
    assert_eq!((vendor.journal.counts().contexts, phone.seen().frames), (0, 0));
    let mut again = dial(&gateway).await;
    again.start("CA1", &[(PARAMETER, &good)]);
    assert_eq!(again.end().await, Some(1008));
    assert_eq!(vendor.journal.counts().connections, 1);
    assert_eq!(gateway.say("CA1", serde_json::json!({ "text": "Hello." })).await.turn(), 1);
    phone.sees("speech", |seen| seen.frames > 5).await;
    logs.holds_none_of(&[&good, &late, &forged, "acme", TOKEN_KEY, AUTH_TOKEN, "Hello"]);
}

#[tokio::test]
async fn replicas_with_one_key_take_each_others_tokens() {
    let one = Gateway::signed(PUBLIC_URL, "").await;
    let other = Gateway::signed(PUBLIC_URL, "").await;
    let phone = dial(&other).await;
    phone.start("CA1", &[(PARAMETER, &token(&one, "CA1").await)]);
    other.is_listed("CA1").await;
}

#[tokio::test]
async fn a_stream_that_does_not_start_is_closed() {
    let gateway = Gateway::open("").await;
    let begun = Instant::now();
    // All at once: silence, words that are no start, and a peer that never ends.
    let mut silent = gateway.dial().await.unwrap();
    let mut vague = gateway.dial().await.unwrap();
    vague.send(serde_json::json!({ "event": "connected", "protocol": "Call", "version": "1.0.0" }));
    let mut babbling = gateway.dial().await.unwrap();
    for _ in 0..200 {
        babbling.hush();
    }
    assert_eq!(babbling.end().await, Some(1008));
    assert!(begun.elapsed() < Duration::from_millis(4_900), "noise is not listened to for the whole time");
    assert_eq!(vague.end().await, Some(1008));
    assert_eq!(silent.end().await, Some(1008));
    assert!(begun.elapsed() >= Duration::from_secs(5));
    assert_eq!(gateway.metric("trunkline_refused_total{kind=\"stream\"}").await, 3.0);
    assert_eq!(gateway.get("/v1/calls").await.json()["calls"], serde_json::json!([]));
}

#[tokio::test]
async fn a_stream_that_stops_before_it_starts_is_over() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.dial().await.unwrap();
    phone.stop();
    phone.start("CA1", &[]);
    assert_eq!(phone.end().await, Some(1008));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(gateway.get("/v1/calls/CA1").await.status, 404);
}
