//! What all requests of a node share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::after::AfterApp;
use super::aftermath::Aftermath;
use super::calls::Calls;
use super::promises::Promises;
use super::relay::RelayApp;
use super::remembered::Remembered;
use super::twilio::address::Address;
use super::twilio::order::{self, OrderError, Orders};
use super::twilio::public_url::PublicUrl;
use super::twilio::rest::Rest;
use super::twilio::signature::Verifier;
use super::twilio::token::{LIFETIME_S, Minter, RandomError, TokenError, random_bytes};
use crate::agent::llm::Llm;
use crate::agent::script::Script;
use crate::audio::MediaFormat;
use crate::call::event::Start;
use crate::call::settings::Settings as CallSettings;
use crate::dialect::hearing;
use crate::dialect::speech::{self, Language};
use crate::driver::{Account, Dialler, HearingLink, Meter, Phrases, Shelf, Tap, VoiceLink, phrases};
use crate::http::Exchange;
use crate::ids::{CallSid, StreamSid};
use crate::player::Player;
use crate::tape::{self, Header};
use crate::voice;

/// Calls that were placed here and are remembered for as long as their orders are good; ten a second.
const PLACED_MAX: usize = 36_000;
/// How long the disk may take for what is left of the tapes when everything else has ended.
const TAPES_LIMIT: Duration = Duration::from_secs(5);

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
        api_token: String,
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
    /// Key of the stream tokens; at least 16 bytes of randomness.
    pub token_key: Vec<u8>,
    /// Calls at one time.
    pub calls_max: usize,
    /// How long live calls may go on after a stop signal.
    pub drain: Duration,
    /// Where calls are sent while we drain or are full; `None`: they hear busy.
    pub busy_redirect_url: Option<String>,
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
    /// Where calls are counted.
    pub meter: Arc<Meter>,
    /// Where calls are recorded; `None`: nowhere.
    pub tapes: Option<Tapes>,
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
    minter: Minter,
    orders: Orders,
    aftermath: Aftermath,
    placed: Mutex<Remembered<()>>,
    calls: Calls,
    seats: Arc<Semaphore>,
    running: TaskTracker,
    draining: CancellationToken,
    ending: CancellationToken,
    promises: Mutex<Promises>,
}

impl Node {
    /// A node without calls.
    pub fn new(settings: Settings) -> Self {
        Node(Arc::new(Shared {
            minter: Minter::new(&settings.token_key),
            orders: Orders::new(&settings.token_key),
            aftermath: Aftermath::default(),
            placed: Mutex::new(Remembered::new(PLACED_MAX, Duration::from_secs(order::LIFETIME_S))),
            calls: Calls::default(),
            seats: Arc::new(Semaphore::new(settings.calls_max)),
            running: TaskTracker::new(),
            draining: CancellationToken::new(),
            ending: CancellationToken::new(),
            promises: Mutex::default(),
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

    /// Cancelled when the node begins to stop.
    pub(super) fn draining(&self) -> &CancellationToken {
        &self.0.draining
    }

    /// Cancelled when live calls have to end.
    pub(super) fn ending(&self) -> &CancellationToken {
        &self.0.ending
    }

    /// A seat for one more call.
    pub(super) fn seat(&self) -> Option<OwnedSemaphorePermit> {
        self.0.seats.clone().try_acquire_owned().ok()
    }

    /// Whether a webhook may still be told to open a stream.
    pub(super) fn has_room(&self) -> bool {
        self.0.seats.available_permits() > 0 && !self.0.draining.is_cancelled()
    }

    /// A fresh stream token for a call.
    pub(super) fn mint(&self, call: &CallSid) -> Result<String, RandomError> {
        let now = unix_seconds();
        let token = self.0.minter.mint(call, now, random_bytes()?);
        lock(&self.0.promises).give(&token, now + LIFETIME_S, now);
        Ok(token)
    }

    /// Takes a stream token, once.
    pub(super) fn redeem(&self, token: &str, call: &CallSid) -> Result<(), TokenError> {
        self.0.minter.check(token, call, unix_seconds())?;
        lock(&self.0.promises).keep(token);
        Ok(())
    }

    /// How long streams may still come that were promised a place. In open mode nobody is waited for: it is for trying
    /// things out, where a stop should be one.
    pub(super) fn promised(&self) -> Duration {
        match self.0.settings.trust {
            Trust::Open => Duration::ZERO,
            Trust::Signed { .. } | Trust::Insecure => {
                Duration::from_secs(lock(&self.0.promises).last_s(unix_seconds()))
            }
        }
    }

    /// Whether `token` is the API's, in constant time.
    pub(super) fn is_api_token(&self, token: &str) -> bool {
        match &self.0.settings.trust {
            Trust::Signed { api_token, .. } => api_token.as_bytes().ct_eq(token.as_bytes()).into(),
            Trust::Open | Trust::Insecure => true,
        }
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
        let (store, stop) = (self.0.settings.phrases.clone(), self.draining().clone());
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

    /// Waits until the tapes of calls that are over are on the disk, but not for ever.
    pub(super) async fn finish_tapes(&self) {
        let Some(tapes) = &self.0.settings.tapes else { return };
        let shelf = tapes.shelf.clone();
        // A thread of its own: the runtime would wait for one of its threads to the end, and a disk may hang for ever.
        let (done, written) = oneshot::channel();
        let close = move || {
            shelf.close();
            let _ = done.send(());
        };
        let closing = std::thread::Builder::new().name("tapes-end".to_owned()).spawn(close);
        if let Err(error) = closing {
            tracing::warn!(%error, "no thread to wait for the disk: tapes may be cut short");
            return;
        }
        if tokio::time::timeout(TAPES_LIMIT, written).await.is_err() {
            tracing::warn!("the disk is too slow: tapes are cut short");
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
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
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
            runtime.block_on(node.finish_tapes());
            drop(runtime);
            ended.send(()).unwrap();
        });
        has_ended.recv_timeout(PATIENCE).unwrap();
        process.join().unwrap();
        drop(tape);
        let _ = std::fs::remove_dir_all(directory);
    }
}
