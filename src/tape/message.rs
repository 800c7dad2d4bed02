//! Redaction of a message, field by field.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::redact::Redactor;
use super::{Audio, Text};
use crate::audio::Encoding;
use crate::dialect::Port;

/// An error code is a word of the vendor's. Anything longer may quote what was to be spoken.
const CODE_BYTES_MAX: usize = 64;

/// A carrier's message that carries audio and nothing private but the stream's name. Nearly all messages are such, and
/// need no full parse.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "that the message has these fields and no others is all that has to be known")]
struct CarrierMedia<'a> {
    event: &'a str,
    #[serde(default)]
    sequence_number: Option<&'a str>,
    stream_sid: &'a str,
    media: CarrierAudio<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as above")]
struct CarrierAudio<'a> {
    #[serde(default)]
    track: Option<&'a str>,
    #[serde(default)]
    chunk: Option<&'a str>,
    #[serde(default)]
    timestamp: Option<&'a str>,
    payload: &'a str,
}

/// The same of a voice.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as above")]
struct VoiceChunk<'a> {
    r#type: &'a str,
    context_id: &'a str,
    data: &'a str,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    status_code: u16,
    #[serde(default)]
    step_time: f64,
}

/// What is done with a value, by the name that it stands under.
enum Treatment {
    Keep,
    Name,
    Context,
    Digit,
    Audio,
    Cover,
}

fn treatment(key: &str) -> Treatment {
    match key {
        "event" | "protocol" | "version" | "track" | "tracks" | "encoding" | "sampleRate" | "channels"
        | "sequenceNumber" | "chunk" | "timestamp" | "type" | "done" | "flush_done" | "flush_id" | "status_code"
        | "step_time" | "start" | "end" | "error_code" => Treatment::Keep,
        "streamSid" | "callSid" | "accountSid" | "request_id" => Treatment::Name,
        "context_id" => Treatment::Context,
        "digit" => Treatment::Digit,
        "payload" | "data" => Treatment::Audio,
        _ => Treatment::Cover,
    }
}

impl Redactor {
    /// A peer's message as it goes onto the tape.
    pub(super) fn message(&self, port: Port, text: String, silence: Encoding) -> String {
        if let (Audio::Keep, Some(covered)) = (self.audio, self.audio_message(port, &text)) {
            return covered;
        }
        let Ok(mut message) = serde_json::from_str(&text) else { return "x".repeat(text.len()) };
        self.value("", &mut message, silence);
        serde_json::to_string(&message).unwrap_or_default()
    }

    /// The fast way: only the stream's name is replaced, where it stands.
    fn audio_message(&self, port: Port, text: &str) -> Option<String> {
        let (name, covered) = self.stream.as_ref()?;
        let is_ours = match port {
            Port::Carrier => serde_json::from_str::<CarrierMedia<'_>>(text).ok()?.stream_sid == name,
            Port::Voice { .. } => {
                serde_json::from_str::<VoiceChunk<'_>>(text).ok()?.context_id.starts_with(name.as_str())
            }
            Port::Agent => false,
        };
        // A short name could stand elsewhere as well; then the slow way is the right one.
        let quoted = format!("\"{name}");
        let (head, tail) = text.split_once(&quoted).filter(|_| is_ours)?;
        (!tail.contains(&quoted)).then(|| format!("{head}\"{covered}{tail}"))
    }

    fn value(&self, key: &str, value: &mut Value, silence: Encoding) {
        match value {
            // Whatever the operator calls them, parameters are private.
            Value::Object(fields) if key == "customParameters" => {
                fields.values_mut().for_each(|value| self.value("customParameters", value, silence));
            }
            Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| self.value(key, value, silence)),
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(key, value, silence)),
            Value::String(text) => *text = self.string(key, text, silence),
            Value::Number(number) if self.text == Text::Redact => {
                if let Treatment::Cover = treatment(key) {
                    *value = self.pseudonyms.text(&number.to_string()).parse::<u64>().map_or(0.into(), Value::from);
                }
            }
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    fn string(&self, key: &str, text: &str, silence: Encoding) -> String {
        let is_covered = self.text == Text::Redact;
        match treatment(key) {
            Treatment::Audio if self.audio == Audio::Silence => {
                let bytes = STANDARD.decode(text).map_or(0, |bytes| bytes.len());
                STANDARD.encode(vec![silence.silence(); bytes])
            }
            Treatment::Keep if key == "error_code" && text.len() > CODE_BYTES_MAX && is_covered => {
                self.pseudonyms.text(text)
            }
            Treatment::Keep | Treatment::Audio => text.to_owned(),
            Treatment::Name if is_covered => self.pseudonyms.name(text),
            Treatment::Context if is_covered => self.context(text),
            Treatment::Digit if is_covered && text.len() == 1 => {
                self.pseudonyms.text(text).replace(char::is_alphabetic, "0")
            }
            Treatment::Cover | Treatment::Digit if is_covered => self.mark_or_text(key, text),
            Treatment::Name | Treatment::Context | Treatment::Digit | Treatment::Cover => text.to_owned(),
        }
    }

    /// Our own marks are counters; any other name is somebody's text.
    fn mark_or_text(&self, key: &str, text: &str) -> String {
        let is_ours = key == "name" && text.strip_prefix('m').is_some_and(|rest| rest.parse::<u64>().is_ok());
        if is_ours { text.to_owned() } else { self.pseudonyms.text(text) }
    }

    /// A context is named after its stream; what follows is a counter.
    fn context(&self, name: &str) -> String {
        let ours =
            self.stream.as_ref().and_then(|(stream, covered)| Some((name.strip_prefix(stream.as_str())?, covered)));
        ours.map_or_else(|| self.pseudonyms.text(name), |(rest, covered)| format!("{covered}{rest}"))
    }
}
