//! Speech over HTTP as OpenAI serves it under `/v1/audio/speech`, and many self-hosted engines after it: a request for each
//! text, headerless samples for an answer.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Language, address};
use crate::call::action::Place;
use crate::call::event::{Fault, FaultKind};
use crate::dialect::{SpeechRequest, TtsRequests, fault_of_status};
use crate::ids::StreamSid;
use crate::wire::openai_speech::{Refusal, Request, Voice};
use crate::secret::Secret;

/// Speeds that the API takes.
const SPEEDS: std::ops::RangeInclusive<f32> = 0.25..=4.0;
/// What the ids of voices of one's own begin with. They are sent in an object, other voices by their name.
const OWN_VOICE: &str = "voice_";
/// Longest code of an error that is passed on, in bytes.
const CODE_BYTES_MAX: usize = 64;
/// How files of sound begin that are no headerless samples, and what they are called.
const CONTAINERS: [(&[u8], &str); 5] =
    [(b"RIFF", "a wav file"), (b"ID3", "an mp3 file"), (b"OggS", "an ogg file"), (b"fLaC", "a flac file"), (b"<!", "a page")];

/// What is the same in every call.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// `http` or `https` URL of the API, such as `https://api.openai.com/v1`, or of its `audio/speech` itself.
    pub url: String,
    /// API key; empty: none is sent. Never written anywhere.
    #[serde(skip)]
    pub api_key: Secret,
    /// Model.
    pub model: String,
    /// The voice, unless an utterance names another.
    pub voice: String,
    /// Speed, 0.25 to 4.0, unless an utterance names another.
    pub speed: Option<f32>,
    /// How to speak, in words, for models that understand it.
    pub instructions: Option<String>,
}

impl Settings {
    /// The same without the query of the URL, in which proxies have their keys: what may be written down.
    #[must_use]
    pub fn without_query(&self) -> Self {
        Settings { url: address(&self.url).to_owned(), ..self.clone() }
    }

    /// What is spoken: the same in each call, since a request bears no name.
    pub fn language(&self, _: &StreamSid) -> Language {
        Language::Requests(Arc::new(Openai { url: speech_url(&self.url), settings: self.clone() }))
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("url", &address(&self.url)).field("model", &self.model).finish_non_exhaustive()
    }
}

/// The codec.
#[derive(Debug)]
pub struct Openai {
    settings: Settings,
    /// Where requests go.
    url: String,
}

impl TtsRequests for Openai {
    fn request(&self, on: &Place, text: &str) -> Option<SpeechRequest> {
        if !text.chars().any(char::is_alphanumeric) {
            return None;
        }
        let (settings, delivery) = (&self.settings, &on.delivery);
        let voice = delivery.voice.as_deref().unwrap_or(&settings.voice);
        let request = Request {
            model: &settings.model,
            input: text.trim(),
            voice: if voice.starts_with(OWN_VOICE) { Voice::Own { id: voice } } else { Voice::Name(voice) },
            response_format: "pcm",
            speed: delivery.speed.or(settings.speed).map(|speed| speed.clamp(*SPEEDS.start(), *SPEEDS.end())),
            instructions: settings.instructions.as_deref(),
        };
        let key = Some(&settings.api_key).filter(|key| !key.is_empty());
        let key = key.map(|key| ("authorization", key.after("Bearer ")));
        Some(SpeechRequest {
            url: self.url.clone(),
            headers: [("content-type", Secret::new("application/json"))].into_iter().chain(key).collect(),
            body: serde_json::to_vec(&request).ok()?,
        })
    }

    fn is_speech(&self, status: u16, content_type: &str) -> bool {
        // Engines call samples `audio/pcm`, `audio/l16`, `application/octet-stream` or nothing, so that only what is surely
        // something else is refused.
        let kind = content_type.trim_start().to_ascii_lowercase();
        (200..300).contains(&status) && !kind.starts_with("text/") && !kind.starts_with("application/json")
    }

