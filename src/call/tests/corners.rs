//! Odd corners of turns, contexts and streams.

use std::time::Duration;

use bytes::Bytes;

use super::rig::{Marks, Rig, context, delivery, managed, plain, settings};
use super::voice::Mood;
use crate::audio::MediaFormat;
use crate::call::action::{Action, AgentReport, Cause, TtsCommand};
use crate::call::event::{
    AgentEvent, CarrierEvent, Clip, Event, Fault, FaultKind, Play, Say, SpeechEvent, Start, TtsEvent,
};
use crate::call::settings::{Interruptible, OnFailure};
use crate::call::{Call, OVER_MAX};
use crate::ids::{CallSid, CallTime, StreamSid, TurnId};

const LINE: &str = "The quick brown fox jumps over the lazy dog. And then it sleeps for a very long time.";

fn failed(context: Option<crate::ids::ContextId>, kind: FaultKind) -> Event {
    Event::Tts(TtsEvent::Failed { context, fault: Fault { kind, reason: "test".to_owned() } })
}

fn started(outbound: Option<MediaFormat>) -> Event {
    Event::Carrier(CarrierEvent::Started(Box::new(Start {
        stream: StreamSid::parse("MZ1").unwrap(),
        call: CallSid::parse("CA1").unwrap(),
        inbound: MediaFormat::TELEPHONE,
        outbound,
        parameters: std::collections::BTreeMap::new(),
    })))
}

#[test]
fn frames_that_were_not_fetched_are_withdrawn_and_nobody_heard_them() {
    let mut rig = Rig::start(settings());
    rig.say(1, LINE);
    rig.run_to(1_000);
    // The driver's outbox is full: nothing is fetched, and the call goes on.
    let (sent, mut at) = (rig.sent_at.len(), rig.now);
    for _ in 0..10 {
        at = at + Duration::from_millis(20);
        rig.call.handle(at, Event::Wake);
    }
    rig.now = at;
    rig.handle(Event::Speech(SpeechEvent::Started));
    assert_eq!(rig.sent_at.len(), sent, "not one frame before or after the clear");
    let stats = *rig.call.stats();
    assert_eq!(stats.frames_out - stats.frames_withdrawn, sent as u64);
    assert!((9..=11).contains(&stats.frames_withdrawn), "{stats:?}");
    let (_, heard) = rig.interrupted(1).unwrap();
    assert!(heard.played <= Duration::from_millis(20 * sent as u64), "{:?}", heard.played);
    rig.run_to(2_000);
    assert!(heard.played.as_millis() as u64 <= rig.heard_ms(1));
}

#[test]
fn a_survivor_that_was_sent_whole_is_sent_again() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.say(1, "Hi there you.");
    rig.say_with(Say { interruptible: Some(Interruptible::None), ..plain(2, "O!") });
    let mut ms = 600;
    while rig.sent_at.iter().filter(|(_, byte)| *byte == 2).count() < 6 {
        ms += 5;
        rig.run_to(ms);
    }
    // All of the second turn is at the carrier, behind the last moments of the first one.
    rig.speech();
    assert!(rig.interrupted(1).is_some());
    assert_eq!(rig.heard_ms(2), 0);
    rig.run_to(3_000);
    assert_eq!((rig.heard_ms(2), rig.over(2).unwrap().1.text.as_str()), (120, "O!"));
}

#[test]
fn a_context_that_breaks_off_takes_those_behind_it_along_in_order() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.token(1, "In one voice we say this. ", false);
    rig.say_with(Say { delivery: delivery("other"), ..plain(1, "In another voice we say that.") });
    rig.run_to(500);
    rig.handle(failed(Some(context(1, 1)), FaultKind::Retryable));
    rig.run_to(9_000);
    assert_eq!(rig.over(1).unwrap().1.text, "In one voice we say this. In another voice we say that.");
    let contexts: Vec<u32> = rig.spoken().into_iter().map(|(id, _)| id.serial).collect();
    assert!(contexts.is_sorted(), "{contexts:?}");
    assert!(rig.commands.iter().any(|(_, c)| *c == TtsCommand::Cancel { voice: 0, context: context(1, 2) }));
}

