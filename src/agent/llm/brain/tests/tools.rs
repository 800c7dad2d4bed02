//! Tools: what a model calls, and what becomes of it when the caller speaks meanwhile.

use super::rig::{Rig, rig, rig_of, settings};
use crate::agent::llm::answer::{AnswerEvent, AskError};
use crate::agent::llm::brain::Outcome;
use crate::agent::llm::settings::{Limits, Settings};
use crate::agent::llm::stream::Tools;
use crate::audio::vad::Change;
use crate::call::action::{AgentReport, Cause};
use crate::call::event::{AgentEvent, Clip, Fault, FaultKind};
use crate::call::settings::Interruptible;
use crate::ids::TurnId;

fn good(text: &str) -> Outcome {
    Outcome::Good(text.into())
}

/// A caller who asked something, and a model that called `calls` after a word.
fn called(calls: &[(&str, &str)]) -> Rig {
    let mut rig = rig();
    rig.prompt("Please.");
    rig.text("Surely.");
    rig.calls(calls);
    rig
}

#[test]
fn results_are_asked_about_once_all_are_there() {
    let mut rig = called(&[("look", r#"{"a":1}"#), ("count", ""), ("look", "{\"a\""), ("nothing", "{}")]);
    assert!(rig.is_closed(1), "what was said before is heard without waiting for more");
    let ids: Vec<&str> = rig.posted.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids, ["id-look", "id-count"], "what makes no sense is not run");
    rig.ran(1, good("two"));
    assert_eq!(rig.asked.len(), 1);
    rig.ran(0, Outcome::Bad("error: no".into()));
    assert_eq!(
        rig.shown(),
        [
            "u Please.",
            "a Surely.+look+count+look+nothing",
            "t error: no",
            "t two",
            "t error: the arguments are not a JSON object",
            "t error: there is no such tool"
        ]
    );
    rig.text("It is two.");
    rig.done();
    assert_eq!(rig.texts(), ["Surely.", "It is two."]);
}

#[test]
fn a_slow_tool_is_spoken_for() {
    let mut rig = called(&[("look", "{}"), ("count", "{}")]);
    rig.wait(5_000);
    assert_eq!(rig.turns.len(), 1, "something is still being heard");
    rig.over(1);
    rig.wait(999);
    assert_eq!(rig.turns.len(), 1);
    rig.wait(1);
    assert_eq!(rig.texts(), ["Surely.", "Let me look."]);
    rig.over(2);
    rig.wait(4_000);
    assert_eq!(rig.turns.len(), 2, "once is enough");
    rig.ran(0, good("a"));
    rig.ran(1, good("b"));
    assert_eq!(rig.shown().last().unwrap(), "t b", "a request ends with what has to be answered");
    rig.text("Found.");
    rig.done();
    rig.over(3);
    rig.prompt("Thanks.");
    assert_eq!(rig.shown()[4..], ["a Let me look. Found.", "u Thanks."]);
}

#[test]
fn a_tool_that_never_answers_is_given_up() {
    let mut rig = called(&[("count", "{}")]);
    rig.wait(14_999);
    assert_eq!(rig.asked.len(), 1);
    rig.wait(1);
    assert_eq!(rig.shown().last().unwrap(), "t error: no answer in time");
    rig.ran(0, good("late"));
    assert_eq!(rig.asked.len(), 2);
}

#[test]
fn an_interruption_keeps_the_result_and_speaks_of_it_with_the_next_words() {
    let mut rig = called(&[("look", "{}")]);
    rig.speech(Change::Started);
    rig.cut(1, "Sure", Cause::Speech);
    rig.ran(0, good("found"));
    assert_eq!(rig.asked.len(), 1, "the caller has the floor");
    rig.wait(5_000);
    assert_eq!(rig.turns.len(), 1, "nor is anything else said");
    rig.speech(Change::Stopped);
    rig.prompt("Quickly.");
    assert_eq!(rig.shown(), ["u Please.", "a Sure [interrupted]+look", "t found", "u Quickly."]);
    // Words before the result wait for it: no server takes a call without its result.
    let mut rig = called(&[("look", "{}")]);
    rig.prompt("Quickly.");
    assert_eq!(rig.asked.len(), 1);
    rig.ran(0, good("found"));
    assert_eq!(rig.shown()[2..], ["t found", "u Quickly."]);
}

#[test]
fn a_model_cannot_call_tools_for_ever() {
    let limits = Limits { tool_rounds: 2, ..Limits::default() };
    let mut rig = rig_of(Settings { limits, ..settings() });
    rig.prompt("Please.");
    for round in 0..2 {
        assert_eq!(rig.asked.last().unwrap().1.tools, Tools::Offered);
        rig.calls(&[("look", "{}")]);
        rig.ran(round, good("found"));
    }
    assert_eq!(rig.asked.last().unwrap().1.tools, Tools::Withheld);
    rig.calls(&[("look", "{}")]);
    assert_eq!(rig.posted.len(), 2);
    rig.wait(200);
    rig.fail(AskError::Broken);
    assert_eq!(rig.turns.len(), 1, "the fallback line");
    rig.prompt("Please.");
    assert_eq!(rig.asked.last().unwrap().1.tools, Tools::Offered, "new words, new rounds");
}

#[test]
fn the_call_ends_when_the_last_words_were_heard() {
    let mut rig = called(&[("end_call", "{}")]);
    rig.wait(10_000);
    assert!(!rig.has_hung_up());
    rig.over(1);
    assert!(rig.has_hung_up());
    assert!(rig.brain.is_over());
    let mut silent = super::rig::rig();
    silent.prompt("Bye.");
    silent.calls(&[("end_call", "{}")]);
    assert!(silent.has_hung_up(), "nothing is left to be heard");
}

#[test]
fn whoever_goes_on_is_not_hung_up_on() {
    let mut rig = called(&[("end_call", "{}")]);
    rig.speech(Change::Started);
    rig.cut(1, "Sure", Cause::Speech);
    assert!(!rig.has_hung_up());
    rig.prompt("Wait!");
    assert_eq!(
        rig.shown()[1..],
        ["a Sure [interrupted]+end_call", "t not done: the caller went on before it", "u Wait!"]
    );
    // The same without an interruption: the words are enough.
    let mut rig = called(&[("end_call", "{}")]);
    rig.prompt("Wait!");
    rig.over(1);
    assert!(!rig.has_hung_up());
    assert_eq!(rig.asked.len(), 2);
    // After a cough the model is asked what to do now.
    let mut rig = called(&[("end_call", "{}")]);
    rig.speech(Change::Started);
    rig.cut(1, "Sure", Cause::Speech);
    rig.speech(Change::Stopped);
    rig.wait(3_000);
    assert_eq!(rig.asked.len(), 2);
    // A key counts as words.
    let mut rig = called(&[("end_call", "{}")]);
    rig.keys("5");
    rig.over(1);
    assert!(!rig.has_hung_up());
    rig.wait(1_500);
    assert_eq!(rig.asked.len(), 2);
}

#[test]
fn a_caller_is_handed_over_when_told_so() {
    let mut rig = called(&[("transfer_call", r#"{"to":"sales"}"#), ("end_call", "{}")]);
    assert_eq!(rig.transferred.len(), 0);
    rig.over(1);
    assert_eq!(rig.transferred[0].1, "+15550100");
    rig.handed_over(good("connected"));
    rig.wait(60_000);
    assert_eq!((rig.asked.len(), rig.has_hung_up()), (1, false), "the call is somebody else's now");
    let mut rig = called(&[("transfer_call", r#"{"to":"sales"}"#)]);
    rig.over(1);
    rig.handed_over(Outcome::Bad("error: nobody there".into()));
    assert_eq!(rig.shown().last().unwrap(), "t error: nobody there");
    let mut rig = called(&[("transfer_call", r#"{"to":"sales"}"#)]);
    rig.over(1);
    rig.wait(20_000);
    assert_eq!(rig.shown().last().unwrap(), "t error: no answer in time");
}

#[test]
fn tones_are_played_as_a_turn() {
    let mut rig = called(&[("send_digits", r#"{"digits":"1w2"}"#)]);
    let Some(AgentEvent::Play(play)) = rig.told.last() else { panic!("tones") };
    assert_eq!((&play.clip, play.interruptible), (&Clip::Tones("1w2".into()), Some(Interruptible::None)));
    assert_eq!(play.turn, TurnId(2));
    rig.over(1);
    assert_eq!(rig.asked.len(), 1);
    rig.over(2);
    assert_eq!(rig.shown().last().unwrap(), "t sent");
    for (fails, cut) in [(true, false), (false, true)] {
        let mut rig = called(&[("send_digits", r#"{"digits":"1"}"#)]);
        if fails {
            let fault = Fault { kind: FaultKind::Retryable, reason: "x".into() };
            rig.report(AgentReport::SpeechFailed { turn: TurnId(2), fault });
        }
        if cut {
            rig.cut(2, "", Cause::Request)
        } else {
            rig.over(2)
        }
        rig.prompt("So?");
        assert!(rig.shown().contains(&"t error: not all of them were sent".to_owned()), "{:?}", rig.shown());
    }
}

#[test]
fn keys_are_collected() {
    let arguments = r##"{"count":4,"terminator":"#","timeout_s":5}"##;
    let mut rig = called(&[("collect_digits", arguments)]);
    rig.keys("1");
    rig.cut(1, "Sure", Cause::Dtmf);
    rig.keys("234");
    assert_eq!(rig.shown().last().unwrap(), r#"t {"digits":"1234","end":"complete"}"#);
    assert_eq!(rig.shown()[1], "a Sure [interrupted]+collect_digits");
    let mut rig = called(&[("collect_digits", arguments)]);
    rig.keys("12#");
    assert_eq!(rig.shown().last().unwrap(), r#"t {"digits":"12","end":"complete"}"#);
}

#[test]
fn keys_that_do_not_come_are_waited_for_only_so_long() {
    let mut rig = called(&[("collect_digits", r#"{"count":4,"timeout_s":5}"#), ("collect_digits", r#"{"count":1}"#)]);
    rig.wait(60_000);
    assert_eq!(rig.asked.len(), 1, "what asks for them is still being heard");
    rig.over(1);
    rig.wait(4_000);
    rig.keys("1");
    rig.wait(4_999);
    assert_eq!(rig.asked.len(), 1, "every key buys time");
    rig.wait(1);
    assert_eq!(
        rig.shown()[2..],
        [r#"t {"digits":"1","end":"no further key in time"}"#, "t error: keys are waited for already"]
    );
    let mut rig = called(&[("collect_digits", r#"{"count":4}"#)]);
    rig.keys("1");
    rig.speech(Change::Started);
    rig.speech(Change::Stopped);
    assert_eq!(rig.asked.len(), 1, "a noise ends nothing");
    rig.prompt("I forgot it.");
    assert_eq!(rig.shown()[2..], [r#"t {"digits":"1","end":"the caller spoke"}"#, "u I forgot it."]);
}

#[test]
fn half_a_call_is_no_call() {
    let mut rig = rig();
    rig.prompt("Please.");
    rig.answer(AnswerEvent::Calling);
    rig.wait(7_999);
    rig.fail(AskError::Truncated);
    assert_eq!(rig.posted.len(), 0);
    assert_eq!(rig.texts().len(), 2, "a filler, then the fallback line: {:?}", rig.texts());
}
