//! How a fault is switched on, for every emulator alike: `NAME[=AMOUNT][:TIMES]`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

/// What can go wrong with one emulated service.
pub trait Kind: Copy + Ord + fmt::Debug + 'static {
    /// Every kind, in the order of the help text.
    const ALL: &'static [Self];

    /// The kind's name on the command line: small letters and hyphens.
    fn name(self) -> &'static str;

    /// The amount if none is given; `None` for kinds that take none.
    fn amount_default(self) -> Option<u32>;

    /// One line for `--help`.
    fn about(self) -> &'static str;
}

/// One fault, switched on.
///
/// Written `NAME[=AMOUNT][:TIMES]`: `drop=3` cuts every answer after three tokens, `drop=3:1` only the first one, so
/// that recovery can be watched. Without an amount the kind's default holds, without times it happens always. An
/// underscore in a name is read as a hyphen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault<K> {
    /// What goes wrong.
    pub kind: K,
    /// How much or how late, in the kind's own unit; `None` is [`Kind::amount_default`].
    pub amount: Option<u32>,
    /// How often it happens on this server before it stops; `None` is always.
    pub times: Option<u32>,
}

/// Why a fault could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No kind has this name.
    #[error("no fault is called {name:?}; one of: {known}")]
    Name {
        /// What was given.
        name: String,
        /// The names that exist.
        known: String,
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

/// The list of faults for `--help`, one line each.
pub fn help<K: Kind>() -> String {
    let mut text =
        String::from("Switch a fault on: NAME[=AMOUNT][:TIMES]; without TIMES it happens always. May be repeated.\n");
    for kind in K::ALL {
        text.push_str(&format!("\n  {:<18} {}", kind.name(), kind.about()));
    }
    text
}

fn number(text: &str) -> Result<u32, FaultError> {
    text.parse().map_err(|_| FaultError::Number { text: text.to_owned() })
}

impl<K: Kind> FromStr for Fault<K> {
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
        let hyphens = name.replace('_', "-");
        let kind = K::ALL.iter().find(|kind| kind.name() == hyphens).copied().ok_or_else(|| {
            let known = K::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
            FaultError::Name { name: name.to_owned(), known }
        })?;
        if amount.is_some() && kind.amount_default().is_none() {
            return Err(FaultError::Amount { name: kind.name() });
        }
        Ok(Self { kind, amount, times })
    }
}

impl<K: Kind> fmt::Display for Fault<K> {
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

/// Faults that are armed, and how often each may still happen. Of two of one kind the later holds.
#[derive(Debug)]
pub(super) struct Faults<K> {
    armed: BTreeMap<K, Armed>,
}

#[derive(Debug)]
struct Armed {
    amount: u32,
    /// `u32::MAX` never runs out.
    left: AtomicU32,
}

impl<K: Kind> Faults<K> {
    pub(super) fn new(faults: &[Fault<K>]) -> Self {
        let arm = |fault: &Fault<K>| {
            let amount = fault.amount.or(fault.kind.amount_default()).unwrap_or_default();
            let left = AtomicU32::new(fault.times.unwrap_or(u32::MAX));
            (fault.kind, Armed { amount, left })
        };
        Self { armed: faults.iter().map(arm).collect() }
    }

    /// The amount of `kind` if it is on and may still happen; does not count as happening.
    pub(super) fn amount(&self, kind: K) -> Option<u32> {
        let armed = self.armed.get(&kind)?;
        (armed.left.load(Ordering::Relaxed) > 0).then_some(armed.amount)
    }

    /// Lets `kind` happen once: its amount if it is on and was not used up.
    pub(super) fn take(&self, kind: K) -> Option<u32> {
        let armed = self.armed.get(&kind)?;
        let step = |left: u32| if left == u32::MAX { Some(left) } else { left.checked_sub(1) };
        armed.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).ok().map(|_| armed.amount)
    }

    /// Whether `kind` happens now, when `count` of what its amount counts have passed.
    pub(super) fn take_at(&self, kind: K, count: u32) -> bool {
        self.amount(kind) == Some(count) && self.take(kind).is_some()
    }
}
