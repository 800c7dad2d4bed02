//! Client messages, read leniently as to form and strictly as to content.
//!
//! Field names, defaults and ranges are those of the vendor's public reference for the TTS WebSocket.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::emulate::tts::order::{Buffering, Order};
use crate::emulate::tts::speaker::SampleEncoding;

/// Sampling rates that may be asked for, in Hz.
const RATES: [u32; 6] = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000];

/// Longest buffering delay that may be asked for, in milliseconds.
const DELAY_MS_MAX: u32 = 5_000;

/// Fields that may differ between the inputs of one context.
const FREE_FIELDS: [&str; 4] = ["transcript", "continue", "flush", "duration"];

/// How the vendor calls an encoding.
fn encoding(name: &str) -> Option<SampleEncoding> {
    match name {
        "pcm_s16le" => Some(SampleEncoding::S16Le),
        "pcm_f32le" => Some(SampleEncoding::F32Le),
        "pcm_mulaw" => Some(SampleEncoding::Mulaw),
        "pcm_alaw" => Some(SampleEncoding::Alaw),
        _ => None,
    }
}

/// What every input of one context must repeat unchanged.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template {
    pub(super) voice: String,
    pub(super) model: String,
    pub(super) order: Order,
    /// The message without the fields that may differ: fields we do not read must be repeated as well.
    whole: Map<String, Value>,
}

/// One message of a client.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    Generate { context: String, template: Box<Template>, input: Input },
    Cancel { context: String },
}

/// The part of a generation request that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) transcript: String,
    /// More inputs may follow.
    pub(super) more: bool,
    pub(super) flush: bool,
}

/// Why a message is refused, as it is told to the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The context it was for, where that could be read.
    pub(super) context: Option<String>,
    pub(super) status: u16,
    pub(super) code: Option<&'static str>,
    pub(super) title: &'static str,
    pub(super) message: String,
}

impl Refusal {
    /// A mistake in the request (status 400).
    pub(super) fn invalid(context: Option<&str>, message: impl Into<String>) -> Self {
        let context = context.map(str::to_owned);
        Self { context, status: 400, code: None, title: "Invalid request", message: message.into() }
    }
}

/// Reads one text frame. `delay_ms_default` depends on the version that the client asked for.
pub(super) fn parse(text: &str, delay_ms_default: u32) -> Result<Request, Refusal> {
    let value: Value = serde_json::from_str(text).map_err(|_| Refusal::invalid(None, "the message is not JSON"))?;
    let Value::Object(fields) = value else {
        return Err(Refusal::invalid(None, "the message is not a JSON object"));
    };
    let context = match fields.get("context_id") {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= 512 => id.clone(),
        _ => return Err(Refusal::invalid(None, "context_id must be a string of 1 to 512 bytes")),
    };
    if fields.get("cancel") == Some(&Value::Bool(true)) {
        return Ok(Request::Cancel { context });
    }
    match generation(fields, delay_ms_default) {
        Ok((template, input)) => Ok(Request::Generate { context, template: Box::new(template), input }),
        Err(message) => Err(Refusal::invalid(Some(&context), message)),
    }
}

fn generation(mut fields: Map<String, Value>, delay_ms_default: u32) -> Result<(Template, Input), String> {
    let transcript = match fields.get("transcript") {
        Some(Value::String(text)) => text.clone(),
        _ => return Err("transcript must be a string".to_owned()),
    };
    let input = Input { transcript, more: flag(&fields, "continue")?, flush: flag(&fields, "flush")? };
    FREE_FIELDS.iter().for_each(|name| drop(fields.remove(*name)));

    let model = match fields.get("model_id") {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        _ => return Err("model_id must be a string".to_owned()),
    };
    let voice = fields.get("voice").ok_or("voice is missing")?;
    let voice = voice_id(voice).ok_or("voice must be an id or an object with an id (and mode \"id\")")?;
    let format = fields.get("output_format").ok_or("output_format is missing")?;
    if format.get("container").and_then(Value::as_str) != Some("raw") {
        return Err("output_format.container must be \"raw\" on a WebSocket".to_owned());
    }
    let encoding = format.get("encoding").and_then(Value::as_str).and_then(encoding);
    let encoding = encoding.ok_or("output_format.encoding is not one of pcm_s16le, pcm_f32le, pcm_mulaw, pcm_alaw")?;
    let rate = format.get("sample_rate").and_then(Value::as_u64).and_then(|rate| u32::try_from(rate).ok());
    let rate = rate.filter(|rate| RATES.contains(rate)).ok_or("output_format.sample_rate is not supported")?;
    let delay_ms = match fields.get("max_buffer_delay_ms") {
        None | Some(Value::Null) => delay_ms_default,
        Some(value) => value
            .as_u64()
            .and_then(|ms| u32::try_from(ms).ok())
            .filter(|ms| *ms <= DELAY_MS_MAX)
            .ok_or("max_buffer_delay_ms must be a whole number from 0 to 5000")?,
    };
    let config = fields.get("generation_config");
    let speed = number(config, "speed", 0.6, 1.5)?;
    let volume = number(config, "volume", 0.5, 2.0)?;
    let timestamps = flag(&fields, "add_timestamps")?;
    let buffering = match delay_ms {
        0 => Buffering::AtOnce,
        delay_ms => Buffering::Sentences(Some(Duration::from_millis(delay_ms.into()))),
    };
    let order = Order { encoding, rate, buffering, timestamps, speed, volume };
    Ok((Template { voice, model, order, whole: fields }, input))
}

