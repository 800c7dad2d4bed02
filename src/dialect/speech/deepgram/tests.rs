use std::time::Duration;

use super::*;
use crate::call::event::Delivery;
use crate::dialect::speech::support::{CONTEXT, at, said, said_at};
use crate::ids::TurnId;
use crate::secret::Secret;

const NEXT: ContextId = ContextId { turn: TurnId(8), serial: 1 };
const FLUSH: &str = r#"{"type":"Flush"}"#;
const CLEAR: &str = r#"{"type":"Clear"}"#;

fn settings() -> Settings {
    Settings {
        url: "wss://api.deepgram.com/v1/speak".to_owned(),
        api_key: Secret::new("hunter2"),
        model: "aura-2-thalia-en".to_owned(),
        encoding: Encoding::Mulaw,
        rate: 8_000,
    }
}

/// A link that was just made.
fn link() -> Deepgram {
    let mut link = Deepgram::new(settings());
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

fn text(link: &mut Deepgram, text: &str) -> TtsEvent {
    link.decode(Message::Text(text))
}

fn flushed(link: &mut Deepgram) -> TtsEvent {
    text(link, r#"{"type":"Flushed","sequence_id":0}"#)
}

fn sound(link: &mut Deepgram) -> TtsEvent {
    link.decode(Message::Binary(&[1, 2, 3]))
}

fn audio(context: ContextId) -> TtsEvent {
    TtsEvent::Audio { context, audio: Bytes::from_static(&[1, 2, 3]) }
}

#[test]
fn the_settings_stand_in_the_url_and_the_key_in_a_header() {
    let handshake = Deepgram::new(settings()).dial();
    assert_eq!(
        handshake.url,
        "wss://api.deepgram.com/v1/speak?model=aura-2-thalia-en&encoding=mulaw&sample_rate=8000"
    );
    assert_eq!(handshake.headers, [("authorization", Secret::new("Token hunter2"))]);
    let wide = Settings { encoding: Encoding::PcmS16Le, rate: 24_000, ..settings() };
    assert!(Deepgram::new(wide).dial().url.ends_with("&encoding=linear16&sample_rate=24000"));
}

#[test]
fn a_key_in_the_url_is_dialled_and_never_written() {
    let proxied = Settings { url: "wss://proxy.example/speak?key=hunter2".to_owned(), ..settings() };
    assert!(Deepgram::new(proxied.clone()).dial().url.starts_with("wss://proxy.example/speak?key=hunter2&model="));
    assert!(!format!("{proxied:?}").contains("hunter2"));
    assert!(!serde_json::to_string(&proxied.without_query()).unwrap().contains("hunter2"));
}

#[test]
fn each_text_is_flushed_and_the_last_answer_is_the_end() {
    let mut link = link();
    assert_eq!(said(&mut link, &speak(CONTEXT, "One. ")), [r#"{"type":"Speak","text":"One. "}"#, FLUSH]);
    assert_eq!(said(&mut link, &speak(CONTEXT, "Two.")), [r#"{"type":"Speak","text":"Two."}"#, FLUSH]);
    // The answer to the last flush will be the end.
    assert_eq!(said(&mut link, &finish(CONTEXT)), Vec::<String>::new());
    assert_eq!(sound(&mut link), audio(CONTEXT));
    assert_eq!(flushed(&mut link), TtsEvent::Spoken { context: CONTEXT, texts: 1 });
    assert_eq!(sound(&mut link), audio(CONTEXT));
    assert_eq!(flushed(&mut link), TtsEvent::Done { context: CONTEXT });
    // What comes behind the end is late, and counted as such.
    assert_eq!(sound(&mut link), audio(CONTEXT));
    assert_eq!(flushed(&mut link), TtsEvent::Ignored);
}

#[test]
fn an_end_that_everything_was_said_before_is_asked_for_by_itself() {
    let mut link = link();
    said(&mut link, &speak(CONTEXT, "One."));
    sound(&mut link);
    assert_eq!(flushed(&mut link), TtsEvent::Spoken { context: CONTEXT, texts: 1 });
    assert_eq!(said(&mut link, &flush(CONTEXT)), Vec::<String>::new());
    assert_eq!(said(&mut link, &finish(CONTEXT)), [FLUSH]);
    assert_eq!(flushed(&mut link), TtsEvent::Done { context: CONTEXT });
}

#[test]
fn nothing_is_said_of_a_context_that_has_no_text() {
    let mut link = link();
    for command in [flush(CONTEXT), finish(CONTEXT), cancel(CONTEXT)] {
        assert_eq!(said(&mut link, &command), Vec::<String>::new(), "{command:?}");
    }
    assert_eq!(sound(&mut link), TtsEvent::Garbage);
}

#[test]
fn what_comes_until_a_clear_is_answered_is_the_cancelled_contexts() {
    let mut link = link();
    said(&mut link, &speak(CONTEXT, "One. "));
    said(&mut link, &speak(CONTEXT, "Two. "));
    assert_eq!(said(&mut link, &cancel(CONTEXT)), [CLEAR]);
    assert_eq!(said(&mut link, &cancel(CONTEXT)), Vec::<String>::new());
    assert_eq!(sound(&mut link), audio(CONTEXT));
    // An answer that crosses the `Clear` is neither a place in the audio nor an end.
    assert_eq!(flushed(&mut link), TtsEvent::Ignored);
    assert_eq!(text(&mut link, r#"{"type":"Cleared","sequence_id":1}"#), TtsEvent::Done { context: CONTEXT });
    assert_eq!(text(&mut link, r#"{"type":"Cleared","sequence_id":2}"#), TtsEvent::Ignored);
    said(&mut link, &speak(NEXT, "Three."));
    said(&mut link, &finish(NEXT));
    // The other flush of the cancelled context, answered late: there was no audio yet that it could be about.
    assert_eq!(flushed(&mut link), TtsEvent::Ignored);
    assert_eq!(sound(&mut link), audio(NEXT));
    assert_eq!(flushed(&mut link), TtsEvent::Done { context: NEXT });
}

#[test]
fn answers_that_never_came_are_not_waited_for() {
    let mut link = link();
    said(&mut link, &speak(CONTEXT, "One. "));
    said(&mut link, &cancel(CONTEXT));
    text(&mut link, r#"{"type":"Cleared","sequence_id":0}"#);
    said(&mut link, &speak(NEXT, "Two."));
    said(&mut link, &finish(NEXT));
    sound(&mut link);
    assert_eq!(flushed(&mut link), TtsEvent::Done { context: NEXT });
}

#[test]
fn no_text_is_sent_while_a_clear_is_not_answered() {
    let mut link = link();
    said(&mut link, &speak(CONTEXT, "One. "));
    said(&mut link, &cancel(CONTEXT));
    assert_eq!(said(&mut link, &speak(NEXT, "Two.")), Vec::<String>::new());
    assert_eq!(sound(&mut link), audio(CONTEXT));
}

#[test]
fn a_context_that_the_core_thinks_over_gives_way_to_the_next() {
    let mut link = link();
    said(&mut link, &speak(CONTEXT, "One."));
    said(&mut link, &finish(CONTEXT));
    sound(&mut link);
    // The end never came, and the core went on.
    said(&mut link, &speak(NEXT, "Two."));
    said(&mut link, &finish(NEXT));
    assert_eq!(said(&mut link, &finish(CONTEXT)), Vec::<String>::new());
    assert_eq!(flushed(&mut link), TtsEvent::Ignored);
    assert_eq!(sound(&mut link), audio(NEXT));
    assert_eq!(flushed(&mut link), TtsEvent::Done { context: NEXT });
}

#[test]
fn no_more_flushes_are_sent_than_the_vendor_obeys() {
    let mut link = link();
    let mut sent = Vec::new();
    let mut counts = [0; 4];
    // For three minutes, a turn of two texts every two seconds, each with a request to speak up and an end.
    for turn in 0..90_u32 {
        let now = CallTime::from_millis(u64::from(turn) * 2_000);
        let context = ContextId { turn: TurnId(turn), serial: 1 };
        let commands = [speak(context, "One. "), speak(context, "Two. "), flush(context), finish(context)];
        for (command, count) in commands.iter().zip(&mut counts) {
            let said = said_at(now, &mut link, command).iter().filter(|said| *said == FLUSH).count();
            *count += said;
            sent.extend(std::iter::repeat_n(now, said));
        }
        sound(&mut link);
        for _ in 0..4 {
            flushed(&mut link);
        }
    }
    for (index, now) in sent.iter().enumerate() {
        let minute = sent[..=index].iter().filter(|sent| now.since(**sent) <= Duration::from_secs(60)).count();
        assert!(minute <= 20, "{minute} in the minute before {now}");
    }
    assert!(sent.len() >= 55, "only {} in three minutes", sent.len());
    // The later a flush can be done without, the fewer of them are left.
    assert!(counts[3] > counts[1] && counts[0] > counts[1], "{counts:?}");
}

#[test]
fn a_minute_later_there_are_flushes_again() {
    let mut link = link();
    let spoken = |link: &mut Deepgram, second: u64| {
        let now = CallTime::from_millis(second * 1_000);
        said_at(now, link, &speak(CONTEXT, "One. ")).len() == 2
    };
    let flushes = (0..10).filter(|second| spoken(&mut link, *second)).count();
    assert_eq!(flushes, 6, "what is not needed leaves room for what is");
    assert!(!spoken(&mut link, 59));
    assert!(spoken(&mut link, 62));
    // A new link begins to count anew.
    link.dial();
    assert_eq!((62..72).filter(|second| spoken(&mut link, *second)).count(), 6);
}

#[test]
fn a_new_link_knows_nothing_of_the_old_one() {
    let mut link = link();
    said(&mut link, &speak(CONTEXT, "One. "));
    said(&mut link, &cancel(CONTEXT));
    link.dial();
    assert_eq!(sound(&mut link), TtsEvent::Garbage);
    assert_eq!(text(&mut link, r#"{"type":"Cleared","sequence_id":0}"#), TtsEvent::Ignored);
    assert_eq!(said(&mut link, &speak(NEXT, "Two.")).len(), 2);
    assert_eq!(sound(&mut link), audio(NEXT));
}

#[test]
fn warnings_are_routine_unless_a_flush_was_not_obeyed() {
    let mut link = link();
    let warning = r#"{"type":"Warning","code":"FLUSH_LIMIT_EXCEEDED","description":"too many"}"#;
    assert_eq!(text(&mut link, warning), TtsEvent::Ignored);
    said(&mut link, &TtsCommand::Speak { on: at(CONTEXT, Delivery::default()), text: "One.".to_owned() });
    for routine in [
        r#"{"type":"Warning","code":"SLOW","description":"d"}"#,
        r#"{"type":"Warning","warn_msg":"an older server"}"#,
        r#"{"type":"Metadata","request_id":"r","model_name":"m","model_version":"v","model_uuid":"u"}"#,
        r#"{"type":"BrandNew","anything":[1]}"#,
    ] {
        assert_eq!(text(&mut link, routine), TtsEvent::Ignored, "{routine}");
    }
    let fault = Fault { kind: FaultKind::Busy, reason: "FLUSH_LIMIT_EXCEEDED".to_owned() };
    assert_eq!(text(&mut link, warning), TtsEvent::Down { voice: 0, fault });
}

#[test]
fn an_error_ends_the_link_because_nothing_that_follows_has_a_name() {
    let mut link = link();
    let mut kind = |code: &str| match text(&mut link, &format!(r#"{{"type":"Error"{code}}}"#)) {
        TtsEvent::Down { fault, .. } => (fault.kind, fault.reason),
        other => panic!("{other:?}"),
    };
    for code in ["DATA-0000", "NET-0001"] {
        let told = format!(r#","code":"{code}","description":"d""#);
        assert_eq!(kind(&told), (FaultKind::Retryable, code.to_owned()));
    }
    let quoted = (FaultKind::Retryable, "error without a code".to_owned());
    assert_eq!(kind(r#","code":"could not say: my secret""#), quoted);
    assert_eq!(kind(""), quoted);
}

#[test]
fn nonsense_is_garbage() {
    let mut link = link();
    for nonsense in ["", "{", "[]", "{}", r#"{"type":7}"#, r#"{"type":"Warning","code":7}"#] {
        assert_eq!(text(&mut link, nonsense), TtsEvent::Garbage, "{nonsense}");
    }
}
