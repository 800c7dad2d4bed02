//! Cartesia's TTS over one WebSocket, many contexts on it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Language, Names, address, timed_words};
use crate::audio::Encoding;
use crate::call::action::{Place, TtsCommand};
use crate::call::event::{Fault, FaultKind, TtsEvent};
use crate::call::settings::Buffering;
use crate::dialect::{Handshake, Message, Outgoing, TtsDialect, fault_of_status};
use crate::ids::{CallTime, StreamSid};
use crate::wire::cartesia::{
    Cancel, GenerationConfig, OutputFormat, Request, Response, Voice as WireVoice,
};
use crate::secret::Secret;

/// What is the same in every call.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// `ws` or `wss` URL of the socket.
    pub url: String,
    /// API key or access token. Never written anywhere.
    #[serde(skip)]
    pub api_key: Secret,
    /// API version, a date. From 2026-03-01 on errors are objects.
    pub version: String,
    /// Model.
    pub model: String,
    /// The voice, unless an utterance names another.
    pub voice: String,
    /// ISO code of the language, unless an utterance names another.
    pub language: String,
    /// Speed, 0.6 to 1.5, unless an utterance names another.
    pub speed: Option<f32>,
    /// Volume, 0.5 to 2.0, unless an utterance names another.
    pub volume: Option<f32>,
    /// Emotion, unless an utterance names another.
    pub emotion: Option<String>,
    /// Who waits for a sentence to be whole.
    pub buffering: Buffering,
}

impl Settings {
    /// The same without the query of the URL, in which proxies have their keys: what may be written down.
    #[must_use]
    pub fn without_query(&self) -> Self {
        Settings { url: address(&self.url).to_owned(), ..self.clone() }
    }

    /// What is spoken in the call whose stream is `stream`.
    pub fn language(&self, stream: &StreamSid) -> Language {
        Language::Socket(Box::new(Cartesia::new(self.clone(), stream)))
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("url", &address(&self.url)).field("model", &self.model).finish_non_exhaustive()
    }
}

/// One call's codec.
#[derive(Debug)]
pub struct Cartesia {
    settings: Settings,
    names: Names,
}

impl Cartesia {
    /// The codec of the call whose stream is `stream`.
    pub fn new(settings: Settings, stream: &StreamSid) -> Self {
        Cartesia { settings, names: Names::new(stream) }
    }

    fn request(&self, on: &Place, transcript: &str, r#continue: bool, flush: bool) -> Option<String> {
        let (settings, delivery) = (&self.settings, &on.delivery);
        let context_id = self.names.name_of(on.context);
        let max_buffer_delay_ms = match settings.buffering {
            Buffering::Vendor { max_delay } => u32::try_from(max_delay.as_millis()).unwrap_or(u32::MAX),
            Buffering::Gateway => 0,
        };
        let request = Request {
            model_id: &settings.model,
            transcript,
            voice: WireVoice { mode: "id", id: delivery.voice.as_deref().unwrap_or(&settings.voice) },
            language: delivery.language.as_deref().unwrap_or(&settings.language),
            context_id: &context_id,
            output_format: OutputFormat {
                container: "raw",
                encoding: match on.format.encoding {
                    Encoding::PcmS16Le => "pcm_s16le",
                    Encoding::Mulaw => "pcm_mulaw",
                    Encoding::Alaw => "pcm_alaw",
                },
                sample_rate: on.format.rate,
            },
            r#continue,
            flush,
            max_buffer_delay_ms,
            add_timestamps: true,
            use_normalized_timestamps: false,
            generation_config: GenerationConfig {
                speed: delivery.speed.or(settings.speed),
                volume: delivery.volume.or(settings.volume),
                emotion: delivery.emotion.as_deref().or(settings.emotion.as_deref()),
            },
        };
        serde_json::to_string(&request).ok()
    }

    fn decode_text(&self, text: &str) -> Option<TtsEvent> {
        let response: Response = serde_json::from_str(text).ok()?;
        let context = response.context_id.as_deref().and_then(|name| self.names.context_of(name));
        match response.r#type.as_str() {
            // One without a name may be ours; one with somebody else's is not.
            "error" if context.is_none() && response.context_id.is_some() => Some(TtsEvent::Ignored),
            "error" => Some(TtsEvent::Failed { context, fault: fault_of(&response) }),
            "chunk" | "timestamps" | "done" if context.is_none() => Some(TtsEvent::Ignored),
            "chunk" => {
                let audio = STANDARD.decode(response.data.as_deref()?).ok()?;
                context.map(|context| TtsEvent::Audio { context, audio: Bytes::from(audio) })
            }
            "timestamps" => {
                let times = response.word_timestamps.unwrap_or_default();
                let words = timed_words(times.words, &times.start, &times.end)?;
                context.map(|context| TtsEvent::Words { context, words })
            }
            "done" => context.map(|context| TtsEvent::Done { context }),
            // `flush_done` is told for each flush, and at times for each piece: it never ends a turn.
            _ => Some(TtsEvent::Ignored),
        }
    }
}

