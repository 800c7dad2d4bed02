//! Where connections come from, and how many of one source there may be.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use super::node::lock;
use crate::driver::Rates;
use crate::driver::meter::Limit;

/// What one source may do.
#[derive(Clone, Debug, Default)]
pub struct SourceLimits {
    /// Connections a second; `None`: as many as come.
    pub rate: Option<NonZeroU32>,
    /// Connections at one time, calls apart; `None`: as many as come.
    pub connections: Option<NonZeroU32>,
    /// Proxies in front of us: they bring the connections of others, and say of whom in `X-Forwarded-For`.
    pub proxies: Vec<IpNet>,
}

/// Whoever has an address has many of its neighbours as well: of IPv6 the first 64 bits count.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        IpAddr::V4(address) => IpAddr::V4(address),
    }
}

/// The sources of a node.
#[derive(Debug)]
pub(super) struct Sources {
    limits: SourceLimits,
    rates: Option<Rates<IpAddr>>,
    open: Open,
}

/// Connections that are open, by source.
type Open = Arc<Mutex<BTreeMap<IpAddr, u32>>>;

/// A connection of a source, while it lasts.
#[derive(Debug, Default)]
pub(super) struct Held(Option<(IpAddr, Open)>);

impl Drop for Held {
    fn drop(&mut self) {
        let Some((source, open)) = self.0.take() else { return };
        let mut open = lock(&open);
        match open.get_mut(&source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&source)),
        }
    }
}

impl Sources {
    pub(super) fn new(limits: SourceLimits) -> Self {
        Sources { rates: limits.rate.map(Rates::new), limits, open: Arc::default() }
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.limits.proxies.iter().any(|proxy| proxy.contains(&address.to_canonical()))
    }

    /// A connection came from `address`.
    ///
    /// # Errors
    /// The limit that it would exceed.
    pub(super) fn connected(&self, address: IpAddr) -> Result<Held, Limit> {
        if self.is_proxy(address) {
            return Ok(Held::default());
        }
        let source = source_of(address);
        if self.rates.as_ref().is_some_and(|rates| !rates.take(&source)) {
            return Err(Limit::SourceRate);
        }
        let Some(most) = self.limits.connections else { return Ok(Held::default()) };
        let mut open = lock(&self.open);
        let count = open.entry(source).or_default();
        if *count >= most.get() {
            return Err(Limit::SourceConnections);
        }
        *count += 1;
        Ok(Held(Some((source, self.open.clone()))))
    }

    /// A request came over a connection from `address`. One that a proxy brings counts for whom it brings it.
    ///
    /// # Errors
    /// The limit that it would exceed.
    pub(super) fn asked(&self, address: IpAddr, headers: &HeaderMap) -> Result<(), Limit> {
        if !self.is_proxy(address) {
            return Ok(());
        }
        let client = self.client(address, headers);
        if self.is_proxy(client) {
            // A request of the proxy's own, such as its health check; or somebody on this host.
            return Ok(());
        }
        let source = source_of(client);
        if self.rates.as_ref().is_some_and(|rates| !rates.take(&source)) {
            return Err(Limit::SourceRate);
        }
        Ok(())
    }

    /// The source of a request that came over a connection from `address`.
    pub(super) fn of_request(&self, address: IpAddr, headers: &HeaderMap) -> IpAddr {
        source_of(if self.is_proxy(address) { self.client(address, headers) } else { address })
    }

    /// Whom the proxies in front of us speak for: the last address that none of them has. What stands before it, anybody may
    /// have written.
    fn client(&self, address: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lines = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes);
        // Not line by line: what is no text in front of what a proxy wrote must not hide that.
        let told: Vec<&[u8]> = lines.flat_map(|line| line.split(|byte| *byte == b',')).collect();
        let mut client = address;
        for text in told.into_iter().rev() {
            let Some(address) = std::str::from_utf8(text).ok().and_then(|text| address_in(text.trim())) else { break };
            client = address;
            if !self.is_proxy(address) {
                break;
            }
        }
        client
    }
}

/// An address as proxies write it: bare, or with a port behind it.
fn address_in(text: &str) -> Option<IpAddr> {
    let bare = text.trim_matches(['[', ']']).parse().ok();
    bare.or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(rate: u32, connections: u32) -> Sources {
        let proxies = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).to_vec();
        let (rate, connections) = (NonZeroU32::new(rate), NonZeroU32::new(connections));
        Sources::new(SourceLimits { rate, connections, proxies })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_source_has_so_many_connections_and_another_its_own() {
        let sources = sources(0, 2);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let held: Vec<Held> = (0..2).map(|_| sources.connected(one).unwrap()).collect();
        assert_eq!(sources.connected(one).unwrap_err(), Limit::SourceConnections);
        // The same address in other clothes.
        assert_eq!(sources.connected(address("::ffff:192.0.2.1")).unwrap_err(), Limit::SourceConnections);
        drop(sources.connected(other).unwrap());
        drop(held);
        drop(sources.connected(one).unwrap());
        assert!(lock(&sources.open).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn neighbours_of_one_network_are_one_source() {
        let sources = sources(1, 0);
        assert!(sources.connected(address("2001:db8::1")).is_ok() && sources.connected(address("2001:db8::2")).is_ok());
        assert_eq!(sources.connected(address("2001:db8::3")).unwrap_err(), Limit::SourceRate);
        assert!(sources.connected(address("2001:db8:0:1::3")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_is_no_source_and_its_clients_are() {
        let sources = sources(1, 1);
        let proxy = address("10.0.0.1");
        let held: Vec<Held> = (0..9).map(|_| sources.connected(proxy).unwrap()).collect();
        drop(held);
        let by = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_bytes(text.as_bytes()).unwrap());
            sources.asked(proxy, &headers)
        };
        assert!(by("198.51.100.1").is_ok() && by("198.51.100.1").is_ok());
        // Whatever a client writes in front of what the proxy writes, and whichever proxies are in between.
        for text in [
            "198.51.100.1",
            "8.8.8.8, 198.51.100.1",
            "198.51.100.1, 10.9.9.9",
            "x, 198.51.100.1:4711, fd00::1",
            "\u{e9}, 198.51.100.1",
        ] {
            assert_eq!(by(text), Err(Limit::SourceRate), "{text}");
        }
        assert!(by("198.51.100.2").is_ok() && by("[2001:db8::1]").is_ok());
        // What a proxy asks for itself is nobody's.
        assert!((0..9).all(|_| sources.asked(proxy, &HeaderMap::new()).is_ok()));
        // Somebody who is no proxy is not believed, and was counted when he connected.
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "198.51.100.1".parse().unwrap());
        assert!(sources.asked(address("192.0.2.1"), &headers).is_ok());
    }
}
