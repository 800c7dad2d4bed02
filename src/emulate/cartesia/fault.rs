//! Everything that goes wrong with a speech vendor, each on a switch: `NAME[=AMOUNT][:TIMES]`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

/// One fault, switched on.
///
/// Written `NAME[=AMOUNT][:TIMES]`: `stall=3` stops every context after three chunks, `stall=3:1` only the first one, so
/// that recovery can be watched. Without an amount the kind's default holds, without times it happens always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// How much or how late, in the kind's own unit; `None` is [`FaultKind::amount_default`].
    pub amount: Option<u32>,
    /// How often it happens on this server before it stops; `None` is always.
    pub times: Option<u32>,
}

macro_rules! fault_kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal, $default:expr, $about:literal;)+) => {
        /// What can go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl FaultKind {
            /// Every kind, in the order of the help text.
            pub const ALL: &[FaultKind] = &[$(FaultKind::$kind),+];

            /// The kind's name on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(FaultKind::$kind => $name,)+ }
            }

            /// The amount if none is given; `None` for kinds that take none.
            pub const fn amount_default(self) -> Option<u32> {
                match self { $(FaultKind::$kind => $default,)+ }
            }

            /// One line for `--help`.
            pub const fn about(self) -> &'static str {
                match self { $(FaultKind::$kind => $about,)+ }
            }
        }
    };
}

/// "As many as there are" for amounts that count chunks.
const ALL: Option<u32> = Some(u32::MAX);

fault_kinds! {
    /// The handshake is answered late.
    HandshakeSlow = "handshake-slow", Some(3_000), "answer the handshake after AMOUNT ms (3000)";
    /// The handshake is refused with HTTP 401.
    Handshake401 = "handshake-401", None, "refuse the handshake with HTTP 401";
    /// The handshake is refused with HTTP 429.
    Handshake429 = "handshake-429", None, "refuse the handshake with HTTP 429";
    /// A socket without traffic is closed with code 1000.
    IdleClose = "idle-close", Some(2_000), "close an idle socket with code 1000 after AMOUNT ms (2000)";
    /// The socket is closed with code 1011 in the middle.
    Close1011 = "close-1011", Some(5), "close the socket with code 1011 after AMOUNT chunks (5)";
    /// The connection is reset without a close frame.
    Abort = "abort", Some(5), "reset the TCP connection after AMOUNT chunks (5)";
    /// A new context is refused because too many are active.
    Limited = "limited", Some(0), "answer a new context with a 429 event while AMOUNT others are active (0)";
    /// An error event with status 400.
    Error400 = "error-400", Some(3), "end a context with an error event 400 after AMOUNT chunks (3)";
    /// An error event with status 500.
    Error500 = "error-500", Some(3), "end a context with an error event 500 after AMOUNT chunks (3)";
    /// An error event that does not say whose it is.
    ErrorNoContext = "error-no-context", Some(3), "end a context with an error event without its id after AMOUNT chunks (3)";
    /// Audio stops in the middle for ever, without any word about it.
    Stall = "stall", Some(5), "send nothing more for a context after AMOUNT chunks (5), mid-word, for ever";
    /// Audio never begins.
    StallFirst = "stall-first", None, "never send anything for a context";
    /// The final message is missing.
    NoDone = "no-done", None, "never send `done`";
    /// Audio goes on after a cancel; no `done`.
    LateChunks = "late-chunks", ALL, "after a cancel send AMOUNT more chunks (all), no `done`";
    /// Audio goes on after a cancel and ends in `done`.
    LateChunksDone = "late-chunks-done", ALL, "after a cancel send AMOUNT more chunks (all), then `done`";
    /// A cancel is answered with `done`.
    CancelDone = "cancel-done", None, "answer a cancel with `done` at once";
    /// Contexts expire sooner or later than the documented second.
    Expiry = "expiry", Some(300), "let contexts expire AMOUNT ms after their last audio (300)";
    /// Chunks are cut inside a sample.
    OddChunks = "odd-chunks", None, "cut audio at odd places, inside samples too";
    /// All audio at once.
    Burst = "burst", None, "send all audio of a text at once";
    /// Word times before the first audio of a text.
    TimestampsBefore = "timestamps-before", None, "send all word times of a text before its audio";
    /// Word times after the last audio of a text.
    TimestampsAfter = "timestamps-after", None, "send all word times of a text after its audio";
    /// Word times never, though asked for.
    TimestampsNever = "timestamps-never", None, "never send word times";
    /// A `flush_done` for each submission.
    FlushDoneEach = "flush-done-each", None, "send `flush_done` after every text, asked for or not";
    /// Messages that are no protocol messages.
    Garbage = "garbage", None, "mix in broken JSON, wrong shapes, bad base64 and binary frames";
    /// Messages of types that do not exist yet.
    UnknownTypes = "unknown-types", None, "mix in messages of unknown types and with unknown fields";
}

