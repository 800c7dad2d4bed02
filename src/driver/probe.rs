//! A server is reached as serving would reach it, and left again: its name, TCP, TLS. Nothing is asked of it, so that nothing
//! is paid for, and no key leaves this process.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::http::outbound::{Refused, Rules};
use crate::http::{TrustError, distrust, trust};

/// Where a URL leads. Its path, its query and a password in it are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name or address, without brackets.
    host: String,
    port: u16,
    tls: bool,
}

impl Place {
    /// The place of an `http`, `https`, `ws` or `wss` URL; `None` for any other text.
    pub fn of(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let tls = match url.scheme() {
            "https" | "wss" => true,
            "http" | "ws" => false,
            _ => return None,
        };
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        Some(Place { host, port: url.port_or_known_default()?, tls })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How a server was reached: what each step took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its name became addresses.
    pub resolved: Duration,
    /// One of them took a connection.
    pub connected: Duration,
    /// TLS was agreed on, and its certificate believed; `None` where the URL is without TLS.
    pub secured: Option<Duration>,
}

/// A step on the way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// From its name to addresses.
    Name,
    /// A TCP connection to one of them.
    Tcp,
    /// The TLS handshake.
    Tls,
}

/// Why a server was not reached, and how long finding out took.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Unreached {
    /// The step that failed.
    pub step: Step,
    /// What that step took.
    pub after: Duration,
    /// Why it failed.
    #[source]
    pub why: Why,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// It took longer than all steps together may.
    #[error("no answer in time")]
    Slow,
    /// There is no such name, or nobody to ask for it.
    #[error("the name cannot be resolved: {0}")]
    Name(io::Error),
    /// It leads to addresses that may not be asked.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Nobody takes connections there.
    #[error("no connection: {0}")]
    Tcp(io::Error),
    /// Its certificate is not believed.
    #[error("{0}")]
    Untrusted(String),
    /// Whatever answered did not agree on TLS.
    #[error("no TLS: {0}")]
    Tls(io::Error),
}

/// Reaches servers with one trust, within one limit.
#[derive(Clone)]
pub struct Probe {
    tls: TlsConnector,
    limit: Duration,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Probe {
    /// A probe that trusts the authorities in `authorities`, a PEM file, and no others; without it, those of the web. All
    /// steps together may take `limit`.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn new(authorities: Option<&Path>, limit: Duration) -> Result<Self, TrustError> {
        Ok(Probe { tls: TlsConnector::from(Arc::new(trust(authorities)?)), limit })
    }

    /// Goes to `place` as far as TLS, and leaves; with `rules`, only to addresses that they let be dialled. Dropping the future leaves at once.
    ///
    /// # Errors
    /// [`Unreached`].
    pub async fn reach(&self, place: &Place, rules: Option<&Rules>) -> Result<Reached, Unreached> {
        let mut way = Way { begun: Instant::now(), until: Instant::now() + self.limit };
        let (addresses, resolved) = way.step(Step::Name, addresses(place, rules)).await?;
        let (stream, connected) = way.step(Step::Tcp, connection(&addresses)).await?;
        let secured = if place.tls {
            let (_secured, took) = way.step(Step::Tls, self.secure(place, stream)).await?;
            Some(took)
        } else {
            None
        };
        Ok(Reached { resolved, connected, secured })
    }

