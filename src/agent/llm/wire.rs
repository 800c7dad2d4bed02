//! What is written to a chat-completions server, and what it writes back, piece by piece.
//!
//! The shapes are those of OpenAI's chat-completions API as its vendors and its many copies write them. What is read is
//! read leniently: every field may be missing, `null`, or something else than it should be, and then counts as missing.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One message of the conversation, as the model is shown it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// Who the model is and what it shall do.
    System {
        /// The text.
        content: String,
    },
    /// What the caller said or pressed.
    User {
        /// The text.
        content: String,
    },
    /// What the caller heard of the model, and what it called.
    Assistant {
        /// The text; empty if it only called tools. Never `null`, which the templates of some servers cannot take.
        content: String,
        /// The tools that it called, in its order.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<WrittenCall>,
    },
    /// What a tool answered.
    Tool {
        /// The id of the call that it answers.
        tool_call_id: String,
        /// The answer.
        content: String,
    },
}

/// A call of a tool, as it is repeated to the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrittenCall {
    /// The model's own id of it.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What is called.
    pub function: WrittenFunction,
}

/// The name of a tool, and its arguments as a text that is JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrittenFunction {
    /// The tool.
    pub name: String,
    /// A JSON object, as text.
    pub arguments: String,
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Offer {
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What it is.
    pub function: OfferedFunction,
}

/// Name, purpose and arguments of a tool.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OfferedFunction {
    /// Its name.
    pub name: String,
    /// What it is for, for the model.
    pub description: String,
    /// The JSON schema of its arguments.
    pub parameters: Value,
}

/// The body of a request.
#[derive(Debug, Serialize)]
pub(super) struct Body<'a> {
    pub(super) model: &'a str,
    pub(super) messages: &'a [Message],
    pub(super) stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[Offer]>::is_empty")]
    pub(super) tools: &'a [Offer],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_choice: Option<&'static str>,
    /// Further fields, as the operator wrote them.
    #[serde(flatten)]
    pub(super) extra: &'a Map<String, Value>,
}

/// One piece of an answer, or an error in its place.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk {
    /// Something went wrong after the answer had begun; the status was 200 all the same.
    #[serde(deserialize_with = "lenient")]
    pub(super) error: Option<Value>,
    /// Empty in a piece that only counts tokens.
    #[serde(deserialize_with = "lenient")]
    pub(super) choices: Option<Vec<Choice>>,
}

/// One of several answers; only the first is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice {
    #[serde(deserialize_with = "lenient")]
    pub(super) index: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) delta: Option<Delta>,
    #[serde(deserialize_with = "lenient")]
    pub(super) finish_reason: Option<String>,
}

/// What is new in a piece. Reasoning, refusals and audio are not read: they are not spoken.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta {
    /// A text, or, on some servers, a list of parts of which some are text.
    #[serde(deserialize_with = "lenient")]
    pub(super) content: Option<Value>,
    #[serde(deserialize_with = "lenient")]
    pub(super) tool_calls: Option<Vec<CallPart>>,
}

/// A part of a call of a tool.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CallPart {
    #[serde(deserialize_with = "lenient")]
    pub(super) index: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) function: Option<FunctionPart>,
}

/// A part of a tool's name or arguments.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FunctionPart {
    #[serde(deserialize_with = "lenient")]
    pub(super) name: Option<String>,
    /// A piece of JSON as text; a whole object on some servers.
    #[serde(deserialize_with = "lenient")]
    pub(super) arguments: Option<Value>,
}

/// A value of the right shape, or none.
fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = Option::<Value>::deserialize(deserializer)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

impl Delta {
    /// The text in it, joined.
    pub(super) fn text(&self) -> String {
        match &self.content {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => {
                parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => String::new(),
        }
    }
}

/// A short word for an error object: its code or type if it has one. Its message is left out, because servers quote
/// what was said in it.
pub(super) fn code_of(error: &Value) -> String {
    const CODE_CHARS_MAX: usize = 64;
    let word = |key: &str| match error.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => None,
    };
    let code = word("code").or_else(|| word("type")).unwrap_or_default();
    let plain: String = code
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        .take(CODE_CHARS_MAX)
        .collect();
    if plain.is_empty() { "unnamed".to_owned() } else { plain }
}
