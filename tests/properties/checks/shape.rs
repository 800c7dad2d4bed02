//! What makes the call a machine that can be driven, bounded and replayed.

use std::collections::{BTreeMap, BTreeSet};

use trunkline::call::Call;
use trunkline::call::action::{Action, AgentReport, CarrierCommand, TtsCommand};
use trunkline::call::event::{Event, TtsEvent};
use trunkline::ids::{ContextId, TurnId};

use super::line::may_break_off;
use super::{Verdict, ensure};
use crate::evidence::{Evidence, millis};
use crate::label::bytes_per_ms;
use crate::trace::Step;

/// Turns that may be live at once.
const TURNS_MAX: usize = 64;

/// No input makes the call panic, nor keeps it busy without end.
pub(crate) fn a_call_never_breaks(evidence: &Evidence<'_>) -> Verdict {
    let broke = &evidence.trace.broke;
    ensure(broke.is_none(), || broke.clone().unwrap_or_default())
}

/// Once its actions are taken, the call wants to be woken later than now, or not at all.
pub(crate) fn the_next_timeout_is_in_the_future(evidence: &Evidence<'_>) -> Verdict {
    let is_past = evidence.trace.steps.iter().find_map(|step| step.timeout.filter(|(at, _)| *at <= step.now));
    ensure(is_past.is_none(), || format!("{is_past:?} is not in the future"))
}

/// The same events at the same times give the same actions and the same timeouts.
pub(crate) fn the_same_events_give_the_same_actions(evidence: &Evidence<'_>) -> Verdict {
    if evidence.trace.broke.is_some() {
        return Ok(());
    }
    let mut call = Call::new(evidence.trace.settings.clone());
    for step in &evidence.trace.steps {
        call.handle(step.now, step.event.clone());
        for action in &step.actions {
            let again = call.poll_action();
            ensure(again.as_ref() == Some(action), || {
                format!("at {} {:.300} became {:.300}", step.now, format!("{action:?}"), format!("{again:?}"))
            })?;
        }
        let (more, timeout) = (call.poll_action(), call.poll_timeout());
        ensure(more.is_none(), || format!("{more:?} is new at {}", step.now))?;
        ensure(timeout == step.timeout, || format!("{:?} became {timeout:?} at {}", step.timeout, step.now))?;
    }
    Ok(())
}

/// What waits is bounded: frames for one wake-up, live turns, and speech that is made but was not sent when a voice is given
/// more text.
pub(crate) fn every_queue_keeps_its_limit(evidence: &Evidence<'_>) -> Verdict {
    let Some(format) = evidence.format else { return Ok(()) };
    let settings = &evidence.trace.settings;
    let burst = millis(settings.playout.lead).div_ceil(u64::from(format.frame_ms)) + 7;
    let (mut live, mut queue) = (BTreeSet::new(), Queue::default());
    let mut sent = evidence.sent.iter();
    for step in &evidence.trace.steps {
        let mut frames = 0;
        queue.receive(step, bytes_per_ms(format));
        for action in &step.actions {
            match action {
                Action::Carrier(CarrierCommand::Media { .. }) => {
                    frames += 1;
                    for run in sent.next().map(|sent| &sent.runs[..]).unwrap_or_default() {
                        queue.sent.insert(run.context, run.end());
                    }
                }
                Action::Agent(AgentReport::TurnStarted { turn }) => drop(live.insert(*turn)),
                Action::Agent(AgentReport::TurnOver { turn, .. } | AgentReport::Interrupted { turn, .. }) => {
                    live.remove(turn);
                }
                Action::Tts(TtsCommand::Speak { on, .. }) => {
                    queue.made.entry(on.context).or_default();
                    let waits = queue.waits(on.context.turn);
                    let most = millis(settings.limits.unheard_high) + u64::from(format.frame_ms);
                    ensure(waits <= most, || {
                        format!("{} gets text at {} though {waits} ms wait", on.context, step.now)
                    })?;
                }
                _ => {}
            }
        }
        ensure(frames <= burst, || format!("{frames} frames at {}", step.now))?;
        ensure(live.len() <= TURNS_MAX, || format!("{} turns are live at {}", live.len(), step.now))?;
    }
    Ok(())
}

/// Milliseconds of speech that were made and sent, by context.
#[derive(Default)]
struct Queue {
    made: BTreeMap<ContextId, usize>,
    sent: BTreeMap<ContextId, u64>,
    bytes_per_ms: usize,
}

impl Queue {
    fn receive(&mut self, step: &Step, bytes_per_ms: usize) {
        self.bytes_per_ms = bytes_per_ms;
        if let Event::Tts(TtsEvent::Audio { context, audio }) = &step.event
            && let Some(made) = self.made.get_mut(context)
        {
            *made += audio.len();
        }
        let is_early_done = |event: &Event| matches!(event, Event::Tts(TtsEvent::Done { .. }));
        if may_break_off(step) || is_early_done(&step.event) {
            // What broke off is cut, and nothing outside tells by how much.
            self.made.clear();
        }
    }

    fn waits(&self, turn: TurnId) -> u64 {
        let made = self.made.iter().filter(|(context, _)| context.turn == turn);
        let waiting = made.map(|(context, bytes)| {
            let sent = self.sent.get(context).copied().unwrap_or(0);
            ((*bytes / self.bytes_per_ms.max(1)) as u64).saturating_sub(sent)
        });
        waiting.sum()
    }
}