#[test]
fn a_turn_behind_the_first_fails_in_its_own_place() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.say(1, LINE);
    rig.run_to(500);
    rig.mood.refuse = Some(FaultKind::Fatal);
    rig.say(2, "Nobody can say this.");
    rig.run_to(1_000);
    assert!(rig.failed(2) && !rig.failed(1));
    rig.run_to(9_000);
    assert_eq!(rig.over(1).unwrap().1.text, LINE);
    assert_eq!(rig.over(2).unwrap().1.text, "", "the apology is not the agent's text");
    let last_of_first = rig.heard.iter().rfind(|(_, byte)| *byte == 1).unwrap().0;
    let apology = rig.heard.iter().find(|(_, byte)| *byte == 200).unwrap().0;
    assert!(apology > last_of_first);
}

#[test]
fn what_a_failed_turn_was_to_say_was_not_heard() {
    let mut rig = Rig::start(settings());
    rig.mood.stall_after = Some(8);
    rig.run_to(100);
    rig.say(1, LINE);
    rig.run_to(1_500);
    rig.mood = Mood { mute: true, ..Mood::default() };
    rig.run_to(12_000);
    assert!(rig.failed(1));
    // 8 chunks of 90 ms at 60 ms a character.
    assert_eq!(rig.over(1).unwrap().1.text.trim_end(), "The quick");
}

#[test]
fn an_idle_context_that_was_spoken_ends_without_a_word_to_its_vendor() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.token(1, "Let me look that up. ", false);
    rig.token(1, "I", false);
    rig.run_to(5_000);
    rig.token(1, " have found it.", true);
    let finished = |rig: &Rig, serial| {
        let is_it = |c: &TtsCommand| matches!(c, TtsCommand::Finish { on } if on.context == context(1, serial));
        rig.commands.iter().any(|(_, c)| is_it(c))
    };
    assert!(!finished(&rig, 1) && finished(&rig, 2));
    // Even if the vendor complains, and does not say of what, the new context is not given up for it.
    rig.handle(failed(None, FaultKind::Fatal));
    rig.run_to(9_000);
    assert!(!rig.failed(1));
    assert_eq!(rig.over(1).unwrap().1.text, "Let me look that up. I have found it.");
}

#[test]
fn a_vendor_may_wait_as_long_as_it_was_allowed_to() {
    let mut rig = Rig::start(managed());
    rig.run_to(100);
    rig.token(1, "Hello", false);
    rig.run_to(3_050);
    let audio = Bytes::from(vec![1_u8; 300 * 8]);
    rig.handle(Event::Tts(TtsEvent::Audio { context: context(1, 1), audio }));
    rig.run_to(20_000);
    let stats = rig.call.stats();
    assert_eq!((stats.retries, stats.speech_failures, rig.heard_ms(1)), (0, 0, 300));
    assert_eq!(rig.commands.len(), 2, "{:?}", rig.commands);
}

#[test]
fn an_end_that_was_not_asked_for_loses_no_text() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.token(1, "The first sentence is this. ", false);
    rig.token(1, "S", false);
    rig.run_to(4_000);
    rig.token(1, "econd, still open. T", false);
    // The vendor had closed the context before the text reached it.
    rig.handle(Event::Tts(TtsEvent::Done { context: context(1, 2) }));
    rig.run_to(4_100);
    rig.handle(Event::Tts(TtsEvent::Audio { context: context(1, 2), audio: Bytes::from(vec![9; 800]) }));
    assert!(rig.call.stats().late_chunks > 0, "audio after the end is late");
    rig.run_to(5_000);
    rig.token(1, "hird.", true);
    rig.run_to(14_000);
    assert_eq!(rig.over(1).unwrap().1.text, "The first sentence is this. Second, still open. Third.");
    assert!(!rig.failed(1));
}

