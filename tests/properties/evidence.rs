//! What can be told from a trace: which speech was sent when, what a carrier that plays at once and without pause has played
//! of it, and what the agent had said by the time that it was told what was heard.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use trunkline::audio::MediaFormat;
use trunkline::call::action::{Action, AgentReport, CarrierCommand, Heard};
use trunkline::ids::{CallTime, ContextId, TurnId};

use crate::label::{Run, bytes_per_ms, runs_of};
use crate::trace::{Piece, Trace};

/// A frame on the line.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) step: usize,
    pub(crate) at: CallTime,
    pub(crate) bytes: usize,
    /// When its first millisecond is played.
    starts: CallTime,
    /// Its length in milliseconds.
    len: u64,
    /// What the carrier holds with it, in milliseconds.
    pub(crate) held_ms: u64,
    pub(crate) runs: Vec<Run>,
}

/// How far a report takes its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    More,
    Whole,
    Cut,
}

/// A report of what was heard, beside the truth.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) at: CallTime,
    pub(crate) turn: TurnId,
    pub(crate) kind: Kind,
    pub(crate) heard: Heard,
    /// What the agent has said of the turn.
    pub(crate) said: String,
    /// The turn could not be spoken.
    pub(crate) failed: bool,
    /// Its text came with a pause in which the call finished it.
    pub(crate) starved: bool,
    /// Milliseconds of the turn's contexts that were played.
    pub(crate) played: Vec<(ContextId, u64)>,
}

/// A trace with all that follows from it.
#[derive(Debug)]
pub(crate) struct Evidence<'t> {
    pub(crate) trace: &'t Trace,
    pub(crate) format: Option<MediaFormat>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) told: Vec<Told>,
    /// Milliseconds that the carrier held before each `clear`, by the number of its step.
    pub(crate) cleared: Vec<(usize, u64)>,
    /// What the carrier held before each step, in milliseconds.
    pub(crate) held: Vec<u64>,
    /// When speech was last heard before each step.
    pub(crate) last_sound: Vec<CallTime>,
    /// Milliseconds of each context that had been played before each frame's step; see `resumed_after`.
    pub(crate) played_at_clear: Vec<(usize, BTreeMap<ContextId, u64>)>,
}

/// A carrier that plays what it has, at once and without pause.
#[derive(Default)]
struct Player {
    queue: VecDeque<usize>,
    free_at: CallTime,
    played: BTreeMap<ContextId, u64>,
    last_sound: CallTime,
}

impl Player {
    fn play(&mut self, now: CallTime, sent: &[Sent]) {
        while let Some(frame) = self.queue.front().map(|index| &sent[*index]) {
            let done = frame.len.min(millis(now.since(frame.starts)));
            for run in &frame.runs {
                let covered = done.saturating_sub(run.at).min(run.len);
                if covered > 0 {
                    let played = self.played.entry(run.context).or_default();
                    *played = (*played).max(run.ms + covered);
                    self.last_sound = self.last_sound.max(frame.starts + Duration::from_millis(run.at + covered));
                }
            }
            if done < frame.len {
                return;
            }
            self.queue.pop_front();
        }
    }

    fn held_ms(&self, now: CallTime) -> u64 {
        self.free_at.since(now).as_micros().div_ceil(1_000) as u64
    }
}

/// The agent's side of a turn.
#[derive(Default)]
struct Script {
    text: String,
    last_text: Option<CallTime>,
    closed: bool,
    over: bool,
    failed: bool,
    starved: bool,
}

impl Script {
    fn push(&mut self, now: CallTime, piece: Piece<'_>, open_turn: Duration) {
        if self.over || self.closed {
            return;
        }
        self.starved |= self.last_text.is_some_and(|last| now.since(last) >= open_turn);
        self.last_text = Some(now);
        self.text.push_str(piece.text);
        self.closed = piece.last;
    }
}

impl<'t> Evidence<'t> {
    pub(crate) fn new(trace: &'t Trace) -> Self {
        let mut evidence = Evidence {
            trace,
            format: trace.format(),
            sent: Vec::new(),
            told: Vec::new(),
            cleared: Vec::new(),
            held: Vec::new(),
            last_sound: Vec::new(),
            played_at_clear: Vec::new(),
        };
        let (mut player, mut scripts) = (Player::default(), BTreeMap::new());
        for (index, step) in trace.steps.iter().enumerate() {
            for piece in step.pieces() {
                let script: &mut Script = scripts.entry(piece.turn).or_default();
                script.push(step.now, piece, trace.settings.limits.open_turn);
            }
            player.play(step.now, &evidence.sent);
            evidence.held.push(player.held_ms(step.now));
            evidence.last_sound.push(player.last_sound);
            for action in &step.actions {
                match action {
                    Action::Carrier(CarrierCommand::Media { frame, .. }) => {
                        evidence.send(index, step.now, frame, &mut player);
                    }
                    Action::Carrier(CarrierCommand::Clear { .. }) => {
                        evidence.cleared.push((index, player.held_ms(step.now)));
                        evidence.played_at_clear.push((index, player.played.clone()));
                        player.queue.clear();
                        player.free_at = step.now;
                    }
                    Action::Agent(report) => evidence.hear(step.now, report, &mut scripts, &player),
                    Action::Carrier(CarrierCommand::Mark(_)) | Action::Tts(_) | Action::Hearing(_) | Action::End(_) => {
                    }
                }
            }
        }
        evidence
    }

    fn send(&mut self, step: usize, at: CallTime, frame: &[u8], player: &mut Player) {
        let Some(format) = self.format else { return };
        let starts = player.free_at.max(at);
        let len = frame.len().div_ceil(bytes_per_ms(format)) as u64;
        player.queue.push_back(self.sent.len());
        player.free_at = starts + Duration::from_millis(len);
        let held_ms = player.held_ms(at);
        self.sent.push(Sent { step, at, bytes: frame.len(), starts, len, held_ms, runs: runs_of(format, frame) });
    }

    fn hear(&mut self, at: CallTime, report: &AgentReport, scripts: &mut BTreeMap<TurnId, Script>, player: &Player) {
        let (turn, heard, kind) = match report {
            AgentReport::Heard { turn, heard } => (*turn, heard, Kind::More),
            AgentReport::TurnOver { turn, heard } => (*turn, heard, Kind::Whole),
            AgentReport::Interrupted { turn, heard, .. } => (*turn, heard, Kind::Cut),
            AgentReport::SpeechFailed { turn, .. } => {
                scripts.entry(*turn).or_default().failed = true;
                return;
            }
            _ => return,
        };
        let script = scripts.entry(turn).or_default();
        script.over |= kind != Kind::More;
        let of_turn = |context: &ContextId| context.turn == turn;
        let played = player.played.iter().filter(|(context, _)| of_turn(context)).map(|(context, ms)| (*context, *ms));
        let (said, failed, starved) = (script.text.clone(), script.failed, script.starved);
        let played = played.collect();
        self.told.push(Told { at, turn, kind, heard: heard.clone(), said, failed, starved, played });
    }
}

/// Whole milliseconds of a span.
pub(crate) fn millis(span: Duration) -> u64 {
    span.as_millis() as u64
}
