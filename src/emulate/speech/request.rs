//! A request for speech, checked as a strict server would check it.

use serde_json::{Map, Value};

use crate::emulate::llm::refusal::Refusal;

/// Longest input and longest instructions, in characters, as documented.
pub const INPUT_CHARS_MAX: usize = 4_096;

/// The parameters that the API documents. Everything else is refused: parameters of one engine only must not go to another
/// unnoticed.
const PARAMETERS: [&str; 7] = ["model", "input", "voice", "instructions", "response_format", "speed", "stream_format"];

/// How audio is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Headerless 16-bit samples, little-endian.
    Pcm,
    /// The same behind a WAV header whose lengths nobody knows yet.
    Wav,
}

/// How a body is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// The audio is the body.
    Audio,
    /// Server-sent events with base64 in them.
    Sse,
}

/// A request that is answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) model: String,
    pub(super) input: String,
    pub(super) voice: String,
    pub(super) instructions: Option<String>,
    pub(super) speed: Option<f32>,
    pub(super) format: Format,
    pub(super) framing: Framing,
}

/// Reads a request's body.
pub(super) fn read(body: &[u8]) -> Result<Request, Refusal> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Refusal::body("The body is not JSON."))?;
    let body = body.as_object().ok_or_else(|| Refusal::body("The body is not a JSON object."))?;
    if let Some(name) = body.keys().find(|name| !PARAMETERS.contains(&name.as_str())) {
        return Err(Refusal::unknown(name.as_str()));
    }
    let model = needed(body, "model")?.to_owned();
    let input = needed(body, "input")?.to_owned();
    if input.is_empty() || input.chars().count() > INPUT_CHARS_MAX {
        return Err(Refusal::invalid("input", "expected 1 to 4096 characters"));
    }
    Ok(Request {
        model,
        input,
        voice: voice(body)?,
        instructions: instructions(body)?,
        speed: speed(body)?,
        format: format(body)?,
        framing: framing(body)?,
    })
}

/// Null counts as left out, as with the API.
fn given<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.get(name).filter(|value| !value.is_null())
}

fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    let Some(value) = given(body, name) else { return Ok(None) };
    value.as_str().map(Some).ok_or_else(|| Refusal::wrong_type(name, "a string"))
}

fn needed<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    text(body, name)?.ok_or_else(|| Refusal::missing(name))
}

/// A name, or an object with the id of a voice of one's own.
fn voice(body: &Map<String, Value>) -> Result<String, Refusal> {
    let value = given(body, "voice").ok_or_else(|| Refusal::missing("voice"))?;
    let id = value.as_object().and_then(|voice| voice.get("id")).unwrap_or(value);
    id.as_str().map(str::to_owned).ok_or_else(|| Refusal::wrong_type("voice", "a string or an object with an id"))
}

fn instructions(body: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    let instructions = text(body, "instructions")?;
    if instructions.is_some_and(|text| text.chars().count() > INPUT_CHARS_MAX) {
        return Err(Refusal::invalid("instructions", "expected at most 4096 characters"));
    }
    Ok(instructions.map(str::to_owned))
}

#[expect(clippy::cast_possible_truncation, reason = "checked to be a small number")]
fn speed(body: &Map<String, Value>) -> Result<Option<f32>, Refusal> {
    let Some(value) = given(body, "speed") else { return Ok(None) };
    let speed = value.as_f64().ok_or_else(|| Refusal::wrong_type("speed", "a number"))?;
    if !(0.25..=4.0).contains(&speed) {
        return Err(Refusal::invalid("speed", "expected 0.25 to 4.0"));
    }
    Ok(Some(speed as f32))
}

fn format(body: &Map<String, Value>) -> Result<Format, Refusal> {
    // The API's own default, which this server cannot make.
    match text(body, "response_format")?.unwrap_or("mp3") {
        "pcm" => Ok(Format::Pcm),
        "wav" => Ok(Format::Wav),
        _ => Err(Refusal::invalid("response_format", "this server makes 'pcm' and 'wav'")),
    }
}

fn framing(body: &Map<String, Value>) -> Result<Framing, Refusal> {
    match text(body, "stream_format")?.unwrap_or("audio") {
        "audio" => Ok(Framing::Audio),
        "sse" => Ok(Framing::Sse),
        _ => Err(Refusal::invalid("stream_format", "expected 'audio' or 'sse'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(more: Value) -> Vec<u8> {
        let mut body = json!({"model": "tts-1", "input": "Hi.", "voice": "alloy", "response_format": "pcm"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string().into_bytes()
    }

    #[test]
    fn a_full_request_is_read() {
        let plain = read(&body(json!({"speed": null, "instructions": null}))).unwrap();
        assert_eq!(
            (plain.speed, plain.instructions, plain.format, plain.framing),
            (None, None, Format::Pcm, Framing::Audio)
        );
        let full = json!({
            "voice": {"id": "voice_1"}, "instructions": "Calmly.", "speed": 1.5, "response_format": "wav",
            "stream_format": "sse",
        });
        let full = read(&body(full)).unwrap();
        assert_eq!(
            (full.voice.as_str(), full.instructions.as_deref(), full.speed),
            ("voice_1", Some("Calmly."), Some(1.5))
        );
        assert_eq!((full.format, full.framing), (Format::Wav, Framing::Sse));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (more, param) in [
            (json!({"model": null}), "model"),
            (json!({"model": 1}), "model"),
            (json!({"input": ""}), "input"),
            (json!({"input": "x".repeat(4_097)}), "input"),
            (json!({"voice": null}), "voice"),
            (json!({"voice": {"name": "alloy"}}), "voice"),
            (json!({"instructions": 1}), "instructions"),
            (json!({"speed": 4.1}), "speed"),
            (json!({"speed": "fast"}), "speed"),
            (json!({"response_format": "mp3"}), "response_format"),
            (json!({"response_format": null}), "response_format"),
            (json!({"stream_format": "wav"}), "stream_format"),
            (json!({"lang_code": "a"}), "lang_code"),
        ] {
            let refusal = read(&body(more.clone())).unwrap_err();
            assert_eq!((refusal.param.as_deref(), refusal.status.as_u16()), (Some(param), 400), "{more}");
        }
        assert_eq!(read(b"[]").unwrap_err().param, None);
        assert_eq!(read(b"{\"a").unwrap_err().param, None);
    }
}
