use super::*;
use crate::secret::Secret;

fn rig() -> Rig {
    Rig::new(Settings::DeepgramFlux(Box::new(super::flux())), None)
}

fn turn(event: &str, transcript: &str) -> String {
    format!(
        r#"{{"type":"TurnInfo","request_id":"r","sequence_id":4,"event":"{event}","turn_index":0,"audio_window_start":0.0,
        "audio_window_end":0.64,"transcript":"{transcript}","words":[{{"word":"I","confidence":0.99}}],
        "end_of_turn_confidence":0.04}}"#
    )
}

#[test]
fn the_handshake_says_what_is_spoken() {
    let rig = rig();
    let query = "encoding=mulaw&sample_rate=8000";
    assert_eq!(rig.handshake.url, format!("wss://stt.example/listen?model=flux-general-en&{query}"));
    assert_eq!(rig.handshake.headers, [("authorization", Secret::new("Token hunter2"))]);
    let settings = |model: &str| flux::Settings {
        model: model.to_owned(),
        language: Some("de".to_owned()),
        keyterms: vec!["a b".to_owned()],
        end_threshold: Some(0.7),
        eager_end_threshold: Some(0.4),
        end_timeout: Some(Duration::from_secs(5)),
        ..super::flux()
    };
    let url = |model, language| Rig::new(Settings::DeepgramFlux(Box::new(settings(model))), language).handshake.url;
    let all = "encoding=mulaw&sample_rate=8000&eot_threshold=0.7&eager_eot_threshold=0.4&eot_timeout_ms=5000";
    // A model of one language takes no hint.
    let english = format!("wss://stt.example/listen?model=flux-general-en&{all}&keyterm=a+b");
    assert_eq!(url("flux-general-en", Some("fr")), english);
    let french = format!("wss://stt.example/listen?model=flux-general-multi&{all}&language_hint=fr&keyterm=a+b");
    assert_eq!(url("flux-general-multi", Some("fr-CA")), french);
    assert!(url("flux-general-multi", None).contains("&language_hint=de&"));
}

#[test]
fn what_is_sent() {
    let mut rig = rig();
    assert_eq!(rig.say(&HearingCommand::Dial { link: 1, language: None }), []);
    assert_eq!([rig.audio(160), rig.audio(160), rig.audio(160)], [[], [], []]);
    assert_eq!(rig.audio(170), [audio(640)]);
    assert_eq!(rig.finalise(), [audio(10), text(r#"{"type":"ForceEndTurn"}"#)]);
    assert_eq!(rig.say(&HearingCommand::KeepAlive { link: 1 }), [Outgoing::Binary(vec![0xFF; 640].into())]);
    assert_eq!(rig.say(&HearingCommand::Close { link: 1 }), [text(r#"{"type":"CloseStream"}"#)]);
}

#[test]
fn a_turn_grows_until_its_end() {
    let mut rig = rig();
    assert_eq!(rig.hear(r#"{"type":"Connected","request_id":"r","sequence_id":0}"#), HearingEvent::Ignored);
    // What comes in silence is nothing.
    assert_eq!(rig.hear(&turn("Update", "")), HearingEvent::Ignored);
    for (event, transcript, sign) in [
        ("StartOfTurn", "I would", Some(TurnSign::Started)),
        ("Update", "I would like", None),
        ("EagerEndOfTurn", "I would like", Some(TurnSign::Probable)),
        ("TurnResumed", "I would like", Some(TurnSign::Resumed)),
        ("Update", "", None),
    ] {
        assert_eq!(rig.hear(&turn(event, transcript)), words(transcript, false, sign), "{event}");
    }
    assert_eq!(rig.hear(&turn("EndOfTurn", "I would.")), words("I would.", true, Some(TurnSign::Ended)));
    assert_eq!(rig.hear(&turn("Update", "")), HearingEvent::Ignored);
    assert_eq!(rig.hear(&turn("SomethingNew", "x")), HearingEvent::Ignored);
    assert_eq!(rig.hear(r#"{"type":"TurnInfo","event":"Update"}"#), HearingEvent::Garbage);
}

#[test]
fn an_end_that_was_asked_for_says_so_once() {
    let mut rig = rig();
    rig.finalise();
    assert_eq!(rig.hear(&turn("Update", "yes")), words("yes", false, None));
    let ended = |finalised| {
        let turn = Some(TurnSign::Ended);
        HearingEvent::Heard(Words { text: "yes".to_owned(), is_final: true, turn, finalised, language: None })
    };
    assert_eq!(rig.hear(&turn("EndOfTurn", "yes")), ended(true));
    assert_eq!(rig.hear(&turn("EndOfTurn", "yes")), ended(false));
}

#[test]
fn the_language_is_told_where_there_are_several() {
    let message = r#"{"type":"TurnInfo","event":"Update","transcript":"hola","languages":["es"]}"#;
    let heard = Words { text: "hola".to_owned(), language: Some("es".to_owned()), ..Words::default() };
    assert_eq!(rig().hear(message), HearingEvent::Heard(heard));
}

#[test]
fn an_error_is_the_end_and_a_warning_is_nothing() {
    let mut rig = rig();
    let error = rig.hear(r#"{"type":"Error","sequence_id":9,"code":"INTERNAL","description":"our little secret"}"#);
    assert_eq!(kind(&error), ("down", FaultKind::Retryable));
    assert!(format!("{error:?}").contains("INTERNAL") && !format!("{error:?}").contains("secret"));
    for message in [r#"{"type":"Warning","code":"X","description":"y"}"#, r#"{"type":"ConfigureFailure"}"#] {
        assert_eq!(rig.hear(message), HearingEvent::Ignored);
    }
}
