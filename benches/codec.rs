//! What is done to each frame, chunk and message: G.711, change of rate, conversion of a voice's chunks, voice detection,
//! and the JSON of both sockets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "a bench may fail")]

mod support;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::Criterion;
use serde_json::json;
use support::measured::{median, share_of_frame, shown};
use support::page;
use trunkline::audio::resample::Resampler;
use trunkline::audio::{Converter, Encoding, MediaFormat, SourceFormat, g711, pcm, vad};
use trunkline::call::action::{CarrierCommand, Place, TtsCommand};
use trunkline::call::event::Delivery;
use trunkline::call::settings::Buffering;
use trunkline::dialect::speech::cartesia::{self, Cartesia};
use trunkline::dialect::twilio::Twilio;
use trunkline::dialect::{CarrierDialect, Message, TtsDialect};
use trunkline::emulate::carrier::read_clip;
use trunkline::ids::{CallTime, ContextId, MarkId, StreamSid, TurnId};
use trunkline::secret::Secret;

/// Samples of 20 ms at 8 kHz.
const FRAME: usize = 160;
/// Length of a chunk as voices send them.
const CHUNK_MS: u32 = 90;

/// Section of the page, benchmark, and what it is in words. The second number is the length of the audio in milliseconds.
const CODEC: [(&str, &str, u32); 12] = [
    ("g711 encode mulaw", "encode a frame as mu-law", 20),
    ("g711 decode mulaw", "decode a frame of mu-law", 20),
    ("g711 encode alaw", "encode a frame as A-law", 20),
    ("g711 decode alaw", "decode a frame of A-law", 20),
    ("resample 16000", "change the rate of 20 ms, 16 kHz to 8 kHz", 20),
    ("resample 24000", "change the rate of 20 ms, 24 kHz to 8 kHz", 20),
    ("resample 44100", "change the rate of 20 ms, 44.1 kHz to 8 kHz", 20),
    ("convert mulaw 8000", "a chunk of 90 ms to frames: mu-law at 8 kHz, passed through", CHUNK_MS),
    ("convert s16 8000", "the same: 16-bit PCM at 8 kHz", CHUNK_MS),
    ("convert s16 16000", "the same: 16-bit PCM at 16 kHz", CHUNK_MS),
    ("convert s16 24000", "the same: 16-bit PCM at 24 kHz", CHUNK_MS),
    ("convert s16 44100", "the same: 16-bit PCM at 44.1 kHz", CHUNK_MS),
];
const VAD: [(&str, &str); 3] = [
    ("vad speech", "a frame of speech"),
    ("vad noise", "a frame of noise on the line, just above the gate"),
    ("vad silence", "a frame of silence"),
];
const JSON: [(&str, &str); 7] = [
    ("json twilio media in", "read a frame of the caller (Twilio `media`)"),
    ("json twilio mark in", "read a mark that came back (Twilio `mark`)"),
    ("json twilio media out", "write a frame (Twilio `media`)"),
    ("json twilio mark out", "write a mark (Twilio `mark`)"),
    ("json cartesia chunk 8000", "read 90 ms of speech at 8 kHz (Cartesia `chunk`)"),
    ("json cartesia chunk 16000", "read 90 ms of speech at 16 kHz (Cartesia `chunk`)"),
    ("json cartesia request", "write a sentence to be spoken (Cartesia request)"),
];

fn main() {
    let busy = page::busy();
    let ids: Vec<&str> =
        CODEC.iter().map(|row| row.0).chain(VAD.iter().map(|row| row.0)).chain(JSON.iter().map(|row| row.0)).collect();
    let mut criterion = support::measured::criterion(&ids);
    g711_frames(&mut criterion);
    rates(&mut criterion);
    chunks(&mut criterion);
    detection(&mut criterion);
    carrier_messages(&mut criterion);
    voice_messages(&mut criterion);
    criterion.final_summary();
    if page::is_for_the_page() {
        page::replace("codec", &codec_table(&busy));
        page::replace("vad", &frame_table("voice detection of", &VAD, &busy));
        page::replace("json", &frame_table("step", &JSON, &busy));
    }
}

/// A recording as samples at 8 kHz.
fn recording(name: &str) -> Vec<i16> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio").join(name);
    read_clip(&file).unwrap()
}

fn mulaw(samples: &[i16]) -> Vec<u8> {
    let mut words = Vec::new();
    g711::encode_mulaw_into(samples, &mut words);
    words
}

