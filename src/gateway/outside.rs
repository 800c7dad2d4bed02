//! Who is dialled by a node with a certain configuration.

use std::path::PathBuf;
use std::time::Duration;

use super::relay;
use crate::config::{AgentKind, AgentTool, Config, HearingProvider};
use crate::driver::DIAL_LIMIT;
use crate::http::outbound::Rules;
use crate::http::{CONNECT_LIMIT, Proxies};

/// A server outside that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The key that names it.
    pub key: String,
    /// Its URL. Not for logs: its query may hold anything.
    pub url: String,
    /// PEM file of authorities to trust in place of those of the web.
    pub authorities: Option<PathBuf>,
    /// The key where such a file can be named, if there is one.
    pub authorities_key: Option<String>,
    /// How long serving waits for a connection.
    pub limit: Duration,
    /// Who stands in between.
    pub proxies: Proxies,
    /// Who dials it.
    pub asker: Asker,
    /// What its addresses have to satisfy, if it is asked under the rules of `[outbound]`.
    pub rules: Option<Rules>,
}

/// Who dials a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// This node.
    Node,
    /// The carrier, which is given the URL in an answer.
    Carrier,
}

/// Every server outside that `config` makes a node dial, in the order of the sections; and those that it tells the carrier of.
pub fn outside(config: &Config) -> Vec<Outside> {
    let mut found = Vec::new();
    if matches!(super::rest(&config.twilio), Ok(Some(_))) {
        found.push(Outside::of_http("twilio.api_url", &config.twilio.api_url.http_url("")));
    }
    let told = [
        ("twilio.after_url", &config.twilio.after_url),
        ("server.busy_redirect_url", &config.server.busy_redirect_url),
    ];
    for (key, url) in told {
        found.extend(url.as_deref().map(|url| Outside { asker: Asker::Carrier, ..Outside::of_http(key, url) }));
    }
    for provider in &config.speech.chain {
        let Some(section) = config.speech.section(*provider) else { continue };
        let name = format!("speech.{}", provider.as_str());
        found.push(Outside::of_section(&name, section.url(), section.ca_file().map(PathBuf::from)));
    }
    let hearing = &config.hearing;
    let heard = match hearing.provider {
        HearingProvider::None => None,
        HearingProvider::Cartesia => Some((hearing.cartesia.url(), &hearing.cartesia.ca_file)),
        HearingProvider::Deepgram => Some((hearing.deepgram.url.as_str(), &hearing.deepgram.ca_file)),
        HearingProvider::DeepgramFlux => Some((hearing.deepgram_flux.url.as_str(), &hearing.deepgram_flux.ca_file)),
        HearingProvider::Gradium => Some((hearing.gradium.url.as_str(), &hearing.gradium.ca_file)),
    };
    let name = format!("hearing.{}", hearing.provider.as_str());
    found.extend(heard.map(|(url, ca_file)| Outside::of_section(&name, url, ca_file.clone())));
    if let Some(app) = relay::chosen(config) {
        found.extend(app.url.as_deref().map(|url| Outside::of_section("agent.relay", url, app.ca_file.clone())));
        found.extend(app.action_url.as_deref().map(|url| Outside {
            rules: Some(config.outbound.rules(config.trust)),
            ..Outside::of_http("agent.relay.action_url", url)
        }));
    }
    if config.agent.kind == AgentKind::Llm {
        found.extend(model_and_tools(config));
    }
    let otlp = &config.otlp;
    found.extend(otlp.url.as_deref().map(|url| Outside {
        limit: otlp.timeout,
        proxies: Proxies::Environment,
        ..Outside::of_section("otlp", url, otlp.ca_file.clone())
    }));
    found
}

fn model_and_tools(config: &Config) -> impl Iterator<Item = Outside> + '_ {
    let llm = &config.agent.llm;
    let asked = |key: String, url: &str| Outside {
        key,
        limit: llm.connect,
        proxies: Proxies::Environment,
        ..Outside::of_section("agent.llm", url, llm.ca_file.clone())
    };
    let model = asked("agent.llm.url".to_owned(), &llm.url);
    // Where a tool's name leads is looked at by us, which a proxy would look up by itself.
    let rules = config.outbound.rules(config.trust);
    let tool = move |tool: &AgentTool| Outside {
        proxies: Proxies::Never,
        rules: Some(rules.clone()),
        ..asked(format!("agent.llm.tools.{}.url", tool.name), &tool.url)
    };
    std::iter::once(model).chain(llm.tools.iter().map(tool))
}

