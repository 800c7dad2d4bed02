//! `trunkline demo`: gateway, emulated Cartesia and one emulated call in one process, on loopback.
//!
//! Nothing here is a short cut: the call comes in through the webhook and the media stream, speech comes over the vendor's
//! WebSocket, and what the agent is told is read from the HTTP API.

mod conversation;
mod events;
mod kill;

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use events::{Told, watch};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline::config::{Input, Problems, load};
use trunkline::emulate::carrier::{
    self, CarrierError, Clip, ClipError, HangUp, Incoming, Line, Moment, Outcome, Plan, WebhookError, ask, clip_of,
    random_sid,
};
use trunkline::emulate::cartesia::{self, Journal, Server, ServerError, Settings};
use trunkline::gateway::{self, GatewayError};
use trunkline::ids::{CallSid, CallTime, SidError, StreamSid};
use trunkline::{server, telemetry};

/// The caller: a recorded human voice, see fixtures/audio/README.md.
const CALLER: &[u8] = include_bytes!("../../../fixtures/audio/question.wav");
/// How much of the greeting the caller listens to before interrupting.
const PATIENCE: Duration = Duration::from_millis(4_500);
/// The caller hangs up after so much silence.
const SILENCE: Duration = Duration::from_millis(2_500);
const CALL_MAX: Duration = Duration::from_secs(60);
const PROGRESS_MAX: usize = 256;
const API_KEY: &str = "demo-key";

/// What the gateway says, and to whom it speaks: of nothing beforehand, since the demonstration is of streaming.
const SETTINGS: &str = r#"
[speech]
chain = ["cartesia"]
phrase_cache_mib = 0
[speech.cartesia]
sample_rate = 16000
[agent.script]
lines = ["Of course. I stopped the moment you spoke, and I know exactly which words you had heard. Thank you for calling."]
"#;

/// Where the demonstration goes.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Write the call here: caller on the left, gateway on the right.
    #[arg(long, value_name = "FILE", default_value = "demo.wav")]
    wav: PathBuf,
    /// What the emulated voice sounds like.
    #[arg(long, value_enum, default_value = "speech", conflicts_with_all = ["conversation", "kill_tts"])]
    voice: Sound,
    /// A whole conversation: emulated hearing and an emulated model beside the emulated voice.
    #[arg(long)]
    conversation: bool,
    /// The voice's server is killed in the middle of a sentence, and the next voice says the rest of it.
    #[arg(long, conflicts_with = "conversation")]
    kill_tts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sound {
    /// English speech.
    Speech,
    /// A tone for each utterance, so that samples prove which one is heard.
    Tones,
}

