//! Reaching a URL: TCP, TLS where the scheme asks for it, time limits everywhere.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::http::Uri;

use super::plan::AuthToken;

/// How a URL is reached. Whatever is chosen, the URL's own host stays in the request, in the certificate's check and in the
/// signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// At the host and port that it names, with TLS for `wss` and `https`.
    #[default]
    Direct,
    /// At this `host:port` without TLS: the emulator stands where a proxy that ends TLS would stand.
    Plain(String),
    /// At this `host:port` with TLS.
    Tls(String),
}

/// What a call and a webhook request have in common.
#[derive(Clone, Debug)]
pub struct Line {
    /// How URLs are reached.
    pub route: Route,
    /// Whom to trust for TLS; the public authorities if absent.
    pub tls: Option<Arc<ClientConfig>>,
    /// Signs requests as the account; unsigned if absent.
    pub auth_token: Option<AuthToken>,
    /// Whether small writes leave at once (`TCP_NODELAY`).
    pub tcp_nodelay: bool,
    /// Longest time for connecting, and again for the request.
    pub limit: Duration,
}

impl Default for Line {
    fn default() -> Self {
        Line { route: Route::Direct, tls: None, auth_token: None, tcp_nodelay: true, limit: Duration::from_secs(10) }
    }
}

/// Why a URL could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The URL cannot be read, or has no host, or a scheme that is not spoken here.
    #[error("the url is not one of {0}")]
    Url(&'static str),
    /// TCP could not connect.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// TLS failed, most often for a certificate that is not trusted or names another host.
    #[error("tls failed")]
    Tls(#[source] io::Error),
    /// The client's TLS settings cannot be built.
    #[error("tls cannot be set up")]
    TlsSetup(#[from] rustls::Error),
    /// Too slow.
    #[error("no connection within {} seconds", .0.as_secs_f32())]
    Slow(Duration),
}

/// A connection with or without TLS.
pub(super) type Connection = MaybeTlsStream<TcpStream>;

/// A URL taken apart.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) uri: Uri,
    host: String,
    port: u16,
    tls: Tls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    Yes,
    No,
}

impl Address {
    /// Takes a URL of the scheme `plain` or `secure` apart.
    pub(super) fn parse(url: &str, plain: &str, secure: &str, expected: &'static str) -> Result<Self, DialError> {
        let uri: Uri = url.parse().map_err(|_| DialError::Url(expected))?;
        let tls = match uri.scheme_str() {
            Some(scheme) if scheme == plain => Tls::No,
            Some(scheme) if scheme == secure => Tls::Yes,
            Some(_) | None => return Err(DialError::Url(expected)),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(DialError::Url(expected))?;
        // A literal IPv6 address stands in brackets in a URL and without them in a certificate.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if tls == Tls::Yes { 443 } else { 80 });
        Ok(Address { uri, host, port, tls })
    }

    /// Connects as `line` says.
    pub(super) async fn connect(&self, line: &Line) -> Result<Connection, DialError> {
        timeout(line.limit, self.connect_unlimited(line)).await.map_err(|_| DialError::Slow(line.limit))?
    }

    async fn connect_unlimited(&self, line: &Line) -> Result<Connection, DialError> {
        let (tcp, tls) = match &line.route {
            Route::Direct => (TcpStream::connect((self.host.as_str(), self.port)).await, self.tls),
            Route::Plain(address) => (TcpStream::connect(address).await, Tls::No),
            Route::Tls(address) => (TcpStream::connect(address).await, Tls::Yes),
        };
        let tcp = tcp.map_err(DialError::Connect)?;
        tcp.set_nodelay(line.tcp_nodelay).map_err(DialError::Connect)?;
        if tls == Tls::No {
            return Ok(MaybeTlsStream::Plain(tcp));
        }
        let config = match &line.tls {
            Some(config) => Arc::clone(config),
            None => Arc::new(public_authorities()?),
        };
        let name = ServerName::try_from(self.host.clone()).map_err(|_| DialError::Url("a host with a valid name"))?;
        let stream = TlsConnector::from(config).connect(name, tcp).await.map_err(DialError::Tls)?;
        Ok(MaybeTlsStream::Rustls(stream))
    }
}

fn public_authorities() -> Result<ClientConfig, rustls::Error> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, DialError> {
        Address::parse(url, "ws", "wss", "ws:// and wss://")
    }

    #[test]
    fn ports_follow_the_scheme() {
        let parts = |url| parse(url).map(|address| (address.host, address.port, address.tls)).unwrap();
        assert_eq!(parts("ws://a.test/x"), ("a.test".into(), 80, Tls::No));
        assert_eq!(parts("wss://a.test"), ("a.test".into(), 443, Tls::Yes));
        assert_eq!(parts("wss://[::1]:9/x"), ("::1".into(), 9, Tls::Yes));
        for url in ["http://a.test/", "a.test", "ws:///x", "", "wss://a b/"] {
            assert!(matches!(parse(url), Err(DialError::Url(_))), "{url}");
        }
    }

    #[tokio::test]
    async fn a_refused_connection_and_a_foreign_certificate_are_told_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let route = listener.local_addr().unwrap().to_string();
        let address = parse("wss://gateway.test/").unwrap();
        let line = |route| Line { route, limit: Duration::from_secs(5), ..Line::default() };
        // Something that answers, but not with TLS.
        let server = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            socket
        };
        let tls = line(Route::Tls(route.clone()));
        let (_socket, failed) = tokio::join!(server, address.connect(&tls));
        assert!(matches!(failed, Err(DialError::Tls(_))));
        drop(listener);
        let refused = address.connect(&line(Route::Plain(route))).await;
        assert!(matches!(refused, Err(DialError::Connect(_))));
    }
}
