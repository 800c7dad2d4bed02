//! A call that is being written down, step by step.

use trunkline::audio::{Encoding, vad};
use trunkline::call::event::{AgentEvent, Say};
use trunkline::call::settings::{Buffering, Interruptible};
use trunkline::ids::{CallTime, TurnId};

use crate::agent::Agent;
use crate::cartesia::{Manner, Mishap};
use crate::plan::{Network, Plan, Step, Talk};
use crate::random::clip;
use crate::session::Wanted;
use crate::sound::{PER_MS, SILENCE, Sound};
use crate::tongues::Brand;
use crate::twilio::Marks;

/// A call that is being written down.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) plan: Plan,
    said: Vec<(CallTime, AgentEvent)>,
    /// Our process sleeps, so that when it wakes up belongs to the tape.
    pub(crate) sleeps: bool,
}

pub(crate) fn at(ms: u64) -> CallTime {
    CallTime::from_millis(ms)
}

impl Scene {
    /// A call of `length_ms` in which nothing goes wrong and nobody says anything.
    pub(crate) fn new(name: &'static str, length_ms: u64) -> Self {
        let manner = Manner {
            char_ms: 60,
            first_ms: (90, 90),
            speed_percent: 400,
            chunk_bytes: (800, 800),
            timed: true,
            foretold: true,
            faults: 0,
            refusals: 0,
            obeys: 1_000,
            flush_each: false,
            expires: true,
            dial_ms: (60, 60),
        };
        let plan = Plan {
            seed: 7,
            wanted: Some(Wanted {
                encoding: Encoding::Mulaw,
                rate: Some(8_000),
                buffering: Buffering::Gateway,
                brand: Brand::Cartesia,
            }),
            interruptible: Interruptible::Any,
            talk: Talk::default(),
            detector: vad::Settings::default(),
            sound: Sound::Tones,
            network: Network::CALM,
            marks: Marks::Honest,
            manner,
            vendor_ms: (20, 20),
            agent: Agent::scripted(Vec::new()),
            steps: Vec::new(),
            caller: Vec::new(),
            quiet_bytes: 160,
            quiet_every: 1,
            meddling: 0,
            sleeps: false,
            lively_until: at(length_ms),
            ending: None,
        };
        let scene = Scene { name, plan, said: Vec::new(), sleeps: false };
        scene.step(length_ms, Step::Stop)
    }

    pub(crate) fn step(mut self, ms: u64, step: Step) -> Self {
        self.plan.steps.push((at(ms), step));
        self.plan.steps.sort_by_key(|(at, _)| *at);
        self
    }

    pub(crate) fn vendor(self, ms: u64, mishap: Mishap) -> Self {
        self.step(ms, Step::Vendor(mishap))
    }

    pub(crate) fn manner(mut self, change: impl FnOnce(&mut Manner)) -> Self {
        change(&mut self.plan.manner);
        self
    }

    /// Another vendor speaks.
    pub(crate) fn by(self, brand: Brand) -> Self {
        let scene = self.manner(|manner| manner.expires = false);
        scene.plan(|plan| plan.wanted = plan.wanted.map(|wanted| wanted.by(brand)))
    }

    pub(crate) fn plan(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.plan);
        self
    }

    /// The agent says the whole of a turn.
    pub(crate) fn say(self, ms: u64, turn: u32, text: &str) -> Self {
        self.piece(ms, turn, text, true, None)
    }

    /// The agent says a part of a turn.
    pub(crate) fn piece(
        mut self,
        ms: u64,
        turn: u32,
        text: &str,
        last: bool,
        interruptible: Option<Interruptible>,
    ) -> Self {
        let say = Say {
            turn: TurnId(turn),
            text: text.to_owned(),
            last,
            flush: false,
            interruptible,
            delivery: None,
            preemptible: None,
        };
        self.said.push((at(ms), AgentEvent::Say(say)));
        self
    }

    /// The agent says a part of a turn as a language model does: a token every 20 ms.
    pub(crate) fn stream(mut self, ms: u64, turn: u32, tokens: &[&str]) -> Self {
        for (n, token) in tokens.iter().enumerate() {
            self = self.piece(ms + 20 * n as u64, turn, token, false, None);
        }
        self
    }

    /// What was said so far is to be spoken, as the server asks when a stream of text pauses for 400 ms.
    pub(crate) fn flush(mut self, ms: u64, turn: u32) -> Self {
        let (turn, text) = (TurnId(turn), String::new());
        let say = Say { turn, text, last: false, flush: true, interruptible: None, delivery: None, preemptible: None };
        self.said.push((at(ms), AgentEvent::Say(say)));
        self
    }

    /// A recorded caller, whose clip begins at `ms` on the line.
    pub(crate) fn caller(mut self, ms: u64, name: &str) -> Self {
        self.add(ms, &clip(name));
        self
    }

    pub(crate) fn add(&mut self, ms: u64, sound: &[u8]) {
        let from = ms as usize * PER_MS;
        let line = &mut self.plan.caller;
        line.resize(line.len().max((from + sound.len()).next_multiple_of(20 * PER_MS)), SILENCE);
        line[from..from + sound.len()].copy_from_slice(sound);
    }

    pub(crate) fn ready(mut self) -> (&'static str, bool, Plan) {
        self.said.sort_by_key(|(at, _)| *at);
        self.plan.agent = Agent::scripted(self.said);
        (self.name, self.sleeps, self.plan)
    }
}
