//! `[otlp]`: where traces of calls go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::checks::Given;
use super::problem::{Fault, Problem};
use super::read;
use super::settings::{Config, millis};
use crate::secret::Secret;
use crate::server::twilio::public_url::Transport;

/// `[otlp]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// The collector; absent: no traces.
    pub url: Option<String>,
    /// Headers of every request to it.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// PEM file of a certificate authority to trust.
    pub ca_file: Option<PathBuf>,
    /// What this program is called in traces.
    pub service_name: String,
    /// Part of the calls that are traced, 0 to 1.
    pub sample: f64,
    /// How long one request may take, 100 ms to 60 s.
    #[serde(rename = "timeout_ms", deserialize_with = "millis")]
    pub timeout: Duration,
    /// Spans that may wait, 64 to 65,536.
    pub queue_spans: u32,
}

/// Whether a name can be that of a header, by the rules of HTTP (RFC 9110, section 5.6.2).
pub(super) fn header(name: &str) -> Result<(), Fault> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_token) {
        return Ok(());
    }
    Err(Fault::new("is not the name of a header", "write a name such as \"authorization\" or \"x-api-key\""))
}

/// What works but should be looked at.
pub(super) fn warnings(config: &Config, given: &Given<'_>) -> Vec<Problem> {
    let otlp = &config.otlp;
    let key = "otlp.url";
    let url = otlp.url.as_deref().and_then(read::http_host);
    let is_open = url.is_some_and(|url| url.transport() == Transport::Plain && !url.is_loopback());
    if !is_open || otlp.headers.is_empty() {
        return Vec::new();
    }
    let fault = "sends the secrets of otlp.headers unencrypted over a network";
    vec![Fault::new(fault, "use https").at(given.source(key), key)]
}

#[cfg(test)]
mod tests {
    use super::super::{Input, Loaded, load};

    fn read(text: &str) -> Result<Loaded, Vec<String>> {
        let file = Some(("settings.toml".to_owned(), format!("[otlp]\n{text}")));
        load(&Input { file, ..Input::default() })
            .map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn without_a_url_there_are_no_traces_and_headers_are_secrets() {
        let otlp = read("").unwrap().config.otlp;
        assert_eq!((otlp.url, otlp.service_name.as_str(), otlp.sample), (None, "trunkline", 1.0));
        let loaded = read("url = \"http://127.0.0.1:4318\"\nheaders = { x-api-key = \"hunter2\" }").unwrap();
        assert_eq!(loaded.config.otlp.headers["x-api-key"].expose(), "hunter2");
        assert!(!format!("{:?} {:?}", loaded.config, loaded.summary).contains("hunter2"));
        assert!(loaded.warnings.iter().all(|warning| warning.key != "otlp.url"));
    }

    #[test]
    fn mistakes_are_told_together_and_open_secrets_are_warned_of() {
        let lines = read(
            "url = \"collector\"\nheaders = { \"x key\" = \"hunter2\" }\nsample = 2\ntimeout_ms = 5\nqueue_spans = 1",
        )
        .unwrap_err();
        for part in
            ["otlp.url", "otlp.headers.x key", "otlp.sample is 2", "otlp.timeout_ms is 5", "otlp.queue_spans is 1"]
        {
            assert_eq!(lines.iter().filter(|line| line.contains(part)).count(), 1, "{part}: {lines:?}");
        }
        assert!(!lines.concat().contains("hunter2"));
        let open = read("url = \"http://collector.example.com:4318\"\nheaders = { key = \"hunter2\" }").unwrap();
        assert!(open.warnings.iter().any(|warning| warning.key == "otlp.url"));
    }
}
