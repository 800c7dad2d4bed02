//! Other vendors' protocols around the one model of a voice: how it makes speech and fails is the same, what is said differs.
//! Written from the vendors' references, and as strict about what they are sent as they are said to be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::session::Wanted;
use crate::sound::Coding;

/// Contexts that ElevenLabs allows on a socket.
const ELEVENLABS_CONTEXTS: usize = 5;

/// Whose protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brand {
    Cartesia,
    Gradium,
    Elevenlabs,
    Rime,
}

/// Between a vendor's messages and those of the model, which are Cartesia's.
pub(crate) trait Tongue: Debug {
    /// What a request means to the model, and what is answered at once.
    fn hear(&mut self, request: &Value, answers: &mut Vec<Value>) -> Vec<Value>;
    /// How the vendor says what the model says.
    fn say(&mut self, message: &Value) -> Vec<Value>;
    /// The socket is gone, and everything on it.
    fn forget(&mut self);
}

/// The protocol of a brand; `None` for the model's own.
pub(crate) fn tongue(wanted: Wanted) -> Option<Box<dyn Tongue>> {
    let coding = match wanted.encoding {
        trunkline::audio::Encoding::Mulaw => Coding::Mulaw8k,
        _ => Coding::Pcm { rate: wanted.rate.unwrap_or(8_000) },
    };
    match wanted.brand {
        Brand::Cartesia => None,
        Brand::Gradium => Some(Box::<Gradium>::default()),
        Brand::Elevenlabs => Some(Box::new(Elevenlabs { coding, open: BTreeMap::new(), used: BTreeSet::new() })),
        Brand::Rime => Some(Box::new(Rime { coding, current: None, text: None, made: BTreeMap::new() })),
    }
}

/// A request to the model.
fn request(name: &str, format: &Value, transcript: &str, more: bool, flush: bool) -> Value {
    json!({"model_id": "m", "transcript": transcript, "voice": {"mode": "id", "id": "v"}, "language": "en",
        "context_id": name, "output_format": format, "continue": more, "flush": flush, "max_buffer_delay_ms": 0,
        "add_timestamps": true})
}

fn format_of(coding: Coding) -> Value {
    match coding {
        Coding::Mulaw8k => json!({"container": "raw", "encoding": "pcm_mulaw", "sample_rate": 8_000}),
        Coding::Pcm { rate } => json!({"container": "raw", "encoding": "pcm_s16le", "sample_rate": rate}),
    }
}

fn text_of<'a>(message: &'a Value, field: &str) -> &'a str {
    message[field].as_str().unwrap_or_else(|| panic!("no {field}: {message}"))
}

/// Each word of a message with its start and end in milliseconds.
fn words_of(message: &Value) -> Vec<(String, u64, u64)> {
    let times = &message["word_timestamps"];
    let millis = |list: &str, at: usize| (times[list][at].as_f64().unwrap() * 1_000.0).round() as u64;
    let words = times["words"].as_array().unwrap().iter().enumerate();
    words.map(|(at, word)| (word.as_str().unwrap().to_owned(), millis("start", at), millis("end", at))).collect()
}

fn bytes_of(message: &Value) -> usize {
    STANDARD.decode(text_of(message, "data")).unwrap().len()
}

/// The code with which a socket is closed for an error of the model, and words for people.
fn code_of(message: &Value) -> (u16, &'static str) {
    match message["status_code"].as_u64() {
        Some(429) => (1008, "Too many concurrent requests"),
        Some(500..) => (1011, "Something is wrong with us"),
        _ => (1008, "Unknown voice"),
    }
}

/// A request is set up, is given texts, each with a flush, and ends. Names are never used twice.
#[derive(Debug, Default)]
struct Gradium {
    setups: BTreeMap<String, Request>,
    used: BTreeSet<String>,
}

#[derive(Debug)]
struct Request {
    format: Value,
    is_spoken: bool,
    is_ended: bool,
}

