//! Cartesia's Ink. Its first socket finds turns, and cannot be hurried; the other is told when to finalise.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::feed::{Phrases, Pieces, say};
use super::{Access, fault, primary, so_far};
use crate::call::action::HearingCommand;
use crate::call::event::{Fault, FaultKind, HearingEvent, TurnSign, Words};
use crate::dialect::{Handshake, Message, Outgoing, SttDialect, SttLink, fault_of_status};
use crate::secret::Secret;
use crate::wire::ink as wire;

/// What is the same in every call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Where, and the key.
    pub access: Access,
    /// Which of the two protocols is spoken there.
    pub endpoint: Endpoint,
    /// API version, a date.
    pub version: String,
    /// Model.
    pub model: String,
    /// ISO code of the language, unless the call has another; only of [`Endpoint::Manual`].
    pub language: Option<String>,
    /// Words to listen for.
    pub keyterms: Vec<String>,
    /// Probability of speech that begins a turn, 0.5 to 0.9; only of [`Endpoint::Turns`], like those below.
    pub start_threshold: Option<f64>,
    /// Probability below which a turn is probably over, 0.3 to 0.6.
    pub eager_end_threshold: Option<f64>,
    /// Probability below which a turn is over, 0.05 to 0.5.
    pub end_threshold: Option<f64>,
    /// Silence that ends a turn in any case, 640 ms to 11.2 s.
    pub end_timeout: Option<Duration>,
    /// Length of one message of audio.
    pub piece: Duration,
}

/// A protocol of Ink's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// The vendor finds turns. English only.
    Turns,
    /// We say when an utterance is over.
    Manual,
}

/// The language of Ink.
#[derive(Debug)]
pub struct Ink {
    settings: Settings,
}

impl Ink {
    /// The language, as `settings` have it.
    pub fn new(settings: Settings) -> Self {
        Ink { settings }
    }

    fn query(&self, language: Option<&str>) -> Vec<(&'static str, String)> {
        let settings = &self.settings;
        let mut query = vec![
            ("model", settings.model.clone()),
            ("encoding", "pcm_mulaw".to_owned()),
            ("sample_rate", "8000".to_owned()),
        ];
        let mut add = |name, value: Option<String>| query.extend(value.map(|value| (name, value)));
        match settings.endpoint {
            Endpoint::Turns => {
                add("turn_start_threshold", settings.start_threshold.map(|value| value.to_string()));
                add("turn_eager_end_threshold", settings.eager_end_threshold.map(|value| value.to_string()));
                add("turn_end_threshold", settings.end_threshold.map(|value| value.to_string()));
                add("turn_end_timeout_ms", settings.end_timeout.map(|value| value.as_millis().to_string()));
            }
            Endpoint::Manual => {
                let language = language.or(settings.language.as_deref());
                add("language", language.map(|language| primary(language).to_owned()));
            }
        }
        query.extend(settings.keyterms.iter().map(|term| ("keyterm", term.clone())));
        query
    }
}

impl SttDialect for Ink {
    fn dial(&self, language: Option<&str>) -> (Handshake, Box<dyn SttLink>) {
        let settings = &self.settings;
        let handshake = Handshake {
            url: settings.access.url_with(&self.query(language)),
            headers: vec![
                ("authorization", settings.access.api_key.after("Bearer ")),
                ("cartesia-version", Secret::new(settings.version.as_str())),
            ],
        };
        let phrases = match settings.endpoint {
            Endpoint::Turns => Phrases { finalise: None, keep_alive: None, close: wire::CLOSE_TURNS },
            Endpoint::Manual => Phrases { finalise: Some(wire::FINALIZE), keep_alive: None, close: wire::CLOSE_MANUAL },
        };
        (handshake, Box::new(Link { pieces: Pieces::new(settings.piece), phrases, turn: String::new() }))
    }
}

/// One link.
struct Link {
    pieces: Pieces,
    phrases: Phrases,
    /// What is known of the turn.
    turn: String,
}

impl Link {
    fn heard(&mut self, message: wire::Message) -> HearingEvent {
        let words = match message {
            wire::Message::TurnStart => {
                self.turn.clear();
                so_far("", Some(TurnSign::Started))
            }
            wire::Message::TurnUpdate { transcript } => self.known(transcript, None),
            wire::Message::TurnEagerEnd { transcript } => self.known(transcript, Some(TurnSign::Probable)),
            // It says nothing of the words, and they still hold.
            wire::Message::TurnResume => so_far(&self.turn, Some(TurnSign::Resumed)),
            wire::Message::TurnEnd { transcript } => {
                self.turn.clear();
                Words { text: transcript, is_final: true, turn: Some(TurnSign::Ended), ..Words::default() }
            }
            wire::Message::Transcript(wire::Transcript { text, is_final, language }) => {
                Words { text, is_final, language, ..Words::default() }
            }
            wire::Message::FlushDone => return HearingEvent::Finalised,
            wire::Message::Error(failure) => return failed(&failure),
            wire::Message::Connected | wire::Message::Done | wire::Message::Unknown => return HearingEvent::Ignored,
        };
        HearingEvent::Heard(words)
    }

    fn known(&mut self, transcript: String, turn: Option<TurnSign>) -> Words {
        self.turn = transcript;
        so_far(&self.turn, turn)
    }
}

impl SttLink for Link {
    fn decode(&mut self, message: Message<'_>) -> HearingEvent {
        let Message::Text(text) = message else { return HearingEvent::Garbage };
        serde_json::from_str(text).map_or(HearingEvent::Garbage, |message| self.heard(message))
    }

    fn encode(&mut self, command: &HearingCommand, send: &mut dyn FnMut(Outgoing)) {
        say(command, &mut self.pieces, &self.phrases, send);
    }
}

/// There is nothing else on the link that an error could be about, and nobody is left deaf by a session that stopped
/// without a close frame.
fn failed(failure: &wire::Failure) -> HearingEvent {
    let by_status = failure.status_code.map(fault_of_status);
    let Fault { kind, reason } = by_status.unwrap_or_else(|| fault(FaultKind::Retryable, None));
    let code = failure.error_code.as_deref();
    HearingEvent::Down(code.map_or(Fault { kind, reason }, |code| fault(kind, Some(code))))
}
