//! What the carrier asks over HTTP: what to do with a call, and what became of a stream.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::after::AFTER;
use super::facts::Facts;
use super::guard::{refuse, signature_headers};
use super::node::{Node, Trust};
use super::twilio::order::{self, OrderError};
use super::twilio::signature::Body;
use super::twilio::token::PARAMETER;
use super::twilio::twiml::{self, ConnectStream};
use super::twilio::webhook::Fields;

/// Where the carrier asks what to do with a call.
pub(super) const VOICE: &str = "/twilio/voice";
const STREAM_STATUS: &str = "/twilio/stream-status";
const MEDIA: &str = "/twilio/media";

/// `GET` and `POST /twilio/voice`: a call came in, or one of our own was answered. Answers with TwiML that opens a stream to
/// us.
pub(super) async fn voice(
    State(node): State<Node>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body = if method == Method::GET { Body::Empty } else { body_of(&headers, &body) };
    if let Some(refused) = check(&node, VOICE, query.as_deref(), body, &headers) {
        return refused;
    }
    let fields = match body {
        Body::Form(form) => Fields::decode(form),
        Body::Empty | Body::Json(_) => Fields::decode(query.as_deref().unwrap_or_default().as_bytes()),
    };
    let call = match fields.call_sid() {
        Ok(call) => call,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("CallSid: {error}\n")).into_response(),
    };
    let order = Fields::decode(query.as_deref().unwrap_or_default().as_bytes());
    let order = order.get(order::QUERY);
    let ordered = match order.map_or(Ok(BTreeMap::new()), |order| node.unseal(order)) {
        Ok(ordered) => ordered,
        Err(error @ OrderError::Expired) => {
            tracing::warn!(%call, %error, "the call is ended");
            return xml(twiml::hang_up());
        }
        Err(error @ (OrderError::Forged | OrderError::Long)) => {
            tracing::warn!(%call, %error, "the call is refused");
            return (StatusCode::FORBIDDEN, "order: not one of ours\n").into_response();
        }
    };
    // A call of ours that comes back, after keys were pressed on it, has its seat.
    if !node.was_expected(&call)
        && let Err(refused) = node.welcome(fields.get("AccountSid"))
    {
        tracing::info!(%call, reason = refused.kind(), "the call is sent away");
        return xml(sent_away(&node, &fields, order));
    }
    let Some(Urls { stream, status, after }) = urls(&node, &headers) else {
        return (StatusCode::BAD_REQUEST, "Host: missing\n").into_response();
    };
    let token = match node.mint(&call) {
        Ok(token) => token,
        Err(error) => {
            tracing::error!(%error, "no stream token can be made");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let facts = Facts::of_webhook(&fields).parameters();
    let mut handed = node.settings().parameters.clone();
    handed.extend(ordered);
    let parameters: Vec<(&str, &str)> = std::iter::once((PARAMETER, token.as_str()))
        .chain(facts.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .chain(handed.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .collect();
    tracing::info!(%call, "the call is answered with a stream");
    xml(twiml::connect_stream(&ConnectStream {
        stream_url: &stream,
        parameters: &parameters,
        action: after.as_deref(),
        status_callback: Some(&status),
    }))
}

/// What a call hears that cannot be taken. One that was answered before cannot be refused any more, only ended.
fn sent_away(node: &Node, fields: &Fields, order: Option<&str>) -> String {
    let is_answered = fields.get("CallStatus") == Some("in-progress")
        || fields.get("Direction").is_some_and(|direction| direction.starts_with("outbound"));
    match (&node.settings().busy_redirect_url, order) {
        // Whoever takes the call in our place knows by the same key what was ordered.
        (Some(url), Some(order)) => {
            let separator = if url.contains('?') { '&' } else { '?' };
            twiml::redirect(&format!("{url}{separator}{}={order}", order::QUERY))
        }
        (Some(url), None) => twiml::redirect(url),
        (None, _) if is_answered || !node.settings().busy.has_tone => twiml::say(&node.settings().busy.line),
        (None, _) => twiml::busy(),
    }
}

/// `POST /twilio/stream-status`: a stream started, stopped or failed. Logged, nothing more.
pub(super) async fn stream_status(
    State(node): State<Node>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refused) = check(&node, STREAM_STATUS, query.as_deref(), body_of(&headers, &body), &headers) {
        return refused;
    }
    let fields = Fields::decode(&body);
    let field = |name| fields.get(name).unwrap_or_default();
    let (call, stream, event, error) =
        (field("CallSid"), field("StreamSid"), field("StreamEvent"), field("StreamError"));
    tracing::info!(call, stream, event, error, "the carrier tells of a stream");
    StatusCode::NO_CONTENT.into_response()
}

pub(super) fn check(
    node: &Node,
    route: &str,
    query: Option<&str>,
    body: Body<'_>,
    headers: &HeaderMap,
) -> Option<Response> {
    match &node.settings().trust {
        Trust::Signed { verifier, .. } => {
            verifier.webhook(route, query, body, signature_headers(headers)).err().map(|refusal| refuse(node, &refusal))
        }
        Trust::Open | Trust::Insecure => None,
    }
}

/// Where the carrier goes with the call.
struct Urls {
    stream: String,
    status: String,
    after: Option<String>,
}

/// Without a public URL only this machine can reach us, by whatever name it just used.
fn urls(node: &Node, headers: &HeaderMap) -> Option<Urls> {
    let (stream, status, after) = match &node.settings().public_url {
        Some(url) => (url.ws_url(MEDIA), url.http_url(STREAM_STATUS), url.http_url(AFTER)),
        None => {
            let host = headers.get(header::HOST)?.to_str().ok()?;
            let s = if node.settings().tls.is_some() { "s" } else { "" };
            let http = |path: &str| format!("http{s}://{host}{path}");
            (format!("ws{s}://{host}{MEDIA}"), http(STREAM_STATUS), http(AFTER))
        }
    };
    let settings = node.settings();
    let after = if settings.after_app.is_some() { Some(after) } else { settings.after_url.clone() };
    Some(Urls { stream, status, after })
}

pub(super) fn body_of<'a>(headers: &HeaderMap, body: &'a [u8]) -> Body<'a> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.starts_with("application/json") { Body::Json(body) } else { Body::Form(body) }
}

pub(super) fn xml(text: String) -> Response {
    ([(header::CONTENT_TYPE, twiml::CONTENT_TYPE)], text).into_response()
}
