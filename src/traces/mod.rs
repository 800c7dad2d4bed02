//! Traces of calls for OpenTelemetry: a span for each call, in it one for each turn, in it one for each part of the caller's
//! wait. They are made of the core's reports with the core's own times, after the fact, and hold figures and names of the
//! configuration: never a word, a number or audio.
//!
//! The types and their encoding are the ecosystem's own crates. They are sent by our HTTP client, not by
//! `opentelemetry-otlp`: that crate compiles the metrics half of the SDK (twice the build time of all the rest), and lets
//! variables of the environment change what goes where.

mod call;
mod ship;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanKind, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    IdGenerator as _, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample as _, SpanData,
};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

pub use call::{About, CallTrace};

use crate::driver::Meter;
use crate::driver::meter::SpanEnd;
use crate::http::{self, Http, HttpError};
use crate::secret::Secret;

/// Where spans go, and which.
#[derive(Clone)]
pub struct Settings {
    /// The collector: its traces' URL, or its address alone, to which `/v1/traces` is added.
    pub url: String,
    /// Headers of every request; their values may be secrets.
    pub headers: Vec<(String, Secret)>,
    /// PEM file of authorities to trust in place of those of the web.
    pub ca_file: Option<PathBuf>,
    /// What this program is called in traces.
    pub service_name: String,
    /// Part of the calls that are traced, 0 to 1.
    pub sample: f64,
    /// How long one request may take, connecting included.
    pub timeout: Duration,
    /// Spans that may wait to be sent; what comes beyond them is dropped.
    pub queue: usize,
}

/// Why there can be no traces. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The collector cannot be asked.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A header cannot be sent.
    #[error("header {0} cannot stand in a request")]
    Header(String),
}

/// The way of spans to their collector. Clones share it.
#[derive(Clone)]
pub struct Traces(Arc<Shared>);

struct Shared {
    sender: mpsc::Sender<SpanData>,
    /// Until somebody ships them.
    receiver: Mutex<Option<mpsc::Receiver<SpanData>>>,
    http: Http,
    url: Url,
    headers: HeaderMap,
    timeout: Duration,
    resource: ResourceAttributesWithSchema,
    scope: InstrumentationScope,
    sampler: Sampler,
    ids: RandomIdGenerator,
    meter: Arc<Meter>,
}

impl std::fmt::Debug for Traces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may have a key in it.
        f.debug_struct("Traces").field("sampler", &self.0.sampler).finish_non_exhaustive()
    }
}

impl Traces {
    /// A way that has carried nothing yet. What becomes of spans is counted on `meter`.
    ///
    /// # Errors
    /// [`TracesError`].
    pub fn new(settings: Settings, meter: Arc<Meter>) -> Result<Self, TracesError> {
        let mut url = http::parse_url(&settings.url, "url")?;
        if url.path() == "/" {
            url.set_path("/v1/traces");
        }
        let authorities = settings.ca_file.as_deref();
        let http = Http::new(http::Settings { authorities, ..http::Settings::default() })?;
        let (sender, receiver) = mpsc::channel(settings.queue.max(1));
        // `OTEL_RESOURCE_ATTRIBUTES` is heeded: it is how an orchestrator says which pod this is.
        let resource = Resource::builder()
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_service_name(settings.service_name)
            .build();
        let scope = InstrumentationScope::builder("trunkline").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Traces(Arc::new(Shared {
            sender,
            receiver: Mutex::new(Some(receiver)),
            http,
            url,
            headers: headers(settings.headers)?,
            timeout: settings.timeout,
            resource: ResourceAttributesWithSchema::from(&resource),
            scope,
            sampler: Sampler::TraceIdRatioBased(settings.sample),
            ids: RandomIdGenerator::default(),
            meter,
        })))
    }

    /// The trace of a call that begins at `started`. Whether it is one that is sent is decided here, for all of it.
    pub fn begin(&self, about: About, started: SystemTime) -> CallTrace {
        let Shared { sampler, ids, .. } = &*self.0;
        let trace = ids.new_trace_id();
        let sampled = sampler.should_sample(None, trace, "call", &SpanKind::Server, &[], &[]);
        let flags = TraceFlags::default().with_sampled(sampled.decision == SamplingDecision::RecordAndSample);
        let root = SpanContext::new(trace, ids.new_span_id(), flags, false, TraceState::default());
        CallTrace::new(self.clone(), root, about, started)
    }

    /// Puts a span on its way, if there is room for it: a call waits for nobody.
    fn put(&self, span: SpanData) {
        match self.0.sender.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => self.0.meter.spans(SpanEnd::Dropped, 1),
        }
    }

    fn take_receiver(&self) -> Option<mpsc::Receiver<SpanData>> {
        self.0.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn headers(wanted: Vec<(String, Secret)>) -> Result<HeaderMap, TracesError> {
    let mut headers = HeaderMap::new();
    for (name, value) in wanted {
        let header = HeaderName::try_from(&name).ok().zip(HeaderValue::try_from(value.expose()).ok());
        let (header, mut value) = header.ok_or(TracesError::Header(name))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}