#[test]
fn an_end_without_audio_is_tried_again_and_then_given_up() {
    let mut rig = Rig::start(settings());
    rig.mood.mute = true;
    rig.run_to(100);
    rig.say(1, LINE);
    for serial in 1..=4 {
        let mut ms = rig.now.as_micros() / 1_000;
        while !rig.spoken().iter().any(|(id, _)| *id == context(1, serial)) {
            ms += 10;
            rig.run_to(ms);
        }
        rig.handle(Event::Tts(TtsEvent::Done { context: context(1, serial) }));
    }
    rig.run_to(5_000);
    assert!(rig.failed(1));
    assert_eq!(rig.heard_ms(200), 18 * 60);
}

#[test]
fn so_many_turns_may_wait_and_no_more() {
    let mut rig = Rig::start(settings());
    for turn in 1..=70 {
        rig.say(turn, "One.");
    }
    let refused: Vec<u32> = (1..=70).filter(|turn| rig.interrupted(*turn).is_some()).collect();
    assert_eq!(refused, [65, 66, 67, 68, 69, 70]);
    rig.run_to(30_000);
    assert!((1..=64).all(|turn| rig.over(turn).unwrap().1.text == "One."));
    assert!((1..=64).all(|turn| rig.heard_ms(turn) == 240));
}

#[test]
fn a_turn_left_open_keeps_its_place() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.token(1, "First. T", false);
    rig.say(2, "Second.");
    // The vendor ends the idle context, so that nothing of the first turn is there for a while.
    rig.run_to(3_000);
    rig.handle(Event::Tts(TtsEvent::Done { context: context(1, 1) }));
    rig.run_to(6_000);
    assert_eq!(rig.heard_ms(2), 0);
    rig.token(1, "hen this. W", false);
    rig.run_to(34_000);
    assert_eq!(rig.heard_ms(2), 0);
    rig.run_to(40_000);
    assert_eq!(rig.over(1).unwrap().1.text, "First. Then this. W");
    assert_eq!(rig.over(2).unwrap().1.text, "Second.");
    let order: Vec<u8> = rig.heard.iter().map(|(_, byte)| *byte).filter(|byte| *byte != 0xFF).collect();
    assert!(order.is_sorted());
}

#[test]
fn a_turn_whose_agent_is_told_to_wait_does_not_starve() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    let long: String = (0..25).map(|n| format!("This is sentence number {n} of a long talk. ")).collect();
    rig.token(1, &long, false);
    rig.run_to(45_000);
    assert!(rig.reports.iter().any(|(_, r)| matches!(r, AgentReport::Flow { .. })));
    rig.token(1, "The end.", true);
    rig.run_to(90_000);
    assert_eq!(rig.over(1).unwrap().1.text, format!("{long}The end."));
}

#[test]
fn a_fast_voice_does_not_stop_the_text() {
    // Text is reckoned at 65 ms a character and spoken at 60, which adds up in a long context.
    let mut tight = settings();
    tight.limits.unheard_high = Duration::from_secs(3);
    tight.limits.unheard_low = Duration::from_secs(1);
    for untimed in [false, true] {
        let mut rig = Rig::start(tight.clone());
        rig.mood.untimed = untimed;
        rig.run_to(100);
        let long: String = (0..60).map(|n| format!("This is sentence number {n} of a long talk. ")).collect();
        rig.say(1, &long);
        rig.run_to(200_000);
        assert_eq!(rig.over(1).unwrap().1.text, long, "untimed: {untimed}");
        assert_eq!(rig.heard_ms(1), long.len() as u64 * 60);
    }
}

#[test]
fn a_key_pressed_during_an_uninterruptible_turn_is_only_reported() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.say_with(Say { interruptible: Some(Interruptible::None), ..plain(1, LINE) });
    rig.say(2, "Then this.");
    rig.run_to(1_000);
    rig.handle(Event::Carrier(CarrierEvent::Digit('7')));
    assert!(rig.reports.iter().any(|(_, report)| *report == AgentReport::Digit('7')));
    rig.run_to(9_000);
    assert!(rig.cleared.is_empty() && rig.over(1).is_some() && rig.over(2).is_some());
    assert_eq!(rig.call.stats().barge_ins, 0);
}

