//! Every peer of one call and its language: the one place where inputs become events and actions become messages.
//!
//! A live call and its replay go through the same value, so that they cannot understand one another differently.

use super::input::{Body, Input, Port, Refusal};
use super::{CarrierDialect, Handshake, Message, TtsDialect, fault_of_close, fault_of_status};
use crate::call::action::{CarrierCommand, TtsCommand};
use crate::call::event::{CarrierEvent, Event, Fault, FaultKind, TtsEvent, VoiceIndex};

/// The dialects of one call.
pub struct Peers {
    carrier: Box<dyn CarrierDialect>,
    /// One for each voice of the settings, in their order; a voice of this process has none.
    voices: Vec<Option<Box<dyn TtsDialect>>>,
}

impl Peers {
    /// The peers of a call. `voices` are in the order of the call's settings, `None` for one in this process.
    pub fn new(carrier: Box<dyn CarrierDialect>, voices: Vec<Option<Box<dyn TtsDialect>>>) -> Self {
        Peers { carrier, voices }
    }

    /// What an input means. Never fails: nonsense is an event of its own.
    pub fn decode(&mut self, input: &Input) -> Event {
        match (input.port, &input.body) {
            (Port::Carrier, body) => Event::Carrier(carrier_event(self.carrier.as_mut(), body)),
            (Port::Voice { voice, .. }, body) => Event::Tts(self.voice_event(voice, body)),
            (Port::Agent, Body::Agent(event)) => Event::Agent(event.clone()),
            // Agents have no other way to say anything.
            (Port::Agent, _) => Event::Wake,
        }
    }

    /// How to tell the carrier, as a text frame.
    pub fn carrier_message(&mut self, command: &CarrierCommand) -> String {
        self.carrier.encode(command)
    }

    /// How to tell a voice, as a text frame; `None` if it is in this process, or there is nothing to say.
    pub fn voice_message(&mut self, command: &TtsCommand) -> Option<String> {
        self.voice(command.voice())?.encode(command)
    }

    /// Whether a voice is spoken to over a socket.
    pub fn is_remote(&self, voice: VoiceIndex) -> bool {
        self.voices.get(voice).is_some_and(Option::is_some)
    }

    /// Where and how to dial a voice; `None` if it is in this process.
    pub fn handshake(&mut self, voice: VoiceIndex) -> Option<Handshake> {
        self.voice(voice).map(|dialect| dialect.handshake())
    }

    fn voice(&mut self, voice: VoiceIndex) -> Option<&mut Box<dyn TtsDialect>> {
        self.voices.get_mut(voice).and_then(Option::as_mut)
    }

    fn voice_event(&mut self, voice: VoiceIndex, body: &Body) -> TtsEvent {
        let dialect = self.voice(voice);
        let fault = match (body, dialect) {
            (Body::Text(text), Some(dialect)) => return dialect.decode(Message::Text(text)),
            (Body::Binary(bytes), Some(dialect)) => return dialect.decode(Message::Binary(bytes)),
            (Body::Voice(event), _) => return event.clone(),
            (Body::Up, _) => return TtsEvent::Up { voice },
            (Body::Refused(refusal), _) => fault_of_refusal(refusal),
            (Body::Closed { code, reason }, _) => fault_of_close(*code, reason),
            (Body::Stuck, _) => {
                Fault { kind: FaultKind::Retryable, reason: "the socket takes nothing any more".to_owned() }
            }
            (Body::Text(_) | Body::Binary(_) | Body::Oversize | Body::Agent(_), _) => return TtsEvent::Garbage,
        };
        TtsEvent::Down { voice, fault }
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
    }
}
