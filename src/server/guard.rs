//! Who may ask for what.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::node::{Node, Trust};
use super::tokens::{Denied, Scope};
use super::twilio::signature::{Refusal, SETTINGS_HEADER, SIGNATURE_HEADER, SignatureHeaders};
use crate::driver::meter::Limit;

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

/// The API wants `Authorization: Bearer` with a token that is good for the `scope` of the route.
pub(super) async fn api(State((node, scope)): State<(Node, Scope)>, request: Request, next: Next) -> Response {
    if let Trust::Signed { tokens, .. } = &node.settings().trust {
        match bearer(request.headers()).ok_or(Denied::Unknown).and_then(|token| tokens.check(token, scope)) {
            Ok(()) => {}
            Err(Denied::Unknown) => {
                return unknown(&node, request.extensions().get::<Peer>().copied(), request.headers());
            }
            Err(Denied::Scope) => {
                node.meter().refused("scope");
                let name = scope.as_str();
                // RFC 6750, section 3.1.
                let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{name}\"");
                let text = format!("this token is not for that: it lacks the scope {name:?} in server.tokens\n");
                return (StatusCode::FORBIDDEN, [(header::WWW_AUTHENTICATE, challenge)], text).into_response();
            }
        }
    }
    next.run(request).await
}

/// The token of a request. Two of them are none: a proxy in front may have looked at the other one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The answer to somebody without a token of ours. One who was told to wait and comes with a good token is let in all the
/// same: behind a proxy that is not in `limits.proxies` all have one address, and nobody is to lock the others out.
fn unknown(node: &Node, peer: Option<Peer>, headers: &HeaderMap) -> Response {
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(address)| address);
    let from = node.sources().of_request(address, headers);
    node.tell("api_token", |more| tracing::warn!(%from, more, "a request to the API without a good token"));
    let verdict = node.failed(from);
    let Some(wait) = verdict else {
        node.meter().refused("api_token");
        let text = "send one header Authorization: Bearer, with server.api_token or a token of server.tokens\n";
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response();
    };
    node.meter().refused("guessing");
    let wait = [(header::RETRY_AFTER, wait.as_secs().max(1).to_string())];
    (StatusCode::TOO_MANY_REQUESTS, wait, "too many requests without a good token\n").into_response()
}

/// Answers within a limit, the arrival of the body included: a client that sends half a form must not be kept for ever.
pub(super) async fn in_time(State(node): State<Node>, request: Request, next: Next) -> Response {
    match timeout(WEBHOOK_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => late(&node),
    }
}

/// The answer to a body that did not come in time.
pub(super) fn late(node: &Node) -> Response {
    node.refused_by(Limit::Body);
    (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n").into_response()
}

/// Whose connection a request came over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// One source may not ask too often. Those who connect themselves were counted then; those whom a proxy brings are here.
pub(super) async fn source(State(node): State<Node>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    if let Some(Err(limit)) = peer.map(|Peer(address)| node.sources().asked(address, request.headers())) {
        node.refused_by(limit);
        return (StatusCode::TOO_MANY_REQUESTS, "too many requests\n").into_response();
    }
    next.run(request).await
}

/// The two headers of a carrier's signature.
pub(super) fn signature_headers(headers: &HeaderMap) -> SignatureHeaders<'_> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    SignatureHeaders { signature: value(SIGNATURE_HEADER), settings: value(SETTINGS_HEADER) }
}

/// The answer to somebody who is not the carrier; the log says what was checked, names only.
pub(super) fn refuse(node: &Node, refusal: &Refusal) -> Response {
    node.meter().refused("signature");
    node.tell("signature", |more| tracing::warn!(%refusal, more, "a request is not signed by the carrier"));
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
