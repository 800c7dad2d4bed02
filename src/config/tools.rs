//! The tools of an agent, each a section `[[agent.llm.tools]]` with a small table of keys of its own.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use config::{Value, ValueKind};
use serde_json::Value as Json;
use toml::de::{DeArray, DeValue};

use super::keys::{Blank, Kind};
use super::layers::files;
use super::problem::Fault;
use super::read;
use crate::agent::llm::settings::BUILT_IN_NAMES;

/// One key of a tool. Without a default it has to be there, unless it may be absent.
struct ToolKey {
    name: &'static str,
    kind: Kind,
    default: Default,
}

enum Default {
    Needed,
    Absent,
    Text(&'static str),
}

/// Longest name of a tool, in characters; the API's own limit.
const NAME_CHARS_MAX: usize = 64;

const KEYS: [ToolKey; 9] = [
    ToolKey { name: "name", kind: Kind::Text(Blank::Refused), default: Default::Needed },
    ToolKey { name: "description", kind: Kind::Text(Blank::Refused), default: Default::Needed },
    ToolKey { name: "url", kind: Kind::HttpUrl, default: Default::Needed },
    ToolKey { name: "parameters", kind: Kind::Object, default: Default::Text(r#"{"type":"object","properties":{}}"#) },
    ToolKey { name: "token", kind: Kind::Secret, default: Default::Absent },
    ToolKey { name: "token_file", kind: Kind::Text(Blank::Refused), default: Default::Absent },
    ToolKey { name: "timeout_ms", kind: Kind::Integer(100, 120_000), default: Default::Text("10000") },
    ToolKey { name: "filler", kind: Kind::Text(Blank::Allowed), default: Default::Text("") },
    ToolKey { name: "filler_after_ms", kind: Kind::Integer(0, 60_000), default: Default::Text("1000") },
];

/// Reads the sections one by one.
#[derive(std::default::Default)]
pub(super) struct Reader {
    tools: Vec<Value>,
    names: BTreeSet<String>,
    count: usize,
    warnings: Vec<(String, Fault)>,
}

impl Reader {
    /// Takes one section; what is wrong with it, each with what follows the section's own name in its path.
    pub(super) fn take(&mut self, section: &DeValue<'_>) -> Vec<(String, Fault)> {
        self.count += 1;
        let place = format!("[{}]", self.count);
        let Some(table) = section.as_table() else {
            return vec![(place, Fault::new("is not a section", "write [[agent.llm.tools]] on a line of its own"))];
        };
        let mut faults = Vec::new();
        let mut fault = |name: &str, fault: Fault| faults.push((format!("{place}.{name}"), fault));
        for name in table.keys().map(|name| name.get_ref().as_ref()) {
            if KEYS.iter().all(|key| key.name != name) {
                let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
                fault(name, Fault::new("is not a key of a tool", format!("write one of {}", names.join(", "))));
            }
        }
        let mut values = HashMap::new();
        for key in &KEYS {
            let read = match (table.get(key.name), &key.default) {
                (Some(value), _) => read::from_toml(key.kind, value.get_ref()),
                (None, Default::Text(text)) => read::from_text(key.kind, text),
                (None, Default::Absent) => continue,
                (None, Default::Needed) => Err(Fault::new("is missing", "every tool has one")),
            };
            match read.and_then(|value| self.check(key.name, value)) {
                Ok(value) => drop(values.insert(key.name.to_owned(), Value::new(None, value))),
                Err(wrong) => fault(key.name, wrong),
            }
        }
        if let Some(ValueKind::String(file)) = values.remove("token_file").map(|file| file.kind) {
            match self.token(&place, values.contains_key("token"), Path::new(&file)) {
                Ok(token) => drop(values.insert("token".to_owned(), Value::new(None, token))),
                Err(wrong) => faults.push((format!("{place}.token_file"), wrong)),
            }
        }
        if faults.is_empty() {
            self.tools.push(Value::new(None, ValueKind::Table(values)));
        }
        faults
    }

    /// Every tool that is right.
    pub(super) fn into_value(self) -> ValueKind {
        ValueKind::Array(self.tools)
    }

    /// What works but should be looked at in what was taken since this was asked last, told as mistakes are.
    pub(super) fn warnings(&mut self) -> Vec<(String, Fault)> {
        std::mem::take(&mut self.warnings)
    }

    fn token(&mut self, place: &str, is_given: bool, file: &Path) -> Result<ValueKind, Fault> {
        if is_given {
            return Err(Fault::new("is set beside token", "keep one of the two"));
        }
        let found =
            files::read(file).map_err(|Fault { fault, fix }| Fault::new(format!("names a file that {fault}"), fix))?;
        if found.is_open {
            self.warnings.push((format!("{place}.token_file"), files::open_to_all()));
        }
        read::from_text(Kind::Secret, &found.text)
    }

    fn check(&mut self, key: &str, value: ValueKind) -> Result<ValueKind, Fault> {
        let ValueKind::String(text) = &value else { return Ok(value) };
        match key {
            "name" => {
                let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
                if !is_plain || text.len() > NAME_CHARS_MAX {
                    let fix = format!("write at most {NAME_CHARS_MAX} letters, digits, _ and -");
                    return Err(Fault::new(format!("is {text:?}"), fix));
                }
                if BUILT_IN_NAMES.contains(&text.as_str()) {
                    return Err(Fault::new("is the name of a tool of this gateway", "choose another name"));
                }
                if !self.names.insert(text.clone()) {
                    return Err(Fault::new("is the name of another tool, too", "choose another name"));
                }
            }
            "parameters" => {
                let schema: Json = serde_json::from_str(text).unwrap_or_default();
                if schema.get("type").and_then(Json::as_str) != Some("object") {
                    let fix = "write type = \"object\" and its properties";
                    return Err(Fault::new("is not the JSON schema of an object", fix));
                }
            }
            _ => {}
        }
        Ok(value)
    }
}

/// Reads them all at once, where nobody asks for the place of a mistake; the first one is told.
pub(super) fn read(array: &DeArray<'_>) -> Result<ValueKind, Fault> {
    let mut reader = Reader::default();
    let wrong = array.iter().flat_map(|section| reader.take(section.get_ref())).next();
    match wrong {
        Some((path, Fault { fault, fix })) => Err(Fault::new(format!("is wrong: {path} {fault}"), fix)),
        None => Ok(reader.into_value()),
    }
}

/// A TOML value as JSON; `None` if a number in it is not finite. A date becomes its text.
pub(super) fn json(value: &DeValue<'_>) -> Option<Json> {
    Some(match value {
        DeValue::String(text) => Json::from(text.as_ref()),
        DeValue::Integer(number) => Json::from(i64::from_str_radix(number.as_str(), number.radix()).ok()?),
        DeValue::Float(number) => Json::Number(serde_json::Number::from_f64(number.as_str().parse().ok()?)?),
        DeValue::Boolean(flag) => Json::from(*flag),
        DeValue::Datetime(date) => Json::from(date.to_string()),
        DeValue::Array(array) => array.iter().map(|item| json(item.get_ref())).collect::<Option<Vec<_>>>()?.into(),
        DeValue::Table(table) => {
            let entries = table.iter().map(|(name, item)| Some((name.get_ref().to_string(), json(item.get_ref())?)));
            Json::Object(entries.collect::<Option<_>>()?)
        }
    })
}
