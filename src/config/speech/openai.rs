//! `[speech.openai]`

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Account, Section};
use crate::audio::Encoding;
use crate::call::settings::Voice;
use crate::config::keys::{Key, Kind, TEXT, alias, key};
use crate::secret::Secret;
use crate::config::settings::narrow;
use crate::dialect::speech::{self, openai};

/// The keys, in the order of the documentation.
pub(super) const KEYS: &[Key] = &[
    key(
        "speech.openai.url",
        Kind::HttpUrl,
        Some("https://api.openai.com/v1"),
        "base URL of a server of the `audio/speech` API",
    ),
    alias("OPENAI_API_KEY", key("speech.openai.api_key", Kind::Secret, None, "API key; a server of your own may need none")),
    key("speech.openai.model", TEXT, Some("gpt-4o-mini-tts"), "model id"),
    key("speech.openai.voice", TEXT, Some("alloy"), "voice; one that begins with `voice_` is sent as the id of your own"),
    key(
        "speech.openai.language",
        TEXT,
        Some("en"),
        "language code: how signs and numbers are put into words; the server is not told, and hears it from the text",
    ),
    key("speech.openai.speed", Kind::Number(0.25, 4.0), None, "speed of speech"),
    key("speech.openai.instructions", TEXT, None, "how to speak, in words, for models that understand it"),
    key(
        "speech.openai.sample_rate",
        Kind::Rate(&[8_000, 16_000, 22_050, 24_000, 44_100, 48_000]),
        Some("24000"),
        "sampling rate of what the server sends, in Hz: it cannot be asked for",
    ),
    key(
        "speech.openai.ca_file",
        TEXT,
        None,
        "PEM file of a certificate authority to trust in place of the public ones",
    ),
    key(
        "speech.openai.max_contexts",
        Kind::Integer(1, 100_000),
        None,
        "contexts that the account may have at once, for all calls of this server, each with up to two requests; further \
         ones wait for their turn; absent: unlimited",
    ),
];

/// `[speech.openai]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Openai {
    /// Base URL, `https` or `http`.
    pub url: String,
    /// API key, for a header.
    pub api_key: Option<Secret>,
    /// Model id.
    pub model: String,
    /// Voice.
    pub voice: String,
    /// Language code; not sent.
    pub language: String,
    /// Speed of speech, 0.25 to 4.0.
    pub speed: Option<f64>,
    /// How to speak, in words.
    pub instructions: Option<String>,
    /// Sampling rate of what the server sends, in Hz.
    pub sample_rate: u32,
    /// PEM file of a certificate authority to trust.
    pub ca_file: Option<PathBuf>,
    /// Contexts at once in all calls.
    pub max_contexts: Option<u32>,
}

impl Section for Openai {
    fn domain(&self) -> &'static str {
        "openai.com"
    }

    fn key_variable(&self) -> &'static str {
        "OPENAI_API_KEY"
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
        // Connections are made as requests need them, and kept a while for the next ones of any call.
        Account { max_contexts: self.max_contexts, ..Account::default() }
    }

    fn voice(&self) -> Voice {
        Voice::plain("openai", Encoding::PcmS16Le, Some(self.sample_rate))
    }

    fn settings(&self) -> speech::Settings {
        speech::Settings::Openai(Box::new(openai::Settings {
            url: self.url.clone(),
            api_key: self.api_key.clone().unwrap_or_default(),
            model: self.model.clone(),
            voice: self.voice.clone(),
            speed: self.speed.map(narrow),
            instructions: self.instructions.clone(),
        }))
    }
}
