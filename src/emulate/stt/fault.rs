//! What goes wrong with a recogniser of speech, each on a switch: `NAME[=AMOUNT][:TIMES]`.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The handshake is refused with an HTTP status.
    Refuse,
    /// The handshake is answered late.
    SlowHandshake,
    /// The connection is reset without a close frame.
    Drop,
    /// The socket is closed with a code as soon as something was heard.
    Close,
    /// Nothing is ever said.
    Silent,
    /// Final transcripts come late, and what follows them behind them.
    LateFinal,
    /// A command to finalise is ignored.
    NoFlushAnswer,
    /// The session is ended by the server.
    SessionLimit,
    /// Messages that are no protocol messages.
    Garbage,
    /// The vendor's fatal error as soon as something was heard.
    Error,
}

/// Kind, name, the amount if none is given (`None` for kinds that take none), one line for `--help`.
const KINDS: [(FaultKind, &str, Option<u32>, &str); 10] = [
    (FaultKind::Refuse, "refuse", Some(503), "refuse the handshake with HTTP status AMOUNT (503)"),
    (FaultKind::SlowHandshake, "slow-handshake", Some(3_000), "answer the handshake after AMOUNT ms (3000)"),
    (FaultKind::Drop, "drop", Some(1_000), "reset the TCP connection after AMOUNT ms of audio (1000)"),
    (
        FaultKind::Close,
        "close",
        Some(1_011),
        "close the socket with code AMOUNT (1011) instead of the first transcript",
    ),
    (FaultKind::Silent, "silent", None, "take audio and commands and never say anything"),
    (
        FaultKind::LateFinal,
        "late-final",
        Some(1_500),
        "hold final transcripts, and all behind them, for AMOUNT ms (1500)",
    ),
    (FaultKind::NoFlushAnswer, "no-flush-answer", None, "ignore a command to finalise, flush or end the turn"),
    (
        FaultKind::SessionLimit,
        "session-limit",
        Some(10_000),
        "end the session as the vendor would after AMOUNT ms (10000)",
    ),
    (FaultKind::Garbage, "garbage", None, "mix in broken JSON, wrong shapes, unknown types and binary frames"),
    (FaultKind::Error, "error", None, "send the vendor's fatal error instead of the first transcript"),
];

impl FaultKind {
    /// Every kind, in the order of the help text.
    pub fn all() -> impl Iterator<Item = FaultKind> {
        KINDS.iter().map(|(kind, ..)| *kind)
    }

    /// The kind's name on the command line. Underscores for its dashes are understood as well.
    pub fn name(self) -> &'static str {
        self.entry().map_or("", |(_, name, ..)| *name)
    }

    fn amount_default(self) -> Option<u32> {
        self.entry().and_then(|(_, _, amount, _)| *amount)
    }

    fn entry(self) -> Option<&'static (FaultKind, &'static str, Option<u32>, &'static str)> {
        KINDS.iter().find(|(kind, ..)| *kind == self)
    }
}

/// One fault, switched on. Without an amount the kind's default holds, without times it happens always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// How much or how late, in the kind's own unit; `None` is the default that `--help` names.
    pub amount: Option<u32>,
    /// How often it happens on this server before it stops; `None` is always.
    pub times: Option<u32>,
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
    /// The amount is no HTTP status, or no code that a server may close with.
    #[error("{amount} is no amount for {name}")]
    Range {
        /// The kind's name.
        name: &'static str,
        /// What was given.
        amount: u32,
    },
}

fn names() -> String {
    KINDS.iter().map(|(_, name, ..)| *name).collect::<Vec<_>>().join(", ")
}

