use super::*;
use crate::secret::Secret;

fn rig() -> Rig {
    Rig::new(Settings::Deepgram(Box::new(super::deepgram())), None)
}

fn results(transcript: &str, flags: &str) -> String {
    format!(
        r#"{{"type":"Results","channel_index":[0,1],"start":0.0,"duration":1.34,{flags}"channel":{{"alternatives":[
        {{"transcript":"{transcript}","confidence":0.98,"words":[{{"word":"tuesday","start":1.0,"end":1.3,"confidence":0.99,
        "punctuated_word":"Tuesday"}}]}}]}},"metadata":{{"request_id":"r","model_info":{{"name":"nova-3","version":"x",
        "arch":"nova-3"}},"model_uuid":"u"}}}}"#
    )
}

const FINAL: &str = r#""is_final":true,"#;
const SPEECH_FINAL: &str = r#""is_final":true,"speech_final":true,"from_finalize":false,"#;
const FROM_FINALIZE: &str = r#""is_final":true,"speech_final":false,"from_finalize":true,"#;
const UTTERANCE_END: &str = r#"{"type":"UtteranceEnd","channel":[0,1],"last_word_end":1.34}"#;

fn ended(text: &str) -> HearingEvent {
    words(text, true, Some(TurnSign::Ended))
}

#[test]
fn the_handshake_says_what_is_spoken() {
    let rig = rig();
    let query = "model=nova-3&encoding=mulaw&sample_rate=8000&channels=1&interim_results=true&endpointing=300&\
        utterance_end_ms=1000&vad_events=true&smart_format=true";
    assert_eq!(rig.handshake.url, format!("wss://stt.example/listen?{query}"));
    assert_eq!(rig.handshake.headers, [("authorization", Secret::new("Token hunter2"))]);
    let settings = deepgram::Settings {
        language: Some("multi".to_owned()),
        keyterms: vec!["a b".to_owned(), "c".to_owned()],
        ..super::deepgram()
    };
    let url = |language| Rig::new(Settings::Deepgram(Box::new(settings.clone())), language).handshake.url;
    assert_eq!(url(None), format!("wss://stt.example/listen?{query}&language=multi&keyterm=a+b&keyterm=c"));
    assert!(url(Some("en-GB")).contains("&language=en-GB&"));
}

#[test]
fn what_is_sent() {
    let mut rig = rig();
    assert_eq!(rig.say(&HearingCommand::Dial { link: 1, language: None }), []);
    assert_eq!(rig.audio(170), [audio(160)]);
    assert_eq!(rig.finalise(), [audio(10), text(r#"{"type":"Finalize"}"#)]);
    assert_eq!(rig.say(&HearingCommand::KeepAlive { link: 1 }), [text(r#"{"type":"KeepAlive"}"#)]);
    assert_eq!(rig.say(&HearingCommand::Close { link: 1 }), [text(r#"{"type":"CloseStream"}"#)]);
}

#[test]
fn stretches_stand_one_after_the_other() {
    let mut rig = rig();
    let started = r#"{"type":"SpeechStarted","channel":[0,1],"timestamp":0.4}"#;
    assert_eq!(rig.hear(started), words("", false, Some(TurnSign::Started)));
    assert_eq!(rig.hear(&results("i would", "")), words("i would", false, None));
    // What is known stays known when a sign comes between.
    assert_eq!(rig.hear(started), words("i would", false, Some(TurnSign::Started)));
    assert_eq!(rig.hear(&results("i would like", FINAL)), words("i would like", true, None));
    assert_eq!(rig.hear(&results("tuesday", SPEECH_FINAL)), ended("tuesday"));
    // The end was told.
    assert_eq!(rig.hear(UTTERANCE_END), HearingEvent::Ignored);
    assert_eq!(rig.hear(&results("", SPEECH_FINAL)), HearingEvent::Ignored);
    assert_eq!(rig.hear(&results("", FINAL)), HearingEvent::Ignored);
    assert_eq!(rig.hear(&results("", "")), HearingEvent::Ignored);
    let metadata = r#"{"type":"Metadata","request_id":"r","duration":1.3,"channels":1}"#;
    assert_eq!(rig.hear(metadata), HearingEvent::Ignored);
}

#[test]
fn silence_ends_what_no_stretch_did() {
    let mut rig = rig();
    assert_eq!(rig.hear(UTTERANCE_END), HearingEvent::Ignored);
    rig.hear(&results("yes", FINAL));
    assert_eq!(rig.hear(UTTERANCE_END), ended(""));
    assert_eq!(rig.hear(UTTERANCE_END), HearingEvent::Ignored);
    // The end of speech may come with a stretch that is empty.
    rig.hear(&results("yes", FINAL));
    assert_eq!(rig.hear(&results("", SPEECH_FINAL)), ended(""));
    // Words that do not stand are not lost.
    rig.hear(&results("no", ""));
    assert_eq!(rig.hear(UTTERANCE_END), words("no", false, Some(TurnSign::Quiet)));
    rig.hear(&results("no", FINAL));
    assert_eq!(rig.hear(UTTERANCE_END), ended(""));
    // Words that are taken back are taken back.
    rig.hear(&results("um", ""));
    assert_eq!(rig.hear(&results("", FINAL)), words("", true, None));
}

#[test]
fn what_was_asked_for_says_so() {
    let mut rig = rig();
    let finalised = |text: &str| {
        HearingEvent::Heard(Words { text: text.to_owned(), is_final: true, finalised: true, ..Words::default() })
    };
    assert_eq!(rig.hear(&results("tuesday", FROM_FINALIZE)), finalised("tuesday"));
    assert_eq!(rig.hear(&results("", FROM_FINALIZE)), finalised(""));
}

#[test]
fn the_language_is_told_where_there_are_several() {
    let message = r#"{"type":"Results","is_final":true,"channel":{"alternatives":[{"transcript":"hola","languages":["es","en"]}]}}"#;
    let language = Some("es".to_owned());
    let heard = Words { text: "hola".to_owned(), is_final: true, language, ..Words::default() };
    assert_eq!(rig().hear(message), HearingEvent::Heard(heard));
    assert_eq!(rig().hear(r#"{"type":"Results","channel":{"alternatives":[]}}"#), HearingEvent::Ignored);
    assert_eq!(rig().hear(r#"{"type":"Results","is_final":true}"#), HearingEvent::Garbage);
    assert_eq!(rig().hear(r#"{"type":"Results","channel":[0,1]}"#), HearingEvent::Garbage);
}

#[test]
fn an_error_leaves_the_end_to_the_close_frame() {
    let error = r#"{"type":"Error","variant":"NET-0001","description":"our little secret","message":"x"}"#;
    let event = rig().hear(error);
    assert_eq!(kind(&event), ("failed", FaultKind::Retryable));
    assert!(format!("{event:?}").contains("NET-0001") && !format!("{event:?}").contains("secret"));
}
