//! The gateway's HTTP side, by hand: one connection for each request, closed by the answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Longest wait for an answer; far above every limit of the gateway.
const ANSWER_MAX: Duration = Duration::from_secs(90);

/// A gateway's HTTP side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
}

impl Api {
    /// Status and JSON of an answer; `null` without JSON.
    pub(crate) async fn ask(self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string());
        let kind = "application/json";
        let answer = timeout(ANSWER_MAX, self.raw(method, path, kind, body.unwrap_or_default())).await;
        answer.unwrap_or_else(|_| panic!("no answer to {method} {path}"))
    }

    /// The body of an answer.
    pub(crate) async fn text(self, path: &str) -> String {
        let mut stream = self.send("GET", path, "text/plain", "").await;
        let mut answer = String::new();
        timeout(ANSWER_MAX, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    async fn raw(self, method: &str, path: &str, kind: &str, body: String) -> (u16, Value) {
        let mut stream = self.send(method, path, kind, &body).await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    async fn send(self, method: &str, path: &str, kind: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // HTTP/1.0: the answer is not chunked and ends with the connection.
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: {}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    /// Sends a body letter by letter, each in a packet of its own as far as the system lets it be.
    pub(crate) async fn stream(self, path: &str, text: &str) -> Value {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\
             connection: close\r\n\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        for letter in text.chars() {
            stream.write_all(format!("{:x}\r\n{letter}\r\n", letter.len_utf8()).as_bytes()).await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(ANSWER_MAX, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Watches a call, as soon as there is one of this name.
    pub(crate) async fn watch(self, call: &str, tasks: &mut JoinSet<()>) -> Events {
        let path = format!("/v1/calls/{call}/events");
        let events = Events::default();
        for _ in 0..500 {
            let mut reader = BufReader::new(self.send("GET", &path, "text/plain", "").await);
            let mut line = String::new();
            reader.read_line(&mut line).await.unwrap();
            if line.contains(" 200 ") {
                let events_seen = events.clone();
                tasks.spawn(async move {
                    let mut lines = reader.lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        if let Some(data) = line.strip_prefix("data: ").or(line.strip_prefix("data:")) {
                            events_seen.0.lock().unwrap().push(serde_json::from_str(data).unwrap());
                        }
                    }
                });
                return events;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("no call {call}");
    }
}

/// What a call told those who watch, in order.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<Value>>>);

impl Events {
    /// All so far.
    pub(crate) fn all(&self) -> Vec<Value> {
        self.0.lock().unwrap().clone()
    }

    /// Those of one name.
    pub(crate) fn of(&self, name: &str) -> Vec<Value> {
        self.all().into_iter().filter(|event| event["event"] == name).collect()
    }

    /// The first that `is_it`, waited for.
    pub(crate) async fn until(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + ANSWER_MAX;
        while Instant::now() < until {
            if let Some(event) = self.all().iter().find(|event| is_it(event)) {
                return event.clone();
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("no event: {what}; there were {}", json!(self.all()));
    }
}
