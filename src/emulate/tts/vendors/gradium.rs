//! Gradium's text to speech: `/api/speech/tts`.
//!
//! A request begins with `setup` and ends with `end_of_stream`. With a `client_req_id` on every message requests share the
//! socket; without one there is one at a time. There is no cancel. Where the public documentation is silent, this server
//! chooses:
//!
//! - The model lags behind its text: whole sentences are spoken as soon as more text follows, and of a long sentence all but
//!   the last three words; the rest when `<flush>` or `end_of_stream` comes.
//! - A request that goes wrong is answered with `error`. The socket closes with the error's code if the request had no id of
//!   its own or closes the socket at its end; if not, other requests go on. A breach of the protocol closes it always.
//! - Codes: 1002 for a breach of the protocol, 1008 for what cannot be had (a voice, a format, a longer session), 1011 for
//!   mistakes of the server, 1013 for too many requests.
//! - A `<break>` that is too short, too long or without its spaces is no command: it is read out.
//! - An unscoped `end_of_stream` while requests are active closes the socket when the last of them is over.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::handshake::server::Request as Upgrade;
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::super::Place;
use super::super::connection::{Outgoing, failed, outgoing};
use super::super::handshake::{Query, Refused, admit, last_header};
use super::super::order::{Buffering, Input, Lifetime, Order, Part};
use super::super::roster::{Line, Queueing, Roster};
use super::super::speaker::SampleEncoding;
use super::super::wording::{Event, Failure, Frame, Piece, Wording};
use super::{PATH_GRADIUM, Told, noise, object, seconds, uuid};

/// A breach of the protocol.
const PROTOCOL: u16 = 1_002;
/// What cannot be had.
const POLICY: u16 = 1_008;
/// A mistake of the server.
const INTERNAL: u16 = 1_011;
/// Too many requests.
const LATER: u16 = 1_013;

/// Requests on one socket at a time.
const REQUESTS_MAX: usize = 100;

/// Longest id of a client's.
const ID_BYTES_MAX: usize = 512;

/// `x-api-key`, or a single-use `token` in the query.
pub(super) fn check(upgrade: &Upgrade, api_key: Option<&str>) -> Result<(), Refused> {
    if upgrade.uri().path() != PATH_GRADIUM {
        return Err(Refused::new(StatusCode::NOT_FOUND, "no such path"));
    }
    let query = Query::parse(upgrade.uri().query());
    admit(last_header(upgrade.headers(), "x-api-key").or_else(|| query.get("token")), api_key)
}

/// What a `setup` asks for.
#[derive(Debug)]
struct Setup {
    model: String,
    voice: Option<String>,
    order: Order,
    closes: bool,
}

impl Setup {
    fn read(fields: &Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name: &str, wrong| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(wrong),
        };
        // The SDKs send the configuration as a JSON text.
        let config = match fields.get("json_config") {
            None | Some(Value::Null) => Value::Null,
            Some(Value::String(text)) => serde_json::from_str(text).map_err(|_| "json_config is not JSON")?,
            Some(config) => config.clone(),
        };
        if !(config.is_null() || config.is_object()) {
            return Err("json_config is not an object");
        }
        let closes = match fields.get("close_ws_on_eos") {
            None | Some(Value::Null) => true,
            Some(Value::Bool(closes)) => *closes,
            Some(_) => return Err("close_ws_on_eos must be true or false"),
        };
        let format = text("output_format", "output_format must be text")?.unwrap_or_else(|| "wav".to_owned());
        let (encoding, rate) = format_of(&format)?;
        let order =
            Order { encoding, rate, buffering: Buffering::Lagging, timestamps: true, speed: None, volume: None };
        let model = text("model_name", "model_name must be text")?.unwrap_or_else(|| "default".to_owned());
        let id = text("voice_id", "voice_id must be text")?;
        let voice = id.or(text("voice", "voice must be text")?);
        Ok(Self { model, voice, order, closes })
    }
}

