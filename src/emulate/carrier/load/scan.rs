//! What a gateway's message is, found without parsing it: at hundreds of calls a whole JSON parse of each frame would be
//! the generator's largest expense, and what a load needs of a frame is its length.
//!
//! Only a well-formed message of the documented shape is understood; whether a gateway writes such messages is for the
//! single call to say, which reads to the letter.

/// What a gateway says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// Audio of so many mu-law samples.
    Media(u64),
    /// The mark's name as it stands in the message, escapes and all.
    Mark(&'a [u8]),
    Clear,
    Other,
}

/// Reads `message` as far as is needed.
pub(super) fn said(message: &[u8]) -> Said<'_> {
    match text_of(message, b"\"event\"") {
        Some(b"media") => text_of(message, b"\"payload\"").map_or(Said::Other, |data| Said::Media(decoded(data))),
        Some(b"mark") => text_of(message, b"\"name\"").map_or(Said::Other, Said::Mark),
        Some(b"clear") => Said::Clear,
        Some(_) | None => Said::Other,
    }
}

/// The text behind `key`, quotes included in `key` and not in the answer.
fn text_of<'a>(message: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let at = message.windows(key.len()).position(|window| window == key)?;
    let rest = message.get(at + key.len()..)?;
    let rest = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    rest.get(..end)
}

/// Bytes that a base64 text of this form stands for.
fn decoded(data: &[u8]) -> u64 {
    let padding = data.iter().rev().take_while(|byte| **byte == b'=').count();
    (data.len().saturating_sub(padding) * 3 / 4) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_whatever_the_order_of_their_fields() {
        let cases = [
            (r#"{"event":"media","streamSid":"MZ1","media":{"payload":"//////8="}}"#, Said::Media(5)),
            (r#"{ "media": {"payload" : "AAAA"}, "streamSid": "MZ1", "event" : "media" }"#, Said::Media(3)),
            (r#"{"event":"mark","streamSid":"MZ1","mark":{"name":"m3"}}"#, Said::Mark(b"m3")),
            (r#"{"event":"clear","streamSid":"MZ1"}"#, Said::Clear),
            (r#"{"event":"media"}"#, Said::Other),
            (r#"{"event":7}"#, Said::Other),
            ("", Said::Other),
        ];
        for (message, expected) in cases {
            assert_eq!(said(message.as_bytes()), expected, "{message}");
        }
    }

    #[test]
    fn the_length_of_audio_is_that_of_its_bytes() {
        use base64::Engine as _;
        for bytes in [1, 2, 3, 159, 160, 161, 320] {
            let data = base64::engine::general_purpose::STANDARD.encode(vec![0_u8; bytes]);
            assert_eq!(decoded(data.as_bytes()), bytes as u64);
        }
    }
}
