//! The agent that asks a language model, over real sockets against the emulated server, and on a paused clock against a
//! model of this process.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test's helpers may fail the test"
)]

mod cancel;
mod faults;
mod shell;
mod support;
mod tools;
