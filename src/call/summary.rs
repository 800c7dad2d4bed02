//! What became of a call's turns, in figures: what is left of the reports when every word is taken out of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use super::action::{AgentReport, Cause, Heard, Made, Wait};
use super::settings::Voice;
use crate::ids::{CallTime, TurnId};

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The caller heard it to its end.
    Heard,
    /// It was cut off, or dropped before it was heard.
    Interrupted(Cause),
    /// It could not be spoken to its end; the caller heard the fallback line.
    Failed,
}

impl Outcome {
    /// Its name in the API, in logs and in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Heard => "heard",
            Outcome::Interrupted(_) => "interrupted",
            Outcome::Failed => "failed",
        }
    }

    /// What cut it off, if anything did.
    pub const fn cause(self) -> Option<Cause> {
        match self {
            Outcome::Interrupted(cause) => Some(cause),
            Outcome::Heard | Outcome::Failed => None,
        }
    }
}

/// A voice failed in a turn, and another one went on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// When.
    pub at: CallTime,
    /// Name of the voice that failed.
    pub from: Cow<'static, str>,
    /// Name of the voice that went on.
    pub to: Cow<'static, str>,
}

/// One turn that is over. It holds no word of anybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnSummary {
    /// Which.
    pub turn: TurnId,
    /// How it ended.
    pub outcome: Outcome,
    /// It waited behind another turn, with which it was dropped.
    pub queued: bool,
    /// The gateway's own words, not the agent's.
    pub announced: bool,
    /// When it was opened.
    pub opened: CallTime,
    /// When it was over.
    pub over: CallTime,
    /// How much of its audio was played.
    pub heard: Duration,
    /// Characters of the agent's text that were heard.
    pub heard_chars: usize,
    /// How much there was.
    pub made: Made,
    /// What was heard is reckoned, not proved.
    pub estimated: bool,
    /// The voices that spoke it, in order; none if it was played, or never given to one.
    pub voices: Vec<Cow<'static, str>>,
    /// When its first frame was sent, and how long its voice took to its first audio.
    pub first_audio: Option<(CallTime, Duration)>,
    /// If it answered something: when its first sound was heard, and how long the caller had waited.
    pub answered: Option<(CallTime, Wait)>,
    /// The voices that failed in it.
    pub failovers: Vec<Failover>,
    /// When it turned out that it could not be spoken.
    pub failed_at: Option<CallTime>,
}

impl TurnSummary {
    fn open(turn: TurnId, at: CallTime) -> Self {
        TurnSummary {
            turn,
            outcome: Outcome::Heard,
            queued: false,
            announced: false,
            opened: at,
            over: at,
            heard: Duration::ZERO,
            heard_chars: 0,
            made: Made::default(),
            estimated: false,
            voices: Vec::new(),
            first_audio: None,
            answered: None,
            failovers: Vec::new(),
            failed_at: None,
        }
    }

    /// When the caller began to wait for it, if it answered something; otherwise when it was opened.
    pub fn begun(&self) -> CallTime {
        let asked = self.answered.map(|(heard, wait)| heard.before(wait.total()));
        asked.map_or(self.opened, |asked| asked.min(self.opened))
    }
}

/// Follows the turns of one call by its reports.
#[derive(Debug)]
pub struct Summaries {
    voices: Vec<Cow<'static, str>>,
    /// The core bounds them: there are never more live turns than it takes.
    live: BTreeMap<TurnId, TurnSummary>,
}

impl Summaries {
    /// Of a call with these voices, in the order of its settings.
    pub fn new(voices: &[Voice]) -> Self {
        let voices = voices.iter().map(|voice| voice.name.clone()).collect();
        Summaries { voices, live: BTreeMap::new() }
    }

    /// Takes a report; the turn that is over with it, if one is.
    pub fn take(&mut self, at: CallTime, report: &AgentReport) -> Option<TurnSummary> {
        match report {
            AgentReport::TurnStarted { turn } => {
                self.live.entry(*turn).or_insert_with(|| TurnSummary::open(*turn, at)).opened = at;
            }
            AgentReport::FirstAudio { turn, first_byte } => {
                self.change(*turn, |live| live.first_audio = Some((at, *first_byte)));
            }
            AgentReport::Answered { turn, wait } => self.change(*turn, |live| live.answered = Some((at, *wait))),
            AgentReport::FailedOver { turn, from, to, .. } => {
                let failover = Failover { at, from: from.clone(), to: to.clone() };
                self.change(*turn, |live| live.failovers.push(failover));
            }
            AgentReport::SpeechFailed { turn, .. } => self.change(*turn, |live| live.failed_at = Some(at)),
            // Told before the turn is opened.
            AgentReport::Announced { turn, .. } => {
                self.live.entry(*turn).or_insert_with(|| TurnSummary::open(*turn, at)).announced = true;
            }
            AgentReport::TurnOver { turn, heard } => {
                let failed = self.live.get(turn).is_some_and(|live| live.failed_at.is_some());
                let outcome = if failed { Outcome::Failed } else { Outcome::Heard };
                return Some(self.close(*turn, at, outcome, heard));
            }
            AgentReport::Interrupted { turn, heard, cause, queued } => {
                let summary = self.close(*turn, at, Outcome::Interrupted(*cause), heard);
                return Some(TurnSummary { queued: *queued, ..summary });
            }
            AgentReport::Started
            | AgentReport::Heard { .. }
            | AgentReport::Digit(_)
            | AgentReport::CallerSpeech(_)
            | AgentReport::Prompt { .. }
            | AgentReport::Probable { .. }
            | AgentReport::Resumed
            | AgentReport::HearingFailed { .. }
            | AgentReport::Connected
            | AgentReport::Refused { .. }
            | AgentReport::Dismissed
            | AgentReport::AgentLost { .. }
            | AgentReport::HandedOff { .. }
            | AgentReport::Flow { .. }
            | AgentReport::Draining
            | AgentReport::Ended(_) => {}
        }
        None
    }

