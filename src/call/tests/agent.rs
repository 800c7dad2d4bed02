//! What agents may want beside speech: clips, turns that give way, languages, an end; and what happens without them.

use std::time::Duration;

use super::rig::{Rig, plain, settings};
use super::voice::Mood;
use crate::call::action::{AgentReport, Cause, EndReason, TtsCommand};
use crate::call::event::{AgentEvent, CarrierEvent, Clip, Event, Fault, FaultKind, Play, Say};
use crate::call::settings::{Interruptible, Lifetime, OnAgentLost, Settings};
use crate::ids::TurnId;

fn give(rig: &mut Rig, event: AgentEvent) {
    rig.handle(Event::Agent(event));
}

fn play(turn: u32, times: u32) -> Play {
    Play {
        turn: TurnId(turn),
        clip: Clip::Recording("https://example.com/hold.wav".to_owned()),
        times,
        interruptible: None,
        preemptible: false,
    }
}

fn preemptible(turn: u32, text: &str) -> Say {
    Say { preemptible: Some(true), ..plain(turn, text) }
}

fn cause_of(rig: &Rig, turn: u32) -> Option<Cause> {
    rig.reports.iter().find_map(|(_, report)| match report {
        AgentReport::Interrupted { turn: id, cause, .. } if *id == TurnId(turn) => Some(*cause),
        _ => None,
    })
}

fn end_of(rig: &Rig) -> Option<(u64, EndReason)> {
    rig.reports.iter().find_map(|(at, report)| match report {
        AgentReport::Ended(reason) => Some((at.as_micros() / 1_000, *reason)),
        _ => None,
    })
}

fn announced(rig: &Rig) -> Vec<(u64, String)> {
    let lines = rig.reports.iter().filter_map(|(at, report)| match report {
        AgentReport::Announced { text, .. } => Some((at.as_micros() / 1_000, text.clone())),
        _ => None,
    });
    lines.collect()
}

#[test]
fn a_clip_is_played_between_what_is_said_before_and_after_it() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.say(1, "Listen.");
    give(&mut rig, AgentEvent::Play(play(2, 3)));
    rig.say(3, "That was it.");
    rig.run_to(20_000);
    let (over, heard) = rig.over(2).unwrap();
    assert_eq!((heard.played, heard.text.as_str()), (Duration::from_secs(9), ""));
    assert!(rig.over(1).unwrap().0 < over && over < rig.over(3).unwrap().0);
    assert_eq!(rig.call.stats().underruns, 0);
    // It was asked for in pieces, the last one beyond its end.
    let asked: Vec<(u64, u64)> = rig
        .commands
        .iter()
        .filter_map(|(_, command)| match command {
            TtsCommand::Play { from, length, times: 3, .. } => Some((from.as_secs(), length.as_secs())),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [(0, 5), (5, 5)]);
}

#[test]
fn a_clip_is_cut_off_like_speech_and_tells_how_much_was_heard() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    give(&mut rig, AgentEvent::Play(play(1, 100)));
    rig.run_to(1_000);
    rig.speech();
    let (at, heard) = rig.interrupted(1).unwrap();
    assert_eq!((rig.cleared.len(), at), (1, rig.now));
    assert!((700..880).contains(&heard.played.as_millis()), "{heard:?}");
    assert!(matches!(rig.commands.last(), Some((_, TtsCommand::Cancel { .. }))));
    let sent = rig.sent_at.len();
    rig.run_to(5_000);
    assert_eq!(rig.sent_at.len(), sent);
}

#[test]
fn a_clip_that_does_not_come_is_given_up_without_an_apology_and_the_next_turn_is_heard() {
    let mut rig = Rig::start(settings());
    rig.mood = Mood { mute: true, ..Mood::default() };
    rig.run_to(100);
    give(&mut rig, AgentEvent::Play(play(1, 1)));
    rig.run_to(9_000);
    rig.mood = Mood::default();
    rig.say(2, "Never mind.");
    rig.run_to(14_000);
    assert!(rig.failed(1) && rig.over(1).is_some());
    assert_eq!(rig.over(2).unwrap().1.text, "Never mind.");
    assert_eq!(rig.call.stats().speech_failures, 0, "nobody said a fallback line");
    assert!(!rig.spoken().iter().any(|(_, text)| text.contains("Sorry")));
}

#[test]
fn a_turn_that_gives_way_is_cut_off_by_the_next_one_and_others_are_waited_for() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    give(&mut rig, AgentEvent::Say(preemptible(1, "Please hold while I look that up for you, it takes a while.")));
    rig.run_to(900);
    rig.say(2, "Here it is, and this is what it says.");
    let (at, heard) = rig.interrupted(1).unwrap();
    assert_eq!((at, rig.cleared.len(), cause_of(&rig, 1)), (rig.now, 1, Some(Cause::Preempted)));
    assert!(!heard.text.is_empty());
    rig.run_to(1_500);
    rig.say(3, "More.");
    rig.run_to(8_000);
    assert!(rig.over(2).is_some() && rig.over(3).is_some() && rig.cleared.len() == 1);
    assert_eq!(rig.call.stats().barge_ins, 0);
}