impl Outside {
    fn of_section(section: &str, url: &str, authorities: Option<PathBuf>) -> Self {
        let over_http = url.starts_with("http");
        Outside {
            key: format!("{section}.url"),
            url: url.to_owned(),
            authorities,
            authorities_key: Some(format!("{section}.ca_file")),
            limit: if over_http { CONNECT_LIMIT } else { DIAL_LIMIT },
            proxies: Proxies::Never,
            asker: Asker::Node,
            rules: None,
        }
    }

    /// Somebody who has to have a certificate of a public authority.
    fn of_http(key: &str, url: &str) -> Self {
        Outside { key: key.to_owned(), authorities_key: None, ..Outside::of_section("", url, None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Input, load};

    fn keys(toml: &str) -> Vec<(String, String)> {
        let file = Some(("settings.toml".to_owned(), toml.to_owned()));
        let config = load(&Input { file, ..Input::default() }).unwrap_or_else(|problems| panic!("{problems}")).config;
        outside(&config).into_iter().map(|outside| (outside.key, outside.url)).collect()
    }

    #[test]
    fn who_is_not_used_is_not_dialled() {
        assert_eq!(keys(""), []);
        // Both have a URL of their own, and neither is chosen.
        assert_eq!(keys("speech.cartesia.api_key = \"k\"\nhearing.deepgram.api_key = \"k\""), []);
    }

    #[test]
    fn everybody_who_is_used_is_dialled() {
        let found = keys(
            "server.public_url = \"https://gw.test\"\nserver.api_token = \"0123456789abcdef\"\n\
             server.busy_redirect_url = \"https://other.test/twilio/voice\"\n\
             twilio.account_sid = \"AC00000000000000000000000000000001\"\ntwilio.auth_token = \"t\"\n\
             twilio.api_url = \"https://api.test\"\ntwilio.after_url = \"https://after.test/x\"\n\
             speech.chain = [\"cartesia\", \"openai\", \"local\"]\nspeech.cartesia.api_key = \"k\"\n\
             speech.openai.url = \"http://127.0.0.1:9/v1\"\nspeech.openai.voice = \"v\"\n\
             hearing.provider = \"deepgram\"\nhearing.deepgram.api_key = \"k\"\n\
             agent.kind = \"llm\"\nagent.llm.url = \"http://127.0.0.1:8/v1\"\nagent.llm.model = \"m\"\n\
             [[agent.llm.tools]]\nname = \"rooms\"\ndescription = \"d\"\nurl = \"https://tools.test/rooms\"\n\
             parameters = { type = \"object\" }\n",
        );
        let expected = [
            ("twilio.api_url", "https://api.test"),
            ("twilio.after_url", "https://after.test/x"),
            ("server.busy_redirect_url", "https://other.test/twilio/voice"),
            ("speech.cartesia.url", "wss://api.cartesia.ai/tts/websocket"),
            ("speech.openai.url", "http://127.0.0.1:9/v1"),
            ("hearing.deepgram.url", "wss://api.deepgram.com/v1/listen"),
            ("agent.llm.url", "http://127.0.0.1:8/v1"),
            ("agent.llm.tools.rooms.url", "https://tools.test/rooms"),
        ];
        assert_eq!(found, expected.map(|(key, url)| (key.to_owned(), url.to_owned())));
    }

    #[test]
    fn an_app_and_what_follows_it() {
        let found = keys(
            "agent.kind = \"relay\"\nagent.relay.url = \"ws://127.0.0.1:9/relay\"\n\
             agent.relay.action_url = \"http://127.0.0.1:9/after\"",
        );
        let expected =
            [("agent.relay.url", "ws://127.0.0.1:9/relay"), ("agent.relay.action_url", "http://127.0.0.1:9/after")];
        assert_eq!(found, expected.map(|(key, url)| (key.to_owned(), url.to_owned())));
    }
}