/// Raw formats; `pcm` alone is 48 kHz.
fn format_of(name: &str) -> Result<(SampleEncoding, u32), &'static str> {
    Ok(match name {
        "pcm" | "pcm_48000" => (SampleEncoding::S16Le, 48_000),
        "pcm_8000" => (SampleEncoding::S16Le, 8_000),
        "pcm_16000" => (SampleEncoding::S16Le, 16_000),
        "pcm_22050" => (SampleEncoding::S16Le, 22_050),
        "pcm_24000" => (SampleEncoding::S16Le, 24_000),
        "pcm_44100" => (SampleEncoding::S16Le, 44_100),
        "ulaw_8000" | "mulaw_8000" => (SampleEncoding::Mulaw, 8_000),
        "alaw_8000" => (SampleEncoding::Alaw, 8_000),
        "wav" | "opus" => return Err("the emulator makes raw formats only, neither wav (the default) nor opus"),
        _ => return Err("unknown output_format"),
    })
}

/// What the desk keeps about a request.
#[derive(Debug)]
struct Request {
    /// A text has come.
    has_text: bool,
}

/// One connection's side.
#[derive(Debug)]
pub(in crate::emulate) struct Gradium {
    line: Line,
    roster: Roster<Request>,
    /// The request without a `client_req_id`.
    unscoped: Option<String>,
    begun: u32,
    /// The socket closes when no request is active.
    ending: bool,
}

impl Gradium {
    pub(super) fn new(line: Line) -> Self {
        Self { roster: Roster::new(line.clone()), line, unscoped: None, begun: 0, ending: false }
    }

    pub(super) async fn reap(&mut self) -> Vec<Outgoing> {
        self.roster.reap().await;
        self.leave()
    }

    /// Closes the socket if the client wanted that and nobody speaks any more.
    fn leave(&self) -> Vec<Outgoing> {
        if self.ending && self.roster.active_count() == 0 && self.roster.is_quiet() {
            return vec![Outgoing::Frame(Frame::Close(1_000, ""))];
        }
        Vec::new()
    }

    pub(super) async fn told(&mut self, told: Told<'_>) -> Vec<Outgoing> {
        let Told::Text(text) = told else { return breach("binary frames are not part of the protocol", None) };
        let Some(fields) = object(text) else { return breach("the message is not a JSON object", None) };
        let id = match fields.get("client_req_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) if !id.is_empty() && id.len() <= ID_BYTES_MAX => Some(id.clone()),
            Some(_) => return breach("client_req_id must be text of 1 to 512 bytes", None),
        };
        match fields.get("type").and_then(Value::as_str) {
            Some("setup") => self.set_up(&fields, id),
            Some("text") => match fields.get("text").and_then(Value::as_str) {
                Some(text) => self.speak(text, id).await,
                None => breach("text must be text", id.as_deref()),
            },
            Some("end_of_stream") => self.end(id).await,
            Some(_) | None => breach("unknown type", id.as_deref()),
        }
    }

    fn set_up(&mut self, fields: &Map<String, Value>, id: Option<String>) -> Vec<Outgoing> {
        let key = match (&id, &self.unscoped) {
            (Some(id), _) => Some(id),
            (None, unscoped) => unscoped.as_ref(),
        };
        if key.is_some_and(|key| self.roster.active(key).is_some()) {
            return breach("a request with this id is active", id.as_deref());
        }
        let setup = Setup::read(fields);
        let stays = id.is_some() && setup.as_ref().is_ok_and(|setup| !setup.closes);
        let refuse = |message: &str, code| {
            let mut frames = vec![error(message, code, id.as_deref())];
            if !stays {
                frames.push(Frame::Close(code, "the request cannot be served"));
            }
            failed(frames)
        };
        let setup = match setup {
            Ok(setup) => setup,
            Err(reason) => return refuse(reason, POLICY),
        };
        let settings = &self.line.shared.settings;
        if setup.voice.as_deref().is_some_and(|voice| !settings.knows(voice)) {
            return refuse("Unknown voice", POLICY);
        }
        let room = if self.roster.len() < REQUESTS_MAX { Place::take(&self.line.shared) } else { None };
        let Some(place) = room else { return refuse("too many concurrent requests", LATER) };
        let request_id = uuid(self.line.connection, self.begun);
        self.begun += 1;
        let order = setup.order;
        let mut ready = json!({
            "type": "ready", "request_id": request_id, "model_name": setup.model, "sample_rate": order.rate,
            "frame_size": order.rate * 80 / 1_000, "audio_stream_names": ["audio"], "text_stream_names": ["text"],
        });
        scope(&mut ready, id.as_deref());
        let messages = Messages { id: id.clone(), closes: setup.closes };
        let key = id.unwrap_or_else(|| {
            self.unscoped = Some(request_id.clone());
            request_id
        });
        let kind = (order, Lifetime::Whole(settings.session), Queueing::Beside);
        self.roster.begin(&key, &key, place, kind, Request { has_text: false }, messages);
        outgoing(vec![Frame::Text(ready.to_string())])
    }

