//! `trunkline emulate`: servers that stand in for vendors.

mod llm;
mod speech;
mod stt;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;
use trunkline::emulate::cartesia::{self, ApiKey, Fault, Server, ServerError, Settings, TlsSettings};
use trunkline::emulate::floor::Floor;

/// What to emulate.
#[derive(Debug, Args)]
pub(crate) struct EmulateArgs {
    #[command(subcommand)]
    service: Service,
}

#[derive(Debug, Subcommand)]
enum Service {
    /// Cartesia's text-to-speech WebSocket, with faults on request.
    Cartesia(CartesiaArgs),
    /// A language model's server (OpenAI's chat completions) that answers by a script, with faults on request.
    Llm(llm::LlmArgs),
    /// Speech over HTTP (OpenAI's audio/speech, as self-hosted engines serve it), with faults on request.
    Speech(speech::SpeechArgs),
    /// Scripted recognition of speech behind the WebSockets of Cartesia, Deepgram and Gradium, with faults on request.
    ///
    /// This does not recognise speech. It knows some clips and what is said in them, compares the audio that comes with
    /// them byte by byte, and says the words of the place that is being played; anything else is silence to it. Without
    /// --script it knows the recorded callers of fixtures/audio.
    ///
    /// Paths: /stt/turns/websocket and /stt/websocket (Cartesia Ink), /v1/listen and /v2/listen (Deepgram, Flux),
    /// /api/speech/asr (Gradium). Audio: mu-law or 16-bit PCM at 8000 Hz.
    #[command(verbatim_doc_comment)]
    Stt(stt::SttArgs),
    /// The least that a media-stream server can do, as a yardstick for loads: it reads frames and writes one made before.
    Floor(FloorArgs),
}

#[derive(Debug, Args)]
struct FloorArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8089")]
    listen: SocketAddr,
}

#[derive(Debug, Args)]
struct CartesiaArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// What the voices sound like.
    #[arg(long, value_enum, default_value = "local")]
    voice: VoiceArg,
    /// Switch a fault on, see --help for the list.
    #[arg(long = "fault", value_name = "NAME[=AMOUNT][:TIMES]", long_help = cartesia::fault_help())]
    faults: Vec<Fault>,
    /// Send audio this many times as fast as it plays.
    #[arg(long, default_value_t = 4.0)]
    speed_factor: f64,
    /// Milliseconds from a text to its first audio.
    #[arg(long, default_value_t = 75)]
    first_byte_ms: u64,
    /// Milliseconds of audio in one chunk, 1 to 10000.
    #[arg(long, default_value_t = 90)]
    chunk_ms: u64,
    /// The only API key that is accepted; without it any is, but not none.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// A voice id that is known; may be repeated. Without it all are.
    #[arg(long = "known-voice", value_name = "ID")]
    known_voices: Vec<String>,
    /// Serve wss with a certificate of a throw-away authority.
    #[arg(long)]
    tls: bool,
    /// Write the authority's certificate here, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca_out: Option<PathBuf>,
    /// A host name that the certificate is good for; may be repeated.
    #[arg(long = "tls-name", value_name = "NAME", requires = "tls", default_value = "localhost")]
    tls_names: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VoiceArg {
    /// English speech of the embedded voice.
    Local,
    /// A tone per context, so that samples prove whose they are.
    Tone,
}

