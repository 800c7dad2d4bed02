//! A turn's text on its way to contexts.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::rig::{Marks, Rig, managed, settings};
use crate::call::action::Flow;
use crate::call::event::{Delivery, FaultKind, Say, TimedWord};
use crate::call::heard::Transcript;
use crate::call::settings::{Buffering, Interruptible, Limits, Text};
use crate::call::text::written::{cuts, tokens, writing};
use crate::call::text::{Piece, Scribe};
use crate::call::turn::{Step, Turn};
use crate::ids::{CallTime, TurnId};

const VENDOR: Buffering = Buffering::Vendor { max_delay: Duration::from_secs(3) };

fn say(text: &str, last: bool, flush: bool) -> Say {
    Say { turn: TurnId(1), text: text.to_owned(), last, flush, interruptible: None, delivery: None, preemptible: None }
}

fn turn() -> Turn {
    Turn::new(TurnId(1), 1, Interruptible::Any, Scribe::new(Text::default(), Buffering::Gateway), CallTime::ZERO)
}

fn spoken(turn: &mut Turn, buffering: Buffering, with_context: bool) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(step) = turn.next_step(buffering, with_context, &Limits::default()) {
        texts.push(match step {
            Step::Speak(piece, _) => piece.into_spoken(),
            Step::Pass(piece) => format!("({})", piece.written()),
            Step::Flush => "FLUSH".to_owned(),
            Step::Next => continue,
        });
    }
    texts
}

#[test]
fn tokens_go_verbatim_to_a_vendor_that_buffers() {
    let mut turn = turn();
    turn.push(CallTime::ZERO, say(" ...", false, false));
    assert!(spoken(&mut turn, VENDOR, false).is_empty());
    turn.push(CallTime::ZERO, say(" Hel", false, false));
    assert_eq!(spoken(&mut turn, VENDOR, false), [" ... Hel"]);
    turn.push(CallTime::ZERO, say("lo", false, false));
    turn.push(CallTime::ZERO, say(" ", false, false));
    assert_eq!(spoken(&mut turn, VENDOR, true), ["lo "]);
    turn.push(CallTime::ZERO, say("there", false, true));
    assert_eq!(spoken(&mut turn, VENDOR, true), ["there", "FLUSH"]);
    turn.push(CallTime::ZERO, say("!", true, false));
    assert_eq!(spoken(&mut turn, VENDOR, true), ["!"]);
    assert!(turn.is_said());
}

#[test]
fn sentences_are_whole_unless_flushed_or_last() {
    let mut turn = turn();
    for token in ["Hello", " there. How", " are", " you?"] {
        turn.push(CallTime::ZERO, say(token, false, false));
    }
    assert_eq!(spoken(&mut turn, Buffering::Gateway, false), ["Hello there. "]);
    turn.push(CallTime::ZERO, say(" One moment", false, true));
    assert_eq!(spoken(&mut turn, Buffering::Gateway, true), ["How are you? ", "One moment"]);
    assert!(!turn.is_said());
    turn.push(CallTime::ZERO, say(" -- ", true, false));
    assert_eq!(spoken(&mut turn, Buffering::Gateway, true), ["( -- )"]);
    assert!(turn.is_said());
}

