//! Every message that vendors document, and nonsense.

mod of_deepgram;
mod of_flux;
mod of_gradium;
mod of_ink;

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::call::action::HearingCommand;
use crate::call::event::{HearingEvent, TurnSign};
use crate::dialect::{Handshake, Message, Outgoing, SttLink};
use crate::secret::Secret;

const FRAME: Duration = Duration::from_millis(20);

fn access() -> Access {
    Access { url: "wss://stt.example/listen".to_owned(), api_key: Secret::new("hunter2") }
}

fn ink() -> ink::Settings {
    ink::Settings {
        access: access(),
        endpoint: ink::Endpoint::Turns,
        version: "2026-03-01".to_owned(),
        model: "ink-2".to_owned(),
        language: None,
        keyterms: Vec::new(),
        start_threshold: None,
        eager_end_threshold: None,
        end_threshold: None,
        end_timeout: None,
        piece: FRAME,
    }
}

fn deepgram() -> deepgram::Settings {
    deepgram::Settings {
        access: access(),
        model: "nova-3".to_owned(),
        language: None,
        keyterms: Vec::new(),
        endpointing: Duration::from_millis(300),
        utterance_end: Duration::from_millis(1_000),
        smart_format: true,
        piece: FRAME,
    }
}

fn flux() -> flux::Settings {
    flux::Settings {
        access: access(),
        model: "flux-general-en".to_owned(),
        language: None,
        keyterms: Vec::new(),
        end_threshold: None,
        eager_end_threshold: None,
        end_timeout: None,
        piece: 4 * FRAME,
    }
}

fn gradium() -> gradium::Settings {
    gradium::Settings {
        access: access(),
        model: "default".to_owned(),
        language: None,
        delay_frames: None,
        quiet_threshold: 0.5,
        quiet_steps: 3,
        piece: 4 * FRAME,
    }
}

fn everybody() -> [Settings; 5] {
    let manual = ink::Settings { endpoint: ink::Endpoint::Manual, ..ink() };
    [
        Settings::Cartesia(Box::new(ink())),
        Settings::Cartesia(Box::new(manual)),
        Settings::Deepgram(Box::new(deepgram())),
        Settings::DeepgramFlux(Box::new(flux())),
        Settings::Gradium(Box::new(gradium())),
    ]
}

/// A link and what goes over it.
struct Rig {
    handshake: Handshake,
    link: Box<dyn SttLink>,
}

impl Rig {
    fn new(settings: Settings, language: Option<&str>) -> Self {
        let (handshake, link) = settings.dialect(MediaFormat::TELEPHONE).unwrap().dial(language);
        Rig { handshake, link }
    }

    fn say(&mut self, command: &HearingCommand) -> Vec<Outgoing> {
        let mut sent = Vec::new();
        self.link.encode(command, &mut |message| sent.push(message));
        sent
    }

    fn audio(&mut self, bytes: usize) -> Vec<Outgoing> {
        self.say(&HearingCommand::Audio { link: 1, audio: Bytes::from(vec![7; bytes]) })
    }

    fn finalise(&mut self) -> Vec<Outgoing> {
        self.say(&HearingCommand::Finalise { link: 1 })
    }

    fn hear(&mut self, text: &str) -> HearingEvent {
        self.link.decode(Message::Text(text))
    }
}

fn text(text: &str) -> Outgoing {
    Outgoing::Text(text.to_owned())
}

fn audio(bytes: usize) -> Outgoing {
    Outgoing::Binary(Bytes::from(vec![7; bytes]))
}

fn words(text: &str, is_final: bool, turn: Option<TurnSign>) -> HearingEvent {
    HearingEvent::Heard(Words { text: text.to_owned(), is_final, turn, ..Words::default() })
}

