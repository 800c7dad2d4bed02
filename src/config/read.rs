//! Reading one value, from text (environment, flags, defaults) or from TOML, as its key wants it.

use std::collections::HashMap;
use std::net::SocketAddr;

use config::{Value, ValueKind};
use toml::de::DeValue;

use super::keys::{Blank, Entries, Kind, MANAGED_MS_MAX};
use super::otlp;
use super::problem::Fault;
use super::relay;
use super::tools;
use crate::server::facts;
use crate::server::tokens::Grant;
use crate::server::twilio::address::Address;
use crate::server::twilio::public_url::PublicUrl;

/// Longest name and value of a stream parameter together, in characters: Twilio's limit.
const PARAMETER_CHARS_MAX: usize = 500;

/// Reads a value written as bare text. Text stays as it is, so that `0012` and `12e5` survive as ids.
pub(super) fn from_text(kind: Kind, text: &str) -> Result<ValueKind, Fault> {
    match kind {
        Kind::Integer(..) | Kind::Rate(_) => match text.parse::<i64>() {
            Ok(number) => check_integer(kind, number),
            Err(_) => Err(Fault::new(format!("is {text:?}, which is not a whole number"), kind.fix())),
        },
        Kind::Number(..) => match text.parse::<f64>() {
            Ok(number) => check_number(kind, number),
            Err(_) => Err(Fault::new(format!("is {text:?}, which is not a number"), kind.fix())),
        },
        Kind::Flag => match text {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            _ => Err(Fault::new(format!("is {text:?}"), kind.fix())),
        },
        Kind::Texts => match DeValue::parse(text) {
            Ok(value) => from_toml(kind, value.get_ref()),
            Err(_) => Err(Fault::new("is not a list", kind.fix())),
        },
        Kind::Chain(_) if text.trim_start().starts_with('[') => match DeValue::parse(text) {
            Ok(value) => from_toml(kind, value.get_ref()),
            Err(_) => Err(Fault::new("is not a list", kind.fix())),
        },
        Kind::Chain(words) => chain(words, text.split_whitespace()),
        Kind::Table(_) => {
            Err(Fault::new("is a table and cannot be set as a whole", "set its entries one by one, as KEY__NAME=text"))
        }
        Kind::Object => match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
            Ok(_) => Ok(text.into()),
            Err(_) => Err(Fault::new("is not a JSON object", "write something like {\"top_p\": 0.9}")),
        },
        Kind::Tools => match DeValue::parse(text) {
            Ok(value) => from_toml(kind, value.get_ref()),
            Err(_) => Err(Fault::new("is not a list of tables", kind.fix())),
        },
        Kind::Text(_)
        | Kind::Secret
        | Kind::Choice(_)
        | Kind::Address
        | Kind::PublicUrl
        | Kind::HttpUrl
        | Kind::WebSocketUrl
        | Kind::Caller
        | Kind::Words(_)
        | Kind::Buffering => check_text(kind, text),
    }
}

/// Reads a TOML value. No conversion from numbers to text: by then `0012` would have become `12`.
pub(super) fn from_toml(kind: Kind, value: &DeValue<'_>) -> Result<ValueKind, Fault> {
    let wrong = || Fault::new(format!("is {}", name_of(value)), kind.fix());
    match (kind, value) {
        (Kind::Integer(..) | Kind::Rate(_), DeValue::Integer(number)) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| wrong())?;
            check_integer(kind, number)
        }
        (Kind::Number(..), DeValue::Integer(_) | DeValue::Float(_)) => {
            let text = value.as_integer().map_or_else(|| value.as_float().map(|f| f.as_str()), |i| Some(i.as_str()));
            check_number(kind, text.and_then(|text| text.parse().ok()).ok_or_else(wrong)?)
        }
        (Kind::Flag, DeValue::Boolean(flag)) => Ok((*flag).into()),
        (Kind::Texts, DeValue::Array(array)) => {
            let line = |value: &DeValue<'_>| match value.as_str() {
                Some(text) if !text.trim().is_empty() => Ok(text.to_owned()),
                Some(_) => Err(Fault::new("holds an empty text", "remove it")),
                None => Err(Fault::new(format!("holds {}", name_of(value)), kind.fix())),
            };
            array.iter().map(|value| line(value.get_ref())).collect::<Result<Vec<_>, _>>().map(ValueKind::from)
        }
        (Kind::Chain(words), DeValue::Array(array)) => {
            let texts: Option<Vec<&str>> = array.iter().map(|value| value.get_ref().as_str()).collect();
            chain(words, texts.ok_or_else(wrong)?.into_iter())
        }
        (Kind::Object, DeValue::Table(_)) => match tools::json(value) {
            Some(object) => Ok(object.to_string().into()),
            None => Err(Fault::new("holds a number that JSON does not have", "write a finite number")),
        },
        (Kind::Object, DeValue::String(text)) => from_text(kind, text),
        (Kind::Tools, DeValue::Array(array)) => tools::read(array),
        (
            Kind::Integer(..)
            | Kind::Rate(_)
            | Kind::Number(..)
            | Kind::Flag
            | Kind::Texts
            | Kind::Chain(_)
            | Kind::Table(_)
            | Kind::Object
            | Kind::Tools,
            _,
        ) => Err(wrong()),
        (_, DeValue::String(text)) => check_text(kind, text),
        (_, DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_))
            if kind != Kind::Buffering =>
        {
            Err(Fault::new(format!("is {}, but text is wanted", name_of(value)), "write it in quotes"))
        }
        (_, _) => Err(wrong()),
    }
}

