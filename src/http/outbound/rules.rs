//! Who may be asked: names that are listed, and addresses that are public or listed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::Url;

use super::special::{Special, plain, special};

/// What the operator allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Empty: every public host.
    hosts: Vec<Host>,
    /// Names whose addresses are not looked at.
    trusted: Vec<Host>,
    /// Addresses that may be special.
    networks: Vec<IpNet>,
}

/// Why somebody is not asked. Says nothing of the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is a list, and it is not on it.
    #[error("the host is not one of outbound.hosts")]
    Host,
    /// It is not on the public web.
    #[error("the host has {0}, which is not one of outbound.private")]
    Address(Special),
}

/// Why an entry of a list says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No host.
    #[error(
        "is no host: write a name such as api.example.com or *.example.com, or an address, without scheme and path"
    )]
    Host,
    /// No port, or one where none may be.
    #[error("ends with a port that is no port, or cannot have one here")]
    Port,
    /// No network.
    #[error("is no network: write one such as 10.0.0.0/8, with no bit set behind the prefix")]
    Network,
}

/// One entry of a list of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    pattern: Pattern,
    /// `None`: any.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Address(IpAddr),
    Name(String),
    /// Everything below this name, which begins with a dot.
    Below(String),
}

impl Rules {
    /// Takes one more host that may be asked: a name, `*.` and a name for all below it, or an address; with a colon and a port
    /// behind it, at that port alone. As long as none is taken, all may be asked.
    ///
    /// # Errors
    /// [`RuleError`].
    pub fn allow(&mut self, entry: &str) -> Result<(), RuleError> {
        self.hosts.push(Host::parse(entry)?);
        Ok(())
    }

    /// Takes one more that may be asked although its address is special: a network such as `10.0.0.0/8`, an address, or a name
    /// as in [`Rules::allow`], but without a port. It need not be allowed as well.
    ///
    /// # Errors
    /// [`RuleError`].
    pub fn exempt(&mut self, entry: &str) -> Result<(), RuleError> {
        if entry.contains('/') {
            let network: IpNet = entry.parse().map_err(|_| RuleError::Network)?;
            // A bit behind the prefix is a slip: 10.0.0.1/8 opens far more than it seems to.
            if network.trunc() != network {
                return Err(RuleError::Network);
            }
            self.networks.push(network);
            return Ok(());
        }
        match Host::parse(entry)? {
            Host { port: Some(_), .. } => Err(RuleError::Port),
            Host { pattern: Pattern::Address(address), port: None } => {
                self.networks.push(address.into());
                Ok(())
            }
            host @ Host { pattern: Pattern::Name(_) | Pattern::Below(_), port: None } => {
                self.trusted.push(host);
                Ok(())
            }
        }
    }

    /// The same, and this host's own loopback may be asked.
    #[must_use]
    pub fn with_loopback(mut self) -> Self {
        let v4 = Ipv4Net::new(Ipv4Addr::LOCALHOST, 8).map(|net| net.trunc());
        self.networks.extend(v4.map(IpNet::from));
        self.networks.push(Ipv6Net::from(Ipv6Addr::LOCALHOST).into());
        self
    }

    /// Whether `url` may be asked, as far as that can be said before its name is looked up.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn admit(&self, url: &Url) -> Result<(), Refused> {
        let host = url.host_str().unwrap_or_default();
        let address = address_of(host);
        // `localhost` is an address to us, and may be listed by its name.
        if address.is_some_and(|address| self.is_exempt(address)) || self.trusts(host) {
            return Ok(());
        }
        let port = url.port_or_known_default();
        if !self.hosts.is_empty() && !self.hosts.iter().any(|entry| entry.covers(host, port)) {
            return Err(Refused::Host);
        }
        address.map_or(Ok(()), |address| self.admit_address(address))
    }

    /// Whether an address may be dialled.
    ///
    /// # Errors
    /// [`Refused::Address`].
    fn admit_address(&self, address: IpAddr) -> Result<(), Refused> {
        match special(address) {
            Some(special) if !self.is_exempt(address) => Err(Refused::Address(special)),
            Some(_) | None => Ok(()),
        }
    }

    /// Those of the addresses `found` of a name that may be dialled.
    ///
    /// # Errors
    /// [`Refused::Address`]: there are some, and none of them may.
    pub fn of_name(&self, name: &str, found: impl IntoIterator<Item = IpAddr>) -> Result<Vec<IpAddr>, Refused> {
        let is_trusted = self.trusts(name.strip_suffix('.').unwrap_or(name));
        let (mut admitted, mut refusal) = (Vec::new(), None);
        for address in found {
            match self.admit_address(address) {
                Err(refused) if !is_trusted => refusal = Some(refused),
                Ok(()) | Err(_) => admitted.push(address),
            }
        }
        match refusal {
            Some(refused) if admitted.is_empty() => Err(refused),
            Some(_) | None => Ok(admitted),
        }
    }

    /// Whether the addresses of a name are not looked at.
    fn trusts(&self, name: &str) -> bool {
        self.trusted.iter().any(|entry| entry.covers(name, None))
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        let reached = plain(address);
        self.networks.iter().any(|network| network.contains(&address) || network.contains(&reached))
    }
}

