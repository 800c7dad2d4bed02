//! `/v1/log`: the level of the log while the node runs, with the program itself.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStderr, Command};
use trunkline::server::LogSwitch;

use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::phone::Phone;
use crate::support::program::program;
use crate::support::{soon, until};

#[tokio::test]
async fn the_level_changes_for_a_while_and_comes_back_by_itself() {
    let environment = [("TRUNKLINE__LOG__LEVEL", "error"), ("TRUNKLINE__LOG__FORMAT", "json")];
    let (mut child, address) = program(&environment, Stdio::piped()).await;
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let begin = async |name: &str| {
        let mut phone = Phone::dial(address, "/twilio/media", &[]).await.unwrap();
        phone.start(name, &[]);
        phone.sees("the greeting", |seen| seen.frames > 0).await;
        phone
    };
    let level = async || Request::new("GET", "/v1/log").send(address).await.json();
    let put = async |body: Value| Request::new("PUT", "/v1/log").json(&body).send(address).await.json();

    assert_eq!(level().await, json!({ "level": "error", "usual": "error", "for_s": null }));
    // A call that is on is named in what is logged of it from now on.
    let mut phone = begin("CAduring").await;
    let raised = put(json!({ "level": "info", "for_s": 3_600 })).await;
    assert_eq!((&raised["level"], &raised["for_s"]), (&json!("info"), &json!(3_600.0)));
    phone.stop();
    phone.end().await;
    let call_over = async |lines: &mut Lines<BufReader<ChildStderr>>| -> Option<Value> {
        while let Some(line) = soon("the log", lines.next_line()).await.unwrap() {
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["fields"]["event"] == "call" {
                return Some(line["span"]["call"].clone());
            }
        }
        None
    };
    assert_eq!(call_over(&mut lines).await, Some(json!("CAduring")));
    // The last wish counts, and it is a short one.
    put(json!({ "level": "info", "for_s": 1 })).await;
    until("the usual level", async || (level().await["level"] == "error").then_some(())).await;
    let mut phone = begin("CAafter").await;
    phone.stop();
    phone.end().await;
    let gone = async || Request::new("GET", "/v1/calls/CAafter").send(address).await.status == 404;
    until("the end of the call", async || gone().await.then_some(())).await;
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert_eq!(call_over(&mut lines).await, None);
    soon("the end", child.wait()).await.unwrap();
}

#[tokio::test]
async fn a_wish_that_makes_no_sense_is_refused_with_its_field() {
    let gateway = Gateway::open("").await;
    let put =
        async |gateway: &Gateway, body: Value| gateway.api("PUT", "/v1/log").json(&body).send(gateway.address).await;
    // Inside somebody else's program the log is theirs.
    assert_eq!(put(&gateway, json!({ "level": "debug" })).await.status, 501);
    let switch = LogSwitch::new(tracing::Level::INFO, |_| {});
    let gateway = Gateway::open_with("", |settings| settings.log = Some(switch)).await;
    for (body, field) in [
        (json!({}), "level"),
        (json!({ "level": "loud" }), "level"),
        (json!({ "level": "debug", "for_s": 0 }), "for_s"),
        (json!({ "level": "debug", "for_s": 86_401 }), "for_s"),
        (json!({ "level": "debug", "fors": 5 }), "fors"),
    ] {
        let answer = put(&gateway, body.clone()).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)), "{body}");
    }
    let left = gateway.api("PUT", "/v1/log").json(&json!({ "level": "debug" })).send(gateway.address).await.json();
    assert!((599.0..=600.0).contains(&left["for_s"].as_f64().unwrap()), "{left}");
    let trusted = Gateway::signed("https://gw.example.com", "").await;
    assert_eq!(Request::new("GET", "/v1/log").send(trusted.address).await.status, 401);
}