/// Why the demonstration failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("the emulated voice did not start")]
    Voice(#[from] ServerError),
    #[error("the emulated hearing did not start")]
    Hearing(#[from] trunkline::emulate::stt::ServerError),
    #[error("the emulated model did not start")]
    Model(#[from] trunkline::emulate::llm::ServerError),
    #[error("the emulated model's script is wrong")]
    Script(#[from] trunkline::emulate::llm::ScriptError),
    #[error("the settings of the demonstration are wrong\n{0}")]
    Settings(Problems),
    #[error("the gateway did not start")]
    Gateway(#[from] GatewayError),
    #[error("no place to listen, or to print")]
    Io(#[from] io::Error),
    #[error("no random numbers from the system: {0}")]
    Random(String),
    #[error("a name that was made up cannot be used")]
    Sid(#[from] SidError),
    #[error("the caller's recording cannot be used")]
    Clip(#[from] ClipError),
    #[error("the webhook gave no stream")]
    Webhook(#[from] WebhookError),
    #[error("the call failed")]
    Call(#[from] CarrierError),
    #[error("the recording cannot be written")]
    Wav(#[from] hound::Error),
    #[error("the gateway did not do what it promises: {0}")]
    Promise(&'static str),
}

/// Performs the demonstration.
pub(crate) async fn run(args: DemoArgs) -> Result<(), DemoError> {
    if args.conversation {
        return conversation::run(&args.wav).await;
    }
    if args.kill_tts {
        return kill::run(&args.wav).await;
    }
    let mut out = io::stdout();
    let voice = if args.voice == Sound::Speech { cartesia::Voice::Local } else { cartesia::Voice::Tone };
    let emulator = Server::bind(loopback(), Settings { voice, ..Settings::default() }).await?;
    let journal = emulator.journal();
    let node = gateway_node(SETTINGS, voice_at(&emulator.url()))?;
    let listener = TcpListener::bind(loopback()).await?;
    let gateway = listener.local_addr()?;
    writeln!(out, "gateway on http://{gateway}, emulated Cartesia on {}", emulator.url())?;

    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let (voice_stop, gateway_stop) = (stop.clone(), stop.clone());
    tasks.spawn(async move { emulator.run(voice_stop).await });
    tasks.spawn(async move {
        // If the gateway cannot listen, the call fails and says so.
        let _ = server::serve(listener, node, gateway_stop).await;
    });
    let mut plan = plan(gateway).await?;
    plan.caller.push(Clip { at: Moment::AfterFirstAudio(PATIENCE), samples: clip_of(CALLER)? });
    plan.hang_up = HangUp::AfterSilence(SILENCE);
    let (told, lines) = mpsc::channel(PROGRESS_MAX);
    let (progress, happenings) = mpsc::channel(PROGRESS_MAX);
    tasks.spawn(watch(gateway, plan.call_sid.clone(), told));
    writeln!(out, "calling; a recorded human voice will interrupt the greeting\n")?;
    let call = carrier::run(plan, Some(progress), stop.clone());
    let (outcome, heard) = tokio::join!(Box::pin(call), show(happenings, lines));
    let (outcome, heard) = (outcome?, heard?);
    stop.cancel();
    while tasks.join_next().await.is_some() {}

    outcome.recording.write_wav(&args.wav)?;
    writeln!(out)?;
    for (name, value) in outcome.report.table() {
        writeln!(out, "{name:<18}{value}")?;
    }
    if let Some(heard) = &heard {
        writeln!(out, "{:<18}{}", "heard words", compare(heard, &outcome, &journal))?;
    }
    writeln!(out, "\nwrote {} (left: the caller, right: the gateway)", args.wav.display())?;
    judge(&outcome, heard.is_some())
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn voice_at(url: &str) -> Vec<(String, String)> {
    vec![
        ("speech.cartesia.url".to_owned(), url.to_owned()),
        ("speech.cartesia.api_key".to_owned(), API_KEY.to_owned()),
        ("log.level".to_owned(), "warn".to_owned()),
    ]
}

fn gateway_node(settings: &str, overrides: Vec<(String, String)>) -> Result<server::Node, DemoError> {
    // The environment is left out: a demonstration shows the same everywhere.
    let file = Some(("demo settings".to_owned(), settings.to_owned()));
    let loaded = load(&Input { file, overrides, ..Input::default() }).map_err(DemoError::Settings)?;
    telemetry::init(&loaded.config.log);
    Ok(gateway::node(&loaded.config)?)
}

/// A call that comes in as the carrier's would: webhook first.
async fn plan(gateway: SocketAddr) -> Result<Plan, DemoError> {
    let sid = |prefix| random_sid(prefix).map_err(|error| DemoError::Random(error.to_string()));
    let call_sid = CallSid::parse(&sid("CA")?)?;
    let mut plan = Plan::new("", call_sid.clone(), StreamSid::parse(&sid("MZ")?)?);
    let incoming = Incoming {
        call_sid,
        account_sid: plan.account_sid.clone(),
        from: "+15550100001".to_owned(),
        to: "+15550100002".to_owned(),
    };
    let offer = ask(&format!("http://{gateway}/twilio/voice"), &Line::default(), &incoming).await?;
    plan.url = offer.url;
    plan.custom_parameters = offer.parameters;
    plan.duration_max = CALL_MAX;
    Ok(plan)
}

/// Prints what happens, as it happens; what the caller had heard when the agent was interrupted.
async fn show(
    mut happenings: mpsc::Receiver<carrier::TimelineEntry>,
    mut told: mpsc::Receiver<Told>,
) -> Result<Option<String>, io::Error> {
    let mut out = io::stdout();
    let mut interrupted = None;
    let mut is_told = true;
    loop {
        tokio::select! {
            happening = happenings.recv() => match happening {
                Some(happening) => writeln!(out, "{happening}")?,
                None => return Ok(interrupted),
            },
            event = told.recv(), if is_told => match event {
                Some(event) => {
                    if let Some(line) = line_of(&event) {
                        writeln!(out, "{:>8}  agent is told: {line}", CallTime::from_millis(event.at_ms).to_string())?;
                    }
                    if event.event == "interrupted" && interrupted.is_none() {
                        interrupted = event.heard;
                    }
                }
                None => is_told = false,
            },
        }
    }
}

fn line_of(told: &Told) -> Option<String> {
    let heard = || told.heard.as_deref().map(last_words).unwrap_or_default();
    match told.event.as_str() {
        "turn_started" => Some("a turn starts".to_owned()),
        "interrupted" => Some(format!("interrupted; the caller had heard \"{}\"", heard())),
        "turn_over" => Some(format!("the turn was heard to its end, \"{}\"", heard())),
        "speech_failed" => Some("speech failed".to_owned()),
        _ => None,
    }
}

/// The end of a long text.
fn last_words(text: &str) -> String {
    const WORDS: usize = 8;
    let words: Vec<&str> = text.split_whitespace().collect();
    let skipped = words.len().saturating_sub(WORDS);
    let rest: Vec<&str> = words.into_iter().skip(skipped).collect();
    if skipped > 0 { format!("... {}", rest.join(" ")) } else { rest.join(" ") }
}

/// The ledger's word against the truth: the emulated voice knows when each word ends, the emulated phone what it played.
fn compare(heard: &str, outcome: &Outcome, journal: &Journal) -> String {
    let cleared = outcome.timeline.iter().find(|entry| matches!(entry.happening, carrier::Happening::Clear { .. }));
    let (Some(cleared), Some(greeting)) = (cleared, journal.contexts().into_iter().next()) else {
        return "not observed".to_owned();
    };
    let played_ms = outcome.recording.samples_played_by(cleared.at) / 8;
    let truth = greeting.words.iter().filter(|word| u64::from(word.end_ms) <= played_ms).count();
    format!("{} told to the agent, {truth} played by the phone", heard.split_whitespace().count())
}

/// A demonstration that goes wrong must not look like one that went well.
fn judge(outcome: &Outcome, was_told: bool) -> Result<(), DemoError> {
    let report = &outcome.report;
    let turn = report.caller_turns.first();
    if turn.is_none_or(|turn| turn.clear_after_ms.is_none()) {
        return Err(DemoError::Promise("it was not cleared when the caller spoke"));
    }
    if report.media_after_clear.is_none_or(|after| after.count > 0) {
        return Err(DemoError::Promise("stale audio followed the clear"));
    }
    if turn.is_none_or(|turn| turn.again_after_caller_ms.is_none()) {
        return Err(DemoError::Promise("it did not speak again"));
    }
    if !was_told {
        return Err(DemoError::Promise("the agent was not told of the interruption"));
    }
    Ok(())
}
