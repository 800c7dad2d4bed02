//! The vendors under test: one row each.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use trunkline::dialect::speech::Language;
use trunkline::driver::{ByteStream, Connect, VoiceLink};
use trunkline::emulate::tts::{self, ContextRecord, Emulator};
use trunkline::ids::StreamSid;
use trunkline::server::Speaker;

/// An emulated vendor.
pub(crate) trait Vendor: Send + Sync {
    /// Serves a connection to its end, or until `stop`.
    fn serve(self: Arc<Self>, stream: Box<dyn ByteStream>, stop: CancellationToken) -> BoxFuture<'static, ()>;
    /// What it was asked to say, and what came of it.
    fn contexts(&self) -> Vec<ContextRecord>;
}

/// A vendor under test.
pub(crate) struct Row {
    /// Its name in the configuration and in the documents; `{name}.test` is its host in the network of pipes.
    pub(crate) name: &'static str,
    /// Scheme and path of its URL, around the host.
    url: (&'static str, &'static str),
    /// An emulator of it with these faults, all with the limits that the vendor documents. `None` if one of them cannot
    /// happen to it: its protocol has nothing of the kind.
    pub(crate) vendor: fn(&[String]) -> Option<Arc<dyn Vendor>>,
}

/// Every vendor under test.
pub(crate) const ROWS: &[Row] = &[Row {
    name: "cartesia",
    url: ("ws", "/tts/websocket"),
    vendor: |faults| emulator(tts::Vendor::Cartesia, faults),
}];

/// One of the vendors that share an engine, speaking in tones.
fn emulator(vendor: tts::Vendor, faults: &[String]) -> Option<Arc<dyn Vendor>> {
    let faults: Vec<tts::Fault> = faults.iter().map(|fault| fault.parse().unwrap()).collect();
    if !faults.iter().all(|fault| fault.kind.happens_to(vendor)) {
        return None;
    }
    let settings = tts::Settings { voice: tts::Voice::Tone, faults, ..tts::Settings::of(vendor) };
    Some(Arc::new(InPlace(Emulator::new(settings).unwrap())))
}

impl Row {
    /// Its host in the network of pipes.
    pub(crate) fn host(&self) -> String {
        format!("{}.test", self.name)
    }

    /// The configuration of a call that speaks through it alone.
    pub(crate) fn toml(&self) -> String {
        let (name, (scheme, path)) = (self.name, self.url);
        format!(
            "speech.chain = [\"{name}\"]\nspeech.{name}.api_key = \"the-key\"\n\
             speech.{name}.url = \"{scheme}://{}{path}\"",
            self.host()
        )
    }
}

/// The link of a call to a voice of its configuration, over `network`.
pub(crate) fn link(speaker: Speaker, stream: &StreamSid, network: &Arc<dyn Connect>) -> VoiceLink {
    match speaker {
        Speaker::Local(pool) => VoiceLink::Local(pool),
        Speaker::Remote { settings, account } => match settings.language(stream) {
            Language::Socket(dialect) => VoiceLink::Socket { dialect, account: account.over(network.clone()) },
        },
    }
}

/// An emulator without a listener.
struct InPlace(Emulator);

impl Vendor for InPlace {
    fn serve(self: Arc<Self>, stream: Box<dyn ByteStream>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.0.serve_until(stream, stop).await })
    }

    fn contexts(&self) -> Vec<ContextRecord> {
        self.0.journal().contexts()
    }
}
