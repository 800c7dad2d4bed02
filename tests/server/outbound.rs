//! Calls of our own: placed over HTTP, answered, streamed, and steered at the carrier.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline::server::ControlError;
use trunkline::server::twilio::address::{Address, Digits};
use trunkline::server::twilio::rest::Updated;

use crate::support::carrier::{ACCOUNT, Carrier, PUBLIC_URL, Reply, ask, elements, elements_of, stream};
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Request};
use crate::support::logs::Logs;
use crate::support::phone::Phone;
use crate::support::until;
use crate::token;

/// Whom every test calls.
const TO: &str = "+15550100002";

async fn post(gateway: &Gateway, path: &str, body: Value) -> Answer {
    gateway.api("POST", path).json(&body).send(gateway.address).await
}

async fn place(gateway: &Gateway, body: Value) -> Answer {
    post(gateway, "/v1/calls", body).await
}

/// A call with the parameter `tenant`, as far as its stream.
async fn call(carrier: &Carrier, gateway: &Gateway) -> (String, Phone) {
    let placed = place(gateway, json!({ "to": TO, "parameters": { "tenant": "acme & <sons>" } })).await;
    let id = placed.json()["id"].as_str().unwrap().to_owned();
    let asked = carrier.last();
    let answer = ask(gateway, &asked.form["Url"], &id).await;
    let (phone, parameters) = stream(gateway, &id, &answer).await;
    assert_eq!(parameters["tenant"], "acme & <sons>");
    (id, phone)
}

#[tokio::test]
async fn an_outbound_call_is_a_whole_call() {
    let logs = Logs::take();
    let carrier = Carrier::start().await;
    let gateway = carrier.gateway("twilio.parameters = { lane = \"7\", tenant = \"nobody\" }").await;
    let body = json!({ "to": TO, "agent": "api", "parameters": { "tenant": "acme", "note": "" } });
    let placed = place(&gateway, body).await;
    let id = placed.json()["id"].as_str().unwrap().to_owned();
    assert_eq!((placed.status, placed.headers["location"].as_str()), (201, format!("/v1/calls/{id}").as_str()));

    let asked = carrier.last();
    assert_eq!(asked.path, format!("/2010-04-01/Accounts/{ACCOUNT}/Calls.json"));
    let names: Vec<&str> = asked.form.keys().map(String::as_str).collect();
    assert_eq!(names, ["From", "Method", "To", "Url"]);
    assert_eq!((asked.form["From"].as_str(), asked.form["To"].as_str()), ("+15550100001", TO));
    let url = &asked.form["Url"];
    assert!(url.starts_with(&format!("{PUBLIC_URL}/twilio/voice?order=")), "{url}");
    // It rings: there is no stream yet.
    assert_eq!(gateway.get(&format!("/v1/calls/{id}")).await.status, 404);

    let answer = ask(&gateway, url, &id).await;
    let (mut phone, parameters) = stream(&gateway, &id, &answer).await;
    let ours = |name: &str| parameters[&format!("trunkline.{name}")].as_str();
    assert_eq!((ours("from"), ours("to"), ours("direction")), ("+15550100001", TO, "outbound-api"));
    assert_eq!((ours("status"), ours("account")), ("in-progress", ACCOUNT));
    assert_eq!(
        (parameters["tenant"].as_str(), parameters["lane"].as_str(), parameters["note"].as_str()),
        ("acme", "7", "")
    );
    assert_eq!(gateway.get(&format!("/v1/calls/{id}")).await.json()["direction"], "outbound-api");
    let said = gateway.say_and_wait(&id, json!({ "text": "Hello." })).await;
    assert_eq!(said.json()["outcome"], "heard");

    let ended = gateway.api("DELETE", &format!("/v1/calls/{id}?end=call")).send(gateway.address).await;
    assert_eq!((ended.status, ended.json()), (202, json!({ "outcome": "done" })));
    let asked = carrier.last();
    assert_eq!(asked.path, format!("/2010-04-01/Accounts/{ACCOUNT}/Calls/{id}.json"));
    assert_eq!(asked.form, BTreeMap::from([("Status".to_owned(), "completed".to_owned())]));
    phone.stop();
    phone.end().await;
    gateway.is_gone(&id).await;
    logs.holds_none_of(&[
        "5550100001",
        "5550100002",
        "acme",
        "the-secret-of-the-api-key",
        url.split_once('=').unwrap().1,
    ]);
}

