//! What must hold in every call.

use std::time::Duration;

use super::carrier::{Carrier, Marks, Unit};
use super::voice::Voice;
use crate::audio::MediaFormat;
use crate::call::action::{AgentReport, Heard, TtsCommand};
use crate::call::event::{Event, Say};
use crate::call::settings::Interruptible;
use crate::call::stats::Stats;
use crate::ids::{CallTime, MarkId, TurnId};

/// The caller may hear silence for so long while speech is owed.
const SILENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Truth {
    turn: TurnId,
    /// The agent's text, without what was reported as skipped.
    text: String,
    closed: Option<CallTime>,
    /// Nothing was live before it from here on.
    front_since: Option<CallTime>,
    over: bool,
    failed: bool,
    interruptible: Interruptible,
    reported: usize,
}

pub(super) struct Checks {
    held_ms_max: u64,
    default: Interruptible,
    turns: Vec<Truth>,
    started: bool,
    pub(super) ended: bool,
    /// The last millisecond that was sent in this epoch.
    last_sent: Option<Unit>,
    marks: u64,
    last_mark: MarkId,
    awake_since: CallTime,
    /// Whether the last thing that the caller or the agent did may have cut turns off, and how.
    cause: Option<Event>,
}

impl Checks {
    pub(super) fn new(format: MediaFormat, lead: Duration, stalls: bool, default: Interruptible) -> Self {
        let frame = u64::from(format.frame_ms);
        // The lead, rounded up to a frame; one frame that an inbound frame released early; what a late wake-up catches up.
        let catch_up = if stalls { 5 * frame } else { 0 };
        Checks {
            held_ms_max: lead.as_millis() as u64 + 2 * frame + catch_up,
            default,
            turns: Vec::new(),
            started: false,
            ended: false,
            last_sent: None,
            marks: 0,
            last_mark: MarkId(0),
            awake_since: CallTime::ZERO,
            cause: None,
        }
    }

    fn truth(&mut self, turn: TurnId) -> Option<&mut Truth> {
        self.turns.iter_mut().find(|truth| truth.turn == turn)
    }

    pub(super) fn on_say(&mut self, now: CallTime, say: &Say) {
        let default = self.default;
        if self.truth(say.turn).is_none() {
            self.turns.push(Truth {
                turn: say.turn,
                text: String::new(),
                closed: None,
                front_since: None,
                over: false,
                failed: false,
                interruptible: default,
                reported: 0,
            });
        }
        let truth = self.truth(say.turn).unwrap();
        if truth.over || truth.closed.is_some() {
            return;
        }
        truth.text.push_str(&say.text);
        truth.interruptible = say.interruptible.unwrap_or(truth.interruptible);
        if say.last {
            truth.closed = Some(now);
        }
    }

    pub(super) fn meddled(&mut self, event: &Event) {
        self.cause = Some(event.clone());
    }

    pub(super) fn asleep(&mut self, until: CallTime) {
        self.awake_since = until;
    }

    pub(super) fn on_media(&mut self, units: &[Option<Unit>], carrier: &Carrier) {
        assert!(self.started && !self.ended, "media outside of the stream");
        assert!(carrier.held_ms() <= self.held_ms_max, "the carrier holds {} ms", carrier.held_ms());
        for unit in units.iter().copied().flatten() {
            let at = self.turns.iter().position(|truth| truth.turn == unit.context.turn).expect("a turn that was said");
            assert!(!self.turns[at].over, "{unit:?} after the end of its turn");
            if let Some(last) = self.last_sent {
                let place = |turn| self.turns.iter().position(|truth| truth.turn == turn);
                let rank = |unit: Unit| (place(unit.context.turn), unit.context.serial, unit.ms);
                assert!(rank(last) < rank(unit), "{unit:?} after {last:?}");
                assert!(last.context != unit.context || unit.ms == last.ms + 1, "{unit:?} right after {last:?}");
            }
            self.last_sent = Some(unit);
        }
    }

    pub(super) fn on_mark(&mut self, mark: MarkId) {
        assert!(mark > self.last_mark, "{mark:?} after {:?}", self.last_mark);
        self.last_mark = mark;
        self.marks += 1;
    }

    pub(super) fn on_clear(&mut self) {
        self.last_sent = None;
    }

