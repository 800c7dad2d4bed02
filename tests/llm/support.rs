//! An agent with everything around it that is not the agent.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use trunkline::agent::llm::answer::AnswerEvent;
use trunkline::agent::llm::run::OnCall;
use trunkline::agent::llm::settings::{Lines, Settings};
use trunkline::agent::llm::stream::{Question, Tools};
use trunkline::agent::llm::wire::Message;
use trunkline::agent::llm::{Llm, Transfer};
use trunkline::call::action::{AgentReport, Heard};
use trunkline::call::event::AgentEvent;
use trunkline::dialect::Body;
use trunkline::driver::{Inbox, inbox};
use trunkline::emulate::llm::{self as emulated, Journal};
use trunkline::http::outbound::{Outbound, Rules};
use trunkline::ids::TurnId;

/// Longest wait for something that takes no time, or for ever.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An emulated server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) journal: Journal,
    _task: JoinSet<()>,
}

pub(crate) async fn server(settings: emulated::Settings) -> Server {
    let server = emulated::Server::bind("127.0.0.1:0".parse().unwrap(), settings).await.unwrap();
    let (url, journal) = (server.url(), server.journal());
    let mut task = JoinSet::new();
    task.spawn(server.run(CancellationToken::new()));
    Server { url, journal, _task: task }
}

/// Tools are servers on loopback here.
pub(crate) fn local() -> Outbound {
    Outbound::new(Rules::default().with_loopback())
}

/// Settings for a server at `url`, with no words in between.
pub(crate) fn settings(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        model: "m".to_owned(),
        lines: Lines { filler: String::new(), ..Lines::default() },
        ..Settings::default()
    }
}

pub(crate) fn question(text: &str) -> Question {
    Question { messages: vec![Message::User { content: text.to_owned() }], tools: Tools::Offered }
}

/// Everything that an answer brings.
pub(crate) async fn answer(llm: &Llm, text: &str) -> Vec<AnswerEvent> {
    let answer = llm.model().ask(&question(text), None).collect();
    timeout(PATIENCE, answer).await.expect("an end")
}

/// The text of an answer, and its last event.
pub(crate) fn split(events: Vec<AnswerEvent>) -> (String, AnswerEvent) {
    let text = events.iter().filter_map(|event| if let AnswerEvent::Text(text) = event { Some(&**text) } else { None });
    (text.collect(), events.last().expect("an end").clone())
}

/// An agent in a call that is played by the test.
pub(crate) struct Rig {
    pub(crate) reports: mpsc::Sender<AgentReport>,
    pub(crate) inbox: Inbox,
    agent: JoinSet<()>,
}

impl Rig {
    pub(crate) async fn new(llm: Llm, transfer: Option<std::sync::Arc<dyn Transfer>>) -> Self {
        let (port, inbox) = inbox();
        let (reports, hearing) = mpsc::channel(64);
        let mut agent = JoinSet::new();
        agent.spawn(async move {
            let control_url = Some("http://10.0.0.7:8081".to_owned());
            llm.run(OnCall { id: "CA1".to_owned(), control_url, transfer, traceparent: None }, port, hearing).await
        });
        let rig = Rig { reports, inbox, agent };
        rig.report(AgentReport::Started).await;
        rig
    }

    pub(crate) async fn report(&self, report: AgentReport) {
        self.reports.send(report).await.unwrap();
    }

    pub(crate) async fn prompt(&self, text: &str) {
        self.report(AgentReport::Prompt { text: text.to_owned(), last: true, language: None }).await;
    }

    /// What the agent wants next.
    pub(crate) async fn next(&mut self) -> AgentEvent {
        let input = timeout(PATIENCE, self.inbox.next()).await.expect("an event in time").unwrap();
        let Body::Agent(event) = input.body else { panic!("{:?}", input.body) };
        event
    }

    /// The next turn, once it is closed: its number and its text.
    pub(crate) async fn turn(&mut self) -> (TurnId, String) {
        let mut text = String::new();
        loop {
            match self.next().await {
                AgentEvent::Say(say) => {
                    text.push_str(&say.text);
                    if say.last {
                        return (say.turn, text);
                    }
                }
                other => panic!("{other:?} in a turn"),
            }
        }
    }

    /// The next turn, heard to its end.
    pub(crate) async fn heard(&mut self) -> String {
        let (turn, text) = self.turn().await;
        let heard = Heard { text: text.clone(), ..Heard::default() };
        self.report(AgentReport::TurnOver { turn, heard }).await;
        text
    }

    /// Waits until the agent has ended.
    pub(crate) async fn ended(mut self) {
        timeout(PATIENCE, self.agent.join_next()).await.expect("an end").unwrap().unwrap();
    }
}
