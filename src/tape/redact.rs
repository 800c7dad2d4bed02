//! Redaction: what is private becomes something made up, and the call that is left behaves exactly as the real one did.
//!
//! What an agent wrote is turned into what is spoken before it is covered: a rule that knows a telephone number would not know
//! a made-up one, and times are told of spoken words. So a redacted tape's agent says what the real one's voice was given, and
//! its settings turn the rules off. That is as good as the real text, but for two corners: a call that a vendor broke off in the
//! middle of a number, which is said again from its beginning, and an agent that fell silent for good in the middle of one.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::message::sense_of;
use super::pseudonym::{Pseudonyms, Word};
use super::{Agent, Audio, Header, Text, Voice, What};
use crate::audio::Encoding;
use crate::call::event::{
    AgentEvent, CarrierEvent, Clip, Event, Fault, FaultKind, HearingEvent, Say, TimedWord, TtsEvent, VoiceIndex,
};
use crate::call::settings::{self, Buffering};
use crate::call::{Piece, Scribe};
use crate::dialect::{Body, Input, Port, Refusal, fault_of_close};
use crate::ids::{StreamSid, TurnId};

/// Turns whose text may be in pieces; one that is forgotten begins anew.
const TURNS_MAX: usize = 64;

/// Covers what is private on one tape.
pub struct Redactor {
    pub(super) pseudonyms: Pseudonyms,
    pub(super) text: Text,
    pub(super) audio: Audio,
    /// How silence is written towards us: by the carrier, and by each voice.
    inbound: Encoding,
    voices: Vec<Encoding>,
    /// How written text is turned into spoken text, and for whom.
    rules: settings::Text,
    buffering: Buffering,
    /// The language of turns that do not name one.
    language: Option<String>,
    /// Turns that may go on.
    turns: BTreeMap<TurnId, Script>,
    /// Words that come letter by letter, by the context and the place in its messages.
    pub(super) aligned: BTreeMap<(String, &'static str), Word>,
    /// The stream's real name, and its made-up one.
    pub(super) stream: Option<(String, String)>,
}

/// Where the text of a turn broke off.
struct Script {
    scribe: Scribe,
    word: Word,
}

impl Redactor {
    /// A redactor for the tape that `header` begins. `key` must be as random as a key and is not to be kept: whoever has it
    /// can undo the words.
    pub fn new(header: &Header, key: [u8; 32]) -> Self {
        Redactor {
            pseudonyms: Pseudonyms::new(key),
            text: header.text,
            audio: header.audio,
            inbound: Encoding::Mulaw,
            voices: encodings(&header.settings),
            rules: header.settings.text,
            buffering: header.settings.voices.first().map_or(Buffering::Gateway, |voice| voice.buffering),
            language: None,
            turns: BTreeMap::new(),
            aligned: BTreeMap::new(),
            stream: None,
        }
    }

    /// The header as it goes onto the tape.
    #[must_use]
    pub fn header(&self, mut header: Header) -> Header {
        let is_covered = self.text == Text::Redact;
        if is_covered {
            header.settings.text = settings::Text { closing: self.rules.closing, ..settings::Text::VERBATIM };
            header.settings.fallback_line = self.pseudonyms.text(&header.settings.fallback_line);
            let lifetime = &mut header.settings.conversation.lifetime;
            lifetime.goodbye = self.line(&lifetime.goodbye);
            lifetime.leaving = self.line(&lifetime.leaving);
            for line in &mut lifetime.idle_lines {
                *line = self.line(line);
            }
            for phrase in &mut header.settings.phrases {
                // It stands there as it is spoken.
                phrase.text = self.pseudonyms.text(&phrase.text);
            }
        }
        if let Some(Agent::Relay(settings)) = &mut header.agent {
            // A key may stand in the query here as well.
            **settings = match is_covered {
                true => settings.covered(|text| self.pseudonyms.name(text)),
                false => settings.without_query(),
            };
        }
        for voice in &mut header.voices {
            let Some((stream, settings)) = voice.vendor() else { continue };
            let covered = is_covered.then(|| StreamSid::parse(&self.pseudonyms.name(stream.as_str())).ok()).flatten();
            // A key may stand in the query, and a replay dials nobody.
            *voice = Voice::remote(&covered.unwrap_or_else(|| stream.clone()), settings.without_query());
        }
        header.hearing = header.hearing.map(|hearing| {
            let mut hearing = hearing.without_query();
            if is_covered {
                hearing.keyterms_mut().iter_mut().for_each(|term| *term = self.pseudonyms.text(term));
            }
            hearing
        });
        header
    }

