//! A chat completion's request, checked as a strict server would check it.

use serde_json::{Map, Value};

use super::conversation::{self, Heard, string};
use super::refusal::Refusal;
use super::tokens::tokens;

/// What a parameter has to be.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Switch,
    Object,
    List,
    /// A number from .. to.
    Number(f64, f64),
    /// A whole number, at least this.
    Count(u64),
    TextOrList,
    TextOrObject,
}

/// The parameters that the API documents for text, all but those with a meaning here without effect. Everything else is
/// refused: parameters of one vendor only must not go to another unnoticed.
const PARAMETERS: [(&str, Shape); 30] = [
    ("messages", Shape::List),
    ("model", Shape::Text),
    ("stream", Shape::Switch),
    ("stream_options", Shape::Object),
    ("tools", Shape::List),
    ("tool_choice", Shape::TextOrObject),
    ("parallel_tool_calls", Shape::Switch),
    ("max_tokens", Shape::Count(1)),
    ("max_completion_tokens", Shape::Count(1)),
    ("n", Shape::Count(1)),
    ("temperature", Shape::Number(0.0, 2.0)),
    ("top_p", Shape::Number(0.0, 1.0)),
    ("presence_penalty", Shape::Number(-2.0, 2.0)),
    ("frequency_penalty", Shape::Number(-2.0, 2.0)),
    ("logit_bias", Shape::Object),
    ("logprobs", Shape::Switch),
    ("top_logprobs", Shape::Count(0)),
    ("stop", Shape::TextOrList),
    ("seed", Shape::Number(-9.3e18, 9.3e18)),
    ("user", Shape::Text),
    ("safety_identifier", Shape::Text),
    ("prompt_cache_key", Shape::Text),
    ("prompt_cache_retention", Shape::Text),
    ("response_format", Shape::Object),
    ("reasoning_effort", Shape::Text),
    ("verbosity", Shape::Text),
    ("service_tier", Shape::Text),
    ("modalities", Shape::List),
    ("metadata", Shape::Object),
    ("store", Shape::Switch),
];

/// Longest name of a tool.
const TOOL_NAME_MAX: usize = 64;

/// A request that is answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) model: String,
    /// As they came.
    pub(super) messages: Vec<Value>,
    pub(super) heard: Heard,
    /// Names of the tools that an answer may call.
    pub(super) tools: Vec<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// Tokens after which the answer is cut off.
    pub(super) tokens_max: Option<usize>,
    /// What the messages cost.
    pub(super) tokens_prompt: usize,
}

/// Reads a request's body.
pub(super) fn read(body: &[u8]) -> Result<Request, Refusal> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Refusal::body("The body is not JSON."))?;
    let body = body.as_object().ok_or_else(|| Refusal::body("The body is not a JSON object."))?;
    for (name, value) in body {
        let Some((_, shape)) = PARAMETERS.iter().find(|(known, _)| known == name) else {
            return Err(Refusal::unknown(name));
        };
        // Null counts as left out, as with the API, except where something is needed.
        if !value.is_null() {
            has_shape(name, value, *shape)?;
        }
    }
    let model = string(body, "", "model")?.to_owned();
    let messages = body.get("messages").ok_or_else(|| Refusal::missing("messages"))?;
    let messages = messages.as_array().ok_or_else(|| Refusal::wrong_type("messages", "an array"))?.clone();
    let heard = conversation::check(&messages)?;
    if count(body, "n").is_some_and(|choices| choices > 1) {
        return Err(Refusal::invalid("n", "this server makes one choice only"));
    }
    let stream = body.get("stream").and_then(Value::as_bool).unwrap_or_default();
    let tools = tools(body)?;
    Ok(Request {
        include_usage: include_usage(body, stream)?,
        tools: if may_call(body, &tools)? { tools } else { Vec::new() },
        tokens_max: count(body, "max_completion_tokens").or_else(|| count(body, "max_tokens")),
        tokens_prompt: messages.iter().map(|message| tokens(&message.to_string()).len()).sum(),
        model,
        messages,
        heard,
        stream,
    })
}

fn has_shape(name: &str, value: &Value, shape: Shape) -> Result<(), Refusal> {
    let (fits, expected) = match shape {
        Shape::Text => (value.is_string(), "a string"),
        Shape::Switch => (value.is_boolean(), "a boolean"),
        Shape::Object => (value.is_object(), "an object"),
        Shape::List => (value.is_array(), "an array"),
        Shape::Number(from, to) => {
            (value.as_f64().is_some_and(|number| (from..=to).contains(&number)), "a number within its range")
        }
        Shape::Count(least) => {
            (value.as_u64().is_some_and(|number| number >= least), "a whole number within its range")
        }
        Shape::TextOrList => (value.is_string() || value.is_array(), "a string or an array"),
        Shape::TextOrObject => (value.is_string() || value.is_object(), "a string or an object"),
    };
    if fits { Ok(()) } else { Err(Refusal::wrong_type(name, expected)) }
}

