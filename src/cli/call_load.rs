//! `trunkline call --calls N`: many calls at once, and what they show of the gateway.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline::emulate::carrier::load::{Lasting, LoadError, LoadPlan, Says, run_load};
use trunkline::emulate::carrier::{ClipError, Plan, read_clip};
use trunkline::emulate::cartesia::{Prerendered, PrerenderedError};

use super::call::{CallArgs, CallError, plan};

/// Window unless `--seconds` says otherwise.
const WINDOW: Duration = Duration::from_secs(20);

/// Arguments of a load.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// Make so many calls at once, without TLS and on loopback only, and measure the gateway for --seconds [20] while all are live
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    #[arg(conflicts_with_all = ["webhook", "wav", "dtmf", "speak_at_ms", "speak_after_audio_ms", "call_sid", "marks", "parameter"])]
    pub(super) calls: Option<u32>,
    /// New calls a second
    #[arg(long, value_name = "R", default_value_t = 50, requires = "calls")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    ramp: u32,
    /// Wait so long between the start of the last call and the measuring
    #[arg(long, value_name = "MS", default_value_t = 3_000, requires = "calls", conflicts_with = "each_ms")]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=600_000))]
    settle_ms: u64,
    /// The gateway is to speak without a pause: every gap is an underrun, however long
    #[arg(long, requires = "calls")]
    unbroken: bool,
    /// Each call hangs up after so long, and the whole load is measured
    #[arg(long, value_name = "MS", requires = "calls", conflicts_with = "seconds")]
    #[arg(value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    each_ms: Option<u64>,
    /// Callers say the recording of --caller so often, and not without end
    #[arg(long, value_name = "MS", requires = "calls", requires = "caller")]
    #[arg(value_parser = clap::value_parser!(u64).range(100..=600_000))]
    speak_every_ms: Option<u64>,
    /// Callers press a key so often
    #[arg(long, value_name = "MS", requires = "calls", value_parser = clap::value_parser!(u64).range(20..=600_000))]
    key_every_ms: Option<u64>,
    /// Serve a voice for the gateway here, as `emulate cartesia` does, from speech that was made before
    #[arg(long, value_name = "ADDR", requires = "calls", value_parser = parse_loopback)]
    tts_listen: Option<SocketAddr>,
    /// Measure the process with this id: the gateway
    #[arg(long, value_name = "PID", requires = "calls")]
    watch: Option<u32>,
}

/// Why there was no load.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadFailed {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the voice did not start")]
    Voice(#[from] PrerenderedError),
    #[error("the caller's recording cannot be used")]
    Clip(#[from] ClipError),
    #[error("cannot print")]
    Print(#[from] io::Error),
    #[error("cannot print")]
    Json(#[from] serde_json::Error),
}

/// Makes the calls and prints what was measured. A key at the keyboard's interrupt ends them.
///
/// # Errors
/// [`LoadFailed`]: there was no load, or its figures could not be written. Figures that are not valid are no error.
pub(crate) async fn load(args: CallArgs) -> Result<(), LoadFailed> {
    let base = Plan { caller: Vec::new(), ..plan(&args).await? };
    let mut plan = load_plan(&args, base)?;
    let mut voice = JoinSet::new();
    if let Some(addr) = args.load.tts_listen {
        let server = Prerendered::bind(addr).await?;
        plan.served = Some(server.served());
        voice.spawn(server.run(CancellationToken::new()));
    }
    let cancel = CancellationToken::new();
    let stopped = async {
        // Without signals the load runs its course.
        if tokio::signal::ctrl_c().await.is_ok() {
            cancel.cancel();
        }
        std::future::pending().await
    };
    let report = tokio::select! {
        report = Box::pin(run_load(plan, cancel.clone())) => report?,
        () = stopped => return Ok(()),
    };
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        for (name, value) in report.table() {
            writeln!(out, "{name:<24}{value}")?;
        }
    }
    Ok(())
}

fn load_plan(args: &CallArgs, base: Plan) -> Result<LoadPlan, ClipError> {
    let of_ms = |ms: Option<u64>| ms.map(Duration::from_millis);
    let load = &args.load;
    let lasting = match (of_ms(load.each_ms), args.seconds.map(Duration::from_secs)) {
        (Some(each), _) => Lasting::Each(each),
        (None, window) => Lasting::Window(window.unwrap_or(WINDOW)),
    };
    let says = match (args.caller.as_deref().map(read_clip).transpose()?, of_ms(load.speak_every_ms)) {
        (None, _) => Says::Nothing,
        (Some(samples), None) => Says::All(samples),
        (Some(samples), Some(every)) => Says::Every(samples, every),
    };
    Ok(LoadPlan {
        base,
        calls: load.calls.unwrap_or(1),
        ramp: load.ramp,
        lasting,
        settle: Duration::from_millis(load.settle_ms),
        unbroken: load.unbroken,
        says,
        key_every: of_ms(load.key_every_ms),
        watch: load.watch,
        served: None,
    })
}

/// The address of a voice that answers anybody: this machine only.
fn parse_loopback(text: &str) -> Result<SocketAddr, String> {
    let addr: SocketAddr =
        text.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:8089".to_owned())?;
    if addr.ip().is_loopback() { Ok(addr) } else { Err("a load's voice listens on loopback only".to_owned()) }
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
    async fn arguments_become_a_load() {
        let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/audio/no.wav");
        let line =
            format!("ws://gw.test/m --calls 9 --ramp 3 --seconds 7 --caller {clip} --speak-every-ms 2000 --watch 5");
        let args = parse(&line).unwrap();
        let made = load_plan(&args, plan(&args).await.unwrap()).unwrap();
        assert_eq!((made.calls, made.ramp, made.watch), (9, 3, Some(5)));
        assert_eq!(made.lasting, Lasting::Window(Duration::from_secs(7)));
        assert!(matches!(made.says, Says::Every(samples, every) if !samples.is_empty() && every.as_secs() == 2));
        let args = parse("ws://gw.test/m --calls 10000 --each-ms 1000 --key-every-ms 500").unwrap();
        let made = load_plan(&args, plan(&args).await.unwrap()).unwrap();
        assert_eq!((made.lasting, made.says), (Lasting::Each(Duration::from_secs(1)), Says::Nothing));
        assert_eq!(made.key_every, Some(Duration::from_millis(500)));
    }

    #[test]
    fn what_belongs_to_one_call_or_to_many_is_kept_apart() {
        for line in [
            "ws://a --ramp 5",
            "ws://a --watch 5",
            "ws://a --calls 0",
            "ws://a --calls 2 --wav x.wav",
            "ws://a --calls 2 --dtmf 1@5",
            "ws://a --calls 2 --marks never",
            "ws://a --calls 2 --each-ms 500 --seconds 1",
            "ws://a --calls 2 --each-ms 99",
            "ws://a --calls 2 --each-ms 3600001",
            "ws://a --calls 2 --tts-listen 0.0.0.0:8089",
            "ws://a --calls 2 --tts-listen 8089",
            "ws://a --calls 2 --speak-every-ms 500",
            "--webhook http://a --calls 2",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
