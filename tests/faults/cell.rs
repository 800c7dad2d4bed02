//! One cell of the table: a call of three turns, the second cut off, through one vendor under one fault.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use crate::bench::Bench;
use crate::checks::{self, HANDOVER_MAX, SILENCE_MAX, Who};
use crate::faults::Fault;
use crate::line::Sound;
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
/// The same where another voice speaks meanwhile: a voice that failed rests for as long, and is then tried again.
const REST: Duration = Duration::from_secs(30);
/// Longest turn, whatever a vendor sends for its text.
const TURN_MAX: Duration = Duration::from_secs(45);
/// Bytes that vendors could write and the call had not read, at most: what a few pipes hold.
const UNREAD_MAX: u64 = 16 * 1024;

/// Who speaks when the vendor cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Nobody: the fallback line is said.
    Nobody,
    /// The local voice.
    Local,
}

impl Behind {
    fn chain(self) -> &'static [&'static str] {
        match self {
            Behind::Nobody => &[],
            Behind::Local => &["local"],
        }
    }

    fn silence_max(self) -> Duration {
        match self {
            Behind::Nobody => SILENCE_MAX,
            Behind::Local => HANDOVER_MAX,
        }
    }

    fn pause(self) -> Duration {
        match self {
            Behind::Nobody => PAUSE,
            Behind::Local => REST,
        }
    }

    /// How often a caller's silence is heard: each frame costs, and the rest is long.
    fn hush_every(self) -> Duration {
        match self {
            Behind::Nobody => Duration::from_millis(20),
            Behind::Local => Duration::from_millis(200),
        }
    }
}

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
pub(crate) async fn run(made: Made, row: &Row, behind: Behind, fault: &Fault, times: Times) -> Option<Verdict> {
    let switches: Vec<String> = fault.switch(times).into_iter().collect();
    let vendor = (row.vendor)(&switches)?;
    let network = Network::of(made);
    network.place(&row.host(), vendor.clone(), fault.wire(), times);
    let bench = Bench::changed(&network, &row.toml(behind.chain()), behind.hush_every(), |_| {});
    let first = bench.speak(TEXT).await;
    let cut = bench.cut_off(LONG, CUT_AFTER).await;
    sleep(behind.pause()).await;
    let last = bench.speak(TEXT).await;
    let outcome = bench.hang_up().await;
    let said = vendor.said();
    let turns = [first, cut, last];
    let silence =
        checks::silence(&outcome, &turns, behind.silence_max(), |sound| fault.is_mute || sound != Sound::Silence);
    checks::nothing_stale(&outcome, &turns, Duration::MAX, &said);
    let longest = turns.iter().map(|turn| turn.to - turn.from).max();
    assert!(longest <= Some(TURN_MAX), "a turn took {longest:?}");
    let unread = network.counts.unread_max.load(Ordering::Relaxed);
    // What the system's own buffers hold is its affair.
    assert!(unread <= UNREAD_MAX || made == Made::Tcp, "{unread} bytes waited to be read");
    let (first, last) = (checks::who(&outcome, &turns[0]), checks::who(&outcome, &turns[2]));
    let verdict = Verdict {
        first,
        last,
        silence,
        dialled: network.counts.dialled.load(Ordering::Relaxed),
        contexts: said.len(),
        written: network.counts.written.load(Ordering::Relaxed),
    };
    assert!(!fault.is_harmless || (first, last) == (Who::Vendor, Who::Vendor), "mere noise, and yet {verdict:?}");
    let is_healed = times == Times::Once && !fault.is_final;
    assert!(!is_healed || last == Who::Vendor, "the fault is over, and the vendor is not back: {verdict:?}");
    Some(verdict)
}
