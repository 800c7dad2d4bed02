//! `[speech.elevenlabs]`

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Account, Section, SectionProblem, account_keys};
use crate::audio::SourceFormat;
use crate::call::settings::{Cancel, Voice};
use crate::config::keys::{Key, Kind, TEXT, alias, joined, key};
use crate::secret::Secret;
use crate::config::settings::{Buffering, SpeechEncoding, narrow};
use crate::dialect::speech::{self, elevenlabs};

/// A context that has been without a chunk for so long gets no new text. The vendor counts from the last text, which is older,
/// so that a good part of its time is left for the chunks between.
const IDLE: Duration = Duration::from_secs(elevenlabs::INACTIVITY.as_secs() * 2 / 3);

/// The keys, in the order of the documentation.
pub(super) const KEYS: &[Key] = &joined::<{ OWN.len() + 3 }>(&[OWN, &account_keys!("speech.elevenlabs")]);

const OWN: &[Key] = &[
    key(
        "speech.elevenlabs.url",
        Kind::WebSocketUrl,
        Some("wss://api.elevenlabs.io"),
        "server, without the path, in which the voice stands",
    ),
    alias("ELEVENLABS_API_KEY", key("speech.elevenlabs.api_key", Kind::Secret, None, "API key")),
    key("speech.elevenlabs.model", TEXT, Some("eleven_flash_v2_5"), "model id"),
    key("speech.elevenlabs.voice", TEXT, Some("JBFqnCBsd6RMkjVDRZzb"), "voice id, the same for a whole call"),
    key("speech.elevenlabs.language", TEXT, None, "language code; absent: the vendor finds out"),
    key(
        "speech.elevenlabs.encoding",
        Kind::Choice(&["pcm_s16le", "pcm_mulaw"]),
        Some("pcm_s16le"),
        "encoding asked for; `pcm_mulaw` is passed through to a telephone line",
    ),
    key(
        "speech.elevenlabs.sample_rate",
        Kind::Rate(&[8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]),
        Some("8000"),
        "sampling rate asked for, in Hz",
    ),
    key(
        "speech.elevenlabs.ca_file",
        TEXT,
        None,
        "PEM file of a certificate authority to trust in place of the public ones",
    ),
    key(
        "speech.elevenlabs.buffering",
        Kind::Buffering,
        Some("sentences"),
        "who collects tokens into speakable pieces: this server, or the vendor, which takes as long as it likes and is given so \
         many milliseconds before it counts as late",
    ),
    key(
        "speech.elevenlabs.stability",
        Kind::Number(0.0, 1.0),
        None,
        "how much one reading is like the next",
    ),
    key(
        "speech.elevenlabs.similarity_boost",
        Kind::Number(0.0, 1.0),
        None,
        "how close it keeps to the original voice",
    ),
    key("speech.elevenlabs.speed", Kind::Number(0.7, 1.2), None, "speed of speech"),
];

/// `[speech.elevenlabs]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elevenlabs {
    /// Server, `wss` or `ws`, without a path.
    pub url: String,
    /// API key, for a header.
    pub api_key: Option<Secret>,
    /// Model id.
    pub model: String,
    /// Voice id.
    pub voice: String,
    /// Language code; absent: the vendor finds out.
    pub language: Option<String>,
    /// Encoding asked for.
    pub encoding: SpeechEncoding,
    /// Sampling rate asked for in Hz.
    pub sample_rate: u32,
    /// PEM file of a certificate authority to trust.
    pub ca_file: Option<PathBuf>,
    /// Who collects tokens into speakable pieces.
    pub buffering: Buffering,
    /// How much one reading is like the next, 0 to 1.
    pub stability: Option<f64>,
    /// How close it keeps to the original voice, 0 to 1.
    pub similarity_boost: Option<f64>,
    /// Speed of speech, 0.7 to 1.2.
    pub speed: Option<f64>,
    /// Contexts at once in all calls.
    pub max_contexts: Option<u32>,
    /// Sockets at once in all calls.
    pub max_sockets: Option<u32>,
    /// Sockets kept open for the next calls.
    pub warm: u32,
}

impl Section for Elevenlabs {
    fn domain(&self) -> &'static str {
        "elevenlabs.io"
    }

    fn key_variable(&self) -> &'static str {
        "ELEVENLABS_API_KEY"
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
        self.language.as_deref()
    }

    fn account(&self) -> Account {
        Account { max_contexts: self.max_contexts, max_sockets: self.max_sockets, warm: self.warm }
    }

    fn voice(&self) -> Voice {
        Voice {
            buffering: self.buffering.into(),
            context_idle: Some(IDLE),
            contexts: Some(elevenlabs::CONTEXTS_MAX),
            cancel: Cancel::Awaited,
            ..Voice::plain("elevenlabs", self.encoding.encoding(), Some(self.sample_rate))
        }
    }

    fn settings(&self) -> speech::Settings {
        speech::Settings::Elevenlabs(Box::new(elevenlabs::Settings {
            url: self.url.clone(),
            api_key: self.api_key.clone().unwrap_or_default(),
            model: self.model.clone(),
            voice: self.voice.clone(),
            language: self.language.clone(),
            format: SourceFormat { encoding: self.encoding.encoding(), rate: self.sample_rate },
            stability: self.stability.map(narrow),
            similarity_boost: self.similarity_boost.map(narrow),
            speed: self.speed.map(narrow),
            buffering: self.buffering.into(),
        }))
    }

    fn problems(&self) -> Vec<SectionProblem> {
        super::passed_through(self.encoding, Some(self.sample_rate)).into_iter().collect()
    }
}
