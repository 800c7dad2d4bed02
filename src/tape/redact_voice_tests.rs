//! The same for each vendor that speaks: what its codec understood before, it understands after.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::*;
use crate::audio::SourceFormat;
use crate::call::action::{Place, TtsCommand};
use crate::call::event::Delivery;
use crate::dialect::Peers;
use crate::dialect::speech::{elevenlabs, gradium, rime};
use crate::ids::{CallTime, ContextId};
use crate::secret::Secret;
use crate::tape::Tape;

const CALL: &str = include_str!("../../fixtures/calls/plain-greeting/tape.jsonl");
const STREAM: &str = "MZ5ca1ab1e00000000000000000000000a";
const NAME: &str = "MZ5ca1ab1e00000000000000000000000a-1.1";
const VOICE: Port = Port::Voice { voice: 0, link: 1 };
const FORMAT: SourceFormat = SourceFormat { encoding: Encoding::Mulaw, rate: 8_000 };

/// A call in which a vendor was told to speak, as it is recorded and as it will be replayed.
struct Rig {
    redactor: Redactor,
    live: Peers,
    replayed: Peers,
}

fn vendors() -> [Voice; 3] {
    let stream = StreamSid::parse(STREAM).unwrap();
    let url = "wss://tts.example".to_owned();
    let (api_key, voice, model) = (Secret::default(), "v".to_owned(), "m".to_owned());
    [
        Voice::Gradium {
            stream: stream.clone(),
            settings: Box::new(gradium::Settings {
                url: url.clone(),
                api_key: api_key.clone(),
                model: model.clone(),
                voice: voice.clone(),
                json_config: Map::new(),
            }),
        },
        Voice::Elevenlabs {
            stream: stream.clone(),
            settings: Box::new(elevenlabs::Settings {
                url: url.clone(),
                api_key: api_key.clone(),
                model: model.clone(),
                voice: voice.clone(),
                language: None,
                format: FORMAT,
                stability: None,
                similarity_boost: None,
                speed: None,
                buffering: Buffering::Gateway,
            }),
        },
        Voice::Rime { stream, settings: Box::new(rime::Settings { url, api_key, model, voice, format: FORMAT }) },
    ]
}

impl Rig {
    fn new(voice: Voice, text: Text, audio: Audio) -> Self {
        let mut header = Header { text, audio, ..Tape::read(CALL.as_bytes()).unwrap().header };
        header.voices[0] = voice;
        let redactor = Redactor::new(&header, [7; 32]);
        let replayed = redactor.header(header.clone()).peers();
        let mut rig = Rig { redactor, live: header.peers(), replayed };
        let start = json!({"event": "start", "streamSid": STREAM, "start": {"streamSid": STREAM, "callSid": "CA1"}});
        rig.cover(Port::Carrier, Body::Text(start.to_string()));
        let context = ContextId { turn: TurnId(1), serial: 1 };
        let on = Place { voice: 0, context, format: FORMAT, delivery: Arc::<Delivery>::default() };
        let speak = TtsCommand::Speak { on, text: "Good morning. ".to_owned() };
        for peers in [&mut rig.live, &mut rig.replayed] {
            peers.voice_messages(CallTime::ZERO, &speak, &mut |_| {});
        }
        rig
    }

    /// What goes onto the tape, what the message meant, and what the tape will be taken to mean.
    fn cover(&mut self, port: Port, body: Body) -> (Body, Event, Event) {
        let input = Input { port, body };
        let event = self.live.decode(&input);
        let What::Input(covered) = self.redactor.cover(What::Input(input), &event) else { panic!("no input") };
        let again = self.replayed.decode(&covered);
        (covered.body, event, again)
    }

    fn told(&mut self, message: &Value) -> (String, TtsEvent, TtsEvent) {
        let (Body::Text(text), Event::Tts(one), Event::Tts(two)) = self.cover(VOICE, Body::Text(message.to_string()))
        else {
            panic!("{message}")
        };
        (text, one, two)
    }
}

