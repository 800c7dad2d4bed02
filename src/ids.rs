//! Names and moments that every layer shares.
//!
//! Ids are counters, never random, so that the same tape gives the same bytes.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment of one call: microseconds since the call was accepted.
///
/// Not an `Instant`: it prints, goes into tapes and is a literal in tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallTime(u64);

impl CallTime {
    /// The moment at which the call was accepted.
    pub const ZERO: CallTime = CallTime(0);

    /// `micros` microseconds after the call was accepted.
    pub const fn from_micros(micros: u64) -> Self {
        CallTime(micros)
    }

    /// `millis` milliseconds after the call was accepted.
    pub const fn from_millis(millis: u64) -> Self {
        CallTime(millis * 1_000)
    }

    /// Microseconds since the call was accepted.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The moment `span` earlier, but not before the call was accepted.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        CallTime(self.0.saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Time since `earlier`; zero if that is later.
    pub fn since(self, earlier: CallTime) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for CallTime {
    type Output = CallTime;
    fn add(self, span: Duration) -> CallTime {
        CallTime(self.0.saturating_add(micros(span)))
    }
}

impl Sub<Duration> for CallTime {
    type Output = CallTime;
    /// Stops at the start of the call.
    fn sub(self, span: Duration) -> CallTime {
        CallTime(self.0.saturating_sub(micros(span)))
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Display for CallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1_000_000, self.0 / 1_000 % 1_000)
    }
}

/// One thing that the agent says, from its first token until the caller has heard it or cut it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TurnId(pub u32);

impl fmt::Display for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One synthesis context of a turn. Never used twice, so that a late chunk can always be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContextId {
    /// The turn that the context speaks for.
    pub turn: TurnId,
    /// Counts the contexts of that turn from 1.
    pub serial: u32,
}

impl fmt::Display for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.turn, self.serial)
    }
}

/// A point in the outbound audio that the carrier is asked to report when it has been played. Counts from 1 in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MarkId(pub u64);

/// The carrier's name for a media stream; opaque, because its shape differs between carriers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamSid(String);

/// The carrier's name for a call; opaque, because its shape differs between carriers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallSid(String);

/// Longest id accepted from a carrier, in bytes.
pub const SID_BYTES_MAX: usize = 256;

/// Why a carrier's id was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SidError {
    /// The id was empty.
    #[error("the id is empty")]
    Empty,
    /// The id was longer than [`SID_BYTES_MAX`].
    #[error("the id is longer than {SID_BYTES_MAX} bytes")]
    Long,
    /// The id held a control character or white space.
    #[error("the id holds a control character or white space")]
    Shape,
}

fn check_sid(text: &str) -> Result<(), SidError> {
    if text.is_empty() {
        return Err(SidError::Empty);
    }
    if text.len() > SID_BYTES_MAX {
        return Err(SidError::Long);
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(SidError::Shape);
    }
    Ok(())
}

macro_rules! sid {
    ($name:ident) => {
        impl $name {
            /// Takes an id as a carrier sent it: 1 to [`SID_BYTES_MAX`] bytes, no white space, no control characters.
            ///
            /// # Errors
            /// [`SidError`] names what is wrong.
            pub fn parse(text: &str) -> Result<Self, SidError> {
                check_sid(text).map(|()| Self(text.to_owned()))
            }

            /// The id as the carrier wrote it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

sid!(StreamSid);
sid!(CallSid);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_time_never_runs_below_the_start_of_the_call() {
        let early = CallTime::from_millis(5);
        assert_eq!(early - Duration::from_millis(9), CallTime::ZERO);
        assert_eq!(CallTime::ZERO.since(early), Duration::ZERO);
        assert_eq!((early + Duration::from_micros(7)).as_micros(), 5_007);
        assert_eq!(CallTime::from_millis(12_345).to_string(), "12.345s");
    }

    #[test]
    fn ids_are_refused_only_when_they_cannot_be_names() {
        assert_eq!(StreamSid::parse("").unwrap_err(), SidError::Empty);
        assert_eq!(StreamSid::parse("a b").unwrap_err(), SidError::Shape);
        assert_eq!(CallSid::parse(&"x".repeat(257)).unwrap_err(), SidError::Long);
        assert_eq!(CallSid::parse("v3:abc/é").unwrap().as_str(), "v3:abc/é");
    }
}
