//! An agent that follows a script: a greeting, a line each time the caller stops speaking, a line per digit.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::audio::vad;
use crate::call::action::AgentReport;
use crate::call::event::{AgentEvent, Say};
use crate::driver::CallPort;

/// What is said when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Said when the call starts; empty for nothing.
    pub greeting: String,
    /// Said one by one when the caller stops speaking, and again from the first when all were said.
    pub lines: Vec<String>,
    /// Said when the caller presses a key.
    pub digits: BTreeMap<char, String>,
}

/// Follows `script` until `reports` end or the call is over. Cancel-safe.
pub async fn run(script: Script, port: CallPort, mut reports: mpsc::Receiver<AgentReport>) {
    let mut lines = script.lines.iter().cycle();
    while let Some(report) = reports.recv().await {
        let line = match report {
            AgentReport::Started => Some(&script.greeting),
            AgentReport::CallerSpeech(vad::Change::Stopped) => lines.next(),
            AgentReport::Digit(digit) => script.digits.get(&digit),
            AgentReport::CallerSpeech(vad::Change::Started | vad::Change::Paused | vad::Change::Resumed)
            | AgentReport::TurnStarted { .. }
            | AgentReport::FirstAudio { .. }
            | AgentReport::Heard { .. }
            | AgentReport::TurnOver { .. }
            | AgentReport::Interrupted { .. }
            | AgentReport::FailedOver { .. }
            | AgentReport::SpeechFailed { .. }
            | AgentReport::Prompt { .. }
            | AgentReport::Probable { .. }
            | AgentReport::Resumed
            | AgentReport::HearingFailed { .. }
            | AgentReport::Announced { .. }
            | AgentReport::Connected
            | AgentReport::Refused { .. }
            | AgentReport::Dismissed
            | AgentReport::AgentLost { .. }
            | AgentReport::HandedOff { .. }
            | AgentReport::Answered { .. }
            | AgentReport::Flow { .. }
            | AgentReport::Draining
            | AgentReport::Ended(_) => None,
        };
        let Some(text) = line.filter(|text| !text.is_empty()) else { continue };
        let say = Say {
            turn: port.next_turn(),
            text: text.clone(),
            last: true,
            flush: false,
            interruptible: None,
            delivery: None,
            preemptible: None,
        };
        if port.send(AgentEvent::Say(say)).await.is_err() {
            return;
        }
    }
}