    pub(super) fn on_report(&mut self, now: CallTime, report: &AgentReport, carrier: &Carrier, voices: &[Voice]) {
        match report {
            AgentReport::Started => assert!(!std::mem::replace(&mut self.started, true), "started twice"),
            AgentReport::TurnStarted { turn } => assert!(self.truth(*turn).is_some_and(|truth| !truth.over)),
            AgentReport::Heard { turn, heard } => {
                self.check_heard(*turn, heard, carrier, voices);
                let truth = self.truth(*turn).unwrap();
                assert!(!truth.over && heard.text.len() > truth.reported, "no more of {turn} was heard");
                truth.reported = heard.text.len();
            }
            AgentReport::TurnOver { turn, heard } => {
                self.check_heard(*turn, heard, carrier, voices);
                let truth = self.truth(*turn).unwrap();
                assert!(!std::mem::replace(&mut truth.over, true), "turn {turn} ended twice");
                if !truth.failed {
                    let bare = |text: &str| text.trim_end_matches(|c: char| !c.is_alphanumeric()).to_owned();
                    assert_eq!(bare(&heard.text), bare(&truth.text), "turn {turn} was heard to its end");
                }
            }
            AgentReport::Interrupted { turn, heard, .. } => {
                self.check_heard(*turn, heard, carrier, voices);
                assert!(!std::mem::replace(&mut self.truth(*turn).unwrap().over, true), "turn {turn} ended twice");
            }
            AgentReport::Skipped { turn, text } => {
                let truth = self.truth(*turn).unwrap();
                assert!(truth.text.contains(text.as_str()), "{text:?} was skipped");
                truth.text = truth.text.replacen(text, "", 1);
            }
            AgentReport::SpeechFailed { turn, .. } => {
                assert!(!std::mem::replace(&mut self.truth(*turn).unwrap().failed, true), "turn {turn} failed twice");
            }
            AgentReport::FirstAudio { .. }
            | AgentReport::Digit(_)
            | AgentReport::CallerSpeech(_)
            | AgentReport::Flow { .. }
            | AgentReport::Draining
            | AgentReport::Ended(_) => {}
        }
        self.move_front(now);
    }

    fn move_front(&mut self, now: CallTime) {
        if let Some(front) = self.turns.iter_mut().find(|truth| !truth.over) {
            front.front_since.get_or_insert(now);
        }
    }

    /// Never more than was played; with honest marks and word times, at most one word less.
    fn check_heard(&mut self, turn: TurnId, heard: &Heard, carrier: &Carrier, voices: &[Voice]) {
        let truth = self.truth(turn).unwrap();
        assert!(truth.text.starts_with(&heard.text), "{:?} of {:?}", heard.text, truth.text);
        // Without word times, or before they came, it is a guess that says so.
        let manner = voices[0].manner;
        if !manner.timed || (heard.estimated && !manner.foretold) {
            return;
        }
        let said = heard.text.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).count();
        let scripts = voices[0].scripts.iter().filter(|script| script.on.context.turn == turn);
        let (mut words, mut faulty) = (0, truth.failed);
        for script in scripts {
            // The model's milliseconds are whole ones.
            let played = carrier.played_ms(script.on.context) + 1;
            words += script.words.iter().filter(|(_, end)| *end <= played).count();
            faulty |= script.faulty;
            if script.lied {
                return;
            }
        }
        // A mark that comes back at once may be taken for one that comes back a little early, and a voice that stalls in the
        // last moments of a word for one that has spoken it.
        if heard.estimated && faulty {
            return;
        }
        let early = usize::from(matches!(carrier.marks, Marks::AtOnce | Marks::Wild)) + usize::from(faulty);
        assert!(said <= words + early, "{:?}: too much was heard: {said} of {words} words of {turn}", carrier.marks);
        if carrier.marks == Marks::Honest && !faulty {
            assert!(said + 1 >= words, "too little was heard: {said} of {words} words of {turn}");
        }
    }

    /// The turn whose text is complete is heard, or ends.
    pub(super) fn silence(&mut self, now: CallTime, carrier: &Carrier) {
        self.move_front(now);
        let Some(front) = self.turns.iter().find(|truth| !truth.over) else { return };
        let (Some(closed), Some(front_since)) = (front.closed, front.front_since) else { return };
        let since = closed.max(front_since).max(carrier.last_sound).max(self.awake_since);
        assert!(now.since(since) <= SILENCE, "silence since {since}, it is {now}, turn {} is owed", front.turn);
    }

    pub(super) fn live(&self) -> Vec<TurnId> {
        self.turns.iter().filter(|truth| !truth.over).map(|truth| truth.turn).collect()
    }

    pub(super) fn dials(&self, voices: &[Voice]) {
        for dials in voices.iter().map(|voice| &voice.dials) {
            let many = dials.windows(9).find(|dials| dials[8].since(dials[0]) < Duration::from_secs(5));
            assert!(many.is_none(), "dialled like mad: {many:?}");
        }
    }

    pub(super) fn accounts(&self, stats: &Stats) {
        let settled = stats.marks_played + stats.marks_flushed + stats.marks_lapsed + stats.marks_disbelieved;
        assert_eq!(settled, self.marks, "each mark ends in one way: {stats:?}");
    }
}

pub(super) fn voice_of(command: &TtsCommand) -> usize {
    match command {
        TtsCommand::Dial { voice } | TtsCommand::HangUp { voice } | TtsCommand::Cancel { voice, .. } => *voice,
        TtsCommand::Speak { on, .. } | TtsCommand::Flush { on } | TtsCommand::Finish { on } => on.voice,
    }
}
