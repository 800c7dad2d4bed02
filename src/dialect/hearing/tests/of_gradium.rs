use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::secret::Secret;

fn rig() -> Rig {
    Rig::new(Settings::Gradium(Box::new(super::gradium())), None)
}

fn json_of(message: &Outgoing) -> Value {
    let Outgoing::Text(text) = message else { panic!("{message:?}") };
    serde_json::from_str(text).unwrap()
}

fn step(probability: f64) -> String {
    // The longest stretch stands in the middle: order means nothing.
    format!(
        r#"{{"type":"step","step_idx":12,"step_duration_s":0.08,"total_duration_s":1.04,"vad":[
        {{"horizon_s":0.5,"inactivity_prob":0.05}},{{"horizon_s":3.0,"inactivity_prob":{probability}}},
        {{"horizon_s":2.0,"inactivity_prob":0.99}}]}}"#
    )
}

fn word(text: &str) -> String {
    format!(r#"{{"type":"text","text":"{text}","start_s":0.56,"stream_id":0}}"#)
}

const QUIET: Option<TurnSign> = Some(TurnSign::Quiet);
const RESUMED: Option<TurnSign> = Some(TurnSign::Resumed);

#[test]
fn a_session_begins_with_its_settings() {
    let mut rig = rig();
    assert_eq!(rig.handshake.url, "wss://stt.example/listen");
    assert_eq!(rig.handshake.headers, [("x-api-key", Secret::new("hunter2"))]);
    let dial = HearingCommand::Dial { link: 1, language: None };
    let setup = json!({"type": "setup", "model_name": "default", "input_format": "ulaw_8000"});
    assert_eq!(rig.say(&dial).iter().map(json_of).collect::<Vec<_>>(), [setup]);
    let settings = gradium::Settings { language: Some("en".into()), delay_frames: Some(16), ..super::gradium() };
    let setup = |language| {
        let mut rig = Rig::new(Settings::Gradium(Box::new(settings.clone())), language);
        json_of(&rig.say(&dial)[0])["json_config"].clone()
    };
    assert_eq!(setup(None), json!({"language": "en", "delay_in_frames": 16}));
    assert_eq!(setup(Some("fr-CA")), json!({"language": "fr", "delay_in_frames": 16}));
}

#[test]
fn audio_is_base64_in_pieces_of_eighty_milliseconds() {
    let mut rig = rig();
    let sound = |bytes: usize| json!({"type": "audio", "audio": STANDARD.encode(vec![7; bytes])});
    assert_eq!(rig.audio(600), []);
    assert_eq!(rig.audio(50).iter().map(json_of).collect::<Vec<_>>(), [sound(640)]);
    let sent: Vec<Value> = rig.finalise().iter().map(json_of).collect();
    assert_eq!(sent, [sound(10), json!({"type": "flush", "flush_id": 1})]);
    assert_eq!(json_of(&rig.finalise()[0]), json!({"type": "flush", "flush_id": 2}));
    let silence = json!({"type": "audio", "audio": STANDARD.encode(vec![0xFF; 640])});
    let kept: Vec<Value> = rig.say(&HearingCommand::KeepAlive { link: 1 }).iter().map(json_of).collect();
    assert_eq!(kept, [silence]);
    rig.audio(20);
    let closed: Vec<Value> = rig.say(&HearingCommand::Close { link: 1 }).iter().map(json_of).collect();
    assert_eq!(closed, [sound(20), json!({"type": "end_of_stream"})]);
}

#[test]
fn every_word_stands() {
    let mut rig = rig();
    let ready = r#"{"type":"ready","request_id":"r-1","model_name":"default","sample_rate":24000,"frame_size":1920,
        "delay_in_frames":16,"text_stream_names":["text"]}"#;
    assert_eq!(rig.hear(ready), HearingEvent::Ignored);
    assert_eq!(rig.hear(&word("hello")), words("hello", true, None));
    assert_eq!(rig.hear(r#"{"type":"end_text","stop_s":0.88,"stream_id":0}"#), HearingEvent::Ignored);
}

#[test]
fn silence_after_words_is_quiet_and_going_on_is_going_on() {
    let mut rig = rig();
    // Before the first word there is nothing to end.
    for _ in 0..9 {
        assert_eq!(rig.hear(&step(0.9)), HearingEvent::Ignored);
    }
    rig.hear(&step(0.1));
    rig.hear(&word("hello"));
    assert_eq!([rig.hear(&step(0.9)), rig.hear(&step(0.51))], [HearingEvent::Ignored, HearingEvent::Ignored]);
    // A single step of doubt begins the count again.
    assert_eq!(rig.hear(&step(0.5)), HearingEvent::Ignored);
    assert_eq!([rig.hear(&step(0.9)), rig.hear(&step(0.9))], [HearingEvent::Ignored, HearingEvent::Ignored]);
    assert_eq!(rig.hear(&step(0.9)), words("", false, QUIET));
    assert_eq!(rig.hear(&step(0.9)), HearingEvent::Ignored);
    assert_eq!(rig.hear(&step(0.2)), words("", false, RESUMED));
    assert_eq!(rig.hear(&step(0.2)), HearingEvent::Ignored);
    assert_eq!(rig.hear(r#"{"type":"step","vad":[]}"#), HearingEvent::Ignored);
}

#[test]
fn words_that_trail_a_flush_come_before_its_end() {
    let mut rig = rig();
    rig.hear(&word("hello"));
    (0..3).for_each(|_| drop(rig.hear(&step(0.9))));
    rig.finalise();
    assert_eq!(rig.hear(&step(0.9)), HearingEvent::Ignored);
    // That of an earlier flush is not that of the last.
    assert_eq!(rig.hear(r#"{"type":"flushed","flush_id":0}"#), HearingEvent::Ignored);
    assert_eq!(rig.hear(&step(0.9)), HearingEvent::Ignored);
    assert_eq!(rig.hear(r#"{"type":"flushed","flush_id":"1"}"#), HearingEvent::Ignored);
    assert_eq!(rig.hear(&step(0.9)), HearingEvent::Ignored);
    assert_eq!(rig.hear(&word("there")), words("there", true, None));
    assert_eq!(rig.hear(&step(0.9)), HearingEvent::Finalised);
    // The utterance is over: more silence ends nothing.
    for _ in 0..9 {
        assert_eq!(rig.hear(&step(0.9)), HearingEvent::Ignored);
    }
    assert_eq!(rig.hear(&step(0.1)), HearingEvent::Ignored);
}

#[test]
fn without_steps_nothing_is_waited_for() {
    let mut rig = rig();
    rig.finalise();
    assert_eq!(rig.hear(r#"{"type":"flushed"}"#), HearingEvent::Finalised);
    assert_eq!(rig.hear(r#"{"type":"flushed"}"#), HearingEvent::Ignored);
    rig.finalise();
    assert_eq!(rig.hear(r#"{"type":"end_of_stream"}"#), HearingEvent::Finalised);
    assert_eq!(rig.hear(r#"{"type":"end_of_stream"}"#), HearingEvent::Ignored);
}

#[test]
fn an_error_is_the_end_of_the_session() {
    let mut rig = rig();
    let mut hear = |code: &str| rig.hear(&format!(r#"{{"type":"error","message":"our little secret"{code}}}"#));
    assert_eq!(kind(&hear(r#","code":1008"#)), ("down", FaultKind::Fatal));
    assert_eq!(kind(&hear(r#","code":1011"#)), ("down", FaultKind::Retryable));
    let silent = hear("");
    assert_eq!(kind(&silent), ("down", FaultKind::Retryable));
    assert!(!format!("{silent:?}").contains("secret"));
}
