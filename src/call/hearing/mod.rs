//! Hearing: from the caller's audio, over links to a vendor, to what the caller said and when he had said it.
//!
//! `ears.rs` is the links and the audio on its way to them, `utterance.rs` the words that come back. Here is decided when an
//! utterance is over, and what the agent is told of it.

mod ears;
mod utterance;

use std::time::Duration;

use bytes::Bytes;

use super::Call;
use super::action::{Action, AgentReport, Cause, HearingCommand};
use super::answer::Asked;
use super::event::{Fault, HearingEvent, LinkNumber, TurnSign, Words};
use super::settings::{Hearing as Settings, Limits, TurnEnd};
use crate::audio::MediaFormat;
use crate::ids::CallTime;
use ears::{Due, Ears};
use utterance::Utterance;

/// What a call knows of what its caller says.
#[derive(Debug)]
pub(super) struct Hearing {
    settings: Settings,
    ears: Ears,
    utterance: Utterance,
    /// The utterance ends: until when the last words are waited for.
    ending: Option<CallTime>,
    /// Every word of this pause was asked for, and whether they all came.
    pause: Option<Asking>,
    /// The agent was told that the caller has probably finished.
    is_probable: bool,
    /// What the agent was last told of the utterance.
    partial: String,
    /// When the caller fell silent.
    silent_since: CallTime,
    /// That hearing failed was told.
    is_failure_told: bool,
}

/// Where a request for every word stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    Asked,
    Answered,
}

impl Hearing {
    pub(super) fn new(settings: Settings, format: MediaFormat, limits: Limits, seed: u64) -> Self {
        Hearing {
            ears: Ears::new(&settings, format, limits, seed),
            settings,
            utterance: Utterance::default(),
            ending: None,
            pause: None,
            is_probable: false,
            partial: String::new(),
            silent_since: CallTime::ZERO,
            is_failure_told: false,
        }
    }

    /// Whether something that the caller said has not been told yet.
    pub(super) fn is_busy(&self) -> bool {
        self.ending.is_some() || !self.utterance.is_empty()
    }

    /// When something has to be done although nothing happens.
    pub(super) fn due(&self) -> Option<CallTime> {
        self.ears.due().map(|(at, _)| at).into_iter().chain(self.ending).min()
    }

    fn text(&self) -> String {
        self.utterance.text(self.settings.joins)
    }
}

impl Call {
    /// The stream began: the link is made before there is anything to hear.
    pub(super) fn start_hearing(&mut self, now: CallTime, format: MediaFormat) {
        let Some(settings) = self.settings.conversation.hearing.clone() else { return };
        self.hearing = Some(Hearing::new(settings, format, self.settings.limits, self.settings.seed));
        self.with_ears(|ears, tell| ears.want(now, tell));
    }

    /// The caller's audio. The detector has heard it already.
    pub(super) fn hear(&mut self, now: CallTime, audio: &Bytes) {
        if self.hearing.is_none() {
            return;
        }
        self.with_ears(|ears, tell| ears.push(now, audio, tell));
        let is_quiet = !self.is_caller_speaking && self.hearing.as_ref().is_some_and(|hearing| !hearing.is_busy());
        self.with_ears(|ears, tell| ears.renew(now, is_quiet, tell));
    }

    pub(super) fn on_hearing(&mut self, now: CallTime, link: LinkNumber, event: HearingEvent) {
        if event == HearingEvent::Garbage {
            self.stats.garbage += 1;
        }
        if self.hearing.as_ref().is_none_or(|hearing| !hearing.ears.knows(link)) {
            return;
        }
        match event {
            HearingEvent::Up => self.on_ear_up(now, link),
            HearingEvent::Down(fault) => self.on_ear_down(now, link, &fault),
            HearingEvent::Heard(words) => self.on_words(now, link, words),
            HearingEvent::Finalised => self.on_finalised(now, link),
            HearingEvent::Failed(_) | HearingEvent::Ignored | HearingEvent::Garbage => {}
        }
    }

    pub(super) fn on_hearing_language(&mut self, now: CallTime, language: Option<String>) {
        if let Some(hearing) = &mut self.hearing {
            hearing.ears.set_language(language);
            let is_quiet = !hearing.is_busy();
            self.with_ears(|ears, tell| ears.renew(now, is_quiet, tell));
        }
    }

    fn on_ear_up(&mut self, now: CallTime, link: LinkNumber) {
        let is_current = self.with_ears(|ears, tell| ears.on_up(now, link, tell)) == Some(true);
        let Some(hearing) = self.hearing.as_mut().filter(|_| is_current) else { return };
        hearing.is_failure_told = false;
        if hearing.ending.is_some() {
            // What the link before it was asked for, or could not be asked any more.
            self.ask_for_words();
        }
    }