type Encode = fn(&[i16], &mut Vec<u8>);
type Decode = fn(&[u8], &mut Vec<i16>);

fn g711_frames(criterion: &mut Criterion) {
    let speech = recording("statement.wav");
    let frame = &speech[8_000..8_000 + FRAME];
    let (mut words, mut samples) = (Vec::with_capacity(FRAME), Vec::with_capacity(FRAME));
    let encoders: [(&str, Encode); 2] = [("mulaw", g711::encode_mulaw_into), ("alaw", g711::encode_alaw_into)];
    for (name, encode) in encoders {
        criterion.bench_function(&format!("g711 encode {name}"), |bencher| {
            bencher.iter(|| {
                words.clear();
                encode(black_box(frame), &mut words);
                words.len()
            });
        });
    }
    let words = mulaw(frame);
    let decoders: [(&str, Decode); 2] = [("mulaw", g711::decode_mulaw_into), ("alaw", g711::decode_alaw_into)];
    for (name, decode) in decoders {
        criterion.bench_function(&format!("g711 decode {name}"), |bencher| {
            bencher.iter(|| {
                samples.clear();
                decode(black_box(&words), &mut samples);
                samples.len()
            });
        });
    }
}

/// The recording as a voice with this rate would send it.
fn speech_at(rate: u32) -> Vec<i16> {
    let mut samples = Vec::new();
    let mut resampler = Resampler::new(8_000, rate).unwrap();
    resampler.push(&recording("statement.wav"), &mut samples);
    samples
}

fn rates(criterion: &mut Criterion) {
    for rate in [16_000, 24_000, 44_100] {
        let speech = speech_at(rate);
        let mut pieces = speech.chunks_exact(rate as usize / 50).cycle();
        let mut resampler = Resampler::new(rate, 8_000).unwrap();
        let mut out = Vec::with_capacity(2 * FRAME);
        criterion.bench_function(&format!("resample {rate}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                resampler.push(pieces.next().unwrap(), &mut out);
                out.len()
            });
        });
    }
}

fn chunks(criterion: &mut Criterion) {
    let sources = [(Encoding::Mulaw, "mulaw", 8_000)];
    let wide = [8_000, 16_000, 24_000, 44_100].map(|rate| (Encoding::PcmS16Le, "s16", rate));
    for (encoding, name, rate) in sources.into_iter().chain(wide) {
        let speech = speech_at(rate);
        let mut bytes = Vec::new();
        match encoding {
            Encoding::Mulaw => g711::encode_mulaw_into(&speech, &mut bytes),
            Encoding::Alaw => g711::encode_alaw_into(&speech, &mut bytes),
            Encoding::PcmS16Le => pcm::write_into(&speech, &mut bytes),
        }
        let chunk = (rate * CHUNK_MS / 1_000) as usize * encoding.sample_bytes();
        let mut chunks = bytes.chunks_exact(chunk).cycle();
        let mut converter = Converter::new(SourceFormat { encoding, rate }, MediaFormat::TELEPHONE).unwrap();
        criterion.bench_function(&format!("convert {name} {rate}"), |bencher| {
            bencher.iter(|| converter.push(chunks.next().unwrap()));
        });
    }
}

fn detection(criterion: &mut Criterion) {
    // The clip's speech without the silence around it; `fixtures/audio/README.md` says where it lies.
    let speech = recording("long.wav")[86 * 8..3_761 * 8].to_vec();
    // Noise whose peak is a little above the gate: the net is asked for every window.
    let noise = (0..8_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as i16 - 128).collect();
    for (id, samples) in [("vad speech", speech), ("vad noise", noise), ("vad silence", vec![0; 8_000])] {
        let words = mulaw(&samples);
        let mut frames = words.chunks_exact(FRAME).cycle();
        let mut detector = vad::Detector::new(MediaFormat::TELEPHONE, vad::Settings::default());
        criterion.bench_function(id, |bencher| bencher.iter(|| detector.push(frames.next().unwrap())));
    }
}