#[test]
fn clearing_when_nothing_is_live_clears_only_what_the_carrier_may_hold() {
    for (marks, cleared) in [(Marks::Honest, 0), (Marks::Never, 1)] {
        let mut rig = Rig::start(settings());
        rig.handle(Event::Agent(AgentEvent::Clear));
        rig.marks = marks;
        // The first turn teaches that marks do not come.
        rig.say(1, "One.");
        rig.run_to(5_000);
        rig.say(2, "Two.");
        let mut ms = 5_000;
        while rig.over(2).is_none() {
            ms += 10;
            rig.run_to(ms);
        }
        rig.run_to(ms + 500);
        rig.handle(Event::Agent(AgentEvent::Clear));
        assert_eq!(rig.cleared.len(), cleared, "{marks:?}");
        rig.run_to(ms + 3_000);
        rig.handle(Event::Agent(AgentEvent::Clear));
        assert_eq!(rig.cleared.len(), cleared, "{marks:?}");
    }
}

#[test]
fn a_stream_that_only_listens_refuses_turns() {
    let mut call = Call::new(settings());
    call.handle(CallTime::ZERO, started(None));
    for turn in 1..=1_000 {
        call.handle(CallTime::from_millis(u64::from(turn)), Event::Agent(AgentEvent::Say(plain(turn, "Hello."))));
        call.handle(CallTime::from_millis(u64::from(turn)), Event::Agent(AgentEvent::Say(plain(turn, "Again."))));
    }
    let actions: Vec<Action> = std::iter::from_fn(|| call.poll_action()).collect();
    let refused = actions
        .iter()
        .filter(|action| matches!(action, Action::Agent(AgentReport::Interrupted { cause: Cause::Request, .. })));
    assert_eq!((refused.count(), actions.len()), (1_000, 1_001));
    assert_eq!(call.poll_timeout(), None);
    assert!(call.over.turns.len() <= OVER_MAX, "what is over is not remembered without end");
}

#[test]
fn a_second_start_and_an_impossible_one_are_garbage() {
    let mut rig = Rig::new(settings());
    rig.handle(started(Some(MediaFormat { rate: 0, ..MediaFormat::TELEPHONE })));
    assert_eq!((rig.call.stats().garbage, rig.reports.len()), (1, 0));
    rig.begin();
    rig.say(1, "One.");
    rig.run_to(200);
    rig.begin();
    assert_eq!(rig.call.stats().garbage, 2);
    rig.run_to(2_000);
    assert_eq!(rig.over(1).unwrap().1.text, "One.");
    let starts = rig.reports.iter().filter(|(_, report)| *report == AgentReport::Started).count();
    assert_eq!(starts, 1);
}

#[test]
fn an_hour_of_pauses_changes_nothing() {
    let mut rig = Rig::start(settings());
    rig.inbound = false;
    for turn in 1..=12 {
        rig.run_to(u64::from(turn) * 300_000);
        if turn % 2 == 0 {
            rig.lose_link(FaultKind::Idle);
        }
        rig.say(turn, "Still here.");
        rig.run_to(u64::from(turn) * 300_000 + 5_000);
        assert_eq!(rig.over(turn).unwrap().1.text, "Still here.");
        assert_eq!(rig.heard_ms(turn as u8), 11 * 60);
    }
    let stats = rig.call.stats();
    assert_eq!((stats.retries, stats.underruns, stats.slips, stats.marks_lapsed), (0, 0, 0, 0));
}

#[test]
fn a_turn_is_never_begun_twice() {
    let mut rig = Rig::start(settings());
    rig.inbound = false;
    for turn in 1..=300 {
        rig.say(turn, "-");
    }
    let started = |rig: &Rig, turn| {
        let is_it = |report: &AgentReport| *report == AgentReport::TurnStarted { turn: TurnId(turn) };
        rig.reports.iter().filter(|(_, report)| is_it(report)).count()
    };
    rig.say(3, "Late text for a turn that ended long ago.");
    rig.run_to(3_000);
    assert_eq!((started(&rig, 3), started(&rig, 300), rig.spoken().len()), (1, 1, 0));
}

