//! Any events at any times: unknown turns, marks that were never sent, chunks for contexts that do not exist, time that
//! stands still or jumps. What a voice or a carrier would never do is done here, and found sequences are shrunk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use trunkline::audio::{Encoding, MediaFormat};
use trunkline::call::action::{Action, CarrierCommand, TtsCommand};
use trunkline::call::event::{
    AgentEvent, CarrierEvent, Delivery, Event, Fault, FaultKind, Say, SpeechEvent, TimedWord, TtsEvent,
};
use trunkline::call::settings::{Buffering, Interruptible};
use trunkline::ids::{CallTime, ContextId, MarkId, TurnId};

use crate::label::{audio_of, bytes_per_ms};
use crate::trace::{Recorder, Trace};
use crate::worlds;

/// Wake-ups between two events at most; a call that wants more is left alone until the next one.
const WAKES_MAX: usize = 400;

/// What happens, in words that make sense in any state of the call: contexts and marks are counted among those that there
/// are, and one too many means one that does not exist.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Start { format: usize, listens_only: bool },
    Say { turn: u32, words: u64, last: bool, flush: bool, policy: Option<Interruptible>, voice: Option<u8> },
    AgentClear,
    HangUp,
    Up(usize),
    Down(usize, FaultKind),
    Audio { context: usize, bytes: usize },
    Words { context: usize, count: u64, pace_ms: u64 },
    Done(usize),
    Failed(Option<usize>, FaultKind),
    Mark(usize),
    Media(usize),
    Digit,
    Speech(bool),
    Stopped,
    Lost,
    Garbage,
    Ignored,
    Wake,
    Drain,
    Leave,
}

/// A sequence of events, each some time after the one before it.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// The stream begins and the first voice's link comes up before anything else.
    usual: bool,
    gathers: bool,
    tight: bool,
    /// Microseconds since the last event, whether the call is woken in between as it asks, and the event.
    acts: Vec<(u64, bool, What)>,
}

fn gap() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => Just(0_u64),
        6 => 1..30_000_u64,
        4 => 30_000..400_000_u64,
        2 => 400_000..6_000_000_u64,
        1 => 6_000_000..100_000_000_u64,
    ]
}

fn kind() -> impl Strategy<Value = FaultKind> {
    prop_oneof![Just(FaultKind::Retryable), Just(FaultKind::Busy), Just(FaultKind::Idle), Just(FaultKind::Fatal),]
}

fn policy() -> impl Strategy<Value = Option<Interruptible>> {
    prop_oneof![
        5 => Just(None),
        1 => Just(Some(Interruptible::None)),
        1 => Just(Some(Interruptible::Dtmf)),
        1 => Just(Some(Interruptible::Speech)),
    ]
}

fn what() -> impl Strategy<Value = What> {
    let context = || 0..6_usize;
    let say =
        (0..5_u32, 0..14_u64, any::<bool>(), prop::bool::weighted(0.2), policy(), prop::option::weighted(0.1, 0..2_u8));
    prop_oneof![
        1 => (0..5_usize, prop::bool::weighted(0.2)).prop_map(|(format, listens_only)| What::Start { format, listens_only }),
        12 => say.prop_map(|(turn, words, last, flush, policy, voice)| What::Say { turn, words, last, flush, policy, voice }),
        1 => Just(What::AgentClear),
        4 => (0..3_usize).prop_map(What::Up),
        2 => (0..3_usize, kind()).prop_map(|(voice, kind)| What::Down(voice, kind)),
        14 => (context(), 0..12_000_usize).prop_map(|(context, bytes)| What::Audio { context, bytes }),
        4 => (context(), 0..8_u64, 0..700_u64).prop_map(|(context, count, pace_ms)| What::Words { context, count, pace_ms }),
        6 => context().prop_map(What::Done),
        2 => (prop::option::weighted(0.6, context()), kind()).prop_map(|(context, kind)| What::Failed(context, kind)),
        8 => (0..5_usize).prop_map(What::Mark),
        3 => (0..400_usize).prop_map(What::Media),
        1 => Just(What::Digit),
        2 => any::<bool>().prop_map(What::Speech),
        1 => Just(What::Garbage),
        1 => Just(What::Ignored),
        3 => Just(What::Wake),
        1 => Just(What::Drain),
        1 => Just(What::Leave),
        1 => prop_oneof![Just(What::Stopped), Just(What::Lost), Just(What::HangUp)],
    ]
}

