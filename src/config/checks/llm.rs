//! What must hold between the keys of `[agent.llm]`.

use super::Given;
use crate::config::hearing::HearingProvider;
use crate::config::problem::{Fault, Problem};
use crate::config::read;
use crate::config::settings::{AgentKind, Config};
use crate::server::twilio::public_url::Transport;

/// What an agent that asks a model cannot do without, and fields of its requests that are ours.
pub(super) fn problems(config: &Config, given: &Given<'_>) -> Vec<Problem> {
    if config.agent.kind != AgentKind::Llm || given.is_faulty("agent.kind") {
        return Vec::new();
    }
    const OURS: [&str; 7] = ["model", "messages", "stream", "temperature", "max_tokens", "tools", "tool_choice"];
    let llm = &config.agent.llm;
    let mut problems = Vec::new();
    let chosen = format!("although agent.kind is \"llm\" ({})", given.source("agent.kind"));
    let mut missing = |key: &str, fix: &str| {
        if !given.is_faulty(key) {
            problems.push(Fault::new(format!("is missing, {chosen}"), fix).at("configuration", key));
        }
    };
    if llm.model.is_none() {
        missing("agent.llm.model", "name the model, for example by TRUNKLINE__AGENT__LLM__MODEL");
    }
    let vendor = read::http_host(&llm.url).is_some_and(|url| url.host().eq_ignore_ascii_case("api.openai.com"));
    if vendor && llm.api_key.is_none() && !given.is_faulty("agent.llm.url") {
        missing("agent.llm.api_key", "set it, for example by OPENAI_API_KEY, or set agent.llm.url");
    }
    let key = "agent.llm.extra";
    for name in OURS.into_iter().filter(|name| llm.extra.contains_key(*name)) {
        let fault = format!("holds {name}, which this server writes itself");
        problems.push(Fault::new(fault, "take it out").at(given.source(key), key));
    }
    problems
}

/// What works but should be looked at: key, fault and fix.
pub(super) fn warnings(config: &Config) -> Vec<(&'static str, &'static str, &'static str)> {
    let (llm, twilio) = (&config.agent.llm, &config.twilio);
    if config.agent.kind != AgentKind::Llm {
        return Vec::new();
    }
    let plain =
        |url: &str| read::http_host(url).is_some_and(|url| url.transport() == Transport::Plain && !url.is_loopback());
    let has_account = twilio.account_sid.is_some() && (twilio.auth_token.is_some() || twilio.api_key_sid.is_some());
    let mut warnings = Vec::new();
    if config.hearing.provider == HearingProvider::None {
        let fault = "is \"none\", so that the model hears keys only, although agent.kind is \"llm\"";
        warnings.push(("hearing.provider", fault, "name a provider"));
    }
    if plain(&llm.url) {
        warnings.push(("agent.llm.url", "sends key and conversation unencrypted over a network", "use https"));
    }
    if llm.tools.iter().any(|tool| plain(&tool.url)) {
        warnings.push(("agent.llm.tools", "sends what callers say unencrypted over a network", "use https"));
    }
    if !llm.transfers.is_empty() && !has_account {
        let fault = "is set, but no call can be transferred without twilio.account_sid and something to prove it";
        let fix = "set twilio.account_sid, and twilio.auth_token or an API key";
        warnings.push(("agent.llm.transfers", fault, fix));
    }
    warnings
}
