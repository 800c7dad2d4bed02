//! A scripted recogniser of speech on this machine, behind the protocols of four vendors, with every fault on a switch.
//!
//! **It does not recognise speech.** It knows the clips of a [`Script`] and what is said in them, finds out by comparing
//! bytes which clip is being played and where in it, and says the words of that place when their time has come. Whatever
//! else it hears is silence to it. So that nobody is misled, it says so when it starts, in its help and in its [`Journal`].
//!
//! Written from the vendors' public documentation and their SDKs, without the gateway's own wire types:
//!
//! ```text
//! socket ──► handshake: path, key, query ──► connection ──► recogniser: bytes ─► words ──► vendors: one session ──► socket
//! ```
//!
//! Memory: at most ten minutes of clips and 5 MiB of index a server; a second of audio, 2,000 words and 4,096 unsent messages
//! a connection.

mod connection;
mod fault;
mod handshake;
mod index;
mod input;
mod journal;
mod query;
mod recogniser;
mod script;
mod vendors;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::emulate::fault::Kind as _;
use fault::Faults;
use recogniser::Library;

pub use fault::{Fault, FaultKind, help as fault_help};
pub use journal::{CONNECTIONS_KEPT, ConnectionRecord, Counts, ENTRIES_MAX, End, Journal, Kind, Sent};
pub use recogniser::{Found, RECOGNISER};
pub use script::{ClipFault, Script, ScriptClip, ScriptError, ScriptWord};
pub use vendors::Dialect;

/// What a command that starts this server tells its user first.
pub const NOTICE: &str = "scripted recogniser: it compares audio with the clips of its script and recognises nothing";

/// Sockets open at once; one more is refused with HTTP 429.
const CONNECTIONS_MAX: usize = 1_000;

/// Wait after the system refused to accept a connection (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Longest wait for open connections when the server stops.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// Longest latency that can be set.
const LATENCY_MAX: Duration = Duration::from_secs(60);

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
    /// What is known; `None` is the script in the binary.
    pub script: Option<Script>,
    /// The only key that is accepted; `None` accepts any, but not none.
    pub api_key: Option<ApiKey>,
    /// From the end of a word, in audio, to when it is known; at most a minute. Gradium's clients set their own.
    pub latency: Duration,
    /// Silence after which a turn is over without any doubt; from 100 ms to 10 s. The vendors' thresholds and
    /// probabilities divide this span.
    pub certainty: Duration,
    /// The last word of an interim transcript is wrong until another word comes.
    pub wavers: bool,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl Default for Settings {
    /// The recorded callers, words known 200 ms after they ended, a second of silence for certainty, nothing going wrong.
    fn default() -> Self {
        Self {
            script: None,
            api_key: None,
            latency: Duration::from_millis(200),
            certainty: Duration::from_secs(1),
            wavers: false,
            faults: Vec::new(),
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
    /// The script in the binary is broken.
    #[error("the built-in script cannot be read")]
    Script(#[from] ScriptError),
}

/// What all connections of a server share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    library: Arc<Library>,
    faults: Faults,
    journal: Journal,
    connections_begun: AtomicU64,
}

impl Shared {
    fn new(mut settings: Settings) -> Result<Self, ServerError> {
        if settings.latency > LATENCY_MAX {
            return Err(ServerError::Setting { name: "latency" });
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(10)).contains(&settings.certainty) {
            return Err(ServerError::Setting { name: "certainty" });
        }
        if let Some(fault) = settings.faults.iter().find(|fault| !fault::is_possible(fault)) {
            return Err(ServerError::Setting { name: fault.kind.name() });
        }
        let script = match settings.script.take() {
            Some(script) => script,
            None => Script::built_in()?,
        };
        Ok(Self {
            library: Arc::new(Library::new(script)),
            faults: Faults::new(&settings.faults),
            settings,
            journal: Journal::new(),
            connections_begun: AtomicU64::new(0),
        })
    }
}

/// A listening server. Nothing is accepted before [`Server::run`].
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Binds `addr` (port 0 takes a free one) and indexes the script.
    ///
    /// # Errors
    /// [`ServerError`] says what is wrong.
    pub async fn bind(addr: SocketAddr, settings: Settings) -> Result<Self, ServerError> {
        let shared = Arc::new(Shared::new(settings)?);
        let listener = TcpListener::bind(addr).await.map_err(|source| ServerError::Listen { addr, source })?;
        let local_addr = listener.local_addr().map_err(|source| ServerError::Listen { addr, source })?;
        Ok(Self { listener, local_addr, shared })
    }

    /// The address that is listened on, with the port that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The base of all paths, without one: [`Dialect::path`] comes behind it.
    pub fn url(&self) -> String {
        format!("ws://{}", self.local_addr)
    }

    /// Where a client of `dialect` connects, without the query that it brings.
    pub fn url_of(&self, dialect: Dialect) -> String {
        format!("{}{}", self.url(), dialect.path())
    }

    /// The record of what happens here; stays readable when the server is gone.
    pub fn journal(&self) -> Journal {
        self.shared.journal.clone()
    }

    /// Serves until `cancel`, then closes every socket with code 1001. Dropping the future drops all connections.
    pub async fn run(self, cancel: CancellationToken) {
        tracing::warn!(addr = %self.local_addr, recogniser = RECOGNISER, "{NOTICE}");
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
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
            let (shared, cancel) = (Arc::clone(&self.shared), cancel.child_token());
            connections.spawn(async move {
                let room = if place.is_some() { connection::Room::Free } else { connection::Room::Full };
                connection::serve(stream, shared, room, cancel).await;
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
