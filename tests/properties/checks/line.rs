//! What goes to the carrier.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use trunkline::call::action::{Action, AgentReport, CarrierCommand, Cause, TtsCommand};
use trunkline::call::event::{AgentEvent, Event, TtsEvent};
use trunkline::ids::{CallTime, ContextId, TurnId};

use super::{Verdict, ensure};
use crate::evidence::{Evidence, millis};
use crate::label::bytes_per_ms;
use crate::trace::Step;

/// A mark that comes back this much before its audio can have been played is still believed, so that a carrier that lies
/// may be taken to have played so much more than it has.
const EARLY_MS: u64 = 60;
/// A mark follows so much audio at the latest.
const MARK_EVERY_MS: u64 = 200;

/// Nothing goes out before the start of the stream, and nothing at all after the end of the call.
pub(crate) fn nothing_is_sent_outside_of_the_stream(evidence: &Evidence<'_>) -> Verdict {
    let (mut started, mut ended) = (false, false);
    for (_, now, action) in evidence.trace.actions() {
        ensure(!ended, || format!("{} after the end, at {now}", name_of(action)))?;
        match action {
            Action::Agent(AgentReport::Started) => started = true,
            Action::End(_) => ended = true,
            Action::Carrier(_) => ensure(started, || format!("{} before the start, at {now}", name_of(action)))?,
            Action::Tts(_) | Action::Hearing(_) | Action::Agent(_) => {}
        }
    }
    Ok(())
}

fn name_of(action: &Action) -> String {
    match action {
        Action::Carrier(CarrierCommand::Media { .. }) => "a frame".to_owned(),
        action => format!("{action:?}"),
    }
}

/// Every frame is as long as the format of the stream says.
pub(crate) fn every_frame_has_the_size_of_its_format(evidence: &Evidence<'_>) -> Verdict {
    let Some(format) = evidence.format else { return Ok(()) };
    let odd = evidence.sent.iter().find(|sent| sent.bytes != format.frame_bytes());
    ensure(odd.is_none(), || format!("a frame of {:?} bytes", odd.map(|sent| sent.bytes)))
}

/// Never more is sent ahead than the lead: rounded up to a frame, one frame that an inbound one released early, and after a
/// late wake-up the frames that may be caught up.
pub(crate) fn frames_never_run_ahead_of_due_time_and_lead(evidence: &Evidence<'_>) -> Verdict {
    let Some(format) = evidence.format else { return Ok(()) };
    let frame = u64::from(format.frame_ms);
    let catch_up = if evidence.trace.stalls { 5 * frame } else { 0 };
    let most = millis(evidence.trace.settings.playout.lead) + 2 * frame + catch_up;
    let over = evidence.sent.iter().find(|sent| sent.held_ms > most);
    ensure(over.is_none(), || format!("the carrier holds more than {most} ms: {over:?}"))
}

/// From the `clear` that cuts a turn off, or from its end, nothing of it is sent.
pub(crate) fn nothing_of_a_turn_follows_its_end(evidence: &Evidence<'_>) -> Verdict {
    let mut over: BTreeSet<TurnId> = BTreeSet::new();
    let mut sent = evidence.sent.iter();
    for step in &evidence.trace.steps {
        let cut = |action: &Action| match action {
            Action::Agent(AgentReport::Interrupted { turn, .. } | AgentReport::TurnOver { turn, .. }) => Some(*turn),
            _ => None,
        };
        for (at, action) in step.actions.iter().enumerate() {
            match action {
                Action::Carrier(CarrierCommand::Clear { .. }) => over.extend(step.actions[at..].iter().filter_map(cut)),
                Action::Carrier(CarrierCommand::Media { .. }) => {
                    let runs = sent.next().map(|sent| &sent.runs[..]).unwrap_or_default();
                    let stale = runs.iter().find(|run| over.contains(&run.context.turn));
                    ensure(stale.is_none(), || format!("{stale:?} at {} after its turn was over", step.now))?;
                }
                Action::End(_) => return Ok(()),
                action => over.extend(cut(action)),
            }
        }
    }
    Ok(())
}

/// Turns are heard in the order in which they were opened, the contexts of a turn in theirs, and no context's speech lies
/// within another's.
pub(crate) fn live_contexts_never_mix(evidence: &Evidence<'_>) -> Verdict {
    let opened = evidence.trace.actions().filter_map(|(_, _, action)| match action {
        Action::Agent(AgentReport::TurnStarted { turn }) => Some(*turn),
        _ => None,
    });
    let mut ranks: BTreeMap<TurnId, usize> = BTreeMap::new();
    for (rank, turn) in opened.enumerate() {
        ranks.entry(turn).or_insert(rank);
    }
    let rank_of = |context: ContextId| ranks.get(&context.turn).map(|rank| (*rank, context.serial));
    let mut clears = evidence.cleared.iter().map(|(step, _)| *step).peekable();
    let mut last: Option<ContextId> = None;
    for sent in &evidence.sent {
        while clears.next_if(|clear| *clear <= sent.step).is_some() {
            last = None;
        }
        for run in &sent.runs {
            let is_behind = last.is_none_or(|last| rank_of(last) <= rank_of(run.context));
            ensure(is_behind, || format!("{} after {last:?} at {}", run.context, sent.at))?;
            last = Some(run.context);
        }
    }
    Ok(())
}

