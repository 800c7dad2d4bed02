//! The table of the documentation, made of what the calls of this test did.

use crate::cell::{self, Behind, Verdict};
use crate::checks::Who;
use crate::docs::{self, seconds};
use crate::faults::{FAULTS, Fault};
use crate::network::{Made, Times};
use crate::runs::{Time, side_by_side};
use crate::vendors::{ROWS, Row};

/// One cell to fill.
#[derive(Clone, Copy)]
struct Job {
    fault: &'static Fault,
    row: &'static Row,
    times: Times,
}

#[test]
fn every_vendor_alone_under_every_fault() {
    fill(Behind::Nobody, "faults");
}

#[test]
fn every_vendor_with_the_local_voice_behind_it_under_every_fault() {
    fill(Behind::Local, "failover");
}

/// Fills the table of all vendors with somebody, or nobody, behind them.
fn fill(behind: Behind, section: &str) {
    // Who speaks on under a fault when alone needs nobody behind it.
    let faults: Vec<&Fault> = FAULTS.iter().filter(|fault| behind == Behind::Nobody || !fault.is_harmless).collect();
    let mut jobs = Vec::new();
    for fault in &faults {
        for row in ROWS {
            jobs.extend([Times::Once, Times::Always].map(|times| Job { fault, row, times }));
        }
    }
    let verdicts = side_by_side(Time::Paused, &jobs, |Job { fault, row, times }| {
        cell::run(Made::Pipes, row, behind, fault, times)
    });
    let mut cells = Vec::new();
    let mut failed = Vec::new();
    for (Job { fault, row, times }, verdict) in jobs.iter().zip(&verdicts) {
        let name = format!("{} ({times:?}), {}", fault.about, row.name);
        match verdict {
            Err(why) => failed.push(format!("{name}: {why}")),
            Ok(verdict) => {
                println!("{name:65} {verdict:?}");
                cells.push(*verdict);
            }
        }
    }
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), jobs.len(), failed.join("\n"));
    every_fault_happens(&faults, &jobs, &cells);
    docs::compare(section, &markdown(&faults, &cells));
}

/// A fault that leaves no trace at any vendor did not happen, and its line of the table says nothing.
fn every_fault_happens(faults: &[&Fault], jobs: &[Job], cells: &[Option<Verdict>]) {
    let verdict_of = |about: &str, row: &Row| {
        let is_it =
            |(job, _): &(&Job, _)| job.fault.about == about && job.row.name == row.name && job.times == Times::Always;
        jobs.iter().zip(cells).find(is_it).and_then(|(_, verdict)| *verdict)
    };
    let good = faults[0].about;
    for fault in &faults[1..] {
        let leaves_a_trace =
            |row: &&Row| verdict_of(fault.about, row).is_some_and(|verdict| Some(verdict) != verdict_of(good, row));
        assert!(ROWS.iter().any(|row| leaves_a_trace(&row)), "{} does not happen", fault.about);
    }
}

/// The table: a line for each fault, a column for each vendor, two verdicts in each cell.
fn markdown(faults: &[&Fault], cells: &[Option<Verdict>]) -> String {
    let head: Vec<&str> = ["What goes wrong"].into_iter().chain(ROWS.iter().map(|row| row.name)).collect();
    let lines = cells.chunks(2 * ROWS.len()).zip(faults).map(|(line, fault)| {
        let cells = line.chunks(2).map(|cell| match cell {
            [Some(once), Some(always)] => format!("{} / {}", told(once.first, once), told(always.last, always)),
            _ => "-".to_owned(),
        });
        (fault.about.to_owned(), cells.collect())
    });
    docs::table(&head, &lines.collect::<Vec<_>>())
}

/// The longest silence, in the type that says who spoke: of a fault that happened once the first turn, which it met, and of
/// one that is there for ever the last turn.
fn told(who: Who, verdict: &Verdict) -> String {
    match who {
        Who::Vendor => seconds(verdict.silence),
        Who::Next => format!("**{}**", seconds(verdict.silence)),
        Who::Fallback => format!("*{}*", seconds(verdict.silence)),
    }
}