#[tokio::test]
async fn a_call_is_placed_with_what_can_be_called() {
    let carrier = Carrier::start().await;
    let gateway = carrier.gateway("").await;
    for (body, field) in [
        (json!({}), "to"),
        (json!({ "to": "5550100002" }), "to"),
        (json!({ "to": 15_550_100_002_u64 }), "to"),
        (json!({ "to": "sip:secret" }), "to"),
        (json!({ "to": TO, "from": "secret" }), "from"),
        (json!({ "to": TO, "agent": "secret" }), "agent"),
        (json!({ "to": TO, "tenant": "secret" }), "tenant"),
        (json!({ "to": TO, "parameters": ["secret"] }), "parameters"),
        (json!({ "to": TO, "parameters": { "a": 1 } }), "parameters"),
        (json!({ "to": TO, "parameters": { "": "secret" } }), "parameters"),
        (json!({ "to": TO, "parameters": { "a": "secret\n" } }), "parameters"),
        (json!({ "to": TO, "parameters": { "trunkline.from": "secret" } }), "parameters"),
        (json!({ "to": TO, "parameters": { "trunkline_token": "secret" } }), "parameters"),
        (json!({ "to": TO, "parameters": { "a": "x".repeat(500) } }), "parameters"),
        (
            json!({ "to": TO, "parameters": { "a": "x".repeat(400), "b": "x".repeat(400), "c": "x".repeat(400) } }),
            "parameters",
        ),
    ] {
        let answer = place(&gateway, body.clone()).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)), "{body} {answer:?}");
        assert!(!answer.body.contains("secret") && !answer.body.contains("5550100002"), "{answer:?}");
    }
    let told = place(&gateway, json!({ "to": TO, "agent": "llm" })).await.json();
    assert_eq!(told["error"], "agent: must be api", "it names the agent that there is");
    assert!(carrier.asked().is_empty());

    for (to, from) in [("sip:desk@pbx.example", "client:bot"), ("client:alice", "+15550100003")] {
        assert_eq!(place(&gateway, json!({ "to": to, "from": from })).await.status, 201);
        let form = carrier.last().form;
        assert_eq!((form["To"].as_str(), form["From"].as_str()), (to, from));
        assert_eq!(form["Url"], format!("{PUBLIC_URL}/twilio/voice"), "nothing was ordered");
    }
}

#[tokio::test]
async fn a_call_is_never_placed_twice() {
    let carrier = Carrier::start().await;
    let gateway = carrier.gateway("").await;
    let body = || json!({ "to": TO });
    // What was certainly not carried out is tried again.
    carrier.will(&[Reply::Later(429, "1"), Reply::Error(429, 20_429)]);
    assert_eq!(place(&gateway, body()).await.status, 201);
    let asked = carrier.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1), "the wait that the carrier asked for");

    // Whatever else happens, there is one request.
    for (reply, status, told) in [
        (Reply::Error(500, 20_500), 502, json!({ "carrier_status": 500, "carrier_code": 20_500 })),
        (Reply::Error(400, 21_211), 502, json!({ "carrier_status": 400, "carrier_code": 21_211 })),
        (Reply::Error(401, 20_003), 502, json!({ "carrier_status": 401, "carrier_code": 20_003 })),
        (Reply::Later(429, "3600"), 502, json!({ "carrier_status": 429, "carrier_code": 20_429 })),
        (Reply::Babble, 502, json!({})),
        (Reply::Break, 502, json!({})),
        (Reply::Silence, 504, json!({})),
    ] {
        let before = carrier.asked().len();
        carrier.will(&[reply]);
        let answer = place(&gateway, body()).await;
        assert_eq!((answer.status, carrier.asked().len()), (status, before + 1), "{reply:?} {answer:?}");
        for (name, value) in told.as_object().unwrap() {
            assert_eq!(&answer.json()[name], value, "{reply:?} {answer:?}");
        }
        assert!(!answer.body.contains("5550100002"), "{answer:?}");
    }
}

#[tokio::test]
async fn an_unreachable_carrier_is_told_from_one_that_refuses() {
    let logs = Logs::take();
    let address = {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        closed.local_addr().unwrap()
    };
    let toml =
        format!("twilio.account_sid = \"AC1\"\ntwilio.api_url = \"http://{address}\"\ntwilio.from = \"+15550100001\"");
    let gateway = Gateway::signed(PUBLIC_URL, &toml).await;
    let answer = place(&gateway, json!({ "to": TO })).await;
    assert_eq!((answer.status, answer.json()), (502, json!({ "error": "the carrier cannot be reached" })));
    assert_eq!(logs.text().matches("is tried again").count(), 2);
}

