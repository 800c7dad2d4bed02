use serde_json::{Value, json};

use super::*;
use crate::dialect::Peers;
use crate::tape::{Tape, What};

const CALL: &str = include_str!("../../fixtures/calls/plain-greeting/tape.jsonl");
const STREAM: &str = "MZ5ca1ab1e00000000000000000000000a";

/// A call that is recorded.
struct Rig {
    redactor: Redactor,
    peers: Peers,
}

impl Rig {
    fn new(text: Text, audio: Audio) -> Self {
        let header = Header { text, audio, ..Tape::read(CALL.as_bytes()).unwrap().header };
        let mut rig = Rig { redactor: Redactor::new(&header, [7; 32]), peers: header.peers() };
        let start = json!({"event": "start", "streamSid": STREAM, "start": {"streamSid": STREAM, "callSid": "CA1"}});
        rig.covered(Port::Carrier, &start.to_string());
        rig
    }

    /// What goes onto the tape, what the message meant, and what the tape will be taken to mean.
    fn cover(&mut self, port: Port, body: Body) -> (Body, Event, Event) {
        let input = Input { port, body };
        let event = self.peers.decode(&input);
        let What::Input(covered) = self.redactor.cover(What::Input(input), &event) else { panic!("no input") };
        let again = self.peers.decode(&covered);
        (covered.body, event, again)
    }

    fn covered(&mut self, port: Port, text: &str) -> String {
        let (Body::Text(text), ..) = self.cover(port, Body::Text(text.to_owned())) else { panic!("no text") };
        text
    }

    fn json(&mut self, port: Port, message: &Value) -> Value {
        serde_json::from_str(&self.covered(port, &message.to_string())).unwrap()
    }
}

const VOICE: Port = Port::Voice { voice: 0, link: 1 };

