//! What people worked out about a call, against what its replay says.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use libtest_mimic::Failed;
use serde::Deserialize;
use serde_json::Value;
use trunkline::call::action::{AgentReport, Cause, EndReason};
use trunkline::call::event::LinkNumber;
use trunkline::ids::TurnId;
use trunkline::replay::{Line, Sent, Session, ToApp, ToHearing};
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
    /// What the agent was told that the caller said, in full.
    #[serde(default)]
    prompts: Vec<String>,
    /// And what of it before it was known in full.
    #[serde(default)]
    partials: Vec<String>,
    /// Links for hearing that were made or dropped, and what was said on them beside audio.
    #[serde(default)]
    hearing: Vec<String>,
    /// What an app was told: the kind of each message, and what matters most of it.
    #[serde(default)]
    app: Vec<String>,
    /// What the agent left for whoever goes on with the call.
    handed_off: Option<String>,
    /// What the gateway said of itself.
    #[serde(default)]
    announced: Vec<String>,
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
    compare("prompts", &facts.prompts, &found.prompts);
    compare("partials", &facts.partials, &found.partials);
    compare("hearing", &facts.hearing, &found.hearing);
    compare("app", &facts.app, &found.app);
    compare("handed_off", &facts.handed_off, &found.handed_off);
    compare("announced", &facts.announced, &found.announced);
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
        prompts: Vec::new(),
        partials: Vec::new(),
        hearing: Vec::new(),
        app: Vec::new(),
        handed_off: None,
        announced: Vec::new(),
        turn: Vec::new(),
    };
    let mut failed: Vec<TurnId> = Vec::new();
    for line in lines {
        match &line.sent {
            Sent::Agent(report) => facts.take_report(report, &mut failed),
            Sent::Hearing { link, what } => facts.hearing.extend(told_hearing(*link, what)),
            Sent::App(ToApp::Text(text)) => facts.app.push(told_app(text)),
            Sent::App(ToApp::Close { code }) => facts.app.push(format!("close: {code}")),
            Sent::End(reason) => facts.end = Some(*reason),
            Sent::Carrier(_) | Sent::Voice { .. } => {}
        }
    }
    facts
}

impl Facts {
    fn take_report(&mut self, report: &AgentReport, failed: &mut Vec<TurnId>) {
        match report {
            AgentReport::TurnOver { turn, heard } => {
                let outcome = if failed.contains(turn) { Outcome::Failed } else { Outcome::Over };
                self.turn.push(Turn { id: turn.0, heard: heard.text.clone(), outcome, cause: None });
            }
            AgentReport::Interrupted { turn, heard, cause, .. } => {
                let (heard, cause) = (heard.text.clone(), Some(*cause));
                self.turn.push(Turn { id: turn.0, heard, outcome: Outcome::Interrupted, cause });
            }
            AgentReport::SpeechFailed { turn, .. } => failed.push(*turn),
            AgentReport::Prompt { text, last: true, .. } => self.prompts.push(text.clone()),
            AgentReport::Prompt { text, last: false, .. } => self.partials.push(text.clone()),
            AgentReport::HandedOff { data } => self.handed_off = Some(data.clone()),
            AgentReport::Announced { text, .. } => self.announced.push(text.clone()),
            _ => {}
        }
    }
}

/// `1 dial`, `1 drop`, or `1 Finalize` for a vendor's message. Audio, where it is text, is none of them.
fn told_hearing(link: LinkNumber, what: &ToHearing) -> Option<String> {
    let word = match what {
        ToHearing::Dial { .. } => "dial".to_owned(),
        ToHearing::HangUp => "drop".to_owned(),
        ToHearing::Text(text) => match serde_json::from_str::<Value>(text) {
            Ok(message) => message["type"].as_str().unwrap_or(text).to_owned(),
            Err(_) => text.clone(),
        },
    };
    (word != "audio").then(|| format!("{link} {word}"))
}

/// `interrupt: Good morning`, say.
fn told_app(text: &str) -> String {
    let message: Value = serde_json::from_str(text).unwrap_or_default();
    let field = |name: &str| message[name].as_str().map(str::to_owned);
    let kind = field("type").unwrap_or_default();
    let most = match kind.as_str() {
        "prompt" => field("voicePrompt"),
        "dtmf" => field("digit"),
        "interrupt" => field("utteranceUntilInterrupt"),
        "error" => field("description"),
        "info" => field("name").zip(field("value")).map(|(name, value)| format!("{name} {value}")),
        _ => None,
    };
    let kind = if message["last"] == false { format!("partial {kind}") } else { kind };
    most.map_or_else(|| kind.clone(), |most| format!("{kind}: {most}"))
}
