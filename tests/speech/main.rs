//! Speech over real sockets: a gateway node, the emulated vendor and the emulated carrier in one process on loopback.
//!
//! The vendor speaks in tones, one for each context, so that samples prove whose speech a frame is. Every scenario has a
//! thread, a runtime and servers of its own: what is left of a call when it is over can be counted.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test's helpers may fail the test")]

mod api;
mod asked;
mod bench;
mod deepgram;
mod ear;
mod faults;
mod formats;
mod heard;
mod lost;
mod phrases;
mod scenarios;
mod trust;
mod turns;
mod wire;