impl Tongue for Gradium {
    fn hear(&mut self, message: &Value, answers: &mut Vec<Value>) -> Vec<Value> {
        let name = text_of(message, "client_req_id");
        if message["type"] == "setup" {
            assert!(self.used.insert(name.to_owned()), "a name is used twice: {message}");
            assert_eq!(message["close_ws_on_eos"], false, "the server would close the socket");
            assert!(!text_of(message, "voice_id").is_empty() && !text_of(message, "model_name").is_empty());
            let coding = match text_of(message, "output_format").split_once('_') {
                Some(("ulaw", "8000")) => Coding::Mulaw8k,
                Some(("pcm", rate)) => Coding::Pcm { rate: rate.parse().unwrap() },
                other => panic!("a format that was not agreed on: {other:?}"),
            };
            answers.push(json!({"type": "ready", "request_id": "550e8400", "model_name": "default", "sample_rate": 8_000,
                "frame_size": 640, "audio_stream_names": ["audio"], "text_stream_names": ["text"], "client_req_id": name}));
            let setup = Request { format: format_of(coding), is_spoken: false, is_ended: false };
            self.setups.insert(name.to_owned(), setup);
            return Vec::new();
        }
        let setup = self.setups.get_mut(name).unwrap_or_else(|| panic!("before its setup: {message}"));
        assert!(!setup.is_ended, "after its end: {message}");
        match text_of(message, "type") {
            "text" => {
                let text = text_of(message, "text");
                let words = text
                    .strip_suffix(" <flush>")
                    .unwrap_or_else(|| panic!("nothing asks for the last words: {text:?}"));
                assert_eq!(words, words.trim(), "the server adds white space by itself");
                assert!(!words.contains("<flush>"), "{text:?} is answered twice");
                let joint = if std::mem::replace(&mut setup.is_spoken, true) { " " } else { "" };
                vec![request(name, &setup.format, &format!("{joint}{words}"), true, true)]
            }
            "end_of_stream" => {
                setup.is_ended = true;
                vec![request(name, &setup.format, "", false, false)]
            }
            other => panic!("no such message: {other}"),
        }
    }

    fn say(&mut self, message: &Value) -> Vec<Value> {
        let name = &message["context_id"];
        match text_of(message, "type") {
            "chunk" => {
                vec![json!({"type": "audio", "audio": message["data"], "start_s": 0.0, "stop_s": 0.08, "stream_id": 0,
                "client_req_id": name})]
            }
            "timestamps" => {
                let words = words_of(message);
                let last = words.len() - 1;
                let seconds = |ms: u64| ms as f64 / 1_000.0;
                let said = words.iter().enumerate().map(|(at, (word, start, end))| {
                    let mut message = json!({"type": "text", "text": word, "start_s": seconds(*start), "stream_id": 0,
                        "client_req_id": name});
                    // Of some words it does not tell the end.
                    if at == last || at % 3 != 1 {
                        message["stop_s"] = json!(seconds(*end));
                    }
                    message
                });
                said.collect()
            }
            "flush_done" => vec![json!({"type": "flushed", "client_req_id": name})],
            "done" => vec![json!({"type": "end_of_stream", "client_req_id": name})],
            "error" => {
                let (code, words) = code_of(message);
                let mut error = json!({"type": "error", "message": words, "code": code});
                if !name.is_null() {
                    error["client_req_id"] = name.clone();
                }
                vec![error]
            }
            _ => vec![message.clone()],
        }
    }

    fn forget(&mut self) {
        self.setups.clear();
    }
}

/// A context is opened by a space, is given texts that end with one, and is closed; until its `isFinal` it counts.
#[derive(Debug)]
struct Elevenlabs {
    coding: Coding,
    open: BTreeMap<String, Context>,
    used: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Context {
    made_bytes: usize,
    /// Words whose audio begins with the next chunk.
    words: Vec<(String, u64, u64)>,
    is_closed: bool,
}

impl Tongue for Elevenlabs {
    fn hear(&mut self, message: &Value, _: &mut Vec<Value>) -> Vec<Value> {
        let (name, format) = (text_of(message, "context_id"), format_of(self.coding));
        if self.used.insert(name.to_owned()) {
            assert_eq!(message["text"], " ", "a context opens with a space: {message}");
            self.open.insert(name.to_owned(), Context::default());
            assert!(self.open.len() <= ELEVENLABS_CONTEXTS, "the server would close the socket");
            return Vec::new();
        }
        assert!(message.get("voice_settings").is_none(), "the server would close the socket");
        let context = self.open.get_mut(name).unwrap_or_else(|| panic!("after its end: {message}"));
        assert!(!context.is_closed, "after its end: {message}");
        if message["close_context"] == true {
            context.is_closed = true;
            return vec![request(name, &format, "", false, false)];
        }
        if message["flush"] == true {
            return Vec::new();
        }
        let text = text_of(message, "text");
        assert!(text.ends_with(char::is_whitespace), "what is whole ends with white space: {text:?}");
        vec![request(name, &format, text, true, false)]
    }

