//! Asking a gateway: its calls and its metrics.

use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use trunkline::config::Secret;
use trunkline::http::{self, BodyEnd, Http, HttpError};

use super::scrape::Scrape;

/// Longest wait for both answers.
const LIMIT: Duration = Duration::from_secs(3);
/// Longest answer: ten thousand calls are some four megabytes.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Why a gateway could not be looked at. Holds neither the URL nor the token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error("--url is not the http or https url of a gateway")]
    Url(#[source] HttpError),
    #[error("the client")]
    Http(#[from] HttpError),
    #[error("the gateway cannot be reached")]
    Unreachable,
    #[error("the gateway did not answer within {} seconds", LIMIT.as_secs())]
    Slow,
    #[error("the api token is missing or wrong: name its file by --token-file, or set {}", super::TOKEN_VARIABLE)]
    Token,
    #[error("the gateway answered with status {0}")]
    Status(u16),
    #[error("the answer is not that of a gateway of this version")]
    Answer,
}

/// What a gateway told of itself at one moment.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) node: Node,
    pub(super) calls: Vec<Call>,
    pub(super) metrics: Scrape,
}

/// `node` of `GET /v1/calls`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Node {
    pub(super) uptime_s: f64,
    pub(super) calls: u64,
    pub(super) calls_max: u64,
    pub(super) draining: bool,
}

/// One call of `GET /v1/calls`. There is no number in it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) seconds: f64,
    pub(super) state: String,
    pub(super) voice: Option<String>,
    pub(super) turn_count: u64,
    pub(super) interruptions: u64,
    pub(super) last_wait_ms: Option<f64>,
    pub(super) underruns: u64,
    pub(super) failovers: u64,
    pub(super) late_p99_ms: f64,
}

#[derive(Deserialize)]
struct List {
    node: Node,
    calls: Vec<Call>,
}

/// A gateway that can be asked.
#[derive(Clone, Debug)]
pub(super) struct Gateway {
    http: Http,
    calls: Url,
    metrics: Url,
    authorization: Option<HeaderValue>,
}

impl Gateway {
    pub(super) fn new(url: &str, token: Option<&Secret>, authorities: Option<&Path>) -> Result<Self, LookError> {
        let base = url.trim_end_matches('/');
        let route = |path: &str| http::parse_url(&format!("{base}{path}"), "--url").map_err(LookError::Url);
        Ok(Gateway {
            http: Http::new(http::Settings { authorities, ..http::Settings::default() })?,
            calls: route("/v1/calls?turns=false")?,
            metrics: route("/metrics")?,
            authorization: token.map(|token| http::bearer(token, "the api token")).transpose()?,
        })
    }

    /// Asks for calls and metrics.
    pub(super) async fn look(&self) -> Result<Look, LookError> {
        let both = async { tokio::try_join!(self.get(&self.calls), self.get(&self.metrics)) };
        let (calls, metrics) = timeout(LIMIT, both).await.map_err(|_| LookError::Slow)??;
        let List { node, calls } = serde_json::from_slice(&calls).map_err(|_| LookError::Answer)?;
        let metrics = Scrape::parse(&String::from_utf8_lossy(&metrics));
        Ok(Look { at: Instant::now(), node, calls, metrics })
    }

    async fn get(&self, url: &Url) -> Result<Vec<u8>, LookError> {
        let mut request = self.http.client(url).get(url.clone());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = request.send().await.map_err(|_| LookError::Unreachable)?;
        match response.status().as_u16() {
            200 => {}
            401 => return Err(LookError::Token),
            status => return Err(LookError::Status(status)),
        }
        match http::read(response, ANSWER_BYTES_MAX).await {
            (body, BodyEnd::Whole) => Ok(body),
            (_, BodyEnd::Long) => Err(LookError::Answer),
            (_, BodyEnd::Cut) => Err(LookError::Unreachable),
        }
    }
}
