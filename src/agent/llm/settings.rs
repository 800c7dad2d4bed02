//! What an agent that asks a model is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Map, Value};

use crate::http::{self, HttpError};
use crate::secret::Secret;

/// Everything that is the same in every call.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Base URL of the API, such as `https://api.openai.com/v1`, or of its `chat/completions` itself.
    pub url: String,
    /// Sent as a bearer token; `None`: none is.
    pub api_key: Option<Secret>,
    /// PEM file of authorities to trust in place of those of the web.
    pub ca_file: Option<PathBuf>,
    /// Name of the model.
    pub model: String,
    /// Who the model is; empty: nobody says.
    pub system_prompt: String,
    /// What is said first.
    pub greeting: Greeting,
    /// Temperature; `None`: the server's own.
    pub temperature: Option<f64>,
    /// Longest answer in tokens; `None`: the server's own.
    pub max_tokens: Option<u32>,
    /// Further fields of each request's body.
    pub extra: Map<String, Value>,
    /// How long things may take and how much there may be.
    pub limits: Limits,
    /// What is said when the model says nothing.
    pub lines: Lines,
    /// Follows a text that was cut off, where the model is shown it; empty: nothing does.
    pub interrupted_marker: String,
    /// The tools of this gateway.
    pub built_in: BuiltIn,
    /// The operator's own tools.
    pub tools: Vec<Tool>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            url: "https://api.openai.com/v1".to_owned(),
            api_key: None,
            ca_file: None,
            model: String::new(),
            system_prompt: String::new(),
            greeting: Greeting::Nothing,
            temperature: None,
            max_tokens: None,
            extra: Map::new(),
            limits: Limits::default(),
            lines: Lines::default(),
            interrupted_marker: "[interrupted]".to_owned(),
            built_in: BuiltIn::default(),
            tools: Vec::new(),
        }
    }
}

/// What is said first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Greeting {
    /// Nothing: the caller begins.
    #[default]
    Nothing,
    /// A line.
    Line(String),
    /// What the model answers when it is told that a call begins.
    Model,
}

/// How long things may take, and how much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until a connection to the model's server is made.
    pub connect: Duration,
    /// From the end of the caller's words to the first of the answer, a second try included.
    pub first_token: Duration,
    /// Between two signs of life of an answer that has begun.
    pub between_tokens: Duration,
    /// For a whole answer. While it is held up because the caller has not heard enough of it, time stands still.
    pub answer: Duration,
    /// Answers that fail in a row before the agent counts as lost.
    pub failures: u32,
    /// Times in a row that the model may call tools before it has to speak.
    pub tool_rounds: u32,
    /// Messages of the conversation that the model is shown, about.
    pub history_messages: usize,
    /// Their text in bytes, about.
    pub history_bytes: usize,
    /// From the end of the caller's speech until it counts as a noise, if no words came of it. A question that was
    /// dropped because of it is asked again.
    pub resume: Duration,
    /// Between two keys that are pressed one after the other.
    pub digits_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(3),
            first_token: Duration::from_secs(8),
            between_tokens: Duration::from_secs(10),
            answer: Duration::from_secs(120),
            failures: 3,
            tool_rounds: 5,
            history_messages: 200,
            history_bytes: 64 * 1024,
            resume: Duration::from_secs(3),
            digits_pause: Duration::from_millis(1_500),
        }
    }
}

/// What is said when the model says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    /// In place of an answer that failed; never empty.
    pub fallback: String,
    /// After the beginning of an answer that broke off; empty: nothing.
    pub cut: String,
    /// While an answer is waited for; empty: nothing.
    pub filler: String,
    /// After so much silence.
    pub filler_after: Duration,
}

impl Default for Lines {
    fn default() -> Self {
        Lines {
            fallback: "I am sorry, something went wrong on my side. Could you say that again, please?".to_owned(),
            cut: "I am sorry, I lost my thread.".to_owned(),
            filler: "One moment, please.".to_owned(),
            filler_after: Duration::from_secs(3),
        }
    }
}

/// The tools of this gateway that a model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// `end_call`.
    pub end_call: bool,
    /// `send_digits`.
    pub send_digits: bool,
    /// `collect_digits`.
    pub collect_digits: bool,
    /// `transfer_call`: to whom, by a name for the model, and at which number. Empty: to nobody.
    pub transfers: BTreeMap<String, String>,
}

impl Default for BuiltIn {
    fn default() -> Self {
        BuiltIn { end_call: true, send_digits: true, collect_digits: true, transfers: BTreeMap::new() }
    }
}

/// Names that no tool of the operator's may have.
pub const BUILT_IN_NAMES: [&str; 4] = ["end_call", "transfer_call", "send_digits", "collect_digits"];

/// A tool of the operator's: an HTTP endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name: letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// What it is for, for the model.
    pub description: String,
    /// JSON schema of its arguments, an object.
    pub parameters: Value,
    /// Where the arguments are posted to.
    pub url: String,
    /// Sent as a bearer token; `None`: none is.
    pub token: Option<Secret>,
    /// How long it may take.
    pub timeout: Duration,
    /// Said if it is slower than that; empty: nothing.
    pub filler: String,
    /// After so much silence.
    pub filler_after: Duration,
}

/// The headers of a request with `key`; `name` is what the key is called if it cannot stand in one.
pub(super) fn headers(key: Option<&Secret>, name: &'static str) -> Result<HeaderMap, HttpError> {
    let value = key.map(|key| http::bearer(key, name)).transpose()?;
    Ok(value.map(|value| (AUTHORIZATION, value)).into_iter().collect())
}
