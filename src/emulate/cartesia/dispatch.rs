//! Which context gets what: the requests of one connection, and the ids that it may not use again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::connection::Outgoing;
use super::context::{Context, Seat, Stop};
use super::fault::FaultKind;
use super::journal::End;
use super::request::{self, Input, Refusal, Request, Template};
use super::{Shared, buffer, reply};

/// Inputs waiting for a context, which takes them at once.
const INPUTS: usize = 256;

/// Contexts alive on one socket; one more is answered with a 429 event.
const CONTEXTS_MAX: usize = 100;

/// Ended contexts whose ids are still refused on this socket.
const ENDED_MAX: usize = 10_000;

/// A context as its connection sees it.
struct Entry {
    template: Box<Template>,
    inputs: mpsc::Sender<Input>,
    stop: oneshot::Sender<Stop>,
    /// Its last input has come.
    finished: bool,
}

/// The contexts of one connection.
pub(super) struct Dispatcher {
    /// Number of the connection.
    connection: u64,
    /// API version of the connection.
    version: Arc<str>,
    shared: Arc<Shared>,
    outbox: mpsc::Sender<Outgoing>,
    live: BTreeMap<String, Entry>,
    ended: Ended,
    tasks: JoinSet<(String, End)>,
}

impl Dispatcher {
    pub(super) fn new(connection: u64, version: Arc<str>, shared: Arc<Shared>, outbox: mpsc::Sender<Outgoing>) -> Self {
        let (live, ended, tasks) = (BTreeMap::new(), Ended::default(), JoinSet::new());
        Self { connection, version, shared, outbox, live, ended, tasks }
    }

    /// Waits for a context to end and remembers its id; for ever if none lives. Cancel-safe.
    pub(super) async fn reap(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok((id, end))) => self.forget(&id, end),
            // A context that panicked is gone with its id still known as alive: its next input is refused as expired.
            Some(Err(_)) => {}
            None => std::future::pending().await,
        }
    }

    /// Acts on one message; an error is what the client is told.
    pub(super) async fn take(&mut self, text: &str) -> Result<(), Refusal> {
        let delay_ms_default = if *self.version < *reply::STRUCTURED_ERRORS { 0 } else { 3_000 };
        match request::parse(text, delay_ms_default) {
            Ok(Request::Cancel { context }) => {
                self.end(&context, Stop::Cancel, "the context was cancelled");
                Ok(())
            }
            Ok(Request::Generate { context, template, input }) => {
                let taken = self.generate(&context, template, input).await;
                if taken.is_err() {
                    // An error is the end of its context.
                    self.end(&context, Stop::Fail, "the context ended with an error");
                    self.ended.add(&context, "the context ended with an error");
                }
                taken
            }
            Err(refusal) => {
                if let Some(context) = &refusal.context {
                    self.end(context, Stop::Fail, "the context ended with an error");
                }
                Err(refusal)
            }
        }
    }

    async fn generate(&mut self, id: &str, template: Box<Template>, input: Input) -> Result<(), Refusal> {
        if let Some(reason) = self.ended.reason(id) {
            return Err(Refusal::invalid(Some(id), reason));
        }
        let Some(entry) = self.live.get_mut(id) else {
            return self.begin(id, template, input).await;
        };
        if entry.finished {
            return Err(Refusal::invalid(Some(id), "the input of the context has ended"));
        }
        if entry.template != template {
            let message = "all fields but transcript, continue and flush must stay the same within a context";
            return Err(Refusal::invalid(Some(id), message));
        }
        entry.finished = !input.more;
        let sent = entry.inputs.send(input).await;
        sent.map_err(|_| Refusal::invalid(Some(id), "the context has expired"))
    }

    async fn begin(&mut self, id: &str, template: Box<Template>, input: Input) -> Result<(), Refusal> {
        let shared = &self.shared;
        let refusal = |status, code, title, message: &str| {
            let message = message.to_owned();
            Refusal { context: Some(id.to_owned()), status, code, title, message }
        };
        if shared.settings.voices.as_ref().is_some_and(|known| !known.contains(&template.voice)) {
            return Err(refusal(404, Some("voice_not_found"), "Voice not found", "no voice has this id"));
        }
        if !buffer::is_speakable(&input.transcript) {
            let message = "the first transcript is empty or contains only punctuation";
            return Err(Refusal::invalid(Some(id), message));
        }
        let crowded = shared.faults.amount(FaultKind::Limited).is_some_and(|most| {
            shared.contexts_active.load(Ordering::Relaxed) >= most && shared.faults.take(FaultKind::Limited).is_some()
        });
        if crowded || self.live.len() >= CONTEXTS_MAX {
            let title = "Too many concurrent requests";
            return Err(refusal(429, Some("concurrency_limited"), title, "the limit of active contexts is reached"));
        }
        let seat = Seat {
            id: id.into(),
            connection: self.connection,
            shared: Arc::clone(shared),
            outbox: self.outbox.clone(),
        };
        let context = Context::new(seat, (*template).clone());
        let (inputs, waiting) = mpsc::channel(INPUTS);
        let (stop, stopped) = oneshot::channel();
        let entry = Entry { template, inputs, stop, finished: !input.more };
        let name = id.to_owned();
        self.tasks.spawn(async move { (name, context.run(waiting, stopped).await) });
        // The channel is new and empty.
        entry.inputs.send(input).await.ok();
        self.live.insert(id.to_owned(), entry);
        Ok(())
    }

    /// Ends a context from outside, if it lives.
    fn end(&mut self, id: &str, stop: Stop, reason: &'static str) {
        if let Some(entry) = self.live.remove(id) {
            // A context that has just ended by itself needs no telling.
            entry.stop.send(stop).ok();
            self.ended.add(id, reason);
        }
    }

    /// Remembers that a context has ended by itself.
    fn forget(&mut self, id: &str, end: End) {
        if self.live.remove(id).is_some() {
            let reason = match end {
                End::Expired => "the context has expired",
                End::Done => "the context is done; ids cannot be used again",
                End::Cancelled | End::Failed | End::Lost => "the context has ended",
            };
            self.ended.add(id, reason);
        }
    }
}

/// Ids that cannot be used again, the oldest forgotten first.
#[derive(Debug, Default)]
struct Ended {
    reasons: BTreeMap<String, &'static str>,
    order: VecDeque<String>,
}

impl Ended {
    fn add(&mut self, id: &str, reason: &'static str) {
        if self.reasons.contains_key(id) {
            return;
        }
        if self.order.len() == ENDED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.reasons.remove(&oldest);
        }
        self.order.push_back(id.to_owned());
        self.reasons.insert(id.to_owned(), reason);
    }

    fn reason(&self, id: &str) -> Option<&'static str> {
        self.reasons.get(id).copied()
    }
}
