//! From a configuration to a node: where the settings of all layers are put together.

mod hearing;
mod otlp;
pub mod outside;
mod phrases;
mod relay;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::agent::llm::Llm;
use crate::agent::llm::settings as llm;
use crate::agent::script::Script;
use crate::audio::{Encoding, vad};
use crate::call::settings::{
    Conversation, Hearing, Interruptible, Lifetime, Limits, OnFailure, Playout, Settings as CallSettings, Text, Voice,
    is_english,
};
use crate::config::{self, AgentKind, BargeInPolicy, Config, Provider, Section, TextRule, narrow};
use crate::driver::account::{self, Succession};
use crate::driver::{Account, Dialler, Meter, Recordings, Shelf, recording};
use crate::http::outbound::Outbound;
use crate::http::{self, Http, HttpError, TrustError};
use crate::player::{self, Player};
use crate::secret::Secret;
use crate::server::tls::{Tls, TlsError};
use crate::server::tokens::Tokens;
use crate::server::twilio::rest::{self, Rest, RestSetupError};
use crate::server::twilio::signature::Verifier;
use crate::server::twilio::token::{RandomError, random_bytes};
use crate::server::{
    AfterAppError, AgentSettings, Busy, Kept, KeptKind, Node, Settings, SourceLimits, Speaker, Tapes, Trust,
};
use crate::tape;
use crate::traces::TracesError;
use crate::voice::{self, Pool};

/// What a call waits for a clip beyond the time that fetching it may take, so that it is told why there is none.
const CLIP_MARGIN: Duration = Duration::from_secs(2);
/// Tries at one thing before it counts as failed.
const LIMITS_TRIES: u32 = 4;

