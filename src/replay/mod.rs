//! A recorded call, performed again: tape -> dialects -> `Call` -> what was sent, in virtual time.

mod check;
mod redact;
mod session;
mod sound;
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

/// The same, and lets the call be heard: `hear` is given samples and their rate, left and right by turns, the caller left and
/// what the caller heard right. They are those of the live call's recording, as far as the tape has its audio.
pub fn perform_aloud(
    tape: &Tape,
    mut observer: impl FnMut(&Entry, &[Line]),
    mut hear: impl FnMut(u32, &[i16]),
) -> Session {
    let mut session = Session::aloud(&tape.header);
    perform_in(&mut session, tape, |session, entry, _, sent| {
        observer(entry, sent);
        session.give_sound(&mut hear);
    });
    session.end_sound();
    session.give_sound(&mut hear);
    session
}

/// The same, with what each entry meant.
fn perform_understood(tape: &Tape, mut observer: impl FnMut(&Entry, Option<&Event>, &[Line])) -> Session {
    let mut session = Session::new(&tape.header);
    perform_in(&mut session, tape, |_, entry, event, sent| observer(entry, event, sent));
    session
}

fn perform_in(
    session: &mut Session,
    tape: &Tape,
    mut observer: impl FnMut(&mut Session, &Entry, Option<&Event>, &[Line]),
) {
    let mut sent = Vec::new();
    for entry in &tape.entries {
        if tape.header.wakes == Wakes::Due {
            while let Some(at) = session.due().filter(|at| *at <= entry.at) {
                step(session, &Entry { at, what: What::Wake }, &mut sent, &mut observer);
            }
        }
        step(session, entry, &mut sent, &mut observer);
    }
}

fn step(
    session: &mut Session,
    entry: &Entry,
    sent: &mut Vec<Line>,
    observer: &mut impl FnMut(&mut Session, &Entry, Option<&Event>, &[Line]),
) {
    let event = session.understand(&entry.what);
    if let Some(event) = event.clone() {
        session.handle(entry.at, event, |what| sent.push(Line { at: entry.at, sent: what }));
    }
    observer(session, entry, event.as_ref(), sent);
    sent.clear();
}
