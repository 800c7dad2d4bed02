//! A chain of voices: what one cannot speak the next one does, from the first word that is missing.

use std::time::Duration;

use super::rig::{Rig, settings};
use super::voice::Mood;
use crate::call::action::{AgentReport, TtsCommand};
use crate::call::event::FaultKind;
use crate::call::settings::{Cancel, Settings, Voice};
use crate::ids::TurnId;

const LINE: &str = "The quick brown fox jumps over the lazy dog. And then it sleeps for a very long time.";

/// `cloud`, then `other`, and `local` for the fallback line.
fn chain() -> Settings {
    let mut settings = settings();
    settings.voices.insert(1, Voice { name: "other".into(), ..settings.voices[0].clone() });
    settings.chain = 2;
    settings
}

fn first(change: impl FnOnce(&mut Voice)) -> Settings {
    let mut settings = settings();
    change(&mut settings.voices[0]);
    settings
}

fn failovers(rig: &Rig) -> Vec<(u64, TurnId)> {
    let failed_over = rig.reports.iter().filter_map(|(at, report)| match report {
        AgentReport::FailedOver { turn, from, to, .. } => {
            assert_eq!((from.as_ref(), to.as_ref()), ("cloud", "other"));
            Some((at.as_micros() / 1_000, *turn))
        }
        _ => None,
    });
    failed_over.collect()
}

/// Which voices spoke, one byte for each run of the same.
fn runs(rig: &Rig) -> Vec<u8> {
    let mut runs: Vec<u8> = rig.heard.iter().map(|(_, byte)| *byte).filter(|byte| *byte != 0xFF).collect();
    runs.dedup();
    runs
}

fn dials(rig: &Rig, of: usize) -> Vec<u64> {
    let dials = rig.commands.iter().filter(|(_, command)| *command == TtsCommand::Dial { voice: of });
    dials.map(|(at, _)| at.as_micros() / 1_000).collect()
}

#[test]
fn a_link_lost_in_mid_sentence_costs_no_word_and_repeats_none() {
    for lost_at in (150..900).step_by(50) {
        let mut rig = Rig::start(chain());
        rig.say(1, LINE);
        rig.run_to(lost_at);
        rig.lose_link(FaultKind::Retryable);
        rig.run_to(12_000);
        assert_eq!(rig.over(1).unwrap().1.text, LINE, "{lost_at}");
        let said: Vec<String> = rig.spoken().into_iter().map(|(_, text)| text).collect();
        // What the first voice was given and had no audio for is what the second one is given, and no more.
        let again = said.last().unwrap();
        assert!(LINE.ends_with(again.as_str()), "{lost_at}: {said:?}");
        let heard = rig.heard.iter().filter(|(_, byte)| *byte == 1 || *byte == 101).count() as u64 / 8;
        let whole = LINE.chars().count() as u64 * super::voice::CHAR_MS;
        assert!(heard.abs_diff(whole) < 150, "{lost_at}: {heard} ms of {whole}");
        assert_eq!(failovers(&rig).len(), 1, "{lost_at}");
        assert!(!rig.failed(1));
    }
}

#[test]
fn a_voice_that_is_mute_refuses_or_stalls_is_left_within_the_stated_time() {
    let moods = [
        (Mood { mute: true, ..Mood::default() }, 2_200),
        (Mood { refuse: Some(FaultKind::Busy), ..Mood::default() }, 300),
        (Mood { refuse: Some(FaultKind::Fatal), ..Mood::default() }, 300),
        (Mood { no_link: Some(FaultKind::Busy), ..Mood::default() }, 300),
        (Mood { no_link: Some(FaultKind::Fatal), ..Mood::default() }, 300),
        (Mood { stall_after: Some(3), ..Mood::default() }, 2_700),
    ];
    for (mood, by) in moods {
        let mut rig = Rig::new(chain());
        let shown = format!("{mood:?}");
        rig.mood = mood;
        rig.begin();
        rig.say(1, LINE);
        rig.run_to(12_000);
        assert_eq!(rig.over(1).map(|(_, heard)| heard.text).as_deref(), Some(LINE), "{shown}");
        let from = rig.heard.iter().find(|(_, byte)| *byte == 101).unwrap().0.as_micros() / 1_000;
        assert!(from <= by, "{shown}: {from}");
        assert!(!rig.failed(1) && !runs(&rig).contains(&200), "{shown}");
    }
}

