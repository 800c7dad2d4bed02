//! Every peer of one call and its language: the one place where inputs become events and actions become messages.
//!
//! A live call and its replay go through the same value, so that they cannot understand one another differently.

use std::time::Duration;

use super::input::{Body, Input, Port, Refusal};
use super::{
    AgentDialect, CarrierDialect, Handshake, Message, Outgoing, SttDialect, SttLink, TtsDialect, fault_of_close,
    fault_of_status,
};
use crate::call::action::{AgentReport, CarrierCommand, HearingCommand, TtsCommand};
use crate::call::event::{
    AgentEvent, CarrierEvent, Event, Fault, FaultKind, HearingEvent, LinkNumber, TtsEvent, VoiceIndex,
};
use crate::ids::CallTime;

/// Links to one vendor at a time: one that takes audio, and one that is still being listened to.
const HEARING_LINKS_MAX: usize = 4;

/// The dialects of one call.
pub struct Peers {
    carrier: Box<dyn CarrierDialect>,
    /// One for each voice of the settings, in their order; a voice of this process has none.
    voices: Vec<Option<Box<dyn TtsDialect>>>,
    hearing: Option<Box<dyn SttDialect>>,
    /// The newest last.
    hearing_links: Vec<(LinkNumber, Box<dyn SttLink>)>,
    agent: Option<Box<dyn AgentDialect>>,
}

impl Peers {
    /// The peers of a call. `voices` are in the order of the call's settings, `None` for one in this process.
    pub fn new(carrier: Box<dyn CarrierDialect>, voices: Vec<Option<Box<dyn TtsDialect>>>) -> Self {
        Peers { carrier, voices, hearing: None, hearing_links: Vec::new(), agent: None }
    }

    /// With somebody who writes down what the caller says.
    #[must_use]
    pub fn with_hearing(mut self, hearing: Option<Box<dyn SttDialect>>) -> Self {
        self.hearing = hearing;
        self
    }

    /// With an agent outside this process.
    #[must_use]
    pub fn with_agent(mut self, agent: Option<Box<dyn AgentDialect>>) -> Self {
        self.agent = agent;
        self
    }

    /// What an input means. Never fails: nonsense is an event of its own.
    pub fn decode(&mut self, input: &Input) -> Event {
        match (input.port, &input.body) {
            (Port::Carrier, body) => Event::Carrier(carrier_event(self.carrier.as_mut(), body)),
            (Port::Voice { voice, .. }, body) => Event::Tts(self.voice_event(voice, body)),
            (Port::Hearing { link }, body) => Event::Hearing { link, event: self.hearing_event(link, body) },
            (Port::App, body) => Event::Agent(self.app_event(body)),
            (Port::Agent, Body::Agent(event)) => Event::Agent(event.clone()),
            // Agents of this process have no other way to say anything.
            (Port::Agent, _) => Event::Wake,
        }
    }

    /// How to tell the carrier, as a text frame.
    pub fn carrier_message(&mut self, command: &CarrierCommand) -> String {
        self.carrier.encode(command)
    }

    /// When the caller's audio that was decoded last was spoken, by the carrier's own count.
    pub fn carrier_stamp(&self) -> Option<Duration> {
        self.carrier.stamp()
    }

    /// How to tell a voice at a moment, unless it is in this process.
    pub fn voice_messages(&mut self, at: CallTime, command: &TtsCommand, send: &mut dyn FnMut(Outgoing)) {
        if let Some(voice) = self.voice(command.voice()) {
            voice.encode(at, command, send);
        }
    }

    /// Whether a voice is spoken to over a socket.
    pub fn is_remote(&self, voice: VoiceIndex) -> bool {
        self.voices.get(voice).is_some_and(Option::is_some)
    }

    /// Begins a link to a voice: where and how to dial; `None` if it is in this process.
    pub fn dial_voice(&mut self, voice: VoiceIndex) -> Option<Handshake> {
        self.voice(voice).map(|dialect| dialect.dial())
    }

    /// Begins a link to whoever writes down what the caller says; where and how to dial.
    pub fn dial_hearing(&mut self, link: LinkNumber, language: Option<&str>) -> Option<Handshake> {
        let (handshake, dialect) = self.hearing.as_ref()?.dial(language);
        if self.hearing_links.len() >= HEARING_LINKS_MAX {
            self.hearing_links.remove(0);
        }
        self.hearing_links.push((link, dialect));
        Some(handshake)
    }

    /// How to tell whoever writes down what the caller says.
    pub fn hearing_messages(&mut self, command: &HearingCommand, send: &mut dyn FnMut(Outgoing)) {
        if let Some(link) = self.hearing_link(command.link()) {
            link.encode(command, send);
        }
    }

