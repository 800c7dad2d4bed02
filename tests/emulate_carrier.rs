//! The emulated carrier over real sockets, against a gateway of a page that speaks tones.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test's helpers may fail the test"
)]

use std::f64::consts::PI;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_util::sync::CancellationToken;
use trunkline::audio::g711;
use trunkline::emulate::carrier::{AuthToken, CarrierError, Clip, EndedBy, HangUp, Moment, Plan, run};
use trunkline::ids::{CallSid, CallTime, StreamSid};

const OLD_TONE: f64 = 400.0;
const NEW_TONE: f64 = 1_000.0;

/// What the gateway says after each interruption, and how far ahead of the player it keeps.
const ANSWER_AFTER: Duration = Duration::from_millis(300);
const LEAD_FRAMES: u64 = 6;

fn plan(address: SocketAddr) -> Plan {
    let (call, stream) = (CallSid::parse("CA1").unwrap(), StreamSid::parse("MZ1").unwrap());
    Plan::new(format!("ws://{address}/media"), call, stream)
}

fn tone(hertz: f64, samples: u32) -> Vec<i16> {
    (0..samples).map(|n| (8_000.0 * (2.0 * PI * hertz * f64::from(n) / 8_000.0).sin()) as i16).collect()
}

/// The share of the tone's power in the samples, 0 to 1.
fn share(samples: &[i16], hertz: f64) -> f64 {
    let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let (value, angle) = (f64::from(*sample), 2.0 * PI * hertz * n as f64 / 8_000.0);
        (re, im, power) = (re + value * angle.cos(), im + value * angle.sin(), power + value * value);
    }
    if power == 0.0 { 0.0 } else { 2.0 * (re * re + im * im) / (power * samples.len() as f64) }
}

fn is_loud(message: &Value) -> bool {
    let words = STANDARD.decode(message["media"]["payload"].as_str().unwrap()).unwrap();
    let mut samples = Vec::new();
    g711::decode_mulaw_into(&words, &mut samples);
    samples.iter().any(|sample| sample.unsigned_abs() > 1_000)
}

/// What the gateway saw.
#[derive(Default)]
struct Seen {
    sequence: Vec<u64>,
    events: Vec<String>,
    marks: Vec<String>,
    start: Value,
}