/// The address that a URL's host is, if it is no name. The browser's own reading of a host has been through it: a number in any
/// notation is an address by now.
fn address_of(host: &str) -> Option<IpAddr> {
    let bare = host.trim_matches(['[', ']']);
    if let Ok(address) = bare.parse() {
        return Some(address);
    }
    let name = bare.strip_suffix('.').unwrap_or(bare);
    // RFC 6761: whoever resolves it otherwise is mistaken.
    let is_local = name == "localhost" || name.ends_with(".localhost");
    is_local.then_some(Ipv4Addr::LOCALHOST.into())
}

impl Host {
    fn parse(entry: &str) -> Result<Self, RuleError> {
        if let Ok(address) = entry.parse() {
            return Ok(Host { pattern: Pattern::Address(address), port: None });
        }
        let (is_below, entry) = entry.strip_prefix("*.").map_or((false, entry), |entry| (true, entry));
        if entry.is_empty() || entry.contains(|c: char| "*/\\?#@%".contains(c)) {
            return Err(RuleError::Host);
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let number = port.parse().ok().filter(|number| *number != 0);
                (host, Some(number.ok_or(RuleError::Port)?))
            }
            Some(_) | None => (entry, None),
        };
        if name.contains(':') && !name.starts_with('[') {
            return Err(RuleError::Host);
        }
        // By the reading of a URL, so that an entry and a URL that are spelt differently are the same in the end.
        let url = Url::parse(&format!("http://{name}/")).map_err(|_| RuleError::Host)?;
        let name = url.host_str().ok_or(RuleError::Host)?;
        let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
        let name = name.strip_suffix('.').unwrap_or(name);
        let pattern = match (address, is_below) {
            (Ok(_), true) => return Err(RuleError::Host),
            (Ok(address), false) => Pattern::Address(address),
            (Err(_), true) => Pattern::Below(format!(".{name}")),
            (Err(_), false) => Pattern::Name(name.to_owned()),
        };
        Ok(Host { pattern, port })
    }

    fn covers(&self, host: &str, port: Option<u16>) -> bool {
        if self.port.is_some() && self.port != port {
            return false;
        }
        let bare = host.trim_matches(['[', ']']);
        let name = bare.strip_suffix('.').unwrap_or(bare);
        match &self.pattern {
            Pattern::Address(address) => bare.parse().is_ok_and(|host: IpAddr| host == *address),
            Pattern::Name(listed) => name == listed,
            Pattern::Below(suffix) => name.strip_suffix(suffix.as_str()).is_some_and(|front| !front.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(hosts: &[&str], private: &[&str]) -> Rules {
        let mut rules = Rules::default();
        hosts.iter().for_each(|entry| rules.allow(entry).unwrap());
        private.iter().for_each(|entry| rules.exempt(entry).unwrap());
        rules
    }

    fn admit(rules: &Rules, url: &str) -> Result<(), Refused> {
        rules.admit(&Url::parse(url).unwrap())
    }

    #[test]
    fn this_host_may_be_listed_by_its_name() {
        let rules = rules(&["a.example"], &["localhost"]);
        assert_eq!(admit(&rules, "http://localhost:9/after"), Ok(()));
        assert_eq!(admit(&rules, "http://127.0.0.1:9/after"), Err(Refused::Host));
        assert_eq!(rules.of_name("localhost", [Ipv4Addr::LOCALHOST.into()]), Ok(vec![Ipv4Addr::LOCALHOST.into()]));
    }

    #[test]
    fn without_a_list_every_public_host_may_be_asked() {
        let rules = Rules::default();
        for public in ["https://example.com/a", "http://93.184.215.14:81/", "https://[2606:4700::1111]/", "http://a.b."]
        {
            assert_eq!(admit(&rules, public), Ok(()), "{public}");
        }
        for (url, special) in [
            ("http://127.0.0.1/", Special::Loopback),
            ("http://localhost:8080/", Special::Loopback),
            ("http://LOCALHOST./", Special::Loopback),
            ("http://a.localhost/", Special::Loopback),
            // An address in every notation that a browser knows.
            ("http://2130706433/", Special::Loopback),
            ("http://0x7f.1/", Special::Loopback),
            ("http://0177.0.0.1/", Special::Loopback),
            ("http://127.1/", Special::Loopback),
            ("http://①②⑦.0.0.1/", Special::Loopback),
            ("http://[::1]/", Special::Loopback),
            ("http://[::ffff:7f00:1]/", Special::Loopback),
            ("http://169.254.169.254/latest/meta-data", Special::Metadata),
            ("http://user:pass@10.0.0.1/", Special::Private),
            ("http://0/", Special::Loopback),
        ] {
            assert_eq!(admit(&rules, url), Err(Refused::Address(special)), "{url}");
        }
    }

    #[test]
    fn with_a_list_nobody_else_may_be_asked() {
        let entries =
            ["api.example.com", "*.example.org", "Bücher.example:8443", "198.41.0.4", "[2606:4700::1111]:8443"];
        let rules = rules(&entries, &[]);
        for allowed in [
            "https://api.example.com/x",
            "http://API.example.com.:81/",
            "https://a.example.org",
            "https://a.b.example.org:444",
            "https://xn--bcher-kva.example:8443/",
            "http://198.41.0.4/",
            "https://[2606:4700::1111]:8443/",
        ] {
            assert_eq!(admit(&rules, allowed), Ok(()), "{allowed}");
        }
        for url in [
            "https://example.com",
            "https://api.example.com.evil.test",
            "https://xapi.example.com",
            "https://example.org",
            "https://aexample.org",
            "https://xn--bcher-kva.example/",
            "http://198.41.0.5/",
            "https://[2606:4700::1111]/",
            "https://api.example.com@evil.test/",
        ] {
            assert_eq!(admit(&rules, url), Err(Refused::Host), "{url}");
        }
    }

    #[test]
    fn what_is_private_may_be_listed() {
        let listed = rules(&["example.com"], &["10.0.0.0/8", "::1", "crm.internal", "*.svc.local", "fd00::/64"]);
        for url in [
            "http://10.1.2.3/",
            "http://[::ffff:10.1.2.3]/",
            "http://[64:ff9b::10.1.2.3]/",
            "http://[::1]:80/",
            "http://[fd00::7]/",
            "http://crm.internal:81/",
            "http://a.svc.local/",
        ] {
            assert_eq!(admit(&listed, url), Ok(()), "{url}");
        }
        assert_eq!(admit(&listed, "http://127.0.0.1/"), Err(Refused::Host));
        assert_eq!(admit(&rules(&["127.0.0.1"], &[]), "http://127.0.0.1/"), Err(Refused::Address(Special::Loopback)));
        assert!(listed.trusts("crm.internal") && !listed.trusts("internal") && !listed.trusts("svc.local"));
        let local = rules(&["example.com"], &[]).with_loopback();
        for url in ["http://127.0.0.1:9/", "http://127.9.9.9/", "http://localhost/", "http://[::1]/"] {
            assert_eq!(admit(&local, url), Ok(()), "{url}");
        }
        assert_eq!(admit(&local, "http://10.0.0.1/"), Err(Refused::Host));
    }

    #[test]
    fn an_entry_that_says_nothing_is_refused() {
        let mut rules = Rules::default();
        for entry in ["", "*", "*.", "a*.b", "*.1.2.3.4", "https://a.b", "a.b/c", "a@b", "a b", "1:2:3:4", "[::1", "%"]
        {
            assert_eq!(rules.allow(entry), Err(RuleError::Host), "{entry:?}");
        }
        for entry in ["a.b:", "a.b:0", "a.b:65536", "a.b:http", "[::1]:"] {
            assert_eq!(rules.allow(entry), Err(RuleError::Port), "{entry:?}");
        }
        for entry in ["10.0.0.1/8", "10.0.0.0/33", "a.b/8", "10/8", "fd00::1/64", "/"] {
            assert_eq!(rules.exempt(entry), Err(RuleError::Network), "{entry:?}");
        }
        assert_eq!(rules.exempt("crm.internal:80"), Err(RuleError::Port));
        assert_eq!(rules, Rules::default());
    }
}
