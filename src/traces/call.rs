//! The spans of one call.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceState};
use opentelemetry_sdk::trace::{IdGenerator as _, SpanData, SpanEvents, SpanLinks};

use super::Traces;
use crate::call::action::{AgentReport, Cause, EndReason, Wait};
use crate::call::summary::TurnSummary;
use crate::driver::figures::Figures;
use crate::driver::meter::end_name;
use crate::ids::CallTime;

/// Events of the call itself that are kept; turns have their own.
const EVENTS_MAX: usize = 32;

/// What is known of a call from its beginning. The field names of the semantic conventions of OpenTelemetry are used where
/// they have one (its GenAI part), names that begin with `trunkline.` elsewhere.
#[derive(Clone, Debug)]
pub struct About {
    /// The carrier's name of the call.
    pub call: String,
    /// Of its stream.
    pub stream: String,
    /// Who decides what is said.
    pub agent: &'static str,
    /// The language model, if one does.
    pub model: Option<String>,
    /// Who writes down what the caller says; `none` if nobody does.
    pub hearing: &'static str,
}

/// The trace of one call. Turns are told to it as they end, then its end; what it was not told of is not sent.
#[derive(Debug)]
pub struct CallTrace {
    traces: Traces,
    root: SpanContext,
    about: About,
    started: SystemTime,
    events: Mutex<Vec<Event>>,
}

/// One span of those below the root.
struct Part {
    name: &'static str,
    parent: SpanId,
    from: SystemTime,
    to: SystemTime,
    attributes: Vec<KeyValue>,
    events: Vec<Event>,
    status: Status,
}

impl CallTrace {
    pub(super) fn new(traces: Traces, root: SpanContext, about: About, started: SystemTime) -> Self {
        CallTrace { traces, root, about, started, events: Mutex::default() }
    }

