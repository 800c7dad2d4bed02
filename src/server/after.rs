//! `/twilio/after`: the carrier asks what to do with a call after its stream, and we ask the agent's app.
//!
//! To an app that was written for Twilio's ConversationRelay this is the `action` of its `<Connect>`: a signed form with the
//! call's fields and those of the session, answered with TwiML for the rest of the call.

use std::fmt;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::{RequestExt as _, http::HeaderMap};
use reqwest::Url;
use tokio::time::timeout;

use super::aftermath::{Ended, Status};
use super::guard::{self, WEBHOOK_LIMIT};
use super::node::Node;
use super::twilio::signature::{Algorithm, SIGNATURE_HEADER, sign};
use super::twilio::twiml;
use super::twilio::webhook::Fields;
use super::web;
use super::webhook::{body_of, check, xml};
use crate::http::outbound::{Guarded, Outbound, Purpose, Refused, refusal_of};
use crate::http::{self, HttpError};
use crate::secret::Secret;

/// Our route, the `action` of the `<Connect>` that we answer with.
pub(super) const AFTER: &str = "/twilio/after";
/// How long the app may take. With the wait for the session's end it stays below the 15 s that Twilio waits.
const APP_LIMIT: Duration = Duration::from_secs(10);
/// How long whoever ran the call may take to say how its session ended.
const ENDING_LIMIT: Duration = Duration::from_secs(2);

/// What we tell of a session and nobody else.
const OURS: [&str; 7] =
    ["SessionId", "SessionStatus", "SessionDuration", "HandoffData", "ErrorCode", "ErrorMessage", "ControlUrl"];

/// The app that is asked what to do with a call after its session. Cheap to clone; `Debug` shows no secret.
#[derive(Clone)]
pub struct AfterApp {
    guarded: Guarded,
    url: Url,
    auth_token: Option<Secret>,
}

impl fmt::Debug for AfterApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AfterApp").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// Why there can be no such app.
#[derive(Debug, thiserror::Error)]
pub enum AfterAppError {
    /// Not a URL.
    #[error("the url cannot be used")]
    Url,
    /// The HTTP client.
    #[error(transparent)]
    Web(#[from] HttpError),
}

/// Why the app did not say what to do.
#[derive(Debug, thiserror::Error)]
enum Unsaid {
    #[error("there is no app to ask, or no session to ask about")]
    Unknown,
    #[error("the app may not be asked: {0}")]
    Forbidden(#[from] Refused),
    #[error("the app cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the app did not answer within {} s", APP_LIMIT.as_secs())]
    Slow,
    #[error("the app answered with http status {0}")]
    Refused(u16),
    #[error("the app's answer is no TwiML, or too long")]
    Answer,
}

impl AfterApp {
    /// An app at `url`, `https` or `http`, if `outbound` allows it. Requests are signed with `auth_token`, if there is one.
    ///
    /// # Errors
    /// [`AfterAppError`].
    pub fn new(url: &str, auth_token: Option<Secret>, outbound: &Outbound) -> Result<Self, AfterAppError> {
        let mut url = Url::parse(url).map_err(|_| AfterAppError::Url)?;
        if !http::is_of_http(&url) {
            return Err(AfterAppError::Url);
        }
        // What stands behind `#` is never sent, so that nobody could check a signature over it.
        url.set_fragment(None);
        let guarded = Guarded::new(http::Settings::default(), outbound, Purpose::Action)?;
        Ok(AfterApp { guarded, url, auth_token })
    }

    /// Posts the form, signed as the carrier signs; the TwiML of the answer.
    async fn ask(&self, form: &[(&str, &str)]) -> Result<String, Unsaid> {
        let mut request = self.guarded.client(&self.url)?.post(self.url.clone()).form(form);
        if let Some(auth_token) = &self.auth_token {
            let signature = sign(Algorithm::HmacSha1, auth_token.expose(), self.url.as_str(), form);
            request = request.header(SIGNATURE_HEADER, signature);
        }
        let exchange = async {
            let failed = |error| match refusal_of(&error) {
                Some(refused) => Unsaid::Forbidden(refused),
                None => Unsaid::Unreachable(error.without_url()),
            };
            let response = request.send().await.map_err(failed)?;
            if !response.status().is_success() {
                return Err(Unsaid::Refused(response.status().as_u16()));
            }
            web::body_of(response).await.ok_or(Unsaid::Answer)
        };
        let body = timeout(APP_LIMIT, exchange).await.map_err(|_| Unsaid::Slow)??;
        let twiml = String::from_utf8(body).map_err(|_| Unsaid::Answer)?;
        if twiml.trim().is_empty() {
            // To have nothing to say is an answer: the call ends.
            return Ok(twiml::hang_up());
        }
        twiml::check(&twiml).map_err(|_| Unsaid::Answer)?;
        Ok(twiml)
    }
}

/// `POST /twilio/after`.
pub(super) async fn after(State(node): State<Node>, RawQuery(query): RawQuery, request: Request) -> Response {
    let headers: HeaderMap = request.headers().clone();
    // Its answer may take longer than `in_time` allows, its body may not.
    let body = match timeout(WEBHOOK_LIMIT, request.extract::<Bytes, _>()).await {
        Ok(Ok(body)) => body,
        Ok(Err(rejection)) => return rejection.into_response(),
        Err(_) => return guard::late(&node),
    };
    if let Some(refused) = check(&node, AFTER, query.as_deref(), body_of(&headers, &body), &headers) {
        return refused;
    }
    let fields = Fields::decode(&body);
    match said(&node, &fields).await {
        Ok(twiml) => xml(twiml),
        Err(error) => {
            let call = fields.get("CallSid").unwrap_or_default();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(call, %error, cause, "nobody says what to do with a call after its session");
            xml(match &node.settings().after_url {
                Some(url) => twiml::redirect(url),
                None => twiml::hang_up(),
            })
        }
    }
}

async fn said(node: &Node, fields: &Fields) -> Result<String, Unsaid> {
    let app = node.settings().after_app.as_ref().ok_or(Unsaid::Unknown)?;
    let call = fields.call_sid().map_err(|_| Unsaid::Unknown)?;
    // Another replica may have run the session, or one that has ended since. The app is asked all the same: it knows the call.
    let ended = node.aftermath().wait(&call, ENDING_LIMIT).await;
    if ended.as_ref().is_some_and(|ended| ended.status == Status::TurnedAway) {
        return Err(Unsaid::Unknown);
    }
    let mut session = ended.as_ref().map(session_fields).unwrap_or_default();
    session.extend(ended.and_then(|_| node.control_url()).map(|url| ("ControlUrl", url)));
    let mut form: Vec<(&str, &str)> = fields.iter().filter(|(name, _)| !OURS.contains(name)).collect();
    form.extend(session.iter().map(|(name, value)| (*name, value.as_str())));
    app.ask(&form).await
}

/// What the app is told of the session, under Twilio's names.
fn session_fields(ended: &Ended) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("SessionId", ended.session_id.clone()),
        ("SessionStatus", ended.status.name().to_owned()),
        ("SessionDuration", ended.duration.as_secs().to_string()),
    ];
    match &ended.status {
        Status::Completed | Status::TurnedAway | Status::Ended { handoff: None } => {}
        Status::Ended { handoff: Some(handoff) } => fields.push(("HandoffData", handoff.clone())),
        Status::Failed { code, message } => {
            fields.push(("ErrorCode", code.to_string()));
            fields.push(("ErrorMessage", message.clone()));
        }
    }
    fields
}