#[test]
fn a_change_of_delivery_starts_a_new_run_and_completes_the_old_one() {
    let mut turn = turn();
    turn.push(CallTime::ZERO, say("First without an end", false, false));
    let other = Arc::new(Delivery { voice: Some("b".to_owned()), ..Delivery::default() });
    turn.push(CallTime::ZERO, Say { delivery: Some(other.clone()), ..say("Second.", false, false) });
    turn.push(CallTime::ZERO, say(" Third.", true, false));
    let steps = std::iter::from_fn(|| turn.next_step(Buffering::Gateway, true, &Limits::default()));
    let steps: Vec<Step> = steps.filter(|step| *step != Step::Next).collect();
    let expected = [
        Step::Speak(Piece::plain("First without an end"), Arc::default()),
        Step::Speak(Piece::plain("Second. "), other.clone()),
        Step::Speak(Piece::plain("Third."), other),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn text_that_was_not_spoken_comes_first_again() {
    let mut turn = turn();
    turn.push(CallTime::ZERO, say("and the rest.", true, false));
    turn.push_back_all(Piece::plain("the middle "), Arc::default(), Vec::new());
    assert_eq!(spoken(&mut turn, Buffering::Gateway, false), ["the middle and the rest."]);
    assert!(turn.is_said());
}

#[test]
fn text_that_was_not_spoken_does_not_wait_for_a_sentence_again() {
    let mut turn = turn();
    turn.push(CallTime::ZERO, say("One moment", false, true));
    assert_eq!(spoken(&mut turn, Buffering::Gateway, false), ["One moment"]);
    turn.push(CallTime::ZERO, say(" -- ", false, true));
    assert_eq!(spoken(&mut turn, Buffering::Gateway, false), ["( -- )"]);
    turn.pass(&Piece::plain(" -- "));
    turn.push_back_all(Piece::plain("One moment"), Arc::default(), Vec::new());
    assert_eq!(spoken(&mut turn, Buffering::Gateway, false), ["One moment -- "]);
}

#[test]
fn an_agent_that_has_to_wait_does_not_wait_for_itself() {
    let (mut turn, endless) = (turn(), "x".repeat(400));
    turn.push(CallTime::ZERO, say(&endless, false, false));
    assert_eq!(spoken(&mut turn, Buffering::Gateway, false), [""; 0]);
    assert_eq!(turn.regulate(CallTime::ZERO, Duration::ZERO, &Limits::default()), Some(Flow::Held));
    assert_eq!(spoken(&mut turn, Buffering::Gateway, false), [endless]);
    assert_eq!(turn.regulate(CallTime::ZERO, Duration::ZERO, &Limits::default()), Some(Flow::Open));
}

const ANSWER: &str = "Here is **what I found** for you. 😀\n\n- Your code is AB12C.\n- Call 555-0100\n\nSee [our site](https://example.com) too";
const ANSWER_SPOKEN: &str =
    "Here is what I found for you. \n\nYour code is A B 1 2 C.\nCall 5 5 5, 0 1 0 0.\n\nSee our site too.";

#[test]
fn a_written_answer_is_spoken_without_its_marks_and_heard_with_them() {
    for settings in [settings(), managed()] {
        let mut rig = Rig::start(settings);
        rig.run_to(100);
        for (at, token) in ANSWER.split_inclusive(' ').enumerate() {
            rig.token(1, token, false);
            rig.run_to(100 + 20 * (at as u64 + 1));
        }
        rig.token(1, "", true);
        rig.run_to(15_000);
        let spoken: String = rig.spoken().into_iter().map(|(_, text)| text).collect();
        // A vendor that gathers text is told of the end in another way.
        assert!(spoken == ANSWER_SPOKEN || format!("{spoken}.") == ANSWER_SPOKEN, "{spoken:?}");
        assert_eq!(rig.over(1).unwrap().1.text, ANSWER);
        assert!(!rig.failed(1));
    }
}

#[test]
fn of_a_written_answer_that_is_cut_off_the_agents_own_words_were_heard() {
    let mut last = 0;
    for ms in (200..7_000).step_by(70) {
        let mut rig = Rig::start(settings());
        rig.run_to(100);
        rig.say(1, ANSWER);
        rig.run_to(ms);
        rig.speech();
        let Some((_, heard)) = rig.interrupted(1) else { break };
        assert!(ANSWER.starts_with(&heard.text), "{:?} at {ms}", heard.text);
        assert!(heard.text.len() >= last, "{:?} at {ms}", heard.text);
        last = heard.text.len();
        // A code counts when all of it was spoken, and not one letter earlier.
        let played = heard.played.as_millis() as u64;
        let end = rig.truth.iter().find(|(_, word, _)| word == "C.").map(|(_, _, end)| *end).unwrap();
        assert_eq!(heard.text.contains("AB12C"), played >= end, "{:?} at {ms}", heard.text);
        assert!(!heard.text.ends_with("AB") && !heard.text.ends_with("555"), "{:?}", heard.text);
    }
    assert!(last > ANSWER.find("555-0100").unwrap(), "{last}");
}

#[test]
fn a_code_that_broke_off_is_said_again_from_its_beginning() {
    let mut rig = Rig::start(settings());
    rig.mood.stall_after = Some(15);
    rig.run_to(100);
    rig.say(1, "Your code is AB12C. **Thank you** for calling.");
    rig.run_to(1_500);
    rig.mood.stall_after = None;
    rig.run_to(20_000);
    let spoken = rig.spoken();
    assert_eq!(spoken.first().unwrap().1, "Your code is A B 1 2 C. ");
    let again: Vec<&str> = spoken.iter().filter(|(id, _)| id.serial == 2).map(|(_, text)| text.as_str()).collect();
    assert_eq!(again, ["A B 1 2 C. ", "Thank you for calling."]);
    assert_eq!(rig.over(1).unwrap().1.text, "Your code is AB12C. **Thank you** for calling.");
}

#[test]
fn a_link_that_is_lost_in_mid_answer_loses_no_text() {
    for (ms, untimed) in [(600, false), (1_300, false), (2_400, false), (900, true), (2_000, true)] {
        let mut rig = Rig::start(settings());
        rig.mood.untimed = untimed;
        rig.run_to(100);
        rig.say(1, ANSWER);
        rig.run_to(ms);
        rig.lose_link(FaultKind::Retryable);
        rig.run_to(30_000);
        assert_eq!(rig.over(1).unwrap().1.text, ANSWER, "at {ms}");
    }
}

#[test]
fn an_answer_without_a_sound_is_passed_over() {
    for settings in [settings(), managed()] {
        let mut rig = Rig::start(settings);
        rig.marks = Marks::Honest;
        rig.run_to(100);
        rig.token(1, "```\nlet x = 1;\n", false);
        rig.token(1, "```\n😀", true);
        rig.say(2, "Next.");
        rig.run_to(3_000);
        // Nothing of it was heard.
        assert_eq!(rig.over(1).unwrap().1.text, "");
        assert_eq!(rig.spoken().len(), 1);
        assert_eq!(rig.over(2).unwrap().1.text, "Next.");
    }
}

/// What a context knows of `text` when its words are told one after the other, each a tenth of a second long.
fn transcript(text: &str, cuts: &[prop::sample::Index], is_timed: bool) -> (Transcript, u64) {
    let (mut scribe, mut transcript) = (Scribe::new(Text::default(), Buffering::Gateway), Transcript::default());
    for token in tokens(text, cuts) {
        let mut piece = Piece::default();
        scribe.push(token, &mut piece);
        transcript.push_text(&piece);
    }
    let mut piece = Piece::default();
    scribe.settle(&mut piece);
    transcript.push_text(&piece);
    let mut end_us = 0;
    for word in transcript.text().spoken().to_owned().split_whitespace() {
        let start_us = end_us;
        end_us += 100_000;
        if is_timed {
            transcript.push_words(&[TimedWord { text: word.to_owned(), start_us, end_us }]);
        }
    }
    (transcript, end_us)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn heard_text_is_a_prefix_that_grows_with_time(text in writing(), cuts in cuts(), is_timed in any::<bool>()) {
        let (transcript, total) = transcript(&text, &cuts, is_timed);
        let mut last = 0;
        for played in (0..=total + 100_000).step_by(30_000) {
            let heard = transcript.heard(played, Some(total));
            prop_assert!(text.starts_with(heard) && heard.len() >= last, "{:?} after {} bytes", heard, last);
            last = heard.len();
        }
        prop_assert_eq!(transcript.text().written(), text);
    }

    #[test]
    fn what_breaks_off_is_spoken_or_said_again(
        text in writing(), cuts in cuts(), is_timed in any::<bool>(), received in 0_u64..3_000_000,
    ) {
        let (mut transcript, _) = transcript(&text, &cuts, is_timed);
        let whole = transcript.text().spoken().to_owned();
        let resume = transcript.resume(received);
        prop_assert!(resume.at <= whole.len() && resume.keep_us <= received);
        let rest = transcript.cut(resume);
        let spoken = transcript.text();
        prop_assert_eq!(format!("{}{}", spoken.written(), rest.written()), text);
        prop_assert_eq!(format!("{}{}", spoken.spoken(), rest.spoken()), whole);
    }
}
