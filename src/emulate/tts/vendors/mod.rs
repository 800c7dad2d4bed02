//! The vendors' sides of the engine: who may open a socket, and what is done with what comes on it.

mod alignment;
mod aura;
mod elevenlabs;
mod flux;
mod gradium;
mod noise;
mod rime;

use serde_json::{Map, Value};
use tokio_tungstenite::tungstenite::handshake::server::Request as Upgrade;
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::Settings;
use super::connection::Outgoing;
use super::handshake::{Query, Refused, admit, authorization};
use super::roster::Line;
use super::speaker::SampleEncoding;
use crate::emulate::cartesia;

/// Gradium's path.
const PATH_GRADIUM: &str = "/api/speech/tts";
/// Deepgram's path for Aura.
const PATH_AURA: &str = "/v1/speak";
/// Deepgram's path for Flux.
const PATH_FLUX: &str = "/v2/speak";
/// Rime's path.
const PATH_RIME: &str = "/ws3";

/// A vendor of speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// Cartesia's TTS WebSocket.
    #[default]
    Cartesia,
    /// Gradium's text to speech.
    Gradium,
    /// ElevenLabs' multi-context WebSocket, and the one with a single context.
    ElevenLabs,
    /// Deepgram's Aura (`/v1/speak`) and Flux (`/v2/speak`).
    Deepgram,
    /// Rime's `/ws3`.
    Rime,
}

impl Vendor {
    /// All of them.
    pub const ALL: [Vendor; 5] =
        [Vendor::Cartesia, Vendor::Gradium, Vendor::ElevenLabs, Vendor::Deepgram, Vendor::Rime];

    /// The vendor's name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Vendor::Cartesia => "cartesia",
            Vendor::Gradium => "gradium",
            Vendor::ElevenLabs => "elevenlabs",
            Vendor::Deepgram => "deepgram",
            Vendor::Rime => "rime",
        }
    }

    /// The path of the socket, where there is only one: Deepgram has two, and ElevenLabs has the voice in it.
    pub const fn path(self) -> Option<&'static str> {
        match self {
            Vendor::Cartesia => Some(cartesia::PATH),
            Vendor::Gradium => Some(PATH_GRADIUM),
            Vendor::Rime => Some(PATH_RIME),
            Vendor::ElevenLabs | Vendor::Deepgram => None,
        }
    }
}

/// A frame of the client.
#[derive(Clone, Copy, Debug)]
pub(in crate::emulate) enum Told<'a> {
    Text(&'a str),
    /// Nobody takes binary frames.
    Binary,
}

/// A handshake that was accepted: what a connection needs to begin.
#[derive(Debug)]
pub(super) enum Opening {
    Cartesia { version: String },
    Gradium,
    ElevenLabs(elevenlabs::Socket),
    Aura(Model),
    Flux(Model),
    Rime(rime::Socket),
}

/// Checks a handshake: path, credentials, and what else the vendor wants to know beforehand.
pub(super) fn check(upgrade: &Upgrade, settings: &Settings) -> Result<Opening, Refused> {
    let (key, path) = (settings.key(), upgrade.uri().path());
    Ok(match settings.vendor {
        Vendor::Cartesia => Opening::Cartesia { version: cartesia::handshake::check(upgrade, key)? },
        Vendor::Gradium => {
            gradium::check(upgrade, key)?;
            Opening::Gradium
        }
        Vendor::ElevenLabs => Opening::ElevenLabs(elevenlabs::Socket::check(upgrade, key)?),
        Vendor::Deepgram if path == PATH_AURA => Opening::Aura(Model::check(upgrade, settings, aura::RATES)?),
        Vendor::Deepgram if path == PATH_FLUX => Opening::Flux(Model::check(upgrade, settings, flux::RATES)?),
        Vendor::Deepgram => return Err(Refused::new(StatusCode::NOT_FOUND, "no such path")),
        Vendor::Rime => Opening::Rime(rime::Socket::check(upgrade, settings)?),
    })
}

impl Opening {
    pub(super) fn desk(self, line: Line) -> Desk {
        match self {
            Opening::Cartesia { version } => Desk::Cartesia(cartesia::dispatch::Dispatcher::new(&version, line)),
            Opening::Gradium => Desk::Gradium(gradium::Gradium::new(line)),
            Opening::ElevenLabs(socket) => Desk::ElevenLabs(elevenlabs::ElevenLabs::new(socket, line)),
            Opening::Aura(model) => Desk::Aura(aura::Aura::new(model, line)),
            Opening::Flux(model) => Desk::Flux(flux::Flux::new(model, line)),
            Opening::Rime(socket) => Desk::Rime(rime::Rime::new(socket, line)),
        }
    }
}

