//! A server of Cartesia's TTS WebSocket protocol, on this machine, with every fault on a switch.
//!
//! Written from the vendor's public documentation and from what its Python SDK sends, without the gateway's own wire types.
//! The truth of what was sent is in the [`Journal`]. The engine is [`super::tts`], which the other vendors share; here are
//! Cartesia's rules and messages, and a [`Prerendered`] server for loads.

pub(super) mod dispatch;
pub(super) mod handshake;
mod prerendered;
mod reply;
mod request;
mod wording;

pub use super::tts::{
    ApiKey, CONTEXTS_MAX, ContextRecord, Counts, ENTRIES_MAX, Emulator, End, Fault, FaultError, FaultKind, Journal,
    Server, ServerError, Settings, TlsError, TlsSettings, Voice, fault_help, tone,
};
pub use prerendered::{Prerendered, PrerenderedError, Served};

/// Path of the WebSocket.
pub const PATH: &str = "/tts/websocket";

#[cfg(test)]
mod tests;
