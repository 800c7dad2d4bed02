//! A tape made fit to be shown, after the call.

use super::{Line, Sent, Unfaithful, perform};
use crate::call::action::AgentReport;
use crate::call::event::SpeechEvent;
use crate::tape::{Audio, End, Entry, Redactor, Tape, Text, Wakes, What};

/// The tape that the call would have left if it had been recorded with `text` and `audio`. What the tape has not got any
/// more does not come back. `key` must be as random as a key and is not to be kept: whoever has it can undo the words.
///
/// # Errors
/// [`Unfaithful`]: the new tape does not send what the old one does.
pub fn redacted(tape: &Tape, text: Text, audio: Audio, key: [u8; 32]) -> Result<Tape, Unfaithful> {
    let mut source = tape.clone();
    let was_silent = source.header.audio == Audio::Silence;
    source.header.text = text;
    source.header.audio = if was_silent { Audio::Silence } else { audio };
    let needs_speech = audio == Audio::Silence && !was_silent;
    let mut redactor = Redactor::new(&source.header, key);
    let (mut peers, mut entries) = (source.header.peers(), Vec::new());
    let session = perform(&source, |entry, sent| {
        if entry.what == What::Wake && source.header.wakes == Wakes::Due {
            return;
        }
        if needs_speech {
            entries.extend(
                sent.iter().filter_map(speech).map(|speech| Entry { at: entry.at, what: What::Speech(speech) }),
            );
        }
        let event = entry.what.event(&mut peers);
        let what = event.map_or_else(|| entry.what.clone(), |event| redactor.cover(entry.what.clone(), &event));
        entries.push(Entry { at: entry.at, what });
    });
    let live = session.digest();
    for entry in &mut entries {
        if let What::End(End { sent, .. }) = &mut entry.what {
            *sent = live;
        }
    }
    let covered = Tape { header: redactor.header(source.header), entries };
    let replayed = perform(&covered, |_, _| ()).digest();
    if replayed == live { Ok(covered) } else { Err(Unfaithful { live, replayed }) }
}

/// What the detector heard, which silence will not tell.
fn speech(line: &Line) -> Option<SpeechEvent> {
    match &line.sent {
        Sent::Agent(AgentReport::CallerSpeech(change)) => Some((*change).into()),
        Sent::Agent(_) | Sent::Carrier(_) | Sent::Voice { .. } | Sent::End(_) => None,
    }
}
