//! A server of Cartesia's TTS WebSocket protocol, on this machine, with every fault on a switch.
//!
//! Written from the vendor's public documentation and from what its Python SDK sends, without the gateway's own wire types.
//! The truth of what was sent is in the [`Journal`]. One connection is one task; each context of it is one more:
//!
//! ```text
//! socket ──► connection: dispatch ──► context: buffer ─► speaker ─► pacing ──┐
//!        ◄── connection: write    ◄─────────── outbox (bounded) ◄────────────┘
//! ```

mod buffer;
mod connection;
mod context;
mod dispatch;
mod fault;
mod handshake;
mod journal;
mod playing;
mod prerendered;
mod reply;
mod request;
mod speaker;
mod tls;
pub mod tone;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::voice;
use fault::Faults;

pub use fault::{Fault, FaultError, FaultKind, help as fault_help};
pub use journal::{CONTEXTS_MAX, ContextRecord, Counts, ENTRIES_MAX, End, Journal};
pub use prerendered::{Prerendered, PrerenderedError, Served};
pub use tls::{TlsError, TlsSettings};

/// Path of the WebSocket.
pub const PATH: &str = "/tts/websocket";

/// Sockets open at once; one more is refused with HTTP 429.
const CONNECTIONS_MAX: usize = 1_000;

/// Longest time from TCP connect to the end of the TLS handshake.
const TLS_LIMIT: Duration = Duration::from_secs(10);

/// Wait after the system refused to accept a connection (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Longest wait for open connections when the server stops.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// What the emulated voices sound like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Voice {
    /// English speech of the embedded voice.
    #[default]
    Local,
    /// A tone per context, see [`tone`].
    Tone,
}

/// A key that never prints itself.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes any text.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What speaks.
    pub voice: Voice,
    /// The only key that is accepted; `None` accepts any, but not none.
    pub api_key: Option<ApiKey>,
    /// The only voice ids that are known; `None` knows all. Others are answered with an error event 404.
    pub voices: Option<Vec<String>>,
    /// Audio is sent this many times as fast as it plays; above 0, finite.
    pub speed_factor: f64,
    /// From a text to its first audio.
    pub first_byte: Duration,
    /// Length of the audio in one `chunk`; 1 ms to 10 s.
    pub chunk: Duration,
    /// How long after its last audio a context still takes text.
    pub expiry: Duration,
    /// How long a socket may be silent before it is closed with code 1000.
    pub idle: Duration,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Serves `wss` if set.
    pub tls: Option<TlsSettings>,
}

