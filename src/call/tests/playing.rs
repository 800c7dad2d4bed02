//! Turns that are heard to their end.

use std::time::Duration;

use super::rig::{Marks, Rig, context, delivery, managed, plain, settings};
use crate::call::action::{AgentReport, TtsCommand};
use crate::call::event::Say;
use crate::ids::{CallTime, TurnId};

const LINE: &str = "The quick brown fox jumps over the lazy dog. And then it sleeps.";

#[test]
fn the_voice_is_dialled_before_there_is_text() {
    let mut rig = Rig::start(settings());
    assert_eq!(rig.commands, [(CallTime::ZERO, TtsCommand::Dial { voice: 0 })]);
    rig.run_to(1_000);
    assert_eq!(rig.commands.len(), 1);
}

#[test]
fn a_turn_is_heard_without_a_gap_and_ends_when_it_was_heard() {
    for mut rig in [Rig::start(settings()), Rig::start(managed())] {
        rig.run_to(100);
        rig.say(1, LINE);
        rig.run_to(9_000);
        let length = LINE.len() as u64 * 60;
        assert_eq!(rig.heard_ms(1), length);
        assert_eq!(rig.call.stats().underruns, 0);
        let (first, _) = *rig.heard.iter().find(|(_, byte)| *byte == 1).unwrap();
        let first = first.as_micros() / 1_000;
        assert_eq!(rig.longest_gap_ms(first, first + length), 0);
        let (at, heard) = rig.over(1).unwrap();
        assert_eq!(heard.text, LINE);
        assert!(!heard.estimated);
        assert!(at >= CallTime::from_millis(first + length) && at <= CallTime::from_millis(first + length + 25));
    }
}

#[test]
fn the_lead_is_bounded() {
    let mut rig = Rig::start(settings());
    rig.say(1, LINE);
    rig.run_to(3_000);
    for (index, (at, _)) in rig.sent_at.iter().enumerate() {
        let plays = rig.heard.get(index * 160).map(|(at, _)| *at);
        if let Some(plays) = plays {
            assert!(plays.since(*at) <= Duration::from_millis(160), "{:?}", plays.since(*at));
        }
    }
}

#[test]
fn two_frames_a_write_go_out_together_and_nothing_else_changes() {
    let writes = |frames_per_write, inbound| {
        let mut settings = settings();
        settings.playout.frames_per_write = frames_per_write;
        let mut rig = Rig::start(settings);
        rig.inbound = inbound;
        rig.say(1, LINE);
        rig.run_to(9_000);
        let (length, stats) = (LINE.len() as u64 * 60, *rig.call.stats());
        assert_eq!((rig.heard_ms(1), stats.underruns, stats.slips), (length, 0, 0));
        let (first, _) = *rig.heard.iter().find(|(_, byte)| *byte == 1).unwrap();
        let first = first.as_micros() / 1_000;
        assert_eq!(rig.longest_gap_ms(first, first + length), 0);
        let mut moments: Vec<CallTime> = rig.sent_at.iter().map(|(at, _)| *at).collect();
        moments.dedup();
        moments.len()
    };
    for inbound in [true, false] {
        let (single, double) = (writes(1, inbound), writes(2, inbound));
        assert!(double * 2 <= single + 6, "{double} writes for two frames each, {single} for one");
    }
}

#[test]
fn inbound_frames_are_the_metronome_and_nothing_breaks_without_them() {
    let mut rig = Rig::start(settings());
    rig.inbound = false;
    rig.say(1, LINE);
    rig.run_to(9_000);
    assert_eq!(rig.over(1).unwrap().1.text, LINE);
    assert_eq!(rig.call.stats().underruns, 0);
}

#[test]
fn the_next_turn_is_made_while_the_first_one_plays_and_follows_without_a_gap() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.say(1, LINE);
    rig.run_to(600);
    rig.say(2, "Second turn, quite short.");
    rig.run_to(700);
    assert!(rig.spoken().iter().any(|(id, _)| *id == context(2, 1)));
    rig.run_to(12_000);
    let order: Vec<u8> = rig.heard.iter().map(|(_, byte)| *byte).filter(|byte| *byte != 0xFF).collect();
    assert!(order.is_sorted());
    assert_eq!(rig.over(2).unwrap().1.text, "Second turn, quite short.");
    let first = rig.heard.iter().find(|(_, byte)| *byte == 1).unwrap().0.as_micros() / 1_000;
    assert!(rig.longest_gap_ms(first, first + 5_000) <= 20);
}

