use serde_json::{Value, json};

use super::super::support::{CONTEXT, at, place, said};
use super::*;
use crate::call::event::Delivery;
use crate::ids::TurnId;
use crate::secret::Secret;

const OTHER: ContextId = ContextId { turn: TurnId(8), serial: 1 };

fn settings() -> Settings {
    Settings {
        url: "wss://tts.example".to_owned(),
        api_key: Secret::new("k"),
        model: "eleven_flash_v2_5".to_owned(),
        voice: "V".to_owned(),
        language: None,
        format: SourceFormat { encoding: Encoding::Mulaw, rate: 8_000 },
        stability: None,
        similarity_boost: None,
        speed: None,
        buffering: Buffering::Gateway,
    }
}

fn codec(settings: Settings) -> Elevenlabs {
    Elevenlabs::new(settings, &StreamSid::parse("MZ1").unwrap())
}

/// One that was never told anything.
fn fresh() -> Elevenlabs {
    codec(settings())
}

fn told(codec: &mut Elevenlabs, command: &TtsCommand) -> Vec<Value> {
    said(codec, command).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn speak(codec: &mut Elevenlabs, text: &str) -> Vec<Value> {
    told(codec, &TtsCommand::Speak { on: place(Delivery::default()), text: text.to_owned() })
}

fn speaking(text: &str) -> Elevenlabs {
    let mut codec = codec(settings());
    speak(&mut codec, text);
    codec
}

fn decoded(codec: &mut Elevenlabs, message: Value) -> TtsEvent {
    codec.decode(Message::Text(&message.to_string()))
}

/// The alignment of a text whose characters take 50 ms each.
fn alignment(text: &str) -> Value {
    let chars: Vec<String> = text.chars().map(String::from).collect();
    let starts: Vec<usize> = (0..chars.len()).map(|n| n * 50).collect();
    json!({"charDurationsMs": vec![50; chars.len()], "chars": chars, "charStartTimesMs": starts})
}

/// A message with the audio of `ms` milliseconds.
fn chunk(ms: usize, alignment: Value) -> Value {
    json!({"audio": STANDARD.encode(vec![0xFF; ms * 8]), "contextId": "MZ1-7.2", "alignment": alignment})
}

fn words_of(event: TtsEvent) -> Vec<(String, u64, u64)> {
    let (TtsEvent::Words { words, .. } | TtsEvent::TimedAudio { words, .. }) = event else { panic!("{event:?}") };
    words.into_iter().map(|word| (word.text, word.start_us / 1_000, word.end_us / 1_000)).collect()
}

fn word(text: &str, start: u64, end: u64) -> (String, u64, u64) {
    (text.to_owned(), start, end)
}

#[test]
fn the_url_says_what_is_the_same_for_the_socket() {
    let shake = codec(settings()).dial();
    assert_eq!(
        shake.url,
        "wss://tts.example/v1/text-to-speech/V/multi-stream-input?model_id=eleven_flash_v2_5&output_format=ulaw_8000&\
         inactivity_timeout=180&auto_mode=true&sync_alignment=true"
    );
    assert_eq!(shake.headers, [("xi-api-key", Secret::new("k"))]);
    let other = Settings {
        url: "wss://proxy.example/x/?key=hunter2".to_owned(),
        voice: "a/b?".to_owned(),
        language: Some("fr".to_owned()),
        format: SourceFormat { encoding: Encoding::PcmS16Le, rate: 16_000 },
        buffering: Buffering::Vendor { max_delay: Duration::from_millis(300) },
        ..settings()
    };
    assert_eq!(
        codec(other.clone()).dial().url,
        "wss://proxy.example/x/v1/text-to-speech/a%2Fb%3F/multi-stream-input?key=hunter2&model_id=eleven_flash_v2_5&\
         output_format=pcm_16000&inactivity_timeout=180&auto_mode=false&sync_alignment=true&language_code=fr"
    );
    let written = format!("{other:?} {}", serde_json::to_string(&other.without_query()).unwrap());
    assert!(!written.contains("hunter2") && !written.contains("\"k\""), "{written}");
}

#[test]
fn the_vendor_waits_longer_for_text_than_the_core_does() {
    assert!(INACTIVITY > crate::call::settings::Limits::default().open_turn * 2);
}

#[test]
fn a_context_is_opened_once_and_only_then_with_settings() {
    let mut codec = codec(Settings { stability: Some(0.5), speed: Some(1.0), ..settings() });
    assert_eq!(
        speak(&mut codec, "Hello there."),
        [
            json!({"text": " ", "context_id": "MZ1-7.2", "voice_settings": {"stability": 0.5, "speed": 1.0}}),
            json!({"text": "Hello there. ", "context_id": "MZ1-7.2"}),
        ]
    );
    assert_eq!(speak(&mut codec, "More.\n"), [json!({"text": "More.\n", "context_id": "MZ1-7.2"})]);
    let on = at(OTHER, Delivery { speed: Some(9.0), voice: Some("W".to_owned()), ..Delivery::default() });
    let opened = told(&mut codec, &TtsCommand::Speak { on, text: "Hi. ".to_owned() });
    // A speed out of range would cost the socket. Another voice would take another one.
    let settings = json!({"stability": 0.5, "speed": 1.2});
    assert_eq!(opened[0], json!({"text": " ", "context_id": "MZ1-8.1", "voice_settings": settings}));
    
}

#[test]
fn tokens_go_as_they_come() {
    let buffering = Buffering::Vendor { max_delay: Duration::from_millis(300) };
    let mut codec = codec(Settings { buffering, ..settings() });
    let opened = speak(&mut codec, "appoint");
    assert!(opened[0].get("voice_settings").is_none() && opened[1]["text"] == "appoint", "{opened:?}");
    assert_eq!(speak(&mut codec, "ment ")[0]["text"], "ment ");
    let flush = told(&mut codec, &TtsCommand::Flush { on: place(Delivery::default()) });
    assert_eq!(flush, [json!({"context_id": "MZ1-7.2", "flush": true})]);
}

#[test]
fn a_context_is_closed_once_and_never_opened_by_its_end() {
    let on = place(Delivery::default());
    let (finish, cancel) = (TtsCommand::Finish { on: on.clone() }, TtsCommand::Cancel { voice: 0, context: CONTEXT });
    let mut codec = codec(settings());
    for command in [&finish, &cancel, &TtsCommand::Flush { on }] {
        assert!(told(&mut codec, command).is_empty(), "{command:?} of what the server never saw");
    }
    speak(&mut codec, "Hi. ");
    let close = json!({"context_id": "MZ1-7.2", "close_context": true});
    assert_eq!(told(&mut codec, &finish), [json!({"context_id": "MZ1-7.2", "flush": true}), close.clone()]);
    assert!(told(&mut codec, &cancel).is_empty());
    codec.dial();
    speak(&mut codec, "Hi. ");
    assert_eq!(told(&mut codec, &cancel), [close]);
    // What was flushed before may still be spoken, which is the core's to count and to drop.
    assert!(matches!(decoded(&mut codec, chunk(20, json!(null))), TtsEvent::Audio { context: CONTEXT, .. }));
    let done = json!({"isFinal": true, "contextId": "MZ1-7.2"});
    assert_eq!(decoded(&mut codec, done.clone()), TtsEvent::Done { context: CONTEXT });
    assert_eq!(decoded(&mut codec, done), TtsEvent::Ignored);
}

#[test]
fn characters_become_words_across_messages_whose_times_begin_anew() {
    let mut codec = speaking("Hello there you. ");
    // "there" is in two messages.
    let first = words_of(decoded(&mut codec, chunk(450, alignment("Hello the"))));
    assert_eq!(first, [word("Hello", 0, 250)]);
    let second = words_of(decoded(&mut codec, chunk(400, alignment("re you. "))));
    assert_eq!(second, [word("there", 300, 550), word("you.", 600, 800)]);
    // Audio without times moves what follows all the same.
    speak(&mut codec, "Now. ");
    assert!(matches!(decoded(&mut codec, chunk(150, json!(null))), TtsEvent::Audio { .. }));
    let last = words_of(decoded(&mut codec, chunk(200, alignment("Now. "))));
    assert_eq!(last, [word("Now.", 1_000, 1_200)]);
}

#[test]
fn the_rest_of_a_character_belongs_to_its_word() {
    let mut codec = speaking("Hello there. ");
    let event = decoded(&mut codec, chunk(100, alignment("He")));
    assert!(matches!(event, TtsEvent::Audio { .. }), "{event:?}");
    let rest = json!({"chars": ["", "l", "l", "o", " "], "charStartTimesMs": [0, 20, 40, 60, 80], "charDurationsMs": [20, 20, 20, 20, 20]});
    assert_eq!(words_of(decoded(&mut codec, chunk(100, rest))), [word("Hello", 0, 180)]);
}

#[test]
fn the_last_word_needs_no_space_behind_it() {
    let mut codec = speaking("Sure thing");
    let words = words_of(decoded(&mut codec, chunk(500, alignment("Sure thing"))));
    assert_eq!(words, [word("Sure", 0, 200), word("thing", 250, 500)]);
    // A clause ends at a mark even if the vendor left the space out.
    let mut codec = speaking("Well, hello. ");
    assert_eq!(words_of(decoded(&mut codec, chunk(250, alignment("Well,")))), [word("Well,", 0, 250)]);
    assert_eq!(words_of(decoded(&mut codec, chunk(300, alignment("hello.")))), [word("hello.", 250, 550)]);
}

#[test]
fn times_without_audio_are_taken_and_uneven_ones_are_not() {
    let mut codec = speaking("Hi. ");
    let times = json!({"contextId": "MZ1-7.2", "audio": null, "normalizedAlignment": alignment("Hi. ")});
    assert_eq!(words_of(decoded(&mut codec, times)), [word("Hi.", 0, 150)]);
    let mut codec = speaking("Hi. ");
    let uneven = json!({"chars": ["H", "i"], "charStartTimesMs": [0], "charDurationsMs": [50, 50]});
    assert!(matches!(decoded(&mut codec, chunk(20, uneven)), TtsEvent::Audio { .. }), "the audio is good");
    let snake = json!({"context_id": "MZ1-7.2", "is_final": true});
    assert_eq!(decoded(&mut codec, snake), TtsEvent::Done { context: CONTEXT });
}

#[test]
fn what_bears_no_name_of_ours_reaches_nobody() {
    let mut codec = speaking("Hi. ");
    for id in [json!(null), json!("MZ2-7.2"), json!("MZ1-7.3"), json!("7.2"), json!("")] {
        for message in [
            json!({"audio": "AAE=", "contextId": id, "alignment": alignment("Hi. ")}),
            json!({"isFinal": true, "contextId": id}),
        ] {
            assert_eq!(decoded(&mut codec, message.clone()), TtsEvent::Ignored, "{message}");
        }
    }
    let error = json!({"error": "x", "code": 1008, "contextId": "MZ2-7.2"});
    assert_eq!(decoded(&mut codec, error), TtsEvent::Ignored);
}

#[test]
fn nonsense_is_garbage() {
    let mut codec = speaking("Hi. ");
    for text in ["", "[1]", "7", r#"{"audio":"?","contextId":"MZ1-7.2"}"#, r#"{"audio":7,"contextId":"MZ1-7.2"}"#] {
        assert_eq!(codec.decode(Message::Text(text)), TtsEvent::Garbage, "{text}");
    }
    assert_eq!(codec.decode(Message::Binary(&[0, 1])), TtsEvent::Garbage);
    for harmless in [json!({}), json!({"brand": "new"}), json!({"contextId": "MZ1-7.2", "audio": ""})] {
        assert_eq!(decoded(&mut codec, harmless), TtsEvent::Ignored);
    }
    let odd = json!({"chars": ["H", " "], "charStartTimesMs": [-1e300, 1e300], "charDurationsMs": [1e300, -5]});
    assert!(!words_of(decoded(&mut codec, chunk(20, odd))).is_empty());
}

#[test]
fn errors_are_judged_by_their_words_and_never_quoted() {
    for (word, message, kind) in [
        ("max_active_conversations", "", FaultKind::Busy),
        ("too_many_concurrent_requests", "", FaultKind::Busy),
        ("", "Maximum simultaneous contexts exceeded (limit 5)", FaultKind::Busy),
        ("input_timeout_exceeded", "no new text", FaultKind::Retryable),
        ("invalid_api_key", "", FaultKind::Fatal),
        ("", "Voice settings can only be provided in the first message", FaultKind::Fatal),
    ] {
        let mut codec = speaking("Hi. ");
        let error = json!({"error": word, "message": message, "code": 1008});
        // The socket goes with it: what its close frame says is less.
        let TtsEvent::Down { voice: 0, fault } = decoded(&mut codec, error) else { panic!("{word}") };
        assert_eq!(fault.kind, kind, "{word} {message}");
        assert!(message.is_empty() || !fault.reason.contains(message), "{}", fault.reason);
    }
    // A link that has spoken has a good key and a good voice.
    let mut codec = speaking("Hi. ");
    decoded(&mut codec, chunk(20, json!(null)));
    let lost = decoded(&mut codec, json!({"error": "invalid_request", "message": "x", "code": 1008}));
    assert!(matches!(lost, TtsEvent::Down { fault: Fault { kind: FaultKind::Retryable, .. }, .. }), "{lost:?}");
    // Before anything was said nobody knows which voice this is; the close frame will tell.
    let early = decoded(&mut fresh(), json!({"error": "voice_id_does_not_exist", "code": 1008}));
    assert!(matches!(early, TtsEvent::Failed { context: None, .. }), "{early:?}");
    let mut codec = speaking("Hi. ");
    let named = json!({"error": "x", "code": 1011, "contextId": "MZ1-7.2"});
    let TtsEvent::Failed { context, fault } = decoded(&mut codec, named) else { panic!("no failure") };
    assert_eq!((context, fault.kind), (Some(CONTEXT), FaultKind::Retryable));
}