#[tokio::test]
async fn changes_are_tried_again_and_a_call_that_is_gone_is_no_error() {
    let carrier = Carrier::start().await;
    let gateway = carrier.gateway("").await;
    let (id, _phone) = call(&carrier, &gateway).await;
    let path = format!("/v1/calls/{id}/transfer");
    for (replies, status, outcome) in [
        (&[Reply::Error(500, 20_500), Reply::Error(503, 20_503)][..], 202, json!("done")),
        (&[Reply::Break, Reply::Later(429, "0")], 202, json!("done")),
        (&[Reply::Error(404, 20_404)], 202, json!("already_gone")),
        (&[Reply::Error(400, 20_404)], 202, json!("already_gone")),
        (&[Reply::Babble], 202, json!("done")),
        (&[Reply::Error(500, 1), Reply::Error(502, 2), Reply::Error(503, 3)], 502, Value::Null),
        (&[Reply::Error(400, 21_220)], 502, Value::Null),
    ] {
        let before = carrier.asked().len();
        carrier.will(replies);
        let answer = post(&gateway, &path, json!({ "to": TO })).await;
        assert_eq!((answer.status, &answer.json()["outcome"]), (status, &outcome), "{replies:?} {answer:?}");
        let is_last_good = outcome == "done" && !matches!(replies[0], Reply::Babble);
        assert_eq!(carrier.asked().len() - before, replies.len() + usize::from(is_last_good), "{replies:?}");
    }
    // Keys that may have been pressed are not pressed again.
    let before = carrier.asked().len();
    carrier.will(&[Reply::Error(500, 20_500)]);
    let answer = post(&gateway, &format!("/v1/calls/{id}/digits"), json!({ "digits": "1" })).await;
    assert_eq!((answer.status, carrier.asked().len() - before), (502, 1));
    gateway.is_listed(&id).await;
}

#[tokio::test]
async fn a_call_is_transferred_and_redirected() {
    let carrier = Carrier::start().await;
    let gateway = carrier.gateway("").await;
    let (id, mut phone) = call(&carrier, &gateway).await;
    let twiml = "<Response><Say>One moment.</Say></Response>";
    for (route, body, name, value) in [
        ("transfer", json!({ "to": "+15550100009" }), "Twiml", "<Dial><Number>+15550100009</Number></Dial>"),
        ("transfer", json!({ "to": "sip:a@b.example?x=1&y=2" }), "Twiml", "<Sip>sip:a@b.example?x=1&amp;y=2</Sip>"),
        ("transfer", json!({ "to": "client:alice" }), "Twiml", "<Dial><Client>alice</Client></Dial>"),
        ("transfer", json!({ "twiml": twiml }), "Twiml", twiml),
        ("redirect", json!({ "twiml": twiml }), "Twiml", twiml),
        ("redirect", json!({ "url": "https://b.example/c?d=e" }), "Url", "https://b.example/c?d=e"),
        ("transfer", json!({ "url": "https://b.example/c" }), "Url", "https://b.example/c"),
    ] {
        let answer = post(&gateway, &format!("/v1/calls/{id}/{route}"), body.clone()).await;
        assert_eq!((answer.status, answer.json()), (202, json!({ "outcome": "done" })), "{body}");
        let form = carrier.last().form;
        assert!(form[name].contains(value), "{body} {form:?}");
        assert_eq!(form.get("Method").map(String::as_str), (name == "Url").then_some("POST"), "{body}");
    }
    let asked = carrier.asked().len();
    for (route, body, field) in [
        ("transfer", json!({}), "to"),
        ("transfer", json!({ "to": "secret" }), "to"),
        ("transfer", json!({ "to": TO, "url": "https://secret.example" }), "to"),
        ("transfer", json!({ "twiml": "<Say>secret</Say>" }), "twiml"),
        ("redirect", json!({}), "url"),
        ("redirect", json!({ "to": TO }), "to"),
        ("redirect", json!({ "url": "secret" }), "url"),
        ("redirect", json!({ "url": "https://secret.example", "twiml": twiml }), "url"),
        ("digits", json!({}), "digits"),
        ("digits", json!({ "digits": "secret" }), "digits"),
        ("digits", json!({ "digits": 5 }), "digits"),
    ] {
        let answer = post(&gateway, &format!("/v1/calls/{id}/{route}"), body.clone()).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)), "{route} {body} {answer:?}");
        assert!(!answer.body.contains("secret"), "{answer:?}");
    }
    let wrong = gateway.api("DELETE", &format!("/v1/calls/{id}?end=all")).send(gateway.address).await;
    assert_eq!((wrong.status, &wrong.json()["field"]), (422, &json!("end")));
    for route in ["transfer", "redirect", "digits"] {
        let path = format!("/v1/calls/CA9/{route}");
        assert_eq!(post(&gateway, &path, json!({ "to": TO })).await.status, 404, "{route}");
    }
    assert_eq!(carrier.asked().len(), asked, "none of it reached the carrier");

    // The carrier ends the stream; a plain hang-up asks it for nothing.
    let closed = gateway.api("DELETE", &format!("/v1/calls/{id}")).send(gateway.address).await;
    assert_eq!((closed.status, closed.body.as_str()), (202, ""));
    assert_eq!(phone.end().await, Some(1000));
    assert_eq!(carrier.asked().len(), asked);
}

