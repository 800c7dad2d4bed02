//! What a refused request is answered with: the API's error object, which names the parameter.

use hyper::StatusCode;
use serde_json::{Value, json};

/// Why a request is refused. Messages name parameters, never what a caller said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::emulate) struct Refusal {
    pub(in crate::emulate) status: StatusCode,
    /// `error.type`.
    pub(in crate::emulate) kind: &'static str,
    pub(in crate::emulate) code: Option<&'static str>,
    /// `error.param`, a path such as `messages[1].role`.
    pub(in crate::emulate) param: Option<String>,
    pub(in crate::emulate) message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, kind: "invalid_request_error", code: None, param: None, message: message.into() }
    }

    /// The parameter at `param` is wrong in the way that `message` tells.
    pub(in crate::emulate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let (param, message) = (param.into(), message.into());
        let message = format!("Invalid '{param}': {message}.");
        Self { code: Some("invalid_value"), param: Some(param), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    /// The parameter at `param` should be an `expected`.
    pub(in crate::emulate) fn wrong_type(param: impl Into<String>, expected: &str) -> Self {
        let refusal = Self::invalid(param, format!("expected {expected}"));
        Self { code: Some("invalid_type"), ..refusal }
    }

    /// The parameter at `param` is needed.
    pub(in crate::emulate) fn missing(param: impl Into<String>) -> Self {
        let param = param.into();
        let message = format!("Missing required parameter: '{param}'.");
        Self {
            code: Some("missing_required_parameter"),
            param: Some(param),
            ..Self::new(StatusCode::BAD_REQUEST, message)
        }
    }

    /// There is no parameter `param`.
    pub(in crate::emulate) fn unknown(param: impl Into<String>) -> Self {
        let param = param.into();
        let message = format!("Unknown parameter: '{param}'.");
        Self { code: Some("unknown_parameter"), param: Some(param), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    /// The body cannot be read as a request at all.
    pub(in crate::emulate) fn body(message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The body is longer than a server takes.
    pub(in crate::emulate) fn too_long() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "The request is too long.")
    }

    /// The key is missing or wrong.
    pub(in crate::emulate) fn unauthorized() -> Self {
        let refusal = Self::new(StatusCode::UNAUTHORIZED, "Incorrect or missing API key.");
        Self { code: Some("invalid_api_key"), ..refusal }
    }

    /// The model is not among those that are served.
    pub(in crate::emulate) fn no_model() -> Self {
        let refusal = Self::new(StatusCode::NOT_FOUND, "The model does not exist or you do not have access to it.");
        Self { code: Some("model_not_found"), param: Some("model".to_owned()), ..refusal }
    }

    /// Nothing is served here.
    pub(in crate::emulate) fn no_path() -> Self {
        Self { code: Some("unknown_url"), ..Self::new(StatusCode::NOT_FOUND, "Unknown request URL.") }
    }

    /// Not with this method.
    pub(in crate::emulate) fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Not allowed to use this method on this URL.")
    }

    /// The fault `status`.
    pub(in crate::emulate) fn fault(status: StatusCode) -> Self {
        let (kind, code) = match status {
            StatusCode::TOO_MANY_REQUESTS => ("requests", Some("rate_limit_exceeded")),
            status if status.is_server_error() => ("server_error", None),
            _ => ("invalid_request_error", None),
        };
        Self { kind, code, ..Self::new(status, "This fault was switched on.") }
    }

    pub(in crate::emulate) fn to_json(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
    }
}
