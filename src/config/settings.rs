//! The typed configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::hearing::Hearing;
use super::limits::Limits;
use super::llm::Llm;
use super::otlp::Otlp;
use super::outbound::Outbound;
use super::recording::Recording;
use super::relay::Relay;
use super::speech::Speech;
use super::tls::Tls;
use crate::audio::Encoding;
use crate::call::settings as call;
use crate::secret::Secret;
use crate::server::tokens::Grant;
use crate::server::twilio::address::Address;
use crate::server::twilio::public_url::PublicUrl;

/// Everything that can be configured. Made by [`load`](super::load) only, which has checked it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The HTTP side.
    pub server: Server,
    /// What the port speaks.
    #[serde(default)]
    pub tls: Tls,
    /// What those may do who connect, and when this server has enough.
    pub limits: Limits,
    /// The carrier's account.
    pub twilio: Twilio,
    /// Who speaks.
    pub speech: Speech,
    /// How written text is spoken.
    pub text: Text,
    /// How audio is paced.
    pub playout: Playout,
    /// What interrupts speech.
    pub barge_in: BargeIn,
    /// What happens when nobody speaks, and how long a call may last.
    pub call: Call,
    /// Who writes down what callers say.
    pub hearing: Hearing,
    /// Who decides what is said.
    pub agent: Agent,
    /// Whom we ask where somebody else has a say in it.
    #[serde(default)]
    pub outbound: Outbound,
    /// How recordings are played.
    pub player: Player,
    /// Which calls are recorded as sound.
    pub recording: Recording,
    /// What is recorded.
    pub tape: Tape,
    /// What is logged.
    pub log: Log,
    /// Where traces of calls go.
    pub otlp: Otlp,
    /// Who is believed; follows from the above.
    #[serde(skip)]
    pub trust: Trust,
}

/// Who is believed. It follows from what is configured, never from the listen address: a tunnel or a proxy on this
/// host makes every stranger a loopback client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Nothing is secret: loopback only, no foreign `Host`, no `Origin`.
    #[default]
    Open,
    /// Signatures, stream tokens and the API token are required from everybody.
    Signed,
    /// Nothing is required from anybody, on any address, by the operator's explicit wish.
    Insecure,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Where carriers reach us.
    #[serde(default, deserialize_with = "parsed")]
    pub public_url: Option<PublicUrl>,
    /// Bearer token of the HTTP API.
    pub api_token: Option<Secret>,
    /// Tokens of the HTTP API that are good for less, by their names.
    #[serde(default, deserialize_with = "grants")]
    pub tokens: BTreeMap<String, Grant>,
    /// Key of the stream tokens; to be made at start if absent.
    pub token_key: Option<Secret>,
    /// Calls at one time, 1 to 100,000.
    pub max_calls: u32,
    /// How long live calls may go on after a stop signal, up to a day.
    #[serde(rename = "drain_s", deserialize_with = "seconds")]
    pub drain: Duration,
    /// Where calls are sent that we cannot take; absent: they hear busy.
    pub busy_redirect_url: Option<String>,
    /// What a call hears before it is answered, if we cannot take it.
    pub busy_signal: BusySignal,
    /// Said to one that is answered already; empty: nothing.
    pub busy_line: String,
    /// Said to calls that are still live when the drain has lasted too long; empty: nothing.
    pub drain_line: String,
    /// Address of the API, health and metrics alone.
    pub control_listen: Option<SocketAddr>,
    /// Where agents reach this process.
    #[serde(default, deserialize_with = "parsed")]
    pub control_url: Option<PublicUrl>,
}

/// What a call hears that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BusySignal {
    /// The carrier's busy tone.
    Tone,
    /// A line, in the carrier's voice.
    Line,
}

