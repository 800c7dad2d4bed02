//! The HTTP client with which we ask: what it trusts, what it does not do by itself, how much of an answer it reads.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use rustls::{ClientConfig, RootCertStore};

/// From the first packet to the end of the TLS handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Longest answer that is read, in bytes; the carrier's own limit for instructions.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// No TLS can be had.
    #[error("cannot set up tls")]
    Tls(#[from] rustls::Error),
    /// The client itself.
    #[error("cannot set up an http client")]
    Client(#[from] reqwest::Error),
}

/// A client that trusts the authorities of the web. It follows no redirect, which would carry credentials or a signed form
/// to somebody else, and asks no proxy, as little as the links to voices do.
pub(super) fn client() -> Result<Client, WebError> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    // Named, because rustls panics where two providers are compiled in and none was chosen.
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_LIMIT)
        .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(client)
}

/// The body of an answer, unless it is too long or breaks off. Not cancel-safe: what was read is lost.
pub(super) async fn body_of(mut response: Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}
