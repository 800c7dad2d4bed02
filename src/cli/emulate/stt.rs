//! `trunkline emulate stt`: a scripted recogniser of speech behind the protocols of four vendors.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use trunkline::emulate::stt::{ApiKey, Fault, Script, ScriptError, Server, ServerError, Settings, fault_help};

pub(super) use trunkline::emulate::stt::NOTICE;

/// How the recogniser behaves.
#[derive(Debug, Args)]
pub(super) struct SttArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9200")]
    listen: SocketAddr,
    /// TOML file of the clips that are known and what is said in them; see fixtures/audio/transcripts.toml.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Switch a fault on, see --help for the list.
    #[arg(long = "fault", value_name = "NAME[=AMOUNT][:TIMES]", long_help = fault_help())]
    faults: Vec<Fault>,
    /// Milliseconds of audio from the end of a word to when it is known, up to 60000; Gradium's clients set their own.
    #[arg(long, default_value_t = 200)]
    latency_ms: u64,
    /// Milliseconds of silence after which a turn is over without any doubt, 100 to 10000; thresholds divide them.
    #[arg(long, default_value_t = 1_000)]
    certainty_ms: u64,
    /// The last word of an interim transcript is wrong until the next one comes.
    #[arg(long)]
    waver: bool,
    /// The only API key that is accepted; without it any is, but not none.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
}

/// Why the recogniser did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SttError {
    /// The server did not start.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The script cannot be used.
    #[error(transparent)]
    Script(#[from] ScriptError),
}

/// Reads the script and binds the server.
pub(super) async fn bind(args: &SttArgs) -> Result<Server, SttError> {
    Ok(Server::bind(args.listen, settings(args)?).await?)
}

fn settings(args: &SttArgs) -> Result<Settings, ScriptError> {
    Ok(Settings {
        script: args.script.as_deref().map(Script::load).transpose()?,
        api_key: args.api_key.as_ref().map(ApiKey::new),
        latency: Duration::from_millis(args.latency_ms),
        certainty: Duration::from_millis(args.certainty_ms),
        wavers: args.waver,
        faults: args.faults.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{EmulateArgs, Service};
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        emulate: EmulateArgs,
    }

    fn parsed(line: &str) -> Result<Settings, String> {
        let program = Program::try_parse_from(format!("emulate stt {line}").split_whitespace());
        let Service::Stt(args) = program.map_err(|error| error.to_string())?.emulate.service else { panic!("{line}") };
        settings(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_settings() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/audio/transcripts.toml");
        let flags = "--waver --latency-ms 50 --certainty-ms 700 --fault drop=800:1";
        let settings = parsed(&format!("--script {script} {flags}")).unwrap();
        assert_eq!(settings.script, Some(Script::built_in().unwrap()));
        assert_eq!((settings.latency, settings.certainty), (Duration::from_millis(50), Duration::from_millis(700)));
        assert!(settings.wavers && settings.faults == ["drop=800:1".parse().unwrap()]);
    }

    #[test]
    fn mistakes_are_explained_and_the_help_says_what_it_is() {
        assert!(parsed("--script /nonexistent.toml").unwrap_err().starts_with("cannot read the script"));
        assert!(parsed("--fault drops").unwrap_err().contains("no fault is called"));
        assert!(parsed("--help").unwrap_err().contains("does not recognise speech"));
    }
}
