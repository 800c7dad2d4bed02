use super::*;
use crate::call::event::Delivery;
use crate::dialect::speech::support::{CONTEXT, at, said};
use crate::ids::TurnId;
use crate::secret::Secret;

const NEXT: ContextId = ContextId { turn: TurnId(8), serial: 1 };
const FLUSH: &str = r#"{"type":"Flush"}"#;

fn settings() -> Settings {
    Settings {
        url: "wss://api.deepgram.com/v2/speak".to_owned(),
        api_key: Secret::new("hunter2"),
        model: "flux-haley-en".to_owned(),
        encoding: Encoding::PcmS16Le,
        rate: 8_000,
        speed: None,
    }
}

/// A link that was just made.
fn link() -> DeepgramFlux {
    let mut link = DeepgramFlux::new(settings());
    link.dial();
    link
}

fn speak(context: ContextId, text: &str) -> TtsCommand {
    TtsCommand::Speak { on: at(context, Delivery::default()), text: text.to_owned() }
}

fn flush(context: ContextId) -> TtsCommand {
    TtsCommand::Flush { on: at(context, Delivery::default()) }
}

fn finish(context: ContextId) -> TtsCommand {
    TtsCommand::Finish { on: at(context, Delivery::default()) }
}

fn cancel(context: ContextId) -> TtsCommand {
    TtsCommand::Cancel { voice: 0, context }
}

fn text(link: &mut DeepgramFlux, text: &str) -> TtsEvent {
    link.decode(Message::Text(text))
}

