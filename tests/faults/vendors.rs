//! The vendors under test: one row each.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use trunkline::dialect::cartesia::Cartesia;
use trunkline::driver::{ByteStream, Connect, VoiceLink};
use trunkline::emulate::cartesia::{self, ContextRecord, Emulator, Journal};
use trunkline::ids::StreamSid;
use trunkline::server::Speaker;

/// An emulated vendor.
pub(crate) trait Vendor: Send + Sync {
    /// Serves a connection to its end.
    fn serve(self: Arc<Self>, stream: Box<dyn ByteStream>) -> BoxFuture<'static, ()>;
    /// What it was asked to say, and what came of it.
    fn contexts(&self) -> Vec<ContextRecord>;
}

/// A vendor under test.
pub(crate) struct Row {
    /// Its name in the configuration and in the documents.
    pub(crate) name: &'static str,
    /// Its host in the network of pipes.
    pub(crate) host: &'static str,
    /// Configuration of a call that speaks through it.
    pub(crate) toml: &'static str,
    /// An emulator of it with these faults, in the words of its own switches.
    pub(crate) vendor: fn(&[String]) -> Arc<dyn Vendor>,
    /// Switches of the common faults that are called otherwise here, or do not exist: its protocol has nothing like it.
    pub(crate) otherwise: &'static [(&'static str, Option<&'static str>)],
}

/// Every vendor under test.
pub(crate) const ROWS: &[Row] = &[Row {
    name: "cartesia",
    host: "cartesia.test",
    toml: "speech.provider = \"cartesia\"\nspeech.cartesia.api_key = \"the-key\"\n\
           speech.cartesia.url = \"ws://cartesia.test/tts/websocket\"",
    vendor: |faults| {
        let faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
        let settings = cartesia::Settings { voice: cartesia::Voice::Tone, faults, ..cartesia::Settings::default() };
        Arc::new(InPlace::new(settings))
    },
    otherwise: &[],
}];

/// The link of a call to a voice of its configuration, over `network`.
pub(crate) fn link(speaker: Speaker, stream: &StreamSid, network: &Arc<dyn Connect>) -> VoiceLink {
    match speaker {
        Speaker::Local(pool) => VoiceLink::Local(pool),
        Speaker::Cartesia { settings, dialler } => VoiceLink::Socket {
            dialect: Box::new(Cartesia::new(settings, stream)),
            dialler: Arc::new((*dialler).clone().over(network.clone())),
        },
    }
}

/// An emulator without a listener.
struct InPlace {
    emulator: Emulator,
    journal: Journal,
}

impl InPlace {
    fn new(settings: cartesia::Settings) -> Self {
        let emulator = Emulator::new(settings).unwrap();
        InPlace { journal: emulator.journal(), emulator }
    }
}

impl Vendor for InPlace {
    fn serve(self: Arc<Self>, stream: Box<dyn ByteStream>) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.emulator.serve(stream).await })
    }

    fn contexts(&self) -> Vec<ContextRecord> {
        self.journal.contexts()
    }
}