#[tokio::test]
async fn keys_are_pressed_between_two_streams_of_the_same_call() {
    let carrier = Carrier::start().await;
    let gateway = carrier.gateway("server.max_calls = 1\ntwilio.parameters = { lane = \"7\" }").await;
    let (id, mut phone) = call(&carrier, &gateway).await;
    let answer = post(&gateway, &format!("/v1/calls/{id}/digits"), json!({ "digits": "1w2#" })).await;
    assert_eq!((answer.status, answer.json()), (202, json!({ "outcome": "done" })));
    let twiml = carrier.last().form["Twiml"].clone();
    let names: Vec<String> = elements_of(&twiml).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Response", "Play", "Redirect"]);
    assert!(twiml.contains("<Play digits=\"1w2#\"/>"), "{twiml}");
    phone.stop();
    phone.end().await;
    gateway.is_gone(&id).await;

    // Nobody else gets its seat meanwhile.
    assert!(token::answer(&gateway, "CallSid", "CA9").await.contains("<Reject"));
    let (_, next) = twiml.split_once("<Redirect>").unwrap();
    let next = next.split_once("</Redirect>").unwrap().0;
    let (_second, parameters) = stream(&gateway, &id, &ask(&gateway, next, &id).await).await;
    assert_eq!((parameters["tenant"].as_str(), parameters["lane"].as_str()), ("acme & <sons>", "7"));
    assert_eq!(gateway.say_and_wait(&id, json!({ "text": "Again." })).await.json()["outcome"], "heard");
}

#[tokio::test]
async fn a_node_that_stops_presses_no_keys_that_would_end_the_call() {
    for (has_shared_key, status) in [(false, 503), (true, 202)] {
        let carrier = Carrier::start().await;
        let change = |settings: &mut trunkline::server::Settings| settings.has_shared_key = has_shared_key;
        let gateway = Gateway::changed(PUBLIC_URL, &carrier.toml(), change).await;
        let (id, phone) = call(&carrier, &gateway).await;
        // Somebody is waited for, so that the port stays open for a while.
        token::token(&gateway, "CA9").await;
        gateway.stop.cancel();
        until("the drain", async || {
            (Request::new("GET", "/readyz").send(gateway.address).await.status == 503).then_some(())
        })
        .await;
        let asked = carrier.asked().len();
        let answer = post(&gateway, &format!("/v1/calls/{id}/digits"), json!({ "digits": "1" })).await;
        assert_eq!((answer.status, carrier.asked().len() - asked), (status, usize::from(has_shared_key)), "{answer:?}");
        assert!(phone.seen().closed.is_none());
    }
}

#[tokio::test]
async fn a_call_that_rings_can_be_called_off_and_nobody_elses() {
    let carrier = Carrier::start().await;
    let gateway = carrier.gateway("").await;
    let id = place(&gateway, json!({ "to": TO })).await.json()["id"].as_str().unwrap().to_owned();
    let end = |id: &str| gateway.api("DELETE", &format!("/v1/calls/{id}?end=call")).send(gateway.address);
    assert_eq!(end(&id).await.json(), json!({ "outcome": "done" }));
    assert_eq!(carrier.last().form["Status"], "completed");
    let asked = carrier.asked().len();
    assert_eq!(end("CA00000000000000000000000000000099").await.status, 404);
    assert_eq!(carrier.asked().len(), asked);

    // A call that is gone at the carrier has no stream here for long.
    let (id, mut phone) = call(&carrier, &gateway).await;
    carrier.will(&[Reply::Error(404, 20_404)]);
    assert_eq!(end(&id).await.json(), json!({ "outcome": "already_gone" }));
    assert_eq!(phone.end().await, Some(1000));
}

