//! Twilio Media Streams.

use std::time::Duration;

use bytes::Bytes;

use super::{CarrierDialect, Message};
use crate::audio::{Encoding, MediaFormat};
use crate::call::action::CarrierCommand;
use crate::call::event::{CarrierEvent, Start};
use crate::ids::{CallSid, MarkId, StreamSid};
use crate::wire::twilio::{
    Inbound, MarkName, Outbound, Payload, Start as WireStart, decode_payload, encode_payload_into,
};

/// Twilio says nothing about frames; 20 ms is what it sends, and what it plays best.
const FRAME_MS: u32 = 20;

/// What follows the audio in a media message.
const MEDIA_TAIL: &str = "\"}}";

/// The keys that a telephone can send.
const KEYS: &str = "0123456789*#ABCD";

/// One stream's codec. It learns the stream's name from `start`.
#[derive(Debug, Default)]
pub struct Twilio {
    stream: String,
    /// All of a media message that comes before the audio.
    media_head: String,
    /// Of the audio that came last, in milliseconds.
    stamp: Option<u64>,
}

impl CarrierDialect for Twilio {
    fn decode(&mut self, message: Message<'_>) -> CarrierEvent {
        match message {
            Message::Text(text) => self.decode_text(text).unwrap_or(CarrierEvent::Garbage),
            Message::Binary(_) => CarrierEvent::Garbage,
        }
    }

    fn encode(&mut self, command: &CarrierCommand) -> String {
        let stream_sid = &self.stream;
        let message = match command {
            // Fifty times a second: only the audio is new, and base64 needs no escapes.
            CarrierCommand::Media { frame, .. } => {
                let base64_bytes = frame.len().div_ceil(3) * 4;
                let mut text = String::with_capacity(self.media_head.len() + base64_bytes + MEDIA_TAIL.len());
                text.push_str(&self.media_head);
                encode_payload_into(frame, &mut text);
                text.push_str(MEDIA_TAIL);
                return text;
            }
            CarrierCommand::Mark(mark) => Outbound::Mark { stream_sid, mark: MarkName { name: mark_name(*mark) } },
            CarrierCommand::Clear { .. } => Outbound::Clear { stream_sid },
        };
        serde_json::to_string(&message).unwrap_or_default()
    }

    fn stamp(&self) -> Option<Duration> {
        self.stamp.map(Duration::from_millis)
    }
}

impl Twilio {
    fn decode_text(&mut self, text: &str) -> Option<CarrierEvent> {
        let message: Inbound<'_> = serde_json::from_str(text).ok()?;
        match message.event.as_ref() {
            "media" => {
                let media = message.media?;
                // Our own speech comes back on a `<Start>` stream of both tracks; it is not the caller's.
                if media.track.is_some_and(|track| track == "outbound") {
                    return Some(CarrierEvent::Ignored);
                }
                self.stamp = media.timestamp;
                decode_payload(&media.payload).ok().map(|audio| CarrierEvent::Media(Bytes::from(audio)))
            }
            "start" => self.decode_start(&message.start?),
            "dtmf" => {
                let dtmf = message.dtmf?;
                let mut chars = dtmf.digit.chars();
                match (chars.next(), chars.next()) {
                    (Some(digit), None) if KEYS.contains(digit) => Some(CarrierEvent::Digit(digit)),
                    (Some(_) | None, _) => None,
                }
            }
            "mark" => mark_of(&message.mark?.name).map(CarrierEvent::Mark),
            "stop" => Some(CarrierEvent::Stopped),
            "connected" => Some(CarrierEvent::Ignored),
            _ => None,
        }
    }

