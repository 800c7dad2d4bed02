//! Who gets a seat, and what those hear who get none.

use std::time::Duration;

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::logs::Logs;
use crate::support::phone::Phone;
use crate::support::until;
use crate::token;

const PUBLIC_URL: &str = "https://gw.example.com";

async fn refused(gateway: &Gateway, kind: &str) -> f64 {
    gateway.metric(&format!("trunkline_refused_total{{kind=\"{kind}\"}}")).await
}

#[tokio::test]
async fn a_stream_that_finds_no_seat_hears_the_busy_line_and_nothing_else() {
    let logs = Logs::take();
    let gateway = Gateway::open("server.max_calls = 1\nserver.busy_line = \"All busy.\"").await;
    let _live = gateway.call("CA1").await;
    let mut late = gateway.dial().await.unwrap();
    late.start("CA2", &[]);
    assert_eq!(late.end().await, Some(1000));
    // Half a second of speech at least, and played to its end: nothing was cut off.
    let seen = late.seen();
    assert!(seen.frames > 25 && seen.marks > 0 && seen.clears == 0, "{seen:?}");
    assert_eq!(refused(&gateway, "full").await, 1.0);
    assert_eq!(gateway.get("/v1/calls/CA2").await.status, 404, "nobody else can speak on it");
    assert_eq!(gateway.metric("trunkline_calls_ended_total{kind=\"sent_away\"}").await, 1.0);
    assert!(logs.text().contains("a call is refused"), "{}", logs.text());
}

#[tokio::test]
async fn only_so_many_are_told_and_the_others_are_closed_with_1013() {
    let line = "All lines are busy, and this takes a while to say, so that others come meanwhile.";
    let gateway = Gateway::open(&format!("server.max_calls = 1\nserver.busy_line = \"{line}\"")).await;
    let _live = gateway.call("CA1").await;
    let mut told: Vec<Phone> = Vec::new();
    for n in 2..=5 {
        let mut phone = gateway.dial().await.unwrap();
        phone.start(&format!("CA{n}"), &[]);
        phone.sees("the line", |seen| seen.frames > 0).await;
        told.push(phone);
    }
    let mut further = gateway.dial().await.unwrap();
    further.start("CA6", &[]);
    assert_eq!(further.end().await, Some(1013));
    assert_eq!(refused(&gateway, "full").await, 5.0);
    for mut phone in told {
        assert_eq!(phone.end().await, Some(1000));
    }
}

#[tokio::test]
async fn a_promised_seat_is_kept_and_a_promise_is_not_given_twice() {
    let gateway = Gateway::signed(PUBLIC_URL, "server.max_calls = 2").await;
    let _first = token::call(&gateway, "CA1").await;
    let _promise = token::token(&gateway, "CA2").await;
    // One seat is free, but somebody is on the way to it.
    assert!(token::answer(&gateway, "CallSid", "CA3").await.contains("<Reject reason=\"busy\"/>"));
    assert_eq!(refused(&gateway, "full").await, 1.0);
}

#[tokio::test]
async fn an_account_that_calls_too_often_hears_busy_and_others_do_not() {
    let gateway = Gateway::open("limits.account_rate = 1").await;
    let ask = async |call: &str, account: &str| {
        let form = format!("CallSid={call}&AccountSid={account}");
        Request::new("POST", "/twilio/voice").form(&form).send(gateway.address).await.body
    };
    let answers = [ask("CA1", "AC1").await, ask("CA2", "AC1").await, ask("CA3", "AC1").await];
    assert_eq!(answers.map(|answer| answer.contains("<Connect")), [true, true, false]);
    // A question that is asked twice is about one call.
    assert!(ask("CA4", "AC2").await.contains("<Connect") && ask("CA1", "AC1").await.contains("<Connect"));
    assert_eq!(refused(&gateway, "account_rate").await, 1.0);
    assert_eq!(gateway.metric("trunkline_limits_total{kind=\"account_rate\"}").await, 1.0);
}

#[tokio::test]
async fn a_line_is_said_before_the_call_is_answered_if_that_is_wanted() {
    let gateway =
        Gateway::open("server = { max_calls = 1, busy_signal = \"line\", busy_line = \"Busy & sorry.\" }").await;
    let _live = gateway.call("CA1").await;
    let answer = Request::new("POST", "/twilio/voice").form("CallSid=CA2").send(gateway.address).await.body;
    assert!(answer.contains("<Say>Busy &amp; sorry.</Say><Hangup/>"), "{answer}");
}

/// A node whose frames are late refuses new calls, keeps the live ones, and takes new ones again.
#[tokio::test]
async fn a_strained_node_refuses_new_calls_until_its_frames_are_in_time() {
    // The meter is told what a machine that is too busy would measure.
    let gateway = Gateway::open("limits.late_ms = 50").await;
    let mut live = gateway.call("CA1").await;
    let meter = gateway.node.meter().clone();
    let mut load = tokio::task::JoinSet::new();
    let late = meter.clone();
    load.spawn(async move {
        loop {
            (0..50).for_each(|_| late.sent(Duration::from_millis(80)));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    until("the strain", async || (gateway.metric("trunkline_strained").await == 1.0).then_some(())).await;
    let webhook = async || Request::new("POST", "/twilio/voice").form("CallSid=CA2").send(gateway.address).await.body;
    assert!(webhook().await.contains("<Reject"));
    let mut second = gateway.dial().await.unwrap();
    second.start("CA2", &[]);
    assert_eq!(second.end().await, Some(1000));
    assert_eq!(refused(&gateway, "strained").await, 2.0);
    assert_eq!(Request::new("GET", "/readyz").send(gateway.address).await.status, 200, "somebody has to say busy");
    assert_eq!(gateway.say("CA1", json!({ "text": "I am still here." })).await.status, 202);
    live.sees("speech", |seen| seen.frames > 10).await;

    load.shutdown().await;
    until("calm", async || (gateway.metric("trunkline_strained").await == 0.0).then_some(())).await;
    assert!(webhook().await.contains("<Connect"));
}
