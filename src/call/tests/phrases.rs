//! Texts that were spoken before they are needed, and those that were not after all.

use std::time::Duration;

use super::rig::{Rig, context, delivery, managed, plain, settings};
use crate::call::action::{AgentReport, TtsCommand};
use crate::call::event::{Delivery, FaultKind, Say, VoiceIndex};
use crate::call::phrases::Phrase;
use crate::call::settings::Settings;
use crate::call::text::Rest;
use crate::ids::CallTime;

const LINE: &str = "The quick brown fox jumps over the lazy dog. And then it sleeps.";
/// Where the first voice's phrases are spoken: behind two voices and the player.
const SPOKEN: VoiceIndex = 3;

fn phrase(voice: VoiceIndex, text: &str) -> Phrase {
    Phrase { voice, text: text.to_owned(), delivery: Delivery::default() }
}

fn knowing(texts: &[&str]) -> Settings {
    Settings { phrases: texts.iter().map(|text| phrase(0, text)).collect(), ..settings() }
}

/// A call in which all that is known was spoken before.
fn ready(settings: Settings) -> Rig {
    let mut rig = Rig::start(settings);
    rig.mood.phrases = true;
    rig
}

/// Every text that was given to somebody, with whom.
fn given(rig: &Rig) -> Vec<(VoiceIndex, String)> {
    let texts = rig.commands.iter().filter_map(|(_, command)| match command {
        TtsCommand::Speak { on, text } => Some((on.voice, text.clone())),
        _ => None,
    });
    texts.collect()
}

fn to(voice: VoiceIndex, texts: &[&str]) -> Vec<(VoiceIndex, String)> {
    texts.iter().map(|text| (voice, (*text).to_owned())).collect()
}

fn first_sound(rig: &Rig) -> CallTime {
    rig.heard.iter().find(|(_, byte)| *byte != 0xFF).unwrap().0
}

fn sounds(rig: &Rig) -> Vec<u8> {
    let mut sounds: Vec<u8> = rig.heard.iter().map(|(_, byte)| *byte).filter(|byte| *byte != 0xFF).collect();
    sounds.dedup();
    sounds
}

#[test]
fn a_phrase_is_heard_before_its_voice_could_be_asked() {
    for settings in [knowing(&[LINE]), Settings { phrases: vec![phrase(0, LINE)], ..managed() }] {
        let mut rig = ready(settings);
        rig.say(1, LINE);
        rig.run_to(9_000);
        assert_eq!(given(&rig), to(SPOKEN, &["The quick brown fox jumps over the lazy dog. ", "And then it sleeps."]));
        // The link takes 30 ms to be made, and speech 90 more.
        assert!(first_sound(&rig) <= CallTime::from_millis(2), "{}", first_sound(&rig));
        assert_eq!((rig.heard_ms(101), sounds(&rig)), (LINE.len() as u64 * 60, vec![101]));
        let (_, heard) = rig.over(1).unwrap();
        assert_eq!((heard.text.as_str(), heard.estimated), (LINE, false));
        assert_eq!(rig.call.stats().underruns, 0);
    }
}

#[test]
fn a_phrase_that_is_cut_off_was_heard_as_far_as_it_was() {
    for ms in [400, 1_111, 2_000, 3_333] {
        let mut rig = ready(knowing(&[LINE]));
        rig.say(1, LINE);
        rig.run_to(ms);
        rig.speech();
        rig.run_to(ms + 500);
        let (_, heard) = rig.interrupted(1).unwrap();
        let said = rig.truth.iter().filter(|(_, _, end)| u128::from(*end) <= heard.played.as_millis()).count();
        assert_eq!(heard.text.split_whitespace().count(), said, "after {ms} ms: {heard:?}");
        assert!(LINE.starts_with(&heard.text) && heard.text != LINE && !heard.estimated, "{heard:?}");
        assert!(rig.heard_ms(101) <= ms);
    }
}

