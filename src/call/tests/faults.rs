//! Voices that fail: the caller hears speech again, or the fallback line, within five seconds.

use super::rig::{Marks, Rig, managed, plain, settings};
use super::voice::Mood;
use crate::call::action::TtsCommand;
use crate::call::event::{FaultKind, Say};
use crate::call::settings::OnFailure;

const LINE: &str = "The quick brown fox jumps over the lazy dog. And then it sleeps for a very long time.";

fn greeted(mood: Mood) -> Rig {
    let mut rig = Rig::new(settings());
    rig.mood = mood;
    rig.begin();
    rig.say(1, LINE);
    rig
}

fn fallback_heard_by(rig: &Rig, ms: u64) -> bool {
    rig.heard.iter().any(|(at, byte)| *byte == 200 && at.as_micros() / 1_000 <= ms)
}

#[test]
fn a_wrong_key_leads_to_the_fallback_line_at_once_and_is_not_tried_again() {
    let mut rig = greeted(Mood { no_link: Some(FaultKind::Fatal), ..Mood::default() });
    rig.run_to(1_000);
    assert!(fallback_heard_by(&rig, 500));
    assert!(rig.failed(1));
    rig.run_to(10_000);
    rig.say(2, "And again.");
    rig.run_to(13_000);
    assert!(rig.failed(2));
    let dials = rig.commands.iter().filter(|(_, command)| *command == TtsCommand::Dial { voice: 0 }).count();
    assert_eq!(dials, 1);
    assert_eq!(rig.over(1).unwrap().1.text, "");
}

#[test]
fn a_refused_link_is_tried_four_times_and_again_for_the_next_turn() {
    let mut rig = greeted(Mood { no_link: Some(FaultKind::Busy), ..Mood::default() });
    rig.run_to(5_000);
    let dials = |rig: &Rig| rig.commands.iter().filter(|(_, c)| *c == TtsCommand::Dial { voice: 0 }).count();
    assert_eq!(dials(&rig), 4);
    assert!(fallback_heard_by(&rig, 5_000));
    rig.run_to(60_000);
    assert_eq!(dials(&rig), 4);
    rig.mood = Mood::default();
    rig.say(2, "Better now.");
    rig.run_to(64_000);
    assert_eq!(rig.over(2).unwrap().1.text, "Better now.");
}

#[test]
fn a_mute_voice_is_replaced_within_five_seconds() {
    for settings in [settings(), managed()] {
        let mut rig = Rig::new(settings);
        rig.mood = Mood { mute: true, ..Mood::default() };
        rig.begin();
        rig.say(1, LINE);
        rig.run_to(8_000);
        assert!(fallback_heard_by(&rig, 5_000));
        assert!(rig.over(1).is_some());
    }
}

#[test]
fn a_wrong_voice_fails_its_turn_only() {
    let mut rig = greeted(Mood { refuse: Some(FaultKind::Fatal), ..Mood::default() });
    rig.run_to(3_000);
    assert!(fallback_heard_by(&rig, 1_000));
    rig.mood = Mood::default();
    rig.say(2, "With the right voice.");
    rig.run_to(7_000);
    assert_eq!(rig.over(2).unwrap().1.text, "With the right voice.");
}

#[test]
fn too_much_at_once_delays_and_nothing_is_lost() {
    let mut rig = greeted(Mood { refuse: Some(FaultKind::Busy), ..Mood::default() });
    rig.run_to(500);
    rig.mood = Mood::default();
    rig.run_to(12_000);
    assert_eq!(rig.over(1).unwrap().1.text, LINE);
    assert!(!rig.failed(1));
    let contexts: Vec<_> = rig.spoken().iter().map(|(id, _)| *id).collect();
    assert!(contexts.windows(2).all(|pair| pair[0] <= pair[1]), "ids are never used twice: {contexts:?}");
}

#[test]
fn a_lost_link_goes_on_at_the_first_word_without_audio() {
    for ms in (150..2_000).step_by(35) {
        let mut rig = Rig::start(settings());
        rig.run_to(100);
        rig.say(1, LINE);
        rig.run_to(ms);
        rig.lose_link(FaultKind::Retryable);
        rig.run_to(14_000);
        assert_eq!(rig.over(1).unwrap().1.text, LINE, "lost at {ms}");
        assert!(!rig.failed(1));
        // Whole words are heard once: at most the broken one is heard again in part, or the pause before it is left out.
        let extra = rig.heard_ms(1) as i64 - LINE.len() as i64 * 60;
        assert!((-80..=11 * 60).contains(&extra), "lost at {ms}: {extra} ms more than the text");
        assert!(rig.longest_gap_ms(300, 3_000) < 1_000);
    }
}

#[test]
fn without_word_times_no_word_is_lost_and_few_are_heard_twice() {
    for ms in (200..1_200).step_by(50) {
        let mut rig = Rig::start(settings());
        rig.mood.untimed = true;
        rig.run_to(100);
        rig.say(1, LINE);
        rig.run_to(ms);
        rig.lose_link(FaultKind::Retryable);
        rig.run_to(14_000);
        assert_eq!(rig.over(1).unwrap().1.text, LINE);
        let twice = rig.heard_ms(1) as i64 - LINE.len() as i64 * 60;
        // A fifth of what had come of the sentence, and the word that was cut.
        assert!((-80..=1_200).contains(&twice), "lost at {ms}: {twice} ms more than the text");
    }
}

