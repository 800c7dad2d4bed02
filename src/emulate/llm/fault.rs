//! Everything that goes wrong with a language model's server, each on a switch: `NAME[=AMOUNT][:TIMES]`.

use crate::emulate::fault::{self, Kind};

/// One fault, switched on.
pub type Fault = fault::Fault<FaultKind>;

/// The armed faults of a server or of a rule.
pub(super) type Faults = fault::Faults<FaultKind>;

/// What can go wrong. Amounts of tokens count content and pieces of tool arguments alike; a fault whose amount an answer
/// does not reach does not happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The request is refused with an HTTP status, 400 to 599; 429 comes with `Retry-After`.
    Status,
    /// No answer at all, not even a status.
    Hang,
    /// Status and headers, then nothing, for ever.
    Silent,
    /// The stream stops in the middle, for ever, without any word about it.
    Stall,
    /// An error in the stream, whose status was 200 long before.
    ErrorMidway,
    /// The same, under an `event: error` line.
    ErrorEvent,
    /// The connection is closed in the middle of the stream.
    Drop,
    /// The connection is closed in the middle of a tool call's arguments.
    DropInTool,
    /// An answer without content, properly finished.
    Empty,
    /// The stream ends without its `[DONE]`.
    NoDone,
    /// The body is written in pieces of so many bytes, cut anywhere, inside characters too.
    Split,
    /// Lines end in CR LF.
    Crlf,
    /// Tool calls come whole in one delta, without `index`.
    WholeToolCall,
    /// Comments, unknown fields, empty choices and foreign deltas between the chunks.
    Noise,
}

impl Kind for FaultKind {
    const ALL: &'static [Self] = &[
        Self::Status,
        Self::Hang,
        Self::Silent,
        Self::Stall,
        Self::ErrorMidway,
        Self::ErrorEvent,
        Self::Drop,
        Self::DropInTool,
        Self::Empty,
        Self::NoDone,
        Self::Split,
        Self::Crlf,
        Self::WholeToolCall,
        Self::Noise,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Hang => "hang",
            Self::Silent => "silent",
            Self::Stall => "stall",
            Self::ErrorMidway => "error-midway",
            Self::ErrorEvent => "error-event",
            Self::Drop => "drop",
            Self::DropInTool => "drop-in-tool",
            Self::Empty => "empty",
            Self::NoDone => "no-done",
            Self::Split => "split",
            Self::Crlf => "crlf",
            Self::WholeToolCall => "whole-tool-call",
            Self::Noise => "noise",
        }
    }

    fn amount_default(self) -> Option<u32> {
        match self {
            Self::Status => Some(500),
            Self::Stall | Self::ErrorMidway | Self::ErrorEvent | Self::Drop | Self::Split => Some(3),
            Self::Hang
            | Self::Silent
            | Self::DropInTool
            | Self::Empty
            | Self::NoDone
            | Self::Crlf
            | Self::WholeToolCall
            | Self::Noise => None,
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Status => "refuse with HTTP status AMOUNT (500); 429 comes with Retry-After",
            Self::Hang => "take the request and never answer",
            Self::Silent => "send status and headers, then nothing more",
            Self::Stall => "send nothing more after AMOUNT tokens (3), for ever",
            Self::ErrorMidway => "end the stream with an error event after AMOUNT tokens (3)",
            Self::ErrorEvent => "the same with an `event: error` line before it",
            Self::Drop => "close the connection after AMOUNT tokens (3)",
            Self::DropInTool => "close the connection in the middle of a tool call's arguments",
            Self::Empty => "answer without content, finished by `stop`",
            Self::NoDone => "leave out `[DONE]`",
            Self::Split => "write the body in pieces of AMOUNT bytes (3), cut anywhere",
            Self::Crlf => "end lines with CR LF",
            Self::WholeToolCall => "send tool calls whole in one delta without `index`",
            Self::Noise => "mix in comments, unknown fields, empty choices and deltas of other kinds",
        }
    }
}

/// Whether the amount makes sense: a status is an error's, a piece has a byte.
pub(super) fn in_range(fault: &Fault) -> bool {
    match (fault.kind, fault.amount) {
        (FaultKind::Status, Some(status)) => (400..=599).contains(&status),
        (FaultKind::Split, Some(bytes)) => bytes > 0,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault_help;
    use super::*;
    use crate::emulate::fault::FaultError;

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        for kind in FaultKind::ALL {
            for times in [None, Some(0), Some(2)] {
                for amount in [None, kind.amount_default().map(|_| 7)] {
                    let fault = Fault { kind: *kind, amount, times };
                    assert_eq!(fault.to_string().parse(), Ok(fault));
                    assert_eq!(fault.to_string().replace('-', "_").parse(), Ok(fault));
                }
            }
            assert!(fault_help().contains(&format!("\n  {} ", kind.name())) && !kind.about().is_empty());
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert!("stal".parse::<Fault>().unwrap_err().to_string().contains("drop-in-tool"));
        assert_eq!("drop=x".parse::<Fault>(), Err(FaultError::Number { text: "x".to_owned() }));
        assert_eq!("drop=1:".parse::<Fault>(), Err(FaultError::Number { text: String::new() }));
        assert_eq!("empty=1".parse::<Fault>(), Err(FaultError::Amount { name: "empty" }));
        let sound = |text: &str| in_range(&text.parse().unwrap());
        assert!(sound("status=429") && sound("status") && sound("split=1") && sound("drop=0"));
        assert!(!sound("status=200") && !sound("status=600") && !sound("split=0"));
    }

    #[test]
    fn a_fault_happens_as_often_as_it_may() {
        let parsed: Vec<Fault> = ["drop=3:2", "crlf", "no-done:0"].map(|text| text.parse().unwrap()).to_vec();
        let faults = Faults::new(&parsed);
        assert_eq!((faults.amount(FaultKind::Drop), faults.amount(FaultKind::Drop)), (Some(3), Some(3)));
        assert_eq!((faults.take(FaultKind::Drop), faults.take(FaultKind::Drop)), (Some(3), Some(3)));
        assert_eq!((faults.take(FaultKind::Drop), faults.amount(FaultKind::Drop)), (None, None));
        assert!((0..1_000).all(|_| faults.take(FaultKind::Crlf) == Some(0)));
        assert_eq!((faults.take(FaultKind::NoDone), faults.take(FaultKind::Hang)), (None, None));
    }
}
