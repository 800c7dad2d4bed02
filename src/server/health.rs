//! Is it alive, is it ready, what did it count.

use std::sync::Mutex;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::node::{Node, lock};

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// `GET /readyz`: new calls are welcome; 503 from the moment at which the node begins to stop.
pub(super) async fn ready(State(node): State<Node>) -> Response {
    if node.stopping().drain.is_cancelled() {
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
    node.scrapes().note();
    ([(header::CONTENT_TYPE, OPEN_METRICS)], node.meter().render()).into_response()
}

/// Nobody fetches numbers any more who has not done so for this long.
const FETCHED_LATELY: Duration = Duration::from_secs(120);
/// How long the last numbers are kept ready. A collector that asks less often misses them.
const LAST_NUMBERS: Duration = Duration::from_secs(30);

/// When the numbers were fetched.
#[derive(Debug)]
pub(super) struct Scrapes {
    count: watch::Sender<u64>,
    last: Mutex<Option<Instant>>,
}

impl Default for Scrapes {
    fn default() -> Self {
        Scrapes { count: watch::Sender::new(0), last: Mutex::default() }
    }
}

impl Scrapes {
    fn note(&self) {
        *lock(&self.last) = Some(Instant::now());
        self.count.send_modify(|count| *count += 1);
    }
}

impl Node {
    /// Waits until the numbers were fetched once more, if somebody does that; but not for long.
    pub(super) async fn numbers_fetched(&self) {
        let last = *lock(&self.scrapes().last);
        if last.is_none_or(|last| last.elapsed() > FETCHED_LATELY) {
            return;
        }
        let mut count = self.scrapes().count.subscribe();
        let _ = timeout(LAST_NUMBERS, count.changed()).await;
    }
}