#[test]
fn a_stall_in_mid_word_is_noticed_and_spoken_past() {
    let mut rig = Rig::start(settings());
    rig.mood.stall_after = Some(7);
    rig.run_to(100);
    rig.say(1, LINE);
    rig.run_to(1_000);
    rig.mood.stall_after = None;
    rig.run_to(20_000);
    assert_eq!(rig.over(1).unwrap().1.text, LINE);
    assert!(rig.longest_gap_ms(300, 6_000) < 5_000);
}

#[test]
fn a_done_that_never_comes_ends_nothing_late_by_more_than_its_limit() {
    let mut rig = Rig::start(settings());
    rig.mood.no_done = true;
    rig.run_to(100);
    rig.say(1, "Short.");
    rig.say(2, "Then this.");
    rig.run_to(6_000);
    assert_eq!(rig.over(1).unwrap().1.text, "Short.");
    assert_eq!(rig.over(2).unwrap().1.text, "Then this.");
    assert!(rig.longest_gap_ms(300, 2_000) <= 1_100);
}

#[test]
fn an_idle_link_that_closes_is_made_again_in_silence() {
    let mut rig = Rig::start(settings());
    rig.run_to(300_000);
    rig.lose_link(FaultKind::Idle);
    rig.run_to(300_100);
    rig.say(1, "Still here.");
    rig.run_to(303_000);
    assert_eq!(rig.over(1).unwrap().1.text, "Still here.");
    assert_eq!(rig.call.stats().retries, 0);
}

#[test]
fn after_a_failure_the_settings_may_close_the_stream() {
    let mut rig = Rig::new(crate::call::settings::Settings { on_failure: OnFailure::Close, ..settings() });
    rig.mood.no_link = Some(FaultKind::Fatal);
    rig.begin();
    rig.say(1, LINE);
    rig.run_to(5_000);
    assert!(rig.ended);
    assert!(rig.heard_ms(200) > 800, "the line was heard first");
}

#[test]
fn a_voice_that_never_gets_beyond_the_first_word_is_given_up() {
    for untimed in [false, true] {
        let mut rig = Rig::start(settings());
        rig.mood = Mood { stall_after: Some(1), untimed, ..Mood::default() };
        rig.run_to(100);
        rig.say(1, "Extraordinarily long words are never finished here.");
        rig.run_to(30_000);
        assert!(rig.failed(1) && rig.over(1).is_some(), "untimed: {untimed}");
        assert!(rig.heard.iter().any(|(_, byte)| *byte == 200));
        let tries = rig.spoken().iter().filter(|(_, text)| text.starts_with("Extra")).count();
        assert!(tries <= 4, "{tries} tries at the same word");
    }
}

#[test]
fn half_a_sentence_that_waited_for_its_agent_is_not_our_silence() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.token(1, "First this. And", false);
    rig.run_to(20_000);
    // The link goes just when the rest comes: it is made again, and there is no apology.
    rig.lose_link(FaultKind::Idle);
    rig.token(1, " then that.", true);
    rig.run_to(24_000);
    assert!(!rig.failed(1));
    assert_eq!(rig.over(1).unwrap().1.text, "First this. And then that.");
}

#[test]
fn text_that_was_lost_in_a_pause_does_not_wait_for_a_whole_sentence() {
    let mut rig = Rig::start(settings());
    rig.mood.mute = true;
    rig.run_to(100);
    rig.say_with(Say { last: false, flush: true, ..plain(1, "One moment") });
    rig.run_to(1_000);
    rig.mood.mute = false;
    rig.run_to(4_500);
    assert_eq!(rig.heard_ms(1), 600);
}

#[test]
fn when_our_own_process_sleeps_nobody_is_blamed() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.say(1, LINE);
    rig.run_to(200);
    // Six seconds pass in which nothing was handled; what the voice said meanwhile is in the inbox.
    rig.sleep_until(6_200);
    rig.run_to(16_000);
    let stats = rig.call.stats();
    assert_eq!((stats.retries, stats.speech_failures), (0, 0));
    assert_eq!(rig.over(1).unwrap().1.text, LINE);
}

#[test]
fn turns_end_even_if_neither_marks_nor_ends_ever_come_and_we_wake_up_late() {
    let mut rig = Rig::start(settings());
    rig.mood.no_done = true;
    rig.marks = Marks::Never;
    rig.inbound = false;
    rig.say(1, "One.");
    rig.run_to(5_000);
    rig.say(2, "Two.");
    rig.run_to(5_300);
    rig.sleep_until(9_000);
    rig.run_to(9_500);
    assert_eq!(rig.over(2).unwrap().1.text, "Two.");
}

#[test]
fn a_stream_that_is_to_be_closed_closes_even_if_the_apology_is_cut_off() {
    let mut rig = Rig::new(crate::call::settings::Settings { on_failure: OnFailure::Close, ..settings() });
    rig.mood.no_link = Some(FaultKind::Fatal);
    rig.begin();
    rig.say(1, LINE);
    rig.run_to(700);
    assert!(rig.failed(1) && !rig.ended);
    rig.speech();
    assert!(rig.ended);
}

#[test]
fn text_without_a_sound_needs_no_link() {
    let mut rig = greeted(Mood { no_link: Some(FaultKind::Fatal), ..Mood::default() });
    rig.run_to(5_000);
    rig.say(2, " ... ");
    rig.say(3, "After it.");
    rig.run_to(9_000);
    assert!(rig.over(2).is_some() && rig.over(3).is_some());
}
