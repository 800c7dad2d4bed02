//! `trunkline emulate`: servers that stand in for vendors.

mod llm;
mod speech;
mod stt;
mod voices;

use std::io::Write as _;
use std::net::SocketAddr;

use clap::{Args, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;
use trunkline::emulate::floor::Floor;
use trunkline::emulate::tts::{ServerError, Vendor};

/// What to emulate.
#[derive(Debug, Args)]
pub(crate) struct EmulateArgs {
    #[command(subcommand)]
    service: Service,
}

#[derive(Debug, Subcommand)]
enum Service {
    /// Cartesia's text-to-speech WebSocket, with faults on request.
    #[command(
        mut_arg("faults", voices::faults_of(Vendor::Cartesia)),
        mut_arg("listen", voices::port_of(Vendor::Cartesia))
    )]
    Cartesia(voices::VoicesArgs),
    /// Gradium's text-to-speech WebSocket, with faults on request.
    #[command(
        mut_arg("faults", voices::faults_of(Vendor::Gradium)),
        mut_arg("listen", voices::port_of(Vendor::Gradium))
    )]
    Gradium(voices::VoicesArgs),
    /// ElevenLabs' multi-context WebSocket, and the one with a single context, with faults on request.
    ///
    /// Paths: /v1/text-to-speech/VOICE/multi-stream-input and /v1/text-to-speech/VOICE/stream-input.
    #[command(
        name = "elevenlabs",
        verbatim_doc_comment,
        mut_arg("faults", voices::faults_of(Vendor::ElevenLabs)),
        mut_arg("listen", voices::port_of(Vendor::ElevenLabs))
    )]
    ElevenLabs(voices::VoicesArgs),
    /// Deepgram's text-to-speech WebSockets, with faults on request.
    ///
    /// Paths: /v1/speak (Aura) and /v2/speak (Flux).
    #[command(
        mut_arg("faults", voices::faults_of(Vendor::Deepgram)),
        mut_arg("listen", voices::port_of(Vendor::Deepgram))
    )]
    Deepgram(voices::VoicesArgs),
    /// Rime's text-to-speech WebSocket, with faults on request.
    #[command(mut_arg("faults", voices::faults_of(Vendor::Rime)), mut_arg("listen", voices::port_of(Vendor::Rime)))]
    Rime(voices::VoicesArgs),
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

impl Service {
    /// Whose voice is to be served, and how, if it is a voice.
    fn voices(&self) -> Option<(Vendor, &voices::VoicesArgs)> {
        match self {
            Service::Cartesia(args) => Some((Vendor::Cartesia, args)),
            Service::Gradium(args) => Some((Vendor::Gradium, args)),
            Service::ElevenLabs(args) => Some((Vendor::ElevenLabs, args)),
            Service::Deepgram(args) => Some((Vendor::Deepgram, args)),
            Service::Rime(args) => Some((Vendor::Rime, args)),
            Service::Llm(_) | Service::Speech(_) | Service::Stt(_) | Service::Floor(_) => None,
        }
    }
}

#[derive(Debug, Args)]
struct FloorArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8089")]
    listen: SocketAddr,
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
    if let Some((vendor, args)) = args.service.voices() {
        let server = voices::bind(vendor, args).await?;
        let mut out = std::io::stdout();
        writeln!(out, "{}", server.url())?;
        out.flush()?;
        server.run(shutdown).await;
        return Ok(());
    }
    match args.service {
        // Served above.
        Service::Cartesia(_)
        | Service::Gradium(_)
        | Service::ElevenLabs(_)
        | Service::Deepgram(_)
        | Service::Rime(_) => {}
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