    /// Where and how to dial the agent; `None` if it is in this process.
    pub fn agent_handshake(&self) -> Option<Handshake> {
        self.agent.as_ref().map(|agent| agent.handshake())
    }

    /// How to tell the agent what happened at a moment, if it is outside this process.
    pub fn agent_messages(&mut self, at: CallTime, report: &AgentReport, send: &mut dyn FnMut(Outgoing)) {
        if let Some(agent) = &mut self.agent {
            agent.encode(at, report, send);
        }
    }

    fn hearing_link(&mut self, link: LinkNumber) -> Option<&mut Box<dyn SttLink>> {
        self.hearing_links.iter_mut().find(|(number, _)| *number == link).map(|(_, dialect)| dialect)
    }

    fn hearing_event(&mut self, link: LinkNumber, body: &Body) -> HearingEvent {
        match (fault_of(body), body) {
            (Some(fault), _) => HearingEvent::Down(fault),
            (None, Body::Up) => HearingEvent::Up,
            (None, body) => match (self.hearing_link(link), message_of(body)) {
                (Some(dialect), Some(message)) => dialect.decode(message),
                (None, _) | (_, None) => HearingEvent::Garbage,
            },
        }
    }

    fn app_event(&mut self, body: &Body) -> AgentEvent {
        let Some(agent) = &mut self.agent else { return AgentEvent::Ignored };
        match (fault_of(body), body, message_of(body)) {
            (Some(fault), _, _) => AgentEvent::Lost(fault),
            (None, Body::Up, _) => agent.connected(),
            (None, _, Some(message)) => agent.decode(message),
            (None, _, None) => AgentEvent::Ignored,
        }
    }

    fn voice(&mut self, voice: VoiceIndex) -> Option<&mut Box<dyn TtsDialect>> {
        self.voices.get_mut(voice).and_then(Option::as_mut)
    }

    fn voice_event(&mut self, voice: VoiceIndex, body: &Body) -> TtsEvent {
        match (fault_of(body), self.voice(voice), body) {
            (Some(fault), _, _) => TtsEvent::Down { voice, fault },
            (None, _, Body::Voice(event)) => event.clone(),
            (None, _, Body::Up) => TtsEvent::Up { voice },
            (None, Some(dialect), body) => {
                message_of(body).map_or(TtsEvent::Garbage, |message| dialect.decode(message))
            }
            (None, None, _) => TtsEvent::Garbage,
        }
    }
}

/// A message of the peer itself, if that is what came.
fn message_of(body: &Body) -> Option<Message<'_>> {
    match body {
        Body::Text(text) => Some(Message::Text(text)),
        Body::Binary(bytes) => Some(Message::Binary(bytes)),
        Body::Oversize
        | Body::Up
        | Body::Refused(_)
        | Body::Closed { .. }
        | Body::Stuck
        | Body::Agent(_)
        | Body::Voice(_) => None,
    }
}

/// Why a link that we dialled is down, if that is what came.
fn fault_of(body: &Body) -> Option<Fault> {
    match body {
        Body::Refused(refusal) => Some(fault_of_refusal(refusal)),
        Body::Closed { code, reason } => Some(fault_of_close(*code, reason)),
        Body::Stuck => {
            Some(Fault { kind: FaultKind::Retryable, reason: "the socket takes nothing any more".to_owned() })
        }
        Body::Text(_) | Body::Binary(_) | Body::Oversize | Body::Up | Body::Agent(_) | Body::Voice(_) => None,
    }
}

/// What an input from the carrier means.
pub fn carrier_event(dialect: &mut dyn CarrierDialect, body: &Body) -> CarrierEvent {
    match body {
        Body::Text(text) => dialect.decode(Message::Text(text)),
        Body::Binary(bytes) => dialect.decode(Message::Binary(bytes)),
        Body::Oversize | Body::Closed { .. } | Body::Stuck | Body::Refused(_) => CarrierEvent::Lost,
        Body::Up | Body::Agent(_) | Body::Voice(_) => CarrierEvent::Ignored,
    }
}

fn fault_of_refusal(refusal: &Refusal) -> Fault {
    match refusal {
        Refusal::Status(status) => fault_of_status(*status),
        Refusal::Unreachable(reason) => Fault { kind: FaultKind::Retryable, reason: reason.clone() },
        Refusal::Untrusted(reason) => Fault { kind: FaultKind::Fatal, reason: reason.clone() },
        Refusal::Spared(reason) => Fault { kind: FaultKind::Busy, reason: reason.clone() },
    }
}
