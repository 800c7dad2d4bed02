use serde_json::{Value, json};

use super::super::support::{CONTEXT, at, place, said};
use super::*;
use crate::audio::Encoding;
use crate::call::event::Delivery;
use crate::ids::TurnId;
use crate::secret::Secret;

fn settings() -> Settings {
    Settings {
        url: "wss://tts.example/ws3".to_owned(),
        api_key: Secret::new("k"),
        model: "mistv2".to_owned(),
        voice: "cove".to_owned(),
        format: SourceFormat { encoding: Encoding::PcmS16Le, rate: 8_000 },
    }
}

fn codec() -> Rime {
    Rime::new(settings(), &StreamSid::parse("MZ1").unwrap())
}

fn speak(codec: &mut Rime, text: &str) -> Vec<Value> {
    let command = TtsCommand::Speak { on: place(Delivery::default()), text: text.to_owned() };
    said(codec, &command).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn speaking() -> Rime {
    let mut codec = codec();
    speak(&mut codec, "Hello. ");
    codec
}

fn decoded(codec: &mut Rime, message: Value) -> TtsEvent {
    codec.decode(Message::Text(&message.to_string()))
}

fn chunk(ms: usize) -> Value {
    json!({"type": "chunk", "data": STANDARD.encode(vec![0; ms * 16]), "contextId": "MZ1-7.2"})
}

fn times(word: &str, start: f64, end: f64) -> Value {
    json!({"type": "timestamps", "contextId": "MZ1-7.2", "word_timestamps": {"words": [word], "start": [start], "end": [end]}})
}

fn done() -> Value {
    json!({"type": "done", "contextId": "MZ1-7.2"})
}

fn span(event: TtsEvent) -> (u64, u64) {
    let TtsEvent::Words { words, .. } = event else { panic!("{event:?}") };
    (words[0].start_us / 1_000, words[0].end_us / 1_000)
}

#[test]
fn the_url_says_what_is_the_same_for_the_socket() {
    let shake = codec().dial();
    assert_eq!(
        shake.url,
        "wss://tts.example/ws3?speaker=cove&modelId=mistv2&audioFormat=pcm&samplingRate=8000&segment=never"
    );
    assert_eq!(shake.headers, [("authorization", Secret::new("Bearer k"))]);
    let url = "wss://tts.example/ws3?lang=fra&key=hunter2".to_owned();
    let settings = Settings { url, voice: "a b".to_owned(), ..settings() };
    let shake = Rime::new(settings.clone(), &StreamSid::parse("MZ1").unwrap()).dial();
    assert!(shake.url.starts_with("wss://tts.example/ws3?lang=fra&key=hunter2&speaker=a+b&"), "{}", shake.url);
    let written = format!("{settings:?} {}", serde_json::to_string(&settings.without_query()).unwrap());
    assert!(!written.contains("hunter2") && !written.contains("\"k\""), "{written}");
}

#[test]
fn each_text_is_flushed_and_a_context_is_over_with_its_last() {
    let mut codec = codec();
    assert_eq!(
        speak(&mut codec, "Hello. "),
        [json!({"text": "Hello. ", "contextId": "MZ1-7.2"}), json!({"operation": "flush"})]
    );
    speak(&mut codec, "More. ");
    let on = place(Delivery::default());
    assert!(said(&mut codec, &TtsCommand::Flush { on: on.clone() }).is_empty());
    assert!(said(&mut codec, &TtsCommand::Finish { on }).is_empty());
    assert_eq!(decoded(&mut codec, done()), TtsEvent::Ignored, "one of two");
    assert_eq!(decoded(&mut codec, done()), TtsEvent::Done { context: CONTEXT });
    assert_eq!(decoded(&mut codec, done()), TtsEvent::Ignored);
}

#[test]
fn times_begin_anew_with_each_text() {
    let mut codec = speaking();
    speak(&mut codec, "More. ");
    assert_eq!(span(decoded(&mut codec, times("Hello", 0.1, 0.5))), (100, 500));
    assert!(matches!(decoded(&mut codec, chunk(600)), TtsEvent::Audio { context: CONTEXT, .. }));
    decoded(&mut codec, done());
    // Behind the audio of the first, its last silence included.
    assert_eq!(span(decoded(&mut codec, times("More", 0.1, 0.4))), (700, 1_000));
    // A server that tells of one end for both: times that run backwards have begun anew as well.
    let mut codec = speaking();
    decoded(&mut codec, times("Hello", 0.1, 0.5));
    assert_eq!(span(decoded(&mut codec, times("More", 0.05, 0.4))), (550, 900));
}

#[test]
fn what_is_cleared_reaches_nobody() {
    let mut codec = speaking();
    let cancel = |context| TtsCommand::Cancel { voice: 0, context };
    let other = ContextId { turn: TurnId(8), serial: 1 };
    assert!(said(&mut codec, &cancel(other)).is_empty(), "it would clear what is live");
    assert_eq!(said(&mut codec, &cancel(CONTEXT)), [r#"{"operation":"clear"}"#]);
    assert!(said(&mut codec, &cancel(CONTEXT)).is_empty());
    assert_eq!(decoded(&mut codec, chunk(20)), TtsEvent::Ignored);
    let on = at(other, Delivery::default());
    said(&mut codec, &TtsCommand::Speak { on, text: "Next. ".to_owned() });
    for message in [chunk(20), times("Hello", 0.0, 0.1), done()] {
        assert_eq!(decoded(&mut codec, message), TtsEvent::Ignored);
    }
    codec.dial();
    let of_other = json!({"type": "chunk", "data": "AAE=", "contextId": "MZ1-8.1"});
    assert_eq!(decoded(&mut codec, of_other), TtsEvent::Ignored, "a new link knows nothing");
}

#[test]
fn what_bears_no_name_of_ours_reaches_nobody_but_for_an_error() {
    for id in [json!(null), json!("MZ2-7.2"), json!("MZ1-7.3"), json!("")] {
        let mut codec = speaking();
        for kind in ["chunk", "timestamps", "done"] {
            let message = json!({"type": kind, "contextId": id, "data": "AAE="});
            assert_eq!(decoded(&mut codec, message), TtsEvent::Ignored, "{kind} {id}");
        }
        let error = decoded(&mut codec, json!({"type": "error", "message": "our little secret", "contextId": id}));
        match (id.is_null(), error) {
            (true, TtsEvent::Failed { context, fault }) => {
                assert_eq!((context, fault.kind), (Some(CONTEXT), FaultKind::Retryable));
                assert!(!fault.reason.contains("secret"));
            }
            (is_ours, event) => assert_eq!((is_ours, event), (false, TtsEvent::Ignored)),
        }
    }
    let busy = decoded(&mut speaking(), json!({"type": "error", "message": "Concurrency limit reached"}));
    assert!(matches!(busy, TtsEvent::Down { voice: 0, fault: Fault { kind: FaultKind::Busy, .. } }), "{busy:?}");
    let idle = decoded(&mut codec(), json!({"type": "error"}));
    assert!(matches!(idle, TtsEvent::Failed { context: None, .. }), "{idle:?}");
}

#[test]
fn nonsense_is_garbage() {
    let mut codec = speaking();
    for text in [
        "",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"chunk","contextId":"MZ1-7.2"}"#,
        r#"{"type":"chunk","data":"?","contextId":"MZ1-7.2"}"#,
        r#"{"type":"timestamps","contextId":"MZ1-7.2","word_timestamps":{"words":["Hi"],"start":[],"end":[0.1]}}"#,
    ] {
        assert_eq!(codec.decode(Message::Text(text)), TtsEvent::Garbage, "{text}");
    }
    assert_eq!(codec.decode(Message::Binary(&[0, 1])), TtsEvent::Garbage);
    assert_eq!(decoded(&mut codec, json!({"type": "brand_new", "contextId": "MZ1-7.2"})), TtsEvent::Ignored);
    // No words, no audio, and still the end.
    assert_eq!(decoded(&mut codec, done()), TtsEvent::Done { context: CONTEXT });
}
