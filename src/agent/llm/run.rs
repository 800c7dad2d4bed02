//! Between the call, the model and the tools: the one task of an agent.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep_until, timeout};

use super::Llm;
use super::answer::AnswerEvent;
use super::brain::{Brain, Errand, Input, Outcome, Output};
use super::stream::Answer;
use super::tools::{TRANSFER_LIMIT, Transfer};
use crate::call::action::{AgentReport, Flow};
use crate::driver::{CallPort, Clock};

/// What is left of an answer after its end is read for so long: then the connection can be used again.
const REST_LIMIT: Duration = Duration::from_secs(2);

/// The call that an agent speaks in.
#[derive(Clone, Debug)]
pub struct OnCall {
    /// The call's name in the control API; tools are told.
    pub id: String,
    /// Where that API is on the node that owns the call, if it is known; tools are told.
    pub control_url: Option<String>,
    /// Hands the caller over; `None`: nobody can.
    pub transfer: Option<Arc<dyn Transfer>>,
    /// The header `traceparent` of every request to the model and to tools; `None`: the call is not traced.
    pub traceparent: Option<String>,
}

impl Llm {
    /// Speaks in a call until it is over or `reports` end. Dropped, it closes its connection and ends its tools.
    pub async fn run(&self, on: OnCall, port: CallPort, mut reports: mpsc::Receiver<AgentReport>) {
        let turns = port.clone();
        let brain = Brain::new(self.settings.clone(), self.toolbox.clone(), Box::new(move || turns.next_turn()));
        let mut shell =
            Shell { llm: self, on, port, brain, clock: Clock::start(), question: None, tasks: JoinSet::new() };
        while shell.act().await {
            let deadline = shell.brain.poll_timeout().map(|at| shell.clock.instant(at));
            let woken = tokio::select! {
                biased;
                report = reports.recv() => match report {
                    Some(report) => Some(Input::Report(report)),
                    None => return,
                },
                Some(ended) = shell.tasks.join_next() => ended_task(ended),
                event = next_event(&mut shell.question) => shell.take(event),
                () = async { match deadline { Some(at) => sleep_until(at).await, None => pending().await } } => {
                    Some(Input::Tick)
                }
            };
            if let Some(input) = woken {
                shell.brain.handle(shell.clock.now(), input);
            }
        }
    }
}

struct Shell<'a> {
    llm: &'a Llm,
    on: OnCall,
    port: CallPort,
    brain: Brain,
    clock: Clock,
    question: Option<Open>,
    /// Tools at work, and ends of answers that are read to the last byte.
    tasks: JoinSet<Option<(Errand, Outcome)>>,
}

/// The question that is open.
struct Open {
    request: u32,
    answer: Answer,
    flow: Flow,
}

/// The next event of the open question. Cancel-safe.
async fn next_event(question: &mut Option<Open>) -> Option<AnswerEvent> {
    match question {
        Some(Open { answer, flow: Flow::Open, .. }) => answer.next().await,
        Some(Open { flow: Flow::Held, .. }) | None => pending().await,
    }
}

fn ended_task(ended: Result<Option<(Errand, Outcome)>, JoinError>) -> Option<Input> {
    match ended {
        Ok(Some((errand, outcome))) => Some(Input::Ran { errand, outcome }),
        Ok(None) => None,
        Err(error) => {
            tracing::error!(is_panic = error.is_panic(), "a task of the agent did not end well");
            None
        }
    }
}

impl Shell<'_> {
    /// Carries out what the brain wants; `false` when the call is over.
    async fn act(&mut self) -> bool {
        while let Some(output) = self.brain.poll() {
            match output {
                Output::Tell(event) => {
                    if self.port.send(event).await.is_err() {
                        return false;
                    }
                }
                Output::Ask { request, question } => {
                    let answer = self.llm.model.ask(&question, self.on.traceparent.as_deref());
                    self.question = Some(Open { request, answer, flow: Flow::Open });
                }
                Output::Drop { request } => drop(self.question.take_if(|open| open.request == request)),
                Output::Read { request, flow } => {
                    if let Some(open) = self.question.as_mut().filter(|open| open.request == request) {
                        open.flow = flow;
                    }
                }
                Output::Post { errand, tool, id, arguments } => {
                    let Some(endpoint) = self.llm.endpoints.get(tool).cloned() else { continue };
                    let (call, control_url) = (self.on.id.clone(), self.on.control_url.clone());
                    let traceparent = self.on.traceparent.clone();
                    let posting = async move { endpoint.post(call, control_url, id, arguments, traceparent).await };
                    self.tasks.spawn(async move { Some((errand, posting.await)) });
                }
                Output::Transfer { errand, number } => self.transfer(errand, &number),
            }
        }
        !self.brain.is_over()
    }

    /// What the open question's next event is to the brain. After the last one the connection is given back.
    fn take(&mut self, event: Option<AnswerEvent>) -> Option<Input> {
        let request = self.question.as_ref()?.request;
        let event = match event {
            Some(event @ AnswerEvent::Done { .. }) => {
                if let Some(mut open) = self.question.take() {
                    self.tasks.spawn(async move {
                        let rest = async { while open.answer.next().await.is_some() {} };
                        // A server that does not end its stream loses the connection.
                        let _ = timeout(REST_LIMIT, rest).await;
                        None
                    });
                }
                event
            }
            Some(event) => event,
            None => {
                self.question = None;
                AnswerEvent::Failed(super::answer::AskError::Truncated)
            }
        };
        Some(Input::Answer { request, event })
    }

    fn transfer(&mut self, errand: Errand, number: &str) {
        let handing_over = self.on.transfer.as_ref().map(|transfer| transfer.transfer(number));
        let Some(handing_over) = handing_over else {
            let outcome = Outcome::Bad("error: the caller cannot be connected".to_owned());
            self.tasks.spawn(async move { Some((errand, outcome)) });
            return;
        };
        self.tasks.spawn(async move {
            let outcome = match timeout(TRANSFER_LIMIT, handing_over).await {
                Ok(Ok(())) => Outcome::Good("connected".to_owned()),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a transfer failed");
                    Outcome::Bad("error: the caller could not be connected".to_owned())
                }
                Err(_) => {
                    tracing::warn!("a transfer did not end in time");
                    Outcome::Bad("error: the caller could not be connected in time".to_owned())
                }
            };
            Some((errand, outcome))
        });
    }
}