impl TtsDialect for Cartesia {
    fn dial(&mut self) -> Handshake {
        Handshake {
            url: self.settings.url.clone(),
            headers: vec![
                ("authorization", self.settings.api_key.after("Bearer ")),
                ("cartesia-version", Secret::new(self.settings.version.as_str())),
            ],
        }
    }

    fn decode(&mut self, message: Message<'_>) -> TtsEvent {
        match message {
            Message::Text(text) => self.decode_text(text).unwrap_or(TtsEvent::Garbage),
            Message::Binary(_) => TtsEvent::Garbage,
        }
    }

    fn encode(&mut self, _at: CallTime, command: &TtsCommand, send: &mut dyn FnMut(Outgoing)) {
        let message = match command {
            TtsCommand::Speak { on, text } => self.request(on, text, true, false),
            TtsCommand::Flush { on } => self.request(on, "", true, true),
            TtsCommand::Finish { on } => self.request(on, "", false, false),
            TtsCommand::Cancel { context, .. } => {
                let context_id = &self.names.name_of(*context);
                serde_json::to_string(&Cancel { context_id, cancel: true }).ok()
            }
            TtsCommand::Dial { .. }
            | TtsCommand::HangUp { .. }
            | TtsCommand::Reserve { .. }
            | TtsCommand::Play { .. } => None,
        };
        if let Some(message) = message {
            send(Outgoing::Text(message));
        }
    }
}

fn fault_of(response: &Response) -> Fault {
    let status = response.status_code.map(fault_of_status);
    let by_status = status.unwrap_or(Fault { kind: FaultKind::Retryable, reason: "error without a status".to_owned() });
    match response.error_code.as_deref() {
        Some("concurrency_limited") => Fault { kind: FaultKind::Busy, reason: "concurrency_limited".to_owned() },
        // A code is a short word of the vendor's; anything longer may quote what was to be spoken.
        Some(code) if code.len() <= 64 => Fault { reason: format!("{} ({})", code, by_status.reason), ..by_status },
        Some(_) | None => by_status,
    }
}

#[cfg(test)]
mod tests {
    use super::super::support::{CONTEXT, place, said};
    use super::*;
    use crate::call::event::{Delivery, TimedWord};
    use std::time::Duration;

    fn cartesia(buffering: Buffering) -> Cartesia {
        let settings = Settings {
            url: "wss://tts.example/tts/websocket".to_owned(),
            api_key: Secret::new("k"),
            version: "2026-03-01".to_owned(),
            model: "sonic-3.5".to_owned(),
            voice: "V".to_owned(),
            language: "en".to_owned(),
            speed: None,
            volume: None,
            emotion: None,
            buffering,
        };
        Cartesia::new(settings, &StreamSid::parse("MZ1").unwrap())
    }

    fn json(messages: Vec<String>) -> serde_json::Value {
        assert_eq!(messages.len(), 1);
        serde_json::from_str(&messages[0]).unwrap()
    }

    #[test]
    fn requests_of_a_context_differ_in_nothing_but_text_and_end() {
        let mut cartesia = cartesia(Buffering::Gateway);
        let on = place(Delivery::default());
        let mut speak = json(said(&mut cartesia, &TtsCommand::Speak { on: on.clone(), text: " Hello. ".to_owned() }));
        assert_eq!(
            speak,
            serde_json::json!({
                "model_id": "sonic-3.5", "transcript": " Hello. ", "voice": {"mode": "id", "id": "V"}, "language": "en",
                "context_id": "MZ1-7.2",
                "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 16000},
                "continue": true, "flush": false, "max_buffer_delay_ms": 0,
                "add_timestamps": true, "use_normalized_timestamps": false,
            })
        );
        let mut finish = json(said(&mut cartesia, &TtsCommand::Finish { on: on.clone() }));
        assert_eq!((finish["transcript"].as_str(), finish["continue"].as_bool()), (Some(""), Some(false)));
        let flush = json(said(&mut cartesia, &TtsCommand::Flush { on }));
        assert_eq!((flush["flush"].as_bool(), flush["continue"].as_bool()), (Some(true), Some(true)));
        for value in [&mut speak, &mut finish] {
            for key in ["transcript", "continue"] {
                value.as_object_mut().unwrap().remove(key);
            }
        }
        assert_eq!(speak, finish);
    }

