//! What a voice is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use trunkline::call::action::{Action, Place, TtsCommand};
use trunkline::call::event::{Event, TtsEvent};
use trunkline::ids::{CallTime, ContextId};

use super::{Verdict, ensure};
use crate::evidence::Evidence;

/// A context that was finished or cancelled gets no text, no flush and no second end.
pub(crate) fn no_text_follows_finish_or_cancel(evidence: &Evidence<'_>) -> Verdict {
    let mut ended: BTreeSet<ContextId> = BTreeSet::new();
    for (_, now, action) in evidence.trace.actions() {
        match action {
            Action::Tts(TtsCommand::Speak { on, .. } | TtsCommand::Flush { on }) => {
                ensure(!ended.contains(&on.context), || format!("{} goes on after its end, at {now}", on.context))?;
            }
            Action::Tts(TtsCommand::Finish { on }) => {
                ensure(ended.insert(on.context), || format!("{} ends twice, at {now}", on.context))?;
            }
            Action::Tts(TtsCommand::Cancel { context, .. }) => drop(ended.insert(*context)),
            _ => {}
        }
    }
    Ok(())
}

/// A context opens with something to say, stays as it was opened, and is never spoken of before.
pub(crate) fn a_context_stays_as_it_was_opened(evidence: &Evidence<'_>) -> Verdict {
    let mut places: BTreeMap<ContextId, &Place> = BTreeMap::new();
    let mut asked = BTreeSet::new();
    for (_, now, action) in evidence.trace.actions() {
        match action {
            Action::Tts(TtsCommand::Speak { on, text }) => {
                let is_open = places.contains_key(&on.context);
                let is_speakable = text.chars().any(char::is_alphanumeric);
                ensure(is_open || is_speakable, || format!("{} opens with {text:?} at {now}", on.context))?;
                let place = places.entry(on.context).or_insert(on);
                ensure(*place == on, || format!("{place:?} became {on:?} at {now}"))?;
            }
            Action::Tts(TtsCommand::Play { on, .. }) => {
                let place = places.entry(on.context).or_insert(on);
                ensure(*place == on, || format!("{place:?} became {on:?} at {now}"))?;
            }
            Action::Tts(TtsCommand::Flush { on } | TtsCommand::Finish { on }) => {
                let place = places.get(&on.context);
                ensure(place == Some(&on), || format!("{place:?} became {on:?} at {now}"))?;
            }
            Action::Tts(TtsCommand::Reserve { context, .. }) => drop(asked.insert(*context)),
            Action::Tts(TtsCommand::Cancel { context, .. }) => {
                ensure(places.contains_key(context) || asked.contains(context), || {
                    format!("{context} was never opened, at {now}")
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Text goes to a voice only on a link that is up, and a link that is up is not dialled. What stands behind the voices in
/// this process is always there and is never dialled.
pub(crate) fn a_voice_is_spoken_to_on_its_link(evidence: &Evidence<'_>) -> Verdict {
    let voices = evidence.trace.settings.voices.len();
    let mut up: BTreeSet<usize> = (voices + 1..=2 * voices).collect();
    for step in &evidence.trace.steps {
        // A try that was due comes before the event that it was due at.
        let mut before = up.clone();
        match &step.event {
            Event::Tts(TtsEvent::Up { voice }) => drop(up.insert(*voice)),
            Event::Tts(TtsEvent::Down { voice, .. }) => drop(up.remove(voice)),
            _ => {}
        }
        for action in &step.actions {
            let Action::Tts(command) = action else { continue };
            let voice = voice_of(command);
            let is_lawful = match command {
                TtsCommand::Dial { .. } => !(before.contains(&voice) && up.contains(&voice)),
                // What was due before the link went hangs up on a link that was there.
                TtsCommand::HangUp { .. } => before.remove(&voice) | up.remove(&voice),
                TtsCommand::Speak { .. } | TtsCommand::Flush { .. } | TtsCommand::Finish { .. } => up.contains(&voice),
                TtsCommand::Play { .. } | TtsCommand::Reserve { .. } | TtsCommand::Cancel { .. } => true,
            };
            ensure(is_lawful, || format!("{command:?} at {}, the links of {up:?} are up", step.now))?;
        }
    }
    Ok(())
}

/// A link that fails is not dialled again and again without a pause.
pub(crate) fn no_link_is_dialled_like_mad(evidence: &Evidence<'_>) -> Verdict {
    /// More dials than this of one voice within [`SPAN`] are mad.
    const DIALS_MAX: usize = 8;
    const SPAN: Duration = Duration::from_secs(5);
    if evidence.trace.truth.is_none() {
        return Ok(());
    }
    let mut dials: BTreeMap<usize, Vec<CallTime>> = BTreeMap::new();
    for (_, now, action) in evidence.trace.actions() {
        if let Action::Tts(TtsCommand::Dial { voice }) = action {
            dials.entry(*voice).or_default().push(now);
        }
    }
    let many = dials.values().flat_map(|dials| dials.windows(DIALS_MAX + 1));
    let many = many.into_iter().find(|dials| dials[DIALS_MAX].since(dials[0]) < SPAN);
    ensure(many.is_none(), || format!("dialled like mad: {many:?}"))
}

/// Whom a command is for.
pub(crate) fn voice_of(command: &TtsCommand) -> usize {
    match command {
        TtsCommand::Dial { voice }
        | TtsCommand::HangUp { voice }
        | TtsCommand::Reserve { voice, .. }
        | TtsCommand::Cancel { voice, .. } => *voice,
        TtsCommand::Speak { on, .. }
        | TtsCommand::Flush { on }
        | TtsCommand::Finish { on }
        | TtsCommand::Play { on, .. } => on.voice,
    }
}
