//! One context: its request, its text and what was made of it.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline::ids::CallTime;

use crate::sound::Coding;

/// Everything that is known about one context.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) name: String,
    pub(crate) number: u16,
    /// All fields that may not change.
    pub(super) template: Value,
    pub(super) coding: Coding,
    pub(super) delay: Duration,
    pub(crate) timed: bool,
    /// Text that waits to be spoken, and until when.
    pub(super) held: String,
    pub(super) speak_at: Option<CallTime>,
    pub(crate) text: String,
    pub(crate) made_ms: u32,
    /// Each word with the milliseconds at which it starts and ends.
    pub(crate) words: Vec<(String, u32, u32)>,
    pub(super) free_at: CallTime,
    pub(super) flush_id: u32,
    pub(crate) finished: bool,
    pub(crate) cancelled: bool,
    /// Nothing is sent for it any more.
    pub(super) dead: bool,
    /// Something went wrong with it.
    pub(crate) faulty: bool,
    /// It said, or let believe, that it was done when it was not.
    pub(crate) lied: bool,
}

impl Context {
    pub(super) fn new(name: String, number: u16, template: Value, now: CallTime, timed: bool) -> Self {
        let format = &template["output_format"];
        assert_eq!(format["container"], "raw");
        let coding = match (format["encoding"].as_str(), format["sample_rate"].as_u64()) {
            (Some("pcm_mulaw"), Some(8_000)) => Coding::Mulaw8k,
            (Some("pcm_s16le"), Some(rate)) => Coding::Pcm { rate: rate as u32 },
            other => panic!("a format that was not agreed on: {other:?}"),
        };
        for field in ["model_id", "language"] {
            assert!(template[field].as_str().is_some_and(|value| !value.is_empty()), "no {field}");
        }
        assert_eq!(template["voice"]["mode"], "id");
        assert_eq!(template["add_timestamps"], true);
        let delay = template["max_buffer_delay_ms"].as_u64().expect("the delay is always said");
        assert!(delay <= 5_000);
        Context {
            name,
            number,
            coding,
            delay: Duration::from_millis(delay),
            timed,
            template,
            held: String::new(),
            speak_at: None,
            text: String::new(),
            made_ms: 0,
            words: Vec::new(),
            free_at: now,
            flush_id: 1,
            finished: false,
            cancelled: false,
            dead: false,
            faulty: false,
            lied: false,
        }
    }
}

pub(super) fn timestamps(name: &str, words: &[(String, u32, u32)]) -> Value {
    let seconds = |ms: u32| f64::from(ms) / 1_000.0;
    let texts: Vec<&str> = words.iter().map(|(text, ..)| text.as_str()).collect();
    let starts: Vec<f64> = words.iter().map(|(_, start, _)| seconds(*start)).collect();
    let ends: Vec<f64> = words.iter().map(|(.., end)| seconds(*end)).collect();
    json!({"type": "timestamps", "context_id": name, "done": false, "status_code": 206,
        "word_timestamps": {"words": texts, "start": starts, "end": ends}})
}

/// The words of `text` and when each is spoken, if every character takes `char_ms`.
pub(crate) fn words_of(text: &str, from_ms: u32, char_ms: u32) -> Vec<(String, u32, u32)> {
    let (mut words, mut chars) = (Vec::new(), 0);
    for token in text.split_inclusive(char::is_whitespace) {
        let word = token.trim_end();
        let at = |chars: u32| from_ms + chars * char_ms;
        if word.chars().any(char::is_alphanumeric) {
            words.push((word.to_owned(), at(chars), at(chars + word.chars().count() as u32)));
        }
        chars += token.chars().count() as u32;
    }
    words
}
