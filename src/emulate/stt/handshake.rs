//! Who may open a socket, and which protocol they speak: path, credentials, version, query.

use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request};
use tokio_tungstenite::tungstenite::http::{HeaderMap, Response, StatusCode};

use super::query::Query;
use super::vendors::{Dialect, Opening};

/// Why a handshake is refused, as an HTTP status and a reason. The reason holds nothing that the client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) reason: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }

    pub(super) fn response(&self) -> ErrorResponse {
        let mut response = Response::new(Some(self.reason.clone()));
        *response.status_mut() = self.status;
        response
    }
}

/// A request that was accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) dialect: Dialect,
    pub(super) opening: Opening,
    /// The WebSocket protocol to agree to, if the key came in that header.
    pub(super) subprotocol: Option<&'static str>,
}

/// Checks a request. 404 for a path that no vendor has, 401 for missing or wrong credentials, 400 for the rest.
pub(super) fn check(request: &Request, api_key: Option<&str>) -> Result<Accepted, Refused> {
    let path = request.uri().path();
    let dialect = Dialect::of_path(path).ok_or(Refused::new(StatusCode::NOT_FOUND, "no such path"))?;
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let (key, subprotocol) = match dialect {
        Dialect::InkTurns | Dialect::InkManual => (cartesia_key(request.headers(), &query), None),
        Dialect::Nova | Dialect::Flux => deepgram_key(request.headers()),
        Dialect::Gradium => (gradium_key(request.headers(), &query), None),
    };
    let unauthorised = |reason| Refused::new(StatusCode::UNAUTHORIZED, reason);
    let key = key.filter(|key| !key.is_empty()).ok_or_else(|| unauthorised("credentials are missing"))?;
    if api_key.is_some_and(|expected| expected != key) {
        return Err(unauthorised("the API key is not valid"));
    }
    if matches!(dialect, Dialect::InkTurns | Dialect::InkManual) {
        let header = last_header(request.headers(), "cartesia-version");
        let version = query.all("cartesia_version").last().or(header).filter(|version| is_date(version));
        version.ok_or(Refused::new(StatusCode::BAD_REQUEST, "the API version is missing or not a date"))?;
    }
    Ok(Accepted { dialect, opening: Opening::read(dialect, &query)?, subprotocol })
}

/// `Authorization: Bearer`, `X-API-Key`, or `api_key` / `access_token` in the query.
fn cartesia_key(headers: &HeaderMap, query: &Query) -> Option<String> {
    let header = authorization(headers, &["bearer"]).or_else(|| last_header(headers, "x-api-key"));
    header.or_else(|| query.all("api_key").chain(query.all("access_token")).last()).map(str::to_owned)
}

/// `Authorization: Token` (or `Bearer`, for short-lived ones), or both words in `Sec-WebSocket-Protocol`.
fn deepgram_key(headers: &HeaderMap) -> (Option<String>, Option<&'static str>) {
    if let Some(key) = authorization(headers, &["token", "bearer"]) {
        return (Some(key.to_owned()), None);
    }
    let offered = last_header(headers, "sec-websocket-protocol").and_then(|offered| offered.split_once(','));
    match offered.map(|(scheme, key)| (scheme.trim(), key.trim())) {
        Some(("token", key)) => (Some(key.to_owned()), Some("token")),
        Some(("bearer", key)) => (Some(key.to_owned()), Some("bearer")),
        Some(_) | None => (None, None),
    }
}

/// `x-api-key`, or a single-use `token` in the query.
fn gradium_key(headers: &HeaderMap, query: &Query) -> Option<String> {
    last_header(headers, "x-api-key").or_else(|| query.all("token").last()).map(str::to_owned)
}

fn last_header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(name).iter().next_back()?.to_str().ok()
}

fn authorization<'a>(headers: &'a HeaderMap, schemes: &[&str]) -> Option<&'a str> {
    let (scheme, key) = last_header(headers, "authorization")?.split_once(' ')?;
    schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known)).then(|| key.trim())
}

/// `YYYY-MM-DD`, not looking at a calendar.
fn is_date(text: &str) -> bool {
    let shape = |(index, byte): (usize, u8)| if matches!(index, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    text.len() == 10 && text.bytes().enumerate().all(shape)
}
