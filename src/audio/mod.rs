//! Audio as pure functions and small state machines: formats, G.711, resampling, framing, voice detection.
//!
//! Nothing here knows of calls, carriers or vendors.

pub mod format;
pub mod g711;
pub mod pcm;

pub use format::{Encoding, MediaFormat};
