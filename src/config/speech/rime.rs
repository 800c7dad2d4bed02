//! `[speech.rime]`

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Account, Section, account_keys};
use crate::audio::{Encoding, SourceFormat};
use crate::call::settings::{Cancel, Voice};
use crate::config::keys::{Key, Kind, TEXT, alias, joined, key};
use crate::secret::Secret;
use crate::dialect::speech::{self, rime};

/// The keys, in the order of the documentation.
pub(super) const KEYS: &[Key] = &joined::<{ OWN.len() + 3 }>(&[OWN, &account_keys!("speech.rime")]);

const OWN: &[Key] = &[
    key(
        "speech.rime.url",
        Kind::WebSocketUrl,
        Some("wss://users-ws.rime.ai/ws3"),
        "endpoint; further parameters of the vendor's may stand in its query",
    ),
    alias("RIME_API_KEY", key("speech.rime.api_key", Kind::Secret, None, "API key")),
    key("speech.rime.model", TEXT, Some("mistv2"), "model id"),
    key("speech.rime.voice", TEXT, Some("cove"), "voice, the same for a whole call"),
    key(
        "speech.rime.language",
        TEXT,
        Some("en"),
        "language code of the voice, for the rules of `[text]`; the vendor is not told",
    ),
    key(
        "speech.rime.sample_rate",
        Kind::Rate(&[8_000, 16_000, 22_050, 24_000, 44_100]),
        Some("8000"),
        "sampling rate asked for, in Hz; the samples are 16-bit PCM",
    ),
    key(
        "speech.rime.ca_file",
        TEXT,
        None,
        "PEM file of a certificate authority to trust in place of the public ones",
    ),
];

/// `[speech.rime]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rime {
    /// Endpoint, `wss` or `ws`.
    pub url: String,
    /// API key, for a header.
    pub api_key: Option<Secret>,
    /// Model id.
    pub model: String,
    /// Voice.
    pub voice: String,
    /// Language code of the voice.
    pub language: String,
    /// Sampling rate asked for in Hz.
    pub sample_rate: u32,
    /// PEM file of a certificate authority to trust.
    pub ca_file: Option<PathBuf>,
    /// Contexts at once in all calls.
    pub max_contexts: Option<u32>,
    /// Sockets at once in all calls.
    pub max_sockets: Option<u32>,
    /// Sockets kept open for the next calls.
    pub warm: u32,
}

impl Section for Rime {
    fn domain(&self) -> &'static str {
        "rime.ai"
    }

    fn key_variable(&self) -> &'static str {
        "RIME_API_KEY"
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
        // One name at a time, and nobody says when a cleared one is gone.
        let voice = Voice::plain("rime", Encoding::PcmS16Le, Some(self.sample_rate));
        Voice { contexts: Some(1), cancel: Cancel::Reconnect, ..voice }
    }

    fn settings(&self) -> speech::Settings {
        speech::Settings::Rime(Box::new(rime::Settings {
            url: self.url.clone(),
            api_key: self.api_key.clone().unwrap_or_default(),
            model: self.model.clone(),
            voice: self.voice.clone(),
            format: SourceFormat { encoding: Encoding::PcmS16Le, rate: self.sample_rate },
        }))
    }
}
