//! Redaction of a message, field by field.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::redact::Redactor;
use super::{Audio, Text};
use crate::audio::Encoding;
use crate::call::event::FaultKind;
use crate::dialect::{Port, kind_of_words};

/// What the protocol writes into a field is a short word. Anything longer, or of several words, may be somebody's.
const PLAIN_BYTES_MAX: usize = 32;

/// Contexts of which a word may be in two messages; one that is forgotten begins anew.
const ALIGNED_MAX: usize = 64;

/// A carrier's message that carries audio and nothing private but the stream's name. Nearly all messages are such, and
/// need no full parse.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "of most fields, it is enough that there are no others")]
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

/// The same of a voice, whichever it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as above")]
struct VoiceChunk<'a> {
    #[serde(default)]
    r#type: Option<&'a str>,
    #[serde(alias = "contextId", alias = "client_req_id")]
    context_id: &'a str,
    #[serde(alias = "audio")]
    data: &'a str,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    status_code: u16,
    #[serde(default)]
    step_time: f64,
    #[serde(default)]
    start_s: f64,
    #[serde(default)]
    stop_s: f64,
    #[serde(default)]
    stream_id: u16,
    #[serde(default)]
    alignment: Option<()>,
    #[serde(default, rename = "normalizedAlignment")]
    normalized_alignment: Option<()>,
}

/// What is done with a value, by the name that it stands under.
enum Treatment {
    Keep,
    Name,
    Context,
    Digit,
    Cover,
    /// Words about what went wrong: what they mean stays.
    Sense,
}

fn treatment(key: &str) -> Treatment {
    match key {
        "event" | "protocol" | "version" | "track" | "tracks" | "encoding" | "sampleRate" | "channels"
        | "sequenceNumber" | "chunk" | "timestamp" | "type" | "done" | "flush_done" | "flush_id" | "status_code"
        | "step_time" | "start" | "end" | "error_code" => Treatment::Keep,
        // Of voices whose audio has no name of its own.
        "code"
        | "sequence_id"
        | "audio_duration_ms"
        | "audio_played_ms"
        | "total_audio_duration_ms"
        | "input_character_count"
        | "billable_character_count" => Treatment::Keep,
        "streamSid" | "callSid" | "accountSid" | "request_id" | "speech_id" => Treatment::Name,
        "context_id" => Treatment::Context,
        "digit" => Treatment::Digit,
        _ => Treatment::Cover,
    }
}

/// The same for a voice. Vendors have names of their own for what is alike.
fn treatment_of_voice(key: &str) -> Treatment {
    match key {
        "start_s" | "stop_s" | "stream_id" | "sample_rate" | "frame_size" | "code" | "isFinal" | "is_final"
        | "charStartTimesMs" | "charDurationsMs" => Treatment::Keep,
        "contextId" | "client_req_id" => Treatment::Context,
        "error" | "message" => Treatment::Sense,
        _ => treatment(key),
    }
}

/// The same for whoever writes down what the caller says. What is heard stands in the texts, and the texts alone; numbers
/// say when, and how sure.
fn treatment_of_heard(key: &str) -> Treatment {
    match key {
        "type"
        | "event"
        | "status_code"
        | "error_code"
        | "code"
        | "variant"
        | "language"
        | "languages"
        | "flush_id"
        | "channel_index"
        | "channel"
        | "channels"
        | "start"
        | "end"
        | "start_s"
        | "stop_s"
        | "duration"
        | "timestamp"
        | "last_word_end"
        | "confidence"
        | "turn_index"
        | "sequence_id"
        | "audio_window_start"
        | "audio_window_end"
        | "end_of_turn_confidence"
        | "step_idx"
        | "step_duration_s"
        | "total_duration_s"
        | "horizon_s"
        | "inactivity_prob"
        | "stream_id"
        | "sample_rate"
        | "frame_size"
        | "delay_in_frames" => Treatment::Keep,
        "request_id" => Treatment::Name,
        _ => Treatment::Cover,
    }
}

