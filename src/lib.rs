//! Trunkline: a self-hosted telephony media-stream gateway for voice agents.

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, clippy::wildcard_enum_match_arm, reason = "tests know their own numbers")
)]

pub mod agent;
pub mod audio;
pub mod call;
pub mod config;
pub mod dialect;
pub mod driver;
// It shares no code with what is fuzzed, and is a good part of what would have to be built for it.
#[cfg(not(fuzzing))]
pub mod emulate;
pub mod gateway;
pub mod http;
pub mod ids;
pub mod player;
pub mod replay;
pub mod secret;
pub mod server;
pub mod tape;
pub mod telemetry;
pub mod traces;
pub mod voice;
pub mod wire;
