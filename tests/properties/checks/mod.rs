//! The properties, one small function each. A function sees the whole trace of a call, looks for its own fault and for no
//! other's, and says in words what it found.

/// The list of all properties, handed to another macro.
macro_rules! properties {
    ($callback:ident) => {
        $callback! {
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
    };
}

pub(crate) mod agent;
pub(crate) mod heard;
pub(crate) mod line;
pub(crate) mod shape;
pub(crate) mod voices;

use crate::evidence::Evidence;

/// What a property says of a call.
pub(crate) type Verdict = Result<(), String>;

/// A property by name.
pub(crate) type Property = (&'static str, fn(&Evidence<'_>) -> Verdict);

macro_rules! table {
    ($($group:ident: $($name:ident)+;)+) => {
        /// Every property.
        pub(crate) const PROPERTIES: &[Property] = &[$($((stringify!($name), $group::$name)),+),+];
    };
}

properties!(table);

/// A fault unless `holds`.
fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(fault()) }
}
