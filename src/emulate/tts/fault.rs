//! Everything that goes wrong with a speech vendor, each on a switch: `NAME[=AMOUNT][:TIMES]`.

use super::Vendor;
use crate::emulate::fault::{self, Kind};

/// One fault, switched on.
pub type Fault = fault::Fault<FaultKind>;

pub use crate::emulate::fault::FaultError;

/// The armed faults of a server.
pub(in crate::emulate) type Faults = fault::Faults<FaultKind>;

macro_rules! fault_kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal, $default:expr, $about:literal;)+) => {
        /// What can go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl FaultKind {
            /// Every kind, in the order of the help text.
            pub const ALL: &'static [FaultKind] = &[$(FaultKind::$kind),+];

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
    /// The handshake is refused with another HTTP status, 300 to 599.
    Refuse = "refuse", Some(503), "refuse the handshake with HTTP status AMOUNT (503)";
    /// A socket without traffic is closed with code 1000.
    IdleClose = "idle-close", Some(2_000), "close an idle socket with code 1000 after AMOUNT ms (2000)";
    /// The socket is closed with code 1000 in the middle.
    Close1000 = "close-1000", Some(5), "close the socket with code 1000 after AMOUNT chunks (5)";
    /// The socket is closed with code 1011 in the middle.
    Close1011 = "close-1011", Some(5), "close the socket with code 1011 after AMOUNT chunks (5)";
    /// The connection is ended in the middle, with a close frame that gives no code.
    Drop = "drop", Some(5), "end the connection after AMOUNT chunks (5), a close frame without a code before it";
    /// The connection is reset without a close frame.
    Abort = "abort", Some(5), "reset the TCP connection after AMOUNT chunks (5)";
    /// A new context is refused because too many are active.
    Limited = "limited", Some(0), "answer a new context as over the limit (429) while AMOUNT others are active (0)";
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
    NoDone = "no-done", None, "never send the message that ends a context";
    /// Audio goes on behind the final message.
    AfterDone = "after-done", Some(3), "send AMOUNT more chunks (3) of a context after its end";
    /// Audio goes on after a cancel; no final message.
    LateChunks = "late-chunks", ALL, "after a cancel send AMOUNT more chunks (all), no final message";
    /// Audio goes on after a cancel and ends in a final message.
    LateChunksDone = "late-chunks-done", ALL, "after a cancel send AMOUNT more chunks (all), then the final message";
    /// A cancel is answered with the final message.
    CancelDone = "cancel-done", None, "answer a cancel with the final message at once";
    /// Audio under ids that nobody asked for.
    WrongIds = "wrong-ids", None, "mix in audio of contexts that nobody began";
    /// Contexts expire sooner or later than they should.
    Expiry = "expiry", Some(300), "let contexts expire AMOUNT ms (300) after what their vendor counts from";
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
    /// The answer to a flush after each submission.
    FlushDoneEach = "flush-done-each", None, "send the answer to a flush after every text, asked for or not";
    /// Messages that are no protocol messages.
    Garbage = "garbage", None, "mix in broken JSON, wrong shapes, bad base64 and binary frames";
    /// Messages of types that do not exist yet.
    UnknownTypes = "unknown-types", None, "mix in messages of unknown types and with unknown fields";
    /// A very long message of an unknown type.
    Huge = "huge", Some(1_024), "send a message of AMOUNT KiB (1024) before the first audio of a context";
    /// The server no longer reads.
    SlowReader = "slow-reader", Some(3), "stop reading the socket after AMOUNT messages (3), go on speaking, and cut it off 12 seconds later";
}

impl Kind for FaultKind {
    const ALL: &'static [Self] = Self::ALL;

    fn name(self) -> &'static str {
        FaultKind::name(self)
    }

    fn amount_default(self) -> Option<u32> {
        FaultKind::amount_default(self)
    }

    fn about(self) -> &'static str {
        FaultKind::about(self)
    }
}

