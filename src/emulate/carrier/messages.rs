//! Twilio's media-stream messages as the carrier writes and reads them.
//!
//! Written from the vendor's description of the protocol and on purpose apart from the gateway's own types. Numbers outside
//! `mediaFormat` are strings. What is read is held to the letter, because the real carrier warns of extra fields too.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audio::MediaFormat;

/// What was wrong with a message of the gateway. Each belongs to one of the vendor's warning codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A binary message.
    Binary,
    /// Not a JSON object.
    NotJson,
    /// An event that the carrier does not know, or none at all.
    UnknownEvent,
    /// A field is missing, is one too many, or has the wrong type.
    Fields,
    /// The message names another stream.
    WrongStream,
    /// The payload is not base64, or is empty.
    Payload,
    /// Ten minutes of audio are queued; more is thrown away.
    BufferFull,
    /// Thousands of marks are out; more are ignored.
    TooManyMarks,
}

impl Fault {
    /// The vendor's code for it. Too many marks have none of their own and count as an invalid message.
    pub fn code(self) -> u16 {
        match self {
            Fault::Binary => 31_950,
            Fault::BufferFull => 31_931,
            Fault::NotJson
            | Fault::UnknownEvent
            | Fault::Fields
            | Fault::WrongStream
            | Fault::Payload
            | Fault::TooManyMarks => 31_951,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Binary => "binary message",
            Fault::NotJson => "not a JSON object",
            Fault::UnknownEvent => "unknown event",
            Fault::Fields => "missing, extra or wrongly typed field",
            Fault::WrongStream => "wrong streamSid",
            Fault::Payload => "payload empty or not base64",
            Fault::BufferFull => "more than ten minutes queued",
            Fault::TooManyMarks => "too many marks out",
        })
    }
}

