//! What must hold in every call, judged by what went over the wire and by what the model carrier played.

use std::time::Duration;

use trunkline::call::action::{AgentReport, Heard};
use trunkline::call::event::AgentEvent;
use trunkline::ids::{CallTime, TurnId};

use crate::sound::{Sound, Unit};
use crate::twilio::{Marks, Meaning, Twilio};

/// The caller may hear silence for so long while speech is owed.
const SILENCE: Duration = Duration::from_secs(5);
/// Audio that may be ahead beyond the lead: the frame itself, one that an inbound frame releases early, half a frame of
/// falling into step, and as much once more when the voice falls behind: a schedule that has moved to an earlier moment
/// takes the carrier for dry a little before it is.
const AHEAD_SLACK_US: u64 = 70_000;
/// And what is caught up after our process slept, while the carrier ran dry.
const CATCH_UP_US: u64 = 100_000;

/// What the network between the gateway and the carrier can do at worst, and what the carrier does with marks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    pub(crate) marks: Marks,
    pub(crate) sound: Sound,
    /// Longest way there and back without an outage.
    pub(crate) round_trip_ms: u64,
    /// By how much two messages on their way there can differ.
    pub(crate) jitter_ms: u64,
    /// Everything may stand still for so long.
    pub(crate) outage_ms: u64,
    /// Marks or messages get lost or overtake one another.
    pub(crate) unruly: bool,
    /// Our own process sleeps now and then.
    pub(crate) sleeps: bool,
    /// Times of words come before their audio, always.
    pub(crate) exact: bool,
}

/// One turn as the agent and the caller know it.
#[derive(Debug)]
struct Truth {
    turn: TurnId,
    /// The agent's text.
    text: String,
    closed: Option<CallTime>,
    front_since: Option<CallTime>,
    started: bool,
    over: bool,
    failed: bool,
    reported: usize,
}

/// What the voices know of a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spoken {
    /// Letters and digits of the words that the caller heard to their end, a little more time allowed.
    pub(crate) letters_max: usize,
    /// The same, with a little less time.
    pub(crate) letters_min: usize,
    pub(crate) faulty: bool,
    pub(crate) lied: bool,
}

/// Something that can only be judged once the carrier has been told.
#[derive(Debug)]
struct Claim {
    due: CallTime,
    turn: TurnId,
    letters: usize,
    estimated: bool,
    whole: bool,
}

#[derive(Debug)]
pub(crate) struct Checks {
    tolerance: Tolerance,
    lead_us: u64,
    turns: Vec<Truth>,
    claims: Vec<Claim>,
    started: bool,
    pub(crate) ended: bool,
    /// When a carrier without a network before it would run dry.
    dry_at: CallTime,
    last_sent: Option<(usize, Unit)>,
    marks: Vec<String>,
    /// The process, or the network, woke up.
    pub(crate) awake_since: CallTime,
    pub(crate) turns_heard: u64,
    pub(crate) turns_cut: u64,
}

impl Checks {
    pub(crate) fn new(tolerance: Tolerance, lead: Duration) -> Self {
        Checks {
            tolerance,
            lead_us: lead.as_micros() as u64,
            turns: Vec::new(),
            claims: Vec::new(),
            started: false,
            ended: false,
            dry_at: CallTime::ZERO,
            last_sent: None,
            marks: Vec::new(),
            awake_since: CallTime::ZERO,
            turns_heard: 0,
            turns_cut: 0,
        }
    }

    fn truth(&mut self, turn: TurnId) -> &mut Truth {
        self.turns.iter_mut().find(|truth| truth.turn == turn).unwrap_or_else(|| panic!("nobody said turn {turn}"))
    }

    pub(crate) fn on_agent(&mut self, now: CallTime, event: &AgentEvent) {
        match event {
            AgentEvent::Say(say) | AgentEvent::Up { greeting: Some(say) } => {
                self.on_text(now, say.turn, &say.text, say.last);
            }
            AgentEvent::Play(play) => self.on_text(now, play.turn, "", true),
            _ => {}
        }
    }

    fn on_text(&mut self, now: CallTime, turn: TurnId, text: &str, last: bool) {
        if !self.turns.iter().any(|truth| truth.turn == turn) {
            self.turns.push(Truth {
                turn,
                text: String::new(),
                closed: None,
                front_since: None,
                started: false,
                over: false,
                failed: false,
                reported: 0,
            });
        }
        let truth = self.truth(turn);
        if !truth.over && truth.closed.is_none() {
            truth.text.push_str(text);
            truth.closed = last.then_some(now);
        }
    }