#[test]
fn a_voice_comes_back_with_the_first_turn_after_its_rest() {
    let mut rig = Rig::new(chain());
    rig.mood = Mood { refuse: Some(FaultKind::Busy), ..Mood::default() };
    rig.begin();
    rig.say(1, "One.");
    rig.run_to(1_000);
    rig.mood = Mood::default();
    rig.say(2, "Two, and much too soon.");
    rig.run_to(4_000);
    rig.say(3, "Three, after the rest.");
    rig.run_to(8_000);
    assert_eq!(runs(&rig), [101, 102, 3]);
    assert_eq!(failovers(&rig).len(), 1);
}

#[test]
fn a_voice_that_cannot_be_reached_is_probed_alone_and_nobody_waits_for_it() {
    let mut rig = Rig::new(chain());
    rig.mood = Mood { no_link: Some(FaultKind::Retryable), ..Mood::default() };
    rig.begin();
    let mut ms = 0;
    for turn in 1..=10 {
        rig.say(turn, "Hello.");
        let asked = ms;
        ms += 6_000;
        rig.run_to(ms);
        let from = rig.heard.iter().find(|(_, byte)| *byte == 100 + turn as u8).unwrap().0.as_micros() / 1_000;
        assert!(from - asked < 350, "turn {turn}: {} ms", from - asked);
    }
    let probes = dials(&rig, 0);
    assert!((4..=9).contains(&probes.len()), "{probes:?}");
    rig.mood = Mood::default();
    rig.run_to(ms + 25_000);
    rig.say(11, "Back again.");
    rig.run_to(ms + 28_000);
    assert_eq!(runs(&rig).last(), Some(&11));
}

#[test]
fn when_all_fail_the_caller_hears_the_fallback_line() {
    let mut settings = chain();
    settings.voices[1].name = "deaf".into();
    let mut rig = Rig::new(settings);
    rig.mood = Mood { mute: true, mute_others: true, ..Mood::default() };
    rig.begin();
    rig.say(1, LINE);
    rig.run_to(12_000);
    assert!(rig.failed(1));
    assert!(rig.heard.iter().any(|(at, byte)| *byte == 200 && at.as_micros() < 6_500_000));
}

#[test]
fn the_local_voice_as_the_last_of_the_chain_says_the_text_itself() {
    let mut settings = chain();
    settings.voices.pop();
    let mut rig = Rig::new(settings);
    rig.mood = Mood { no_link: Some(FaultKind::Fatal), ..Mood::default() };
    rig.begin();
    rig.say(1, LINE);
    rig.run_to(9_000);
    assert_eq!(rig.over(1).unwrap().1.text, LINE);
    assert_eq!((runs(&rig), rig.failed(1)), (vec![200], false));
}

#[test]
fn a_link_with_one_place_speaks_one_context_at_a_time_and_the_next_turn_in_time() {
    let one = |voice: &mut Voice| (voice.contexts, voice.cancel) = (Some(1), Cancel::Awaited);
    let mut rig = Rig::new(first(one));
    rig.mood = Mood { untimed: true, ..Mood::default() };
    rig.begin();
    for turn in 1..=3 {
        rig.say(turn, LINE);
    }
    rig.run_to(30_000);
    assert_eq!(runs(&rig), [1, 2, 3]);
    let mut open = 0;
    for (_, command) in &rig.commands {
        if let TtsCommand::Speak { on, .. } = command {
            assert!(on.context.turn.0 >= open, "{command:?}");
            open = on.context.turn.0;
        }
    }
    assert!(rig.longest_gap_ms(300, 15_000) < 100, "{}", rig.longest_gap_ms(300, 15_000));
}

#[test]
fn after_a_barge_in_the_place_is_free_when_the_vendor_says_so_or_the_link_is_made_anew() {
    for (lets_go_after, renewed) in [(Some(120), false), (None, true)] {
        let mut rig = Rig::new(first(|voice| (voice.contexts, voice.cancel) = (Some(1), Cancel::Awaited)));
        rig.mood = Mood { lets_go_after, ..Mood::default() };
        rig.begin();
        rig.say(1, LINE);
        rig.run_to(1_000);
        rig.speech();
        rig.say(2, "What was it?");
        rig.run_to(6_000);
        let spoken =
            rig.commands.iter().find(|(_, c)| matches!(c, TtsCommand::Speak { on, .. } if on.context.turn.0 == 2));
        let at = spoken.unwrap().0.as_micros() / 1_000;
        assert_eq!(at, if renewed { 2_030 } else { 1_120 });
        assert_eq!(dials(&rig, 0).len(), 1 + usize::from(renewed));
        assert_eq!(rig.over(2).unwrap().1.text, "What was it?");
    }
}

