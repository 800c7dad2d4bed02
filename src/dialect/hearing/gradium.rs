//! Gradium: every word stands when it comes, and where a turn ends is a probability that we have to judge.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::feed::Pieces;
use super::{Access, primary, so_far};
use crate::call::action::HearingCommand;
use crate::call::event::{HearingEvent, TurnSign, Words};
use crate::dialect::{Handshake, Message, Outgoing, SttDialect, SttLink, fault_of_close};
use crate::wire::gradium as wire;

/// Words may trail `flushed` by about a tenth of a second. Two steps are 160 ms of audio, and the second one comes at
/// least 80 ms after it.
const TRAILING_STEPS: u32 = 2;

/// What is the same in every call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Where, and the key.
    pub access: Access,
    /// Model.
    pub model: String,
    /// ISO code of the language, unless the call has another; `None`: the vendor finds out.
    pub language: Option<String>,
    /// Frames of 80 ms that words may be behind their sound; `None`: the vendor's default.
    pub delay_frames: Option<u32>,
    /// Probability of silence, 0 to 1, above which the caller is taken to have finished.
    pub quiet_threshold: f64,
    /// Steps of 80 ms, one after the other, that must say so.
    pub quiet_steps: u32,
    /// Length of one message of audio.
    pub piece: Duration,
}

/// The language of Gradium.
#[derive(Debug)]
pub struct Gradium {
    settings: Settings,
}

impl Gradium {
    /// The language, as `settings` have it.
    pub fn new(settings: Settings) -> Self {
        Gradium { settings }
    }
}

impl SttDialect for Gradium {
    fn dial(&self, language: Option<&str>) -> (Handshake, Box<dyn SttLink>) {
        let access = &self.settings.access;
        let handshake = Handshake { url: access.url.clone(), headers: vec![("x-api-key", access.api_key.clone())] };
        let mut settings = self.settings.clone();
        settings.language = language.map(str::to_owned).or(settings.language);
        (handshake, Box::new(Link::new(settings)))
    }
}

/// One link.
struct Link {
    settings: Settings,
    pieces: Pieces,
    /// Number of the last flush.
    flush: u64,
    /// What became of it.
    flushing: Flushing,
    silence: Silence,
    /// The vendor tells of steps: not every server of this protocol does.
    has_steps: bool,
}

/// What became of a flush.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flushing {
    /// There is none, or it is over.
    No,
    /// It is not answered.
    Asked,
    /// It is answered, but words may come for so many steps.
    Trailing(u32),
}

impl Link {
    fn new(settings: Settings) -> Self {
        let pieces = Pieces::new(settings.piece);
        let (flushing, silence) = (Flushing::No, Silence::default());
        Link { settings, pieces, flush: 0, flushing, silence, has_steps: false }
    }

    fn heard(&mut self, message: wire::Message) -> HearingEvent {
        match message {
            wire::Message::Text { text } => {
                self.silence.has_words = true;
                HearingEvent::Heard(Words { text, is_final: true, ..Words::default() })
            }
            wire::Message::Step { vad } => self.step(&vad),
            wire::Message::Flushed { flush_id } => {
                if self.flushing != Flushing::Asked || !self.is_last(flush_id.as_ref()) {
                    return HearingEvent::Ignored;
                }
                if !self.has_steps {
                    return self.finalised();
                }
                self.flushing = Flushing::Trailing(TRAILING_STEPS);
                HearingEvent::Ignored
            }
            wire::Message::EndOfStream if self.flushing != Flushing::No => self.finalised(),
            // The socket is closed with this code, if that gets through.
            wire::Message::Error { code } => HearingEvent::Down(fault_of_close(code, "")),
            wire::Message::Ready | wire::Message::EndText | wire::Message::EndOfStream | wire::Message::Unknown => {
                HearingEvent::Ignored
            }
        }
    }

