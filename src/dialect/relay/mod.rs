//! Twilio's ConversationRelay, from the carrier's side: we dial the user's app, tell it what the caller said, and speak what
//! it answers. Source: Twilio's pages on the noun and its messages; where they are silent, `docs/conversation-relay.md` says
//! what we do.

mod settings;
mod talk;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::to_string;

pub use settings::{LANGUAGE, Settings};
use talk::Talk;

use super::{AgentDialect, Handshake, Message, Outgoing};
use crate::audio::vad;
use crate::call::action::{AgentReport, Cause, Heard};
use crate::call::event::AgentEvent;
use crate::ids::{CallTime, TurnId};
pub use crate::wire::relay::Setup;
use crate::wire::relay::{FromApp, ToApp};

/// Messages that may wait for `setup`, which has to be the first.
const WAITING_MAX: usize = 64;
/// So much of a message that makes no sense is quoted to whoever sent it.
const QUOTED_BYTES_MAX: usize = 1_000;
/// Close code for messages that make no sense, and its reason: Twilio's own words.
const CLOSE_MALFORMED: (u16, &str) = (1007, "Too many consecutive malformed messages.");
/// Close code for the end of a session.
const CLOSE_NORMAL: (u16, &str) = (1000, "");

/// One session with an app.
pub struct Relay {
    settings: Settings,
    talk: Talk,
    /// What was to be told before the link was there; `None` from then on.
    waiting: Option<Vec<String>>,
    is_closed: bool,
    /// Turns that can be heard.
    sounding: BTreeSet<TurnId>,
    /// Bytes of each turn's text that the app knows to have been heard.
    told: BTreeMap<TurnId, usize>,
}

type Send<'a> = &'a mut dyn FnMut(Outgoing);

impl Relay {
    /// A session that has not begun.
    pub fn new(settings: Settings) -> Self {
        Relay {
            talk: Talk::new(&settings),
            settings,
            waiting: Some(Vec::new()),
            is_closed: false,
            sounding: BTreeSet::new(),
            told: BTreeMap::new(),
        }
    }

    fn on_connected(&mut self, send: Send<'_>) {
        let Some(waiting) = self.waiting.take() else { return };
        self.tell(&ToApp::Setup(&self.settings.setup.clone()), send);
        for message in waiting {
            send(Outgoing::Text(message));
        }
    }

    fn on_prompt(&mut self, text: &str, last: bool, language: Option<&str>, send: Send<'_>) {
        if last {
            self.talk.on_input();
        }
        if last || self.settings.partials {
            let lang = language.or(self.talk.hearing.as_deref()).unwrap_or(LANGUAGE).to_owned();
            self.tell(&ToApp::Prompt { voice_prompt: text, lang: &lang, last }, send);
        }
    }

    fn on_digit(&mut self, digit: char, send: Send<'_>) {
        if self.settings.dtmf {
            self.talk.on_input();
            self.tell(&ToApp::Dtmf { digit }, send);
        }
    }

    fn on_interrupted(&mut self, at: CallTime, turn: TurnId, heard: &Heard, by_caller: bool, send: Send<'_>) {
        self.talk.on_cut(turn);
        self.on_heard(turn, heard, send);
        if by_caller {
            let message = ToApp::Interrupt {
                utterance_until_interrupt: &heard.text,
                duration_until_interrupt_ms: u64::try_from(heard.played.as_millis()).unwrap_or(u64::MAX),
            };
            self.tell(&message, send);
        }
        self.on_silent(at, turn, send);
    }

    fn on_sounding(&mut self, at: CallTime, turn: TurnId, send: Send<'_>) {
        let is_first = self.sounding.is_empty();
        if self.sounding.insert(turn) && is_first {
            self.tell_speaking(at, "agentSpeaking", true, send);
        }
    }

    fn on_silent(&mut self, at: CallTime, turn: TurnId, send: Send<'_>) {
        self.told.remove(&turn);
        if self.sounding.remove(&turn) && self.sounding.is_empty() {
            self.tell_speaking(at, "agentSpeaking", false, send);
        }
    }

    /// Tells what is new of a turn's text, if that is wanted and the text is the app's.
    fn on_heard(&mut self, turn: TurnId, heard: &Heard, send: Send<'_>) {
        if !self.settings.tokens_played || !self.talk.owns(turn) {
            return;
        }
        let told = self.told.entry(turn).or_default();
        let new = heard.text.get(*told..).filter(|new| !new.is_empty());
        if let Some(new) = new {
            *told = heard.text.len();
            self.tell(&ToApp::Info { name: "tokensPlayed", value: new, ts: None }, send);
        }
    }

