//! A server of the speech API that OpenAI and many self-hosted engines speak, on this machine, with every fault on a switch.
//!
//! Written from the public documentation of the API and from what its Python SDK sends, without the gateway's own client.
//! `POST /v1/audio/speech` is served; the truth of what was asked and sent is in the [`Journal`], here and at `GET /journal`.
//!
//! ```text
//! request ──► request: checks ──► speaking: samples, word times ──► playing: pieces of the body at their times, faults
//! ```
//!
//! Cancelling means closing the connection, as everywhere with this API; the server sees it at once, and notes it.
//!
//! [`Server`] listens; [`Emulator`] serves byte streams that are connected already, in virtual time too if the voice is
//! [`Voice::Tone`].

mod fault;
mod http;
mod journal;
mod playing;
mod request;
mod speaking;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::voice;
use fault::Faults;

pub use super::tts::{ApiKey, Voice};
pub use fault::{Fault, FaultKind};
pub use journal::{Counts, End, Journal, RECORDS_MAX, Record, TEXTS_BYTES_MAX};
pub use request::INPUT_CHARS_MAX;

/// What the API's paths begin with: a client's base URL ends in it.
const API: &str = "/v1";

/// Samples a second of `pcm` and `wav`, as documented.
pub const RATE: u32 = 24_000;

/// Connections open at once; one more is closed.
const CONNECTIONS_MAX: usize = 1_000;

/// Wait after the system refused to accept a connection (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The list of faults for `--help`, one line each.
pub fn fault_help() -> String {
    crate::emulate::fault::help::<FaultKind>()
}

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What speaks; a tone is that of the request's number, counted from 0.
    pub voice: Voice,
    /// The only key that is accepted; `None` asks for none.
    pub api_key: Option<ApiKey>,
    /// The only models that are known; `None` knows all.
    pub models: Option<Vec<String>>,
    /// The only voices that are known; `None` knows all.
    pub voices: Option<Vec<String>>,
    /// Samples a second. [`RATE`] is the documented one; some engines have another.
    pub rate: u32,
    /// Audio is sent this many times as fast as it plays; above 0, finite.
    pub speed_factor: f64,
    /// From a request to its first audio.
    pub first_byte: Duration,
    /// Length of the audio in one piece of a body; 1 ms to 10 s. The last one is shorter.
    pub chunk: Duration,
    /// Requests that may be served at once; one more is refused with HTTP 429. `None` does not count them.
    pub requests_max: Option<u32>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl Default for Settings {
    /// A quick engine with the embedded voice, nothing going wrong.
    fn default() -> Self {
        Self {
            voice: Voice::Local,
            api_key: None,
            models: None,
            voices: None,
            rate: RATE,
            speed_factor: 4.0,
            first_byte: Duration::from_millis(150),
            chunk: Duration::from_millis(90),
            requests_max: None,
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
    /// A fault's amount makes no sense.
    #[error("the amount of the fault {fault} is out of range")]
    Fault {
        /// The fault.
        fault: Fault,
    },
}

/// What all connections of a server share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    faults: Faults,
    journal: Journal,
    pool: voice::Pool,
    /// Requests that are being served.
    active: AtomicU32,
    connections: AtomicU64,
}

impl Shared {
    fn new(settings: Settings) -> Result<Self, ServerError> {
        if !(settings.speed_factor.is_finite() && settings.speed_factor > 0.0) {
            return Err(ServerError::Setting { name: "speed_factor" });
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(10)).contains(&settings.chunk) {
            return Err(ServerError::Setting { name: "chunk" });
        }
        if !(8_000..=48_000).contains(&settings.rate) || !settings.rate.is_multiple_of(50) {
            return Err(ServerError::Setting { name: "rate" });
        }
        if let Some(fault) = settings.faults.iter().find(|fault| !fault::in_range(fault)) {
            return Err(ServerError::Fault { fault: *fault });
        }
        Ok(Self {
            faults: Faults::new(&settings.faults),
            settings,
            journal: Journal::new(),
            // A refused text would be a fault that nobody switched on, hence the long queue.
            pool: voice::Pool::new(voice::Settings { workers: 2, waiting_max: 10_000 }),
            active: AtomicU32::new(0),
            connections: AtomicU64::new(0),
        })
    }
}

/// The place of one request among those that are served at once.
#[derive(Debug)]
struct Place(Arc<Shared>);

impl Place {
    /// A place, if the account's limit and the faults leave one.
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let others = shared.active.fetch_add(1, Ordering::Relaxed);
        let place = Self(Arc::clone(shared));
        let is_over = shared.settings.requests_max.is_some_and(|most| others >= most)
            || (shared.faults.amount(FaultKind::Limited).is_some_and(|most| others >= most)
                && shared.faults.take(FaultKind::Limited).is_some());
        shared.journal.count(|counts| {
            if is_over {
                counts.refused_429 += 1;
            } else {
                counts.active_most = counts.active_most.max(others + 1);
            }
        });
        (!is_over).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A server without a listener. Clones are the same server.
#[derive(Clone, Debug)]
pub struct Emulator(Arc<Shared>);

impl Emulator {
    /// A server that behaves like this.
    ///
    /// # Errors
    /// [`ServerError::Setting`] and [`ServerError::Fault`].
    pub fn new(settings: Settings) -> Result<Self, ServerError> {
        Shared::new(settings).map(|shared| Self(Arc::new(shared)))
    }

    /// The record of what happens here; stays readable when the server is gone.
    pub fn journal(&self) -> Journal {
        self.0.journal.clone()
    }

    /// Serves one connection until it ends, or `stop`, which drops it in the middle of an answer too. Dropping the future
    /// does the same.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin, stop: CancellationToken) {
        http::serve(stream, Arc::clone(&self.0), stop).await;
    }
}

/// A listening server. Nothing is accepted before [`Server::run`].
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    emulator: Emulator,
}

impl Server {
    /// Binds `addr`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServerError`] says what is wrong.
    pub async fn bind(addr: SocketAddr, settings: Settings) -> Result<Self, ServerError> {
        let emulator = Emulator::new(settings)?;
        let listener = TcpListener::bind(addr).await.map_err(|source| ServerError::Listen { addr, source })?;
        let local_addr = listener.local_addr().map_err(|source| ServerError::Listen { addr, source })?;
        Ok(Self { listener, local_addr, emulator })
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
        self.emulator.journal()
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
            // Without it, small pieces wait for acknowledgements; if it fails, so will the connection.
            stream.set_nodelay(true).ok();
            let (emulator, cancel) = (self.emulator.clone(), cancel.clone());
            connections.spawn(async move {
                emulator.serve(stream, cancel).await;
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
