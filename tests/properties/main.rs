//! What must hold in every call, each promise a test of its own.
//!
//! A promise is judged from the outside: from the events that a call was given, the actions that it answered with, and what
//! the models around it know (`trace`, `evidence`, `checks`). Two kinds of calls are judged:
//!
//! - `worlds`: a random call against a carrier, voices and an agent that answer it, with every fault that was seen in the
//!   field. They are played once, and every promise is asked about each.
//! - `absurd`: arbitrary events at arbitrary times, a series for each promise, shrunk by proptest to the shortest that fails.
//!
//! A failure names seeds and commit. `TRUNKLINE_SEED=n cargo test --test properties NAME -- --nocapture` plays the world of
//! one seed alone and tells what happened; its seed then joins `ALWAYS` in `hunt`. What proptest finds joins
//! `hunt.regressions` by itself. `TRUNKLINE_WORLDS`, `PROPTEST_CASES` and `PROPTEST_RNG_SEED` look further. `tests/mutations` shows that each
//! promise can be broken, and is then seen to be.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers may fail the test")]
#![allow(clippy::cast_possible_truncation, clippy::wildcard_enum_match_arm, reason = "tests know their own numbers")]

mod absurd;
mod checks;
mod evidence;
mod hunt;
mod label;
mod trace;
mod worlds;

/// Makes each check a test, and the table of all of them.
macro_rules! properties {
    ($($group:ident: $($name:ident)+;)+) => {
        /// Every property by name.
        const PROPERTIES: &[hunt::Property] = &[$($((stringify!($name), checks::$group::$name)),+),+];

        $($(
            #[test]
            fn $name() {
                hunt::hunt((stringify!($name), checks::$group::$name));
            }
        )+)+
    };
}

properties! {
    line:
        nothing_is_sent_outside_of_the_stream
        every_frame_has_the_size_of_its_format
        frames_never_run_ahead_of_due_time_and_lead
        nothing_of_a_turn_follows_its_end
        live_contexts_never_mix
        every_sample_is_accounted_for
        what_is_cut_off_falls_silent
        clear_tells_what_it_flushes
        each_mark_resolves_exactly_once
        a_mark_follows_every_fifth_of_a_second
        no_call_is_silent;
    heard:
        heard_is_a_prefix_of_what_was_said
        heard_is_never_more_than_was_played
        heard_lags_by_one_word_at_most
        a_turn_that_is_over_was_heard_whole;
    agent:
        reports_follow_the_life_of_a_turn
        every_turn_ends
        an_interruption_is_one_step_in_order
        only_what_may_interrupt_does
        an_agent_waits_and_goes_on_by_turns;
    voices:
        no_text_follows_finish_or_cancel
        a_context_stays_as_it_was_opened
        a_voice_is_spoken_to_on_its_link
        no_link_is_dialled_like_mad;
    shape:
        a_call_never_breaks
        the_next_timeout_is_in_the_future
        every_queue_keeps_its_limit
        the_same_events_give_the_same_actions;
}
