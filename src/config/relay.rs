//! `[agent.relay]`: a ConversationRelay app, and every attribute of Twilio's noun.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::checks::Given;
use super::hearing::HearingProvider;
use super::problem::{Fault, Problem};
use super::read;
use super::settings::{AgentKind, Config};
use crate::server::twilio::public_url::Transport;

/// Attributes that the noun or its SDK know and that have no effect here: other keys say who speaks and hears, or there is
/// nothing here that they could change.
const IGNORED: [&str; 22] = [
    "ttsProvider",
    "transcriptionProvider",
    "speechModel",
    "hints",
    "elevenlabsTextNormalization",
    "elevenlabsLanguageTextNormalization",
    "ttsTextNormalization",
    "ttsLanguageTextNormalization",
    "intelligenceService",
    "profanityFilter",
    "partialPromptOnHangup",
    "backgroundNoiseReduction",
    "deepgramSmartFormat",
    "asrSmartFormat",
    "ignoreBackchannel",
    "eagerEotThreshold",
    "includeInPrompt",
    "customerName",
    "applicationReconnect",
    "echoPromptFiltering",
    "turnDetection",
    "conversationConfiguration",
];
/// What can be subscribed to. `debugging` has no documented shape, so that nothing is sent for it.
pub(super) const EVENTS: &[&str] = &["debugging", SPEAKERS, TOKENS];
const SPEAKERS: &str = "speaker-events";
const TOKENS: &str = "tokens-played";

/// `[agent.relay]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// Where the app listens; there is one if this agent is chosen.
    pub url: Option<String>,
    /// PEM file of a certificate authority to trust.
    pub ca_file: Option<PathBuf>,
    /// Where the app is asked what to do with a call after its session.
    pub action_url: Option<String>,
    /// `customParameters` of every session.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Said when the app is there.
    #[serde(default)]
    pub welcome_greeting: String,
    /// What interrupts the greeting.
    pub welcome_greeting_interruptible: Interruption,
    /// What interrupts the app's speech; absent: `barge_in.policy`.
    pub interruptible: Option<Interruption>,
    /// How little speech interrupts.
    pub interrupt_sensitivity: Sensitivity,
    /// Whether later speech cuts off earlier one.
    pub preemptible: bool,
    /// Tell of keys.
    pub dtmf_detection: bool,
    /// What is told although it does not interrupt.
    pub report_input_during_agent_speech: Interruption,
    /// Tell what is known of an utterance before it is over.
    pub partial_prompts: bool,
    /// Silence that ends the caller's speech, 20 ms to 10 s; absent: `barge_in.silence`.
    #[serde(default, rename = "speech_timeout_ms", deserialize_with = "millis")]
    pub speech_timeout: Option<Duration>,
    /// Language of both sides.
    pub language: Option<String>,
    /// Language of speech.
    pub tts_language: Option<String>,
    /// Language of the caller.
    pub transcription_language: Option<String>,
    /// Voice id.
    pub voice: Option<String>,
    /// Languages with a voice of their own.
    #[serde(default)]
    pub languages: BTreeMap<String, String>,
    /// What the app subscribes to, separated by spaces.
    #[serde(default)]
    pub events: String,
    /// The same by its older name.
    #[serde(default)]
    pub debug: String,
    /// What has no effect.
    #[serde(default)]
    pub ignored: BTreeMap<String, String>,
}

/// What may interrupt, in the noun's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interruption {
    /// Speech and digits.
    #[serde(alias = "true")]
    Any,
    /// Speech only.
    Speech,
    /// Digits only.
    Dtmf,
    /// Nothing.
    #[serde(alias = "false")]
    None,
}

/// How little speech interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensitivity {
    /// At least 400 ms.
    Low,
    /// At least 200 ms.
    Medium,
    /// What `barge_in` says.
    High,
}

impl Sensitivity {
    /// The least speech that interrupts.
    pub const fn least(self) -> Duration {
        Duration::from_millis(match self {
            Sensitivity::Low => 400,
            Sensitivity::Medium => 200,
            Sensitivity::High => 0,
        })
    }
}

impl Relay {
    /// Language of speech, if one is set.
    pub fn speech_language(&self) -> Option<&str> {
        self.tts_language.as_deref().or(self.language.as_deref())
    }

    /// Language of the caller, if one is set.
    pub fn hearing_language(&self) -> Option<&str> {
        self.transcription_language.as_deref().or(self.language.as_deref())
    }

    /// Whether the app is told who speaks.
    pub fn wants_speakers(&self) -> bool {
        self.subscribes(SPEAKERS)
    }

    /// Whether the app is told what was heard of its text.
    pub fn wants_tokens(&self) -> bool {
        self.subscribes(TOKENS)
    }

    fn subscribes(&self, event: &str) -> bool {
        self.events.split_whitespace().chain(self.debug.split_whitespace()).any(|name| name == event)
    }
}

/// What stops a start.
pub(super) fn problem(config: &Config, given: &Given<'_>) -> Option<Problem> {
    let key = "agent.relay.url";
    if !is_chosen(config, given) || config.agent.relay.url.is_some() || given.is_faulty(key) {
        return None;
    }
    let fault = format!("is missing, although agent.kind is \"relay\" ({})", given.source("agent.kind"));
    let fix = "write where your app listens, such as \"wss://app.example.com/relay\"";
    Some(Fault::new(fault, fix).at("configuration", key))
}

