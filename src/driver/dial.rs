//! Dialling a voice: a connection, TLS, handshake, all within one limit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::{Error as WsError, TlsError, UrlError};
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Request, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::connect::{ByteStream, Connect, Tcp};
use crate::dialect::{Handshake, Refusal};
use crate::http::{TrustError, distrust, trust};

/// From the first packet to the end of the handshake. Two lost first packets (sent again after 1 and 3 s) are survived, and
/// it is shorter than the silence after which the core gives a turn up, so that a link that was slow once is not dialled
/// twice for the same text.
pub const DIAL_LIMIT: Duration = Duration::from_millis(3_500);
/// A chunk of 90 ms is 2 to 4 kB of base64.
const READ_BYTES: usize = 8 * 1024;
const WRITE_BYTES: usize = 4 * 1024;
/// Longest message that is read from a voice: some seconds of audio.
const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// An open socket to a voice, whatever carries its bytes.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<Box<dyn ByteStream>>>;

/// Dials one vendor for every call; holds what they trust.
#[derive(Clone)]
pub struct Dialler {
    tls: Arc<ClientConfig>,
    connect: Arc<dyn Connect>,
}

impl std::fmt::Debug for Dialler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dialler")
    }
}

impl Dialler {
    /// A dialler that trusts the authorities in `authorities`, a PEM file, and no others; without it, those of the web.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn new(authorities: Option<&Path>) -> Result<Self, TrustError> {
        Ok(Dialler { tls: Arc::new(trust(authorities)?), connect: Arc::new(Tcp) })
    }

    /// The same trust over connections that `connect` makes, in place of TCP.
    #[must_use]
    pub fn over(self, connect: Arc<dyn Connect>) -> Self {
        Dialler { connect, ..self }
    }

    pub(super) async fn dial(&self, handshake: Handshake) -> Result<Socket, Refusal> {
        let unreachable = |error: &dyn std::fmt::Display| Refusal::Unreachable(error.to_string());
        let mut request = handshake.url.as_str().into_client_request().map_err(|error| unreachable(&error))?;
        for (name, value) in handshake.headers {
            let mut value = HeaderValue::try_from(value.expose()).map_err(|error| unreachable(&error))?;
            value.set_sensitive(true);
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(WRITE_BYTES)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        match timeout(DIAL_LIMIT, Box::pin(self.open(request, config))).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(error)) => Err(refusal_of(&error)),
            Err(_) => Err(Refusal::Unreachable("no answer in time".to_owned())),
        }
    }

    async fn open(&self, request: Request<()>, config: WebSocketConfig) -> Result<Socket, WsError> {
        let (host, port) = place_of(request.uri())?;
        let stream = self.connect.connect(host, port).await?;
        let connector = Connector::Rustls(self.tls.clone());
        let (socket, _) = client_async_tls_with_config(request, stream, Some(config), Some(connector)).await?;
        Ok(socket)
    }
}

/// Where a URL leads: its host without brackets, and its port or that of its scheme.
fn place_of(url: &Uri) -> Result<(&str, u16), UrlError> {
    let host = url.host().ok_or(UrlError::NoHostName)?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let port = url.port_u16().or_else(|| match url.scheme_str() {
        Some("wss") => Some(443),
        Some("ws") => Some(80),
        Some(_) | None => None,
    });
    Ok((bare.unwrap_or(host), port.ok_or(UrlError::UnsupportedUrlScheme)?))
}

fn refusal_of(error: &WsError) -> Refusal {
    if let WsError::Http(response) = error {
        return Refusal::Status(response.status().as_u16());
    }
    let tls = if let WsError::Tls(TlsError::Rustls(fault)) = error {
        Some(&**fault)
    } else if let WsError::Io(fault) = error {
        fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
    } else {
        None
    };
    tls.and_then(distrust).map_or_else(|| Refusal::Unreachable(error.to_string()), Refusal::Untrusted)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// Hands out one end of a pipe, and says where to.
    struct Pipe {
        end: Mutex<Option<DuplexStream>>,
        asked: Mutex<Vec<(String, u16)>>,
    }

    impl Connect for Pipe {
        fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn ByteStream>>> {
            self.asked.lock().unwrap().push((host.to_owned(), port));
            let end = self.end.lock().unwrap().take();
            async move { end.map(|end| Box::new(end) as Box<dyn ByteStream>).ok_or(io::ErrorKind::ConnectionRefused.into()) }
                .boxed()
        }
    }

    fn handshake(url: &str) -> Handshake {
        Handshake { url: url.to_owned(), headers: Vec::new() }
    }

    /// How dialling `url` is refused where a server says `answer`, and where was dialled.
    async fn refused(url: &str, answer: Option<&str>) -> (Refusal, Vec<(String, u16)>) {
        let (ours, mut theirs) = duplex(256);
        let pipe = Arc::new(Pipe { end: Mutex::new(answer.map(|_| ours)), asked: Mutex::default() });
        let dialler = Dialler::new(None).unwrap().over(pipe.clone());
        let server = async {
            let mut request = [0; 1_024];
            if let Some(answer) = answer.filter(|answer| !answer.is_empty()) {
                let _ = theirs.read(&mut request).await.unwrap();
                theirs.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let (outcome, ()) = tokio::join!(dialler.dial(handshake(url)), server);
        let asked = pipe.asked.lock().unwrap().clone();
        (outcome.err().unwrap(), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_the_same_over_every_stream() {
        let (refusal, asked) = refused("ws://voice.test/tts", Some("HTTP/1.1 429 Too Many\r\n\r\n")).await;
        assert_eq!(refusal, Refusal::Status(429));
        assert_eq!(asked, [("voice.test".to_owned(), 80)]);

        let (refusal, asked) = refused("wss://[::1]:8443/tts", None).await;
        assert!(matches!(refusal, Refusal::Unreachable(_)));
        assert_eq!(asked, [("::1".to_owned(), 8_443)]);

        let (refusal, asked) = refused("ftp://voice.test/", Some("")).await;
        assert!(matches!(refusal, Refusal::Unreachable(_)));
        assert!(asked.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_given_up() {
        let begun = tokio::time::Instant::now();
        let (refusal, _) = refused("wss://voice.test/", Some("")).await;
        assert_eq!(refusal, Refusal::Unreachable("no answer in time".to_owned()));
        assert_eq!(begun.elapsed(), DIAL_LIMIT);
    }
}
