//! The two lines of the log that everybody may build on: one at the end of each turn, one at the end of each call. Their
//! fields are a contract (docs/observability.md): figures and names of the configuration, never a word, a number or audio.

use std::time::Duration;

use crate::call::action::{Cause, EndReason, Wait};
use crate::call::summary::TurnSummary;
use crate::driver::figures::Figures;
use crate::driver::meter::end_name;
use crate::ids::CallTime;

/// Writes the line of a turn that is over, in the span of its call.
pub(super) fn turn(turn: &TurnSummary) {
    let wait = turn.answered.map(|(_, wait)| wait);
    let part = |part: fn(&Wait) -> Duration| wait.as_ref().map(part).map(millis);
    tracing::info!(
        event = "turn",
        turn = turn.turn.0,
        outcome = turn.outcome.name(),
        cause = turn.outcome.cause().map(Cause::name),
        queued = turn.queued,
        announced = turn.announced,
        started_at_ms = at(turn.opened),
        over_at_ms = at(turn.over),
        interrupted_at_ms = turn.outcome.cause().map(|_| at(turn.over)),
        heard_ms = millis(turn.heard),
        said_ms = millis(turn.made.audio),
        heard_chars = turn.heard_chars,
        said_chars = turn.made.chars,
        estimated = turn.estimated,
        voices = turn.voices.join(","),
        failovers = turn.failovers.len(),
        first_byte_ms = turn.first_audio.map(|(_, first_byte)| millis(first_byte)),
        hearing_ms = part(|wait| wait.hearing),
        thinking_ms = part(|wait| wait.thinking),
        gathering_ms = part(|wait| wait.gathering),
        speaking_ms = part(|wait| wait.speaking),
        sending_ms = part(|wait| wait.sending),
        line_ms = part(|wait| wait.line),
        wait_ms = part(Wait::total),
        "a turn is over"
    );
}

/// What the line of a call tells beside its figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallLine {
    pub(super) reason: EndReason,
    pub(super) seconds: f64,
    pub(super) turns: u64,
    /// Who decided what was said.
    pub(super) agent: &'static str,
    /// Who wrote down what the caller said; `none` if nobody did.
    pub(super) hearing: &'static str,
}

/// Writes the line of a call that is over, in its span.
pub(super) fn call(line: CallLine, figures: &Figures) {
    let Figures { stats, lateness } = figures;
    tracing::info!(
        event = "call",
        reason = end_name(line.reason),
        seconds = (line.seconds * 1_000.0).round() / 1_000.0,
        turns = line.turns,
        interruptions = stats.barge_ins,
        underruns = stats.underruns,
        slips = stats.slips,
        garbage = stats.garbage,
        failovers = stats.failovers,
        speech_failures = stats.speech_failures,
        reconnects = stats.reconnects,
        retries = stats.retries,
        frames_in = stats.frames_in,
        frames_out = stats.frames_out,
        late_max_ms = millis(lateness.longest()),
        late_p99_ms = millis(lateness.p99()),
        agent = line.agent,
        hearing = line.hearing,
        "the call is over"
    );
}

/// Milliseconds to the microsecond, so that the parts of a wait add up to the whole.
fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1_000.0
}

/// Milliseconds since the call was accepted.
fn at(moment: CallTime) -> f64 {
    moment.as_micros() as f64 / 1_000.0
}