    fn step(&mut self, vad: &[wire::Horizon]) -> HearingEvent {
        self.has_steps = true;
        match self.flushing {
            Flushing::Trailing(0 | 1) => return self.finalised(),
            Flushing::Trailing(steps) => self.flushing = Flushing::Trailing(steps - 1),
            Flushing::No | Flushing::Asked => {}
        }
        let longest = vad.iter().max_by(|a, b| a.horizon_s.total_cmp(&b.horizon_s));
        let Some(longest) = longest else { return HearingEvent::Ignored };
        let is_quiet = longest.inactivity_prob > self.settings.quiet_threshold;
        match self.silence.step(is_quiet, self.settings.quiet_steps) {
            Some(sign) => HearingEvent::Heard(so_far("", Some(sign))),
            None => HearingEvent::Ignored,
        }
    }

    /// The utterance is over: what is judged of silence begins anew.
    fn finalised(&mut self) -> HearingEvent {
        self.flushing = Flushing::No;
        self.silence = Silence::default();
        HearingEvent::Finalised
    }

    /// Whether the last flush is meant. Vendors' own tools write the number as text as well.
    fn is_last(&self, id: Option<&Value>) -> bool {
        match id {
            Some(Value::String(text)) => *text == self.flush.to_string(),
            Some(Value::Number(number)) => number.as_u64() == Some(self.flush),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => true,
        }
    }

    fn request(request: &wire::Request<'_>, send: &mut dyn FnMut(Outgoing)) {
        // A value without maps and foreign types always becomes text.
        if let Ok(text) = serde_json::to_string(request) {
            send(Outgoing::Text(text));
        }
    }

    fn audio(piece: &[u8], send: &mut dyn FnMut(Outgoing)) {
        Self::request(&wire::Request::Audio { audio: &STANDARD.encode(piece) }, send);
    }
}

impl SttLink for Link {
    fn decode(&mut self, message: Message<'_>) -> HearingEvent {
        let Message::Text(text) = message else { return HearingEvent::Garbage };
        serde_json::from_str(text).map_or(HearingEvent::Garbage, |message| self.heard(message))
    }

    fn encode(&mut self, command: &HearingCommand, send: &mut dyn FnMut(Outgoing)) {
        let mut request = None;
        match command {
            HearingCommand::HangUp { .. } => return,
            HearingCommand::Audio { audio, .. } => {
                return self.pieces.push(audio, &mut |piece| Self::audio(&piece, send));
            }
            HearingCommand::Dial { .. } => {
                let Settings { model, language, delay_frames, .. } = &self.settings;
                let language = language.as_deref().map(primary);
                let json_config = wire::Tuning { language, delay_in_frames: *delay_frames };
                let setup = wire::Request::Setup { model_name: model, input_format: "ulaw_8000", json_config };
                return Self::request(&setup, send);
            }
            HearingCommand::KeepAlive { .. } => self.pieces.push_silence(),
            HearingCommand::Finalise { .. } => {
                self.flush += 1;
                self.flushing = Flushing::Asked;
                request = Some(wire::Request::Flush { flush_id: self.flush });
            }
            HearingCommand::Close { .. } => request = Some(wire::Request::EndOfStream),
        }
        if let Some(rest) = self.pieces.rest() {
            Self::audio(&rest, send);
        }
        if let Some(request) = request {
            Self::request(&request, send);
        }
    }
}

/// Whether the caller has finished, judged from steps.
#[derive(Default)]
struct Silence {
    /// There were words since the last utterance.
    has_words: bool,
    /// Steps in a row that say so.
    steps: u32,
    /// It was said.
    is_told: bool,
}

impl Silence {
    fn step(&mut self, is_quiet: bool, enough: u32) -> Option<TurnSign> {
        self.steps = if is_quiet { self.steps.saturating_add(1) } else { 0 };
        if !is_quiet {
            return std::mem::take(&mut self.is_told).then_some(TurnSign::Resumed);
        }
        if self.is_told || !self.has_words || self.steps < enough {
            return None;
        }
        self.is_told = true;
        Some(TurnSign::Quiet)
    }
}