/// Every millisecond that a voice sent is sent on once, in order, unless it was flushed or dropped; and what the call says
/// that it sent is what it sent.
pub(crate) fn every_sample_is_accounted_for(evidence: &Evidence<'_>) -> Verdict {
    let (stats, frames) = (evidence.trace.stats, evidence.sent.len() as u64);
    if evidence.trace.broke.is_none() {
        let counted = stats.frames_out - stats.frames_withdrawn;
        ensure(counted == frames, || format!("{counted} frames were counted, {frames} were sent"))?;
    }
    let mut clears = evidence.played_at_clear.iter().peekable();
    let mut next: BTreeMap<ContextId, u64> = BTreeMap::new();
    let mut resumes: BTreeMap<ContextId, u64> = BTreeMap::new();
    for sent in &evidence.sent {
        while let Some((_, played)) = clears.next_if(|(step, _)| *step <= sent.step) {
            // What follows is either new, or was flushed: it goes on where the carrier was, or a little later if its marks lie.
            resumes = next.keys().map(|id| (*id, played.get(id).copied().unwrap_or(0) + EARLY_MS)).collect();
        }
        for run in &sent.runs {
            let expected = next.get(&run.context).copied().unwrap_or(0);
            match resumes.remove(&run.context) {
                Some(latest) => {
                    let latest = latest.min(expected);
                    ensure(run.ms <= latest, || format!("{run:?} at {} lacks what lies behind {latest}", sent.at))?;
                }
                None => ensure(run.ms == expected, || format!("{run:?} at {} instead of {expected}", sent.at))?,
            }
            next.insert(run.context, run.end());
        }
    }
    nothing_is_lost(evidence, &next)
}

