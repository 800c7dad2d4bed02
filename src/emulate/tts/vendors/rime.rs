//! Rime's `/ws3`.
//!
//! Texts carry a `contextId`, which the audio and the word times made of them carry too; operations carry none and are about
//! the whole socket. Word times begin again with every utterance. Only 16-bit samples are made (`audioFormat=pcm`): that
//! the vendor makes mu-law here could not be verified. Where the public documentation is silent, this server chooses:
//!
//! - Whole sentences are spoken as soon as more text follows. Another `contextId` speaks what waits of the one before, and
//!   ends it. What belongs to one id up to there, or up to a `flush`, is a context of the journal.
//! - `done` comes when all text before a `flush`, `eos` or another id was spoken. `clear` forgets all text and is not answered.
//! - `eos` closes the socket when all text was spoken.
//! - An error has no id, and ends its context, not the socket.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::server::Request as Upgrade;
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::super::connection::{Outgoing, failed, outgoing};
use super::super::handshake::{Query, Refused, admit, authorization};
use super::super::order::{Buffering, Input, Lifetime, Order, Part};
use super::super::roster::{Line, Queueing, Roster};
use super::super::speaker::SampleEncoding;
use super::super::wording::{Event, Frame, Piece, Wording};
use super::super::{Place, Settings};
use super::{PATH_RIME, Told, noise, object, seconds};

/// The rates that are made, in Hz.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=48_000;

/// Longest id of a client's.
const ID_BYTES_MAX: usize = 512;

/// What the query of a handshake asks for.
#[derive(Clone, Copy, Debug)]
pub(in crate::emulate) struct Socket {
    rate: u32,
}

impl Socket {
    /// `Authorization: Bearer`; `speaker`, `audioFormat` and `samplingRate` in the query.
    pub(super) fn check(upgrade: &Upgrade, settings: &Settings) -> Result<Self, Refused> {
        if upgrade.uri().path() != PATH_RIME {
            return Err(Refused::new(StatusCode::NOT_FOUND, "no such path"));
        }
        admit(authorization(upgrade.headers(), &["bearer"]), settings.key())?;
        let wrong = |reason| Refused::new(StatusCode::BAD_REQUEST, reason);
        let query = Query::parse(upgrade.uri().query());
        if !query.get("speaker").is_some_and(|speaker| settings.knows(speaker)) {
            return Err(wrong("no such speaker"));
        }
        if query.get("audioFormat") != Some("pcm") {
            return Err(wrong("the emulator makes audioFormat=pcm only"));
        }
        let rate = query.get("samplingRate").and_then(|rate| rate.parse().ok());
        // The resampler's blocks are whole numbers of samples.
        let rate = rate.filter(|rate: &u32| RATES.contains(rate) && rate.is_multiple_of(50));
        Ok(Self { rate: rate.ok_or(wrong("samplingRate must be 8000 to 48000, a multiple of 50"))? })
    }
}

/// One connection's side.
#[derive(Debug)]
pub(in crate::emulate) struct Rime {
    line: Line,
    socket: Socket,
    roster: Roster<()>,
    /// The context that takes text: its key and the client's id.
    current: Option<(String, Option<String>)>,
    begun: u32,
    /// The socket closes when all is said.
    ending: bool,
}

impl Rime {
    pub(super) fn new(socket: Socket, line: Line) -> Self {
        Self { roster: Roster::new(line.clone()), line, socket, current: None, begun: 0, ending: false }
    }

    pub(super) async fn reap(&mut self) -> Vec<Outgoing> {
        self.roster.reap().await;
        self.leave()
    }

    fn leave(&self) -> Vec<Outgoing> {
        if self.ending && self.roster.is_quiet() {
            return outgoing(vec![Frame::Close(1_000, "")]);
        }
        Vec::new()
    }

