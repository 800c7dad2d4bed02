//! Calls at their carrier, over HTTP: hang up, transfer, redirect, press keys.

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::api::ApiError;
use super::carrier::Control;
use super::fields::Fields;
use super::node::Node;
use super::play;
use super::twilio::address::{Address, Digits};
use super::twilio::rest::{Instructions, Updated};
use crate::ids::CallSid;

/// What `DELETE` ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Stream,
    Call,
}

/// `DELETE /v1/calls/{id}`: closes the stream, so that the carrier goes on with the instructions that follow it, or ends
/// the call at the carrier.
pub(super) async fn hang_up(
    State(node): State<Node>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut query = Fields::of_query(query.as_deref().unwrap_or_default())?;
    let end = query.one_of("end", &[("stream", End::Stream), ("call", End::Call)])?.unwrap_or(End::Stream);
    query.finish()?;
    if end == End::Stream {
        control(&node, &id)?.close_stream().await;
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let rest = node.rest()?;
    match control(&node, &id) {
        Ok(control) => Ok(told(control.hang_up().await?)),
        // One that was placed here and has no stream (yet) can be called off; any other is none of ours.
        Err(error) => match CallSid::parse(&id) {
            Ok(call) if node.has_placed(&call) => {
                Ok(told(rest.hang_up(&call).await.map_err(super::carrier::ControlError::from)?))
            }
            Ok(_) | Err(_) => Err(error),
        },
    }
}

/// `POST /v1/calls/{id}/transfer`: somebody else, or other instructions.
pub(super) async fn transfer(
    State(node): State<Node>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let control = control(&node, &id)?;
    let mut body = Fields::of_request(request).await?;
    let to = body.parsed("to", Address::parse)?;
    let instructions = instructions(&mut body)?;
    body.finish()?;
    let updated = match (to, instructions) {
        (Some(to), None) => control.transfer(&to).await?,
        (None, Some(instructions)) => control.redirect(&instructions).await?,
        (Some(_), Some(_)) => return Err(ApiError::field("to", "excludes url and twiml")),
        (None, None) => return Err(ApiError::field("to", "is missing, and so are url and twiml")),
    };
    Ok(told(updated))
}

/// `POST /v1/calls/{id}/redirect`: other instructions.
pub(super) async fn redirect(
    State(node): State<Node>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let control = control(&node, &id)?;
    let mut body = Fields::of_request(request).await?;
    let instructions = instructions(&mut body)?;
    body.finish()?;
    let instructions = instructions.ok_or_else(|| ApiError::field("url", "is missing, and so is twiml"))?;
    Ok(told(control.redirect(&instructions).await?))
}

/// `POST /v1/calls/{id}/digits`: presses keys at the carrier, upon which a new stream follows; or lets them be heard on this
/// one.
pub(super) async fn digits(
    State(node): State<Node>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let control = control(&node, &id)?;
    let mut body = Fields::of_request(request).await?;
    if body.flag("in_band")?.unwrap_or(false) {
        return play::tones(&node, &id, body).await;
    }
    let digits = body.parsed("digits", Digits::parse)?;
    body.finish()?;
    let digits = digits.ok_or_else(|| ApiError::field("digits", "is missing"))?;
    Ok(told(control.send_digits(&digits).await?))
}

fn control(node: &Node, id: &str) -> Result<Control, ApiError> {
    node.control(id).ok_or(ApiError::NoCall)
}

pub(super) fn instructions(body: &mut Fields) -> Result<Option<Instructions>, ApiError> {
    let url = body.parsed("url", Instructions::url)?;
    let twiml = body.parsed("twiml", Instructions::twiml)?;
    match (url, twiml) {
        (Some(_), Some(_)) => Err(ApiError::field("url", "excludes twiml")),
        (url, twiml) => Ok(url.or(twiml)),
    }
}

fn told(updated: Updated) -> Response {
    let outcome = match updated {
        Updated::Done => "done",
        Updated::AlreadyGone => "already_gone",
    };
    (StatusCode::ACCEPTED, Json(json!({ "outcome": outcome }))).into_response()
}