impl Default for Settings {
    /// As the vendor documents it, at four times real time, nothing going wrong.
    fn default() -> Self {
        Self {
            voice: Voice::default(),
            api_key: None,
            voices: None,
            speed_factor: 4.0,
            first_byte: Duration::from_millis(75),
            chunk: Duration::from_millis(90),
            expiry: Duration::from_secs(1),
            idle: Duration::from_secs(300),
            faults: Vec::new(),
            tls: None,
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address could not be bound.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A setting is out of its range.
    #[error("{name} is out of range")]
    Setting {
        /// The setting's name.
        name: &'static str,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The authority's certificate could not be written.
    #[error("cannot write the certificate to {}", path.display())]
    CaOut {
        /// Where to.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What all connections of a server share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    faults: Faults,
    journal: Journal,
    pool: voice::Pool,
    /// Contexts begun: the next one's number, which is its tone.
    contexts_begun: AtomicU32,
    /// Contexts alive.
    contexts_active: AtomicU32,
    connections_begun: AtomicU64,
}

impl Shared {
    fn new(settings: Settings) -> Self {
        Self {
            faults: Faults::new(&settings.faults),
            settings,
            journal: Journal::new(),
            // A refused text would be a fault that nobody switched on, hence the long queue.
            pool: voice::Pool::new(voice::Settings { workers: 2, waiting_max: 10_000 }),
            contexts_begun: AtomicU32::new(0),
            contexts_active: AtomicU32::new(0),
            connections_begun: AtomicU64::new(0),
        }
    }
}

/// A server without a listener, for byte streams that are already connected.
#[derive(Debug)]
pub struct Emulator {
    shared: Arc<Shared>,
}

impl Emulator {
    /// A server that behaves as `settings` say; TLS is not its affair.
    ///
    /// # Errors
    /// [`ServerError::Setting`].
    pub fn new(settings: Settings) -> Result<Self, ServerError> {
        Ok(Self { shared: Arc::new(Shared::new(settings)) })
    }

    /// Serves one connection to its end. With [`Voice::Tone`] it needs no thread.
    pub async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(&self, stream: S) {
        let cancel = CancellationToken::new();
        connection::serve(connection::Piped(stream), self.shared.clone(), connection::Room::Free, cancel).await;
    }

    /// The record of what happens here.
    pub fn journal(&self) -> Journal {
        self.shared.journal.clone()
    }
}

/// A listening server. Nothing is accepted before [`Server::run`].
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    tls: Option<tls::Identity>,
    shared: Arc<Shared>,
}

impl Server {
    /// Binds `addr` (port 0 takes a free one) and, for TLS, makes the authority and writes its certificate.
    ///
    /// # Errors
    /// [`ServerError`] says what is wrong.
    pub async fn bind(addr: SocketAddr, settings: Settings) -> Result<Self, ServerError> {
        if !(settings.speed_factor.is_finite() && settings.speed_factor > 0.0) {
            return Err(ServerError::Setting { name: "speed_factor" });
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(10)).contains(&settings.chunk) {
            return Err(ServerError::Setting { name: "chunk" });
        }
        let mut identity = None;
        if let Some(tls) = &settings.tls {
            let made = tls::identity(&tls.names)?;
            if let Some(path) = &tls.ca_out {
                let written = tokio::fs::write(path, &made.ca_pem).await;
                written.map_err(|source| ServerError::CaOut { path: path.clone(), source })?;
            }
            identity = Some(made);
        }
        let listener = TcpListener::bind(addr).await.map_err(|source| ServerError::Listen { addr, source })?;
        let local_addr = listener.local_addr().map_err(|source| ServerError::Listen { addr, source })?;
        Ok(Self { listener, local_addr, tls: identity, shared: Arc::new(Shared::new(settings)) })
    }

    /// The address that is listened on, with the port that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where clients connect; with TLS by the first name of the certificate.
    pub fn url(&self) -> String {
        match &self.shared.settings.tls {
            Some(tls) => {
                let name = tls.names.first().map_or("localhost", String::as_str);
                format!("wss://{name}:{}{PATH}", self.local_addr.port())
            }
            None => format!("ws://{}{PATH}", self.local_addr),
        }
    }

    /// The authority's certificate in PEM, if the server speaks TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.tls.as_ref().map(|identity| identity.ca_pem.as_str())
    }

    /// The record of what happens here; stays readable when the server is gone.
    pub fn journal(&self) -> Journal {
        self.shared.journal.clone()
    }

    /// Serves until `cancel`, then closes every socket with code 1001. Dropping the future drops all connections.
    pub async fn run(self, cancel: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let acceptor = self.tls.map(|identity| TlsAcceptor::from(identity.config));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Without it, small messages wait for acknowledgements; if it fails, so will the connection.
            stream.set_nodelay(true).ok();
            let place = Arc::clone(&places).try_acquire_owned().ok();
            let (shared, acceptor, cancel) = (Arc::clone(&self.shared), acceptor.clone(), cancel.child_token());
            connections.spawn(async move {
                let room = if place.is_some() { connection::Room::Free } else { connection::Room::Full };
                match acceptor {
                    None => connection::serve(stream, shared, room, cancel).await,
                    Some(acceptor) => {
                        // A failed handshake is the client's business: it knows why it does not trust us.
                        if let Ok(Ok(stream)) = tokio::time::timeout(TLS_LIMIT, acceptor.accept(stream)).await {
                            connection::serve(stream, shared, room, cancel).await;
                        }
                    }
                }
                drop(place);
            });
        }
        drop(self.listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_LIMIT, drained).await.is_err() {
            tracing::warn!("connections did not close in time");
        }
    }
}

#[cfg(test)]
mod tests;
