//! Every vendor under every fault, in whole calls on a paused clock: the call lives, the caller hears speech again or the
//! fallback line, nothing stale, and nothing is left behind.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers may fail the test"
)]
#![expect(clippy::print_stdout, reason = "what a run saw, for those who ask with --nocapture")]

mod bench;
mod capabilities;
mod cell;
mod checks;
mod docs;
mod faults;
mod handover;
mod line;
mod long;
mod loopback;
mod network;
mod runs;
mod soak;
mod table;
mod vendors;
