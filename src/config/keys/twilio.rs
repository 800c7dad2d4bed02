//! The carrier.

use super::{Entries, Key, Kind, TEXT, alias, key};

pub(super) const KEYS: &[Key] = &[
    alias(
        "TWILIO_ACCOUNT_SID",
        key(
            "twilio.account_sid",
            TEXT,
            None,
            "account id; with it calls can be placed, transferred and ended at Twilio",
        ),
    ),
    alias(
        "TWILIO_AUTH_TOKEN",
        key(
            "twilio.auth_token",
            Kind::Secret,
            None,
            "auth token, which checks HMAC-SHA1 signatures; setting it turns trust on",
        ),
    ),
    alias(
        "TWILIO_API_KEY",
        key(
            "twilio.api_key_sid",
            TEXT,
            None,
            "id of an API key, used for requests to Twilio in place of the auth token",
        ),
    ),
    alias(
        "TWILIO_API_SECRET",
        key("twilio.api_key_secret", Kind::Secret, None, "secret of that API key; setting it turns trust on"),
    ),
    key(
        "twilio.api_url",
        Kind::PublicUrl,
        Some("https://api.twilio.com"),
        "where the REST API is: a regional host, or a compatible server",
    ),
    key("twilio.from", Kind::Caller, None, "who calls, in outbound calls that do not say"),
    key(
        "twilio.shared_keys",
        Kind::Table(Entries::Secrets),
        None,
        "shared keys (id = secret), which check HMAC-SHA256 signatures; setting one turns trust on",
    ),
    key(
        "twilio.after_url",
        Kind::HttpUrl,
        None,
        "where Twilio asks what to do with a call after its stream; without it the call ends",
    ),
    key(
        "twilio.parameters",
        Kind::Table(Entries::Parameters),
        None,
        "parameters handed through to the stream (name = value)",
    ),
];
