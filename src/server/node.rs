//! What all requests of a node share.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::after::AfterApp;
use super::aftermath::Aftermath;
use super::calls::Calls;
use super::failures::Failures;
use super::health::Scrapes;
use super::log::LogSwitch;
use super::promises::{self, Promises};
use super::relay::RelayApp;
use super::remembered::Remembered;
use super::retention::Kept;
use super::sources::{SourceLimits, Sources};
use super::tls::Tls;
use super::tokens::Tokens;
use super::twilio::address::Address;
use super::twilio::order::{self, OrderError, Orders};
use super::twilio::public_url::PublicUrl;
use super::twilio::rest::Rest;
use super::twilio::signature::Verifier;
use super::twilio::token::{Minter, RandomError, TokenError, random_bytes};
use crate::agent::llm::Llm;
use crate::agent::script::Script;
use crate::audio::MediaFormat;
use crate::call::event::Start;
use crate::call::settings::Settings as CallSettings;
use crate::dialect::hearing;
use crate::dialect::speech::{self, Language};
use crate::driver::{
    Account, Dialler, HearingLink, Meter, Phrases, Recordings, Shelf, Stopping, Tap, VoiceLink, phrases,
};
use crate::http::Exchange;
use crate::ids::{CallSid, StreamSid};
use crate::player::Player;
use crate::secret::Secret;
use crate::tape::{self, Header};
use crate::traces::Traces;
use crate::voice;

/// Calls that were placed here and are remembered for as long as their orders are good; ten a second.
const PLACED_MAX: usize = 36_000;

/// Who is believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Nothing is secret: loopback only, no foreign `Host`, no `Origin`.
    Open,
    /// Everybody has to prove who they are.
    Signed {
        /// Checks the carrier.
        verifier: Arc<Verifier>,
        /// Checks users of the API.
        tokens: Tokens,
    },
    /// Nobody has to prove anything, by the operator's explicit wish.
    Insecure,
}

/// Who decides what is said.
#[derive(Clone, Debug)]
pub enum AgentSettings {
    /// A script.
    Script(Script),
    /// Only what comes through the API.
    Api,
    /// An app that speaks ConversationRelay.
    Relay(Box<RelayApp>),
    /// A language model.
    Llm(Llm),
}

impl AgentSettings {
    /// Its name in the configuration and in the API.
    pub const fn name(&self) -> &'static str {
        match self {
            AgentSettings::Script(_) => "script",
            AgentSettings::Api => "api",
            AgentSettings::Relay(_) => "relay",
            AgentSettings::Llm(_) => "llm",
        }
    }
}

/// One voice of the chain, as every call uses it.
#[derive(Clone, Debug)]
pub enum Speaker {
    /// The voice in this process.
    Local(voice::Pool),
    /// A vendor.
    Remote {
        /// Who it is, and what is the same in every call.
        settings: speech::Settings,
        /// How to get there, and what all calls share of it.
        account: Arc<Account>,
        /// How to get there if it is asked over HTTP.
        exchange: Arc<dyn Exchange>,
    },
}

/// Who writes down what callers say.
#[derive(Clone, Debug)]
pub struct Hearer {
    /// What is the same in every call.
    pub settings: hearing::Settings,
    /// How to get there.
    pub dialler: Arc<Dialler>,
}

