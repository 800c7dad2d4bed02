//! Hearing: what a caller says reaches the agent once and whole, whatever becomes of the links.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::rig::settings;
use crate::audio::MediaFormat;
use crate::call::Call;
use crate::call::action::{Action, AgentReport, HearingCommand};
use crate::call::event::{
    AgentEvent, CarrierEvent, Event, Fault, FaultKind, HearingEvent, LinkNumber, Say, SpeechEvent, Start, TurnSign,
    Words,
};
use crate::call::settings::{Hearing, Interruptible, Joins, Settings, TurnEnd};
use crate::ids::{CallSid, CallTime, StreamSid, TurnId};

const FRAME_MS: u64 = 20;

fn listening(turn_end: TurnEnd) -> Settings {
    let mut settings = settings();
    settings.conversation.hearing = Some(Hearing {
        name: "model".into(),
        joins: Joins::Space,
        turn_end,
        eager: true,
        partials: false,
        language: None,
        session: None,
        last_words: Duration::from_millis(1_500),
        keep_alive: Duration::from_secs(4),
    });
    settings
}

/// A word of the caller: the frames in which it is spoken.
#[derive(Clone, Debug)]
struct Spoken {
    word: String,
    from: u64,
    to: u64,
}

/// One link of the model vendor.
#[derive(Debug, Default)]
struct Link {
    up: bool,
    /// Frames that it was given.
    heard: VecDeque<u64>,
    told: usize,
    closed: bool,
}

/// A caller, a call and a vendor that writes down a word some time after its last frame came.
struct World {
    call: Call,
    now: CallTime,
    words: Vec<Spoken>,
    links: BTreeMap<LinkNumber, Link>,
    pending: Vec<(CallTime, u64, LinkNumber, HearingEvent)>,
    count: u64,
    latency: Duration,
    handshake: Duration,
    reports: Vec<(CallTime, AgentReport)>,
    commands: Vec<(CallTime, HearingCommand)>,
    is_up: bool,
    refuses: Option<FaultKind>,
}

impl World {
    fn new(settings: Settings) -> Self {
        let mut world = World {
            call: Call::new(settings),
            now: CallTime::ZERO,
            words: Vec::new(),
            links: BTreeMap::new(),
            pending: Vec::new(),
            count: 0,
            latency: Duration::from_millis(250),
            handshake: Duration::from_millis(120),
            reports: Vec::new(),
            commands: Vec::new(),
            is_up: true,
            refuses: None,
        };
        world.give(Event::Carrier(CarrierEvent::Started(Box::new(Start {
            stream: StreamSid::parse("MZ1").unwrap(),
            call: CallSid::parse("CA1").unwrap(),
            inbound: MediaFormat::TELEPHONE,
            outbound: Some(MediaFormat::TELEPHONE),
            parameters: BTreeMap::new(),
        }))));
        world
    }

    fn give(&mut self, event: Event) {
        self.call.handle(self.now, event);
        while let Some(action) = self.call.poll_action() {
            match action {
                Action::Hearing(command) => self.carry_out(command),
                Action::Agent(report) => self.reports.push((self.now, report)),
                Action::Carrier(_) | Action::Tts(_) | Action::End(_) => {}
            }
        }
        if let Some((at, timer)) = self.call.poll_timeout() {
            assert!(at > self.now, "{timer:?} is due at {at} and it is {}", self.now);
        }
    }

    fn later(&mut self, after: Duration, link: LinkNumber, event: HearingEvent) {
        self.count += 1;
        self.pending.push((self.now + after, self.count, link, event));
        self.pending.sort_by_key(|(at, count, ..)| (*at, *count));
    }

