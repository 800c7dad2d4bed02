//! A collector of OpenTelemetry: takes spans over HTTP and decodes them with the ecosystem's own types. Beside it a language
//! model, so that a test sees which headers it is sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Willing,
    /// It refuses everything for good.
    Refusing,
    /// It takes requests, and rejects one span of each.
    Picky,
    /// It refuses the first request for now.
    BusyOnce,
    /// It takes requests and never answers.
    Mute,
}

#[derive(Debug)]
struct Taken {
    mood: Mood,
    headers: Vec<HeaderMap>,
    requests: Vec<ExportTraceServiceRequest>,
    model_headers: Vec<HeaderMap>,
}

type Shared = Arc<Mutex<Taken>>;

pub(crate) struct Collector {
    pub(crate) url: String,
    taken: Shared,
    _serving: JoinSet<()>,
}

async fn traces(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mood = {
        let mut taken = shared.lock().unwrap();
        let mood = taken.mood;
        taken.headers.push(headers);
        if mood == Mood::Willing {
            taken.requests.push(ExportTraceServiceRequest::decode(body).expect("an OTLP message"));
        } else if mood == Mood::BusyOnce {
            taken.mood = Mood::Willing;
        }
        mood
    };
    match mood {
        Mood::Willing => StatusCode::OK.into_response(),
        Mood::Picky => {
            let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too long".to_owned() };
            ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec().into_response()
        }
        Mood::Refusing => StatusCode::BAD_REQUEST.into_response(),
        Mood::BusyOnce => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response(),
        Mood::Mute => std::future::pending().await,
    }
}

/// A model that always says the same.
async fn model(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    shared.lock().unwrap().model_headers.push(headers);
    let events = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Marmalade is made of oranges.\"}}]}\n\n\
                  data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    ([("content-type", "text/event-stream")], events).into_response()
}

impl Collector {
    pub(crate) async fn start(mood: Mood) -> Self {
        let taken = Taken { mood, headers: Vec::new(), requests: Vec::new(), model_headers: Vec::new() };
        let taken = Arc::new(Mutex::new(taken));
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/chat/completions", post(model))
            .with_state(taken.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Collector { url, taken, _serving: serving }
    }

    /// Everything that was taken, in its order.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().unwrap();
        let resources = taken.requests.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    pub(crate) fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.taken.lock().unwrap().requests.clone()
    }

    /// Headers of what was sent to it.
    pub(crate) fn headers(&self) -> Vec<HeaderMap> {
        self.taken.lock().unwrap().headers.clone()
    }

    /// Headers of what its model was asked.
    pub(crate) fn model_headers(&self) -> Vec<HeaderMap> {
        self.taken.lock().unwrap().model_headers.clone()
    }
}

/// Attributes by name, as text.
pub(crate) fn attributes(span: &Span) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(flag) => flag.to_string(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other @ (Value::ArrayValue(_)
        | Value::KvlistValue(_)
        | Value::BytesValue(_)
        | Value::StringValueStrindex(_)) => {
            panic!("an attribute is {other:?}")
        }
    };
    let value = |value: &Option<_>| {
        let value: &Option<opentelemetry_proto::tonic::common::v1::AnyValue> = value;
        text(value.as_ref().unwrap().value.as_ref().unwrap())
    };
    span.attributes.iter().map(|attribute| (attribute.key.clone(), value(&attribute.value))).collect()
}
