//! Many short calls, each with faults at random: a seed decides everything, and a call that fails names its own.
//!
//! `TRUNKLINE_SOAK_CALLS` makes more of them than the usual few hundred, `TRUNKLINE_SOAK_SEED` begins elsewhere,
//! and with `TRUNKLINE_SOAK_SHOW` each call says first what will go wrong with it.

use std::time::Duration;

use tokio::time::sleep;

use crate::bench::{Bench, Outcome, Spoken};
use crate::checks::{self, SILENCE_MAX};
use crate::faults::{Cause, FAULTS};
use crate::line::Sound;
use crate::network::{Made, Network, Times, Wire};
use crate::runs::{Time, side_by_side};
use crate::vendors::ROWS;

/// Calls of an ordinary run.
const CALLS: u64 = 300;
/// How often a caller's silence is heard: nobody listens for words here, and each frame costs.
const HUSH_EVERY: Duration = Duration::from_millis(200);
/// Texts of all lengths.
const TEXTS: [&str; 6] = [
    "Yes.",
    "One moment, please.",
    "This is how it all goes on.",
    "Your parcel left the depot at noon. It should be with you by the evening.",
    "We are open on weekdays. On Saturdays we close at two, and on Sundays nobody is here at all.",
    "There are three ways to pay. You can send a cheque. You can call us again tomorrow. Or somebody comes to your door.",
];

/// A generator of numbers that are the same on every machine (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, count: u64) -> u64 {
        self.next() % count
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    fn within(&mut self, ms: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(ms.start + self.below(ms.end - ms.start))
    }
}

#[test]
fn calls_with_faults_at_random() {
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (calls, first) = (number("TRUNKLINE_SOAK_CALLS", CALLS), number("TRUNKLINE_SOAK_SEED", 1));
    println!("{calls} calls from seed {first}");
    let seeds: Vec<u64> = (first..first + calls).collect();
    let ended = side_by_side(Time::Paused, &seeds, call);
    let mut sum = Told::default();
    let mut failed = Vec::new();
    for (seed, ended) in seeds.iter().zip(ended) {
        match ended {
            Ok(told) => sum.add(&told),
            Err(why) => failed.push(format!("seed {seed}: {why}")),
        }
    }
    println!("{sum:?}");
    assert!(failed.is_empty(), "{} of {calls} calls failed:\n{}", failed.len(), failed.join("\n"));
}

/// What some calls did.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    turns: u64,
    cut: u64,
    by_fallback: u64,
    dialled: u64,
    silence: Duration,
}

impl Told {
    fn add(&mut self, other: &Told) {
        self.turns += other.turns;
        self.cut += other.cut;
        self.by_fallback += other.by_fallback;
        self.dialled += other.dialled;
        self.silence = self.silence.max(other.silence);
    }
}

/// One call, all of it drawn from `seed`.
async fn call(seed: u64) -> Told {
    let mut dice = Dice(seed);
    let row = dice.of(ROWS);
    let (mut switches, mut wire, mut is_mute) = (Vec::new(), Wire::Good, false);
    let times = *dice.of(&[Times::Once, Times::Always]);
    for _ in 0..dice.below(3) {
        let fault = dice.of(FAULTS);
        is_mute |= fault.is_mute;
        match fault.cause {
            Cause::Wire(cause) => wire = cause,
            Cause::Switch(_) | Cause::Nothing => {
                // One that cannot happen to this vendor is left out.
                switches
                    .extend(fault.switch(times).filter(|switch| (row.vendor)(std::slice::from_ref(switch)).is_some()));
            }
        }
    }
    let vendor = (row.vendor)(&switches).unwrap();
    if std::env::var_os("TRUNKLINE_SOAK_SHOW").is_some() {
        println!("seed {seed}: {} {switches:?} {wire:?} {times:?}", row.name);
    }
    let network = Network::of(Made::Pipes);
    network.place(&row.host(), vendor.clone(), wire, times);
    let bench = Bench::changed(&network, &row.toml(&[]), HUSH_EVERY, |_| {});
    let mut turns = Vec::new();
    let mut told = Told::default();
    for _ in 0..1 + dice.below(4) {
        let text = *dice.of(&TEXTS);
        told.turns += 1;
        if dice.below(3) == 0 {
            turns.push(bench.cut_off(text, dice.within(0..2_500)).await);
            told.cut += 1;
        } else {
            turns.push(bench.speak(text).await);
        }
        sleep(dice.within(0..3_000)).await;
    }
    let end = bench.now();
    if dice.below(4) == 0 {
        // Hung up in the middle of a word, or before the first.
        let text: &str = dice.of::<&str>(&TEXTS);
        bench.say(text).await;
        sleep(dice.within(0..3_000)).await;
    }
    let outcome = bench.hang_up().await;
    told.silence = checks::silence(&outcome, &turns, SILENCE_MAX, |sound| is_mute || sound != Sound::Silence);
    checks::nothing_stale(&outcome, &turns, end, &vendor.said());
    for turn in &turns {
        check_turn(&outcome, turn, &mut told);
    }
    told.dialled = network.counts.dialled.load(std::sync::atomic::Ordering::Relaxed);
    told
}

/// What was heard is what was to be said, or its beginning.
fn check_turn(outcome: &Outcome, turn: &Spoken, told: &mut Told) {
    told.by_fallback += u64::from(outcome.failed(turn.turn));
    let mut rest = turn.text.split_whitespace();
    for word in turn.heard.text.split_whitespace() {
        assert!(rest.any(|other| other == word), "{word} was heard again, or was never to be said: {turn:?}");
    }
    assert!(turn.text.starts_with(turn.heard.text.trim_end()), "{turn:?}");
}