    fn carry_out(&mut self, command: HearingCommand) {
        let number = command.link();
        match &command {
            HearingCommand::Dial { .. } => {
                assert!(self.links.insert(number, Link::default()).is_none(), "link {number} twice");
                match self.refuses {
                    Some(kind) => {
                        let fault = Fault { kind, reason: "refused".to_owned() };
                        self.later(self.handshake, number, HearingEvent::Down(fault));
                    }
                    None => self.later(self.handshake, number, HearingEvent::Up),
                }
            }
            HearingCommand::Audio { audio, .. } => {
                let link = self.links.get_mut(&number).unwrap();
                assert!(link.up && !link.closed, "audio for a link that takes none");
                let frames: Vec<u64> = audio.chunks(160).map(index_of).collect();
                link.heard.extend(frames);
                self.write_down(number);
            }
            HearingCommand::Finalise { .. } => self.later(self.latency, number, HearingEvent::Finalised),
            HearingCommand::Close { .. } => {
                self.links.get_mut(&number).unwrap().closed = true;
                let fault = Fault { kind: FaultKind::Idle, reason: "closed".to_owned() };
                self.later(self.latency, number, HearingEvent::Down(fault));
            }
            HearingCommand::HangUp { .. } => self.links.get_mut(&number).unwrap().up = false,
            HearingCommand::KeepAlive { .. } => {}
        }
        self.commands.push((self.now, command));
    }

    /// Every word whose last frame came is told; one whose beginning did not come is told in part.
    fn write_down(&mut self, number: LinkNumber) {
        let link = self.links.get_mut(&number).unwrap();
        let (Some(first), Some(last)) = (link.heard.front().copied(), link.heard.back().copied()) else { return };
        let heard: Vec<Spoken> =
            self.words.iter().filter(|word| word.to > first && word.to <= last + 1).cloned().collect();
        let news: Vec<String> = heard
            .iter()
            .skip(link.told)
            .map(|spoken| match spoken.from >= first {
                true => spoken.word.clone(),
                false => spoken.word[1..].to_owned(),
            })
            .collect();
        link.told = heard.len();
        for text in news {
            let words = Words { text, is_final: true, ..Words::default() };
            self.later(self.latency, number, HearingEvent::Heard(words));
        }
    }

    /// One frame of the caller, and all that is due until the next.
    fn step(&mut self, frame: u64) {
        let until = self.now + Duration::from_millis(FRAME_MS);
        loop {
            let event = self.pending.first().map(|(at, ..)| *at);
            let timer = self.call.poll_timeout().map(|(at, _)| at);
            let Some(at) = [event, timer].into_iter().flatten().min().filter(|at| *at <= until) else { break };
            self.now = at;
            if event == Some(at) {
                let (_, _, link, event) = self.pending.remove(0);
                match &event {
                    HearingEvent::Up => self.links.get_mut(&link).unwrap().up = true,
                    HearingEvent::Down(_) => self.links.get_mut(&link).unwrap().up = false,
                    _ => {}
                }
                self.give(Event::Hearing { link, event });
            } else {
                self.give(Event::Wake);
            }
        }
        self.now = until;
        if self.is_up {
            self.give(Event::Carrier(CarrierEvent::Media(frame_of(frame))));
        }
    }

    /// The caller says `words`, 300 ms each, and is silent for `pause` after them. The detector hears both.
    fn say(&mut self, words: &[&str], pause: Duration, mut at_frame: impl FnMut(&mut Self, u64)) {
        let start = self.frame();
        for (n, word) in (0_u64..).zip(words) {
            let from = start + n * 15;
            self.words.push(Spoken { word: (*word).to_owned(), from, to: from + 15 });
        }
        let spoken = 15 * words.len() as u64;
        let silence = pause.as_millis() as u64 / FRAME_MS;
        for frame in start..start + spoken + silence {
            if frame == start + 6 && spoken > 0 {
                self.give(Event::Speech(SpeechEvent::Started));
            }
            if frame == start + spoken + 35 && spoken > 0 {
                self.give(Event::Speech(SpeechEvent::Stopped));
            }
            at_frame(self, frame - start);
            self.step(frame);
        }
    }

