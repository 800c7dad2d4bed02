//! Conversations that share one account, in virtual time: the real core of each call, the real way of sharing contexts out,
//! and models of the people, the agent, the network and the vendor. Everything follows from a seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use trunkline::audio::{Encoding, MediaFormat, vad};
use trunkline::call::Call;
use trunkline::call::action::{Action, AgentReport, CarrierCommand, TtsCommand};
use trunkline::call::event::{AgentEvent, CarrierEvent, Event, Fault, FaultKind, Say, Start, TtsEvent};
use trunkline::call::settings::{Conversation, Interruptible, Limits, OnFailure, Playout, Settings, Text, Voice};
use trunkline::driver::account::{Request, Slots, Urgency};
use trunkline::ids::{CallSid, CallTime, ContextId, MarkId, StreamSid, TurnId};

/// One way between the gateway and the vendor, and between the gateway and the carrier.
const WAY: Duration = Duration::from_millis(20);
/// Speech of one character.
const CHARACTER: Duration = Duration::from_millis(65);
/// Speech is made so many times faster than it is spoken.
const SPEED: u32 = 4;
/// From text to its first audio at the vendor, in milliseconds.
const FIRST_BYTE_MS: (u64, u64) = (100, 200);
/// Speech comes in pieces of this length.
const CHUNK: Duration = Duration::from_millis(200);
/// Length of a turn in characters: 8 s of speech, more or less.
const TURN_CHARS: (u64, u64) = (92, 154);
/// The agent writes a turn in so many pieces, and so long after one another.
const PIECES: usize = 3;
const WRITING: Duration = Duration::from_millis(300);
/// From the end of a turn to the agent's next words: the caller speaks, and the agent thinks.
const PAUSE_MS: (u64, u64) = (4_000, 6_000);
/// Calls come within this time.
const ARRIVALS_MS: u64 = 14_000;
/// A cancelled context counts for so long, as in the driver.
const LINGER: Duration = Duration::from_secs(1);

/// What is to be simulated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Calls at once.
    pub(crate) conversations: usize,
    /// Contexts that the gateway shares out; `None`: it knows of no limit.
    pub(crate) max_contexts: Option<u32>,
    /// Contexts that the vendor bears.
    pub(crate) vendor_contexts: usize,
    /// How long.
    pub(crate) length: Duration,
    /// What chance makes of it.
    pub(crate) seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// How long each context waited for its slot.
    pub(crate) waits: Vec<Duration>,
    /// From the agent's first words of each turn to its first frame.
    pub(crate) answers: Vec<Duration>,
    /// Turns that were heard to their end.
    pub(crate) turns: usize,
    /// Times that a caller heard a gap in the middle of a turn.
    pub(crate) underruns: u64,
    /// Contexts that the vendor refused.
    pub(crate) refusals: usize,
    /// Turns that could not be spoken.
    pub(crate) failures: usize,
    /// Contexts that were active at the vendor at one time.
    pub(crate) most_active: usize,
    /// Slots that are taken when everything is over.
    pub(crate) left: u32,
}

