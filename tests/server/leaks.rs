//! Nothing is left behind: tasks, sockets and entries of calls that are over.

use std::process::Command;

use serde_json::json;
use tokio::runtime::Handle;

use crate::support::gateway::Gateway;
use crate::support::until;

/// Set in the process that does the work: other tests beside it would open files of their own.
const ALONE: &str = "TRUNKLINE_TEST_ALONE";
const CALLS: usize = 200;
const AT_ONCE: usize = 20;

fn files_open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A short call, in one of the ways in which calls go.
async fn call(gateway: &Gateway, number: usize) {
    let name = format!("CA{number}");
    let mut phone = gateway.call(&name).await;
    gateway.say(&name, json!({ "text": "Hello, and thank you for calling." })).await;
    phone.sees("speech", |seen| seen.frames > 0).await;
    match number % 5 {
        0 => phone.stop(),
        1 => drop(gateway.api("DELETE", &format!("/v1/calls/{name}")).send(gateway.address).await),
        2 => phone.press('5'),
        3 => phone.send_raw(tokio_tungstenite::tungstenite::Message::text("x".repeat(70_000))),
        // The line is cut.
        _ => {}
    }
    if matches!(number % 5, 0 | 1 | 3) {
        phone.end().await;
    }
}

#[test]
fn after_200_calls_everything_is_as_before() {
    if std::env::var_os(ALONE).is_none() {
        let test = std::thread::current().name().unwrap().to_owned();
        let alone = Command::new(std::env::current_exe().unwrap())
            .args([&test, "--exact", "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&alone.stdout).into_owned() + &String::from_utf8_lossy(&alone.stderr);
        assert!(alone.status.success() && told.contains("1 passed"), "{told}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // Without a line there is nothing to speak beforehand.
        let gateway = Gateway::open("server.drain_line = \"\"").await;
        let tasks = || Handle::current().metrics().num_alive_tasks();
        // The voice's pool and the like are made at the first call.
        call(&gateway, 0).await;
        // The server itself, and its watch over how late frames are.
        until("the end of the first call", async || (tasks() == 2).then_some(())).await;
        let files = files_open();

        for batch in 0..CALLS / AT_ONCE {
            let numbers = (0..AT_ONCE).map(|n| 1 + batch * AT_ONCE + n);
            futures_util::future::join_all(numbers.map(|number| call(&gateway, number))).await;
        }
        until("the end of every call", async || {
            let calls = gateway.get("/v1/calls").await.json();
            (calls["calls"] == json!([])).then_some(())
        })
        .await;
        until("the end of every task", async || (tasks() == 2).then_some(())).await;
        until("the end of every socket", async || (files_open() == files).then_some(())).await;
        assert_eq!(gateway.metric("trunkline_calls").await, 0.0);
    });
}
