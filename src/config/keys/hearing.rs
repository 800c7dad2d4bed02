//! The keys of `[hearing]`.

use super::{Key, Kind, TEXT, alias, key};

/// All of them, in the order of the documentation.
pub(super) const KEYS: &[Key] = &[
    key(
        "hearing.provider",
        Kind::Choice(&["none", "cartesia", "deepgram", "deepgram_flux", "gradium"]),
        Some("none"),
        "who writes down what callers say",
    ),
    key(
        "hearing.turn_end",
        Kind::Choice(&["silence", "vendor"]),
        None,
        "who decides that the caller has finished: `barge_in.silence_ms`, or the vendor; absent: the vendor if it is made \
         for that (`cartesia` with `turns`, `deepgram_flux`)",
    ),
    key(
        "hearing.eager_ms",
        Kind::Integer(0, 5_000),
        Some("0"),
        "silence after which an answer is prepared, in ms, below `barge_in.silence_ms`; where the vendor decides, its own \
         word for it counts instead; 0: not before the end",
    ),
    key("hearing.partials", Kind::Flag, Some("false"), "tell the agent what is known before the caller has finished"),
    key(
        "hearing.last_words_ms",
        Kind::Integer(100, 10_000),
        Some("1500"),
        "longest wait for the last words after the end of the caller's speech, in ms",
    ),
    key(
        "hearing.session_s",
        Kind::Integer(30, 86_400),
        None,
        "age in seconds before which a session is replaced by a new one; absent: 270 for `gradium`, otherwise 3000",
    ),
    key(
        "hearing.cartesia.endpoint",
        Kind::Choice(&["turns", "manual"]),
        Some("turns"),
        "protocol: the vendor finds turns (English only), or we say when an utterance is over",
    ),
    key("hearing.cartesia.url", Kind::WebSocketUrl, None, "endpoint; absent: the vendor's, as `endpoint` says"),
    alias("CARTESIA_API_KEY", key("hearing.cartesia.api_key", Kind::Secret, None, "API key")),
    key("hearing.cartesia.version", TEXT, Some("2026-03-01"), "protocol version, a date"),
    key("hearing.cartesia.model", TEXT, Some("ink-2"), "model id"),
    key("hearing.cartesia.language", TEXT, None, "language code, with `manual` only"),
    key("hearing.cartesia.keyterms", Kind::Texts, None, "words to listen for; at most 100 and 1200 characters in all"),
    key(
        "hearing.cartesia.start_threshold",
        Kind::Number(0.5, 0.9),
        None,
        "probability that begins a turn; absent: 0.8; above the next",
    ),
    key(
        "hearing.cartesia.eager_end_threshold",
        Kind::Number(0.3, 0.6),
        None,
        "probability below which a turn is probably over; absent: 0.4; above the next",
    ),
    key(
        "hearing.cartesia.end_threshold",
        Kind::Number(0.05, 0.5),
        None,
        "probability below which a turn is over; absent: 0.2",
    ),
    key(
        "hearing.cartesia.end_timeout_ms",
        Kind::Integer(640, 11_200),
        None,
        "silence that ends a turn in any case, in ms; absent: 5600",
    ),
    key("hearing.cartesia.piece_ms", PIECE, Some("20"), "audio in one message, in ms"),
    key("hearing.cartesia.ca_file", TEXT, None, AUTHORITY),
    key("hearing.deepgram.url", Kind::WebSocketUrl, Some("wss://api.deepgram.com/v1/listen"), "endpoint"),
    alias("DEEPGRAM_API_KEY", key("hearing.deepgram.api_key", Kind::Secret, None, "API key")),
    key("hearing.deepgram.model", TEXT, Some("nova-3"), "model id"),
    key("hearing.deepgram.language", TEXT, None, "language tag, or `multi`; absent: the vendor's default"),
    key("hearing.deepgram.keyterms", Kind::Texts, None, "words to listen for"),
    key(
        "hearing.deepgram.endpointing_ms",
        Kind::Integer(10, 5_000),
        Some("300"),
        "silence that the vendor takes for the end of speech, in ms",
    ),
    key(
        "hearing.deepgram.utterance_end_ms",
        Kind::Integer(1_000, 5_000),
        Some("1000"),
        "time without words that the vendor takes for the end of an utterance, in ms",
    ),
    key("hearing.deepgram.smart_format", Kind::Flag, Some("true"), "punctuation, and numbers and dates as digits"),
    key("hearing.deepgram.piece_ms", PIECE, Some("20"), "audio in one message, in ms"),
    key("hearing.deepgram.ca_file", TEXT, None, AUTHORITY),
    key("hearing.deepgram_flux.url", Kind::WebSocketUrl, Some("wss://api.deepgram.com/v2/listen"), "endpoint"),
    alias("DEEPGRAM_API_KEY", key("hearing.deepgram_flux.api_key", Kind::Secret, None, "API key")),
    key("hearing.deepgram_flux.model", TEXT, Some("flux-general-en"), "model id"),
    key("hearing.deepgram_flux.language", TEXT, None, "language to expect, with a model that ends in `-multi` only"),
    key("hearing.deepgram_flux.keyterms", Kind::Texts, None, "words to listen for"),
    key(
        "hearing.deepgram_flux.end_threshold",
        Kind::Number(0.5, 1.0),
        None,
        "confidence that ends a turn; absent: 0.7; 1.0: the vendor ends none",
    ),
    key(
        "hearing.deepgram_flux.eager_end_threshold",
        Kind::Number(0.3, 0.9),
        None,
        "confidence that makes an end probable, not above the one before; absent: no end is probable",
    ),
    key(
        "hearing.deepgram_flux.end_timeout_ms",
        Kind::Integer(500, 60_000),
        None,
        "silence that ends a turn in any case, in ms; absent: 5000",
    ),
    key("hearing.deepgram_flux.piece_ms", PIECE, Some("80"), "audio in one message, in ms"),
    key("hearing.deepgram_flux.ca_file", TEXT, None, AUTHORITY),
    key("hearing.gradium.url", Kind::WebSocketUrl, Some("wss://api.gradium.ai/api/speech/asr"), "endpoint"),
    alias("GRADIUM_API_KEY", key("hearing.gradium.api_key", Kind::Secret, None, "API key")),
    key("hearing.gradium.model", TEXT, Some("default"), "model id"),
    key("hearing.gradium.language", TEXT, None, "language code; absent: the vendor finds out"),
    key(
        "hearing.gradium.delay_frames",
        Kind::Rate(&[7, 8, 10, 12, 14, 16, 20, 24, 32, 36, 48]),
        None,
        "frames of 80 ms that words may be behind their sound; more make fewer mistakes; absent: the vendor's default",
    ),
    key(
        "hearing.gradium.quiet_threshold",
        Kind::Number(0.0, 1.0),
        Some("0.5"),
        "probability of silence above which the caller is taken to have finished",
    ),
    key(
        "hearing.gradium.quiet_steps",
        Kind::Integer(1, 100),
        Some("5"),
        "steps of 80 ms, one after the other, that must say so; more for noisy lines",
    ),
    key("hearing.gradium.piece_ms", PIECE, Some("80"), "audio in one message, in ms"),
    key("hearing.gradium.ca_file", TEXT, None, AUTHORITY),
];

const PIECE: Kind = Kind::Integer(20, 1_000);

const AUTHORITY: &str = "PEM file of a certificate authority to trust in place of the public ones";