/// Reads one entry of a table.
pub(super) fn entry(entries: Entries, name: &str, text: &str) -> Result<ValueKind, Fault> {
    match entries {
        Entries::Secrets => check_text(Kind::Secret, text),
        Entries::Headers => otlp::header(name).and_then(|()| check_text(Kind::Secret, text)),
        Entries::Digits if !matches!(name.as_bytes(), [b'0'..=b'9' | b'*' | b'#' | b'A'..=b'D']) => {
            Err(Fault::new("is not a key of a telephone", "name it by one of 0 to 9, *, #, A to D"))
        }
        Entries::Digits => check_text(Kind::Text(Blank::Refused), text),
        Entries::Parameters if facts::is_reserved(name) => {
            Err(Fault::new("has a name that this server uses itself", "choose another name"))
        }
        Entries::Parameters if name.chars().count() + text.chars().count() > PARAMETER_CHARS_MAX => {
            let fault = format!("is longer than the {PARAMETER_CHARS_MAX} characters that Twilio passes on");
            Err(Fault::new(fault, "shorten it"))
        }
        Entries::Parameters => Ok(text.into()),
        Entries::Languages if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') => {
            Err(Fault::new("is not a language code", "name it by a code such as \"sv-SE\""))
        }
        Entries::Languages => check_text(Kind::Text(Blank::Refused), text),
        // What was written is not repeated: it may be the token itself.
        Entries::Tokens => match Grant::parse(text) {
            Ok(_) => Ok(text.into()),
            Err(error) => Err(Fault::new(
                error.to_string(),
                format!("write the line that `trunkline token --name {name}` prints"),
            )),
        },
        Entries::Ignored => relay::ignored(name).map(|()| text.into()),
        // The number is not repeated.
        Entries::Addresses => match Address::parse(text) {
            Ok(_) => Ok(text.into()),
            Err(error) => Err(Fault::new("is nobody who can be called", format!("it {error}"))),
        },
    }
}

/// The value of `managed_ms` inside the table form of [`Kind::Buffering`].
pub(super) fn managed(delay: ValueKind) -> ValueKind {
    HashMap::from([("managed_ms".to_owned(), Value::new(None, delay))]).into()
}

/// What `managed_ms` may hold.
pub(super) const MANAGED: Kind = Kind::Integer(1, MANAGED_MS_MAX);

fn check_integer(kind: Kind, number: i64) -> Result<ValueKind, Fault> {
    let in_range = matches!(kind, Kind::Integer(min, max) if (min..=max).contains(&number));
    let in_list = matches!(kind, Kind::Rate(rates) if rates.contains(&number));
    if in_range || in_list { Ok(number.into()) } else { Err(Fault::new(format!("is {number}"), kind.fix())) }
}

fn check_number(kind: Kind, number: f64) -> Result<ValueKind, Fault> {
    let in_range = matches!(kind, Kind::Number(min, max) if (min..=max).contains(&number));
    if in_range { Ok(number.into()) } else { Err(Fault::new(format!("is {number}"), kind.fix())) }
}

