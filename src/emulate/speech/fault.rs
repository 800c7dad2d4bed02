//! Everything that goes wrong with a server of speech over HTTP, each on a switch: `NAME[=AMOUNT][:TIMES]`.

use crate::emulate::fault::{self, Kind};

/// One fault, switched on.
pub type Fault = fault::Fault<FaultKind>;

/// The armed faults of a server.
pub(super) type Faults = fault::Faults<FaultKind>;

/// What can go wrong. Amounts of chunks count pieces of audio; a fault whose amount an answer does not reach does not happen
/// to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The request is refused with an HTTP status, 400 to 599; 429 comes with `Retry-After`.
    Refuse,
    /// A request is refused with 429 while so many others are served.
    Limited,
    /// The whole answer is late, its status too.
    AnswerSlow,
    /// The first audio is late, the status is not.
    FirstByteSlow,
    /// Status and headers, then nothing, for ever.
    StallFirst,
    /// Audio stops in the middle, for ever, without any word about it.
    Stall,
    /// The connection is closed in the middle of the body.
    Drop,
    /// The body ends with an error object in place of its rest; the status was 200 long before.
    ErrorMidway,
    /// A page of HTML with status 200.
    Garbage,
    /// A success without any audio.
    Empty,
    /// Pieces of odd lengths, cut inside samples.
    OddChunks,
    /// All audio at once.
    Burst,
    /// The audio, and silence up to so many KiB, all at once.
    Huge,
    /// Silence for ever behind the audio: the body never ends.
    Endless,
    /// The server is slow to read the request's body.
    SlowReader,
    /// Each connection serves one request.
    CloseEach,
}

impl Kind for FaultKind {
    const ALL: &'static [Self] = &[
        Self::Refuse,
        Self::Limited,
        Self::AnswerSlow,
        Self::FirstByteSlow,
        Self::StallFirst,
        Self::Stall,
        Self::Drop,
        Self::ErrorMidway,
        Self::Garbage,
        Self::Empty,
        Self::OddChunks,
        Self::Burst,
        Self::Huge,
        Self::Endless,
        Self::SlowReader,
        Self::CloseEach,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Limited => "limited",
            Self::AnswerSlow => "answer-slow",
            Self::FirstByteSlow => "first-byte-slow",
            Self::StallFirst => "stall-first",
            Self::Stall => "stall",
            Self::Drop => "drop",
            Self::ErrorMidway => "error-midway",
            Self::Garbage => "garbage",
            Self::Empty => "empty",
            Self::OddChunks => "odd-chunks",
            Self::Burst => "burst",
            Self::Huge => "huge",
            Self::Endless => "endless",
            Self::SlowReader => "slow-reader",
            Self::CloseEach => "close-each",
        }
    }

    fn amount_default(self) -> Option<u32> {
        match self {
            Self::Refuse => Some(503),
            Self::Limited => Some(0),
            Self::AnswerSlow | Self::FirstByteSlow => Some(3_000),
            Self::Stall | Self::Drop | Self::ErrorMidway => Some(5),
            Self::Huge => Some(1_024),
            Self::SlowReader => Some(10_000),
            Self::StallFirst
            | Self::Garbage
            | Self::Empty
            | Self::OddChunks
            | Self::Burst
            | Self::Endless
            | Self::CloseEach => None,
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Refuse => "refuse with HTTP status AMOUNT (503); 429 comes with Retry-After",
            Self::Limited => "refuse with HTTP 429 while AMOUNT other requests are served (0)",
            Self::AnswerSlow => "answer AMOUNT ms later (3000), status included",
            Self::FirstByteSlow => "send the first audio AMOUNT ms later (3000)",
            Self::StallFirst => "send status and headers, then nothing more",
            Self::Stall => "send nothing more after AMOUNT chunks (5), mid-word, for ever",
            Self::Drop => "close the connection after AMOUNT chunks (5)",
            Self::ErrorMidway => "end the body with an error object after AMOUNT chunks (5)",
            Self::Garbage => "answer 200 with a page of HTML",
            Self::Empty => "answer 200 with no audio at all",
            Self::OddChunks => "cut audio at odd places, inside samples too",
            Self::Burst => "send all audio of a text at once",
            Self::Huge => "send the audio, and silence up to AMOUNT KiB (1024), all at once",
            Self::Endless => "send silence for ever behind the audio",
            Self::SlowReader => "read the request's body AMOUNT ms later (10000)",
            Self::CloseEach => "close the connection after each answer",
        }
    }
}

/// Whether the amount makes sense: a status is an error's.
pub(super) fn in_range(fault: &Fault) -> bool {
    match (fault.kind, fault.amount) {
        (FaultKind::Refuse, Some(status)) => (400..=599).contains(&status),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault_help;
    use super::*;

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        for kind in FaultKind::ALL {
            for amount in [None, kind.amount_default().map(|_| 7)] {
                let fault = Fault { kind: *kind, amount, times: Some(2) };
                assert_eq!(fault.to_string().parse(), Ok(fault));
            }
            assert!(fault_help().contains(&format!("\n  {} ", kind.name())) && !kind.about().is_empty());
        }
        let sound = |text: &str| in_range(&text.parse().unwrap());
        assert!(sound("refuse=429") && sound("refuse") && sound("drop=0"));
        assert!(!sound("refuse=200") && !sound("refuse=600"));
    }
}
