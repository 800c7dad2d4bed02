//! Deepgram's models of the first interface, `/v1/listen`: words in stretches, each reported until it stands.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::feed::{Phrases, Pieces, say};
use super::{Access, fault, so_far};
use crate::call::action::HearingCommand;
use crate::call::event::{FaultKind, HearingEvent, TurnSign, Words};
use crate::dialect::{Handshake, Message, Outgoing, SttDialect, SttLink};
use crate::wire::deepgram as wire;

/// What is the same in every call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Where, and the key.
    pub access: Access,
    /// Model.
    pub model: String,
    /// Language tag, or `multi`, unless the call has another; `None`: the vendor's default.
    pub language: Option<String>,
    /// Words to listen for.
    pub keyterms: Vec<String>,
    /// Silence after which a stretch is closed as the end of speech. The vendor's own 10 ms is too short for people.
    pub endpointing: Duration,
    /// Time without words after which an utterance is over, at least a second.
    pub utterance_end: Duration,
    /// Numbers, dates and the like as they are written, and punctuation.
    pub smart_format: bool,
    /// Length of one message of audio.
    pub piece: Duration,
}

/// The language of `/v1/listen`.
#[derive(Debug)]
pub struct Deepgram {
    settings: Settings,
}

impl Deepgram {
    /// The language, as `settings` have it.
    pub fn new(settings: Settings) -> Self {
        Deepgram { settings }
    }

    fn query(&self, language: Option<&str>) -> Vec<(&'static str, String)> {
        let settings = &self.settings;
        let mut query = vec![
            ("model", settings.model.clone()),
            ("encoding", "mulaw".to_owned()),
            ("sample_rate", "8000".to_owned()),
            ("channels", "1".to_owned()),
            // Whoever wants no partial texts wants `UtteranceEnd`, which does not come without.
            ("interim_results", "true".to_owned()),
            ("endpointing", settings.endpointing.as_millis().to_string()),
            ("utterance_end_ms", settings.utterance_end.as_millis().to_string()),
            ("vad_events", "true".to_owned()),
            ("smart_format", settings.smart_format.to_string()),
        ];
        query.extend(language.or(settings.language.as_deref()).map(|language| ("language", language.to_owned())));
        query.extend(settings.keyterms.iter().map(|term| ("keyterm", term.clone())));
        query
    }
}

impl SttDialect for Deepgram {
    fn dial(&self, language: Option<&str>) -> (Handshake, Box<dyn SttLink>) {
        let access = &self.settings.access;
        let handshake = Handshake {
            url: access.url_with(&self.query(language)),
            headers: vec![("authorization", access.api_key.after("Token "))],
        };
        let pieces = Pieces::new(self.settings.piece);
        (handshake, Box::new(Link { pieces, interim: String::new(), is_over: true }))
    }
}

/// One link.
struct Link {
    pieces: Pieces,
    /// What is known of the stretch that does not stand yet.
    interim: String,
    /// No words since the end of the last utterance.
    is_over: bool,
}

impl Link {
    fn heard(&mut self, message: wire::Message) -> HearingEvent {
        match message {
            wire::Message::Results(results) => self.results(results),
            // It says nothing of the words, and what is known of them still holds.
            wire::Message::SpeechStarted => HearingEvent::Heard(so_far(&self.interim, Some(TurnSign::Started))),
            wire::Message::UtteranceEnd if self.is_over => HearingEvent::Ignored,
            // The last stretch does not stand: its words have to be asked for.
            wire::Message::UtteranceEnd if !self.interim.is_empty() => {
                HearingEvent::Heard(so_far(&self.interim, Some(TurnSign::Quiet)))
            }
            wire::Message::UtteranceEnd => {
                self.is_over = true;
                HearingEvent::Heard(Words { is_final: true, turn: Some(TurnSign::Ended), ..Words::default() })
            }
            wire::Message::Error { variant } => HearingEvent::Failed(fault(FaultKind::Retryable, variant.as_deref())),
            wire::Message::Metadata | wire::Message::Unknown => HearingEvent::Ignored,
        }
    }

    fn results(&mut self, results: wire::Results) -> HearingEvent {
        let best = results.channel.alternatives.into_iter().next();
        let (text, languages) = best.map(|best| (best.transcript, best.languages)).unwrap_or_default();
        // The end of speech closes the stretch, whatever else the message says.
        let is_final = results.is_final || results.speech_final || results.from_finalize;
        let was_known = !self.interim.is_empty();
        self.interim = if is_final { String::new() } else { text.clone() };
        self.is_over &= text.is_empty();
        let turn = (results.speech_final && !self.is_over).then_some(TurnSign::Ended);
        self.is_over |= turn.is_some();
        if text.is_empty() && !was_known && turn.is_none() && !results.from_finalize {
            return HearingEvent::Ignored;
        }
        let language = languages.into_iter().next();
        HearingEvent::Heard(Words { text, is_final, turn, language, finalised: results.from_finalize })
    }
}

impl SttLink for Link {
    fn decode(&mut self, message: Message<'_>) -> HearingEvent {
        let Message::Text(text) = message else { return HearingEvent::Garbage };
        serde_json::from_str(text).map_or(HearingEvent::Garbage, |message| self.heard(message))
    }

    fn encode(&mut self, command: &HearingCommand, send: &mut dyn FnMut(Outgoing)) {
        const PHRASES: Phrases =
            Phrases { finalise: Some(wire::FINALIZE), keep_alive: Some(wire::KEEP_ALIVE), close: wire::CLOSE_STREAM };
        say(command, &mut self.pieces, &PHRASES, send);
    }
}