#[tokio::test]
async fn without_credentials_the_answer_says_what_is_missing() {
    let gateway = Gateway::open("").await;
    let _phone = gateway.call("CA1").await;
    let requests = [
        ("POST", "/v1/calls", json!({ "to": TO, "from": "+15550100001" })),
        ("POST", "/v1/calls/CA1/transfer", json!({ "to": TO })),
        ("POST", "/v1/calls/CA1/redirect", json!({ "url": "https://b.example" })),
        ("POST", "/v1/calls/CA1/digits", json!({ "digits": "1" })),
        ("DELETE", "/v1/calls/CA1?end=call", json!({})),
    ];
    for (method, path, body) in requests {
        let answer = gateway.api(method, path).json(&body).send(gateway.address).await;
        assert_eq!(answer.status, 501, "{method} {path} {answer:?}");
        assert!(answer.json()["error"].as_str().unwrap().contains("set twilio.account_sid"), "{answer:?}");
    }
    gateway.is_listed("CA1").await;
    // Who calls is asked for only where there is somebody to ask.
    let gateway = Gateway::signed(PUBLIC_URL, "twilio.account_sid = \"AC1\"").await;
    let answer = place(&gateway, json!({ "to": TO })).await;
    assert_eq!((answer.status, &answer.json()["field"]), (422, &json!("from")), "{answer:?}");
}

/// What an agent's tools have in hand.
#[tokio::test]
async fn an_agent_can_hang_up_without_credentials_and_is_told_what_it_cannot_do() {
    let gateway = Gateway::signed(PUBLIC_URL, "twilio.parameters = { lane = \"7\" }").await;
    let (mut phone, _) =
        stream(&gateway, "CA1", &ask(&gateway, &format!("{PUBLIC_URL}/twilio/voice"), "CA1").await).await;
    let control = gateway.node.control("CA1").unwrap();
    assert_eq!((control.call().as_str(), control.has_credentials()), ("CA1", false));
    assert_eq!((control.facts().to.as_str(), control.facts().caller_name.as_str()), (TO, ""));
    let parameters: Vec<(&str, &str)> = control.parameters().iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(parameters, [("lane", "7")], "neither the token nor what is ours");
    let refused = control.transfer(&Address::parse(TO).unwrap()).await;
    assert!(matches!(refused, Err(ControlError::NoCredentials)), "{refused:?}");
    let refused = control.send_digits(&Digits::parse("1").unwrap()).await;
    assert!(matches!(refused, Err(ControlError::NoCredentials)), "{refused:?}");
    assert_eq!(control.hang_up().await.unwrap(), Updated::Done);
    assert_eq!(phone.end().await, Some(1000));
    gateway.is_gone("CA1").await;
    assert!(gateway.node.control("CA1").is_none());
}

#[tokio::test]
async fn an_order_is_ours_or_none() {
    let carrier = Carrier::start().await;
    let gateway = carrier.gateway("").await;
    place(&gateway, json!({ "to": TO, "parameters": { "tenant": "acme" } })).await;
    let url = carrier.last().form["Url"].clone();
    assert_eq!(ask(&gateway, &url, "CA1").await.status, 200);
    // Signed by the carrier's account, but ordered by somebody else.
    for forged in [
        format!("{PUBLIC_URL}/twilio/voice?order="),
        format!("{url}A"),
        format!("{PUBLIC_URL}/twilio/voice?order=AAAA"),
    ] {
        assert_eq!(ask(&gateway, &forged, "CA1").await.status, 403, "{forged}");
    }
    // A replica with the same key takes the call.
    let replica = carrier.gateway("").await;
    let (_phone, parameters) = stream(&replica, "CA1", &ask(&replica, &url, "CA1").await).await;
    assert_eq!(parameters["tenant"], "acme");
}

#[tokio::test]
async fn an_answered_call_that_finds_no_seat_is_sent_on_with_its_order_or_ended() {
    let carrier = Carrier::start().await;
    let gateway = carrier.gateway("server.max_calls = 1").await;
    place(&gateway, json!({ "to": TO, "parameters": { "tenant": "acme" } })).await;
    let url = carrier.last().form["Url"].clone();
    let (_id, _phone) = call(&carrier, &gateway).await;
    assert_eq!(elements(&ask(&gateway, &url, "CA1").await)[1].0, "Say", "it cannot be rejected any more");
    assert_eq!(place(&gateway, json!({ "to": TO })).await.status, 503);

    let other = "server.max_calls = 1\nserver.busy_redirect_url = \"https://other.example.com/twilio/voice?a=1\"";
    let gateway = carrier.gateway(other).await;
    let (_id, _phone) = call(&carrier, &gateway).await;
    let sent_on = ask(&gateway, &url, "CA1").await;
    let order = url.split_once('?').unwrap().1;
    assert!(sent_on.body.contains(&format!("https://other.example.com/twilio/voice?a=1&amp;{order}<")), "{sent_on:?}");
}
