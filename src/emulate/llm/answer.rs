//! One answer: what it says and calls, in the order in which it is streamed, and its JSON.

use serde_json::{Value, json};

use super::conversation::Heard;
use super::request::Request;
use super::script::{self, Rule};
use super::tokens::tokens;

/// `created` of everything: a fixed second, so that the same requests get the same bytes.
const CREATED: u64 = 1_700_000_000;

/// A step of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A token of the text.
    Text(String),
    /// A tool call begins; costs no token.
    Call { index: usize, id: String, name: String },
    /// A token of a call's arguments.
    Arguments { index: usize, text: String },
}

impl Part {
    pub(super) fn tokens(&self) -> u32 {
        match self {
            Self::Text(_) | Self::Arguments { .. } => 1,
            Self::Call { .. } => 0,
        }
    }
}

/// What is answered to one request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// `chatcmpl-N`.
    id: String,
    model: String,
    pub(super) parts: Vec<Part>,
    /// `finish_reason`.
    pub(super) finish: &'static str,
    tokens_prompt: usize,
    /// Whether chunks have a field `usage`, null in all but the last.
    pub(super) include_usage: bool,
}

impl Answer {
    /// The answer by `rule`, or the fallback, to request `number`.
    pub(super) fn new(number: u64, request: &Request, rule: Option<&Rule>) -> Self {
        let mut parts = Vec::new();
        let mut left = request.tokens_max.unwrap_or(usize::MAX);
        let text = rule.map_or_else(|| script::fallback(&request.heard), |rule| rule.text(&request.heard));
        let mut finish = "stop";
        let mut take = |parts: &mut Vec<Part>, part: Part| {
            if left > 0 {
                left -= usize::from(part.tokens() > 0);
                parts.push(part);
            } else {
                finish = "length";
            }
        };
        for token in text {
            take(&mut parts, Part::Text(token));
        }
        let calls = rule.map_or(&[][..], |rule| rule.calls.as_slice());
        for (index, call) in calls.iter().enumerate() {
            take(&mut parts, Part::Call { index, id: format!("call_{number}_{index}"), name: call.name.clone() });
            for text in tokens(&call.arguments_text()) {
                take(&mut parts, Part::Arguments { index, text });
            }
        }
        if finish == "stop" && !calls.is_empty() {
            finish = "tool_calls";
        }
        Self {
            id: format!("chatcmpl-{number}"),
            model: request.model.clone(),
            parts,
            finish,
            tokens_prompt: request.tokens_prompt,
            include_usage: request.include_usage,
        }
    }

    /// Leaves nothing of what would have been said.
    pub(super) fn silence(&mut self) {
        self.parts.clear();
        self.finish = "stop";
    }

    /// Tokens of it.
    pub(super) fn tokens(&self) -> u32 {
        self.parts.iter().map(Part::tokens).sum()
    }

    /// The tokens of the text.
    pub(super) fn text(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Call { .. } | Part::Arguments { .. } => None,
        })
    }

    /// The calls, as a message that is not streamed has them.
    pub(super) fn calls(&self) -> Vec<Value> {
        let mut calls: Vec<(usize, &str, &str, String)> = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(_) => {}
                Part::Call { index, id, name } => calls.push((*index, id, name, String::new())),
                Part::Arguments { index, text } => {
                    if let Some((.., arguments)) = calls.iter_mut().find(|(of, ..)| of == index) {
                        arguments.push_str(text);
                    }
                }
            }
        }
        let call = |(_, id, name, arguments): (usize, &str, &str, String)| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        calls.into_iter().map(call).collect()
    }

    /// One `chat.completion.chunk`.
    pub(super) fn chunk(&self, delta: &Value, finish: Option<&str>) -> Value {
        self.with_choices(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]))
    }

    /// A chunk of these choices, with the null usage of every chunk but the last.
    pub(super) fn with_choices(&self, choices: Value) -> Value {
        let mut chunk = json!({"id": self.id, "object": "chat.completion.chunk", "created": CREATED,
            "model": self.model, "system_fingerprint": null, "choices": choices});
        if self.include_usage
            && let Some(chunk) = chunk.as_object_mut()
        {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        chunk
    }

    /// The chunk after the last one, if the request wants to know what it cost.
    pub(super) fn usage_chunk(&self) -> Value {
        let mut chunk = self.with_choices(json!([]));
        if let Some(chunk) = chunk.as_object_mut() {
            chunk.insert("usage".to_owned(), self.usage());
        }
        chunk
    }

    fn usage(&self) -> Value {
        let completion = u64::from(self.tokens());
        let prompt = self.tokens_prompt as u64;
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
    }

    /// The first delta: the role, and no content yet.
    pub(super) fn delta_begin(&self) -> Value {
        let content = match self.parts.first() {
            Some(Part::Call { .. } | Part::Arguments { .. }) => Value::Null,
            Some(Part::Text(_)) | None => json!(""),
        };
        json!({"role": "assistant", "content": content, "refusal": null})
    }

    /// The delta of one part.
    pub(super) fn delta(part: &Part) -> Value {
        match part {
            Part::Text(text) => json!({"content": text}),
            Part::Call { index, id, name } => json!({"tool_calls": [
                {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]}),
            Part::Arguments { index, text } => {
                json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
            }
        }
    }

    /// The whole answer, not streamed.
    pub(super) fn completion(&self) -> Value {
        let text = self.text().collect::<String>();
        let calls = self.calls();
        let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { Value::from(text) };
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if let (false, Some(message)) = (calls.is_empty(), message.as_object_mut()) {
            message.insert("tool_calls".to_owned(), Value::from(calls));
        }
        json!({"id": self.id, "object": "chat.completion", "created": CREATED, "model": self.model,
            "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": self.finish}],
            "usage": self.usage(), "system_fingerprint": null})
    }
}

/// An entry of the list of models.
pub(super) fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": CREATED, "owned_by": "trunkline"})
}

/// The rule that answers, and its place in the script.
pub(super) fn rule_for<'a>(
    mut rules: impl Iterator<Item = &'a Rule>,
    heard: &Heard,
    offered: &[String],
) -> Option<usize> {
    rules.position(|rule| rule.fits(heard, offered))
}
