//! Stopping: promises are kept, live calls finish, and nothing else holds the process up.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use trunkline::server::twilio::signature::{Algorithm, SIGNATURE_HEADER, sign};
use trunkline::server::twilio::token::PARAMETER;

use crate::support::gateway::{AUTH_TOKEN, Gateway};
use crate::support::http::{Events, Request};
use crate::support::phone::Phone;
use crate::support::program::program;
use crate::support::{soon, until};
use crate::token;

const PUBLIC_URL: &str = "https://gw.example.com";

async fn voice(gateway: &Gateway, call: &str) -> String {
    let signature = sign(Algorithm::HmacSha1, AUTH_TOKEN, "https://gw.example.com/twilio/voice", &[("CallSid", call)]);
    let request = Request::new("POST", "/twilio/voice").form(&format!("CallSid={call}"));
    request.header(SIGNATURE_HEADER, &signature).send(gateway.address).await.body
}

async fn is_closed(gateway: &Gateway) {
    until("the end of listening", async || TcpStream::connect(gateway.address).await.is_err().then_some(())).await;
}

#[tokio::test]
async fn a_drain_keeps_its_promises_then_closes_and_lets_the_call_finish() {
    let gateway = &mut Gateway::signed(PUBLIC_URL, "").await;
    let mut live = token::call(gateway, "CA1").await;
    let promised = token::token(gateway, "CA2").await;
    assert_eq!(Request::new("GET", "/readyz").send(gateway.address).await.status, 200);

    // The first phase: nothing new, but whoever holds a token may still come.
    gateway.stop.cancel();
    until("the drain", async || {
        (Request::new("GET", "/readyz").send(gateway.address).await.status == 503).then_some(())
    })
    .await;
    assert_eq!(Request::new("GET", "/healthz").send(gateway.address).await.status, 200);
    assert!(voice(gateway, "CA3").await.contains("<Reject reason=\"busy\"/>"));
    sleep(Duration::from_millis(700)).await;
    let signature = sign(Algorithm::HmacSha1, AUTH_TOKEN, "wss://gw.example.com/twilio/media", &[]);
    let mut late = Phone::dial(gateway.address, "/twilio/media", &[(SIGNATURE_HEADER, &signature)]).await.unwrap();
    late.start("CA2", &[(PARAMETER, &promised)]);
    // A connection that was there before sees the call, whether or not the listener is closed by now.
    late.sees("nothing bad", |seen| seen.closed.is_none()).await;

    // The second phase: the last promise is kept, so the door closes, and both calls go on.
    is_closed(gateway).await;
    sleep(Duration::from_millis(300)).await;
    assert!(live.seen().closed.is_none() && late.seen().closed.is_none());
    live.stop();
    late.stop();
    assert_eq!((live.end().await, late.end().await), (Some(1000), Some(1000)));
    gateway.stopped().await;
}

#[tokio::test]
async fn a_call_is_told_of_the_drain_and_may_still_be_spoken_to() {
    let gateway = &mut Gateway::open("server.busy_redirect_url = \"https://other.example.com/\"").await;
    let mut phone = gateway.call("CA1").await;
    let mut events = Events::open(gateway.api("GET", "/v1/calls/CA1/events"), gateway.address).await;
    // One request after another on a connection that was there before the drain: the last one that it is answered.
    let mut kept = TcpStream::connect(gateway.address).await.unwrap();
    let body = json!({ "text": "Goodbye." }).to_string();
    let host = gateway.address;
    let say = format!(
        "POST /v1/calls/CA1/say?wait=heard HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    kept.write_all(say.as_bytes()).await.unwrap();
    phone.sees("speech", |seen| seen.frames > 0).await;
    gateway.stop.cancel();
    events.skip_to("draining").await;
    is_closed(gateway).await;
    let mut answer = String::new();
    soon("the answer and the end", kept.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Goodbye."), "{answer}");
    phone.stop();
    assert_eq!(events.skip_to("ended").await["reason"], "carrier_stopped");
    gateway.stopped().await;
}

#[tokio::test]
async fn at_the_limit_calls_say_goodbye_and_end() {
    let gateway = &mut Gateway::open("server.drain_s = 1\nserver.drain_line = \"Goodbye.\"").await;
    let mut phone = gateway.call("CA1").await;
    let mut events = Events::open(gateway.api("GET", "/v1/calls/CA1/events"), gateway.address).await;
    let long = "This will be cut off, and nobody will ever hear the end of it. ".repeat(9);
    gateway.say("CA1", json!({ "text": long })).await;
    phone.sees("speech", |seen| seen.frames > 0).await;
    let begun = Instant::now();
    gateway.stop.cancel();
    assert_eq!(events.skip_to("interrupted").await["cause"], "request");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let cut = phone.sees("a clear", |seen| seen.clears == 1).await.frames;
    assert_eq!(events.skip_to("announced").await["text"], "Goodbye.");
    assert_eq!(phone.end().await, Some(1000));
    assert!(phone.seen().frames > cut + 10, "the goodbye is heard");
    assert_eq!(events.skip_to("ended").await["reason"], "sent_away");
    gateway.stopped().await;
}

#[tokio::test]
async fn idle_connections_event_streams_and_half_requests_do_not_hold_the_process_up() {
    let gateway = &mut Gateway::open("server.drain_s = 1\nserver.drain_line = \"\"").await;
    let _phone = gateway.call("CA1").await;
    let mut events = Events::open(gateway.api("GET", "/v1/calls/CA1/events"), gateway.address).await;
    let _never_read = Events::open(gateway.api("GET", "/v1/calls/CA1/events"), gateway.address).await;
    let _silent = TcpStream::connect(gateway.address).await.unwrap();
    let mut idle = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address);
    idle.write_all(request.as_bytes()).await.unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).await.unwrap();
    let mut half = TcpStream::connect(gateway.address).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nHo").await.unwrap();
    let mut text = gateway.api("POST", "/v1/calls/CA1/say").body("text/plain", "").stream(gateway.address).await;
    text.chunk("Half a ").await;
    until("the turn", async || {
        let turns = gateway.get("/v1/calls/CA1").await.json()["turns"].clone();
        (turns != json!([])).then_some(())
    })
    .await;

    let begun = Instant::now();
    gateway.stop.cancel();
    gateway.stopped().await;
    // One second for the call, five at most for the half request.
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert_eq!(events.skip_to("ended").await["reason"], "sent_away");
    assert_eq!(text.answer().await.status, 409);
}

