//! The server's promises over real sockets: loopback, free ports, real clients. Loose on time: a busy machine is no fault.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

mod support;

mod after;
mod api;
mod drain;
mod events;
mod leaks;
mod metrics;
mod open_mode;
mod outbound;
mod play;
mod say;
mod shared;
mod signed;
mod stream;
mod token;
mod webhook;
