//! Voices whose audio is binary, and has no name.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::audio::SourceFormat;
use crate::call::action::{Place, TtsCommand};
use crate::call::event::Delivery;
use crate::dialect::Peers;
use crate::dialect::speech::{deepgram, deepgram_flux};
use crate::ids::{CallTime, ContextId};
use crate::secret::Secret;
use crate::tape::Tape;

const CALL: &str = include_str!("../../fixtures/calls/plain-greeting/tape.jsonl");
const VOICE: Port = Port::Voice { voice: 0, link: 1 };
const CONTEXT: ContextId = ContextId { turn: TurnId(1), serial: 1 };

/// A call that is recorded, and its tape.
struct Rig {
    redactor: Redactor,
    live: Peers,
    tape: Peers,
}

impl Rig {
    /// A voice that was told to speak, and to be silent if `cancelled`.
    fn new(voice: Voice, text: Text, audio: Audio, cancelled: bool) -> Self {
        let mut header = Header { text, audio, ..Tape::read(CALL.as_bytes()).unwrap().header };
        header.voices[0] = voice;
        let (mut live, mut tape) = (header.peers(), header.peers());
        let format = SourceFormat { encoding: Encoding::Mulaw, rate: 8_000 };
        let on = Place { voice: 0, context: CONTEXT, format, delivery: Arc::new(Delivery::default()) };
        for peers in [&mut live, &mut tape] {
            peers.dial_voice(0);
            let mut tell = |command| peers.voice_messages(CallTime::ZERO, &command, &mut |_| {});
            tell(TtsCommand::Speak { on: on.clone(), text: "One.".to_owned() });
            if cancelled {
                tell(TtsCommand::Cancel { voice: 0, context: CONTEXT });
            }
        }
        Rig { redactor: Redactor::new(&header, [7; 32]), live, tape }
    }

    /// What goes onto the tape. It means to the replay what the message meant to the call.
    fn cover(&mut self, body: Body) -> Body {
        let input = Input { port: VOICE, body };
        let event = self.live.decode(&input);
        let What::Input(covered) = self.redactor.cover(What::Input(input), &event) else { panic!("no input") };
        let again = self.tape.decode(&covered);
        match (&event, &again) {
            (
                Event::Tts(TtsEvent::Audio { context, audio }),
                Event::Tts(TtsEvent::Audio { context: same, audio: alike }),
            ) => assert_eq!((context, audio.len()), (same, alike.len())),
            _ => assert_eq!(event, again),
        }
        covered.body
    }

    fn json(&mut self, message: &Value) -> Value {
        let Body::Text(text) = self.cover(Body::Text(message.to_string())) else { panic!("no text") };
        serde_json::from_str(&text).unwrap()
    }
}

fn stream() -> StreamSid {
    StreamSid::parse("MZ1").unwrap()
}

fn aura() -> Voice {
    let settings = deepgram::Settings {
        url: "wss://api.deepgram.com/v1/speak".to_owned(),
        api_key: Secret::default(),
        model: "aura-2-thalia-en".to_owned(),
        encoding: Encoding::Mulaw,
        rate: 8_000,
    };
    Voice::Deepgram { stream: stream(), settings: Box::new(settings) }
}

fn flux() -> Voice {
    let settings = deepgram_flux::Settings {
        url: "wss://api.deepgram.com/v2/speak".to_owned(),
        api_key: Secret::default(),
        model: "flux-haley-en".to_owned(),
        encoding: Encoding::Mulaw,
        rate: 8_000,
        speed: None,
    };
    Voice::DeepgramFlux { stream: stream(), settings: Box::new(settings) }
}

#[test]
fn audio_without_a_name_is_silence_whether_it_was_wanted_or_not() {
    let voice = Body::Binary(Bytes::from_static(b"a voice"));
    let silence = Body::Binary(Bytes::from_static(&[0xFF; 7]));
    for (voices, cancelled) in [(aura(), false), (aura(), true), (flux(), false), (flux(), true)] {
        let started = Body::Text(r#"{"type":"SpeechStarted","speech_id":"dg_sp_0123456789ab"}"#.to_owned());
        let mut silent = Rig::new(voices.clone(), Text::Keep, Audio::Silence, cancelled);
        silent.cover(started.clone());
        assert_eq!(silent.cover(voice.clone()), silence);
        let mut kept = Rig::new(voices, Text::Redact, Audio::Keep, cancelled);
        kept.cover(started);
        assert_eq!(kept.cover(voice.clone()), voice);
    }
}

#[test]
fn words_and_names_are_covered_and_the_rest_stands() {
    let mut rig = Rig::new(flux(), Text::Redact, Audio::Keep, true);
    let id = "dg_sp_0123456789ab";
    let started = rig.json(&json!({"type": "SpeechStarted", "speech_id": id}));
    assert_ne!(started["speech_id"], id);
    let message = json!({"type": "SpeechInterrupted", "audio_played_ms": 0, "text_spoken": "Our little secret",
        "text_remaining": "is out", "metadata": {"speech_id": id, "audio_duration_ms": 700, "input_character_count": 24}});
    let mut covered = rig.json(&message);
    for place in ["/text_spoken", "/text_remaining", "/metadata/speech_id"] {
        assert_ne!(covered.pointer(place), message.pointer(place), "{place}");
        *covered.pointer_mut(place).unwrap() = message.pointer(place).unwrap().clone();
    }
    assert_eq!(covered, message);
    let mut rig = Rig::new(aura(), Text::Redact, Audio::Keep, true);
    let flushed = json!({"type": "Flushed", "sequence_id": 3});
    assert_eq!(rig.json(&flushed), flushed);
    let warning = json!({"type": "Warning", "code": "FLUSH_LIMIT", "description": "our little secret"});
    let covered = rig.json(&warning);
    assert_eq!((&covered["type"], &covered["code"]), (&warning["type"], &warning["code"]));
    assert_ne!(covered["description"], warning["description"]);
    let cleared = json!({"type": "Cleared", "sequence_id": 4});
    assert_eq!(rig.json(&cleared), cleared);
}

#[test]
fn why_a_link_was_closed_means_the_same_without_the_words() {
    let mut rig = Rig::new(aura(), Text::Redact, Audio::Keep, false);
    for (code, reason) in [(1008, "DATA-0000"), (1008, "bad secret"), (1008, "limit of secret"), (1011, "NET-0000")] {
        let covered = rig.cover(Body::Closed { code: Some(code), reason: reason.to_owned() });
        let Body::Closed { reason: told, .. } = covered else { panic!("{covered:?}") };
        assert!(!told.contains("secret") && !told.contains("0000"), "{told}");
    }
}