fn started(link: &mut DeepgramFlux, id: &str) {
    let message = format!(r#"{{"type":"SpeechStarted","speech_id":"{id}"}}"#);
    assert_eq!(text(link, &message), TtsEvent::Ignored);
}

fn ended(link: &mut DeepgramFlux, id: &str) -> TtsEvent {
    let message = r#"{"type":"SpeechMetadata","speech_id":"ID","audio_duration_ms":20,"input_character_count":4,"billable_character_count":4,"controls_applied":{}}"#;
    text(link, &message.replace("ID", id))
}

fn interrupted(link: &mut DeepgramFlux, id: &str, played_ms: u64) -> TtsEvent {
    let message = format!(
        r#"{{"type":"SpeechInterrupted","audio_played_ms":{played_ms},"text_spoken":"One","text_remaining":".","metadata":{{"speech_id":"{id}","audio_duration_ms":20}}}}"#
    );
    text(link, &message)
}

fn warned(link: &mut DeepgramFlux, code: &str) -> TtsEvent {
    text(link, &format!(r#"{{"type":"Warning","code":"{code}","description":"d"}}"#))
}

/// Twenty milliseconds.
fn sound(link: &mut DeepgramFlux) -> TtsEvent {
    link.decode(Message::Binary(&[7; 320]))
}

fn audio(context: ContextId) -> TtsEvent {
    TtsEvent::Audio { context, audio: Bytes::from_static(&[7; 320]) }
}

/// A context that sounds, and is not over.
fn sounding() -> DeepgramFlux {
    let mut link = link();
    said(&mut link, &speak(CONTEXT, "One. "));
    started(&mut link, "s1");
    sound(&mut link);
    link
}

#[test]
fn the_settings_stand_in_the_url_and_the_key_in_a_header() {
    let handshake = DeepgramFlux::new(settings()).dial();
    assert_eq!(
        handshake.url,
        "wss://api.deepgram.com/v2/speak?model=flux-haley-en&encoding=linear16&sample_rate=8000"
    );
    assert_eq!(handshake.headers, [("authorization", Secret::new("Token hunter2"))]);
    let proxied = Settings { url: "wss://proxy.example/speak?key=hunter2".to_owned(), ..settings() };
    assert!(!format!("{proxied:?}").contains("hunter2"));
    assert!(!serde_json::to_string(&proxied.without_query()).unwrap().contains("hunter2"));
}

#[test]
fn each_text_is_a_speech_that_ends_with_its_metadata_and_not_with_flushed() {
    let mut link = link();
    assert_eq!(said(&mut link, &speak(CONTEXT, "One. ")), [r#"{"type":"Speak","text":"One. "}"#, FLUSH]);
    assert_eq!(said(&mut link, &flush(CONTEXT)), Vec::<String>::new());
    assert_eq!(said(&mut link, &speak(CONTEXT, "Two.")), [r#"{"type":"Speak","text":"Two."}"#, FLUSH]);
    assert_eq!(said(&mut link, &finish(CONTEXT)), Vec::<String>::new());
    started(&mut link, "s1");
    assert_eq!(sound(&mut link), audio(CONTEXT));
    assert_eq!(text(&mut link, r#"{"type":"Flushed","speech_id":"s1"}"#), TtsEvent::Ignored);
    assert_eq!(sound(&mut link), audio(CONTEXT));
    // The end of somebody else's speech is not the end of ours.
    assert_eq!(ended(&mut link, "s9"), TtsEvent::Ignored);
    assert_eq!(ended(&mut link, "s1"), TtsEvent::Spoken { context: CONTEXT, texts: 1 });
    assert_eq!(ended(&mut link, "s1"), TtsEvent::Ignored);
    // Between two speeches there is no audio.
    assert_eq!(sound(&mut link), TtsEvent::Garbage);
    started(&mut link, "s2");
    assert_eq!(sound(&mut link), audio(CONTEXT));
    assert_eq!(ended(&mut link, "s2"), TtsEvent::Done { context: CONTEXT });
    // What comes behind the end is late, and counted as such.
    assert_eq!(sound(&mut link), audio(CONTEXT));
    assert_eq!(ended(&mut link, "s2"), TtsEvent::Ignored);
}

#[test]
fn an_end_that_everything_was_said_before_is_told_by_a_warning() {
    let mut link = sounding();
    assert_eq!(warned(&mut link, "NO_ACTIVE_SPEECH"), TtsEvent::Ignored);
    assert_eq!(ended(&mut link, "s1"), TtsEvent::Spoken { context: CONTEXT, texts: 1 });
    assert_eq!(said(&mut link, &finish(CONTEXT)), [FLUSH]);
    assert_eq!(warned(&mut link, "NO_ACTIVE_SPEECH"), TtsEvent::Done { context: CONTEXT });
}

#[test]
fn a_speech_without_a_sound_ends_as_well() {
    let mut link = link();
    said(&mut link, &speak(CONTEXT, "One."));
    said(&mut link, &finish(CONTEXT));
    assert_eq!(ended(&mut link, "s9"), TtsEvent::Ignored, "of a speech that never began");
    assert_eq!(warned(&mut link, "NO_SYNTHESIZABLE_TEXT"), TtsEvent::Ignored);
    assert_eq!(ended(&mut link, "s1"), TtsEvent::Done { context: CONTEXT });
}

#[test]
fn what_comes_until_an_interrupt_is_answered_is_the_cancelled_contexts() {
    let mut link = sounding();
    assert_eq!(
        said(&mut link, &cancel(CONTEXT)),
        [r#"{"type":"Interrupt","playback_offset":{"type":"time_ms","value":20}}"#]
    );
    assert_eq!(said(&mut link, &cancel(CONTEXT)), Vec::<String>::new());
    assert_eq!(sound(&mut link), audio(CONTEXT));
    assert_eq!(said(&mut link, &speak(NEXT, "Two.")), Vec::<String>::new());
    assert_eq!(interrupted(&mut link, "s1", 20), TtsEvent::Done { context: CONTEXT });
    said(&mut link, &speak(NEXT, "Two."));
    said(&mut link, &finish(NEXT));
    assert_eq!(sound(&mut link), TtsEvent::Garbage);
    // The interrupted speech is told of once more, late.
    assert_eq!(ended(&mut link, "s1"), TtsEvent::Ignored);
    started(&mut link, "s2");
    assert_eq!(sound(&mut link), audio(NEXT));
    assert_eq!(ended(&mut link, "s2"), TtsEvent::Done { context: NEXT });
}

#[test]
fn the_place_of_an_interrupt_only_grows() {
    let offset = |link: &mut DeepgramFlux, context| said(link, &cancel(context)).remove(0);
    let value = |ms: u64| format!(r#"{{"type":"Interrupt","playback_offset":{{"type":"time_ms","value":{ms}}}}}"#);
    let mut link = link();
    let mut context = CONTEXT;
    let mut begin = |link: &mut DeepgramFlux, frames: u32| {
        context.serial += 1;
        said(link, &speak(context, "One. "));
        started(link, "s");
        for _ in 0..frames {
            sound(link);
        }
        context
    };
    let first = begin(&mut link, 3);
    assert_eq!(offset(&mut link, first), value(60));
    // Audio behind the interrupt was not heard, and the vendor counts on from what it was told.
    sound(&mut link);
    interrupted(&mut link, "s", 60);
    let second = begin(&mut link, 0);
    assert_eq!(offset(&mut link, second), r#"{"type":"Interrupt"}"#, "nothing came since");
    interrupted(&mut link, "s", 90);
    let third = begin(&mut link, 2);
    assert_eq!(offset(&mut link, third), value(130));
    // The vendor counts from a place before, and what we would say is nothing new to it.
    interrupted(&mut link, "s", 100);
    let fourth = begin(&mut link, 1);
    assert_eq!(offset(&mut link, fourth), r#"{"type":"Interrupt"}"#);
    interrupted(&mut link, "s", 120);
    let fifth = begin(&mut link, 2);
    assert_eq!(offset(&mut link, fifth), value(160));
    // A new link is a new session.
    link.dial();
    let sixth = begin(&mut link, 1);
    assert_eq!(offset(&mut link, sixth), value(20));
}

#[test]
fn an_interrupt_that_crosses_the_end_is_answered_with_a_warning() {
    let mut link = sounding();
    said(&mut link, &finish(CONTEXT));
    said(&mut link, &cancel(CONTEXT));
    assert_eq!(ended(&mut link, "s1"), TtsEvent::Ignored);
    // Only now is it sure that the next answer to an interrupt is the next one's.
    assert_eq!(warned(&mut link, "NO_ACTIVE_SPEECH"), TtsEvent::Done { context: CONTEXT });
}

#[test]
fn an_interrupt_that_is_not_obeyed_ends_with_its_speech_or_not_at_all() {
    for code in ["NO_AUDIO_GENERATED", "INVALID_INTERRUPT_OFFSET"] {
        let mut link = link();
        said(&mut link, &speak(CONTEXT, "One."));
        said(&mut link, &finish(CONTEXT));
        assert_eq!(said(&mut link, &cancel(CONTEXT)), [r#"{"type":"Interrupt"}"#]);
        assert_eq!(warned(&mut link, code), TtsEvent::Ignored);
        started(&mut link, "s1");
        assert_eq!(sound(&mut link), audio(CONTEXT));
        assert_eq!(ended(&mut link, "s1"), TtsEvent::Done { context: CONTEXT }, "{code}");
    }
}

#[test]
fn a_speech_that_waited_behind_the_interrupted_one_and_begins_ends_the_link() {
    let begin = r#"{"type":"SpeechStarted","speech_id":"s2"}"#;
    let mut link = sounding();
    said(&mut link, &speak(CONTEXT, "Two. "));
    said(&mut link, &cancel(CONTEXT));
    assert_eq!(warned(&mut link, "INTERRUPT_IN_PROGRESS"), TtsEvent::Ignored);
    assert_eq!(interrupted(&mut link, "s1", 20), TtsEvent::Done { context: CONTEXT });
    let reason = "a speech that was interrupted begins".to_owned();
    let down = TtsEvent::Down { voice: 0, fault: Fault { kind: FaultKind::Retryable, reason } };
    assert_eq!(text(&mut link, begin), down);
    // The same where everything that was asked for has been spoken.
    let mut link = sounding();
    ended(&mut link, "s1");
    assert_eq!(text(&mut link, begin), down);
}

#[test]
fn the_speed_is_told_when_it_changes() {
    let speed = |value: f32| Delivery { speed: Some(value), ..Delivery::default() };
    let configured = |link: &mut DeepgramFlux, context, delivery| {
        let command = TtsCommand::Speak { on: at(context, delivery), text: "One. ".to_owned() };
        let said = said(link, &command);
        (said.len() == 3).then(|| said[0].clone())
    };
    let mut link = DeepgramFlux::new(Settings { speed: Some(1.1), ..settings() });
    link.dial();
    let told = Some(r#"{"type":"Configure","speed":1.1}"#.to_owned());
    assert_eq!(configured(&mut link, CONTEXT, Delivery::default()), told);
    assert_eq!(configured(&mut link, CONTEXT, Delivery::default()), None);
    assert_eq!(configured(&mut link, NEXT, speed(0.93)), Some(r#"{"type":"Configure","speed":0.95}"#.to_owned()));
    assert_eq!(configured(&mut link, CONTEXT, speed(7.0)), Some(r#"{"type":"Configure","speed":1.5}"#.to_owned()));
    link.dial();
    assert_eq!(configured(&mut link, CONTEXT, Delivery::default()), told);
    let mut plain = self::link();
    assert_eq!(configured(&mut plain, CONTEXT, Delivery::default()), None);
}

#[test]
fn what_is_said_of_the_session_is_passed_over() {
    let mut link = sounding();
    for routine in [
        r#"{"type":"Connected","request_id":"r","model_name":"m","model_version":"v","model_uuids":["u"]}"#,
        r#"{"type":"ConfigureSuccess","applied":{"speed":1.1}}"#,
        r#"{"type":"ConfigureFailure","code":"SPEED_NOT_SUPPORTED","description":"d"}"#,
        r#"{"type":"SessionMetadata","total_audio_duration_ms":1}"#,
        r#"{"type":"Warning","code":"SYNTHESIS_RETRYING","description":"d"}"#,
        r#"{"type":"Warning"}"#,
        r#"{"type":"BrandNew"}"#,
    ] {
        assert_eq!(text(&mut link, routine), TtsEvent::Ignored, "{routine}");
    }
    assert_eq!(interrupted(&mut link, "s1", 20), TtsEvent::Ignored, "nobody asked for it");
    assert_eq!(sound(&mut link), audio(CONTEXT));
}

#[test]
fn an_error_ends_the_link() {
    let mut link = sounding();
    let down = |reason: &str| {
        TtsEvent::Down { voice: 0, fault: Fault { kind: FaultKind::Retryable, reason: reason.to_owned() } }
    };
    for code in ["MESSAGE-0000", "DATA-0002", "BIG-0000", "NET-0001"] {
        let message = format!(r#"{{"type":"Error","code":"{code}","description":"d"}}"#);
        assert_eq!(text(&mut link, &message), down(code));
    }
    assert_eq!(text(&mut link, r#"{"type":"Error"}"#), down("error without a code"));
    let quoted = r#"{"type":"Error","code":"could not say: my secret"}"#;
    assert_eq!(text(&mut link, quoted), down("error without a code"));
}

#[test]
fn nonsense_is_garbage() {
    let mut link = link();
    assert_eq!(sound(&mut link), TtsEvent::Garbage);
    let missing = r#"{"type":"SpeechStarted"}"#;
    for nonsense in ["", "{", "[]", "{}", missing, r#"{"type":"SpeechMetadata","speech_id":7}"#] {
        assert_eq!(text(&mut link, nonsense), TtsEvent::Garbage, "{nonsense}");
    }
}

#[test]
fn nothing_is_said_of_a_context_that_has_no_text() {
    let mut link = link();
    for command in [flush(CONTEXT), finish(CONTEXT), cancel(CONTEXT)] {
        assert_eq!(said(&mut link, &command), Vec::<String>::new(), "{command:?}");
    }
}