    /// What goes onto the tape in place of `what`, which meant `event`.
    #[must_use]
    pub fn cover(&mut self, what: What, event: &Event) -> What {
        if let Event::Carrier(CarrierEvent::Started(start)) = event {
            self.inbound = start.inbound.encoding;
            self.stream.get_or_insert_with(|| {
                let name = start.stream.as_str();
                (name.to_owned(), self.pseudonyms.name(name))
            });
        }
        if let Event::Agent(AgentEvent::Language { speech: Some(speech), .. }) = event {
            self.language = Some(speech.clone());
        }
        if (self.text, self.audio) == (Text::Keep, Audio::Keep) {
            return what;
        }
        let What::Input(Input { port, body }) = what else { return what };
        let is_heard = matches!(
            event,
            Event::Carrier(CarrierEvent::Media(_)) | Event::Tts(TtsEvent::Audio { .. } | TtsEvent::TimedAudio { .. })
        );
        let is_garbage = matches!(
            event,
            Event::Carrier(CarrierEvent::Garbage)
                | Event::Tts(TtsEvent::Garbage)
                | Event::Hearing { event: HearingEvent::Garbage, .. }
        ) || (port == Port::App && matches!(event, Event::Agent(AgentEvent::Malformed(_))));
        // Nobody knows what nonsense holds, and it has to stay nonsense: with its audio replaced, it might not.
        let body = match (body, event) {
            (body, _) if is_garbage => garbage(body),
            (Body::Text(text), Event::Agent(AgentEvent::Say(say))) if self.text == Text::Redact => {
                // A word may come in several tokens.
                let token = self.say(say.clone()).text;
                Body::Text(self.app_message(&text, Some(token)))
            }
            (Body::Text(text), Event::Agent(_)) if self.text == Text::Redact => {
                Body::Text(self.app_message(&text, None))
            }
            (body, _) => self.body(port, body, is_heard),
        };
        What::Input(Input { port, body })
    }

    fn body(&mut self, port: Port, body: Body, is_heard: bool) -> Body {
        let silence = match port {
            Port::Carrier => self.inbound,
            Port::Voice { voice, .. } => self.encoding(voice),
            Port::Hearing { .. } | Port::App | Port::Agent => Encoding::Mulaw,
        };
        let is_covered = self.text == Text::Redact;
        match body {
            Body::Text(text) => Body::Text(self.message(port, text, is_heard, silence)),
            Body::Agent(event) if is_covered => Body::Agent(self.wish(event)),
            Body::Voice(event) => Body::Voice(self.answer(event, silence)),
            Body::Binary(bytes) if matches!(port, Port::Voice { .. }) => {
                // Of a voice it is speech, whether the call wanted it or not; what is no audio to the call may be anything.
                let is_covered = self.audio == Audio::Silence || (is_covered && !is_heard);
                Body::Binary(if is_covered { vec![silence.silence(); bytes.len()].into() } else { bytes })
            }
            Body::Closed { code, reason } if is_covered => {
                // The core hears of a limit, of idleness or of a message without use, if the reason spoke of one, and of nothing else.
                let reason = match fault_of_close(code, &reason).kind {
                    FaultKind::Retryable if code == Some(1008) => "DATA-",
                    kind @ (FaultKind::Retryable | FaultKind::Fatal | FaultKind::Busy | FaultKind::Idle) => {
                        sense_of(kind)
                    }
                };
                Body::Closed { code, reason: reason.to_owned() }
            }
            Body::Refused(Refusal::Unreachable(_)) if is_covered => {
                Body::Refused(Refusal::Unreachable("redacted".to_owned()))
            }
            Body::Refused(Refusal::Untrusted(_)) if is_covered => {
                Body::Refused(Refusal::Untrusted("redacted".to_owned()))
            }
            Body::Binary(_)
            | Body::Oversize
            | Body::Up
            | Body::Refused(_)
            | Body::Closed { .. }
            | Body::Stuck
            | Body::Agent(_) => body,
        }
    }

