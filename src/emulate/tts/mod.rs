//! Servers of speech vendors' WebSocket protocols, on this machine, with every fault on a switch.
//!
//! Written from the vendors' public documentation and from what their SDKs send, without the gateway's own wire types.
//! The truth of what was sent is in the [`Journal`]. One connection is one task; each context of it (a request, a turn, the
//! text up to a flush, whatever its vendor calls it) is one more:
//!
//! ```text
//! socket ──► connection ─► desk (a vendor's rules) ─► context: buffer ─► speaker ─► pacing ──┐
//!        ◄── connection ◄── outbox (bounded) ◄── wording (a vendor's messages) ◄─────────────┘
//! ```
//!
//! A vendor is its handshake, a desk that reads the client's messages, and a wording for what happens to a context. The
//! rest is the same for all: text is buffered, spoken by a voice and sent in chunks at a pace; faults are decided there.
//!
//! [`Server`] listens; [`Emulator`] serves byte streams that are connected already, in virtual time too if the voice is
//! [`Voice::Tone`].

pub(in crate::emulate) mod buffer;
pub(in crate::emulate) mod connection;
mod context;
mod fault;
pub(in crate::emulate) mod handshake;
mod journal;
pub(in crate::emulate) mod order;
mod playing;
pub(in crate::emulate) mod roster;
mod server;
pub(in crate::emulate) mod speaker;
mod tls;
pub mod tone;
pub(in crate::emulate) mod vendors;
pub(in crate::emulate) mod wording;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::voice;
use fault::Faults;

pub use fault::{Fault, FaultError, FaultKind, help as fault_help, help_for as fault_help_for};
pub use journal::{CONTEXTS_MAX, ContextRecord, Counts, ENTRIES_MAX, End, Journal, TEXT_BYTES_MAX};
pub use server::Server;
pub use tls::{TlsError, TlsSettings};
pub use vendors::Vendor;

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
    /// Whose protocol is spoken.
    pub vendor: Vendor,
    /// What speaks.
    pub voice: Voice,
    /// The only key that is accepted; `None` accepts any, but not none.
    pub api_key: Option<ApiKey>,
    /// The only voice ids that are known (models, for Deepgram); `None` knows all.
    pub voices: Option<Vec<String>>,
    /// Audio is sent this many times as fast as it plays; above 0, finite.
    pub speed_factor: f64,
    /// From a text to its first audio.
    pub first_byte: Duration,
    /// Length of the audio in one chunk; 1 ms to 10 s. The last chunk of a text is shorter.
    pub chunk: Duration,
    /// How long after its last audio a context of Cartesia's still takes text.
    pub expiry: Duration,
    /// How long one request of Gradium's may last.
    pub session: Duration,
    /// How long a socket may be silent before it is closed with code 1000.
    pub idle: Duration,
    /// Contexts that may be active on all sockets together. One more is answered as the vendor does: Cartesia with an error
    /// event 429, Gradium with an error, ElevenLabs and Rime with an error and close code 1008. Deepgram counts sockets
    /// instead and refuses the handshake with HTTP 429.
    pub contexts_max: Option<u32>,
    /// Sockets that may be open; one more is refused with HTTP 429.
    pub sockets_max: Option<u32>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Serves `wss` if set.
    pub tls: Option<TlsSettings>,
    /// A file that gets a line of JSON for each context when its socket is gone: what is in [`ContextRecord`].
    pub journal: Option<PathBuf>,
}

impl Default for Settings {
    /// [`Settings::of`] Cartesia.
    fn default() -> Self {
        Self::of(Vendor::Cartesia)
    }
}

impl Settings {
    /// `vendor` as it is documented, at four times real time, nothing going wrong. Where no idle limit is documented, it is
    /// a day.
    pub fn of(vendor: Vendor) -> Self {
        Self {
            vendor,
            voice: Voice::default(),
            api_key: None,
            voices: None,
            speed_factor: 4.0,
            first_byte: Duration::from_millis(75),
            chunk: Duration::from_millis(if vendor == Vendor::Gradium { 80 } else { 90 }),
            expiry: Duration::from_secs(1),
            session: Duration::from_secs(300),
            idle: Duration::from_secs(if vendor == Vendor::Cartesia { 300 } else { 86_400 }),
            contexts_max: None,
            sockets_max: None,
            faults: Vec::new(),
            tls: None,
            journal: None,
        }
    }

    fn key(&self) -> Option<&str> {
        self.api_key.as_ref().map(|key| key.0.as_str())
    }

