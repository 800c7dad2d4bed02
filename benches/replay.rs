//! How fast a recorded call is replayed: `cargo bench --bench replay`.
//!
//! A call of five minutes is composed in virtual time, from the wire's own words: recorded human speech from the caller for
//! half of the time, and turns of a model vendor at 16 kHz for most of it. What is measured is all that `trunkline replay
//! --check` does with the tape: reading it, performing it, and writing what was sent as the lines that are compared.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench may fail, and knows its own numbers"
)]

mod support;

use std::collections::VecDeque;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::{Criterion, SamplingMode};
use serde_json::{Value, json};
use support::measured::median;
use support::page;
use trunkline::audio::g711;
use trunkline::call::event::{AgentEvent, Say};
use trunkline::dialect::{Body, Input, Port};
use trunkline::emulate::carrier::read_clip;
use trunkline::ids::{CallTime, TurnId};
use trunkline::replay::{Expected, Line, Sent, Session, ToVoice, perform};
use trunkline::tape::{Digest, Entry, Header, Lines, Tape, What};

const CALL: Duration = Duration::from_secs(300);
const FRAME: Duration = Duration::from_millis(20);
/// A turn every so often; it takes about eight seconds to say.
const TURN_EVERY_MS: u64 = 10_000;
const TEXT: &str = "Your order left our warehouse this morning, and it will be at your door on Thursday before eleven. \
    Is there anything else?";
/// Length of a chunk of the vendor, in bytes and time.
const CHUNK: (usize, Duration) = (3_200, Duration::from_millis(100));

const READ: &str = "replay read";
const WHOLE: &str = "replay whole";

fn main() {
    if !page::is_bench() {
        return;
    }
    let busy = page::busy();
    let mut criterion = support::measured::criterion(&[READ, WHOLE]);
    let (text, digest) = compose();
    measure(&mut criterion, READ, || read(&text).entries.len());
    measure(&mut criterion, WHOLE, || {
        let tape = read(&text);
        let mut lines: Vec<Line> = Vec::new();
        let session = perform(&tape, |_, sent| lines.extend_from_slice(sent));
        assert_eq!(session.digest(), digest, "the replay is exact");
        Expected::of(&lines, tape.header.audio).to_string().len()
    });
    criterion.final_summary();
    if page::is_for_the_page() {
        page::replace("replay", &table(&text, &busy));
    }
}

fn measure(criterion: &mut Criterion, id: &str, mut work: impl FnMut() -> usize) {
    let mut group = criterion.benchmark_group("tape");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.bench_function(id, |bencher| bencher.iter(|| black_box(work())));
    group.finish();
}

fn read(text: &[u8]) -> Tape {
    Tape::read(text).unwrap()
}

/// The peers of the composed call.
struct World {
    session: Session,
    tape: Lines,
    /// When the carrier will have played what it has, and the marks on their way back.
    played_at: CallTime,
    marks: VecDeque<(CallTime, String)>,
    /// What the vendor has made and not sent.
    chunks: VecDeque<(CallTime, String)>,
}

/// A tape, and what its call sent.
fn compose() -> (Vec<u8>, Digest) {
    let calls = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let source = std::fs::read_to_string(calls.join("calls/wide-voice/tape.jsonl")).unwrap();
    let mut header: Value = serde_json::from_str(source.lines().next().unwrap()).unwrap();
    header["wakes"] = json!("recorded");
    // Nobody interrupts, so that there is as much to replay as can be.
    header["settings"]["interruptible"] = json!("none");
    let header: Header = serde_json::from_value(header).unwrap();
    let mut tape = Lines::default();
    tape.push_header(&header);
    let (session, start) = (Session::new(&header), CallTime::ZERO);
    let mut world = World { session, tape, played_at: start, marks: VecDeque::new(), chunks: VecDeque::new() };
    let opening = source.lines().skip(1).map(|line| serde_json::from_str::<Entry>(line).unwrap());
    for entry in opening.take(2) {
        world.take(entry.at, entry.what);
    }
    world.take(CallTime::from_millis(30), What::Input(Input { port: voice(), body: Body::Up }));
    let mut samples = read_clip(&calls.join("audio/long.wav")).unwrap();
    // As much silence as speech.
    samples.resize(samples.len() * 2, 0);
    let mut caller = Vec::new();
    g711::encode_mulaw_into(&samples, &mut caller);
    let frames: Vec<String> = caller.chunks_exact(160).map(|frame| STANDARD.encode(frame)).collect();
    for (number, frame) in (2_u64..).zip(frames.iter().cycle()) {
        let now = CallTime::ZERO + FRAME * u32::try_from(number).unwrap();
        if now.since(CallTime::ZERO) > CALL {
            break;
        }
        world.run(now);
        if (number * 20).is_multiple_of(TURN_EVERY_MS) {
            world.say(now, TurnId((number * 20 / TURN_EVERY_MS) as u32));
        }
        world.carrier(now, &json!({"event": "media", "media": {"track": "inbound", "payload": frame}}));
    }
    let stop = CallTime::ZERO + CALL + FRAME;
    world.carrier(stop, &json!({"event": "stop"}));
    let digest = world.session.digest();
    assert!(digest.frames > 10_000, "the turns were spoken: {digest:?}");
    (world.tape.take().0, digest)
}