/// Speaks one tone paced until the caller is loud, then clears and speaks another for two seconds.
async fn gateway(mut socket: WebSocketStream<TcpStream>) -> Seen {
    let mut seen = Seen::default();
    let (mut hertz, mut base, mut frame, mut frames_max) = (OLD_TONE, Instant::now(), 0_u64, u64::MAX);
    let send = |body: Value| Message::text(body.to_string());
    loop {
        let due = base + Duration::from_millis(20 * frame.saturating_sub(LEAD_FRAMES));
        tokio::select! {
            message = socket.next() => {
                let Some(Ok(message)) = message else { return seen };
                let Message::Text(text) = message else { continue };
                let message: Value = serde_json::from_str(text.as_str()).unwrap();
                let event = message["event"].as_str().unwrap().to_owned();
                if let Some(number) = message["sequenceNumber"].as_str() {
                    seen.sequence.push(number.parse().unwrap());
                }
                if event == "start" {
                    (base, seen.start) = (Instant::now() + Duration::from_millis(100), message["start"].clone());
                }
                if event == "mark" {
                    seen.marks.push(message["mark"]["name"].as_str().unwrap().to_owned());
                }
                if event == "media" && hertz == OLD_TONE && is_loud(&message) {
                    socket.send(send(json!({"event": "clear", "streamSid": "MZ1"}))).await.unwrap();
                    (hertz, base, frame, frames_max) = (NEW_TONE, Instant::now() + ANSWER_AFTER, 0, 100);
                }
                seen.events.push(event);
            }
            () = sleep_until(due), if !seen.start.is_null() && frame < frames_max => {
                let mut words = Vec::new();
                g711::encode_mulaw_into(&tone(hertz, 160), &mut words);
                let payload = STANDARD.encode(words);
                let media = json!({"event": "media", "streamSid": "MZ1", "media": {"payload": payload}});
                socket.feed(send(media)).await.unwrap();
                frame += 1;
                if frame % 10 == 0 {
                    let mark = json!({"event": "mark", "streamSid": "MZ1", "mark": {"name": format!("{hertz}-{frame}")}});
                    socket.feed(send(mark)).await.unwrap();
                }
                socket.flush().await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_call_with_a_barge_in_is_heard_measured_and_recorded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut plan = plan(listener.local_addr().unwrap());
    plan.custom_parameters.insert("tenant".into(), "acme".into());
    plan.dtmf = vec![(Duration::from_millis(400), '5')];
    let at = Moment::AfterFirstAudio(Duration::from_millis(900));
    plan.caller = vec![Clip { at, samples: tone(600.0, 4_000) }];
    plan.hang_up = HangUp::AfterSilence(Duration::from_millis(500));
    let server = async {
        let (socket, _) = listener.accept().await.unwrap();
        gateway(tokio_tungstenite::accept_async(socket).await.unwrap()).await
    };
    let (outcome, seen) = tokio::join!(run(plan, None, CancellationToken::new()), server);
    let outcome = outcome.unwrap();
    let report = &outcome.report;

    // What the gateway saw.
    assert_eq!(seen.events[..2], ["connected", "start"]);
    assert_eq!(seen.events.last().unwrap(), "stop");
    assert_eq!(seen.sequence, (1..=seen.sequence.len() as u64).collect::<Vec<_>>());
    assert_eq!(seen.start["customParameters"], json!({"tenant": "acme"}));
    assert_eq!(seen.events.iter().filter(|event| *event == "dtmf").count(), 1);
    // Every mark comes back exactly once and in order: played or, on `clear`, dropped.
    let news: Vec<&String> = seen.marks.iter().filter(|name| name.starts_with("1000-")).collect();
    assert_eq!(news.len(), 10);
    assert_eq!(report.marks.received, seen.marks.len() as u64);
    assert!(report.marks.flushed <= 1, "{:?}", report.marks);

    // What was measured. Times are loose: the machine may be busy.
    assert_eq!((report.ended, report.warnings_total, report.clears), (EndedBy::Caller, 0, 1));
    let first = report.first_audio_ms.unwrap();
    assert!((95.0..2_000.0).contains(&first), "{first}");
    let turn = report.caller_turns[0];
    assert!(turn.interrupts);
    assert!(turn.clear_after_ms.unwrap() < 1_000.0, "{turn:?}");
    assert!((250.0..2_000.0).contains(&turn.again_after_clear_ms.unwrap()), "{turn:?}");
    assert_eq!(report.media_after_clear.unwrap().count, 0);

    // What was heard: the old tone until `clear`, silence, then the new tone alone.
    let clear_at = outcome.timeline.iter().find(|line| line.to_string().contains("clear")).unwrap().at;
    let end = CallTime::from_millis(60_000);
    let before = outcome.recording.heard_between(clear_at - Duration::from_millis(200), clear_at);
    let after: Vec<i16> = outcome.recording.heard_between(clear_at, end);
    assert!(share(&before, OLD_TONE) > 0.9, "{}", share(&before, OLD_TONE));
    let silent = after.iter().take_while(|sample| **sample == 0).count();
    assert!(silent >= 8 * 250, "{silent} samples of silence");
    let news = &after[silent..silent + 8_000];
    assert!(share(news, NEW_TONE) > 0.9 && share(news, OLD_TONE) < 0.01);
    let played = outcome.recording.samples_played_by(end) as f64 / 8.0;
    assert!((played - report.audio_played_ms).abs() < 1.0, "{played} ms against {}", report.audio_played_ms);
}

#[tokio::test]
async fn a_refused_upgrade_names_the_status() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut plan = plan(listener.local_addr().unwrap());
    plan.line.auth_token = Some(AuthToken::new("12345"));
    #[expect(clippy::result_large_err, reason = "the handshake's own signature")]
    let refuse = |request: &Request, _: Response| -> Result<Response, ErrorResponse> {
        assert!(request.headers().contains_key("x-twilio-signature"));
        let mut answer = ErrorResponse::new(None);
        *answer.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::FORBIDDEN;
        Err(answer)
    };
    let server = async {
        let (socket, _) = listener.accept().await.unwrap();
        tokio_tungstenite::accept_hdr_async(socket, refuse).await.map(drop)
    };
    let (outcome, served) = tokio::join!(run(plan, None, CancellationToken::new()), server);
    assert!(matches!(outcome, Err(CarrierError::Refused(403))), "{outcome:?}");
    assert!(served.is_err());
}
