//! A server of the chat-completions API that many language models speak, on this machine, with every fault on a switch.
//!
//! Written from the public documentation of the API and from what its Python SDK sends, without the gateway's own client.
//! It answers by a [`Script`], so that a call sounds the same each time; `POST /v1/chat/completions` (streamed and not)
//! and `GET /v1/models` are served. The truth of what was asked and sent is in the [`Journal`], here and at
//! `GET /journal`.
//!
//! ```text
//! request ──► request, conversation: checks ──► script: which rule ──► answer: tokens, calls
//!         ◄── playing: each step at its time ◄── plan: bytes, waits, faults ◄───┘
//! ```
//!
//! Cancelling an answer means closing the connection, as everywhere with this API; the server sees it at once, not only
//! with its next write, and notes it.

mod answer;
mod conversation;
mod fault;
mod http;
mod journal;
mod plan;
mod playing;
pub(super) mod refusal;
mod request;
mod script;
mod tokens;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use fault::Faults;

pub use fault::{Fault, FaultKind};
pub use journal::{EXCHANGES_MAX, End, Exchange, Journal, REQUESTS_BYTES_MAX};
pub use script::{Rule, RuleError, Script, ScriptError, ToolCall};

/// What the API's paths begin with: a client's base URL ends in it.
const API: &str = "/v1";

/// The model that is listed if no other is known.
pub const MODEL: &str = "trunkline-desk";

/// Connections open at once; one more is closed.
const CONNECTIONS_MAX: usize = 1_000;

/// Wait after the system refused to accept a connection (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The list of faults for `--help`, one line each.
pub fn fault_help() -> String {
    crate::emulate::fault::help::<FaultKind>()
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
    /// What it answers.
    pub script: Script,
    /// The only key that is accepted; `None` asks for none.
    pub api_key: Option<ApiKey>,
    /// The only models that are known; `None` takes all and lists [`MODEL`].
    pub models: Option<Vec<String>>,
    /// From a request to the first token of its answer.
    pub first_token: Duration,
    /// From each token to the next.
    pub token: Duration,
    /// What goes wrong, with every answer; a rule has its own.
    pub faults: Vec<Fault>,
}

impl Default for Settings {
    /// The appointment desk at the pace of a quick model, nothing going wrong.
    fn default() -> Self {
        Self {
            script: Script::default(),
            api_key: None,
            models: None,
            first_token: Duration::from_millis(150),
            token: Duration::from_millis(15),
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
    /// A fault's amount makes no sense.
    #[error("the amount of the fault {fault} is out of range")]
    Fault {
        /// The fault.
        fault: Fault,
    },
    /// A rule of the script has a fault that cannot be read.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// What all connections of a server share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    faults: Faults,
    /// The faults of each rule of the script.
    rule_faults: Vec<Faults>,
    journal: Journal,
}

impl Shared {
    fn new(settings: Settings) -> Result<Self, ServerError> {
        if let Some(fault) = settings.faults.iter().find(|fault| !fault::in_range(fault)) {
            return Err(ServerError::Fault { fault: *fault });
        }
        let of_rule = |rule: &Rule| rule.faults_read().map(|faults| Faults::new(&faults));
        Ok(Self {
            faults: Faults::new(&settings.faults),
            rule_faults: settings.script.rules().iter().map(of_rule).collect::<Result<_, _>>()?,
            settings,
            journal: Journal::new(),
        })
    }

    fn models(&self) -> Vec<&str> {
        self.settings.models.as_ref().map_or_else(|| vec![MODEL], |known| known.iter().map(String::as_str).collect())
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
    /// Binds `addr`; port 0 takes a free one.
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

    /// What clients take for their base URL: `http://127.0.0.1:PORT/v1`.
    pub fn url(&self) -> String {
        format!("http://{}{API}", self.local_addr)
    }

    /// The record of what happens here; stays readable when the server is gone.
    pub fn journal(&self) -> Journal {
        self.shared.journal.clone()
    }

    /// Serves until `cancel`, then drops every connection, in the middle of an answer too. Dropping the future does the
    /// same.
    pub async fn run(self, cancel: CancellationToken) {
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
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::warn!("a connection was closed, there are too many");
                continue;
            };
            // Without it, tokens wait for acknowledgements; if it fails, so will the connection.
            stream.set_nodelay(true).ok();
            let (shared, cancel) = (Arc::clone(&self.shared), cancel.clone());
            connections.spawn(async move {
                http::serve(stream, shared, cancel).await;
                drop(place);
            });
        }
        drop(self.listener);
        // Each sees the token by itself, so this waits for no client.
        while connections.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests;
