//! A model of Twilio's side of a media stream, written from its documentation ("Media Streams - WebSocket Messages").
//!
//! It plays what it is sent, knows every millisecond that it played, and refuses a message with a field too many.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use trunkline::ids::CallTime;

use crate::dice::Dice;
use crate::sound::{self, PER_MS, Sound, Unit};

/// The stream of every simulated call.
pub(crate) const STREAM: &str = "MZ5ca1ab1e00000000000000000000000a";
const CALL: &str = "CA5ca1ab1e00000000000000000000000b";
const ACCOUNT: &str = "AC5ca1ab1e00000000000000000000000c";
/// Bytes of a frame of 20 ms.
const FRAME_BYTES: usize = 20 * PER_MS;
const MS_NS: u64 = 1_000_000;

/// What the carrier does with marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marks {
    /// Echoed when what was queued before them has been played, or was cleared.
    Honest,
    /// The same, up to 400 ms later.
    Late,
    Never,
    /// The moment they arrive.
    AtOnce,
    /// Honest, and then again and again, together with marks that nobody set.
    Flood,
}

/// What a message meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Media(Vec<Option<Unit>>),
    Mark,
    Clear,
}

#[derive(Debug)]
enum Queued {
    Audio(VecDeque<Option<Unit>>),
    Mark(String),
}

/// The carrier.
#[derive(Debug)]
pub(crate) struct Twilio {
    pub(crate) marks: Marks,
    sequence: u64,
    chunk: u64,
    queue: VecDeque<Queued>,
    /// When the millisecond at the head of the queue begins to play.
    head_ns: u64,
    /// Milliseconds of each context that were played to their end.
    played: BTreeMap<u16, u32>,
    /// When speech was last heard.
    pub(crate) last_sound: CallTime,
    /// Echoes on their way out, and when they leave.
    echoes: Vec<(CallTime, String)>,
    pub(crate) clears: u64,
}

impl Twilio {
    pub(crate) fn new(marks: Marks) -> Self {
        Twilio {
            marks,
            sequence: 0,
            chunk: 0,
            queue: VecDeque::new(),
            head_ns: 0,
            played: BTreeMap::new(),
            last_sound: CallTime::ZERO,
            echoes: Vec::new(),
            clears: 0,
        }
    }