/// Why a node cannot be built from a configuration that is good in itself.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The system has no randomness.
    #[error("no key for stream tokens")]
    Random(#[from] RandomError),
    /// The port cannot speak TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Calls cannot be recorded.
    #[error("tape.dir: {} cannot be written to", .0.display())]
    Tapes(PathBuf, #[source] std::io::Error),
    /// Calls cannot be recorded as sound.
    #[error("recording.dir: {} cannot be written to", .0.display())]
    Recordings(PathBuf, #[source] std::io::Error),
    /// The carrier's API cannot be asked.
    #[error("twilio.api_url")]
    Rest(#[from] RestSetupError),
    /// The model's server or a tool cannot be asked.
    #[error("agent.llm")]
    Llm(#[from] HttpError),
    /// Nothing can be played.
    #[error("player")]
    Player(#[source] HttpError),
    /// The voice cannot be dialled.
    #[error("speech.{0}")]
    Dialler(&'static str, #[source] HttpError),
    /// The app cannot be dialled.
    #[error("agent.relay")]
    App(#[source] TrustError),
    /// The app cannot be asked what follows its session.
    #[error("agent.relay.action_url")]
    AfterApp(#[from] AfterAppError),
    /// Whoever writes down what callers say cannot be dialled.
    #[error("hearing")]
    Hearing(#[source] TrustError),
    /// Traces cannot be sent.
    #[error("otlp")]
    Traces(#[from] TracesError),
}

/// Builds the node that `config` describes.
///
/// # Errors
/// [`GatewayError`].
pub fn node(config: &Config) -> Result<Node, GatewayError> {
    settings(config).map(Node::new)
}

/// What that node is made of, for those who change something about it first.
///
/// # Errors
/// [`GatewayError`].
pub fn settings(config: &Config) -> Result<Settings, GatewayError> {
    let meter = Arc::<Meter>::default();
    meter.count_late_above(config.limits.late(config.playout.lead));
    let outbound = Outbound::new(config.outbound.rules(config.trust)).watched(meter.clone());
    let (voices, speakers) = voices(config, &meter)?;
    let (heard, hearing) = hearing::hearing(config)?;
    let call = call_settings(config, voices, heard);
    let agent = agent(config, &outbound)?;
    let call = CallSettings { phrases: phrases::phrases(config, &call, &agent), ..call };
    Ok(Settings {
        public_url: config.server.public_url.clone(),
        trust: trust(config),
        tls: config.tls.settings().map(|tls| Tls::new(tls, meter.clone())).transpose()?,
        token_key: match &config.server.token_key {
            Some(key) => key.clone(),
            None => Secret::of_bytes(random_bytes::<32>()?),
        },
        has_shared_key: config.server.token_key.is_some(),
        calls_max: config.server.max_calls as usize,
        account_rate: config.limits.account_rate(),
        head: config.limits.head,
        sources: SourceLimits {
            rate: NonZeroU32::new(config.limits.source_rate),
            connections: NonZeroU32::new(config.limits.source_connections),
            proxies: config.limits.proxies(),
        },
        drain: config.server.drain,
        busy_redirect_url: config.server.busy_redirect_url.clone(),
        busy: Busy {
            has_tone: config.server.busy_signal == config::BusySignal::Tone,
            line: config.server.busy_line.clone(),
        },
        control_url: config.server.control_url.clone(),
        after_url: config.twilio.after_url.clone(),
        after_app: relay::after(config, &outbound)?,
        rest: rest(&config.twilio)?,
        from: config.twilio.from.clone(),
        parameters: config.twilio.parameters.clone(),
        phrases: phrases::store(config, &call, &meter),
        call,
        speakers,
        player: player(&config.player, &outbound)?,
        hearing,
        agent,
        show_text: config.log.show_text,
        log: None,
        tapes: tapes(&config.tape, &meter)?,
        traces: otlp::traces(&config.otlp, &meter)?,
        recordings: recordings(&config.recording, &meter)?,
        kept: kept(config),
        meter,
    })
}

/// The carrier's API, if there are an account and something to prove it with. An API key can be taken back by itself, so it
/// goes before the auth token.
fn rest(config: &config::Twilio) -> Result<Option<Rest>, GatewayError> {
    let Some(account_sid) = &config.account_sid else { return Ok(None) };
    let (user, secret) = match (&config.api_key_sid, &config.api_key_secret, &config.auth_token) {
        (Some(sid), Some(secret), _) => (sid, secret),
        (_, _, Some(auth_token)) => (account_sid, auth_token),
        (_, _, None) => return Ok(None),
    };
    let settings = rest::Settings {
        api_url: config.api_url.clone(),
        account_sid: account_sid.clone(),
        user: user.clone(),
        secret: secret.clone(),
    };
    Ok(Some(Rest::new(settings)?))
}

fn tapes(config: &config::Tape, meter: &Arc<Meter>) -> Result<Option<Tapes>, GatewayError> {
    let Some(directory) = &config.dir else { return Ok(None) };
    let directory = PathBuf::from(directory);
    let shelf = Shelf::open(&directory, meter.clone()).map_err(|error| GatewayError::Tapes(directory, error))?;
    let text = match config.text {
        config::TapeText::Redact => tape::Text::Redact,
        config::TapeText::Keep => tape::Text::Keep,
    };
    let audio = match config.audio {
        config::TapeAudio::Keep => tape::Audio::Keep,
        config::TapeAudio::Silence => tape::Audio::Silence,
    };
    Ok(Some(Tapes { shelf: Arc::new(shelf), text, audio }))
}

fn recordings(config: &config::Recording, meter: &Arc<Meter>) -> Result<Option<Arc<Recordings>>, GatewayError> {
    let Some(directory) = config.dir.as_ref().map(PathBuf::from) else { return Ok(None) };
    let free_bytes_min = u64::from(config.min_free_mib) * 1024 * 1024;
    let settings = recording::Settings { directory: directory.clone(), free_bytes_min };
    let recordings = Recordings::open(&settings, meter.clone());
    recordings.map(|recordings| Some(Arc::new(recordings))).map_err(|error| GatewayError::Recordings(directory, error))
}

/// What calls leave on the disk, and for how long.
fn kept(config: &Config) -> Vec<Kept> {
    let kept = |dir: &Option<String>, days: Option<u32>, kind| {
        Some(Kept { directory: PathBuf::from(dir.as_ref()?), kind, days: days? })
    };
    let recordings = kept(&config.recording.dir, Some(config.recording.keep_days), KeptKind::Recording);
    let tapes = kept(&config.tape.dir, config.tape.keep_days, KeptKind::Tape);
    recordings.into_iter().chain(tapes).collect()
}

/// What is said first in a call that is recorded.
fn announcement(config: &config::Recording) -> String {
    config.dir.as_ref().map(|_| config.announcement.trim().to_owned()).unwrap_or_default()
}

fn player(config: &config::Player, outbound: &Outbound) -> Result<Player, GatewayError> {
    let bytes = |mib: u32| mib as usize * 1024 * 1024;
    let settings = player::Settings {
        allow_http: config.allow_http,
        file_bytes_max: bytes(config.max_mib),
        limit: config.fetch,
        length_max: config.longest,
        cache_bytes: bytes(config.cache_mib),
        workers: available_parallelism().map_or(1, usize::from),
    };
    Player::new(settings, outbound).map_err(GatewayError::Player)
}

fn trust(config: &Config) -> Trust {
    match (config.trust, &config.server.public_url) {
        (config::Trust::Signed, Some(url)) => {
            let twilio = &config.twilio;
            let tokens = Tokens::new(config.server.api_token.as_ref(), &config.server.tokens);
            let verifier = Verifier::new(url.clone(), twilio.auth_token.clone(), twilio.shared_keys.clone());
            Trust::Signed { verifier: Arc::new(verifier), tokens }
        }
        (config::Trust::Insecure, _) => Trust::Insecure,
        // A checked configuration is never signed without its parts; if it were, loopback is the safe reading.
        (config::Trust::Open | config::Trust::Signed, _) => Trust::Open,
    }
}

/// The voices and who speaks with them: the chain, and behind it the local voice for the fallback line.
fn voices(config: &Config, meter: &Meter) -> Result<(Vec<Voice>, Vec<Speaker>), GatewayError> {
    let workers = available_parallelism().map_or(1, usize::from);
    let pool = Pool::new(voice::Settings { workers, waiting_max: config.server.max_calls as usize });
    let local = || (Voice::plain("local", Encoding::PcmS16Le, Some(voice::RATE)), Speaker::Local(pool.clone()));
    let mut voices = Vec::new();
    let last = config.speech.chain.len().saturating_sub(1);
    for (n, provider) in config.speech.chain.iter().enumerate() {
        let succession = if n < last { Succession::Followed } else { Succession::Last };
        voices.push(match config.speech.section(*provider) {
            None => local(),
            Some(section) => {
                let remote = remote(section, succession, meter);
                remote.map_err(|error| GatewayError::Dialler(provider.as_str(), error))?
            }
        });
    }
    if !config.speech.chain.contains(&Provider::Local) {
        voices.push(local());
    }
    Ok(voices.into_iter().unzip())
}

fn remote(section: &dyn Section, succession: Succession, meter: &Meter) -> Result<(Voice, Speaker), HttpError> {
    let (limits, voice) = (section.account(), section.voice());
    let voice = Voice { shared_out: limits.max_contexts.is_some(), ..voice };
    let account = account::Settings {
        voice: voice.name.clone(),
        max_contexts: limits.max_contexts,
        max_sockets: limits.max_sockets,
        warm: limits.warm,
        warm_age: section.warm_age(),
        succession,
        // Without randomness nodes may come back in step, which their limits bear.
        seed: random_bytes().map_or(0, u64::from_be_bytes),
    };
    // Its language says which of them is used; to have both costs nothing but this moment.
    let dialler = Arc::new(Dialler::new(section.ca_file())?);
    let exchange = Arc::new(Http::new(http::Settings { authorities: section.ca_file(), ..http::Settings::default() })?);
    let account = Account::new(account, dialler, meter);
    Ok((voice, Speaker::Remote { settings: section.settings(), account, exchange }))
}

fn call_settings(config: &Config, voices: Vec<Voice>, hearing: Option<Hearing>) -> CallSettings {
    let (barge_in, relay) = (&config.barge_in, relay::chosen(config));
    CallSettings {
        voices,
        chain: config.speech.chain.len(),
        fallback_line: config.speech.fallback_line.clone(),
        on_failure: match config.speech.on_failure {
            config::OnFailure::Continue => OnFailure::Continue,
            config::OnFailure::Close => OnFailure::Close,
        },
        playout: Playout {
            lead: config.playout.lead,
            prebuffer: config.playout.prebuffer,
            frames_per_write: config.playout.frames_per_write,
        },
        interruptible: interruptible(config),
        detector: vad::Settings {
            min_speech_ms: millis(
                relay.map_or(barge_in.min_speech, |relay| barge_in.min_speech.max(relay.interrupt_sensitivity.least())),
            ),
            threshold: narrow(barge_in.threshold),
            silence_ms: millis(relay.and_then(|relay| relay.speech_timeout).unwrap_or(barge_in.silence)),
            pause_ms: hearing::pause_ms(config, hearing.as_ref()),
        },
        limits: Limits { tries: LIMITS_TRIES, clip: config.player.fetch + CLIP_MARGIN, ..Limits::default() },
        text: text(config),
        seed: 0,
        conversation: Conversation {
            hearing,
            lifetime: lifetime(&config.call, &config.server.drain_line),
            announcement: announcement(&config.recording),
            ..relay.map_or_else(Conversation::default, |relay| relay::conversation(config, relay))
        },
        phrases: Vec::new(),
    }
}

fn lifetime(call: &config::Call, leaving: &str) -> Lifetime {
    Lifetime {
        leaving: leaving.to_owned(),
        idle: call.idle,
        idle_lines: call.idle_lines.clone(),
        longest: call.longest,
        goodbye: call.goodbye.clone(),
    }
}

fn text(config: &Config) -> Text {
    let is_on = |rule: TextRule| rule == TextRule::Convert;
    Text {
        markdown: is_on(config.text.markdown),
        emoji: is_on(config.text.emoji),
        urls: is_on(config.text.urls),
        digits: is_on(config.text.digits),
        symbols: is_on(config.text.symbols),
        closing: is_on(config.text.closing),
        english: config.speech.chain.first().is_none_or(|provider| {
            let language = config.speech.section(*provider).and_then(Section::language);
            language.is_none_or(is_english)
        }),
    }
}

/// What interrupts speech unless it says otherwise.
fn interruptible(config: &Config) -> Interruptible {
    match (relay::chosen(config).and_then(|relay| relay.interruptible), config.barge_in.policy) {
        (Some(word), _) => relay::interruption(word),
        (None, BargeInPolicy::Any) => Interruptible::Any,
        (None, BargeInPolicy::Speech) => Interruptible::Speech,
        (None, BargeInPolicy::Dtmf) => Interruptible::Dtmf,
        (None, BargeInPolicy::None) => Interruptible::None,
    }
}

fn agent(config: &Config, outbound: &Outbound) -> Result<AgentSettings, GatewayError> {
    let script = &config.agent.script;
    Ok(match config.agent.kind {
        AgentKind::Relay => AgentSettings::Relay(Box::new(relay::app(config)?)),
        AgentKind::Api => AgentSettings::Api,
        AgentKind::Llm => {
            let can_transfer = rest(&config.twilio)?.is_some();
            AgentSettings::Llm(Llm::new(llm(&config.agent.llm), can_transfer, outbound)?)
        }
        AgentKind::Script => AgentSettings::Script(Script {
            greeting: script.greeting.clone(),
            lines: script.lines.clone(),
            digits: script.digits.iter().filter_map(|(key, line)| Some((key.chars().next()?, line.clone()))).collect(),
        }),
    })
}

fn llm(config: &config::Llm) -> llm::Settings {
    let tool = |tool: &config::AgentTool| llm::Tool {
        name: tool.name.clone(),
        description: tool.description.clone(),
        parameters: tool.parameters.clone().into(),
        url: tool.url.clone(),
        token: tool.token.clone(),
        timeout: tool.timeout,
        filler: tool.filler.clone(),
        filler_after: tool.filler_after,
    };
    llm::Settings {
        url: config.url.clone(),
        api_key: config.api_key.clone(),
        ca_file: config.ca_file.clone(),
        model: config.model.clone().unwrap_or_default(),
        system_prompt: config.system_prompt.clone(),
        greeting: match (config.greeting_from_model, config.greeting.as_str()) {
            (true, _) => llm::Greeting::Model,
            (false, "") => llm::Greeting::Nothing,
            (false, line) => llm::Greeting::Line(line.to_owned()),
        },
        temperature: config.temperature,
        max_tokens: config.max_tokens,
        extra: config.extra.clone(),
        limits: llm::Limits {
            connect: config.connect,
            first_token: config.first_token,
            between_tokens: config.between_tokens,
            answer: config.answer,
            failures: config.failures_max,
            tool_rounds: config.tool_rounds,
            history_messages: config.history_messages,
            history_bytes: config.history_bytes,
            ..llm::Limits::default()
        },
        lines: llm::Lines {
            fallback: config.fallback_line.clone(),
            cut: config.cut_line.clone(),
            filler: config.filler.clone(),
            filler_after: config.filler_after,
        },
        interrupted_marker: config.interrupted_marker.clone(),
        built_in: llm::BuiltIn {
            end_call: config.end_call,
            send_digits: config.send_digits,
            collect_digits: config.collect_digits,
            transfers: config.transfers.clone(),
        },
        tools: config.tools.iter().map(tool).collect(),
    }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
