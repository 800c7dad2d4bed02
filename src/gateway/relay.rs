//! From `[agent.relay]` to what shapes calls and sessions.

use std::sync::Arc;

use super::{GatewayError, interruptible};
use crate::call::settings::{Conversation, Interruptible, OnAgentLost};
use crate::config::{AgentKind, Config, Interruption, Relay};
use crate::dialect::relay::{Settings, Setup};
use crate::driver::Dialler;
use crate::server::twilio::signature::{Algorithm, sign};
use crate::server::{AfterApp, RelayApp};

/// The section, if this agent is chosen.
pub(super) fn chosen(config: &Config) -> Option<&Relay> {
    (config.agent.kind == AgentKind::Relay).then_some(&config.agent.relay)
}

/// The app that is dialled.
pub(super) fn app(config: &Config) -> Result<RelayApp, GatewayError> {
    let relay = &config.agent.relay;
    // A checked configuration has one.
    let url = relay.url.clone().unwrap_or_default();
    let signature = auth_token(config).map(|token| sign(Algorithm::HmacSha1, &token, &url, &[]));
    let settings = Settings {
        url,
        signature,
        setup: Setup {
            account_sid: config.twilio.account_sid.clone().unwrap_or_default(),
            custom_parameters: relay.parameters.clone(),
            ..Setup::default()
        },
        started_ms: 0,
        greeting: relay.welcome_greeting.clone(),
        greeting_interruptible: interruption(relay.welcome_greeting_interruptible),
        interruptible: interruptible(config),
        preemptible: relay.preemptible,
        dtmf: relay.dtmf_detection,
        partials: relay.partial_prompts,
        speaker_events: relay.wants_speakers(),
        tokens_played: relay.wants_tokens(),
        voice: relay.voice.clone(),
        speech_language: relay.speech_language().map(str::to_owned),
        hearing_language: relay.hearing_language().map(str::to_owned),
        languages: relay.languages.clone(),
    };
    let dialler = Dialler::new(relay.ca_file.as_deref()).map_err(GatewayError::App)?;
    Ok(RelayApp { settings, dialler: Arc::new(dialler) })
}

/// The app that is asked what follows its session, if there is one.
pub(super) fn after(config: &Config) -> Result<Option<AfterApp>, GatewayError> {
    let url = chosen(config).and_then(|relay| relay.action_url.as_deref());
    Ok(url.map(|url| AfterApp::new(url, auth_token(config))).transpose()?)
}

/// How a call with an app is a conversation.
pub(super) fn conversation(config: &Config, relay: &Relay) -> Conversation {
    let goes_on = relay.action_url.is_some() || config.twilio.after_url.is_some();
    Conversation {
        reported_during_speech: interruption(relay.report_input_during_agent_speech),
        on_agent_lost: if goes_on { OnAgentLost::Close } else { OnAgentLost::Apologise },
        ..Conversation::default()
    }
}

/// What the noun's word means.
pub(super) const fn interruption(word: Interruption) -> Interruptible {
    match word {
        Interruption::Any => Interruptible::Any,
        Interruption::Speech => Interruptible::Speech,
        Interruption::Dtmf => Interruptible::Dtmf,
        Interruption::None => Interruptible::None,
    }
}

fn auth_token(config: &Config) -> Option<String> {
    config.twilio.auth_token.as_ref().map(|token| token.expose().to_owned())
}
