//! Asking others over HTTP: one kind of client for everything that does, with the same trust and the same manners.
//!
//! HTTP/1.1 alone, so that dropping an answer closes its connection, which is how a server is told to stop. No redirect is
//! followed by itself, since it would carry a key or a signed form to somebody else. No referrer is sent. How long an answer
//! may take is its asker's affair: each has another idea of it.
//!
//! [`Http`] asks servers that the operator named. Where somebody else has a say in whom we ask, [`outbound::Guarded`] does.

mod body;
pub mod outbound;
mod proxy;
mod trust;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Request, RequestBuilder, Response, Url};

pub use body::{BodyEnd, read};
pub use proxy::proxy_for;
pub use trust::{TrustError, distrust, trust};

use crate::secret::Secret;

/// From the first packet to the end of the TLS handshake, unless somebody has another wish.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// What a client is made from.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// PEM file of authorities to trust in place of those of the web.
    pub authorities: Option<&'a Path>,
    /// From the first packet to the end of the TLS handshake.
    pub connect: Duration,
    /// Who stands between us and the servers.
    pub proxies: Proxies,
}

impl Default for Settings<'_> {
    /// The authorities of the web, no proxy.
    fn default() -> Self {
        Settings { authorities: None, connect: CONNECT_LIMIT, proxies: Proxies::Never }
    }
}

/// Who stands between us and the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxies {
    /// Nobody, whatever the environment says: as with the links to voices.
    Never,
    /// The proxies of the environment, but none towards this host's own loopback.
    Environment,
}

/// Why there can be no client, or none for a certain server. Holds no key and no URL.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// What is to be trusted cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A URL makes no sense.
    #[error("{0} is not an http or https url")]
    Url(&'static str),
    /// A key cannot stand in a header.
    #[error("{0} cannot stand in a header")]
    Key(&'static str),
    /// The client cannot be built.
    #[error("cannot set up an http client")]
    Client(#[from] reqwest::Error),
}

/// Somebody could not be asked, or did not answer. Why, is not told: it might hold the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server cannot be reached")]
pub struct Unreachable;

/// Whoever carries a request to its server and brings the answer: a client with its pool of connections, or what a test puts
/// in its place.
pub trait Exchange: Send + Sync + fmt::Debug {
    /// Sends `request`; answers as soon as the head of the answer is there. Dropping the future closes the connection, as
    /// dropping the answer does before its end.
    fn exchange(&self, request: Request) -> BoxFuture<'static, Result<Response, Unreachable>>;
}

/// A client. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Http {
    web: Client,
    /// For this host's own loopback.
    loopback: Client,
}

impl Http {
    /// A client that has asked nobody yet.
    ///
    /// # Errors
    /// [`HttpError::Trust`] and [`HttpError::Client`].
    pub fn new(settings: Settings<'_>) -> Result<Self, HttpError> {
        let loopback = builder(settings)?.no_proxy().build()?;
        let web = match settings.proxies {
            Proxies::Never => loopback.clone(),
            Proxies::Environment => builder(settings)?.build()?,
        };
        Ok(Http { web, loopback })
    }

    /// The client for `url`.
    pub fn client(&self, url: &Url) -> &Client {
        if is_loopback(url) { &self.loopback } else { &self.web }
    }
}

/// What every client has in common. Proxies are still to be decided on.
fn builder(settings: Settings<'_>) -> Result<ClientBuilder, HttpError> {
    Ok(Client::builder()
        .tls_backend_preconfigured(trust(settings.authorities)?)
        .http1_only()
        .redirect(Policy::none())
        .referer(false)
        .tcp_nodelay(true)
        .connect_timeout(settings.connect)
        .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION"))))
}

impl Exchange for Http {
    fn exchange(&self, request: Request) -> BoxFuture<'static, Result<Response, Unreachable>> {
        let answered = self.client(request.url()).execute(request);
        async move { answered.await.map_err(|_| Unreachable) }.boxed()
    }
}

/// A URL of HTTP with a host in it; `name` is what it is called if it is none.
///
/// # Errors
/// [`HttpError::Url`].
pub fn parse_url(text: &str, name: &'static str) -> Result<Url, HttpError> {
    let url = Url::parse(text).map_err(|_| HttpError::Url(name))?;
    if is_of_http(&url) { Ok(url) } else { Err(HttpError::Url(name)) }
}

/// Whether a URL leads to this host itself, where no proxy is asked.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a URL is one of HTTP with a host in it.
pub fn is_of_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

/// A request on behalf of a call that is traced: with the header `traceparent` of W3C's Trace Context.
pub fn traced(request: RequestBuilder, traceparent: Option<&str>) -> RequestBuilder {
    match traceparent {
        Some(traceparent) => request.header("traceparent", traceparent),
        None => request,
    }
}

/// The value of an `Authorization` header with `key`, which is kept out of what is written about the request; `name` is what
/// the key is called if it cannot stand in a header.
///
/// # Errors
/// [`HttpError::Key`].
pub fn bearer(key: &Secret, name: &'static str) -> Result<HeaderValue, HttpError> {
    let mut value = HeaderValue::try_from(key.after("Bearer ").expose()).map_err(|_| HttpError::Key(name))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_of_http_and_has_a_host() {
        for good in ["http://a", "https://a.b/c?d", "http://[::1]:8880/v1"] {
            assert!(parse_url(good, "url").is_ok(), "{good}");
        }
        for bad in ["", "a.b", "ftp://a.b", "file:///a", "https://", "data:audio/wav,"] {
            assert!(matches!(parse_url(bad, "url"), Err(HttpError::Url("url"))), "{bad}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let value = bearer(&Secret::new("hunter2"), "api_key").unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer hunter2");
        assert!(!format!("{value:?}").contains("hunter2"));
        let error = bearer(&Secret::new("hunter\n2"), "api_key").unwrap_err();
        assert_eq!(error.to_string(), "api_key cannot stand in a header");
        assert!(!format!("{error:?}").contains("hunter"));
    }

    #[test]
    fn a_missing_authority_is_named() {
        let settings = Settings { authorities: Some(Path::new("no-such-file.pem")), ..Settings::default() };
        let error = Http::new(settings).unwrap_err().to_string();
        assert!(error.contains("no-such-file.pem"), "{error}");
    }

    #[tokio::test]
    async fn whoever_is_not_there_is_unreachable_and_not_named() {
        let http = Http::new(Settings::default()).unwrap();
        // Port 1 of loopback: nobody listens there, and nobody else is asked.
        let request = Request::new(reqwest::Method::GET, Url::parse("http://127.0.0.1:1/secret").unwrap());
        assert_eq!(http.exchange(request).await.err(), Some(Unreachable));
        assert!(!Unreachable.to_string().contains("secret"));
    }
}
