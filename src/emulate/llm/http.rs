//! One connection, and what is served on it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Answer};
use super::fault::FaultKind;
use super::journal::{End, Exchange};
use super::plan::{self, Pace, Switches};
use super::playing::{self, Tally};
use super::refusal::Refusal;
use super::{Shared, request};

/// What is served, besides one model under [`MODELS`].
const CHAT: &str = "/v1/chat/completions";
const MODELS: &str = "/v1/models";
const JOURNAL: &str = "/journal";

/// Longest request; a long conversation has a few hundred KiB.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Longest time for the body of a request.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// Longest time for the head of a request, and for which an idle connection is kept.
const HEAD_LIMIT: Duration = Duration::from_secs(60);

/// Seconds that a client is told to wait after a 429.
const RETRY_AFTER_SECONDS: u16 = 1;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Serves one connection until it ends or `stop`, which drops it.
pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>, stop: CancellationToken) {
    let service = service_fn(|request| {
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        async move { Ok::<_, Infallible>(answer(request, &shared, stop).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        // A client that leaves in the middle is an error to the library and an everyday affair here.
        _ = connection => {}
    }
}

async fn answer(request: Request<Incoming>, shared: &Shared, stop: CancellationToken) -> Response<Body> {
    if let Err(refusal) = authorized(&request, shared) {
        return refused(&refusal);
    }
    let get = request.method() == Method::GET;
    let path = request.uri().path().to_owned();
    let models = shared.models();
    match path.as_str() {
        CHAT if request.method() == Method::POST => chat(request, shared, stop).await,
        MODELS if get => {
            let models: Vec<Value> = models.iter().map(|id| answer::model(id)).collect();
            reply(StatusCode::OK, &json!({"object": "list", "data": models}))
        }
        JOURNAL if get => reply(StatusCode::OK, &shared.journal.to_json()),
        CHAT | MODELS | JOURNAL => refused(&Refusal::method()),
        path => match path.strip_prefix(MODELS).and_then(|rest| rest.strip_prefix('/')) {
            Some(id) if get && models.contains(&id) => reply(StatusCode::OK, &answer::model(id)),
            Some(_) if get => refused(&Refusal::no_model()),
            Some(_) => refused(&Refusal::method()),
            None => refused(&Refusal::no_path()),
        },
    }
}

/// The only key is in `Authorization: Bearer KEY`; a server without a key asks for none, like most local ones.
fn authorized(request: &Request<Incoming>, shared: &Shared) -> Result<(), Refusal> {
    let Some(expected) = &shared.settings.api_key else { return Ok(()) };
    let header = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    let key = header.and_then(|header| header.split_once(' '));
    let key = key.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key.trim());
    if key == Some(expected.0.as_str()) { Ok(()) } else { Err(Refusal::unauthorized()) }
}

async fn chat(request: Request<Incoming>, shared: &Shared, stop: CancellationToken) -> Response<Body> {
    let number = shared.journal.number();
    let (request, bytes) = match read(request, shared).await {
        Ok(read) => read,
        Err(refusal) => {
            let (status, refused_param) = (Some(refusal.status.as_u16()), refusal.param.clone());
            shared.journal.begin(Exchange { number, status, refused_param, ..Exchange::default() }, 0);
            shared.journal.ended(number, End::Refused);
            return refused(&refusal);
        }
    };
    let rules = shared.settings.script.rules();
    let rule = answer::rule_for(rules.iter(), &request.heard, &request.tools);
    let faults = Switches { rule: rule.and_then(|rule| shared.rule_faults.get(rule)), server: &shared.faults };
    let is_hung = faults.take(FaultKind::Hang).is_some();
    let status = if is_hung { None } else { Some(status(faults)) };
    let mut answer = Answer::new(number, &request, rule.and_then(|rule| rules.get(rule)));
    if status == Some(StatusCode::OK) && faults.take(FaultKind::Empty).is_some() {
        answer.silence();
    }
    let stream = request.stream;
    let exchange = Exchange {
        number,
        status: status.map(|status| status.as_u16()),
        model: request.model,
        messages: request.messages,
        tools: request.tools,
        stream,
        rule,
        text: answer.text().map(str::to_owned).collect(),
        calls: answer.calls(),
        tokens_planned: answer.tokens(),
        ..Exchange::default()
    };
    shared.journal.begin(exchange, bytes);
    let mut tally = Tally::new(shared.journal.clone(), number, stop);
    match status {
        Some(StatusCode::OK) => {
            let pace = Pace { first_token: shared.settings.first_token, token: shared.settings.token };
            let steps = if stream { plan::stream(&answer, pace, faults) } else { plan::whole(&answer, pace, faults) };
            answered(number, stream, playing::body(steps, tally))
        }
        Some(status) => {
            tally.end(End::Refused);
            refused(&Refusal::fault(status))
        }
        // Nothing comes of it before the client leaves, which drops this and the tally with it.
        None => std::future::pending().await,
    }
}

/// The status of an answer: 200 if no fault wants another.
fn status(faults: Switches<'_>) -> StatusCode {
    let status = faults.take(FaultKind::Status).and_then(|status| u16::try_from(status).ok());
    status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK)
}

fn answered(
    number: u64,
    stream: bool,
    body: impl Stream<Item = std::io::Result<Frame<Bytes>>> + Send + 'static,
) -> Response<Body> {
    let content_type = if stream { "text/event-stream; charset=utf-8" } else { "application/json" };
    let mut response = respond(StatusCode::OK, content_type, StreamBody::new(body).boxed_unsync());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(id) = HeaderValue::try_from(format!("req_{number}")) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// A chat's request and its length, checked.
async fn read(request: Request<Incoming>, shared: &Shared) -> Result<(request::Request, usize), Refusal> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|header| header.to_str().ok()).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    if !content_type.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::body("The body has to be of type application/json."));
    }
    let body = timeout(BODY_LIMIT, Limited::new(request.into_body(), BODY_BYTES_MAX).collect()).await;
    let body = body.map_err(|_| Refusal::body("The body did not come in time."))?;
    let body = body.map_err(|_| Refusal::too_long())?.to_bytes();
    let request = request::read(&body)?;
    if shared.settings.models.as_ref().is_some_and(|models| !models.contains(&request.model)) {
        return Err(Refusal::no_model());
    }
    Ok((request, body.len()))
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let mut response = reply(refusal.status, &refusal.to_json());
    if refusal.status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    response
}

fn reply(status: StatusCode, json: &Value) -> Response<Body> {
    let body = Full::from(json.to_string()).map_err(|never| match never {}).boxed_unsync();
    respond(status, "application/json", body)
}

fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