impl Figures {
    /// The value below which `percent` of the `values` lie.
    pub(crate) fn percentile(values: &[Duration], percent: usize) -> Duration {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// What happens to a call, or at the vendor.
#[derive(Debug)]
enum Happening {
    Give(Box<Event>),
    Wake,
    /// The agent begins a turn.
    Answer,
    /// The vendor takes a message.
    Take(Message),
    /// The vendor has made all speech of a context.
    Made(ContextId),
    /// A cancelled context is not counted any more.
    Release(ContextId),
}

#[derive(Debug)]
enum Message {
    Speak(ContextId, usize),
    Finish(ContextId),
    Cancel(ContextId),
}

#[derive(Debug)]
struct Entry {
    at: CallTime,
    number: u64,
    call: usize,
    happening: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Chance: SplitMix64.
struct Dice(u64);

impl Dice {
    fn between(&mut self, (least, most): (u64, u64)) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        least + (z ^ (z >> 31)) % (most - least + 1)
    }

    fn ms(&mut self, span: (u64, u64)) -> Duration {
        Duration::from_millis(self.between(span))
    }
}

/// One call and those around it.
struct Line {
    call: Call,
    wake_at: Option<CallTime>,
    /// When the carrier has played all that it was sent.
    played_at: CallTime,
    turn: u32,
    /// When the agent began the turn whose first frame is not sent yet.
    asked_at: Option<CallTime>,
    requests: BTreeMap<ContextId, Request>,
}

/// A context at the vendor.
#[derive(Default)]
struct Making {
    free_at: CallTime,
    is_finished: bool,
}

struct World {
    plan: Plan,
    now: CallTime,
    began: Instant,
    dice: Dice,
    lines: Vec<Line>,
    queue: BinaryHeap<Reverse<Entry>>,
    number: u64,
    slots: Slots,
    /// Whose requests they are.
    asked: BTreeMap<Request, (usize, ContextId)>,
    vendor: BTreeMap<(usize, ContextId), Making>,
    figures: Figures,
}

/// Simulates a plan.
pub(crate) fn run(plan: Plan) -> Figures {
    let mut world = World {
        plan,
        now: CallTime::ZERO,
        began: Instant::now(),
        dice: Dice(plan.seed),
        lines: (0..plan.conversations).map(|n| line(plan, n)).collect(),
        queue: BinaryHeap::new(),
        number: 0,
        slots: Slots::new(plan.max_contexts),
        asked: BTreeMap::new(),
        vendor: BTreeMap::new(),
        figures: Figures::default(),
    };
    for call in 0..plan.conversations {
        let at = world.dice.ms((0, ARRIVALS_MS));
        world.later(call, at, Happening::Give(Box::new(start(call))));
        world.later(call, at + Duration::from_millis(500), Happening::Answer);
    }
    let end = CallTime::ZERO + plan.length;
    while let Some(Reverse(entry)) = world.queue.pop().filter(|Reverse(entry)| entry.at <= end) {
        world.now = entry.at;
        world.happen(entry.call, entry.happening);
    }
    world.finish()
}

fn line(plan: Plan, number: usize) -> Line {
    let voice =
        Voice { shared_out: plan.max_contexts.is_some(), ..Voice::plain("vendor", Encoding::Mulaw, Some(8_000)) };
    let settings = Settings {
        voices: vec![voice],
        chain: 1,
        fallback_line: String::new(),
        on_failure: OnFailure::Continue,
        playout: Playout::default(),
        interruptible: Interruptible::None,
        detector: vad::Settings { min_speech_ms: 100, threshold: 0.5, silence_ms: 500, pause_ms: None },
        limits: Limits::default(),
        text: Text::default(),
        seed: plan.seed ^ number as u64,
        conversation: Conversation::default(),
        phrases: Vec::new(),
    };
    Line {
        call: Call::new(settings),
        wake_at: None,
        played_at: CallTime::ZERO,
        turn: 0,
        asked_at: None,
        requests: BTreeMap::new(),
    }
}

fn start(call: usize) -> Event {
    Event::Carrier(CarrierEvent::Started(Box::new(Start {
        stream: StreamSid::parse(&format!("MZ{call}")).unwrap(),
        call: CallSid::parse(&format!("CA{call}")).unwrap(),
        inbound: MediaFormat::TELEPHONE,
        outbound: Some(MediaFormat::TELEPHONE),
        parameters: BTreeMap::new(),
    })))
}

impl World {
    fn later(&mut self, call: usize, after: Duration, happening: Happening) {
        self.at(call, self.now + after, happening);
    }

    fn at(&mut self, call: usize, at: CallTime, happening: Happening) {
        self.number += 1;
        self.queue.push(Reverse(Entry { at, number: self.number, call, happening }));
    }

    fn instant(&self) -> Instant {
        self.began + self.now.since(CallTime::ZERO)
    }

    fn happen(&mut self, call: usize, happening: Happening) {
        match happening {
            Happening::Give(event) => {
                if let Event::Tts(TtsEvent::Done { context } | TtsEvent::Failed { context: Some(context), .. }) = *event
                {
                    self.release(call, context);
                }
                self.give(call, *event);
            }
            Happening::Wake => {
                if self.lines[call].wake_at.take_if(|at| *at <= self.now).is_some() {
                    self.give(call, Event::Wake);
                }
            }
            Happening::Answer => self.answer(call),
            Happening::Take(message) => self.vendor_takes(call, message),
            Happening::Made(context) => {
                if self.vendor.remove(&(call, context)).is_some() {
                    self.later(call, WAY, Happening::Give(Box::new(Event::Tts(TtsEvent::Done { context }))));
                }
            }
            Happening::Release(context) => self.release(call, context),
        }
    }

    fn give(&mut self, call: usize, event: Event) {
        let now = self.now;
        self.lines[call].call.handle(now, event);
        while let Some(action) = self.lines[call].call.poll_action() {
            match action {
                Action::Carrier(command) => self.carry(call, &command),
                Action::Tts(command) => self.tell_voice(call, command),
                Action::Agent(report) => self.report(call, &report),
                Action::Hearing(_) | Action::End(_) => {}
            }
        }
        let line = &mut self.lines[call];
        let due = line.call.poll_timeout().map(|(at, _)| at.max(now));
        if let Some(at) = due.filter(|at| line.wake_at.is_none_or(|set| *at < set)) {
            line.wake_at = Some(at);
            self.at(call, at, Happening::Wake);
        }
    }

    /// The agent begins a turn, and writes it in pieces.
    fn answer(&mut self, call: usize) {
        let chars = usize::try_from(self.dice.between(TURN_CHARS)).unwrap();
        let line = &mut self.lines[call];
        line.turn += 1;
        line.asked_at = Some(self.now);
        let turn = TurnId(line.turn);
        let mut after = Duration::ZERO;
        for n in 0..PIECES {
            let last = n + 1 == PIECES;
            let say = Say {
                turn,
                text: sentence(chars / PIECES),
                last,
                flush: false,
                interruptible: None,
                delivery: None,
                preemptible: None,
            };
            self.later(call, after, Happening::Give(Box::new(Event::Agent(AgentEvent::Say(say)))));
            after += WRITING;
        }
    }

    fn report(&mut self, call: usize, report: &AgentReport) {
        if let AgentReport::TurnOver { .. } = report {
            self.figures.turns += 1;
            let pause = self.dice.ms(PAUSE_MS);
            self.later(call, pause, Happening::Answer);
        } else if let AgentReport::SpeechFailed { .. } = report {
            self.figures.failures += 1;
        }
    }

    /// The carrier plays what it is sent, and says when it has.
    fn carry(&mut self, call: usize, command: &CarrierCommand) {
        let now = self.now;
        let line = &mut self.lines[call];
        match command {
            CarrierCommand::Media { .. } => {
                line.played_at = line.played_at.max(now + WAY) + MediaFormat::TELEPHONE.frame();
                if let Some(asked) = line.asked_at.take() {
                    self.figures.answers.push(now.since(asked));
                }
            }
            CarrierCommand::Mark(mark) => {
                let played: MarkId = *mark;
                let at = line.played_at.max(now + WAY) + WAY;
                self.at(call, at, Happening::Give(Box::new(Event::Carrier(CarrierEvent::Mark(played)))));
            }
            CarrierCommand::Clear { .. } => line.played_at = now,
        }
    }

    /// What the driver does with a command.
    fn tell_voice(&mut self, call: usize, command: TtsCommand) {
        match command {
            TtsCommand::Dial { voice } => {
                self.later(call, WAY * 2, Happening::Give(Box::new(Event::Tts(TtsEvent::Up { voice }))));
            }
            TtsCommand::HangUp { .. } => {
                let contexts: Vec<ContextId> = self.lines[call].requests.keys().copied().collect();
                contexts.into_iter().for_each(|context| self.release(call, context));
                self.vendor.retain(|(owner, _), _| *owner != call);
            }
            TtsCommand::Reserve { context, within, ahead, .. } => {
                let (now, urgency) = (self.instant(), Urgency { ahead, due: self.instant() + within });
                if let Some(request) = self.lines[call].requests.get(&context) {
                    self.slots.urge(*request, urgency);
                } else {
                    let request = self.slots.ask(now, urgency);
                    self.lines[call].requests.insert(context, request);
                    self.asked.insert(request, (call, context));
                }
                self.share_out();
            }
            TtsCommand::Speak { on, text } => {
                self.later(call, WAY, Happening::Take(Message::Speak(on.context, text.chars().count())));
            }
            TtsCommand::Finish { on } => self.later(call, WAY, Happening::Take(Message::Finish(on.context))),
            TtsCommand::Cancel { context, .. } => {
                self.later(call, WAY, Happening::Take(Message::Cancel(context)));
                self.later(call, LINGER, Happening::Release(context));
            }
            TtsCommand::Flush { .. } | TtsCommand::Play { .. } => {}
        }
    }

    fn release(&mut self, call: usize, context: ContextId) {
        if let Some(request) = self.lines[call].requests.remove(&context) {
            self.slots.leave(request);
            self.asked.remove(&request);
            self.share_out();
        }
    }

    fn share_out(&mut self) {
        while let Some(grant) = self.slots.grant(self.instant()) {
            self.figures.waits.push(grant.waited);
            let (call, context) = self.asked[&grant.request];
            self.later(call, Duration::ZERO, Happening::Give(Box::new(Event::Tts(TtsEvent::Granted { context }))));
        }
    }

    fn vendor_takes(&mut self, call: usize, message: Message) {
        match message {
            Message::Speak(context, chars) => {
                let is_new = !self.vendor.contains_key(&(call, context));
                if is_new && self.vendor.len() >= self.plan.vendor_contexts {
                    self.figures.refusals += 1;
                    let fault = Fault { kind: FaultKind::Busy, reason: "concurrency_limited".to_owned() };
                    let failed = TtsEvent::Failed { context: Some(context), fault };
                    self.later(call, WAY, Happening::Give(Box::new(Event::Tts(failed))));
                    return;
                }
                self.make(call, context, CHARACTER * u32::try_from(chars).unwrap());
                self.figures.most_active = self.figures.most_active.max(self.vendor.len());
            }
            Message::Finish(context) => {
                if let Some(making) = self.vendor.get_mut(&(call, context)) {
                    making.is_finished = true;
                    let at = making.free_at.max(self.now);
                    self.at(call, at, Happening::Made(context));
                }
            }
            Message::Cancel(context) => drop(self.vendor.remove(&(call, context))),
        }
    }

    /// The vendor makes speech of a length, behind what it is already making for the context.
    fn make(&mut self, call: usize, context: ContextId, length: Duration) {
        let begins = self.now + self.dice.ms(FIRST_BYTE_MS);
        let making = self.vendor.entry((call, context)).or_default();
        assert!(!making.is_finished, "text after the end of {context}");
        let mut at = making.free_at.max(begins);
        let mut left = length;
        let mut chunks = Vec::new();
        while !left.is_zero() {
            let chunk = left.min(CHUNK);
            left -= chunk;
            at = at + chunk / SPEED;
            chunks.push((at + WAY, chunk));
        }
        making.free_at = at;
        for (at, chunk) in chunks {
            let audio = Bytes::from(vec![0x55; usize::try_from(chunk.as_millis()).unwrap() * 8]);
            self.at(call, at, Happening::Give(Box::new(Event::Tts(TtsEvent::Audio { context, audio }))));
        }
    }

    fn finish(mut self) -> Figures {
        for call in 0..self.lines.len() {
            self.figures.underruns += self.lines[call].call.stats().underruns;
            // The calls end, and with them all that they hold.
            let contexts: Vec<ContextId> = self.lines[call].requests.keys().copied().collect();
            contexts.into_iter().for_each(|context| self.release(call, context));
        }
        self.figures.left = self.slots.in_use() + self.slots.waiting();
        self.figures
    }
}

/// A sentence of so many characters, its white space included.
fn sentence(chars: usize) -> String {
    let words = "there are seven rooms left for the night that you asked about ".chars().cycle();
    let text: String = words.take(chars.saturating_sub(3)).collect();
    format!("{}s. ", text.replace("  ", " a").trim_end())
}