    /// The header `traceparent` of W3C's Trace Context, for those who are asked on behalf of the call.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.root.trace_id(), self.root.span_id(), self.root.trace_flags())
    }

    /// Takes note of what concerns the call as a whole.
    pub fn note(&self, at: CallTime, report: &AgentReport) {
        let name = match report {
            AgentReport::HearingFailed { .. } => "hearing_failed",
            AgentReport::AgentLost { .. } => "agent_lost",
            AgentReport::Draining => "draining",
            AgentReport::Started
            | AgentReport::TurnStarted { .. }
            | AgentReport::FirstAudio { .. }
            | AgentReport::Heard { .. }
            | AgentReport::TurnOver { .. }
            | AgentReport::Interrupted { .. }
            | AgentReport::SpeechFailed { .. }
            | AgentReport::FailedOver { .. }
            | AgentReport::Digit(_)
            | AgentReport::CallerSpeech(_)
            | AgentReport::Prompt { .. }
            | AgentReport::Probable { .. }
            | AgentReport::Resumed
            | AgentReport::Announced { .. }
            | AgentReport::Connected
            | AgentReport::Refused { .. }
            | AgentReport::Dismissed
            | AgentReport::HandedOff { .. }
            | AgentReport::Answered { .. }
            | AgentReport::Flow { .. }
            | AgentReport::Ended(_) => return,
        };
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() < EVENTS_MAX {
            events.push(self.event(name, at, Vec::new()));
        }
    }

    /// Sends the spans of a turn that is over.
    pub fn turn(&self, turn: &TurnSummary) {
        if !self.root.is_sampled() {
            return;
        }
        let id = self.traces.0.ids.new_span_id();
        let mut attributes = vec![
            KeyValue::new("gen_ai.conversation.id", self.about.call.clone()),
            KeyValue::new("gen_ai.output.type", "speech"),
            KeyValue::new("trunkline.turn", i64::from(turn.turn.0)),
            KeyValue::new("trunkline.turn.outcome", turn.outcome.name()),
            KeyValue::new("trunkline.turn.heard_ms", millis(turn.heard)),
            KeyValue::new("trunkline.turn.said_ms", millis(turn.made.audio)),
            KeyValue::new("trunkline.turn.heard_chars", count(turn.heard_chars)),
            KeyValue::new("trunkline.turn.said_chars", count(turn.made.chars)),
            KeyValue::new("trunkline.turn.estimated", turn.estimated),
            KeyValue::new("trunkline.turn.announced", turn.announced),
            KeyValue::new("trunkline.voices", turn.voices.join(",")),
        ];
        attributes.extend(turn.outcome.cause().map(|cause| KeyValue::new("trunkline.turn.cause", cause.name())));
        if let Some((_, first_byte)) = turn.first_audio {
            attributes.push(KeyValue::new("trunkline.turn.first_byte_ms", millis(first_byte)));
        }
        // However it ended: its fallback line may have been cut off.
        let status = if turn.failed_at.is_some() { Status::error("speech_failed") } else { Status::Unset };
        if turn.failed_at.is_some() {
            attributes.push(KeyValue::new("error.type", "speech_failed"));
        }
        if let Some((heard, wait)) = turn.answered {
            self.wait(id, turn, heard.before(wait.total()), &wait);
        }
        let (from, to) = (self.at(turn.begun()), self.at(turn.over));
        let events = self.turn_events(turn);
        let parent = self.root.span_id();
        self.send(id, Part { name: "turn", parent, from, to, attributes, events, status });
    }

    fn turn_events(&self, turn: &TurnSummary) -> Vec<Event> {
        let first = turn.first_audio.map(|(at, _)| self.event("first_audio", at, Vec::new()));
        let failovers = turn.failovers.iter().map(|failover| {
            let voice = |key, voice: &Cow<'static, str>| KeyValue::new(key, voice.to_string());
            let voices = vec![voice("trunkline.voice.from", &failover.from), voice("trunkline.voice.to", &failover.to)];
            self.event("failover", failover.at, voices)
        });
        let fallback = turn.failed_at.map(|at| self.event("fallback", at, Vec::new()));
        let interrupted = turn.outcome.cause().map(|cause: Cause| {
            self.event("interrupted", turn.over, vec![KeyValue::new("trunkline.turn.cause", cause.name())])
        });
        let mut events: Vec<Event> = first.into_iter().chain(failovers).chain(fallback).chain(interrupted).collect();
        events.sort_by_key(|event| event.timestamp);
        events
    }

    /// Sends the parts of a wait, each where the one before it ends.
    fn wait(&self, turn: SpanId, summary: &TurnSummary, asked: CallTime, wait: &Wait) {
        let since = summary.first_audio.map(|(at, _)| at);
        let changed = summary.failovers.iter().rfind(|failover| since.is_some_and(|at| failover.at <= at));
        let voice = changed.map(|failover| &failover.to).or(summary.voices.first());
        let voice = voice.map(|voice| KeyValue::new("gen_ai.provider.name", voice.to_string()));
        let model = self.about.model.as_ref().map(|model| KeyValue::new("gen_ai.request.model", model.clone()));
        let operation = |name| KeyValue::new("gen_ai.operation.name", name);
        let hearing = KeyValue::new("gen_ai.provider.name", self.about.hearing);
        let agent = KeyValue::new("gen_ai.agent.name", self.about.agent);
        let thinking = [operation("invoke_agent"), agent].into_iter().chain(model).collect();
        let speaking = [operation("generate_content"), KeyValue::new("gen_ai.output.type", "speech")];
        let mut from = asked;
        for (name, span, attributes) in [
            ("hearing", wait.hearing, vec![hearing]),
            ("thinking", wait.thinking, thinking),
            ("gathering", wait.gathering, Vec::new()),
            ("speaking", wait.speaking, speaking.into_iter().chain(voice).collect()),
            ("sending", wait.sending, Vec::new()),
            ("line", wait.line, Vec::new()),
        ] {
            let (begun, to) = (self.at(from), self.at(from + span));
            from = from + span;
            let id = self.traces.0.ids.new_span_id();
            let (events, status) = (Vec::new(), Status::Unset);
            self.send(id, Part { name, parent: turn, from: begun, to, attributes, events, status });
        }
    }

    /// Sends the span of the call itself, `lasted` after it was accepted.
    pub fn end(&self, lasted: Duration, reason: EndReason, turns: u64, figures: &Figures) {
        if !self.root.is_sampled() {
            return;
        }
        let Figures { stats, lateness } = figures;
        let number = |key: &'static str, number: u64| KeyValue::new(key, i64::try_from(number).unwrap_or(i64::MAX));
        let mut attributes = vec![
            KeyValue::new("gen_ai.conversation.id", self.about.call.clone()),
            KeyValue::new("gen_ai.agent.name", self.about.agent),
            KeyValue::new("trunkline.stream.id", self.about.stream.clone()),
            KeyValue::new("trunkline.hearing", self.about.hearing),
            KeyValue::new("trunkline.call.reason", end_name(reason)),
            number("trunkline.call.turns", turns),
            number("trunkline.call.interruptions", stats.barge_ins),
            number("trunkline.call.underruns", stats.underruns),
            number("trunkline.call.slips", stats.slips),
            number("trunkline.call.failovers", stats.failovers),
            number("trunkline.call.speech_failures", stats.speech_failures),
            number("trunkline.call.frames_in", stats.frames_in),
            number("trunkline.call.frames_out", stats.frames_out),
            KeyValue::new("trunkline.call.late_p99_ms", millis(lateness.p99())),
        ];
        attributes.extend(self.about.model.as_ref().map(|model| KeyValue::new("gen_ai.request.model", model.clone())));
        let status = match reason {
            EndReason::SpeechFailed | EndReason::AgentLost | EndReason::CarrierLost => {
                attributes.push(KeyValue::new("error.type", end_name(reason)));
                Status::error(end_name(reason))
            }
            EndReason::CarrierStopped
            | EndReason::HungUp
            | EndReason::AgentDone
            | EndReason::TimeUp
            | EndReason::Idle
            | EndReason::SentAway => Status::Unset,
        };
        let events = std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner));
        let (from, to, parent) = (self.started, self.started + lasted, SpanId::INVALID);
        self.send(self.root.span_id(), Part { name: "call", parent, from, to, attributes, events, status });
    }

    fn send(&self, id: SpanId, part: Part) {
        let context = SpanContext::new(self.root.trace_id(), id, self.root.trace_flags(), false, TraceState::default());
        let mut events = SpanEvents::default();
        events.events = part.events;
        self.traces.put(SpanData {
            span_context: context,
            parent_span_id: part.parent,
            parent_span_is_remote: false,
            // A call comes from outside; everything else happens within it.
            span_kind: if part.parent == SpanId::INVALID { SpanKind::Server } else { SpanKind::Internal },
            name: part.name.into(),
            start_time: part.from,
            end_time: part.to,
            attributes: part.attributes,
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status: part.status,
            instrumentation_scope: self.traces.0.scope.clone(),
        });
    }

    fn event(&self, name: &'static str, at: CallTime, attributes: Vec<KeyValue>) -> Event {
        Event::new(name, self.at(at), attributes, 0)
    }

    fn at(&self, moment: CallTime) -> SystemTime {
        self.started + Duration::from_micros(moment.as_micros())
    }
}

fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1_000.0
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