impl Redactor {
    /// A peer's message as it goes onto the tape. `is_heard` says that it means audio to the call, written in `silence`'s way.
    pub(super) fn message(&mut self, port: Port, text: String, is_heard: bool, silence: Encoding) -> String {
        if is_heard
            && self.audio == Audio::Keep
            && let Some(covered) = self.audio_message(port, &text)
        {
            return covered;
        }
        let Ok(mut message) = serde_json::from_str(&text) else { return "x".repeat(text.len()) };
        // Only where audio belongs is anything taken for audio: under the same name elsewhere stands somebody's text.
        // Under a name that is no vendor's alone, only what is heard is; but where text is kept, nothing else would cover it.
        let place = place_of_audio(port, &message, is_heard || self.text == Text::Keep);
        let audio = place.and_then(|place| message.pointer_mut(place)).map(Value::take);
        let treatment = match port {
            Port::Hearing { .. } => treatment_of_heard,
            Port::Voice { .. } => treatment_of_voice,
            Port::Carrier | Port::App | Port::Agent => treatment,
        };
        let characters = self.characters(port, &mut message);
        self.value(treatment, "", &mut message);
        for (place, covered) in characters {
            if let Some(slot) = message.pointer_mut(place) {
                *slot = covered;
            }
        }
        if let (Some(audio), Some(slot)) = (audio, place.and_then(|place| message.pointer_mut(place))) {
            *slot = self.sound(audio, silence);
        }
        serde_json::to_string(&message).unwrap_or_default()
    }

    /// Takes words that come letter by letter out of a voice's message, covered as the whole words would be. A word may be in
    /// two messages.
    fn characters(&mut self, port: Port, message: &mut Value) -> Vec<(&'static str, Value)> {
        let is_private = self.text == Text::Redact && matches!(port, Port::Voice { .. });
        let name = ["contextId", "context_id"].into_iter().find_map(|key| message.get(key)?.as_str());
        let Some(name) = name.filter(|_| is_private).map(str::to_owned) else { return Vec::new() };
        let mut all = Vec::new();
        for place in ["/alignment/chars", "/normalizedAlignment/chars"] {
            let Some(Value::Array(chars)) = message.pointer_mut(place) else { continue };
            let Some(texts) = chars.iter().map(Value::as_str).collect::<Option<Vec<&str>>>() else { continue };
            let word = self.aligned.entry((name.clone(), place)).or_default();
            all.push((place, texts.iter().map(|text| self.pseudonyms.piece(word, text)).collect()));
        }
        if self.aligned.len() > ALIGNED_MAX {
            self.aligned.pop_first();
        }
        all
    }

    /// The fast way: only the stream's name is replaced, where it stands.
    fn audio_message(&self, port: Port, text: &str) -> Option<String> {
        let (name, covered) = self.stream.as_ref()?;
        let is_ours = match port {
            Port::Carrier => {
                let message = serde_json::from_str::<CarrierMedia<'_>>(text).ok()?;
                let CarrierAudio { track, chunk, timestamp, .. } = message.media;
                let kept = [message.sequence_number, track, chunk, timestamp];
                message.stream_sid == name && kept.into_iter().flatten().all(is_plain)
            }
            Port::Voice { .. } => {
                serde_json::from_str::<VoiceChunk<'_>>(text).ok()?.context_id.starts_with(name.as_str())
            }
            Port::Hearing { .. } | Port::App | Port::Agent => false,
        };
        // A short name could stand elsewhere as well; then the slow way is the right one.
        let quoted = format!("\"{name}");
        let (head, tail) = text.split_once(&quoted).filter(|_| is_ours)?;
        (!tail.contains(&quoted)).then(|| format!("{head}\"{covered}{tail}"))
    }

    /// What stands in place of audio.
    fn sound(&self, audio: Value, silence: Encoding) -> Value {
        let Value::String(text) = audio else { return Value::Null };
        match (STANDARD.decode(&text), self.audio) {
            (Ok(_), Audio::Keep) => text.into(),
            (Ok(bytes), Audio::Silence) => STANDARD.encode(vec![silence.silence(); bytes.len()]).into(),
            (Err(_), Audio::Keep | Audio::Silence) => "x".repeat(text.len()).into(),
        }
    }

