//! The call: a state machine without IO, clock or randomness.
//!
//! `handle` takes an event and the time, `poll_action` gives what has to be done, `poll_timeout` says when to come back.
//! Production, replay and simulation drive the same four methods.

pub mod action;
mod agent;
mod answer;
mod barge_in;
mod chain;
mod clips;
mod contexts;
pub mod event;
mod heard;
mod hearing;
mod lifetime;
mod links;
mod marks;
mod pacing;
pub mod phrases;
mod playing;
mod playout;
mod recovery;
pub mod settings;
mod slots;
mod speech;
pub mod stats;
pub mod summary;
mod text;
mod timers;
mod turn;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use action::{Action, AgentReport, CarrierCommand, Cause, EndReason, TtsCommand};
use answer::Asked;
use bytes::Bytes;
use event::{CarrierEvent, Delivery, Event, Start, TtsEvent};
use links::{Link, Need};
use marks::{Echo, Ledger};
use pacing::Pacing;
use playout::Playout;
use settings::{Interruptible, Settings};
use stats::Stats;
pub(crate) use text::{ABBREVIATIONS, Piece, Scribe};
pub use timers::Timer;
use turn::Turn;

use crate::audio::{Converter, MediaFormat, vad};
use crate::ids::{CallTime, TurnId};

/// Sent frames are kept so long beyond the lead, in case they have to be sent again.
const RETAIN: Duration = Duration::from_secs(2);
/// Turns that may be live at once; text for more is refused.
const TURNS_MAX: usize = 64;
/// Turns that are remembered one by one after their end, so that late text for them is told from a new turn.
const OVER_MAX: usize = 256;

/// One telephone call.
#[derive(Debug)]
pub struct Call {
    settings: Settings,
    actions: VecDeque<Action>,
    stats: Stats,
    links: Vec<Link>,
    /// Voices whose link has to be made anew, since a context of it was cancelled.
    renewals: BTreeSet<usize>,
    /// What exists from the start of a two-way stream on.
    line: Option<Line>,
    detector: Option<vad::Detector>,
    /// As the detector last said.
    is_caller_speaking: bool,
    /// Live turns in the order in which they are heard.
    turns: VecDeque<Turn>,
    turns_seen: u64,
    over: Over,
    converters: Vec<Converter>,
    /// Since when the caller has heard silence although speech is owed.
    owed_silence: Option<CallTime>,
    /// Nobody's silence counts before this.
    patient_until: CallTime,
    /// The next deadline but for frames, as the last `handle` left it: it is asked for twice for each event.
    decision: Option<(CallTime, Timer)>,
    /// Who writes down what the caller says.
    hearing: Option<hearing::Hearing>,
    /// When the stream began.
    began: Option<CallTime>,
    /// How often the caller was asked because nobody said anything.
    idle_asked: usize,
    /// Since when nobody has said anything, and nothing is owed.
    idle_since: Option<CallTime>,
    /// How later turns are spoken unless their text says otherwise.
    delivery: Arc<Delivery>,
    /// The caller waits for an answer to this.
    answer: Option<Asked>,
    /// Messages of the agent in a row that made no sense.
    malformed: u32,
    /// Turns in which the gateway itself spoke.
    announced: u32,
    /// The call ends so once what is being said was heard.
    closing: Option<EndReason>,
    end: Option<EndReason>,
}

/// The outbound half of a stream.
#[derive(Debug)]
struct Line {
    format: MediaFormat,
    /// Inbound frames come as often as outbound ones are due, so that they can be the metronome.
    has_metronome: bool,
    ledger: Ledger,
    playout: Playout,
    pacing: Pacing,
    /// When the carrier ran dry last.
    quiet_since: CallTime,
    /// What may cut off what the carrier holds of turns that are over.
    tail: Interruptible,
}

/// The turns that are over. A context's name is never used twice, so that a turn can never begin again.
#[derive(Debug, Default)]
struct Over {
    turns: BTreeSet<TurnId>,
    /// By count: every turn up to this one is over, unless it is live. Agents count their turns upwards, and two that speak
    /// in one call begin their counts far apart.
    floors: BTreeMap<u32, TurnId>,
}

/// Which count a turn belongs to.
const fn count_of(turn: TurnId) -> u32 {
    turn.0 >> 30
}