/// Everything that works but should be looked at.
pub(super) fn warnings(config: &Config, given: &Given<'_>) -> Vec<Problem> {
    let relay = &config.agent.relay;
    if !is_chosen(config, given) {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    let mut warn = |key: &str, fault: &str, fix: &str| {
        warnings.push(Fault::new(fault, fix).at(given.source(key), key));
    };
    if config.hearing.provider == HearingProvider::None {
        let fault = "is \"none\", although agent.kind is \"relay\": the app is told nothing of what callers say";
        warn("hearing.provider", fault, "choose a provider");
    }
    let url = relay.url.as_deref().and_then(read::websocket_host);
    if url.is_some_and(|url| url.transport() == Transport::Plain && !url.is_loopback()) {
        warn("agent.relay.url", "sends what is said unencrypted over a network", "use wss");
    }
    if config.twilio.auth_token.is_none() {
        warn("agent.relay.url", "is dialled without a signature", "set twilio.auth_token, if the app checks it");
    }
    for name in relay.ignored.keys() {
        warn(&format!("agent.relay.ignored.{name}"), "has no effect", "see docs/conversation-relay.md");
    }
    warnings
}

/// Whether an attribute is known to have no effect.
pub(super) fn ignored(name: &str) -> Result<(), Fault> {
    if IGNORED.contains(&name) {
        return Ok(());
    }
    let near = IGNORED.iter().find(|known| strsim::normalized_damerau_levenshtein(known, name) >= 0.72);
    let fix = near.map_or_else(
        || "remove it: what has an effect has a key of its own, such as agent.relay.interruptible".to_owned(),
        |near| format!("did you mean {near}?"),
    );
    Err(Fault::new("is not an attribute that is ignored", fix))
}

fn is_chosen(config: &Config, given: &Given<'_>) -> bool {
    config.agent.kind == AgentKind::Relay && !given.is_faulty("agent.kind")
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use super::super::{Input, Loaded, load};
    use super::*;

    fn read(text: &str) -> Result<Loaded, Vec<String>> {
        let file = Some(("settings.toml".to_owned(), format!("[agent]\nkind = \"relay\"\n[agent.relay]\n{text}")));
        load(&Input { file, ..Input::default() })
            .map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn defaults_are_those_of_the_noun() {
        let relay = read("url = \"ws://127.0.0.1:9/relay\"").unwrap().config.agent.relay;
        assert_eq!((relay.welcome_greeting.as_str(), relay.voice), ("", None));
        assert_eq!(relay.welcome_greeting_interruptible, Interruption::Any);
        assert_eq!((relay.interruptible, relay.interrupt_sensitivity), (None, Sensitivity::High));
        assert_eq!(relay.report_input_during_agent_speech, Interruption::None);
        assert!(!relay.preemptible && !relay.dtmf_detection && !relay.partial_prompts);
    }

    #[test]
    fn the_nouns_words_are_understood() {
        let relay = read(
            "url = \"wss://app.example.com/relay?tenant=acme\"\ninterruptible = \"false\"\n\
             welcome_greeting_interruptible = \"true\"\nspeech_timeout_ms = 900\nevents = \"debugging tokens-played\"\n\
             debug = \"speaker-events\"\nlanguages = { \"sv-SE\" = \"elin\" }\nignored = { ttsProvider = \"Google\" }",
        );
        let loaded = relay.unwrap();
        let relay = &loaded.config.agent.relay;
        assert_eq!(
            (relay.interruptible, relay.welcome_greeting_interruptible),
            (Some(Interruption::None), Interruption::Any)
        );
        assert_eq!(
            (relay.speech_timeout, relay.languages["sv-SE"].as_str()),
            (Some(Duration::from_millis(900)), "elin")
        );
        assert!(relay.wants_speakers() && relay.wants_tokens());
        let ignored = loaded.warnings.iter().find(|warning| warning.key == "agent.relay.ignored.ttsProvider");
        assert_eq!(ignored.unwrap().fault, "has no effect");
    }

    #[test]
    fn mistakes_are_told_together() {
        let lines = read(
            "interruptible = \"sometimes\"\nevents = \"speaker-event\"\nlanguages = { \"sv SE\" = \"x\" }\n\
             ignored = { ttsProvidr = \"Google\", interruptible = \"any\" }\nspeech_timeout_ms = 5",
        )
        .unwrap_err();
        for part in [
            "agent.relay.url is missing, although agent.kind is \"relay\"",
            "agent.relay.interruptible is \"sometimes\"",
            "agent.relay.events holds \"speaker-event\"",
            "agent.relay.languages.sv SE is not a language code",
            "did you mean ttsProvider?",
            "agent.relay.ignored.interruptible is not an attribute that is ignored",
            "agent.relay.speech_timeout_ms is 5",
        ] {
            assert_eq!(lines.iter().filter(|line| line.contains(part)).count(), 1, "{part}: {lines:?}");
        }
        assert_eq!(lines.len(), 7, "{lines:?}");
    }

    #[test]
    fn what_will_not_do_what_is_hoped_is_warned_of() {
        let keys = |text: &str| -> Vec<String> {
            read(text)
                .unwrap()
                .warnings
                .into_iter()
                .map(|warning| format!("{} {}", warning.key, warning.fault))
                .collect()
        };
        let local = keys("url = \"ws://127.0.0.1:9/relay\"");
        assert!(local.iter().any(|line| line.contains("the app is told nothing of what callers say")), "{local:?}");
        assert!(local.iter().any(|line| line.contains("without a signature")), "{local:?}");
        let plain = keys("url = \"ws://app.example.com/relay\"");
        assert!(plain.iter().any(|line| line.contains("unencrypted")), "{plain:?}");
    }
}