/// A stream that has started, with names as long as Twilio's.
fn twilio() -> Twilio {
    let (stream, call) = (format!("MZ{:032}", 1), format!("CA{:032}", 2));
    let start = json!({ "event": "start", "streamSid": stream, "start": {
        "streamSid": stream, "callSid": call, "tracks": ["inbound"],
        "mediaFormat": { "encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1 } } });
    let mut twilio = Twilio::default();
    twilio.decode(Message::Text(&start.to_string()));
    twilio
}

fn carrier_messages(criterion: &mut Criterion) {
    let mut twilio = twilio();
    let speech = mulaw(&recording("statement.wav")[8_000..8_000 + FRAME]);
    let stream = format!("MZ{:032}", 1);
    // In the order of Twilio's own messages.
    let media = format!(
        r#"{{"event":"media","sequenceNumber":"512","media":{{"track":"inbound","chunk":"511","timestamp":"10220","payload":"{}"}},"streamSid":"{stream}"}}"#,
        STANDARD.encode(&speech)
    );
    let mark = format!(r#"{{"event":"mark","sequenceNumber":"513","streamSid":"{stream}","mark":{{"name":"m51"}}}}"#);
    for (id, message) in [("json twilio media in", media), ("json twilio mark in", mark)] {
        criterion
            .bench_function(id, |bencher| bencher.iter(|| twilio.decode(Message::Text(black_box(message.as_str())))));
    }
    let frame = CarrierCommand::Media { frame: speech.into(), late: Duration::ZERO };
    for (id, command) in [("json twilio media out", frame), ("json twilio mark out", CarrierCommand::Mark(MarkId(51)))]
    {
        criterion.bench_function(id, |bencher| bencher.iter(|| twilio.encode(black_box(&command))));
    }
}

fn voice_messages(criterion: &mut Criterion) {
    let stream = StreamSid::parse(&format!("MZ{:032}", 1)).unwrap();
    let settings = cartesia::Settings {
        url: "wss://tts.example/tts/websocket".to_owned(),
        api_key: Secret::new("key"),
        version: "2026-03-01".to_owned(),
        model: "sonic-3.5".to_owned(),
        voice: "5c5ad5e7-1020-476b-8b91-fdcbe9cc313c".to_owned(),
        language: "en".to_owned(),
        speed: None,
        volume: None,
        emotion: None,
        buffering: Buffering::Gateway,
    };
    let mut cartesia = Cartesia::new(settings, &stream);
    for rate in [8_000, 16_000] {
        let mut bytes = Vec::new();
        pcm::write_into(&speech_at(rate)[..(rate * CHUNK_MS / 1_000) as usize], &mut bytes);
        let message = format!(
            r#"{{"type":"chunk","data":"{}","done":false,"status_code":206,"step_time":12.3,"context_id":"{stream}-7.1"}}"#,
            STANDARD.encode(&bytes)
        );
        criterion.bench_function(&format!("json cartesia chunk {rate}"), |bencher| {
            bencher.iter(|| cartesia.decode(Message::Text(black_box(message.as_str()))));
        });
    }
    let on = Place {
        voice: 0,
        context: ContextId { turn: TurnId(7), serial: 1 },
        format: SourceFormat { encoding: Encoding::PcmS16Le, rate: 16_000 },
        delivery: Arc::new(Delivery::default()),
    };
    let speak = TtsCommand::Speak { on, text: "I have found your booking for the fourth of May. ".to_owned() };
    criterion.bench_function("json cartesia request", |bencher| {
        bencher.iter(|| cartesia.encode(CallTime::ZERO, black_box(&speak), &mut |message| drop(black_box(message))));
    });
}

fn codec_table(busy: &str) -> String {
    let mut lines =
        vec!["| step | ns | 95 % interval | share of the audio's length |".to_owned(), "|---|---|---|---|".to_owned()];
    for (id, words, ms) in CODEC {
        let time = median(id);
        let share = share_of_frame(time.ns * 20.0 / f64::from(ms));
        lines.push(format!("| {words} | {} | {} - {} | {share} |", shown(time.ns), shown(time.low), shown(time.high)));
    }
    lines.push(format!("\n{busy}"));
    lines.join("\n")
}

fn frame_table(head: &str, rows: &[(&str, &str)], busy: &str) -> String {
    let mut lines = vec![format!("| {head} | ns | 95 % interval | share of a frame |"), "|---|---|---|---|".to_owned()];
    for (id, words) in rows {
        let time = median(id);
        let share = share_of_frame(time.ns);
        lines.push(format!("| {words} | {} | {} - {} | {share} |", shown(time.ns), shown(time.low), shown(time.high)));
    }
    lines.push(format!("\n{busy}"));
    lines.join("\n")
}
