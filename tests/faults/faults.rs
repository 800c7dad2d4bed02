//! What goes wrong: the vendors' own switches, and faults of the network below them.

use crate::network::{Times, Wire};

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// What it is, for a reader.
    pub(crate) about: &'static str,
    pub(crate) cause: Cause,
    /// Trying again cannot help, whoever heals it.
    pub(crate) is_final: bool,
    /// The vendor sends silence as speech: it is heard as what it is.
    pub(crate) is_mute: bool,
    /// A vendor that does this speaks all the same, so that nobody has to take over.
    pub(crate) is_harmless: bool,
}

/// Where a fault is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Nowhere.
    Nothing,
    /// Between the call and the vendor.
    Wire(Wire),
    /// At the vendor.
    Switch(&'static str),
}

const fn wire(about: &'static str, wire: Wire) -> Fault {
    Fault { about, cause: Cause::Wire(wire), is_final: false, is_mute: false, is_harmless: false }
}

const fn switch(about: &'static str, switch: &'static str) -> Fault {
    Fault { about, cause: Cause::Switch(switch), is_final: false, is_mute: false, is_harmless: false }
}

const fn noise(about: &'static str, name: &'static str) -> Fault {
    Fault { is_harmless: true, ..switch(about, name) }
}

/// Every fault, in the order of the table. Amounts are chosen so that each happens within the call's first turn.
pub(crate) const FAULTS: &[Fault] = &[
    Fault { about: "nothing", cause: Cause::Nothing, is_final: false, is_mute: false, is_harmless: false },
    wire("connection refused", Wire::Refused),
    wire("connection never answered", Wire::Hangs),
    switch("handshake answered after 3 s", "handshake-slow=3000"),
    Fault { is_final: true, ..switch("handshake: status 401", "handshake-401") },
    switch("handshake: status 429", "handshake-429"),
    switch("handshake: status 503", "refuse=503"),
    switch("429 in the stream", "limited"),
    switch("closed with code 1000 after 5 chunks", "close-1000=5"),
    switch("closed with code 1011 after 5 chunks", "close-1011=5"),
    switch("closed without a code after 5 chunks", "drop=5"),
    switch("cut off after 5 chunks", "abort=5"),
    switch("closed when idle for 1 s", "idle-close=1000"),
    switch("audio never begins", "stall-first"),
    switch("audio stops after 5 chunks", "stall=5"),
    switch("error 400 after 3 chunks", "error-400=3"),
    switch("error 500 after 3 chunks", "error-500=3"),
    switch("error without an id after 3 chunks", "error-no-context=3"),
    switch("garbage between the messages", "garbage"),
    noise("messages of unknown types", "unknown-types"),
    noise("messages of 1 MiB", "huge=1024"),
    noise("audio with wrong ids", "wrong-ids"),
    noise("late chunks after a cancel", "late-chunks"),
    noise("late chunks after a cancel, then the end", "late-chunks-done"),
    noise("a cancel answered with the end", "cancel-done"),
    noise("audio after the end", "after-done=3"),
    noise("the end never comes", "no-done"),
    noise("chunks cut inside samples", "odd-chunks"),
    noise("all audio at once", "burst"),
    noise("word times before the audio", "timestamps-before"),
    noise("word times after the audio", "timestamps-after"),
    noise("no word times", "timestamps-never"),
    switch("a success without audio", "empty"),
    Fault { is_mute: true, ..noise("1 MiB at once, silence behind the audio", "padded=1024") },
    Fault { is_mute: true, ..noise("silence behind the audio, for ever", "endless") },
    noise("flushes answered that nobody asked for", "flush-done-each"),
    switch("nothing read after the first message", "slow-reader=1"),
];

impl Fault {
    /// The vendor's switch for it, as often as it happens.
    pub(crate) fn switch(&self, times: Times) -> Option<String> {
        let (Cause::Switch(switch), suffix) = (
            self.cause,
            match times {
                Times::Once => ":1",
                Times::Always => "",
            },
        ) else {
            return None;
        };
        Some(format!("{switch}{suffix}"))
    }

    /// What the wire does.
    pub(crate) fn wire(&self) -> Wire {
        match self.cause {
            Cause::Wire(wire) => wire,
            Cause::Nothing | Cause::Switch(_) => Wire::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline::emulate::tts::{Fault as Switch, FaultKind};

    use super::*;

    #[test]
    fn no_switch_is_forgotten() {
        let kinds: Vec<FaultKind> = FAULTS
            .iter()
            .filter_map(|fault| fault.switch(Times::Always))
            .filter_map(|switch| switch.parse::<Switch>().ok())
            .map(|switch| switch.kind)
            .collect();
        // What expires when nothing is said is in the long calls, at the limits that the vendors document.
        for kind in FaultKind::ALL.iter().filter(|kind| **kind != FaultKind::Expiry) {
            assert_eq!(kinds.iter().filter(|other| *other == kind).count(), 1, "{kind:?}");
        }
    }
}