    fn tell_speaking(&mut self, at: CallTime, name: &'static str, is_speaking: bool, send: Send<'_>) {
        if self.settings.speaker_events {
            let value = if is_speaking { "on" } else { "off" };
            let ts = Some(self.settings.started_ms + at.as_micros() / 1_000);
            self.tell(&ToApp::Info { name, value, ts }, send);
        }
    }

    fn tell(&mut self, message: &ToApp<'_>, send: Send<'_>) {
        // Every type of a message can be written as JSON.
        let Ok(text) = to_string(message) else { return };
        match &mut self.waiting {
            None if self.is_closed => {}
            None => send(Outgoing::Text(text)),
            Some(waiting) if waiting.len() < WAITING_MAX => waiting.push(text),
            Some(_) => {}
        }
    }

    fn close(&mut self, (code, reason): (u16, &'static str), send: Send<'_>) {
        if !std::mem::replace(&mut self.is_closed, true) {
            send(Outgoing::Close { code, reason });
        }
    }
}

impl AgentDialect for Relay {
    fn handshake(&self) -> Handshake {
        let signature = self.settings.signature.iter().map(|value| ("x-twilio-signature", value.clone()));
        Handshake { url: self.settings.url.clone(), headers: signature.collect() }
    }

    fn decode(&mut self, message: Message<'_>) -> AgentEvent {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return AgentEvent::Malformed("Invalid message received: a binary frame".to_owned()),
        };
        let read = serde_json::from_str::<FromApp>(text).ok();
        let taken = read.and_then(|message| self.talk.take(&self.settings, message));
        taken.unwrap_or_else(|| AgentEvent::Malformed(format!("Invalid message received: {}", quoted(text))))
    }

    fn connected(&mut self) -> AgentEvent {
        AgentEvent::Up { greeting: self.talk.greeting(&self.settings) }
    }

    fn encode(&mut self, at: CallTime, report: &AgentReport, send: &mut dyn FnMut(Outgoing)) {
        match report {
            AgentReport::Connected => self.on_connected(send),
            AgentReport::Prompt { text, last, language } => self.on_prompt(text, *last, language.as_deref(), send),
            AgentReport::Digit(digit) => self.on_digit(*digit, send),
            AgentReport::CallerSpeech(change) => match change {
                vad::Change::Started => self.tell_speaking(at, "clientSpeaking", true, send),
                vad::Change::Stopped => self.tell_speaking(at, "clientSpeaking", false, send),
                // A breath; the caller has not finished.
                vad::Change::Paused | vad::Change::Resumed => {}
            },
            AgentReport::FirstAudio { turn, .. } => self.on_sounding(at, *turn, send),
            AgentReport::Heard { turn, heard } => self.on_heard(*turn, heard, send),
            AgentReport::TurnOver { turn, heard } => {
                self.on_heard(*turn, heard, send);
                self.talk.on_over(*turn);
                self.on_silent(at, *turn, send);
            }
            AgentReport::Interrupted { turn, heard, cause, queued } => {
                let by_caller = !queued && matches!(cause, Cause::Speech | Cause::Dtmf);
                self.on_interrupted(at, *turn, heard, by_caller, send);
            }
            AgentReport::SpeechFailed { turn, fault } if self.talk.is_play(*turn) => {
                let description = format!("Invalid source in play: {}", fault.reason);
                self.tell(&ToApp::Error { description: &description }, send);
            }
            AgentReport::Refused { reason } => self.tell(&ToApp::Error { description: reason }, send),
            AgentReport::Dismissed => self.close(CLOSE_MALFORMED, send),
            AgentReport::Ended(_) => self.close(CLOSE_NORMAL, send),
            // Nobody is there any more.
            AgentReport::AgentLost { .. } => self.is_closed = true,
            AgentReport::Started
            | AgentReport::TurnStarted { .. }
            | AgentReport::FailedOver { .. }
            | AgentReport::SpeechFailed { .. }
            | AgentReport::Probable { .. }
            | AgentReport::Resumed
            | AgentReport::HearingFailed { .. }
            | AgentReport::Announced { .. }
            | AgentReport::HandedOff { .. }
            | AgentReport::Answered { .. }
            | AgentReport::Flow { .. }
            | AgentReport::Draining => {}
        }
    }
}

/// A message, cut if it is long.
fn quoted(text: &str) -> String {
    let whole = (0..=text.len().min(QUOTED_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let head = text.get(..whole).unwrap_or_default();
    if head.len() < text.len() { format!("{head}...") } else { head.to_owned() }
}

#[cfg(test)]
mod tests;
