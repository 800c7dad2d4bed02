//! Recordings and tones on a live call: as the caller hears them, as the API tells of them, and as a tape keeps them.

use std::f64::consts::TAU;
use std::io::{BufReader, Cursor};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::get;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline::emulate::carrier::{Clip, HangUp, Moment, Outcome, Plan, read_clip, run};
use trunkline::http::outbound::{Lookup, Outbound, Rules};
use trunkline::ids::{CallSid, CallTime, StreamSid};
use trunkline::player::{self, Player};
use trunkline::replay::perform;
use trunkline::tape::{Tape, What};

use crate::support::carrier::{PUBLIC_URL, ask, stream};
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Events};
use crate::support::logs::Logs;
use crate::support::until;

/// The recording's tone.
const HZ: f64 = 440.0;

/// Two seconds of a tone, stereo at 44.1 kHz.
#[expect(clippy::cast_possible_truncation, reason = "a level within the range")]
fn recording() -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 44_100,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    for n in 0..88_200 {
        // A whole number of periods, so that the end joins the beginning.
        let level = 8_000.0 * (TAU * HZ * f64::from(n) / 44_100.0).sin();
        (0..2).for_each(|_| writer.write_sample(level as i16).unwrap());
    }
    writer.finalize().unwrap();
    file.into_inner()
}

/// A server with one recording; where it is.
async fn library(serving: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let file = recording();
    let app = axum::Router::new()
        .route("/hold.wav", get(async move || ([("content-type", "audio/wav")], file.clone())))
        .route("/gone.wav", get(async || StatusCode::GONE));
    serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

async fn play(gateway: &Gateway, query: &str, body: Value) -> Answer {
    gateway.api("POST", &format!("/v1/calls/CA1/play{query}")).json(&body).send(gateway.address).await
}

async fn press(gateway: &Gateway, body: Value) -> Answer {
    gateway.api("POST", "/v1/calls/CA1/digits").json(&body).send(gateway.address).await
}

/// The share of a frequency in the power of samples, 0 to 1.
fn share(samples: &[i16], hz: f64) -> f64 {
    let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let (value, angle) = (f64::from(*sample), TAU * hz * n as f64 / 8_000.0);
        (re, im, power) = (re + value * angle.cos(), im + value * angle.sin(), power + value * value);
    }
    if power == 0.0 { 0.0 } else { 2.0 * (re * re + im * im) / (power * samples.len() as f64) }
}

/// The keys that a receiver hears: two tones that make up 40 ms, again and again.
fn keys(samples: &[i16]) -> String {
    let rows = [(697.0, "123A"), (770.0, "456B"), (852.0, "789C"), (941.0, "*0#D")];
    let columns = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
    let (mut found, mut before) = (String::new(), None);
    for window in samples.windows(320).step_by(80) {
        let row = rows.iter().find(|(hz, _)| share(window, *hz) > 0.3);
        let column = columns.iter().position(|hz| share(window, *hz) > 0.3);
        let key = row.zip(column).map(|((_, keys), column)| keys.as_bytes()[column] as char);
        found.extend(key.filter(|_| key != before));
        before = key;
    }
    found
}

