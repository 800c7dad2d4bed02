use std::sync::Arc;

use serde_json::json;

use super::super::support::{CONTEXT, at, place, said};
use super::*;
use crate::call::event::Delivery;
use crate::ids::TurnId;
use crate::secret::Secret;

fn settings() -> Settings {
    Settings {
        url: "wss://api.gradium.example/api/speech/tts".to_owned(),
        api_key: Secret::new("k"),
        model: "default".to_owned(),
        voice: "V".to_owned(),
        json_config: Map::new(),
    }
}

fn gradium() -> Gradium {
    Gradium::new(settings(), &StreamSid::parse("MZ1").unwrap())
}

fn speak(gradium: &mut Gradium, on: &Place, text: &str) -> Vec<Value> {
    let command = TtsCommand::Speak { on: on.clone(), text: text.to_owned() };
    said(gradium, &command).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn default_place() -> Place {
    place(Delivery::default())
}

/// A codec whose request `MZ1-7.2` was given one sentence.
fn speaking() -> Gradium {
    let mut gradium = gradium();
    speak(&mut gradium, &default_place(), "Hello there. ");
    gradium
}

fn decoded(gradium: &mut Gradium, message: Value) -> TtsEvent {
    gradium.decode(Message::Text(&message.to_string()))
}

fn word(text: &str, start_ms: u64, end_ms: u64) -> TimedWord {
    TimedWord { text: text.to_owned(), start_us: start_ms * 1_000, end_us: end_ms * 1_000 }
}

#[test]
fn a_request_is_set_up_once_and_every_message_bears_its_name() {
    let mut gradium = gradium();
    let on = default_place();
    assert_eq!(
        speak(&mut gradium, &on, " Hello there. "),
        [
            json!({"type": "setup", "model_name": "default", "voice_id": "V", "output_format": "pcm_16000",
                "client_req_id": "MZ1-7.2", "close_ws_on_eos": false}),
            json!({"type": "text", "text": "Hello there. <flush>", "client_req_id": "MZ1-7.2"}),
        ]
    );
    assert_eq!(
        speak(&mut gradium, &on, "And\nthen?\n"),
        [json!({"type": "text", "text": "And\nthen? <flush>", "client_req_id": "MZ1-7.2"})]
    );
    assert!(said(&mut gradium, &TtsCommand::Flush { on: on.clone() }).is_empty(), "each text has its flush");
    let finish = said(&mut gradium, &TtsCommand::Finish { on: on.clone() });
    assert_eq!(finish, [r#"{"type":"end_of_stream","client_req_id":"MZ1-7.2"}"#]);
    assert!(said(&mut gradium, &TtsCommand::Cancel { voice: 0, context: CONTEXT }).is_empty(), "said already");
    assert!(speak(&mut gradium, &at(ContextId { turn: TurnId(8), serial: 1 }, Delivery::default()), " \n").is_empty());
}

#[test]
fn formats_voices_and_parameters_have_the_vendors_names() {
    let mut json_config = Map::new();
    json_config.insert("padding_bonus".to_owned(), json!(-0.5));
    json_config.insert("temp".to_owned(), json!(0.6));
    let settings = Settings { json_config, ..settings() };
    let mut gradium = Gradium::new(settings, &StreamSid::parse("MZ1").unwrap());
    let delivery = Delivery { voice: Some("W".to_owned()), speed: Some(1.2), ..Delivery::default() };
    for (encoding, rate, name) in [
        (Encoding::PcmS16Le, 8_000, "pcm_8000"),
        (Encoding::PcmS16Le, 24_000, "pcm_24000"),
        (Encoding::Mulaw, 8_000, "ulaw_8000"),
        (Encoding::Alaw, 8_000, "alaw_8000"),
    ] {
        gradium.dial();
        let format = SourceFormat { encoding, rate };
        let on = Place { voice: 0, context: CONTEXT, format, delivery: Arc::new(delivery.clone()) };
        let setup = speak(&mut gradium, &on, "Hi.").remove(0);
        assert_eq!((&setup["output_format"], &setup["voice_id"]), (&json!(name), &json!("W")));
        // Both of the vendor's own tools write it as text.
        assert_eq!(setup["json_config"], r#"{"padding_bonus":-0.5,"temp":0.6}"#);
    }
}

#[test]
fn a_tag_in_the_text_is_not_taken_for_ours() {
    let messages = speak(&mut gradium(), &default_place(), "One<flush>two <break time=\"1s\" /> three");
    assert_eq!(messages[1]["text"], "One two <break time=\"1s\" /> three <flush>");
    assert!(speak(&mut gradium(), &default_place(), "<flush>").is_empty());
}

#[test]
fn a_key_goes_into_a_header_and_is_never_written() {
    let settings = Settings { url: "wss://proxy.example/tts?key=hunter2".to_owned(), ..settings() };
    let shake = Gradium::new(settings.clone(), &StreamSid::parse("MZ1").unwrap()).dial();
    assert_eq!((shake.url.as_str(), shake.headers), (settings.url.as_str(), vec![("x-api-key", Secret::new("k"))]));
    assert!(!format!("{settings:?}").contains("hunter2"));
    let written = serde_json::to_string(&settings.without_query()).unwrap();
    assert!(!written.contains("hunter2") && !written.contains("\"k\""), "{written}");
}

#[test]
fn a_cancelled_request_is_ended_and_its_end_is_the_answer() {
    let mut gradium = speaking();
    let cancel = TtsCommand::Cancel { voice: 0, context: CONTEXT };
    assert_eq!(said(&mut gradium, &cancel), [r#"{"type":"end_of_stream","client_req_id":"MZ1-7.2"}"#]);
    assert!(said(&mut gradium, &cancel).is_empty());
    // What still comes is the core's to count and to drop.
    let late = decoded(&mut gradium, json!({"type": "audio", "audio": "AAE=", "client_req_id": "MZ1-7.2"}));
    assert_eq!(late, TtsEvent::Audio { context: CONTEXT, audio: Bytes::from_static(&[0, 1]) });
    let end = json!({"type": "end_of_stream", "client_req_id": "MZ1-7.2"});
    assert_eq!(decoded(&mut gradium, end.clone()), TtsEvent::Done { context: CONTEXT });
    assert_eq!(decoded(&mut gradium, end), TtsEvent::Ignored, "an end comes once");
    // Nothing was said of it, so nothing has to be taken back.
    let unknown = TtsCommand::Cancel { voice: 0, context: ContextId { turn: TurnId(9), serial: 1 } };
    assert!(said(&mut gradium, &unknown).is_empty());
}

#[test]
fn answers_are_understood() {
    let (mut gradium, context) = (speaking(), CONTEXT);
    let ready = json!({"type": "ready", "request_id": "r", "model_name": "default", "sample_rate": 16_000,
        "frame_size": 2_560, "audio_stream_names": ["audio"], "text_stream_names": ["text"], "client_req_id": "MZ1-7.2"});
    assert_eq!(decoded(&mut gradium, ready), TtsEvent::Ignored);
    let audio = json!({"type": "audio", "audio": "AAE=", "start_s": 0.0, "stop_s": 0.08, "stream_id": 0,
        "client_req_id": "MZ1-7.2"});
    assert_eq!(decoded(&mut gradium, audio), TtsEvent::Audio { context, audio: Bytes::from_static(&[0, 1]) });
    let text = json!({"type": "text", "text": "Hello", "start_s": 0.04, "stop_s": 0.2, "stream_id": 0,
        "client_req_id": "MZ1-7.2"});
    assert_eq!(decoded(&mut gradium, text), TtsEvent::Words { context, words: vec![word("Hello", 40, 200)] });
    let segment = json!({"type": "text", "text": " there you ", "start_s": 0.2, "stop_s": 0.5, "client_req_id": "MZ1-7.2"});
    let words = vec![word("there", 200, 500), word("you", 200, 500)];
    assert_eq!(decoded(&mut gradium, segment), TtsEvent::Words { context, words });
    for kind in ["need_more_text", "brand_new"] {
        assert_eq!(decoded(&mut gradium, json!({"type": kind, "client_req_id": "MZ1-7.2"})), TtsEvent::Ignored);
    }
}

#[test]
fn a_word_without_an_end_lasts_until_the_next_one_or_the_flush() {
    let (mut gradium, context) = (speaking(), CONTEXT);
    let text = |text: &str, start: f64| json!({"type": "text", "text": text, "start_s": start, "client_req_id": "MZ1-7.2"});
    assert_eq!(decoded(&mut gradium, text("Hello", 0.04)), TtsEvent::Ignored, "not heard when it begins");
    let next = decoded(&mut gradium, text("there.", 0.3));
    assert_eq!(next, TtsEvent::Words { context, words: vec![word("Hello", 40, 300)] });
    let audio = STANDARD.encode(vec![0; 16_000]);
    decoded(&mut gradium, json!({"type": "audio", "audio": audio, "client_req_id": "MZ1-7.2"}));
    let flushed = json!({"type": "flushed", "client_req_id": "MZ1-7.2"});
    let last = decoded(&mut gradium, flushed.clone());
    assert_eq!(last, TtsEvent::Words { context, words: vec![word("there.", 300, 500)] });
    assert_eq!(decoded(&mut gradium, flushed), TtsEvent::Spoken { context, texts: 1 });
}

#[test]
fn flushes_are_counted_for_each_request_and_never_beyond_its_texts() {
    let (mut gradium, context) = (speaking(), CONTEXT);
    speak(&mut gradium, &default_place(), "More. ");
    let other = ContextId { turn: TurnId(8), serial: 1 };
    speak(&mut gradium, &at(other, Delivery::default()), "Else. ");
    let mut flushed = |name: &str| decoded(&mut gradium, json!({"type": "flushed", "client_req_id": name}));
    assert_eq!(flushed("MZ1-7.2"), TtsEvent::Spoken { context, texts: 1 });
    assert_eq!(flushed("MZ1-8.1"), TtsEvent::Spoken { context: other, texts: 1 });
    assert_eq!(flushed("MZ1-7.2"), TtsEvent::Spoken { context, texts: 2 });
    assert_eq!(flushed("MZ1-7.2"), TtsEvent::Spoken { context, texts: 2 });
}

#[test]
fn what_bears_no_name_of_ours_reaches_nobody() {
    let mut gradium = speaking();
    for id in [json!(null), json!("MZ2-7.2"), json!("MZ1-7.3"), json!("MZ1-7"), json!("7.2"), json!("")] {
        for message in [
            json!({"type": "audio", "audio": "AAE=", "client_req_id": id}),
            json!({"type": "text", "text": "Hi", "start_s": 0.0, "stop_s": 0.1, "client_req_id": id}),
            json!({"type": "flushed", "client_req_id": id}),
            json!({"type": "end_of_stream", "client_req_id": id}),
        ] {
            assert_eq!(decoded(&mut gradium, message.clone()), TtsEvent::Ignored, "{message}");
        }
        let error = decoded(&mut gradium, json!({"type": "error", "code": 1011, "client_req_id": id}));
        match id.is_null() {
            // The whole socket's: its close frame would say less.
            true => assert!(matches!(error, TtsEvent::Down { voice: 0, .. }), "{error:?}"),
            false => assert_eq!(error, TtsEvent::Ignored),
        }
    }
    // A new link knows nothing of the one before.
    gradium.dial();
    let late = json!({"type": "audio", "audio": "AAE=", "client_req_id": "MZ1-7.2"});
    assert_eq!(decoded(&mut gradium, late), TtsEvent::Ignored);
}

#[test]
fn nonsense_is_garbage() {
    let mut gradium = speaking();
    for text in [
        "",
        "[]",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"audio","audio":"?","client_req_id":"MZ1-7.2"}"#,
        r#"{"type":"audio","client_req_id":"MZ1-7.2"}"#,
        r#"{"type":"text","client_req_id":"MZ1-7.2"}"#,
        r#"{"type":"audio","audio":"AAE=","client_req_id":7}"#,
    ] {
        assert_eq!(gradium.decode(Message::Text(text)), TtsEvent::Garbage, "{text}");
    }
    assert_eq!(gradium.decode(Message::Binary(&[0, 1])), TtsEvent::Garbage);
    // Times without sense are no reason to lose a word.
    let odd = json!({"type": "text", "text": "Hi", "start_s": -1.0, "stop_s": -2.0, "client_req_id": "MZ1-7.2"});
    assert_eq!(decoded(&mut gradium, odd), TtsEvent::Words { context: CONTEXT, words: vec![word("Hi", 0, 0)] });
    let untimed = json!({"type": "text", "text": "Hi", "client_req_id": "MZ1-7.2"});
    assert_eq!(decoded(&mut gradium, untimed), TtsEvent::Ignored);
}

#[test]
fn errors_say_whether_to_try_again_and_never_quote() {
    for (code, message, kind) in [
        (json!(1008), "Unknown voice", FaultKind::Fatal),
        (json!(1008), "Too many concurrent sessions", FaultKind::Busy),
        (json!(1002), "protocol", FaultKind::Fatal),
        (json!(1003), "", FaultKind::Fatal),
        (json!(1011), "", FaultKind::Retryable),
        (json!(1000), "", FaultKind::Retryable),
        (json!("1011"), "", FaultKind::Retryable),
        (json!(429), "", FaultKind::Busy),
        (json!(401), "", FaultKind::Fatal),
        (json!(null), "", FaultKind::Retryable),
        (json!(-7), "", FaultKind::Retryable),
        (json!(1e9), "", FaultKind::Retryable),
    ] {
        let mut gradium = speaking();
        let error = json!({"type": "error", "message": message, "code": code, "client_req_id": "MZ1-7.2"});
        let TtsEvent::Failed { context, fault } = decoded(&mut gradium, error) else { panic!("{code}") };
        assert_eq!((context, fault.kind), (Some(CONTEXT), kind), "{code} {message}");
        assert!(message.is_empty() || !fault.reason.contains(message), "{}", fault.reason);
        let after = json!({"type": "audio", "audio": "AAE=", "client_req_id": "MZ1-7.2"});
        assert_eq!(decoded(&mut gradium, after), TtsEvent::Ignored, "an error ends its request");
    }
}
