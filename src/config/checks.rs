//! What must hold between keys.

mod hearing;
mod llm;
mod recording;
mod tls;

use std::collections::BTreeSet;

use config::Value;

use super::keys;
use super::limits;
use super::otlp;
use super::outbound;
use super::problem::{Fault, Problem};
use super::read;
use super::relay;
use super::settings::{Config, Trust};
use super::speech::{Provider, Section};
use super::value_at;
use crate::server::tokens::{Grant, Scope};
use crate::server::twilio::public_url::Transport;

/// Shortest secret of our own that nobody guesses, in characters.
const SECRET_CHARS_MIN: usize = 16;

/// What the sources said, right or wrong.
pub(super) struct Given<'a> {
    pub(super) values: &'a Value,
    pub(super) faulty: &'a BTreeSet<String>,
}

impl Given<'_> {
    /// The source that set `key`.
    pub(super) fn source(&self, key: &str) -> String {
        value_at(self.values, key).and_then(Value::origin).unwrap_or("configuration").to_owned()
    }

    /// A key that is given wrongly is not missing.
    pub(super) fn is_faulty(&self, key: &str) -> bool {
        self.faulty.contains(key)
    }
}

/// Who is believed.
pub(super) fn trust(config: &Config, given: &Given<'_>, insecure: bool) -> Trust {
    if insecure {
        Trust::Insecure
    } else if trust_triggers(config, given).next().is_some() {
        Trust::Signed
    } else {
        Trust::Open
    }
}

/// The keys that turn trust on, as far as they are set. One that is set wrongly counts: the wish is clear.
fn trust_triggers(config: &Config, given: &Given<'_>) -> impl Iterator<Item = &'static str> {
    let set = [
        ("server.public_url", config.server.public_url.is_some()),
        ("twilio.auth_token", config.twilio.auth_token.is_some()),
        ("twilio.shared_keys", !config.twilio.shared_keys.is_empty()),
        // Whoever may place calls with it can spend the account's money.
        ("twilio.api_key_secret", config.twilio.api_key_secret.is_some()),
    ];
    let set = set.map(|(key, is_set)| (key, is_set || given.is_faulty(key)));
    set.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key)
}

/// Everything that stops a start.
pub(super) fn problems(config: &Config, given: &Given<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    match config.trust {
        Trust::Open => problems.extend(open(config, given)),
        Trust::Signed => problems.extend(signed(config, given)),
        Trust::Insecure => {}
    }
    problems.extend(control(config, given));
    problems.extend(limits::problems(config, |key| given.source(key)));
    problems.extend(account(config, given));
    problems.extend(tokens(config, given));
    problems.extend(tls::problems(config, given));
    problems.extend(speech(config, given));
    problems.extend(relay::problem(config, given));
    problems.extend(hearing::problems(config, given));
    problems.extend(llm::problems(config, given));
    problems.extend(outbound::problems(config, given));
    problems
}

/// Where agents find the node that owns a call.
fn control(config: &Config, given: &Given<'_>) -> Option<Problem> {
    let server = &config.server;
    let listen =
        server.control_listen.filter(|_| server.control_url.is_none() && !given.is_faulty("server.control_url"))?;
    let path = "server.control_url";
    if !listen.ip().is_unspecified() {
        return None;
    }
    let fault = format!("is missing: server.control_listen is {listen}, and no agent can be told to go there");
    let fix = "set it to an address of this very node, for example \"http://10.0.0.7:8081\"";
    Some(Fault::new(fault, fix).at("configuration", path))
}

/// What requests to the carrier's API are made with.
fn account(config: &Config, given: &Given<'_>) -> Vec<Problem> {
    let twilio = &config.twilio;
    let key = [
        ("twilio.api_key_sid", twilio.api_key_sid.is_some()),
        ("twilio.api_key_secret", twilio.api_key_secret.is_some()),
        ("twilio.account_sid", twilio.account_sid.is_some()),
    ];
    let mut problems = Vec::new();
    let set = key.into_iter().take(2).find(|(path, is_set)| *is_set || given.is_faulty(path));
    if let Some((because, _)) = set {
        for (path, _) in key.into_iter().filter(|(path, is_set)| !is_set && !given.is_faulty(path)) {
            let fix = keys::find(path).and_then(|key| key.alias).unwrap_or_default();
            let fault = format!("is missing, although {because} is set: one does nothing without the other");
            problems.push(Fault::new(fault, format!("set it, for example by {fix}")).at("configuration", path));
        }
    }
    problems
}