fn check_text(kind: Kind, text: &str) -> Result<ValueKind, Fault> {
    if text.trim().is_empty() && kind != Kind::Text(Blank::Allowed) {
        return Err(Fault::new("is empty", format!("{}, or leave the key out", kind.fix())));
    }
    let wrong = || Fault::new(format!("is {text:?}"), kind.fix());
    match kind {
        Kind::Secret if text.trim() != text || text.chars().any(char::is_control) => {
            let fault = "begins or ends with white space, or holds a line break";
            return Err(Fault::new(
                fault,
                "write the bare secret, such as without the line break at the end of a file",
            ));
        }
        Kind::Choice(words) if !words.contains(&text) => {
            let near = words.iter().find(|word| strsim::normalized_damerau_levenshtein(word, text) >= 0.6);
            let fix = near.map_or_else(|| kind.fix(), |word| format!("{} (did you mean {word:?}?)", kind.fix()));
            return Err(Fault::new(format!("is {text:?}"), fix));
        }
        Kind::Words(words) => {
            if let Some(word) = text.split_whitespace().find(|word| !words.contains(word)) {
                return Err(Fault::new(format!("holds {word:?}"), kind.fix()));
            }
        }
        Kind::Address => drop(text.parse::<SocketAddr>().map_err(|_| wrong())?),
        // The URL itself is not repeated: what makes it wrong may be a password in it.
        Kind::PublicUrl => drop(PublicUrl::parse(text).map_err(|e| Fault::new(format!("is wrong: {e}"), kind.fix()))?),
        Kind::HttpUrl => drop(parse_url(text).map_err(|e| Fault::new(format!("is wrong: {e}"), kind.fix()))?),
        Kind::WebSocketUrl => check_websocket_url(text)?,
        // A number is not repeated either.
        Kind::Caller => drop(Address::parse(text).map_err(|error| Fault::new(error.to_string(), kind.fix()))?),
        Kind::Buffering if text != "sentences" => return Err(wrong()),
        Kind::Text(_)
        | Kind::Secret
        | Kind::Choice(_)
        | Kind::Buffering
        | Kind::Integer(..)
        | Kind::Rate(_)
        | Kind::Number(..)
        | Kind::Flag
        | Kind::Texts
        | Kind::Chain(_)
        | Kind::Table(_)
        | Kind::Object
        | Kind::Tools => {}
    }
    Ok(text.into())
}

fn chain<'a>(words: &'static [&'static str], texts: impl Iterator<Item = &'a str>) -> Result<ValueKind, Fault> {
    let mut taken: Vec<&str> = Vec::new();
    for text in texts {
        if !words.contains(&text) {
            return Err(Fault::new(format!("holds {text:?}"), Kind::Chain(words).fix()));
        }
        if taken.contains(&text) {
            return Err(Fault::new(format!("holds {text:?} twice"), "remove one of them"));
        }
        taken.push(text);
    }
    if taken.is_empty() {
        return Err(Fault::new("is empty", "name at least one"));
    }
    Ok(taken.into_iter().map(str::to_owned).collect::<Vec<_>>().into())
}

fn check_websocket_url(text: &str) -> Result<(), Fault> {
    let kind = Kind::WebSocketUrl;
    let scheme_fault = || Fault::new("is wrong: the url must begin with wss:// or ws://", kind.fix());
    let url = as_http(text).ok_or_else(scheme_fault)?;
    parse_url(&url).map_err(|e| Fault::new(format!("is wrong: {e}"), kind.fix()))?;
    if ["api_key=", "access_token="].iter().any(|name| text.contains(name)) {
        return Err(Fault::new("carries a key in its query", "take it out and set api_key, which goes into a header"));
    }
    Ok(())
}

/// A WebSocket URL with the scheme of HTTP, so that both kinds are taken apart by one parser.
fn as_http(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    match scheme {
        "wss" => Some(format!("https://{rest}")),
        "ws" => Some(format!("http://{rest}")),
        _ => None,
    }
}

/// Scheme, host and port of a WebSocket URL that has been checked.
pub(super) fn websocket_host(text: &str) -> Option<PublicUrl> {
    parse_url(&as_http(text)?).ok()
}

