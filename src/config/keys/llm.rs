//! The keys of `[agent.llm]`.

use super::{Blank, Entries, Key, Kind, TEXT, alias, key};

const SYSTEM_PROMPT: &str = "You are on the telephone. Answer in one or two short sentences, in plain spoken words, \
    without lists, markup or emoji. Ask if you did not understand.";

/// All of them, in the order of the documentation.
pub(super) const KEYS: &[Key] = &[
    key(
        "agent.llm.url",
        Kind::HttpUrl,
        Some("https://api.openai.com/v1"),
        "base URL of a server of the chat-completions API",
    ),
    alias("OPENAI_API_KEY", key("agent.llm.api_key", Kind::Secret, None, "API key")),
    key(
        "agent.llm.ca_file",
        TEXT,
        None,
        "PEM file of a certificate authority to trust in place of the public ones, for the model and for tools",
    ),
    key("agent.llm.model", TEXT, None, "model id"),
    key("agent.llm.system_prompt", Kind::Text(Blank::Allowed), Some(SYSTEM_PROMPT), "who the model is; empty: nobody"),
    key(
        "agent.llm.greeting",
        Kind::Text(Blank::Allowed),
        Some("Hello! How can I help you?"),
        "said when the call starts; empty: nothing",
    ),
    key("agent.llm.greeting_from_model", Kind::Flag, Some("false"), "ask the model for the first words instead"),
    key("agent.llm.temperature", Kind::Number(0.0, 2.0), None, "temperature; absent: the server's own"),
    key("agent.llm.max_tokens", Kind::Integer(1, 100_000), None, "longest answer, in tokens; absent: the server's own"),
    key("agent.llm.extra", Kind::Object, None, "further fields of each request's body, as the server wants them"),
    key("agent.llm.connect_ms", Kind::Integer(100, 30_000), Some("3000"), "longest wait for a connection, in ms"),
    key(
        "agent.llm.first_token_ms",
        Kind::Integer(500, 120_000),
        Some("8000"),
        "longest wait for the first token, a second try included, before the fallback line, in ms",
    ),
    key(
        "agent.llm.between_tokens_ms",
        Kind::Integer(500, 120_000),
        Some("10000"),
        "longest wait for the next token of an answer that has begun, in ms",
    ),
    key("agent.llm.answer_s", Kind::Integer(1, 3_600), Some("120"), "longest time for a whole answer, in seconds"),
    key(
        "agent.llm.fallback_line",
        TEXT,
        Some("I am sorry, something went wrong on my side. Could you say that again, please?"),
        "said in place of an answer that failed",
    ),
    key(
        "agent.llm.cut_line",
        Kind::Text(Blank::Allowed),
        Some("I am sorry, I lost my thread."),
        "said after the beginning of an answer that broke off; empty: nothing",
    ),
    key(
        "agent.llm.filler",
        Kind::Text(Blank::Allowed),
        Some("One moment, please."),
        "said while an answer is waited for; empty: nothing",
    ),
    key("agent.llm.filler_after_ms", Kind::Integer(100, 60_000), Some("3000"), "silence before the filler, in ms"),
    key(
        "agent.llm.failures_max",
        Kind::Integer(1, 1_000),
        Some("3"),
        "answers that fail in a row before the agent counts as lost",
    ),
    key(
        "agent.llm.interrupted_marker",
        Kind::Text(Blank::Allowed),
        Some("[interrupted]"),
        "follows what was heard of an answer that was cut off, where the model is shown it; empty: nothing does",
    ),
    key(
        "agent.llm.history_messages",
        Kind::Integer(2, 10_000),
        Some("200"),
        "messages of a call that the model is shown; the oldest are left out",
    ),
    key("agent.llm.history_bytes", Kind::Integer(1_000, 10_000_000), Some("65536"), "their text, in bytes"),
    key(
        "agent.llm.tool_rounds",
        Kind::Integer(0, 100),
        Some("5"),
        "times in a row that the model may call tools before it has to speak",
    ),
    key("agent.llm.end_call", Kind::Flag, Some("true"), "offer the tool that ends the call"),
    key("agent.llm.send_digits", Kind::Flag, Some("true"), "offer the tool that plays tones"),
    key("agent.llm.collect_digits", Kind::Flag, Some("true"), "offer the tool that waits for keys"),
    key(
        "agent.llm.transfers",
        Kind::Table(Entries::Addresses),
        None,
        "to whom the model may transfer a call (name = \"number\"); it is told the names only",
    ),
    key("agent.llm.tools", Kind::Tools, None, "tools of your own, one section each: see docs/agents.md"),
];