/// What a node is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where carriers reach us.
    pub public_url: Option<PublicUrl>,
    /// Who is believed.
    pub trust: Trust,
    /// What the port speaks; `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// Key of the stream tokens; with at least 16 bytes of randomness in it.
    pub token_key: Secret,
    /// The key was configured, so that another process can answer for a call of ours.
    pub has_shared_key: bool,
    /// Calls at one time.
    pub calls_max: usize,
    /// New calls a second of one account of the carrier; `None`: as many as come.
    pub account_rate: Option<NonZeroU32>,
    /// How long the head of a request may take to come, the wait for the next one on a connection that is kept open
    /// included.
    pub head: Duration,
    /// What those may do who connect.
    pub sources: SourceLimits,
    /// Where agents reach this very node; `None`: where it listens.
    pub control_url: Option<PublicUrl>,
    /// How long live calls may go on after a stop signal.
    pub drain: Duration,
    /// Where calls are sent while we drain or cannot take them; `None`: they hear a busy tone or line.
    pub busy_redirect_url: Option<String>,
    /// What a call hears that cannot be taken.
    pub busy: Busy,
    /// Where the carrier asks what to do after the stream.
    pub after_url: Option<String>,
    /// Who is asked instead, through `/twilio/after`; `after_url` is what follows if that fails.
    pub after_app: Option<AfterApp>,
    /// The carrier's API; `None`: calls can be neither placed nor controlled there.
    pub rest: Option<Rest>,
    /// Who calls, where a request to place a call does not say.
    pub from: Option<Address>,
    /// Parameters handed through to the stream.
    pub parameters: BTreeMap<String, String>,
    /// What shapes a call; its `seed` is drawn anew for each.
    pub call: CallSettings,
    /// The voices, in the order of `call.voices`.
    pub speakers: Vec<Speaker>,
    /// What plays recordings and tones.
    pub player: Player,
    /// What the voices speak before it is needed: the phrases of `call`.
    pub phrases: Phrases,
    /// Who writes down what callers say, if `call.conversation` has it.
    pub hearing: Option<Hearer>,
    /// Who decides what is said.
    pub agent: AgentSettings,
    /// Whether what is said and pressed may be logged.
    pub show_text: bool,
    /// Changes the level of the log; `None`: whoever has it does not let us.
    pub log: Option<LogSwitch>,
    /// Where calls are counted.
    pub meter: Arc<Meter>,
    /// Where calls are recorded; `None`: nowhere.
    pub tapes: Option<Tapes>,
    /// Where traces of calls go; `None`: nowhere.
    pub traces: Option<Traces>,
    /// Where they are recorded as sound; `None`: nowhere.
    pub recordings: Option<Arc<Recordings>>,
    /// What is deleted from the disk because of its age.
    pub kept: Vec<Kept>,
}

/// What a call hears that cannot be taken, and is sent nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// Before it is answered: the busy tone, which costs nothing, or the line.
    pub has_tone: bool,
    /// Said to calls that are answered already.
    pub line: String,
}

/// How calls are recorded.
#[derive(Clone, Debug)]
pub struct Tapes {
    /// Where to.
    pub shelf: Arc<Shelf>,
    /// What becomes of text, numbers and names.
    pub text: tape::Text,
    /// What becomes of audio.
    pub audio: tape::Audio,
}

/// One node: cheap to clone, the same for everybody.
#[derive(Clone, Debug)]
pub struct Node(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Settings,
    begun: Instant,
    minter: Minter,
    orders: Orders,
    aftermath: Aftermath,
    placed: Mutex<Remembered<()>>,
    calls: Calls,
    admission: Admission,
    sources: Sources,
    running: TaskTracker,
    stopping: Stopping,
    scrapes: Scrapes,
    /// Where it listens, once it does.
    located: OnceLock<String>,
    promises: Mutex<Promises>,
    failures: Mutex<Failures>,
}

impl Node {
    /// A node without calls.
    pub fn new(settings: Settings) -> Self {
        Node(Arc::new(Shared {
            begun: Instant::now(),
            minter: Minter::new(&settings.token_key),
            orders: Orders::new(&settings.token_key),
            aftermath: Aftermath::default(),
            placed: Mutex::new(Remembered::new(PLACED_MAX, Duration::from_secs(order::LIFETIME_S))),
            calls: Calls::default(),
            admission: Admission::new(settings.calls_max, settings.account_rate),
            sources: Sources::new(settings.sources.clone()),
            running: TaskTracker::new(),
            stopping: Stopping::default(),
            scrapes: Scrapes::default(),
            located: OnceLock::new(),
            promises: Mutex::default(),
            failures: Mutex::default(),
            settings,
        }))
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Path of the public URL, empty or with a leading slash.
    pub(super) fn prefix(&self) -> &str {
        self.0.settings.public_url.as_ref().map_or("", PublicUrl::prefix)
    }

    /// How long it has been there.
    pub(super) fn uptime(&self) -> Duration {
        self.0.begun.elapsed()
    }

    /// The API is at `control`, or at `public` with everything else.
    pub(super) fn locate(&self, public: SocketAddr, control: Option<SocketAddr>) {
        let url = match (&self.0.settings.public_url, control) {
            (Some(url), None) => url.http_url(""),
            (_, Some(address)) => format!("http://{address}"),
            (None, None) if self.0.settings.tls.is_some() => format!("https://{public}"),
            (None, None) => format!("http://{public}"),
        };
        // A node listens once.
        let _ = self.0.located.set(url);
    }

    /// Where agents reach this very node, as they are told with every event.
    pub(super) fn control_url(&self) -> Option<String> {
        let configured = self.0.settings.control_url.as_ref().map(|url| url.http_url(""));
        configured.or_else(|| self.0.located.get().cloned())
    }

    /// Where calls are counted.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.0.settings.meter
    }

