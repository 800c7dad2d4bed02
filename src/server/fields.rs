//! The fields of an API request, from a JSON object or a query: one set of rules, and errors that name the field.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use axum::RequestExt as _;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use serde::Deserialize as _;
use serde_json::Value;
use tokio::time::timeout;

use super::api::ApiError;

/// How long a JSON body may take to arrive.
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// Longest name of a voice, a language or an emotion, in characters.
const WORD_CHARS_MAX: usize = 128;
/// Longest part of an unknown field's name that an error repeats, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Fields that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Fields(BTreeMap<String, Given>);

#[derive(Debug)]
enum Given {
    Json(Value),
    /// From a query, where everything is text.
    Text(String),
}

impl Fields {
    /// Reads the JSON object in the body of a request, which has to come in time.
    pub(super) async fn of_request(request: Request) -> Result<Self, ApiError> {
        let Ok(body) = timeout(BODY_LIMIT, request.extract::<Bytes, _>()).await else {
            return Err(ApiError::Body(StatusCode::REQUEST_TIMEOUT, "the body did not come in time".to_owned()));
        };
        let body = body.map_err(|rejection| ApiError::Body(rejection.status(), rejection.body_text()))?;
        Fields::of_json(&body)
    }

    /// Reads a JSON object; `null` is the same as nothing.
    pub(super) fn of_json(body: &[u8]) -> Result<Self, ApiError> {
        let bad = |problem: String| ApiError::Body(StatusCode::BAD_REQUEST, problem);
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => {
                let given = fields.into_iter().filter(|(_, value)| !value.is_null());
                Ok(Fields(given.map(|(name, value)| (name, Given::Json(value))).collect()))
            }
            Ok(_) => Err(bad("the body is not a JSON object".to_owned())),
            Err(error) => Err(bad(format!("the body is not JSON: line {} column {}", error.line(), error.column()))),
        }
    }

    /// Reads a query.
    pub(super) fn of_query(query: &str) -> Result<Self, ApiError> {
        let mut fields = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if fields.insert(name.to_string(), Given::Text(value.into_owned())).is_some() {
                return Err(ApiError::field(&shown(&name), "is given twice"));
            }
        }
        Ok(Fields(fields))
    }

    /// Any text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        self.take(name, "must be text", |given| match given {
            Given::Json(Value::String(text)) | Given::Text(text) => Some(text),
            Given::Json(_) => None,
        })
    }

    /// A text that `parse` understands; its error says what it must be.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ApiError> {
        let text = self.text(name)?;
        text.map(|text| parse(&text).map_err(|error| ApiError::field(name, &error.to_string()))).transpose()
    }

    /// Names and texts.
    pub(super) fn table(&mut self, name: &str) -> Result<Option<BTreeMap<String, String>>, ApiError> {
        self.take(name, "must be an object whose values are text", |given| match given {
            Given::Json(value) => BTreeMap::deserialize(value).ok(),
            Given::Text(_) => None,
        })
    }

    /// A short text without control characters.
    pub(super) fn word(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let is_word =
            |text: &String| (1..=WORD_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        match self.text(name)? {
            Some(text) if !is_word(&text) => {
                Err(ApiError::field(name, &format!("must be text of 1 to {WORD_CHARS_MAX} characters")))
            }
            text => Ok(text),
        }
    }

    /// A truth value.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        self.take(name, "must be true or false", |given| match given {
            Given::Json(value) => value.as_bool(),
            Given::Text(text) => text.parse().ok(),
        })
    }

    /// A whole number from 1 on.
    pub(super) fn whole(&mut self, name: &str) -> Result<Option<u32>, ApiError> {
        self.take(name, "must be a whole number from 1 on", |given| {
            let number = match given {
                Given::Json(value) => u32::deserialize(value).ok(),
                Given::Text(text) => text.parse().ok(),
            };
            number.filter(|number| *number >= 1)
        })
    }

    /// A number within limits.
    pub(super) fn number(&mut self, name: &str, low: f32, high: f32) -> Result<Option<f32>, ApiError> {
        self.take(name, &format!("must be a number from {low} to {high}"), |given| {
            let number = match given {
                Given::Json(value) => f32::deserialize(value).ok(),
                Given::Text(text) => text.parse().ok(),
            };
            number.filter(|number| (low..=high).contains(number))
        })
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, ApiError> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.take(name, &format!("must be {}", names.join(", ")), |given| match given {
            Given::Json(Value::String(text)) | Given::Text(text) => {
                words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
            }
            Given::Json(_) => None,
        })
    }

    /// Whatever is left is a mistake: a misspelt wish must not be passed over in silence.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.0.into_keys().next() {
            Some(name) => Err(ApiError::field(&shown(&name), "is not known here")),
            None => Ok(()),
        }
    }

    fn take<T>(
        &mut self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(Given) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(given) => read(given).map(Some).ok_or_else(|| ApiError::field(name, wanted)),
        }
    }
}

