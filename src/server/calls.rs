//! The live calls of a node: running them, finding them, watching them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Sink, Stream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, watch};
use tokio::time::Instant;

use super::board::{Board, CallEvent, CallState, TurnView};
use super::carrier::{About, Control};
use super::facts::Facts;
use super::lines::{self, CallLine};
use super::node::{AgentSettings, Node, lock, unix_time};
use super::relay::{APP_TURNS_MAX, Course};
use super::twilio::address::Address;
use super::twilio::token::random_bytes;
use crate::agent::llm::run::OnCall;
use crate::agent::llm::{Transfer, TransferError};
use crate::agent::script;
use crate::call::action::AgentReport;
use crate::call::event::{AgentEvent, Fault, FaultKind, Play, Say, Start};
use crate::call::summary::Summaries;
use crate::dialect::{CarrierDialect, Input};
use crate::driver::inbox::CallOver;
use crate::driver::{CallPort, CallSetup, Frame, Stopping, inbox, inbox_above, run_call};
use crate::ids::{CallSid, CallTime, StreamSid, TurnId};
use crate::tape;
use crate::traces;

/// Events that a slow watcher may be behind before it is told that it missed some.
const EVENTS_BEHIND_MAX: usize = 128;
/// Reports that may wait for an agent of this process.
const REPORTS_WAITING_MAX: usize = 256;

/// A call that can be asked and told things.
#[derive(Debug)]
pub(super) struct LiveCall {
    pub(super) id: String,
    pub(super) call: CallSid,
    pub(super) stream: StreamSid,
    pub(super) port: CallPort,
    pub(super) about: Arc<About>,
    started: Instant,
    board: Mutex<Board>,
    /// Changes with the board.
    version: watch::Sender<u64>,
    events: broadcast::Sender<Arc<CallEvent>>,
}

impl LiveCall {
    /// What can be done with the call at its carrier.
    pub(super) fn control(&self, node: &Node) -> Control {
        Control::new(node.clone(), self.call.clone(), self.port.clone(), self.about.clone())
    }

    /// Seconds since the call was accepted.
    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// What it is doing, and how long the caller waited for the last answer.
    pub(super) fn state(&self) -> (CallState, Option<Duration>) {
        let board = lock(&self.board);
        (board.state(), board.last_wait)
    }

    pub(super) fn turns(&self) -> Vec<TurnView> {
        lock(&self.board).turns()
    }

    /// Turns that another voice went on with, however long ago.
    pub(super) fn failovers(&self) -> u32 {
        lock(&self.board).failovers
    }

    /// Turns that were opened so far, those that are not remembered included.
    pub(super) fn turns_opened(&self) -> u64 {
        lock(&self.board).turns_opened
    }

    pub(super) fn turn(&self, id: TurnId) -> Option<TurnView> {
        lock(&self.board).turn(id).cloned()
    }

    pub(super) fn is_over(&self) -> bool {
        lock(&self.board).is_over
    }

    pub(super) fn has_forgotten(&self, turn: TurnId) -> bool {
        lock(&self.board).has_forgotten(turn)
    }

    /// The start of the call, if it is past, and all that happens from now on.
    pub(super) fn watch(&self) -> (Option<Arc<CallEvent>>, broadcast::Receiver<Arc<CallEvent>>) {
        let board = lock(&self.board);
        (board.started().map(Arc::new), self.events.subscribe())
    }

    /// Gives the call a piece of text; what became of it is on the board afterwards.
    pub(super) async fn tell(&self, say: Say) -> Result<(), CallOver> {
        let (turn, is_last) = (say.turn, say.last);
        self.port.tell(AgentEvent::Say(say)).await?;
        if is_last {
            lock(&self.board).close(turn);
        }
        Ok(())
    }

    /// Gives the call a turn that is played, which takes no text.
    pub(super) async fn play(&self, play: Play) -> Result<(), CallOver> {
        let turn = play.turn;
        self.port.tell(AgentEvent::Play(play)).await?;
        lock(&self.board).close(turn);
        Ok(())
    }

    /// Waits until `is_met` says something of a turn, or the call is over. Cancel-safe.
    pub(super) async fn until<T>(&self, turn: TurnId, is_met: impl Fn(Option<&TurnView>) -> Option<T>) -> Option<T> {
        let mut changes = self.version.subscribe();
        loop {
            {
                let board = lock(&self.board);
                let met = is_met(board.turn(turn));
                if met.is_some() || board.is_over {
                    return met;
                }
            }
            changes.changed().await.ok()?;
        }
    }

