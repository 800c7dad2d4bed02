//! The caller speaks: before an answer, into it, with keys, and for nothing.

use super::rig::{Rig, rig};
use crate::agent::llm::answer::AskError;
use crate::audio::vad::Change;
use crate::call::action::{AgentReport, Cause};
use crate::call::event::AgentEvent;

#[test]
fn what_is_heard_is_what_was_said() {
    let mut rig = rig();
    rig.prompt("Tell me a story.");
    rig.text("Once upon a time");
    rig.speech(Change::Started);
    assert_eq!(rig.open, Some(1), "whether it is an interruption is not for the agent to say");
    rig.cut(1, "Once upon", Cause::Speech);
    assert_eq!((rig.dropped.as_slice(), rig.open), ([1].as_slice(), None), "at once");
    assert!(!rig.is_closed(1), "a turn that is over takes no more text");
    rig.speech(Change::Stopped);
    rig.prompt("Shorter.");
    assert_eq!(rig.shown(), ["u Tell me a story.", "a Once upon [interrupted]", "u Shorter."]);
}

#[test]
fn an_interruption_without_words_is_no_question() {
    let mut rig = rig();
    rig.prompt("Tell me a story.");
    rig.text("Once upon a time.");
    rig.done();
    rig.speech(Change::Started);
    rig.cut(1, "Once", Cause::Speech);
    rig.speech(Change::Stopped);
    rig.wait(60_000);
    assert_eq!((rig.asked.len(), rig.turns.len()), (1, 1));
}

#[test]
fn what_is_said_before_the_answer_is_answered_with_it() {
    let mut rig = rig();
    rig.prompt("Tell me");
    rig.speech(Change::Started);
    assert_eq!((rig.dropped.as_slice(), rig.open), ([1].as_slice(), None), "the connection goes at once");
    rig.speech(Change::Stopped);
    rig.prompt("a story.");
    assert_eq!(rig.shown(), ["u Tell me\na story."]);
    rig.prompt("Please.");
    assert_eq!(rig.dropped, [1, 2]);
    assert_eq!(rig.shown(), ["u Tell me\na story.\nPlease."]);
}

#[test]
fn a_cough_does_not_cost_the_caller_the_answer() {
    let mut rig = rig();
    rig.prompt("Tell me.");
    rig.speech(Change::Started);
    rig.wait(10_000);
    rig.speech(Change::Stopped);
    rig.wait(2_999);
    assert_eq!((rig.asked.len(), rig.turns.len()), (1, 0));
    rig.wait(1);
    assert_eq!(rig.asked.len(), 2);
    rig.wait(2_999);
    assert_eq!(rig.turns.len(), 0, "patience begins anew");
    // The same when the answer was made, but nothing of it was heard.
    rig.text("Once.");
    rig.done();
    rig.speech(Change::Started);
    rig.cut(1, "", Cause::Speech);
    rig.speech(Change::Stopped);
    rig.wait(3_000);
    assert_eq!(rig.asked.len(), 3);
    assert_eq!(rig.shown(), ["u Tell me."]);
}

#[test]
fn an_empty_transcript_gives_the_floor_back() {
    let mut rig = rig();
    rig.prompt("Tell me.");
    rig.speech(Change::Started);
    rig.speech(Change::Stopped);
    rig.prompt(" ");
    assert_eq!(rig.asked.len(), 2);
    assert_eq!(rig.shown(), ["u Tell me."]);
}

#[test]
fn words_keep_the_floor() {
    let mut rig = rig();
    rig.prompt("Tell me.");
    rig.speech(Change::Started);
    rig.speech(Change::Stopped);
    for _ in 0..5 {
        rig.wait(2_000);
        rig.report(AgentReport::Prompt { text: "a st".into(), last: false, language: None });
    }
    assert_eq!(rig.asked.len(), 1);
    rig.prompt("a story.");
    assert_eq!(rig.shown(), ["u Tell me.\na story."]);
    // Words that the detector missed count as well.
    rig.report(AgentReport::Prompt { text: "please".into(), last: false, language: None });
    assert_eq!((rig.dropped.as_slice(), rig.open), ([1, 2].as_slice(), None));
}

#[test]
fn the_detector_may_be_slower_than_the_words() {
    let mut rig = rig();
    rig.speech(Change::Started);
    rig.prompt("Tell me.");
    assert_eq!(rig.asked.len(), 1);
    rig.speech(Change::Stopped);
    rig.wait(3_000);
    assert_eq!((rig.asked.len(), rig.dropped.len()), (1, 0));
}