/// A valid message of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Mu-law code words.
    Media(Vec<u8>),
    Mark(String),
    Clear,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MediaIn {
    media: MediaInBody,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MediaInBody {
    payload: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkIn {
    mark: MarkBody,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkBody {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClearIn {}

/// Reads a text message of the gateway, strictly.
///
/// # Errors
/// The first [`Fault`] found. The carrier ignores such a message and goes on.
pub(super) fn read(text: &str, stream_sid: &str) -> Result<Received, Fault> {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(text) else { return Err(Fault::NotJson) };
    let Some(Value::String(event)) = fields.remove("event") else { return Err(Fault::UnknownEvent) };
    let stream = fields.remove("streamSid");
    let rest = Value::Object(fields);
    let received = match event.as_str() {
        "media" => {
            let media: MediaIn = serde_json::from_value(rest).map_err(|_| Fault::Fields)?;
            let bytes = STANDARD.decode(media.media.payload).map_err(|_| Fault::Payload)?;
            if bytes.is_empty() {
                return Err(Fault::Payload);
            }
            Received::Media(bytes)
        }
        "mark" => {
            let mark: MarkIn = serde_json::from_value(rest).map_err(|_| Fault::Fields)?;
            Received::Mark(mark.mark.name)
        }
        "clear" => {
            let ClearIn {} = serde_json::from_value(rest).map_err(|_| Fault::Fields)?;
            Received::Clear
        }
        _ => return Err(Fault::UnknownEvent),
    };
    match stream {
        Some(Value::String(named)) if named == stream_sid => Ok(received),
        Some(Value::String(_)) => Err(Fault::WrongStream),
        Some(_) | None => Err(Fault::Fields),
    }
}

/// Names that recur in the carrier's messages.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) account_sid: String,
    pub(super) call_sid: String,
    pub(super) stream_sid: String,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Sent<'a> {
    Connected { protocol: &'a str, version: &'a str },
    Start { sequence_number: String, start: Start<'a>, stream_sid: &'a str },
    Media { sequence_number: String, media: MediaOut<'a>, stream_sid: &'a str },
    Dtmf { stream_sid: &'a str, sequence_number: String, dtmf: DtmfOut<'a> },
    Mark { sequence_number: String, stream_sid: &'a str, mark: MarkBody },
    Stop { sequence_number: String, stop: StopOut<'a>, stream_sid: &'a str },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    account_sid: &'a str,
    stream_sid: &'a str,
    call_sid: &'a str,
    tracks: [&'a str; 1],
    media_format: FormatOut<'a>,
    custom_parameters: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FormatOut<'a> {
    encoding: &'a str,
    sample_rate: u32,
    channels: u32,
}

#[derive(Serialize)]
struct MediaOut<'a> {
    track: &'a str,
    chunk: String,
    timestamp: String,
    payload: String,
}

#[derive(Serialize)]
struct DtmfOut<'a> {
    track: &'a str,
    digit: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StopOut<'a> {
    account_sid: &'a str,
    call_sid: &'a str,
}

/// Writes the carrier's messages and numbers them: 1 is `start`, `connected` has no number.
#[derive(Debug)]
pub(super) struct Scribe {
    names: Names,
    sequence: u64,
}

impl Scribe {
    pub(super) fn new(names: Names) -> Self {
        Scribe { names, sequence: 0 }
    }

    pub(super) fn stream_sid(&self) -> &str {
        &self.names.stream_sid
    }

    pub(super) fn connected(&self) -> String {
        json(&Sent::Connected { protocol: "Call", version: "1.0.0" })
    }

    pub(super) fn start(&mut self, custom_parameters: &BTreeMap<String, String>) -> String {
        let sequence_number = self.number();
        let Names { account_sid, call_sid, stream_sid } = &self.names;
        let rate = MediaFormat::TELEPHONE.rate;
        let media_format = FormatOut { encoding: "audio/x-mulaw", sample_rate: rate, channels: 1 };
        let start = Start { account_sid, stream_sid, call_sid, tracks: ["inbound"], media_format, custom_parameters };
        json(&Sent::Start { sequence_number, start, stream_sid })
    }

    /// `chunk` counts media from 1, `timestamp_ms` from the start of the stream.
    pub(super) fn media(&mut self, chunk: u64, timestamp_ms: u64, words: &[u8]) -> String {
        let sequence_number = self.number();
        let (chunk, timestamp) = (chunk.to_string(), timestamp_ms.to_string());
        let media = MediaOut { track: "inbound", chunk, timestamp, payload: STANDARD.encode(words) };
        json(&Sent::Media { sequence_number, media, stream_sid: &self.names.stream_sid })
    }

    /// The same message from base64 that was made before, in place of what is in `message`. The stream's name is one of
    /// our own and needs no escapes.
    pub(super) fn write_media(&mut self, chunk: u64, timestamp_ms: u64, payload: &str, message: &mut Vec<u8>) {
        self.sequence = self.sequence.saturating_add(1);
        let Scribe { sequence, names: Names { stream_sid, .. } } = self;
        message.clear();
        // Writing into memory does not fail.
        let _ = write!(
            message,
            "{{\"event\":\"media\",\"sequenceNumber\":\"{sequence}\",\"media\":{{\"track\":\"inbound\",\"chunk\":\"{chunk}\",\
             \"timestamp\":\"{timestamp_ms}\",\"payload\":\"{payload}\"}},\"streamSid\":\"{stream_sid}\"}}"
        );
    }

    /// The track is called `inbound_track` here and `inbound` in media; so the vendor's own messages have it.
    pub(super) fn dtmf(&mut self, digit: char) -> String {
        let sequence_number = self.number();
        let dtmf = DtmfOut { track: "inbound_track", digit: digit.to_string() };
        json(&Sent::Dtmf { stream_sid: &self.names.stream_sid, sequence_number, dtmf })
    }

    pub(super) fn mark(&mut self, name: String) -> String {
        let sequence_number = self.number();
        json(&Sent::Mark { sequence_number, stream_sid: &self.names.stream_sid, mark: MarkBody { name } })
    }

    pub(super) fn stop(&mut self) -> String {
        let sequence_number = self.number();
        let Names { account_sid, call_sid, stream_sid } = &self.names;
        json(&Sent::Stop { sequence_number, stop: StopOut { account_sid, call_sid }, stream_sid })
    }

    fn number(&mut self) -> String {
        self.sequence = self.sequence.saturating_add(1);
        self.sequence.to_string()
    }
}

#[expect(clippy::expect_used, reason = "structs of strings, numbers and a map with string keys always serialise")]
fn json(message: &Sent<'_>) -> String {
    serde_json::to_string(message).expect("a struct of strings and numbers is JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scribe() -> Scribe {
        Scribe::new(Names { account_sid: "AC1".into(), call_sid: "CA2".into(), stream_sid: "MZ3".into() })
    }

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn messages_have_the_documented_shape() {
        let mut scribe = scribe();
        assert_eq!(parsed(&scribe.connected()), json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}));
        let parameters = BTreeMap::from([("tenant".to_owned(), "acme".to_owned())]);
        assert_eq!(
            parsed(&scribe.start(&parameters)),
            json!({"event": "start", "sequenceNumber": "1", "streamSid": "MZ3", "start": {
                "accountSid": "AC1", "streamSid": "MZ3", "callSid": "CA2", "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {"tenant": "acme"}}})
        );
        assert_eq!(
            parsed(&scribe.media(1, 20, &[0xFF; 5])),
            json!({"event": "media", "sequenceNumber": "2", "streamSid": "MZ3",
                "media": {"track": "inbound", "chunk": "1", "timestamp": "20", "payload": "//////8="}})
        );
        assert_eq!(
            parsed(&scribe.dtmf('5')),
            json!({"event": "dtmf", "sequenceNumber": "3", "streamSid": "MZ3",
                "dtmf": {"track": "inbound_track", "digit": "5"}})
        );
        assert_eq!(
            parsed(&scribe.mark("a".into())),
            json!({"event": "mark", "sequenceNumber": "4", "streamSid": "MZ3", "mark": {"name": "a"}})
        );
        assert_eq!(
            parsed(&scribe.stop()),
            json!({"event": "stop", "sequenceNumber": "5", "streamSid": "MZ3",
                "stop": {"accountSid": "AC1", "callSid": "CA2"}})
        );
    }

    #[test]
    fn a_frame_from_prebuilt_base64_is_the_same_frame() {
        let (mut slow, mut quick, mut message) = (scribe(), scribe(), b"what was there".to_vec());
        for chunk in 1..=11 {
            quick.write_media(chunk, chunk * 20, &STANDARD.encode([0xFF; 5]), &mut message);
            assert_eq!(
                parsed(&slow.media(chunk, chunk * 20, &[0xFF; 5])),
                parsed(std::str::from_utf8(&message).unwrap())
            );
        }
    }

    #[test]
    fn documented_messages_are_read() {
        let read = |text| read(text, "MZ3");
        assert_eq!(
            read(r#"{"event":"media","streamSid":"MZ3","media":{"payload":"//////8="}}"#),
            Ok(Received::Media(vec![0xFF; 5]))
        );
        assert_eq!(
            read(r#"{"mark":{"name":"é"},"event":"mark","streamSid":"MZ3"}"#),
            Ok(Received::Mark("é".to_owned()))
        );
        assert_eq!(read(r#"{"event":"clear","streamSid":"MZ3"}"#), Ok(Received::Clear));
    }

    #[test]
    fn everything_else_is_named() {
        let cases = [
            ("", Fault::NotJson),
            ("[]", Fault::NotJson),
            (r#"{"streamSid":"MZ3"}"#, Fault::UnknownEvent),
            (r#"{"event":"hangup","streamSid":"MZ3"}"#, Fault::UnknownEvent),
            (r#"{"event":"clear"}"#, Fault::Fields),
            (r#"{"event":"clear","streamSid":3}"#, Fault::Fields),
            (r#"{"event":"clear","streamSid":"MZ4"}"#, Fault::WrongStream),
            (r#"{"event":"clear","streamSid":"MZ3","extra":1}"#, Fault::Fields),
            (r#"{"event":"mark","streamSid":"MZ3"}"#, Fault::Fields),
            (r#"{"event":"mark","streamSid":"MZ3","mark":{"name":7}}"#, Fault::Fields),
            (r#"{"event":"mark","streamSid":"MZ3","mark":{"name":"a","id":1}}"#, Fault::Fields),
            (r#"{"event":"media","streamSid":"MZ3","media":{"payload":"//8=","track":"outbound"}}"#, Fault::Fields),
            (r#"{"event":"media","streamSid":"MZ3","media":{"payload":"*"}}"#, Fault::Payload),
            (r#"{"event":"media","streamSid":"MZ3","media":{"payload":""}}"#, Fault::Payload),
        ];
        for (text, fault) in cases {
            assert_eq!(read(text, "MZ3"), Err(fault), "{text}");
        }
        assert_eq!((Fault::Binary.code(), Fault::Fields.code(), Fault::BufferFull.code()), (31_950, 31_951, 31_931));
    }
}
