//! The agent's one task: what is said when the model is silent or broken, on sockets; and, on a paused clock with a model
//! of this process, what it reads and when.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::json;
use tokio::time::{Instant, sleep};
use trunkline::agent::llm::Llm;
use trunkline::agent::llm::answer::{AnswerEvent, Finish};
use trunkline::agent::llm::settings::{Greeting, Limits, Lines, Settings};
use trunkline::agent::llm::stream::{Answer, Model, Question};
use trunkline::call::action::{AgentReport, Flow};
use trunkline::call::event::AgentEvent;
use trunkline::emulate::llm::{self as emulated, Rule, Script};

use crate::support::{Rig, local, server, settings};

/// An agent whose server has `fault` with everything it is asked.
async fn broken(fault: &str) -> Rig {
    let rules = vec![
        Rule::hearing(&["hello"]).says("Hi there, dear caller."),
        Rule::hearing(&["book"]).calls("end_call", json!({})),
    ];
    let quick = emulated::Settings {
        script: Script::new(rules).unwrap(),
        first_token: Duration::from_millis(1),
        token: Duration::from_millis(1),
        faults: vec![fault.parse().unwrap()],
        ..emulated::Settings::default()
    };
    let server = server(quick).await;
    let limits = Limits {
        first_token: Duration::from_millis(700),
        between_tokens: Duration::from_millis(300),
        ..Limits::default()
    };
    let rig = Rig::new(Llm::new(Settings { limits, ..settings(&server.url) }, false, &local()).unwrap(), None).await;
    // The server lives as long as the test's runtime.
    std::mem::forget(server);
    rig
}

#[tokio::test]
async fn there_is_never_silence() {
    for fault in ["status=500", "status=401", "status=429", "hang", "silent", "empty", "stall=0", "drop=0"] {
        let mut rig = broken(fault).await;
        rig.prompt("hello").await;
        assert_eq!(rig.heard().await, Lines::default().fallback, "{fault}");
    }
    for fault in ["error-midway=2", "error-event=2", "drop=2", "stall=2"] {
        let mut rig = broken(fault).await;
        rig.prompt("hello").await;
        let text = rig.heard().await;
        let cut = Lines::default().cut;
        let said = text.strip_suffix(&cut).unwrap_or_else(|| panic!("{fault}: {text}")).trim_end();
        assert!(!said.is_empty() && "Hi there, dear caller.".starts_with(said), "{fault}: {text}");
    }
}

#[tokio::test]
async fn a_call_of_a_tool_that_is_cut_off_is_not_made() {
    let mut rig = broken("drop-in-tool").await;
    rig.prompt("book").await;
    assert_eq!(rig.heard().await, Lines::default().fallback, "and not the end of the call");
}

#[tokio::test]
async fn a_fault_that_passes_is_not_heard() {
    for fault in ["status=503:1", "drop=0:1", "empty:1"] {
        let mut rig = broken(fault).await;
        rig.prompt("hello").await;
        assert_eq!(rig.heard().await, "Hi there, dear caller.", "{fault}");
    }
}

/// A model of this process: a word every second, and a count of those that were read.
struct Words {
    read: Arc<AtomicUsize>,
    asked: Mutex<Vec<Question>>,
}

impl Model for Words {
    fn ask(&self, question: &Question, _: Option<&str>) -> Answer {
        self.asked.lock().unwrap().push(question.clone());
        let read = self.read.clone();
        let words = stream::unfold(0, move |n: usize| {
            let read = read.clone();
            async move {
                sleep(Duration::from_secs(1)).await;
                read.store(n + 1, Ordering::SeqCst);
                let event = match n {
                    0..20 => AnswerEvent::Text(format!("word{n} ")),
                    20 => AnswerEvent::Done { finish: Finish::Complete, calls: vec![] },
                    _ => return None,
                };
                Some((event, n + 1))
            }
        });
        words.boxed()
    }
}

async fn in_process(settings: Settings) -> (Rig, Arc<Words>) {
    let words = Arc::new(Words { read: Arc::default(), asked: Mutex::default() });
    let llm = Llm::new(settings, false, &local()).unwrap().with_model(words.clone());
    (Rig::new(llm, None).await, words)
}

#[tokio::test(start_paused = true)]
async fn while_the_call_has_enough_nothing_is_read() {
    let (mut rig, words) = in_process(settings("http://127.0.0.1:1")).await;
    rig.prompt("go").await;
    let AgentEvent::Say(say) = rig.next().await else { panic!("text") };
    rig.report(AgentReport::Flow { turn: say.turn, flow: Flow::Held }).await;
    sleep(Duration::from_secs(600)).await;
    let read = words.read.load(Ordering::SeqCst);
    assert!(read <= 2, "{read} words were read");
    rig.report(AgentReport::Flow { turn: say.turn, flow: Flow::Open }).await;
    let (_, text) = rig.turn().await;
    assert!(text.ends_with("word19 "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn words_are_passed_on_as_they_come() {
    let (mut rig, _) = in_process(settings("http://127.0.0.1:1")).await;
    let begun = Instant::now();
    rig.prompt("go").await;
    for n in 0..20_u64 {
        let AgentEvent::Say(say) = rig.next().await else { panic!("text") };
        assert_eq!(say.text, format!("word{n} "));
        assert_eq!(begun.elapsed().as_secs(), n + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_greeting_comes_first_and_the_end_of_reports_ends_the_agent() {
    let greeting = Greeting::Line("Welcome.".to_owned());
    let (mut rig, words) = in_process(Settings { greeting, ..settings("http://127.0.0.1:1") }).await;
    assert_eq!(rig.heard().await, "Welcome.");
    rig.prompt("go").await;
    rig.next().await;
    assert_eq!(words.asked.lock().unwrap()[0].messages.len(), 2);
    let (reports, _) = tokio::sync::mpsc::channel(1);
    rig.reports = reports;
    rig.ended().await;
}