    fn take(&self, at: CallTime, report: &AgentReport) {
        let mut board = lock(&self.board);
        if let Some(event) = board.take(at, report) {
            // Under the lock, so that a new watcher sees the start once. Nobody watching is no fault.
            let _ = self.events.send(Arc::new(event));
        }
        drop(board);
        self.version.send_modify(|version| *version += 1);
    }

    /// Nothing more will happen.
    fn close(&self) {
        lock(&self.board).is_over = true;
        self.version.send_modify(|version| *version += 1);
    }
}

/// Every live call of a node.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<BTreeMap<String, Arc<LiveCall>>>);

impl Calls {
    pub(super) fn get(&self, id: &str) -> Option<Arc<LiveCall>> {
        lock(&self.0).get(id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<LiveCall>> {
        lock(&self.0).values().cloned().collect()
    }

    /// Adds a call under its carrier's name; a second stream of the same call gets a number.
    fn add(&self, start: &Start, port: CallPort) -> Arc<LiveCall> {
        let mut calls = lock(&self.0);
        let name = start.call.as_str();
        let numbered = (2_u32..).map(|n| format!("{name}-{n}"));
        let is_free = |id: &String| !calls.contains_key(id);
        let id = std::iter::once(name.to_owned()).chain(numbered).find(is_free).unwrap_or_default();
        let mut parameters = start.parameters.clone();
        let facts = Facts::take(&mut parameters);
        let live = Arc::new(LiveCall {
            id: id.clone(),
            call: start.call.clone(),
            stream: start.stream.clone(),
            port,
            about: Arc::new(About { facts, parameters }),
            started: Instant::now(),
            board: Mutex::default(),
            version: watch::Sender::new(0),
            events: broadcast::Sender::new(EVENTS_BEHIND_MAX),
        });
        calls.insert(id, live.clone());
        live
    }

    fn remove(&self, id: &str) {
        lock(&self.0).remove(id);
    }
}

/// A call's entry among the live ones. It goes when the call does, in whichever way: nobody may wait for a call that
/// panicked.
struct Listed<'a> {
    calls: &'a Calls,
    live: Arc<LiveCall>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.live.close();
        self.calls.remove(&self.live.id);
    }
}

/// Hands a caller over by the carrier's API.
#[derive(Debug)]
struct ByCarrier(Control);

impl Transfer for ByCarrier {
    fn transfer(&self, number: &str) -> BoxFuture<'static, Result<(), TransferError>> {
        let (control, to) = (self.0.clone(), Address::parse(number));
        let connect = async move {
            let to = to.map_err(|error| TransferError { reason: error.to_string() })?;
            control.transfer(&to).await.map(drop).map_err(|error| TransferError { reason: error.to_string() })
        };
        connect.boxed()
    }
}

/// What bounds a call from outside.
pub(super) struct CallLimits {
    pub(super) seat: OwnedSemaphorePermit,
    pub(super) stopping: Stopping,
}

