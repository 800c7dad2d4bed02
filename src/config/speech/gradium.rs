//! `[speech.gradium]`

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Account, Section, SectionProblem, account_keys};
use crate::call::settings::{Cancel, Voice};
use crate::config::keys::{Key, Kind, TEXT, alias, joined, key};
use crate::config::llm::object;
use crate::secret::Secret;
use crate::config::settings::SpeechEncoding;
use crate::dialect::speech::{self, gradium};

/// The vendor ends a request after 300 s. Half a minute before, a long turn goes on on another one.
const AGE: Duration = Duration::from_secs(270);

/// The keys, in the order of the documentation.
pub(super) const KEYS: &[Key] = &joined::<{ OWN.len() + 3 }>(&[OWN, &account_keys!("speech.gradium")]);

const OWN: &[Key] = &[
    key("speech.gradium.url", Kind::WebSocketUrl, None, "endpoint; absent: the vendor's, as `region` says"),
    key("speech.gradium.region", Kind::Choice(&["global", "eu", "us"]), Some("global"), "where the vendor's servers are"),
    alias("GRADIUM_API_KEY", key("speech.gradium.api_key", Kind::Secret, None, "API key")),
    key("speech.gradium.model", TEXT, Some("default"), "model"),
    key("speech.gradium.voice", TEXT, Some("YTpq7expH9539ERJ"), "voice id"),
    key(
        "speech.gradium.language",
        TEXT,
        Some("en"),
        "language code of the voice, for the rules of `[text]`; the vendor is not told",
    ),
    key(
        "speech.gradium.encoding",
        Kind::Choice(&["pcm_s16le", "pcm_mulaw"]),
        Some("pcm_s16le"),
        "encoding asked for; `pcm_mulaw` is passed through to a telephone line",
    ),
    key(
        "speech.gradium.sample_rate",
        Kind::Rate(&[8_000, 16_000, 22_050, 24_000, 44_100, 48_000]),
        None,
        "sampling rate asked for, in Hz; absent: the carrier's own",
    ),
    key(
        "speech.gradium.ca_file",
        TEXT,
        None,
        "PEM file of a certificate authority to trust in place of the public ones",
    ),
    key(
        "speech.gradium.cancel",
        Kind::Choice(&["filter", "reconnect"]),
        Some("filter"),
        "how speech is broken off, for which the vendor has no message: its audio is dropped until its end comes, or the \
         socket is made anew",
    ),
    key("speech.gradium.temp", Kind::Number(0.0, 1.4), None, "the vendor's `temp`: how much one reading differs from the next"),
    key(
        "speech.gradium.padding_bonus",
        Kind::Number(-10.0, 10.0),
        None,
        "the vendor's `padding_bonus`, which changes the speed; try which way",
    ),
    key("speech.gradium.json_config", Kind::Object, None, "further parameters, by the vendor's own names"),
];

/// `[speech.gradium]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gradium {
    /// Endpoint, `wss` or `ws`; absent: the region's.
    pub url: Option<String>,
    /// Where the vendor's servers are.
    pub region: Region,
    /// API key, for a header.
    pub api_key: Option<Secret>,
    /// Model.
    pub model: String,
    /// Voice id.
    pub voice: String,
    /// Language code of the voice.
    pub language: String,
    /// Encoding asked for.
    pub encoding: SpeechEncoding,
    /// Sampling rate asked for in Hz; absent: the carrier's own.
    pub sample_rate: Option<u32>,
    /// PEM file of a certificate authority to trust.
    pub ca_file: Option<PathBuf>,
    /// How speech is broken off.
    pub cancel: BreakOff,
    /// The vendor's `temp`, 0 to 1.4.
    pub temp: Option<f64>,
    /// The vendor's `padding_bonus`.
    pub padding_bonus: Option<f64>,
    /// Further parameters, by the vendor's own names.
    #[serde(default, deserialize_with = "object")]
    pub json_config: Map<String, Value>,
    /// Contexts at once in all calls.
    pub max_contexts: Option<u32>,
    /// Sockets at once in all calls.
    pub max_sockets: Option<u32>,
    /// Sockets kept open for the next calls.
    pub warm: u32,
}

/// Where the vendor's servers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// Wherever the vendor sends us.
    Global,
    /// The European Union.
    Eu,
    /// The United States.
    Us,
}

/// How speech is broken off at a vendor that has no message for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakOff {
    /// The vendor is told that no more text comes, and its audio is dropped until it says that it is done.
    Filter,
    /// The socket is made anew.
    Reconnect,
}

impl Section for Gradium {
    fn domain(&self) -> &'static str {
        "gradium.ai"
    }

    fn key_variable(&self) -> &'static str {
        "GRADIUM_API_KEY"
    }

    fn url(&self) -> &str {
        self.url.as_deref().unwrap_or(match self.region {
            Region::Global => "wss://api.gradium.ai/api/speech/tts",
            Region::Eu => "wss://eu.api.gradium.ai/api/speech/tts",
            Region::Us => "wss://us.api.gradium.ai/api/speech/tts",
        })
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
        let cancel = match self.cancel {
            BreakOff::Filter => Cancel::Awaited,
            BreakOff::Reconnect => Cancel::Reconnect,
        };
        // Buffering by the vendor is out of the question: it puts a space between tokens.
        let voice = Voice::plain("gradium", self.encoding.encoding(), self.sample_rate);
        Voice { context_age: Some(AGE), cancel, ..voice }
    }

    fn settings(&self) -> speech::Settings {
        let mut json_config = self.json_config.clone();
        let own = [("temp", self.temp), ("padding_bonus", self.padding_bonus)];
        json_config.extend(own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))));
        speech::Settings::Gradium(Box::new(gradium::Settings {
            url: self.url().to_owned(),
            api_key: self.api_key.clone().unwrap_or_default(),
            model: self.model.clone(),
            voice: self.voice.clone(),
            json_config,
        }))
    }

    fn problems(&self) -> Vec<SectionProblem> {
        let own = [("temp", self.temp), ("padding_bonus", self.padding_bonus)];
        let twice = own.into_iter().find(|(name, value)| value.is_some() && self.json_config.contains_key(*name));
        let twice = twice.map(|(name, _)| SectionProblem {
            key: "json_config",
            fault: format!("has {name:?}, which is a key of its own and set as well"),
            fix: "write it once",
        });
        super::passed_through(self.encoding, self.sample_rate).into_iter().chain(twice).collect()
    }
}
