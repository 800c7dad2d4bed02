//! Random calls, until enough hours of them were simulated.

use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::plan::Plan;
use crate::session;
use crate::sound::mulaw;
use crate::world::World;

/// Seeds that once failed.
const SEEDS: &str = include_str!("seeds.txt");
/// Simulated hours of a normal run.
const HOURS: u64 = 2;
/// The calls are shared between so many tests, which run beside one another.
const LANES: u64 = 2;
/// Recorded callers.
const CLIPS: [&str; 4] = ["question", "statement", "thank-you", "long"];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A recorded caller as mu-law.
pub(crate) fn clip(name: &str) -> Vec<u8> {
    let path = root().join(format!("fixtures/audio/{name}.wav"));
    let mut reader = hound::WavReader::open(&path).unwrap();
    reader.samples::<i16>().map(|sample| mulaw(sample.unwrap())).collect()
}

fn clips() -> Vec<Vec<u8>> {
    CLIPS.iter().map(|name| clip(name)).collect()
}

fn folder() -> PathBuf {
    root().join("target/simulation")
}

/// Lives the call of a seed; a failure leaves everything behind that is needed to see it again.
fn survives(seed: u64, clips: &[Vec<u8>]) -> World {
    let mut world = World::new(Plan::random(seed, clips));
    let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
    if let Err(cause) = lived {
        let tape = folder().join(format!("{seed}.jsonl"));
        let written = session::write(&tape, &world.header, &world.tape);
        let noted = fs::File::options().create(true).append(true).open(folder().join("seeds.txt"));
        let noted = noted.and_then(|mut file| writeln!(file, "{seed}"));
        let commit = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root()).output();
        let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
        eprintln!("seed {seed} failed {} into its call, at commit {commit}", world.now);
        eprintln!("its tape: {} ({written:?}); noted: {noted:?}", tape.display());
        eprintln!("add the seed to tests/simulation/seeds.txt once it is understood");
        resume_unwind(cause);
    }
    world
}

fn seeds_of(text: &str) -> Vec<u64> {
    let numbers = text.lines().filter_map(|line| line.split('#').next());
    numbers.map(str::trim).filter(|line| !line.is_empty()).map(|line| line.parse().unwrap()).collect()
}

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// What all lanes did together.
static CALLS: AtomicU64 = AtomicU64::new(0);
static SECONDS: AtomicU64 = AtomicU64::new(0);

/// Every second seed, until this lane has done its share.
fn lane(lane: u64) {
    let clips = clips();
    if let Some(seed) = env("TRUNKLINE_SEED") {
        if lane == 0 {
            let mut world = World::new(Plan::random(seed, &clips));
            world.story = true;
            world.live();
        }
        return;
    }
    let noted = fs::read_to_string(folder().join("seeds.txt")).unwrap_or_default();
    for seed in seeds_of(SEEDS).into_iter().chain(seeds_of(&noted)).filter(|seed| seed % LANES == lane) {
        survives(seed, &clips);
    }
    let (first, hours) =
        (env("TRUNKLINE_SIMULATE_FROM").unwrap_or(1), env("TRUNKLINE_SIMULATE_HOURS").unwrap_or(HOURS));
    let share = Duration::from_secs(3_600 * hours / LANES);
    let (mut lived, mut calls, mut heard, mut cut, mut clears) = (Duration::ZERO, 0, 0, 0, 0);
    for seed in (first * LANES + lane..).step_by(LANES as usize) {
        let world = survives(seed, &clips);
        lived += world.now.since(trunkline::ids::CallTime::ZERO);
        calls += 1;
        heard += world.checks.turns_heard;
        cut += world.checks.turns_cut;
        clears += world.clears();
        if lived >= share {
            break;
        }
    }
    println!("lane {lane}: {calls} calls, {} s, {heard} turns heard, {cut} cut off, {clears} clears", lived.as_secs());
    CALLS.fetch_add(calls, Ordering::Relaxed);
    SECONDS.fetch_add(lived.as_secs(), Ordering::Relaxed);
    // A world in which nobody is heard or cut off proves nothing.
    assert!(heard > calls && cut > calls && clears > calls / 4, "the calls are too quiet");
}

#[test]
fn any_call_keeps_the_promises() {
    lane(0);
}

#[test]
fn any_other_call_keeps_the_promises() {
    lane(1);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let clips = clips();
    for seed in 9_000..9_006 {
        let (one, two) = (survives(seed, &clips), survives(seed, &clips));
        assert_eq!((one.sent, one.checksum), (two.sent, two.checksum), "seed {seed}");
        // What was taken decides alone what is sent: a tape of the call is the call.
        let mut again = session::Session::new(&one.header);
        let mut sent = 0;
        for entry in &one.tape {
            again.take(entry.at, &entry.what, |_| sent += 1);
        }
        assert_eq!((sent, again.digest()), (one.sent, one.session().digest()), "seed {seed}");
    }
}
