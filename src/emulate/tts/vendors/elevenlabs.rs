//! ElevenLabs' WebSockets: `/v1/text-to-speech/{voice}/multi-stream-input`, and `stream-input` with its single context.
//!
//! Any message with an id that is not known opens a context, a flush and an empty text too. At most five are open on a socket,
//! and one is open until its `isFinal`, whatever was asked of it before: one more closes the socket with code 1008. Settings
//! may come with the first message of a context only; later ones close the socket with code 1008. Where the public
//! documentation is silent, this server chooses:
//!
//! - Without `auto_mode` text waits until 120 characters are there (the first of `chunk_length_schedule`, if given) or a flush
//!   comes; with it, text is spoken as it comes. What waits when a context is closed is not spoken, what was begun is.
//! - Text for a context that is being closed is ignored. A context whose time-out passes ends with `isFinal`.
//! - With `sync_alignment` the characters of a message cover its audio exactly (a pause is a space, and the middle of a
//!   character an empty text): the running offset of
//!   a client is right whether it adds the lengths of the audio or those of the alignments. Without it `alignment` is null.
//! - A failure is an error without an id, and the end of the socket.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio_tungstenite::tungstenite::handshake::server::Request as Upgrade;
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::super::Place;
use super::super::connection::{Outgoing, failed};
use super::super::handshake::{Query, Refused, admit, authorization, last_header};
use super::super::order::{Buffering, Input, Lifetime, Order, Part};
use super::super::roster::{Line, Queueing, Roster};
use super::super::speaker::SampleEncoding;
use super::super::wording::{Event, Failure, Frame, Piece, Wording};
use super::alignment::Alignment;
use super::{Told, noise, object};

/// Open contexts of one socket.
const CONTEXTS_MAX: usize = 5;

/// What closes a socket on which a rule was broken.
const POLICY: u16 = 1_008;

/// Seconds after which a silent context ends, and the most that may be asked for.
const INACTIVITY: u64 = 20;
const INACTIVITY_MAX: u64 = 180;

/// Characters that wait for more text if nobody asks for them.
const SCHEDULE: usize = 120;

/// Longest id of a client's.
const ID_BYTES_MAX: usize = 512;

/// Fields that only the first message of a context may have.
const FIRST_ONLY: [&str; 5] =
    ["voice_settings", "generation_config", "pronunciation_dictionary_locators", "xi_api_key", "authorization"];

/// What the path and the query of a handshake ask for.
#[derive(Debug)]
pub(in crate::emulate) struct Socket {
    voice: String,
    encoding: SampleEncoding,
    rate: u32,
    inactivity: Duration,
    auto_mode: bool,
    alignment: bool,
    /// One context, without ids.
    single: bool,
}

impl Socket {
    /// `xi-api-key`, `Authorization: Bearer`, or `authorization` / `single_use_token` in the query.
    pub(super) fn check(upgrade: &Upgrade, api_key: Option<&str>) -> Result<Self, Refused> {
        let (headers, query) = (upgrade.headers(), Query::parse(upgrade.uri().query()));
        let path = upgrade.uri().path().strip_prefix("/v1/text-to-speech/").and_then(|path| path.split_once('/'));
        let (voice, single) = match path {
            Some((voice, "multi-stream-input")) if !voice.is_empty() => (voice.to_owned(), false),
            Some((voice, "stream-input")) if !voice.is_empty() => (voice.to_owned(), true),
            Some(_) | None => return Err(Refused::new(StatusCode::NOT_FOUND, "no such path")),
        };
        let in_query = || query.get("single_use_token").or_else(|| query.get("authorization"));
        let key = last_header(headers, "xi-api-key").or_else(|| authorization(headers, &["bearer"])).or_else(in_query);
        admit(key, api_key)?;
        let wrong = |reason| Refused::new(StatusCode::BAD_REQUEST, reason);
        let (encoding, rate) = match query.get("output_format").unwrap_or("mp3_44100_128") {
            "ulaw_8000" => (SampleEncoding::Mulaw, 8_000),
            "alaw_8000" => (SampleEncoding::Alaw, 8_000),
            "pcm_8000" => (SampleEncoding::S16Le, 8_000),
            "pcm_16000" => (SampleEncoding::S16Le, 16_000),
            "pcm_22050" => (SampleEncoding::S16Le, 22_050),
            "pcm_24000" => (SampleEncoding::S16Le, 24_000),
            "pcm_32000" => (SampleEncoding::S16Le, 32_000),
            "pcm_44100" => (SampleEncoding::S16Le, 44_100),
            "pcm_48000" => (SampleEncoding::S16Le, 48_000),
            _ => {
                return Err(wrong(
                    "the emulator makes pcm, ulaw_8000 and alaw_8000 only, not mp3 (the default) or opus",
                ));
            }
        };
        let inactivity = query.get("inactivity_timeout").map_or(Some(INACTIVITY), |text| text.parse().ok());
        let inactivity = inactivity.filter(|seconds| (1..=INACTIVITY_MAX).contains(seconds));
        let inactivity = Duration::from_secs(inactivity.ok_or(wrong("inactivity_timeout must be 1 to 180"))?);
        let flag = |name| match query.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(wrong("a parameter must be true or false")),
        };
        let (auto_mode, alignment) = (flag("auto_mode")?, flag("sync_alignment")?);
        Ok(Self { voice, encoding, rate, inactivity, auto_mode, alignment, single })
    }

    fn order(&self, fields: &Map<String, Value>) -> Order {
        let field = |object, name| fields.get(object).and_then(|settings| settings.get(name));
        let schedule =
            field("generation_config", "chunk_length_schedule").and_then(|schedule| schedule.get(0)?.as_u64());
        let chars = schedule.and_then(|chars| usize::try_from(chars).ok()).unwrap_or(SCHEDULE);
        #[expect(clippy::cast_possible_truncation, reason = "a small setting: the digits beyond f32 mean nothing")]
        let speed = field("voice_settings", "speed").and_then(Value::as_f64).map(|speed| speed.clamp(0.7, 1.2) as f32);
        Order {
            encoding: self.encoding,
            rate: self.rate,
            buffering: if self.auto_mode { Buffering::AtOnce } else { Buffering::Filled(chars) },
            timestamps: self.alignment,
            speed,
            volume: None,
        }
    }
}

