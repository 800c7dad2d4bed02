//! A world in virtual time around one real call: a model carrier that plays what it gets, a model voice that speaks, a
//! caller, and a process that may be late. Nothing in it is random but what its owner passes in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use trunkline::audio::{Encoding, MediaFormat, vad};
use trunkline::call::Call;
use trunkline::call::action::{Action, AgentReport, CarrierCommand, TtsCommand};
use trunkline::call::event::{AgentEvent, CarrierEvent, Event, Say, Start, TimedWord, TtsEvent};
use trunkline::call::settings::{Conversation, Interruptible, Limits, OnFailure, Playout, Settings, Text, Voice};
use trunkline::ids::{CallSid, CallTime, ContextId, MarkId, StreamSid, TurnId};

/// Length of a frame, both ways.
pub(crate) const FRAME: Duration = Duration::from_millis(20);
/// Frames at the start of a turn in which the largest lead is still being filled: 200 ms.
pub(crate) const OPENING: u32 = 10;
/// Length of the audio in one chunk of the model voice.
const CHUNK: Duration = Duration::from_millis(90);
/// How long the model voice speaks at one character.
const CHAR: Duration = Duration::from_millis(60);

/// How the model voice speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speech {
    pub(crate) encoding: Encoding,
    pub(crate) rate: u32,
    /// From a text to its first chunk.
    pub(crate) first_byte: Duration,
    /// How fast chunks come, in percent of the speed at which they play.
    pub(crate) speed_percent: u32,
}

/// Settings of a call with one voice, all else as the gateway has it by default.
pub(crate) fn settings(speech: Speech, playout: Playout, interruptible: Interruptible) -> Settings {
    let voice = Voice {
        context_idle: Some(Duration::from_millis(800)),
        ..Voice::plain("model", speech.encoding, Some(speech.rate))
    };
    Settings {
        voices: vec![voice],
        chain: 1,
        fallback_line: String::new(),
        on_failure: OnFailure::Continue,
        playout,
        interruptible,
        detector: vad::Settings::default(),
        limits: Limits::default(),
        text: Text::default(),
        seed: 1,
        conversation: Conversation::default(),
        phrases: Vec::new(),
    }
}

/// Why the process wants to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The call's own timer.
    Timer,
    /// Something arrived.
    Arrival,
}

/// When a process that wants to run at a moment really runs.
pub(crate) trait Lateness {
    fn runs_at(&mut self, wanted: CallTime, reason: Reason) -> CallTime;
}

/// A process that is never late.
pub(crate) struct Punctual;

impl Lateness for Punctual {
    fn runs_at(&mut self, wanted: CallTime, _: Reason) -> CallTime {
        wanted
    }
}

/// What the carrier saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Frames that were played or are about to be.
    pub(crate) frames: u64,
    /// Times that nothing was left to play in a turn, after its first [`OPENING`] frames.
    pub(crate) underruns: u64,
    /// The same within them.
    pub(crate) underruns_at_start: u64,
    /// Silence in all of these.
    pub(crate) silence: Duration,
    /// Each `clear`: when it came, and how much audio it dropped.
    pub(crate) clears: Vec<(CallTime, Duration)>,
}

#[derive(Debug)]
enum Queued {
    /// The first byte of a frame, which says whose it is if the voice speaks mu-law.
    Audio(u8),
    Mark(MarkId),
}

/// A carrier that plays without pause what it has.
#[derive(Debug, Default)]
struct Carrier {
    queue: VecDeque<Queued>,
    /// When the frame at the head of the queue starts to play; after the last one, when it ended.
    playing_since: CallTime,
    last: Option<u8>,
    /// Frames of the same turn so far.
    in_turn: u32,
    seen: Seen,
}

