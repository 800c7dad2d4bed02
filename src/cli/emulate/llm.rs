//! `trunkline emulate llm`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use trunkline::emulate::llm::{self, ApiKey, Fault, Script, ScriptError, Server, ServerError, Settings};

/// What `--help` says about scripts.
const SCRIPT_HELP: &str = r#"Answer by this script instead of the built-in appointment desk.

A TOML file of rules, tried from the top; the first that fits answers:

  [[rule]]
  opens = true                      # fits while nobody has spoken yet
  hears = ["book", "appointment"]   # fits if one of these stands in the last user message, whole words
  after_tool = "book_appointment"   # fits the result of this tool ("*" is any); hears then means the result
  says = "You said: {heard}"        # the text, which is cut into tokens ...
  tokens = ["You", " said"]         # ... or the tokens themselves
  calls = [{ name = "end_call", arguments = { reason = "done" } }]   # fits only if the request offers the tools
  faults = ["drop=3:1"]             # what goes wrong with this answer, as with --fault

Every line may be left out. If no rule fits, the answer is an echo."#;

#[derive(Debug, Args)]
pub(super) struct LlmArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    /// Answer by this script (TOML), see --help for its shape.
    #[arg(long, value_name = "FILE", long_help = SCRIPT_HELP)]
    script: Option<PathBuf>,
    /// Milliseconds from a request to the first token.
    #[arg(long, default_value_t = 150)]
    first_token_ms: u64,
    /// Milliseconds from each token to the next.
    #[arg(long, default_value_t = 15)]
    token_ms: u64,
    /// The only API key that is accepted; without it none is asked for.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// A model that is known; may be repeated. Without it all are.
    #[arg(long = "known-model", value_name = "ID")]
    known_models: Vec<String>,
    /// Switch a fault on, see --help for the list.
    #[arg(long = "fault", value_name = "NAME[=AMOUNT][:TIMES]", long_help = llm::fault_help())]
    faults: Vec<Fault>,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LlmError {
    /// There is no script.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// It cannot listen, or not behave like this.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// The server that `args` describe, listening.
pub(super) async fn bind(args: &LlmArgs) -> Result<Server, LlmError> {
    let script = match &args.script {
        Some(path) => Script::load(path).await?,
        None => Script::default(),
    };
    Ok(Server::bind(args.listen, settings(args, script)).await?)
}

fn settings(args: &LlmArgs, script: Script) -> Settings {
    Settings {
        script,
        api_key: args.api_key.as_ref().map(ApiKey::new),
        models: (!args.known_models.is_empty()).then(|| args.known_models.clone()),
        first_token: Duration::from_millis(args.first_token_ms),
        token: Duration::from_millis(args.token_ms),
        faults: args.faults.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        llm: LlmArgs,
    }

    fn parsed(line: &str) -> Result<LlmArgs, String> {
        let program = Program::try_parse_from(format!("llm {line}").split_whitespace());
        program.map(|program| program.llm).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_settings() {
        Program::command().debug_assert();
        let default = settings(&parsed("").unwrap(), Script::default());
        assert_eq!((default.first_token, default.token), (Settings::default().first_token, Settings::default().token));
        let line = "--first-token-ms 1 --token-ms 2 --api-key k --known-model a --fault drop_in_tool:1 --fault split=2";
        let settings = settings(&parsed(line).unwrap(), Script::default());
        let faults: Vec<_> = settings.faults.iter().map(Fault::to_string).collect();
        assert_eq!(faults, ["drop-in-tool:1", "split=2"]);
        assert_eq!((settings.first_token.as_millis(), settings.token.as_millis()), (1, 2));
        assert_eq!(settings.models.unwrap(), ["a"]);
        assert_eq!(settings.api_key, Some(ApiKey::new("k")));
        assert!(parsed("--fault dorp").unwrap_err().contains("no fault is called"));
    }

    #[test]
    fn the_script_that_help_shows_can_be_read() {
        let example = SCRIPT_HELP.split_once("[[rule]]").unwrap().1;
        let lines: Vec<&str> = example.lines().take_while(|line| !line.starts_with("Every line")).collect();
        // Each line by itself: some exclude each other.
        for line in lines.iter().filter(|line| !line.trim().is_empty()) {
            let script = Script::parse(&format!("[[rule]]\n{line}")).unwrap();
            assert_eq!(script.rules().len(), 1);
        }
        assert!(lines.len() > 6);
    }

    #[tokio::test]
    async fn a_missing_script_is_told_by_its_path() {
        let args = parsed("--listen 127.0.0.1:0 --script /nowhere/script.toml").unwrap();
        assert!(bind(&args).await.unwrap_err().to_string().contains("/nowhere/script.toml"));
        let args = parsed("--listen 127.0.0.1:0 --fault status=200").unwrap();
        assert!(bind(&args).await.unwrap_err().to_string().contains("status=200"));
    }
}
