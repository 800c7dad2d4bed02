//! Which addresses are not somebody's on the public web: the ranges of IANA's registries of special-purpose addresses, and
//! those at which clouds tell their machines secrets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Why an address is not one of the public web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// This host itself.
    Loopback,
    /// Of a private network.
    Private,
    /// Of the link that this host is on.
    LinkLocal,
    /// Shared by the customers of a provider.
    Shared,
    /// For examples and measurements.
    Documentation,
    /// Of a group, or of everybody.
    Multicast,
    /// Where a cloud's machines ask about themselves, their credentials among it.
    Metadata,
    /// Of no host, or of one behind a translator.
    Reserved,
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Special::Loopback => "a loopback address",
            Special::Private => "an address of a private network",
            Special::LinkLocal => "a link-local address",
            Special::Shared => "an address of a provider's shared range",
            Special::Documentation => "an address for documentation or measurements",
            Special::Multicast => "an address of a group",
            Special::Metadata => "a cloud's metadata address",
            Special::Reserved => "a reserved address",
        })
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(segments: [u16; 8], bits: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), bits)
}

/// The first that holds an address says what it is.
const V4: [(Ipv4Net, Special); 22] = [
    // AWS, Google, Azure, Oracle, DigitalOcean and others; AWS containers; Alibaba; the old one of Oracle.
    (v4(169, 254, 169, 254, 32), Special::Metadata),
    (v4(169, 254, 170, 2, 32), Special::Metadata),
    (v4(100, 100, 100, 200, 32), Special::Metadata),
    (v4(192, 0, 0, 192, 32), Special::Metadata),
    // Azure's WireServer: public by its number, but only a machine's own host answers there.
    (v4(168, 63, 129, 16, 32), Special::Metadata),
    // RFC 791: "this network". Linux takes it for loopback.
    (v4(0, 0, 0, 0, 8), Special::Loopback),
    (v4(127, 0, 0, 0, 8), Special::Loopback),
    // RFC 1918.
    (v4(10, 0, 0, 0, 8), Special::Private),
    (v4(172, 16, 0, 0, 12), Special::Private),
    (v4(192, 168, 0, 0, 16), Special::Private),
    // RFC 3927.
    (v4(169, 254, 0, 0, 16), Special::LinkLocal),
    // RFC 6598.
    (v4(100, 64, 0, 0, 10), Special::Shared),
    // RFC 5737, and RFC 2544 for benchmarks.
    (v4(192, 0, 2, 0, 24), Special::Documentation),
    (v4(198, 51, 100, 0, 24), Special::Documentation),
    (v4(203, 0, 113, 0, 24), Special::Documentation),
    (v4(198, 18, 0, 0, 15), Special::Documentation),
    // RFC 5771, and RFC 919 for everybody on a link.
    (v4(224, 0, 0, 0, 4), Special::Multicast),
    (v4(255, 255, 255, 255, 32), Special::Multicast),
    // RFC 6890 for protocols, RFC 7526 for the relays of 6to4 that are no more, RFC 1112 for the future.
    (v4(192, 0, 0, 0, 24), Special::Reserved),
    (v4(192, 88, 99, 0, 24), Special::Reserved),
    (v4(192, 175, 48, 0, 24), Special::Reserved),
    (v4(240, 0, 0, 0, 4), Special::Reserved),
];

const V6: [(Ipv6Net, Special); 11] = [
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), Special::Metadata),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), Special::Metadata),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Special::Loopback),
    // RFC 4193, and the site-local addresses before it.
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Special::Private),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), Special::Private),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Special::LinkLocal),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Special::Multicast),
    // RFC 3849 and RFC 9637.
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), Special::Documentation),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), Special::Documentation),
    // RFC 2928: protocols, Teredo among them, which hides an IPv4 address.
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), Special::Reserved),
    // RFC 3056, 6to4: it hides an IPv4 address, and its relays are gone.
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), Special::Reserved),
];

/// All addresses that are given to hosts (RFC 4291); what lies outside is not reached.
const V6_GLOBAL: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
/// RFC 6052: where a network without IPv4 reaches all of it, so that the address inside decides.
const V6_TRANSLATED: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// What is special about an address; `None`: nothing, it is one of the public web.
pub(super) fn special(address: IpAddr) -> Option<Special> {
    match plain(address) {
        IpAddr::V4(address) => V4.iter().find(|(net, _)| net.contains(&address)).map(|(_, special)| *special),
        IpAddr::V6(address) => {
            let found = V6.iter().find(|(net, _)| net.contains(&address)).map(|(_, special)| *special);
            found.or_else(|| (!V6_GLOBAL.contains(&address)).then_some(Special::Reserved))
        }
    }
}

