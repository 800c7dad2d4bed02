use super::*;
use crate::secret::Secret;

fn turns() -> Rig {
    Rig::new(Settings::Cartesia(Box::new(super::ink())), None)
}

fn manual(language: Option<&str>) -> Rig {
    let settings = ink::Settings {
        endpoint: ink::Endpoint::Manual,
        language: Some("de".to_owned()),
        // They do not exist there, and are left out.
        end_threshold: Some(0.2),
        ..super::ink()
    };
    Rig::new(Settings::Cartesia(Box::new(settings)), language)
}

#[test]
fn the_handshake_says_what_is_spoken() {
    let rig = turns();
    assert_eq!(rig.handshake.url, "wss://stt.example/listen?model=ink-2&encoding=pcm_mulaw&sample_rate=8000");
    let headers =
        vec![("authorization", Secret::new("Bearer hunter2")), ("cartesia-version", Secret::new("2026-03-01"))];
    assert_eq!(rig.handshake.headers, headers);
    let settings = ink::Settings {
        keyterms: vec!["Trunkline".to_owned(), "barge-in".to_owned()],
        start_threshold: Some(0.7),
        eager_end_threshold: Some(0.5),
        end_threshold: Some(0.25),
        end_timeout: Some(Duration::from_millis(640)),
        ..super::ink()
    };
    // It understands English and nothing else: there is no parameter.
    let rig = Rig::new(Settings::Cartesia(Box::new(settings)), Some("fr"));
    let query = "model=ink-2&encoding=pcm_mulaw&sample_rate=8000&turn_start_threshold=0.7&turn_eager_end_threshold=0.5&\
        turn_end_threshold=0.25&turn_end_timeout_ms=640&keyterm=Trunkline&keyterm=barge-in";
    assert_eq!(rig.handshake.url, format!("wss://stt.example/listen?{query}"));
    let url = |language| manual(language).handshake.url;
    let common = "wss://stt.example/listen?model=ink-2&encoding=pcm_mulaw&sample_rate=8000&language=";
    assert_eq!((url(None), url(Some("fr-CA"))), (format!("{common}de"), format!("{common}fr")));
}

#[test]
fn turns_have_no_finalise_and_end_in_json() {
    let mut rig = turns();
    assert_eq!(rig.say(&HearingCommand::Dial { link: 1, language: None }), []);
    assert_eq!(rig.audio(160), [audio(160)]);
    assert_eq!(rig.audio(350), [audio(160), audio(160)]);
    assert_eq!(rig.finalise(), [audio(30)]);
    assert_eq!(rig.finalise(), []);
    assert_eq!(rig.say(&HearingCommand::KeepAlive { link: 1 }), [Outgoing::Binary(vec![0xFF; 160].into())]);
    assert_eq!(rig.audio(10), []);
    assert_eq!(rig.say(&HearingCommand::Close { link: 1 }), [audio(10), text(r#"{"type":"close"}"#)]);
}

#[test]
fn the_other_socket_takes_bare_words() {
    let mut rig = manual(None);
    assert_eq!(rig.audio(170), [audio(160)]);
    assert_eq!(rig.finalise(), [audio(10), text("finalize")]);
    assert_eq!(rig.say(&HearingCommand::Close { link: 1 }), [text("close")]);
}

#[test]
fn a_turn_grows_until_its_end() {
    let mut rig = turns();
    for (message, event) in [
        (r#"{"type":"connected","request_id":"r1"}"#, HearingEvent::Ignored),
        (r#"{"type":"turn.start","request_id":"r1"}"#, words("", false, Some(TurnSign::Started))),
        (r#"{"type":"turn.update","request_id":"r1","transcript":"I would like"}"#, words("I would like", false, None)),
        (
            r#"{"type":"turn.eager_end","request_id":"r1","transcript":"I would like Tuesday"}"#,
            words("I would like Tuesday", false, Some(TurnSign::Probable)),
        ),
        (r#"{"type":"turn.resume","request_id":"r1"}"#, words("I would like Tuesday", false, Some(TurnSign::Resumed))),
        (
            r#"{"type":"turn.end","request_id":"r1","transcript":"I would like Tuesday please."}"#,
            words("I would like Tuesday please.", true, Some(TurnSign::Ended)),
        ),
        // Nothing is left of the turn before.
        (r#"{"type":"turn.resume","request_id":"r1"}"#, words("", false, Some(TurnSign::Resumed))),
    ] {
        assert_eq!(rig.hear(message), event, "{message}");
    }
    assert_eq!(rig.hear(r#"{"type":"turn.end","request_id":"r1"}"#), HearingEvent::Garbage);
}

#[test]
fn deltas_stay_verbatim() {
    let mut rig = manual(None);
    let message = r#"{"type":"transcript","request_id":"r1","text":"I would like ","is_final":true,"duration":1.2,
        "language":"en","words":[{"word":"I","start":0.1,"end":0.2}]}"#;
    let language = Some("en".to_owned());
    let delta = Words { text: "I would like ".to_owned(), is_final: true, language, ..Words::default() };
    assert_eq!(rig.hear(message), HearingEvent::Heard(delta));
    let interim = r#"{"type":"transcript","request_id":"r1","text":" Tues","is_final":false}"#;
    assert_eq!(rig.hear(interim), words(" Tues", false, None));
    assert_eq!(rig.hear(r#"{"type":"flush_done","request_id":"r1"}"#), HearingEvent::Finalised);
    assert_eq!(rig.hear(r#"{"type":"done","request_id":"r1"}"#), HearingEvent::Ignored);
}

#[test]
fn errors_say_whether_another_session_is_of_use() {
    let mut rig = turns();
    let mut hear = |rest: &str| rig.hear(&format!(r#"{{"type":"error","request_id":"r1"{rest}}}"#));
    let bad = r#","status_code":400,"title":"Bad request","message":"our little secret","error_code":null"#;
    assert_eq!(kind(&hear(bad)), ("down", FaultKind::Fatal));
    assert!(!format!("{:?}", hear(bad)).contains("secret"));
    let busy = r#","status_code":429,"error_code":"concurrency_limited""#;
    assert_eq!(kind(&hear(busy)), ("down", FaultKind::Busy));
    assert!(format!("{:?}", hear(busy)).contains("concurrency_limited"));
    assert_eq!(kind(&hear(r#","status_code":500"#)), ("down", FaultKind::Retryable));
    assert_eq!(kind(&hear("")), ("down", FaultKind::Retryable));
}
