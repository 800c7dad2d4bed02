//! Turns that are cut off.

use super::rig::{Rig, plain, settings};
use super::voice::Mood;
use crate::audio::vad;
use crate::call::action::{AgentReport, TtsCommand};
use crate::call::event::{AgentEvent, CarrierEvent, Event, Say};
use crate::call::settings::Interruptible;

const LINE: &str = "The quick brown fox jumps over the lazy dog. And then it sleeps for a very long time.";

fn at_turn(rig: &mut Rig, ms: u64) {
    rig.run_to(100);
    rig.say(1, LINE);
    rig.run_to(ms);
}

#[test]
fn speech_clears_cancels_and_reports_in_one_step() {
    let mut rig = Rig::start(settings());
    rig.mood = Mood { deaf_to_cancel: true, ..Mood::default() };
    at_turn(&mut rig, 700);
    rig.speech();
    assert_eq!(rig.cleared, [rig.now]);
    assert!(matches!(rig.commands.last(), Some((_, TtsCommand::Cancel { .. }))));
    let (_, heard) = rig.interrupted(1).unwrap();
    assert!(LINE.starts_with(&heard.text) && !heard.text.is_empty());
    let sent = rig.sent_at.len();
    rig.run_to(4_000);
    assert_eq!(rig.sent_at.len(), sent, "late chunks are dropped");
    assert!(rig.call.stats().late_chunks > 0);
    rig.say(2, "Yes, go on.");
    rig.run_to(7_000);
    assert_eq!(rig.over(2).unwrap().1.text, "Yes, go on.");
}

#[test]
fn clear_is_due_while_the_carrier_plays_although_synthesis_ended_long_ago() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.say(1, "Short.");
    // 360 ms of speech, all of it sent within the lead and the first 240 ms of playing.
    rig.run_to(540);
    assert!(rig.over(1).is_none());
    assert_eq!(rig.sent_at.len(), 18);
    rig.speech();
    assert_eq!(rig.cleared.len(), 1);
    rig.run_to(2_000);
    rig.speech();
    assert_eq!(rig.cleared.len(), 1, "nothing was left to clear");
}

#[test]
fn a_turn_is_dropped_before_its_first_sound_without_a_clear() {
    let mut rig = Rig::start(settings());
    at_turn(&mut rig, 150);
    rig.speech();
    assert!(rig.cleared.is_empty());
    assert_eq!(rig.interrupted(1).unwrap().1.text, "");
    rig.run_to(3_000);
    assert_eq!(rig.heard_ms(1), 0);
}

#[test]
fn queued_turns_go_too_but_an_uninterruptible_one_survives_whole() {
    let mut rig = Rig::start(settings());
    at_turn(&mut rig, 300);
    rig.say(2, "Dropped unheard.");
    rig.say_with(Say { interruptible: Some(Interruptible::None), ..plain(3, "This must be heard.") });
    rig.run_to(800);
    rig.speech();
    let dropped = rig.interrupted(2).unwrap().1;
    assert_eq!((dropped.text.as_str(), dropped.played.as_millis(), dropped.estimated), ("", 0, false));
    assert_eq!((dropped.made.chars, dropped.made.voice), ("Dropped unheard.".len(), Some(0)));
    assert!(!dropped.made.audio.is_zero(), "{dropped:?}");
    rig.run_to(6_000);
    assert_eq!((rig.heard_ms(2), rig.heard_ms(3)), (0, 19 * 60));
    assert_eq!(rig.over(3).unwrap().1.text, "This must be heard.");
}

#[test]
fn a_survivor_that_was_partly_sent_is_sent_again() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.say(1, "Hi there you.");
    rig.say_with(Say { interruptible: Some(Interruptible::None), ..plain(2, "This must be heard.") });
    // Find the moment at which the carrier holds the end of the first turn and the start of the second.
    let mut ms = 600;
    while !rig.sent_at.iter().any(|(_, byte)| *byte == 2) {
        ms += 5;
        rig.run_to(ms);
    }
    rig.run_to(ms + 20);
    assert!(rig.over(1).is_none());
    rig.speech();
    assert_eq!(rig.cleared.len(), 1);
    rig.run_to(6_000);
    assert_eq!(rig.heard_ms(2), 19 * 60);
    assert_eq!(rig.over(2).unwrap().1.text, "This must be heard.");
}

