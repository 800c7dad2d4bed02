//! Looks for a call that breaks a property: in closed worlds, played once for all properties, and in arbitrary events, a
//! series of its own for each.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseError, TestError, TestRunner};

use crate::checks::{PROPERTIES, Property};
use crate::evidence::Evidence;
use crate::{absurd, worlds};

/// Closed worlds of a test run, unless `TRUNKLINE_WORLDS` says otherwise.
const WORLDS: u64 = 2_500;
/// Sequences of arbitrary events for each property, unless `PROPTEST_CASES` says otherwise.
const SCRIPTS: u32 = 420;
/// Seeds of worlds that once failed, kept for what they showed then.
const ALWAYS: [u64; 8] = [30, 36, 149, 182, 447, 2_127, 5_621, 7_897];
/// Failing seeds that are named, of each property.
const NAMED_MAX: usize = 5;

/// Which seeds broke which property, and how.
type Findings = BTreeMap<&'static str, Vec<(u64, String)>>;

/// Fails unless `property` holds in every call.
pub(crate) fn hunt(property: Property) {
    let mut report = String::new();
    if let Some(seeds) = findings().get(property.0) {
        for (seed, fault) in seeds.iter().take(NAMED_MAX) {
            let _ = writeln!(report, "the world of seed {seed}: {fault}");
        }
        let replay = format!("TRUNKLINE_SEED={} cargo test --test properties {}", seeds[0].0, property.0);
        let _ = writeln!(report, "{} worlds in all; play the first one alone with\n    {replay}", seeds.len());
    }
    if seed_wanted().is_none() {
        report.extend(absurd_fault(property));
    }
    assert!(report.is_empty(), "{} does not hold, at commit {}\n{report}", property.0, commit());
}

/// Plays every world once and asks every property about it.
fn findings() -> &'static Findings {
    static FINDINGS: OnceLock<Findings> = OnceLock::new();
    FINDINGS.get_or_init(|| {
        let seeds: Vec<u64> = match seed_wanted() {
            Some(seed) => vec![seed],
            None => ALWAYS.into_iter().chain(0..number("TRUNKLINE_WORLDS").unwrap_or(WORLDS)).collect(),
        };
        let next = AtomicUsize::new(0);
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        std::thread::scope(|scope| {
            let work = || scope.spawn(|| search(&seeds, &next));
            let workers: Vec<_> = (0..threads).map(|_| work()).collect();
            let mut all = Findings::new();
            for found in workers.into_iter().map(|worker| worker.join().unwrap()) {
                for (name, faults) in found {
                    all.entry(name).or_default().extend(faults);
                }
            }
            all.values_mut().for_each(|faults| faults.sort());
            all
        })
    })
}

fn search(seeds: &[u64], next: &AtomicUsize) -> Findings {
    let mut found = Findings::new();
    while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
        let trace = worlds::play(*seed);
        if seed_wanted().is_some() {
            trace.tell();
        }
        let evidence = Evidence::new(&trace);
        for (name, check) in PROPERTIES {
            if let Err(fault) = check(&evidence) {
                found.entry(name).or_default().push((*seed, fault));
            }
        }
    }
    found
}

/// A sequence of arbitrary events that breaks a property, as short as it gets.
fn absurd_fault((name, check): Property) -> Option<String> {
    let mut config = Config { source_file: Some(file!()), ..Config::default() };
    config.failure_persistence = Some(Box::new(FileFailurePersistence::WithSource("regressions")));
    config.test_name = Some(name);
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = SCRIPTS;
    }
    if config.rng_seed == RngSeed::Random {
        // The same cases in every run, and others for every property.
        config.rng_seed = RngSeed::Fixed(name.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte)));
    }
    let outcome = TestRunner::new(config).run(&absurd::scripts(), |script| {
        let trace = absurd::play(&script);
        check(&Evidence::new(&trace)).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => None,
        Err(TestError::Fail(fault, script)) => {
            Some(format!("arbitrary events: {fault}\n{script:#?}\nkept in tests/properties/hunt.regressions\n"))
        }
        Err(TestError::Abort(cause)) => Some(format!("no arbitrary events: {cause}\n")),
    }
}

fn seed_wanted() -> Option<u64> {
    number("TRUNKLINE_SEED")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|value| value.parse().ok())
}

/// The commit that is tested, if there is a repository to ask.
fn commit() -> String {
    let asked = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().ok();
    let told = asked.filter(|answer| answer.status.success());
    told.map_or("unknown".to_owned(), |answer| String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}