impl Carrier {
    /// Plays until `now`; the marks that were reached, and when.
    fn play(&mut self, now: CallTime) -> Vec<(CallTime, MarkId)> {
        let mut reached = Vec::new();
        loop {
            match self.queue.front() {
                Some(Queued::Mark(mark)) => reached.push((self.playing_since, *mark)),
                Some(Queued::Audio(_)) if self.playing_since + FRAME <= now => {
                    self.playing_since = self.playing_since + FRAME;
                }
                Some(Queued::Audio(_)) | None => return reached,
            }
            self.queue.pop_front();
        }
    }

    fn is_dry(&self) -> bool {
        !self.queue.iter().any(|queued| matches!(queued, Queued::Audio(_)))
    }

    fn take(&mut self, now: CallTime, whose: u8) {
        if self.last != Some(whose) {
            self.in_turn = 0;
        }
        if self.is_dry() {
            if self.in_turn > 0 && self.playing_since < now {
                match self.in_turn {
                    ..OPENING => self.seen.underruns_at_start += 1,
                    OPENING.. => self.seen.underruns += 1,
                }
                self.seen.silence += now.since(self.playing_since);
            }
            self.playing_since = now;
        }
        self.last = Some(whose);
        self.in_turn += 1;
        self.seen.frames += 1;
        self.queue.push_back(Queued::Audio(whose));
    }

    /// Drops everything; the marks in it.
    fn clear(&mut self, now: CallTime) -> Vec<MarkId> {
        let frames = self.queue.iter().filter(|queued| matches!(queued, Queued::Audio(_))).count();
        let whole = FRAME * u32::try_from(frames).unwrap();
        let held = if frames == 0 { Duration::ZERO } else { whole.saturating_sub(now.since(self.playing_since)) };
        self.seen.clears.push((now, held));
        self.last = None;
        let marks = self.queue.drain(..).filter_map(|queued| match queued {
            Queued::Mark(mark) => Some(mark),
            Queued::Audio(_) => None,
        });
        marks.collect()
    }

    /// When the next mark will be reached.
    fn next_mark(&self) -> Option<CallTime> {
        let before = self.queue.iter().position(|queued| matches!(queued, Queued::Mark(_)))?;
        Some(self.playing_since + FRAME * u32::try_from(before).unwrap())
    }
}

/// One context of the model voice.
#[derive(Debug, Default)]
struct Speaking {
    /// Audio ordered so far.
    ordered: Duration,
    /// Audio sent so far, whole chunks but for the last.
    sent: Duration,
    /// When the next chunk may leave.
    next: CallTime,
    finished: bool,
}

/// The world.
pub(crate) struct World {
    pub(crate) call: Call,
    pub(crate) now: CallTime,
    pub(crate) reports: Vec<(CallTime, AgentReport)>,
    /// Everything the call was told, if that is kept.
    pub(crate) tape: Option<Vec<(CallTime, Event)>>,
    lateness: Box<dyn Lateness>,
    speech: Speech,
    carrier: Carrier,
    contexts: BTreeMap<ContextId, Speaking>,
    /// What is on its way to the call, by arrival.
    inbox: BTreeMap<(CallTime, u64), Event>,
    arrivals: u64,
    caller: Vec<Bytes>,
    inbound: u64,
    inbound_from: CallTime,
}

impl World {
    /// A call that has just started, its link to the voice being made. The caller says `caller`, frame by frame, over and
    /// over.
    pub(crate) fn new(settings: Settings, speech: Speech, caller: Vec<Bytes>, lateness: Box<dyn Lateness>) -> Self {
        let mut world = World {
            call: Call::new(settings),
            now: CallTime::ZERO,
            reports: Vec::new(),
            tape: None,
            lateness,
            speech,
            carrier: Carrier::default(),
            contexts: BTreeMap::new(),
            inbox: BTreeMap::new(),
            arrivals: 0,
            caller,
            inbound: 0,
            inbound_from: CallTime::from_millis(7),
        };
        let start = Start {
            stream: StreamSid::parse("MZ1").unwrap(),
            call: CallSid::parse("CA1").unwrap(),
            inbound: MediaFormat::TELEPHONE,
            outbound: Some(MediaFormat::TELEPHONE),
            parameters: BTreeMap::new(),
        };
        world.arrives(CallTime::ZERO, Event::Carrier(CarrierEvent::Started(Box::new(start))));
        world
    }