/// Why an emulator did not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmulateError {
    /// The server did not start.
    #[error("the emulator did not start")]
    Start(#[from] ServerError),
    /// The language model's server did not start.
    #[error("the emulator did not start")]
    Llm(#[from] llm::LlmError),
    /// The server of speech over HTTP did not start.
    #[error("the emulator did not start")]
    Speech(#[from] trunkline::emulate::speech::ServerError),
    /// The recogniser did not start.
    #[error("the emulator did not start")]
    Stt(#[from] stt::SttError),
    /// The floor could not listen.
    #[error("cannot listen")]
    Floor(#[source] std::io::Error),
    /// Standard output is closed.
    #[error("cannot write to standard output")]
    Print(#[from] std::io::Error),
}

/// Runs an emulator until `shutdown`. Prints its URL, alone on a line, as soon as clients can connect.
pub(crate) async fn run(args: EmulateArgs, shutdown: CancellationToken) -> Result<(), EmulateError> {
    match args.service {
        Service::Cartesia(args) => {
            let server = Server::bind(args.listen, settings(&args)).await?;
            let mut out = std::io::stdout();
            writeln!(out, "{}", server.url())?;
            out.flush()?;
            server.run(shutdown).await;
        }
        Service::Llm(args) => {
            let server = llm::bind(&args).await?;
            let mut out = std::io::stdout();
            writeln!(out, "{}", server.url())?;
            out.flush()?;
            server.run(shutdown).await;
        }
        Service::Speech(args) => {
            let server = speech::bind(&args).await?;
            let mut out = std::io::stdout();
            writeln!(out, "{}", server.url())?;
            out.flush()?;
            server.run(shutdown).await;
        }
        Service::Stt(args) => {
            let server = stt::bind(&args).await?;
            writeln!(std::io::stderr(), "{}", stt::NOTICE)?;
            let mut out = std::io::stdout();
            writeln!(out, "{}", server.url())?;
            out.flush()?;
            server.run(shutdown).await;
        }
        Service::Floor(args) => {
            let floor = Floor::bind(args.listen).await.map_err(EmulateError::Floor)?;
            let mut out = std::io::stdout();
            writeln!(out, "{}", floor.url())?;
            out.flush()?;
            floor.run(shutdown).await;
        }
    }
    Ok(())
}

fn settings(args: &CartesiaArgs) -> Settings {
    Settings {
        voice: match args.voice {
            VoiceArg::Local => cartesia::Voice::Local,
            VoiceArg::Tone => cartesia::Voice::Tone,
        },
        api_key: args.api_key.as_ref().map(ApiKey::new),
        voices: (!args.known_voices.is_empty()).then(|| args.known_voices.clone()),
        speed_factor: args.speed_factor,
        first_byte: Duration::from_millis(args.first_byte_ms),
        chunk: Duration::from_millis(args.chunk_ms),
        faults: args.faults.clone(),
        tls: args.tls.then(|| TlsSettings { names: args.tls_names.clone(), ca_out: args.ca_out.clone() }),
        ..Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        emulate: EmulateArgs,
    }

    fn parsed(line: &str) -> Result<Settings, String> {
        let program = Program::try_parse_from(format!("emulate cartesia {line}").split_whitespace());
        let Service::Cartesia(args) = program.map_err(|error| error.to_string())?.emulate.service else {
            panic!("{line}")
        };
        Ok(settings(&args))
    }

    #[test]
    fn flags_become_settings() {
        Program::command().debug_assert();
        let settings =
            parsed("--voice tone --fault stall=3:1 --fault burst --speed-factor 2.5 --first-byte-ms 10").unwrap();
        let faults: Vec<_> = settings.faults.iter().map(Fault::to_string).collect();
        assert_eq!(faults, ["stall=3:1", "burst"]);
        assert_eq!((settings.speed_factor, settings.first_byte), (2.5, Duration::from_millis(10)));
        assert_eq!((settings.voice, settings.tls), (cartesia::Voice::Tone, None));
        let settings = parsed("--tls --ca-out ca.pem --known-voice a --api-key 0001").unwrap();
        assert_eq!(settings.tls.unwrap().names, ["localhost"]);
        assert_eq!(settings.voices.unwrap(), ["a"]);
        assert_eq!(settings.api_key, Some(ApiKey::new("0001")));
    }

    #[test]
    fn mistakes_are_explained() {
        assert!(parsed("--fault stalls").unwrap_err().contains("no fault is called"));
        assert!(parsed("--ca-out ca.pem").unwrap_err().contains("--tls"));
    }
}
