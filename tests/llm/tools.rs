//! The operator's tools, over HTTP.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use trunkline::agent::llm::settings::{BuiltIn, Settings, Tool};
use trunkline::agent::llm::{Llm, Transfer, TransferError};
use trunkline::call::event::AgentEvent;
use trunkline::emulate::llm::{self as emulated, Rule, Script};
use trunkline::http::outbound::{Lookup, Outbound};
use trunkline::secret::Secret;

use crate::support::{Rig, Server, local, server, settings};

type Seen = Arc<Mutex<Vec<(Option<String>, Value)>>>;

/// Tools that answer, fail, or think for ever.
async fn tools() -> (String, Seen, JoinSet<()>) {
    let seen = Seen::default();
    let good = async |State(seen): State<Seen>, headers: HeaderMap, Json(body): Json<Value>| {
        let token = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        seen.lock().unwrap().push((token, body));
        r#"{"sky":"blue"}"#
    };
    let router = Router::new()
        .route("/good", post(good))
        .route("/bad", post(async || (StatusCode::INTERNAL_SERVER_ERROR, "no sky today")))
        .route("/slow", post(async || sleep(Duration::from_secs(60)).await))
        .route("/long", post(async || "x".repeat(100_000)))
        .with_state(seen.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut task = JoinSet::new();
    task.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, seen, task)
}

/// A model that calls `name` and then says what it was told of it.
async fn model(name: &str) -> Server {
    let rules = vec![
        Rule::after_tool(name).says("So it is."),
        Rule::hearing(&["weather"]).says("Let me see.").calls(name, json!({ "city": "Rome" })),
    ];
    let quick = emulated::Settings {
        script: Script::new(rules).unwrap(),
        first_token: Duration::from_millis(1),
        token: Duration::from_millis(1),
        ..emulated::Settings::default()
    };
    server(quick).await
}

fn tool(url: &str, filler: &str) -> Tool {
    Tool {
        name: "look".to_owned(),
        description: "looks at the sky".to_owned(),
        parameters: json!({ "type": "object", "properties": { "city": { "type": "string" } } }),
        url: url.to_owned(),
        token: Some(Secret::new("t0ken")),
        timeout: Duration::from_millis(300),
        filler: filler.to_owned(),
        filler_after: Duration::from_millis(50),
    }
}

/// What the model is told of a tool at `path`, and what the caller hears meanwhile.
async fn told(path: &str) -> (String, Vec<String>) {
    let (url, _, _task) = tools().await;
    let server = model("look").await;
    let filler = if path == "/slow" { "I am looking." } else { "" };
    let settings = Settings { tools: vec![tool(&format!("{url}{path}"), filler)], ..settings(&server.url) };
    let mut rig = Rig::new(Llm::new(settings, false, &local()).unwrap(), None).await;
    rig.prompt("the weather").await;
    let mut heard = Vec::new();
    while heard.last().map(String::as_str) != Some("So it is.") {
        heard.push(rig.heard().await);
    }
    let messages = server.journal.last().unwrap().messages;
    let result = messages.iter().find(|message| message["role"] == "tool").unwrap();
    (result["content"].as_str().unwrap().to_owned(), heard)
}

