//! A turn's text on its way to contexts.

use std::sync::Arc;
use std::time::Duration;

use crate::call::action::Flow;
use crate::call::event::{Delivery, Say};
use crate::call::settings::{Buffering, Interruptible, Limits, Text};
use crate::call::text::{Piece, Scribe};
use crate::call::turn::{Step, Turn};
use crate::ids::{CallTime, TurnId};

const VENDOR: Buffering = Buffering::Vendor { max_delay: Duration::from_secs(3) };

fn say(text: &str, last: bool, flush: bool) -> Say {
    Say { turn: TurnId(1), text: text.to_owned(), last, flush, interruptible: None, delivery: None }
}

fn turn() -> Turn {
    Turn::new(TurnId(1), 1, Interruptible::Any, Scribe::new(Text::default()), CallTime::ZERO)
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
