//! The vendors' sides of the engine: who may open a socket, and what is done with what comes on it.

use tokio_tungstenite::tungstenite::handshake::server::Request as Upgrade;
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::Settings;
use super::connection::Outgoing;
use super::handshake::Refused;
use super::roster::Line;
use crate::emulate::cartesia;

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

    /// The path of the socket, where there is only one.
    pub(super) const fn fixed_path(self) -> Option<&'static str> {
        match self {
            Vendor::Cartesia => Some(cartesia::PATH),
            Vendor::Gradium => Some("/api/speech/tts"),
            Vendor::Rime => Some("/ws3"),
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
}

/// Checks a handshake: path, credentials, and what else the vendor wants to know beforehand.
pub(super) fn check(upgrade: &Upgrade, settings: &Settings) -> Result<Opening, Refused> {
    let key = settings.key();
    Ok(match settings.vendor {
        Vendor::Cartesia => Opening::Cartesia { version: cartesia::handshake::check(upgrade, key)? },
        Vendor::Gradium | Vendor::ElevenLabs | Vendor::Deepgram | Vendor::Rime => {
            return Err(Refused::new(StatusCode::NOT_IMPLEMENTED, "this vendor is not emulated"));
        }
    })
}

impl Opening {
    pub(super) fn desk(self, line: Line) -> Desk {
        match self {
            Opening::Cartesia { version } => Desk::Cartesia(cartesia::dispatch::Dispatcher::new(&version, line)),
        }
    }
}

/// One connection's side of a protocol.
pub(super) enum Desk {
    Cartesia(cartesia::dispatch::Dispatcher),
}

impl Desk {
    /// What is said before the client says anything.
    pub(super) fn greet(&mut self) -> Vec<Outgoing> {
        match self {
            Desk::Cartesia(_) => Vec::new(),
        }
    }

    /// Acts on one frame; what is answered at once.
    pub(super) async fn told(&mut self, told: Told<'_>) -> Vec<Outgoing> {
        match self {
            Desk::Cartesia(desk) => desk.told(told).await,
        }
    }

    /// Waits for a context to be over; what is said about it. For ever if there is none. Cancel-safe.
    pub(super) async fn reap(&mut self) -> Vec<Outgoing> {
        match self {
            Desk::Cartesia(desk) => desk.reap().await,
        }
    }
}