fn count(body: &Map<String, Value>, name: &str) -> Option<usize> {
    body.get(name).and_then(Value::as_u64).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

fn include_usage(body: &Map<String, Value>, stream: bool) -> Result<bool, Refusal> {
    let Some(options) = body.get("stream_options").and_then(Value::as_object) else { return Ok(false) };
    if !stream {
        return Err(Refusal::invalid("stream_options", "only allowed when 'stream' is true"));
    }
    for (name, value) in options {
        if !matches!(name.as_str(), "include_usage" | "include_obfuscation") {
            return Err(Refusal::unknown(format!("stream_options.{name}")));
        }
        has_shape(&format!("stream_options.{name}"), value, Shape::Switch)?;
    }
    Ok(options.get("include_usage").and_then(Value::as_bool).unwrap_or_default())
}

/// Names of the offered tools.
fn tools(body: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let Some(tools) = body.get("tools").and_then(Value::as_array) else { return Ok(Vec::new()) };
    if tools.is_empty() {
        return Err(Refusal::invalid("tools", "expected an array with at least one tool"));
    }
    let mut names: Vec<String> = Vec::with_capacity(tools.len());
    for (index, tool) in tools.iter().enumerate() {
        let at = format!("tools[{index}]");
        let tool = tool.as_object().ok_or_else(|| Refusal::wrong_type(&at, "an object"))?;
        if string(tool, &at, "type")? != "function" {
            return Err(Refusal::invalid(format!("{at}.type"), "only 'function' is served"));
        }
        let at = format!("{at}.function");
        let function = tool.get("function").ok_or_else(|| Refusal::missing(&at))?;
        let function = function.as_object().ok_or_else(|| Refusal::wrong_type(&at, "an object"))?;
        let name = string(function, &at, "name")?;
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > TOOL_NAME_MAX || !name.chars().all(letter) {
            return Err(Refusal::invalid(format!("{at}.name"), "expected 1 to 64 letters, digits, '_' or '-'"));
        }
        if names.iter().any(|known| known == name) {
            return Err(Refusal::invalid(format!("{at}.name"), "two tools have this name"));
        }
        if function.get("description").is_some_and(|description| !description.is_string()) {
            return Err(Refusal::wrong_type(format!("{at}.description"), "a string"));
        }
        if function.get("parameters").is_some_and(|schema| !is_schema(schema)) {
            return Err(Refusal::wrong_type(format!("{at}.parameters"), "a JSON schema of type 'object'"));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// Arguments are an object, so their schema is one of an object; an empty one leaves it open.
fn is_schema(schema: &Value) -> bool {
    schema.as_object().is_some_and(|schema| schema.is_empty() || schema.get("type") == Some(&Value::from("object")))
}

/// Whether `tool_choice` leaves the calling of tools to the model. A script cannot be made to call one.
fn may_call(body: &Map<String, Value>, tools: &[String]) -> Result<bool, Refusal> {
    let choice = body.get("tool_choice").filter(|choice| !choice.is_null());
    let Some(choice) = choice else { return Ok(true) };
    if tools.is_empty() {
        return Err(Refusal::invalid("tool_choice", "only allowed when 'tools' are given"));
    }
    match choice.as_str() {
        Some("auto") => Ok(true),
        Some("none") => Ok(false),
        _ => Err(Refusal::invalid("tool_choice", "this server takes 'auto' and 'none'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(more: Value) -> Vec<u8> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string().into_bytes()
    }

    #[test]
    fn a_full_request_is_read() {
        let tool = json!({"type": "function", "function": {"name": "end_call", "parameters": {"type": "object"}}});
        let request = read(&body(json!({
            "stream": true, "stream_options": {"include_usage": true}, "tools": [tool], "tool_choice": "auto",
            "max_tokens": 9, "max_completion_tokens": 5, "temperature": 0.2, "stop": null, "n": 1, "seed": 7,
        })));
        let request = request.unwrap();
        assert_eq!((request.model.as_str(), request.tools.as_slice()), ("m", &["end_call".to_owned()][..]));
        assert!(request.stream && request.include_usage && request.tokens_prompt > 3);
        assert_eq!((request.tokens_max, request.heard), (Some(5), Heard::Caller("hi".into())));
        assert_eq!(read(&body(json!({"tools": [tool], "tool_choice": "none"}))).unwrap().tools, [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let tool = |function: Value| json!({"tools": [{"type": "function", "function": function}]});
        for (more, param) in [
            (json!({"model": 1}), "model"),
            (json!({"model": null}), "model"),
            (json!({"messages": null}), "messages"),
            (json!({"messages": []}), "messages"),
            (json!({"stream": "yes"}), "stream"),
            (json!({"stream_options": {"include_usage": true}}), "stream_options"),
            (json!({"stream": true, "stream_options": {"include": true}}), "stream_options.include"),
            (json!({"stream": true, "stream_options": {"include_usage": 1}}), "stream_options.include_usage"),
            (json!({"temperature": 2.5}), "temperature"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"n": 2}), "n"),
            (json!({"keep_alive": "5m"}), "keep_alive"),
            (json!({"tools": []}), "tools"),
            (json!({"tools": ["end_call"]}), "tools[0]"),
            (json!({"tools": [{"type": "function"}]}), "tools[0].function"),
            (tool(json!({"name": "end call"})), "tools[0].function.name"),
            (tool(json!({"name": "a", "parameters": {"type": "string"}})), "tools[0].function.parameters"),
            (json!({"tool_choice": "auto"}), "tool_choice"),
        ] {
            let refusal = read(&body(more.clone())).unwrap_err();
            assert_eq!((refusal.param.as_deref(), refusal.status.as_u16()), (Some(param), 400), "{more}");
            let error = refusal.to_json();
            assert_eq!(
                (&error["error"]["type"], &error["error"]["param"]),
                (&"invalid_request_error".into(), &param.into())
            );
        }
        assert_eq!(read(b"{}").unwrap_err().code, Some("missing_required_parameter"));
        assert_eq!(read(b"{\"a").unwrap_err().param, None);
        assert_eq!(read(b"[]").unwrap_err().param, None);
    }
}
