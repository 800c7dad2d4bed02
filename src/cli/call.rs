//! `trunkline call`: one emulated call against any server that speaks Twilio's media streams.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use trunkline::emulate::carrier::{
    AuthToken, CarrierError, Clip, ClipError, EndedBy, HangUp, Incoming, Line, Marks, Moment, Outcome, Plan, Report,
    Route, TimelineEntry, WebhookError, ask, random_sid, read_clip, run,
};
use trunkline::ids::{CallSid, SidError, StreamSid};

use super::call_load::LoadArgs;

/// Lines of progress that may wait for the terminal.
const PROGRESS_MAX: usize = 256;

/// Silence after which the caller hangs up unless told otherwise.
const SILENCE: Duration = Duration::from_secs(5);

/// Longest call unless `--seconds` says otherwise.
const DURATION_MAX: Duration = Duration::from_secs(120);

/// Arguments of `trunkline call`.
#[derive(Debug, clap::Args)]
pub(crate) struct CallArgs {
    /// Media-stream URL to dial, ws:// or wss://; it is also what is signed
    #[arg(required_unless_present = "webhook", conflicts_with = "webhook")]
    url: Option<String>,
    /// Ask this voice webhook for the stream first, as the carrier does
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Connect here instead of to the URL's own host; without TLS unless it begins with tls://
    #[arg(long, value_name = "[tls://]HOST:PORT")]
    connect: Option<String>,
    /// What the caller says: WAV, one channel, 16 bits, 8 to 48 kHz
    #[arg(long, value_name = "FILE")]
    pub(super) caller: Option<PathBuf>,
    /// Speak so long after the call started
    #[arg(long, value_name = "N", conflicts_with = "speak_after_audio_ms", requires = "caller")]
    speak_at_ms: Option<u64>,
    /// Speak so long after the first audio (the default, with 1500)
    #[arg(long, value_name = "N", requires = "caller")]
    speak_after_audio_ms: Option<u64>,
    /// Press a key so many milliseconds into the call; may be repeated
    #[arg(long, value_name = "KEY@MS", value_parser = parse_dtmf)]
    dtmf: Vec<(Duration, char)>,
    /// Hang up after so many seconds; otherwise after 5 seconds of silence, or 2 minutes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(super) seconds: Option<u64>,
    /// A custom parameter of the stream; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    parameter: Vec<(String, String)>,
    /// Name of the call; made up if absent
    #[arg(long, value_name = "SID")]
    call_sid: Option<String>,
    /// Caller's number, for the webhook
    #[arg(long, value_name = "NUMBER", default_value = "+15550100001")]
    from: String,
    /// Called number, for the webhook
    #[arg(long, value_name = "NUMBER", default_value = "+15550100002")]
    to: String,
    /// Sign requests with the auth token in this environment variable
    #[arg(long, value_name = "VAR")]
    auth_token_env: Option<String>,
    /// A further header of the upgrade; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    header: Vec<(String, String)>,
    /// Write the call as stereo WAV: caller left, gateway right
    #[arg(long, value_name = "FILE")]
    wav: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
    /// How the emulated carrier treats marks
    #[arg(long, value_enum, default_value_t = MarksArg::Normal)]
    marks: MarksArg,
    #[command(flatten)]
    pub(super) load: LoadArgs,
}