#[tokio::test]
async fn arguments_are_posted_and_the_answer_is_told() {
    let (url, seen, _task) = tools().await;
    let server = model("look").await;
    let settings = Settings { tools: vec![tool(&format!("{url}/good"), "")], ..settings(&server.url) };
    let mut rig = Rig::new(Llm::new(settings, false, &local()).unwrap(), None).await;
    rig.prompt("the weather").await;
    assert_eq!(rig.heard().await, "Let me see.");
    assert_eq!(rig.heard().await, "So it is.");
    let (token, body) = seen.lock().unwrap().pop().unwrap();
    assert_eq!(token.as_deref(), Some("Bearer t0ken"));
    let shown = server.journal.last().unwrap().messages;
    let called = &shown[1]["tool_calls"][0];
    let expected = json!({
        "call_id": "CA1", "control_url": "http://10.0.0.7:8081", "tool_call_id": called["id"], "name": "look", "arguments": { "city": "Rome" }
    });
    assert_eq!(body, expected);
    assert_eq!(shown[1]["content"], "Let me see.");
    assert_eq!((&shown[2]["tool_call_id"], &shown[2]["content"]), (&called["id"], &json!(r#"{"sky":"blue"}"#)));
    assert!(server.journal.last().unwrap().tools.contains(&"look".to_owned()));
}

#[tokio::test]
async fn what_goes_wrong_with_a_tool_is_told_to_the_model_alone() {
    let quiet = vec!["Let me see.".to_owned(), "So it is.".to_owned()];
    assert_eq!(
        told("/bad").await,
        ("error: the tool answered with status 500\nno sky today".to_owned(), quiet.clone())
    );
    assert_eq!(told("/nowhere").await, ("error: the tool answered with status 404".to_owned(), quiet.clone()));
    let (long, heard) = told("/long").await;
    assert_eq!((long.len(), heard), (8 * 1024, quiet));
    let (slow, heard) = told("/slow").await;
    assert_eq!(slow, "error: the tool did not answer in time");
    assert_eq!(heard, ["Let me see.", "I am looking.", "So it is."]);
}

/// Somebody who hands callers over, or cannot.
#[derive(Debug)]
struct Desk {
    numbers: Mutex<Vec<String>>,
    can: bool,
}

impl Transfer for Desk {
    fn transfer(&self, number: &str) -> BoxFuture<'static, Result<(), TransferError>> {
        self.numbers.lock().unwrap().push(number.to_owned());
        let outcome = if self.can { Ok(()) } else { Err(TransferError { reason: "busy".to_owned() }) };
        async move { outcome }.boxed()
    }
}

#[tokio::test]
async fn a_caller_is_handed_over_by_name() {
    for can in [true, false] {
        let rules = vec![
            Rule::after_tool("transfer_call").says("Nobody is there."),
            Rule::hearing(&["weather"]).says("Let me connect you.").calls("transfer_call", json!({ "to": "sales" })),
        ];
        let quick = emulated::Settings { script: Script::new(rules).unwrap(), ..emulated::Settings::default() };
        let server = server(quick).await;
        let transfers = [("sales".to_owned(), "+15550100001".to_owned())].into();
        let settings = Settings { built_in: BuiltIn { transfers, ..BuiltIn::default() }, ..settings(&server.url) };
        let desk = Arc::new(Desk { numbers: Mutex::default(), can });
        let mut rig = Rig::new(Llm::new(settings, true, &local()).unwrap(), Some(desk.clone())).await;
        rig.prompt("the weather").await;
        assert_eq!(rig.turn().await.1, "Let me connect you.");
        assert_eq!(desk.numbers.lock().unwrap().len(), 0, "not before it was heard");
        let heard = trunkline::call::action::Heard { text: "Let me connect you.".to_owned(), ..Default::default() };
        let turn = trunkline::ids::TurnId(1);
        rig.report(trunkline::call::action::AgentReport::TurnOver { turn, heard }).await;
        if can {
            while desk.numbers.lock().unwrap().is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
        } else {
            assert_eq!(rig.heard().await, "Nobody is there.");
        }
        assert_eq!(desk.numbers.lock().unwrap().as_slice(), ["+15550100001"]);
        assert!(!serde_json::to_string(&server.journal.last().unwrap().messages).unwrap().contains("5550100"));
    }
}

#[tokio::test]
async fn the_call_is_ended_once_the_goodbye_was_heard() {
    let rules = vec![Rule::hearing(&["bye"]).says("Goodbye.").calls("end_call", json!({}))];
    let quick = emulated::Settings { script: Script::new(rules).unwrap(), ..emulated::Settings::default() };
    let server = server(quick).await;
    let mut rig = Rig::new(Llm::new(settings(&server.url), false, &local()).unwrap(), None).await;
    rig.prompt("bye").await;
    assert_eq!(rig.heard().await, "Goodbye.");
    assert_eq!(rig.next().await, AgentEvent::HangUp);
    rig.ended().await;
}

#[tokio::test]
async fn a_tool_that_may_not_be_asked_is_not() {
    let (url, seen, _task) = tools().await;
    let server = model("look").await;
    // The same server under two names: one that is an address, and one that leads to it.
    for url in [format!("{url}/good"), format!("{}/good", url.replace("127.0.0.1", "tools.test"))] {
        let outbound = Outbound::default().looking_up(Arc::new(Home));
        let settings = Settings { tools: vec![tool(&url, "")], ..settings(&server.url) };
        let mut rig = Rig::new(Llm::new(settings, false, &outbound).unwrap(), None).await;
        rig.prompt("the weather").await;
        while rig.heard().await != "So it is." {}
        let messages = server.journal.last().unwrap().messages;
        let result = messages.iter().find(|message| message["role"] == "tool").unwrap();
        assert_eq!(result["content"], "error: the tool cannot be used");
    }
    assert!(seen.lock().unwrap().is_empty());
}

/// Every name leads to this host.
struct Home;

impl Lookup for Home {
    fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) }.boxed()
    }
}
