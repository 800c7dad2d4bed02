//! A call with a caller, and what its agent is told. Audio goes in four times as fast as on a line: everything that
//! judges it counts samples. Each call is recorded, redacted, and replayed when it is over.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{sink, stream};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use trunkline::audio::{MediaFormat, g711};
use trunkline::call::action::{AgentReport, EndReason};
use trunkline::call::settings::Settings;
use trunkline::config::{Input as ConfigInput, load};
use trunkline::dialect::twilio::Twilio;
use trunkline::dialect::{Body, Input, Port};
use trunkline::driver::{CallSetup, Frame, HearingLink, Meter, Shelf, Stopping, VoiceLink, inbox, run_call};
use trunkline::emulate::carrier::read_clip;
use trunkline::gateway;
use trunkline::ids::{CallSid, StreamSid};
use trunkline::replay::{Sent, perform};
use trunkline::server::Speaker;
use trunkline::tape::{self, Header, Tape};

/// Longest wait for something that takes a second or two on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Wait between two frames of 20 ms.
const PACE: Duration = Duration::from_millis(5);

const START: &str = r#"{"event":"start","streamSid":"MZ1","start":{"streamSid":"MZ1","callSid":"CA1",
    "mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}}}"#;

/// A live call.
pub(crate) struct Bench {
    says: mpsc::Sender<Frame>,
    pace: Interval,
    reports: watch::Receiver<Vec<AgentReport>>,
    call: JoinSet<EndReason>,
    /// Every byte that the caller sent.
    pub(crate) sent: Vec<u8>,
    pub(crate) meter: Arc<Meter>,
    shelf: Shelf,
    directory: PathBuf,
}

impl Bench {
    /// A call with the configuration in `toml`, whose core is then changed by what no configuration can say.
    pub(crate) fn start(toml: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let file = Some(("test.toml".to_owned(), toml.to_owned()));
        let loaded =
            load(&ConfigInput { file, ..ConfigInput::default() }).unwrap_or_else(|problems| panic!("{problems}"));
        let node = gateway::settings(&loaded.config).unwrap();
        let mut settings = node.call;
        change(&mut settings);
        let hearing = node.hearing.unwrap();
        let voices = node.speakers.into_iter().map(|speaker| match speaker {
            Speaker::Local(pool) => VoiceLink::Local(pool),
            Speaker::Remote { .. } => panic!("nobody asked for a vendor's voice"),
        });
        let dialect = hearing.settings.dialect(MediaFormat::TELEPHONE).unwrap();
        let directory = directory();
        let shelf = Shelf::open(&directory, node.meter.clone()).unwrap();
        let header = header(&settings, &hearing.settings);
        let (call, stream) = (CallSid::parse("CA1").unwrap(), StreamSid::parse("MZ1").unwrap());
        let (port, inbox) = inbox();
        let setup = CallSetup {
            settings,
            carrier: Box::<Twilio>::default(),
            voices: voices.collect(),
            player: node.player,
            phrases: node.phrases,
            hearing: Some(HearingLink { dialect, dialler: hearing.dialler }),
            app: None,
            meter: node.meter.clone(),
            first: vec![Input { port: Port::Carrier, body: Body::Text(START.to_owned()) }],
            tape: shelf.begin(&header, &call, &stream, [7; 32]),
            recording: None,
            stopping: Stopping::default(),
        };
        let (says, heard) = mpsc::channel(64);
        let reader = Box::pin(stream::unfold(heard, async |mut heard: mpsc::Receiver<Frame>| {
            Some((heard.recv().await?, heard))
        }));
        let (told, reports) = watch::channel(Vec::new());
        let mut call = JoinSet::new();
        call.spawn(async move {
            let observer = |_, report: &AgentReport| told.send_modify(|all| all.push(report.clone()));
            let reason = Box::pin(run_call(setup, reader, sink::drain(), inbox, observer)).await;
            drop(port);
            reason
        });
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        Bench { says, pace, reports, call, sent: Vec::new(), meter: node.meter, shelf, directory }
    }

    async fn frame(&mut self, frame: &[u8]) {
        self.pace.tick().await;
        self.sent.extend(frame);
        let media = json!({"event": "media", "streamSid": "MZ1",
            "media": {"track": "inbound", "payload": STANDARD.encode(frame)}});
        self.says.send(Frame::Text(media.to_string())).await.unwrap();
    }

    /// The caller says a recorded line.
    pub(crate) async fn say(&mut self, clip: &str) {
        for frame in clip_of(clip).chunks(160) {
            self.frame(frame).await;
        }
    }

