//! Which context gets what: the requests of one connection, and the ids that it may not use again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::request::{self, Input, Refusal, Request, Template};
use super::wording::{Errors, Messages};
use super::{End, reply};
use crate::emulate::tts::Place;
use crate::emulate::tts::buffer;
use crate::emulate::tts::connection::Outgoing;
use crate::emulate::tts::order::{self, Lifetime, Part, Stop};
use crate::emulate::tts::roster::{Line, Queueing, Roster};
use crate::emulate::tts::vendors::Told;

/// Contexts alive on one socket; one more is answered with a 429 event.
const CONTEXTS_MAX: usize = 100;

/// Ended contexts whose ids are still refused on this socket.
const ENDED_MAX: usize = 10_000;

/// What a client is told about an id whose context failed.
const FAILED: &str = "the context ended with an error";

/// The contexts of one connection.
pub(in crate::emulate) struct Dispatcher {
    line: Line,
    errors: Errors,
    roster: Roster<Box<Template>>,
    ended: Ended,
}

impl Dispatcher {
    pub(in crate::emulate) fn new(version: &str, line: Line) -> Self {
        let errors = Errors { connection: line.connection, version: version.into(), count: Arc::default() };
        Self { errors, roster: Roster::new(line.clone()), line, ended: Ended::default() }
    }

    /// Waits for a context to end and remembers its id; for ever if none lives. Cancel-safe.
    pub(in crate::emulate) async fn reap(&mut self) -> Vec<Outgoing> {
        let over = self.roster.reap().await;
        if over.kept.is_some() {
            let reason = match over.end {
                End::Expired => "the context has expired",
                End::Done => "the context is done; ids cannot be used again",
                End::Cancelled | End::Failed | End::Lost => "the context has ended",
            };
            self.ended.add(&over.key, reason);
        }
        Vec::new()
    }

    /// Acts on one frame; an error is what the client is told.
    pub(in crate::emulate) async fn told(&mut self, told: Told<'_>) -> Vec<Outgoing> {
        let taken = match told {
            Told::Text(text) => self.take(text).await,
            Told::Binary => Err(Refusal::invalid(None, "binary frames are not part of the protocol")),
        };
        taken.err().map(|refusal| Outgoing::Error(self.errors.frame(&refusal))).into_iter().collect()
    }

    async fn take(&mut self, text: &str) -> Result<(), Refusal> {
        let delay_ms_default = if *self.errors.version < *reply::STRUCTURED_ERRORS { 0 } else { 3_000 };
        match request::parse(text, delay_ms_default) {
            Ok(Request::Cancel { context }) => {
                self.end(&context, Stop::Cancel, "the context was cancelled");
                Ok(())
            }
            Ok(Request::Generate { context, template, input }) => {
                let taken = self.generate(&context, template, input).await;
                if taken.is_err() {
                    // An error is the end of its context.
                    self.end(&context, Stop::Fail, FAILED);
                    self.ended.add(&context, FAILED);
                }
                taken
            }
            Err(refusal) => {
                if let Some(context) = &refusal.context {
                    self.end(context, Stop::Fail, FAILED);
                }
                Err(refusal)
            }
        }
    }

    async fn generate(&mut self, id: &str, template: Box<Template>, input: Input) -> Result<(), Refusal> {
        if let Some(reason) = self.ended.reason(id) {
            return Err(Refusal::invalid(Some(id), reason));
        }
        match self.roster.get(id) {
            None => self.begin(id, template, &input)?,
            Some(entry) if entry.finished => {
                return Err(Refusal::invalid(Some(id), "the input of the context has ended"));
            }
            Some(entry) if entry.kept != template => {
                let message = "all fields but transcript, continue and flush must stay the same within a context";
                return Err(Refusal::invalid(Some(id), message));
            }
            Some(_) => {}
        }
        let sent = self.roster.input(id, engine_input(input)).await;
        if sent { Ok(()) } else { Err(Refusal::invalid(Some(id), "the context has expired")) }
    }

    fn begin(&mut self, id: &str, template: Box<Template>, input: &Input) -> Result<(), Refusal> {
        let settings = &self.line.shared.settings;
        let refusal = |status, code, title, message: &str| {
            let message = message.to_owned();
            Refusal { context: Some(id.to_owned()), status, code, title, message }
        };
        if !settings.knows(&template.voice) {
            return Err(refusal(404, Some("voice_not_found"), "Voice not found", "no voice has this id"));
        }
        if !buffer::is_speakable(&input.transcript) {
            let message = "the first transcript is empty or contains only punctuation";
            return Err(Refusal::invalid(Some(id), message));
        }
        let place = if self.roster.len() < CONTEXTS_MAX { Place::take(&self.line.shared) } else { None };
        let Some(place) = place else {
            let title = "Too many concurrent requests";
            return Err(refusal(429, Some("concurrency_limited"), title, "the limit of active contexts is reached"));
        };
        let kind = (template.order, Lifetime::AfterAudio(settings.expiry), Queueing::Beside);
        let messages = Messages { id: id.to_owned(), errors: self.errors.clone() };
        self.roster.begin(id, id, place, kind, template, messages);
        Ok(())
    }

    /// Ends a context from outside, if it lives.
    fn end(&mut self, id: &str, stop: Stop, reason: &'static str) {
        if self.roster.stop(id, stop).is_some() {
            self.ended.add(id, reason);
        }
    }
}

fn engine_input(input: Input) -> order::Input {
    let mut parts = vec![Part::Text(input.transcript.clone())];
    if input.flush {
        parts.push(Part::Flush);
    }
    order::Input { shown: Some(input.transcript), parts, more: input.more }
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