/// Scheme, host and port of a URL that has been checked, of either kind.
pub(super) fn host(text: &str) -> Option<PublicUrl> {
    websocket_host(text).or_else(|| http_host(text))
}

/// Scheme, host and port of an HTTP URL that has been checked.
pub(super) fn http_host(text: &str) -> Option<PublicUrl> {
    parse_url(text).ok()
}

/// Checks everything in front of the query, which may stand here and is not looked at.
fn parse_url(text: &str) -> Result<PublicUrl, crate::server::twilio::public_url::PublicUrlError> {
    PublicUrl::parse(text.split_once('?').map_or(text, |(front, _)| front))
}

fn name_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false without quotes",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

impl Kind {
    /// What it may hold, for the documentation.
    pub fn describe(self) -> String {
        let words = |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        match self {
            Kind::Text(_) => "text".to_owned(),
            Kind::Secret => "secret text".to_owned(),
            Kind::Integer(min, max) => format!("whole number, {min} to {max}"),
            Kind::Rate(rates) => rates.iter().map(i64::to_string).collect::<Vec<_>>().join(", "),
            Kind::Number(min, max) => format!("number, {min:?} to {max:?}"),
            Kind::Flag => "`true`, `false`".to_owned(),
            Kind::Choice(choices) => words(choices),
            Kind::Words(choices) => format!("any of {}", words(choices)),
            Kind::Address => "IP address and port".to_owned(),
            Kind::PublicUrl => "`https` URL without query".to_owned(),
            Kind::HttpUrl => "`https` URL".to_owned(),
            Kind::WebSocketUrl => "`wss` URL".to_owned(),
            Kind::Caller => "number, SIP address or client".to_owned(),
            Kind::Texts => "list of texts".to_owned(),
            Kind::Chain(choices) => format!("list of {}", words(choices)),
            Kind::Table(Entries::Secrets) => "table of secrets".to_owned(),
            Kind::Table(Entries::Headers) => "table of secrets".to_owned(),
            Kind::Table(Entries::Parameters | Entries::Digits | Entries::Languages | Entries::Ignored) => {
                "table of texts".to_owned()
            }
            Kind::Table(Entries::Tokens) => "table of digests with scopes".to_owned(),
            Kind::Table(Entries::Addresses) => "table of numbers".to_owned(),
            Kind::Object => "table, or JSON text".to_owned(),
            Kind::Tools => "sections `[[agent.llm.tools]]`".to_owned(),
            Kind::Buffering => format!("`sentences`, or `{{ managed_ms = 1..{MANAGED_MS_MAX} }}`"),
        }
    }

    /// What to write, as an order.
    fn fix(self) -> String {
        match self {
            Kind::Text(_) | Kind::Secret => "write text in quotes".to_owned(),
            Kind::Integer(min, max) => format!("write a whole number from {min} to {max}"),
            Kind::Rate(_) => format!("write one of {}", self.describe()),
            Kind::Number(min, max) => format!("write a number from {min:?} to {max:?}"),
            Kind::Flag => "write true or false".to_owned(),
            Kind::Choice(choices) => {
                format!(
                    "write one of {}",
                    choices.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
                )
            }
            Kind::Words(choices) => format!("write any of {}, separated by spaces", choices.join(", ")),
            Kind::Address => "write an IP address and a port, such as \"127.0.0.1:8080\"".to_owned(),
            Kind::PublicUrl => "write something like \"https://gw.example.com\"".to_owned(),
            Kind::HttpUrl => "write something like \"https://example.com/path\"".to_owned(),
            Kind::WebSocketUrl => "write something like \"wss://example.com/path\"".to_owned(),
            Kind::Caller => "write it in quotes, with the plus sign of a number".to_owned(),
            Kind::Texts => "write a list of texts in quotes, such as [\"one\", \"two\"]".to_owned(),
            Kind::Chain(choices) => format!("write a list of one or more of {}, each once", choices.join(", ")),
            Kind::Table(_) => "write a section with one line an entry, such as name = \"text\"".to_owned(),
            Kind::Object => "write a table, such as { top_p = 0.9 }".to_owned(),
            Kind::Tools => "write a section [[agent.llm.tools]] for each tool".to_owned(),
            Kind::Buffering => {
                format!("write \"sentences\" or {{ managed_ms = N }} with N from 1 to {MANAGED_MS_MAX}")
            }
        }
    }
}