/// A token that nobody can send; and two names for one, which would let whoever reads the one line believe that it says all.
fn tokens(config: &Config, given: &Given<'_>) -> Vec<Problem> {
    let all = config.server.api_token.as_ref().map(|token| ("server.api_token", Grant::new(token, &Scope::ALL)));
    let mut known: Vec<(&str, Grant)> = all.into_iter().collect();
    let mut problems = Vec::new();
    if config.server.api_token.as_ref().is_some_and(|token| !token.expose().is_ascii()) {
        let fault = Fault::new("holds a character that no header can carry", "make another one with `trunkline token`");
        problems.push(fault.at(given.source("server.api_token"), "server.api_token"));
    }
    for (name, grant) in &config.server.tokens {
        if let Some((other, _)) = known.iter().find(|(_, other)| grant.is_of_same_token(other)) {
            let key = format!("server.tokens.{name}");
            let fault = Fault::new(format!("is the same token as {other}"), "make another one with `trunkline token`");
            problems.push(fault.at(given.source(&key), &key));
        }
        known.push((name, *grant));
    }
    problems
}

/// Whether the URL of a WebSocket, or one of HTTP, leads to a vendor itself, not to a server of the same protocol.
fn is_host_of(url: &str, domain: &str) -> bool {
    let host = read::host(url).map(|url| url.host().to_ascii_lowercase());
    host.is_some_and(|host| host == domain || host.strip_suffix(domain).is_some_and(|front| front.ends_with('.')))
}

/// Whether what goes over the URL of a WebSocket, or one of HTTP, can be read on the way.
fn is_plain_over_network(url: &str) -> bool {
    read::host(url).is_some_and(|url| url.transport() == Transport::Plain && !url.is_loopback())
}

fn open(config: &Config, given: &Given<'_>) -> Option<Problem> {
    let addresses =
        [("server.listen", Some(config.server.listen)), ("server.control_listen", config.server.control_listen)];
    let (path, address) = addresses.into_iter().find_map(|(path, address)| {
        let address = address.filter(|address| !address.ip().is_loopback() && !given.is_faulty(path))?;
        Some((path, address))
    })?;
    let fault = format!(
        "is {address}, but without server.public_url and twilio.auth_token nobody has to prove anything, which \
        is for loopback addresses only"
    );
    let fix = "listen on 127.0.0.1, or set server.public_url, twilio.auth_token and server.api_token, or start with \
        --insecure";
    Some(Fault::new(fault, fix).at(given.source(path), path))
}

fn signed(config: &Config, given: &Given<'_>) -> Vec<Problem> {
    let because: Vec<String> = trust_triggers(config, given).map(|key| format!("{key} is set")).collect();
    let because = because.join(" and ");
    let proven = config.twilio.auth_token.is_some() || !config.twilio.shared_keys.is_empty();
    let has_tokens = !config.server.tokens.is_empty() || given.is_faulty("server.tokens");
    let missing = [
        ("server.public_url", config.server.public_url.is_none(), "signatures cover the address that Twilio calls"),
        (
            "twilio.auth_token",
            !proven && !given.is_faulty("twilio.shared_keys"),
            "it is what signatures are checked with",
        ),
        (
            "server.api_token",
            config.server.api_token.is_none() && !has_tokens,
            "the HTTP API must not stand open beside signed calls",
        ),
    ];
    let missing = missing.into_iter().filter(|(key, is_missing, _)| *is_missing && !given.is_faulty(key));
    missing
        .map(|(path, _, reason)| {
            let key = keys::find(path);
            let variable = key.and_then(|key| key.alias.map(str::to_owned).or_else(|| Some(key.variable())));
            let fix = format!("set it, for example by {}, or start with --insecure", variable.unwrap_or_default());
            Fault::new(format!("is missing, although {because}: {reason}"), fix).at("configuration", path)
        })
        .collect()
}

