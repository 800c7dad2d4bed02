//! Text that is streamed: spoken as it arrives, read no faster than speech needs.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, sleep, timeout};

use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::until;

fn stream_to(gateway: &Gateway, query: &str) -> Request {
    gateway.api("POST", &format!("/v1/calls/CA1/say{query}")).header("Content-Type", "text/plain; charset=utf-8")
}

async fn outcome(gateway: &Gateway, turn: usize) -> serde_json::Value {
    gateway.get("/v1/calls/CA1").await.json()["turns"][turn - 1].clone()
}

#[tokio::test]
async fn pieces_are_spoken_as_they_arrive() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.call("CA1").await;
    let mut body = stream_to(&gateway, "?wait=heard").stream(gateway.address).await;
    // Characters may be cut anywhere, between chunks and inside of them.
    body.chunk("Good morn").await;
    body.stream.write_all(b"8\r\ning, Zo\xc3\r\n4\r\n\xab. T\r\n").await.unwrap();
    phone.sees("speech before the end of the text", |seen| seen.frames > 10).await;
    assert_eq!(outcome(&gateway, 1).await["outcome"], "live");
    body.chunk("hat is all.").await;
    let view = body.finish().await.json();
    assert_eq!((&view["outcome"], &view["heard"]), (&json!("heard"), &json!("Good morning, Zoë. That is all.")));
}

#[tokio::test]
async fn a_body_of_an_hour_is_not_swallowed_at_once() {
    // Small buffers of the system, so that what is not read shows soon at the other end.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let gateway =
        Gateway::start("", false, TcpListener::from_std(socket.listen(64).unwrap().into_std().unwrap()).unwrap()).await;
    let mut phone = gateway.call("CA1").await;
    let client = TcpSocket::new_v4().unwrap();
    client.set_send_buffer_size(4 * 1024).unwrap();
    let stream = client.connect(gateway.address).await.unwrap();
    let mut body = stream_to(&gateway, "").stream_on(stream, gateway.address).await;

    // Some 1,000 characters a minute; 60 bytes a sentence.
    let sentence = "The next sentence is as long as the one that was before it. ";
    let mut written = 0;
    let swallowed = timeout(Duration::from_secs(4), async {
        for _ in 0..5_000 {
            body.chunk(sentence).await;
            written += sentence.len();
        }
    })
    .await;
    assert!(swallowed.is_err(), "{written} bytes were read at once");
    phone.sees("speech", |seen| seen.frames > 50).await;
    // What is on its way is bounded by buffers; what the call itself has taken, by seconds of speech.
    assert!(written < 150_000, "{written} bytes were read at once");

    // The client is still there, the turn is still open, and an interruption answers it in the middle of its text.
    phone.press('5');
    let answer = body.answer().await;
    let view = answer.json();
    assert_eq!((answer.status, &view["turn"], &view["outcome"]), (409, &json!(1), &json!("interrupted")));
    let heard = view["heard"].as_str().unwrap();
    assert!(sentence.repeat(9).starts_with(heard) && heard.len() > 20, "{heard:?}");
}

#[tokio::test]
async fn a_turn_that_is_dropped_is_answered_at_once_even_if_no_text_comes() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.call("CA1").await;
    let mut body = stream_to(&gateway, "?wait=heard&interruptible=dtmf").stream(gateway.address).await;
    // A whole sentence is spoken although nothing follows it yet.
    body.chunk("One moment, please, I have to look this up for you.").await;
    phone.sees("speech", |seen| seen.frames > 40).await;
    phone.press('5');
    let answer = body.answer().await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (409, &json!("interrupted")));
    assert!("One moment, please, I".starts_with(&answer.json()["heard"].as_str().unwrap()[..3]), "{answer:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_turn() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.call("CA1").await;
    let mut body = stream_to(&gateway, "").stream(gateway.address).await;
    body.chunk("This much was said, and").await;
    until("the turn", async || outcome(&gateway, 1).await.is_object().then_some(())).await;
    // Half a sentence waits for its other half, so that speech proves the end of the turn.
    sleep(Duration::from_millis(700)).await;
    assert_eq!(phone.seen().frames, 0);
    let begun = Instant::now();
    drop(body);
    phone.sees("speech", |seen| seen.frames > 10).await;
    let view = until("the end of the turn", async || {
        Some(outcome(&gateway, 1).await).filter(|view| view["outcome"] == "heard")
    })
    .await;
    assert_eq!(view["heard"], "This much was said, and");
    assert!(begun.elapsed() < Duration::from_secs(15), "long before an open turn is finished for want of text");
}

#[tokio::test]
async fn a_stream_may_go_on_with_a_turn_and_ends_with_its_call() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.call("CA1").await;
    let turn = gateway.say("CA1", json!({ "text": "One. ", "last": false })).await.turn();
    let mut body = stream_to(&gateway, &format!("?turn={turn}&wait=heard")).stream(gateway.address).await;
    body.chunk("Two.").await;
    assert_eq!(body.finish().await.json()["heard"], "One. Two.");

    let mut body = stream_to(&gateway, "?wait=heard").stream(gateway.address).await;
    body.chunk("Three, four, five, and so on.\n").await;
    let frames = phone.seen().frames;
    phone.sees("speech", |seen| seen.frames > frames + 10).await;
    phone.stop();
    let answer = body.answer().await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (409, &json!("interrupted")), "{answer:?}");
}

#[tokio::test]
async fn an_empty_stream_is_a_turn_without_text() {
    let gateway = Gateway::open("").await;
    let _phone = gateway.call("CA1").await;
    let body = stream_to(&gateway, "?wait=heard").stream(gateway.address).await;
    let answer = body.finish().await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (200, &json!("heard")), "{answer:?}");
}
