//! The properties, asked about a tape.
//!
//! A property has to know whose speech a frame is, and speech on a tape does not say. So the voices speak labels here: each
//! chunk is as long as it was, and carries the name of its context and the number of each millisecond. The call paces by
//! length and listens only to its caller, so that it is the same call.

use std::collections::BTreeMap;
use std::time::Duration;

use trunkline::audio::{Encoding, MediaFormat, g711};
use trunkline::call::action::{Action, HearingCommand};
use trunkline::call::event::{Event, TtsEvent, VoiceIndex};
use trunkline::dialect::{Input, Peers, Port};
use trunkline::ids::{CallTime, ContextId};
use trunkline::replay::Session;
use trunkline::tape::{Entry, Tape, Wakes, What};

use crate::checks::PROPERTIES;
use crate::evidence::Evidence;
use crate::label::{audio_of, bytes_per_ms};
use crate::trace::{Recorder, Trace};

/// A wake-up that came later than this after the call had asked for it means that the process slept.
const SLEPT: Duration = Duration::from_millis(10);

/// The properties that do not hold.
pub(crate) fn broken(tape: &Tape) -> Vec<String> {
    let trace = labelled(tape);
    let evidence = Evidence::new(&trace);
    let faults = PROPERTIES.iter().filter_map(|(name, check)| check(&evidence).err().map(|fault| (name, fault)));
    faults.map(|(name, fault)| format!("{name} does not hold: {fault}")).collect()
}

fn labelled(tape: &Tape) -> Trace {
    let mut settings = tape.header.settings.clone();
    let mut labels = Labels::default();
    for voice in &mut settings.voices {
        let rate = voice.rate.unwrap_or(MediaFormat::TELEPHONE.rate);
        labels.bytes_per_ms.push(rate as usize / 1_000 * if voice.encoding == Encoding::PcmS16Le { 2 } else { 1 });
        (voice.encoding, voice.rate) = (Encoding::Mulaw, None);
    }
    // The player, behind all voices, always gives linear samples at the line's rate. Behind it stands, in the same order and
    // the same formats, what the voices have spoken before.
    let spoken = labels.bytes_per_ms.clone();
    labels.bytes_per_ms.push(MediaFormat::TELEPHONE.rate as usize / 1_000 * 2);
    labels.bytes_per_ms.extend(spoken);
    labels.player = settings.voices.len();
    let mut recorder = Recorder::new(settings, tape.header.wakes == Wakes::Recorded && slept(tape));
    let mut peers = tape.header.peers();
    for entry in &tape.entries {
        if tape.header.wakes == Wakes::Due {
            while let Some(at) = recorder.wake_at().filter(|at| *at <= entry.at && !recorder.is_over()) {
                told(&mut peers, at, &recorder.handle(at, Event::Wake));
            }
        }
        if let Some(event) = entry.what.event(&mut peers) {
            told(&mut peers, entry.at, &recorder.handle(entry.at, labels.put_on(voice_of(entry), event)));
        }
    }
    recorder.trace
}

/// What peers say is understood by what they were told.
fn told(peers: &mut Peers, now: CallTime, actions: &[Action]) {
    for action in actions {
        match action {
            Action::Hearing(command) => {
                if let HearingCommand::Dial { link, language } = command {
                    peers.dial_hearing(*link, language.as_deref());
                }
                peers.hearing_messages(command, &mut |_| ());
            }
            Action::Agent(report) => peers.agent_messages(now, report, &mut |_| ()),
            Action::Carrier(_) | Action::Tts(_) | Action::End(_) => {}
        }
    }
}

/// Whether the process slept while the call was recorded.
fn slept(tape: &Tape) -> bool {
    let (mut session, mut slept) = (Session::new(&tape.header), false);
    for entry in &tape.entries {
        slept |= session.due().is_some_and(|due| entry.at.since(due) > SLEPT);
        session.take(entry.at, &entry.what, |_| ());
    }
    slept
}

/// Speech that says whose it is, in place of the speech on the tape.
#[derive(Default)]
struct Labels {
    /// Of each voice, as it was.
    bytes_per_ms: Vec<usize>,
    /// Which of them is the player.
    player: VoiceIndex,
    /// Bytes that came of each context, and labels that took their place.
    came: BTreeMap<ContextId, (usize, usize)>,
}

impl Labels {
    fn put_on(&mut self, voice: VoiceIndex, event: Event) -> Event {
        let Event::Tts(TtsEvent::Audio { context, audio }) = event else { return event };
        let (came, labels) = self.came.entry(context).or_default();
        *came += audio.len();
        let whole = *came * bytes_per_ms(MediaFormat::TELEPHONE) / self.bytes_per_ms[voice];
        let mut audio = audio_of(MediaFormat::TELEPHONE, context, *labels, whole - *labels);
        *labels = whole;
        if voice == self.player {
            let mut samples = Vec::new();
            g711::decode_mulaw_into(&audio, &mut samples);
            audio = samples.into_iter().flat_map(i16::to_le_bytes).collect();
        }
        Event::Tts(TtsEvent::Audio { context, audio: audio.into() })
    }
}

/// Which voice an entry comes from; a call's first one, if from none.
fn voice_of(entry: &Entry) -> VoiceIndex {
    match &entry.what {
        What::Input(Input { port: Port::Voice { voice, .. }, .. }) => *voice,
        _ => 0,
    }
}