    pub(super) fn calls(&self) -> &Calls {
        &self.0.calls
    }

    /// How sessions ended; whoever runs a call records it there.
    pub fn aftermath(&self) -> &Aftermath {
        &self.0.aftermath
    }

    /// A call was placed from here.
    pub(super) fn placed(&self, call: &CallSid) {
        lock(&self.0.placed).put(call.clone(), (), Instant::now());
    }

    /// Whether a call was placed from here, not long ago.
    pub(super) fn has_placed(&self, call: &CallSid) -> bool {
        lock(&self.0.placed).knows(call, Instant::now())
    }

    /// Seals the parameters of a call into a text that is safe in a URL.
    pub(super) fn seal(&self, parameters: &BTreeMap<String, String>) -> Result<String, OrderError> {
        self.0.orders.seal(parameters, unix_seconds())
    }

    /// What was sealed.
    pub(super) fn unseal(&self, order: &str) -> Result<BTreeMap<String, String>, OrderError> {
        self.0.orders.open(order, unix_seconds())
    }

    pub(super) fn running(&self) -> &TaskTracker {
        &self.0.running
    }

    /// What the node wants of its calls while it stops.
    pub(super) fn stopping(&self) -> &Stopping {
        &self.0.stopping
    }

    pub(super) fn scrapes(&self) -> &Scrapes {
        &self.0.scrapes
    }

    pub(super) fn admission(&self) -> &Admission {
        &self.0.admission
    }

