//! What goes over a vendor's socket: the handshake, every byte of the caller's audio, and the words in between.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::{Bench, clip_of};
use crate::vendor::{Answer, Got, Link, Vendor};

/// Old enough for one utterance; then a link is replaced in the silence after it, and has to say goodbye.
const SESSION: Duration = Duration::from_secs(3);
const SAID: &str = "hello there";

/// What is to be seen on a vendor's sockets.
struct Expected {
    provider: &'static str,
    more: &'static str,
    path: &'static str,
    /// Without what is the same in every one.
    query: &'static str,
    headers: &'static [(&'static str, &'static str)],
    piece_bytes: usize,
    first: &'static str,
    finalise: &'static str,
    close: &'static str,
    answer: fn(usize, &Link) -> Answer,
}

/// What came last, if it is a text.
fn last_text(link: &Link) -> Option<&str> {
    match link.got.last() {
        Some(Got::Text(text)) => Some(text),
        Some(Got::Audio(_)) | None => None,
    }
}

fn say(messages: &[Value]) -> Answer {
    Answer::Say(messages.iter().map(Value::to_string).collect())
}

/// Plays an utterance to a vendor, and waits until its link was replaced.
async fn plays(expected: &Expected) -> (Vec<Link>, Vec<u8>) {
    let vendor = Vendor::start(expected.answer).await;
    let provider = expected.provider;
    let url = format!("ws://{}{}", vendor.address, expected.path);
    let toml = format!(
        "agent.kind = \"api\"\nhearing.provider = \"{provider}\"\nhearing.turn_end = \"silence\"\n\
         hearing.{provider}.api_key = \"the-key\"\nhearing.{provider}.url = \"{url}\"\n{}",
        expected.more
    );
    let mut bench = Bench::start(&toml, |settings| {
        settings.conversation.hearing.as_mut().unwrap().session = Some(SESSION);
    });
    bench.say("question.wav").await;
    assert_eq!(bench.prompts_of(1).await, [SAID]);
    bench
        .hush_until("the end of the first link", |_| {
            vendor.has(0, |link| last_text(link) == Some(expected.close))
                && vendor.has(1, |link| !link.audio().is_empty())
        })
        .await;
    assert_eq!(bench.prompts(), [SAID]);
    let sent = bench.sent.clone();
    bench.stop().await;
    (vendor.links(), sent)
}

async fn holds(expected: Expected) {
    let (links, sent) = plays(&expected).await;
    for link in &links[..2] {
        let (path, query) = link.path.split_once('?').unwrap_or((&link.path, ""));
        assert_eq!((path, query), (expected.path, expected.query));
        for (name, value) in expected.headers {
            assert_eq!(link.header(name), Some(*value), "{name}");
        }
        assert!(!link.path.contains("the-key"), "{}", link.path);
    }
    let first = &links[0];
    // Byte for byte what the caller said, from the first on.
    let audio = first.audio();
    assert!(audio.len() > clip_of("question.wav").len() && sent.starts_with(&audio), "{} bytes", audio.len());
    // In whole pieces, but for the rest before a text.
    for (at, got) in first.got.iter().enumerate() {
        if let Got::Audio(piece) = got {
            let is_rest = matches!(first.got.get(at + 1), Some(Got::Text(_)));
            assert!(piece.len() == expected.piece_bytes || (is_rest && piece.len() < expected.piece_bytes), "at {at}");
        }
    }
    let texts: Vec<&str> =
        [expected.first, expected.finalise, expected.close].into_iter().filter(|t| !t.is_empty()).collect();
    assert_eq!(first.texts(), texts);
    if let Some(at) = first.got.iter().position(|got| *got == Got::Text(expected.finalise.to_owned())) {
        let before = Link { got: first.got[..at].to_vec(), ..Link::default() };
        // The detector's silence is over by then, so all that was said had gone.
        assert!(before.audio().len() >= clip_of("question.wav").len(), "finalised too early");
    }
    assert_eq!(first.got.last(), Some(&Got::Text(expected.close.to_owned())));
    // The second link goes on where the first ended, or up to a second before.
    let second = links[1].audio();
    let begins = (0..=8_000).map(|back| audio.len() - back).find(|at| sent[*at..].starts_with(&second));
    assert!(begins.is_some(), "the second link of {} heard something else", expected.provider);
}

