//! `trunkline emulate cartesia`, `gradium`, `elevenlabs`, `deepgram` and `rime`: servers of speech, as an operator starts
//! them. All have the same options.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Args};
use trunkline::emulate::tts::{
    ApiKey, Fault, Server, ServerError, Settings, TlsSettings, Vendor, Voice, fault_help_for,
};

use super::VoiceArg;

#[derive(Debug, Args)]
pub(super) struct VoicesArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// What the voices sound like.
    #[arg(long, value_enum, default_value = "local")]
    voice: VoiceArg,
    /// Switch a fault on, see --help for the list.
    #[arg(long = "fault", value_name = "NAME[=AMOUNT][:TIMES]")]
    faults: Vec<Fault>,
    /// Send audio this many times as fast as it plays.
    #[arg(long, default_value_t = 4.0)]
    speed_factor: f64,
    /// Milliseconds from a text to its first audio.
    #[arg(long, default_value_t = 75)]
    first_byte_ms: u64,
    /// Milliseconds of audio in one chunk, 1 to 10000; without it 90, or Gradium's 80.
    #[arg(long)]
    chunk_ms: Option<u64>,
    /// Contexts that the account may have active; one more is answered as the vendor does. Without it all are served.
    #[arg(long, value_name = "N")]
    max_contexts: Option<u32>,
    /// Sockets that the account may have open; one more is refused with HTTP 429.
    #[arg(long, value_name = "N")]
    max_sockets: Option<u32>,
    /// Seconds that one request of Gradium's may last; without it 300.
    #[arg(long, value_name = "SECONDS")]
    session_s: Option<u64>,
    /// Write a line of JSON here for each context when its socket is gone: what it was asked to say, and what was sent.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// The only API key that is accepted; without it any is, but not none.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// A voice id (a model, for Deepgram) that is known; may be repeated. Without it all are.
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

/// Lists the vendor's own faults in the help.
pub(super) fn faults_of(vendor: Vendor) -> impl FnOnce(Arg) -> Arg {
    move |arg| arg.long_help(fault_help_for(vendor))
}

/// A port of its own for each vendor.
pub(super) fn port_of(vendor: Vendor) -> impl FnOnce(Arg) -> Arg {
    let address = match vendor {
        Vendor::Cartesia => "127.0.0.1:9000",
        Vendor::Gradium => "127.0.0.1:9001",
        Vendor::ElevenLabs => "127.0.0.1:9002",
        Vendor::Deepgram => "127.0.0.1:9003",
        Vendor::Rime => "127.0.0.1:9004",
    };
    move |arg| arg.default_value(address)
}

/// The server that `args` describe, listening.
pub(super) async fn bind(vendor: Vendor, args: &VoicesArgs) -> Result<Server, ServerError> {
    Server::bind(args.listen, settings(vendor, args)).await
}

fn settings(vendor: Vendor, args: &VoicesArgs) -> Settings {
    let usual = Settings::of(vendor);
    Settings {
        voice: match args.voice {
            VoiceArg::Local => Voice::Local,
            VoiceArg::Tone => Voice::Tone,
        },
        api_key: args.api_key.as_ref().map(ApiKey::new),
        voices: (!args.known_voices.is_empty()).then(|| args.known_voices.clone()),
        speed_factor: args.speed_factor,
        first_byte: Duration::from_millis(args.first_byte_ms),
        chunk: args.chunk_ms.map_or(usual.chunk, Duration::from_millis),
        session: args.session_s.map_or(usual.session, Duration::from_secs),
        contexts_max: args.max_contexts,
        sockets_max: args.max_sockets,
        faults: args.faults.clone(),
        tls: args.tls.then(|| TlsSettings { names: args.tls_names.clone(), ca_out: args.ca_out.clone() }),
        journal: args.journal.clone(),
        ..usual
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EmulateArgs, Service};
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        emulate: EmulateArgs,
    }

    fn parsed(line: &str) -> Result<Settings, String> {
        let program = Program::try_parse_from(format!("emulate {line}").split_whitespace());
        let service = program.map_err(|error| error.to_string())?.emulate.service;
        let (vendor, args) = service.voices().expect("a voice");
        Ok(settings(vendor, args))
    }

    #[test]
    fn flags_become_settings() {
        Program::command().debug_assert();
        let settings =
            parsed("cartesia --voice tone --fault stall=3:1 --fault burst --speed-factor 2.5 --first-byte-ms 10")
                .unwrap();
        let faults: Vec<_> = settings.faults.iter().map(Fault::to_string).collect();
        assert_eq!(faults, ["stall=3:1", "burst"]);
        assert_eq!((settings.speed_factor, settings.first_byte), (2.5, Duration::from_millis(10)));
        assert_eq!((settings.voice, settings.tls, settings.vendor), (Voice::Tone, None, Vendor::Cartesia));
        let settings = parsed("elevenlabs --tls --ca-out ca.pem --known-voice a --api-key 0001").unwrap();
        assert_eq!(settings.tls.unwrap().names, ["localhost"]);
        assert_eq!(settings.voices.unwrap(), ["a"]);
        assert_eq!(settings.api_key, Some(ApiKey::new("0001")));
    }

    #[test]
    fn every_vendor_has_the_same_flags_and_its_own_defaults() {
        let flags = "--max-contexts 3 --max-sockets 30 --journal said.jsonl --session-s 9";
        for vendor in Vendor::ALL {
            let settings = parsed(&format!("{} {flags}", vendor.name())).unwrap();
            assert_eq!((settings.vendor, settings.contexts_max, settings.sockets_max), (vendor, Some(3), Some(30)));
            assert_eq!(settings.session, Duration::from_secs(9));
            assert_eq!(settings.journal.unwrap().to_str(), Some("said.jsonl"));
            let help = parsed(&format!("{} --help", vendor.name())).unwrap_err();
            assert!(help.contains("wrong-ids") && help.contains("127.0.0.1:900"));
        }
        assert_eq!(parsed("gradium").unwrap().chunk, Duration::from_millis(80));
        assert_eq!(parsed("rime").unwrap().chunk, Duration::from_millis(90));
        assert!(!parsed("gradium --help").unwrap_err().contains("late-chunks"));
    }

    #[test]
    fn mistakes_are_explained() {
        assert!(parsed("cartesia --fault stalls").unwrap_err().contains("no fault is called"));
        assert!(parsed("cartesia --ca-out ca.pem").unwrap_err().contains("--tls"));
    }

    #[test]
    fn other_services_have_no_voice() {
        let program = Program::try_parse_from(["emulate", "floor"]).unwrap();
        assert!(matches!(program.emulate.service, Service::Floor(_)) && program.emulate.service.voices().is_none());
    }
}
