//! Closed worlds: a random call against a carrier, voices and an agent that answer it, with all their faults, from one seed.

pub(crate) mod agent;
pub(crate) mod carrier;
pub(crate) mod voice;

use std::collections::BTreeSet;
use std::time::Duration;

use agent::{Agent, LINES};
use bytes::Bytes;
use carrier::Carrier;
use trunkline::audio::{Encoding, MediaFormat, vad};
use trunkline::call::action::{Action, AgentReport, CarrierCommand};
use trunkline::call::event::{AgentEvent, CarrierEvent, Delivery, Event, SpeechEvent, Start};
use trunkline::call::phrases::Phrase;
use trunkline::call::settings::{
    Buffering, Cancel, Conversation, Interruptible, Limits, OnFailure, Playout, Settings, Text,
};
use trunkline::ids::{CallSid, CallTime, StreamSid, TurnId};
use voice::{Manner, Voice};

use crate::checks::voices::voice_of;
use crate::label::bytes_per_ms;
use crate::trace::{Marks, Recorder, Trace, Truth};

/// Events and wake-ups of one call at most.
const STEPS_MAX: u64 = 200_000;

const FORMATS: [MediaFormat; 4] = [
    MediaFormat::TELEPHONE,
    MediaFormat { encoding: Encoding::PcmS16Le, rate: 16_000, frame_ms: 20 },
    MediaFormat { encoding: Encoding::PcmS16Le, rate: 8_000, frame_ms: 100 },
    MediaFormat { encoding: Encoding::Alaw, rate: 8_000, frame_ms: 20 },
];