#[test]
fn policies_decide_what_interrupts() {
    for (policy, by_speech, by_digit) in [
        (Interruptible::Any, true, true),
        (Interruptible::Speech, true, false),
        (Interruptible::Dtmf, false, true),
        (Interruptible::None, false, false),
    ] {
        let run = |event: Event| {
            let mut rig = Rig::start(settings());
            rig.run_to(100);
            rig.say_with(Say { interruptible: Some(policy), ..plain(1, LINE) });
            rig.run_to(1_000);
            rig.handle(event);
            rig.interrupted(1).is_some()
        };
        assert_eq!(run(Event::Speech(crate::call::event::SpeechEvent::Started)), by_speech, "{policy:?}");
        assert_eq!(run(Event::Carrier(CarrierEvent::Digit('5'))), by_digit, "{policy:?}");
        assert!(run(Event::Agent(AgentEvent::Clear)), "{policy:?}");
    }
}

#[test]
fn two_quick_interruptions_keep_their_ledgers_apart() {
    let mut rig = Rig::start(settings());
    at_turn(&mut rig, 1_000);
    rig.speech();
    rig.say(2, LINE);
    rig.run_to(1_400);
    rig.speech();
    rig.run_to(1_500);
    let (first, second) = (rig.interrupted(1).unwrap().1, rig.interrupted(2).unwrap().1);
    assert_eq!(rig.cleared.len(), 2);
    assert!(rig.heard_ms(1).abs_diff(first.played.as_millis() as u64) <= 20);
    assert!(rig.heard_ms(2).abs_diff(second.played.as_millis() as u64) <= 20);
    assert_eq!(rig.call.stats().marks_disbelieved, 0);
}

#[test]
fn late_text_of_a_dropped_turn_is_ignored() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.token(1, "One two three. Four", false);
    rig.run_to(600);
    rig.speech();
    rig.token(1, " five six. Seven.", true);
    rig.run_to(3_000);
    assert_eq!(rig.spoken().len(), 1);
    let starts = rig.reports.iter().filter(|(_, report)| matches!(report, AgentReport::TurnStarted { .. })).count();
    assert_eq!(starts, 1);
}

#[test]
fn hanging_up_freezes_what_was_heard() {
    let mut rig = Rig::start(settings());
    at_turn(&mut rig, 1_200);
    rig.handle(Event::Carrier(CarrierEvent::Stopped));
    assert!(rig.ended);
    let (_, heard) = rig.interrupted(1).unwrap();
    assert!(!heard.text.is_empty() && LINE.starts_with(&heard.text));
}

#[test]
fn the_callers_speech_is_reported_even_if_nothing_is_said() {
    let mut rig = Rig::start(settings());
    rig.speech();
    assert!(rig.reports.iter().any(|(_, report)| *report == AgentReport::CallerSpeech(vad::Change::Started)));
    assert!(rig.cleared.is_empty());
}

/// The promise of the ledger: never more than was played, at most one word less.
#[test]
fn heard_text_agrees_with_the_truth_at_any_moment() {
    for n in 0..400 {
        let ms = 250 + n * 17 + n * n % 13;
        let mut rig = Rig::start(settings());
        at_turn(&mut rig, ms);
        if rig.over(1).is_some() {
            break;
        }
        rig.speech();
        let (_, heard) = rig.interrupted(1).unwrap();
        let played = rig.heard_ms(1);
        let words = rig.truth.iter().filter(|(_, _, end)| *end <= played + 20).count();
        let said = heard.text.split_whitespace().count();
        assert!(LINE.starts_with(&heard.text), "{ms}: {}", heard.text);
        // The model carrier counts whole frames, so its own position may be up to one frame behind.
        assert!(said <= words && said + 1 >= words, "{ms}: {said} of {words} words");
        let truly = rig.truth.iter().filter(|(_, _, end)| *end <= played).count();
        assert!(said + 1 >= truly);
    }
}