    fn decode_start(&mut self, start: &WireStart<'_>) -> Option<CarrierEvent> {
        let stream = StreamSid::parse(&start.stream_sid).ok()?;
        let call = CallSid::parse(&start.call_sid).ok()?;
        let format = match &start.media_format {
            Some(format) => MediaFormat {
                encoding: encoding_of(&format.encoding)?,
                rate: rate_of(format.sample_rate)?,
                frame_ms: FRAME_MS,
            },
            None => MediaFormat { frame_ms: FRAME_MS, ..MediaFormat::TELEPHONE },
        };
        // Only a stream that was begun with `<Start>` can carry the outbound track, and it cannot be spoken on. One that
        // carries the inbound track alone looks like any other: nothing in the protocol tells it apart.
        let is_one_way = start.tracks.iter().any(|track| track.starts_with("outbound"));
        self.stream = stream.as_str().to_owned();
        let nothing = Outbound::Media { stream_sid: &self.stream, media: Payload::new(&[]) };
        let message = serde_json::to_string(&nothing).unwrap_or_default();
        self.media_head = message.strip_suffix(MEDIA_TAIL).unwrap_or_default().to_owned();
        Some(CarrierEvent::Started(Box::new(Start {
            stream,
            call,
            inbound: format,
            outbound: (!is_one_way).then_some(format),
            parameters: start.custom_parameters.clone(),
        })))
    }
}

fn encoding_of(name: &str) -> Option<Encoding> {
    match name {
        "audio/x-mulaw" | "audio/mulaw" | "mulaw" | "PCMU" => Some(Encoding::Mulaw),
        "audio/x-alaw" | "audio/alaw" | "alaw" | "PCMA" => Some(Encoding::Alaw),
        "audio/x-l16" | "audio/l16" | "L16" => Some(Encoding::PcmS16Le),
        _ => None,
    }
}

fn rate_of(rate: u32) -> Option<u32> {
    MediaFormat::RATES.contains(&rate).then_some(rate)
}

fn mark_name(mark: MarkId) -> String {
    format!("m{}", mark.0)
}