    /// The gateway writes to the carrier. `turn_of` knows whose a context is.
    pub(crate) fn on_sent(&mut self, now: CallTime, text: &str, meaning: &Meaning, turn_of: impl Fn(u16) -> TurnId) {
        assert!(self.started && !self.ended, "a message outside of the stream");
        match meaning {
            Meaning::Media(units) => {
                self.dry_at = self.dry_at.max(now) + Duration::from_millis(20);
                let ahead = self.dry_at.since(now).as_micros() as u64;
                let slack = if self.tolerance.sleeps { AHEAD_SLACK_US + CATCH_UP_US } else { AHEAD_SLACK_US };
                assert!(ahead <= self.lead_us + slack, "{ahead} us ahead of the schedule");
                for unit in units.iter().flatten() {
                    self.on_unit(*unit, turn_of(unit.number));
                }
            }
            Meaning::Mark => {
                assert!(!self.marks.iter().any(|mark| mark == text), "a mark is used twice");
                self.marks.push(text.to_owned());
            }
            Meaning::Clear => {
                self.dry_at = now;
                self.last_sent = None;
            }
        }
    }

    fn on_unit(&mut self, unit: Unit, turn: TurnId) {
        let place = self.turns.iter().position(|truth| truth.turn == turn).expect("a turn that was said");
        assert!(!self.turns[place].over, "{unit:?} after the end of turn {turn}");
        if let Some((last_place, last)) = self.last_sent {
            assert!(last_place <= place, "turn {turn} comes back after its successor");
            if last.number == unit.number && self.tolerance.sound == Sound::Counted {
                assert_eq!(unit.ms, last.ms + 1, "speech of context {} is not whole", unit.number);
            }
            // A context goes on where it was until it is over: two never mix.
            assert!(last_place < place || last.number <= unit.number, "{unit:?} after {last:?}");
        }
        self.last_sent = Some((place, unit));
    }

    /// The gateway tells the agent. `spoken` knows what was played of a turn so far.
    pub(crate) fn on_report(&mut self, now: CallTime, report: &AgentReport, spoken: impl Fn(TurnId) -> Spoken) {
        match report {
            AgentReport::Started => assert!(!std::mem::replace(&mut self.started, true), "started twice"),
            AgentReport::TurnStarted { turn } => {
                assert!(!std::mem::replace(&mut self.truth(*turn).started, true), "turn {turn} started twice");
            }
            AgentReport::Heard { turn, heard } => {
                self.claim(now, *turn, heard, false, &spoken);
                let truth = self.truth(*turn);
                assert!(!truth.over && heard.text.len() > truth.reported, "no more of {turn} was heard");
                truth.reported = heard.text.len();
            }
            AgentReport::TurnOver { turn, heard } => {
                self.claim(now, *turn, heard, true, &spoken);
                let truth = self.truth(*turn);
                assert!(!std::mem::replace(&mut truth.over, true), "turn {turn} ended twice");
                if !truth.failed {
                    let bare = |text: &str| text.trim_end_matches(|c: char| !c.is_alphanumeric()).to_owned();
                    let is_whole = bare(&truth.text) == bare(&heard.text);
                    assert!(is_whole, "turn {turn} was heard to its end: {:?} of {:?}", heard.text, truth.text);
                }
                self.turns_heard += 1;
            }
            AgentReport::Interrupted { turn, heard, .. } => {
                self.claim(now, *turn, heard, false, &spoken);
                assert!(!std::mem::replace(&mut self.truth(*turn).over, true), "turn {turn} ended twice");
                self.turns_cut += 1;
            }
            AgentReport::SpeechFailed { turn, .. } => {
                assert!(!std::mem::replace(&mut self.truth(*turn).failed, true), "turn {turn} failed twice");
            }
            AgentReport::Ended(_) => {
                let live = self.live();
                assert!(live.is_empty(), "turns that were never resolved: {live:?}");
            }
            // The gateway itself speaks: nobody else said what it says.
            AgentReport::Announced { turn, text } => self.on_text(now, *turn, text, true),
            AgentReport::FailedOver { .. }
            | AgentReport::FirstAudio { .. }
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
            | AgentReport::Answered { .. }
            | AgentReport::Flow { .. }
            | AgentReport::Draining => {}
        }
        if let Some(front) = self.turns.iter_mut().find(|truth| !truth.over) {
            front.front_since.get_or_insert(now);
        }
    }