/// Version 2026-08-14 takes a bare id, or an object in which the mode may be missing; earlier ones want the mode.
fn voice_id(voice: &Value) -> Option<String> {
    let id = match voice.as_str() {
        Some(id) => id,
        None if matches!(voice.get("mode").map(Value::as_str), None | Some(Some("id"))) => voice.get("id")?.as_str()?,
        None => return None,
    };
    (!id.is_empty()).then(|| id.to_owned())
}

fn flag(fields: &Map<String, Value>, name: &str) -> Result<bool, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(format!("{name} must be true or false")),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a small setting: the digits beyond f32 mean nothing")]
fn number(config: Option<&Value>, name: &str, min: f64, max: f64) -> Result<Option<f32>, String> {
    match config.and_then(|config| config.get(name)) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) if (min..=max).contains(&number) => Ok(Some(number as f32)),
            _ => Err(format!("generation_config.{name} must be a number from {min} to {max}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request() -> Value {
        json!({
            "context_id": "c", "model_id": "sonic-3", "transcript": "Hi. ", "voice": { "mode": "id", "id": "v" },
            "output_format": { "container": "raw", "encoding": "pcm_s16le", "sample_rate": 16_000 },
        })
    }

    fn parsed(value: &Value) -> Result<Request, Refusal> {
        parse(&value.to_string(), 3_000)
    }

    fn template(value: &Value) -> Template {
        match parsed(value).unwrap() {
            Request::Generate { template, .. } => *template,
            Request::Cancel { .. } => panic!("a cancel"),
        }
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let Ok(Request::Generate { context, template, input }) = parsed(&request()) else { panic!("refused") };
        assert_eq!(context, "c");
        assert_eq!(input, Input { transcript: "Hi. ".to_owned(), more: false, flush: false });
        let order = template.order;
        assert_eq!((order.rate, order.encoding, order.timestamps), (16_000, SampleEncoding::S16Le, false));
        assert_eq!(order.buffering, Buffering::Sentences(Some(Duration::from_secs(3))));
    }

    #[test]
    fn key_order_and_free_fields_do_not_make_a_different_template() {
        let mut other = request();
        other["transcript"] = json!("");
        other["continue"] = json!(true);
        other["flush"] = json!(true);
        assert_eq!(template(&request()), template(&other));
        other["language"] = json!("en");
        assert_ne!(template(&request()), template(&other));
        let reordered = r#"{"output_format":{"sample_rate":16000,"encoding":"pcm_s16le","container":"raw"},
            "voice":{"id":"v","mode":"id"},"transcript":"x","model_id":"sonic-3","context_id":"c"}"#;
        let Ok(Request::Generate { template: reordered, .. }) = parse(reordered, 3_000) else { panic!("refused") };
        assert_eq!(*reordered, template(&request()));
    }

    #[test]
    fn a_voice_is_named_in_any_documented_way() {
        for voice in [json!("v"), json!({ "id": "v" }), json!({ "id": "v", "mode": "id" })] {
            let mut request = request();
            request["voice"] = voice;
            assert_eq!(template(&request).voice, "v");
        }
    }

    #[test]
    fn a_pretty_printed_cancel_needs_no_other_field() {
        let text = "{\n  \"cancel\": true,\n  \"context_id\": \"c\"\n}";
        assert_eq!(parse(text, 0), Ok(Request::Cancel { context: "c".to_owned() }));
    }

    #[test]
    fn mistakes_are_refused_with_the_context_where_it_is_known() {
        let changed = |name: &str, value: Value| {
            let mut request = request();
            request[name] = value;
            parsed(&request).unwrap_err()
        };
        for (name, value) in [
            ("transcript", json!(5)),
            ("model_id", json!("")),
            ("voice", json!({ "mode": "embedding", "embedding": [] })),
            ("voice", json!({ "mode": "embedding", "id": "v" })),
            ("voice", json!("")),
            ("output_format", json!({ "container": "wav", "encoding": "pcm_s16le", "sample_rate": 8_000 })),
            ("output_format", json!({ "container": "raw", "encoding": "mp3", "sample_rate": 8_000 })),
            ("output_format", json!({ "container": "raw", "encoding": "pcm_s16le", "sample_rate": 11_025 })),
            ("max_buffer_delay_ms", json!(5_001)),
            ("continue", json!("yes")),
            ("generation_config", json!({ "speed": 3 })),
        ] {
            let refusal = changed(name, value);
            assert_eq!((refusal.status, refusal.context.as_deref()), (400, Some("c")), "{name}");
        }
        assert_eq!(changed("context_id", json!(7)).context, None);
        assert_eq!(parse("{\"context_id\":", 0).unwrap_err().context, None);
        assert_eq!(parse("[]", 0).unwrap_err().status, 400);
    }
}