    pub(crate) fn connected() -> String {
        json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}).to_string()
    }

    pub(crate) fn start(&mut self) -> String {
        self.message(json!({"event": "start", "start": {
            "accountSid": ACCOUNT, "streamSid": STREAM, "callSid": CALL, "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"tenant": "acme"},
        }}))
    }

    /// A piece of the caller's audio, which begins at `timestamp` milliseconds. Written by hand: it is most of what a call
    /// consists of.
    pub(crate) fn media(&mut self, timestamp: usize, audio: &[u8]) -> String {
        self.sequence += 1;
        self.chunk += 1;
        let (sequence, chunk) = (self.sequence, self.chunk);
        let payload = STANDARD.encode(audio);
        format!(
            r#"{{"event":"media","sequenceNumber":"{sequence}","media":{{"track":"inbound","chunk":"{chunk}","timestamp":"{timestamp}","payload":"{payload}"}},"streamSid":"{STREAM}"}}"#
        )
    }

    pub(crate) fn dtmf(&mut self, digit: char) -> String {
        self.message(json!({"event": "dtmf", "dtmf": {"track": "inbound_track", "digit": digit.to_string()}}))
    }

    pub(crate) fn stop(&mut self) -> String {
        self.message(json!({"event": "stop", "stop": {"accountSid": ACCOUNT, "callSid": CALL}}))
    }

    fn message(&mut self, mut message: Value) -> String {
        self.sequence += 1;
        message["sequenceNumber"] = json!(self.sequence.to_string());
        message["streamSid"] = json!(STREAM);
        message.to_string()
    }

    /// What a message of the gateway says. Twilio warns (31951) of a missing or additional field; here it ends the test.
    pub(crate) fn read(sound: Sound, text: &str, live: &[u16]) -> Meaning {
        let mut message: Value = serde_json::from_str(text).expect("the carrier takes JSON");
        let fields = message.as_object_mut().expect("the carrier takes an object");
        let event = fields.remove("event").expect("a message names its event");
        assert_eq!(fields.remove("streamSid"), Some(json!(STREAM)), "{text}");
        let mut inner = |outer: &str, name: &str| {
            let mut object = fields.remove(outer).unwrap_or_else(|| panic!("no {outer}: {text}"));
            let object = object.as_object_mut().expect("an object");
            let value = object.remove(name).and_then(|value| value.as_str().map(str::to_owned));
            assert!(object.is_empty(), "more than {name} in {outer}");
            value.unwrap_or_else(|| panic!("no {name} in {outer}"))
        };
        let meaning = match event.as_str() {
            Some("media") => {
                let frame = STANDARD.decode(inner("media", "payload")).expect("a payload is base64");
                assert_eq!(frame.len(), FRAME_BYTES, "a frame has twenty milliseconds");
                Meaning::Media(units(sound, &frame, live))
            }
            Some("mark") => {
                assert!(!inner("mark", "name").is_empty(), "a mark without a name");
                Meaning::Mark
            }
            Some("clear") => Meaning::Clear,
            _ => panic!("unknown event {event}"),
        };
        assert!(fields.is_empty(), "{event} with {:?} too many", fields.keys());
        meaning
    }

    /// A message arrives.
    pub(crate) fn hear(&mut self, now: CallTime, text: &str, meaning: Meaning, dice: &mut Dice) {
        self.play(now, dice);
        match meaning {
            Meaning::Media(units) => {
                if self.held_ms() == 0 {
                    self.head_ns = now.as_micros() * 1_000;
                }
                self.queue.push_back(Queued::Audio(units.into()));
            }
            Meaning::Mark => {
                let message: Value = serde_json::from_str(text).unwrap();
                let name = message["mark"]["name"].as_str().unwrap().to_owned();
                if self.marks == Marks::AtOnce {
                    self.echoes.push((now, name));
                } else {
                    self.queue.push_back(Queued::Mark(name));
                }
            }
            Meaning::Clear => {
                self.clears += 1;
                for queued in std::mem::take(&mut self.queue) {
                    if let Queued::Mark(name) = queued {
                        self.echo(now, name, dice);
                    }
                }
            }
        }
        self.play(now, dice);
    }

    /// Plays until `now`.
    pub(crate) fn play(&mut self, now: CallTime, dice: &mut Dice) {
        let now_ns = now.as_micros() * 1_000;
        loop {
            match self.queue.front_mut() {
                Some(Queued::Mark(_)) => {
                    let Some(Queued::Mark(name)) = self.queue.pop_front() else { return };
                    // With nothing before it, it comes back the moment it arrives.
                    self.echo(CallTime::from_micros(self.head_ns / 1_000).max(self.last_sound), name, dice);
                }
                Some(Queued::Audio(units)) if units.is_empty() => {
                    self.queue.pop_front();
                }
                Some(Queued::Audio(units)) if self.head_ns + MS_NS <= now_ns => {
                    self.head_ns += MS_NS;
                    if let Some(Some(unit)) = units.pop_front() {
                        self.last_sound = CallTime::from_micros(self.head_ns / 1_000);
                        let played = self.played.entry(unit.number).or_default();
                        // A tone does not say which millisecond it is.
                        *played = if unit.ms == u32::MAX { *played + 1 } else { (*played).max(unit.ms + 1) };
                    }
                }
                Some(Queued::Audio(_)) | None => return,
            }
        }
    }

    fn echo(&mut self, at: CallTime, name: String, dice: &mut Dice) {
        match self.marks {
            Marks::Honest | Marks::AtOnce => self.echoes.push((at, name)),
            Marks::Late => self.echoes.push((at + dice.millis(0, 400), name)),
            Marks::Never => {}
            Marks::Flood => {
                for n in 0..4 {
                    self.echoes.push((at + Duration::from_millis(n * 15), name.clone()));
                    self.echoes.push((at + Duration::from_millis(n * 20), format!("not-ours-{n}")));
                }
            }
        }
    }

    /// The next echo that leaves by `now`, in Twilio's words.
    pub(crate) fn take_echo(&mut self, now: CallTime) -> Option<String> {
        let first = self.echoes.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(n, _)| n)?;
        if self.echoes[first].0 > now {
            return None;
        }
        let (_, name) = self.echoes.remove(first);
        Some(self.message(json!({"event": "mark", "mark": {"name": name}})))
    }

    /// Audio that was received but not played, in milliseconds.
    pub(crate) fn held_ms(&self) -> u64 {
        let length = |queued: &Queued| match queued {
            Queued::Audio(units) => units.len() as u64,
            Queued::Mark(_) => 0,
        };
        self.queue.iter().map(length).sum()
    }

    /// When an echo leaves.
    pub(crate) fn next_at(&self) -> Option<CallTime> {
        let mut ahead = 0;
        let mut played_at = None;
        for queued in &self.queue {
            match queued {
                Queued::Audio(units) => ahead += units.len() as u64,
                Queued::Mark(_) => {
                    played_at = Some(CallTime::from_micros((self.head_ns + ahead * MS_NS).div_ceil(1_000)));
                    break;
                }
            }
        }
        self.echoes.iter().map(|(at, _)| *at).chain(played_at).min()
    }

    /// Milliseconds of a context that the caller heard.
    pub(crate) fn played_ms(&self, number: u16) -> u32 {
        self.played.get(&number).copied().unwrap_or_default()
    }

    pub(crate) fn hold_max(&self) -> usize {
        self.queue.len() + self.echoes.len()
    }
}

fn units(sound: Sound, frame: &[u8], live: &[u16]) -> Vec<Option<Unit>> {
    match sound {
        Sound::Counted => sound::read_counted(frame),
        Sound::Tones => {
            let number = sound::read_tone(frame, live);
            // Which of the tone's milliseconds it is, only a count of those before it can say.
            vec![number.map(|number| Unit { number, ms: u32::MAX }); frame.len() / PER_MS]
        }
    }
}

/// Messages that no carrier should send, each of which a carrier, or something in between, was seen to send.
pub(crate) const GARBAGE: [&str; 11] = [
    "",
    "not json",
    "[]",
    r#"{"event":"mark","sequenceNumber":"7","streamSid":"MZ1"}"#,
    r#"{"event":"media","media":{"track":"inbound","chunk":"1","timestamp":"1"}}"#,
    r#"{"event":"media","media":{"payload":"%%%%"}}"#,
    r#"{"event":"dtmf","dtmf":{"digit":"55"}}"#,
    r#"{"event":"dtmf"}"#,
    r#"{"event":"brand-new","thing":{}}"#,
    r#"{"event":"mark","mark":{"name":"m99999999999999999999999999"}}"#,
    r#"{"event":"start"}"#,
];
