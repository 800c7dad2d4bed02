//! Two contexts on one socket, their messages in any order, and among them messages of nobody: whatever the order, each
//! context gets its own and nothing else. Asked of the codecs that can, and of a whole call with Gradium's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use std::sync::Arc;
use trunkline::audio::{Encoding, SourceFormat};
use trunkline::call::action::{AgentReport, Place, TtsCommand};
use trunkline::call::event::{AgentEvent, Delivery, Say, TtsEvent};
use trunkline::call::settings::{Buffering, Cancel, Voice};
use trunkline::dialect::speech::elevenlabs::{self, Elevenlabs};
use trunkline::dialect::speech::gradium::{self, Gradium};
use trunkline::dialect::{Body, Input, Message, Outgoing, Port, TtsDialect};
use trunkline::ids::{CallTime, ContextId, StreamSid, TurnId};
use trunkline::replay::{Sent, Session, ToVoice};
use trunkline::tape::{self, Audio, Carrier, Header, Text, Wakes, What};

use crate::worlds::settings;
use trunkline::secret::Secret;

const STREAM: &str = "MZ1";
const TEXTS: [&str; 2] = ["Here is the first answer. ", "And this will be the second one. "];
/// What the audio of each context is made of, and that of nobody. None is silence.
const SAMPLES: [u8; 3] = [0x11, 0x22, 0x33];
const FORMAT: SourceFormat = SourceFormat { encoding: Encoding::Mulaw, rate: 8_000 };

fn stream() -> StreamSid {
    StreamSid::parse(STREAM).unwrap()
}

fn context(number: usize) -> ContextId {
    ContextId { turn: TurnId(number as u32 + 1), serial: 1 }
}

fn gradium_settings() -> gradium::Settings {
    gradium::Settings {
        url: "wss://tts.example".to_owned(),
        api_key: Secret::default(),
        model: "default".to_owned(),
        voice: "v".to_owned(),
        json_config: serde_json::Map::new(),
    }
}

/// A codec that was told to speak both texts.
fn told(mut codec: Box<dyn TtsDialect>) -> Box<dyn TtsDialect> {
    codec.dial();
    for (number, text) in TEXTS.iter().enumerate() {
        let on = Place { voice: 0, context: context(number), format: FORMAT, delivery: Arc::<Delivery>::default() };
        codec.encode(CallTime::ZERO, &TtsCommand::Speak { on, text: (*text).to_owned() }, &mut |_: Outgoing| {});
    }
    codec
}

fn gradium() -> Box<dyn TtsDialect> {
    told(Box::new(Gradium::new(gradium_settings(), &stream())))
}

fn elevenlabs() -> Box<dyn TtsDialect> {
    let settings = elevenlabs::Settings {
        url: "wss://tts.example".to_owned(),
        api_key: Secret::default(),
        model: "m".to_owned(),
        voice: "v".to_owned(),
        language: None,
        format: FORMAT,
        stability: None,
        similarity_boost: None,
        speed: None,
        buffering: Buffering::Gateway,
    };
    told(Box::new(Elevenlabs::new(settings, &stream())))
}

fn sound(sample: u8, ms: usize) -> String {
    STANDARD.encode(vec![sample; ms * 8])
}

/// All that Gradium says of a context: a word each 300 ms, each with its audio, of some no end is told.
fn of_gradium(name: &Value, number: usize, text: &str) -> Vec<Value> {
    let mut messages = vec![json!({"type": "ready", "request_id": "r", "client_req_id": name})];
    for (at, word) in text.split_whitespace().enumerate() {
        let start = at as f64 * 0.3;
        let mut timed = json!({"type": "text", "text": word, "start_s": start, "client_req_id": name});
        if at % 3 != 1 {
            timed["stop_s"] = json!(start + 0.29);
        }
        messages.push(timed);
        messages.push(json!({"type": "audio", "audio": sound(SAMPLES[number], 300), "client_req_id": name}));
    }
    messages.push(json!({"type": "flushed", "client_req_id": name}));
    messages.push(json!({"type": "end_of_stream", "client_req_id": name}));
    messages
}