#[test]
fn tokens_flow_while_they_come() {
    let mut rig = Rig::start(managed());
    rig.run_to(100);
    for token in ["Hel", "lo", " there", ", how", " are", " you", " today", "?"] {
        rig.token(1, token, false);
    }
    let wire: String = rig.spoken().into_iter().map(|(_, text)| text).collect();
    assert_eq!(wire, "Hello there, how are you today?");
    rig.token(1, "", true);
    rig.run_to(5_000);
    assert_eq!(rig.over(1).unwrap().1.text, "Hello there, how are you today?");
}

#[test]
fn a_change_of_voice_opens_a_fresh_context_inside_the_turn() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.token(1, "In one voice. ", false);
    rig.say_with(Say { delivery: delivery("other"), ..plain(1, "In another voice.") });
    rig.run_to(6_000);
    let contexts: Vec<_> = rig.spoken().into_iter().map(|(id, _)| id).collect();
    assert_eq!(contexts, [context(1, 1), context(1, 2)]);
    assert_eq!(rig.over(1).unwrap().1.text, "In one voice. In another voice.");
}

#[test]
fn a_context_that_was_idle_takes_no_new_text() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.token(1, "Let me look that up. ", false);
    rig.token(1, "I", false);
    rig.run_to(5_000);
    rig.token(1, " have found it.", true);
    rig.run_to(9_000);
    let contexts: Vec<_> = rig.spoken().into_iter().map(|(id, _)| id).collect();
    assert_eq!(contexts, [context(1, 1), context(1, 2)]);
    assert_eq!(rig.over(1).unwrap().1.text, "Let me look that up. I have found it.");
    assert_eq!(rig.call.stats().underruns, 0, "the agent was silent, not the voice");
}

#[test]
fn an_open_turn_without_text_is_finished_after_a_while() {
    let mut rig = Rig::start(settings());
    rig.token(1, "Hold on please.", false);
    rig.run_to(29_000);
    assert!(rig.over(1).is_none());
    rig.run_to(33_000);
    assert_eq!(rig.over(1).unwrap().1.text, "Hold on please.");
}

#[test]
fn text_is_held_back_while_enough_speech_waits_and_speech_is_never_cut() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    let long: String = (0..40).map(|n| format!("This is sentence number {n} of a long talk. ")).collect();
    rig.say(1, &long);
    rig.run_to(1_000);
    let given: usize = rig.spoken().iter().map(|(_, text)| text.len()).sum();
    assert!(given < 500, "{given}");
    assert!(rig.reports.iter().any(|(_, report)| matches!(report, AgentReport::Flow { .. })));
    rig.run_to(120_000);
    assert_eq!(rig.over(1).unwrap().1.text, long);
    assert_eq!(rig.heard_ms(1), long.len() as u64 * 60);
    assert_eq!(rig.call.stats().underruns, 0);
}

#[test]
fn marks_that_never_come_do_not_stop_turns() {
    let mut rig = Rig::start(settings());
    rig.marks = Marks::Never;
    rig.say(1, LINE);
    rig.run_to(9_000);
    let (_, heard) = rig.over(1).unwrap();
    assert_eq!(heard.text, LINE);
    assert!(heard.estimated);
}

#[test]
fn marks_that_come_at_once_end_nothing_early() {
    let mut rig = Rig::start(settings());
    rig.marks = Marks::AtOnce;
    rig.run_to(100);
    rig.say(1, LINE);
    rig.run_to(9_000);
    let (at, heard) = rig.over(1).unwrap();
    let (last, _) = rig.heard.iter().rfind(|(_, byte)| *byte == 1).unwrap();
    assert!(at >= *last, "{at} {last}");
    assert!(heard.estimated);
}

#[test]
fn heard_words_are_reported_as_they_are_heard() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.say(1, LINE);
    rig.run_to(9_000);
    let mut last = String::new();
    let mut count = 0;
    for (at, report) in &rig.reports {
        if let AgentReport::Heard { turn: TurnId(1), heard } = report {
            assert!(heard.text.starts_with(&last) && LINE.starts_with(&heard.text));
            let said = rig.truth.iter().filter(|(_, _, end)| u128::from(*end) <= heard.played.as_millis()).count();
            assert_eq!(heard.text.split_whitespace().count(), said, "at {at}");
            last.clone_from(&heard.text);
            count += 1;
        }
    }
    assert!(count > 5);
}

#[test]
fn text_without_a_sound_ends_its_turn_and_belongs_to_what_was_heard() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.say(1, " ... ");
    assert!(rig.over(1).is_some());
    rig.token(2, "-- ", false);
    rig.token(2, "Hello.", true);
    rig.run_to(2_000);
    assert_eq!(rig.over(2).unwrap().1.text, "-- Hello.");
}
