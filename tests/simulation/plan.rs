//! What happens in one simulated call: thrown by dice from a seed, or written down as a scenario.

use trunkline::audio::{Encoding, vad};
use trunkline::call::event::{AgentEvent, SpeechEvent};
use trunkline::call::phrases::Phrase;
use trunkline::call::settings::{Buffering, Conversation, Interruptible};
use trunkline::ids::CallTime;
use trunkline::tape;

use crate::agent::{Agent, Temper};
use crate::cartesia::{Manner, Mishap};
use crate::dice::Dice;
use crate::session::{Body, Wanted};
use crate::sound::Sound;
use crate::tongues::Brand;
use crate::twilio::Marks;

/// The way between the gateway and the carrier, in both directions alike.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) delay_ms: u64,
    pub(crate) jitter_ms: u64,
    /// Of a hundred thousand messages, how many are followed by an outage.
    pub(crate) outages: u64,
    pub(crate) outage_ms: u64,
    /// Of a thousand messages of the carrier, how many are lost, come out of order, are followed by nonsense.
    pub(crate) loss: u64,
    pub(crate) disorder: u64,
    pub(crate) garbage: u64,
}

impl Network {
    pub(crate) const CALM: Network =
        Network { delay_ms: 20, jitter_ms: 0, outages: 0, outage_ms: 0, loss: 0, disorder: 0, garbage: 0 };
}

/// Something that the caller, the carrier, the vendor or the machine does at its time.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The caller's detector is said to have heard something.
    Speech(SpeechEvent),
    Digit(char),
    /// The carrier sends this.
    Raw(String),
    Binary(&'static [u8]),
    /// Nothing reaches anybody for so long.
    Outage(u64),
    /// From now on every message of the carrier comes late and overtaken by others; the next time, no longer.
    Swap,
    /// The vendor suffers.
    Vendor(Mishap),
    /// The process sleeps for so many milliseconds.
    Sleep(u64),
    Drain,
    /// The carrier ends the stream, or its socket breaks.
    Stop,
    Die(Option<u16>),
    /// The agent does something.
    Agent(AgentEvent),
    /// Something arrives from whoever writes down what the caller says, on one of the links.
    Hearing(u32, Body),
    /// Something arrives from the app.
    App(Body),
}

/// How a call is a conversation, and in whose languages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Talk {
    pub(crate) conversation: Conversation,
    pub(crate) hearing: Option<tape::Hearing>,
    pub(crate) app: Option<tape::Agent>,
    /// What may have been spoken before, and whether it was.
    pub(crate) phrases: Vec<(Phrase, bool)>,
}

/// The whole of a call.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) wanted: Option<Wanted>,
    pub(crate) interruptible: Interruptible,
    pub(crate) talk: Talk,
    pub(crate) detector: vad::Settings,
    pub(crate) sound: Sound,
    pub(crate) network: Network,
    pub(crate) marks: Marks,
    pub(crate) manner: Manner,
    /// The way to the vendor.
    pub(crate) vendor_ms: (u64, u64),
    pub(crate) agent: Agent,
    pub(crate) steps: Vec<(CallTime, Step)>,
    /// The caller's audio in mu-law from the start of the stream on; then silence in frames of `quiet_bytes`.
    pub(crate) caller: Vec<u8>,
    pub(crate) quiet_bytes: usize,
    /// Of so many of those frames, one is sent.
    pub(crate) quiet_every: usize,
    /// Of ten thousand frames of the caller, how many are followed by something that was not planned.
    pub(crate) meddling: u64,
    pub(crate) sleeps: bool,
    /// The agent and the caller do new things until then.
    pub(crate) lively_until: CallTime,
    /// How the call ends once nothing is owed; `None` leaves that to the steps.
    pub(crate) ending: Option<Step>,
}

