//! One round of tools: what the model called in one answer, until each call has its result.

use std::time::Duration;

use serde_json::json;

use super::{Brain, Errand, Floor, Kind, Outcome, Output};
use crate::agent::llm::answer::{Finish, ToolCall};
use crate::agent::llm::settings::Settings;
use crate::agent::llm::toolbox::{Task, Wanted};
use crate::agent::llm::tools::TRANSFER_LIMIT;
use crate::call::event::{AgentEvent, Clip, Play};
use crate::call::settings::Interruptible;
use crate::ids::{CallTime, TurnId};

/// Whoever runs a task keeps its limit; so much later it is given up without a word from there.
const GRACE: Duration = Duration::from_secs(5);

/// The calls of one answer.
#[derive(Debug)]
pub(super) struct Round {
    request: u32,
    begun: CallTime,
    works: Vec<Work>,
    /// The caller is somebody else's now: nothing more is said.
    has_left: bool,
}

/// One call of a tool.
#[derive(Debug)]
enum Work {
    /// It has its result.
    Done,
    /// A tool of the operator's is asked. It is given up then, should its task never answer.
    Posted { tool: usize, until: CallTime },
    /// Tones are played.
    Sounding { turn: TurnId, has_failed: bool },
    /// Keys are waited for.
    Collecting { wanted: Wanted, keys: String, since: CallTime },
    /// The call ends, or the caller is handed over to a number, once what was said has been heard.
    Leaving(Option<String>),
    /// The caller is being handed over. It is given up then.
    Transferring { until: CallTime },
}

impl Round {
    /// When the tools were called.
    pub(super) fn begun(&self) -> CallTime {
        self.begun
    }

    /// The first filler among the tools that are not done, and when it is due after the last sound.
    pub(super) fn filler<'a>(&self, settings: &'a Settings) -> Option<(Duration, &'a str)> {
        let slow = self.works.iter().filter_map(|work| match work {
            Work::Posted { tool, .. } => settings.tools.get(*tool).filter(|tool| !tool.filler.is_empty()),
            Work::Done
            | Work::Sounding { .. }
            | Work::Collecting { .. }
            | Work::Leaving(_)
            | Work::Transferring { .. } => None,
        });
        slow.map(|tool| (tool.filler_after, tool.filler.as_str())).min_by_key(|(after, _)| *after)
    }

    fn place_of(&self, is_meant: impl Fn(&Work) -> bool) -> Option<usize> {
        self.works.iter().position(is_meant)
    }
}

impl Brain {
    /// Runs what the model called.
    pub(super) fn begin_round(&mut self, request: u32, calls: &[ToolCall], finish: Finish) {
        let ids = self.history.call(calls, request);
        self.rounds += 1;
        self.has_filled = false;
        self.round = Some(Round { request, begun: self.now, works: Vec::new(), has_left: false });
        for (place, (call, id)) in calls.iter().zip(ids).enumerate() {
            let task = self.toolbox.task(call, finish);
            let work = self.begin_work(Errand { request, place }, task, id);
            if let Some(round) = &mut self.round {
                round.works.push(work);
            }
        }
    }

    fn begin_work(&mut self, errand: Errand, task: Task, id: String) -> Work {
        match task {
            Task::End if self.is_leaving() => self.refuse(errand, "error: the call is ending already"),
            Task::End => Work::Leaving(None),
            Task::Transfer { .. } if self.is_leaving() => self.refuse(errand, "error: the call is ending already"),
            Task::Transfer { number } => Work::Leaving(Some(number)),
            Task::Send { tones } => {
                let turn = self.open_turn(Kind::Tones);
                let (clip, interruptible) = (Clip::Tones(tones), Some(Interruptible::None));
                self.tell(AgentEvent::Play(Play { turn, clip, times: 1, interruptible, preemptible: false }));
                Work::Sounding { turn, has_failed: false }
            }
            Task::Collect(_) if self.is_collecting() => self.refuse(errand, "error: keys are waited for already"),
            Task::Collect(wanted) => Work::Collecting { wanted, keys: String::new(), since: self.now },
            Task::Post { tool, arguments } => {
                let limit = self.settings.tools.get(tool).map_or(Duration::ZERO, |tool| tool.timeout);
                self.outputs.push_back(Output::Post { errand, tool, id, arguments });
                Work::Posted { tool, until: self.now + limit + GRACE }
            }
            Task::Refused(reason) => self.refuse(errand, &reason),
        }
    }

    fn refuse(&mut self, errand: Errand, reason: &str) -> Work {
        self.history.answer(errand.place, reason);
        Work::Done
    }

    fn is_leaving(&self) -> bool {
        self.place_of(|work| matches!(work, Work::Leaving(_))).is_some()
    }

    fn is_collecting(&self) -> bool {
        self.place_of(|work| matches!(work, Work::Collecting { .. })).is_some()
    }

    fn place_of(&self, is_meant: impl Fn(&Work) -> bool) -> Option<usize> {
        self.round.as_ref()?.place_of(is_meant)
    }

    /// A call of a tool has its result.
    fn finish_work(&mut self, place: usize, result: &str) {
        let Some(work) = self.round.as_mut().and_then(|round| round.works.get_mut(place)) else { return };
        *work = Work::Done;
        self.history.answer(place, result);
    }

