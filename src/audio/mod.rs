//! Audio as pure functions and small state machines: formats, G.711, resampling, framing, voice detection, both
//! sides of a call on one clock.
//!
//! Nothing here knows of calls, carriers or vendors.

pub mod convert;
pub mod format;
pub mod g711;
pub mod pcm;
pub mod resample;
pub mod stereo;
pub mod vad;

pub use convert::{Converter, SourceFormat};
pub use format::{Encoding, MediaFormat};
pub use stereo::{Mixer, Sound};