fn mark_of(name: &str) -> Option<MarkId> {
    name.strip_prefix('m')?.parse().ok().map(MarkId)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = r#"{"event":"start","sequenceNumber":"1","streamSid":"MZ1","start":{"accountSid":"AC1",
        "streamSid":"MZ1","callSid":"CA2","tracks":["inbound"],
        "mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},"customParameters":{"tenant":"acme"}}}"#;

    fn decode(text: &str) -> CarrierEvent {
        Twilio::default().decode(Message::Text(text))
    }

    #[test]
    fn start_names_the_stream_and_its_format() {
        let CarrierEvent::Started(start) = decode(START) else { panic!("not a start") };
        assert_eq!((start.stream.as_str(), start.call.as_str()), ("MZ1", "CA2"));
        assert_eq!(start.inbound, MediaFormat::TELEPHONE);
        assert_eq!(start.outbound, Some(MediaFormat::TELEPHONE));
        assert_eq!(start.parameters["tenant"], "acme");
    }

    #[test]
    fn start_is_read_leniently() {
        let text = START.replace(":8000", ":\"16000\"").replace("x-mulaw", "x-l16").replace("\"acme\"", "7");
        let CarrierEvent::Started(start) = decode(&text) else { panic!("not a start") };
        assert_eq!((start.inbound.rate, start.inbound.encoding), (16_000, Encoding::PcmS16Le));
        assert_eq!(start.parameters["tenant"], "7");
        let bare = r#"{"event":"start","start":{"streamSid":"MZ1","callSid":"CA2","customParameters":null}}"#;
        assert!(matches!(decode(bare), CarrierEvent::Started(_)));
    }

    #[test]
    fn a_stream_that_only_listens_is_recognised() {
        let CarrierEvent::Started(start) = decode(&START.replace("[\"inbound\"]", "[\"inbound\",\"outbound\"]")) else {
            panic!("not a start")
        };
        assert_eq!(start.outbound, None);
    }

    #[test]
    fn media_digits_marks_and_stop() {
        let media = r#"{"event":"media","sequenceNumber":"3","streamSid":"MZ1","media":{"track":"inbound","chunk":"1","timestamp":"20","payload":"//////8="}}"#;
        assert_eq!(decode(media), CarrierEvent::Media(Bytes::from_static(&[0xFF; 5])));
        assert_eq!(decode(&media.replace("\"inbound\"", "\"outbound\"")), CarrierEvent::Ignored);
        assert_eq!(
            decode(r##"{"event":"dtmf","dtmf":{"track":"inbound_track","digit":"#"}}"##),
            CarrierEvent::Digit('#')
        );
        assert_eq!(decode(r#"{"event":"mark","mark":{"name":"m17"}}"#), CarrierEvent::Mark(MarkId(17)));
        assert_eq!(decode(r#"{"event":"stop","stop":{"callSid":"CA2"}}"#), CarrierEvent::Stopped);
        assert_eq!(decode(r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#), CarrierEvent::Ignored);
    }

    #[test]
    fn a_stamp_is_read_in_any_form_and_its_nonsense_costs_no_audio() {
        let mut twilio = Twilio::default();
        assert_eq!(twilio.stamp(), None);
        let cases = [
            (r#","timestamp":"1040""#, Some(1_040)),
            (r#","timestamp":60"#, Some(60)),
            ("", None),
            (r#","timestamp":"soon""#, None),
            (r#","timestamp":-5"#, None),
            (r#","timestamp":2.5"#, None),
            (r#","timestamp":null"#, None),
            (r#","timestamp":true"#, None),
            (r#","timestamp":[1,{"a":2}]"#, None),
            (r#","timestamp":{"a":[2]}"#, None),
        ];
        for (stamp, expected) in cases {
            let text = format!(r#"{{"event":"media","media":{{"payload":"/w=="{stamp}}}}}"#);
            assert_eq!(twilio.decode(Message::Text(&text)), CarrierEvent::Media(Bytes::from_static(&[0xFF])), "{text}");
            assert_eq!(twilio.stamp(), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn garbage_is_garbage_and_nothing_worse() {
        for text in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            r#"{"event":7}"#,
            r#"{"event":"media"}"#,
            r#"{"event":"media","media":{"payload":"***"}}"#,
            r#"{"event":"media","media":{"payload":5}}"#,
            r#"{"event":"mark","mark":{"name":"utt-1"}}"#,
            r#"{"event":"mark","mark":{"name":"m-1"}}"#,
            r#"{"event":"mark"}"#,
            r#"{"event":"dtmf","dtmf":{"digit":""}}"#,
            r#"{"event":"dtmf","dtmf":{"digit":"12"}}"#,
            r#"{"event":"dtmf","dtmf":{"digit":"x"}}"#,
            r#"{"event":"start","start":{"streamSid":"","callSid":"CA2"}}"#,
            r#"{"event":"brand-new"}"#,
        ] {
            assert_eq!(decode(text), CarrierEvent::Garbage, "{text}");
        }
        assert_eq!(Twilio::default().decode(Message::Binary(b"{}")), CarrierEvent::Garbage);
    }

    #[test]
    fn commands_have_exactly_the_documented_fields() {
        let mut twilio = Twilio::default();
        twilio.decode(Message::Text(START));
        let media = CarrierCommand::Media { frame: Bytes::from_static(&[0xFF; 5]), late: Duration::ZERO };
        assert_eq!(twilio.encode(&media), r#"{"event":"media","streamSid":"MZ1","media":{"payload":"//////8="}}"#);
        // A name that needs escapes, and every length of padding.
        twilio.decode(Message::Text(&START.replace("MZ1", r#"M\"Z"#)));
        for bytes in [0, 1, 2, 160] {
            let frame = Bytes::from(vec![0x2A; bytes]);
            let text = twilio.encode(&CarrierCommand::Media { frame: frame.clone(), late: Duration::ZERO });
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["streamSid"], "M\"Z");
            assert_eq!(decode_payload(value["media"]["payload"].as_str().unwrap()).unwrap(), frame);
        }
        twilio.decode(Message::Text(START));
        let mark = CarrierCommand::Mark(MarkId(3));
        assert_eq!(twilio.encode(&mark), r#"{"event":"mark","streamSid":"MZ1","mark":{"name":"m3"}}"#);
        let clear = CarrierCommand::Clear { held: Duration::ZERO };
        assert_eq!(twilio.encode(&clear), r#"{"event":"clear","streamSid":"MZ1"}"#);
    }
}
