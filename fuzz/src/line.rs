//! The carrier, and an app.

use std::time::Duration;

use bytes::Bytes;
use trunkline::call::action::{AgentReport, CarrierCommand, Heard};
use trunkline::call::event::{AgentEvent, CarrierEvent};
use trunkline::call::settings::Interruptible;
use trunkline::dialect::relay::{Relay, Settings, Setup};
use trunkline::dialect::twilio::Twilio;
use trunkline::dialect::{AgentDialect as _, CarrierDialect as _};
use trunkline::ids::{CallTime, MarkId, TurnId};

use crate::{Line, assert_json, lines};

/// What a carrier writes on its stream, and what we answer.
pub fn carrier(script: &[u8]) {
    let (mut twilio, mut has_begun) = (Twilio::default(), false);
    for line in lines(script) {
        let Line::Message(message) = line else { continue };
        let event = twilio.decode(message);
        has_begun |= matches!(event, CarrierEvent::Started(_));
        if !has_begun {
            // Nothing is said before there is a stream.
            continue;
        }
        let said = match event {
            CarrierEvent::Media(audio) => CarrierCommand::Media { frame: audio, late: Duration::ZERO },
            CarrierEvent::Mark(mark) => CarrierCommand::Mark(mark),
            CarrierEvent::Started(start) => {
                CarrierCommand::Media { frame: Bytes::from(vec![0; start.inbound.frame_bytes()]), late: Duration::ZERO }
            }
            CarrierEvent::Digit(_) => CarrierCommand::Mark(MarkId(u64::MAX)),
            CarrierEvent::Stopped | CarrierEvent::Lost | CarrierEvent::Ignored | CarrierEvent::Garbage => {
                CarrierCommand::Clear { held: Duration::ZERO }
            }
        };
        let text = twilio.encode(&said);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text:?} is not JSON");
        // Our own mark comes back as the one that it was.
        if let CarrierCommand::Mark(mark) = said {
            assert_eq!(twilio.decode(trunkline::dialect::Message::Text(&text)), CarrierEvent::Mark(mark));
        }
    }
}

/// What an app writes, and what it is told.
pub fn app(script: &[u8]) {
    let mut relay = Relay::new(Settings {
        url: "wss://app.example/relay".to_owned(),
        signature: None,
        setup: Setup::default(),
        started_ms: 0,
        greeting: "Hello.".to_owned(),
        greeting_interruptible: Interruptible::Any,
        interruptible: Interruptible::Any,
        preemptible: false,
        dtmf: true,
        partials: true,
        speaker_events: true,
        tokens_played: true,
        voice: None,
        speech_language: Some("en-US".to_owned()),
        hearing_language: None,
        languages: [("sv-SE".to_owned(), "elin".to_owned())].into(),
    });
    relay.connected();
    let mut at = CallTime::ZERO;
    for line in lines(script) {
        let Line::Message(message) = line else { continue };
        at = at + Duration::from_millis(20);
        let event = relay.decode(message);
        let turn = |turn, text: &str| {
            let heard = Heard { text: text.to_owned(), ..Heard::default() };
            AgentReport::TurnOver { turn, heard }
        };
        let report = match &event {
            AgentEvent::Say(say) => turn(say.turn, &say.text),
            AgentEvent::Play(play) => turn(play.turn, ""),
            AgentEvent::Malformed(reason) => AgentReport::Refused { reason: reason.clone() },
            AgentEvent::End { handoff } => AgentReport::HandedOff { data: handoff.clone().unwrap_or_default() },
            AgentEvent::Language { speech, hearing } => {
                AgentReport::Prompt { text: speech.clone().unwrap_or_default(), last: true, language: hearing.clone() }
            }
            AgentEvent::Clear
            | AgentEvent::HangUp
            | AgentEvent::Up { .. }
            | AgentEvent::Lost(_)
            | AgentEvent::Ignored => AgentReport::TurnStarted { turn: TurnId(1) },
        };
        relay.encode(at, &report, &mut |message| assert_json(&message));
    }
}