#[tokio::test]
async fn ink_with_turns() {
    holds(Expected {
        provider: "cartesia",
        more: "hearing.cartesia.keyterms = [\"a b\", \"c\"]",
        path: "/stt/turns/websocket",
        query: "model=ink-2&encoding=pcm_mulaw&sample_rate=8000&keyterm=a+b&keyterm=c",
        headers: &[("authorization", "Bearer the-key"), ("cartesia-version", "2026-03-01")],
        piece_bytes: 160,
        first: "",
        finalise: "",
        close: r#"{"type":"close"}"#,
        // It cannot be asked: it finds the end by itself, here a while after the last word.
        answer: |number, link| match link.got.len() {
            60 if number == 0 => say(&[
                json!({"type": "turn.start", "request_id": "r"}),
                json!({"type": "turn.update", "request_id": "r", "transcript": "hello"}),
            ]),
            185 if number == 0 => say(&[json!({"type": "turn.end", "request_id": "r", "transcript": SAID})]),
            _ => say(&[]),
        },
    })
    .await;
}

#[tokio::test]
async fn ink_that_is_told_when_to_finalise() {
    holds(Expected {
        provider: "cartesia",
        more: "hearing.cartesia.endpoint = \"manual\"\nhearing.cartesia.language = \"en\"",
        path: "/stt/websocket",
        query: "model=ink-2&encoding=pcm_mulaw&sample_rate=8000&language=en",
        headers: &[("authorization", "Bearer the-key"), ("cartesia-version", "2026-03-01")],
        piece_bytes: 160,
        first: "",
        finalise: "finalize",
        close: "close",
        answer: |_, link| match last_text(link) {
            Some("finalize") => say(&[
                json!({"type": "transcript", "request_id": "r", "text": "hello ", "is_final": true}),
                json!({"type": "transcript", "request_id": "r", "text": "there", "is_final": true}),
                json!({"type": "flush_done", "request_id": "r"}),
            ]),
            Some(_) | None => say(&[]),
        },
    })
    .await;
}

fn results(transcript: &str, from_finalize: bool) -> Value {
    json!({"type": "Results", "is_final": true, "speech_final": false, "from_finalize": from_finalize,
        "channel": {"alternatives": [{"transcript": transcript, "confidence": 0.9, "words": []}]}})
}

#[tokio::test]
async fn deepgram() {
    holds(Expected {
        provider: "deepgram",
        more: "",
        path: "/v1/listen",
        query: "model=nova-3&encoding=mulaw&sample_rate=8000&channels=1&interim_results=true&endpointing=300&\
            utterance_end_ms=1000&vad_events=true&smart_format=true",
        headers: &[("authorization", "Token the-key")],
        piece_bytes: 160,
        first: "",
        finalise: r#"{"type":"Finalize"}"#,
        close: r#"{"type":"CloseStream"}"#,
        answer: |_, link| match last_text(link) {
            Some(text) if text.contains("Finalize") => say(&[results("hello", false), results("there", true)]),
            Some(_) | None => say(&[]),
        },
    })
    .await;
}

#[tokio::test]
async fn flux() {
    holds(Expected {
        provider: "deepgram_flux",
        more: "hearing.deepgram_flux.eager_end_threshold = 0.5",
        path: "/v2/listen",
        query: "model=flux-general-en&encoding=mulaw&sample_rate=8000&eager_eot_threshold=0.5",
        headers: &[("authorization", "Token the-key")],
        piece_bytes: 640,
        first: "",
        finalise: r#"{"type":"ForceEndTurn"}"#,
        close: r#"{"type":"CloseStream"}"#,
        answer: |_, link| match last_text(link) {
            Some(text) if text.contains("ForceEndTurn") => {
                say(&[json!({"type": "TurnInfo", "event": "EndOfTurn", "turn_index": 0, "transcript": SAID})])
            }
            Some(_) | None => say(&[]),
        },
    })
    .await;
}