/// The address that is reached in the end: the one of IPv4 inside `::ffff:0:0/96`, which this host dials over IPv4, and inside
/// `64:ff9b::/96`, which a translator does.
pub(super) fn plain(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if V6_TRANSLATED.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        address @ (IpAddr::V4(_) | IpAddr::V6(_)) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last address of a range, and its neighbours on both sides, which are public unless they are named
    /// themselves.
    #[test]
    fn every_special_range_is_known_from_its_first_address_to_its_last() {
        for (first, last, expected, before, after) in [
            ("0.0.0.0", "0.255.255.255", Special::Loopback, None, Some("1.0.0.0")),
            ("10.0.0.0", "10.255.255.255", Special::Private, Some("9.255.255.255"), Some("11.0.0.0")),
            ("100.64.0.0", "100.127.255.255", Special::Shared, Some("100.63.255.255"), Some("100.128.0.0")),
            ("127.0.0.0", "127.255.255.255", Special::Loopback, Some("126.255.255.255"), Some("128.0.0.0")),
            ("169.254.0.0", "169.254.255.255", Special::LinkLocal, Some("169.253.255.255"), Some("169.255.0.0")),
            ("172.16.0.0", "172.31.255.255", Special::Private, Some("172.15.255.255"), Some("172.32.0.0")),
            ("192.0.0.0", "192.0.0.255", Special::Reserved, Some("191.255.255.255"), Some("192.0.1.0")),
            ("192.0.2.0", "192.0.2.255", Special::Documentation, Some("192.0.1.255"), Some("192.0.3.0")),
            ("192.88.99.0", "192.88.99.255", Special::Reserved, Some("192.88.98.255"), Some("192.88.100.0")),
            ("192.168.0.0", "192.168.255.255", Special::Private, Some("192.167.255.255"), Some("192.169.0.0")),
            ("198.18.0.0", "198.19.255.255", Special::Documentation, Some("198.17.255.255"), Some("198.20.0.0")),
            ("198.51.100.0", "198.51.100.255", Special::Documentation, Some("198.51.99.255"), Some("198.51.101.0")),
            ("203.0.113.0", "203.0.113.255", Special::Documentation, Some("203.0.112.255"), Some("203.0.114.0")),
            ("224.0.0.0", "239.255.255.255", Special::Multicast, Some("223.255.255.255"), None),
            ("240.0.0.0", "255.255.255.254", Special::Reserved, None, None),
            ("255.255.255.255", "255.255.255.255", Special::Multicast, None, None),
            ("169.254.169.254", "169.254.169.254", Special::Metadata, None, None),
            ("169.254.170.2", "169.254.170.2", Special::Metadata, None, None),
            ("100.100.100.200", "100.100.100.200", Special::Metadata, None, None),
            ("192.0.0.192", "192.0.0.192", Special::Metadata, None, None),
            ("168.63.129.16", "168.63.129.16", Special::Metadata, Some("168.63.129.15"), Some("168.63.129.17")),
            ("::", "::", Special::Reserved, None, None),
            ("::1", "::1", Special::Loopback, None, None),
            ("::2", "::fffe:ffff:ffff", Special::Reserved, None, None),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", Special::Reserved, None, None),
            ("100::", "100::ffff:ffff:ffff:ffff", Special::Reserved, None, None),
            ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", Special::Reserved, None, Some("2001:200::")),
            (
                "2001:db8::",
                "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
                Special::Documentation,
                Some("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"),
                Some("2001:db9::"),
            ),
            ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special::Reserved, None, Some("2003::")),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", Special::Documentation, None, Some("3fff:1000::")),
            ("4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special::Reserved, None, None),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special::Private, None, None),
            ("fd00:ec2::254", "fd00:ec2::254", Special::Metadata, None, None),
            ("fd20:ce::254", "fd20:ce::254", Special::Metadata, None, None),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special::LinkLocal, None, None),
            ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special::Private, None, None),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special::Multicast, None, None),
        ] {
            let of = |text: &str| special(text.parse().unwrap());
            assert_eq!((of(first), of(last)), (Some(expected), Some(expected)), "{first} to {last}");
            for neighbour in [before, after].into_iter().flatten() {
                assert_eq!(of(neighbour), None, "{neighbour}");
            }
        }
    }

    #[test]
    fn public_addresses_are_nothing_special() {
        for public in ["8.8.8.8", "1.1.1.1", "54.172.60.0", "2606:4700::1111", "2a00:1450:4001::1", "2620:0:ccc::2"] {
            assert_eq!(special(public.parse().unwrap()), None, "{public}");
        }
    }

    #[test]
    fn an_address_inside_another_decides() {
        for (hidden, expected) in [
            ("::ffff:127.0.0.1", Some(Special::Loopback)),
            ("::ffff:169.254.169.254", Some(Special::Metadata)),
            ("::ffff:10.1.2.3", Some(Special::Private)),
            ("::ffff:8.8.8.8", None),
            ("64:ff9b::127.0.0.1", Some(Special::Loopback)),
            ("64:ff9b::a9fe:a9fe", Some(Special::Metadata)),
            ("64:ff9b::192.168.0.1", Some(Special::Private)),
            ("64:ff9b::8.8.8.8", None),
            // Nobody is reached through these any more, wherever they lead.
            ("::127.0.0.1", Some(Special::Reserved)),
            ("2002:7f00:1::", Some(Special::Reserved)),
            ("2002:808:808::", Some(Special::Reserved)),
            ("2001:0:808:808::1", Some(Special::Reserved)),
        ] {
            assert_eq!(special(hidden.parse().unwrap()), expected, "{hidden}");
        }
    }
}
