//! What people worked out about a call, against what its replay says.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use libtest_mimic::Failed;
use serde::Deserialize;
use trunkline::call::action::{AgentReport, Cause, EndReason};
use trunkline::ids::TurnId;
use trunkline::replay::{Line, Sent, Session};
use trunkline::tape::{Audio, Tape};

/// `facts.toml`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    /// How the call ended.
    end: Option<EndReason>,
    /// The tape has no audio, so that only control messages are compared.
    silence_only_control: bool,
    clears: u64,
    underruns: u64,
    /// Audio of contexts that were over; left out where it hangs on the detector's last milliseconds.
    late_chunks: Option<u64>,
    /// Messages that meant nothing.
    garbage: u64,
    /// Every turn, in the order of their ends.
    #[serde(default)]
    turn: Vec<Turn>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    id: u32,
    heard: String,
    outcome: Outcome,
    cause: Option<Cause>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// It was heard to its end.
    Over,
    /// It was cut off.
    Interrupted,
    /// It could not be spoken whole.
    Failed,
}

/// The facts that the replay contradicts.
pub(crate) fn contradicted(
    folder: &Path,
    tape: &Tape,
    lines: &[Line],
    session: &Session,
) -> Result<Vec<String>, Failed> {
    let path = folder.join("facts.toml");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}; write it by hand", path.display()))?;
    let (facts, found) = (toml::from_str::<Facts>(&text)?, facts_of(tape, lines, session));
    let mut faults = Vec::new();
    let mut compare = |what: &str, fact: &dyn Debug, found: &dyn Debug| {
        let (fact, found) = (format!("{fact:?}"), format!("{found:?}"));
        if fact != found {
            faults.push(format!("facts.toml says {what} = {fact}, the replay {found}"));
        }
    };
    compare("end", &facts.end, &found.end);
    compare("silence_only_control", &facts.silence_only_control, &found.silence_only_control);
    compare("clears", &facts.clears, &found.clears);
    compare("underruns", &facts.underruns, &found.underruns);
    compare("late_chunks", &facts.late_chunks, &facts.late_chunks.and(found.late_chunks));
    compare("garbage", &facts.garbage, &found.garbage);
    compare("turns", &facts.turn.len(), &found.turn.len());
    for (fact, found) in facts.turn.iter().zip(&found.turn) {
        compare("turn", fact, found);
    }
    Ok(faults)
}

fn facts_of(tape: &Tape, lines: &[Line], session: &Session) -> Facts {
    let stats = session.stats();
    let mut facts = Facts {
        end: None,
        silence_only_control: tape.header.audio == Audio::Silence,
        clears: session.digest().clears,
        underruns: stats.underruns,
        late_chunks: Some(stats.late_chunks),
        garbage: stats.garbage,
        turn: Vec::new(),
    };
    let mut failed: Vec<TurnId> = Vec::new();
    for line in lines {
        let (turn, heard, cause) = match &line.sent {
            Sent::Agent(AgentReport::TurnOver { turn, heard }) => (*turn, heard, None),
            Sent::Agent(AgentReport::Interrupted { turn, heard, cause, .. }) => (*turn, heard, Some(*cause)),
            Sent::Agent(AgentReport::SpeechFailed { turn, .. }) => {
                failed.push(*turn);
                continue;
            }
            Sent::End(reason) => {
                facts.end = Some(*reason);
                continue;
            }
            _ => continue,
        };
        let outcome = match cause {
            Some(_) => Outcome::Interrupted,
            None if failed.contains(&turn) => Outcome::Failed,
            None => Outcome::Over,
        };
        facts.turn.push(Turn { id: turn.0, heard: heard.text.clone(), outcome, cause });
    }
    facts
}