    pub(super) fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// Calls that were promised a seat.
    pub(super) fn promises(&self) -> MutexGuard<'_, Promises> {
        lock(&self.0.promises)
    }

    /// A fresh stream token for a call.
    pub(super) fn mint(&self, call: &CallSid) -> Result<String, RandomError> {
        let now = unix_seconds();
        let token = self.0.minter.mint(call, now, random_bytes()?);
        self.expect(call, promises::KEPT_S);
        Ok(token)
    }

    /// Takes a stream token, once; whether this node promised the call a seat. With several replicas it may have been another.
    pub(super) fn redeem(&self, token: &str, call: &CallSid) -> Result<bool, TokenError> {
        self.0.minter.check(token, call, unix_seconds())?;
        Ok(self.was_expected(call))
    }

    /// Has the files of TLS looked at, if there are any, without waiting for the next time.
    pub fn look_at_certificates(&self) {
        if let Some(tls) = &self.0.settings.tls {
            tls.look();
        }
    }

    /// Takes note of a source that could not prove to be a user of the API; how long it has to wait, if it did too often.
    pub(super) fn failed(&self, from: IpAddr) -> Option<Duration> {
        lock(&self.0.failures).note(from, Instant::now())
    }

    /// The links of a call to its voices.
    pub(super) fn voice_links(&self, stream: &StreamSid) -> Vec<VoiceLink> {
        let link = |speaker: &Speaker| match speaker {
            Speaker::Local(pool) => VoiceLink::Local(pool.clone()),
            Speaker::Remote { settings, account, exchange } => match settings.language(stream) {
                Language::Socket(dialect) => VoiceLink::Socket { dialect, account: account.clone() },
                Language::Requests(dialect) => {
                    VoiceLink::Requests { dialect, exchange: exchange.clone(), account: account.clone() }
                }
            },
        };
        self.0.settings.speakers.iter().map(link).collect()
    }

    /// Has the phrases spoken that calls will need, until the node begins to stop.
    pub(super) async fn speak_phrases(self) {
        let (Ok(name), Ok(seed)) = (random_bytes().map(u64::from_be_bytes), random_bytes().map(u64::from_be_bytes))
        else {
            return;
        };
        // Several nodes may share an account, in which two contexts of one name would be one.
        let Ok(stream) = StreamSid::parse(&format!("phrases{name:016x}")) else { return };
        let (store, stop) = (self.0.settings.phrases.clone(), self.stopping().drain.clone());
        Box::pin(phrases::fill(store, seed, || self.voice_links(&stream), stop)).await;
    }

    /// How what a caller says is written down whose audio is written in `inbound`, if it is.
    pub(super) fn hearing_link(&self, inbound: MediaFormat) -> Option<HearingLink> {
        let Hearer { settings, dialler } = self.0.settings.hearing.as_ref()?;
        match settings.dialect(inbound) {
            Ok(dialect) => Some(HearingLink { dialect, dialler: dialler.clone() }),
            Err(error) => {
                tracing::warn!(%error, "what the caller says is not written down");
                None
            }
        }
    }

    /// The tape of a call that begins with `start`, if calls are recorded.
    pub(super) fn tape(&self, settings: &CallSettings, agent: Option<tape::Agent>, start: &Start) -> Option<Tap> {
        let tapes = self.0.settings.tapes.as_ref()?;
        let voice = |speaker: &Speaker| match speaker {
            Speaker::Local(_) => tape::Voice::Local,
            Speaker::Remote { settings, .. } => tape::Voice::remote(&start.stream, settings.without_query()),
        };
        let hearing = |hearer: &Hearer| hearer.settings.clone().without_query();
        let header = Header {
            tape: tape::FORMAT,
            trunkline: env!("CARGO_PKG_VERSION").to_owned(),
            wakes: tape::Wakes::Recorded,
            text: tapes.text,
            audio: tapes.audio,
            settings: settings.clone(),
            carrier: tape::Carrier::Twilio,
            voices: self.0.settings.speakers.iter().map(voice).collect(),
            agent,
            hearing: self.0.settings.hearing.as_ref().filter(|_| settings.conversation.hearing.is_some()).map(hearing),
        };
        // Without randomness there is no key, and without a key nothing private may be written.
        tapes.shelf.begin(&header, &start.call, &start.stream, random_bytes().ok()?)
    }
}

/// Takes a lock whatever happened to those who held it before: each change under it is whole by itself.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds of Unix time: what tokens expire by, on whichever replica they are used.
fn unix_seconds() -> u64 {
    unix_time().as_secs()
}

/// Unix time.
#[expect(clippy::disallowed_methods, reason = "replicas, and apps that are told times, share wall time only")]
pub(super) fn unix_time() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::audio::MediaFormat;
    use crate::config::{Input, load};

    /// Longest wait for something that takes no time, or for ever.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_disk_that_hangs_does_not_keep_the_process_from_ending() {
        let directory = std::env::temp_dir().join(format!("trunkline-node-{}", std::process::id()));
        let toml = format!("[tape]\ndir = {directory:?}\n");
        let input = Input { file: Some(("test.toml".to_owned(), toml)), ..Input::default() };
        let node = crate::gateway::node(&load(&input).map_err(|_| "a problem").unwrap().config).unwrap();
        let start = Start {
            stream: StreamSid::parse("MZ1").unwrap(),
            call: CallSid::parse("CA1").unwrap(),
            inbound: MediaFormat::TELEPHONE,
            outbound: Some(MediaFormat::TELEPHONE),
            parameters: BTreeMap::new(),
        };
        // A tape that does not end keeps its thread waiting, as a disk would.
        let tape = node.tape(&node.settings().call, None, &start).unwrap();
        let (ended, has_ended) = mpsc::channel();
        let process = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(node.finish_files());
            drop(runtime);
            ended.send(()).unwrap();
        });
        has_ended.recv_timeout(PATIENCE).unwrap();
        process.join().unwrap();
        drop(tape);
        let _ = std::fs::remove_dir_all(directory);
    }
}