#[test]
fn text_is_covered_wherever_it_stands() {
    let mut rig = Rig::new(Text::Redact, Audio::Keep);
    let secret = "our little secret";
    for (port, message) in [
        (Port::Carrier, json!({"event": "media", "streamSid": STREAM, "media": {"payload": "AAAA", "chunk": secret}})),
        (Port::Carrier, json!({"event": "media", "media": {"payload": "AAAA", "track": secret}, "payload": secret})),
        (Port::Carrier, json!({"event": "media", "media": {"payload": secret, "track": "outbound"}})),
        (Port::Carrier, json!({"event": "connected", "protocol": secret, "version": secret, "data": secret})),
        (Port::Carrier, json!({"event": "stop", "start": secret, "media": {"payload": secret}, "end": [secret]})),
        (
            Port::Carrier,
            json!({"event": "start", "start": {"streamSid": STREAM, "callSid": "CA1",
            "customParameters": {secret: "x", "deep": {secret: secret, "list": [secret]}}}}),
        ),
        (VOICE, json!({"type": "chunk", "context_id": format!("{STREAM}-1.1"), "data": "AAE=", "payload": secret})),
        (VOICE, json!({"type": "flush_done", "data": secret, "flush_id": secret, "request_id": secret})),
        (VOICE, json!({"type": "error", "error_code": secret, "status_code": 500, "data": {"data": secret}})),
    ] {
        let text = rig.covered(port, &message.to_string());
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn what_the_protocol_says_stays() {
    let mut rig = Rig::new(Text::Redact, Audio::Keep);
    let media = json!({"event": "media", "sequenceNumber": "3", "streamSid": STREAM,
        "media": {"track": "inbound", "chunk": "2", "timestamp": "40", "payload": "AAAA"}});
    let chunk = json!({"type": "chunk", "context_id": format!("{STREAM}-1.1"), "data": "AAE=", "done": false,
        "status_code": 206, "step_time": 1.5});
    // One with a field more takes the slow way.
    let slow = json!({"type": "chunk", "context_id": format!("{STREAM}-1.1"), "data": "AAE=", "more": null});
    for (port, message, name) in
        [(Port::Carrier, media, "streamSid"), (VOICE, chunk, "context_id"), (VOICE, slow, "context_id")]
    {
        let mut covered = rig.json(port, &message);
        assert_ne!(covered[name], message[name]);
        covered[name] = message[name].clone();
        assert_eq!(covered, message);
    }
}

#[test]
fn numbers_are_names_as_well() {
    let mut rig = Rig::new(Text::Redact, Audio::Keep);
    let stop =
        json!({"event": "stop", "streamSid": 15_550_100, "stop": {"accountSid": 15_550_101, "callSid": 15_550_102}});
    let text = rig.covered(Port::Carrier, &stop.to_string());
    assert!(!text.contains("155501"), "{text}");
    let done = json!({"type": "timestamps", "request_id": 15_550_103, "context_id": 15_550_104, "status_code": 206});
    let text = rig.covered(VOICE, &json!({"type": "hello", "request_id": 15_550_103, "step_time": 1.5}).to_string());
    assert!(!text.contains("155501") && text.contains("1.5"), "{text}");
    assert!(!rig.covered(VOICE, &done.to_string()).contains("155501"));
}

#[test]
fn nonsense_stays_nonsense_and_tells_nothing() {
    let undecodable = json!({"event": "media", "streamSid": STREAM, "media": {"payload": "AAA"}}).to_string();
    let unpadded = json!({"type": "chunk", "context_id": format!("{STREAM}-1.1"), "data": "AAE"}).to_string();
    for (text, audio) in [(Text::Redact, Audio::Keep), (Text::Redact, Audio::Silence), (Text::Keep, Audio::Silence)] {
        for (port, body) in [
            (Port::Carrier, Body::Text(undecodable.clone())),
            (Port::Carrier, Body::Text("our little secret".to_owned())),
            (Port::Carrier, Body::Binary(Bytes::from_static(b"a voice"))),
            (VOICE, Body::Text(unpadded.clone())),
            (VOICE, Body::Binary(Bytes::from_static(b"a voice"))),
        ] {
            let (covered, live, replayed) = Rig::new(text, audio).cover(port, body.clone());
            assert!(matches!(live, Event::Carrier(CarrierEvent::Garbage) | Event::Tts(TtsEvent::Garbage)), "{live:?}");
            assert_eq!(live, replayed, "{text:?} {audio:?}");
            assert_ne!(covered, body, "{text:?} {audio:?}");
        }
    }
}

#[test]
fn no_key_is_told_from_another() {
    let mut rig = Rig::new(Text::Redact, Audio::Keep);
    for key in ["1", "7", "*", "#", "D"] {
        let pressed = json!({"event": "dtmf", "dtmf": {"track": "inbound_track", "digit": key}});
        let (covered, _, replayed) = rig.cover(Port::Carrier, Body::Text(pressed.to_string()));
        assert_eq!(replayed, Event::Carrier(CarrierEvent::Digit('0')), "{covered:?}");
    }
}

#[test]
fn the_header_tells_no_key_and_no_words() {
    let mut header = Tape::read(CALL.as_bytes()).unwrap().header;
    for text in [Text::Redact, Text::Keep] {
        header.text = text;
        header.settings.fallback_line = "our little secret".to_owned();
        let Some(Voice::Cartesia { settings, .. }) = header.voices.first_mut() else { panic!("no voice") };
        settings.url = "wss://tts.example/tts/websocket?api_key=hunter2".to_owned();
        let line = serde_json::to_string(&Redactor::new(&header, [7; 32]).header(header.clone())).unwrap();
        assert!(!line.contains("hunter2") && line.contains("\"wss://tts.example/tts/websocket\""), "{line}");
        assert_eq!(line.contains("secret"), text == Text::Keep, "{line}");
    }
}

#[test]
fn a_first_line_is_covered_as_it_is_spoken() {
    let mut rig = Rig::new(Text::Redact, Audio::Keep);
    let greeting = Say {
        turn: TurnId(1),
        text: "Our **little** secret is 48213. 😀".to_owned(),
        last: true,
        flush: false,
        interruptible: None,
        delivery: None,
        preemptible: None,
    };
    let body = Body::Agent(AgentEvent::Up { greeting: Some(greeting) });
    let (Body::Agent(AgentEvent::Up { greeting: Some(covered) }), ..) = rig.cover(Port::Agent, body) else {
        panic!("no first line")
    };
    assert!(!covered.text.contains("secret") && !covered.text.contains("48213"), "{}", covered.text);
    assert_eq!(covered.text.len(), "Our little secret is 4 8 2 1 3. ".len(), "{}", covered.text);
}