    fn on_ear_down(&mut self, now: CallTime, link: LinkNumber, fault: &Fault) {
        let was_current = self.with_ears(|ears, tell| ears.on_down(now, link, fault, tell)) == Some(true);
        let Some(hearing) = &mut self.hearing else { return };
        hearing.utterance.settle(link, hearing.settings.joins);
        if was_current {
            hearing.pause = None;
        }
        if let Some(fault) = hearing.ears.fault().cloned()
            && !std::mem::replace(&mut hearing.is_failure_told, true)
        {
            self.report(AgentReport::HearingFailed { fault });
        }
        // The rest of a link that was replaced may have been all that was waited for.
        self.conclude_if_complete(now);
    }

    fn on_words(&mut self, now: CallTime, link: LinkNumber, words: Words) {
        let Some(hearing) = &mut self.hearing else { return };
        let (sign, is_news) = (words.turn, !words.text.trim().is_empty());
        let is_finalised = words.finalised;
        let overlaps = hearing.ears.overlaps(link);
        if is_news || words.is_final {
            hearing.utterance.take(link, words, overlaps, hearing.settings.joins);
        }
        let is_vendors = hearing.settings.turn_end == TurnEnd::Vendor;
        self.report_partial();
        match sign {
            Some(TurnSign::Started) if is_vendors => self.on_vendor_speech(now),
            Some(TurnSign::Probable) if is_vendors => self.report_probable(),
            Some(TurnSign::Resumed) if is_vendors => self.report_resumed(),
            Some(TurnSign::Quiet) if is_vendors => self.begin_end(now),
            Some(TurnSign::Ended) if is_vendors || self.is_ending() => self.conclude(now, true),
            Some(TurnSign::Ended) if !self.is_caller_speaking => self.begin_end(now),
            Some(_) => {}
            // Nobody was heard to speak, so nobody will be heard to stop.
            None if is_news && !is_vendors && !self.is_caller_speaking => self.begin_end(now),
            None => {}
        }
        if is_finalised && self.end.is_none() {
            self.on_finalised(now, link);
        }
    }

    fn on_finalised(&mut self, now: CallTime, link: LinkNumber) {
        let Some(hearing) = self.hearing.as_mut().filter(|hearing| hearing.ears.is_current(link)) else { return };
        if hearing.pause == Some(Asking::Asked) {
            hearing.pause = Some(Asking::Answered);
        }
        if hearing.ending.is_some() {
            self.conclude_if_complete(now);
        } else if hearing.pause.is_some() {
            self.report_probable();
        }
    }

    /// The detector heard the caller start.
    pub(super) fn on_caller_started(&mut self, now: CallTime) {
        let Some(hearing) = &mut self.hearing else { return };
        // He goes on: it was no end.
        (hearing.ending, hearing.pause) = (None, None);
        self.report_resumed();
        self.with_ears(|ears, tell| ears.want(now, tell));
    }

    /// The detector heard the caller stop.
    pub(super) fn on_caller_stopped(&mut self, now: CallTime) {
        let silence = Duration::from_millis(self.settings.detector.silence_ms.into());
        let Some(hearing) = &mut self.hearing else { return };
        hearing.silent_since = now.before(silence);
        if hearing.ears.fault().is_some() && hearing.utterance.is_empty() {
            self.apologise_for_hearing(now);
            return;
        }
        match hearing.settings.turn_end {
            // Nothing but silence has come since every word was asked for.
            TurnEnd::Silence if hearing.pause == Some(Asking::Answered) => self.conclude(now, true),
            TurnEnd::Silence => self.begin_end(now),
            // He has the benefit of the doubt for a while; then our own ears decide.
            TurnEnd::Vendor => {
                let until = now + hearing.settings.last_words;
                hearing.ending = hearing.ending.or(Some(until));
            }
        }
    }

    /// Nobody can hear what the caller says, and he is not left to wonder.
    fn apologise_for_hearing(&mut self, now: CallTime) {
        if self.turns.is_empty() {
            let line = self.settings.fallback_line.clone();
            self.announce(now, line, self.settings.interruptible);
        }
    }

    /// The detector hears a pause that may be the end: the words so far are asked for early.
    pub(super) fn on_caller_paused(&mut self, now: CallTime) {
        let silence = self.settings.detector.pause_ms.unwrap_or_default();
        let Some(hearing) = &mut self.hearing else { return };
        if hearing.settings.turn_end == TurnEnd::Silence && hearing.ending.is_none() {
            hearing.silent_since = now.before(Duration::from_millis(silence.into()));
            self.ask_for_words();
        }
    }

    /// The detector hears the caller go on after a pause.
    pub(super) fn on_caller_resumed(&mut self) {
        let Some(hearing) = &mut self.hearing else { return };
        if hearing.settings.turn_end == TurnEnd::Silence {
            hearing.pause = None;
            self.report_resumed();
        }
    }

