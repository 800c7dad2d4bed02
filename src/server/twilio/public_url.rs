//! The address under which carriers reach us.
//!
//! It comes from configuration and never from a request: behind a proxy or a tunnel the `Host` header and the
//! forwarded headers are whatever the last hop, or a stranger, wrote.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Whether a URL is spoken over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `https` and `wss`.
    Tls,
    /// `http` and `ws`.
    Plain,
}

impl Transport {
    /// Scheme of a plain request.
    pub const fn http(self) -> &'static str {
        match self {
            Transport::Tls => "https",
            Transport::Plain => "http",
        }
    }

    /// Scheme of a WebSocket.
    pub const fn ws(self) -> &'static str {
        match self {
            Transport::Tls => "wss",
            Transport::Plain => "ws",
        }
    }

    /// The port that a URL without one means.
    pub const fn default_port(self) -> u16 {
        match self {
            Transport::Tls => 443,
            Transport::Plain => 80,
        }
    }
}

/// Why a public URL was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicUrlError {
    /// Neither `https://` nor `http://` in front.
    #[error("the url must begin with https:// or http://")]
    Scheme,
    /// No host, or one with characters that no host name has.
    #[error("the url has no usable host name")]
    Host,
    /// A port that is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// `user:password@` in front of the host.
    #[error("the url must not carry a user name or a password")]
    UserInfo,
    /// A `?` or `#` part.
    #[error("the url must not have a query or a fragment")]
    Query,
    /// White space, a control character, a backslash, a brace or a character beyond ASCII in the path.
    #[error("the path holds a character that must be percent-encoded")]
    Path,
}

/// The address under which carriers reach us: scheme, host, and optionally a port and a path that a proxy adds.
///
/// Host and port are kept as configured, because a signature covers the very text that the carrier was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    transport: Transport,
    host: String,
    port: Option<u16>,
    /// Empty, or begins with a slash and does not end with one.
    prefix: String,
}

impl PublicUrl {
    /// Reads a URL such as `https://gw.example.com`, `https://gw.example.com:8443/voice/`.
    ///
    /// # Errors
    /// [`PublicUrlError`] names the part that cannot stand.
    pub fn parse(text: &str) -> Result<Self, PublicUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(PublicUrlError::Scheme)?;
        let transport = match scheme.to_ascii_lowercase().as_str() {
            "https" => Transport::Tls,
            "http" => Transport::Plain,
            _ => return Err(PublicUrlError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(PublicUrlError::Query);
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(PublicUrlError::UserInfo);
        }
        if path.chars().any(|c| !c.is_ascii_graphic() || matches!(c, '\\' | '{' | '}')) {
            return Err(PublicUrlError::Path);
        }
        let (host, port) = split_authority(authority)?;
        Ok(Self { transport, host: host.to_owned(), port, prefix: path.trim_end_matches('/').to_owned() })
    }

    /// Whether it is spoken over TLS.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Host name or address; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if the URL names one.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The path in front of our routes: empty, or `/voice` without a slash at its end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where a carrier requests `route` (which begins with a slash).
    pub fn http_url(&self, route: &str) -> String {
        self.url(self.transport.http(), self.port, route)
    }

    /// Where a carrier opens a WebSocket at `route` (which begins with a slash).
    pub fn ws_url(&self, route: &str) -> String {
        self.url(self.transport.ws(), self.port, route)
    }

    /// True if the host is this very machine: `localhost` or a loopback address.
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    pub(super) fn url(&self, scheme: &str, port: Option<u16>, route: &str) -> String {
        let Self { host, prefix, .. } = self;
        match port {
            Some(port) => format!("{scheme}://{host}:{port}{prefix}{route}"),
            None => format!("{scheme}://{host}{prefix}{route}"),
        }
    }
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.http_url(""))
    }
}

/// Host and port; a colon inside brackets belongs to an IPv6 address.
fn split_authority(authority: &str) -> Result<(&str, Option<u16>), PublicUrlError> {
    let host_end = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(host_end);
    check_host(host)?;
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Ok((host, None)),
        None => Err(PublicUrlError::Host),
        // `u16::from_str` takes a leading plus sign, which no URL has.
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_digit()) => match digits.parse::<u16>() {
            Ok(port) if port > 0 => Ok((host, Some(port))),
            Ok(_) | Err(_) => Err(PublicUrlError::Port),
        },
        Some(_) => Err(PublicUrlError::Port),
    }
}

fn check_host(host: &str) -> Result<(), PublicUrlError> {
    let valid = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    if valid { Ok(()) } else { Err(PublicUrlError::Host) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_carry_a_port_a_path_and_a_trailing_slash() {
        let cases = [
            ("https://gw.example.com", "https://gw.example.com/r", "wss://gw.example.com/r"),
            ("HTTPS://gw.example.com/", "https://gw.example.com/r", "wss://gw.example.com/r"),
            (
                "https://gw.example.com:8443/voice/",
                "https://gw.example.com:8443/voice/r",
                "wss://gw.example.com:8443/voice/r",
            ),
            ("http://127.0.0.1:80/a/b", "http://127.0.0.1:80/a/b/r", "ws://127.0.0.1:80/a/b/r"),
            ("http://[::1]:8080", "http://[::1]:8080/r", "ws://[::1]:8080/r"),
        ];
        for (text, http, ws) in cases {
            let url = PublicUrl::parse(text).unwrap();
            assert_eq!((url.http_url("/r").as_str(), url.ws_url("/r").as_str()), (http, ws), "{text}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_signed_is_refused_by_its_fault() {
        let cases = [
            ("gw.example.com", PublicUrlError::Scheme),
            ("wss://gw.example.com", PublicUrlError::Scheme),
            ("https://", PublicUrlError::Host),
            ("https:///path", PublicUrlError::Host),
            ("https://gw example.com", PublicUrlError::Host),
            ("https://[::1", PublicUrlError::Host),
            ("https://[::1]x", PublicUrlError::Host),
            ("https://gw.example.com:", PublicUrlError::Port),
            ("https://gw.example.com:0", PublicUrlError::Port),
            ("https://gw.example.com:+443", PublicUrlError::Port),
            ("https://gw.example.com:70000", PublicUrlError::Port),
            ("https://me:pw@gw.example.com", PublicUrlError::UserInfo),
            ("https://gw.example.com/?a=1", PublicUrlError::Query),
            ("https://gw.example.com/#top", PublicUrlError::Query),
            ("https://gw.example.com/a b", PublicUrlError::Path),
            ("https://gw.example.com/{a}", PublicUrlError::Path),
        ];
        for (text, fault) in cases {
            assert_eq!(PublicUrl::parse(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn loopback_is_told_by_name_and_by_address() {
        for text in ["http://localhost:1", "http://127.9.9.9", "http://[::1]"] {
            assert!(PublicUrl::parse(text).unwrap().is_loopback(), "{text}");
        }
        assert!(!PublicUrl::parse("http://localhost.example.com").unwrap().is_loopback());
    }
}