fn speech(config: &Config, given: &Given<'_>) -> Vec<Problem> {
    let speech = &config.speech;
    let mut problems = Vec::new();
    let chain = given.source("speech.chain");
    if speech.chain.iter().rev().skip(1).any(|provider| *provider == Provider::Local) {
        let fault = "has \"local\" before others, which never fails, so that they would never speak";
        problems.push(Fault::new(fault, "put it last").at(chain.clone(), "speech.chain"));
    }
    for (provider, section) in speakers(config) {
        let name = provider.as_str();
        let path = |key: &str| format!("speech.{name}.{key}");
        let is_clear = !["api_key", "url"].iter().any(|key| given.is_faulty(&path(key)));
        if is_clear && is_host_of(section.url(), section.domain()) && section.api_key().is_none() {
            let fault = format!("is missing, although speech.chain names {name:?} ({chain})");
            let fix = format!("set it, for example by {}", section.key_variable());
            problems.push(Fault::new(fault, fix).at("configuration", path("api_key")));
        }
        let account = section.account();
        if let Some(sockets) = account.max_sockets.filter(|sockets| account.warm > *sockets) {
            let (key, fault) = (path("warm"), format!("is {}, but max_sockets is {sockets}", account.warm));
            problems.push(Fault::new(fault, "keep fewer sockets warm").at(given.source(&key), &key));
        }
        for problem in section.problems() {
            let key = path(problem.key);
            problems.push(Fault::new(problem.fault, problem.fix).at(given.source(&key), &key));
        }
    }
    problems
}

/// The sections of the voices in use.
fn speakers(config: &Config) -> impl Iterator<Item = (Provider, &dyn Section)> {
    let speech = &config.speech;
    speech.chain.iter().filter_map(|provider| Some((*provider, speech.section(*provider)?)))
}

/// Everything that works but should be looked at.
pub(super) fn warnings(config: &Config, given: &Given<'_>) -> Vec<Problem> {
    let mut warnings = Vec::new();
    let mut warn = |key: &str, fault: &str, fix: &str| {
        let source = if key.is_empty() { "command line".to_owned() } else { given.source(key) };
        warnings.push(Fault::new(fault, fix).at(source, key));
    };
    if config.trust == Trust::Insecure {
        let fault = "--insecure is given: signatures, stream tokens and the API token are not checked";
        warn("", fault, "use it on a closed network only");
    }
    let tokens =
        [("server.api_token", config.server.api_token.is_some()), ("server.tokens", !config.server.tokens.is_empty())];
    if let (Trust::Open, Some((key, _))) = (config.trust, tokens.into_iter().find(|(_, is_set)| *is_set)) {
        let fault = "is asked of nobody: without server.public_url the gateway believes everybody on this machine, a proxy included";
        warn(key, fault, "set server.public_url if anybody else can reach it");
    }
    if config.server.public_url.as_ref().is_some_and(|url| url.transport() == Transport::Plain) {
        let fault = "begins with http, but Twilio opens streams over wss only";
        warn("server.public_url", fault, "put TLS in front and write https");
    }
    for (key, secret) in
        [("server.api_token", &config.server.api_token), ("server.token_key", &config.server.token_key)]
    {
        if secret.as_ref().is_some_and(|secret| secret.expose().chars().count() < SECRET_CHARS_MIN) {
            let fix = format!("write at least {SECRET_CHARS_MIN} random characters");
            warn(key, "is short enough to be guessed", &fix);
        }
    }
    let api_url = &config.twilio.api_url;
    if config.twilio.account_sid.is_some() && api_url.transport() == Transport::Plain && !api_url.is_loopback() {
        warn("twilio.api_url", "sends credentials and numbers unencrypted over a network", "use https");
    }
    for (provider, _) in speakers(config).filter(|(_, section)| is_plain_over_network(section.url())) {
        let key = format!("speech.{}.url", provider.as_str());
        warn(&key, "sends key and speech unencrypted over a network", "use wss or https");
    }
    for (key, fault, fix) in tls::warnings(config) {
        warn(key, fault, fix);
    }
    for (key, fault, fix) in hearing::warnings(config) {
        warn(&key, fault, fix);
    }
    for (key, fault, fix) in llm::warnings(config).into_iter().chain(recording::warnings(config)) {
        warn(key, fault, fix);
    }
    warnings.extend(relay::warnings(config, given));
    warnings.extend(otlp::warnings(config, given));
    warnings
}