/// `[twilio]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Twilio {
    /// Account id.
    pub account_sid: Option<String>,
    /// Checks HMAC-SHA1 signatures.
    pub auth_token: Option<Secret>,
    /// Id of an API key for requests to the REST API; together with its secret or not at all.
    pub api_key_sid: Option<String>,
    /// Secret of that key.
    pub api_key_secret: Option<Secret>,
    /// Where the REST API is.
    #[serde(deserialize_with = "parsed_one")]
    pub api_url: PublicUrl,
    /// Who calls, in outbound calls: a number, a SIP address or a client's name.
    #[serde(default, deserialize_with = "parsed")]
    pub from: Option<Address>,
    /// Check HMAC-SHA256 signatures: key id to secret.
    #[serde(default)]
    pub shared_keys: BTreeMap<String, Secret>,
    /// Where Twilio asks what to do after the stream.
    pub after_url: Option<String>,
    /// Parameters handed through to the stream.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
}

/// Encoding of synthesised speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpeechEncoding {
    /// Signed 16-bit samples, little-endian.
    PcmS16le,
    /// G.711 mu-law, at 8 kHz only.
    PcmMulaw,
}

impl SpeechEncoding {
    /// The same in the words of those who decode it.
    pub const fn encoding(self) -> Encoding {
        match self {
            SpeechEncoding::PcmS16le => Encoding::PcmS16Le,
            SpeechEncoding::PcmMulaw => Encoding::Mulaw,
        }
    }
}

/// Who collects the agent's tokens into pieces that can be spoken. Both at once would add seconds of silence, and
/// cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffering {
    /// This server sends whole sentences and the vendor speaks them at once.
    Sentences,
    /// Tokens are sent as they come and the vendor waits at most this long, 1 to 5000 ms.
    Managed(Duration),
}

/// `[text]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Marks of Markdown, and blocks of code.
    pub markdown: TextRule,
    /// Emoji.
    pub emoji: TextRule,
    /// Addresses of pages and people.
    pub urls: TextRule,
    /// Telephone numbers and codes.
    pub digits: TextRule,
    /// Signs that voices misread.
    pub symbols: TextRule,
    /// The mark that is missing at the end of a turn.
    pub closing: TextRule,
}

/// What becomes of something in an agent's text. Each key has its own word for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextRule {
    /// It is left out, or said in other words.
    #[serde(alias = "strip", alias = "speak", alias = "spell", alias = "add")]
    Convert,
    /// It is spoken as it stands.
    Keep,
}

/// `[playout]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Playout {
    /// Audio kept ahead at the carrier, 20 ms to 1 s.
    #[serde(rename = "lead_ms", deserialize_with = "millis")]
    pub lead: Duration,
    /// Audio collected before a turn starts to play, up to 1 s.
    #[serde(rename = "prebuffer_ms", deserialize_with = "millis")]
    pub prebuffer: Duration,
    /// Frames in one write to the carrier, 1 or 2.
    pub frames_per_write: u32,
}

/// `[barge_in]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BargeIn {
    /// What interrupts speech unless an utterance says otherwise.
    pub policy: BargeInPolicy,
    /// Speech of the caller that counts as an interruption, 20 ms to 2 s.
    #[serde(rename = "min_speech_ms", deserialize_with = "millis")]
    pub min_speech: Duration,
    /// Probability above which a frame counts as speech, 0 to 1.
    pub threshold: f64,
    /// Silence that ends the caller's speech, 20 ms to 10 s.
    #[serde(rename = "silence_ms", deserialize_with = "millis")]
    pub silence: Duration,
}

/// What interrupts speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BargeInPolicy {
    /// Speech and digits.
    Any,
    /// Speech only.
    Speech,
    /// Digits only.
    Dtmf,
    /// Nothing.
    None,
}

/// `[call]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Silence on both sides after which the caller is asked, 1 s to an hour; absent: never.
    #[serde(rename = "idle_s", default, deserialize_with = "maybe_seconds")]
    pub idle: Option<Duration>,
    /// What the caller is asked, one line each time.
    pub idle_lines: Vec<String>,
    /// How long a call may last, up to a day; absent: for ever.
    #[serde(rename = "max_s", default, deserialize_with = "maybe_seconds")]
    pub longest: Option<Duration>,
    /// Said when a call ends for either reason.
    pub goodbye: String,
}

