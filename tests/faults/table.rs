//! The table of the documentation, made of what the calls of this test did.

use crate::cell;
use crate::faults::{FAULTS, Fault};
use crate::network::Times;
use crate::runs::side_by_side;
use crate::vendors::{ROWS, Row};

/// One cell to fill.
#[derive(Clone, Copy)]
struct Job {
    row: &'static Row,
    fault: &'static Fault,
    times: Times,
}

#[test]
fn every_vendor_under_every_fault() {
    let mut jobs = Vec::new();
    for fault in FAULTS {
        for row in ROWS {
            jobs.extend([Times::Once, Times::Always].map(|times| Job { row, fault, times }));
        }
    }
    let verdicts = side_by_side(&jobs, |Job { row, fault, times }| cell::run(row, fault, times));
    let mut failed = Vec::new();
    for (Job { row, fault, times }, verdict) in jobs.iter().zip(&verdicts) {
        let name = format!("{} ({:?}), {}", fault.about, times, row.name);
        match verdict {
            Err(why) => failed.push(format!("{name}: {why}")),
            Ok(Some(verdict)) => println!("{name:60} {verdict:?}"),
            Ok(None) => println!("{name:60} -"),
        }
    }
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), jobs.len(), failed.join("\n"));
}