/// Everything that a vendor says of a context, one word in two messages where it can be, and what holds secrets.
fn messages(vendor: usize) -> Vec<Value> {
    let audio = STANDARD.encode([0x11; 800]);
    let secret = "our little secret";
    let alignment = |text: &str| {
        let chars: Vec<String> = text.chars().map(String::from).collect();
        json!({"charStartTimesMs": vec![10; chars.len()], "charDurationsMs": vec![5; chars.len()], "chars": chars})
    };
    match vendor {
        0 => vec![
            json!({"type": "ready", "request_id": secret, "model_name": secret, "client_req_id": NAME}),
            json!({"type": "audio", "audio": audio, "start_s": 0.0, "stop_s": 0.1, "stream_id": 0, "client_req_id": NAME}),
            json!({"type": "audio", "audio": audio, "note": secret, "client_req_id": NAME}),
            json!({"type": "text", "text": "Good", "start_s": 0.0, "stop_s": 0.04, "client_req_id": NAME}),
            json!({"type": "text", "text": "morning", "start_s": 0.05, "stream_id": 0, "client_req_id": NAME}),
            json!({"type": "flushed", "client_req_id": NAME, "data": secret}),
            json!({"type": "audio", "audio": secret, "client_req_id": "MZ2-1.1"}),
            json!({"type": "error", "message": format!("Too many sessions: {secret}"), "code": 1008}),
            json!({"type": "error", "message": secret, "code": 1008}),
            json!({"type": "end_of_stream", "client_req_id": NAME}),
        ],
        1 => vec![
            json!({"audio": audio, "contextId": NAME, "alignment": null}),
            json!({"audio": audio, "contextId": NAME, "alignment": alignment("Good mor"), "note": secret}),
            json!({"audio": audio, "contextId": NAME, "alignment": alignment("ning. ")}),
            json!({"audio": audio, "contextId": "MZ2-1.1", "alignment": alignment("our little secret ")}),
            json!({"message": secret, "error": "input_timeout_exceeded", "code": 1008}),
            json!({"message": format!("Limit reached for {secret}"), "error": "x", "code": 1008}),
            json!({"isFinal": true, "contextId": NAME, "audio": null}),
        ],
        _ => vec![
            json!({"type": "chunk", "data": audio, "contextId": NAME}),
            json!({"type": "timestamps", "contextId": NAME,
                "word_timestamps": {"words": ["Good", "morning."], "start": [0.0, 0.05], "end": [0.04, 0.09]}}),
            json!({"type": "novelty", "data": secret, "contextId": NAME}),
            json!({"type": "done", "contextId": NAME}),
            json!({"type": "error", "message": format!("too many of {secret}")}),
        ],
    }
}

fn without_words(event: TtsEvent) -> (TtsEvent, Vec<String>) {
    let bare = |words: Vec<TimedWord>| -> (Vec<TimedWord>, Vec<String>) {
        let texts = words.iter().map(|word| word.text.clone()).collect();
        (words.into_iter().map(|word| TimedWord { text: String::new(), ..word }).collect(), texts)
    };
    match event {
        TtsEvent::Words { context, words } => {
            let (words, texts) = bare(words);
            (TtsEvent::Words { context, words }, texts)
        }
        TtsEvent::TimedAudio { context, audio, words } => {
            let (words, texts) = bare(words);
            (TtsEvent::TimedAudio { context, audio, words }, texts)
        }
        other => (other, Vec::new()),
    }
}

#[test]
fn what_every_vendor_says_is_covered_and_still_means_the_same() {
    for (number, voice) in vendors().into_iter().enumerate() {
        let mut rig = Rig::new(voice, Text::Redact, Audio::Keep);
        let mut words = Vec::new();
        for message in messages(number) {
            let (text, one, two) = rig.told(&message);
            for private in ["secret", "Good", "morning", "\"mor", STREAM] {
                assert!(!text.contains(private), "{private} in {text}");
            }
            let ((one, spoken), (two, covered)) = (without_words(one), without_words(two));
            assert_eq!(one, two, "{message} became {text}");
            assert_eq!(covered, spoken.iter().map(|word| rig.redactor.pseudonyms.text(word)).collect::<Vec<_>>());
            words.extend(spoken);
        }
        assert!(
            words.starts_with(&["Good".to_owned(), words[1].clone()]) && words[1].starts_with("morning"),
            "{words:?}"
        );
    }
}

#[test]
fn the_voice_of_every_vendor_becomes_silence_of_the_same_length() {
    for (number, voice) in vendors().into_iter().enumerate() {
        for text in [Text::Redact, Text::Keep] {
            let mut rig = Rig::new(voice.clone(), text, Audio::Silence);
            let mut heard = 0;
            for message in messages(number) {
                let (told, one, two) = rig.told(&message);
                assert!(!told.contains(&STANDARD.encode([0x11; 30])) || !told.contains(NAME), "{told}");
                let length = |event: &TtsEvent| match event {
                    TtsEvent::Audio { audio, .. } | TtsEvent::TimedAudio { audio, .. } => Some(audio.len()),
                    _ => None,
                };
                assert_eq!(length(&one), length(&two));
                if let TtsEvent::Audio { audio, .. } | TtsEvent::TimedAudio { audio, .. } = two {
                    assert!(audio.iter().all(|sample| *sample == Encoding::Mulaw.silence()));
                    heard += 1;
                }
            }
            assert!(heard > 0);
        }
    }
}