#[test]
fn a_turn_that_gives_way_before_its_first_sound_costs_nothing() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.say(1, "This one stays to its very end, whatever comes after it.");
    give(&mut rig, AgentEvent::Say(preemptible(2, "This one is never heard.")));
    rig.run_to(600);
    rig.say(3, "This one is.");
    rig.run_to(8_000);
    assert!(rig.cleared.is_empty() && rig.over(1).is_some() && rig.over(3).is_some());
    assert_eq!((cause_of(&rig, 2), rig.heard_ms(2)), (Some(Cause::Preempted), 0));
}

#[test]
fn an_agent_that_is_done_hands_over_and_the_call_ends_at_once() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.say(1, "This is cut off by the agent's own wish.");
    rig.run_to(500);
    give(&mut rig, AgentEvent::End { handoff: Some("{\"reason\":\"done\"}".to_owned()) });
    assert_eq!(end_of(&rig), Some((500, EndReason::AgentDone)));
    let handed =
        |(_, report): &(_, AgentReport)| matches!(report, AgentReport::HandedOff { data } if data.contains("done"));
    assert!(rig.reports.iter().any(handed));
}

#[test]
fn an_agent_that_is_lost_is_apologised_for_unless_something_else_goes_on() {
    let fault = Fault { kind: FaultKind::Retryable, reason: "gone".to_owned() };
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.say(1, "What was said before is still heard.");
    rig.run_to(400);
    give(&mut rig, AgentEvent::Lost(fault.clone()));
    rig.say(2, "Nobody speaks any more.");
    rig.run_to(10_000);
    assert_eq!(rig.over(1).unwrap().1.text, "What was said before is still heard.");
    assert_eq!(announced(&rig), [(400, "Sorry, one moment.".to_owned())]);
    let (at, reason) = end_of(&rig).unwrap();
    assert!(at > 2_500 && reason == EndReason::AgentLost, "{at}");
    assert!(rig.over(2).is_none());

    let mut settings = settings();
    settings.conversation.on_agent_lost = OnAgentLost::Close;
    let mut rig = Rig::start(settings);
    rig.run_to(100);
    give(&mut rig, AgentEvent::Lost(fault));
    assert_eq!(end_of(&rig), Some((100, EndReason::AgentLost)));
}

#[test]
fn ten_messages_in_a_row_that_make_no_sense_end_the_agents_link() {
    let mut rig = Rig::start(settings());
    let nonsense = |rig: &mut Rig, count: usize| {
        (0..count).for_each(|_| give(rig, AgentEvent::Malformed("what?".to_owned())));
    };
    nonsense(&mut rig, 9);
    rig.say(1, "Sense.");
    nonsense(&mut rig, 9);
    let is_dismissed = |rig: &Rig| rig.reports.iter().any(|(_, report)| *report == AgentReport::Dismissed);
    assert!(!is_dismissed(&rig));
    nonsense(&mut rig, 1);
    assert!(is_dismissed(&rig));
    let refused = rig.reports.iter().filter(|(_, report)| matches!(report, AgentReport::Refused { .. })).count();
    assert_eq!((refused, rig.call.stats().garbage), (19, 19));
}

#[test]
fn what_a_call_begins_with_is_heard_to_its_end_before_the_agent() {
    let mut settings = settings();
    settings.conversation.announcement = "This call is recorded.".to_owned();
    // What the caller does while the agent may not be interrupted is kept from it, but not what is done meanwhile.
    settings.conversation.reported_during_speech = Interruptible::None;
    let mut rig = Rig::start(settings);
    assert_eq!(announced(&rig), [(0, "This call is recorded.".to_owned())]);
    rig.say(1, "Good day.");
    rig.run_to(600);
    rig.speech();
    rig.handle(Event::Carrier(CarrierEvent::Digit('1')));
    assert!(
        rig.reports.iter().any(|(_, report)| *report == AgentReport::Digit('1')),
        "the agent is not told of the key"
    );
    assert!(rig.cleared.is_empty());
    rig.run_to(10_000);
    let opening = TurnId(1 << 31);
    let (over, heard) = rig.over(opening.0).unwrap();
    assert_eq!(heard.text, "This call is recorded.");
    assert!(rig.sent_at.iter().filter(|(_, turn)| *turn == 1).all(|(at, _)| *at + Duration::from_millis(200) > over));
    assert_eq!(rig.over(1).unwrap().1.text, "Good day.");
}

