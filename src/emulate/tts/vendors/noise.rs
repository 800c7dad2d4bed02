//! Frames that no client should stumble over, for the faults that mix them in.

use serde_json::{Value, json};

use super::super::wording::Frame;

/// The `turn`-th of some text frames that are no protocol messages. `audio` is a proper message of audio but for the audio,
/// which belongs into `field`.
pub(super) fn garbage(turn: u32, audio: &Value, field: &str) -> Frame {
    let with = |data: Option<&str>| {
        let mut message = audio.clone();
        if let (Some(data), Some(fields)) = (data, message.as_object_mut()) {
            fields.insert(field.to_owned(), Value::from(data));
        }
        message.to_string()
    };
    Frame::Text(match turn % 6 {
        0 => "not JSON at all".to_owned(),
        1 => with(None).chars().take(9).collect(),
        2 => "[1, 2, 3]".to_owned(),
        3 => with(Some("%%%not base64%%%")),
        4 => with(None),
        _ => json!({ "type": 7, "audio": {}, "data": null }).to_string(),
    })
}

/// The `turn`-th of some binary frames, where they are not part of the protocol: now and then one.
pub(super) fn binary(turn: u32) -> Option<Frame> {
    (turn % 4 == 1).then(|| Frame::Binary(vec![0xFF, 0x00, 0x7F]))
}

/// The `turn`-th of some messages that nobody knows yet.
pub(super) fn unknown(turn: u32) -> Frame {
    let message = match turn % 3 {
        0 => json!({ "type": "usage", "characters": 12 }),
        1 => json!({ "type": "server_notice", "notice": { "level": "info" } }),
        _ => json!({ "type": "from_the_future", "a_new_field": [null, { "deep": true }] }),
    };
    Frame::Text(message.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_garbage_is_a_proper_message_of_audio() {
        let audio = json!({ "type": "audio", "stream_id": 0 });
        for turn in 0..6 {
            let Frame::Text(text) = garbage(turn, &audio, "audio") else { panic!("binary") };
            let data = serde_json::from_str::<Value>(&text).ok().map(|message| message["audio"].clone());
            assert!(data.is_none_or(|data| data.as_str().is_none_or(|data| data.contains('%'))), "{text}");
        }
        assert_eq!((0..8).filter_map(binary).count(), 2);
    }
}