/// One connection's side of a protocol.
pub(super) enum Desk {
    Cartesia(cartesia::dispatch::Dispatcher),
    Gradium(gradium::Gradium),
    ElevenLabs(elevenlabs::ElevenLabs),
    Aura(aura::Aura),
    Flux(flux::Flux),
    Rime(rime::Rime),
}

impl Desk {
    /// What is said before the client says anything.
    pub(super) fn greet(&mut self) -> Vec<Outgoing> {
        match self {
            Desk::Cartesia(_) | Desk::Gradium(_) | Desk::Rime(_) => Vec::new(),
            Desk::ElevenLabs(desk) => desk.greet(),
            Desk::Aura(desk) => desk.greet(),
            Desk::Flux(desk) => desk.greet(),
        }
    }

    /// Acts on one frame; what is answered at once.
    pub(super) async fn told(&mut self, told: Told<'_>) -> Vec<Outgoing> {
        match self {
            Desk::Cartesia(desk) => desk.told(told).await,
            Desk::Gradium(desk) => desk.told(told).await,
            Desk::ElevenLabs(desk) => desk.told(told).await,
            Desk::Aura(desk) => desk.told(told).await,
            Desk::Flux(desk) => desk.told(told).await,
            Desk::Rime(desk) => desk.told(told).await,
        }
    }

    /// Waits for a context to be over; what is said about it. For ever if there is none. Cancel-safe.
    pub(super) async fn reap(&mut self) -> Vec<Outgoing> {
        match self {
            Desk::Cartesia(desk) => desk.reap().await,
            Desk::Gradium(desk) => desk.reap().await,
            Desk::ElevenLabs(desk) => desk.reap().await,
            Desk::Aura(desk) => desk.reap().await,
            Desk::Flux(desk) => desk.reap().await,
            Desk::Rime(desk) => desk.reap().await,
        }
    }
}

/// What a client of Deepgram's asked for in its query.
#[derive(Clone, Debug)]
pub(super) struct Model {
    name: String,
    encoding: SampleEncoding,
    rate: u32,
}

/// The rates that may be asked for: of 16-bit samples, and of the others.
type Rates = (&'static [u32], &'static [u32]);

impl Model {
    /// `Authorization: Token` (or `Bearer`, for short-lived ones); `model`, `encoding` and `sample_rate` in the query.
    fn check(upgrade: &Upgrade, settings: &Settings, (linear, companded): Rates) -> Result<Self, Refused> {
        admit(authorization(upgrade.headers(), &["token", "bearer"]), settings.key())?;
        let wrong = |reason| Refused::new(StatusCode::BAD_REQUEST, reason);
        let query = Query::parse(upgrade.uri().query());
        let name = query.get("model").ok_or(wrong("model is missing"))?;
        if !settings.knows(name) {
            return Err(wrong("no such model"));
        }
        let (encoding, rates) = match query.get("encoding") {
            None | Some("linear16") => (SampleEncoding::S16Le, linear),
            Some("mulaw") => (SampleEncoding::Mulaw, companded),
            Some("alaw") => (SampleEncoding::Alaw, companded),
            Some(_) => return Err(wrong("encoding is not one of linear16, mulaw, alaw")),
        };
        if query.get("container").is_some_and(|container| container != "none") {
            return Err(wrong("the audio has no container"));
        }
        let default = if encoding == SampleEncoding::S16Le { 24_000 } else { 8_000 };
        let rate = query.get("sample_rate").map_or(Some(default), |rate| rate.parse().ok());
        let rate = rate.filter(|rate| rates.contains(rate)).ok_or(wrong("sample_rate is not supported"))?;
        Ok(Self { name: name.to_owned(), encoding, rate })
    }
}

/// The fields of a message, if it is an object.
fn object(text: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Some(fields),
        Ok(_) | Err(_) => None,
    }
}

/// Milliseconds as seconds.
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// An id in the shape of a UUID, different for each connection of a server.
fn uuid(connection: u64, count: u32) -> String {
    format!("00000000-0000-4000-8000-{connection:08}{:04}", count % 10_000)
}
