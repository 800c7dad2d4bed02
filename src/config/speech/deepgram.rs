//! `[speech.deepgram]`

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Account, Section, SectionProblem, account_keys};
use crate::call::settings::{Cancel, Voice};
use crate::config::keys::{Key, Kind, TEXT, alias, joined, key};
use crate::secret::Secret;
use crate::config::settings::SpeechEncoding;
use crate::dialect::speech::{self, deepgram};

/// The keys, in the order of the documentation.
pub(super) const KEYS: &[Key] = &joined::<{ OWN.len() + 3 }>(&[OWN, &account_keys!("speech.deepgram")]);

const OWN: &[Key] = &[
    key("speech.deepgram.url", Kind::WebSocketUrl, Some("wss://api.deepgram.com/v1/speak"), "endpoint"),
    alias("DEEPGRAM_API_KEY", key("speech.deepgram.api_key", Kind::Secret, None, "API key")),
    key("speech.deepgram.model", TEXT, Some("aura-2-thalia-en"), "model id, which is also the voice and its language"),
    key(
        "speech.deepgram.encoding",
        Kind::Choice(&["pcm_s16le", "pcm_mulaw"]),
        Some("pcm_s16le"),
        "encoding asked for; `pcm_mulaw` is passed through to a telephone line",
    ),
    key(
        "speech.deepgram.sample_rate",
        Kind::Rate(&[8_000, 16_000, 24_000, 32_000, 48_000]),
        Some("8000"),
        "sampling rate asked for, in Hz",
    ),
    key(
        "speech.deepgram.ca_file",
        TEXT,
        None,
        "PEM file of a certificate authority to trust in place of the public ones",
    ),
];

/// `[speech.deepgram]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deepgram {
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
    /// Contexts at once in all calls.
    pub max_contexts: Option<u32>,
    /// Sockets at once in all calls.
    pub max_sockets: Option<u32>,
    /// Sockets kept open for the next calls.
    pub warm: u32,
}

impl Section for Deepgram {
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
        one_at_a_time("deepgram", self.encoding, self.sample_rate)
    }

    fn settings(&self) -> speech::Settings {
        speech::Settings::Deepgram(Box::new(deepgram::Settings {
            url: self.url.clone(),
            api_key: self.api_key.clone().unwrap_or_default(),
            model: self.model.clone(),
            encoding: self.encoding.encoding(),
            rate: self.sample_rate,
        }))
    }

    fn problems(&self) -> Vec<SectionProblem> {
        super::passed_through(self.encoding, Some(self.sample_rate)).into_iter().collect()
    }
}

/// A voice whose audio comes without a name: one context on a link, and the next one when the vendor says that it is over.
pub(super) fn one_at_a_time(name: &'static str, encoding: SpeechEncoding, rate: u32) -> Voice {
    Voice { contexts: Some(1), cancel: Cancel::Awaited, ..Voice::plain(name, encoding.encoding(), Some(rate)) }
}

/// The language that a model speaks, which its name ends with: `en` of `aura-2-thalia-en`.
pub(super) fn language_of(model: &str) -> Option<&str> {
    let (_, code) = model.rsplit_once('-')?;
    (code.len() == 2 && code.chars().all(|c| c.is_ascii_lowercase())).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_names_its_language() {
        assert_eq!(language_of("aura-2-thalia-en"), Some("en"));
        assert_eq!(language_of("aura-2-celeste-es"), Some("es"));
        for unknown in ["custom", "aura-2", "my-model-v2", ""] {
            assert_eq!(language_of(unknown), None, "{unknown}");
        }
    }
}
