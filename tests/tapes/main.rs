//! A call that was recorded while it was live is replayed to the very bytes that the carrier got: ten times out of ten, as
//! it was, redacted, and with its audio replaced by silence.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod phone;

use std::io::BufReader;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline::config::{Input, load};
use trunkline::emulate::carrier::read_clip;
use trunkline::emulate::{speech, tts};
use trunkline::replay::{Sent, perform};
use trunkline::tape::{Tape, What};
use trunkline::{gateway, server};

const CALLS: usize = 10;
/// One gateway at a time: forty calls at once would measure the machine.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What one live call was, seen from both ends.
struct Recorded {
    sid: String,
    came: Vec<String>,
    path: PathBuf,
    raw: String,
    tape: Tape,
}

fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tapes-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    directory
}

/// Ten calls at once on a gateway that records them.
async fn record(name: &str, toml: &str) -> Vec<Recorded> {
    let _alone = ALONE.lock().await;
    let directory = directory(name);
    let toml = format!(
        "limits.late_ms = 0\n[tape]\ndir = {directory:?}\n{toml}\n[agent.script]\ngreeting = \"Hello Mr. Brown, your code is 4711. {}\"",
        "Please hold the line, and don't hang up. ".repeat(3)
    );
    let input = Input { file: Some(("test.toml".to_owned(), toml)), ..Input::default() };
    let node = gateway::node(&load(&input).unwrap_or_else(|problems| panic!("{problems}")).config).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("ws://{}/twilio/media", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let serve = server::serve(listener, node, stop.clone());
    let speech = read_clip(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio/question.wav")).unwrap();
    let calls = async {
        let sids: Vec<String> = (0..CALLS).map(|n| format!("MZ{name}{n}")).collect();
        let calls = (0..).zip(&sids).map(|(n, sid)| {
            let (url, speech) = (&url, &speech);
            async move {
                tokio::time::sleep(Duration::from_millis(37 * n)).await;
                phone::call(url, sid, speech, 60 + usize::try_from(n).unwrap()).await
            }
        });
        let came = join_all(calls).await;
        stop.cancel();
        sids.into_iter().zip(came).collect::<Vec<_>>()
    };
    let (served, calls) = tokio::join!(serve, calls);
    served.unwrap();
    let recorded = calls.into_iter().map(|(sid, came)| {
        let path = directory.join(format!("CA{sid}-{sid}.jsonl"));
        let raw = std::fs::read_to_string(&path).unwrap();
        let tape = Tape::read(BufReader::new(raw.as_bytes())).unwrap();
        Recorded { sid, came, path, raw, tape }
    });
    recorded.collect()
}

/// What the replay tells the carrier, and whether that is what the tape says the call told it.
fn replayed(recorded: &Recorded) -> Vec<String> {
    let mut sent = Vec::new();
    let session = perform(&recorded.tape, |_, lines| {
        sent.extend(lines.iter().filter_map(|line| match &line.sent {
            Sent::Carrier(text) => Some(text.clone()),
            Sent::Voice { .. } | Sent::Hearing { .. } | Sent::App(_) | Sent::Agent(_) | Sent::End(_) => None,
        }));
    });
    let Some(What::End(end)) = recorded.tape.entries.last().map(|entry| &entry.what) else { panic!("no end") };
    assert_eq!(session.digest(), end.sent, "{}", recorded.sid);
    without(sent, &end.withdrawn)
}

/// What was told, without what a `clear` overtook on its way to the socket: the last messages of an epoch.
fn without(sent: Vec<String>, withdrawn: &[(u64, u64)]) -> Vec<String> {
    let epochs = sent.split_inclusive(|message| message.contains("\"clear\""));
    let left = (0_u64..).zip(epochs).flat_map(|(epoch, messages)| {
        let (clear, said) = messages.split_last().unwrap();
        let is_cut = clear.contains("\"clear\"");
        let said = if is_cut { said } else { messages };
        let gone =
            usize::try_from(withdrawn.iter().find(|(of, _)| *of == epoch).map_or(0, |(_, count)| *count)).unwrap();
        said[..said.len() - gone].iter().chain(is_cut.then_some(clear)).cloned().collect::<Vec<_>>()
    });
    left.collect()
}

/// The name of the stream in a message.
fn named(message: &str) -> String {
    serde_json::from_str::<Value>(message).unwrap()["streamSid"].as_str().unwrap().to_owned()
}

/// `assert_eq` would print megabytes.
fn assert_same(sid: &str, live: &[String], replayed: &[String]) {
    let at = live.iter().zip(replayed).take_while(|(a, b)| a == b).count();
    assert!(
        live.len() == replayed.len() && at == live.len(),
        "{sid}: {} messages live, {} replayed, the first {at} alike; then {:?} and {:?}",
        live.len(),
        replayed.len(),
        live.get(at),
        replayed.get(at),
    );
    assert!(live.iter().any(|message| message.contains("\"clear\"")), "{sid}: nobody interrupted");
    assert!(live.len() > 20, "{sid}: {} messages", live.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_replayed_to_the_bytes_that_the_carrier_got() {
    for recorded in record("keep", "text = \"keep\"").await {
        assert_same(&recorded.sid, &recorded.came, &replayed(&recorded));
        assert!(recorded.raw.contains("Lovelace") && recorded.raw.contains("4711"), "nothing was to be redacted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_one_whose_voice_was_asked_over_http() {
    let address = (Ipv4Addr::LOCALHOST, 0).into();
    // Quick enough that every caller has something to interrupt.
    let first_byte = Duration::from_millis(20);
    let settings = speech::Settings { voice: speech::Voice::Tone, first_byte, ..speech::Settings::default() };
    let server = speech::Server::bind(address, settings).await.unwrap();
    let (url, asked, stop) = (server.url(), server.journal(), CancellationToken::new());
    let mut running = JoinSet::new();
    running.spawn(server.run(stop.clone()));
    let toml = format!("[speech]\nchain = [\"openai\"]\nopenai = {{ url = \"{url}\", api_key = \"hunter2\" }}");
    for recorded in record("asked", &toml).await {
        let replayed = replayed(&recorded);
        let name = named(&replayed[0]);
        let live: Vec<String> = recorded.came.iter().map(|message| message.replace(&recorded.sid, &name)).collect();
        assert_same(&recorded.sid, &live, &replayed);
        assert!(!recorded.raw.contains("hunter2"), "the key is on the tape");
    }
    assert!(asked.counts().requests >= CALLS as u64);
    stop.cancel();
    while running.join_next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redacted_call_is_replayed_to_the_same_bytes_under_another_name() {
    for recorded in record("redact", "").await {
        let replayed = replayed(&recorded);
        let name = named(&replayed[0]);
        assert_ne!(name, recorded.sid);
        let live: Vec<String> = recorded.came.iter().map(|message| message.replace(&recorded.sid, &name)).collect();
        assert_same(&recorded.sid, &live, &replayed);
        let words = ["Lovelace", "Brown", "4711", "+1555010042", "nobody", "9f31c7", "hold", "line", &recorded.sid];
        // Base64 could spell anything, and so could the times and the checksum.
        let is_told = |line: &&str| !["payload", "\"audio\":{", "\"end\":{"].iter().any(|name| line.contains(name));
        let lines = recorded.raw.lines().skip(1).filter(is_told).filter_map(|line| Some(line.split_once(',')?.1));
        let lines = lines.collect::<Vec<_>>().join("\n");
        for private in words {
            assert!(!lines.contains(private), "{private} is on the tape of {}", recorded.sid);
        }
        let key = |digit: &str| recorded.raw.contains(&format!("\\\"digit\\\":\\\"{digit}\\\""));
        assert!(key("0") && !key("7"), "the key that was pressed is on the tape of {}", recorded.sid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_audio_a_tape_gives_the_same_control_messages_at_the_same_places() {
    for recorded in record("silence", "audio = \"silence\"").await {
        let replayed = replayed(&recorded);
        let name = named(&replayed[0]);
        // A frame is a frame, whatever is in it.
        let shape = |message: &String| match message.contains("\"media\"") {
            true => "frame".to_owned(),
            false => message.replace(&recorded.sid, &name),
        };
        let live: Vec<String> = recorded.came.iter().map(shape).collect();
        assert_same(&recorded.sid, &live, &replayed.iter().map(shape).collect::<Vec<_>>());
        // The caller's loudest frame would still be heard, were it there.
        assert!(recorded.tape.entries.iter().any(|entry| matches!(entry.what, What::Speech(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_may_read_a_tape() {
    let recorded = record("owner", "").await.remove(0);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&recorded.path), 0o600);
    assert_eq!(mode(recorded.path.parent().unwrap()), 0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_without_a_name_is_replayed_as_well_redacted_and_silent() {
    for (name, provider, path) in [("aura", "deepgram", "/v1/speak"), ("flux", "deepgram_flux", "/v2/speak")] {
        let settings = tts::Settings { voice: tts::Voice::Tone, ..tts::Settings::of(tts::Vendor::Deepgram) };
        let vendor = tts::Server::bind((Ipv4Addr::LOCALHOST, 0).into(), settings).await.unwrap();
        let url = format!("{}{path}", vendor.url());
        let (stop, mut servers) = (CancellationToken::new(), JoinSet::new());
        servers.spawn(vendor.run(stop.clone()));
        let speech = format!(
            "[speech]\nchain = [\"{provider}\"]\nphrase_cache_mib = 0\n[speech.{provider}]\nurl = \"{url}\"\napi_key = \"k\""
        );
        for recorded in record(name, &speech).await {
            let replayed = replayed(&recorded);
            let name = named(&replayed[0]);
            let live: Vec<String> = recorded.came.iter().map(|message| message.replace(&recorded.sid, &name)).collect();
            assert_same(&recorded.sid, &live, &replayed);
            let is_binary = |line: &&str| line.contains("\"binary\"");
            assert!(recorded.raw.lines().filter(is_binary).count() > 10, "{}: hardly any audio", recorded.sid);
        }
        for recorded in record(&format!("{name}-silent"), &format!("audio = \"silence\"\n{speech}")).await {
            replayed(&recorded);
        }
        stop.cancel();
        while servers.join_next().await.is_some() {}
    }
}
