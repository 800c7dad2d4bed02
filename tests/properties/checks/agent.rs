//! What the agent is told: the lives of its turns, and who may end them.

use std::collections::{BTreeMap, BTreeSet};

use trunkline::call::action::{Action, AgentReport, CarrierCommand, Cause, Flow, TtsCommand};
use trunkline::call::event::{AgentEvent, Event};
use trunkline::call::settings::Interruptible;
use trunkline::ids::{CallTime, TurnId};

use super::{Verdict, ensure};
use crate::evidence::Evidence;
use crate::trace::Step;

/// Which turns are live, in the order in which they are heard, and since when the first one is owed.
#[derive(Debug, Default)]
pub(super) struct Owed {
    turns: Vec<(TurnId, Option<CallTime>)>,
    over: BTreeSet<TurnId>,
    front_since: CallTime,
}

impl Owed {
    pub(super) fn take(&mut self, step: &Step) {
        for piece in step.pieces() {
            if self.over.contains(&piece.turn) {
                continue;
            }
            if !self.turns.iter().any(|(turn, _)| *turn == piece.turn) {
                self.turns.push((piece.turn, None));
                self.front_since = if self.turns.len() == 1 { step.now } else { self.front_since };
            }
            let turn = self.turns.iter_mut().find(|(turn, _)| *turn == piece.turn);
            if let Some((_, closed)) = turn.filter(|(_, closed)| piece.last && closed.is_none()) {
                *closed = Some(step.now);
            }
        }
        for action in &step.actions {
            if let Action::Agent(AgentReport::TurnOver { turn, .. } | AgentReport::Interrupted { turn, .. }) = action {
                self.over.insert(*turn);
                self.front_since =
                    if self.turns.first().is_some_and(|(id, _)| id == turn) { step.now } else { self.front_since };
                self.turns.retain(|(id, _)| id != turn);
            }
        }
    }

    /// The turn that is to be heard now, if its text is complete, and since when it could have been.
    pub(super) fn front(&self) -> Option<(TurnId, CallTime)> {
        let (turn, closed) = self.turns.first()?;
        closed.map(|closed| (*turn, closed.max(self.front_since)))
    }
}