    /// What an agent wants, without the words in it.
    fn wish(&mut self, event: AgentEvent) -> AgentEvent {
        match event {
            AgentEvent::Play(mut play) => {
                play.clip = match play.clip {
                    Clip::Recording(url) => Clip::Recording(self.pseudonyms.text(&url)),
                    Clip::Tones(digits) => Clip::Tones("0".repeat(digits.len())),
                };
                AgentEvent::Play(play)
            }
            AgentEvent::End { handoff } => {
                AgentEvent::End { handoff: handoff.map(|handoff| self.pseudonyms.text(&handoff)) }
            }
            AgentEvent::Malformed(reason) => AgentEvent::Malformed("x".repeat(reason.len())),
            AgentEvent::Lost(fault) => AgentEvent::Lost(Fault { reason: "redacted".to_owned(), ..fault }),
            AgentEvent::Say(say) => AgentEvent::Say(self.say(say)),
            AgentEvent::Up { greeting } => AgentEvent::Up { greeting: greeting.map(|say| self.say(say)) },
            AgentEvent::Clear | AgentEvent::Language { .. } | AgentEvent::HangUp | AgentEvent::Ignored => event,
        }
    }

    fn encoding(&self, voice: VoiceIndex) -> Encoding {
        self.voices.get(voice).copied().unwrap_or(Encoding::PcmS16Le)
    }

    fn scribe(&self) -> Scribe {
        let mut scribe = Scribe::new(self.rules, self.buffering);
        scribe.set_language(self.language.as_deref());
        scribe
    }

    /// What is spoken of a line of our own, covered.
    fn line(&self, text: &str) -> String {
        let (mut scribe, mut piece) = (self.scribe(), Piece::default());
        scribe.push(text, &mut piece);
        scribe.settle(&mut piece);
        self.pseudonyms.text(piece.spoken())
    }

    /// What is spoken of `say`, covered.
    fn say(&mut self, mut say: Say) -> Say {
        let begun = self.turns.remove(&say.turn);
        let mut script = begun.unwrap_or_else(|| Script { scribe: self.scribe(), word: Word::default() });
        let mut piece = Piece::default();
        if let Some(delivery) = &say.delivery {
            script.scribe.settle(&mut piece);
            script.scribe.set_language(delivery.language.as_deref());
        }
        script.scribe.push(&say.text, &mut piece);
        if say.last || say.flush {
            script.scribe.settle(&mut piece);
        }
        say.text = self.pseudonyms.piece(&mut script.word, piece.spoken());
        if !say.last {
            self.turns.insert(say.turn, script);
        }
        if self.turns.len() > TURNS_MAX {
            self.turns.pop_first();
        }
        say
    }

    fn answer(&self, event: TtsEvent, silence: Encoding) -> TtsEvent {
        match event {
            TtsEvent::Audio { context, audio } if self.audio == Audio::Silence => {
                TtsEvent::Audio { context, audio: Bytes::from(vec![silence.silence(); audio.len()]) }
            }
            TtsEvent::Words { context, words } => TtsEvent::Words { context, words: self.words(words) },
            TtsEvent::TimedAudio { context, audio, words } => {
                let audio = match self.audio {
                    Audio::Silence => Bytes::from(vec![silence.silence(); audio.len()]),
                    Audio::Keep => audio,
                };
                TtsEvent::TimedAudio { context, audio, words: self.words(words) }
            }
            TtsEvent::Up { .. }
            | TtsEvent::Down { .. }
            | TtsEvent::Audio { .. }
            | TtsEvent::Spoken { .. }
            | TtsEvent::Granted { .. }
            | TtsEvent::Done { .. }
            | TtsEvent::Failed { .. }
            | TtsEvent::Ignored
            | TtsEvent::Garbage => event,
        }
    }

    fn words(&self, mut words: Vec<TimedWord>) -> Vec<TimedWord> {
        if self.text == Text::Redact {
            for word in &mut words {
                word.text = self.pseudonyms.text(&word.text);
            }
        }
        words
    }
}

/// How each voice of a call writes samples: those of the settings, the player behind them, and behind that once more those
/// of the settings, where they speak what they have spoken before.
fn encodings(settings: &settings::Settings) -> Vec<Encoding> {
    let own = || settings.voices.iter().map(|voice| voice.encoding);
    own().chain([Encoding::PcmS16Le]).chain(own()).collect()
}

/// Something of the same length that means as little.
fn garbage(body: Body) -> Body {
    match body {
        Body::Text(text) => Body::Text("x".repeat(text.len())),
        Body::Binary(bytes) => Body::Binary(Bytes::from(vec![0; bytes.len()])),
        Body::Oversize
        | Body::Up
        | Body::Refused(_)
        | Body::Closed { .. }
        | Body::Stuck
        | Body::Agent(_)
        | Body::Voice(_) => body,
    }
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "redact_deepgram_tests.rs"]
mod deepgram_tests;
#[cfg(test)]
#[path = "redact_voice_tests.rs"]
mod voice_tests;
