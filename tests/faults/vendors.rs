//! The vendors under test: one row each.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use trunkline::dialect::speech::Language;
use trunkline::driver::{ByteStream, Connect, VoiceLink};
use trunkline::emulate::{speech, tts};
use trunkline::ids::StreamSid;
use trunkline::server::Speaker;

use crate::network::{Network, Requests};

/// An emulated vendor.
pub(crate) trait Vendor: Send + Sync {
    /// Serves a connection to its end, or until `stop`.
    fn serve(self: Arc<Self>, stream: Box<dyn ByteStream>, stop: CancellationToken) -> BoxFuture<'static, ()>;
    /// What it was asked to say, and what came of it, in the order in which it was asked.
    fn said(&self) -> Vec<Said>;
}

/// A context, or a request: what a vendor was asked to say at once.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// When its first text came, from the start of the call.
    pub(crate) at: Duration,
    pub(crate) text: String,
    pub(crate) tone: Option<u32>,
    /// Samples a second.
    pub(crate) rate: u32,
    /// Samples that were written.
    pub(crate) samples: u64,
}

impl Said {
    /// How long the speech is that was sent.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_micros(self.samples * 1_000_000 / u64::from(self.rate))
    }
}

/// A vendor under test.
pub(crate) struct Row {
    /// Its name in the configuration and in the documents; `{name}.test` is its host in the network of pipes.
    pub(crate) name: &'static str,
    /// Scheme and path of its URL, around the host.
    url: (&'static str, &'static str),
    /// Whether it tells when its words are spoken.
    pub(crate) is_timed: bool,
    /// An emulator of it with these faults, all with the limits that the vendor documents. `None` if one of them cannot
    /// happen to it: its protocol has nothing of the kind.
    pub(crate) vendor: fn(&[String]) -> Option<Arc<dyn Vendor>>,
}

/// Every vendor under test.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "cartesia",
        is_timed: true,
        url: ("ws", "/tts/websocket"),
        vendor: |faults| over_a_socket(tts::Vendor::Cartesia, faults),
    },
    Row {
        name: "gradium",
        is_timed: true,
        url: ("ws", "/api/speech/tts"),
        vendor: |faults| over_a_socket(tts::Vendor::Gradium, faults),
    },
    Row {
        name: "elevenlabs",
        is_timed: true,
        url: ("ws", ""),
        vendor: |faults| over_a_socket(tts::Vendor::ElevenLabs, faults),
    },
    Row {
        name: "rime",
        is_timed: true,
        url: ("ws", "/ws3"),
        vendor: |faults| over_a_socket(tts::Vendor::Rime, faults),
    },
    Row {
        name: "deepgram",
        is_timed: false,
        url: ("ws", "/v1/speak"),
        vendor: |faults| over_a_socket(tts::Vendor::Deepgram, faults),
    },
    Row {
        name: "deepgram_flux",
        is_timed: false,
        url: ("ws", "/v2/speak"),
        vendor: |faults| over_a_socket(tts::Vendor::Deepgram, faults),
    },
    Row { name: "openai", is_timed: false, url: ("http", "/v1"), vendor: over_http },
];

/// One of the vendors with sockets, which share an engine, speaking in tones.
fn over_a_socket(vendor: tts::Vendor, faults: &[String]) -> Option<Arc<dyn Vendor>> {
    let faults: Vec<tts::Fault> = faults.iter().map(|fault| fault.parse().ok()).collect::<Option<_>>()?;
    if !faults.iter().all(|fault| fault.kind.happens_to(vendor)) {
        return None;
    }
    let settings = tts::Settings { voice: tts::Voice::Tone, faults, ..tts::Settings::of(vendor) };
    Some(Arc::new(tts::Emulator::new(settings).unwrap()))
}

impl Vendor for tts::Emulator {
    fn serve(self: Arc<Self>, stream: Box<dyn ByteStream>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.serve_until(stream, stop).await })
    }

    fn said(&self) -> Vec<Said> {
        let said = |context: tts::ContextRecord| Said {
            at: context.started_at,
            text: context.text,
            tone: context.tone,
            rate: context.rate,
            samples: context.samples_sent,
        };
        self.journal().contexts().into_iter().map(said).collect()
    }
}

/// OpenAI's API, speaking in tones.
fn over_http(faults: &[String]) -> Option<Arc<dyn Vendor>> {
    let faults = faults.iter().map(|fault| in_http(fault)?.parse().ok()).collect::<Option<_>>()?;
    let settings = speech::Settings { voice: tts::Voice::Tone, faults, ..speech::Settings::default() };
    Some(Arc::new(speech::Emulator::new(settings).unwrap()))
}

/// What a switch of the sockets is called where there are only requests; `None` if it cannot happen to them.
fn in_http(switch: &str) -> Option<String> {
    let (name, rest) = switch.split_at(switch.find(['=', ':']).unwrap_or(switch.len()));
    let times = rest.find(':').map_or("", |at| &rest[at..]);
    Some(match name {
        "handshake-slow" => format!("answer-slow{rest}"),
        "handshake-401" => format!("refuse=401{times}"),
        "handshake-429" => format!("refuse=429{times}"),
        "abort" => format!("drop{rest}"),
        "error-500" => format!("error-midway{rest}"),
        "padded" => format!("huge{rest}"),
        "refuse" | "limited" | "stall" | "stall-first" | "garbage" | "empty" | "odd-chunks" | "burst" | "endless"
        | "slow-reader" => switch.to_owned(),
        _ => return None,
    })
}

impl Vendor for speech::Emulator {
    fn serve(self: Arc<Self>, stream: Box<dyn ByteStream>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move { speech::Emulator::serve(&self, stream, stop).await })
    }

    fn said(&self) -> Vec<Said> {
        let said = |record: speech::Record| Said {
            at: record.at,
            text: record.input,
            tone: record.tone,
            rate: speech::RATE,
            samples: record.samples_sent,
        };
        // What was refused was never begun.
        self.journal().records().into_iter().filter(|record| record.tone.is_some()).map(said).collect()
    }
}

impl Row {
    /// Its host in the network of pipes.
    pub(crate) fn host(&self) -> String {
        // An underscore is no letter of a host's name.
        format!("{}.test", self.name.replace('_', "-"))
    }

    /// The configuration of a call that speaks through it, and what it cannot speak through those `behind` it.
    pub(crate) fn toml(&self, behind: &[&str]) -> String {
        let chain: Vec<&str> = [self.name].iter().chain(behind).copied().collect();
        // The converter of the local voice is by far the dearest thing here, hence the short line.
        format!("speech.chain = {chain:?}\nspeech.fallback_line = \"Sorry, one moment, please.\"\n{}", self.section())
    }

    /// Where it is.
    pub(crate) fn section(&self) -> String {
        let (name, (scheme, path)) = (self.name, self.url);
        format!("speech.{name}.api_key = \"the-key\"\nspeech.{name}.url = \"{scheme}://{}{path}\"\n", self.host())
    }
}

/// The link of a call to a voice of its configuration, over `network`.
pub(crate) fn link(speaker: Speaker, stream: &StreamSid, network: &Arc<Network>) -> VoiceLink {
    match speaker {
        Speaker::Local(pool) => VoiceLink::Local(pool),
        Speaker::Remote { settings, account, .. } => {
            let way: Arc<dyn Connect> = network.clone();
            let account = account.over(way);
            match settings.language(stream) {
                Language::Socket(dialect) => VoiceLink::Socket { dialect, account },
                Language::Requests(dialect) => {
                    VoiceLink::Requests { dialect, exchange: Arc::new(Requests(network.clone())), account }
                }
            }
        }
    }
}
