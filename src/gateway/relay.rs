//! From `[agent.relay]` to what shapes calls and sessions.

use std::sync::Arc;

use super::{GatewayError, interruptible};
use crate::call::settings::{Conversation, Interruptible, OnAgentLost};
use crate::config::{AgentKind, Config, Interruption, Relay};
use crate::dialect::relay::{Settings, Setup};
use crate::driver::Dialler;
use crate::http::outbound::Outbound;
use crate::secret::Secret;
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
    let signature = config
        .twilio
        .auth_token
        .as_ref()
        .map(|token| Secret::new(sign(Algorithm::HmacSha1, token.expose(), &url, &[])));
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
pub(super) fn after(config: &Config, outbound: &Outbound) -> Result<Option<AfterApp>, GatewayError> {
    let url = chosen(config).and_then(|relay| relay.action_url.as_deref());
    Ok(url.map(|url| AfterApp::new(url, config.twilio.auth_token.clone(), outbound)).transpose()?)
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

#[cfg(test)]
mod tests {
    use super::super::settings;
    use super::*;
    use crate::config::{Input, load};
    use crate::server::AgentSettings;

    fn built(toml: &str) -> crate::server::Settings {
        let toml = format!("agent.kind = \"relay\"\nagent.relay.url = \"ws://127.0.0.1:9/relay\"\n{toml}");
        let file = Some(("test.toml".to_owned(), toml));
        settings(&load(&Input { file, ..Input::default() }).map_err(|problems| problems.to_string()).unwrap().config)
            .unwrap()
    }

    #[test]
    fn attributes_shape_the_call() {
        let plain = built("").call;
        assert_eq!((plain.detector.min_speech_ms, plain.detector.silence_ms), (100, 700));
        assert_eq!(plain.interruptible, Interruptible::Any);
        assert_eq!(plain.conversation.reported_during_speech, Interruptible::None);
        assert_eq!(plain.conversation.on_agent_lost, OnAgentLost::Apologise);
        let set = built(
            "agent.relay.interrupt_sensitivity = \"low\"\nagent.relay.speech_timeout_ms = 900\n\
             agent.relay.interruptible = \"dtmf\"\nagent.relay.report_input_during_agent_speech = \"speech\"\n\
             agent.relay.action_url = \"http://127.0.0.1:9/after\"\nagent.relay.partial_prompts = true\n\
             agent.relay.language = \"sv-SE\"\nhearing.provider = \"deepgram\"\nhearing.deepgram.api_key = \"k\"",
        );
        let call = &set.call;
        assert_eq!((call.detector.min_speech_ms, call.detector.silence_ms), (400, 900));
        assert_eq!(call.interruptible, Interruptible::Dtmf);
        assert_eq!(call.conversation.reported_during_speech, Interruptible::Speech);
        assert_eq!(call.conversation.on_agent_lost, OnAgentLost::Close);
        let hearing = call.conversation.hearing.as_ref().unwrap();
        assert_eq!((hearing.partials, hearing.language.as_deref()), (true, Some("sv-SE")));
        assert!(set.after_app.is_some());
        // What barge_in says holds where the noun is silent, and is never undercut.
        let other = built("barge_in.policy = \"speech\"\nbarge_in.min_speech_ms = 300\nagent.relay.interrupt_sensitivity = \"medium\"").call;
        assert_eq!((other.interruptible, other.detector.min_speech_ms), (Interruptible::Speech, 300));
    }

    #[test]
    fn the_session_is_signed_over_the_url_as_it_stands() {
        let token = "twilio.auth_token = \"12345\"\nserver.public_url = \"https://gw.example.com\"\n\
            server.api_token = \"0123456789abcdef\"\n[agent]\nkind = \"relay\"\n[agent.relay]\n";
        let signature = |url: &str| {
            let file = Some(("test.toml".to_owned(), format!("{token}url = \"{url}\"\n")));
            let loaded = load(&Input { file, ..Input::default() }).map_err(|problems| problems.to_string()).unwrap();
            let AgentSettings::Relay(app) = settings(&loaded.config).unwrap().agent else { panic!("another agent") };
            app.settings.signature.unwrap()
        };
        // Vectors: twilio-python 9.13.0, `RequestValidator.compute_signature`.
        assert_eq!(signature("wss://gw.example.com/twilio/relay"), Secret::new("HkrTGR9GuKJmZOov+8Ilrv/eTFk="));
        let with_query = signature("wss://gw.example.com/twilio/relay?token=abc123&foo=bar");
        assert_eq!(with_query, Secret::new("1xU5UYafRx+Kf3b+iwsfqe1zwGA="));
    }
}
