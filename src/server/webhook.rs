//! What the carrier asks over HTTP: what to do with a call, and what became of a stream.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::guard::{refuse, signature_headers};
use super::node::{Node, Trust};
use super::twilio::signature::Body;
use super::twilio::token::PARAMETER;
use super::twilio::twiml::{self, ConnectStream};
use super::twilio::webhook::Fields;

const VOICE: &str = "/twilio/voice";
const STREAM_STATUS: &str = "/twilio/stream-status";
const MEDIA: &str = "/twilio/media";

/// `GET` and `POST /twilio/voice`: a call came in. Answers with TwiML that opens a stream to us.
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
    if !node.has_room() {
        node.meter().refused(if node.draining().is_cancelled() { "draining" } else { "full" });
        tracing::info!(%call, "the call is sent away");
        return xml(match &node.settings().busy_redirect_url {
            Some(url) => twiml::redirect(url),
            None => twiml::busy(),
        });
    }
    let Some((stream_url, status_url)) = urls(&node, &headers) else {
        return (StatusCode::BAD_REQUEST, "Host: missing\n").into_response();
    };
    let token = match node.mint(&call) {
        Ok(token) => token,
        Err(error) => {
            tracing::error!(%error, "no stream token can be made");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let parameters: Vec<(&str, &str)> = std::iter::once((PARAMETER, token.as_str()))
        .chain(node.settings().parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .collect();
    tracing::info!(%call, "the call is answered with a stream");
    xml(twiml::connect_stream(&ConnectStream {
        stream_url: &stream_url,
        parameters: &parameters,
        action: node.settings().after_url.as_deref(),
        status_callback: Some(&status_url),
    }))
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

fn check(node: &Node, route: &str, query: Option<&str>, body: Body<'_>, headers: &HeaderMap) -> Option<Response> {
    match &node.settings().trust {
        Trust::Signed { verifier, .. } => {
            verifier.webhook(route, query, body, signature_headers(headers)).err().map(|refusal| refuse(node, &refusal))
        }
        Trust::Open | Trust::Insecure => None,
    }
}

/// Where the stream goes. Without a public URL only this machine can reach us, by whatever name it just used.
fn urls(node: &Node, headers: &HeaderMap) -> Option<(String, String)> {
    match &node.settings().public_url {
        Some(url) => Some((url.ws_url(MEDIA), url.http_url(STREAM_STATUS))),
        None => {
            let host = headers.get(header::HOST)?.to_str().ok()?;
            Some((format!("ws://{host}{MEDIA}"), format!("http://{host}{STREAM_STATUS}")))
        }
    }
}

fn body_of<'a>(headers: &HeaderMap, body: &'a [u8]) -> Body<'a> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.starts_with("application/json") { Body::Json(body) } else { Body::Form(body) }
}

fn xml(text: String) -> Response {
    ([(header::CONTENT_TYPE, twiml::CONTENT_TYPE)], text).into_response()
}
