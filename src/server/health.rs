//! Is it alive, is it ready, what did it count.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::node::Node;

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// `GET /readyz`: new calls are welcome; 503 from the moment at which the node begins to stop.
pub(super) async fn ready(State(node): State<Node>) -> Response {
    if node.draining().is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else {
        "ready\n".into_response()
    }
}

/// `GET /metrics`: the text format of OpenMetrics, which Prometheus reads.
pub(super) async fn metrics(State(node): State<Node>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    for account in node.accounts().filter_map(|(_, account)| account) {
        account.show();
    }
    ([(header::CONTENT_TYPE, OPEN_METRICS)], node.meter().render()).into_response()
}