/// Why a fault could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No kind has this name.
    #[error("no fault is called {name:?}; one of: {}", names())]
    Name {
        /// What was given.
        name: String,
    },
    /// Something after the `=` or the `:` is not a whole number.
    #[error("{text:?} is not a whole number")]
    Number {
        /// What was given.
        text: String,
    },
    /// The kind has nothing to measure.
    #[error("{name} takes no amount")]
    Amount {
        /// The kind's name.
        name: &'static str,
    },
}

fn names() -> String {
    FaultKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}

/// The list of faults for `--help`, one line each.
pub fn help() -> String {
    let mut text =
        String::from("Switch a fault on: NAME[=AMOUNT][:TIMES]; without TIMES it happens always. May be repeated.\n");
    for kind in FaultKind::ALL {
        text.push_str(&format!("\n  {:<18} {}", kind.name(), kind.about()));
    }
    text
}

fn number(text: &str) -> Result<u32, FaultError> {
    text.parse().map_err(|_| FaultError::Number { text: text.to_owned() })
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (rest, times) = match text.rsplit_once(':') {
            Some((rest, times)) => (rest, Some(number(times)?)),
            None => (text, None),
        };
        let (name, amount) = match rest.split_once('=') {
            Some((name, amount)) => (name, Some(number(amount)?)),
            None => (rest, None),
        };
        let kind = FaultKind::ALL.iter().find(|kind| kind.name() == name).copied();
        let kind = kind.ok_or_else(|| FaultError::Name { name: name.to_owned() })?;
        if amount.is_some() && kind.amount_default().is_none() {
            return Err(FaultError::Amount { name: kind.name() });
        }
        Ok(Self { kind, amount, times })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if let Some(amount) = self.amount {
            write!(f, "={amount}")?;
        }
        if let Some(times) = self.times {
            write!(f, ":{times}")?;
        }
        Ok(())
    }
}

/// The faults of one server and how often each may still happen. Of two of one kind the later holds.
#[derive(Debug, Default)]
pub(super) struct Faults {
    armed: BTreeMap<FaultKind, Armed>,
}

#[derive(Debug)]
struct Armed {
    amount: u32,
    /// `u32::MAX` never runs out.
    left: AtomicU32,
}

impl Faults {
    pub(super) fn new(faults: &[Fault]) -> Self {
        let arm = |fault: &Fault| {
            let amount = fault.amount.or(fault.kind.amount_default()).unwrap_or_default();
            let left = AtomicU32::new(fault.times.unwrap_or(u32::MAX));
            (fault.kind, Armed { amount, left })
        };
        Self { armed: faults.iter().map(arm).collect() }
    }

    /// The amount of `kind` if it is on and may still happen; does not count as happening.
    pub(super) fn amount(&self, kind: FaultKind) -> Option<u32> {
        let armed = self.armed.get(&kind)?;
        (armed.left.load(Ordering::Relaxed) > 0).then_some(armed.amount)
    }

    /// Lets `kind` happen once: its amount if it is on and was not used up.
    pub(super) fn take(&self, kind: FaultKind) -> Option<u32> {
        let armed = self.armed.get(&kind)?;
        let step = |left: u32| if left == u32::MAX { Some(left) } else { left.checked_sub(1) };
        armed.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).ok().map(|_| armed.amount)
    }

    /// Whether `kind` happens now, when `count` of what its amount counts have passed.
    pub(super) fn take_at(&self, kind: FaultKind, count: u32) -> bool {
        self.amount(kind) == Some(count) && self.take(kind).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        for kind in FaultKind::ALL {
            for times in [None, Some(0), Some(2)] {
                for amount in [None, kind.amount_default().map(|_| 7)] {
                    let fault = Fault { kind: *kind, amount, times };
                    assert_eq!(fault.to_string().parse(), Ok(fault));
                }
            }
            assert!(help().contains(kind.name()) && !kind.about().is_empty());
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert!("stal".parse::<Fault>().unwrap_err().to_string().contains("stall-first"));
        assert_eq!("stall=x".parse::<Fault>(), Err(FaultError::Number { text: "x".to_owned() }));
        assert_eq!("stall=1:".parse::<Fault>(), Err(FaultError::Number { text: String::new() }));
        assert_eq!("no-done=1".parse::<Fault>(), Err(FaultError::Amount { name: "no-done" }));
    }

    #[test]
    fn a_fault_happens_as_often_as_it_may() {
        let parsed: Vec<Fault> = ["stall=3:2", "burst", "no-done:0"].map(|text| text.parse().unwrap()).to_vec();
        let faults = Faults::new(&parsed);
        assert!(!faults.take_at(FaultKind::Stall, 2));
        assert!(faults.take_at(FaultKind::Stall, 3) && faults.take_at(FaultKind::Stall, 3));
        assert!(!faults.take_at(FaultKind::Stall, 3));
        assert_eq!(faults.amount(FaultKind::Stall), None);
        assert!((0..1_000).all(|_| faults.take(FaultKind::Burst).is_some()));
        assert_eq!(faults.take(FaultKind::NoDone), None);
        assert_eq!(faults.take(FaultKind::Abort), None);
    }
}