/// Any sequence of events.
pub(crate) fn scripts() -> impl Strategy<Value = Script> {
    let acts = vec((gap(), prop::bool::weighted(0.8), what()), 1..60);
    (prop::bool::weighted(0.85), any::<bool>(), any::<bool>(), acts).prop_map(|(usual, gathers, tight, acts)| Script {
        usual,
        gathers,
        tight,
        acts,
    })
}

/// Plays a sequence to a call, and then the end of the stream.
pub(crate) fn play(script: &Script) -> Trace {
    let buffering = match script.gathers {
        true => Buffering::Vendor { max_delay: Duration::from_millis(300) },
        false => Buffering::Gateway,
    };
    let mut settings = worlds::settings(buffering);
    if script.tight {
        settings.limits.unheard_high = Duration::from_millis(1_500);
        settings.limits.unheard_low = Duration::from_millis(700);
    }
    let mut stage = Stage {
        recorder: Recorder::new(settings, true),
        now: CallTime::ZERO,
        contexts: Vec::new(),
        marks: Vec::new(),
        given: BTreeMap::new(),
        word: 0,
    };
    if script.usual {
        stage.handle(worlds::start_of(MediaFormat::TELEPHONE, Some(MediaFormat::TELEPHONE)));
        stage.act(&What::Up(0));
    }
    for (gap, wakes, what) in &script.acts {
        stage.pass(Duration::from_micros(*gap), *wakes);
        stage.act(what);
    }
    stage.handle(Event::Carrier(CarrierEvent::Stopped));
    stage.recorder.trace
}

/// A call, and what there is to talk about.
struct Stage {
    recorder: Recorder,
    now: CallTime,
    contexts: Vec<ContextId>,
    marks: Vec<MarkId>,
    /// Bytes of audio that were given, by context.
    given: BTreeMap<ContextId, usize>,
    word: u64,
}

impl Stage {
    fn pass(&mut self, gap: Duration, wakes: bool) {
        let until = self.now + gap;
        for _ in 0..if wakes { WAKES_MAX } else { 0 } {
            let Some(at) = self.recorder.wake_at().filter(|at| *at <= until) else { break };
            self.now = at.max(self.now);
            self.handle(Event::Wake);
        }
        self.now = until;
    }

    fn handle(&mut self, event: Event) {
        for action in self.recorder.handle(self.now, event) {
            match action {
                Action::Tts(TtsCommand::Speak { on, .. }) if !self.contexts.contains(&on.context) => {
                    self.contexts.push(on.context);
                }
                Action::Carrier(CarrierCommand::Mark(mark)) => self.marks.push(mark),
                _ => {}
            }
        }
    }

    /// The `at`th newest context, or one that never was.
    fn context(&self, at: usize) -> ContextId {
        let newest = self.contexts.len().checked_sub(at + 1).and_then(|at| self.contexts.get(at));
        newest.copied().unwrap_or(ContextId { turn: TurnId(at as u32), serial: 9 })
    }