impl FaultKind {
    /// Whether `vendor`'s protocol can go wrong in this way. What has no ids cannot have wrong ones, and where a cancel
    /// stops nothing, late chunks are no fault.
    pub const fn happens_to(self, vendor: Vendor) -> bool {
        match self {
            FaultKind::HandshakeSlow
            | FaultKind::Handshake401
            | FaultKind::Handshake429
            | FaultKind::Refuse
            | FaultKind::IdleClose
            | FaultKind::Close1000
            | FaultKind::Close1011
            | FaultKind::Drop
            | FaultKind::Abort
            | FaultKind::Error400
            | FaultKind::Error500
            | FaultKind::ErrorNoContext
            | FaultKind::Stall
            | FaultKind::StallFirst
            | FaultKind::NoDone
            | FaultKind::AfterDone
            | FaultKind::WrongIds
            | FaultKind::OddChunks
            | FaultKind::Burst
            | FaultKind::Garbage
            | FaultKind::UnknownTypes
            | FaultKind::Huge
            | FaultKind::SlowReader => true,
            FaultKind::LateChunks => matches!(vendor, Vendor::Cartesia | Vendor::Deepgram | Vendor::Rime),
            FaultKind::LateChunksDone | FaultKind::CancelDone => matches!(vendor, Vendor::Cartesia | Vendor::Rime),
            FaultKind::Expiry => matches!(vendor, Vendor::Cartesia | Vendor::Gradium | Vendor::ElevenLabs),
            // Deepgram counts sockets, and refuses handshakes.
            FaultKind::Limited | FaultKind::TimestampsNever => !matches!(vendor, Vendor::Deepgram),
            // ElevenLabs' word times are part of the audio's messages.
            FaultKind::TimestampsBefore | FaultKind::TimestampsAfter => {
                !matches!(vendor, Vendor::Deepgram | Vendor::ElevenLabs)
            }
            FaultKind::FlushDoneEach => matches!(vendor, Vendor::Cartesia | Vendor::Gradium),
        }
    }
}

/// Whether a fault can happen to `vendor`, and its amount be sent.
pub(super) fn is_possible(fault: &Fault, vendor: Vendor) -> bool {
    let status = fault.amount.or(fault.kind.amount_default()).unwrap_or_default();
    fault.kind.happens_to(vendor) && (fault.kind != FaultKind::Refuse || (300..=599).contains(&status))
}

/// The list of Cartesia's faults for `--help`, one line each.
pub fn help() -> String {
    help_for(Vendor::Cartesia)
}

/// The list of the faults that can happen to `vendor`, for `--help`, one line each.
pub fn help_for(vendor: Vendor) -> String {
    let all = fault::help::<FaultKind>();
    let mut lines = all.lines();
    let mut text = lines.by_ref().take(2).collect::<Vec<_>>().join("\n");
    for (kind, line) in FaultKind::ALL.iter().zip(lines) {
        if kind.happens_to(vendor) {
            text.push('\n');
            text.push_str(line);
        }
    }
    text
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

    #[test]
    fn what_cannot_happen_to_a_vendor_is_neither_taken_nor_listed() {
        let help = help_for(Vendor::Gradium);
        assert!(help.contains("\n  wrong-ids") && help.contains("NAME[=AMOUNT]") && !help.contains("late-chunks"));
        for (fault, vendor, possible) in [
            ("late-chunks", Vendor::Deepgram, true),
            ("late-chunks", Vendor::ElevenLabs, false),
            ("timestamps-never", Vendor::Deepgram, false),
            ("refuse=418", Vendor::Rime, true),
            ("refuse=200", Vendor::Rime, false),
            ("refuse", Vendor::Gradium, true),
        ] {
            assert_eq!(is_possible(&fault.parse().unwrap(), vendor), possible, "{fault} {vendor:?}");
        }
    }
}
