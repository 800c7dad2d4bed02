//! The keys of `[agent.relay]`: every attribute of ConversationRelay's noun that has an effect.

use super::{Blank, Entries, Key, Kind, TEXT, key};
use crate::config::relay::EVENTS;

/// ConversationRelay has two words more than we have for the same things.
const INTERRUPTIBLE: &[&str] = &["any", "speech", "dtmf", "none", "true", "false"];

/// All of them, in the order of the documentation.
pub(super) const KEYS: &[Key] = &[
    key("agent.relay.url", Kind::WebSocketUrl, None, "where the ConversationRelay app listens"),
    key("agent.relay.ca_file", TEXT, None, "PEM file of a certificate authority to trust in place of the public ones"),
    key(
        "agent.relay.action_url",
        Kind::HttpUrl,
        None,
        "where the app is asked what to do with a call after its session, the `action` of `<Connect>`",
    ),
    key(
        "agent.relay.parameters",
        Kind::Table(Entries::Parameters),
        None,
        "`customParameters` of every session (name = value)",
    ),
    key(
        "agent.relay.welcome_greeting",
        Kind::Text(Blank::Allowed),
        None,
        "said when the app is there; absent: nothing",
    ),
    key(
        "agent.relay.welcome_greeting_interruptible",
        Kind::Choice(INTERRUPTIBLE),
        Some("any"),
        "what interrupts the greeting",
    ),
    key(
        "agent.relay.interruptible",
        Kind::Choice(INTERRUPTIBLE),
        None,
        "what interrupts the app's speech; absent: `barge_in.policy`",
    ),
    key(
        "agent.relay.interrupt_sensitivity",
        Kind::Choice(&["low", "medium", "high"]),
        Some("high"),
        "how little speech interrupts: `barge_in.min_speech_ms`, or at least 200 ms (medium) or 400 ms (low)",
    ),
    key("agent.relay.preemptible", Kind::Flag, Some("false"), "whether later speech of the app cuts off earlier one"),
    key("agent.relay.dtmf_detection", Kind::Flag, Some("false"), "tell the app of keys"),
    key(
        "agent.relay.report_input_during_agent_speech",
        Kind::Choice(&["none", "dtmf", "speech", "any"]),
        Some("none"),
        "what the app is told of that comes while it speaks and does not interrupt",
    ),
    key(
        "agent.relay.partial_prompts",
        Kind::Flag,
        Some("false"),
        "tell what is known of an utterance before it is over",
    ),
    key(
        "agent.relay.speech_timeout_ms",
        Kind::Integer(20, 10_000),
        None,
        "silence that ends the caller's speech, in ms; absent: `barge_in.silence_ms`",
    ),
    key(
        "agent.relay.language",
        TEXT,
        None,
        "language of both sides; absent: what voice and hearing are set to, told to the app as `en-US`",
    ),
    key("agent.relay.tts_language", TEXT, None, "language of speech, in place of `language`"),
    key("agent.relay.transcription_language", TEXT, None, "language of the caller, in place of `language`"),
    key("agent.relay.voice", TEXT, None, "voice id; absent: the provider's setting"),
    key(
        "agent.relay.languages",
        Kind::Table(Entries::Languages),
        None,
        "languages with a voice of their own (code = voice id)",
    ),
    key(
        "agent.relay.events",
        Kind::Words(EVENTS),
        None,
        "what the app is told besides: who speaks, and what was heard of its text",
    ),
    key("agent.relay.debug", Kind::Words(EVENTS), None, "an older name of `events`; both count"),
    key(
        "agent.relay.ignored",
        Kind::Table(Entries::Ignored),
        None,
        "attributes of the noun that have no effect here, under their own names, such as `ttsProvider`",
    ),
];