/// `[agent]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Which agent.
    pub kind: AgentKind,
    /// What the scripted one says.
    pub script: Script,
    /// The app, and how it is spoken to.
    pub relay: Relay,
    /// The one that asks a language model.
    pub llm: Llm,
}

/// Who decides what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentKind {
    /// `[agent.script]`.
    Script,
    /// The HTTP API, and nothing else.
    Api,
    /// An app that speaks ConversationRelay: `[agent.relay]`.
    Relay,
    /// `[agent.llm]`.
    Llm,
}

/// `[agent.script]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Said when the call starts; empty: nothing.
    pub greeting: String,
    /// Said one after the other, each when the caller stops speaking.
    pub lines: Vec<String>,
    /// Said when a key is pressed: one of `0`-`9`, `*`, `#`, `A`-`D`.
    #[serde(default)]
    pub digits: BTreeMap<String, String>,
}

/// `[player]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Player {
    /// Fetch recordings over plain `http` too.
    pub allow_http: bool,
    /// Longest file, in MiB, 1 to 100.
    pub max_mib: u32,
    /// Longest recording, up to an hour.
    #[serde(rename = "max_s", deserialize_with = "seconds")]
    pub longest: Duration,
    /// From the wish to the decoded recording, 1 to 60 s.
    #[serde(rename = "fetch_s", deserialize_with = "seconds")]
    pub fetch: Duration,
    /// Decoded recordings that are kept, in MiB, up to 4,096; 0: none.
    pub cache_mib: u32,
}

/// `[tape]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tape {
    /// Directory of the tapes; without one nothing is recorded.
    pub dir: Option<String>,
    /// What becomes of text, numbers and names.
    pub text: TapeText,
    /// What becomes of audio.
    pub audio: TapeAudio,
    /// Days after which a tape is deleted, 1 to 3650; absent: never.
    pub keep_days: Option<u32>,
}

/// What becomes of text on a tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TapeText {
    /// Made-up words of the same shape.
    Redact,
    /// It stays.
    Keep,
}

/// What becomes of audio on a tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TapeAudio {
    /// It stays.
    Keep,
    /// Silence of the same length.
    Silence,
}

/// `[log]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Form of the log.
    pub format: LogFormat,
    /// Least level that is logged.
    pub level: LogLevel,
    /// Whether spoken text and digits are logged.
    pub show_text: bool,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// Least level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the usual words say it all")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The level as log filters write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

impl From<Buffering> for call::Buffering {
    fn from(buffering: Buffering) -> Self {
        match buffering {
            Buffering::Sentences => call::Buffering::Gateway,
            Buffering::Managed(max_delay) => call::Buffering::Vendor { max_delay },
        }
    }
}

impl<'de> Deserialize<'de> for Buffering {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Word(String),
            Table { managed_ms: u64 },
        }
        match Form::deserialize(deserializer)? {
            Form::Word(word) if word == "sentences" => Ok(Buffering::Sentences),
            Form::Word(_) => Err(D::Error::custom("no such buffering")),
            Form::Table { managed_ms } => Ok(Buffering::Managed(Duration::from_millis(managed_ms))),
        }
    }
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(|_| D::Error::custom("not in the form that was checked"))).transpose()
}

fn grants<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Grant>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    let read = |(name, text): (String, String)| Grant::parse(&text).map(|grant| (name, grant));
    texts.into_iter().map(read).collect::<Result<_, _>>().map_err(D::Error::custom)
}

fn parsed_one<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D) -> Result<T, D::Error> {
    parsed(deserializer)?.ok_or_else(|| D::Error::custom("missing"))
}

pub(super) fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

pub(super) fn maybe_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_secs))
}

pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

/// A number of the configuration, as it is used.
#[expect(clippy::cast_possible_truncation, reason = "checked to be a small number; a rounding error cannot be heard")]
pub(crate) const fn narrow(value: f64) -> f32 {
    value as f32
}
