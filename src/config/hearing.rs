//! The typed configuration of hearing.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::settings::{maybe_seconds, millis};
use crate::secret::Secret;

/// `[hearing]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hearing {
    /// Who writes down what callers say.
    pub provider: HearingProvider,
    /// Who decides that the caller has finished; absent: as the provider is made.
    pub turn_end: Option<TurnEnd>,
    /// Silence after which an answer is prepared, up to 5 s; zero: not before the end.
    #[serde(rename = "eager_ms", deserialize_with = "millis")]
    pub eager: Duration,
    /// Whether the agent is told what is known before the caller has finished.
    pub partials: bool,
    /// Longest wait for the last words, 100 ms to 10 s.
    #[serde(rename = "last_words_ms", deserialize_with = "millis")]
    pub last_words: Duration,
    /// Age before which a session is replaced, 30 s to a day; absent: the provider's.
    #[serde(rename = "session_s", default, deserialize_with = "maybe_seconds")]
    pub session: Option<Duration>,
    /// Settings of Cartesia's Ink.
    pub cartesia: CartesiaHearing,
    /// Settings of Deepgram.
    pub deepgram: DeepgramHearing,
    /// Settings of Deepgram's Flux.
    pub deepgram_flux: FluxHearing,
    /// Settings of Gradium.
    pub gradium: GradiumHearing,
}

/// Who writes down what callers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HearingProvider {
    /// Nobody.
    None,
    /// Cartesia's Ink, or any server of its protocol.
    Cartesia,
    /// Deepgram's `/v1/listen`, or any server of its protocol.
    Deepgram,
    /// Deepgram's Flux, or any server of its protocol.
    DeepgramFlux,
    /// Gradium, or any server of its protocol.
    Gradium,
}

impl HearingProvider {
    /// The provider as it is written, which is also the name of its section.
    pub const fn as_str(self) -> &'static str {
        match self {
            HearingProvider::None => "none",
            HearingProvider::Cartesia => "cartesia",
            HearingProvider::Deepgram => "deepgram",
            HearingProvider::DeepgramFlux => "deepgram_flux",
            HearingProvider::Gradium => "gradium",
        }
    }
}

/// Who decides that the caller has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnEnd {
    /// Our own detector.
    Silence,
    /// The vendor.
    Vendor,
}

/// `[hearing.cartesia]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CartesiaHearing {
    /// Which protocol.
    pub endpoint: InkEndpoint,
    /// Endpoint, `wss` or `ws`; absent: the vendor's for the protocol.
    url: Option<String>,
    /// API key, for a header.
    pub api_key: Option<Secret>,
    /// Protocol version, a date.
    pub version: String,
    /// Model id.
    pub model: String,
    /// Language code.
    pub language: Option<String>,
    /// Words to listen for.
    #[serde(default)]
    pub keyterms: Vec<String>,
    /// Probability that begins a turn, 0.5 to 0.9.
    pub start_threshold: Option<f64>,
    /// Probability below which a turn is probably over, 0.3 to 0.6.
    pub eager_end_threshold: Option<f64>,
    /// Probability below which a turn is over, 0.05 to 0.5.
    pub end_threshold: Option<f64>,
    /// Silence that ends a turn, 640 ms to 11.2 s.
    #[serde(rename = "end_timeout_ms", default, deserialize_with = "maybe_millis")]
    pub end_timeout: Option<Duration>,
    /// Audio in one message, 20 ms to 1 s.
    #[serde(rename = "piece_ms", deserialize_with = "millis")]
    pub piece: Duration,
    /// PEM file of a certificate authority to trust.
    pub ca_file: Option<PathBuf>,
}

impl CartesiaHearing {
    /// The endpoint, the vendor's own unless there is another.
    pub fn url(&self) -> &str {
        self.url.as_deref().unwrap_or(match self.endpoint {
            InkEndpoint::Turns => "wss://api.cartesia.ai/stt/turns/websocket",
            InkEndpoint::Manual => "wss://api.cartesia.ai/stt/websocket",
        })
    }
}

/// A protocol of Cartesia's Ink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InkEndpoint {
    /// The vendor finds turns.
    Turns,
    /// We say when an utterance is over.
    Manual,
}

/// `[hearing.deepgram]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeepgramHearing {
    /// Endpoint, `wss` or `ws`.
    pub url: String,
    /// API key, for a header.
    pub api_key: Option<Secret>,
    /// Model id.
    pub model: String,
    /// Language tag.
    pub language: Option<String>,
    /// Words to listen for.
    #[serde(default)]
    pub keyterms: Vec<String>,
    /// Silence that the vendor takes for the end of speech, 10 ms to 5 s.
    #[serde(rename = "endpointing_ms", deserialize_with = "millis")]
    pub endpointing: Duration,
    /// Time without words that the vendor takes for the end of an utterance, 1 to 5 s.
    #[serde(rename = "utterance_end_ms", deserialize_with = "millis")]
    pub utterance_end: Duration,
    /// Punctuation, numbers and dates.
    pub smart_format: bool,
    /// Audio in one message, 20 ms to 1 s.
    #[serde(rename = "piece_ms", deserialize_with = "millis")]
    pub piece: Duration,
    /// PEM file of a certificate authority to trust.
    pub ca_file: Option<PathBuf>,
}

/// `[hearing.deepgram_flux]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FluxHearing {
    /// Endpoint, `wss` or `ws`.
    pub url: String,
    /// API key, for a header.
    pub api_key: Option<Secret>,
    /// Model id.
    pub model: String,
    /// Language to expect.
    pub language: Option<String>,
    /// Words to listen for.
    #[serde(default)]
    pub keyterms: Vec<String>,
    /// Confidence that ends a turn, 0.5 to 1.
    pub end_threshold: Option<f64>,
    /// Confidence that makes an end probable, 0.3 to 0.9.
    pub eager_end_threshold: Option<f64>,
    /// Silence that ends a turn, 0.5 to 60 s.
    #[serde(rename = "end_timeout_ms", default, deserialize_with = "maybe_millis")]
    pub end_timeout: Option<Duration>,
    /// Audio in one message, 20 ms to 1 s.
    #[serde(rename = "piece_ms", deserialize_with = "millis")]
    pub piece: Duration,
    /// PEM file of a certificate authority to trust.
    pub ca_file: Option<PathBuf>,
}

/// `[hearing.gradium]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradiumHearing {
    /// Endpoint, `wss` or `ws`.
    pub url: String,
    /// API key, for a header.
    pub api_key: Option<Secret>,
    /// Model id.
    pub model: String,
    /// Language code.
    pub language: Option<String>,
    /// Frames of 80 ms that words may be behind their sound.
    pub delay_frames: Option<u32>,
    /// Probability of silence above which the caller has finished, 0 to 1.
    pub quiet_threshold: f64,
    /// Steps of 80 ms that must say so, 1 to 100.
    pub quiet_steps: u32,
    /// Audio in one message, 20 ms to 1 s.
    #[serde(rename = "piece_ms", deserialize_with = "millis")]
    pub piece: Duration,
    /// PEM file of a certificate authority to trust.
    pub ca_file: Option<PathBuf>,
}

fn maybe_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Option::<u64>::deserialize(deserializer).map(|ms| ms.map(Duration::from_millis))
}