impl Over {
    fn insert(&mut self, turn: TurnId) {
        self.turns.insert(turn);
        if self.turns.len() > OVER_MAX
            && let Some(forgotten) = self.turns.pop_first()
        {
            let floor = self.floors.entry(count_of(forgotten)).or_insert(forgotten);
            *floor = forgotten.max(*floor);
        }
    }

    fn contains(&self, turn: TurnId) -> bool {
        self.turns.contains(&turn) || self.floors.get(&count_of(turn)).is_some_and(|floor| turn <= *floor)
    }
}

impl Call {
    /// A call that has not started yet.
    pub fn new(settings: Settings) -> Self {
        let link = |n: usize| Link::new(settings.limits, settings.seed ^ n as u64, n + 1 < settings.chain);
        let links = (0..settings.voices.len()).map(link).collect();
        Call {
            settings,
            actions: VecDeque::new(),
            stats: Stats::default(),
            links,
            renewals: BTreeSet::new(),
            line: None,
            detector: None,
            is_caller_speaking: false,
            turns: VecDeque::new(),
            turns_seen: 0,
            over: Over::default(),
            converters: Vec::new(),
            owed_silence: None,
            patient_until: CallTime::ZERO,
            decision: None,
            hearing: None,
            began: None,
            idle_asked: 0,
            idle_since: None,
            delivery: Arc::default(),
            answer: None,
            malformed: 0,
            announced: 0,
            closing: None,
            end: None,
        }
    }

    /// Advances time to `now`, then applies `event`. Never fails: a peer's fault is an event like any other.
    pub fn handle(&mut self, now: CallTime, event: Event) {
        if self.end.is_some() {
            return;
        }
        self.settle(now);
        if self.end.is_some() {
            // It was over before the event came.
            return;
        }
        match event {
            Event::Carrier(event) => self.on_carrier(now, event),
            Event::Agent(event) => self.on_agent(now, event),
            Event::Tts(event) => self.on_tts(now, event),
            Event::Hearing { link, event } => self.on_hearing(now, link, event),
            Event::Speech(speech) => self.on_speech(now, speech.into()),
            Event::Wake => {}
            Event::Drain => self.report(AgentReport::Draining),
            Event::Leave => self.on_leave(now),
        }
        if self.end.is_none() {
            self.go_on(now);
            self.decision = self.next_decision();
        }
    }

    /// Does what the new state allows: text to voices, frames to the carrier, the end of turns that were heard.
    fn go_on(&mut self, now: CallTime) {
        self.renew_links(now);
        self.give_text(now);
        self.close_turns(now);
        if self.end.is_some() {
            // The last turn was heard, and the call with it.
            return;
        }
        self.release(now, Duration::ZERO);
        self.watch_silence(now);
        self.hand_over_if_due(now);
        self.watch_idleness(now);
    }

    /// The next thing to do, in order. Drain it to `None` after every `handle`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call `handle(now, Event::Wake)` if nothing else happens, and why.
    pub fn poll_timeout(&self) -> Option<(CallTime, Timer)> {
        if self.end.is_some() { None } else { self.next_deadline() }
    }

