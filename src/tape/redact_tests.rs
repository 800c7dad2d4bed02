use serde_json::{Value, json};

use super::*;
use crate::dialect::Peers;
use crate::secret::Secret;
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

/// A rig whose agent is an app.
fn app_rig() -> Rig {
    use crate::dialect::relay::{Settings, Setup};
    let mut header = Tape::read(CALL.as_bytes()).unwrap().header;
    (header.text, header.audio) = (Text::Redact, Audio::Keep);
    header.agent = Some(Agent::Relay(Box::new(Settings {
        url: "wss://app.example.com/relay?key=hunter2".to_owned(),
        signature: Some(Secret::new("hunter2")),
        setup: Setup { from: "+15550100001".to_owned(), caller_name: "Jane Doe".to_owned(), ..Setup::default() },
        started_ms: 1,
        greeting: "Hello, Jane!".to_owned(),
        greeting_interruptible: crate::call::settings::Interruptible::Any,
        interruptible: crate::call::settings::Interruptible::Any,
        preemptible: false,
        dtmf: true,
        partials: false,
        speaker_events: false,
        tokens_played: false,
        voice: None,
        speech_language: None,
        hearing_language: None,
        languages: std::collections::BTreeMap::new(),
    })));
    let redactor = Redactor::new(&header, [7; 32]);
    let header = redactor.header(header);
    let written = serde_json::to_string(&header).unwrap();
    for secret in ["hunter2", "Jane", "Doe", "+1555", "Hello"] {
        assert!(!written.contains(secret), "{written}");
    }
    assert_eq!(serde_json::from_str::<Header>(&written).unwrap(), header);
    Rig { redactor, peers: header.peers() }
}

#[test]
fn what_an_app_says_is_covered_and_still_means_the_same() {
    let mut rig = app_rig();
    let messages = [
        json!({"type": "play", "source": "https://cdn.example.com/secret.mp3", "loop": 3, "preemptible": true}),
        json!({"type": "sendDigits", "digits": "9ww42#"}),
        json!({"type": "sendDigits", "digits": 4242}),
        json!({"type": "language", "ttsLanguage": "sv-SE", "transcriptionLanguage": "de-DE"}),
        json!({"type": "end", "handoffData": "{\"reason\":\"secret\"}", "note": {"type": "secret", "secret": [42]}}),
    ];
    for message in messages {
        let (body, event, again) = rig.cover(Port::App, Body::Text(message.to_string()));
        let Body::Text(text) = body else { panic!("no text") };
        for secret in ["secret", "42", "cdn"] {
            assert!(!text.contains(secret), "{text}");
        }
        match (event, again) {
            (Event::Agent(AgentEvent::Play(one)), Event::Agent(AgentEvent::Play(two))) => {
                assert_eq!(
                    (one.times, one.interruptible, one.preemptible),
                    (two.times, two.interruptible, two.preemptible)
                );
                match (one.clip, two.clip) {
                    (Clip::Recording(one), Clip::Recording(two)) => assert_eq!(one.len(), two.len()),
                    (Clip::Tones(one), Clip::Tones(two)) => {
                        assert_eq!((one.len(), two.find('w')), (two.len(), one.find('w')))
                    }
                    other => panic!("{other:?}"),
                }
            }
            (
                Event::Agent(AgentEvent::End { handoff: Some(one) }),
                Event::Agent(AgentEvent::End { handoff: Some(two) }),
            ) => {
                assert_eq!(one.len(), two.len());
            }
            (one, two) => assert_eq!(one, two),
        }
    }
}

#[test]
fn tokens_are_covered_as_the_whole_text_would_be() {
    let mut rig = app_rig();
    let whole = rig.redactor.pseudonyms.text("Wonderful weather");
    let mut covered = String::new();
    for (token, last) in [("Wond", false), ("erful we", false), ("ather", false), ("", true)] {
        let message = json!({"type": "text", "token": token, "last": last, "lang": "en-US", "note": "Wonderful"});
        let (body, event, _) = rig.cover(Port::App, Body::Text(message.to_string()));
        let Body::Text(text) = body else { panic!("no text") };
        let written: Value = serde_json::from_str(&text).unwrap();
        assert!(matches!(event, Event::Agent(AgentEvent::Say(_))), "{event:?}");
        assert_eq!(
            (&written["type"], &written["last"], &written["lang"]),
            (&json!("text"), &json!(last), &json!("en-US"))
        );
        assert!(!text.contains("Wonderful"), "{text}");
        covered += written["token"].as_str().unwrap();
    }
    assert_eq!(covered, whole);
}

