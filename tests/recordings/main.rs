//! Recordings of live calls, held against the phone that was in them, against the replay of their tapes, and against a kill.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod listening;

use std::fs::FileTimes;
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hound::{SampleFormat, WavSpec, WavWriter};
use tokio::io::AsyncBufReadExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trunkline::call::action::AgentReport;
use trunkline::config::{Input, load};
use trunkline::emulate::carrier::{Clip, HangUp, Moment, Outcome, Plan, read_clip, run};
use trunkline::ids::{CallSid, CallTime, StreamSid, TurnId};
use trunkline::replay::{Sent, perform, perform_aloud};
use trunkline::tape::Tape;
use trunkline::{gateway, server};

use listening::{Stereo, loudest};

/// Longer than anything takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// One gateway at a time: what is measured is time.
static ALONE: Mutex<()> = Mutex::const_new(());

const SCRIPT: &str = "[agent.script]\ngreeting = \"Good morning, this is the greeting of a call that is recorded. It is long \
    enough to be cut off in the middle of a sentence, which is what one of the two callers does.\"\nlines = [\"I was cut off.\"]\n";

fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("recordings-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn settings(directory: &Path, more: &str) -> String {
    format!(
        "recording.dir = {directory:?}\nrecording.min_free_mib = 0\ntape.dir = {directory:?}\ntape.text = \"keep\"\n{more}{SCRIPT}"
    )
}

async fn gateway(toml: String) -> (SocketAddr, server::Node, CancellationToken, JoinSet<std::io::Result<()>>) {
    let input = Input { file: Some(("test.toml".to_owned(), toml)), ..Input::default() };
    let node = gateway::node(&load(&input).unwrap_or_else(|problems| panic!("{problems}")).config).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, stop, mut serving) = (listener.local_addr().unwrap(), CancellationToken::new(), JoinSet::new());
    serving.spawn(server::serve(listener, node.clone(), stop.clone()));
    (address, node, stop, serving)
}

fn plan(address: SocketAddr, name: &str, hang_up: HangUp) -> Plan {
    let (call, stream) =
        (CallSid::parse(&format!("CA{name}")).unwrap(), StreamSid::parse(&format!("MZ{name}")).unwrap());
    Plan { hang_up, ..Plan::new(format!("ws://{address}/twilio/media"), call, stream) }
}

fn question(at: Moment) -> Clip {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio/question.wav");
    Clip { at, samples: read_clip(&path).unwrap() }
}

async fn call(plan: Plan) -> Outcome {
    timeout(LIMIT, Box::pin(run(plan, None, CancellationToken::new()))).await.unwrap().unwrap()
}

/// Stops the gateway, which waits for its files.
async fn stopped(stop: &CancellationToken, mut serving: JoinSet<std::io::Result<()>>) {
    stop.cancel();
    timeout(LIMIT, serving.join_next()).await.unwrap().unwrap().unwrap().unwrap();
}

