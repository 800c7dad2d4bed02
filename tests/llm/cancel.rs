//! Dropping an answer closes its connection, and the server knows at once.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};
use trunkline::agent::llm::Llm;
use trunkline::agent::llm::answer::AnswerEvent;
use trunkline::audio::vad::Change;
use trunkline::call::action::{AgentReport, Cause, Heard};
use trunkline::call::event::AgentEvent;
use trunkline::emulate::llm::{self as emulated, End, Journal, Rule, Script};

use crate::support::{PATIENCE, Rig, answer, local, question, server, settings};

/// Hundred tokens, a tenth of a second apart: nobody waits for their end.
fn slow() -> emulated::Settings {
    let text = "word ".repeat(100);
    let rules = vec![Rule::hearing(&["story"]).says(text), Rule::hearing(&["hello"]).says("Hi.")];
    emulated::Settings {
        script: Script::new(rules).unwrap(),
        first_token: Duration::from_millis(1),
        token: Duration::from_millis(100),
        ..emulated::Settings::default()
    }
}

/// Waits until the server has noted that its client has gone; how many tokens it had sent.
async fn cancelled(journal: &Journal) -> u32 {
    let gone = async {
        loop {
            if let Some(exchange) = journal.last()
                && let Some((_, end)) = exchange.ended
            {
                assert_eq!(end, End::Cancelled);
                return exchange.tokens_sent;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the server notices")
}

#[tokio::test]
async fn a_dropped_answer_closes_its_connection() {
    let server = server(slow()).await;
    let llm = Llm::new(settings(&server.url), false, &local()).unwrap();
    let mut answer = llm.model().ask(&question("a story"), None);
    while !matches!(answer.next().await.expect("an event"), AnswerEvent::Text(_)) {}
    drop(answer);
    let sent = cancelled(&server.journal).await;
    assert!(sent < 90, "{sent} tokens were sent although nobody was there");
}

#[tokio::test]
async fn an_interruption_closes_the_connection() {
    let server = server(slow()).await;
    let mut rig = Rig::new(Llm::new(settings(&server.url), false, &local()).unwrap(), None).await;
    rig.prompt("a story").await;
    let AgentEvent::Say(say) = rig.next().await else { panic!("text") };
    rig.report(AgentReport::CallerSpeech(Change::Started)).await;
    let heard = Heard { text: "word".to_owned(), ..Heard::default() };
    rig.report(AgentReport::Interrupted { turn: say.turn, heard, cause: Cause::Speech, queued: false }).await;
    assert!(cancelled(&server.journal).await < 90);
    // What was heard is what the model is shown.
    rig.report(AgentReport::CallerSpeech(Change::Stopped)).await;
    rig.prompt("hello").await;
    let mut answer = String::new();
    while answer != "Hi." {
        let AgentEvent::Say(next) = rig.next().await else { panic!("text") };
        // Words of the first turn may still have been on their way.
        if next.turn != say.turn {
            answer.push_str(&next.text);
        }
    }
    let shown = server.journal.last().unwrap().messages;
    assert_eq!(shown[1]["content"], "word [interrupted]");
}

#[tokio::test]
async fn speech_before_the_first_token_closes_the_connection() {
    let server = server(emulated::Settings { first_token: Duration::from_secs(20), ..slow() }).await;
    let rig = Rig::new(Llm::new(settings(&server.url), false, &local()).unwrap(), None).await;
    rig.prompt("a story").await;
    while server.journal.begun() == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    rig.report(AgentReport::CallerSpeech(Change::Started)).await;
    assert_eq!(cancelled(&server.journal).await, 0);
}

#[tokio::test]
async fn the_end_of_the_call_closes_the_connection() {
    let server = server(slow()).await;
    let mut rig = Rig::new(Llm::new(settings(&server.url), false, &local()).unwrap(), None).await;
    rig.prompt("a story").await;
    rig.next().await;
    let Rig { reports, .. } = &rig;
    reports.send(AgentReport::Ended(trunkline::call::action::EndReason::CarrierStopped)).await.unwrap();
    rig.ended().await;
    assert!(cancelled(&server.journal).await < 90);
}

#[tokio::test]
async fn a_whole_answer_leaves_the_connection_for_the_next() {
    use tokio::net::{TcpListener, TcpStream};
    let server = server(slow()).await;
    let target = server.url.trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = connections.clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let mut pumps = tokio::task::JoinSet::new();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut server = TcpStream::connect(&target).await.unwrap();
            pumps.spawn(async move { drop(tokio::io::copy_bidirectional(&mut client, &mut server).await) });
        }
    });
    let llm = Llm::new(settings(&url), false, &local()).unwrap();
    for _ in 0..3 {
        assert!(matches!(answer(&llm, "hello").await.last(), Some(AnswerEvent::Done { .. })));
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}
