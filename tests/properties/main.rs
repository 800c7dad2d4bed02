//! What must hold in every call, each promise a test of its own.
//!
//! A promise is judged from the outside: from the events that a call was given, the actions that it answered with, and what
//! the models around it know (`trace`, `evidence`, `checks`). Two kinds of calls are judged:
//!
//! - `worlds`: a random call against a carrier, voices and an agent that answer it, with every fault that was seen in the
//!   field. They are played once, and every promise is asked about each.
//! - `absurd`: arbitrary events at arbitrary times, a series for each promise, shrunk by proptest to the shortest that fails.
//!
//! `tests/replay` asks the same of every tape of `fixtures/calls`.
//!
//! A failure names seeds and commit. `TRUNKLINE_SEED=n cargo test --test properties NAME -- --nocapture` plays the world of
//! one seed alone and tells what happened; its seed then joins `ALWAYS` in `hunt`. What proptest finds joins
//! `hunt.regressions` by itself. `TRUNKLINE_WORLDS`, `PROPTEST_CASES` and `PROPTEST_RNG_SEED` look further. `tests/mutations` breaks the call on
//! purpose and demands that one of them notices, and no other.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers may fail the test")]
#![allow(clippy::cast_possible_truncation, clippy::wildcard_enum_match_arm, reason = "tests know their own numbers")]

mod absurd;
#[macro_use]
mod checks;
mod evidence;
mod hunt;
mod interleaved;
mod label;
mod trace;
mod worlds;

/// Makes each check a test.
macro_rules! tests {
    ($($group:ident: $($name:ident)+;)+) => {
        $($(
            #[test]
            fn $name() {
                hunt::hunt((stringify!($name), checks::$group::$name));
            }
        )+)+
    };
}

properties!(tests);
