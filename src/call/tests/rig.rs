//! A call, the carrier that plays it, and the voice that speaks it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::voice::{Mood, Speaking};
use crate::audio::{Encoding, MediaFormat, vad};
use crate::call::action::{Action, AgentReport, CarrierCommand, Heard, HearingCommand, TtsCommand};
use crate::call::event::{AgentEvent, CarrierEvent, Delivery, Event, Say, Start};
use crate::call::settings::{
    Buffering, Conversation, Interruptible, Limits, OnFailure, Playout, Settings, Text, Voice,
};
use crate::call::{Call, event};
use crate::ids::{CallSid, CallTime, ContextId, MarkId, StreamSid, TurnId};

pub(super) fn settings() -> Settings {
    let voice = |name: &'static str, buffering| Voice {
        buffering,
        context_idle: Some(Duration::from_millis(800)),
        ..Voice::plain(name, Encoding::Mulaw, Some(8_000))
    };
    Settings {
        voices: vec![voice("cloud", Buffering::Gateway), voice("local", Buffering::Gateway)],
        chain: 1,
        fallback_line: "Sorry, one moment.".to_owned(),
        on_failure: OnFailure::Continue,
        playout: Playout::default(),
        interruptible: Interruptible::Any,
        detector: vad::Settings::default(),
        limits: Limits::default(),
        text: Text::default(),
        seed: 1,
        conversation: Conversation::default(),
        phrases: Vec::new(),
    }
}

pub(super) fn managed() -> Settings {
    let mut settings = settings();
    settings.voices[0].buffering = Buffering::Vendor { max_delay: Duration::from_secs(3) };
    settings
}

/// What a carrier did with its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    Honest,
    Never,
    AtOnce,
}

#[derive(Debug)]
enum Queued {
    Audio(Bytes),
    Mark(MarkId),
}

pub(super) struct Rig {
    pub(super) call: Call,
    pub(super) now: CallTime,
    pub(super) mood: Mood,
    pub(super) marks: Marks,
    pub(super) reports: Vec<(CallTime, AgentReport)>,
    pub(super) commands: Vec<(CallTime, TtsCommand)>,
    pub(super) hearing: Vec<(CallTime, HearingCommand)>,
    pub(super) cleared: Vec<CallTime>,
    pub(super) ended: bool,
    /// Each byte that the caller heard, with the moment. The model voice says its turn's number in every byte.
    pub(super) heard: Vec<(CallTime, u8)>,
    pub(super) sent_at: Vec<(CallTime, u8)>,
    pub(super) inbound: bool,
    carrier: VecDeque<Queued>,
    /// When the sample at the head of the carrier's queue starts to play.
    playing_since: CallTime,
    pub(super) pending: Vec<(CallTime, Event)>,
    pub(super) contexts: Vec<Speaking>,
    next_inbound: CallTime,
    /// True word ends, by context, in milliseconds.
    pub(super) truth: Vec<(ContextId, String, u64)>,
}

impl Rig {
    pub(super) fn new(settings: Settings) -> Self {
        let mut rig = Rig {
            call: Call::new(settings),
            now: CallTime::ZERO,
            mood: Mood::default(),
            marks: Marks::Honest,
            reports: Vec::new(),
            commands: Vec::new(),
            hearing: Vec::new(),
            cleared: Vec::new(),
            ended: false,
            heard: Vec::new(),
            sent_at: Vec::new(),
            inbound: true,
            carrier: VecDeque::new(),
            playing_since: CallTime::ZERO,
            pending: Vec::new(),
            contexts: Vec::new(),
            next_inbound: CallTime::ZERO,
            truth: Vec::new(),
        };
        rig.handle(Event::Wake);
        rig
    }

    pub(super) fn start(settings: Settings) -> Self {
        let mut rig = Rig::new(settings);
        rig.begin();
        rig
    }

    pub(super) fn begin(&mut self) {
        self.handle(Event::Carrier(CarrierEvent::Started(Box::new(Start {
            stream: StreamSid::parse("MZ1").unwrap(),
            call: CallSid::parse("CA1").unwrap(),
            inbound: MediaFormat::TELEPHONE,
            outbound: Some(MediaFormat::TELEPHONE),
            parameters: std::collections::BTreeMap::new(),
        }))));
    }

    pub(super) fn say(&mut self, turn: u32, text: &str) {
        self.token(turn, text, true);
    }

    pub(super) fn token(&mut self, turn: u32, text: &str, last: bool) {
        self.say_with(Say { last, ..plain(turn, text) });
    }

    pub(super) fn say_with(&mut self, say: Say) {
        self.handle(Event::Agent(AgentEvent::Say(say)));
    }

    pub(super) fn speech(&mut self) {
        self.handle(Event::Speech(event::SpeechEvent::Started));
    }