    #[test]
    fn an_utterance_may_sound_different_and_the_vendor_may_buffer() {
        let mut cartesia = cartesia(Buffering::Vendor { max_delay: Duration::from_millis(3_000) });
        let delivery = Delivery {
            voice: Some("W".to_owned()),
            language: Some("fr".to_owned()),
            speed: Some(1.25),
            volume: None,
            emotion: Some("calm".to_owned()),
        };
        let speak = json(said(&mut cartesia, &TtsCommand::Speak { on: place(delivery), text: "Allo".to_owned() }));
        assert_eq!(speak["voice"]["id"], "W");
        assert_eq!(speak["language"], "fr");
        assert_eq!(speak["generation_config"], serde_json::json!({"speed": 1.25, "emotion": "calm"}));
        assert_eq!(speak["max_buffer_delay_ms"], 3_000);
    }

    #[test]
    fn a_key_in_the_url_is_dialled_and_never_written() {
        let url = "wss://proxy.example/tts?api_key=hunter2#hunter2".to_owned();
        let settings = Settings { url: url.clone(), ..cartesia(Buffering::Gateway).settings };
        let stream = StreamSid::parse("MZ1").unwrap();
        assert_eq!(Cartesia::new(settings.clone(), &stream).dial().url, url);
        assert!(!format!("{settings:?}").contains("hunter2"));
        assert_eq!(settings.without_query().url, "wss://proxy.example/tts");
    }

    #[test]
    fn cancel_names_the_context() {
        let command = TtsCommand::Cancel { voice: 0, context: CONTEXT };
        let cancel = json(said(&mut cartesia(Buffering::Gateway), &command));
        assert_eq!(cancel, serde_json::json!({"context_id": "MZ1-7.2", "cancel": true}));
    }

    #[test]
    fn answers_are_understood() {
        let mut cartesia = cartesia(Buffering::Gateway);
        let context = CONTEXT;
        let mut decode = |text: &str| cartesia.decode(Message::Text(text));
        assert_eq!(
            decode(r#"{"type":"chunk","context_id":"MZ1-7.2","data":"AAE=","step_time":4.2,"done":false}"#),
            TtsEvent::Audio { context, audio: Bytes::from_static(&[0, 1]) }
        );
        let words = vec![TimedWord { text: "Hi".to_owned(), start_us: 20_000, end_us: 170_000 }];
        assert_eq!(
            decode(
                r#"{"type":"timestamps","context_id":"MZ1-7.2","word_timestamps":{"words":["Hi"],"start":[0.02],"end":[0.17]}}"#
            ),
            TtsEvent::Words { context, words }
        );
        assert_eq!(decode(r#"{"type":"done","context_id":"MZ1-7.2","done":true}"#), TtsEvent::Done { context });
        assert_eq!(decode(r#"{"type":"flush_done","context_id":"MZ1-7.2","flush_id":1}"#), TtsEvent::Ignored);
        assert_eq!(decode(r#"{"type":"chunk","context_id":"OTHER-7.2","data":"AAE="}"#), TtsEvent::Ignored);
        assert_eq!(decode(r#"{"type":"chunk","data":"AAE="}"#), TtsEvent::Ignored);
        assert_eq!(decode(r#"{"type":"error","context_id":"OTHER-7.2","status_code":500}"#), TtsEvent::Ignored);
        assert_eq!(decode(r#"{"type":"brand_new"}"#), TtsEvent::Ignored);
        for text in ["", "{}", r#"{"type":"chunk","context_id":"MZ1-7.2","data":"?"}"#] {
            assert_eq!(decode(text), TtsEvent::Garbage, "{text}");
        }
        let uneven = r#"{"type":"timestamps","context_id":"MZ1-7.2","word_timestamps":{"words":["Hi"],"start":[],"end":[0.17]}}"#;
        assert_eq!(decode(uneven), TtsEvent::Garbage);
    }

    #[test]
    fn errors_old_and_new_say_whether_to_try_again() {
        let mut cartesia = cartesia(Buffering::Gateway);
        let mut kind = |text: &str| match cartesia.decode(Message::Text(text)) {
            TtsEvent::Failed { context, fault } => (context.is_some(), fault.kind),
            other => panic!("{other:?}"),
        };
        let new = r#"{"type":"error","context_id":"MZ1-7.2","done":true,"status_code":429,"error_code":"concurrency_limited","title":"t","message":"m"}"#;
        assert_eq!(kind(new), (true, FaultKind::Busy));
        assert_eq!(
            kind(r#"{"type":"error","status_code":404,"error_code":"model_not_found"}"#),
            (false, FaultKind::Fatal)
        );
        assert_eq!(
            kind(r#"{"type":"error","done":true,"error":"Bad: x","status_code":400}"#),
            (false, FaultKind::Fatal)
        );
        assert_eq!(kind(r#"{"type":"error","status_code":500,"error_code":null}"#), (false, FaultKind::Retryable));
        assert_eq!(kind(r#"{"type":"error"}"#), (false, FaultKind::Retryable));
    }
}