    pub(super) fn on_ran(&mut self, errand: Errand, outcome: &Outcome) {
        let Some(round) = self.round.as_mut().filter(|round| round.request == errand.request) else { return };
        match (round.works.get(errand.place), outcome) {
            (Some(Work::Transferring { .. }), Outcome::Good(result)) => {
                round.has_left = true;
                self.finish_work(errand.place, result);
            }
            (Some(Work::Transferring { .. } | Work::Posted { .. }), Outcome::Good(result) | Outcome::Bad(result)) => {
                self.finish_work(errand.place, result);
            }
            (
                Some(Work::Done | Work::Sounding { .. } | Work::Collecting { .. } | Work::Leaving(_)) | None,
                Outcome::Good(_) | Outcome::Bad(_),
            ) => {}
        }
    }

    /// The caller says something: nobody leaves, and no keys are waited for any more.
    pub(super) fn yield_round(&mut self) {
        self.revoke();
        if let Some(place) = self.place_of(|work| matches!(work, Work::Collecting { .. })) {
            self.finish_collecting(place, "the caller spoke");
        }
    }

    /// The caller went on after what should have been the last words.
    pub(super) fn revoke(&mut self) {
        if let Some(place) = self.place_of(|work| matches!(work, Work::Leaving(_))) {
            self.finish_work(place, "not done: the caller went on before it");
        }
    }

    /// A key was pressed: whether it was waited for.
    pub(super) fn collect(&mut self, key: char) -> bool {
        let now = self.now;
        let Some(place) = self.place_of(|work| matches!(work, Work::Collecting { .. })) else { return false };
        let work = self.round.as_mut().and_then(|round| round.works.get_mut(place));
        let Some(Work::Collecting { wanted, keys, since }) = work else { return false };
        let is_end = wanted.terminator == Some(key);
        if !is_end {
            keys.push(key);
        }
        *since = now;
        if is_end || keys.chars().count() >= wanted.count {
            self.finish_collecting(place, "complete");
        }
        true
    }

    fn finish_collecting(&mut self, place: usize, end: &str) {
        let work = self.round.as_mut().and_then(|round| round.works.get_mut(place));
        if let Some(Work::Collecting { keys, .. }) = work {
            let result = json!({ "digits": keys, "end": end }).to_string();
            self.finish_work(place, &result);
        }
    }

    /// When something of the round is given up.
    pub(super) fn round_deadline(&self, round: &Round) -> Option<CallTime> {
        round.works.iter().filter_map(|work| self.work_deadline(work)).min()
    }

    /// The first call of a tool that has to be given up.
    fn late_place(&self) -> Option<usize> {
        self.place_of(|work| self.work_deadline(work).is_some_and(|at| self.now >= at))
    }

    fn work_deadline(&self, work: &Work) -> Option<CallTime> {
        match work {
            // What asks for keys is heard first.
            Work::Collecting { wanted, since, .. } => {
                self.live.is_empty().then(|| (*since).max(self.quiet_since) + wanted.timeout)
            }
            Work::Posted { until, .. } | Work::Transferring { until } => Some(*until),
            Work::Done | Work::Sounding { .. } | Work::Leaving(_) => None,
        }
    }

    /// Tones cannot be played.
    pub(super) fn fail_tones(&mut self, failed: TurnId) {
        for work in self.round.iter_mut().flat_map(|round| &mut round.works) {
            if let Work::Sounding { turn, has_failed } = work
                && *turn == failed
            {
                *has_failed = true;
            }
        }
    }

    /// A turn is over, which may have been tones.
    pub(super) fn end_tones(&mut self, ended: TurnId, was_cut: bool) {
        let is_meant = |work: &Work| matches!(work, Work::Sounding { turn, .. } if *turn == ended);
        let Some(place) = self.place_of(is_meant) else { return };
        let is_failed = |work: &Work| matches!(work, Work::Sounding { has_failed: true, .. });
        let has_failed = was_cut || self.place_of(|work| is_meant(work) && is_failed(work)).is_some();
        self.finish_work(place, if has_failed { "error: not all of them were sent" } else { "sent" });
    }

    pub(super) fn settle_round(&mut self) {
        while let Some(place) = self.late_place() {
            if self.place_of(|work| matches!(work, Work::Collecting { .. })) == Some(place) {
                self.finish_collecting(place, "no further key in time");
            } else {
                self.finish_work(place, "error: no answer in time");
            }
        }
        self.leave();
        let Some(round) = self.round.take_if(|round| round.works.iter().all(|work| matches!(work, Work::Done))) else {
            return;
        };
        if !round.has_left {
            self.owed.get_or_insert(self.now);
        }
    }

    /// Ends the call or hands the caller over, if that is wanted and everything has been heard.
    fn leave(&mut self) {
        let Some(round) = &mut self.round else { return };
        let is_settled = round.works.iter().all(|work| matches!(work, Work::Done | Work::Leaving(_)));
        if !is_settled || !self.live.is_empty() || self.floor != Floor::Free || self.pressed.is_some() {
            return;
        }
        let Some(place) = round.place_of(|work| matches!(work, Work::Leaving(_))) else { return };
        let errand = Errand { request: round.request, place };
        let Some(work) = round.works.get_mut(place) else { return };
        let handing_over = Work::Transferring { until: self.now + TRANSFER_LIMIT + GRACE };
        let Work::Leaving(to) = std::mem::replace(work, handing_over) else { return };
        match to {
            Some(number) => self.outputs.push_back(Output::Transfer { errand, number }),
            None => {
                self.tell(AgentEvent::HangUp);
                self.is_over = true;
            }
        }
    }
}