    /// What the carrier saw.
    pub(crate) fn seen(&self) -> &Seen {
        &self.carrier.seen
    }

    /// Something will arrive at the call's inbox.
    pub(crate) fn arrives(&mut self, at: CallTime, event: Event) {
        self.arrivals += 1;
        self.inbox.insert((at, self.arrivals), event);
    }

    /// The agent says a whole turn.
    pub(crate) fn says(&mut self, at: CallTime, turn: u32, text: &str) {
        let say = Say {
            turn: TurnId(turn),
            text: text.to_owned(),
            last: true,
            flush: false,
            interruptible: None,
            delivery: None,
            preemptible: None,
        };
        self.arrives(at, Event::Agent(AgentEvent::Say(say)));
    }

    /// Runs until `until`, or until `is_enough` holds of the newest report.
    pub(crate) fn run(&mut self, until: CallTime, is_enough: impl Fn(&AgentReport) -> bool) {
        let seen = self.reports.len();
        while !self.reports.iter().skip(seen).any(|(_, report)| is_enough(report)) {
            let Some((wanted, reason)) = self.next_wish().filter(|(at, _)| *at <= until) else {
                self.now = until.max(self.now);
                return;
            };
            // The clock of a process that is late does not run backwards.
            self.now = self.lateness.runs_at(wanted.max(self.now), reason).max(self.now);
            self.catch_up();
        }
    }