    /// Whether the call has ended.
    pub fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// What happened so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    fn on_carrier(&mut self, now: CallTime, event: CarrierEvent) {
        match event {
            CarrierEvent::Started(start) => self.on_started(now, &start),
            CarrierEvent::Media(audio) => self.on_media(now, audio),
            CarrierEvent::Mark(mark) => {
                let Some(line) = &mut self.line else { return };
                let (echo, settled) = line.ledger.on_echo(now, mark);
                match echo {
                    Echo::Played => self.stats.marks_played += settled,
                    Echo::Disbelieved => self.stats.marks_disbelieved += settled,
                    Echo::Stale => self.stats.marks_stale += 1,
                }
                self.report_heard(now);
            }
            CarrierEvent::Digit(digit) => {
                self.stir();
                if !self.is_input_swallowed(Cause::Dtmf) {
                    self.report(AgentReport::Digit(digit));
                }
                self.interrupt(now, Cause::Dtmf);
            }
            CarrierEvent::Stopped => self.finish(now, EndReason::CarrierStopped),
            CarrierEvent::Lost => self.finish(now, EndReason::CarrierLost),
            CarrierEvent::Ignored => {}
            CarrierEvent::Garbage => self.stats.garbage += 1,
        }
    }

    fn on_started(&mut self, now: CallTime, start: &Start) {
        if self.detector.is_some() {
            self.stats.garbage += 1;
            return;
        }
        let formats = [Some(start.inbound), start.outbound];
        if !formats.into_iter().flatten().all(MediaFormat::is_sound) {
            self.stats.garbage += 1;
            return;
        }
        self.began = Some(now);
        self.detector = Some(vad::Detector::new(start.inbound, self.settings.detector));
        let playout = self.settings.playout;
        self.line = start.outbound.map(|format| Line {
            format,
            has_metronome: start.inbound.frame_ms == format.frame_ms,
            ledger: Ledger::new(format),
            playout: Playout::new(format, playout.prebuffer, playout.lead + RETAIN),
            pacing: Pacing::new(format.frame(), playout.lead),
            quiet_since: now,
            tail: self.settings.interruptible,
        });
        self.report(AgentReport::Started);
        if self.line.is_some() {
            // Before there is any text, so that the first word does not wait for a handshake.
            self.dial(now, 0);
            self.open_with_announcement(now);
        }
        self.start_hearing(now, start.inbound);
    }

    fn on_media(&mut self, now: CallTime, audio: Bytes) {
        self.stats.frames_in += 1;
        if let Some(change) = self.detector.as_mut().and_then(|detector| detector.push(&audio)) {
            self.on_speech(now, change);
        }
        if self.end.is_some() {
            return;
        }
        self.hear(now, &audio);
        let Some(line) = self.line.as_ref().filter(|line| line.has_metronome) else { return };
        let ahead = line.pacing.look_ahead();
        self.release(now, ahead);
        if let Some(line) = &mut self.line
            && line.playout.is_flowing()
        {
            line.pacing.fall_into_step(now);
        }
    }

    fn on_speech(&mut self, now: CallTime, change: vad::Change) {
        self.report(AgentReport::CallerSpeech(change));
        match change {
            vad::Change::Started => {
                self.is_caller_speaking = true;
                self.stir();
                self.interrupt(now, Cause::Speech);
                if self.end.is_none() {
                    self.on_caller_started(now);
                }
            }
            vad::Change::Paused => self.on_caller_paused(now),
            vad::Change::Resumed => self.on_caller_resumed(),
            vad::Change::Stopped => {
                self.is_caller_speaking = false;
                self.on_caller_stopped(now);
            }
        }
    }

    fn on_tts(&mut self, now: CallTime, event: TtsEvent) {
        match event {
            TtsEvent::Up { voice } => self.on_link_up(now, voice),
            TtsEvent::Down { voice, fault } => self.on_link_down(now, voice, &fault),
            TtsEvent::Audio { context, audio } => self.on_audio(now, context, &audio),
            TtsEvent::Words { context, words } => self.on_timed_words(now, context, &words),
            TtsEvent::TimedAudio { context, audio, words } => {
                self.on_timed_words(now, context, &words);
                self.on_audio(now, context, &audio);
            }
            TtsEvent::Spoken { context, texts } => self.on_spoken(now, context, texts),
            TtsEvent::Granted { context } => self.on_granted(context),
            TtsEvent::Done { context } => self.on_done(now, context),
            TtsEvent::Failed { context, fault } => self.on_failed(now, context, fault),
            TtsEvent::Ignored => {}
            TtsEvent::Garbage => self.stats.garbage += 1,
        }
    }

    /// Ends the call: what was heard is frozen, every turn is reported.
    fn finish(&mut self, now: CallTime, reason: EndReason) {
        if self.end.is_some() {
            return;
        }
        let heard = self.cut_epoch(now).heard;
        let mut queued = false;
        while let Some(turn) = self.turns.pop_front() {
            self.report_dropped(&turn, heard, Cause::CallEnded, queued);
            queued = true;
        }
        self.end = Some(reason);
        self.report(AgentReport::Ended(reason));
        self.actions.push_back(Action::End(reason));
    }

    fn dial(&mut self, now: CallTime, voice: usize) {
        let Some(link) = self.links.get_mut(voice) else { return };
        match link.want(now) {
            Need::Dial => {
                link.last_heard = now;
                self.actions.push_back(Action::Tts(TtsCommand::Dial { voice }));
            }
            Need::Nothing => {}
        }
    }

    fn report(&mut self, report: AgentReport) {
        self.actions.push_back(Action::Agent(report));
    }

    fn tell_carrier(&mut self, command: CarrierCommand) {
        self.actions.push_back(Action::Carrier(command));
    }

    fn tell_voice(&mut self, command: TtsCommand) {
        self.actions.push_back(Action::Tts(command));
    }
}