    pub(super) async fn told(&mut self, told: Told<'_>) -> Vec<Outgoing> {
        let invalid = |message| failed(vec![error(message)]);
        let Told::Text(text) = told else { return invalid("binary frames are not part of the protocol") };
        let Some(fields) = object(text) else { return invalid("the message is not a JSON object") };
        if self.ending {
            return Vec::new();
        }
        match (fields.get("operation").and_then(Value::as_str), fields.get("text").and_then(Value::as_str)) {
            (Some("flush"), _) => self.finish(vec![Part::Flush]).await,
            (Some("clear"), _) => {
                self.current = None;
                self.roster.cancel_all().await;
            }
            (Some("eos"), _) => {
                self.ending = true;
                self.finish(Vec::new()).await;
                return self.leave();
            }
            (Some(_), _) => return invalid("no such operation"),
            (None, Some(text)) => {
                let id = match fields.get("contextId") {
                    None | Some(Value::Null) => None,
                    Some(Value::String(id)) if id.len() <= ID_BYTES_MAX => Some(id.clone()),
                    Some(_) => return invalid("contextId must be text of at most 512 bytes"),
                };
                return self.speak(text, id).await;
            }
            (None, None) => return invalid("neither text nor an operation"),
        }
        Vec::new()
    }

    async fn speak(&mut self, text: &str, id: Option<String>) -> Vec<Outgoing> {
        if self.current.as_ref().is_some_and(|(_, current)| *current != id) {
            self.finish(Vec::new()).await;
        }
        let ended = self.current.as_ref().is_some_and(|(key, _)| self.roster.active(key).is_none());
        let key = match &self.current {
            Some((key, _)) if !ended => key.clone(),
            _ => {
                let Some(place) = Place::take(&self.line.shared) else {
                    let refused = error("too many contexts are active on this account");
                    return failed(vec![refused, Frame::Close(1_008, "policy violation")]);
                };
                let key = self.begun.to_string();
                self.begun += 1;
                let order = Order {
                    encoding: SampleEncoding::S16Le,
                    rate: self.socket.rate,
                    buffering: Buffering::Sentences(None),
                    timestamps: true,
                    speed: None,
                    volume: None,
                };
                let messages = Messages { id: id.clone() };
                let kind = (order, Lifetime::Endless, Queueing::Behind);
                self.roster.begin(&key, id.as_deref().unwrap_or(&key), place, kind, (), messages);
                self.current = Some((key.clone(), id));
                key
            }
        };
        let parts = vec![Part::Text(text.to_owned())];
        self.roster.input(&key, Input { shown: Some(text.to_owned()), parts, more: true }).await;
        Vec::new()
    }

    /// No more text comes for the context that takes it.
    async fn finish(&mut self, parts: Vec<Part>) {
        if let Some((key, _)) = self.current.take() {
            self.roster.input(&key, Input { shown: None, parts, more: false }).await;
        }
    }
}

fn error(message: &str) -> Frame {
    Frame::Text(json!({ "type": "error", "message": message }).to_string())
}

/// The messages of one context.
#[derive(Debug)]
struct Messages {
    id: Option<String>,
}

impl Messages {
    fn chunk(id: Option<&str>, piece: Piece<'_>) -> Frame {
        let data = BASE64_STANDARD.encode(piece.bytes);
        Frame::Text(json!({ "type": "chunk", "data": data, "contextId": id }).to_string())
    }
}

impl Wording for Messages {
    fn say(&mut self, event: Event<'_>) -> Vec<Frame> {
        let id = self.id.as_deref();
        match event {
            Event::Started { .. } | Event::Flushed { .. } | Event::Expired | Event::TooLate => Vec::new(),
            Event::Words { words, text_from_ms, .. } => {
                let at = |ms: u32| seconds(ms.saturating_sub(text_from_ms).into());
                let times = json!({
                    "type": "timestamps", "contextId": id,
                    "word_timestamps": {
                        "words": words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(),
                        "start": words.iter().map(|word| at(word.start_ms)).collect::<Vec<_>>(),
                        "end": words.iter().map(|word| at(word.end_ms)).collect::<Vec<_>>(),
                    },
                });
                vec![Frame::Text(times.to_string())]
            }
            Event::Audio(piece) => vec![Self::chunk(id, piece)],
            Event::Stray(piece) => vec![Self::chunk(Some(&format!("{}-nobody", id.unwrap_or_default())), piece)],
            Event::Done { .. } => vec![Frame::Text(json!({ "type": "done", "contextId": id }).to_string())],
            Event::Failed(failure) => vec![error(failure.message)],
            Event::Garbage(turn) => {
                let chunk = json!({ "type": "chunk", "contextId": id });
                [Some(noise::garbage(turn, &chunk, "data")), noise::binary(turn)].into_iter().flatten().collect()
            }
            Event::Unknown(turn) => vec![noise::unknown(turn)],
        }
    }
}
