//! The keys of `[tls]`.

use super::{Key, TEXT, key};

/// All of them, in the order of the documentation.
pub(super) const KEYS: &[Key] = &[
    key(
        "tls.cert_file",
        TEXT,
        None,
        "PEM file of this server's certificate and those between it and its authority; with it the port speaks TLS only",
    ),
    key("tls.key_file", TEXT, None, "PEM file of its private key"),
    key(
        "tls.client_ca_file",
        TEXT,
        None,
        "PEM file of authorities: whoever connects needs a certificate of one of them; for a proxy in front, not for carriers",
    ),
];