fn of_elevenlabs(name: &Value, number: usize, text: &str) -> Vec<Value> {
    let words = text.split_inclusive(' ').map(|word| {
        let chars: Vec<String> = word.chars().map(String::from).collect();
        let starts: Vec<usize> = (0..chars.len()).map(|at| at * 10).collect();
        json!({"audio": sound(SAMPLES[number], 300), "contextId": name,
            "alignment": {"chars": chars, "charStartTimesMs": starts, "charDurationsMs": vec![10; starts.len()]}})
    });
    words.chain([json!({"isFinal": true, "contextId": name})]).collect()
}

/// Messages about contexts that are nobody's: of another call, never begun, misspelt, without a name.
fn of_nobody(kind: u8) -> Vec<Value> {
    let names = [json!("MZ2-1.1"), json!("MZ1-1.2"), json!("MZ1-9.1"), json!("1.1"), json!(""), json!(null), json!(7)];
    let name = &names[usize::from(kind) % names.len()];
    let mut messages = of_gradium(name, 2, "leak");
    messages.extend(of_elevenlabs(name, 2, "leak "));
    if !name.is_null() {
        messages
            .push(json!({"type": "error", "code": 1008, "message": "leak", "client_req_id": name, "contextId": name}));
    }
    messages
}

/// Several sequences as one, each in its own order.
fn interleaved(mut parts: Vec<Vec<Value>>, order: &[Index]) -> Vec<Value> {
    let mut all = Vec::new();
    for pick in order.iter().cycle() {
        parts.retain(|part| !part.is_empty());
        if parts.is_empty() {
            break;
        }
        let part = pick.index(parts.len());
        all.push(parts[part].remove(0));
    }
    all
}

fn context_of(event: &TtsEvent) -> Option<ContextId> {
    match event {
        TtsEvent::Audio { context, .. }
        | TtsEvent::Words { context, .. }
        | TtsEvent::TimedAudio { context, .. }
        | TtsEvent::Spoken { context, .. }
        | TtsEvent::Done { context } => Some(*context),
        TtsEvent::Failed { context, .. } => *context,
        _ => None,
    }
}

fn events(codec: &mut dyn TtsDialect, messages: &[Value]) -> Vec<TtsEvent> {
    messages.iter().map(|message| codec.decode(Message::Text(&message.to_string()))).collect()
}

/// Each context is told what it would be told alone.
fn keeps_apart(
    codec: fn() -> Box<dyn TtsDialect>,
    script: fn(&Value, usize, &str) -> Vec<Value>,
    order: &[Index],
    nobody: &[u8],
) -> Result<(), TestCaseError> {
    let scripts: Vec<Vec<Value>> = TEXTS
        .iter()
        .enumerate()
        .map(|(number, text)| script(&json!(format!("{STREAM}-{}", context(number))), number, text))
        .collect();
    let strangers = nobody.iter().map(|kind| of_nobody(*kind));
    let mixed = interleaved(scripts.iter().cloned().chain(strangers).collect(), order);
    let all = events(codec().as_mut(), &mixed);
    for (number, script) in scripts.iter().enumerate() {
        let of_it = |event: &&TtsEvent| context_of(event) == Some(context(number));
        let alone = events(codec().as_mut(), script);
        let alone: Vec<&TtsEvent> = alone.iter().filter(of_it).collect();
        prop_assert!(alone.len() > 4, "{alone:?}");
        prop_assert!(all.iter().filter(of_it).eq(alone), "context {number} was told something else");
    }
    let of_others = all.iter().filter(|event| !(0..2).any(|number| context_of(event) == Some(context(number))));
    for event in of_others {
        prop_assert!(matches!(event, TtsEvent::Ignored | TtsEvent::Garbage), "{event:?}");
    }
    Ok(())
}

/// A call that is played against the words of the wire.
struct Wire {
    session: Session,
    now: CallTime,
    spoken: Vec<Value>,
    /// Samples in the order in which the carrier got them, without silence.
    heard: Vec<u8>,
    over: Vec<(TurnId, String)>,
}