    /// The id under which a message's request is kept.
    fn key(&self, id: Option<&String>) -> Option<String> {
        id.or(self.unscoped.as_ref()).cloned()
    }

    async fn speak(&mut self, text: &str, id: Option<String>) -> Vec<Outgoing> {
        let key = self.key(id.as_ref()).unwrap_or_default();
        let Some(request) = self.roster.active(&key) else { return self.stray_text(&key, id.as_deref()) };
        if request.finished {
            return breach("the request has ended its stream", id.as_deref());
        }
        // The server joins texts with a space.
        let parts = parts(&if request.kept.has_text { format!(" {text}") } else { text.to_owned() });
        request.kept.has_text = true;
        // If it has just ended, its end is on its way to the client.
        self.roster.input(&key, Input { shown: Some(text.to_owned()), parts, more: true }).await;
        Vec::new()
    }

    /// Text for a request that is over, or that never was.
    fn stray_text(&mut self, key: &str, id: Option<&str>) -> Vec<Outgoing> {
        if self.roster.get(key).is_some() {
            // It has just ended by itself, and the client may not know it yet.
            return Vec::new();
        }
        let frames = vec![error("setup must come first", PROTOCOL, id)];
        let closing = Frame::Close(PROTOCOL, "protocol error");
        // With an id it is that request's mistake alone.
        failed(frames.into_iter().chain(id.is_none().then_some(closing)).collect())
    }

    async fn end(&mut self, id: Option<String>) -> Vec<Outgoing> {
        let key = self.key(id.as_ref()).unwrap_or_default();
        if self.roster.active(&key).is_some_and(|request| !request.finished) {
            self.roster.input(&key, Input { shown: None, parts: Vec::new(), more: false }).await;
            return Vec::new();
        }
        if id.is_none() {
            self.ending = true;
            return self.leave();
        }
        Vec::new()
    }
}

/// The commands in a text, and what is between them.
fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut plain = String::new();
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        plain.push_str(before);
        let Some((part, after)) = command(&plain, tag) else {
            plain.push('<');
            rest = tag.get(1..).unwrap_or_default();
            continue;
        };
        parts.push(Part::Text(std::mem::take(&mut plain)));
        parts.push(part);
        rest = after;
    }
    plain.push_str(rest);
    parts.push(Part::Text(plain));
    parts.retain(|part| *part != Part::Text(String::new()));
    parts
}

/// The command with which `tag` begins, and what follows it. `before` is the text in front.
fn command<'a>(before: &str, tag: &'a str) -> Option<(Part, &'a str)> {
    if let Some(after) = tag.strip_prefix("<flush>") {
        return Some((Part::Flush, after));
    }
    let (time, after) = tag.strip_prefix("<break time=\"")?.split_once("s\"")?;
    let after = after.trim_start().strip_prefix("/>")?;
    let apart = (before.is_empty() || before.ends_with(' ')) && (after.is_empty() || after.starts_with(' '));
    let seconds: f64 = time.parse().ok()?;
    let possible = apart && (0.1..=2.0).contains(&seconds);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0.1 to 2 seconds")]
    possible.then(|| (Part::Break((seconds * 1_000.0).round() as u32), after))
}

fn scope(message: &mut Value, id: Option<&str>) {
    if let (Some(id), Some(fields)) = (id, message.as_object_mut()) {
        fields.insert("client_req_id".to_owned(), Value::from(id));
    }
}

fn error(message: &str, code: u16, id: Option<&str>) -> Frame {
    let mut error = json!({ "type": "error", "message": message, "code": code });
    scope(&mut error, id);
    Frame::Text(error.to_string())
}

/// The protocol was broken: nobody on the socket can go on.
fn breach(message: &str, id: Option<&str>) -> Vec<Outgoing> {
    failed(vec![error(message, PROTOCOL, id), Frame::Close(PROTOCOL, "protocol error")])
}

/// The messages of one request.
#[derive(Debug)]
struct Messages {
    id: Option<String>,
    /// The socket closes at its end.
    closes: bool,
}