#[test]
fn no_frame_leaves_after_the_carrier_said_that_the_stream_is_over() {
    let mut rig = Rig::start(settings());
    rig.say(1, LINE);
    rig.run_to(1_000);
    // We wake up late, with frames due, to a stream that has ended.
    let sent = rig.sent_at.len();
    rig.now = rig.now + Duration::from_millis(90);
    rig.handle(Event::Carrier(CarrierEvent::Stopped));
    assert_eq!(rig.sent_at.len(), sent);
    assert!(rig.ended && rig.call.stats().marks_flushed > 0);
}

/// All that a call does at a moment with an event.
fn taken(call: &mut Call, at_ms: u64, event: Event) -> Vec<Action> {
    call.handle(CallTime::from_millis(at_ms), event);
    std::iter::from_fn(|| call.poll_action()).collect()
}

fn is_end(action: &Action) -> bool {
    matches!(action, Action::End(_))
}

#[test]
fn an_event_that_comes_when_a_deadline_has_ended_the_call_changes_nothing() {
    for event in [
        Event::Carrier(CarrierEvent::Digit('1')),
        Event::Carrier(CarrierEvent::Stopped),
        Event::Agent(AgentEvent::End { handoff: Some("{}".to_owned()) }),
        Event::Speech(SpeechEvent::Started),
        Event::Drain,
    ] {
        let mut settings = settings();
        // Silence that nobody is asked about and nobody says goodbye after.
        settings.conversation.lifetime.idle = Some(Duration::from_secs(1));
        let mut call = Call::new(settings);
        taken(&mut call, 0, started(Some(MediaFormat::TELEPHONE)));
        taken(&mut call, 10, Event::Wake);
        let actions = taken(&mut call, 5_000, event.clone());
        assert!(actions.last().is_some_and(is_end), "{event:?} {actions:?}");
        assert_eq!(actions.iter().filter(|action| is_end(action)).count(), 1, "{event:?}");
        assert!(call.is_over());
    }
}

#[test]
fn a_call_whose_time_is_up_while_it_says_that_it_cannot_speak_says_nothing_more() {
    let mut settings = settings();
    settings.on_failure = OnFailure::Close;
    settings.conversation.lifetime.longest = Some(Duration::from_millis(500));
    settings.conversation.lifetime.goodbye = "Goodbye.".to_owned();
    let mut call = Call::new(settings);
    taken(&mut call, 0, started(Some(MediaFormat::TELEPHONE)));
    taken(&mut call, 10, Event::Agent(AgentEvent::Say(plain(1, LINE))));
    let fault = Fault { kind: FaultKind::Fatal, reason: "test".to_owned() };
    taken(&mut call, 20, Event::Tts(TtsEvent::Down { voice: 0, fault }));
    let actions = taken(&mut call, 500, Event::Wake);
    assert!(actions.last().is_some_and(is_end), "{actions:?}");
    let is_goodbye = |action: &Action| matches!(action, Action::Agent(AgentReport::Announced { .. }));
    assert!(!actions.iter().any(is_goodbye), "{actions:?}");
}

#[test]
fn audio_of_a_turn_that_the_end_drops_is_not_sent_behind_it() {
    let mut settings = settings();
    settings.on_failure = OnFailure::Close;
    let mut call = Call::new(settings);
    taken(&mut call, 0, started(Some(MediaFormat::TELEPHONE)));
    taken(&mut call, 20, Event::Agent(AgentEvent::Say(plain(7, "Hello."))));
    let (clip, interruptible) = (Clip::Recording("https://a.example/b.wav".to_owned()), None);
    let play = Play { turn: TurnId(8), clip, times: 1, interruptible, preemptible: false };
    taken(&mut call, 2_600, Event::Agent(AgentEvent::Play(play)));
    // A second of it is there and waits for the turn before it, which nobody ever speaks.
    let audio = Bytes::from(vec![1; 16_000]);
    taken(&mut call, 2_900, Event::Tts(TtsEvent::Audio { context: context(8, 1), audio }));
    let mut actions = Vec::new();
    while !call.is_over() {
        let (at, _) = call.poll_timeout().unwrap();
        actions = taken(&mut call, at.as_micros() / 1_000, Event::Wake);
    }
    assert!(actions.last().is_some_and(is_end), "{:.400}", format!("{actions:?}"));
}
