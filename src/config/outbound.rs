//! `[outbound]`: whom this server asks where somebody else has a say in it.

use serde::Deserialize;

use super::checks::Given;
use super::problem::{Fault, Problem};
use super::settings::{AgentKind, Config, Trust};
use crate::http::outbound::{Refused, RuleError, Rules};
use crate::http::parse_url;

/// The section's keys, each with what takes its entries.
const LISTS: [(&str, Take); 2] = [("outbound.hosts", Rules::allow), ("outbound.private", Rules::exempt)];

type Take = fn(&mut Rules, &str) -> Result<(), RuleError>;

/// `[outbound]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbound {
    /// Whom may be asked; empty: every public host.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Who may be asked although the address is not of the public web.
    #[serde(default)]
    pub private: Vec<String>,
}

impl Outbound {
    /// The rules for a server that believes `trust`. Where nobody has to prove anything and everything is on this host, so
    /// may be who is asked.
    pub fn rules(&self, trust: Trust) -> Rules {
        let (rules, _) = self.read();
        match trust {
            Trust::Open => rules.with_loopback(),
            Trust::Signed | Trust::Insecure => rules,
        }
    }

    /// The rules, and every entry that is none, with its key.
    fn read(&self) -> (Rules, Vec<(&'static str, &str, RuleError)>) {
        let (mut rules, mut wrong) = (Rules::default(), Vec::new());
        for ((key, take), entries) in LISTS.into_iter().zip([&self.hosts, &self.private]) {
            for entry in entries {
                if let Err(error) = take(&mut rules, entry) {
                    wrong.push((key, entry.as_str(), error));
                }
            }
        }
        (rules, wrong)
    }
}

/// Entries that are none, and URLs of the operator's own that would be refused whenever they are asked.
pub(super) fn problems(config: &Config, given: &Given<'_>) -> Vec<Problem> {
    let (_, wrong) = config.outbound.read();
    let wrong = wrong.into_iter().map(|(key, entry, error)| {
        Fault::new(format!("holds {entry:?}, which {error}"), "correct or remove it").at(given.source(key), key)
    });
    let mut problems: Vec<Problem> = wrong.collect();
    if !problems.is_empty() || LISTS.iter().any(|(key, _)| given.is_faulty(key)) || given.is_faulty("agent.kind") {
        // What the lists will allow is not known yet.
        return problems;
    }
    let rules = config.outbound.rules(config.trust);
    let asked = asked(config).into_iter().filter(|(key, ..)| !given.is_faulty(key));
    problems.extend(asked.filter_map(|(key, whose, url)| {
        let refused = rules.admit(&parse_url(url, "url").ok()?).err()?;
        let (fault, list) = match refused {
            Refused::Host => ("whose host is not one of outbound.hosts".to_owned(), "outbound.hosts"),
            Refused::Address(special) => (format!("whose host has {special}"), "outbound.private"),
        };
        let fault = format!("leads {whose}to a url {fault}, so that it would never be asked");
        Some(Fault::new(fault, format!("list the host in {list}")).at(given.source(key), key))
    }));
    problems
}

/// The URLs of the configuration that are asked under these rules: key, whose it is, URL.
fn asked(config: &Config) -> Vec<(&'static str, String, &str)> {
    match config.agent.kind {
        AgentKind::Llm => {
            let tools = config.agent.llm.tools.iter();
            tools.map(|tool| ("agent.llm.tools", format!("the tool {:?} ", tool.name), tool.url.as_str())).collect()
        }
        AgentKind::Relay => {
            let url = config.agent.relay.action_url.as_deref();
            url.map(|url| ("agent.relay.action_url", String::new(), url)).into_iter().collect()
        }
        AgentKind::Script | AgentKind::Api => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Input, Loaded, load};

    const SIGNED: &str = "server.public_url = \"https://gw.example.com\"\nserver.api_token = \"0123456789abcdef\"\n\
        twilio.auth_token = \"12345\"\n";

    fn read(toml: &str) -> Result<Loaded, Vec<String>> {
        let file = Some(("settings.toml".to_owned(), toml.to_owned()));
        load(&Input { file, ..Input::default() })
            .map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
    }

    fn tool(url: &str) -> String {
        format!(
            "agent.kind = \"llm\"\nagent.llm.model = \"m\"\nagent.llm.api_key = \"k\"\n\
             [[agent.llm.tools]]\nname = \"look\"\ndescription = \"looks\"\nurl = {url:?}\n"
        )
    }

    fn action(url: &str) -> String {
        format!("agent.kind = \"relay\"\nagent.relay.url = \"ws://127.0.0.1:9/\"\nagent.relay.action_url = {url:?}\n")
    }

    #[test]
    fn wrong_entries_are_told_together() {
        let lines =
            read("[outbound]\nhosts = [\"https://a.b/\", \"a.b\", \"a.b:0\"]\nprivate = [\"10.0.0.1/8\", \"::1\"]");
        let lines = lines.unwrap_err();
        for part in [
            "settings.toml line 2: outbound.hosts holds \"https://a.b/\", which is no host",
            "outbound.hosts holds \"a.b:0\", which ends with a port that is no port",
            "outbound.private holds \"10.0.0.1/8\", which is no network",
        ] {
            assert_eq!(lines.iter().filter(|line| line.contains(part)).count(), 1, "{part}: {lines:?}");
        }
        assert_eq!(lines.len(), 3, "{lines:?}");
    }

    #[test]
    fn a_url_that_would_never_be_asked_stops_the_start() {
        for url in
            ["http://127.0.0.1:9/hidden", "http://localhost/hidden", "https://10.0.0.7/hidden", "http://[::1]/hidden"]
        {
            for (toml, key) in [
                (tool(url), "agent.llm.tools leads the tool \"look\" to"),
                (action(url), "agent.relay.action_url leads to"),
            ] {
                let lines = read(&format!("{SIGNED}{toml}")).unwrap_err();
                assert_eq!(lines.len(), 1, "{lines:?}");
                assert!(lines[0].contains(key) && lines[0].ends_with("list the host in outbound.private"), "{lines:?}");
                assert!(!lines[0].contains("hidden"), "{lines:?}");
                let listed = "outbound.private = [\"127.0.0.0/8\", \"10.0.0.7\", \"::1\"]\n";
                read(&format!("{listed}{SIGNED}{toml}")).unwrap();
            }
        }
        let elsewhere =
            read(&format!("outbound.hosts = [\"other.example.com\"]\n{}", tool("https://crm.example.com/")));
        assert!(elsewhere.unwrap_err()[0].contains("whose host is not one of outbound.hosts"));
    }

    #[test]
    fn in_open_mode_this_host_may_be_asked_and_no_other_that_is_private() {
        read(&tool("http://127.0.0.1:9/")).unwrap();
        read(&action("http://localhost:9/")).unwrap();
        read(&tool("http://10.0.0.7/")).unwrap_err();
        let file = Some(("settings.toml".to_owned(), tool("http://127.0.0.1:9/")));
        assert!(load(&Input { file, insecure: true, ..Input::default() }).is_err(), "insecure is not open");
    }

    #[test]
    fn the_model_and_the_app_are_asked_wherever_they_are() {
        read(&format!("{SIGNED}agent.kind = \"llm\"\nagent.llm.model = \"m\"\nagent.llm.url = \"http://10.0.0.7/v1\""))
            .unwrap();
        read(&format!("{SIGNED}agent.kind = \"relay\"\nagent.relay.url = \"ws://10.0.0.7/\"")).unwrap();
    }
}
