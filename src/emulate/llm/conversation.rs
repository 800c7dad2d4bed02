//! The messages of a request: whether a strict server would take them, and what there is to answer.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// What an answer answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// No user message yet.
    Nobody,
    /// The last message of the user.
    Caller(String),
    /// A tool's result, if it came after the last user message.
    Tool { name: String, result: String },
}

impl Heard {
    /// The words of it.
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Nobody => "",
            Self::Caller(words) | Self::Tool { result: words, .. } => words,
        }
    }
}

/// Roles, and the fields of a message of each besides `role` and `content`. A field that belongs to nobody is most
/// often a client's own note, which a strict server refuses.
const ROLES: [(&str, &[&str]); 5] = [
    ("developer", &["name"]),
    ("system", &["name"]),
    ("user", &["name"]),
    // What the API itself writes into an answer comes back with it.
    ("assistant", &["name", "tool_calls", "refusal", "annotations", "audio", "function_call"]),
    ("tool", &["tool_call_id"]),
];

/// Checks the messages as the API documents them and says what is to be answered.
///
/// Beyond the documentation, `arguments` have to be a JSON object: some servers take them apart for their prompt, and
/// fail when a half-written call comes back to them.
pub(super) fn check(messages: &[Value]) -> Result<Heard, Refusal> {
    if messages.is_empty() {
        return Err(Refusal::invalid("messages", "expected an array with at least one message"));
    }
    let mut conversation = Conversation { heard: Heard::Nobody, calls: BTreeMap::new() };
    for (index, message) in messages.iter().enumerate() {
        conversation.take(&format!("messages[{index}]"), message)?;
    }
    conversation.no_open_calls("messages")?;
    Ok(conversation.heard)
}

struct Conversation {
    heard: Heard,
    /// Names of the tools by the ids of calls without a result so far.
    calls: BTreeMap<String, String>,
}

impl Conversation {
    fn take(&mut self, at: &str, message: &Value) -> Result<(), Refusal> {
        let message = message.as_object().ok_or_else(|| Refusal::wrong_type(at, "an object"))?;
        let role = string(message, at, "role")?;
        let Some((_, fields)) = ROLES.iter().find(|(name, _)| *name == role) else {
            return Err(Refusal::invalid(format!("{at}.role"), "no such role"));
        };
        let known = |field: &str| matches!(field, "role" | "content") || fields.contains(&field);
        if let Some(field) = message.keys().find(|field| !known(field)) {
            return Err(Refusal::unknown(format!("{at}.{field}")));
        }
        if message.get("name").is_some_and(|name| !name.is_string()) {
            return Err(Refusal::wrong_type(format!("{at}.name"), "a string"));
        }
        if role == "tool" {
            return self.result(at, message);
        }
        self.no_open_calls(at)?;
        if role == "assistant" {
            return self.answer(at, message);
        }
        let text = content(message, at)?.ok_or_else(|| Refusal::missing(format!("{at}.content")))?;
        if role == "user" {
            self.heard = Heard::Caller(text);
        }
        Ok(())
    }

    /// Each call has to be followed by its result, before anything else is said.
    fn no_open_calls(&self, at: &str) -> Result<(), Refusal> {
        if self.calls.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = self.calls.keys().map(String::as_str).collect();
        let message = format!("a tool message has to follow for each of the tool_call_ids {}", ids.join(", "));
        Err(Refusal::invalid(at, message))
    }

    fn result(&mut self, at: &str, message: &Map<String, Value>) -> Result<(), Refusal> {
        let id = string(message, at, "tool_call_id")?;
        let result = content(message, at)?.ok_or_else(|| Refusal::missing(format!("{at}.content")))?;
        let Some(name) = self.calls.remove(id) else {
            let message = "no assistant message right before it has a tool call of this id";
            return Err(Refusal::invalid(format!("{at}.tool_call_id"), message));
        };
        self.heard = Heard::Tool { name, result };
        Ok(())
    }

    fn answer(&mut self, at: &str, message: &Map<String, Value>) -> Result<(), Refusal> {
        let text = content(message, at)?;
        let at_calls = format!("{at}.tool_calls");
        let Some(calls) = message.get("tool_calls").filter(|calls| !calls.is_null()) else {
            return text.map(|_| ()).ok_or_else(|| Refusal::missing(format!("{at}.content")));
        };
        let calls = calls.as_array().filter(|calls| !calls.is_empty());
        let calls = calls.ok_or_else(|| Refusal::wrong_type(&at_calls, "an array with at least one call"))?;
        for (index, call) in calls.iter().enumerate() {
            self.call(&format!("{at_calls}[{index}]"), call)?;
        }
        Ok(())
    }