/// One connection's side.
#[derive(Debug)]
pub(in crate::emulate) struct ElevenLabs {
    line: Line,
    socket: Socket,
    roster: Roster<()>,
    /// The socket closes when no context is open.
    ending: bool,
}

impl ElevenLabs {
    pub(super) fn new(socket: Socket, line: Line) -> Self {
        Self { roster: Roster::new(line.clone()), line, socket, ending: false }
    }

    pub(super) fn greet(&mut self) -> Vec<Outgoing> {
        if self.line.shared.settings.knows(&self.socket.voice) {
            return Vec::new();
        }
        refuse("voice_id_does_not_exist", "A voice with this id does not exist.")
    }

    pub(super) async fn reap(&mut self) -> Vec<Outgoing> {
        self.roster.reap().await;
        self.leave()
    }

    /// Closes the socket if the client wanted that and nobody speaks any more.
    fn leave(&self) -> Vec<Outgoing> {
        if self.ending && self.roster.is_quiet() {
            return vec![Outgoing::Frame(Frame::Close(1_000, ""))];
        }
        Vec::new()
    }

    pub(super) async fn told(&mut self, told: Told<'_>) -> Vec<Outgoing> {
        let invalid = |reason| refuse("invalid_message", reason);
        let Told::Text(text) = told else { return invalid("Binary frames are not part of the protocol.") };
        let Some(fields) = object(text) else { return invalid("The message is not a JSON object.") };
        let is_set = |name: &str| fields.get(name).and_then(Value::as_bool) == Some(true);
        if self.ending {
            return Vec::new();
        }
        if is_set("close_socket") && !self.socket.single {
            return self.close_socket().await;
        }
        let id = match fields.get("context_id") {
            _ if self.socket.single => None,
            None | Some(Value::Null) => None,
            Some(Value::String(id)) if id.len() <= ID_BYTES_MAX => Some(id.clone()),
            Some(_) => return invalid("context_id must be text of at most 512 bytes."),
        };
        let key = id.clone().unwrap_or_default();
        if is_set("close_context") && !self.socket.single {
            self.close_context(&key).await;
            return Vec::new();
        }
        let text = match fields.get("text") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.as_str()),
            Some(_) => return invalid("text must be text."),
        };
        let flush = is_set("flush");
        if text.is_none() && !flush {
            return invalid("The message has neither text nor a command.");
        }
        if text == Some("") && id.is_none() && !flush && !self.socket.single {
            // A sign of life for the socket.
            return Vec::new();
        }
        self.speak(&fields, &key, id, text, flush).await
    }

    async fn speak(
        &mut self,
        fields: &Map<String, Value>,
        key: &str,
        id: Option<String>,
        text: Option<&str>,
        flush: bool,
    ) -> Vec<Outgoing> {
        let is_first = match self.roster.active(key) {
            Some(context) if context.finished => return Vec::new(),
            Some(_) => {
                if FIRST_ONLY.iter().any(|name| fields.get(*name).is_some_and(|value| !value.is_null())) {
                    return refuse("invalid_settings", "Settings may only be sent in the first message of a context.");
                }
                false
            }
            None => {
                let refused = self.open(fields, key, id);
                if !refused.is_empty() {
                    return refused;
                }
                true
            }
        };
        // A single space begins a context and is not spoken.
        let begins = is_first && text == Some(" ");
        let spoken = text.filter(|text| !text.is_empty() && !begins);
        let mut parts: Vec<Part> = spoken.map(|text| Part::Text(text.to_owned())).into_iter().collect();
        if flush {
            parts.push(Part::Flush);
        }
        let more = !(self.socket.single && text == Some(""));
        let shown = text.filter(|text| !text.is_empty()).map(str::to_owned);
        // If it has just ended, its end is on its way to the client.
        self.roster.input(key, Input { shown, parts, more }).await;
        Vec::new()
    }

    /// Opens a context; what is said if that is refused.
    fn open(&mut self, fields: &Map<String, Value>, key: &str, id: Option<String>) -> Vec<Outgoing> {
        if self.roster.active_count() >= CONTEXTS_MAX {
            return refuse("max_simultaneous_contexts", "Too many contexts are open on this socket; the limit is 5.");
        }
        let Some(place) = Place::take(&self.line.shared) else {
            return refuse("max_active_conversations", "Too many requests are active on this account.");
        };
        let kind = (self.socket.order(fields), Lifetime::AfterInput(self.socket.inactivity), Queueing::Beside);
        let single = self.socket.single;
        let messages = Messages { id, single, alignment: Alignment::default(), times: self.socket.alignment };
        self.roster.begin(key, key, place, kind, (), messages);
        Vec::new()
    }

    /// What is being spoken is spoken to its end; what waits for more text is forgotten.
    async fn close_context(&mut self, key: &str) {
        if self.roster.active(key).is_some_and(|context| !context.finished) {
            self.roster.input(key, Input { shown: None, parts: vec![Part::Discard], more: false }).await;
        }
    }

    async fn close_socket(&mut self) -> Vec<Outgoing> {
        self.ending = true;
        for key in self.roster.keys() {
            self.close_context(&key).await;
        }
        self.leave()
    }
}

