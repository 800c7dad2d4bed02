//! Server messages, written by hand from the vendor's public reference.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::request::Refusal;
use crate::voice::Word;

/// First API version whose errors are structured objects; dates compare as text.
pub(super) const STRUCTURED_ERRORS: &str = "2026-03-01";

/// One `chunk` message. `step_time` is how long it took to make, in milliseconds.
pub(super) fn chunk(context: &str, bytes: &[u8], flush_id: u32, step_time: f64) -> String {
    json!({
        "type": "chunk",
        "context_id": context,
        "data": BASE64_STANDARD.encode(bytes),
        "step_time": step_time,
        "flush_id": flush_id,
        "done": false,
        "status_code": 206,
    })
    .to_string()
}

/// One `timestamps` message: seconds from the first sample of the context.
pub(super) fn timestamps(context: &str, words: &[Word], flush_id: u32) -> String {
    let seconds = |ms: u32| f64::from(ms) / 1_000.0;
    json!({
        "type": "timestamps",
        "context_id": context,
        "word_timestamps": {
            "words": words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(),
            "start": words.iter().map(|word| seconds(word.start_ms)).collect::<Vec<_>>(),
            "end": words.iter().map(|word| seconds(word.end_ms)).collect::<Vec<_>>(),
        },
        "flush_id": flush_id,
        "done": false,
        "status_code": 206,
    })
    .to_string()
}

/// The end of what was submitted before the `flush_id`-th flush.
pub(super) fn flush_done(context: &str, flush_id: u32) -> String {
    json!({
        "type": "flush_done",
        "context_id": context,
        "flush_done": true,
        "flush_id": flush_id,
        "done": false,
        "status_code": 206,
    })
    .to_string()
}

/// The end of a context.
pub(super) fn done(context: &str) -> String {
    json!({ "type": "done", "context_id": context, "done": true, "status_code": 200 }).to_string()
}

/// An error in the shape of `version`.
pub(super) fn error(version: &str, refusal: &Refusal, request_id: &str) -> String {
    let mut event = if version < STRUCTURED_ERRORS {
        json!({
            "type": "error",
            "done": true,
            "error": format!("{}: {}", refusal.title, refusal.message),
            "status_code": refusal.status,
        })
    } else {
        json!({
            "type": "error",
            "done": true,
            "status_code": refusal.status,
            "error_code": refusal.code,
            "title": refusal.title,
            "message": refusal.message,
            "request_id": request_id,
        })
    };
    if let (Some(context), Some(fields)) = (&refusal.context, event.as_object_mut()) {
        fields.insert("context_id".to_owned(), Value::from(context.as_str()));
    }
    event.to_string()
}

/// What the garbage fault mixes in: the `turn`-th of a small collection of text frames that are no protocol messages.
pub(super) fn garbage(context: &str, turn: u32) -> String {
    match turn % 6 {
        0 => "not JSON at all".to_owned(),
        1 => "{\"type\":\"chunk\",\"context_id\":\"".to_owned(),
        2 => "[1, 2, 3]".to_owned(),
        3 => json!({ "type": "chunk", "context_id": context, "data": "%%%not base64%%%", "done": false }).to_string(),
        4 => json!({ "type": "chunk", "context_id": context, "done": false }).to_string(),
        _ => json!({ "type": 7, "context_id": null, "data": {} }).to_string(),
    }
}

/// What the fault of unknown types mixes in.
pub(super) fn unknown(context: &str, turn: u32) -> String {
    match turn % 3 {
        0 => json!({ "type": "usage", "context_id": context, "characters": 12, "done": false }).to_string(),
        1 => json!({ "type": "server_notice", "notice": { "level": "info" } }).to_string(),
        _ => json!({
            "type": "phoneme_timestamps",
            "context_id": context,
            "phoneme_timestamps": { "phonemes": ["h"], "start": [0.0], "end": [0.1] },
            "a_new_field": [null, { "deep": true }],
            "done": false,
            "status_code": 206,
        })
        .to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_change_shape_with_the_version() {
        let refusal = Refusal {
            context: Some("c".to_owned()),
            status: 429,
            code: Some("concurrency_limited"),
            title: "Too many",
            message: "wait".to_owned(),
        };
        let read = |version| serde_json::from_str::<Value>(&error(version, &refusal, "r")).unwrap();
        assert_eq!(
            read("2025-04-16"),
            json!({"type":"error","done":true,"error":"Too many: wait","status_code":429,"context_id":"c"})
        );
        assert_eq!(
            read("2026-08-14"),
            json!({"type":"error","done":true,"status_code":429,"error_code":"concurrency_limited","title":"Too many",
                "message":"wait","request_id":"r","context_id":"c"})
        );
        let nameless = Refusal { context: None, ..refusal };
        assert!(!error("2026-03-01", &nameless, "r").contains("context_id"));
    }
}