/// A name as far as an error repeats it.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn json_and_query_are_read_by_the_same_rules() {
        let json = br#"{"text":"a b","last":false,"turn":7,"speed":1.25,"voice":"v","mode":"x","volume":null}"#;
        let query = "text=a+b&last=false&turn=7&speed=1.25&voice=v&mode=x";
        for mut fields in [Fields::of_json(json).unwrap(), Fields::of_query(query).unwrap()] {
            assert_eq!(fields.text("text").unwrap().unwrap(), "a b");
            assert_eq!(fields.flag("last").unwrap(), Some(false));
            assert_eq!(fields.whole("turn").unwrap(), Some(7));
            assert_eq!(fields.number("speed", 0.6, 1.5).unwrap(), Some(1.25));
            assert_eq!(fields.number("volume", 0.6, 1.5).unwrap(), None);
            assert_eq!(fields.word("voice").unwrap().unwrap(), "v");
            assert_eq!(fields.one_of("mode", &[("x", 1), ("y", 2)]).unwrap(), Some(1));
            fields.finish().unwrap();
        }
    }

    #[test]
    fn every_mistake_names_its_field_and_no_value() {
        let json = |text: &str| Fields::of_json(text.as_bytes()).unwrap();
        assert_eq!(problem(json(r#"{"text":5}"#).text("text")), "text: must be text");
        assert_eq!(problem(json(r#"{"last":"secret"}"#).flag("last")), "last: must be true or false");
        for turn in ["0", "-1", "1.5", "\"1\"", "4294967296"] {
            let told = problem(json(&format!("{{\"turn\":{turn}}}")).whole("turn"));
            assert_eq!(told, "turn: must be a whole number from 1 on", "{turn}");
        }
        for speed in ["NaN", "inf", "2", "fast"] {
            let told = problem(Fields::of_query(&format!("speed={speed}")).unwrap().number("speed", 0.6, 1.5));
            assert_eq!(told, "speed: must be a number from 0.6 to 1.5", "{speed}");
        }
        for voice in ["\"\"", "\"a\\nb\"", &format!("\"{}\"", "v".repeat(129))] {
            let told = problem(json(&format!("{{\"voice\":{voice}}}")).word("voice"));
            assert_eq!(told, "voice: must be text of 1 to 128 characters", "{voice}");
        }
        assert_eq!(problem(json(r#"{"mode":"z"}"#).one_of("mode", &[("x", 1), ("y", 2)])), "mode: must be x, y");
        assert_eq!(problem(json(r#"{"txt":"secret"}"#).finish()), "txt: is not known here");
        assert_eq!(problem(Fields::of_query("a=1&a=2")), "a: is given twice");
        assert_eq!(problem(Fields::of_json(b"[1]")), "the body is not a JSON object");
        assert_eq!(problem(Fields::of_json(b"{\"a\": secret}")), "the body is not JSON: line 1 column 7");
    }
}
