//! The server's promises over real sockets: loopback, free ports, real clients. Loose on time: a busy machine is no fault.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

mod support;

mod abuse;
mod admission;
mod after;
mod api;
mod drain;
mod events;
mod leaks;
mod lines;
mod log_level;
mod metrics;
mod open_mode;
mod outbound;
mod panic;
mod play;
mod proxies;
mod say;
mod scopes;
mod shared;
mod signed;
mod stream;
mod tls;
mod token;
mod top;
mod traces;
mod webhook;