impl Wire {
    fn new() -> Self {
        let mut settings = settings(Buffering::Gateway);
        settings.text = trunkline::call::settings::Text::VERBATIM;
        settings.voices[0] =
            Voice { cancel: Cancel::Awaited, ..Voice::plain("gradium", Encoding::Mulaw, Some(FORMAT.rate)) };
        let header = Header {
            tape: tape::FORMAT,
            trunkline: String::new(),
            wakes: Wakes::Due,
            text: Text::Keep,
            audio: Audio::Keep,
            settings,
            carrier: Carrier::Twilio,
            voices: vec![
                tape::Voice::Gradium { stream: stream(), settings: Box::new(gradium_settings()) },
                tape::Voice::Local,
            ],
            agent: None,
            hearing: None,
        };
        let mut wire = Wire {
            session: Session::new(&header),
            now: CallTime::ZERO,
            spoken: Vec::new(),
            heard: Vec::new(),
            over: Vec::new(),
        };
        wire.take(
            Port::Carrier,
            Body::Text(
                json!({"event": "start", "streamSid": STREAM, "start": {"streamSid": STREAM,
            "callSid": "CA1", "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8_000, "channels": 1}}})
                .to_string(),
            ),
        );
        wire.take(Port::Voice { voice: 0, link: 1 }, Body::Up);
        for (number, text) in TEXTS.iter().enumerate() {
            let say = Say {
                turn: context(number).turn,
                text: (*text).to_owned(),
                last: true,
                flush: false,
                interruptible: None,
                delivery: None,
                preemptible: None,
            };
            wire.take(Port::Agent, Body::Agent(AgentEvent::Say(say)));
        }
        wire
    }

    fn take(&mut self, port: Port, body: Body) {
        self.give(&What::Input(Input { port, body }));
    }

    fn give(&mut self, what: &What) {
        let mut sent = Vec::new();
        self.session.take(self.now, what, |line| sent.push(line));
        for line in sent {
            match line {
                Sent::Carrier(text) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if let Some(payload) = message.pointer("/media/payload").and_then(Value::as_str) {
                        self.heard
                            .extend(STANDARD.decode(payload).unwrap().into_iter().filter(|sample| *sample != 0xFF));
                    }
                }
                Sent::Voice { voice: 0, what: ToVoice::Text(text) } => {
                    self.spoken.push(serde_json::from_str(&text).unwrap())
                }
                Sent::Agent(AgentReport::TurnOver { turn, heard }) => self.over.push((turn, heard.text)),
                _ => {}
            }
        }
    }

    fn vendor(&mut self, message: &Value) {
        self.take(Port::Voice { voice: 0, link: 1 }, Body::Text(message.to_string()));
    }

    /// Time passes until nothing is due within `seconds`.
    fn pass(&mut self, seconds: u64) {
        let until = self.now + std::time::Duration::from_secs(seconds);
        while let Some(due) = self.session.due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.give(&What::Wake);
        }
        self.now = until;
    }

    /// Names of the requests, in the order in which they were set up.
    fn names(&self) -> Vec<Value> {
        let setups = self.spoken.iter().filter(|message| message["type"] == "setup");
        setups.map(|setup| setup["client_req_id"].clone()).collect()
    }
}

fn millis_of(text: &str) -> usize {
    text.split_whitespace().count() * 300
}

proptest! {
    #[test]
    fn no_codec_mixes_two_contexts(
        order in prop::collection::vec(any::<Index>(), 1..60), nobody in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        keeps_apart(gradium, of_gradium, &order, &nobody)?;
        keeps_apart(elevenlabs, of_elevenlabs, &order, &nobody)?;
    }

    #[test]
    fn no_call_mixes_two_contexts_of_one_socket(
        order in prop::collection::vec(any::<Index>(), 1..60), nobody in prop::collection::vec(any::<u8>(), 0..4),
        // Where the second one fails, if it does.
        broken in prop::option::of(any::<Index>()),
    ) {
        let mut wire = Wire::new();
        let names = wire.names();
        prop_assert_eq!(&names, &[json!("MZ1-1.1"), json!("MZ1-2.1")], "both turns are made at once");
        let mut scripts: Vec<Vec<Value>> =
            (0..2).map(|number| of_gradium(&names[number], number, TEXTS[number])).collect();
        if let Some(at) = broken {
            let at = at.index(scripts[1].len());
            scripts[1].truncate(at);
            scripts[1].push(json!({"type": "error", "code": 1011, "client_req_id": names[1]}));
        }
        let strangers = nobody.iter().map(|kind| of_nobody(*kind));
        for message in interleaved(scripts.into_iter().chain(strangers).collect(), &order) {
            wire.vendor(&message);
        }
        // What failed is begun again, and now it goes well. Nobody else is asked anew.
        wire.pass(1);
        let again = wire.names().split_off(2);
        prop_assert!(again.len() <= usize::from(broken.is_some()), "{again:?}");
        if let Some(name) = again.first() {
            let rest: Vec<&str> = wire.spoken.iter().filter(|message| message["client_req_id"] == *name)
                .filter_map(|message| message["text"].as_str()?.strip_suffix(" <flush>")).collect();
            prop_assert!(TEXTS[1].trim_end().ends_with(&rest.join(" ")), "{rest:?}");
            for message in of_gradium(name, 1, &rest.join(" ")) {
                wire.vendor(&message);
            }
        }
        wire.pass(10);
        let texts: Vec<(TurnId, String)> =
            (0..2).map(|number| (context(number).turn, TEXTS[number].to_owned())).collect();
        prop_assert_eq!(&wire.over, &texts);
        // All of the first, then the second, and nothing of anybody else.
        let first = wire.heard.iter().take_while(|sample| **sample == SAMPLES[0]).count();
        prop_assert_eq!(first, millis_of(TEXTS[0]) * 8);
        prop_assert!(wire.heard[first..].iter().all(|sample| *sample == SAMPLES[1]));
        let second = (wire.heard.len() - first) / 8;
        let whole = millis_of(TEXTS[1]);
        prop_assert!(if broken.is_none() { second == whole } else { (whole..=whole + 300).contains(&second) }, "{} ms", second);
    }

    /// The vendor puts a space between texts: whatever the tokens, no text ends or begins inside a word.
    #[test]
    fn gradium_is_never_given_half_a_word(
        cuts in prop::collection::vec(1_usize..9, 1..40),
        // After which token its request fails, if it does: what is tried again is hurried.
        broken in prop::option::of(0_usize..60),
    ) {
        let text = "Dr. Smith's well-known answer costs $3.50, or 4,000 at most; doesn't it? \"Yes!\" she said (twice). \
                    And then a long sentence without any end in sight that goes on and on and on, so that somebody has to cut it \
                    somewhere in the middle because nobody waits for two hundred characters to come before a word is spoken";
        let mut wire = Wire::new();
        for name in wire.names() {
            wire.vendor(&json!({"type": "audio", "audio": sound(1, 20), "client_req_id": name.clone()}));
            wire.vendor(&json!({"type": "end_of_stream", "client_req_id": name}));
        }
        wire.pass(60);
        wire.take(Port::Agent, Body::Agent(AgentEvent::Clear));
        wire.spoken.clear();
        let chars: Vec<char> = text.chars().collect();
        let (mut at, mut tokens, mut lengths) = (0, 0, cuts.iter().cycle());
        while at < chars.len() {
            let end = chars.len().min(at + lengths.next().copied().unwrap_or(1));
            let say = Say {
                turn: TurnId(7),
                text: chars[at..end].iter().collect(),
                last: end == chars.len(),
                flush: false,
                interruptible: None,
                delivery: None,
                preemptible: None,
            };
            at = end;
            wire.take(Port::Agent, Body::Agent(AgentEvent::Say(say)));
            if Some(tokens) == broken && let Some(name) = wire.names().last() {
                wire.vendor(&json!({"type": "error", "code": 1011, "client_req_id": name}));
                wire.pass(1);
            }
            tokens += 1;
        }
        let given: Vec<&str> =
            wire.spoken.iter().filter_map(|message| message["text"].as_str()?.strip_suffix(" <flush>")).collect();
        prop_assert!(given.len() > 3, "{given:?}");
        let joined = given.join(" ");
        let meant: Vec<&str> = text.split_whitespace().collect();
        if broken.is_none() {
            prop_assert!(joined.split_whitespace().eq(meant.iter().copied()), "{}", joined);
        }
        let torn = joined.split_whitespace().find(|word| !meant.contains(word));
        prop_assert!(torn.is_none(), "{torn:?} in {given:?}");
    }
}
