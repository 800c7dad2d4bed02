//! A fault of the program in one call ends that call alone, politely, and is counted.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::future::join_all;
use serde_json::json;
use trunkline::http::{Exchange, Unreachable};
use trunkline::server::Speaker;

use crate::support::gateway::Gateway;
use crate::support::http::{Events, Request};
use crate::support::logs::Logs;
use crate::support::until;

const CALLS: usize = 50;

/// A voice that is asked over HTTP and, for one text, brings the task down that asks.
#[derive(Debug)]
struct Trap;

impl Exchange for Trap {
    fn exchange(&self, request: reqwest::Request) -> BoxFuture<'static, Result<reqwest::Response, Unreachable>> {
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default().to_vec();
        async move {
            assert!(!String::from_utf8_lossy(&body).contains("trapdoor"), "a fault of the program, as the test wants");
            Err(Unreachable)
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_panic_ends_its_call_alone() {
    let logs = Logs::take();
    let toml = "speech.chain = [\"openai\", \"local\"]\nspeech.openai.url = \"http://127.0.0.1:9/v1\"\n\
        speech.phrase_cache_mib = 0\nspeech.openai.api_key = \"k\"\n";
    let mut gateway = Gateway::changed("https://gw.example.com", toml, |settings| {
        settings.trust = trunkline::server::Trust::Open;
        for speaker in &mut settings.speakers {
            if let Speaker::Remote { exchange, .. } = speaker {
                *exchange = Arc::new(Trap);
            }
        }
    })
    .await;
    let at = &gateway;
    let mut phones = join_all((0..CALLS).map(|n| async move { at.call(&format!("CA{}", n + 1)).await })).await;
    let mut events = Events::open(gateway.api("GET", "/v1/calls/CA1/events"), gateway.address).await;
    assert_eq!(gateway.metric("trunkline_calls").await, CALLS as f64);

    gateway.say("CA1", json!({ "text": "Mind the trapdoor." })).await;
    // Whoever watches is told, the carrier gets a close frame rather than a broken socket, and nobody finds the call.
    assert_eq!(events.skip_to("ended").await["reason"], "hung_up");
    assert_eq!(phones[0].end().await, Some(1000));
    gateway.is_gone("CA1").await;
    until("the count", async || (gateway.metric("trunkline_task_panics_total").await == 1.0).then_some(())).await;
    assert!(logs.text().contains("a task of the call panicked"), "{}", logs.text());

    assert_eq!(gateway.metric("trunkline_calls").await, (CALLS - 1) as f64);
    for phone in &phones[1..] {
        assert!(phone.seen().closed.is_none());
    }
    // Every other call still speaks, with the next voice, since the first one cannot be reached.
    let said = (1..CALLS).map(|n| {
        let id = format!("CA{}", n + 1);
        let gateway = &gateway;
        async move { gateway.say(&id, json!({ "text": "All is well." })).await.status }
    });
    assert!(join_all(said).await.iter().all(|status| *status == 202));
    for phone in &mut phones[1..] {
        phone.sees("speech", |seen| seen.frames > 5).await;
    }
    // And new calls are taken.
    let answer = Request::new("POST", "/twilio/voice").form("CallSid=CA99").send(gateway.address).await;
    assert!(answer.body.contains("<Connect"), "{answer:?}");
    for phone in &phones[1..] {
        phone.stop();
    }
    gateway.stop.cancel();
    gateway.stopped().await;
}