#[tokio::test]
async fn a_control_listener_is_open_until_the_last_call_has_ended_and_its_numbers_were_fetched() {
    let (mut gateway, control) = Gateway::controlled("").await;
    let mut phone = gateway.dial().await.unwrap();
    phone.start("CA1", &[]);
    let get = async |at: SocketAddr, path: &str| Request::new("GET", path).send(at).await;
    until("the call", async || (get(control, "/v1/calls/CA1").await.status == 200).then_some(())).await;
    // Each of the two serves its own, and both are asked how they are.
    for (at, path, status) in [
        (gateway.address, "/v1/calls", 404),
        (gateway.address, "/metrics", 404),
        (gateway.address, "/readyz", 200),
        (control, "/metrics", 200),
        (control, "/healthz", 200),
        (control, "/twilio/media", 404),
    ] {
        assert_eq!(get(at, path).await.status, status, "{path}");
    }
    let mut events = Events::open(Request::new("GET", "/v1/calls/CA1/events"), control).await;
    assert_eq!(events.skip_to("started").await["control_url"], format!("http://{control}"));

    gateway.stop.cancel();
    is_closed(&gateway).await;
    assert_eq!(get(control, "/readyz").await.status, 503);
    let say = Request::new("POST", "/v1/calls/CA1/say?wait=heard").json(&json!({ "text": "Still under control." }));
    assert_eq!(say.send(control).await.json()["outcome"], "heard");
    phone.stop();
    phone.end().await;
    assert_eq!(events.skip_to("ended").await["control_url"], format!("http://{control}"));
    // Whoever counts is waited for once more, and finds the whole call.
    let last = get(control, "/metrics").await;
    assert!(last.body.contains("trunkline_calls_ended_total{kind=\"carrier_stopped\"} 1"), "{}", last.body);
    gateway.stopped().await;
    assert!(TcpStream::connect(control).await.is_err());
}

async fn terminate(child: &Child) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
}

#[tokio::test]
async fn sigterm_lets_the_call_finish_and_a_second_one_does_not_wait() {
    let (mut patient, address) = program(&[], Stdio::null()).await;
    let mut phone = Phone::dial(address, "/twilio/media", &[]).await.unwrap();
    phone.start("CA1", &[]);
    phone.sees("the greeting", |seen| seen.frames > 20).await;
    terminate(&patient).await;
    until("the end of listening", async || TcpStream::connect(address).await.is_err().then_some(())).await;
    let frames = phone.seen().frames;
    phone.sees("the greeting, still", |seen| seen.frames > frames + 20).await;
    phone.stop();
    assert_eq!(phone.end().await, Some(1000));
    assert_eq!(soon("the end", patient.wait()).await.unwrap().code(), Some(0));

    let (mut hurried, address) = program(&[], Stdio::null()).await;
    let mut phone = Phone::dial(address, "/twilio/media", &[]).await.unwrap();
    phone.start("CA1", &[]);
    phone.sees("the greeting", |seen| seen.frames > 0).await;
    terminate(&hurried).await;
    until("the end of listening", async || TcpStream::connect(address).await.is_err().then_some(())).await;
    terminate(&hurried).await;
    assert_eq!(soon("the end", hurried.wait()).await.unwrap().code(), Some(130));
}

#[tokio::test]
async fn a_stop_without_calls_and_promises_is_quick() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (mut gateway, is_asked) in [
        (Gateway::signed(PUBLIC_URL, "").await, false),
        (Gateway::start("", true, listener).await, false),
        // In open mode nobody is waited for.
        (Gateway::open("").await, true),
    ] {
        if is_asked {
            Request::new("POST", "/twilio/voice").form("CallSid=CA1").send(gateway.address).await;
        }
        let begun = Instant::now();
        gateway.stop.cancel();
        gateway.stopped().await;
        assert!(begun.elapsed() < Duration::from_secs(4));
    }
}