/// The stream begins once; a turn begins when it is first spoken of, is reported on while it is live, ends once, and fails
/// once at most; and `Heard` says more every time.
pub(crate) fn reports_follow_the_life_of_a_turn(evidence: &Evidence<'_>) -> Verdict {
    let mut live: BTreeMap<TurnId, usize> = BTreeMap::new();
    let (mut over, mut failed) = (BTreeSet::new(), BTreeSet::new());
    let (mut is_started, mut said) = (false, BTreeSet::new());
    for step in &evidence.trace.steps {
        said.extend(step.pieces().into_iter().map(|piece| piece.turn));
        for action in &step.actions {
            let Action::Agent(report) = action else { continue };
            let fault = || format!("{report:?} at {}", step.now);
            match report {
                AgentReport::Started => ensure(!std::mem::replace(&mut is_started, true), fault)?,
                AgentReport::TurnStarted { turn } => {
                    ensure(said.contains(turn) && !over.contains(turn), fault)?;
                    ensure(live.insert(*turn, 0).is_none(), fault)?;
                }
                AgentReport::Heard { turn, heard } => {
                    let reported = live.get_mut(turn).ok_or_else(fault)?;
                    ensure(heard.text.len() > *reported, fault)?;
                    *reported = heard.text.len();
                }
                AgentReport::TurnOver { turn, .. } | AgentReport::Interrupted { turn, .. } => {
                    live.remove(turn);
                    ensure(said.contains(turn) && over.insert(*turn), fault)?;
                }
                AgentReport::SpeechFailed { turn, .. } => {
                    ensure(live.contains_key(turn) && failed.insert(*turn), fault)?;
                }
                AgentReport::FirstAudio { turn, .. } => {
                    ensure(live.contains_key(turn), fault)?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Every turn that began ends, and in a world that falls quiet all end of themselves.
pub(crate) fn every_turn_ends(evidence: &Evidence<'_>) -> Verdict {
    let mut live = BTreeSet::new();
    for (_, _, action) in evidence.trace.actions() {
        match action {
            Action::Agent(AgentReport::TurnStarted { turn }) => drop(live.insert(*turn)),
            Action::Agent(AgentReport::TurnOver { turn, .. } | AgentReport::Interrupted { turn, .. }) => {
                live.remove(turn);
            }
            _ => {}
        }
    }
    ensure(live.is_empty() || evidence.trace.broke.is_some(), || format!("{live:?} never ended"))?;
    let left_over = evidence.trace.truth.as_ref().map_or(0, |truth| truth.left_over);
    ensure(left_over == 0, || format!("{left_over} turns were live when the world had been quiet for minutes"))
}

/// `clear`, then the cancels of a turn, then the report of its end, all in one step.
pub(crate) fn an_interruption_is_one_step_in_order(evidence: &Evidence<'_>) -> Verdict {
    for step in &evidence.trace.steps {
        let is_refusal = matches!(step.event, Event::Agent(AgentEvent::Say(_)));
        let mut cut = BTreeSet::new();
        let (mut cancels, mut reports) = (0, 0);
        for action in &step.actions {
            match action {
                Action::Carrier(CarrierCommand::Clear { .. }) => {
                    ensure(cancels + reports == 0, || format!("a late clear at {}", step.now))?;
                }
                Action::Tts(TtsCommand::Cancel { context, .. }) => {
                    cancels += 1;
                    ensure(!cut.contains(&context.turn), || format!("a late cancel of {context} at {}", step.now))?;
                }
                Action::Agent(AgentReport::Interrupted { turn, cause, .. })
                    if !is_refusal && *cause != Cause::CallEnded =>
                {
                    reports += 1;
                    cut.insert(*turn);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A turn is cut off only by what its policy lets.
pub(crate) fn only_what_may_interrupt_does(evidence: &Evidence<'_>) -> Verdict {
    let mut policies: BTreeMap<TurnId, Interruptible> = BTreeMap::new();
    let mut closed = BTreeSet::new();
    for step in &evidence.trace.steps {
        for piece in step.pieces() {
            if closed.contains(&piece.turn) {
                continue;
            }
            let policy = policies.entry(piece.turn).or_insert(evidence.trace.settings.interruptible);
            *policy = piece.interruptible.unwrap_or(*policy);
            if piece.last {
                closed.insert(piece.turn);
            }
        }
        for action in &step.actions {
            let Action::Agent(AgentReport::Interrupted { turn, cause, .. }) = action else { continue };
            let policy = policies.get(turn).copied().unwrap_or(Interruptible::Any);
            ensure(may_cut(policy, *cause), || format!("{turn} is {policy:?}, cut by {cause:?} at {}", step.now))?;
        }
    }
    Ok(())
}

/// Written down again, so that a mistake in the call's own table is seen.
fn may_cut(policy: Interruptible, cause: Cause) -> bool {
    match (policy, cause) {
        (_, Cause::Request | Cause::Preempted | Cause::CallEnded) | (Interruptible::Any, _) => true,
        (Interruptible::Speech, cause) => cause == Cause::Speech,
        (Interruptible::Dtmf, cause) => cause == Cause::Dtmf,
        (Interruptible::None, _) => false,
    }
}

/// An agent is told to wait and to go on by turns, and never to wait twice.
pub(crate) fn an_agent_waits_and_goes_on_by_turns(evidence: &Evidence<'_>) -> Verdict {
    let mut held: BTreeSet<TurnId> = BTreeSet::new();
    for (_, now, action) in evidence.trace.actions() {
        let Action::Agent(AgentReport::Flow { turn, flow }) = action else { continue };
        let is_news = match flow {
            Flow::Held => held.insert(*turn),
            Flow::Open => held.remove(turn),
        };
        ensure(is_news, || format!("{turn} is told {flow:?} again at {now}"))?;
    }
    Ok(())
}
