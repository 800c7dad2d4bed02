//! What is fuzzed: one function for each target, which breaks if something is wrong. `fuzz_targets/` hands them libFuzzer's
//! inputs, `docs/fuzzing.md` says how to run them.

mod configuration;
mod core;
mod line;
mod recording;
mod server;
mod speech;
mod tape;
mod twiml;

pub use configuration::configuration;
pub use core::core;
pub use line::{app, carrier};
pub use recording::recording;
pub use server::{api, webhook};
pub use speech::{hearing, voices};
pub use tape::tape;
pub use twiml::twiml;

/// A script of messages: one a line, `~` in front of a binary one, `>` in front of a command of ours with its arguments in
/// the bytes behind it.
pub(crate) enum Line<'a> {
    Message(trunkline::dialect::Message<'a>),
    Command(&'a [u8]),
}

pub(crate) fn lines(script: &[u8]) -> impl Iterator<Item = Line<'_>> {
    use trunkline::dialect::Message;
    script.split(|byte| *byte == b'\n').map(|line| match line {
        [b'~', bytes @ ..] => Line::Message(Message::Binary(bytes)),
        [b'>', arguments @ ..] => Line::Command(arguments),
        text => match std::str::from_utf8(text) {
            Ok(text) => Line::Message(Message::Text(text)),
            // No socket would hand on such a text.
            Err(_) => Line::Message(Message::Binary(text)),
        },
    })
}

/// The name of the stream in the recorded calls, which contexts of voices carry.
pub(crate) const STREAM: &str = "MZ5ca1ab1e00000000000000000000000a";

/// What we say to a peer that speaks JSON, or the few bare words of one that does not.
pub(crate) fn assert_json(message: &trunkline::dialect::Outgoing) {
    use trunkline::dialect::Outgoing;
    if let Outgoing::Text(text) = message
        && !["finalize", "close"].contains(&text.as_str())
    {
        assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text:?} is not JSON");
    }
}
