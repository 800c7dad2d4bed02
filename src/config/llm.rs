//! The typed configuration of an agent that asks a language model.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::settings::{millis, seconds};
use crate::secret::Secret;

/// `[agent.llm]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Llm {
    /// Base URL of the chat-completions API.
    pub url: String,
    /// API key, for a header.
    pub api_key: Option<Secret>,
    /// PEM file of a certificate authority to trust.
    pub ca_file: Option<PathBuf>,
    /// Model id; there is one if this agent is chosen.
    pub model: Option<String>,
    /// Who the model is.
    pub system_prompt: String,
    /// Said when the call starts; empty: nothing.
    pub greeting: String,
    /// The model says the first words.
    pub greeting_from_model: bool,
    /// Temperature, 0 to 2.
    pub temperature: Option<f64>,
    /// Longest answer in tokens.
    pub max_tokens: Option<u32>,
    /// Further fields of each request's body.
    #[serde(default, deserialize_with = "object")]
    pub extra: Map<String, Value>,
    /// Longest wait for a connection.
    #[serde(rename = "connect_ms", deserialize_with = "millis")]
    pub connect: Duration,
    /// Longest wait for the first token.
    #[serde(rename = "first_token_ms", deserialize_with = "millis")]
    pub first_token: Duration,
    /// Longest wait for the next token.
    #[serde(rename = "between_tokens_ms", deserialize_with = "millis")]
    pub between_tokens: Duration,
    /// Longest time for a whole answer.
    #[serde(rename = "answer_s", deserialize_with = "seconds")]
    pub answer: Duration,
    /// Said in place of an answer; never empty.
    pub fallback_line: String,
    /// Said after an answer that broke off; empty: nothing.
    pub cut_line: String,
    /// Said while an answer is waited for; empty: nothing.
    pub filler: String,
    /// Silence before the filler.
    #[serde(rename = "filler_after_ms", deserialize_with = "millis")]
    pub filler_after: Duration,
    /// Answers that fail in a row before the agent counts as lost.
    pub failures_max: u32,
    /// Follows what was heard of an answer that was cut off.
    pub interrupted_marker: String,
    /// Messages that the model is shown.
    pub history_messages: usize,
    /// Their text, in bytes.
    pub history_bytes: usize,
    /// Times in a row that the model may call tools.
    pub tool_rounds: u32,
    /// Offer the tool that ends the call.
    pub end_call: bool,
    /// Offer the tool that plays tones.
    pub send_digits: bool,
    /// Offer the tool that waits for keys.
    pub collect_digits: bool,
    /// To whom the model may transfer a call.
    #[serde(default)]
    pub transfers: BTreeMap<String, String>,
    /// Tools of the operator's.
    #[serde(default)]
    pub tools: Vec<AgentTool>,
}

/// `[[agent.llm.tools]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentTool {
    /// Its name: letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// What it is for, for the model.
    pub description: String,
    /// JSON schema of its arguments.
    #[serde(deserialize_with = "object")]
    pub parameters: Map<String, Value>,
    /// Where the arguments are posted to.
    pub url: String,
    /// Bearer token, for a header.
    pub token: Option<Secret>,
    /// How long it may take.
    #[serde(rename = "timeout_ms", deserialize_with = "millis")]
    pub timeout: Duration,
    /// Said if it is slower than that; empty: nothing.
    pub filler: String,
    /// Silence before the filler.
    #[serde(rename = "filler_after_ms", deserialize_with = "millis")]
    pub filler_after: Duration,
}

/// A JSON object, which is carried through the layers as text.
pub(super) fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    let text = String::deserialize(deserializer)?;
    serde_json::from_str(&text).map_err(|_| D::Error::custom("not in the form that was checked"))
}