    fn say(&mut self, message: &Value) -> Vec<Value> {
        let name = &message["context_id"];
        let context = name.as_str().and_then(|name| self.open.get_mut(name));
        match (text_of(message, "type"), context) {
            ("chunk", Some(context)) => {
                let base_ms = (context.made_bytes / self.coding.bytes_per_ms()) as u64;
                context.made_bytes += bytes_of(message);
                let words = std::mem::take(&mut context.words);
                let alignment = if words.is_empty() { Value::Null } else { alignment_of(&words, base_ms) };
                vec![json!({"audio": message["data"], "contextId": name, "alignment": alignment})]
            }
            ("timestamps", Some(context)) => {
                context.words.extend(words_of(message));
                Vec::new()
            }
            ("flush_done", _) => Vec::new(),
            ("done", _) => {
                self.open.remove(name.as_str().unwrap_or_default());
                vec![json!({"isFinal": true, "contextId": name})]
            }
            ("error", _) => {
                self.open.remove(name.as_str().unwrap_or_default());
                let (code, words) = code_of(message);
                let mut error = json!({"message": words, "error": "refused", "code": code});
                if !name.is_null() {
                    error["contextId"] = name.clone();
                }
                vec![error]
            }
            (_, _) => vec![message.clone()],
        }
    }

    fn forget(&mut self) {
        self.open.clear();
    }
}

/// Times of the characters of words, from the start of the audio that comes with them.
fn alignment_of(words: &[(String, u64, u64)], base_ms: u64) -> Value {
    let (mut chars, mut starts, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for (word, start, end) in words {
        let length = (end - start) / word.chars().count() as u64;
        for (at, char) in (0_u64..).zip(word.chars().chain([' '])) {
            chars.push(char.to_string());
            starts.push(start.saturating_sub(base_ms) + at * length);
            lengths.push(length);
        }
    }
    json!({"chars": chars, "charStartTimesMs": starts, "charDurationsMs": lengths})
}

/// One name at a time; each flush speaks what is held and is answered by a `done`, and times begin anew with it.
#[derive(Debug)]
struct Rime {
    coding: Coding,
    current: Option<String>,
    text: Option<String>,
    /// Bytes of audio that were made of each name, and how many of them at the last `done`.
    made: BTreeMap<String, (usize, usize)>,
}

impl Tongue for Rime {
    fn hear(&mut self, message: &Value, _: &mut Vec<Value>) -> Vec<Value> {
        let format = format_of(self.coding);
        if let Some(text) = message["text"].as_str() {
            let name = text_of(message, "contextId").to_owned();
            assert!(self.text.is_none(), "text behind text that nobody asked for yet");
            self.made.entry(name.clone()).or_default();
            self.text = Some(text.to_owned());
            self.current = Some(name);
            return Vec::new();
        }
        let name = self.current.clone().unwrap_or_else(|| panic!("before any text: {message}"));
        match text_of(message, "operation") {
            "flush" => vec![request(&name, &format, &self.text.take().expect("text to flush"), true, true)],
            "clear" => vec![json!({"context_id": name, "cancel": true})],
            other => panic!("no such operation here: {other}"),
        }
    }

    fn say(&mut self, message: &Value) -> Vec<Value> {
        let name = &message["context_id"];
        let made = name.as_str().and_then(|name| self.made.get_mut(name));
        match (text_of(message, "type"), made) {
            ("chunk", Some(made)) => {
                made.0 += bytes_of(message);
                vec![json!({"type": "chunk", "data": message["data"], "contextId": name})]
            }
            ("timestamps", Some((_, base))) => {
                let base_ms = (*base / self.coding.bytes_per_ms()) as u64;
                let words = words_of(message);
                let texts: Vec<&String> = words.iter().map(|(word, ..)| word).collect();
                let seconds = |ms: u64| ms.saturating_sub(base_ms) as f64 / 1_000.0;
                let starts: Vec<f64> = words.iter().map(|(_, start, _)| seconds(*start)).collect();
                let ends: Vec<f64> = words.iter().map(|(.., end)| seconds(*end)).collect();
                vec![json!({"type": "timestamps", "contextId": name,
                    "word_timestamps": {"words": texts, "start": starts, "end": ends}})]
            }
            ("flush_done", Some((made, base))) => {
                *base = *made;
                vec![json!({"type": "done", "contextId": name})]
            }
            ("done", _) => Vec::new(),
            ("error", _) => vec![json!({"type": "error", "message": code_of(message).1})],
            (_, _) => vec![message.clone()],
        }
    }

    fn forget(&mut self) {
        (self.current, self.text) = (None, None);
        self.made.clear();
    }
}