/// Numbers that look random and are the same on every machine (splitmix64).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of 0 to `limit - 1`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Two voices that write samples as the carrier does, so that labels survive the way through.
pub(crate) fn settings(buffering: Buffering) -> Settings {
    let voice = |name: &'static str, buffering| trunkline::call::settings::Voice {
        buffering,
        context_idle: Some(Duration::from_millis(800)),
        ..trunkline::call::settings::Voice::plain(name, Encoding::Mulaw, None)
    };
    Settings {
        voices: vec![voice("cloud", buffering), voice("local", Buffering::Gateway)],
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

/// In every other world there is a second vendor, and perhaps the local voice stands in the chain as well; and vendors have
/// limits. How the voices speak, in their order.
fn chain(settings: &mut Settings, manner: Manner, local: Manner, dice: &mut Dice) -> Vec<Manner> {
    let mut manners = vec![manner];
    if dice.below(2) == 0 {
        settings
            .voices
            .insert(1, trunkline::call::settings::Voice { name: "other".into(), ..settings.voices[0].clone() });
        settings.chain = 2 + dice.below(2) as usize;
        manners.push(Manner { char_ms: 40 + dice.below(50), speed: 2 + dice.below(9), ..manner });
    }
    for (voice, manner) in settings.voices.iter_mut().zip(&mut manners) {
        voice.contexts = dice.pick(&[None, None, Some(1), Some(2), Some(5)]);
        voice.cancel = dice.pick(&[Cancel::Message, Cancel::Message, Cancel::Awaited, Cancel::Reconnect]);
        voice.context_age = dice.pick(&[None, Some(Duration::from_secs(2))]);
        voice.shared_out = dice.below(3) == 0;
        if voice.contexts.is_some() && voice.cancel == Cancel::Message {
            voice.cancel = Cancel::Awaited;
        }
        manner.lets_go = voice.cancel == Cancel::Awaited;
        manner.grants_ms = dice.pick(&[10, 300, 1_200]);
    }
    manners.push(local);
    manners
}

/// In every other world the agent has lines of its own, which may have been spoken before. Who speaks them, behind the voices
/// and the player, in the voices' order.
fn phrases(settings: &mut Settings, manners: &[Manner], dice: &mut Dice) -> Vec<Manner> {
    if dice.below(2) == 0 {
        let last = settings.voices.len() - 1;
        let phrase = |voice, text: &str| Phrase { voice, text: text.to_owned(), delivery: Delivery::default() };
        let own = (0..last).flat_map(|voice| LINES.map(|line| phrase(voice, line.trim_end())));
        settings.phrases = own.chain([phrase(last, &settings.fallback_line)]).collect();
    }
    let faults = dice.pick(&[0, 100, 500]);
    manners.iter().map(|manner| Manner { speed: 50, gathers: None, faults, ..*manner }).collect()
}

/// The start of a stream that speaks and listens in `format`.
pub(crate) fn start_of(inbound: MediaFormat, outbound: Option<MediaFormat>) -> Event {
    Event::Carrier(CarrierEvent::Started(Box::new(Start {
        stream: StreamSid::parse("MZ1").unwrap(),
        call: CallSid::parse("CA1").unwrap(),
        inbound,
        outbound,
        parameters: std::collections::BTreeMap::new(),
    })))
}

struct World {
    recorder: Recorder,
    now: CallTime,
    dice: Dice,
    format: MediaFormat,
    marks: Marks,
    carrier: Carrier,
    voices: Vec<Voice>,
    agent: Agent,
    /// Turns that were said and are not over.
    live: BTreeSet<TurnId>,
    over: BTreeSet<TurnId>,
    next_inbound: CallTime,
    /// The caller's audio stops here.
    inbound_until: CallTime,
    /// Our own process sleeps until here.
    asleep_until: CallTime,
    sleeps: Vec<(usize, CallTime)>,
    steps: u64,
}

/// Plays the call of a seed.
pub(crate) fn play(seed: u64) -> Trace {
    World::new(seed).live()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let format = dice.pick(&FORMATS);
        // In every fourth world little may wait, so that text is held back in short calls too; and no voice gathers more.
        let is_tight = seed % 4 == 3;
        let longest = if is_tight { 200 } else { 3_000 };
        let max_delay = Duration::from_millis(dice.pick(&[200, 1_000, 3_000]).min(longest));
        let buffering = if dice.below(2) == 0 { Buffering::Gateway } else { Buffering::Vendor { max_delay } };
        let gathers = match buffering {
            Buffering::Gateway => None,
            Buffering::Vendor { max_delay } => Some(max_delay),
        };
        let marks = dice.pick(&[Marks::Honest, Marks::Honest, Marks::Late, Marks::Never, Marks::AtOnce, Marks::Wild]);
        let faults = dice.pick(&[0, 0, 20, 60, 200]);
        let manner = Manner {
            char_ms: 40 + dice.below(50),
            speed: 2 + dice.below(9),
            timed: dice.below(4) > 0,
            foretold: dice.below(2) == 0,
            gathers,
            faults,
            lets_go: false,
            grants_ms: 0,
        };
        let local = Manner { char_ms: 60, speed: 10, timed: true, foretold: true, gathers: None, ..Manner::HONEST };
        let mut settings = settings(buffering);
        let manners = chain(&mut settings, manner, local, &mut Dice(seed ^ 0x5A17));
        let spoken = phrases(&mut settings, &manners, &mut Dice(seed ^ 0x91A5));
        let lines = if settings.phrases.is_empty() { None } else { Some(Dice(seed ^ 0x71E5)) };
        for voice in &mut settings.voices {
            voice.encoding = format.encoding;
        }
        settings.seed = seed;
        settings.interruptible =
            dice.pick(&[Interruptible::Any, Interruptible::Any, Interruptible::Speech, Interruptible::Dtmf]);
        if is_tight {
            settings.limits.unheard_high = Duration::from_millis(1_500);
            settings.limits.unheard_low = Duration::from_millis(700);
        }
        let stalls = dice.below(4) == 0;
        let dialled = manners.into_iter().enumerate().map(|(index, manner)| Voice::new(index, format, manner));
        // The player, which nobody asks to play anything, and what was spoken before.
        let there = [Manner::HONEST].into_iter().chain(spoken).zip(settings.voices.len()..);
        let voices = dialled.chain(there.map(|(manner, index)| Voice::there(index, format, manner))).collect();
        World {
            recorder: Recorder::new(settings, stalls),
            now: CallTime::ZERO,
            format,
            marks,
            carrier: Carrier::new(marks),
            // Nobody plays anything, so that the player never has a word to say.
            voices,
            agent: Agent::new(lines, &mut dice),
            live: BTreeSet::new(),
            over: BTreeSet::new(),
            next_inbound: CallTime::ZERO,
            inbound_until: CallTime::from_millis(dice.pick(&[0, 5_000, 1_000_000, 1_000_000])),
            asleep_until: CallTime::ZERO,
            sleeps: Vec::new(),
            steps: 0,
            dice,
        }
    }

    fn live(mut self) -> Trace {
        self.handle(Event::Carrier(CarrierEvent::Media(Bytes::from_static(&[0; 7]))));
        self.handle(start_of(self.format, Some(self.format)));
        let lively = 4_000 + self.dice.below(12_000);
        self.run_to(CallTime::from_millis(lively), true);
        for voice in &mut self.voices {
            voice.manner.faults = 0;
        }
        // An open turn is finished after half a minute; whatever else is live has to end soon.
        for second in 1..=400 {
            self.run_to(CallTime::from_millis(lively + second * 1_000), false);
            if self.live.is_empty() {
                break;
            }
        }
        let left_over = if self.recorder.is_over() { 0 } else { self.live.len() };
        let end = match self.dice.below(3) {
            0 => Event::Carrier(CarrierEvent::Stopped),
            1 => Event::Carrier(CarrierEvent::Lost),
            _ => Event::Agent(AgentEvent::HangUp),
        };
        self.handle(end.clone());
        // What comes after the end changes nothing.
        self.handle(end);
        let (manner, chain) = (self.voices[0].manner, self.recorder.trace.settings.chain);
        let mut trace = self.recorder.trace;
        // The last voice says the fallback line, which is not the agent's, unless it stands in the chain.
        let voices = trace.settings.voices.len();
        let own = (voices - 1).max(chain);
        let agents = [&self.voices[..own], &self.voices[voices + 1..][..own]].concat();
        trace.truth = Some(Truth {
            marks: self.marks,
            timed: manner.timed,
            foretold: manner.foretold,
            scripts: agents.iter().flat_map(Voice::truth).collect(),
            sleeps: self.sleeps,
            left_over,
        });
        trace
    }

    /// Runs until `until`; `lively` says whether the caller and the agent do anything new.
    fn run_to(&mut self, until: CallTime, lively: bool) {
        while !self.recorder.is_over() {
            let wake = self.recorder.wake_at();
            let inbound = Some(self.next_inbound).filter(|at| *at <= self.inbound_until);
            let agent = self.agent.next_at();
            let echo = self.carrier.echoes.iter().map(|(at, _)| *at).min();
            let voices = self.voices.iter().filter_map(Voice::next_at);
            let next = [wake, inbound, agent, echo, self.carrier.next_at()].into_iter().flatten().chain(voices).min();
            self.steps += 1;
            if self.steps >= STEPS_MAX {
                self.recorder.trace.broke = Some("the call does not move on".to_owned());
            }
            let Some(next) = next.map(|next| next.max(self.asleep_until)).filter(|next| *next <= until) else { break };
            self.now = next.max(self.now);
            self.carrier.play(self.now, &mut self.dice);
            self.step(lively);
        }
        self.now = until.max(self.now);
        self.carrier.play(self.now, &mut self.dice);
    }

    /// Lets one thing happen.
    fn step(&mut self, lively: bool) {
        let now = self.now;
        if let Some(at) = self.carrier.echoes.iter().position(|(at, _)| *at <= now) {
            let (_, mark) = self.carrier.echoes.remove(at);
            return self.handle(Event::Carrier(CarrierEvent::Mark(mark)));
        }
        for voice in 0..self.voices.len() {
            if let Some(event) = self.voices[voice].take(now, &mut self.dice) {
                return self.handle(Event::Tts(event));
            }
        }
        if let Some(say) = self.agent.take(now, lively, &mut self.dice) {
            if !self.over.contains(&say.turn) {
                self.live.insert(say.turn);
            }
            return self.handle(Event::Agent(AgentEvent::Say(say)));
        }
        if self.next_inbound <= now.min(self.inbound_until) {
            let jitter = Duration::from_millis(self.dice.below(6));
            self.next_inbound = (self.next_inbound + self.format.frame()).max(now + jitter);
            // Next to nothing, or the detector would take most of the test's time.
            self.handle(Event::Carrier(CarrierEvent::Media(Bytes::from_static(&[0xFF]))));
            if lively {
                self.meddle();
            }
            return;
        }
        self.handle(Event::Wake);
        if lively && self.inbound_until < now {
            self.meddle();
        }
    }

    /// Now and then the caller, the agent or the machine does something.
    fn meddle(&mut self) {
        let event = match self.dice.below(400) {
            0 | 1 => Event::Speech(SpeechEvent::Started),
            2 => Event::Carrier(CarrierEvent::Digit('5')),
            3 => Event::Agent(AgentEvent::Clear),
            4 => Event::Carrier(CarrierEvent::Garbage),
            5 => Event::Drain,
            6 if self.recorder.trace.stalls => {
                self.asleep_until = self.now + Duration::from_millis(self.dice.pick(&[30, 150, 400, 1_500, 7_000]));
                self.sleeps.push((self.recorder.trace.steps.len(), self.asleep_until));
                return;
            }
            _ => return,
        };
        self.handle(event);
    }

    fn handle(&mut self, event: Event) {
        for action in self.recorder.handle(self.now, event) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Carrier(CarrierCommand::Media { frame, .. }) => {
                let length = frame.len().div_ceil(bytes_per_ms(self.format)) as u64;
                self.carrier.media(self.now, Duration::from_millis(length));
            }
            Action::Carrier(CarrierCommand::Mark(mark)) => self.carrier.mark(self.now, mark),
            Action::Carrier(CarrierCommand::Clear { .. }) => self.carrier.clear(self.now, &mut self.dice),
            Action::Tts(command) => {
                let voice = voice_of(&command);
                self.voices[voice].command(self.now, &command, &mut self.dice);
            }
            Action::Agent(report) => {
                self.agent.on_report(&report);
                if let AgentReport::TurnOver { turn, .. } | AgentReport::Interrupted { turn, .. } = report {
                    self.live.remove(&turn);
                    self.over.insert(turn);
                }
            }
            Action::Hearing(_) | Action::End(_) => {}
        }
    }
}
