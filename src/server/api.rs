//! Control over HTTP: what is going on, say this, be silent, hang up.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Json, RequestExt as _};
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::board::{Outcome, TurnView};
use super::calls::LiveCall;
use super::node::Node;
use crate::call::event::{AgentEvent, Delivery, Say};
use crate::call::settings::Interruptible;
use crate::driver::inbox::CallOver;
use crate::ids::TurnId;

/// Longest wait for a turn to be heard.
const HEARD_LIMIT: Duration = Duration::from_secs(600);
/// Longest wait of a text stream for speech to catch up.
const FLOW_LIMIT: Duration = Duration::from_secs(120);

/// What a request is told when it cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("there is no such call")]
    NoCall,
    #[error("the call is over")]
    Over(#[from] CallOver),
    #[error("turn {0} was never opened: leave `turn` out to open one")]
    NoTurn(u32),
    #[error("turn {} is over: open another one for more text", .0.turn)]
    TurnOver(Box<TurnView>),
    #[error("{field}: {problem}")]
    Field { field: String, problem: String },
    #[error("{0}")]
    Body(String),
    #[error("not heard within {} s", HEARD_LIMIT.as_secs())]
    NotHeard,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match &self {
            ApiError::NoCall | ApiError::NoTurn(_) => StatusCode::NOT_FOUND,
            ApiError::Over(_) => StatusCode::GONE,
            ApiError::TurnOver(_) => StatusCode::CONFLICT,
            ApiError::Field { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            ApiError::Body(_) => StatusCode::BAD_REQUEST,
            ApiError::NotHeard => StatusCode::GATEWAY_TIMEOUT,
        };
        let mut body = json!({ "error": self.to_string() });
        if let (ApiError::TurnOver(view), Some(body)) = (&self, body.as_object_mut())
            && let Ok(serde_json::Value::Object(view)) = serde_json::to_value(view)
        {
            body.extend(view);
        }
        (status, Json(body)).into_response()
    }
}

#[derive(Serialize)]
struct CallView {
    id: String,
    call_sid: String,
    stream_sid: String,
    seconds: f64,
    turns: Vec<TurnView>,
}

impl CallView {
    fn of(live: &LiveCall) -> Self {
        CallView {
            id: live.id.clone(),
            call_sid: live.call.to_string(),
            stream_sid: live.stream.to_string(),
            seconds: live.seconds(),
            turns: live.turns(),
        }
    }
}

/// `GET /v1/calls`.
pub(super) async fn list(State(node): State<Node>) -> Response {
    let calls: Vec<CallView> = node.calls().all().iter().map(|live| CallView::of(live)).collect();
    Json(json!({ "calls": calls })).into_response()
}

/// `GET /v1/calls/{id}`.
pub(super) async fn show(State(node): State<Node>, Path(id): Path<String>) -> Result<Response, ApiError> {
    Ok(Json(CallView::of(&*find(&node, &id)?)).into_response())
}

