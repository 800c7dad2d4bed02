//! Conversations with a language model whose caller interrupts at any moment: what the model is shown of its own answers is
//! what the carrier played.
//!
//! The world's own checks compare each report with the carrier's ear, word by word; here the history is compared with the
//! reports.

use std::sync::{Arc, Mutex};

use trunkline::audio::{Encoding, vad};
use trunkline::call::event::SpeechEvent;
use trunkline::call::settings::{Buffering, Interruptible};
use trunkline::ids::CallTime;

use crate::agent::Agent;
use crate::cartesia::Manner;
use crate::dice::Dice;
use crate::plan::{Network, Plan, Step, Talk};
use crate::session::Wanted;
use crate::sound::Sound;
use crate::thinker::Thinker;
use crate::tongues::Brand;
use crate::twilio::Marks;
use crate::world::World;

/// Interruptions that are survived at least.
const INTERRUPTIONS: u64 = 300;
/// Interruptions in one call, and the time in which they come.
const EACH: u64 = 8;
const LIVELY_MS: u64 = 60_000;

fn plan(seed: u64, agent: Agent) -> Plan {
    let mut dice = Dice::new(seed);
    let manner = Manner {
        char_ms: 60,
        first_ms: (60, 150),
        speed_percent: 400,
        chunk_bytes: (400, 1_600),
        timed: true,
        foretold: true,
        faults: 0,
        refusals: 0,
        obeys: 1_000,
        flush_each: false,
        expires: true,
        dial_ms: (60, 60),
    };
    let mut steps = Vec::new();
    for n in 0..EACH {
        let at = CallTime::ZERO + dice.millis(n * LIVELY_MS / EACH, (n + 1) * LIVELY_MS / EACH - 1_500);
        steps.push((at, Step::Speech(SpeechEvent::Started)));
        steps.push((at + dice.millis(200, 1_200), Step::Speech(SpeechEvent::Stopped)));
    }
    Plan {
        seed,
        wanted: Some(Wanted {
            encoding: Encoding::Mulaw,
            rate: Some(8_000),
            buffering: Buffering::Gateway,
            brand: Brand::Cartesia,
        }),
        interruptible: Interruptible::Any,
        detector: vad::Settings::default(),
        sound: Sound::Counted,
        network: Network::CALM,
        marks: Marks::Honest,
        manner,
        vendor_ms: (20, 20),
        agent,
        steps,
        caller: Vec::new(),
        quiet_bytes: 160,
        quiet_every: 1,
        talk: Talk::default(),
        meddling: 0,
        sleeps: false,
        lively_until: CallTime::from_millis(LIVELY_MS),
        ending: Some(Step::Stop),
    }
}

#[test]
fn what_the_model_is_shown_is_what_was_heard() {
    let (mut cut, mut whole, mut partly, mut asked, mut seed) = (0, 0, 0, 0, 0);
    while cut < INTERRUPTIONS {
        seed += 1;
        assert!(seed < INTERRUPTIONS, "the callers are too quiet: {cut} interruptions");
        let thinker = Arc::new(Mutex::new(Thinker::new()));
        let mut world = World::new(plan(seed, Agent::thinking(thinker.clone())));
        world.live();
        for (turn, told) in &world.cuts {
            let played = world.played_words(*turn);
            assert!((*told..=told + 1).contains(&played), "seed {seed}: {told} words of {turn} told, {played} played");
        }
        let thinker = thinker.lock().unwrap();
        for said in thinker.brain.history().said() {
            let fate = said.fate.as_ref().unwrap_or_else(|| panic!("seed {seed}: turn {} has no end", said.turn));
            assert_eq!(fate.heard, thinker.heard[&said.turn], "seed {seed}: turn {}", said.turn);
            assert!(said.sent.starts_with(&fate.heard), "seed {seed}: {said:?}");
            match (fate.was_cut, fate.heard.is_empty()) {
                (false, _) => whole += 1,
                (true, false) => partly += 1,
                (true, true) => {}
            }
        }
        cut += thinker.cut;
        asked += thinker.asked;
    }
    println!(
        "{seed} calls, {asked} questions, {cut} turns cut off, {partly} of them partly heard, {whole} heard whole"
    );
    // Callers who always or never interrupt at the same place would prove little.
    assert!(partly > INTERRUPTIONS / 2 && whole > INTERRUPTIONS / 4, "{partly} partly, {whole} whole");
}
