//! Everything that goes wrong with a language model's server, as the client sees it.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use trunkline::agent::llm::Llm;
use trunkline::agent::llm::answer::{AnswerEvent, AskError, Finish, ToolCall};
use trunkline::agent::llm::settings::{Limits, Settings, Tool};
use trunkline::emulate::llm::{self as emulated, ApiKey, Rule, Script};
use trunkline::secret::Secret;

use crate::support::{answer, local, server, settings, split};

const TEXT: &str = "It is five \u{20ac} at the caf\u{e9}, and the sun shines. \u{1f600}";

fn script() -> Script {
    let rules = vec![
        Rule::hearing(&["price"]).says(TEXT),
        Rule::hearing(&["book"]).says("One moment.").calls("book", json!({ "day": "Tuesday", "caf\u{e9}": [1, 2] })),
    ];
    Script::new(rules).unwrap()
}

/// What an answer is if the server has `fault`: its text and its end.
async fn with(fault: &str, asked: &str) -> (String, AnswerEvent) {
    let faults = if fault.is_empty() { vec![] } else { vec![fault.parse().unwrap()] };
    let quick = emulated::Settings {
        script: script(),
        first_token: Duration::from_millis(1),
        token: Duration::from_millis(1),
        faults,
        ..emulated::Settings::default()
    };
    let server = server(quick).await;
    let book = Tool {
        name: "book".to_owned(),
        description: "books".to_owned(),
        parameters: json!({ "type": "object" }),
        url: server.url.clone(),
        token: None,
        timeout: Duration::from_secs(1),
        filler: String::new(),
        filler_after: Duration::ZERO,
    };
    let settings = Settings { tools: vec![book], ..settings(&server.url) };
    split(answer(&Llm::new(settings, false, &local()).unwrap(), asked).await)
}

fn done(calls: Vec<ToolCall>) -> AnswerEvent {
    AnswerEvent::Done { finish: Finish::Complete, calls }
}

#[tokio::test]
async fn what_is_odd_but_lawful_changes_nothing() {
    for fault in ["", "no-done", "crlf", "noise", "split=1", "split=2", "split=3", "split=7", "whole-tool-call"] {
        assert_eq!(with(fault, "the price?").await, (TEXT.to_owned(), done(vec![])), "{fault}");
        let (text, end) = with(fault, "book it").await;
        let AnswerEvent::Done { finish: Finish::Complete, calls } = end else { panic!("{fault}: {end:?}") };
        let [call] = &calls[..] else { panic!("{fault}: {calls:?}") };
        assert_eq!((text.as_str(), call.name.as_str(), call.id.is_empty()), ("One moment.", "book", false), "{fault}");
        let arguments: serde_json::Value = serde_json::from_str(&call.arguments).unwrap();
        assert_eq!(arguments, json!({ "day": "Tuesday", "caf\u{e9}": [1, 2] }), "{fault}");
    }
}

#[tokio::test]
async fn faults_are_told_apart() {
    let failed = AnswerEvent::Failed;
    let code = |status: u16, end: &AnswerEvent| match end {
        AnswerEvent::Failed(AskError::Status { status: told, retry_after_s, .. }) => {
            assert_eq!(*told, status);
            *retry_after_s
        }
        other => panic!("{other:?}"),
    };
    for status in [400, 401, 404, 500, 503] {
        assert_eq!(code(status, &with(&format!("status={status}"), "the price?").await.1), None);
    }
    assert!(code(429, &with("status=429", "the price?").await.1).is_some(), "it says when to come back");
    for fault in ["error-midway=3", "error-event=3"] {
        let (text, end) = with(fault, "the price?").await;
        assert!(!text.is_empty() && TEXT.starts_with(&text), "{text}");
        assert!(matches!(end, AnswerEvent::Failed(AskError::Reported { .. })), "{end:?}");
    }
    let (text, end) = with("drop=3", "the price?").await;
    assert!(!text.is_empty() && TEXT.starts_with(&text), "{text}");
    assert!(matches!(end, AnswerEvent::Failed(AskError::Broken | AskError::Truncated)), "{end:?}");
    let (text, end) = with("drop-in-tool", "book it").await;
    assert_eq!(text, "One moment.");
    assert!(matches!(end, AnswerEvent::Failed(AskError::Broken | AskError::Truncated)), "no half call: {end:?}");
    assert_eq!(with("empty", "the price?").await, (String::new(), done(vec![])));
    let nobody = Llm::new(settings("http://127.0.0.1:1/v1"), false, &local()).unwrap();
    assert_eq!(answer(&nobody, "hello").await, [failed(AskError::Unreachable)]);
}

#[tokio::test]
async fn a_key_goes_into_the_header() {
    let locked = emulated::Settings { script: script(), api_key: Some(ApiKey::new("k1")), ..Default::default() };
    let server = server(locked).await;
    let with = |key: Option<&str>| {
        let settings = Settings { api_key: key.map(Secret::new), ..settings(&server.url) };
        Llm::new(settings, false, &local()).unwrap()
    };
    assert_eq!(split(answer(&with(Some("k1")), "the price?").await).0, TEXT);
    for key in [None, Some("k2")] {
        let (_, end) = split(answer(&with(key), "the price?").await);
        assert!(matches!(end, AnswerEvent::Failed(AskError::Status { status: 401, .. })), "{end:?}");
    }
}

/// A server that gives one answer, byte for byte.
async fn fixed(response: &'static [u8]) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 16 * 1024];
            let _ = socket.read(&mut request).await.unwrap();
            socket.write_all(response).await.unwrap();
        }
    });
    (url, task)
}

#[tokio::test]
async fn what_is_no_stream_is_no_answer() {
    for response in [
        &b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"[..],
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: 6\r\n\r\n<html>",
    ] {
        let (url, _task) = fixed(response).await;
        let llm = Llm::new(settings(&url), false, &local()).unwrap();
        assert_eq!(answer(&llm, "hello").await, [AnswerEvent::Failed(AskError::NotAStream)]);
    }
    // A redirect could lead the key anywhere.
    let (url, _task) = fixed(b"HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    let end = split(answer(&Llm::new(settings(&url), false, &local()).unwrap(), "hello").await).1;
    assert!(matches!(end, AnswerEvent::Failed(AskError::Status { status: 307, .. })), "{end:?}");
    let (url, _task) =
        fixed(b"HTTP/1.1 200 OK\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: {\"cho").await;
    let (text, end) = split(answer(&Llm::new(settings(&url), false, &local()).unwrap(), "hello").await);
    assert_eq!((text.as_str(), end), ("Hi", AnswerEvent::Failed(AskError::Truncated)));
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_given_up() {
    // Nobody accepts: the system completes some connections by itself, and leaves the rest unanswered.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let limits = Limits { connect: Duration::from_millis(300), ..Limits::default() };
    let llm = Llm::new(Settings { limits, ..settings(&url) }, false, &local()).unwrap();
    let mut held = Vec::new();
    for _ in 0..64 {
        let address = listener.local_addr().unwrap();
        match tokio::time::timeout(Duration::from_millis(100), tokio::net::TcpStream::connect(address)).await {
            Ok(Ok(socket)) => held.push(socket),
            _ => break,
        }
    }
    assert!(held.len() < 64, "the queue of the listener has an end");
    assert_eq!(answer(&llm, "hello").await, [AnswerEvent::Failed(AskError::Unreachable)]);
}