impl Messages {
    fn frame(&self, mut message: Value) -> Frame {
        scope(&mut message, self.id.as_deref());
        Frame::Text(message.to_string())
    }

    fn audio(piece: Piece<'_>) -> Value {
        json!({
            "type": "audio", "audio": BASE64_STANDARD.encode(piece.bytes), "start_s": seconds(piece.from_ms),
            "stop_s": seconds(piece.to_ms), "stream_id": 0,
        })
    }

    /// The request ends with an error, and the socket with it unless others may be on it.
    fn failed(&self, message: &str, code: u16, named: bool) -> Vec<Frame> {
        let mut frames = vec![error(message, code, self.id.as_deref().filter(|_| named))];
        if self.id.is_none() || self.closes || !named {
            frames.push(Frame::Close(code, "the request has failed"));
        }
        frames
    }
}

impl Wording for Messages {
    fn say(&mut self, event: Event<'_>) -> Vec<Frame> {
        match event {
            Event::Started { .. } | Event::TooLate => Vec::new(),
            Event::Words { words, .. } => words
                .iter()
                .map(|word| {
                    self.frame(json!({
                        "type": "text", "text": word.text, "start_s": seconds(word.start_ms.into()),
                        "stop_s": seconds(word.end_ms.into()), "stream_id": 0,
                    }))
                })
                .collect(),
            Event::Audio(piece) => vec![self.frame(Self::audio(piece))],
            Event::Stray(piece) => {
                let mut message = Self::audio(piece);
                scope(&mut message, Some(&format!("{}-nobody", self.id.as_deref().unwrap_or_default())));
                vec![Frame::Text(message.to_string())]
            }
            Event::Flushed { .. } => vec![self.frame(json!({ "type": "flushed" }))],
            Event::Done { .. } => {
                let mut frames = vec![self.frame(json!({ "type": "end_of_stream" }))];
                if self.closes {
                    frames.push(Frame::Close(1_000, ""));
                }
                frames
            }
            Event::Expired => self.failed("the session has lasted too long", POLICY, true),
            Event::Failed(Failure { status, message, named, .. }) => {
                self.failed(message, if status < 500 { POLICY } else { INTERNAL }, named)
            }
            Event::Garbage(turn) => {
                let mut audio = json!({ "type": "audio", "start_s": 0.0, "stop_s": 0.08, "stream_id": 0 });
                scope(&mut audio, self.id.as_deref());
                [Some(noise::garbage(turn, &audio, "audio")), noise::binary(turn)].into_iter().flatten().collect()
            }
            Event::Unknown(turn) => vec![noise::unknown(turn)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_and_what_is_none_is_text() {
        let text = |text: &str| Part::Text(text.to_owned());
        assert_eq!(parts("Hello <flush> there"), [text("Hello "), Part::Flush, text(" there")]);
        assert_eq!(parts("<flush>"), [Part::Flush]);
        let pause = parts("a <break time=\"1.5s\" /> b");
        assert_eq!(pause, [text("a "), Part::Break(1_500), text(" b")]);
        for plain in
            ["a<break time=\"1s\" /> b", "a <break time=\"3s\" /> b", "a <break time=\"xs\" />", "1 < 2", "a <", "<b>"]
        {
            assert_eq!(parts(plain), [text(plain)], "{plain}");
        }
        assert!(parts("").is_empty());
    }

    #[test]
    fn a_setup_has_the_documented_defaults() {
        let read = |value: Value| Setup::read(value.as_object().unwrap());
        let setup = read(json!({ "voice_id": "v", "output_format": "pcm", "json_config": "{\"temp\": 0.5}" })).unwrap();
        assert_eq!((setup.model.as_str(), setup.voice.as_deref(), setup.closes), ("default", Some("v"), true));
        assert_eq!((setup.order.rate, setup.order.encoding), (48_000, SampleEncoding::S16Le));
        for (name, wrong) in [
            ("output_format", json!("wav")),
            ("output_format", json!("pcm_11025")),
            ("output_format", json!(7)),
            ("json_config", json!("{")),
            ("json_config", json!([1])),
            ("close_ws_on_eos", json!("no")),
            ("voice_id", json!(1)),
        ] {
            let mut setup = json!({ "output_format": "ulaw_8000" });
            setup[name] = wrong;
            assert!(read(setup).is_err(), "{name}");
        }
        assert!(read(json!({})).unwrap_err().contains("wav"));
    }
}