fn kind(event: &HearingEvent) -> (&'static str, FaultKind) {
    match event {
        HearingEvent::Down(fault) => ("down", fault.kind),
        HearingEvent::Failed(fault) => ("failed", fault.kind),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_what_a_telephone_speaks_is_taken() {
    for settings in everybody() {
        for (encoding, rate) in [(Encoding::Mulaw, 16_000), (Encoding::Alaw, 8_000), (Encoding::PcmS16Le, 8_000)] {
            let error = settings.dialect(MediaFormat { encoding, rate, frame_ms: 20 }).err();
            assert_eq!(error, Some(FormatError { encoding, rate }));
        }
    }
    let error = FormatError { encoding: Encoding::Alaw, rate: 8_000 };
    assert_eq!(error.to_string(), "the caller's audio is Alaw at 8000 Hz, but hearing takes mu-law at 8000 Hz");
}

#[test]
fn the_key_is_in_a_header_and_nowhere_else() {
    for settings in everybody() {
        let rig = Rig::new(settings.clone(), None);
        assert!(!rig.handshake.url.contains("hunter2"), "{}", rig.handshake.url);
        assert!(rig.handshake.headers.iter().any(|(_, value)| value.expose().contains("hunter2")));
        assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
        let tape = serde_json::to_string(&settings).unwrap();
        assert!(!tape.contains("hunter2"), "{tape}");
        // What a tape has is enough for a replay.
        let again: Settings = serde_json::from_str(&tape).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), tape);
    }
}

#[test]
fn a_query_of_the_operators_stays_before_ours_and_off_tapes() {
    let mut settings = deepgram();
    settings.access.url = "wss://proxy.example/x?tenant=a#b".to_owned();
    settings.keyterms = vec!["Grüße & Co".to_owned()];
    let settings = Settings::Deepgram(Box::new(settings));
    let url = Rig::new(settings.clone(), None).handshake.url;
    assert!(url.starts_with("wss://proxy.example/x?tenant=a&model=nova-3&"), "{url}");
    assert!(url.ends_with("&keyterm=Gr%C3%BC%C3%9Fe+%26+Co"), "{url}");
    let Settings::Deepgram(covered) = settings.without_query() else { panic!("another vendor") };
    assert_eq!(covered.access.url, "wss://proxy.example/x");
}

#[test]
fn nonsense_is_garbage_for_everybody() {
    for settings in everybody() {
        let mut rig = Rig::new(settings, None);
        for nonsense in ["", "{", "null", "[]", "{}", r#"{"type":7}"#, r#"{"typ":"done"}"#, "\"flushed\"", "\u{0}"] {
            assert_eq!(rig.hear(nonsense), HearingEvent::Garbage, "{nonsense}");
        }
        assert_eq!(rig.link.decode(Message::Binary(&[0, 159, 146, 150])), HearingEvent::Garbage);
        assert_eq!(rig.hear(r#"{"type":"SomethingNew","of":{"any":["kind"]}}"#), HearingEvent::Ignored);
    }
}

#[test]
fn a_link_that_is_dropped_says_nothing() {
    for settings in everybody() {
        let mut rig = Rig::new(settings, None);
        rig.audio(40);
        assert_eq!(rig.say(&HearingCommand::HangUp { link: 1 }), []);
    }
}

#[test]
fn a_word_of_the_vendors_is_kept_and_a_sentence_is_not() {
    let reason = |code| fault(FaultKind::Retryable, code).reason;
    assert_eq!(reason(Some("NET-0001")), "NET-0001");
    assert_eq!(reason(Some("you said hello")), "error without a code");
    assert_eq!(reason(None), "error without a code");
}

proptest! {
    #[test]
    fn no_message_is_too_odd(
        kind in "(turn\\.(start|update|end)|transcript|Results|TurnInfo|step|flushed|text|error|Error)",
        field in "(transcript|text|event|vad|channel|code|flush_id|status_code|is_final)",
        value in "(1|-1|1e400|null|true|\"x\"|\\[\\]|\\{\\}|\\[\\{\\}\\]|\\[\\{\"horizon_s\":1,\"inactivity_prob\":1\\}\\])",
    ) {
        for settings in everybody() {
            let mut rig = Rig::new(settings, None);
            let message = format!(r#"{{"type":"{kind}","{field}":{value}}}"#);
            // Whatever it is taken for, it is taken for something.
            let _ = rig.hear(&message);
            rig.finalise();
            let _ = rig.hear(&message);
        }
    }
}