#[test]
fn a_token_of_which_nothing_is_spoken_begins_a_turn_on_the_tape_as_well() {
    let mut rig = app_rig();
    let turn = |event: Event| match event {
        Event::Agent(AgentEvent::Say(say)) => say.turn.0,
        other => panic!("{other:?}"),
    };
    for number in 0..3 {
        let message = json!({"type": "text", "token": "\u{1F642}", "last": true});
        let (_, event, again) = rig.cover(Port::App, Body::Text(message.to_string()));
        // The rig decodes everything twice, so that each turn is followed by its own covered one.
        assert_eq!((turn(event), turn(again)), (2 * number + 1, 2 * number + 2));
    }
    let (_, event, again) = rig.cover(Port::App, Body::Text(json!({"type": "text", "token": ""}).to_string()));
    assert_eq!((event, again), (Event::Agent(AgentEvent::Ignored), Event::Agent(AgentEvent::Ignored)));
}

#[test]
fn what_makes_no_sense_to_us_makes_none_on_the_tape() {
    let mut rig = app_rig();
    for text in ["{\"foo\":\"secret\"}", "secret", "{\"type\":\"text\",\"token\":null}"] {
        let (body, event, again) = rig.cover(Port::App, Body::Text(text.to_owned()));
        assert_eq!(body, Body::Text("x".repeat(text.len())));
        for event in [event, again] {
            assert!(matches!(event, Event::Agent(AgentEvent::Malformed(_))), "{event:?}");
        }
    }
}

/// The vendors' settings as a tape has them, and what they send when `our little secret` was said.
fn heard() -> Vec<(Value, Vec<Value>)> {
    let ink = json!({"cartesia": {"access": {"url": "wss://stt.example/x?api_key=hunter2"}, "endpoint": "turns",
        "version": "2026-03-01", "model": "ink-2", "language": null, "keyterms": ["our little secret"],
        "start_threshold": 0.8, "eager_end_threshold": null, "end_threshold": null, "end_timeout": null,
        "piece": {"secs": 0, "nanos": 20_000_000}}});
    let flux = json!({"deepgram_flux": {"access": {"url": "wss://stt.example/x?api_key=hunter2"}, "model": "flux-general-en",
        "language": null, "keyterms": ["our little secret"], "end_threshold": null, "eager_end_threshold": null,
        "end_timeout": null, "piece": {"secs": 0, "nanos": 80_000_000}}});
    let nova = json!({"deepgram": {"access": {"url": "wss://stt.example/x?api_key=hunter2"}, "model": "nova-3",
        "language": null, "keyterms": ["our little secret"], "endpointing": {"secs": 0, "nanos": 300_000_000},
        "utterance_end": {"secs": 1, "nanos": 0}, "smart_format": true, "piece": {"secs": 0, "nanos": 20_000_000}}});
    let gradium = json!({"gradium": {"access": {"url": "wss://stt.example/x?api_key=hunter2"}, "model": "default",
        "language": null, "delay_frames": null, "quiet_threshold": 0.5, "quiet_steps": 1,
        "piece": {"secs": 0, "nanos": 80_000_000}}});
    let words =
        json!([{"word": "secret", "punctuated_word": "Secret.", "start": 0.5, "end": 1.25, "confidence": 0.99}]);
    let said = "our little secret";
    vec![
        (
            ink,
            vec![
                json!({"type": "turn.eager_end", "request_id": "r-1", "transcript": said}),
                json!({"type": "turn.end", "request_id": "r-1", "transcript": "Our little secret."}),
                json!({"type": "transcript", "text": said, "is_final": true, "duration": 1.25, "language": "en", "words": words}),
                json!({"type": "error", "status_code": 500, "error_code": null, "title": said, "message": said}),
            ],
        ),
        (
            flux,
            vec![
                json!({"type": "TurnInfo", "event": "EndOfTurn", "turn_index": 3, "sequence_id": 9, "transcript": said,
                    "audio_window_start": 0.5, "audio_window_end": 1.5, "end_of_turn_confidence": 0.75, "words": words,
                    "languages": ["en"]}),
                json!({"type": "Error", "code": "NET-0001", "description": said}),
            ],
        ),
        (
            nova,
            vec![
                json!({"type": "Results", "is_final": true, "speech_final": true, "from_finalize": true, "start": 0.5,
                    "duration": 1.5, "channel_index": [0, 1], "channel": {"alternatives": [{"transcript": said,
                    "confidence": 0.5, "words": words}]}, "metadata": {"request_id": "r-1"}}),
                json!({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 1.5}),
            ],
        ),
        (
            gradium,
            vec![
                json!({"type": "text", "text": "secret", "start_s": 0.56, "stream_id": 0}),
                json!({"type": "step", "step_idx": 12, "total_duration_s": 1.04, "vad": [{"horizon_s": 3.0, "inactivity_prob": 0.75}]}),
                json!({"type": "flushed", "flush_id": 1}),
            ],
        ),
    ]
}

