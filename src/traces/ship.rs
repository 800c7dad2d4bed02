//! Spans on their way to the collector: in batches, by one task, and without anybody's waiting for it.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::trace::SpanData;
use prost::Message as _;
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Request, StatusCode};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Traces;
use crate::driver::meter::SpanEnd;
use crate::http::{self, Exchange as _};

/// Spans in one request: a call of ten turns has about seventy.
const BATCH_SPANS: usize = 512;
/// A batch is collected for so long.
const LINGER: Duration = Duration::from_millis(500);
/// Tries at one batch, when the collector says that a later one may be taken.
const TRIES: u32 = 3;
/// Longest wait between two of them, whatever the collector says.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long sending may go on after the end, once for what is under way and once for what waits.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// An answer is an empty message, or a line on what was rejected.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What became of a try.
enum Tried {
    /// Taken, but for so many of its spans.
    Taken(usize),
    /// It may be taken later: after so long, if the collector said so.
    Later(Option<Duration>),
    Refused,
}

impl Traces {
    /// Sends spans until `stop`, then what is left of them, for four seconds at most. Only the first caller does; for any
    /// other it returns at once.
    pub async fn ship(self, stop: CancellationToken) {
        let Some(mut receiver) = self.take_receiver() else { return };
        let mut is_down = false;
        while let Some(batch) = next_batch(&mut receiver, &stop).await {
            let late = async {
                stop.cancelled().await;
                sleep(FLUSH_LIMIT).await;
            };
            self.send_until(batch, &mut is_down, late).await;
        }
        receiver.close();
        let deadline = Instant::now() + FLUSH_LIMIT;
        while let Some(batch) = next_batch(&mut receiver, &CancellationToken::new()).await {
            self.send_until(batch, &mut is_down, sleep_until(deadline)).await;
        }
    }

    /// Sends one batch, unless it is too late before that is done.
    async fn send_until(&self, batch: Vec<SpanData>, is_down: &mut bool, late: impl Future<Output = ()>) {
        let spans = batch.len();
        tokio::select! {
            biased;
            () = late => self.0.meter.spans(SpanEnd::Failed, spans),
            () = self.send(batch, is_down) => {}
        }
    }

    /// Sends one batch, and counts what became of it.
    async fn send(&self, batch: Vec<SpanData>, is_down: &mut bool) {
        let spans = batch.len();
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.0.resource);
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let mut pause = Duration::from_secs(1);
        let mut rejected = None;
        for tries in 1..=TRIES {
            let wished = match self.attempt(body.clone()).await {
                Tried::Taken(some) => {
                    rejected = Some(some.min(spans));
                    break;
                }
                Tried::Refused => break,
                Tried::Later(wished) => wished,
            };
            if tries < TRIES {
                sleep(wished.unwrap_or(pause).min(RETRY_MAX)).await;
                pause *= 2;
            }
        }
        let failed = rejected.unwrap_or(spans);
        self.0.meter.spans(SpanEnd::Sent, spans - failed);
        self.0.meter.spans(SpanEnd::Failed, failed);
        let taken = failed == 0;
        if std::mem::replace(is_down, !taken) == taken {
            match taken {
                true => tracing::info!("the collector takes spans again"),
                // Once for each time that it is down, not once for each batch.
                false => tracing::warn!("the collector of otlp.url does not take spans; calls go on without"),
            }
        }
    }

    async fn attempt(&self, body: Vec<u8>) -> Tried {
        let mut request = Request::new(Method::POST, self.0.url.clone());
        *request.headers_mut() = self.0.headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        *request.body_mut() = Some(body.into());
        let answered = async {
            let response = self.0.http.exchange(request).await.map_err(|_| Tried::Later(None))?;
            let (status, wished) = (response.status(), response.headers().get(RETRY_AFTER).cloned());
            // Read in any case, so that the connection is used again.
            let (body, _) = http::read(response, ANSWER_BYTES_MAX).await;
            Ok((status, wished, body))
        };
        let (status, wished, body) = match timeout(self.0.timeout, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(tried)) => return tried,
            Err(_) => return Tried::Later(None),
        };
        // The codes that the protocol names for "not now".
        let is_later = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        if status.is_success() {
            return Tried::Taken(rejected(&body));
        }
        if !is_later.contains(&status) {
            return Tried::Refused;
        }
        let seconds = wished.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Tried::Later(seconds.map(Duration::from_secs))
    }
}

/// How many spans of a request were rejected, by the answer to it: most collectors say nothing when it is none.
fn rejected(answer: &[u8]) -> usize {
    let partial = ExportTraceServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
    partial.and_then(|partial| usize::try_from(partial.rejected_spans).ok()).unwrap_or(0)
}

/// The spans of the next while; `None` at the end, when nobody sends any more or has to.
async fn next_batch(receiver: &mut mpsc::Receiver<SpanData>, stop: &CancellationToken) -> Option<Vec<SpanData>> {
    let first = tokio::select! {
        biased;
        () = stop.cancelled() => return None,
        first = receiver.recv() => first?,
    };
    let mut batch = vec![first];
    let until = Instant::now() + LINGER;
    while batch.len() < BATCH_SPANS {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            more = timeout_at(until, receiver.recv()) => match more {
                Ok(Some(span)) => batch.push(span),
                Ok(None) | Err(_) => break,
            },
        }
    }
    Some(batch)
}