#[test]
fn a_phrase_that_is_not_there_is_spoken_as_if_nobody_had_asked_for_it() {
    let begun = |phrases: &[&str]| {
        let mut rig = Rig::start(knowing(phrases));
        rig.run_to(100);
        rig.say(1, LINE);
        rig.say(2, "Second turn.");
        rig.run_to(9_000);
        rig
    };
    let (plain, missed) = (begun(&[]), begun(&[LINE, "Second turn."]));
    let asked: Vec<_> = given(&missed).into_iter().filter(|(voice, _)| *voice == SPOKEN).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    let spoken = |rig: &Rig| given(rig).into_iter().filter(|(voice, _)| *voice == 0).collect::<Vec<_>>();
    assert_eq!(spoken(&missed), spoken(&plain));
    let late = first_sound(&missed).since(first_sound(&plain));
    assert!(late <= Duration::from_millis(1), "{late:?} late");
    for (turn, text) in [(1, LINE), (2, "Second turn.")] {
        assert_eq!(missed.over(turn).unwrap().1.text, text);
        assert_eq!(missed.heard_ms(turn as u8), text.len() as u64 * 60);
    }
    let stats = missed.call.stats();
    assert_eq!((stats.retries, stats.failovers, stats.speech_failures, stats.underruns), (0, 0, 0, 0));
    let is_fault =
        |report: &AgentReport| matches!(report, AgentReport::SpeechFailed { .. } | AgentReport::FailedOver { .. });
    assert!(!missed.reports.iter().any(|(_, report)| is_fault(report)));
}

#[test]
fn what_follows_a_phrase_is_spoken_behind_it() {
    let text = "Hello there. Your **table** is booked. Hello there. See you soon.";
    let mut rig = ready(knowing(&["Hello there.", "Hello", "Your"]));
    rig.run_to(100);
    rig.say(1, text);
    rig.run_to(9_000);
    assert_eq!(given(&rig)[..2], [to(SPOKEN, &["Hello there. "]), to(0, &["Your table is booked. "])].concat());
    // In the middle of what a voice is saying, it says phrases itself.
    assert_eq!(given(&rig)[2..], to(0, &["Hello there. ", "See you soon."]));
    assert_eq!(sounds(&rig), [101, 1]);
    assert_eq!(rig.over(1).unwrap().1.text, text);
    assert_eq!(rig.call.stats().underruns, 0);
}

#[test]
fn a_filler_in_front_of_an_answer_is_a_phrase_and_the_answer_is_not_lost() {
    let mut rig = ready(knowing(&["One moment, please."]));
    rig.run_to(100);
    rig.token(1, "One moment, please.", false);
    rig.run_to(200);
    assert_eq!(given(&rig), []);
    rig.token(1, " You have two appointments.", true);
    rig.run_to(6_000);
    assert_eq!(given(&rig), [to(SPOKEN, &["One moment, please. "]), to(0, &["You have two appointments."])].concat());
    assert_eq!(rig.over(1).unwrap().1.text, "One moment, please. You have two appointments.");
}

#[test]
fn an_agent_that_wants_to_be_heard_at_once_gets_its_phrase_at_once() {
    let mut rig = ready(knowing(&["One moment, please."]));
    rig.say_with(Say { last: false, flush: true, ..plain(1, " One moment, please.") });
    rig.run_to(300);
    assert_eq!(given(&rig), to(SPOKEN, &[" One moment, please."]));
    assert!(rig.heard_ms(101) > 200);
}

#[test]
fn what_is_to_sound_otherwise_or_goes_on_is_no_phrase() {
    let mut rig = ready(knowing(&["Hello there."]));
    rig.say_with(Say { delivery: delivery("W"), ..plain(1, "Hello there.") });
    rig.say(2, "Hello there.org is an address.");
    rig.say(3, "Hello there");
    rig.say(4, "Hello there. ");
    rig.run_to(12_000);
    let phrases: Vec<_> = rig.spoken().into_iter().filter(|(id, _)| *id != context(1, 1)).collect();
    assert_eq!(given(&rig).iter().filter(|(voice, _)| *voice == SPOKEN).count(), 2, "{phrases:?}");
    // The third is closed with a full stop, and then it is the phrase.
    assert_eq!(sounds(&rig), [1, 2, 103, 104]);
    assert_eq!(rig.over(3).unwrap().1.text, "Hello there");
    assert_eq!(rig.over(4).unwrap().1.text, "Hello there. ");
}

