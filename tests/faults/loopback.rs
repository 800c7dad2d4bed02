//! A handful of the same calls in real time, over the sockets of this machine: what the pipes and the paused clock hide.

use crate::cell::{self, Behind};
use crate::faults::{Cause, FAULTS, Fault};
use crate::network::{Made, Times};
use crate::runs::{Time, side_by_side};
use crate::vendors::{ROWS, Row};

/// One of each kind: nothing, a socket that is cut, an error, a limit, a vendor that falls silent, and noise.
const CAUSES: [Cause; 6] = [
    Cause::Nothing,
    Cause::Switch("abort=5"),
    Cause::Switch("error-500=3"),
    Cause::Switch("handshake-429"),
    Cause::Switch("stall=5"),
    Cause::Switch("garbage"),
];

#[test]
fn a_handful_over_loopback() {
    let mut jobs: Vec<(&Row, &Fault)> = Vec::new();
    for cause in CAUSES {
        let fault = FAULTS.iter().find(|fault| fault.cause == cause).unwrap();
        jobs.extend(ROWS.iter().map(|row| (row, fault)));
    }
    let verdicts =
        side_by_side(Time::Real, &jobs, |(row, fault)| cell::run(Made::Tcp, row, Behind::Nobody, fault, Times::Once));
    let failed: Vec<String> = jobs
        .iter()
        .zip(verdicts)
        .filter_map(|((row, fault), verdict)| verdict.err().map(|why| format!("{}, {}: {why}", row.name, fault.about)))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