    fn claim(&mut self, now: CallTime, turn: TurnId, heard: &Heard, whole: bool, spoken: &impl Fn(TurnId) -> Spoken) {
        let tolerance = self.tolerance;
        let truth = self.truth(turn);
        assert!(truth.text.starts_with(&heard.text), "{:?} was heard, and never said", heard.text);
        let letters = letters_of(&heard.text);
        let at_least = spoken(turn);
        let is_plain = tolerance.exact && !tolerance.unruly && tolerance.outage_ms == 0 && !at_least.faulty;
        if is_plain && tolerance.marks == Marks::Honest && !truth.failed && !heard.estimated {
            assert!(letters >= at_least.letters_min, "only {letters} letters of {turn} were heard: {at_least:?}");
        }
        // What the caller's ear will have got when the carrier has done all that it was told up to now.
        let due = now + Duration::from_millis(tolerance.round_trip_ms);
        self.claims.push(Claim { due, turn, letters, estimated: heard.estimated, whole });
    }

    pub(crate) fn next_claim(&self) -> Option<CallTime> {
        self.claims.iter().map(|claim| claim.due).min()
    }

    /// Nobody is told that more was heard than was played.
    pub(crate) fn judge(&mut self, now: CallTime, spoken: impl Fn(TurnId) -> Spoken) {
        let tolerance = self.tolerance;
        self.claims.retain(|claim| {
            if claim.due > now {
                return true;
            }
            let truth = spoken(claim.turn);
            // Without word times, or before they came, it is a guess that says so; a clock knows nothing of an outage.
            let is_guess =
                !tolerance.exact || truth.lied || (claim.estimated && (truth.faulty || tolerance.outage_ms > 0));
            let is_blind = tolerance.outage_ms > 0 && tolerance.marks != Marks::Honest && !claim.whole;
            if !is_guess && !is_blind {
                let (said, most) = (claim.letters, truth.letters_max);
                assert!(said <= most, "{said} letters of {} heard, {most} played: {claim:?}", claim.turn);
            }
            false
        });
    }

    /// How much later than said a word may have been played: what no ledger can know.
    pub(crate) fn late_ms(&self) -> u32 {
        let tolerance = self.tolerance;
        let padding = if tolerance.sound == Sound::Tones { 25 } else { 2 };
        // A mark follows every 200 ms, and what is behind the first one that is out never counts.
        let network = (tolerance.jitter_ms + tolerance.outage_ms).min(240);
        let trust = match tolerance.marks {
            Marks::Honest => 0,
            Marks::Late => 0,
            // A mark that is up to 60 ms early is taken for one of a carrier that begins early.
            Marks::Never | Marks::AtOnce | Marks::Flood => 80 + tolerance.jitter_ms,
        };
        (padding + network + trust) as u32
    }

    /// How much earlier than said a word may have been played: the way of the marks, and what lies between two of them.
    pub(crate) fn early_ms(&self) -> u32 {
        (2 * self.tolerance.round_trip_ms + 240) as u32
    }

    /// The turn whose text is complete is heard, or ends.
    pub(crate) fn silence(&mut self, now: CallTime, carrier: &Twilio) {
        let Some(front) = self.turns.iter().find(|truth| !truth.over && truth.started) else { return };
        let (Some(closed), Some(front_since)) = (front.closed, front.front_since) else { return };
        let since = closed.max(front_since).max(carrier.last_sound).max(self.awake_since);
        let slack = Duration::from_millis(self.tolerance.round_trip_ms + self.tolerance.outage_ms);
        assert!(now.since(since) <= SILENCE + slack, "silence since {since}, it is {now}, turn {} is owed", front.turn);
    }

    /// Turns that the agent began and that are not resolved.
    pub(crate) fn live(&self) -> Vec<TurnId> {
        self.turns.iter().filter(|truth| truth.started && !truth.over).map(|truth| truth.turn).collect()
    }

    pub(crate) fn marks(&self) -> u64 {
        self.marks.len() as u64
    }
}

/// Letters and digits of an agent's text that can be heard. Where a link leads cannot.
fn letters_of(text: &str) -> usize {
    let count = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
    let behind = |part: &str| part.split_once(')').map_or(0, |(_, rest)| count(rest));
    let mut parts = text.split("](");
    count(parts.next().unwrap_or_default()) + parts.map(behind).sum::<usize>()
}