    fn frame(&self) -> u64 {
        self.now.as_micros() / 1_000 / FRAME_MS
    }

    /// The live links are lost.
    fn cut(&mut self) {
        let live: Vec<LinkNumber> = self.links.iter().filter(|(_, link)| link.up).map(|(link, _)| *link).collect();
        for link in live {
            self.pending.retain(|(_, _, other, _)| *other != link);
            self.links.get_mut(&link).unwrap().up = false;
            let fault = Fault { kind: FaultKind::Retryable, reason: "lost".to_owned() };
            self.give(Event::Hearing { link, event: HearingEvent::Down(fault) });
        }
    }

    fn prompts(&self) -> Vec<String> {
        let prompts = self.reports.iter().filter_map(|(_, report)| match report {
            AgentReport::Prompt { text, last: true, .. } => Some(text.clone()),
            _ => None,
        });
        prompts.collect()
    }

    fn heard(&mut self, text: &str, is_final: bool, turn: Option<TurnSign>) {
        let link = *self.links.keys().last().unwrap();
        let words = Words { text: text.to_owned(), is_final, turn, ..Words::default() };
        self.give(Event::Hearing { link, event: HearingEvent::Heard(words) });
    }
}

/// A frame that is silence to any ear, with its number in the signs of its zeroes.
fn frame_of(index: u64) -> Bytes {
    (0..160).map(|bit| if bit < 64 && index >> bit & 1 == 1 { 0x7F } else { 0xFF }).collect()
}

fn index_of(frame: &[u8]) -> u64 {
    frame.iter().take(64).enumerate().map(|(bit, byte)| u64::from(*byte == 0x7F) << bit).sum()
}

const PAUSE: Duration = Duration::from_millis(2_600);

