//! Questions and answers, and what is said when there is none.

use std::time::Duration;

use super::rig::{Rig, rig, rig_of, settings};
use crate::agent::llm::answer::{AnswerEvent, AskError, Finish};
use crate::agent::llm::settings::{Greeting, Lines, Settings};
use crate::agent::llm::stream::Tools;
use crate::audio::vad::Change;
use crate::call::action::{AgentReport, Cause, EndReason, Flow};
use crate::call::event::{AgentEvent, FaultKind};
use crate::ids::TurnId;

const OVERLOADED: AskError = AskError::Status { status: 503, code: String::new(), retry_after_s: None };

fn fallback() -> String {
    Lines::default().fallback
}

#[test]
fn tokens_go_straight_into_a_turn() {
    let mut rig = rig();
    rig.prompt("Hello?");
    assert_eq!(rig.shown(), ["u Hello?"]);
    assert_eq!(rig.asked[0].1.tools, Tools::Offered);
    rig.text("");
    rig.text(" ");
    assert_eq!(rig.texts(), [""; 0], "white space opens no turn");
    rig.text("Hi");
    assert_eq!((rig.sent(1).as_str(), rig.is_closed(1)), (" Hi", false));
    rig.text(", caller.");
    rig.done();
    assert_eq!((rig.sent(1).as_str(), rig.is_closed(1)), (" Hi, caller.", true));
    rig.over(1);
    rig.prompt("Bye.");
    assert_eq!(rig.shown(), ["u Hello?", "a Hi, caller.", "u Bye."]);
    assert_eq!(rig.dropped, [0_u32; 0]);
}

#[test]
fn somebody_says_the_first_word() {
    let greeted = rig_of(Settings { greeting: Greeting::Line("Welcome.".into()), ..settings() });
    assert_eq!(greeted.texts(), ["Welcome."]);
    let mut asked = rig_of(Settings { greeting: Greeting::Model, system_prompt: "s".into(), ..settings() });
    assert_eq!(asked.shown(), ["s s", "u [The caller has just been connected. Greet them.]"]);
    asked.text("Welcome.");
    asked.done();
    assert_eq!(asked.texts(), ["Welcome."]);
    assert_eq!(rig().asked.len(), 0);
}

#[test]
fn announcements_are_part_of_the_conversation() {
    let mut rig = rig();
    let turn = TurnId(1 << 31);
    rig.report(AgentReport::Announced { turn, text: "Are you still there?".into() });
    rig.report(AgentReport::TurnOver { turn, heard: super::rig::heard_text("Are you still there?") });
    rig.prompt("Yes.");
    assert_eq!(rig.shown(), ["a Are you still there?", "u Yes."]);
}

#[test]
fn a_failed_question_is_asked_once_more() {
    let mut rig = rig();
    rig.prompt("Hello?");
    rig.fail(OVERLOADED);
    assert_eq!((rig.asked.len(), rig.turns.len()), (1, 0));
    rig.wait(199);
    assert_eq!(rig.asked.len(), 1);
    rig.wait(1);
    assert_eq!(rig.asked.len(), 2);
    assert_eq!(rig.asked[0].1, rig.asked[1].1);
    rig.text("Hi.");
    rig.done();
    assert_eq!(rig.texts(), ["Hi."]);
}

#[test]
fn a_second_failure_is_spoken_of() {
    for error in [OVERLOADED, AskError::Unreachable, AskError::Truncated, AskError::Broken, AskError::Empty] {
        let mut rig = rig();
        rig.prompt("Hello?");
        rig.fail(error.clone());
        rig.wait(200);
        rig.fail(error);
        assert_eq!(rig.texts(), [fallback()]);
        rig.over(1);
        rig.wait(60_000);
        assert_eq!(rig.asked.len(), 2);
        rig.prompt("Hello!");
        assert_eq!(rig.shown(), ["u Hello?".to_owned(), format!("a {}", fallback()), "u Hello!".to_owned()]);
    }
}

