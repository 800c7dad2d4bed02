//! Redaction of what an app outside the process says: everything but the words of its protocol.

use serde_json::Value;

use super::message::is_plain;
use super::redact::Redactor;

impl Redactor {
    /// A message as it goes onto the tape. `token` stands for its piece of text, which goes on from the piece before.
    pub(super) fn app_message(&self, text: &str, token: Option<String>) -> String {
        let Ok(Value::Object(mut fields)) = serde_json::from_str(text) else { return "x".repeat(text.len()) };
        for (name, value) in &mut fields {
            match (name.as_str(), &mut *value) {
                // The protocol's own words, short as they are.
                (
                    "type"
                    | "last"
                    | "lang"
                    | "interruptible"
                    | "preemptible"
                    | "loop"
                    | "ttsLanguage"
                    | "transcriptionLanguage",
                    Value::String(word),
                ) if is_plain(word) => {}
                ("loop", Value::Number(_)) => {}
                ("token", Value::String(piece)) => {
                    let covered = token.clone().unwrap_or_else(|| self.pseudonyms.text(piece));
                    // An empty token may mean nothing at all, and one of which nothing is spoken, or not yet, begins a turn.
                    let is_hushed = covered.is_empty() && !piece.is_empty();
                    *value = if is_hushed { " ".into() } else { covered.into() };
                }
                ("source", Value::String(url)) => *value = self.url(url).into(),
                // How long it takes is kept, which keys they are is not.
                ("digits", Value::String(keys)) => *value = covered_keys(keys).into(),
                ("digits", Value::Number(number)) => *value = covered_keys(&number.to_string()).into(),
                (_, value) => self.cover_all(value),
            }
        }
        Value::Object(fields).to_string()
    }

    /// A URL that is still one.
    fn url(&self, url: &str) -> String {
        match url.split_once("://") {
            Some((scheme, rest)) => format!("{scheme}://{}", self.pseudonyms.text(rest)),
            None => self.pseudonyms.text(url),
        }
    }

    /// Covers texts, numbers and names, however deep they stand.
    fn cover_all(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                let covered = std::mem::take(fields).into_iter().map(|(name, mut value)| {
                    self.cover_all(&mut value);
                    (self.pseudonyms.text(&name), value)
                });
                *fields = covered.collect();
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.cover_all(value)),
            Value::String(text) => *text = self.pseudonyms.text(text),
            Value::Number(_) => *value = 0.into(),
            Value::Bool(_) | Value::Null => {}
        }
    }
}

fn covered_keys(keys: &str) -> String {
    keys.chars().map(|key| if key == 'w' { 'w' } else { '0' }).collect()
}
