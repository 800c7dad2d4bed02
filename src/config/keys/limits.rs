//! `[limits]`.

use super::{Key, Kind, key};

/// What those may do who connect, and when this server has enough.
pub(super) const KEYS: &[Key] = &[
    key(
        "limits.late_ms",
        Kind::Integer(0, 1_000),
        None,
        "new calls are refused while more than one frame in a hundred is sent so many ms late, and until that is over; absent: \
         half of `playout.lead_ms`; 0: never",
    ),
    key(
        "limits.source_rate",
        Kind::Integer(0, 100_000),
        Some("100"),
        "connections a second from one source (an IPv4 address, or 64 bits of IPv6), twice as many at once; 0: any number",
    ),
    key(
        "limits.source_connections",
        Kind::Integer(0, 100_000),
        Some("256"),
        "connections at one time from one source, calls apart; 0: any number",
    ),
    key(
        "limits.head_s",
        Kind::Integer(1, 300),
        Some("30"),
        "seconds that the head of a request may take to come, the wait for the next one on a connection that is kept open \
         included",
    ),
    key(
        "limits.account_rate",
        Kind::Integer(0, 100_000),
        Some("0"),
        "new calls a second of one account of the carrier, twice as many at once; 0: any number",
    ),
    key(
        "limits.proxies",
        Kind::Texts,
        Some(r#"["127.0.0.1", "::1"]"#),
        "addresses and networks of the proxies in front: they are no sources themselves, and `limits.source_rate` counts by \
         the `X-Forwarded-For` that they write; nobody else's is believed",
    ),
];