    fn act(&mut self, what: &What) {
        let event = match *what {
            What::Start { format, listens_only } => self.start(format, listens_only),
            What::Say { turn, words, last, flush, policy, voice } => {
                let text = (0..words).map(|_| self.next_word()).collect::<String>();
                let delivery =
                    voice.map(|voice| Arc::new(Delivery { voice: Some(voice.to_string()), ..Delivery::default() }));
                Event::Agent(AgentEvent::Say(Say {
                    turn: TurnId(turn),
                    text,
                    last,
                    flush,
                    interruptible: policy,
                    delivery,
                    preemptible: None,
                }))
            }
            What::AgentClear => Event::Agent(AgentEvent::Clear),
            What::HangUp => Event::Agent(AgentEvent::HangUp),
            What::Up(voice) => Event::Tts(TtsEvent::Up { voice }),
            What::Down(voice, kind) => Event::Tts(TtsEvent::Down { voice, fault: fault(kind) }),
            What::Audio { context, bytes } => self.audio(context, bytes),
            What::Words { context, count, pace_ms } => self.words(context, count, pace_ms),
            What::Done(context) => Event::Tts(TtsEvent::Done { context: self.context(context) }),
            What::Failed(context, kind) => {
                Event::Tts(TtsEvent::Failed { context: context.map(|at| self.context(at)), fault: fault(kind) })
            }
            What::Mark(0) => Event::Carrier(CarrierEvent::Mark(MarkId(1_000 + self.word))),
            What::Mark(at) => {
                let mark = self.marks.len().checked_sub(at).and_then(|at| self.marks.get(at)).copied();
                Event::Carrier(CarrierEvent::Mark(mark.unwrap_or(MarkId(0))))
            }
            What::Media(bytes) => Event::Carrier(CarrierEvent::Media(Bytes::from(vec![0xFF; bytes]))),
            What::Digit => Event::Carrier(CarrierEvent::Digit('#')),
            What::Speech(true) => Event::Speech(SpeechEvent::Started),
            What::Speech(false) => Event::Speech(SpeechEvent::Stopped),
            What::Stopped => Event::Carrier(CarrierEvent::Stopped),
            What::Lost => Event::Carrier(CarrierEvent::Lost),
            What::Garbage => Event::Tts(TtsEvent::Garbage),
            What::Ignored => Event::Carrier(CarrierEvent::Ignored),
            What::Wake => Event::Wake,
            What::Drain => Event::Drain,
            What::Leave => Event::Leave,
        };
        self.handle(event);
    }

    fn start(&self, format: usize, listens_only: bool) -> Event {
        let format = match format {
            0 => MediaFormat { frame_ms: 0, ..MediaFormat::TELEPHONE },
            1 => MediaFormat { rate: 11_025, ..MediaFormat::TELEPHONE },
            2 => MediaFormat { frame_ms: 100, ..MediaFormat::TELEPHONE },
            _ => MediaFormat::TELEPHONE,
        };
        debug_assert!(format.encoding == Encoding::Mulaw, "labels survive only if nothing is encoded anew");
        worlds::start_of(format, (!listens_only).then_some(format))
    }

    fn audio(&mut self, context: usize, bytes: usize) -> Event {
        let context = self.context(context);
        let from = self.given.entry(context).or_default();
        let audio = audio_of(MediaFormat::TELEPHONE, context, *from, bytes);
        *from += bytes;
        Event::Tts(TtsEvent::Audio { context, audio: Bytes::from(audio) })
    }

    /// Words that follow the audio that was given, more or less; some were never written.
    fn words(&self, context: usize, count: u64, pace_ms: u64) -> Event {
        let context = self.context(context);
        let given = self.given.get(&context).copied().unwrap_or(0) / bytes_per_ms(MediaFormat::TELEPHONE);
        let word = |n: u64| TimedWord {
            text: format!("w{}", self.word.saturating_sub(count) + n),
            start_us: (given as u64 + n * pace_ms) * 1_000,
            end_us: (given as u64 + (n + 1) * pace_ms) * 1_000,
        };
        Event::Tts(TtsEvent::Words { context, words: (0..count).map(word).collect() })
    }

    fn next_word(&mut self) -> String {
        self.word += 1;
        let mark = match self.word % 11 {
            0 => ". ",
            4 => ", ",
            7 => " -- ",
            _ => " ",
        };
        format!("w{}{mark}", self.word)
    }
}

fn fault(kind: FaultKind) -> Fault {
    Fault { kind, reason: "absurd".to_owned() }
}
