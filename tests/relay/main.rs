//! ConversationRelay over real sockets: a gateway, an app that this test is, and a carrier's phone, on loopback.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

mod app;
#[expect(dead_code, reason = "it is the tests' of the server, who use all of it")]
#[path = "../server/support/mod.rs"]
mod support;

mod end;
mod faults;
mod play;
mod session;
mod talk;