/// The list of faults for `--help`, one line each.
pub fn help() -> String {
    let intro = "Switch a fault on: NAME[=AMOUNT][:TIMES]; without TIMES it happens always. May be repeated.\n";
    let lines = KINDS.iter().map(|(_, name, _, about)| format!("\n  {name:<16} {about}"));
    std::iter::once(intro.to_owned()).chain(lines).collect()
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
        let dashed = name.replace('_', "-");
        let found = KINDS.iter().find(|(_, known, ..)| *known == dashed);
        let (kind, name, default, _) = found.copied().ok_or_else(|| FaultError::Name { name: name.to_owned() })?;
        if amount.is_some() && default.is_none() {
            return Err(FaultError::Amount { name });
        }
        let sound = match (kind, amount) {
            (FaultKind::Refuse, Some(status)) => (300..=599).contains(&status),
            (FaultKind::Close, Some(code)) => matches!(code, 1_000..=1_003 | 1_007..=1_014 | 3_000..=4_999),
            (_, _) => true,
        };
        if !sound {
            return Err(FaultError::Range { name, amount: amount.unwrap_or_default() });
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
    armed: Vec<Armed>,
}

#[derive(Debug)]
struct Armed {
    kind: FaultKind,
    amount: u32,
    /// `u32::MAX` never runs out.
    left: AtomicU32,
}

impl Faults {
    pub(super) fn new(faults: &[Fault]) -> Self {
        let arm = |fault: &Fault| Armed {
            kind: fault.kind,
            amount: fault.amount.or(fault.kind.amount_default()).unwrap_or_default(),
            left: AtomicU32::new(fault.times.unwrap_or(u32::MAX)),
        };
        Self { armed: faults.iter().rev().map(arm).collect() }
    }

    /// The amount of `kind` if it is on and may still happen; does not count as happening.
    pub(super) fn amount(&self, kind: FaultKind) -> Option<u32> {
        let armed = self.armed.iter().find(|armed| armed.kind == kind)?;
        (armed.left.load(Ordering::Relaxed) > 0).then_some(armed.amount)
    }

    /// Lets `kind` happen once: its amount if it is on and was not used up.
    pub(super) fn take(&self, kind: FaultKind) -> Option<u32> {
        let armed = self.armed.iter().find(|armed| armed.kind == kind)?;
        let step = |left: u32| if left == u32::MAX { Some(left) } else { left.checked_sub(1) };
        armed.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).ok().map(|_| armed.amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        for kind in FaultKind::all() {
            for times in [None, Some(0), Some(2)] {
                for amount in [None, kind.amount_default()] {
                    let fault = Fault { kind, amount, times };
                    assert_eq!(fault.to_string().parse(), Ok(fault));
                    assert_eq!(fault.to_string().replace('-', "_").parse(), Ok(fault));
                }
            }
            assert!(help().contains(kind.name()));
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert!("drops".parse::<Fault>().unwrap_err().to_string().contains("session-limit"));
        assert_eq!("drop=x".parse::<Fault>(), Err(FaultError::Number { text: "x".to_owned() }));
        assert_eq!("silent=1".parse::<Fault>(), Err(FaultError::Amount { name: "silent" }));
        assert_eq!("refuse=200".parse::<Fault>(), Err(FaultError::Range { name: "refuse", amount: 200 }));
        assert_eq!("close=1005".parse::<Fault>(), Err(FaultError::Range { name: "close", amount: 1_005 }));
    }

    #[test]
    fn a_fault_happens_as_often_as_it_may() {
        let faults: Vec<Fault> =
            ["drop=3:2", "silent", "error:0", "drop=4:1"].map(|text| text.parse().unwrap()).to_vec();
        let faults = Faults::new(&faults);
        assert_eq!((faults.amount(FaultKind::Drop), faults.take(FaultKind::Drop)), (Some(4), Some(4)));
        assert_eq!((faults.amount(FaultKind::Drop), faults.take(FaultKind::Drop)), (None, None));
        assert!((0..1_000).all(|_| faults.take(FaultKind::Silent).is_some()));
        assert_eq!((faults.take(FaultKind::Error), faults.take(FaultKind::Garbage)), (None, None));
    }
}
