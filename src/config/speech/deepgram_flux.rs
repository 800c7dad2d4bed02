//! `[speech.deepgram_flux]`

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::deepgram::{language_of, one_at_a_time};
use super::{Account, Section, SectionProblem, account_keys};
use crate::call::settings::Voice;
use crate::config::keys::{Key, Kind, TEXT, alias, joined, key};
use crate::secret::Secret;
use crate::config::settings::{SpeechEncoding, narrow};
use crate::dialect::speech::{self, deepgram_flux};

/// The keys, in the order of the documentation.
pub(super) const KEYS: &[Key] = &joined::<{ OWN.len() + 3 }>(&[OWN, &account_keys!("speech.deepgram_flux")]);

const OWN: &[Key] = &[
    key("speech.deepgram_flux.url", Kind::WebSocketUrl, Some("wss://api.deepgram.com/v2/speak"), "endpoint"),
    alias("DEEPGRAM_API_KEY", key("speech.deepgram_flux.api_key", Kind::Secret, None, "API key")),
    key("speech.deepgram_flux.model", TEXT, Some("flux-haley-en"), "model id, which is also the voice and its language"),
    key(
        "speech.deepgram_flux.encoding",
        Kind::Choice(&["pcm_s16le", "pcm_mulaw"]),
        Some("pcm_s16le"),
        "encoding asked for; `pcm_mulaw` is passed through to a telephone line",
    ),
    key(
        "speech.deepgram_flux.sample_rate",
        Kind::Rate(&[8_000, 16_000, 24_000, 32_000, 44_100, 48_000]),
        Some("8000"),
        "sampling rate asked for, in Hz",
    ),
    key(
        "speech.deepgram_flux.ca_file",
        TEXT,
        None,
        "PEM file of a certificate authority to trust in place of the public ones",
    ),
    key("speech.deepgram_flux.speed", Kind::Number(0.5, 1.5), None, "speed of speech, in steps of 0.05"),
];

/// `[speech.deepgram_flux]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeepgramFlux {
    /// Endpoint, `wss` or `ws`.
    pub url: String,
    /// API key, for a header.
    pub api_key: Option<Secret>,
    /// Model id.
    pub model: String,
    /// Encoding asked for.
    pub encoding: SpeechEncoding,
    /// Sampling rate asked for in Hz.
    pub sample_rate: u32,
    /// PEM file of a certificate authority to trust.
    pub ca_file: Option<PathBuf>,
    /// Speed of speech, 0.5 to 1.5.
    pub speed: Option<f64>,
    /// Contexts at once in all calls.
    pub max_contexts: Option<u32>,
    /// Sockets at once in all calls.
    pub max_sockets: Option<u32>,
    /// Sockets kept open for the next calls.
    pub warm: u32,
}

impl Section for DeepgramFlux {
    fn domain(&self) -> &'static str {
        "deepgram.com"
    }

    fn key_variable(&self) -> &'static str {
        "DEEPGRAM_API_KEY"
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
        language_of(&self.model)
    }

    fn account(&self) -> Account {
        Account { max_contexts: self.max_contexts, max_sockets: self.max_sockets, warm: self.warm }
    }

    fn voice(&self) -> Voice {
        one_at_a_time("deepgram_flux", self.encoding, self.sample_rate)
    }

    fn settings(&self) -> speech::Settings {
        speech::Settings::DeepgramFlux(Box::new(deepgram_flux::Settings {
            url: self.url.clone(),
            api_key: self.api_key.clone().unwrap_or_default(),
            model: self.model.clone(),
            encoding: self.encoding.encoding(),
            rate: self.sample_rate,
            speed: self.speed.map(narrow),
        }))
    }

    fn problems(&self) -> Vec<SectionProblem> {
        super::passed_through(self.encoding, Some(self.sample_rate)).into_iter().collect()
    }
}