#[tokio::test]
async fn gradium() {
    holds(Expected {
        provider: "gradium",
        more: "hearing.gradium.delay_frames = 8",
        path: "/api/speech/asr",
        query: "",
        headers: &[("x-api-key", "the-key")],
        piece_bytes: 640,
        first: r#"{"type":"setup","model_name":"default","input_format":"ulaw_8000","json_config":{"delay_in_frames":8}}"#,
        finalise: r#"{"type":"flush","flush_id":1}"#,
        close: r#"{"type":"end_of_stream"}"#,
        answer: |_, link| match last_text(link) {
            Some(text) if text.contains("flush") => say(&[
                json!({"type": "text", "text": "hello", "start_s": 0.5, "stream_id": 0}),
                json!({"type": "text", "text": "there", "start_s": 0.9, "stream_id": 0}),
                json!({"type": "flushed", "flush_id": 1}),
            ]),
            Some(_) | None => say(&[]),
        },
    })
    .await;
}

#[tokio::test]
async fn a_link_that_is_lost_is_made_again_and_nonsense_is_survived() {
    // The first link breaks in the middle of the utterance; the second talks nonsense before it answers.
    let vendor = Vendor::start(|number, link| match (number, last_text(link)) {
        (0, _) if link.got.len() == 75 => Answer::Drop,
        (1, Some(text)) if text.contains("Finalize") => {
            let nonsense = ["", "{", "[1]", r#"{"type":"Results"}"#].map(str::to_owned);
            Answer::Say(nonsense.into_iter().chain([results(SAID, true).to_string()]).collect())
        }
        (_, _) => say(&[]),
    })
    .await;
    let toml = format!(
        "agent.kind = \"api\"\nhearing.provider = \"deepgram\"\nhearing.deepgram.url = \"ws://{}/v1/listen\"",
        vendor.address
    );
    let mut bench = Bench::start(&toml, |_| {});
    bench.say("question.wav").await;
    assert_eq!(bench.prompts_of(1).await, [SAID]);
    let (links, sent) = (vendor.links(), bench.sent.clone());
    // Up to a second before the break is heard again, and nothing is left out.
    let (first, second) = (links[0].audio(), links[1].audio());
    let begins = (0..=8_000 + 1_600)
        .filter_map(|back| first.len().checked_sub(back))
        .find(|at| sent[*at..].starts_with(&second));
    assert!(begins.is_some(), "the second link heard something else");
    let metrics = bench.meter.render();
    assert!(metrics.contains("trunkline_hearing_reconnects_total 1"), "{metrics}");
    assert!(metrics.contains("trunkline_hearing_failures_total 0"), "{metrics}");
    bench.stop().await;
}

#[tokio::test]
async fn a_vendor_that_refuses_is_told_once() {
    use trunkline::call::action::AgentReport;
    // Nobody listens there: the port was free a moment ago.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let toml = format!(
        "agent.kind = \"api\"\nhearing.provider = \"gradium\"\nhearing.gradium.url = \"ws://{free}/api/speech/asr\""
    );
    let mut bench = Bench::start(&toml, |_| {});
    let failed = |reports: &[AgentReport]| {
        reports.iter().filter(|report| matches!(report, AgentReport::HearingFailed { .. })).count()
    };
    bench.hush_until("the failure", |reports| failed(reports) > 0).await;
    assert_eq!(failed(&bench.reports()), 1);
    assert!(bench.meter.render().contains("trunkline_hearing_failures_total 1"));
    bench.stop().await;
}
