//! Control over HTTP: what is going on, be silent, and what every request is answered with that cannot be served.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::board::{CallEvent, CallState, TurnView};
use super::calls::LiveCall;
use super::carrier::ControlError;
use super::fields::Fields;
use super::node::Node;
use super::say::HEARD_LIMIT;
use super::twilio::rest::RestError;
use crate::call::event::AgentEvent;
use crate::driver::inbox::CallOver;

/// What a request is told when it cannot be served. It may quote names of fields, never their values.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("there is no such call on this node: ask the one that its events and webhooks name as control_url")]
    NoCall,
    #[error("the call is over")]
    Over(#[from] CallOver),
    #[error("turn {0} was never opened, or is long over: leave `turn` out to open one")]
    NoTurn(u32),
    #[error("turn {} is over: open another one for more text", .0.turn)]
    TurnOver(Box<TurnView>),
    #[error("turn {} has had its last text: open another one for more", .0.turn)]
    TurnClosed(Box<TurnView>),
    #[error("{field}: {problem}")]
    Field { field: String, problem: String },
    #[error("{1}")]
    Body(StatusCode, String),
    #[error("not heard within {} s", HEARD_LIMIT.as_secs())]
    NotHeard,
    #[error("the log of this process cannot be changed from here")]
    NoLog,
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl ApiError {
    /// A field that cannot be accepted, and why.
    pub(super) fn field(field: &str, problem: &str) -> Self {
        ApiError::Field { field: field.to_owned(), problem: problem.to_owned() }
    }

    fn status(&self) -> StatusCode {
        match self {
            ApiError::NoCall | ApiError::NoTurn(_) => StatusCode::NOT_FOUND,
            ApiError::Over(_) => StatusCode::GONE,
            ApiError::TurnOver(_) | ApiError::TurnClosed(_) => StatusCode::CONFLICT,
            ApiError::Field { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            ApiError::Body(status, _) => *status,
            ApiError::NotHeard | ApiError::Control(ControlError::Rest(RestError::Slow)) => StatusCode::GATEWAY_TIMEOUT,
            ApiError::NoLog | ApiError::Control(ControlError::NoCredentials | ControlError::NoPublicUrl) => {
                StatusCode::NOT_IMPLEMENTED
            }
            ApiError::Control(ControlError::Parameters(_)) => StatusCode::CONFLICT,
            ApiError::Control(ControlError::Draining) => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::Control(ControlError::Rest(
                RestError::Refused { .. } | RestError::Unreachable(_) | RestError::Answer | RestError::Url,
            )) => StatusCode::BAD_GATEWAY,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let detail = match &self {
            ApiError::TurnOver(view) | ApiError::TurnClosed(view) => serde_json::to_value(view).unwrap_or_default(),
            ApiError::Field { field, .. } => json!({ "field": field }),
            ApiError::Control(ControlError::Rest(RestError::Refused { status, code })) => {
                json!({ "carrier_status": status, "carrier_code": code })
            }
            ApiError::NoCall
            | ApiError::Over(_)
            | ApiError::NoTurn(_)
            | ApiError::Body(..)
            | ApiError::NotHeard
            | ApiError::NoLog
            | ApiError::Control(_) => serde_json::Value::Null,
        };
        let mut body = json!({ "error": self.to_string() });
        if let (serde_json::Value::Object(detail), Some(body)) = (detail, body.as_object_mut()) {
            body.extend(detail);
        }
        (self.status(), Json(body)).into_response()
    }
}

#[derive(Serialize)]
struct CallView {
    id: String,
    call_sid: String,
    stream_sid: String,
    /// As the carrier names it; empty if it did not say.
    direction: String,
    seconds: f64,
    state: CallState,
    /// Who was given text last.
    #[serde(skip_serializing_if = "Option::is_none")]
    voice: Option<String>,
    /// Turns that another voice went on with.
    failovers: u32,
    /// Turns that were opened, those that are not listed any more included.
    turn_count: u64,
    /// Times that speech was cut off.
    interruptions: u64,
    /// Times that the carrier ran dry in the middle of a turn.
    underruns: u64,
    /// How long the caller waited for the last answer to something that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_wait_ms: Option<f64>,
    /// At most so late were 99 of 100 frames.
    late_p99_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    turns: Option<Vec<TurnView>>,
}

/// Whether calls are shown with their turns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// With all that was heard of late.
    Turns,
    /// In figures alone.
    Figures,
}

/// What one has to know of a node to read the list of its calls.
#[derive(Serialize)]
struct NodeView {
    /// Since it began to serve.
    uptime_s: f64,
    calls: usize,
    calls_max: usize,
    draining: bool,
}

impl CallView {
    fn of(node: &Node, live: &LiveCall, depth: Depth) -> Self {
        let voices = &node.settings().call.voices;
        // Behind the voices and the player stands, for each voice, what it has spoken beforehand.
        let voice =
            live.port.voice().and_then(|at| voices.get(at).or_else(|| voices.get(at.checked_sub(voices.len() + 1)?)));
        let (state, last_wait) = live.state();
        let figures = live.port.figures();
        let ms = |span: Duration| span.as_micros() as f64 / 1_000.0;
        CallView {
            id: live.id.clone(),
            call_sid: live.call.to_string(),
            stream_sid: live.stream.to_string(),
            direction: live.about.facts.direction.clone(),
            seconds: live.seconds(),
            state,
            voice: voice.map(|voice| voice.name.to_string()),
            failovers: live.failovers(),
            turn_count: live.turns_opened(),
            interruptions: figures.stats.barge_ins,
            underruns: figures.stats.underruns,
            last_wait_ms: last_wait.map(ms),
            late_p99_ms: ms(figures.lateness.p99()),
            turns: (depth == Depth::Turns).then(|| live.turns()),
        }
    }
}

/// `GET /v1/calls`.
pub(super) async fn list(State(node): State<Node>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let mut query = Fields::of_query(query.as_deref().unwrap_or_default())?;
    let depth = if query.flag("turns")?.unwrap_or(true) { Depth::Turns } else { Depth::Figures };
    query.finish()?;
    let calls: Vec<CallView> = node.calls().all().iter().map(|live| CallView::of(&node, live, depth)).collect();
    let view = NodeView {
        uptime_s: node.uptime().as_secs_f64(),
        calls: calls.len(),
        calls_max: node.settings().calls_max,
        draining: node.stopping().drain.is_cancelled(),
    };
    Ok(Json(json!({ "node": view, "calls": calls })).into_response())
}

/// `GET /v1/calls/{id}`.
pub(super) async fn show(State(node): State<Node>, Path(id): Path<String>) -> Result<Response, ApiError> {
    Ok(Json(CallView::of(&node, &*find(&node, &id)?, Depth::Turns)).into_response())
}

/// `POST /v1/calls/{id}/clear`: silence at once, every turn is dropped.
pub(super) async fn clear(State(node): State<Node>, Path(id): Path<String>) -> Result<Response, ApiError> {
    find(&node, &id)?.port.tell(AgentEvent::Clear).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// An event, and where the node is that tells it: behind a balancer nobody else knows the call.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    event: &'a CallEvent,
    #[serde(skip_serializing_if = "Option::is_none")]
    control_url: Option<&'a str>,
}

/// `GET /v1/calls/{id}/events`: server-sent events, `started` first whenever it was, until the call has ended.
pub(super) async fn events(
    State(node): State<Node>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let live = find(&node, &id)?;
    // The call holds the sending end: holding it here as well would keep the stream open for ever.
    let (begun, watch) = live.watch();
    drop(live);
    let control_url = node.control_url();
    let stream = futures_util::stream::unfold(Some((begun, watch, control_url)), |state| async move {
        let (begun, mut watch, control_url) = state?;
        let event = match begun {
            Some(event) => Ok(event),
            None => watch.recv().await,
        };
        match event {
            Ok(event) => {
                let name = event.what.name();
                let is_last = event.what.is_last();
                let data = serde_json::to_string(&Told { event: &event, control_url: control_url.as_deref() });
                let event = Event::default().event(name).data(data.unwrap_or_default());
                Some((Ok(event), (!is_last).then_some((None, watch, control_url))))
            }
            Err(RecvError::Lagged(missed)) => {
                let data = json!({ "events": missed, "control_url": control_url });
                let event = Event::default().event("missed").data(data.to_string());
                Some((Ok(event), Some((None, watch, control_url))))
            }
            Err(RecvError::Closed) => None,
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

pub(super) fn find(node: &Node, id: &str) -> Result<Arc<LiveCall>, ApiError> {
    node.calls().get(id).filter(|live| !live.is_over()).ok_or(ApiError::NoCall)
}