/// What a report means, with `x` for every letter.
fn shape(event: &Event) -> Event {
    let Event::Hearing { link, event: HearingEvent::Heard(mut words) } = event.clone() else { return event.clone() };
    words.text = words.text.chars().map(|c| if c.is_alphabetic() { 'x' } else { c }).collect();
    Event::Hearing { link, event: HearingEvent::Heard(words) }
}

#[test]
fn what_was_heard_is_covered_and_what_it_meant_is_not() {
    for (settings, messages) in heard() {
        let mut rig = Rig::new(Text::Redact, Audio::Keep);
        let hearing: crate::tape::Hearing = serde_json::from_value(settings).unwrap();
        let header = Header { hearing: Some(hearing), ..Tape::read(CALL.as_bytes()).unwrap().header };
        // One decodes the call, one the tape: each has a state of its own.
        let (mut live, mut replay) = (header.peers(), header.peers());
        live.dial_hearing(1, None).unwrap();
        replay.dial_hearing(1, None).unwrap();
        for message in messages {
            let input = Input { port: Port::Hearing { link: 1 }, body: Body::Text(message.to_string()) };
            let event = live.decode(&input);
            assert_ne!(event, Event::Hearing { link: 1, event: HearingEvent::Garbage }, "{message}");
            let What::Input(covered) = rig.redactor.cover(What::Input(input), &event) else { panic!("no input") };
            let Body::Text(text) = &covered.body else { panic!("no text") };
            assert!(!text.to_lowercase().contains("secret") && !text.contains("little"), "{text}");
            assert_eq!(shape(&replay.decode(&covered)), shape(&event), "{message}");
            // Numbers, flags and names of events are as they were.
            let kept: Value = serde_json::from_str(text).unwrap();
            for field in ["type", "event", "is_final", "vad", "start", "duration", "turn_index", "channel_index"] {
                assert_eq!(kept[field], message[field], "{text}");
            }
        }
    }
}

#[test]
fn the_same_words_are_the_same_made_up_ones() {
    let mut rig = Rig::new(Text::Redact, Audio::Keep);
    let mut covered = |text: &str| {
        let message = json!({"type": "turn.update", "transcript": text}).to_string();
        let covered = rig.redactor.message(Port::Hearing { link: 1 }, message, false, Encoding::Mulaw);
        serde_json::from_str::<Value>(&covered).unwrap()["transcript"].clone()
    };
    let (short, long) = (covered("I would like"), covered("I would like Tuesday"));
    assert!(long.as_str().unwrap().starts_with(short.as_str().unwrap()), "{short} {long}");
}

#[test]
fn the_header_covers_what_is_listened_for() {
    for (settings, _) in heard() {
        for text in [Text::Redact, Text::Keep] {
            let hearing = serde_json::from_value(settings.clone()).unwrap();
            let header = Header { text, hearing: Some(hearing), ..Tape::read(CALL.as_bytes()).unwrap().header };
            let line = serde_json::to_string(&Redactor::new(&header, [7; 32]).header(header)).unwrap();
            assert!(!line.contains("hunter2") && line.contains("\"wss://stt.example/x\""), "{line}");
            let has_terms = line.contains("\"keyterms\"");
            assert_eq!(line.contains("little secret"), has_terms && text == Text::Keep, "{line}");
        }
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
