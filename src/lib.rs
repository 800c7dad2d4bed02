//! Trunkline: a self-hosted telephony media-stream gateway for voice agents.

pub mod audio;
pub mod emulate;
pub mod ids;
pub mod voice;
