//! Twilio Media Streams, both directions, and the carriers that copied it.
//!
//! Read leniently, written strictly: a field that we do not need is not even parsed, a number may be a string and the
//! other way round; what we send has exactly the documented fields, since Twilio warns (31951) about any other.
//! Source: Twilio's "Media Streams - WebSocket Messages".

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A message from the carrier. One flat type for all events, because that parses in half the time of a tagged enum.
#[derive(Debug, Deserialize)]
pub struct Inbound<'a> {
    /// `connected`, `start`, `media`, `dtmf`, `mark`, `stop`, or something newer.
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    /// Of `start`.
    #[serde(borrow, default)]
    pub start: Option<Start<'a>>,
    /// Of `media`.
    #[serde(borrow, default)]
    pub media: Option<Media<'a>>,
    /// Of `dtmf`.
    #[serde(borrow, default)]
    pub dtmf: Option<Dtmf<'a>>,
    /// Of `mark`.
    #[serde(borrow, default)]
    pub mark: Option<Mark<'a>>,
}

/// What a stream begins with.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start<'a> {
    /// The stream's name, `MZ` and 32 hex digits at Twilio.
    #[serde(borrow)]
    pub stream_sid: Cow<'a, str>,
    /// The call's name, `CA` and 32 hex digits at Twilio.
    #[serde(borrow)]
    pub call_sid: Cow<'a, str>,
    /// `inbound`; a stream that was started with `<Start>` may have `outbound` too.
    #[serde(default)]
    pub tracks: Vec<String>,
    /// How audio is written in both directions.
    #[serde(default)]
    pub media_format: Option<Format>,
    /// The `<Parameter>`s of the TwiML, all strings.
    #[serde(default, deserialize_with = "parameters")]
    pub custom_parameters: BTreeMap<String, String>,
}

/// How audio is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Format {
    /// `audio/x-mulaw` at Twilio.
    pub encoding: String,
    /// Samples a second, 8000 at Twilio.
    #[serde(deserialize_with = "number")]
    pub sample_rate: u32,
}

/// A piece of the caller's audio.
#[derive(Debug, Deserialize)]
pub struct Media<'a> {
    /// `inbound` or `outbound`.
    #[serde(borrow, default)]
    pub track: Option<Cow<'a, str>>,
    /// When the piece begins, in milliseconds since the stream began; `None` if that is missing or makes no sense.
    #[serde(default, deserialize_with = "stamp")]
    pub timestamp: Option<u64>,
    /// Base64 of headerless samples.
    #[serde(borrow)]
    pub payload: Cow<'a, str>,
}

/// A key that the caller pressed.
#[derive(Debug, Deserialize)]
pub struct Dtmf<'a> {
    /// One of `0-9*#A-D`.
    #[serde(borrow)]
    pub digit: Cow<'a, str>,
}

/// A mark that came back.
#[derive(Debug, Deserialize)]
pub struct Mark<'a> {
    /// The name that we gave it.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
}

/// A message to the carrier.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Outbound<'a> {
    /// Audio to play after what is queued.
    #[serde(rename_all = "camelCase")]
    Media {
        /// The stream's name.
        stream_sid: &'a str,
        /// The audio.
        media: Payload<'a>,
    },
    /// To be echoed when what is queued has been played.
    #[serde(rename_all = "camelCase")]
    Mark {
        /// The stream's name.
        stream_sid: &'a str,
        /// The mark.
        mark: MarkName,
    },
    /// Drop what is queued.
    #[serde(rename_all = "camelCase")]
    Clear {
        /// The stream's name.
        stream_sid: &'a str,
    },
}

/// Audio of a message to the carrier.
#[derive(Debug, Serialize)]
pub struct Payload<'a> {
    #[serde(serialize_with = "base64")]
    payload: &'a [u8],
}

impl<'a> Payload<'a> {
    /// Headerless samples in the stream's format.
    pub fn new(payload: &'a [u8]) -> Self {
        Payload { payload }
    }
}

/// Name of a mark in a message to the carrier.
#[derive(Debug, Serialize)]
pub struct MarkName {
    /// Any string.
    pub name: String,
}

fn base64<S: serde::Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&base64::display::Base64Display::new(bytes, &STANDARD))
}

/// Appends the base64 of `bytes`, as a payload is written.
pub fn encode_payload_into(bytes: &[u8], out: &mut String) {
    STANDARD.encode_string(bytes, out);
}

/// Bytes of a base64 payload.
///
/// # Errors
/// The payload is not base64 (RFC 4648, section 4), or its padding is missing.
pub fn decode_payload(payload: &str) -> Result<Vec<u8>, base64::DecodeError> {
    STANDARD.decode(payload)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(u32),
    Text(String),
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match Loose::deserialize(deserializer)? {
        Loose::Number(number) => Ok(number),
        Loose::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

/// A moment that nothing depends on but where audio lies in a recording: whatever else stands there is no reason to lose the
/// audio.
fn stamp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    struct Stamp;
    impl<'de> Visitor<'de> for Stamp {
        type Value = Option<u64>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("milliseconds")
        }
        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text.parse().ok())
        }
        fn visit_u64<E>(self, millis: u64) -> Result<Self::Value, E> {
            Ok(Some(millis))
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(None)
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(None)
        }
    }
    deserializer.deserialize_any(Stamp)
}

fn parameters<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let values = Option::<BTreeMap<String, serde_json::Value>>::deserialize(deserializer)?.unwrap_or_default();
    let text = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok(values.into_iter().map(|(name, value)| (name, text(value))).collect())
}