    fn refusal(&self, status: u16, body: &[u8]) -> Fault {
        if (200..300).contains(&status) {
            return Fault { kind: FaultKind::Retryable, reason: "the answer is no speech".to_owned() };
        }
        let fault = fault_of_status(status);
        let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
        match code_of(&refusal) {
            // An account without money is answered as one that asks too often, but waiting does not help it.
            Some(code @ "insufficient_quota") => Fault { kind: FaultKind::Fatal, reason: format!("{code} ({})", fault.reason) },
            Some(code) => Fault { reason: format!("{code} ({})", fault.reason), ..fault },
            None => fault,
        }
    }

    fn fault_in(&self, piece: &[u8], is_first: bool) -> Option<Fault> {
        // By chance samples look like this once in 2^64 pieces.
        if piece.starts_with(br#"{"error""#) || piece.starts_with(br#"{"detail"#) {
            return Some(Fault { kind: FaultKind::Retryable, reason: "an error in place of speech".to_owned() });
        }
        let (_, what) = CONTAINERS.into_iter().find(|(begin, _)| is_first && piece.starts_with(begin))?;
        Some(Fault { kind: FaultKind::Fatal, reason: format!("the answer is {what}, not headerless samples") })
    }
}

/// The API's own URL completed; one that leads to the route itself is taken as it stands, with its query.
fn speech_url(url: &str) -> String {
    let (front, query) = url.find(['?', '#']).map_or((url, ""), |at| url.split_at(at));
    let front = front.trim_end_matches('/');
    if front.ends_with("/audio/speech") { format!("{front}{query}") } else { format!("{front}/audio/speech{query}") }
}

/// The one word in a refusal that says what is wrong. Whatever is no such word may quote what was to be spoken.
fn code_of(refusal: &Refusal) -> Option<&str> {
    let words = [
        refusal.error.get("code"),
        refusal.error.get("type"),
        refusal.detail.get("error"),
        refusal.detail.get("type"),
    ];
    words.into_iter().flatten().filter_map(Value::as_str).find(|word| is_code(word))
}

fn is_code(word: &str) -> bool {
    let is_sign = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
    !word.is_empty() && word.len() <= CODE_BYTES_MAX && word.bytes().all(is_sign)
}

#[cfg(test)]
mod tests {
    use super::super::support::place;
    use super::*;
    use crate::call::event::Delivery;
    use serde_json::json;

    fn settings() -> Settings {
        Settings {
            url: "https://tts.example/v1".to_owned(),
            api_key: Secret::new("hunter2"),
            model: "tts-1".to_owned(),
            voice: "alloy".to_owned(),
            speed: None,
            instructions: None,
        }
    }

    fn openai(settings: &Settings) -> Arc<dyn TtsRequests> {
        match settings.language(&StreamSid::parse("MZ1").unwrap()) {
            Language::Requests(dialect) => dialect,
            Language::Socket(_) => panic!("a socket"),
        }
    }

    fn body(request: Option<SpeechRequest>) -> Value {
        serde_json::from_slice(&request.unwrap().body).unwrap()
    }

    #[test]
    fn a_request_has_what_is_set_and_nothing_else() {
        let request = openai(&settings()).request(&place(Delivery::default()), " Hello there. ").unwrap();
        assert_eq!(request.url, "https://tts.example/v1/audio/speech");
        let headers = [
            ("content-type", Secret::new("application/json")),
            ("authorization", Secret::new("Bearer hunter2")),
        ];
        assert_eq!(request.headers, headers);
        assert_eq!(
            body(Some(request)),
            json!({"model": "tts-1", "input": "Hello there.", "voice": "alloy", "response_format": "pcm"})
        );
    }

    #[test]
    fn an_utterance_may_sound_different() {
        let settings = Settings { instructions: Some("Calmly.".to_owned()), speed: Some(1.25), ..settings() };
        let plain = body(openai(&settings).request(&place(Delivery::default()), "Hi."));
        assert_eq!((&plain["speed"], &plain["instructions"]), (&json!(1.25), &json!("Calmly.")));
        let delivery = Delivery { voice: Some("voice_1234".to_owned()), speed: Some(9.0), ..Delivery::default() };
        let other = body(openai(&settings).request(&place(delivery), "Hi."));
        assert_eq!((&other["speed"], &other["voice"]), (&json!(4.0), &json!({"id": "voice_1234"})));
    }

