//! Running what a model called: the operator's HTTP endpoints, and handing a caller over.

use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::HeaderMap;
use reqwest::{Response, Url};
use serde::Serialize;
use serde_json::{Map, Value};

use super::brain::Outcome;
use super::history::RESULT_BYTES_MAX;
use super::settings::{Tool, headers};
use crate::http::outbound::{Guarded, refusal_of};
use crate::http::{self, BodyEnd, HttpError, parse_url};

/// Longest wait for the carrier to hand a caller over.
pub(super) const TRANSFER_LIMIT: Duration = Duration::from_secs(15);

/// What the model is told of a tool that nobody answers for, and of one that may not be asked. Why not, is the operator's
/// affair, and stands in the log.
const UNREACHABLE: &str = "error: the tool cannot be reached";
const FORBIDDEN: &str = "error: the tool cannot be used";

/// Whoever can hand the caller of one call over to a number.
pub trait Transfer: Send + Sync + std::fmt::Debug {
    /// Connects the caller to `number`. Dropping the future leaves it open whether that happens.
    fn transfer(&self, number: &str) -> BoxFuture<'static, Result<(), TransferError>>;
}

/// Why a caller could not be handed over. Holds no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller cannot be connected: {reason}")]
pub struct TransferError {
    /// A few words for the log.
    pub reason: String,
}

/// What is posted to a tool.
#[derive(Debug, Serialize)]
struct Posted<'a> {
    call_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    control_url: Option<&'a str>,
    tool_call_id: &'a str,
    name: &'a str,
    arguments: &'a Map<String, Value>,
}

/// One of the operator's tools.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    guarded: Guarded,
    name: String,
    url: Url,
    headers: HeaderMap,
    timeout: Duration,
}

impl Endpoint {
    pub(super) fn new(guarded: &Guarded, tool: &Tool) -> Result<Self, HttpError> {
        Ok(Endpoint {
            guarded: guarded.clone(),
            name: tool.name.clone(),
            url: parse_url(&tool.url, "a tool's url")?,
            headers: headers(tool.token.as_ref(), "a tool's token")?,
            timeout: tool.timeout,
        })
    }

    /// Posts the arguments of a call; what the model is told of it. A fault is told to the model, never to the caller.
    pub(super) async fn post(
        self,
        call_id: String,
        control_url: Option<String>,
        tool_call_id: String,
        arguments: Map<String, Value>,
        traceparent: Option<String>,
    ) -> Outcome {
        let posted = Posted {
            call_id: &call_id,
            control_url: control_url.as_deref(),
            tool_call_id: &tool_call_id,
            name: &self.name,
            arguments: &arguments,
        };
        let answered = async {
            let client = self.guarded.client(&self.url).map_err(|_| FORBIDDEN.to_owned())?;
            let request = client.post(self.url.clone()).headers(self.headers).json(&posted);
            let request = http::traced(request, traceparent.as_deref());
            let failed = |error| refusal_of(&error).map_or(UNREACHABLE, |_| FORBIDDEN);
            read(request.send().await.map_err(|error| failed(error).to_owned())?).await
        };
        match tokio::time::timeout(self.timeout, answered).await {
            Ok(Ok(text)) => Outcome::Good(text),
            Ok(Err(reason)) => {
                tracing::warn!(tool = self.name, "a tool failed");
                Outcome::Bad(reason)
            }
            Err(_) => {
                tracing::warn!(tool = self.name, "a tool did not answer in time");
                Outcome::Bad("error: the tool did not answer in time".to_owned())
            }
        }
    }
}

async fn read(response: Response) -> Result<String, String> {
    let status = response.status();
    let (body, end) = http::read(response, RESULT_BYTES_MAX).await;
    if end == BodyEnd::Cut {
        return Err("error: the tool's answer broke off".to_owned());
    }
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    match (status.is_success(), text.is_empty()) {
        (true, true) => Ok("done".to_owned()),
        (true, false) => Ok(text),
        (false, _) => {
            Err(format!("error: the tool answered with status {}\n{text}", status.as_u16()).trim_end().to_owned())
        }
    }
}