    async fn secure(
        &self,
        place: &Place,
        stream: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Why> {
        let name = ServerName::try_from(place.host.clone());
        let name = name.map_err(|error| Why::Name(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        self.tls.connect(name, stream).await.map_err(|error| {
            let fault = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            fault.and_then(distrust).map_or_else(|| Why::Tls(error), Why::Untrusted)
        })
    }
}

async fn addresses(place: &Place, rules: Option<&Rules>) -> Result<Vec<SocketAddr>, Why> {
    let mut found: Vec<_> = lookup_host((place.host.as_str(), place.port)).await.map_err(Why::Name)?.collect();
    if found.is_empty() {
        return Err(Why::Name(io::Error::other("it has no address")));
    }
    if let Some(rules) = rules {
        let admitted = rules.of_name(&place.host, found.iter().map(SocketAddr::ip))?;
        found.retain(|address| admitted.contains(&address.ip()));
    }
    Ok(found)
}

async fn connection(addresses: &[SocketAddr]) -> Result<TcpStream, Why> {
    TcpStream::connect(addresses).await.map_err(Why::Tcp)
}

/// The steps of one probe, measured one after the other.
struct Way {
    begun: Instant,
    until: Instant,
}

impl Way {
    async fn step<T>(
        &mut self,
        step: Step,
        work: impl Future<Output = Result<T, Why>>,
    ) -> Result<(T, Duration), Unreached> {
        let done = timeout_at(self.until, work).await.unwrap_or(Err(Why::Slow));
        let after = self.begun.elapsed();
        self.begun += after;
        done.map(|made| (made, after)).map_err(|why| Unreached { step, after, why })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_place_is_host_and_port_and_nothing_else() {
        let place = |url: &str| Place::of(url).map(|place| (place.to_string(), place.tls));
        let is = |text: &str, tls| Some((text.to_owned(), tls));
        assert_eq!(place("wss://voice.test/tts?api_key=hunter2"), is("voice.test:443", true));
        assert_eq!(place("http://user:hunter2@voice.test:8000/v1"), is("voice.test:8000", false));
        assert_eq!(place("ws://[::1]/x"), is("[::1]:80", false));
        assert_eq!(place("https://[::1]:8443/x"), is("[::1]:8443", true));
        for bad in ["", "voice.test", "ftp://voice.test/", "wss://"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn every_step_is_named() {
        let failed = |url: String| async move {
            let probe = Probe::new(None, Duration::from_secs(1)).unwrap();
            probe.reach(&Place::of(&url).unwrap(), None).await.unwrap_err()
        };
        // RFC 6761: no name under it exists. A resolver that answers nothing at all is a slow one.
        let name = failed("wss://voice.invalid/tts".to_owned()).await;
        assert_eq!(name.step, Step::Name, "{name}");
        assert!(matches!(name.why, Why::Name(_) | Why::Slow), "{name}");

        // Port 1 of loopback: nobody listens there.
        let tcp = failed("ws://127.0.0.1:1/tts".to_owned()).await;
        assert_eq!(tcp.step, Step::Tcp);
        assert!(matches!(&tcp.why, Why::Tcp(error) if error.kind() == io::ErrorKind::ConnectionRefused), "{tcp}");

        // The system takes the connection, and nobody answers on it.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tls = failed(format!("wss://{}/tts", silent.local_addr().unwrap())).await;
        assert_eq!(tls.step, Step::Tls);
        assert!(matches!(tls.why, Why::Slow), "{tls}");
    }

    #[tokio::test]
    async fn a_place_that_is_refused_when_it_is_asked_is_not_reached_here_either() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Place::of(&format!("http://localhost:{}/", server.local_addr().unwrap().port())).unwrap();
        let probe = Probe::new(None, Duration::from_secs(5)).unwrap();
        let refused = probe.reach(&place, Some(&Rules::default())).await.unwrap_err();
        assert!(refused.step == Step::Name && matches!(refused.why, Why::Refused(_)), "{refused}");
        assert!(probe.reach(&place, Some(&Rules::default().with_loopback())).await.is_ok());
    }

    #[tokio::test]
    async fn without_tls_a_connection_is_enough() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let probe = Probe::new(None, Duration::from_secs(5)).unwrap();
        let reached =
            probe.reach(&Place::of(&format!("ws://{}/tts", server.local_addr().unwrap())).unwrap(), None).await;
        assert_eq!(reached.unwrap().secured, None);
    }
}