#[test]
fn a_voice_that_cannot_be_reached_is_not_needed_for_its_phrases() {
    let mut rig = Rig::new(Settings { phrases: vec![phrase(0, LINE), phrase(1, "Sorry, one moment.")], ..settings() });
    (rig.mood.phrases, rig.mood.no_link) = (true, Some(FaultKind::Fatal));
    rig.begin();
    rig.run_to(500);
    rig.say(1, LINE);
    rig.run_to(6_000);
    assert_eq!(rig.over(1).unwrap().1.text, LINE);
    assert!(!rig.failed(1));
    // What was not spoken before is apologised for, and so is the rest of what begins with a phrase.
    rig.say(2, &format!("{LINE} Something new."));
    rig.run_to(14_000);
    assert!(rig.failed(2));
    assert_eq!(rig.over(2).unwrap().1.text, format!("{LINE} "));
    assert_eq!(given(&rig).last(), Some(&(SPOKEN + 1, "Sorry, one moment.".to_owned())));
    assert_eq!(sounds(&rig), [101, 102]);
}

#[test]
fn a_phrase_link_that_falls_silent_costs_no_more_than_its_limit() {
    let mut rig = ready(knowing(&[LINE]));
    rig.run_to(100);
    rig.say(1, LINE);
    rig.pending.clear();
    rig.run_to(12_000);
    assert_eq!(rig.over(1).unwrap().1.text, LINE);
    assert_eq!((rig.heard_ms(1), rig.heard_ms(101)), (LINE.len() as u64 * 60, 0));
    assert!(first_sound(&rig) < CallTime::from_millis(600), "{}", first_sound(&rig));
}

#[test]
fn a_phrase_is_a_whole_beginning_that_ends_where_a_sentence_does() {
    let length = |phrase_text: &str, text: &str, rest, closes| phrase(0, phrase_text).length_in(text, rest, closes);
    for (text, rest, expected) in [
        ("Hi you.", Rest::Complete, Some(7)),
        ("  Hi you.  ", Rest::Complete, Some(11)),
        ("Hi you.", Rest::Open, None),
        ("Hi you. ", Rest::Open, None),
        ("Hi you. And", Rest::Open, Some(8)),
        ("Hi you.\" And", Rest::Open, None),
        ("Hi you.com is", Rest::Open, None),
        ("Hi you", Rest::Complete, None),
        ("Hi your.", Rest::Complete, None),
        ("", Rest::Complete, None),
    ] {
        assert_eq!(length("Hi you.", text, rest, false), expected, "{text:?}");
    }
    assert_eq!(length("Hi you.", " Hi you ", Rest::Complete, true), Some(8));
    assert_eq!(length("Hi you..", "Hi you.", Rest::Complete, true), None);
    assert_eq!(length("At 5 p.m.", "At 5 p.m. we close.", Rest::Complete, false), None);
    // Text without marks is cut after so many characters, but nothing ends there.
    let words = "word ".repeat(40);
    assert_eq!(length(words.trim(), &format!("{words}and more"), Rest::Complete, false), None);
}

#[test]
fn a_phrase_is_given_sentence_by_sentence() {
    let sentences = |text: &str| phrase(0, text).sentences().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(sentences("Hello. How are you?"), ["Hello. ", "How are you?"]);
    assert_eq!(sentences("Hello there, and welcome to us all"), ["Hello there, and welcome to us all"]);
    assert_eq!(sentences("Wait! --"), ["Wait! "]);
}