#[test]
fn what_the_caller_said_is_told_once_when_he_has_finished() {
    let mut world = World::new(listening(TurnEnd::Silence));
    world.say(&["alpha", "bravo", "charlie"], PAUSE, |_, _| ());
    world.say(&["delta"], PAUSE, |_, _| ());
    assert_eq!(world.prompts(), ["alpha bravo charlie", "delta"]);
    let asked = world.commands.iter().filter(|(_, command)| matches!(command, HearingCommand::Finalise { .. }));
    assert_eq!(asked.count(), 2);
    // Every frame was given once, in order, those from before the link was up included.
    let heard: Vec<u64> = world.links[&1].heard.iter().copied().collect();
    assert_eq!(heard, (0..heard.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_pause_that_was_no_end_joins_what_comes_after_it() {
    let mut world = World::new(listening(TurnEnd::Silence));
    // He stops for 700 ms, and goes on before the vendor has answered.
    world.latency = Duration::from_millis(400);
    world.say(&["alpha"], Duration::from_millis(800), |_, _| ());
    world.say(&["bravo"], PAUSE, |_, _| ());
    assert_eq!(world.prompts(), ["alpha bravo"]);
}

#[test]
fn an_answer_is_prepared_in_a_pause_and_thrown_away_if_the_caller_goes_on() {
    let mut world = World::new(listening(TurnEnd::Silence));
    world.say(&["alpha", "bravo"], Duration::ZERO, |_, _| ());
    world.give(Event::Speech(SpeechEvent::Paused));
    (0..20).for_each(|n| world.step(1_000 + n));
    let told = |world: &World| world.reports.iter().map(|(_, report)| report.clone()).collect::<Vec<_>>();
    assert!(told(&world).contains(&AgentReport::Probable { text: "alpha bravo".to_owned() }));
    world.give(Event::Speech(SpeechEvent::Resumed));
    assert!(told(&world).contains(&AgentReport::Resumed));
    world.give(Event::Speech(SpeechEvent::Paused));
    (0..20).for_each(|n| world.step(1_020 + n));
    // Every word is there, so that the end of the silence is the end of the turn.
    let before = world.prompts().len();
    world.give(Event::Speech(SpeechEvent::Stopped));
    assert_eq!((before, world.prompts()), (0, vec!["alpha bravo".to_owned()]));
}

#[test]
fn a_vendors_turn_events_decide_where_they_should() {
    let mut world = World::new(listening(TurnEnd::Vendor));
    (0..20).for_each(|n| world.step(n));
    world.give(Event::Agent(AgentEvent::Say(said(1, None))));
    world.heard("I would", false, Some(TurnSign::Started));
    assert!(world.reports.iter().any(|(_, report)| matches!(report, AgentReport::Interrupted { .. })));
    world.heard("I would like tea", false, Some(TurnSign::Probable));
    world.heard("I would like tea", false, Some(TurnSign::Resumed));
    world.heard("I would like tea and cake.", true, Some(TurnSign::Ended));
    assert_eq!(world.prompts(), ["I would like tea and cake."]);
    let told: Vec<&AgentReport> = world.reports.iter().map(|(_, report)| report).collect();
    let probable = told.iter().position(|report| matches!(report, AgentReport::Probable { .. })).unwrap();
    assert!(told[probable..].contains(&&AgentReport::Resumed));
}

#[test]
fn a_vendor_that_never_ends_a_turn_does_not_keep_the_caller_waiting() {
    let mut world = World::new(listening(TurnEnd::Vendor));
    world.say(&["alpha", "bravo"], Duration::from_secs(4), |_, _| ());
    assert_eq!(world.prompts(), ["alpha bravo"]);
}

#[test]
fn a_vendor_that_does_not_answer_the_last_question_is_not_waited_for_for_ever() {
    let mut world = World::new(listening(TurnEnd::Silence));
    world.say(&["alpha"], Duration::from_millis(100), |_, _| ());
    world.latency = Duration::from_secs(60);
    world.say(&[], Duration::from_secs(1), |_, _| ());
    world.give(Event::Speech(SpeechEvent::Stopped));
    world.say(&[], Duration::from_secs(2), |_, _| ());
    assert_eq!(world.prompts(), ["alpha"]);
}

#[test]
fn a_link_that_is_lost_in_mid_utterance_costs_no_word_and_repeats_none() {
    for lost_at in 0..110 {
        for handshake in [40, 400, 2_000] {
            let mut world = World::new(listening(TurnEnd::Silence));
            world.say(&[], Duration::from_millis(400), |_, _| ());
            world.handshake = Duration::from_millis(handshake);
            let words = ["alpha", "bravo", "charlie", "delta", "echo"];
            world.say(&words, Duration::from_secs(5), |world, frame| {
                if frame == lost_at {
                    world.cut();
                }
            });
            assert_eq!(world.prompts().join(" "), words.join(" "), "lost at {lost_at}, {handshake} ms");
        }
    }
}

#[test]
fn an_old_link_is_replaced_in_silence_and_in_mid_word_if_there_is_none() {
    // Twelve minutes: a caller who talks and pauses, then one who never stops, on sessions of one minute.
    let mut settings = listening(TurnEnd::Silence);
    settings.conversation.hearing.as_mut().unwrap().session = Some(Duration::from_secs(60));
    let mut world = World::new(settings);
    let mut said = Vec::new();
    let mut next = 0..;
    let mut words = |count: usize| -> Vec<String> { next.by_ref().take(count).map(|n: u32| format!("w{n}")).collect() };
    while world.now < CallTime::from_millis(6 * 60_000) {
        let some = words(12);
        world.say(&some.iter().map(String::as_str).collect::<Vec<_>>(), PAUSE, |_, _| ());
        said.extend(some);
    }
    let in_silence = world.links.len();
    let all = words(1_200);
    world.say(&all.iter().map(String::as_str).collect::<Vec<_>>(), PAUSE, |_, _| ());
    said.extend(all);
    assert!(in_silence >= 6 && world.links.len() >= in_silence + 6, "{in_silence}, {}", world.links.len());
    assert_eq!(world.prompts().join(" "), said.join(" "));
    let oldest = world.links.values().map(|link| link.heard.len()).max().unwrap();
    assert!(oldest <= 60 * 50, "a session of {oldest} frames");
    // Between a link and its successor no frame is lost, and at most a second is heard twice.
    let spans: Vec<(u64, u64)> =
        world.links.values().map(|link| (link.heard[0], *link.heard.back().unwrap())).collect();
    assert!(spans.windows(2).all(|pair| (pair[0].1 - 50..=pair[0].1 + 1).contains(&pair[1].0)), "{spans:?}");
}

fn said(turn: u32, interruptible: Option<Interruptible>) -> Say {
    Say {
        turn: TurnId(turn),
        text: "A long sentence that the caller may or may not interrupt.".to_owned(),
        last: true,
        flush: false,
        interruptible,
        delivery: None,
        preemptible: None,
    }
}

#[test]
fn input_that_may_not_interrupt_is_reported_only_where_it_is_wanted() {
    use Interruptible::{Any, Dtmf, None as Nothing, Speech};
    for (wanted, speech, digit) in [(Nothing, 0, 0), (Dtmf, 0, 1), (Speech, 1, 0), (Any, 1, 1)] {
        let mut settings = listening(TurnEnd::Silence);
        settings.conversation.reported_during_speech = wanted;
        let mut world = World::new(settings);
        world.give(Event::Agent(AgentEvent::Say(said(1, Some(Nothing)))));
        world.say(&["alpha", "bravo"], PAUSE, |_, _| ());
        world.give(Event::Carrier(CarrierEvent::Digit('5')));
        let digits = world.reports.iter().filter(|(_, report)| matches!(report, AgentReport::Digit(_))).count();
        assert_eq!((world.prompts().len(), digits), (speech, digit), "{wanted:?}");
        let cut = world.reports.iter().any(|(_, report)| matches!(report, AgentReport::Interrupted { .. }));
        assert!(!cut, "{wanted:?}");
    }
}

#[test]
fn a_caller_whom_nobody_can_hear_is_told_so() {
    let mut world = World::new(listening(TurnEnd::Silence));
    world.say(&[], Duration::from_secs(1), |_, _| ());
    world.refuses = Some(FaultKind::Fatal);
    world.cut();
    world.say(&[], Duration::from_secs(6), |_, _| ());
    world.say(&["alpha"], PAUSE, |_, _| ());
    let failures = world.reports.iter().filter(|(_, report)| matches!(report, AgentReport::HearingFailed { .. }));
    assert_eq!(failures.count(), 1);
    assert!(world.reports.iter().any(|(_, report)| matches!(report, AgentReport::Announced { .. })));
}

#[test]
fn a_link_without_audio_is_kept_alive() {
    let mut world = World::new(listening(TurnEnd::Silence));
    world.say(&[], Duration::from_secs(1), |_, _| ());
    world.is_up = false;
    world.say(&[], Duration::from_secs(13), |_, _| ());
    let alive = world.commands.iter().filter(|(_, command)| matches!(command, HearingCommand::KeepAlive { .. }));
    assert_eq!(alive.count(), 3);
}

#[test]
fn another_language_takes_another_link() {
    let mut world = World::new(listening(TurnEnd::Silence));
    world.say(&["alpha"], PAUSE, |_, _| ());
    world.give(Event::Agent(AgentEvent::Language { speech: None, hearing: Some("sv-SE".to_owned()) }));
    world.say(&["bravo"], PAUSE, |_, _| ());
    assert_eq!(world.prompts(), ["alpha", "bravo"]);
    let dialled: Vec<Option<String>> = world
        .commands
        .iter()
        .filter_map(|(_, command)| match command {
            HearingCommand::Dial { language, .. } => Some(language.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(dialled, [None, Some("sv-SE".to_owned())]);
}