#[test]
fn a_vendor_that_still_sends_what_was_cancelled_is_not_hung_up_before_its_end() {
    let mut rig = Rig::new(first(|voice| voice.cancel = Cancel::Awaited));
    rig.mood = Mood { deaf_to_cancel: true, ..Mood::default() };
    rig.begin();
    rig.say(1, &LINE.repeat(3));
    rig.run_to(1_000);
    rig.speech();
    rig.say(2, "Now this.");
    rig.run_to(20_000);
    assert!(rig.call.stats().late_chunks > 20, "{:?}", rig.call.stats());
    assert_eq!(dials(&rig, 0), [0]);
    assert_eq!(rig.over(2).unwrap().1.text, "Now this.");
}

#[test]
fn a_vendor_without_a_word_for_it_is_hung_up_at_a_barge_in() {
    let mut rig = Rig::new(first(|voice| voice.cancel = Cancel::Reconnect));
    rig.begin();
    rig.say(1, LINE);
    rig.say(2, LINE);
    rig.run_to(600);
    rig.speech();
    rig.say(3, "Now this.");
    rig.run_to(5_000);
    assert_eq!(dials(&rig, 0), [0, 600]);
    assert!(!rig.commands.iter().any(|(_, command)| matches!(command, TtsCommand::Cancel { .. })));
    assert_eq!((rig.over(3).unwrap().1.text.as_str(), rig.failed(3)), ("Now this.", false));
}

#[test]
fn a_place_in_the_account_is_asked_for_and_given_back() {
    let mut rig = Rig::new(first(|voice| voice.shared_out = true));
    rig.mood = Mood { grants_after: 200, ..Mood::default() };
    rig.begin();
    rig.say(1, LINE);
    rig.say(2, LINE);
    rig.run_to(100);
    let asked: Vec<_> = rig.commands.iter().filter(|(_, c)| matches!(c, TtsCommand::Reserve { .. })).collect();
    let of = |turn: u32, ahead| (TurnId(turn), ahead);
    let shown = asked.iter().map(|(_, command)| match command {
        TtsCommand::Reserve { context, ahead, .. } => of(context.turn.0, *ahead),
        _ => unreachable!(),
    });
    assert_eq!(shown.collect::<Vec<_>>(), [of(1, false), of(2, true)]);
    assert!(rig.spoken().is_empty());
    rig.run_to(14_000);
    assert_eq!(rig.over(2).unwrap().1.text, LINE);
    // A turn that is cut off before it has its place asks no more.
    rig.mood.grants_after = 60_000;
    rig.say(3, LINE);
    rig.run_to(14_500);
    rig.speech();
    rig.run_to(15_000);
    assert!(matches!(rig.commands.last(), Some((_, TtsCommand::Cancel { context, .. })) if context.turn == TurnId(3)));
}

#[test]
fn a_place_that_does_not_come_is_waited_for_in_silence_no_longer_than_a_second() {
    let mut settings = chain();
    settings.voices[0].shared_out = true;
    let mut rig = Rig::new(settings);
    rig.mood = Mood { grants_after: 60_000, ..Mood::default() };
    rig.begin();
    rig.say(1, LINE);
    rig.run_to(9_000);
    assert_eq!(failovers(&rig), [(1_000, TurnId(1))]);
    assert_eq!(rig.over(1).unwrap().1.text, LINE);
}

#[test]
fn an_idle_context_gives_its_place_back_and_an_old_one_takes_no_text() {
    let mut rig = Rig::new(first(|voice| voice.shared_out = true));
    rig.begin();
    rig.token(1, "One sentence. And ", false);
    rig.run_to(4_000);
    // All of it was spoken, so that there is no end to wait for.
    let given_back = rig.commands.iter().filter(|(_, command)| matches!(command, TtsCommand::Cancel { .. }));
    assert_eq!(given_back.count(), 1);
    let mut rig =
        Rig::new(first(|voice| (voice.context_age, voice.context_idle) = (Some(Duration::from_secs(10)), None)));
    rig.begin();
    rig.token(1, "One sentence. Still ", false);
    rig.run_to(9_000);
    rig.token(1, "young. Too ", false);
    rig.run_to(12_000);
    rig.token(1, "old.", true);
    rig.run_to(15_000);
    let contexts: Vec<u32> = rig.spoken().iter().map(|(context, _)| context.serial).collect();
    assert_eq!(contexts, [1, 1, 2]);
    assert_eq!(rig.over(1).unwrap().1.text, "One sentence. Still young. Too old.");
}
