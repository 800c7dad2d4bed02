//! `POST /v1/calls`: a call of our own.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::api::ApiError;
use super::carrier::ControlError;
use super::facts::{RESERVED, is_reserved};
use super::fields::Fields;
use super::node::Node;
use super::twilio::address::Address;

/// Most characters of a parameter, name and value together, that Twilio passes on.
const PARAMETER_CHARS_MAX: usize = 500;

/// Places a call. The carrier asks our webhook when it is answered, so that its stream is bound to it as any other.
pub(super) async fn place(State(node): State<Node>, request: Request) -> Result<Response, ApiError> {
    let mut body = Fields::of_request(request).await?;
    let to = body.parsed("to", Address::parse)?.ok_or_else(|| ApiError::field("to", "is missing"))?;
    let from = body.parsed("from", Address::parse)?;
    let parameters = body.table("parameters")?.unwrap_or_default();
    let agent = node.settings().agent.name();
    body.one_of("agent", &[(agent, ())])?;
    body.finish()?;
    check(&parameters)?;
    let rest = node.rest()?;
    let from = from.as_ref().or(node.settings().from.as_ref());
    let from = from.ok_or_else(|| ApiError::field("from", "is missing, and so is twilio.from in the configuration"))?;
    let url = node.voice_url(&parameters).map_err(|error| match error {
        ControlError::Parameters(problem) => ApiError::field("parameters", &problem.to_string()),
        ControlError::NoCredentials | ControlError::NoPublicUrl | ControlError::Draining | ControlError::Rest(_) => {
            ApiError::from(error)
        }
    })?;
    if let Err(refused) = node.welcome(None) {
        return Err(ApiError::Body(StatusCode::SERVICE_UNAVAILABLE, refused.reason().to_owned()));
    }
    let call = rest.create(&to, from, &url).await.map_err(ControlError::from)?;
    tracing::info!(%call, "a call is placed");
    node.placed(&call);
    let answer = Json(json!({ "id": call.as_str() }));
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("{}/v1/calls/{call}", node.prefix()))], answer)
        .into_response())
}

fn check(parameters: &BTreeMap<String, String>) -> Result<(), ApiError> {
    for (name, value) in parameters {
        let problem = if name.is_empty() || name.chars().chain(value.chars()).any(char::is_control) {
            "names must not be empty, and there must be no control characters".to_owned()
        } else if is_reserved(name) {
            format!("names that begin with {RESERVED} or are the stream token's are this server's own")
        } else if name.chars().count() + value.chars().count() > PARAMETER_CHARS_MAX {
            format!("name and value must have at most {PARAMETER_CHARS_MAX} characters together")
        } else {
            continue;
        };
        return Err(ApiError::field("parameters", &problem));
    }
    Ok(())
}