#[test]
fn what_may_not_interrupt_is_answered_afterwards() {
    let mut rig = rig();
    rig.prompt("Tell me a story.");
    rig.text("Once upon");
    rig.speech(Change::Started);
    rig.speech(Change::Stopped);
    rig.prompt("Shorter.");
    assert_eq!(rig.open, Some(1), "a sentence is said to its end");
    rig.text(" a time.");
    rig.calls(&[("end_call", "{}")]);
    assert_eq!((rig.sent(1).as_str(), rig.is_closed(1)), ("Once upon a time.", true));
    assert_eq!(rig.shown(), ["u Tell me a story.", "a Once upon a time.", "u Shorter."]);
    rig.over(1);
    assert!(!rig.has_hung_up(), "what the caller said since comes first");
}

#[test]
fn an_answer_that_was_prepared_is_given_out_at_once() {
    let mut rig = rig();
    rig.speech(Change::Started);
    rig.speech(Change::Stopped);
    rig.probable("Tell me a story");
    assert_eq!(rig.shown(), ["u Tell me a story"]);
    rig.probable("tell me, a story?");
    assert_eq!(rig.asked.len(), 1, "it is the same");
    rig.text("Once");
    rig.text(" upon");
    assert_eq!(rig.texts(), [""; 0], "nothing is said before it is certain");
    rig.prompt("Tell me a story.");
    assert_eq!((rig.asked.len(), rig.sent(1).as_str()), (1, "Once upon"));
    rig.text(" a time.");
    rig.done();
    rig.over(1);
    rig.prompt("More.");
    assert_eq!(rig.shown(), ["u Tell me a story.", "a Once upon a time.", "u More."]);
}

#[test]
fn a_prepared_answer_may_be_whole_before_it_is_wanted() {
    let mut rig = rig();
    rig.probable("Bye");
    rig.text("Goodbye.");
    rig.calls(&[("end_call", "{}")]);
    rig.over(1);
    assert!(!rig.has_hung_up());
    rig.prompt("Bye.");
    assert_eq!(rig.texts(), ["Goodbye."]);
    rig.over(1);
    assert!(rig.has_hung_up());
}

#[test]
fn a_prepared_answer_is_thrown_away_when_the_caller_goes_on() {
    let throw_away: [fn(&mut Rig); 5] = [
        |rig| rig.report(AgentReport::Resumed),
        |rig| rig.speech(Change::Started),
        |rig| rig.prompt("Tell me a story, but a short one."),
        |rig| rig.probable("Tell me a story, but"),
        |rig| rig.keys("1"),
    ];
    for throw_away in throw_away {
        let mut rig = rig();
        rig.probable("Tell me a story");
        rig.text("Once");
        throw_away(&mut rig);
        assert_eq!(rig.dropped, [1]);
        rig.prompt("Tell me a story, but a short one.");
        assert!(rig.shown().last().unwrap().ends_with("Tell me a story, but a short one."), "{:?}", rig.shown());
        assert_eq!(rig.texts(), [""; 0]);
    }
}

#[test]
fn a_prepared_answer_that_fails_is_nobodys_business() {
    let mut rig = rig();
    rig.probable("Tell me");
    rig.fail(AskError::Unreachable);
    rig.wait(30_000);
    assert_eq!((rig.asked.len(), rig.turns.len()), (1, 0));
    rig.prompt("Tell me.");
    assert_eq!(rig.asked.len(), 2);
    // One that nobody asks for any more is not kept for ever.
    let mut rig = super::rig::rig();
    rig.probable("Tell me");
    rig.text("Once");
    rig.wait(120_000);
    assert_eq!((rig.dropped.as_slice(), rig.turns.len()), ([1].as_slice(), 0));
}

#[test]
fn keys_are_words() {
    let mut rig = rig();
    rig.prompt("Hello?");
    rig.text("Press one.");
    rig.done();
    rig.keys("1");
    rig.cut(1, "Press", Cause::Dtmf);
    rig.wait(1_000);
    rig.keys("2");
    rig.wait(1_499);
    assert_eq!(rig.asked.len(), 1, "another key may follow");
    rig.wait(1);
    assert_eq!(rig.shown(), ["u Hello?", "a Press [interrupted]", "u [pressed 12]"]);
    rig.keys("3#");
    assert_eq!(rig.shown().last().unwrap(), "u [pressed 12]\n[pressed 3#]", "a # ends the input");
    assert_eq!(rig.dropped, [2]);
    rig.text("Thank you.");
    rig.done();
    rig.keys("4");
    rig.prompt("and five");
    assert_eq!(rig.shown().last().unwrap(), "u [pressed 4]\nand five");
}

#[test]
fn whoever_asks_for_silence_gets_it() {
    let mut rig = rig();
    rig.prompt("Hello?");
    rig.text("Hi");
    rig.cut(1, "", Cause::Request);
    assert_eq!(rig.open, None);
    rig.wait(60_000);
    assert_eq!((rig.asked.len(), rig.turns.len()), (1, 1));
    assert!(!rig.told.iter().any(|event| matches!(event, AgentEvent::Clear)));
}
