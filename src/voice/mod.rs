//! The embedded voice: English speech with word times, made on this machine, with no account and no network.
//!
//! [`Pool`] runs the engine (flite, the 16 kHz "kal" voice) on a bounded number of blocking threads with a bounded number
//! of callers waiting. It speaks about a thousand times faster than real time, so an utterance comes whole and
//! [`chunks`] cuts it into pieces like those of a streaming vendor.

mod engine;
mod text;

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::audio::pcm;
use engine::Engine;

/// Sampling rate of the voice in Hz.
pub const RATE: u32 = 16_000;

/// Longest text of one [`Pool::synthesize`], in characters: two to three minutes of ordinary speech.
pub const TEXT_CHARS_MAX: usize = 2_000;

/// Length of one piece of [`chunks`], in milliseconds.
pub const CHUNK_MS: u32 = 50;

/// Bytes of a whole chunk: [`CHUNK_MS`] of 16-bit samples at [`RATE`].
const CHUNK_BYTES: usize = (RATE * CHUNK_MS / 1_000 * 2) as usize;

/// One word and when it is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word as it stands in the text that was spoken, punctuation included: scanning the text forward finds it.
    pub text: String,
    /// Start in milliseconds from the first sample; never before the end of the word before.
    pub start_ms: u32,
    /// End in milliseconds from the first sample; never beyond the last sample.
    pub end_ms: u32,
}

/// Spoken text. Empty if the text held nothing pronounceable.
#[derive(Clone, PartialEq, Eq)]
pub struct Utterance {
    /// The samples, one channel.
    pub pcm: Vec<i16>,
    /// Samples a second, always [`RATE`].
    pub rate: u32,
    /// The words that can be heard, in order. A written word that nobody can say has no entry.
    pub words: Vec<Word>,
}

impl std::fmt::Debug for Utterance {
    /// Sizes only: what is said to a caller does not belong into logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Utterance").field("samples", &self.pcm.len()).field("words", &self.words.len()).finish()
    }
}

/// Limits of a [`Pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Texts spoken at the same time, each on a thread of its own; at least 1.
    pub workers: usize,
    /// Callers that may wait for a worker; one more is refused.
    pub waiting_max: usize,
}

impl Default for Settings {
    /// Two workers keep hundreds of calls in speech; a queue of 256 is served in about a second.
    fn default() -> Self {
        Self { workers: 2, waiting_max: 256 }
    }
}

/// Why a text was not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoiceError {
    /// All workers are taken and the queue is full.
    #[error("the local voice is busy")]
    Busy,
    /// The text is longer than [`TEXT_CHARS_MAX`].
    #[error("the text has {chars} characters, more than {TEXT_CHARS_MAX}")]
    TextLong {
        /// Its length in characters.
        chars: usize,
    },
    /// The engine failed on this text. The next text is not affected.
    #[error("the voice engine failed")]
    Engine,
}

/// The voice behind its limits. Clones share them.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Callers inside, working or waiting.
    places: Arc<Semaphore>,
    /// Callers working.
    workers: Arc<Semaphore>,
}

/// Built when the first text is spoken, then shared by every pool of the process: it is read-only.
static ENGINE: LazyLock<Option<Engine>> = LazyLock::new(Engine::new);

impl Pool {
    /// A pool with these limits. Threads come from the runtime's blocking pool when they are needed.
    pub fn new(settings: Settings) -> Self {
        let workers = settings.workers.clamp(1, Semaphore::MAX_PERMITS / 2);
        let places = workers.saturating_add(settings.waiting_max).min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(places)), workers: Arc::new(Semaphore::new(workers)) }
    }

    /// Speaks `text` at `speed` times the natural speed (0.5 to 2.0, clamped; `None` is 1.0).
    ///
    /// Dropping the future gives up the place in the queue; a synthesis that has begun ends on its own within
    /// milliseconds and keeps its worker until then.
    ///
    /// # Errors
    /// [`VoiceError`] says whether it is worth trying again ([`VoiceError::Busy`]).
    pub async fn synthesize(&self, text: &str, speed: Option<f32>) -> Result<Utterance, VoiceError> {
        let chars = text.chars().count();
        if chars > TEXT_CHARS_MAX {
            return Err(VoiceError::TextLong { chars });
        }
        let text = text.to_owned();
        self.run(move || ENGINE.as_ref().map(|engine| engine.speak(&text, speed))).await
    }

    /// Does `work` on one of the workers.
    async fn run(&self, work: impl FnOnce() -> Option<Utterance> + Send + 'static) -> Result<Utterance, VoiceError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| VoiceError::Busy)?;
        // The semaphore is never closed, so this waits and does not fail.
        let worker = Arc::clone(&self.workers).acquire_owned().await.map_err(|_| VoiceError::Busy)?;
        let spoken = tokio::task::spawn_blocking(move || {
            // Held here and not by the caller, who may be gone before the thread is free again.
            let _held = (place, worker);
            work()
        });
        // A panic inside the engine ends its thread and arrives here as an error.
        spoken.await.ok().flatten().ok_or(VoiceError::Engine)
    }
}

/// The utterance as little-endian 16-bit samples in pieces of [`CHUNK_MS`], the last one shorter.
pub fn chunks(utterance: &Utterance) -> impl Iterator<Item = Bytes> + use<> {
    let mut bytes = Vec::with_capacity(utterance.pcm.len() * 2);
    pcm::write_into(&utterance.pcm, &mut bytes);
    let mut rest = Bytes::from(bytes);
    std::iter::from_fn(move || {
        let piece = rest.split_to(CHUNK_BYTES.min(rest.len()));
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests;
