//! The keys of `[otlp]`.

use super::{Entries, Key, Kind, TEXT, key};

/// All of them, in the order of the documentation.
pub(super) const KEYS: &[Key] = &[
    key(
        "otlp.url",
        Kind::HttpUrl,
        None,
        "OpenTelemetry collector that takes OTLP over HTTP; without a path `/v1/traces` is added; absent: no traces",
    ),
    key(
        "otlp.headers",
        Kind::Table(Entries::Headers),
        None,
        "headers of every request to the collector (name = secret)",
    ),
    key("otlp.ca_file", TEXT, None, "PEM file of a certificate authority to trust in place of the public ones"),
    key("otlp.service_name", TEXT, Some("trunkline"), "`service.name` of the traces"),
    key(
        "otlp.sample",
        Kind::Number(0.0, 1.0),
        Some("1"),
        "part of the calls that are traced, each whole or not at all",
    ),
    key("otlp.timeout_ms", Kind::Integer(100, 60_000), Some("5000"), "longest request to the collector, in ms"),
    key(
        "otlp.queue_spans",
        Kind::Integer(64, 65_536),
        Some("4096"),
        "spans that may wait for the collector; what comes beyond them is dropped and counted",
    ),
];
