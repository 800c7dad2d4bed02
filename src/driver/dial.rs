//! Dialling a voice: TCP, TLS, handshake, each within a limit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::{Error as WsError, TlsError};
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::dialect::{Handshake, Refusal};
use crate::http::{TrustError, trust};

/// From the first packet to the end of the handshake. Two lost first packets (sent again after 1 and 3 s) are survived, and
/// it is shorter than the silence after which the core gives a turn up, so that a link that was slow once is not dialled
/// twice for the same text.
const DIAL_LIMIT: Duration = Duration::from_millis(3_500);
/// A chunk of 90 ms is 2 to 4 kB of base64.
const READ_BYTES: usize = 8 * 1024;
const WRITE_BYTES: usize = 4 * 1024;
/// Longest message that is read from a voice: some seconds of audio.
const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// An open socket to a voice.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Dials one vendor for every call; holds what they trust.
#[derive(Clone)]
pub struct Dialler {
    tls: Arc<ClientConfig>,
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
        Ok(Dialler { tls: Arc::new(trust(authorities)?) })
    }

    pub(super) async fn dial(&self, handshake: Handshake) -> Result<Socket, Refusal> {
        let unreachable = |error: &dyn std::fmt::Display| Refusal::Unreachable(error.to_string());
        let mut request = handshake.url.as_str().into_client_request().map_err(|error| unreachable(&error))?;
        for (name, value) in handshake.headers {
            let mut value = HeaderValue::try_from(value).map_err(|error| unreachable(&error))?;
            value.set_sensitive(true);
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(WRITE_BYTES)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let connector = Connector::Rustls(self.tls.clone());
        let dialled = connect_async_tls_with_config(request, Some(config), true, Some(connector));
        match timeout(DIAL_LIMIT, Box::pin(dialled)).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(refusal_of(&error)),
            Err(_) => Err(Refusal::Unreachable("no answer in time".to_owned())),
        }
    }
}

fn refusal_of(error: &WsError) -> Refusal {
    use rustls::{CertificateError, Error as TlsFault};
    if let WsError::Http(response) = error {
        return Refusal::Status(response.status().as_u16());
    }
    let tls = if let WsError::Tls(TlsError::Rustls(fault)) = error {
        Some(&**fault)
    } else if let WsError::Io(fault) = error {
        fault.get_ref().and_then(|inner| inner.downcast_ref::<TlsFault>())
    } else {
        None
    };
    match tls {
        // A bad signature is what an authority of the right name with another key looks like.
        Some(TlsFault::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            Refusal::Untrusted(
                "the server's certificate is from an unknown authority; name its certificate in ca_file".to_owned(),
            )
        }
        Some(TlsFault::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => Refusal::Untrusted("the server's certificate is for another host name than the URL's".to_owned()),
        Some(fault @ TlsFault::InvalidCertificate(_)) => Refusal::Untrusted(fault.to_string()),
        Some(_) | None => Refusal::Unreachable(error.to_string()),
    }
}
