//! What a call was told and what it answered, whole. The properties are judged from this and from nothing inside the call.

use std::panic::{AssertUnwindSafe, catch_unwind};

use trunkline::audio::MediaFormat;
use trunkline::call::action::{Action, AgentReport, CarrierCommand};
use trunkline::call::event::{AgentEvent, CarrierEvent, Event};
use trunkline::call::settings::{Interruptible, Settings};
use trunkline::call::stats::Stats;
use trunkline::call::{Call, Timer};
use trunkline::ids::{CallTime, ContextId, TurnId};

/// What a carrier does with its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marks {
    Honest,
    Late,
    Never,
    AtOnce,
    /// Lost, late, doubled, out of order: a new throw of the dice for each.
    Wild,
}

/// One `handle` and everything that came of it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) now: CallTime,
    pub(crate) event: Event,
    pub(crate) actions: Vec<Action>,
    pub(crate) timeout: Option<(CallTime, Timer)>,
}

/// A piece of a turn, whoever speaks in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) turn: TurnId,
    pub(crate) text: &'a str,
    pub(crate) last: bool,
    pub(crate) interruptible: Option<Interruptible>,
}

impl Step {
    /// What is said because of it: by the agent, or by the gateway itself. A clip has no text.
    pub(crate) fn pieces(&self) -> Vec<Piece<'_>> {
        let mut pieces = Vec::new();
        match &self.event {
            Event::Agent(AgentEvent::Say(say) | AgentEvent::Up { greeting: Some(say) }) => {
                pieces.push(Piece { turn: say.turn, text: &say.text, last: say.last, interruptible: say.interruptible })
            }
            Event::Agent(AgentEvent::Play(play)) => {
                pieces.push(Piece { turn: play.turn, text: "", last: true, interruptible: play.interruptible });
            }
            _ => {}
        }
        pieces.extend(self.actions.iter().filter_map(|action| match action {
            // What may cut it off is not told.
            Action::Agent(AgentReport::Announced { turn, text }) => {
                Some(Piece { turn: *turn, text, last: true, interruptible: Some(Interruptible::Any) })
            }
            _ => None,
        }));
        pieces
    }
}

/// What a closed world knows besides, because it made the speech itself.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    pub(crate) marks: Marks,
    /// The first voice tells word times.
    pub(crate) timed: bool,
    /// And always before their audio.
    pub(crate) foretold: bool,
    /// The contexts of the first voice.
    pub(crate) scripts: Vec<ScriptTruth>,
    /// The steps before which our own process slept, and until when.
    pub(crate) sleeps: Vec<(usize, CallTime)>,
    /// Turns that were live when the world had been quiet for minutes.
    pub(crate) left_over: usize,
}

/// What a voice made of one context.
#[derive(Clone, Debug)]
pub(crate) struct ScriptTruth {
    pub(crate) context: ContextId,
    /// Milliseconds at which its words end.
    pub(crate) word_ends: Vec<u64>,
    /// From when on something was wrong with it.
    pub(crate) faulty: Option<CallTime>,
    /// When it said that it was done although it was not.
    pub(crate) lied: Option<CallTime>,
}

/// A whole call.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) settings: Settings,
    pub(crate) steps: Vec<Step>,
    pub(crate) stats: Stats,
    /// What the call panicked with, or that it did not move on.
    pub(crate) broke: Option<String>,
    /// Wake-ups may have come late.
    pub(crate) stalls: bool,
    /// Absent if the call was told anything at all.
    pub(crate) truth: Option<Truth>,
}

impl Trace {
    /// The format of the line: that of the first start that makes sense.
    pub(crate) fn format(&self) -> Option<MediaFormat> {
        let starts = self.steps.iter().filter_map(|step| match &step.event {
            Event::Carrier(CarrierEvent::Started(start)) => Some(start),
            _ => None,
        });
        let sound = |format: &MediaFormat| format.is_sound();
        starts.into_iter().find(|start| sound(&start.inbound) && start.outbound.iter().all(sound))?.outbound
    }

    /// Every action with the number and the time of its step.
    pub(crate) fn actions(&self) -> impl Iterator<Item = (usize, CallTime, &Action)> {
        let steps = self.steps.iter().enumerate();
        steps.flat_map(|(index, step)| step.actions.iter().map(move |action| (index, step.now, action)))
    }

    /// Prints what happened, but for frames and what is of no consequence.
    #[expect(clippy::print_stdout, reason = "a seed that is played alone tells its story")]
    pub(crate) fn tell(&self) {
        for step in &self.steps {
            if !matches!(step.event, Event::Wake | Event::Carrier(CarrierEvent::Media(_))) {
                println!("{} <- {:?}", step.now, Short(&step.event));
            }
            for action in &step.actions {
                if !matches!(action, Action::Carrier(CarrierCommand::Media { .. })) {
                    println!("{} -> {action:?}", step.now);
                }
            }
        }
    }
}

/// An event without its samples.
struct Short<'a>(&'a Event);

impl std::fmt::Debug for Short<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use trunkline::call::event::TtsEvent;
        match self.0 {
            Event::Tts(TtsEvent::Audio { context, audio }) => write!(f, "Audio {context}, {} bytes", audio.len()),
            event => write!(f, "{event:?}"),
        }
    }
}

/// A call that is being written down.
pub(crate) struct Recorder {
    call: Call,
    pub(crate) trace: Trace,
}

impl Recorder {
    pub(crate) fn new(settings: Settings, stalls: bool) -> Self {
        let call = Call::new(settings.clone());
        let stats = *call.stats();
        Recorder { call, trace: Trace { settings, steps: Vec::new(), stats, broke: None, stalls, truth: None } }
    }

    /// Hands an event to the call; what it wants done.
    pub(crate) fn handle(&mut self, now: CallTime, event: Event) -> Vec<Action> {
        if self.trace.broke.is_some() {
            return Vec::new();
        }
        let mut step = Step { now, event: event.clone(), actions: Vec::new(), timeout: None };
        let call = &mut self.call;
        let handled = catch_unwind(AssertUnwindSafe(|| {
            call.handle(now, event);
            step.actions.extend(std::iter::from_fn(|| call.poll_action()));
            step.timeout = call.poll_timeout();
        }));
        if let Err(cause) = handled {
            let text = cause.downcast_ref::<String>().cloned();
            let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            self.trace.broke = Some(format!("at {now}: {}", text.unwrap_or_default()));
        }
        self.trace.stats = *self.call.stats();
        let actions = step.actions.clone();
        self.trace.steps.push(step);
        actions
    }

    /// When the call wants to be woken. One that wants it in the past is not heeded at once, or time would stand still.
    pub(crate) fn wake_at(&self) -> Option<CallTime> {
        let step = self.trace.steps.last()?;
        step.timeout
            .map(|(at, _)| at.max(step.now + std::time::Duration::from_micros(u64::from(at <= step.now) * 1_000)))
    }

    /// Whether the call has ended or broken.
    pub(crate) fn is_over(&self) -> bool {
        self.call.is_over() || self.trace.broke.is_some()
    }
}