    #[test]
    fn nothing_is_asked_for_what_cannot_be_said() {
        for text in ["", "  ", " ... ", "\u{2014}"] {
            assert_eq!(openai(&settings()).request(&place(Delivery::default()), text), None, "{text:?}");
        }
        assert!(openai(&settings()).request(&place(Delivery::default()), "\u{597d}").is_some());
    }

    #[test]
    fn the_url_is_that_of_the_api_or_of_its_route() {
        assert_eq!(speech_url("https://a.b/v1/"), "https://a.b/v1/audio/speech");
        assert_eq!(speech_url("https://a.b/audio/speech?api-version=1"), "https://a.b/audio/speech?api-version=1");
        assert_eq!(speech_url("http://[::1]:8880/v1?key=1"), "http://[::1]:8880/v1/audio/speech?key=1");
    }

    #[test]
    fn a_key_is_sent_if_there_is_one_and_never_written() {
        let settings = Settings { url: "https://a.b/v1?key=hunter2".to_owned(), ..settings() };
        assert!(!format!("{settings:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&settings.without_query()).unwrap().contains("hunter2"));
        let open = Settings { api_key: Secret::default(), ..settings };
        let request = openai(&open).request(&place(Delivery::default()), "Hi.").unwrap();
        assert_eq!(request.headers.len(), 1);
        // What a request says goes into no log either.
        assert!(!format!("{request:?}").contains("Hi."));
    }

    #[test]
    fn what_is_surely_something_else_is_no_speech() {
        let openai = openai(&settings());
        for kind in ["audio/pcm", "audio/l16; rate=24000", "application/octet-stream", "Audio/WAV", ""] {
            assert!(openai.is_speech(200, kind), "{kind}");
        }
        for kind in ["application/json", "Text/HTML; charset=utf-8", "text/event-stream"] {
            assert!(!openai.is_speech(200, kind), "{kind}");
        }
        assert!(!openai.is_speech(429, "audio/pcm") && !openai.is_speech(302, ""));
        assert_eq!(openai.refusal(200, b"<html>").kind, FaultKind::Retryable);
    }

    #[test]
    fn refusals_say_whether_to_try_again_and_quote_nothing() {
        let openai = openai(&settings());
        let told = |status, body: &Value| {
            let fault = openai.refusal(status, body.to_string().as_bytes());
            (fault.kind, fault.reason)
        };
        let said = json!({"error": {"message": "No voice 'Ann'.", "type": "invalid_request_error", "code": "bad_voice"}});
        assert_eq!(told(400, &said), (FaultKind::Fatal, "bad_voice (status 400)".to_owned()));
        let typed = json!({"error": {"message": "Slow down.", "type": "requests", "code": null}});
        assert_eq!(told(429, &typed), (FaultKind::Busy, "requests (status 429)".to_owned()));
        let broke = json!({"error": {"type": "insufficient_quota", "code": "insufficient_quota"}});
        assert_eq!(told(429, &broke).0, FaultKind::Fatal);
        let fastapi = json!({"detail": {"error": "processing_error", "message": "Ann", "type": "server_error"}});
        assert_eq!(told(500, &fastapi), (FaultKind::Retryable, "processing_error (status 500)".to_owned()));
        for quoting in [json!({"error": {"code": "cannot say: Dear Ann"}}), json!({"detail": "Ann"}), json!(["Ann"]), json!(7)] {
            assert_eq!(told(422, &quoting), (FaultKind::Fatal, "status 422".to_owned()), "{quoting}");
        }
        assert_eq!(openai.refusal(503, b"\xff").kind, FaultKind::Retryable);
    }

    #[test]
    fn what_stands_in_place_of_samples_is_seen() {
        let openai = openai(&settings());
        let kind = |piece: &[u8], is_first| openai.fault_in(piece, is_first).map(|fault| fault.kind);
        assert_eq!(kind(br#"{"error": {"message": "x"}}"#, false), Some(FaultKind::Retryable));
        assert_eq!(kind(b"RIFF\xff\xff\xff\xffWAVE", true), Some(FaultKind::Fatal));
        assert_eq!(kind(b"RIFF", false), None);
        assert_eq!(kind(&[0, 0, 1, 0], true), None);
        assert_eq!(kind(&[], true), None);
    }
}
