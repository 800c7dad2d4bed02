//! `[limits]`: what those may do who connect, and when this server has enough.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::problem::{Fault, Problem};
use super::settings::Config;

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// A frame that is sent so many milliseconds late is late; 0: none is; absent: half of the lead.
    pub late_ms: Option<u64>,
    /// Connections a second from one source; 0: any number.
    pub source_rate: u32,
    /// Connections at one time from one source, calls apart; 0: any number.
    pub source_connections: u32,
    /// How long the head of a request may take to come, 1 s to 300 s.
    #[serde(rename = "head_s", deserialize_with = "super::settings::seconds")]
    pub head: Duration,
    /// New calls a second of one account of the carrier; 0: any number.
    pub account_rate: u32,
    /// Addresses and networks of proxies in front.
    pub proxies: Vec<String>,
}

impl Limits {
    /// From when on a frame is late; zero: never.
    pub fn late(&self, lead: Duration) -> Duration {
        self.late_ms.map_or(lead / 2, Duration::from_millis)
    }

    /// The rate for each account.
    pub const fn account_rate(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.account_rate)
    }

    /// The proxies in front.
    pub fn proxies(&self) -> Vec<IpNet> {
        self.proxies.iter().filter_map(|text| network(text)).collect()
    }
}

/// An address alone is a network of one.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// What must hold.
pub(super) fn problems(config: &Config, source: impl Fn(&str) -> String) -> Vec<Problem> {
    let mut problems = Vec::new();
    for text in config.limits.proxies.iter().filter(|text| network(text).is_none()) {
        let fault = format!("holds {text:?}, which is neither an address nor a network");
        let fix = "write addresses such as \"10.0.0.7\" and networks such as \"10.0.0.0/8\"";
        problems.push(Fault::new(fault, fix).at(source("limits.proxies"), "limits.proxies"));
    }
    let late = config.limits.late(config.playout.lead);
    if late > config.playout.lead {
        let fault =
            format!("is above playout.lead_ms, {}: callers would hear it first", config.playout.lead.as_millis());
        problems
            .push(Fault::new(fault, "make it smaller, or leave it out").at(source("limits.late_ms"), "limits.late_ms"));
    }
    problems
}
