//! The server against a client made of hyper and this file alone.
//!
//! Most run over an in-memory socket on a paused clock: every time in them is exact.

mod faults;
mod protocol;
mod sockets;

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};

use super::*;

/// Longest wait of a test, in the clock's time.
const LIMIT: Duration = Duration::from_secs(60);

/// One client's connection. Dropping it closes it.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes.
    _driver: JoinSet<()>,
}

impl Client {
    async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            connection.await.ok();
        });
        Self { sender, _driver: driver }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        timeout(LIMIT, self.sender.send_request(request)).await.expect("an answer in time")
    }

    async fn post(&mut self, body: &Value) -> Response<Incoming> {
        self.send(chat(body)).await.unwrap()
    }
}

/// A server behind an in-memory socket.
struct Rig {
    shared: Arc<Shared>,
    connections: JoinSet<()>,
    stop: CancellationToken,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let shared = Arc::new(Shared::new(settings).unwrap());
        Self { shared, connections: JoinSet::new(), stop: CancellationToken::new() }
    }

    /// A server with these faults, that knows two answers.
    fn faulty(faults: &[&str]) -> Self {
        Self::new(Settings { faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(), ..settings() })
    }

    async fn client(&mut self) -> Client {
        let (near, far) = tokio::io::duplex(64 * 1024);
        self.connections.spawn(http::serve(far, Arc::clone(&self.shared), self.stop.clone()));
        Client::over(near).await
    }

    /// The last exchange as soon as it has ended.
    async fn ended(&self) -> Exchange {
        let waiting = async {
            loop {
                if let Some(exchange) = self.shared.journal.last().filter(|exchange| exchange.ended.is_some()) {
                    return exchange;
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, waiting).await.expect("an end in time")
    }

    async fn how_it_ended(&self) -> (End, u32) {
        let exchange = self.ended().await;
        (exchange.ended.unwrap().1, exchange.tokens_sent)
    }
}

fn settings() -> Settings {
    let script = Script::new(vec![
        Rule::hearing(&["book"]).says("Yes.").calls("look", json!({"day": "Tuesday", "time": "10:00"})),
        Rule::hearing(&["caf\u{e9}"]).says("Le caf\u{e9} est l\u{e0}, \u{1f600} voil\u{e0}."),
        Rule::hearing(&[]).says("One two three four five six seven eight nine ten."),
    ]);
    Settings { script: script.unwrap(), ..Settings::default() }
}

fn request(text: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}]})
}

fn streamed(text: &str) -> Value {
    with(request(text), json!({"stream": true}))
}

fn booking() -> Value {
    let tool = json!({"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}});
    with(streamed("book"), json!({"tools": [tool]}))
}

fn with(mut request: Value, more: Value) -> Value {
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

fn chat(body: &Value) -> Request<Full<Bytes>> {
    let request = Request::post("/v1/chat/completions").header("host", "localhost");
    request.header("content-type", "application/json").body(Full::from(body.to_string())).unwrap()
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "localhost").body(Full::default()).unwrap()
}

async fn json_of(response: Response<Incoming>) -> Value {
    let body = timeout(LIMIT, response.into_body().collect()).await.expect("a body in time").unwrap();
    serde_json::from_slice(&body.to_bytes()).unwrap()
}

/// The frames of a body with their times, and whether it came to its end.
async fn frames(response: Response<Incoming>) -> (Vec<(Duration, Bytes)>, bool) {
    let (began, mut body, mut frames) = (Instant::now(), response.into_body(), Vec::new());
    while let Some(frame) = timeout(LIMIT, body.frame()).await.expect("a frame in time") {
        let Ok(frame) = frame else { return (frames, false) };
        frames.push((began.elapsed(), frame.into_data().unwrap()));
    }
    (frames, true)
}

/// What a stream said: a reading of server-sent events that knows no more than these tests need.
#[derive(Debug, Default, PartialEq)]
struct Said {
    text: String,
    /// Id, name and arguments of the tool calls.
    calls: Vec<(String, String, String)>,
    finish: Option<String>,
    usage: Option<Value>,
    error: Option<Value>,
    is_done: bool,
}

impl Said {
    fn of(body: &str) -> Self {
        let mut said = Self::default();
        for line in body.replace("\r\n", "\n").lines() {
            match line.strip_prefix("data: ") {
                Some("[DONE]") => said.is_done = true,
                Some(data) => said.take(&serde_json::from_str(data).unwrap()),
                None => {}
            }
        }
        said
    }

    fn take(&mut self, chunk: &Value) {
        if let Some(error) = chunk.get("error") {
            self.error = Some(error.clone());
            return;
        }
        assert_eq!(chunk["object"], "chat.completion.chunk");
        if let Some(usage) = chunk.get("usage").filter(|usage| !usage.is_null()) {
            self.usage = Some(usage.clone());
        }
        let Some(choice) = chunk["choices"].get(0) else { return };
        self.finish = choice["finish_reason"].as_str().map(str::to_owned).or(self.finish.take());
        self.text += choice["delta"]["content"].as_str().unwrap_or_default();
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if call["id"].is_string() {
                self.calls.push((text(&call["id"]), text(&function["name"]), String::new()));
            }
            self.calls.last_mut().unwrap().2 += &text(&function["arguments"]);
        }
    }
}

/// A whole streamed body, what it says, and whether it came to its end.
async fn said(response: Response<Incoming>) -> (Said, String, bool) {
    let (frames, is_whole) = frames(response).await;
    let bytes: Vec<u8> = frames.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
    let text = String::from_utf8(bytes).unwrap();
    (Said::of(&text), text, is_whole)
}
