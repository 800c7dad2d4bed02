//! How text is spoken, how it is paced, what interrupts it, and how long a call lasts.

use super::{Blank, Key, Kind, key};

pub(super) const KEYS: &[Key] = &[
    key(
        "text.markdown",
        Kind::Choice(&["strip", "keep"]),
        Some("strip"),
        "marks of Markdown in an agent's text: left out, blocks of code with them, or spoken as they stand",
    ),
    key("text.emoji", Kind::Choice(&["strip", "keep"]), Some("strip"), "emoji: left out, or left to the voice"),
    key(
        "text.urls",
        Kind::Choice(&["speak", "keep"]),
        Some("speak"),
        "addresses: said as `example dot com` and `name at example dot com` in English, or left to the voice",
    ),
    key(
        "text.digits",
        Kind::Choice(&["spell", "keep"]),
        Some("spell"),
        "telephone numbers and codes: said digit by digit, or left to the voice",
    ),
    key(
        "text.symbols",
        Kind::Choice(&["speak", "keep"]),
        Some("speak"),
        "a lone `&`, `#1`, and arrows: said as words or a pause, or left to the voice",
    ),
    key(
        "text.closing",
        Kind::Choice(&["add", "keep"]),
        Some("add"),
        "a turn that ends without a mark: closed with a full stop for the voice, or left as it is",
    ),
    key("playout.lead_ms", Kind::Integer(20, 1_000), Some("120"), "audio kept ahead at the carrier, in ms"),
    key(
        "playout.prebuffer_ms",
        Kind::Integer(0, 1_000),
        Some("60"),
        "audio collected before a turn starts to play, in ms",
    ),
    key(
        "playout.frames_per_write",
        Kind::Integer(1, 2),
        Some("1"),
        "frames in one write to the carrier; 2 costs less, and up to 20 ms more wait at the carrier",
    ),
    key(
        "barge_in.policy",
        Kind::Choice(&["any", "speech", "dtmf", "none"]),
        Some("any"),
        "what interrupts speech by default",
    ),
    key(
        "barge_in.min_speech_ms",
        Kind::Integer(20, 2_000),
        Some("100"),
        "speech of the caller that counts as an interruption, in ms",
    ),
    key("barge_in.threshold", Kind::Number(0.0, 1.0), Some("0.65"), "probability above which a frame counts as speech"),
    key("barge_in.silence_ms", Kind::Integer(20, 10_000), Some("700"), "silence that ends the caller's speech, in ms"),
    key(
        "call.idle_s",
        Kind::Integer(1, 3_600),
        None,
        "seconds of silence on both sides after which the caller is asked; absent: never",
    ),
    key(
        "call.idle_lines",
        Kind::Texts,
        Some(r#"["Are you still there?"]"#),
        "what the caller is asked, one line each time; after the last, the next such silence ends the call",
    ),
    key("call.max_s", Kind::Integer(1, 86_400), None, "seconds that a call may last; absent: for ever"),
    key(
        "call.goodbye",
        Kind::Text(Blank::Allowed),
        Some("Thank you for calling. Goodbye."),
        "said when a call ends for either reason; empty: nothing",
    ),
];