    fn ask_for_words(&mut self) {
        let is_asked = self.with_ears(|ears, tell| ears.finalise(tell)) == Some(true);
        if let Some(hearing) = &mut self.hearing {
            hearing.pause = is_asked.then_some(Asking::Asked);
        }
    }

    fn is_ending(&self) -> bool {
        self.hearing.as_ref().is_some_and(|hearing| hearing.ending.is_some())
    }

    /// The caller has finished: the last words are waited for.
    fn begin_end(&mut self, now: CallTime) {
        let Some(hearing) = &mut self.hearing else { return };
        if hearing.ending.is_some() {
            return;
        }
        hearing.ending = Some(now + hearing.settings.last_words);
        if hearing.pause.is_none() {
            self.ask_for_words();
        }
    }

    /// Every word that was waited for has come.
    fn conclude_if_complete(&mut self, now: CallTime) {
        let Some(hearing) = &self.hearing else { return };
        if hearing.ending.is_some() && hearing.pause == Some(Asking::Answered) && !hearing.ears.is_leaving() {
            self.conclude(now, true);
        }
    }

    /// The utterance is over: the agent is told, unless it is not to be told what is said meanwhile. `is_complete` says that
    /// every word came.
    fn conclude(&mut self, now: CallTime, is_complete: bool) {
        let silence = self.caller_silence();
        let is_swallowed = self.is_input_swallowed(Cause::Speech);
        let is_speaking = self.is_caller_speaking;
        let Some(hearing) = &mut self.hearing else { return };
        let (text, language) = (hearing.text(), hearing.utterance.language());
        let ended = if is_speaking { now.before(silence) } else { hearing.silent_since };
        let may_be_heard_again = hearing.ears.forget(is_complete);
        hearing.utterance.clear(may_be_heard_again.then_some(text.as_str()));
        hearing.partial.clear();
        (hearing.ending, hearing.pause, hearing.is_probable) = (None, None, false);
        if text.trim().is_empty() || is_swallowed {
            return;
        }
        self.answer = Some(Asked { ended, written: now });
        self.report(AgentReport::Prompt { text: text.trim().to_owned(), last: true, language });
    }

    fn report_partial(&mut self) {
        let is_swallowed = self.is_input_swallowed(Cause::Speech);
        let Some(hearing) = self.hearing.as_mut().filter(|hearing| hearing.settings.partials && !is_swallowed) else {
            return;
        };
        let text = hearing.text();
        if text.trim().is_empty() || text == hearing.partial {
            return;
        }
        hearing.partial.clone_from(&text);
        let language = hearing.utterance.language();
        self.report(AgentReport::Prompt { text: text.trim().to_owned(), last: false, language });
    }

    fn report_probable(&mut self) {
        if self.is_input_swallowed(Cause::Speech) {
            return;
        }
        let Some(hearing) = self.hearing.as_mut().filter(|hearing| hearing.settings.eager) else { return };
        let text = hearing.text().trim().to_owned();
        if !text.is_empty() && !std::mem::replace(&mut hearing.is_probable, true) {
            self.report(AgentReport::Probable { text });
        }
    }

    fn report_resumed(&mut self) {
        if self.hearing.as_mut().is_some_and(|hearing| std::mem::take(&mut hearing.is_probable)) {
            self.report(AgentReport::Resumed);
        }
    }

    /// A deadline of hearing passed.
    pub(super) fn on_hearing_due(&mut self, now: CallTime) {
        let Some(hearing) = &self.hearing else { return };
        if hearing.ending.is_some_and(|until| until <= now) {
            self.conclude(now, false);
            return;
        }
        match hearing.ears.due().filter(|(at, _)| *at <= now) {
            Some((_, Due::Retry)) => drop(self.with_ears(|ears, tell| ears.retry(now, tell))),
            Some((_, Due::KeepAlive(link))) => drop(self.with_ears(|ears, tell| ears.keep_alive(now, link, tell))),
            Some((_, Due::HangUp(link))) => {
                self.with_ears(|ears, tell| ears.hang_up(link, tell));
                self.conclude_if_complete(now);
            }
            None => {}
        }
    }

    fn caller_silence(&self) -> Duration {
        self.detector.as_ref().map_or(Duration::ZERO, crate::audio::vad::Detector::silence)
    }

    /// Lets the links do something, and carries their commands out. `None` if nobody listens.
    fn with_ears<T>(&mut self, work: impl FnOnce(&mut Ears, &mut dyn FnMut(HearingCommand)) -> T) -> Option<T> {
        let (hearing, actions) = (self.hearing.as_mut()?, &mut self.actions);
        Some(work(&mut hearing.ears, &mut |command| actions.push_back(Action::Hearing(command))))
    }
}
