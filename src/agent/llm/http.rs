//! HTTP as the agent uses it: trust, limits, and who is reached past the proxies of the environment.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Url, redirect};

use super::settings::Key;
use crate::driver::{DiallerError, trust};

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// What is to be trusted cannot be read.
    #[error("no TLS for the model's server")]
    Trust(#[from] DiallerError),
    /// A URL makes no sense.
    #[error("{0} is not an http or https url")]
    Url(&'static str),
    /// A key cannot stand in a header.
    #[error("{0} cannot stand in a header")]
    Key(&'static str),
    /// The client cannot be built.
    #[error("no http client")]
    Client(#[from] reqwest::Error),
}

/// Clients that share what they trust. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Http {
    /// Goes through the proxies of the environment.
    web: Client,
    /// Does not: no proxy reaches this host's own loopback.
    loopback: Client,
}

impl Http {
    pub(super) fn new(authorities: Option<&Path>, connect: Duration) -> Result<Self, HttpError> {
        let tls = trust(authorities)?;
        let builder = || {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .http1_only()
                .redirect(redirect::Policy::none())
                .referer(false)
                .tcp_nodelay(true)
                .connect_timeout(connect)
                .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION")))
        };
        Ok(Http { web: builder().build()?, loopback: builder().no_proxy().build()? })
    }

    /// The client for `url`.
    pub(super) fn client(&self, url: &Url) -> &Client {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback =
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        if is_loopback { &self.loopback } else { &self.web }
    }
}

/// A URL of HTTP, or the name of what should have been one.
pub(super) fn parse_url(text: &str, name: &'static str) -> Result<Url, HttpError> {
    let url = Url::parse(text).map_err(|_| HttpError::Url(name))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(url) } else { Err(HttpError::Url(name)) }
}

/// The headers of a request with `key`.
pub(super) fn headers(key: Option<&Key>, name: &'static str) -> Result<HeaderMap, HttpError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let mut value = HeaderValue::try_from(key.bearer()).map_err(|_| HttpError::Key(name))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}
