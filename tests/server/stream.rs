//! What a carrier's socket may bring without hurting anybody, and what ends it.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::gateway::Gateway;
use crate::support::logs::Logs;
use crate::support::phone::{Phone, start};
use crate::support::until;

const KILO: usize = 1024;

/// A message of exactly `bytes` bytes.
fn padded(bytes: usize) -> Message {
    let text = json!({ "event": "brand-new", "padding": "" }).to_string();
    let text = text.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - text.len())));
    assert_eq!(text.len(), bytes);
    Message::text(text)
}

async fn still_speaks(gateway: &Gateway, phone: &mut Phone) {
    let frames = phone.seen().frames;
    assert_eq!(gateway.say("CA1", json!({ "text": "Still here." })).await.status, 202);
    phone.sees("speech", |seen| seen.frames > frames + 5).await;
}

#[tokio::test]
async fn sixty_kilobytes_are_fine_and_more_than_64_end_the_stream_with_1009() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.call("CA1").await;
    phone.send_raw(padded(60 * KILO));
    phone.send_raw(padded(64 * KILO));
    still_speaks(&gateway, &mut phone).await;
    phone.send_raw(padded(64 * KILO + 1));
    // More is under way when we close: unread, it would turn the close frame into a reset.
    for _ in 0..200 {
        phone.hush();
    }
    assert_eq!(phone.end().await, Some(1009));
    gateway.is_gone("CA1").await;

    for message in [padded(200 * KILO), Message::binary(vec![0; 65 * KILO])] {
        let mut phone = gateway.call("CA1").await;
        phone.send_raw(message);
        assert_eq!(phone.end().await, Some(1009));
        gateway.is_gone("CA1").await;
    }
    // Not even before the start.
    let mut phone = gateway.dial().await.unwrap();
    phone.send_raw(padded(65 * KILO));
    assert_eq!(phone.end().await, Some(1009));
    // What is beyond all measure is not even read, and still ends the stream and nothing else.
    let mut phone = gateway.call("CA1").await;
    phone.send_raw(padded(3_000 * KILO));
    phone.end().await;
    gateway.is_gone("CA1").await;
    assert_eq!(gateway.metric("trunkline_calls").await, 0.0);
}

#[tokio::test]
async fn garbage_in_any_order_is_counted_and_the_call_goes_on() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.dial().await.unwrap();
    // Before the start.
    phone.hush();
    phone.press('5');
    phone.send(json!({ "event": "mark", "streamSid": "MZ1", "mark": { "name": "m1" } }));
    phone.send_raw(Message::binary(vec![0, 159, 146, 150]));
    phone.send_raw(Message::text("{ this is no JSON"));
    phone.start("CA1", &[]);
    gateway.is_listed("CA1").await;
    // And after it.
    phone.send(start("CA9", &[]));
    phone.send_raw(Message::binary(vec![7; 500]));
    phone.send_raw(Message::text(""));
    phone.send_raw(Message::text("[1, 2]"));
    phone.send_raw(Message::text("\u{0}\u{FFFF}"));
    phone.send(json!({ "event": "brand-new", "anything": [1] }));
    phone.send(json!({ "event": "media", "media": { "payload": "***" } }));
    phone.send(json!({ "event": "dtmf", "dtmf": { "digit": "99" } }));
    phone.send(json!({ "event": "mark", "mark": { "name": "nobody-sent-this" } }));
    phone.send_raw(Message::Ping(vec![1, 2, 3].into()));
    phone.send_raw(Message::Pong(vec![].into()));
    still_speaks(&gateway, &mut phone).await;
    until("the count", async || (gateway.metric("trunkline_garbage_total").await >= 11.0).then_some(())).await;
    assert_eq!(gateway.get("/v1/calls/CA9").await.status, 404);
    assert_eq!(gateway.get("/v1/calls/CA1").await.json()["call_sid"], "CA1");
    phone.stop();
    assert_eq!(phone.end().await, Some(1000));
}

#[tokio::test]
async fn a_stream_that_only_listens_is_recognised_and_logged() {
    let logs = Logs::take();
    let gateway = Gateway::open("").await;
    let phone = gateway.dial().await.unwrap();
    let mut message = start("CA1", &[("tenant", "acme")]);
    message["start"]["tracks"] = json!(["inbound", "outbound"]);
    phone.send(message);
    gateway.is_listed("CA1").await;
    assert!(logs.line("only listens").contains("CA1"));
    // Nothing can be said on it, and whoever tries is told so at once.
    let answer = gateway.say("CA1", json!({ "text": "Hello." })).await;
    assert_eq!((answer.status, answer.json()["outcome"].as_str()), (409, Some("interrupted")));
    phone.hush();
    phone.stop();
    gateway.is_gone("CA1").await;
    assert_eq!(phone.seen().frames, 0);
    logs.holds_none_of(&["acme"]);
}

#[tokio::test]
async fn a_second_stream_of_a_call_gets_a_name_of_its_own() {
    let gateway = Gateway::open("").await;
    let _one = gateway.call("CA1").await;
    let two = gateway.dial().await.unwrap();
    two.start("CA1", &[]);
    gateway.is_listed("CA1-2").await;
    assert_eq!(gateway.get("/v1/calls/CA1-2").await.json()["call_sid"], "CA1");
}