/// `POST /v1/calls/{id}/clear`: silence at once, every turn is dropped.
pub(super) async fn clear(State(node): State<Node>, Path(id): Path<String>) -> Result<Response, ApiError> {
    find(&node, &id)?.port.send(AgentEvent::Clear).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// `DELETE /v1/calls/{id}`: hangs up, as far as the carrier's instructions after the stream do.
pub(super) async fn hang_up(State(node): State<Node>, Path(id): Path<String>) -> Result<Response, ApiError> {
    find(&node, &id)?.port.send(AgentEvent::HangUp).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// `GET /v1/calls/{id}/events`: server-sent events until the call ends.
pub(super) async fn events(
    State(node): State<Node>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let live = find(&node, &id)?;
    // The call holds the sending end: holding it here as well would keep the stream open for ever.
    let watch = live.watch();
    drop(live);
    let stream = futures_util::stream::unfold(watch, |mut watch| async move {
        let event = match watch.recv().await {
            Ok(event) => {
                let data = serde_json::to_string(&*event).unwrap_or_default();
                Event::default().event(event.what.name()).data(data)
            }
            Err(RecvError::Lagged(missed)) => {
                Event::default().event("missed").data(json!({ "events": missed }).to_string())
            }
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), watch))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// How to answer a `say`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SayQuery {
    wait: Option<String>,
    turn: Option<u32>,
    interruptible: Option<String>,
    voice: Option<String>,
    language: Option<String>,
    speed: Option<f32>,
    volume: Option<f32>,
    emotion: Option<String>,
}

/// Body of a `say` in JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SayBody {
    #[serde(default)]
    text: String,
    turn: Option<u32>,
    #[serde(default = "yes")]
    last: bool,
    #[serde(default)]
    flush: bool,
    interruptible: Option<String>,
    voice: Option<String>,
    language: Option<String>,
    speed: Option<f32>,
    volume: Option<f32>,
    emotion: Option<String>,
}

const fn yes() -> bool {
    true
}

/// `POST /v1/calls/{id}/say`: JSON with a piece of text, or `text/plain` whose pieces are spoken as they arrive.
pub(super) async fn say(
    State(node): State<Node>,
    Path(id): Path<String>,
    query: Result<Query<SayQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Query(query) =
        query.map_err(|error| ApiError::Field { field: "query".to_owned(), problem: error.body_text() })?;
    let live = find(&node, &id)?;
    let wait = match query.wait.as_deref() {
        None => false,
        Some("heard") => true,
        Some(_) => return Err(field("wait", "may be `heard` or left out")),
    };
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let turn = if content_type.is_some_and(|kind| kind.starts_with("text/plain")) {
        say_stream(&live, query, request.into_body()).await?
    } else {
        say_json(&live, request).await?
    };
    if !wait {
        return Ok((StatusCode::ACCEPTED, Json(json!({ "turn": turn }))).into_response());
    }
    let over = |view: Option<&TurnView>| view.filter(|view| view.outcome != Outcome::Live).cloned();
    match timeout(HEARD_LIMIT, live.until(turn, over)).await {
        Ok(Some(view)) => Ok(Json(view).into_response()),
        Ok(None) => Err(CallOver.into()),
        Err(_) => Err(ApiError::NotHeard),
    }
}

async fn say_json(live: &Arc<LiveCall>, request: Request) -> Result<TurnId, ApiError> {
    let bytes: axum::body::Bytes = request
        .extract()
        .await
        .map_err(|error: axum::extract::rejection::BytesRejection| ApiError::Body(error.body_text()))?;
    let body: SayBody = serde_json::from_slice(&bytes).map_err(|error| ApiError::Body(error.to_string()))?;
    let turn = turn_of(live, body.turn)?;
    let say = Say {
        turn,
        text: body.text,
        last: body.last,
        flush: body.flush,
        interruptible: interruptible_of(body.interruptible.as_deref())?,
        delivery: delivery_of(body.voice, body.language, body.speed, body.volume, body.emotion)?,
    };
    live.port.send(AgentEvent::Say(say)).await?;
    Ok(turn)
}

/// Speaks a body as it arrives, and reads it no faster than speech needs.
async fn say_stream(live: &Arc<LiveCall>, query: SayQuery, body: Body) -> Result<TurnId, ApiError> {
    let turn = turn_of(live, query.turn)?;
    let interruptible = interruptible_of(query.interruptible.as_deref())?;
    let delivery = delivery_of(query.voice, query.language, query.speed, query.volume, query.emotion)?;
    let piece = |text: String, last| {
        AgentEvent::Say(Say { turn, text, last, flush: false, interruptible, delivery: delivery.clone() })
    };
    let mut stream = body.into_data_stream();
    let mut carry = Vec::new();
    while let Some(chunk) = stream.next().await {
        // A client that goes away in the middle has said what it said: the turn ends there.
        let Ok(chunk) = chunk else { break };
        carry.extend_from_slice(&chunk);
        let text = take_text(&mut carry);
        if !text.is_empty() {
            live.port.send(piece(text, false)).await?;
        }
        flowing(live, turn).await?;
    }
    live.port.send(piece(String::from_utf8_lossy(&carry).into_owned(), true)).await?;
    Ok(turn)
}

/// Waits while enough of the turn's speech is unheard.
async fn flowing(live: &LiveCall, turn: TurnId) -> Result<(), ApiError> {
    let go_on = |view: Option<&TurnView>| match view {
        Some(view) if view.outcome != Outcome::Live => Some(Err(ApiError::TurnOver(Box::new(view.clone())))),
        Some(view) if view.is_held => None,
        Some(_) | None => Some(Ok(())),
    };
    match timeout(FLOW_LIMIT, live.until(turn, go_on)).await {
        Ok(Some(result)) => result,
        Ok(None) => Err(CallOver.into()),
        Err(_) => Err(ApiError::NotHeard),
    }
}

/// Takes the whole characters of `bytes`; what is cut stays for the next piece, what is no text becomes `U+FFFD`.
fn take_text(bytes: &mut Vec<u8>) -> String {
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text.len(),
        Err(error) => match error.error_len() {
            None => error.valid_up_to(),
            Some(_) => bytes.len(),
        },
    };
    let rest = bytes.split_off(whole);
    String::from_utf8_lossy(&std::mem::replace(bytes, rest)).into_owned()
}