    /// Runs the world until `ms` milliseconds from its start.
    pub(super) fn run_to(&mut self, ms: u64) {
        let until = CallTime::from_millis(ms);
        while !self.ended {
            let wake = self.call.poll_timeout().map(|(at, _)| at);
            let inbound = self.inbound.then_some(self.next_inbound);
            let pending = self.pending.iter().map(|(at, _)| *at).min();
            let next = [wake, inbound, pending, self.next_mark()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = next.max(self.now);
            self.play();
            if let Some(at) = self.pending.iter().position(|(at, _)| *at <= self.now) {
                let (_, event) = self.pending.remove(at);
                self.handle(event);
            } else if inbound.is_some_and(|at| at <= self.now) {
                self.next_inbound = self.now + Duration::from_millis(20);
                self.handle(Event::Carrier(CarrierEvent::Media(Bytes::from_static(&[0xFF; 160]))));
            } else {
                self.handle(Event::Wake);
            }
        }
        self.now = until.max(self.now);
        self.play();
    }

    /// Our own process sleeps until `ms`: the carrier plays and the voice speaks on, and all that waits in the inbox.
    pub(super) fn sleep_until(&mut self, ms: u64) {
        self.now = CallTime::from_millis(ms);
        self.play();
    }

    pub(super) fn handle(&mut self, event: Event) {
        self.call.handle(self.now, event);
        while let Some(action) = self.call.poll_action() {
            self.act(action);
        }
        if let Some((at, timer)) = self.call.poll_timeout() {
            assert!(at > self.now, "{timer:?} is due at {at} and it is {}", self.now);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Carrier(CarrierCommand::Media { frame, .. }) => {
                assert_eq!(frame.len(), 160);
                self.play();
                if self.carrier.iter().all(|queued| matches!(queued, Queued::Mark(_))) {
                    self.playing_since = self.now;
                }
                self.sent_at.push((self.now, frame[0]));
                self.carrier.push_back(Queued::Audio(frame));
            }
            Action::Carrier(CarrierCommand::Mark(mark)) => match self.marks {
                Marks::Honest => self.carrier.push_back(Queued::Mark(mark)),
                Marks::AtOnce => self.pending.push((self.now, Event::Carrier(CarrierEvent::Mark(mark)))),
                Marks::Never => {}
            },
            Action::Carrier(CarrierCommand::Clear { .. }) => {
                self.play();
                self.cleared.push(self.now);
                for queued in std::mem::take(&mut self.carrier) {
                    if let Queued::Mark(mark) = queued {
                        self.pending.push((self.now, Event::Carrier(CarrierEvent::Mark(mark))));
                    }
                }
            }
            Action::Tts(command) => {
                self.commands.push((self.now, command.clone()));
                self.speak(command);
            }
            Action::Hearing(command) => self.hearing.push((self.now, command)),
            Action::Agent(report) => self.reports.push((self.now, report)),
            Action::End(_) => self.ended = true,
        }
    }

    /// The carrier plays until now.
    fn play(&mut self) {
        loop {
            match self.carrier.front() {
                Some(Queued::Mark(mark)) => {
                    self.pending.push((self.now, Event::Carrier(CarrierEvent::Mark(*mark))));
                    self.carrier.pop_front();
                }
                Some(Queued::Audio(frame)) if self.playing_since + Duration::from_millis(20) <= self.now => {
                    self.heard.extend(frame.iter().map(|byte| (self.playing_since, *byte)));
                    self.playing_since = self.playing_since + Duration::from_millis(20);
                    self.carrier.pop_front();
                }
                Some(Queued::Audio(_)) | None => return,
            }
        }
    }

    fn next_mark(&self) -> Option<CallTime> {
        self.carrier.front().map(|_| self.playing_since + Duration::from_millis(20))
    }

    /// Milliseconds of each turn that the caller heard.
    pub(super) fn heard_ms(&self, turn: u8) -> u64 {
        self.heard.iter().filter(|(_, byte)| *byte == turn).count() as u64 / 8
    }

    /// The longest pause between two bytes heard of anything between two moments.
    pub(super) fn longest_gap_ms(&self, from: u64, to: u64) -> u64 {
        let (from, to) = (CallTime::from_millis(from), CallTime::from_millis(to));
        let mut last = from;
        let mut longest = Duration::ZERO;
        let sounds = self.heard.iter().filter(|(at, byte)| *byte != 0xFF && *at >= from && *at < to);
        for at in sounds.map(|(at, _)| *at).chain([to]) {
            longest = longest.max(at.since(last));
            last = at + Duration::from_millis(20);
        }
        longest.as_millis() as u64
    }

    pub(super) fn over(&self, turn: u32) -> Option<(CallTime, Heard)> {
        self.reports.iter().find_map(|(at, report)| match report {
            AgentReport::TurnOver { turn: id, heard } if *id == TurnId(turn) => Some((*at, heard.clone())),
            _ => None,
        })
    }

    pub(super) fn interrupted(&self, turn: u32) -> Option<(CallTime, Heard)> {
        self.reports.iter().find_map(|(at, report)| match report {
            AgentReport::Interrupted { turn: id, heard, .. } if *id == TurnId(turn) => Some((*at, heard.clone())),
            _ => None,
        })
    }

    pub(super) fn failed(&self, turn: u32) -> bool {
        self.reports
            .iter()
            .any(|(_, report)| matches!(report, AgentReport::SpeechFailed { turn: id, .. } if *id == TurnId(turn)))
    }

    pub(super) fn spoken(&self) -> Vec<(ContextId, String)> {
        let texts = self.commands.iter().filter_map(|(_, command)| match command {
            TtsCommand::Speak { on, text } => Some((on.context, text.clone())),
            _ => None,
        });
        texts.collect()
    }
}

pub(super) fn plain(turn: u32, text: &str) -> Say {
    Say {
        turn: TurnId(turn),
        text: text.to_owned(),
        last: true,
        flush: false,
        interruptible: None,
        delivery: None,
        preemptible: None,
    }
}

pub(super) fn delivery(voice: &str) -> Option<Arc<Delivery>> {
    Some(Arc::new(Delivery { voice: Some(voice.to_owned()), ..Delivery::default() }))
}

pub(super) fn context(turn: u32, serial: u32) -> ContextId {
    ContextId { turn: TurnId(turn), serial }
}
