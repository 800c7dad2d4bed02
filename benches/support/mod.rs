//! What the benches share. Each of them compiles this for itself and uses a part.

#![allow(dead_code, reason = "each bench uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench reports to its terminal, and stops at the first thing that is not as it should be"
)]

pub(crate) mod lateness;
pub(crate) mod measured;
pub(crate) mod page;
pub(crate) mod world;
