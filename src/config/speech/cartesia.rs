//! `[speech.cartesia]`

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Account, Section, SectionProblem, account_keys};
use crate::call::settings::Voice;
use crate::config::keys::{Key, Kind, TEXT, alias, joined, key};
use crate::secret::Secret;
use crate::config::settings::{Buffering, SpeechEncoding, narrow};
use crate::dialect::speech::{self, cartesia};

/// A context that has been without a chunk for so long gets no new text: the vendor drops it after one second.
const IDLE: Duration = Duration::from_millis(800);

/// The keys, in the order of the documentation.
pub(super) const KEYS: &[Key] = &joined::<{ OWN.len() + 3 }>(&[OWN, &account_keys!("speech.cartesia")]);

const OWN: &[Key] = &[
    key("speech.cartesia.url", Kind::WebSocketUrl, Some("wss://api.cartesia.ai/tts/websocket"), "endpoint"),
    alias("CARTESIA_API_KEY", key("speech.cartesia.api_key", Kind::Secret, None, "API key")),
    key("speech.cartesia.version", TEXT, Some("2026-03-01"), "protocol version, a date"),
    key("speech.cartesia.model", TEXT, Some("sonic-3.5"), "model id"),
    key("speech.cartesia.voice", TEXT, Some("5c5ad5e7-1020-476b-8b91-fdcbe9cc313c"), "voice id"),
    key("speech.cartesia.language", TEXT, Some("en"), "language code"),
    key(
        "speech.cartesia.encoding",
        Kind::Choice(&["pcm_s16le", "pcm_mulaw"]),
        Some("pcm_s16le"),
        "encoding asked for; `pcm_mulaw` is passed through to a telephone line",
    ),
    key(
        "speech.cartesia.sample_rate",
        Kind::Rate(&[8_000, 16_000, 22_050, 24_000, 44_100, 48_000]),
        None,
        "sampling rate asked for, in Hz; absent: the carrier's own",
    ),
    key(
        "speech.cartesia.ca_file",
        TEXT,
        None,
        "PEM file of a certificate authority to trust in place of the public ones",
    ),
    key(
        "speech.cartesia.buffering",
        Kind::Buffering,
        Some("sentences"),
        "who collects tokens into speakable pieces: this server, or the vendor for at most so many milliseconds",
    ),
    key("speech.cartesia.speed", Kind::Number(0.6, 1.5), None, "speed of speech"),
    key("speech.cartesia.volume", Kind::Number(0.5, 2.0), None, "loudness"),
    key("speech.cartesia.emotion", TEXT, None, "one of the vendor's words, such as `calm`"),
];

/// `[speech.cartesia]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cartesia {
    /// Endpoint, `wss` or `ws`.
    pub url: String,
    /// API key, for a header.
    pub api_key: Option<Secret>,
    /// Protocol version, a date.
    pub version: String,
    /// Model id.
    pub model: String,
    /// Voice id.
    pub voice: String,
    /// Language code.
    pub language: String,
    /// Encoding asked for.
    pub encoding: SpeechEncoding,
    /// Sampling rate asked for in Hz; absent: the carrier's own.
    pub sample_rate: Option<u32>,
    /// PEM file of a certificate authority to trust.
    pub ca_file: Option<PathBuf>,
    /// Who collects tokens into speakable pieces.
    pub buffering: Buffering,
    /// Speed of speech, 0.6 to 1.5.
    pub speed: Option<f64>,
    /// Loudness, 0.5 to 2.0.
    pub volume: Option<f64>,
    /// One of the vendor's words.
    pub emotion: Option<String>,
    /// Contexts at once in all calls.
    pub max_contexts: Option<u32>,
    /// Sockets at once in all calls.
    pub max_sockets: Option<u32>,
    /// Sockets kept open for the next calls.
    pub warm: u32,
}

impl Section for Cartesia {
    fn domain(&self) -> &'static str {
        "cartesia.ai"
    }

    fn key_variable(&self) -> &'static str {
        "CARTESIA_API_KEY"
    }

    fn url(&self) -> &str {
        &self.url
    }

    fn api_key(&self) -> Option<&Secret> {
        self.api_key.as_ref()
    }

    fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    fn language(&self) -> Option<&str> {
        Some(&self.language)
    }

    fn account(&self) -> Account {
        Account { max_contexts: self.max_contexts, max_sockets: self.max_sockets, warm: self.warm }
    }

    fn voice(&self) -> Voice {
        let encoding = self.encoding.encoding();
        Voice {
            buffering: self.buffering.into(),
            context_idle: Some(IDLE),
            ..Voice::plain("cartesia", encoding, self.sample_rate)
        }
    }

    fn settings(&self) -> speech::Settings {
        speech::Settings::Cartesia(Box::new(cartesia::Settings {
            url: self.url.clone(),
            api_key: self.api_key.clone().unwrap_or_default(),
            version: self.version.clone(),
            model: self.model.clone(),
            voice: self.voice.clone(),
            language: self.language.clone(),
            speed: self.speed.map(narrow),
            volume: self.volume.map(narrow),
            emotion: self.emotion.clone(),
            buffering: self.buffering.into(),
        }))
    }

    fn problems(&self) -> Vec<SectionProblem> {
        super::passed_through(self.encoding, self.sample_rate).into_iter().collect()
    }
}