/// Runs an accepted call to its end.
pub(super) async fn run<R, W>(
    node: &Node,
    start: &Start,
    first: Vec<Input>,
    carrier: Box<dyn CarrierDialect>,
    reader: R,
    writer: W,
    limits: CallLimits,
) where
    R: Stream<Item = Frame> + Send + Unpin + 'static,
    W: Sink<Frame, Error: Send> + Send + Unpin + 'static,
{
    if start.outbound.is_none() {
        tracing::warn!("the stream only listens (<Start> instead of <Connect>): nothing can be said on it");
    }
    let relay = match &node.settings().agent {
        AgentSettings::Relay(app) => Some(app.as_ref()),
        AgentSettings::Script(_) | AgentSettings::Api | AgentSettings::Llm(_) => None,
    };
    let (port, inbox) = if relay.is_some() { inbox_above(APP_TURNS_MAX) } else { inbox() };
    let live = node.calls().add(start, port.clone());
    let listed = Listed { calls: node.calls(), live: live.clone() };
    let (reports, hearing) = mpsc::channel(REPORTS_WAITING_MAX);
    let mut settings = node.settings().call.clone();
    settings.seed = random_bytes().map_or(0, u64::from_be_bytes);
    let hearer = node.hearing_link(start.inbound);
    if hearer.is_none() {
        settings.conversation.hearing = None;
    }
    let hearing_name =
        node.settings().hearing.as_ref().filter(|_| hearer.is_some()).map(|hearer| hearer.settings.name());
    let mut summaries = Summaries::new(&settings.voices);
    let trace = node.settings().traces.as_ref().map(|traces| {
        let about = traces::About {
            call: start.call.to_string(),
            stream: start.stream.to_string(),
            agent: node.settings().agent.name(),
            model: match &node.settings().agent {
                AgentSettings::Llm(llm) => Some(llm.model_name().to_owned()),
                AgentSettings::Script(_) | AgentSettings::Api | AgentSettings::Relay(_) => None,
            },
            hearing: hearing_name.unwrap_or("none"),
        };
        Arc::new(traces.begin(about, UNIX_EPOCH + unix_time()))
    });
    let traced = trace.clone();
    let session = relay.map(|app| (app, app.session(&start.call, &live.about, node.control_url(), unix_time())));
    let agent_on_tape = session.as_ref().map(|(_, session)| tape::Agent::Relay(Box::new(session.without_query())));
    let recording = node.record(&mut settings, start);
    let tape = node.tape(&settings, agent_on_tape, start);
    let mut course = session.as_ref().map(|(_, session)| Course::new(session));
    let setup = CallSetup {
        settings,
        carrier,
        voices: node.voice_links(&start.stream),
        player: node.settings().player.clone(),
        phrases: node.settings().phrases.clone(),
        hearing: hearer,
        app: session.map(|(app, session)| app.link(session)),
        meter: node.meter().clone(),
        first,
        tape,
        recording,
        stopping: limits.stopping,
    };
    tracing::info!(inbound = ?start.inbound, "the call starts");
    let agents_port = port.clone();
    let (watched, meter) = (live.clone(), node.meter().clone());
    let show_text = node.settings().show_text;
    let (aftermath, call_sid) = (node.aftermath(), &start.call);
    let mut is_behind = false;
    let observer = move |at: CallTime, report: &AgentReport| {
        // Before the stream is closed: the carrier asks for it right after.
        if let Some(ended) = course.as_mut().and_then(|course| course.take(at, report)) {
            aftermath.record(call_sid, ended);
        }
        watched.take(at, report);
        if let Some(turn) = summaries.take(at, report) {
            lines::turn(&turn);
            if let Some(trace) = &traced {
                trace.turn(&turn);
            }
        }
        if let Some(trace) = &traced {
            trace.note(at, report);
        }
        if show_text {
            tracing::info!(%at, ?report, "the agent is told");
        }
        match reports.try_send(report.clone()) {
            // An agent that has ended needs no reports.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => {
                meter.report_lost();
                if !std::mem::replace(&mut is_behind, true) {
                    tracing::error!("the agent does not take its reports; it counts as lost");
                    let reason = "the agent does not take its reports".to_owned();
                    agents_port.try_send(AgentEvent::Lost(Fault { kind: FaultKind::Fatal, reason }));
                }
            }
        }
    };
    let call = run_call(setup, reader, writer, inbox, observer);
    let traceparent = trace.as_ref().map(|trace| trace.traceparent());
    let agent = async {
        match &node.settings().agent {
            AgentSettings::Script(script) => script::run(script.clone(), port, hearing).await,
            AgentSettings::Api | AgentSettings::Relay(_) => drop(hearing),
            AgentSettings::Llm(llm) => {
                let control = live.control(node);
                let transfer = control.has_credentials().then(|| Arc::new(ByCarrier(control)) as Arc<dyn Transfer>);
                let (id, control_url) = (live.id.clone(), node.control_url());
                llm.run(OnCall { id, control_url, transfer, traceparent }, port, hearing).await;
            }
        }
    };
    let (reason, ()) = tokio::join!(Box::pin(call), agent);
    drop(listed);
    let line = CallLine {
        reason,
        seconds: live.seconds(),
        turns: live.turns_opened(),
        agent: node.settings().agent.name(),
        hearing: hearing_name.unwrap_or("none"),
    };
    let figures = live.port.figures();
    lines::call(line, &figures);
    if let Some(trace) = trace {
        trace.end(live.started.elapsed(), reason, line.turns, &figures);
    }
    drop(limits.seat);
}
