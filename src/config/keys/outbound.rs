//! The keys of `[outbound]`.

use super::{Key, Kind, key};

/// All of them, in the order of the documentation.
pub(super) const KEYS: &[Key] = &[
    key(
        "outbound.hosts",
        Kind::Texts,
        None,
        "whom recordings, tools and `action_url` may be asked of: `api.example.com`, `*.example.com`, an address, each with a port if you like; absent or empty: every public host",
    ),
    key(
        "outbound.private",
        Kind::Texts,
        None,
        "who may be asked although the address is not of the public web: networks (`10.0.0.0/8`), addresses, names",
    ),
];