/// A caller who is heard a second and a half after the first sound, and hangs up when it was silent for a while.
fn caller(gateway: &Gateway) -> Plan {
    let (call, stream) = (CallSid::parse("CA1").unwrap(), StreamSid::parse("MZ1").unwrap());
    let mut plan = Plan::new(format!("ws://{}/twilio/media", gateway.address), call, stream);
    let speech = read_clip(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio/no.wav")).unwrap();
    plan.caller = vec![Clip { at: Moment::AfterFirstAudio(Duration::from_millis(1_500)), samples: speech }];
    plan.hang_up = HangUp::AfterSilence(Duration::from_secs(2));
    plan
}

/// A call with a tape on which hold music is interrupted and keys are heard afterwards, with the tape.
async fn held(name: &str, toml: &str) -> (Outcome, Tape, String) {
    let directory: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("play-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    let toml = format!("[player]\nallow_http = true\n[tape]\ndir = {directory:?}\n{toml}");
    let gateway = Gateway::open(&toml).await;
    let mut serving = JoinSet::new();
    let url = format!("{}/hold.wav", library(&mut serving).await);
    let script = async {
        gateway.is_listed("CA1").await;
        // Longer than anybody holds: the rest is never made.
        let answer = play(&gateway, "?wait=heard", json!({ "source": url, "times": 1_000 })).await;
        let view = answer.json();
        assert_eq!((answer.status, &view["turn"], &view["outcome"]), (200, &json!(1), &json!("interrupted")), "{view}");
        assert!((800..4_000).contains(&view["heard_ms"].as_u64().unwrap()), "{view}");
        assert_eq!(press(&gateway, json!({ "digits": "1w59#", "in_band": true })).await.turn(), 2);
    };
    let (outcome, ()) = tokio::join!(Box::pin(run(caller(&gateway), None, CancellationToken::new())), script);
    gateway.is_gone("CA1").await;
    assert_eq!(gateway.metric("trunkline_clips_total{kind=\"fetched\"}").await, 1.0);
    assert_eq!(gateway.metric("trunkline_underruns_total").await, 0.0);
    let raw = until("the tape", async || {
        let raw = std::fs::read_to_string(directory.join("CA1-MZ1.jsonl")).ok()?;
        raw.lines().last()?.contains("\"end\"").then_some(raw)
    })
    .await;
    let tape = Tape::read(BufReader::new(raw.as_bytes())).unwrap();
    std::fs::remove_dir_all(directory).unwrap();
    (outcome.unwrap(), tape, raw)
}

/// The tape gives the same call again, with nobody there to ask for the recording.
fn assert_replays(tape: &Tape) {
    let session = perform(tape, |_, _| {});
    let Some(What::End(end)) = tape.entries.last().map(|entry| &entry.what) else { panic!("no end") };
    assert_eq!(session.digest(), end.sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn music_is_heard_until_the_caller_speaks_and_keys_are_heard_after_it() {
    let (outcome, tape, _) = held("keep", "text = \"keep\"").await;
    let clear_at = outcome.timeline.iter().find(|line| line.to_string().contains("clear")).unwrap().at;
    assert_eq!(outcome.report.clears, 1);
    let music = outcome.recording.heard_between(clear_at - Duration::from_millis(800), clear_at);
    assert!(share(&music, HZ) > 0.95, "{}", share(&music, HZ));
    let after = outcome.recording.heard_between(clear_at, CallTime::from_millis(120_000));
    assert_eq!(keys(&after), "159#");
    assert_replays(&tape);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redacted_tape_has_neither_the_address_nor_the_keys_nor_the_sound() {
    let (_, tape, raw) = held("redact", "text = \"redact\"\naudio = \"silence\"").await;
    for private in ["hold.wav", "127.0.0.1", "159#", "1w59"] {
        assert!(!raw.contains(private), "{private} is on the tape");
    }
    assert!(raw.contains("\"tones\":\"00000\"") && raw.contains("\"recording\":"));
    let audio = raw.lines().filter(|line| line.contains("\"voice\":{\"audio\"")).count();
    assert!(audio > 10, "{audio} pieces of sound");
    assert!(!raw.lines().any(|line| line.contains("\"voice\":{\"audio\"") && !line.contains("\"audio\":\"AAAAAAAA")));
    let session = perform(&tape, |_, _| {});
    let Some(What::End(end)) = tape.entries.last().map(|entry| &entry.what) else { panic!("no end") };
    assert_eq!(session.digest().frames, end.sent.frames);
}

#[tokio::test]
async fn a_clip_is_a_turn_between_others_and_one_that_fails_is_told() {
    let gateway = Gateway::open("player.allow_http = true").await;
    let mut serving = JoinSet::new();
    let library = library(&mut serving).await;
    let _phone = gateway.call("CA1").await;
    let mut events = Events::open(gateway.api("GET", "/v1/calls/CA1/events"), gateway.address).await;
    let gone = play(&gateway, "", json!({ "source": format!("{library}/gone.wav") })).await.turn();
    let failed = events.skip_to("speech_failed").await;
    assert_eq!(failed["reason"], "the server of the recording answered 410");
    assert_eq!(events.skip_to("turn_over").await["outcome"], "failed");
    assert_eq!(gateway.metric("trunkline_clips_total{kind=\"failed\"}").await, 1.0);

    // It is closed from the start: text for it is refused.
    let turn = play(&gateway, "", json!({ "source": format!("{library}/hold.wav"), "preemptible": true })).await.turn();
    assert_eq!(turn, gone + 1);
    assert_eq!(gateway.say("CA1", json!({ "turn": turn, "text": "No." })).await.status, 409);
    events.skip_to("first_audio").await;
    // What comes next takes its place.
    let view = gateway.say_and_wait("CA1", json!({ "text": "Here we are." })).await.json();
    assert_eq!((&view["turn"], &view["outcome"]), (&json!(turn + 1), &json!("heard")));
    assert_eq!(events.skip_to("interrupted").await["cause"], "preempted");
    // The same recording again was not fetched again.
    let view = play(&gateway, "?wait=heard", json!({ "source": format!("{library}/hold.wav") })).await.json();
    assert_eq!((&view["outcome"], &view["heard_ms"]), (&json!("heard"), &json!(2_000)));
    assert_eq!(gateway.metric("trunkline_clips_total{kind=\"cached\"}").await, 1.0);
}

#[tokio::test]
async fn what_cannot_be_played_is_refused_before_anything_is_asked_for() {
    let gateway = Gateway::open("").await;
    let _phone = gateway.call("CA1").await;
    for (body, field) in [
        (json!({}), "source"),
        (json!({ "source": "hold.wav" }), "source"),
        (json!({ "source": "file:///etc/passwd" }), "source"),
        (json!({ "source": "http://example.com/hold.wav" }), "source"),
        (json!({ "source": "https://example.com/hold.wav", "times": 0 }), "times"),
        (json!({ "source": "https://example.com/hold.wav", "times": 1_001 }), "times"),
        (json!({ "source": "https://example.com/hold.wav", "loop": 2 }), "loop"),
    ] {
        let answer = play(&gateway, "", body).await;
        assert_eq!((answer.status, answer.json()["field"].as_str().unwrap()), (422, field), "{answer:?}");
        assert!(!answer.body.contains("example.com") && !answer.body.contains("passwd"), "{answer:?}");
    }
    for body in [json!({ "in_band": true }), json!({ "in_band": true, "digits": "12x4711" })] {
        let answer = press(&gateway, body).await;
        assert_eq!((answer.status, answer.json()["field"].as_str().unwrap()), (422, "digits"));
        assert!(!answer.body.contains("4711"));
    }
    assert_eq!(press(&gateway, json!({ "digits": "1" })).await.status, 501, "the carrier's way needs its api");
    assert_eq!(gateway.get("/v1/calls/CA1").await.json()["turns"], json!([]));
    let nowhere = gateway.api("POST", "/v1/calls/CA9/play").json(&json!({})).send(gateway.address).await;
    assert_eq!(nowhere.status, 404);
}

#[tokio::test]
async fn nobody_reaches_through_us_what_only_we_reach() {
    let mut serving = JoinSet::new();
    let library = library(&mut serving).await;
    let logs = Logs::take();
    let mut rules = Rules::default();
    ["*.example.com", "library.test", "127.0.0.1"].iter().for_each(|entry| rules.allow(entry).unwrap());
    let outbound = Outbound::new(rules).looking_up(Arc::new(Home));
    let gateway = Gateway::changed(PUBLIC_URL, "", |settings| {
        let outbound = outbound.watched(settings.meter.clone());
        settings.player =
            Player::new(player::Settings { allow_http: true, ..player::Settings::default() }, &outbound).unwrap();
    })
    .await;
    let answer = ask(&gateway, &format!("{PUBLIC_URL}/twilio/voice"), "CA1").await;
    let _phone = stream(&gateway, "CA1", &answer).await;
    let mut events = Events::open(gateway.api("GET", "/v1/calls/CA1/events"), gateway.address).await;
    let hidden = format!("{library}/hold.wav?key=hunter2");
    for (source, reason) in [
        (hidden.clone(), "the host has a loopback address, which is not one of outbound.private"),
        (hidden.replace("127.0.0.1", "localhost"), "the host is not one of outbound.hosts"),
        ("http://elsewhere.test/hunter2".to_owned(), "the host is not one of outbound.hosts"),
    ] {
        let answer = play(&gateway, "", json!({ "source": source })).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!("source")), "{answer:?}");
        assert!(answer.body.contains(reason) && !answer.body.contains("hunter2"), "{answer:?}");
    }
    // A name that may be asked, and leads to where nobody may be: it is found out when it is looked up.
    play(&gateway, "", json!({ "source": hidden.replace("127.0.0.1", "library.test") })).await.turn();
    let failed = events.skip_to("speech_failed").await;
    assert_eq!(failed["reason"], "the host has a loopback address, which is not one of outbound.private");
    assert_eq!(gateway.metric("trunkline_outbound_refused_total{kind=\"play\"}").await, 4.0);
    assert_eq!(logs.text().matches("an outbound request was refused").count(), 4, "each host once");
    logs.holds_none_of(&["hunter2", "hold.wav"]);
}

#[tokio::test]
async fn a_recording_of_a_private_network_is_played_where_it_is_listed() {
    let mut serving = JoinSet::new();
    let source = format!("{}/hold.wav", library(&mut serving).await);
    let toml = "player.allow_http = true\noutbound.hosts = [\"example.com\"]\noutbound.private = [\"127.0.0.0/8\"]";
    let gateway = Gateway::signed(PUBLIC_URL, toml).await;
    let answer = ask(&gateway, &format!("{PUBLIC_URL}/twilio/voice"), "CA1").await;
    let _phone = stream(&gateway, "CA1", &answer).await;
    let view = play(&gateway, "?wait=heard", json!({ "source": source })).await.json();
    assert_eq!((&view["outcome"], &view["heard_ms"]), (&json!("heard"), &json!(2_000)));
}

/// Every name leads to this host.
struct Home;

impl Lookup for Home {
    fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) }.boxed()
    }
}