    /// Whether a client may speak with this voice.
    pub(in crate::emulate) fn knows(&self, voice: &str) -> bool {
        self.voices.as_ref().is_none_or(|known| known.iter().any(|known| known == voice))
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address could not be bound.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A setting is out of its range, or a fault cannot happen to the vendor.
    #[error("{name} is out of range")]
    Setting {
        /// The setting's or the fault's name.
        name: &'static str,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The authority's certificate could not be written.
    #[error("cannot write the certificate to {}", path.display())]
    CaOut {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The journal's file could not be made.
    #[error("cannot write the journal to {}", path.display())]
    Journal {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What all connections of a server share.
#[derive(Debug)]
pub(in crate::emulate) struct Shared {
    pub(in crate::emulate) settings: Settings,
    pub(in crate::emulate) faults: Faults,
    pub(in crate::emulate) journal: Journal,
    pool: voice::Pool,
    contexts_active: AtomicU32,
    sockets_active: AtomicU32,
    connections_begun: AtomicU64,
}

impl Shared {
    fn new(settings: Settings) -> Result<Self, ServerError> {
        if !(settings.speed_factor.is_finite() && settings.speed_factor > 0.0) {
            return Err(ServerError::Setting { name: "speed_factor" });
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(10)).contains(&settings.chunk) {
            return Err(ServerError::Setting { name: "chunk" });
        }
        if let Some(fault) = settings.faults.iter().find(|fault| !fault::is_possible(fault, settings.vendor)) {
            return Err(ServerError::Setting { name: fault.kind.name() });
        }
        let file = settings.journal.as_ref().map(|path| {
            let made = std::fs::File::create(path);
            made.map_err(|source| ServerError::Journal { path: path.clone(), source })
        });
        Ok(Self {
            faults: Faults::new(&settings.faults),
            journal: Journal::new(file.transpose()?),
            settings,
            // A refused text would be a fault that nobody switched on, hence the long queue.
            pool: voice::Pool::new(voice::Settings { workers: 2, waiting_max: 10_000 }),
            contexts_active: AtomicU32::new(0),
            sockets_active: AtomicU32::new(0),
            connections_begun: AtomicU64::new(0),
        })
    }
}

/// The place of one context among the active ones of its server.
#[derive(Debug)]
pub(in crate::emulate) struct Place {
    shared: Arc<Shared>,
    held: AtomicBool,
}

impl Place {
    /// A place, if the account's limit and the faults leave one.
    pub(in crate::emulate) fn take(shared: &Arc<Shared>) -> Option<Arc<Self>> {
        let limited = shared.faults.amount(FaultKind::Limited).is_some_and(|most| {
            shared.contexts_active.load(Ordering::Relaxed) >= most && shared.faults.take(FaultKind::Limited).is_some()
        });
        // Deepgram's account counts sockets.
        let limit = shared.settings.contexts_max.filter(|_| shared.settings.vendor != Vendor::Deepgram);
        match (limited, one_more(&shared.contexts_active, limit)) {
            (false, Some(active)) => {
                shared.journal.count(|counts| counts.contexts_most = counts.contexts_most.max(active));
                Some(Arc::new(Self { shared: Arc::clone(shared), held: AtomicBool::new(true) }))
            }
            (limited, taken) => {
                if limited && taken.is_some() {
                    shared.contexts_active.fetch_sub(1, Ordering::Relaxed);
                }
                shared.journal.count(|counts| counts.contexts_refused += 1);
                None
            }
        }
    }

    /// Frees the place: from now on the context is no longer active, though it may still say something.
    pub(super) fn release(&self) {
        if self.held.swap(false, Ordering::Relaxed) {
            self.shared.contexts_active.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether the context is active.
    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.release();
    }
}

/// The place of one socket among the open ones of its server.
#[derive(Debug)]
struct SocketPlace(Arc<Shared>);

impl SocketPlace {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let settings = &shared.settings;
        let account = settings.contexts_max.filter(|_| settings.vendor == Vendor::Deepgram);
        let limit = settings.sockets_max.into_iter().chain(account).min();
        let active = one_more(&shared.sockets_active, limit)?;
        shared.journal.count(|counts| counts.sockets_most = counts.sockets_most.max(active));
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for SocketPlace {
    fn drop(&mut self) {
        self.0.sockets_active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts one more if that stays within `limit`; how many there are then.
fn one_more(count: &AtomicU32, limit: Option<u32>) -> Option<u32> {
    let limit = limit.unwrap_or(u32::MAX);
    let step = |active: u32| (active < limit).then(|| active + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).ok().map(|before| before + 1)
}

/// A vendor without a listener: serves byte streams that are connected already. Clones are the same vendor.
///
/// With [`Voice::Tone`] there are no threads and no clock but tokio's: everything works in virtual time. The client of
/// the stream makes a WebSocket handshake with path and credentials, as with a [`Server`].
#[derive(Clone, Debug)]
pub struct Emulator {
    shared: Arc<Shared>,
}

impl Emulator {
    /// Makes a vendor. TLS is for listeners: it is ignored here.
    ///
    /// # Errors
    /// [`ServerError::Setting`] and [`ServerError::Journal`].
    pub fn new(settings: Settings) -> Result<Self, ServerError> {
        Ok(Self { shared: Arc::new(Shared::new(settings)?) })
    }

    /// The record of what happens here; stays readable when the emulator is gone.
    pub fn journal(&self) -> Journal {
        self.shared.journal.clone()
    }

    /// Contexts that are active now: begun, and neither ended nor cancelled.
    pub fn contexts_active(&self) -> u32 {
        self.shared.contexts_active.load(Ordering::Relaxed)
    }

    /// Sockets that are open now, those in their handshake included.
    pub fn sockets_active(&self) -> u32 {
        self.shared.sockets_active.load(Ordering::Relaxed)
    }

    /// Serves one stream from its handshake to its end; every task of it has ended then. Dropping the future drops the
    /// stream, without a close frame, and all that was being said on it.
    ///
    /// The fault `abort` drops the stream without a close frame: only a TCP socket can be reset.
    pub async fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.serve_until(stream, CancellationToken::new()).await;
    }

    /// The same; `cancel` closes the socket with code 1001.
    pub async fn serve_until<S>(&self, stream: S, cancel: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        connection::serve(stream, |_| {}, Arc::clone(&self.shared), cancel).await;
    }
}

#[cfg(test)]
mod tests;
