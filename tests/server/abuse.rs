//! Those who mean no good, or know no better: each meets a limit, which is counted and logged, and nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::logs::Logs;
use crate::support::phone::start;
use crate::support::soon;

async fn met(gateway: &Gateway, limit: &str) -> f64 {
    gateway.metric(&format!("trunkline_limits_total{{kind=\"{limit}\"}}")).await
}

/// A connection from another address of this machine, which is no proxy of the gateway's.
async fn from(host: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether the other end hung up without an answer.
async fn is_cut(stream: &mut TcpStream) -> bool {
    matches!(soon("the end of the connection", stream.read(&mut [0; 64])).await, Ok(0) | Err(_))
}

async fn health(mut stream: TcpStream) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn a_slow_loris_holds_its_own_connections_and_nobody_elses() {
    let logs = Logs::take();
    let gateway = Gateway::open("limits.source_connections = 20\nlimits.source_rate = 0").await;
    let mut phone = gateway.call("CA1").await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = from(2, gateway.address).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHo").await.unwrap();
        slow.push(stream);
    }
    for _ in 0..5 {
        assert!(is_cut(&mut from(2, gateway.address).await).await);
    }
    assert_eq!(met(&gateway, "source_connections").await, 5.0);
    assert!(logs.text().contains("source_connections"), "{}", logs.text());
    // Everybody else is served at once, and the live call speaks.
    assert!(health(from(3, gateway.address).await).await.starts_with("HTTP/1.1 200"));
    gateway.say("CA1", json!({ "text": "Nothing happened." })).await;
    phone.sees("speech", |seen| seen.frames > 10).await;
    // Who leaves makes room.
    drop(slow);
    crate::support::until("room", async || {
        let mut stream = from(2, gateway.address).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok().filter(|_| answer.starts_with("HTTP/1.1 200"))
    })
    .await;
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_its_connection() {
    let gateway = Gateway::open("limits.head_s = 1").await;
    let mut half = from(2, gateway.address).await;
    half.write_all(b"GET /healthz HTTP/1.1\r\nHo").await.unwrap();
    assert!(is_cut(&mut half).await);
    crate::support::until("the count", async || (met(&gateway, "head").await >= 1.0).then_some(())).await;
}

#[tokio::test]
async fn a_flood_of_connections_from_one_source_is_cut_off_and_others_come_through() {
    let gateway = Gateway::open("limits.source_rate = 10").await;
    let mut answered = 0_u32;
    for _ in 0..60 {
        let mut stream = from(2, gateway.address).await;
        let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        if stream.write_all(request).await.is_ok() && stream.read_to_string(&mut answer).await.is_ok() {
            answered += u32::from(answer.starts_with("HTTP/1.1 200"));
        }
    }
    let cut = met(&gateway, "source_rate").await;
    assert!((20..60).contains(&answered) && cut >= 1.0 && f64::from(answered) + cut == 60.0, "{answered} and {cut}");
    assert!(health(from(3, gateway.address).await).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_proxys_clients_are_told_apart_and_nobody_else_can_be_one() {
    let gateway = Gateway::open("limits.source_rate = 1").await;
    let ask = async |client: &str| {
        let request = Request::new("GET", "/healthz").header("X-Forwarded-For", client);
        request.send(gateway.address).await.status
    };
    assert_eq!([ask("192.0.2.1").await, ask("192.0.2.1").await, ask("192.0.2.1").await], [200, 200, 429]);
    assert_eq!(ask("1.1.1.1, 192.0.2.1").await, 429, "what stands in front was written by the client");
    assert_eq!(ask("192.0.2.2").await, 200);
}

#[tokio::test]
async fn a_carrier_that_floods_is_read_more_slowly_and_its_call_goes_on() {
    let logs = Logs::take();
    let gateway = Gateway::open("").await;
    let mut phone = gateway.call("CA1").await;
    let begun = Instant::now();
    for _ in 0..3_000 {
        while phone.is_full() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        phone.send(json!({ "event": "brand-new" }));
    }
    gateway.say("CA1", json!({ "text": "Still here." })).await;
    phone.sees("speech", |seen| seen.frames > 5).await;
    crate::support::until("the flood", async || (met(&gateway, "message_rate").await >= 1.0).then_some(())).await;
    assert_eq!(logs.text().matches("too many messages").count(), 1, "{}", logs.text());
    phone.stop();
    phone.end().await;
    // Two thousand at once, and then five hundred a second.
    assert!(begun.elapsed() >= Duration::from_millis(1_800), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn streams_that_never_begin_take_no_seat() {
    let gateway = Gateway::open("server.max_calls = 1").await;
    let mut idle = Vec::new();
    for _ in 0..10 {
        idle.push(gateway.dial().await.unwrap());
    }
    // All of them are there, and the one seat is free.
    let mut phone = gateway.call("CA1").await;
    gateway.say("CA1", json!({ "text": "Welcome." })).await;
    phone.sees("speech", |seen| seen.frames > 5).await;
    for mut phone in idle {
        assert_eq!(phone.end().await, Some(1008));
    }
    assert_eq!(met(&gateway, "first_message").await, 10.0);
}

#[tokio::test]
async fn too_much_before_the_start_ends_the_stream() {
    let gateway = Gateway::open("").await;
    let mut phone = gateway.dial().await.unwrap();
    for _ in 0..70 {
        phone.send(json!({ "event": "brand-new" }));
    }
    phone.send_raw(Message::text(start("CA1", &[]).to_string()));
    assert_eq!(phone.end().await, Some(1008));
    assert_eq!(met(&gateway, "message_rate").await, 1.0);
}

#[tokio::test]
async fn half_a_form_is_not_waited_for_long() {
    let gateway = Gateway::open("").await;
    let form = Request::new("POST", "/twilio/voice").form("");
    let mut body = form.stream(gateway.address).await;
    body.chunk("CallSid=C").await;
    let answer = timeout(Duration::from_secs(15), body.answer()).await.unwrap();
    assert_eq!(answer.status, 408);
    assert_eq!(met(&gateway, "body").await, 1.0);
}