#[test]
fn a_noise_over_the_fallback_line_leaves_nobody_in_silence() {
    let mut rig = rig();
    rig.prompt("Hello?");
    rig.fail(AskError::NotAStream);
    rig.speech(Change::Started);
    rig.cut(1, "", Cause::Speech);
    rig.speech(Change::Stopped);
    rig.wait(3_000);
    assert_eq!(rig.asked.len(), 2, "nothing of it was heard, so that the answer is still owed");
    rig.text("Hi.");
    rig.done();
    assert_eq!(rig.texts(), [fallback(), "Hi.".to_owned()]);
}

#[test]
fn what_cannot_work_is_not_tried_again() {
    for error in [
        AskError::Status { status: 401, code: "invalid_api_key".into(), retry_after_s: None },
        // Longer than the caller's patience.
        AskError::Status { status: 429, code: String::new(), retry_after_s: Some(30) },
        AskError::NotAStream,
        AskError::TooLong,
    ] {
        let mut rig = rig();
        rig.prompt("Hello?");
        rig.fail(error);
        assert_eq!((rig.asked.len(), rig.texts()), (1, vec![fallback().as_str()]));
    }
    let mut rig = rig();
    rig.prompt("Hello?");
    rig.fail(AskError::Status { status: 429, code: String::new(), retry_after_s: Some(2) });
    rig.wait(1_999);
    assert_eq!(rig.asked.len(), 1);
    rig.wait(1);
    assert_eq!(rig.asked.len(), 2);
}

#[test]
fn an_empty_answer_is_no_answer() {
    let mut rig = rig();
    rig.prompt("Hello?");
    rig.text(" \n");
    rig.text("...");
    rig.done();
    rig.wait(200);
    rig.done();
    assert_eq!(rig.texts(), [fallback()]);
    rig.prompt("Hello?");
    rig.answer(AnswerEvent::Done { finish: Finish::Filtered, calls: vec![] });
    assert_eq!(rig.texts()[1], fallback(), "what is held back is held back again");
}

#[test]
fn a_silent_model_is_spoken_for() {
    let mut rig = rig();
    rig.prompt("Hello?");
    rig.wait(2_999);
    assert_eq!(rig.turns.len(), 0);
    rig.wait(1);
    assert_eq!(rig.texts(), ["One moment, please."]);
    rig.over(1);
    rig.answer(AnswerEvent::Alive);
    rig.wait(4_999);
    assert_eq!(rig.turns.len(), 1);
    rig.wait(1);
    assert_eq!(rig.texts(), ["One moment, please.", &fallback()]);
    assert_eq!((rig.dropped.as_slice(), rig.open), ([1].as_slice(), None), "too late for a second try");
}

#[test]
fn the_second_try_shares_the_patience_of_the_first() {
    let mut rig = rig();
    rig.prompt("Hello?");
    rig.wait(7_000);
    rig.fail(AskError::Broken);
    rig.wait(200);
    assert_eq!(rig.asked.len(), 2);
    rig.wait(800);
    assert_eq!(rig.texts(), ["One moment, please.", &fallback()]);
}

#[test]
fn a_filler_waits_until_nothing_is_heard() {
    let mut rig = rig();
    rig.prompt("Hello?");
    rig.text("Hi.");
    rig.done();
    rig.prompt("And?");
    rig.wait(5_000);
    assert_eq!(rig.texts(), ["Hi."], "something is still being heard");
    rig.over(1);
    rig.wait(2_999);
    assert_eq!(rig.texts(), ["Hi."]);
    rig.wait(1);
    assert_eq!(rig.texts(), ["Hi.", &fallback()], "the question is older than the silence");
}

#[test]
fn an_answer_that_breaks_off_is_ended_with_a_line() {
    let cut = Lines::default().cut;
    for by_silence in [true, false] {
        let mut rig = rig();
        rig.prompt("Tell me.");
        rig.text("Once upon");
        if by_silence {
            rig.wait(9_999);
            rig.answer(AnswerEvent::Alive);
            rig.wait(9_999);
            assert!(!rig.is_closed(1));
            rig.wait(1);
            assert_eq!(rig.dropped, [1]);
        } else {
            rig.fail(AskError::Reported { code: "overloaded".into() });
        }
        assert_eq!((rig.sent(1), rig.is_closed(1)), (format!("Once upon {cut}"), true));
        assert_eq!(rig.asked.len(), 1, "half an answer is not asked for again");
        rig.over(1);
        rig.prompt("Go on.");
        assert_eq!(rig.shown()[1], format!("a Once upon {cut}"));
    }
}