fn voice() -> Port {
    Port::Voice { voice: 0, link: 1 }
}

impl World {
    fn take(&mut self, now: CallTime, what: What) {
        let (mut texts, mut carrier) = (Vec::new(), Vec::new());
        self.session.take(now, &what, |sent| match sent {
            Sent::Carrier(text) => carrier.push(text),
            Sent::Voice { what: ToVoice::Text(text), .. } => texts.push(text),
            Sent::Voice { .. } | Sent::Hearing { .. } | Sent::App(_) | Sent::Agent(_) | Sent::End(_) => {}
        });
        self.tape.push_entry(&Entry { at: now, what });
        carrier.iter().for_each(|text| self.play(now, text));
        texts.iter().for_each(|text| self.speak(now, text));
    }

    fn carrier(&mut self, now: CallTime, message: &Value) {
        self.take(now, What::Input(Input { port: Port::Carrier, body: Body::Text(message.to_string()) }));
    }

    fn say(&mut self, now: CallTime, turn: TurnId) {
        let say = Say {
            turn,
            text: TEXT.to_owned(),
            last: true,
            flush: false,
            interruptible: None,
            delivery: None,
            preemptible: None,
        };
        self.take(now, What::Input(Input { port: Port::Agent, body: Body::Agent(AgentEvent::Say(say)) }));
    }

    /// Everything that happens before `now`, in its order.
    fn run(&mut self, now: CallTime) {
        loop {
            let due = |queue: &VecDeque<(CallTime, String)>| queue.front().map(|(at, _)| *at);
            let (wake, mark, chunk) = (self.session.due(), due(&self.marks), due(&self.chunks));
            let Some(at) = [wake, mark, chunk].into_iter().flatten().min().filter(|at| *at < now) else { return };
            if wake == Some(at) {
                self.take(at, What::Wake);
            } else if mark == Some(at) {
                let (_, name) = self.marks.pop_front().unwrap();
                self.carrier(at, &json!({"event": "mark", "mark": {"name": name}}));
            } else {
                let (_, text) = self.chunks.pop_front().unwrap();
                self.take(at, What::Input(Input { port: voice(), body: Body::Text(text) }));
            }
        }
    }

    fn play(&mut self, now: CallTime, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap();
        self.played_at = self.played_at.max(now);
        match message["event"].as_str() {
            Some("media") => self.played_at = self.played_at + FRAME,
            _ => self.marks.push_back((self.played_at, message["mark"]["name"].as_str().unwrap().to_owned())),
        }
    }

    /// The vendor answers a text with a tone at 1.25 times the speed of speech, and is done when no more text comes.
    fn speak(&mut self, now: CallTime, text: &str) {
        let request: Value = serde_json::from_str(text).unwrap();
        let context = &request["context_id"];
        let mut at = self.chunks.back().map_or(now + CHUNK.1, |(last, _)| *last);
        let words = request["transcript"].as_str().unwrap_or_default();
        for chunk in 0..words.len() * 6 / 10 {
            at = at + CHUNK.1 * 4 / 5;
            let tone = |sample: usize| (f64::from(sample as u32 % 40) * 0.157).sin() * 8_000.0;
            let samples = (0..CHUNK.0 / 2).flat_map(|sample| (tone(chunk * 1_600 + sample) as i16).to_le_bytes());
            let data = STANDARD.encode(samples.collect::<Vec<u8>>());
            let message = json!({"type": "chunk", "context_id": context, "data": data, "done": false});
            self.chunks.push_back((at, message.to_string()));
        }
        if request["continue"] == json!(false) {
            self.chunks.push_back((at, json!({"type": "done", "context_id": context, "done": true}).to_string()));
        }
    }
}

fn table(text: &[u8], busy: &str) -> String {
    let mut lines = vec!["| step | ms | times faster than the call |".to_owned(), "|---|---|---|".to_owned()];
    for (id, words) in [(READ, "read the tape"), (WHOLE, "read, perform and compare: `trunkline replay --check`")] {
        let ms = median(&format!("tape/{id}")).ns / 1e6;
        lines.push(format!("| {words} | {ms:.0} | {:.0} |", CALL.as_millis() as f64 / ms));
    }
    lines.push(format!(
        "\nA call of five minutes on a tape of {:.0} MB: the caller speaks for half of it, which costs voice detection, and \
         a voice at 16 kHz for four fifths of it, which costs resampling.\n\n{busy}",
        text.len() as f64 / 1e6
    ));
    lines.join("\n")
}
