//! Hours of calls in a world that speaks the wire's own words: a carrier, a vendor and an agent that fail in every way in
//! which such peers were seen to fail, in virtual time.
//!
//! Nothing here is shared with `trunkline`'s own codecs or emulators, since a mistake on both sides would agree with itself.
//! A failure prints its seed and the commit, leaves the call as a tape under the target directory, and notes the seed
//! there, so that it always runs on this machine; `seeds.txt` is the list that always runs everywhere.
//!
//! `TRUNKLINE_SEED=7` plays that call alone and tells its story, `TRUNKLINE_SIMULATE_HOURS=50` plays for longer.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test's helpers may fail the test, and know their own numbers"
)]

mod agent;
mod cartesia;
mod checks;
mod conversations;
mod dice;
mod local;
mod partners;
mod phrases;
mod plan;
mod player;
mod random;
mod scenarios;
mod scene;
mod session;
mod sound;
mod talks;
mod thinker;
mod tongues;
mod twilio;
mod vendor;
mod world;