    fn value(&self, treatment: fn(&str) -> Treatment, key: &str, value: &mut Value) {
        if self.text == Text::Keep {
            return;
        }
        match value {
            // Whatever the operator calls them, parameters are private, and so are the names that he chose.
            Value::Object(fields) if key == "customParameters" => {
                let covered = std::mem::take(fields).into_iter().map(|(name, mut value)| {
                    self.value(treatment, key, &mut value);
                    (self.pseudonyms.text(&name), value)
                });
                *fields = covered.collect();
            }
            Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| self.value(treatment, key, value)),
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(treatment, key, value)),
            Value::String(text) => *text = self.string(treatment(key), key, text),
            Value::Number(number) => match treatment(key) {
                Treatment::Keep => {}
                Treatment::Name | Treatment::Context | Treatment::Digit | Treatment::Cover | Treatment::Sense => {
                    *value = self.pseudonyms.text(&number.to_string()).parse::<u64>().map_or(0.into(), Value::from);
                }
            },
            Value::Bool(_) | Value::Null => {}
        }
    }

    fn string(&self, treatment: Treatment, key: &str, text: &str) -> String {
        match treatment {
            Treatment::Keep if is_plain(text) => text.to_owned(),
            Treatment::Keep => self.pseudonyms.text(text),
            Treatment::Name => self.name(text),
            Treatment::Context => self.context(text),
            // No call behaves differently by which key it is, and made-up keys would still tell which ones are alike: a
            // code of four keys has few patterns.
            Treatment::Digit if text.len() == 1 => "0".to_owned(),
            Treatment::Sense if key == "error" && is_plain(text) => text.to_owned(),
            Treatment::Sense => sense_of(kind_of_words(text)).to_owned(),
            Treatment::Cover | Treatment::Digit => self.mark_or_text(key, text),
        }
    }

    /// Our own marks are counters; any other name is somebody's text.
    fn mark_or_text(&self, key: &str, text: &str) -> String {
        let is_ours = key == "name" && text.strip_prefix('m').is_some_and(|rest| rest.parse::<u64>().is_ok());
        if is_ours { text.to_owned() } else { self.pseudonyms.text(text) }
    }

    /// Nearly always the stream's, which is made up once.
    fn name(&self, name: &str) -> String {
        let ours = self.stream.as_ref().filter(|(stream, _)| stream == name);
        ours.map_or_else(|| self.pseudonyms.name(name), |(_, covered)| covered.clone())
    }

    /// A context is named after its stream; what follows is a counter.
    fn context(&self, name: &str) -> String {
        let ours =
            self.stream.as_ref().and_then(|(stream, covered)| Some((name.strip_prefix(stream.as_str())?, covered)));
        ours.map_or_else(|| self.pseudonyms.text(name), |(rest, covered)| format!("{covered}{rest}"))
    }
}

/// Where a message has audio, if it is one of those that have any.
fn place_of_audio(port: Port, message: &Value, is_audio: bool) -> Option<&'static str> {
    let is = |key: &str, kind: &str| message.get(key).and_then(Value::as_str) == Some(kind);
    match port {
        Port::Carrier => is("event", "media").then_some("/media/payload"),
        Port::Voice { .. } if is("type", "chunk") => Some("/data"),
        Port::Voice { .. } => is_audio.then_some("/audio"),
        Port::Hearing { .. } | Port::App | Port::Agent => None,
    }
}

/// A word that a fault of this kind is told by.
pub(super) fn sense_of(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Busy => "limit",
        FaultKind::Idle => "timeout",
        FaultKind::Fatal | FaultKind::Retryable => "",
    }
}

/// Whether a text may be a word of a protocol.
pub(super) fn is_plain(text: &str) -> bool {
    text.len() <= PLAIN_BYTES_MAX && !text.contains(char::is_whitespace)
}
