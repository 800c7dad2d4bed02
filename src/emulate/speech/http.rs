//! One connection, and what is served on it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::fault::FaultKind;
use super::journal::{End, Journal, Record};
use super::playing::{Playing, Tally};
use super::request::{self, Format, Framing, Request};
use super::speaking::{self, Speech};
use super::{Place, Shared, Voice};
use crate::emulate::llm::refusal::Refusal;

/// What is served.
const SPEECH: &str = "/v1/audio/speech";
const JOURNAL: &str = "/journal";

/// Longest request: input and instructions, of 4096 characters each.
const BODY_BYTES_MAX: usize = 128 * 1024;

/// Longest time for the body of a request.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// Longest time for the head of a request, and for which an idle connection is kept.
const HEAD_LIMIT: Duration = Duration::from_secs(60);

/// Seconds that a client is told to wait after a 429.
const RETRY_AFTER_SECONDS: u16 = 1;

/// What somebody else's server says when it is no server of speech.
const PAGE: &str = "<!DOCTYPE html><html><body><h1>It works!</h1></body></html>\n";

type Body = UnsyncBoxBody<Bytes, std::io::Error>;
type Asked = hyper::Request<Incoming>;

/// A connection in the counts.
struct Counted(Journal);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count(|counts| counts.closed += 1);
    }
}

/// Serves one connection until it ends or `stop`, which drops it.
pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>, stop: CancellationToken) {
    let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
    shared.journal.count(|counts| counts.connections += 1);
    let _counted = Counted(shared.journal.clone());
    let service = service_fn(|request| {
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        async move {
            let is_last = shared.faults.take(FaultKind::CloseEach).is_some();
            let mut response = answer(request, number, &shared, stop).await;
            if is_last {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
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

async fn answer(request: Asked, connection: u64, shared: &Arc<Shared>, stop: CancellationToken) -> Response<Body> {
    if let Err(refusal) = authorized(&request, shared) {
        return refused(&refusal);
    }
    match (request.uri().path(), request.method()) {
        (SPEECH, &Method::POST) => speech(request, connection, shared, stop).await,
        (JOURNAL, &Method::GET) => reply(StatusCode::OK, &shared.journal.to_json()),
        (SPEECH | JOURNAL, _) => refused(&Refusal::method()),
        (_, _) => refused(&Refusal::no_path()),
    }
}

/// The only key is in `Authorization: Bearer KEY`; a server without a key asks for none, like most local ones.
fn authorized(request: &Asked, shared: &Shared) -> Result<(), Refusal> {
    let Some(expected) = &shared.settings.api_key else { return Ok(()) };
    let header = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    let key = header.and_then(|header| header.split_once(' '));
    let key = key.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key.trim());
    if key.is_some_and(|key| *expected == super::ApiKey::new(key)) { Ok(()) } else { Err(Refusal::unauthorized()) }
}

async fn speech(asked: Asked, connection: u64, shared: &Arc<Shared>, stop: CancellationToken) -> Response<Body> {
    let (journal, number) = (&shared.journal, shared.journal.number());
    let mut tally = Tally::new(journal.clone(), number, stop);
    if let Some(ms) = shared.faults.take(FaultKind::SlowReader) {
        sleep(Duration::from_millis(ms.into())).await;
    }
    let request = match read(asked, shared).await {
        Ok(request) => request,
        Err(refusal) => {
            let (status, refused_param) = (Some(refusal.status.as_u16()), refusal.param.clone());
            journal.begin(Record { number, connection, status, refused_param, ..Record::default() });
            tally.end(End::Refused);
            return refused(&refusal);
        }
    };
    journal.begin(Record {
        number,
        connection,
        model: request.model.clone(),
        voice: request.voice.clone(),
        input: request.input.clone(),
        instructions: request.instructions.clone(),
        speed: request.speed,
        tone: (shared.settings.voice == Voice::Tone).then(|| speaking::tone_of(number)),
        ..Record::default()
    });
    let place = Place::take(shared);
    if let Some(ms) = shared.faults.take(FaultKind::AnswerSlow) {
        sleep(Duration::from_millis(ms.into())).await;
    }
    let (place, speech) = match admitted(place, &request, number, shared).await {
        Ok(admitted) => admitted,
        Err(status) => {
            journal.update(number, |record| record.status = Some(status.as_u16()));
            tally.end(End::Refused);
            return refused(&Refusal::fault(status));
        }
    };
    journal.update(number, |record| {
        record.status = Some(200);
        record.words.clone_from(&speech.words);
        record.samples = speech.samples;
    });
    answered(request, speech, place, tally)
}

/// Lets a request that is good in itself be spoken, or the status that it is refused with.
async fn admitted(
    place: Option<Place>,
    request: &Request,
    number: u64,
    shared: &Arc<Shared>,
) -> Result<(Place, Speech), StatusCode> {
    let refusal = shared.faults.take(FaultKind::Refuse).and_then(|status| u16::try_from(status).ok());
    if let Some(status) = refusal.and_then(|status| StatusCode::from_u16(status).ok()) {
        return Err(status);
    }
    let place = place.ok_or(StatusCode::TOO_MANY_REQUESTS)?;
    let speech = Speech::of(request, number, shared).await;
    Ok((place, speech.ok_or(StatusCode::INTERNAL_SERVER_ERROR)?))
}

/// A success, or what passes for one.
fn answered(request: Request, speech: Speech, place: Place, mut tally: Tally) -> Response<Body> {
    let faults = &place.0.faults;
    let page = faults.take(FaultKind::Garbage).map(|_| ("text/html", PAGE));
    if let Some((content_type, body)) = page.or_else(|| faults.take(FaultKind::Empty).map(|_| ("audio/pcm", ""))) {
        tally.end(End::Failed);
        return respond(StatusCode::OK, content_type, whole(body));
    }
    let content_type = match (request.framing, request.format) {
        (Framing::Sse, _) => "text/event-stream",
        (Framing::Audio, Format::Pcm) => "audio/pcm",
        (Framing::Audio, Format::Wav) => "audio/wav",
    };
    let playing = Playing::new(request, speech, place, tally);
    respond(StatusCode::OK, content_type, StreamBody::new(playing.body()).boxed_unsync())
}

/// A request, checked.
async fn read(asked: Asked, shared: &Shared) -> Result<Request, Refusal> {
    let content_type = asked.headers().get(CONTENT_TYPE).and_then(|header| header.to_str().ok()).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    if !content_type.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::body("The body has to be of type application/json."));
    }
    let body = timeout(BODY_LIMIT, Limited::new(asked.into_body(), BODY_BYTES_MAX).collect()).await;
    let body = body.map_err(|_| Refusal::body("The body did not come in time."))?;
    let body = body.map_err(|_| Refusal::too_long())?.to_bytes();
    let request = request::read(&body)?;
    let is_known = |known: &Option<Vec<String>>, name: &String| known.as_ref().is_none_or(|known| known.contains(name));
    if !is_known(&shared.settings.models, &request.model) {
        return Err(Refusal::no_model());
    }
    if !is_known(&shared.settings.voices, &request.voice) {
        return Err(Refusal::invalid("voice", "there is no such voice"));
    }
    Ok(request)
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let mut response = reply(refusal.status, &refusal.to_json());
    if refusal.status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    response
}

fn reply(status: StatusCode, json: &Value) -> Response<Body> {
    respond(status, "application/json", whole(json.to_string()))
}

fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