fn find(node: &Node, id: &str) -> Result<Arc<LiveCall>, ApiError> {
    node.calls().get(id).filter(|live| !live.is_over()).ok_or(ApiError::NoCall)
}

fn turn_of(live: &LiveCall, turn: Option<u32>) -> Result<TurnId, ApiError> {
    let Some(number) = turn else { return Ok(live.port.next_turn()) };
    let turn = TurnId(number);
    if !live.port.knows(turn) {
        return Err(ApiError::NoTurn(number));
    }
    match live.turn(turn) {
        Some(view) if view.outcome != Outcome::Live => Err(ApiError::TurnOver(Box::new(view))),
        Some(_) | None => Ok(turn),
    }
}

fn interruptible_of(value: Option<&str>) -> Result<Option<Interruptible>, ApiError> {
    Ok(Some(match value {
        None => return Ok(None),
        Some("any") => Interruptible::Any,
        Some("speech") => Interruptible::Speech,
        Some("dtmf") => Interruptible::Dtmf,
        Some("none") => Interruptible::None,
        Some(_) => return Err(field("interruptible", "may be any, speech, dtmf or none")),
    }))
}

fn delivery_of(
    voice: Option<String>,
    language: Option<String>,
    speed: Option<f32>,
    volume: Option<f32>,
    emotion: Option<String>,
) -> Result<Option<Arc<Delivery>>, ApiError> {
    let within = |name, value: Option<f32>, low: f32, high: f32| match value {
        Some(value) if !(low..=high).contains(&value) => Err(field(name, &format!("may be {low} to {high}"))),
        Some(_) | None => Ok(()),
    };
    within("speed", speed, 0.6, 1.5)?;
    within("volume", volume, 0.5, 2.0)?;
    let delivery = Delivery { voice, language, speed, volume, emotion };
    Ok((delivery != Delivery::default()).then(|| Arc::new(delivery)))
}

fn field(field: &str, problem: &str) -> ApiError {
    ApiError::Field { field: field.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::take_text;

    #[test]
    fn characters_may_be_cut_anywhere() {
        let text = "Grüße, 你好!";
        for cut in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(cut);
            let mut bytes = head.to_vec();
            let mut said = take_text(&mut bytes);
            bytes.extend_from_slice(tail);
            said.push_str(&take_text(&mut bytes));
            assert_eq!((said.as_str(), bytes.len()), (text, 0), "cut at {cut}");
        }
        assert_eq!(take_text(&mut vec![0xFF, b'a']), "\u{FFFD}a");
    }
}