    fn next_wish(&self) -> Option<(CallTime, Reason)> {
        let timer = self.call.poll_timeout().map(|(at, _)| (at, Reason::Timer));
        let arrivals = [self.inbox.keys().next().map(|(at, _)| *at), self.carrier.next_mark(), Some(self.inbound_at())];
        let arrival = arrivals.into_iter().flatten().min().map(|at| (at, Reason::Arrival));
        [timer, arrival].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn inbound_at(&self) -> CallTime {
        self.inbound_from + FRAME * u32::try_from(self.inbound).unwrap()
    }

    /// The process runs: first what its timer is for, then all that has arrived, in order.
    fn catch_up(&mut self) {
        if self.call.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
            self.handle(Event::Wake);
        }
        loop {
            for (at, mark) in self.carrier.play(self.now) {
                self.arrives(at, Event::Carrier(CarrierEvent::Mark(mark)));
            }
            while self.inbound_at() <= self.now {
                let at = self.inbound_at();
                let frame = self.caller.get(usize::try_from(self.inbound).unwrap() % self.caller.len()).unwrap();
                let event = Event::Carrier(CarrierEvent::Media(frame.clone()));
                self.inbound += 1;
                self.arrives(at, event);
            }
            let Some(entry) = self.inbox.first_entry().filter(|entry| entry.key().0 <= self.now) else { return };
            let event = entry.remove();
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        if let Some(tape) = &mut self.tape {
            tape.push((self.now, event.clone()));
        }
        self.call.handle(self.now, event);
        while let Some(action) = self.call.poll_action() {
            match action {
                Action::Carrier(command) => self.tell_carrier(command),
                Action::Tts(command) => self.tell_voice(command),
                Action::Agent(report) => self.reports.push((self.now, report)),
                Action::Hearing(_) | Action::End(_) => {}
            }
        }
        self.speak();
    }

    fn tell_carrier(&mut self, command: CarrierCommand) {
        for (at, mark) in self.carrier.play(self.now) {
            self.arrives(at, Event::Carrier(CarrierEvent::Mark(mark)));
        }
        match command {
            CarrierCommand::Media { frame, .. } => {
                self.carrier.take(self.now, frame.first().copied().unwrap_or_default());
            }
            CarrierCommand::Mark(mark) => self.carrier.queue.push_back(Queued::Mark(mark)),
            CarrierCommand::Clear { .. } => {
                for mark in self.carrier.clear(self.now) {
                    self.arrives(self.now, Event::Carrier(CarrierEvent::Mark(mark)));
                }
            }
        }
    }

    fn tell_voice(&mut self, command: TtsCommand) {
        match command {
            TtsCommand::Dial { voice } => {
                self.arrives(self.now + Duration::from_millis(30), Event::Tts(TtsEvent::Up { voice }));
            }
            TtsCommand::Speak { on, text } => {
                let speaking = self.contexts.entry(on.context).or_default();
                let at = speaking.ordered;
                if speaking.sent == speaking.ordered {
                    speaking.next = self.now + self.speech.first_byte;
                }
                let mut words = Vec::new();
                let mut chars = 0;
                for word in text.split_inclusive(' ') {
                    let from = at + CHAR * chars;
                    chars += u32::try_from(word.chars().count()).unwrap();
                    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap();
                    let (start_us, end_us) = (micros(from), micros(at + CHAR * chars));
                    words.push(TimedWord { text: word.trim().to_owned(), start_us, end_us });
                }
                speaking.ordered += CHAR * chars;
                let (next, context) = (speaking.next, on.context);
                self.arrives(next, Event::Tts(TtsEvent::Words { context, words }));
            }
            TtsCommand::Finish { on } => self.contexts.entry(on.context).or_default().finished = true,
            TtsCommand::Cancel { context, .. } => {
                self.contexts.remove(&context);
                // What was on its way does come: late chunks are normal.
            }
            TtsCommand::Flush { .. }
            | TtsCommand::HangUp { .. }
            | TtsCommand::Play { .. }
            | TtsCommand::Reserve { .. } => {}
        }
    }

    /// The voice sends what it has ordered, as fast as it speaks.
    fn speak(&mut self) {
        let mut sent = Vec::new();
        for (context, speaking) in &mut self.contexts {
            while speaking.sent < speaking.ordered {
                let length = CHUNK.min(speaking.ordered - speaking.sent);
                // Half a chunk waits for more text, unless none will come.
                if length < CHUNK && !speaking.finished {
                    break;
                }
                speaking.sent += length;
                sent.push((
                    speaking.next,
                    Event::Tts(TtsEvent::Audio { context: *context, audio: audio(self.speech, *context, length) }),
                ));
                speaking.next = speaking.next + length * 100 / self.speech.speed_percent;
            }
            if speaking.finished && speaking.sent == speaking.ordered {
                sent.push((speaking.next, Event::Tts(TtsEvent::Done { context: *context })));
            }
        }
        self.contexts.retain(|_, speaking| !(speaking.finished && speaking.sent == speaking.ordered));
        for (at, event) in sent {
            self.arrives(at, event);
        }
    }
}

/// Sound of a context: in mu-law every byte is its turn's number, so that the carrier can tell whose a frame is.
fn audio(speech: Speech, context: ContextId, length: Duration) -> Bytes {
    let samples = length.as_millis() * u128::from(speech.rate) / 1_000;
    let samples = usize::try_from(samples).unwrap();
    match speech.encoding {
        Encoding::Mulaw | Encoding::Alaw => Bytes::from(vec![u8::try_from(context.turn.0 % 251).unwrap(); samples]),
        Encoding::PcmS16Le => {
            let wave = (0..samples).flat_map(|n| (i16::try_from(n % 64).unwrap() * 200 - 6_400).to_le_bytes());
            Bytes::from_iter(wave)
        }
    }
}

/// Frames in which nobody speaks.
pub(crate) fn silence() -> Vec<Bytes> {
    vec![Bytes::from_static(&[0xFF; 160])]
}

/// When a turn ended, or was cut off.
pub(crate) fn is_end(report: &AgentReport) -> bool {
    matches!(report, AgentReport::TurnOver { .. } | AgentReport::Interrupted { .. })
}
