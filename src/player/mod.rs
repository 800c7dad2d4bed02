//! Recordings and keypad tones as samples: fetched, decoded, kept for a while, cut into pieces. It knows of no call.
//!
//! [`Player`] is shared by every call of a node. A recording comes over HTTP within limits of size and time, is decoded on
//! a bounded number of blocking threads and kept decoded, so that the hold music of a hundred calls is fetched once. What a
//! call holds of it is a [`Sound`], a reference.

mod cache;
mod decode;
mod fetch;
mod sound;
mod tones;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::http::HttpError;
use crate::http::outbound::Outbound;
use cache::Cache;
pub use decode::DecodeError;
pub use fetch::FetchError;
use fetch::{Fetched, Fetcher};
pub use sound::Sound;
pub use tones::{KEYS_MAX, Tones, TonesError};

/// Recordings that are fetched at the same time. Further ones wait, within the limit of time.
const FETCHES_MAX: usize = 8;

/// What a player may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Fetch `http` URLs as well as `https` ones.
    pub allow_http: bool,
    /// Longest file, in bytes.
    pub file_bytes_max: usize,
    /// From the wish to the decoded recording.
    pub limit: Duration,
    /// Longest recording.
    pub length_max: Duration,
    /// Decoded recordings that are kept, in bytes; 0: none.
    pub cache_bytes: usize,
    /// Recordings that are decoded at the same time, each on a thread of its own; at least 1.
    pub workers: usize,
}

impl Default for Settings {
    /// 10 MiB and ten minutes are hold music; eight seconds are within the time that a call waits for a clip.
    fn default() -> Self {
        Settings {
            allow_http: false,
            file_bytes_max: 10 * 1024 * 1024,
            limit: Duration::from_secs(8),
            length_max: Duration::from_secs(600),
            cache_bytes: 32 * 1024 * 1024,
            workers: 2,
        }
    }
}

/// Why a recording cannot be played. No variant holds any of its URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlayerError {
    /// It could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It is nothing that can be played.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It took too long.
    #[error("the recording did not come in time")]
    Slow,
}

/// Where a recording came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was fetched for this request.
    Fetched,
    /// It was there, or was just being fetched for somebody else.
    Cached,
}

/// Fetches, decodes and keeps recordings. Clones share everything.
#[derive(Clone)]
pub struct Player(Arc<Shared>);

struct Shared {
    settings: Settings,
    fetcher: Fetcher,
    fetches: Semaphore,
    workers: Arc<Semaphore>,
    cache: Mutex<Cache>,
}

impl std::fmt::Debug for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Player").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Player {
    /// A player that has played nothing yet, and asks whom `outbound` allows. Threads come from the runtime's blocking pool when they are needed.
    ///
    /// # Errors
    /// [`HttpError`]: there can be no HTTP client.
    pub fn new(settings: Settings, outbound: &Outbound) -> Result<Self, HttpError> {
        let workers = settings.workers.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Player(Arc::new(Shared {
            settings,
            fetcher: Fetcher::new(settings.allow_http, settings.file_bytes_max, outbound)?,
            fetches: Semaphore::new(FETCHES_MAX),
            workers: Arc::new(Semaphore::new(workers)),
            cache: Mutex::new(Cache::new(settings.cache_bytes)),
        })))
    }

    /// Whether a URL is one that would be fetched, without asking anybody. Where its name leads is found out later.
    ///
    /// # Errors
    /// [`FetchError::Url`], [`FetchError::Plain`] or [`FetchError::Refused`].
    pub fn admits(&self, url: &str) -> Result<(), FetchError> {
        self.0.fetcher.admit(url).map(drop)
    }

    /// The recording at `url`, in `rate` samples a second.
    ///
    /// Whoever asks for one that is being fetched waits for it. If the one who fetches goes away, which is what dropping the
    /// future means, the next who waits begins again; a decoding that has begun ends on its own and keeps its thread until
    /// then.
    ///
    /// # Errors
    /// [`PlayerError`]. It is not kept: the next request tries again.
    pub async fn recording(&self, url: &str, rate: u32) -> Result<(Sound, Origin), PlayerError> {
        let key = (url.to_owned(), rate);
        let entry = self.cache().entry(&key, Instant::now());
        let mut origin = Origin::Cached;
        let found = entry.get_or_init(|| {
            origin = Origin::Fetched;
            self.obtain(url, rate)
        });
        let found = found.await.clone();
        if origin == Origin::Fetched {
            self.cache().settle(&key, &entry, Instant::now());
        }
        found.map(|kept| (kept.sound, origin))
    }

    /// Fetches and decodes, within the limit of time.
    async fn obtain(&self, url: &str, rate: u32) -> Result<cache::Kept, PlayerError> {
        let Shared { settings, fetcher, fetches, .. } = &*self.0;
        let work = async {
            // The semaphore is never closed.
            let turn = fetches.acquire().await.map_err(|_| PlayerError::Slow)?;
            let Fetched { file, keep } = fetcher.fetch(url).await?;
            let sound = self.decode(file, rate).await?;
            drop(turn);
            Ok(cache::Kept { sound, keep })
        };
        timeout(settings.limit, work).await.unwrap_or(Err(PlayerError::Slow))
    }

    async fn decode(&self, file: Vec<u8>, rate: u32) -> Result<Sound, PlayerError> {
        let length_max = self.0.settings.length_max;
        let worker = Arc::clone(&self.0.workers).acquire_owned().await.map_err(|_| PlayerError::Slow)?;
        let decoded = tokio::task::spawn_blocking(move || {
            // Held here and not by the caller, who may be gone before the thread is free again.
            let _held = worker;
            Sound::decode(file, rate, length_max)
        });
        // A panic inside the decoder ends its thread and arrives here as an error: the file was strange enough.
        Ok(decoded.await.unwrap_or(Err(DecodeError::Broken))?)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Each change under the lock is whole by itself.
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
