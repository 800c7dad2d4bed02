//! What is wrong with a configuration, said so that it can be put right.

use std::fmt;

/// One mistake, or one thing to be warned of. Never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands: `settings.toml line 12`, `environment variable CARTESIA_API_KEY`, `command line`.
    pub source: String,
    /// The key, such as `playout.lead_ms`; empty if the problem is not about one.
    pub key: String,
    /// What is wrong.
    pub fault: String,
    /// What to do about it.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, key, fault, fix } = self;
        write!(f, "{source}: ")?;
        if !key.is_empty() {
            write!(f, "{key} ")?;
        }
        write!(f, "{fault}; {fix}")
    }
}

/// Every mistake that was found, in the order of the sources. Displayed one a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// What is wrong with one value, before it is known where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) fault: String,
    pub(super) fix: String,
}

impl Fault {
    pub(super) fn new(fault: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fault: fault.into(), fix: fix.into() }
    }

    pub(super) fn at(self, source: impl Into<String>, key: impl Into<String>) -> Problem {
        Problem { source: source.into(), key: key.into(), fault: self.fault, fix: self.fix }
    }
}
