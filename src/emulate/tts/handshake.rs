//! Who may open a socket: what the vendors' handshakes have in common.

use std::borrow::Cow;

use tokio_tungstenite::tungstenite::handshake::server::ErrorResponse;
use tokio_tungstenite::tungstenite::http::{HeaderMap, Response, StatusCode};

/// Why a handshake is refused, as an HTTP status and a reason. The reason holds nothing that the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::emulate) struct Refused {
    pub(in crate::emulate) status: StatusCode,
    pub(in crate::emulate) reason: &'static str,
}

impl Refused {
    pub(in crate::emulate) const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    pub(in crate::emulate) fn response(self) -> ErrorResponse {
        let mut response = Response::new(Some(self.reason.to_owned()));
        *response.status_mut() = self.status;
        response
    }
}

/// The parameters of a query.
#[derive(Debug)]
pub(in crate::emulate) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub(in crate::emulate) fn parse(query: Option<&'a str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect())
    }

    /// The last value of a parameter.
    pub(in crate::emulate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }
}

/// Whether the key is there and the right one.
///
/// # Errors
/// HTTP 401.
pub(in crate::emulate) fn admit(key: Option<&str>, expected: Option<&str>) -> Result<(), Refused> {
    let unauthorised = |reason| Refused::new(StatusCode::UNAUTHORIZED, reason);
    let key = key.filter(|key| !key.is_empty()).ok_or_else(|| unauthorised("credentials are missing"))?;
    if expected.is_some_and(|expected| expected != key) {
        return Err(unauthorised("the API key is not valid"));
    }
    Ok(())
}

pub(in crate::emulate) fn last_header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(name).iter().next_back()?.to_str().ok()
}

/// What follows one of `schemes` (small letters) in `Authorization`.
pub(in crate::emulate) fn authorization<'a>(headers: &'a HeaderMap, schemes: &[&str]) -> Option<&'a str> {
    let (scheme, key) = last_header(headers, "authorization")?.split_once(' ')?;
    schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known)).then(|| key.trim())
}