    fn change(&mut self, turn: TurnId, change: impl FnOnce(&mut TurnSummary)) {
        if let Some(live) = self.live.get_mut(&turn) {
            change(live);
        }
    }

    fn close(&mut self, turn: TurnId, at: CallTime, outcome: Outcome, heard: &Heard) -> TurnSummary {
        // A turn that was refused was never opened.
        let live = self.live.remove(&turn).unwrap_or_else(|| TurnSummary::open(turn, at));
        let first = live.failovers.first().map(|failover| failover.from.clone());
        let mut voices: Vec<_> =
            first.into_iter().chain(live.failovers.iter().map(|failover| failover.to.clone())).collect();
        let last = heard.made.voice.and_then(|voice| self.voices.get(voice));
        if let Some(last) = last.filter(|last| voices.last() != Some(last)) {
            voices.push(last.clone());
        }
        TurnSummary {
            outcome,
            over: at,
            heard: heard.played,
            heard_chars: heard.text.chars().count(),
            made: heard.made,
            estimated: heard.estimated,
            voices,
            ..live
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Encoding;
    use crate::call::event::{Fault, FaultKind};

    const TURN: TurnId = TurnId(7);

    fn ms(ms: u64) -> CallTime {
        CallTime::from_micros(ms * 1_000)
    }

    fn summaries() -> Summaries {
        let voice = |name| Voice::plain(name, Encoding::PcmS16Le, None);
        Summaries::new(&[voice("one"), voice("two"), voice("local")])
    }

    fn heard(voice: Option<usize>) -> Heard {
        let made = Made { chars: 12, audio: Duration::from_millis(900), voice };
        Heard { text: "Höre".to_owned(), played: Duration::from_millis(300), estimated: true, made }
    }

    fn fault() -> Fault {
        Fault { kind: FaultKind::Fatal, reason: "status 500".to_owned() }
    }

    #[test]
    fn a_turn_is_told_of_once_it_is_over() {
        let mut summaries = summaries();
        let wait = Wait { hearing: Duration::from_millis(200), line: Duration::from_millis(100), ..Wait::default() };
        for (at, report) in [
            (1_000, AgentReport::TurnStarted { turn: TURN }),
            (1_200, AgentReport::FirstAudio { turn: TURN, first_byte: Duration::from_millis(90) }),
            (1_250, AgentReport::Answered { turn: TURN, wait }),
        ] {
            assert_eq!(summaries.take(ms(at), &report), None);
        }
        let report = AgentReport::Interrupted { turn: TURN, heard: heard(Some(0)), cause: Cause::Dtmf, queued: false };
        let turn = summaries.take(ms(1_500), &report).unwrap();
        assert_eq!((turn.outcome.name(), turn.outcome.cause()), ("interrupted", Some(Cause::Dtmf)));
        assert_eq!((turn.heard_chars, turn.made.chars, turn.estimated), (4, 12, true));
        assert_eq!((turn.opened, turn.begun(), turn.over), (ms(1_000), ms(950), ms(1_500)));
        assert_eq!(turn.first_audio, Some((ms(1_200), Duration::from_millis(90))));
        assert_eq!(turn.voices, ["one"]);
        assert!(summaries.live.is_empty());
    }

    #[test]
    fn every_voice_that_spoke_is_named_in_order() {
        let mut summaries = summaries();
        summaries.take(ms(0), &AgentReport::TurnStarted { turn: TURN });
        let failed_over = AgentReport::FailedOver { turn: TURN, from: "one".into(), to: "two".into(), fault: fault() };
        summaries.take(ms(10), &failed_over);
        summaries.take(ms(20), &AgentReport::SpeechFailed { turn: TURN, fault: fault() });
        let turn = summaries.take(ms(30), &AgentReport::TurnOver { turn: TURN, heard: heard(Some(2)) }).unwrap();
        assert_eq!(turn.voices, ["one", "two", "local"]);
        assert_eq!((turn.outcome, turn.failed_at), (Outcome::Failed, Some(ms(20))));
        // A clip has no voice, and its place behind the voices names none.
        summaries.take(ms(40), &AgentReport::TurnStarted { turn: TURN });
        let clip = summaries.take(ms(50), &AgentReport::TurnOver { turn: TURN, heard: heard(None) }).unwrap();
        assert_eq!((clip.voices.len(), clip.outcome), (0, Outcome::Heard));
    }

    #[test]
    fn what_the_gateway_itself_says_is_told_apart() {
        let mut summaries = summaries();
        summaries.take(ms(1), &AgentReport::Announced { turn: TURN, text: "Goodbye.".to_owned() });
        summaries.take(ms(2), &AgentReport::TurnStarted { turn: TURN });
        let turn = summaries.take(ms(3), &AgentReport::TurnOver { turn: TURN, heard: heard(Some(2)) }).unwrap();
        assert_eq!((turn.announced, turn.opened), (true, ms(2)));
    }

    #[test]
    fn a_turn_that_was_refused_is_one_too() {
        let report =
            AgentReport::Interrupted { turn: TURN, heard: Heard::default(), cause: Cause::Request, queued: true };
        let turn = summaries().take(ms(5), &report).unwrap();
        assert_eq!((turn.opened, turn.over, turn.queued), (ms(5), ms(5), true));
    }
}