impl Plan {
    /// The call of a seed. `clips` are recordings of callers.
    pub(crate) fn random(seed: u64, clips: &[Vec<u8>]) -> Self {
        let mut dice = Dice::new(seed);
        let delay = std::time::Duration::from_millis(dice.pick(&[200, 1_000, 3_000]));
        let buffering = dice.pick(&[Buffering::Gateway, Buffering::Vendor { max_delay: delay }]);
        let is_wide = dice.happens(60);
        let encoding = if is_wide || dice.happens(400) { Encoding::PcmS16Le } else { Encoding::Mulaw };
        let rate = if is_wide { Some(16_000) } else { dice.pick(&[None, Some(8_000)]) };
        // Every other call is Cartesia's; the seed chooses, so that the dice fall as they always did.
        let brand = match seed % 8 {
            3 => Brand::Gradium,
            5 => Brand::Elevenlabs,
            6 => Brand::Rime,
            7 => Brand::Gradium,
            _ => Brand::Cartesia,
        };
        let wanted = Wanted { encoding, rate, buffering, brand: Brand::Cartesia }.by(brand);
        let network = random_network(&mut dice);
        let marks = dice.pick(&[
            Marks::Honest,
            Marks::Honest,
            Marks::Honest,
            Marks::Honest,
            Marks::Late,
            Marks::Never,
            Marks::AtOnce,
            Marks::Flood,
        ]);
        let mut manner = random_manner(&mut dice);
        manner.expires = brand == Brand::Cartesia;
        // Characters and their times come with the audio in which they are heard.
        manner.foretold |= brand == Brand::Elevenlabs;
        let temper = Temper {
            pauses_ms: dice.pick(&[vec![1_500, 4_000, 9_000], vec![100, 1_000, 4_000], vec![12_000]]),
            stubborn: dice.happens(500),
            firm: dice.pick(&[0, 100, 300]),
            tools: dice.pick(&[0, 5, 30]),
            open: dice.pick(&[0, 0, 50]),
            long: dice.pick(&[0, 0, 60]),
        };
        let length_s = 12 + dice.below(30);
        let caller = if dice.happens(120) { talk(clips, length_s, &mut dice) } else { Vec::new() };
        let quiet_bytes = if dice.happens(100) { 160 } else { 4 };
        let ending = dice.pick(&[
            Step::Stop,
            Step::Stop,
            Step::Stop,
            Step::Die(Some(1006)),
            Step::Die(None),
            Step::Agent(AgentEvent::HangUp),
        ]);
        let mut steps = Vec::new();
        if dice.happens(150) {
            // The caller hangs up in the middle of whatever is going on.
            steps.push((CallTime::from_millis(2_000 + dice.below(length_s * 1_000)), ending.clone()));
        }
        let wanted = if dice.happens(60) { None } else { Some(wanted) };
        Plan {
            seed,
            wanted,
            interruptible: dice.pick(&[
                Interruptible::Any,
                Interruptible::Any,
                Interruptible::Any,
                Interruptible::Speech,
                Interruptible::Dtmf,
                Interruptible::None,
            ]),
            talk: Talk::default(),
            detector: vad::Settings::default(),
            sound: if is_wide { Sound::Tones } else { Sound::Counted },
            network,
            marks,
            manner,
            vendor_ms: dice.pick(&[(5, 5), (20, 60), (80, 200)]),
            agent: Agent::random(temper, &mut dice),
            steps,
            caller,
            quiet_bytes,
            quiet_every: 1,
            meddling: dice.pick(&[0, 30, 100, 100, 300]),
            sleeps: dice.happens(200),
            lively_until: CallTime::from_millis(length_s * 1_000),
            ending: Some(ending),
        }
    }
}

fn random_network(dice: &mut Dice) -> Network {
    let is_bad = dice.happens(250);
    let rough = |dice: &mut Dice, from: &[u64]| if is_bad { dice.pick(from) } else { 0 };
    Network {
        delay_ms: dice.pick(&[1, 15, 40, 120]),
        jitter_ms: dice.pick(&[0, 3, 8, 30, 60]),
        outages: rough(dice, &[0, 40, 120]),
        outage_ms: dice.pick(&[150, 400, 1_200]),
        loss: rough(dice, &[0, 2, 20]),
        disorder: rough(dice, &[0, 5, 40]),
        garbage: rough(dice, &[0, 5, 30]),
    }
}

fn random_manner(dice: &mut Dice) -> Manner {
    Manner {
        char_ms: dice.pick(&[40, 55, 60, 75]),
        first_ms: dice.pick(&[(60, 120), (40, 250), (90, 90)]),
        speed_percent: dice.pick(&[90, 130, 200, 400, 400, 1_000, 5_000]),
        chunk_bytes: dice.pick(&[(160, 160), (1, 3_000), (800, 800), (333, 1_111), (4_000, 9_000)]),
        timed: !dice.happens(150),
        foretold: dice.happens(700),
        faults: dice.pick(&[0, 0, 0, 10, 30, 120]),
        refusals: dice.pick(&[0, 0, 0, 100, 400]),
        obeys: dice.pick(&[0, 500, 1_000]),
        flush_each: dice.happens(300),
        expires: true,
        dial_ms: dice.pick(&[(30, 90), (100, 400), (600, 1_500)]),
    }
}

/// Recordings with pauses between them.
fn talk(clips: &[Vec<u8>], length_s: u64, dice: &mut Dice) -> Vec<u8> {
    let mut line = Vec::new();
    while (line.len() as u64) < length_s * 8_000 {
        line.resize(line.len() + (1_000 + dice.below(5_000)) as usize * crate::sound::PER_MS, crate::sound::SILENCE);
        line.extend(dice.pick(clips));
    }
    line
}