/// An error, and the end of the socket with it.
fn refuse(error: &str, message: &str) -> Vec<Outgoing> {
    failed(vec![fault(error, message, POLICY), Frame::Close(POLICY, "policy violation")])
}

fn fault(error: &str, message: &str, code: u16) -> Frame {
    Frame::Text(json!({ "message": message, "error": error, "code": code }).to_string())
}

/// The messages of one context.
#[derive(Debug)]
struct Messages {
    id: Option<String>,
    single: bool,
    /// Alignments were asked for, and no fault withholds them.
    times: bool,
    alignment: Alignment,
}

impl Messages {
    fn frame(&self, mut message: Value) -> Frame {
        if let (false, Some(fields)) = (self.single, message.as_object_mut()) {
            fields.insert("contextId".to_owned(), self.id.clone().map_or(Value::Null, Value::from));
        }
        Frame::Text(message.to_string())
    }

    fn audio(&mut self, piece: Piece<'_>) -> Value {
        let alignment = if self.times { self.alignment.take(piece) } else { Value::Null };
        json!({
            "audio": BASE64_STANDARD.encode(piece.bytes), "isFinal": null, "alignment": alignment,
            "normalizedAlignment": alignment,
        })
    }

    fn last(&self) -> Vec<Frame> {
        let mut frames = vec![self.frame(json!({ "isFinal": true }))];
        if self.single {
            frames.push(Frame::Close(1_000, ""));
        }
        frames
    }
}

impl Wording for Messages {
    fn say(&mut self, event: Event<'_>) -> Vec<Frame> {
        match event {
            Event::Flushed { .. } | Event::TooLate => Vec::new(),
            Event::Started { timed } => {
                self.times = timed;
                Vec::new()
            }
            Event::Words { words, .. } => {
                self.alignment.add(words);
                Vec::new()
            }
            Event::Audio(piece) => {
                let message = self.audio(piece);
                vec![self.frame(message)]
            }
            Event::Stray(piece) => {
                let nobody = format!("{}-nobody", self.id.as_deref().unwrap_or_default());
                let audio = BASE64_STANDARD.encode(piece.bytes);
                vec![Frame::Text(json!({ "audio": audio, "alignment": null, "contextId": nobody }).to_string())]
            }
            Event::Done { .. } | Event::Expired => self.last(),
            Event::Failed(Failure { status, message, .. }) => {
                let (error, code) = if status < 500 { ("invalid_request", POLICY) } else { ("internal_error", 1_011) };
                vec![fault(error, message, code), Frame::Close(code, "the request has failed")]
            }
            Event::Garbage(turn) => {
                let audio = json!({ "contextId": self.id, "alignment": null });
                [Some(noise::garbage(turn, &audio, "audio")), noise::binary(turn)].into_iter().flatten().collect()
            }
            Event::Unknown(turn) => vec![noise::unknown(turn)],
        }
    }
}