/// Of a context that its voice completed, all was sent when its turn is over.
fn nothing_is_lost(evidence: &Evidence<'_>, sent: &BTreeMap<ContextId, u64>) -> Verdict {
    let Some(format) = evidence.format else { return Ok(()) };
    let mut received: BTreeMap<ContextId, usize> = BTreeMap::new();
    let (mut opened, mut finished) = (BTreeSet::new(), BTreeSet::new());
    let mut whole: BTreeMap<ContextId, usize> = BTreeMap::new();
    for step in &evidence.trace.steps {
        match &step.event {
            Event::Tts(TtsEvent::Audio { context, audio }) => *received.entry(*context).or_default() += audio.len(),
            Event::Tts(TtsEvent::Done { context }) if finished.contains(context) => {
                whole.entry(*context).or_insert_with(|| received.get(context).copied().unwrap_or(0));
            }
            _ => {}
        }
        if may_break_off(step) {
            // What broke off is cut, and what lay behind it is spoken again.
            finished.clear();
            whole.clear();
        }
        for action in &step.actions {
            match action {
                Action::Tts(TtsCommand::Finish { on }) => drop(finished.insert(on.context)),
                Action::Tts(TtsCommand::Speak { on, .. }) if opened.insert(on.context) => {
                    // The voice may have said that it was done too early, so that its text is spoken again.
                    whole.retain(|context, _| context.turn != on.context.turn);
                }
                Action::Agent(AgentReport::TurnOver { turn, .. }) => {
                    for (context, bytes) in whole.iter().filter(|(context, _)| context.turn == *turn) {
                        let (made, sent) = (*bytes / bytes_per_ms(format), sent.get(context).copied().unwrap_or(0));
                        // What is received after the context was settled is late, and not of it.
                        ensure(sent >= made as u64, || format!("{sent} of {made} ms of {context} were sent"))?;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether a context may have broken off in this step.
pub(super) fn may_break_off(step: &Step) -> bool {
    let told = |action: &Action| {
        matches!(action, Action::Tts(TtsCommand::HangUp { .. } | TtsCommand::Cancel { .. }))
            || matches!(action, Action::Agent(AgentReport::SpeechFailed { .. }))
    };
    matches!(step.event, Event::Tts(TtsEvent::Down { .. } | TtsEvent::Failed { .. })) || step.actions.iter().any(told)
}

/// A barge-in silences a carrier that still plays.
pub(crate) fn what_is_cut_off_falls_silent(evidence: &Evidence<'_>) -> Verdict {
    for (index, step) in evidence.trace.steps.iter().enumerate() {
        // A turn that is refused as soon as it is said was never heard, and the end of the call is silence enough.
        let is_refusal = matches!(step.event, Event::Agent(AgentEvent::Say(_)));
        let is_cut = step.actions.iter().any(|action| match action {
            Action::Agent(AgentReport::Interrupted { cause, .. }) => *cause != Cause::CallEnded && !is_refusal,
            _ => false,
        });
        let clears = evidence.cleared.iter().filter(|(clear, _)| *clear == index).count();
        let held = evidence.held[index];
        let is_silent = clears == 1 || held <= EARLY_MS + 1;
        ensure(!is_cut || is_silent, || format!("no clear at {} though the carrier holds {held} ms", step.now))?;
    }
    Ok(())
}

/// `clear` says at least what the carrier really holds, and at most what was sent since the last one.
pub(crate) fn clear_tells_what_it_flushes(evidence: &Evidence<'_>) -> Verdict {
    let frame = evidence.format.map_or(0, |format| u64::from(format.frame_ms));
    let mut holds = evidence.cleared.iter();
    let mut sent = 0;
    for (_, now, action) in evidence.trace.actions() {
        match action {
            Action::Carrier(CarrierCommand::Media { .. }) => sent += frame,
            Action::Carrier(CarrierCommand::Clear { held }) => {
                let (told, held) = (millis(*held), holds.next().map_or(0, |(_, held)| *held));
                ensure(told + EARLY_MS + 2 >= held, || format!("{told} ms flushed at {now}, {held} ms were held"))?;
                ensure(told <= sent, || format!("{told} ms flushed at {now}, {sent} ms were sent"))?;
                sent = 0;
            }
            Action::Carrier(CarrierCommand::Mark(_))
            | Action::Tts(_)
            | Action::Hearing(_)
            | Action::Agent(_)
            | Action::End(_) => {}
        }
    }
    Ok(())
}

/// Marks count from one without a gap, and each ends in exactly one way: played, flushed, given up or not believed.
pub(crate) fn each_mark_resolves_exactly_once(evidence: &Evidence<'_>) -> Verdict {
    let mut marks = 0;
    for (_, now, action) in evidence.trace.actions() {
        match action {
            Action::Carrier(CarrierCommand::Mark(mark)) => {
                marks += 1;
                ensure(mark.0 == marks, || format!("{mark:?} at {now} is the {marks}th"))?;
            }
            Action::End(_) => break,
            _ => {}
        }
    }
    let stats = evidence.trace.stats;
    let settled = stats.marks_played + stats.marks_flushed + stats.marks_lapsed + stats.marks_disbelieved;
    let is_open = evidence.trace.broke.is_some();
    ensure(is_open || settled == marks, || format!("{marks} marks, {settled} of them settled: {stats:?}"))
}

/// No more than 200 ms of audio, rounded up to a frame, go out without a mark.
pub(crate) fn a_mark_follows_every_fifth_of_a_second(evidence: &Evidence<'_>) -> Verdict {
    let Some(format) = evidence.format else { return Ok(()) };
    let (frame, mut unmarked) = (u64::from(format.frame_ms), 0);
    for (_, now, action) in evidence.trace.actions() {
        match action {
            Action::Carrier(CarrierCommand::Media { .. }) => {
                ensure(unmarked < MARK_EVERY_MS, || format!("{unmarked} ms without a mark at {now}"))?;
                unmarked += frame;
            }
            Action::Carrier(CarrierCommand::Mark(_) | CarrierCommand::Clear { .. }) => unmarked = 0,
            Action::End(_) => return Ok(()),
            Action::Tts(_) | Action::Hearing(_) | Action::Agent(_) => {}
        }
    }
    Ok(())
}

/// Speech that is owed is heard, or its turn ends: the caller never hears silence for long.
pub(crate) fn no_call_is_silent(evidence: &Evidence<'_>) -> Verdict {
    /// The caller may hear silence for so long while speech is owed.
    const SILENCE: Duration = Duration::from_secs(5);
    let Some(truth) = &evidence.trace.truth else { return Ok(()) };
    let mut sleeps = truth.sleeps.iter().peekable();
    let mut awake_since = CallTime::ZERO;
    let mut owed = super::agent::Owed::default();
    for (index, step) in evidence.trace.steps.iter().enumerate() {
        while let Some((_, until)) = sleeps.next_if(|(before, _)| *before <= index) {
            awake_since = *until;
        }
        owed.take(step);
        let Some((turn, since)) = owed.front() else { continue };
        let since = since.max(evidence.last_sound[index]).max(awake_since);
        let is_silent = step.now.since(since) > SILENCE;
        ensure(!is_silent, || format!("silence since {since}, it is {}, turn {turn} is owed", step.now))?;
    }
    Ok(())
}
