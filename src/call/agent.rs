//! What an agent wants of a call, and what happens when the agent itself is lost.

use std::sync::Arc;

use super::Call;
use super::action::{AgentReport, Cause, EndReason};
use super::event::{AgentEvent, Delivery, Fault, Say};
use super::settings::{Interruptible, OnAgentLost};
use crate::ids::{CallTime, TurnId};

/// Messages in a row that make no sense, after which the agent's link is ended (Twilio's ConversationRelay does so too).
const MALFORMED_MAX: u32 = 10;

/// The turns in which the gateway itself speaks are numbered from here; no agent counts so far.
pub(super) const ANNOUNCEMENTS: u32 = 1 << 31;

impl Call {
    pub(super) fn on_agent(&mut self, now: CallTime, event: AgentEvent) {
        match &event {
            AgentEvent::Malformed(_) => self.malformed += 1,
            AgentEvent::Say(_)
            | AgentEvent::Play(_)
            | AgentEvent::Clear
            | AgentEvent::Language { .. }
            | AgentEvent::End { .. }
            | AgentEvent::HangUp
            | AgentEvent::Up { .. }
            | AgentEvent::Lost(_)
            | AgentEvent::Ignored => self.malformed = 0,
        }
        match event {
            AgentEvent::Say(say) => self.on_say(now, say),
            AgentEvent::Play(play) => self.on_play(now, play),
            AgentEvent::Clear => self.interrupt(now, Cause::Request),
            AgentEvent::Language { speech, hearing } => {
                if speech.is_some() {
                    self.delivery = Arc::new(Delivery { language: speech, ..Delivery::default() });
                }
                if hearing.is_some() {
                    self.on_hearing_language(now, hearing);
                }
            }
            AgentEvent::End { handoff } => {
                if let Some(data) = handoff {
                    self.report(AgentReport::HandedOff { data });
                }
                self.finish(now, EndReason::AgentDone);
            }
            AgentEvent::HangUp => self.finish(now, EndReason::HungUp),
            AgentEvent::Up { greeting } => {
                self.report(AgentReport::Connected);
                if let Some(greeting) = greeting {
                    self.on_say(now, greeting);
                }
            }
            AgentEvent::Lost(fault) => self.on_agent_lost(now, fault),
            AgentEvent::Malformed(reason) => self.on_malformed(now, reason),
            AgentEvent::Ignored => {}
        }
    }

    fn on_malformed(&mut self, now: CallTime, reason: String) {
        self.stats.garbage += 1;
        self.report(AgentReport::Refused { reason });
        if self.malformed == MALFORMED_MAX {
            self.report(AgentReport::Dismissed);
            let reason = "too many messages in a row made no sense".to_owned();
            self.on_agent_lost(now, Fault { kind: super::event::FaultKind::Fatal, reason });
        }
    }

    /// Nobody answers any more, and the caller is not left waiting for it.
    fn on_agent_lost(&mut self, now: CallTime, fault: Fault) {
        if self.closing.is_some() {
            return;
        }
        self.report(AgentReport::AgentLost { fault });
        match self.settings.conversation.on_agent_lost {
            OnAgentLost::Close => self.finish(now, EndReason::AgentLost),
            OnAgentLost::Apologise => {
                let line = self.settings.fallback_line.clone();
                self.close_with(now, line, EndReason::AgentLost);
            }
        }
    }

    /// Says a last line behind what is being said, and ends the call once it was heard.
    pub(super) fn close_with(&mut self, now: CallTime, line: String, reason: EndReason) {
        for turn in &mut self.turns {
            turn.close();
        }
        self.announce(now, line, Interruptible::None);
        self.closing = Some(reason);
        self.close_turns(now);
    }

    /// Says what every call begins with, if there is something: before anything of the agent's, which waits behind it.
    pub(super) fn open_with_announcement(&mut self, now: CallTime) {
        let line = self.settings.conversation.announcement.clone();
        self.announce(now, line, Interruptible::None);
    }

    /// Whether a turn is what the call begins with.
    pub(super) fn is_opening(&self, turn: TurnId) -> bool {
        turn == TurnId(ANNOUNCEMENTS) && !self.settings.conversation.announcement.is_empty()
    }

    /// Says something of our own.
    pub(super) fn announce(&mut self, now: CallTime, text: String, interruptible: Interruptible) {
        if text.is_empty() {
            return;
        }
        let turn = TurnId(ANNOUNCEMENTS + self.announced);
        self.announced += 1;
        self.report(AgentReport::Announced { turn, text: text.clone() });
        self.on_say(
            now,
            Say {
                turn,
                text,
                last: true,
                flush: false,
                interruptible: Some(interruptible),
                delivery: None,
                preemptible: None,
            },
        );
    }
}
