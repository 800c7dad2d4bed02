//! A recorded call, performed again: tape -> dialects -> `Call` -> what was sent, in virtual time.

mod check;
mod redact;
mod session;
mod timeline;

pub use check::{Difference, Expected, Unfaithful};
pub use redact::redacted;
pub use session::{Sent, Session, ToApp, ToHearing, ToVoice};
pub use timeline::Timeline;

use crate::call::event::Event;
use crate::ids::CallTime;
use crate::tape::{Entry, Tape, Wakes, What};

/// One thing that a call sent, and when.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Line {
    /// When, in microseconds of the call.
    #[serde(rename = "at_us")]
    pub at: CallTime,
    /// What.
    #[serde(flatten)]
    pub sent: Sent,
}

/// Performs a tape and gives every step to `observer`: the entry that was taken, and what the call sent because of it.
/// A tape without wake-ups gets them when the call asks for them, up to the last entry.
pub fn perform(tape: &Tape, mut observer: impl FnMut(&Entry, &[Line])) -> Session {
    perform_understood(tape, |entry, _, sent| observer(entry, sent))
}

/// The same, with what each entry meant.
fn perform_understood(tape: &Tape, mut observer: impl FnMut(&Entry, Option<&Event>, &[Line])) -> Session {
    let mut session = Session::new(&tape.header);
    let mut sent = Vec::new();
    for entry in &tape.entries {
        if tape.header.wakes == Wakes::Due {
            while let Some(at) = session.due().filter(|at| *at <= entry.at) {
                step(&mut session, &Entry { at, what: What::Wake }, &mut sent, &mut observer);
            }
        }
        step(&mut session, entry, &mut sent, &mut observer);
    }
    session
}

fn step(
    session: &mut Session,
    entry: &Entry,
    sent: &mut Vec<Line>,
    observer: &mut impl FnMut(&Entry, Option<&Event>, &[Line]),
) {
    let event = session.understand(&entry.what);
    if let Some(event) = event.clone() {
        session.handle(entry.at, event, |what| sent.push(Line { at: entry.at, sent: what }));
    }
    observer(entry, event.as_ref(), sent);
    sent.clear();
}