#[test]
fn a_stream_that_only_listens_announces_nothing_and_a_goodbye_still_takes_no_keys() {
    let mut settings = limited(Lifetime {
        longest: Some(Duration::from_secs(5)),
        goodbye: "That is all for today.".to_owned(),
        ..Lifetime::default()
    });
    settings.conversation.reported_during_speech = Interruptible::None;
    let mut rig = Rig::start(settings.clone());
    rig.run_to(5_500);
    rig.handle(Event::Carrier(CarrierEvent::Digit('1')));
    assert!(!rig.reports.iter().any(|(_, report)| matches!(report, AgentReport::Digit(_))));
    settings.conversation.announcement = "This call is recorded.".to_owned();
    let mut call = crate::call::Call::new(settings);
    call.handle(
        crate::ids::CallTime::ZERO,
        Event::Carrier(CarrierEvent::Started(Box::new(crate::call::event::Start {
            stream: crate::ids::StreamSid::parse("MZ1").unwrap(),
            call: crate::ids::CallSid::parse("CA1").unwrap(),
            inbound: crate::audio::MediaFormat::TELEPHONE,
            outbound: None,
            parameters: std::collections::BTreeMap::new(),
        }))),
    );
    while let Some(action) = call.poll_action() {
        assert!(!matches!(action, crate::call::action::Action::Agent(AgentReport::Announced { .. })), "{action:?}");
    }
}

fn limited(lifetime: Lifetime) -> Settings {
    let mut settings = settings();
    settings.conversation.lifetime = lifetime;
    settings
}

#[test]
fn a_silent_line_is_asked_and_in_the_end_hung_up() {
    let mut rig = Rig::start(limited(Lifetime {
        idle: Some(Duration::from_secs(10)),
        idle_lines: vec!["Are you still there?".to_owned(), "Hello?".to_owned()],
        goodbye: "Goodbye.".to_owned(),
        ..Lifetime::default()
    }));
    rig.run_to(5_000);
    rig.say(1, "Good day.");
    rig.run_to(60_000);
    let lines = announced(&rig);
    let texts: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["Are you still there?", "Hello?", "Goodbye."]);
    let heard = rig.over(1).unwrap().0.as_micros() / 1_000;
    assert_eq!(lines[0].0, heard + 10_000);
    assert_eq!(end_of(&rig).unwrap().1, EndReason::Idle);
}

#[test]
fn a_caller_who_does_something_is_not_hung_up_on() {
    let mut rig = Rig::start(limited(Lifetime {
        idle: Some(Duration::from_secs(10)),
        idle_lines: vec!["Are you still there?".to_owned()],
        ..Lifetime::default()
    }));
    for seconds in (15..90).step_by(15) {
        rig.run_to(seconds * 1_000);
        rig.handle(Event::Carrier(CarrierEvent::Digit('1')));
    }
    assert!(announced(&rig).len() >= 4 && !rig.ended);
}

#[test]
fn a_call_that_lasts_too_long_is_said_goodbye_to() {
    let mut rig = Rig::start(limited(Lifetime {
        longest: Some(Duration::from_secs(2)),
        goodbye: "Time is up.".to_owned(),
        ..Lifetime::default()
    }));
    rig.run_to(100);
    give(
        &mut rig,
        AgentEvent::Say(Say { interruptible: Some(Interruptible::None), ..plain(1, &"On and on. ".repeat(40)) }),
    );
    rig.run_to(20_000);
    assert_eq!(announced(&rig), [(2_000, "Time is up.".to_owned())]);
    assert!(rig.interrupted(1).is_some());
    let (at, reason) = end_of(&rig).unwrap();
    assert!((2_500..6_000).contains(&at) && reason == EndReason::TimeUp, "{at}");
}

#[test]
fn another_language_holds_for_the_turns_that_follow() {
    let mut rig = Rig::start(settings());
    rig.run_to(100);
    rig.say(1, "Good day.");
    give(&mut rig, AgentEvent::Language { speech: Some("sv-SE".to_owned()), hearing: None });
    rig.say(2, "God dag.");
    rig.run_to(4_000);
    let languages: Vec<Option<String>> = rig
        .commands
        .iter()
        .filter_map(|(_, command)| match command {
            TtsCommand::Speak { on, .. } => Some(on.delivery.language.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(languages, [None, Some("sv-SE".to_owned())]);
}

#[test]
fn a_node_that_cannot_keep_a_call_says_goodbye_once() {
    let leaving = Lifetime { leaving: "We have to stop.".to_owned(), ..Lifetime::default() };
    let mut rig = Rig::start(limited(leaving));
    rig.run_to(100);
    give(
        &mut rig,
        AgentEvent::Say(Say { interruptible: Some(Interruptible::None), ..plain(1, &"On and on. ".repeat(40)) }),
    );
    rig.run_to(2_000);
    rig.handle(Event::Leave);
    assert!(rig.interrupted(1).is_some());
    rig.run_to(2_500);
    rig.handle(Event::Leave);
    rig.run_to(20_000);
    assert_eq!(announced(&rig), [(2_000, "We have to stop.".to_owned())]);
    let (at, reason) = end_of(&rig).unwrap();
    assert!((2_500..6_000).contains(&at) && reason == EndReason::SentAway, "{at}");
}

#[test]
fn without_a_line_a_call_that_is_sent_away_ends_at_once() {
    let mut rig = Rig::start(limited(Lifetime::default()));
    rig.run_to(2_000);
    rig.handle(Event::Leave);
    assert_eq!(end_of(&rig), Some((2_000, EndReason::SentAway)));
}