impl CallArgs {
    /// Whether one call is asked for, or many.
    pub(crate) fn is_load(&self) -> bool {
        self.load.calls.is_some()
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum MarksArg {
    Normal,
    Never,
    AtOnce,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error(transparent)]
    Carrier(#[from] CarrierError),
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error("the caller's recording cannot be used")]
    Clip(#[from] ClipError),
    #[error("the call's name cannot be used")]
    Sid(#[from] SidError),
    #[error("no random numbers from the system: {0}")]
    Random(String),
    #[error("the environment variable {0} with the auth token is not set")]
    TokenMissing(String),
    #[error("the recording cannot be written")]
    Wav(#[from] hound::Error),
    #[error("cannot print")]
    Print(#[from] io::Error),
    #[error("cannot print")]
    Json(#[from] serde_json::Error),
    #[error("the gateway ended the call at once, without a sound ({0})")]
    ClosedAtOnce(EndedBy),
}

/// What `--json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    call_sid: &'a str,
    stream_sid: &'a str,
    #[serde(flatten)]
    report: &'a Report,
    timeline: &'a [TimelineEntry],
}

/// Makes the call and prints what was measured.
///
/// # Errors
/// [`CallError`]: the call could not be made, was ended at once, or its outcome could not be written.
pub(crate) async fn call(args: CallArgs) -> Result<(), CallError> {
    let plan = plan(&args).await?;
    let (call_sid, stream_sid) = (plan.call_sid.clone(), plan.stream_sid.clone());
    let cancel = CancellationToken::new();
    let (progress, lines) = mpsc::channel(PROGRESS_MAX);
    let call = run(plan, Some(progress), cancel.clone());
    let (outcome, shown) = tokio::join!(Box::pin(call), Box::pin(show(lines, &args, cancel)));
    let Outcome { report, recording, timeline, .. } = outcome?;
    shown?;
    if let Some(path) = &args.wav {
        recording.write_wav(path)?;
    }
    let mut out = io::stdout().lock();
    if args.json {
        let (call_sid, stream_sid) = (call_sid.as_str(), stream_sid.as_str());
        let printed = Printed { call_sid, stream_sid, report: &report, timeline: &timeline };
        serde_json::to_writer(&mut out, &printed)?;
        writeln!(out)?;
    } else {
        writeln!(out)?;
        for (name, value) in report.table() {
            writeln!(out, "{name:<18}{value}")?;
        }
    }
    if report.closed_at_once() { Err(CallError::ClosedAtOnce(report.ended)) } else { Ok(()) }
}

/// Prints progress until the call is over; an interrupt from the keyboard hangs up.
async fn show(
    mut lines: mpsc::Receiver<TimelineEntry>,
    args: &CallArgs,
    cancel: CancellationToken,
) -> Result<(), io::Error> {
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(_) if args.json => {}
                Some(line) => writeln!(io::stdout(), "{line}")?,
                None => return Ok(()),
            },
            Ok(()) = tokio::signal::ctrl_c(), if !cancel.is_cancelled() => cancel.cancel(),
        }
    }
}

/// What the arguments say of a single call, or of what many have in common.
pub(super) async fn plan(args: &CallArgs) -> Result<Plan, CallError> {
    let sid = |prefix| random_sid(prefix).map_err(|error| CallError::Random(error.to_string()));
    let call_sid = CallSid::parse(&args.call_sid.clone().map_or_else(|| sid("CA"), Ok)?)?;
    let mut plan = Plan::new(args.url.clone().unwrap_or_default(), call_sid, StreamSid::parse(&sid("MZ")?)?);
    plan.line = line(args)?;
    if let Some(webhook) = &args.webhook {
        let call_sid = plan.call_sid.clone();
        let (account_sid, from, to) = (plan.account_sid.clone(), args.from.clone(), args.to.clone());
        let offer = ask(webhook, &plan.line, &Incoming { call_sid, account_sid, from, to }).await?;
        plan.url = offer.url;
        plan.custom_parameters = offer.parameters;
    }
    plan.custom_parameters.extend(args.parameter.iter().cloned().collect::<BTreeMap<_, _>>());
    plan.headers.clone_from(&args.header);
    plan.dtmf.clone_from(&args.dtmf);
    plan.marks = match args.marks {
        MarksArg::Normal => Marks::Normal,
        MarksArg::Never => Marks::Never,
        MarksArg::AtOnce => Marks::AtOnce,
    };
    (plan.hang_up, plan.duration_max) = match args.seconds.map(Duration::from_secs) {
        Some(seconds) => (HangUp::After(seconds), seconds),
        None => (HangUp::AfterSilence(SILENCE), DURATION_MAX),
    };
    if let Some(path) = &args.caller {
        let after_audio = Moment::AfterFirstAudio(Duration::from_millis(args.speak_after_audio_ms.unwrap_or(1_500)));
        let at = args.speak_at_ms.map_or(after_audio, |ms| Moment::AfterStart(Duration::from_millis(ms)));
        plan.caller.push(Clip { at, samples: read_clip(path)? });
    }
    Ok(plan)
}

fn line(args: &CallArgs) -> Result<Line, CallError> {
    let route = match args.connect.as_deref().map(|address| (address, address.strip_prefix("tls://"))) {
        None => Route::Direct,
        Some((_, Some(address))) => Route::Tls(address.to_owned()),
        Some((address, None)) => Route::Plain(address.to_owned()),
    };
    let token = |name: &String| std::env::var(name).map_err(|_| CallError::TokenMissing(name.clone()));
    let auth_token = args.auth_token_env.as_ref().map(token).transpose()?.map(AuthToken::new);
    Ok(Line { route, auth_token, ..Line::default() })
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "expected NAME=VALUE".to_owned())
}

fn parse_dtmf(text: &str) -> Result<(Duration, char), String> {
    let parsed = text.split_once('@').and_then(|(key, at)| {
        let key = key.parse::<char>().ok().filter(|key| "0123456789*#ABCD".contains(*key))?;
        Some((Duration::from_millis(at.parse().ok()?), key))
    });
    parsed.ok_or_else(|| "expected a key and its time in milliseconds, such as 1@5000".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        call: CallArgs,
    }

    fn parse(line: &str) -> Result<CallArgs, clap::Error> {
        Cli::try_parse_from(std::iter::once("call").chain(line.split_whitespace())).map(|cli| cli.call)
    }

    #[tokio::test]
    async fn arguments_become_a_plan() {
        let args = "ws://gw.test/m --dtmf 1@5000 --dtmf #@70 --seconds 9 --parameter a=b=c --call-sid CA7 \
                    --connect tls://127.0.0.1:9 --marks at-once --header x-a=1";
        let plan = plan(&parse(args).unwrap()).await.unwrap();
        assert_eq!(plan.url, "ws://gw.test/m");
        assert_eq!(plan.dtmf, [(Duration::from_secs(5), '1'), (Duration::from_millis(70), '#')]);
        assert_eq!((plan.hang_up, plan.marks), (HangUp::After(Duration::from_secs(9)), Marks::AtOnce));
        assert_eq!(plan.custom_parameters["a"], "b=c");
        assert_eq!(plan.line.route, Route::Tls("127.0.0.1:9".into()));
        assert_eq!((plan.call_sid.as_str(), plan.headers.len()), ("CA7", 1));
        assert!(plan.caller.is_empty());
    }

    #[test]
    fn contradictions_are_refused() {
        for line in [
            "",
            "ws://a --webhook http://b",
            "ws://a --dtmf x@1",
            "ws://a --dtmf 1",
            "ws://a --parameter =v",
            "ws://a --seconds 0",
            "ws://a --speak-at-ms 5",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_missing_auth_token_stops_the_call() {
        let args = parse("ws://a --auth-token-env TRUNKLINE_TEST_TOKEN_THAT_NOBODY_SETS").unwrap();
        assert!(matches!(line(&args), Err(CallError::TokenMissing(_))));
    }
}
