//! Hearing over real sockets: each vendor's language against a small server that keeps what it was sent, and whole
//! calls against the emulated vendors.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test's helpers may fail the test")]

mod bench;
mod calls;
mod links;
mod vendor;
