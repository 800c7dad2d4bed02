//! One cell of the table: a call of three turns, the second cut off, through one vendor under one fault.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use crate::bench::Bench;
use crate::checks::{self, Who};
use crate::faults::Fault;
use crate::network::{Made, Network, Times};
use crate::vendors::Row;

/// Words short enough to be whole even in the few chunks that some faults let through.
const TEXT: &str = "This is how it all goes on.";
/// Long enough to be cut off in the middle.
const LONG: &str = "And now we talk for far too long so that you can cut us off in the end.";
/// From the first sound of the second turn to its end.
const CUT_AFTER: Duration = Duration::from_millis(500);
/// Between `clear` and the last turn, so that what comes after `clear` is not the new turn's speech.
const PAUSE: Duration = Duration::from_millis(300);
/// Bytes that vendors could write and the call had not read, at most: what a few pipes hold.
const UNREAD_MAX: u64 = 16 * 1024;

/// What became of a call under a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) first: Who,
    pub(crate) last: Who,
    /// The longest silence while speech was owed.
    pub(crate) silence: Duration,
    /// Connections asked for.
    pub(crate) dialled: u64,
    /// Contexts or requests begun.
    pub(crate) contexts: usize,
    /// Bytes that the vendor wrote.
    pub(crate) written: u64,
}

/// Runs the call and checks every promise; panics with the first one that is broken. `None`: the fault cannot happen to
/// the vendor.
pub(crate) async fn run(made: Made, row: &Row, fault: &Fault, times: Times) -> Option<Verdict> {
    let switches: Vec<String> = fault.switch(times).into_iter().collect();
    let vendor = (row.vendor)(&switches)?;
    let network = Network::of(made);
    network.place(&row.host(), vendor.clone(), fault.wire(), times);
    let bench = Bench::start(&network, &row.toml());
    let first = bench.speak(TEXT).await;
    let cut = bench.cut_off(LONG, CUT_AFTER).await;
    sleep(PAUSE).await;
    let last = bench.speak(TEXT).await;
    let outcome = bench.hang_up().await;
    let contexts = vendor.contexts();
    let turns = [first, cut, last];
    let silence = checks::silence(&outcome, &turns);
    checks::nothing_stale(&outcome, &turns, Duration::MAX, &contexts);
    let unread = network.counts.unread_max.load(Ordering::Relaxed);
    // What the system's own buffers hold is its affair.
    assert!(unread <= UNREAD_MAX || made == Made::Tcp, "{unread} bytes waited to be read");
    let (first, last) = (checks::who(&outcome, &turns[0]), checks::who(&outcome, &turns[2]));
    let verdict = Verdict {
        first,
        last,
        silence,
        dialled: network.counts.dialled.load(Ordering::Relaxed),
        contexts: contexts.len(),
        written: network.counts.written.load(Ordering::Relaxed),
    };
    let is_healed = times == Times::Once && !fault.is_final;
    assert!(!is_healed || last == Who::Vendor, "the fault is over, and the vendor is not back: {verdict:?}");
    Some(verdict)
}
