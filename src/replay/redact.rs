//! A tape made fit to be shown, after the call.

use super::{Line, Sent, Unfaithful, perform, perform_understood};
use crate::call::action::AgentReport;
use crate::call::event::SpeechEvent;
use crate::tape::{Audio, End, Entry, Redactor, Tape, Text, Wakes, What};

/// The tape that the call would have left if it had been recorded with `text` and `audio`. What the tape has not got any
/// more does not come back. `key` must be as random as a key and is not to be kept: whoever has it can undo the words.
///
/// # Errors
/// [`Unfaithful`]: the tape as it is does not send what the live call sent, or the new one not what the old one does.
pub fn redacted(tape: &Tape, text: Text, audio: Audio, key: [u8; 32]) -> Result<Tape, Unfaithful> {
    same_as_live(tape)?;
    let mut source = tape.clone();
    let was_silent = source.header.audio == Audio::Silence;
    source.header.text = text;
    source.header.audio = if was_silent { Audio::Silence } else { audio };
    let needs_speech = audio == Audio::Silence && !was_silent;
    let mut redactor = Redactor::new(&source.header, key);
    let mut entries = Vec::new();
    let session = perform_understood(&source, |entry, event, sent| {
        if entry.what == What::Wake && source.header.wakes == Wakes::Due {
            return;
        }
        // Whose speech is on the tape already is not heard twice.
        if needs_speech && !matches!(entry.what, What::Speech(_)) {
            entries.extend(
                sent.iter().filter_map(speech).map(|speech| Entry { at: entry.at, what: What::Speech(speech) }),
            );
        }
        let what = event.map_or_else(|| entry.what.clone(), |event| redactor.cover(entry.what.clone(), event));
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

/// The new tape says what a replay sends. That must not hide that the live call sent something else: such a tape is the
/// report of a bug, and one that replays perfectly would be the report of none. Where lines are missing nothing can be told.
fn same_as_live(tape: &Tape) -> Result<(), Unfaithful> {
    let Some(End { sent: live, .. }) = tape.end().filter(|_| tape.lost() == 0) else { return Ok(()) };
    let replayed = perform(tape, |_, _| ()).digest();
    if replayed == *live { Ok(()) } else { Err(Unfaithful { live: *live, replayed }) }
}

/// What the detector heard, which silence will not tell.
fn speech(line: &Line) -> Option<SpeechEvent> {
    match &line.sent {
        Sent::Agent(AgentReport::CallerSpeech(change)) => Some((*change).into()),
        Sent::Agent(_) | Sent::Carrier(_) | Sent::Voice { .. } | Sent::Hearing { .. } | Sent::App(_) | Sent::End(_) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::event::AgentEvent;
    use crate::dialect::{Body, Input};
    use crate::tape::Digest;

    const CALL: &str = include_str!("../../fixtures/calls/hang-up-mid-turn/tape.jsonl");

    fn ended(sent: Digest) -> Tape {
        let mut tape = Tape::read(CALL.as_bytes()).unwrap();
        tape.entries.retain(|entry| !matches!(entry.what, What::End(_)));
        let at = tape.entries.last().unwrap().at;
        tape.entries.push(Entry { at, what: What::End(End { reason: None, sent, withdrawn: Vec::new() }) });
        tape
    }

    #[test]
    fn what_is_spoken_of_written_text_is_what_is_covered() {
        const TOKENS: [&str; 6] =
            ["Good **mor", "ning** and", " welcome to ", "the [nor", "thern](https://a.example/b) light", "house"];
        let mut tape = Tape::read(CALL.as_bytes()).unwrap();
        tape.entries.retain(|entry| !matches!(entry.what, What::End(_)));
        let at = tape.entries.iter().position(|entry| said(entry).is_some()).unwrap();
        let first = tape.entries.remove(at);
        for (n, token) in TOKENS.iter().enumerate().rev() {
            let mut entry = first.clone();
            let What::Input(Input { body: Body::Agent(AgentEvent::Say(say)), .. }) = &mut entry.what else {
                panic!("no text")
            };
            (say.text, say.last) = ((*token).to_owned(), n + 1 == TOKENS.len());
            tape.entries.insert(at, entry);
        }
        let covered = redacted(&tape, Text::Redact, Audio::Keep, [7; 32]).unwrap();
        let text: String = covered.entries.iter().filter_map(said).collect();
        let spoken = "Good morning and welcome to the northern lighthouse";
        assert_eq!(text.len(), spoken.len(), "{text}");
        assert!(text.split(' ').zip(spoken.split(' ')).all(|(covered, real)| covered.len() == real.len()), "{text}");
        // The caller hears that one as long as the other, and as much of it.
        let words = |tape: &Tape| {
            let mut heard = Vec::new();
            perform(tape, |_, sent| {
                heard.extend(sent.iter().filter_map(|line| match &line.sent {
                    Sent::Agent(AgentReport::Interrupted { heard, .. }) => Some(heard.text.split(' ').count()),
                    _ => None,
                }));
            });
            heard
        };
        assert_eq!(words(&covered), words(&tape));
    }

    fn said(entry: &Entry) -> Option<&str> {
        match &entry.what {
            What::Input(Input { body: Body::Agent(AgentEvent::Say(say)), .. }) => Some(&say.text),
            _ => None,
        }
    }

    #[test]
    fn a_tape_that_does_not_send_what_the_call_sent_is_not_made_to_look_as_if() {
        let replayed = perform(&Tape::read(CALL.as_bytes()).unwrap(), |_, _| ()).digest();
        let live = Digest { marks: replayed.marks + 1, ..replayed };
        let attempt =
            |tape: &Tape| redacted(tape, Text::Redact, Audio::Silence, [7; 32]).map(|tape| tape.end().cloned());
        assert_eq!(attempt(&ended(live)), Err(Unfaithful { live, replayed }));
        let end = attempt(&ended(replayed)).unwrap().unwrap();
        assert_eq!((end.sent.frames, end.sent.marks), (replayed.frames, replayed.marks));
        // Where lines are missing, no replay can send the same.
        let mut holed = ended(live);
        let at = holed.entries.first().unwrap().at;
        holed.entries.insert(0, Entry { at, what: What::Lost(3) });
        assert!(attempt(&holed).is_ok());
    }
}
