//! Who may ask for what.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::node::{Node, Trust};
use super::twilio::signature::{Refusal, SETTINGS_HEADER, SIGNATURE_HEADER, SignatureHeaders};

/// A form is a few kilobytes, and no carrier waits long for its answer.
pub(super) const WEBHOOK_LIMIT: Duration = Duration::from_secs(10);

/// In open mode everybody on this machine is believed, so nobody else may borrow their voice: a page in a browser shows
/// itself by its `Origin`, a name that was rebound to loopback by its `Host`.
pub(super) async fn open_mode(State(node): State<Node>, request: Request, next: Next) -> Response {
    if matches!(node.settings().trust, Trust::Open) {
        let headers = request.headers();
        if headers.contains_key(header::ORIGIN) {
            node.meter().refused("origin");
            return (StatusCode::FORBIDDEN, "without public_url no browser may call\n").into_response();
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(is_loopback) {
            node.meter().refused("host");
            return (StatusCode::FORBIDDEN, "without public_url only a loopback Host is answered\n").into_response();
        }
    }
    next.run(request).await
}

/// The API wants `Authorization: Bearer` with the configured token.
pub(super) async fn api_token(State(node): State<Node>, request: Request, next: Next) -> Response {
    if matches!(node.settings().trust, Trust::Signed { .. }) {
        let value = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            value.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        if !token.is_some_and(|(_, token)| node.is_api_token(token.trim())) {
            node.meter().refused("api_token");
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            return (StatusCode::UNAUTHORIZED, challenge, "send Authorization: Bearer with server.api_token\n")
                .into_response();
        }
    }
    next.run(request).await
}

/// Answers within a limit, the arrival of the body included: a client that sends half a form must not be kept for ever.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    match timeout(WEBHOOK_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n").into_response(),
    }
}

/// The two headers of a carrier's signature.
pub(super) fn signature_headers(headers: &HeaderMap) -> SignatureHeaders<'_> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    SignatureHeaders { signature: value(SIGNATURE_HEADER), settings: value(SETTINGS_HEADER) }
}

/// The answer to somebody who is not the carrier; the log says what was checked, names only.
pub(super) fn refuse(node: &Node, refusal: &Refusal) -> Response {
    node.meter().refused("signature");
    tracing::warn!(%refusal, "a request is not signed by the carrier");
    (StatusCode::FORBIDDEN, "the signature does not match\n").into_response()
}

/// Whether a `Host` names this machine by a loopback name, with any port.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_loopback_names_are_ours() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:80", "127.8.9.1:80", "[::1]:8080", "[::1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "example.com", "localhost.example.com:80", "10.0.0.1", "127.0.0.1.example.com", "[::2]:80"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
