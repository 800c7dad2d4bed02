//! What goes wrong with a recogniser of speech, each on a switch: `NAME[=AMOUNT][:TIMES]`.

use crate::emulate::fault::{self, Kind};

/// One fault, switched on.
pub type Fault = fault::Fault<FaultKind>;

/// The armed faults of a server.
pub(super) type Faults = fault::Faults<FaultKind>;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The handshake is refused with an HTTP status, 300 to 599.
    Refuse,
    /// The handshake is answered late.
    SlowHandshake,
    /// The connection is reset without a close frame.
    Drop,
    /// The socket is closed with a code, one that a server may use, as soon as something was heard.
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

impl Kind for FaultKind {
    const ALL: &'static [Self] = &[
        Self::Refuse,
        Self::SlowHandshake,
        Self::Drop,
        Self::Close,
        Self::Silent,
        Self::LateFinal,
        Self::NoFlushAnswer,
        Self::SessionLimit,
        Self::Garbage,
        Self::Error,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::SlowHandshake => "slow-handshake",
            Self::Drop => "drop",
            Self::Close => "close",
            Self::Silent => "silent",
            Self::LateFinal => "late-final",
            Self::NoFlushAnswer => "no-flush-answer",
            Self::SessionLimit => "session-limit",
            Self::Garbage => "garbage",
            Self::Error => "error",
        }
    }

    fn amount_default(self) -> Option<u32> {
        match self {
            Self::Refuse => Some(503),
            Self::SlowHandshake => Some(3_000),
            Self::Drop => Some(1_000),
            Self::Close => Some(1_011),
            Self::LateFinal => Some(1_500),
            Self::SessionLimit => Some(10_000),
            Self::Silent | Self::NoFlushAnswer | Self::Garbage | Self::Error => None,
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Refuse => "refuse the handshake with HTTP status AMOUNT (503)",
            Self::SlowHandshake => "answer the handshake after AMOUNT ms (3000)",
            Self::Drop => "reset the TCP connection after AMOUNT ms of audio (1000)",
            Self::Close => "close the socket with code AMOUNT (1011) instead of the first transcript",
            Self::Silent => "take audio and commands and never say anything",
            Self::LateFinal => "hold final transcripts, and all behind them, for AMOUNT ms (1500)",
            Self::NoFlushAnswer => "ignore a command to finalise, flush or end the turn",
            Self::SessionLimit => "end the session as the vendor would after AMOUNT ms (10000)",
            Self::Garbage => "mix in broken JSON, wrong shapes, unknown types and binary frames",
            Self::Error => "send the vendor's fatal error instead of the first transcript",
        }
    }
}

/// The list of faults for `--help`, one line each.
pub fn help() -> String {
    fault::help::<FaultKind>()
}

/// Whether the amount is one that can be sent: an HTTP status, or a code that a server may close with.
pub(super) fn is_possible(fault: &Fault) -> bool {
    match (fault.kind, fault.amount) {
        (FaultKind::Refuse, Some(status)) => (300..=599).contains(&status),
        (FaultKind::Close, Some(code)) => matches!(code, 1_000..=1_003 | 1_007..=1_014 | 3_000..=4_999),
        (_, _) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_as_it_is_written_and_can_be_sent() {
        for kind in FaultKind::ALL {
            let fault = Fault { kind: *kind, amount: kind.amount_default(), times: Some(2) };
            assert_eq!(fault.to_string().parse(), Ok(fault));
            assert_eq!(fault.to_string().replace('-', "_").parse(), Ok(fault));
            assert!(is_possible(&fault) && help().contains(kind.about()));
        }
        for impossible in ["refuse=200", "refuse=600", "close=1005", "close=5000"] {
            assert!(!is_possible(&impossible.parse().unwrap()), "{impossible}");
        }
    }
}
