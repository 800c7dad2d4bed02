//! A redacted tape is as good as the real one.

use trunkline::call::action::AgentReport;
use trunkline::replay::{Sent, perform, redacted};
use trunkline::tape::{Audio, Tape, Text};

/// The words are made up from this here, so that a failure is the same in every run.
const KEY: [u8; 32] = [7; 32];

/// What is wrong with the tape once its words are made up: with its audio it must send the same bytes, and without it the
/// same frames, marks and clears. The agent is told as many words either way.
pub(crate) fn differs(tape: &Tape) -> Vec<String> {
    let attempt = |audio: Audio| match redacted(tape, Text::Redact, audio, KEY) {
        Err(fault) => Some(format!("redacted, audio {audio:?}: {fault}")),
        Ok(covered) => {
            let (real, made_up) = (prompts(tape), prompts(&covered));
            (real != made_up)
                .then(|| format!("redacted, audio {audio:?}: {made_up:?} words were prompts, not {real:?}"))
        }
    };
    [Audio::Keep, Audio::Silence].into_iter().filter_map(attempt).collect()
}

/// Words of each prompt.
fn prompts(tape: &Tape) -> Vec<usize> {
    let mut words = Vec::new();
    perform(tape, |_, sent| {
        words.extend(sent.iter().filter_map(|line| match &line.sent {
            Sent::Agent(AgentReport::Prompt { text, .. }) => Some(text.split_whitespace().count()),
            _ => None,
        }));
    });
    words
}