    /// The caller is silent until something holds.
    pub(crate) async fn hush_until(&mut self, what: &str, mut holds: impl FnMut(&[AgentReport]) -> bool) {
        let hush = async {
            while !holds(&self.reports.borrow().clone()) {
                let frame = hush_of(self.sent.len());
                self.frame(&frame).await;
            }
        };
        timeout(PATIENCE, hush).await.unwrap_or_else(|_| panic!("in vain: {what}; told: {:?}", self.prompts()));
    }

    /// Waits for the prompt number `count`, and gives all of them.
    pub(crate) async fn prompts_of(&mut self, count: usize) -> Vec<String> {
        self.hush_until("a prompt", |reports| prompts(reports).len() >= count).await;
        self.prompts()
    }

    /// Every whole prompt so far.
    pub(crate) fn prompts(&self) -> Vec<String> {
        prompts(&self.reports.borrow())
    }

    /// What the agent was told.
    pub(crate) fn reports(&self) -> Vec<AgentReport> {
        self.reports.borrow().clone()
    }

    /// The caller hangs up.
    pub(crate) async fn stop(mut self) {
        self.says.send(Frame::Text(r#"{"event":"stop","streamSid":"MZ1"}"#.to_owned())).await.unwrap();
        let reason = timeout(PATIENCE, self.call.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(reason, EndReason::CarrierStopped);
        let shelf = self.shelf;
        tokio::task::spawn_blocking(move || shelf.close()).await.unwrap();
        let text = std::fs::read_to_string(self.directory.join("CA1-MZ1.jsonl")).unwrap();
        replays(&text, &self.reports.borrow());
        let _ = std::fs::remove_dir_all(self.directory);
    }
}

fn directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hearing-{}-{number}", std::process::id()))
}

fn header(settings: &Settings, hearing: &tape::Hearing) -> Header {
    Header {
        tape: tape::FORMAT,
        trunkline: env!("CARGO_PKG_VERSION").to_owned(),
        wakes: tape::Wakes::Recorded,
        text: tape::Text::Redact,
        audio: tape::Audio::Keep,
        settings: settings.clone(),
        carrier: tape::Carrier::Twilio,
        voices: vec![tape::Voice::Local],
        agent: None,
        hearing: Some(hearing.clone()),
    }
}

/// The redacted call tells its agent the same at the same places, in made-up words.
fn replays(tape: &str, live: &[AgentReport]) {
    assert!(!tape.contains("the-key"), "the key is on the tape");
    let read = Tape::read(tape.as_bytes()).unwrap();
    let mut replayed = Vec::new();
    perform(&read, |_, lines| {
        replayed.extend(
            lines
                .iter()
                .filter_map(|line| if let Sent::Agent(report) = &line.sent { Some(report.clone()) } else { None }),
        );
    });
    let shapes = |reports: &[AgentReport]| reports.iter().map(shape).collect::<Vec<_>>();
    assert_eq!(shapes(&replayed), shapes(live));
    for prompt in prompts(live) {
        assert!(!prompts(&replayed).contains(&prompt), "what was said is on the tape");
    }
}

/// A report with `x` for every letter.
fn shape(report: &AgentReport) -> AgentReport {
    let bare = |text: &str| text.chars().map(|c| if c.is_alphabetic() { 'x' } else { c }).collect::<String>();
    let mut report = report.clone();
    if let AgentReport::Prompt { text, .. } | AgentReport::Probable { text } = &mut report {
        *text = bare(text);
    } else if let AgentReport::HearingFailed { fault } = &mut report {
        fault.reason.clear();
    }
    report
}

fn prompts(reports: &[AgentReport]) -> Vec<String> {
    let whole = reports.iter().filter_map(|report| {
        if let AgentReport::Prompt { text, last: true, .. } = report { Some(text.clone()) } else { None }
    });
    whole.collect()
}

/// A recorded caller in whole frames.
pub(crate) fn clip_of(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio").join(name);
    let mut audio = Vec::new();
    g711::encode_mulaw_into(&read_clip(&path).unwrap(), &mut audio);
    audio.resize(audio.len().next_multiple_of(160), 0xFF);
    audio
}

/// A frame that is silence to any ear, with its place in the signs of its zeroes: no two are the same.
fn hush_of(place: usize) -> Vec<u8> {
    (0..160).map(|bit| if bit < 32 && place >> bit & 1 == 1 { 0x7F } else { 0xFF }).collect()
}