    fn call(&mut self, at: &str, call: &Value) -> Result<(), Refusal> {
        let call = call.as_object().ok_or_else(|| Refusal::wrong_type(at, "an object"))?;
        let id = string(call, at, "id")?;
        if string(call, at, "type")? != "function" {
            return Err(Refusal::invalid(format!("{at}.type"), "only 'function' is served"));
        }
        let at_function = format!("{at}.function");
        let function = call.get("function").ok_or_else(|| Refusal::missing(&at_function))?;
        let function = function.as_object().ok_or_else(|| Refusal::wrong_type(&at_function, "an object"))?;
        let name = string(function, &at_function, "name")?;
        let arguments = string(function, &at_function, "arguments")?;
        if !serde_json::from_str::<Value>(arguments).is_ok_and(|arguments| arguments.is_object()) {
            return Err(Refusal::invalid(format!("{at_function}.arguments"), "expected the text of a JSON object"));
        }
        if self.calls.insert(id.to_owned(), name.to_owned()).is_some() {
            return Err(Refusal::invalid(format!("{at}.id"), "two calls have this id"));
        }
        Ok(())
    }
}

/// A text that has to be there.
pub(super) fn string<'a>(object: &'a Map<String, Value>, at: &str, field: &str) -> Result<&'a str, Refusal> {
    let path = || if at.is_empty() { field.to_owned() } else { format!("{at}.{field}") };
    let value = object.get(field).ok_or_else(|| Refusal::missing(path()))?;
    value.as_str().ok_or_else(|| Refusal::wrong_type(path(), "a string"))
}

/// The text of a message: a string, or parts of type `text`. `None` if there is none, or null.
fn content(message: &Map<String, Value>, at: &str) -> Result<Option<String>, Refusal> {
    let at = format!("{at}.content");
    let parts = match message.get("content") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text.clone())),
        Some(Value::Array(parts)) if !parts.is_empty() => parts,
        Some(Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            return Err(Refusal::wrong_type(at, "a string or an array of content parts"));
        }
    };
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let part = part.as_object().ok_or_else(|| Refusal::wrong_type(&at, "an object"))?;
        if string(part, &at, "type")? != "text" {
            return Err(Refusal::invalid(format!("{at}.type"), "this model takes text only"));
        }
        text.push_str(string(part, &at, "text")?);
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(messages: Value) -> Result<Heard, String> {
        check(messages.as_array().unwrap()).map_err(|refusal| refusal.param.unwrap())
    }

    fn calling(id: &str, arguments: &str) -> Value {
        json!({"role": "assistant", "content": null,
            "tool_calls": [{"id": id, "type": "function", "function": {"name": "look", "arguments": arguments}}]})
    }

    #[test]
    fn the_last_words_are_what_is_answered() {
        let user = |text: &str| json!({"role": "user", "content": text});
        let system = json!({"role": "system", "content": "Be brief."});
        assert_eq!(checked(json!([system])), Ok(Heard::Nobody));
        let parts = json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]});
        let assistant = json!({"role": "assistant", "content": "Well,"});
        assert_eq!(checked(json!([system, user("x"), assistant, parts])), Ok(Heard::Caller("ab".into())));
        let result = json!({"role": "tool", "tool_call_id": "1", "content": "r"});
        let tool = Heard::Tool { name: "look".into(), result: "r".into() };
        assert_eq!(checked(json!([user("x"), calling("1", "{}"), result])), Ok(tool));
        let after = json!([user("x"), calling("1", "{}"), result, assistant, user("y"), system]);
        assert_eq!(checked(after), Ok(Heard::Caller("y".into())));
    }

    #[test]
    fn what_a_strict_server_refuses_is_refused_by_its_place() {
        let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "r"});
        let user = json!({"role": "user", "content": "x"});
        let mut twice = calling("1", "{}");
        let call = twice["tool_calls"][0].clone();
        twice["tool_calls"].as_array_mut().unwrap().push(call);
        for (messages, param) in [
            (json!([]), "messages"),
            (json!(["x"]), "messages[0]"),
            (json!([{"content": "x"}]), "messages[0].role"),
            (json!([{"role": "caller", "content": "x"}]), "messages[0].role"),
            (json!([user, {"role": "user"}]), "messages[1].content"),
            (json!([{"role": "user", "content": 1}]), "messages[0].content"),
            (json!([{"role": "user", "content": []}]), "messages[0].content"),
            (json!([{"role": "user", "content": [{"type": "image_url"}]}]), "messages[0].content[0].type"),
            (json!([{"role": "user", "content": "x", "name": 1}]), "messages[0].name"),
            (json!([{"role": "assistant", "content": "x", "interrupted": true}]), "messages[0].interrupted"),
            (json!([{"role": "assistant"}]), "messages[0].content"),
            (json!([{"role": "assistant", "tool_calls": []}]), "messages[0].tool_calls"),
            (json!([calling("1", "{\"half")]), "messages[0].tool_calls[0].function.arguments"),
            (json!([calling("1", "[]")]), "messages[0].tool_calls[0].function.arguments"),
            (json!([twice]), "messages[0].tool_calls[1].id"),
            (json!([result("1")]), "messages[0].tool_call_id"),
            (json!([calling("1", "{}"), result("2")]), "messages[1].tool_call_id"),
            (json!([calling("1", "{}"), result("1"), result("1")]), "messages[2].tool_call_id"),
            (json!([calling("1", "{}"), user, result("1")]), "messages[1]"),
            (json!([user, calling("1", "{}")]), "messages"),
        ] {
            assert_eq!(checked(messages.clone()), Err(param.to_owned()), "{messages}");
        }
    }
}