/// The recording of a call, its tape, and what a replay of the tape sounds like.
fn recorded(directory: &Path, name: &str) -> (Stereo, Tape, Vec<i16>) {
    let path = directory.join(format!("CA{name}-MZ{name}.wav"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let tape = std::fs::File::open(directory.join(format!("CA{name}-MZ{name}.jsonl"))).unwrap();
    let tape = Tape::read(BufReader::new(tape)).unwrap();
    let mut replayed = Vec::new();
    perform_aloud(
        &tape,
        |_, _| {},
        |rate, samples| {
            assert_eq!(rate, 8_000);
            replayed.extend_from_slice(samples);
        },
    );
    (Stereo::read(&path), tape, replayed)
}

/// Holds the recording of a call against the phone and the replay; how many milliseconds later than the phone's its clock
/// shows what the caller heard. The phone's begins with the upgrade, which a busy machine is slow to answer.
fn check(name: &str, recording: &Stereo, tape: &Tape, replayed: &[i16], outcome: &Outcome) -> i64 {
    assert!(recording.interleaved() == replayed, "{name}: the recording is not what a replay of the tape sounds like");
    // It lasts from the first to the last thing that the call took; between the two ends, the phone's clock runs as well.
    let ended = tape.entries.last().unwrap().at;
    assert!(ended.since(recording.end()) < Duration::from_millis(20), "{name}: {ended} and {}", recording.end());
    // Right: each stretch that the phone played, sample for sample, where it was played; and nothing else.
    let played = outcome.recording.played();
    let heard: usize = played.iter().map(|segment| segment.samples.len()).sum();
    assert!(heard > 8_000, "{name}: hardly anything was said");
    let (mut beyond, mut later) = (recording.right.clone(), Vec::new());
    for segment in played {
        let (at, same) = recording.find(segment.at, &segment.samples);
        let later_ms = (i64::try_from(at).unwrap() - i64::try_from(segment.at.as_micros() / 125).unwrap()) / 8;
        later.push(later_ms);
        // A `clear` takes its time to the phone, and so does the end.
        let missing_ms = (segment.samples.len() - same) / 8;
        assert!(missing_ms < 100, "{name}: the last {missing_ms} ms that were played at {} are missing", segment.at);
        beyond[usize::try_from(at).unwrap()..][..same].fill(0);
    }
    let beyond_ms = beyond.iter().filter(|sample| **sample != 0).count() / 8;
    assert!(beyond_ms < 100, "{name}: {beyond_ms} ms are recorded that nobody heard");
    // What came to the phone soonest tells the clocks apart; the rest was under way for longer on a busy machine.
    let offset_ms = later.iter().copied().max().unwrap();
    assert!(
        later.iter().all(|later_ms| offset_ms - later_ms < 1_000),
        "{name}: recorded {later:?} ms later than played"
    );
    let hung_up_ms = i64::try_from(outcome.log.entries().last().unwrap().at.as_micros() / 1_000).unwrap() + offset_ms;
    let apart_ms = hung_up_ms - i64::try_from(recording.end().as_micros() / 1_000).unwrap();
    // How long a call lasts is held against its tape above; this is only how long a hang-up takes on a busy machine.
    assert!(apart_ms.abs() < 1_000, "{name}: the phone hung up {apart_ms} ms after the end");
    offset_ms
}

#[tokio::test(flavor = "multi_thread")]
async fn two_calls_are_recorded_as_they_were_heard_and_as_their_tapes_replay() {
    let _alone = ALONE.lock().await;
    let directory = directory("two");
    let (address, node, stop, serving) = gateway(settings(&directory, "")).await;
    let silent = plan(address, "quiet", HangUp::AfterSilence(Duration::from_secs(1)));
    let mut loud = plan(address, "loud", HangUp::AfterSilence(Duration::from_secs(2)));
    loud.caller = vec![question(Moment::AfterFirstAudio(Duration::from_millis(1_500)))];
    let (silent, loud) = tokio::join!(call(silent), call(loud));
    stopped(&stop, serving).await;

    let (recording, tape, replayed) = recorded(&directory, "quiet");
    check("quiet", &recording, &tape, &replayed, &silent);
    assert!(recording.left.iter().all(|sample| sample.unsigned_abs() < 10), "nobody spoke");

    let (recording, tape, replayed) = recorded(&directory, "loud");
    let offset_ms = check("loud", &recording, &tape, &replayed, &loud);
    assert!(tape.end().unwrap().sent.clears >= 1, "nobody interrupted");
    assert!(loud.recording.played().len() >= 2, "nothing was said after the interruption");
    // Both sides lie to one another as they did for the phone.
    let caller = recording.caller_lies(loud.recording.caller());
    assert!(caller.len() > 10, "the caller said hardly anything");
    for later_ms in caller {
        assert!((later_ms - offset_ms).abs() < 150, "the caller is {later_ms} ms later, what was heard {offset_ms} ms");
    }

    let metrics = node.meter().render();
    for line in [
        "trunkline_recordings_total 2",
        "trunkline_recordings_broken_total 0",
        "trunkline_recording_lost_seconds_total 0.0",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} is not in the metrics");
    }
    let parts = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(parts.filter(|name| name.ends_with(".part")).count(), 0);
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_deletes_what_is_too_old_as_soon_as_it_starts() {
    let directory = directory("old");
    let spec = WavSpec { channels: 2, sample_rate: 8_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
    for (name, days) in [("CAold-MZold.wav", 3), ("CAnew-MZnew.wav", 1)] {
        let path = directory.join(name);
        WavWriter::create(&path, spec).unwrap().finalize().unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let changed = file.metadata().unwrap().modified().unwrap() - Duration::from_secs(days * 86_400);
        file.set_times(FileTimes::new().set_modified(changed)).unwrap();
    }
    let toml = settings(&directory, "recording.keep_days = 2\n");
    let (_, node, stop, serving) = gateway(toml).await;
    timeout(LIMIT, async {
        while !node.meter().render().contains("trunkline_files_expired_total{kind=\"recording\"} 1") {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    stopped(&stop, serving).await;
    assert!(!directory.join("CAold-MZold.wav").exists() && directory.join("CAnew-MZnew.wav").exists());
    std::fs::remove_dir_all(directory).unwrap();
}

/// What the agent was told in a call, by its tape.
fn reports(tape: &Tape) -> Vec<AgentReport> {
    let mut reports = Vec::new();
    perform(tape, |_, lines| {
        for line in lines {
            if let Sent::Agent(report) = &line.sent {
                reports.push(report.clone());
            }
        }
    });
    reports
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_is_heard_to_its_end_before_the_greeting_and_only_where_a_call_is_recorded() {
    let _alone = ALONE.lock().await;
    let directory = directory("announced");
    let line = "recording.announcement = \"This call is being recorded.\"\n";
    let (address, _node, stop, serving) = gateway(settings(&directory, line)).await;
    let mut speaks = plan(address, "told", HangUp::AfterSilence(Duration::from_secs(2)));
    // Into the announcement, which takes about two seconds.
    speaks.caller = vec![question(Moment::AfterFirstAudio(Duration::from_millis(200)))];
    let outcome = call(speaks).await;
    stopped(&stop, serving).await;

    let (recording, tape, replayed) = recorded(&directory, "told");
    check("told", &recording, &tape, &replayed, &outcome);
    let reports = reports(&tape);
    let opening = TurnId(1 << 31);
    let announced = AgentReport::Announced { turn: opening, text: "This call is being recorded.".to_owned() };
    assert!(reports.contains(&announced), "{reports:?}");
    assert!(reports.iter().any(|report| matches!(report, AgentReport::CallerSpeech(_))), "the caller was not heard");
    // Its turn is the first that is over, and nothing of it was cut off, although the caller spoke.
    let first = reports.iter().find_map(|report| {
        if let AgentReport::TurnOver { turn, heard } = report {
            Some((*turn, heard.text.clone()))
        } else if let AgentReport::Interrupted { turn, heard, .. } = report {
            Some((*turn, format!("{} (cut off)", heard.text)))
        } else {
            None
        }
    });
    assert_eq!(first.unwrap(), (opening, "This call is being recorded.".to_owned()));

    // A disk that has no room: no recording, and nobody is told that there is one.
    let toml = settings(&directory, line).replace("min_free_mib = 0", "min_free_mib = 1048576");
    let (address, node, stop, serving) = gateway(toml).await;
    sleep(Duration::from_millis(500)).await;
    call(plan(address, "full", HangUp::After(Duration::from_secs(1)))).await;
    stopped(&stop, serving).await;
    assert!(node.meter().render().contains("trunkline_recordings_broken_total 1"));
    let tape = std::fs::File::open(directory.join("CAfull-MZfull.jsonl")).unwrap();
    assert_eq!(Tape::read(BufReader::new(tape)).unwrap().header.settings.conversation.announcement, "");
    assert!(!directory.join("CAfull-MZfull.wav").exists());
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_runtime_is_dropped_leaves_a_recording_that_opens() {
    let _alone = ALONE.lock().await;
    let directory = directory("dropped");
    let toml = settings(&directory, "");
    let done = directory.join("CAdropped-MZdropped.wav");
    let ends = done.clone();
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let node = runtime.block_on(async {
            let (address, node, _stop, mut serving) = gateway(toml).await;
            let mut phone = JoinSet::new();
            phone.spawn(call(plan(address, "dropped", HangUp::WhenGatewayCloses)));
            sleep(Duration::from_secs(5)).await;
            serving.detach_all();
            phone.detach_all();
            node
        });
        runtime.shutdown_background();
        // The thread that writes is the node's, not the runtime's.
        for _ in 0..200 {
            if ends.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(node);
    });
    tokio::task::spawn_blocking(move || process.join().unwrap()).await.unwrap();
    let recording = Stereo::read(&done);
    assert!((3_000..9_000).contains(&(recording.right.len() / 8)), "{} ms", recording.right.len() / 8);
    assert!(loudest(&recording.right) > 1_000);
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_leaves_recordings_that_open() {
    let _alone = ALONE.lock().await;
    let directory = directory("killed");
    let file = directory.join("settings.toml");
    std::fs::write(&file, settings(&directory, "")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_trunkline"))
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&file)
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap();
    let address: SocketAddr = line.strip_prefix("http://").unwrap().parse().unwrap();
    let mut phone = plan(address, "killed", HangUp::WhenGatewayCloses);
    phone.caller = vec![question(Moment::AfterStart(Duration::from_millis(300)))];
    let kill = async {
        sleep(Duration::from_secs(12)).await;
        child.kill().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(call(phone), kill);
    assert!(outcome.log.entries().last().unwrap().at > CallTime::from_millis(9_000));
    let recording = Stereo::read(&directory.join("CAkilled-MZkilled.wav.part"));
    // A second in the queue, two that are not settled, four without a header, and a busy machine.
    assert!(recording.right.len() > 3 * 8_000, "{} ms", recording.right.len() / 8);
    assert!(loudest(&recording.left) > 1_000 && loudest(&recording.right) > 1_000);
    std::fs::remove_dir_all(directory).unwrap();
}