#[test]
fn an_answer_has_an_end() {
    let mut rig = rig();
    rig.prompt("Tell me.");
    for n in 0..24 {
        rig.text("word ");
        assert!(!rig.is_closed(1), "{n}");
        rig.wait(5_000);
    }
    assert!(rig.is_closed(1));
    assert_eq!(rig.dropped, [1]);
}

#[test]
fn while_enough_is_said_nobody_reads_and_time_stands_still() {
    let mut rig = rig();
    rig.prompt("Tell me.");
    rig.text("A long story.");
    rig.report(AgentReport::Flow { turn: TurnId(9), flow: Flow::Held });
    assert_eq!(rig.read, []);
    rig.report(AgentReport::Flow { turn: TurnId(1), flow: Flow::Held });
    rig.wait(300_000);
    assert!(!rig.is_closed(1));
    rig.report(AgentReport::Flow { turn: TurnId(1), flow: Flow::Open });
    assert_eq!(rig.read, [Flow::Held, Flow::Open]);
    rig.wait(9_999);
    assert!(!rig.is_closed(1));
    rig.wait(1);
    assert!(rig.is_closed(1));
}

#[test]
fn a_model_that_always_fails_is_lost() {
    let mut rig = rig();
    let ask = |rig: &mut Rig| {
        rig.prompt("Hello?");
        rig.fail(AskError::NotAStream);
    };
    ask(&mut rig);
    ask(&mut rig);
    rig.prompt("Hello?");
    rig.text("Hi.");
    rig.done();
    ask(&mut rig);
    ask(&mut rig);
    assert!(!rig.told.iter().any(|event| matches!(event, AgentEvent::Lost(_))), "one good answer in between");
    ask(&mut rig);
    let Some(AgentEvent::Lost(fault)) = rig.told.last() else { panic!("a loss") };
    assert_eq!(fault.kind, FaultKind::Fatal);
    assert!(rig.brain.is_over());
}

#[test]
fn a_turn_that_cannot_be_spoken_is_not_written_on() {
    let mut rig = rig();
    rig.prompt("Hello?");
    rig.text("Hi");
    let fault = crate::call::event::Fault { kind: FaultKind::Retryable, reason: "x".into() };
    rig.report(AgentReport::SpeechFailed { turn: TurnId(1), fault });
    assert_eq!((rig.open, rig.is_closed(1)), (None, true));
    rig.report(AgentReport::TurnOver { turn: TurnId(1), heard: super::rig::heard_text("") });
    rig.prompt("Hello?");
    assert_eq!(rig.shown(), ["u Hello?\nHello?"]);
}

#[test]
fn the_end_of_the_call_ends_everything() {
    let mut rig = rig();
    rig.prompt("Hello?");
    rig.report(AgentReport::Ended(EndReason::CarrierStopped));
    assert_eq!(rig.open, None);
    assert!(rig.brain.is_over());
    assert_eq!(rig.brain.poll_timeout(), None);
    rig.prompt("Hello?");
    assert_eq!(rig.asked.len(), 1);
}

#[test]
fn no_line_need_be_said() {
    let lines = Lines { filler: String::new(), cut: String::new(), ..Lines::default() };
    let mut rig = rig_of(Settings { lines, ..settings() });
    rig.prompt("Hello?");
    rig.wait(7_999);
    assert_eq!(rig.turns.len(), 0);
    rig.text("Hi");
    rig.fail(AskError::Broken);
    assert_eq!((rig.sent(1).as_str(), rig.is_closed(1)), ("Hi", true));
    assert_eq!(rig.brain.poll_timeout().map(|at| at.since(rig.now)), None::<Duration>);
}
