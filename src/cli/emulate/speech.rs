//! `trunkline emulate speech`: a server of speech over HTTP, as an operator starts it.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use trunkline::emulate::speech::{self, ApiKey, Fault, Server, ServerError, Settings, Voice};

use super::VoiceArg;

#[derive(Debug, Args)]
pub(super) struct SpeechArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9200")]
    listen: SocketAddr,
    /// What the voices sound like; a tone per request.
    #[arg(long, value_enum, default_value = "local")]
    voice: VoiceArg,
    /// Switch a fault on, see --help for the list.
    #[arg(long = "fault", value_name = "NAME[=AMOUNT][:TIMES]", long_help = speech::fault_help())]
    faults: Vec<Fault>,
    /// Send audio this many times as fast as it plays.
    #[arg(long, default_value_t = 4.0)]
    speed_factor: f64,
    /// Milliseconds from a request to its first audio.
    #[arg(long, default_value_t = 150)]
    first_byte_ms: u64,
    /// Milliseconds of audio in one chunk, 1 to 10000.
    #[arg(long, default_value_t = 90)]
    chunk_ms: u64,
    /// Samples a second.
    #[arg(long, default_value_t = speech::RATE)]
    rate: u32,
    /// Requests that are served at once; one more is refused with HTTP 429. Without it all are.
    #[arg(long, value_name = "N")]
    max_contexts: Option<u32>,
    /// The only API key that is accepted; without it none is asked for.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// A model that is known; may be repeated. Without it all are.
    #[arg(long = "known-model", value_name = "ID")]
    known_models: Vec<String>,
    /// A voice that is known; may be repeated. Without it all are.
    #[arg(long = "known-voice", value_name = "ID")]
    known_voices: Vec<String>,
}

/// The server that `args` describe, listening.
pub(super) async fn bind(args: &SpeechArgs) -> Result<Server, ServerError> {
    Server::bind(args.listen, settings(args)).await
}

fn settings(args: &SpeechArgs) -> Settings {
    let known = |names: &[String]| (!names.is_empty()).then(|| names.to_vec());
    Settings {
        voice: match args.voice {
            VoiceArg::Local => Voice::Local,
            VoiceArg::Tone => Voice::Tone,
        },
        api_key: args.api_key.as_ref().map(ApiKey::new),
        models: known(&args.known_models),
        voices: known(&args.known_voices),
        rate: args.rate,
        speed_factor: args.speed_factor,
        first_byte: Duration::from_millis(args.first_byte_ms),
        chunk: Duration::from_millis(args.chunk_ms),
        requests_max: args.max_contexts,
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
        speech: SpeechArgs,
    }

    fn parsed(line: &str) -> Result<SpeechArgs, String> {
        let program = Program::try_parse_from(format!("speech {line}").split_whitespace());
        program.map(|program| program.speech).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_settings() {
        Program::command().debug_assert();
        let default = settings(&parsed("").unwrap());
        assert_eq!((default.first_byte, default.chunk), (Settings::default().first_byte, Settings::default().chunk));
        assert_eq!((default.rate, default.requests_max), (24_000, None));
        let line =
            "--voice tone --max-contexts 3 --rate 16000 --api-key k --known-model a --known-voice b --fault stall=2:1";
        let settings = settings(&parsed(line).unwrap());
        assert_eq!((settings.voice, settings.requests_max, settings.rate), (Voice::Tone, Some(3), 16_000));
        assert_eq!((settings.models.unwrap(), settings.voices.unwrap()), (vec!["a".to_owned()], vec!["b".to_owned()]));
        assert_eq!(
            (settings.api_key, settings.faults[0].to_string()),
            (Some(ApiKey::new("k")), "stall=2:1".to_owned())
        );
        assert!(parsed("--fault stal").unwrap_err().contains("no fault is called"));
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_told() {
        let args = parsed("--listen 127.0.0.1:0 --fault refuse=200").unwrap();
        assert!(bind(&args).await.unwrap_err().to_string().contains("refuse=200"));
    }
}
