//! The server: where it listens, who may use it, how it refuses and stops.

use super::{Blank, Entries, Key, Kind, key};

pub(super) const KEYS: &[Key] = &[
    key("server.listen", Kind::Address, Some("127.0.0.1:8080"), "address and port to listen on"),
    key(
        "server.public_url",
        Kind::PublicUrl,
        None,
        "where carriers reach this server; may carry a port and a path; setting it turns trust on",
    ),
    key("server.api_token", Kind::Secret, None, "bearer token of the HTTP API, good for everything"),
    key(
        "server.tokens",
        Kind::Table(Entries::Tokens),
        None,
        "further tokens of the HTTP API (name = \"sha256:... read speak\"), as `trunkline token` writes them",
    ),
    key(
        "server.token_key",
        Kind::Secret,
        None,
        "key of the stream tokens, the same on all replicas; made at start if absent",
    ),
    key("server.max_calls", Kind::Integer(1, 100_000), Some("500"), "calls at one time; further ones are refused"),
    key(
        "server.drain_s",
        Kind::Integer(0, 86_400),
        Some("300"),
        "seconds that live calls may go on after a stop signal",
    ),
    key(
        "server.busy_redirect_url",
        Kind::HttpUrl,
        None,
        "where calls are sent that this server cannot take; without it they hear busy",
    ),
    key(
        "server.busy_signal",
        Kind::Choice(&["tone", "line"]),
        Some("tone"),
        "what a call hears before it is answered if it cannot be taken: the busy tone, which costs nothing, or \
         `server.busy_line`",
    ),
    key(
        "server.busy_line",
        Kind::Text(Blank::Allowed),
        Some("I am sorry, all lines are busy. Please call again in a few minutes."),
        "said to a call that is answered already and cannot be taken; empty: nothing",
    ),
    key(
        "server.drain_line",
        Kind::Text(Blank::Allowed),
        Some("I am sorry, I have to end this call now. Please call again in a minute."),
        "said to calls that are still live after `server.drain_s`, before they end; empty: nothing",
    ),
    key(
        "server.control_listen",
        Kind::Address,
        None,
        "a second address, for the API, health and metrics alone: it is served until the last call of a drain has ended, and \
         the first one serves the carrier only; absent: one for all",
    ),
    key(
        "server.control_url",
        Kind::PublicUrl,
        None,
        "where this very process can be reached by agents, told in every event and webhook as `control_url`; absent: \
         `server.control_listen`, else `server.public_url`",
    ),
];
