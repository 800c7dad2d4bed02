//! What is shown, and what keys do to it. No terminal and no clock.

use std::collections::VecDeque;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::look::{Call, Look};

/// Rates and quantiles are those of the last minute.
const WINDOW: Duration = Duration::from_secs(60);
/// How much less than the time that passed a gateway's own clock may have moved, in seconds: answers take their time.
const RESTART_SLACK_S: f64 = 5.0;

/// What calls are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sort {
    /// The longest call first.
    #[default]
    Age,
    /// The longest last wait first.
    Wait,
    /// The latest frames first.
    Late,
    /// The most underruns first.
    Underruns,
    /// The most failovers first.
    Failovers,
    /// The most turns first.
    Turns,
}

impl Sort {
    const ALL: [Sort; 6] = [Sort::Age, Sort::Wait, Sort::Late, Sort::Underruns, Sort::Failovers, Sort::Turns];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Sort::Age => "age",
            Sort::Wait => "wait",
            Sort::Late => "late",
            Sort::Underruns => "underruns",
            Sort::Failovers => "failovers",
            Sort::Turns => "turns",
        }
    }

    fn next(self) -> Self {
        let mut after = Sort::ALL.into_iter().skip_while(|sort| *sort != self).skip(1);
        after.next().unwrap_or_default()
    }

    /// Puts the calls in order; those that are alike by their age.
    pub(super) fn apply(self, calls: &mut [Call]) {
        let rank = |call: &Call| match self {
            Sort::Age => call.seconds,
            Sort::Wait => call.last_wait_ms.unwrap_or(-1.0),
            Sort::Late => call.late_p99_ms,
            Sort::Underruns => call.underruns as f64,
            Sort::Failovers => call.failovers as f64,
            Sort::Turns => call.turn_count as f64,
        };
        calls.sort_by(|one, other| {
            let order = rank(other).total_cmp(&rank(one));
            order.then(other.seconds.total_cmp(&one.seconds)).then_with(|| one.id.cmp(&other.id))
        });
    }
}

/// What a key asks of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Stay,
    Quit,
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) sort: Sort,
    /// The call that is marked, by its name: calls come and go.
    pub(super) selected: Option<String>,
    /// Looks of the last minute, the newest last, its calls in order.
    looks: VecDeque<Look>,
    /// Why the gateway does not answer, if it does not.
    pub(super) trouble: Option<String>,
}

impl Screen {
    pub(super) fn new(sort: Sort) -> Self {
        Screen { sort, selected: None, looks: VecDeque::new(), trouble: None }
    }

    /// What the gateway told last.
    pub(super) fn latest(&self) -> Option<&Look> {
        self.looks.back()
    }

    /// What it told a minute ago, or the first time.
    pub(super) fn before(&self) -> Option<&Look> {
        self.looks.front().filter(|_| self.looks.len() > 1)
    }

    /// The gateway answered.
    pub(super) fn take(&mut self, mut look: Look) {
        self.trouble = None;
        self.sort.apply(&mut look.calls);
        // One that was started anew counts from zero again.
        let is_new = |latest: &Look| {
            let passed = look.at.duration_since(latest.at).as_secs_f64();
            let uptime_s = look.node.uptime_s;
            uptime_s < latest.node.uptime_s || uptime_s + RESTART_SLACK_S < latest.node.uptime_s + passed
        };
        if self.latest().is_some_and(is_new) {
            self.looks.clear();
        }
        while self.looks.front().is_some_and(|first| look.at.duration_since(first.at) > WINDOW) {
            self.looks.pop_front();
        }
        // What is only compared with needs no calls.
        if let Some(latest) = self.looks.back_mut() {
            latest.calls = Vec::new();
        }
        self.looks.push_back(look);
    }

    /// The gateway did not answer. What it told last stays.
    pub(super) fn fail(&mut self, reason: String) {
        self.trouble = Some(reason);
    }

    /// Place of the call that is marked.
    pub(super) fn place(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.latest()?.calls.iter().position(|call| call.id == *selected)
    }

    /// Does what a key says.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most keys mean nothing here, and more of them will not either")]
    pub(super) fn press(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Stay;
        }
        let is_interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
        let calls = self.latest().map_or(0, |look| look.calls.len());
        let place = self.place();
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            _ if is_interrupt => return Wish::Quit,
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                let sort = self.sort;
                if let Some(look) = self.looks.back_mut() {
                    sort.apply(&mut look.calls);
                }
            }
            KeyCode::Down | KeyCode::Char('j') => {
                self.select(place.map_or(0, |at| (at + 1).min(calls.saturating_sub(1))))
            }
            KeyCode::Up | KeyCode::Char('k') => self.select(place.unwrap_or(0).saturating_sub(1)),
            KeyCode::Home => self.select(0),
            KeyCode::End => self.select(calls.saturating_sub(1)),
            _ => {}
        }
        Wish::Stay
    }

    fn select(&mut self, place: usize) {
        self.selected = self.latest().and_then(|look| look.calls.get(place)).map(|call| call.id.clone());
    }
}
