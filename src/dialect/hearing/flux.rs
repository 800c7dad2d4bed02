//! Deepgram's Flux, `/v2/listen`: the vendor finds turns, and ends one on request.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::feed::{Phrases, Pieces, say};
use super::{Access, fault, primary};
use crate::call::action::HearingCommand;
use crate::call::event::{FaultKind, HearingEvent, TurnSign, Words};
use crate::dialect::{Handshake, Message, Outgoing, SttDialect, SttLink};
use crate::wire::flux as wire;

/// What the names of models of several languages end in. Others take no hint.
const MULTILINGUAL: &str = "-multi";

/// What is the same in every call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Where, and the key.
    pub access: Access,
    /// Model.
    pub model: String,
    /// Language to expect, unless the call has another; only of a model of several languages.
    pub language: Option<String>,
    /// Words to listen for.
    pub keyterms: Vec<String>,
    /// Confidence that ends a turn, 0.5 to 1.
    pub end_threshold: Option<f64>,
    /// Confidence that makes an end probable, 0.3 to 0.9; `None`: no end is called probable.
    pub eager_end_threshold: Option<f64>,
    /// Silence that ends a turn in any case, 0.5 to 60 s.
    pub end_timeout: Option<Duration>,
    /// Length of one message of audio.
    pub piece: Duration,
}

/// The language of `/v2/listen`.
#[derive(Debug)]
pub struct Flux {
    settings: Settings,
}

impl Flux {
    /// The language, as `settings` have it.
    pub fn new(settings: Settings) -> Self {
        Flux { settings }
    }

    fn query(&self, language: Option<&str>) -> Vec<(&'static str, String)> {
        let settings = &self.settings;
        let mut query = vec![
            ("model", settings.model.clone()),
            ("encoding", "mulaw".to_owned()),
            ("sample_rate", "8000".to_owned()),
        ];
        let mut add = |name, value: Option<String>| query.extend(value.map(|value| (name, value)));
        add("eot_threshold", settings.end_threshold.map(|value| value.to_string()));
        add("eager_eot_threshold", settings.eager_end_threshold.map(|value| value.to_string()));
        add("eot_timeout_ms", settings.end_timeout.map(|value| value.as_millis().to_string()));
        if settings.model.ends_with(MULTILINGUAL) {
            let language = language.or(settings.language.as_deref());
            add("language_hint", language.map(|language| primary(language).to_owned()));
        }
        query.extend(settings.keyterms.iter().map(|term| ("keyterm", term.clone())));
        query
    }
}

impl SttDialect for Flux {
    fn dial(&self, language: Option<&str>) -> (Handshake, Box<dyn SttLink>) {
        let access = &self.settings.access;
        let handshake = Handshake {
            url: access.url_with(&self.query(language)),
            headers: vec![("authorization", access.api_key.after("Token "))],
        };
        let pieces = Pieces::new(self.settings.piece);
        (handshake, Box::new(Link { pieces, is_silent: true, is_asked: false }))
    }
}

/// One link.
struct Link {
    pieces: Pieces,
    /// Nothing is known of a turn.
    is_silent: bool,
    /// The turn was to be ended.
    is_asked: bool,
}

impl Link {
    fn turn(&mut self, info: wire::TurnInfo) -> HearingEvent {
        let turn = match info.event {
            // What is told of every quarter of a second of silence.
            wire::TurnEvent::Update if info.transcript.is_empty() && self.is_silent => return HearingEvent::Ignored,
            wire::TurnEvent::Unknown => return HearingEvent::Ignored,
            wire::TurnEvent::Update => None,
            wire::TurnEvent::StartOfTurn => Some(TurnSign::Started),
            wire::TurnEvent::EagerEndOfTurn => Some(TurnSign::Probable),
            wire::TurnEvent::TurnResumed => Some(TurnSign::Resumed),
            wire::TurnEvent::EndOfTurn => Some(TurnSign::Ended),
        };
        let is_final = info.event == wire::TurnEvent::EndOfTurn;
        self.is_silent = is_final || info.transcript.is_empty();
        HearingEvent::Heard(Words {
            text: info.transcript,
            is_final,
            turn,
            language: info.languages.into_iter().next(),
            finalised: is_final && std::mem::take(&mut self.is_asked),
        })
    }
}

impl SttLink for Link {
    fn decode(&mut self, message: Message<'_>) -> HearingEvent {
        let Message::Text(text) = message else { return HearingEvent::Garbage };
        match serde_json::from_str(text) {
            Ok(wire::Message::TurnInfo(info)) => self.turn(info),
            // Every error ends the session. One that cannot be helped was told by the status of the handshake, so
            // another try is worth it.
            Ok(wire::Message::Error { code }) => HearingEvent::Down(fault(FaultKind::Retryable, code.as_deref())),
            Ok(wire::Message::Connected | wire::Message::Unknown) => HearingEvent::Ignored,
            Err(_) => HearingEvent::Garbage,
        }
    }

    fn encode(&mut self, command: &HearingCommand, send: &mut dyn FnMut(Outgoing)) {
        const PHRASES: Phrases =
            Phrases { finalise: Some(wire::FORCE_END_TURN), keep_alive: None, close: wire::CLOSE_STREAM };
        self.is_asked |= matches!(command, HearingCommand::Finalise { .. });
        say(command, &mut self.pieces, &PHRASES, send);
    }
}
