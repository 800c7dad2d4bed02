//! The one table of keys: it drives reading, checking, suggesting, defaults and documentation.

mod hearing;
mod limits;
mod line;
mod llm;
mod otlp;
mod outbound;
mod recording;
mod relay;
mod server;
mod tls;
mod twilio;

use super::speech;

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Section and name, such as `playout.lead_ms`.
    pub path: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// Its default as it would be written into an environment variable; `None` if the key may be absent.
    pub default: Option<&'static str>,
    /// A second environment variable that vendors' own tools use.
    pub alias: Option<&'static str>,
    /// One line on what it does.
    pub doc: &'static str,
}

/// What a key may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Text, written in quotes.
    Text(Blank),
    /// Text that is never shown.
    Secret,
    /// A whole number within bounds, both included.
    Integer(i64, i64),
    /// One of a few whole numbers.
    Rate(&'static [i64]),
    /// A number within bounds, both included.
    Number(f64, f64),
    /// `true` or `false`.
    Flag,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// Any of a few words, separated by spaces.
    Words(&'static [&'static str]),
    /// IP address and port.
    Address,
    /// An `https` or `http` URL without a query.
    PublicUrl,
    /// An `https` or `http` URL.
    HttpUrl,
    /// A `wss` or `ws` URL.
    WebSocketUrl,
    /// A telephone number in E.164, a SIP address or a client's name.
    Caller,
    /// A list of texts.
    Texts,
    /// A list of a few words, each at most once; in an environment variable, the list or the words.
    Chain(&'static [&'static str]),
    /// A table of names and texts.
    Table(Entries),
    /// `"sentences"` or `{ managed_ms = 1..=5000 }`.
    Buffering,
    /// A table that becomes a JSON object; in an environment variable, the JSON itself.
    Object,
    /// Sections `[[..]]`, one for each tool of an agent; in an environment variable, a list of inline tables.
    Tools,
}

/// Whether a text may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blank {
    /// Empty means "none".
    Allowed,
    /// Empty is a mistake.
    Refused,
}

/// What the entries of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// Parameters of a media stream: name and value.
    Parameters,
    /// Keypad digits and lines.
    Digits,
    /// Ids and secrets.
    Secrets,
    /// Language codes and voices.
    Languages,
    /// Attributes of ConversationRelay that have no effect, by their names there.
    Ignored,
    /// Names, and tokens of the HTTP API: digest and scopes.
    Tokens,
    /// Names of HTTP headers and secrets.
    Headers,
    /// Names, and the numbers or addresses that they stand for.
    Addresses,
}

/// Longest delay of managed buffering, in milliseconds; the vendor's own limit.
pub(super) const MANAGED_MS_MAX: i64 = 5_000;

pub(super) const fn key(path: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Key {
    Key { path, kind, default, alias: None, doc }
}

pub(super) const fn alias(name: &'static str, key: Key) -> Key {
    Key { alias: Some(name), ..key }
}

/// Days that something is kept on the disk: up to ten years.
pub(super) const KEEP_DAYS: Kind = Kind::Integer(1, 3_650);

pub(super) const TEXT: Kind = Kind::Text(Blank::Refused);

/// At least twenty seconds of speech, so that a first call has something to interrupt.
const GREETING: &str = "Hello, and thank you for calling. This is Trunkline, a gateway that lets a program talk on an \
    ordinary telephone line. I am reading this greeting at the pace of speech, and I will carry on for some twenty \
    seconds, so that you have something to interrupt. Please do: say anything at all, and I shall fall silent at once, \
    wait until you have finished, and only then give you an answer.";

const LINES: &str = r#"["I heard you, so I stopped. Say something more, or press a key on your telephone.", "Still here, and still listening. Cut me off in the middle of this sentence if you like, since that is what I am made for.", "That is all I know by heart. Connect an agent of your own, and it will have more to say."]"#;

/// Every key there is, in the order of the documentation.
pub const KEYS: &[Key] = &joined::<
    {
        server::KEYS.len()
            + tls::KEYS.len()
            + limits::KEYS.len()
            + twilio::KEYS.len()
            + speech::KEYS.len()
            + line::KEYS.len()
            + hearing::KEYS.len()
            + AGENTS.len()
            + relay::KEYS.len()
            + llm::KEYS.len()
            + outbound::KEYS.len()
            + recording::KEYS.len()
            + KEPT.len()
            + otlp::KEYS.len()
    },
>(&[
    server::KEYS,
    tls::KEYS,
    limits::KEYS,
    twilio::KEYS,
    speech::KEYS,
    line::KEYS,
    hearing::KEYS,
    AGENTS,
    relay::KEYS,
    llm::KEYS,
    outbound::KEYS,
    recording::KEYS,
    KEPT,
    otlp::KEYS,
]);

/// Tables one behind the other.
#[expect(clippy::indexing_slicing, reason = "an iterator cannot be used here; a wrong index fails the compilation")]
pub(super) const fn joined<const N: usize>(parts: &[&[Key]]) -> [Key; N] {
    let mut all = [key("", Kind::Flag, None, ""); N];
    let (mut part, mut at, mut taken) = (0, 0, 0);
    while part < parts.len() {
        if taken == parts[part].len() {
            (part, taken) = (part + 1, 0);
        } else {
            all[at] = parts[part][taken];
            (at, taken) = (at + 1, taken + 1);
        }
    }
    all
}

/// The agents of this process.
const AGENTS: &[Key] = &[
    key("agent.kind", Kind::Choice(&["script", "api", "llm", "relay"]), Some("script"), "who decides what is said"),
    key(
        "agent.script.greeting",
        Kind::Text(Blank::Allowed),
        Some(GREETING),
        "said when the call starts; empty: nothing",
    ),
    key(
        "agent.script.lines",
        Kind::Texts,
        Some(LINES),
        "said one after the other, each when the caller stops speaking",
    ),
    key(
        "agent.script.digits",
        Kind::Table(Entries::Digits),
        None,
        "lines said when a key is pressed (\"1\" = \"...\")",
    ),
];

/// What is played, and what is kept.
const KEPT: &[Key] = &[
    key(
        "player.allow_http",
        Kind::Flag,
        Some("false"),
        "play recordings from `http` URLs too, which anybody on the way can read and replace",
    ),
    key("player.max_mib", Kind::Integer(1, 100), Some("10"), "longest file of a recording, in MiB"),
    key("player.max_s", Kind::Integer(1, 3_600), Some("600"), "longest recording, in s"),
    key("player.fetch_s", Kind::Integer(1, 60), Some("8"), "seconds that fetching and decoding a recording may take"),
    key(
        "player.cache_mib",
        Kind::Integer(0, 4_096),
        Some("32"),
        "recordings kept in memory for the calls that follow, decoded, in MiB; 0: none",
    ),
    key(
        "tape.dir",
        TEXT,
        None,
        "directory in which every call leaves a recording that can be replayed; absent: none does",
    ),
    key(
        "tape.text",
        Kind::Choice(&["redact", "keep"]),
        Some("redact"),
        "words, numbers and names on tapes: replaced by made-up ones of the same shape, or kept",
    ),
    key(
        "tape.audio",
        Kind::Choice(&["keep", "silence"]),
        Some("keep"),
        "audio on tapes, both ways: kept, or replaced by silence of the same length",
    ),
    key("tape.keep_days", KEEP_DAYS, None, "days after which a tape is deleted; absent: never"),
    key("log.format", Kind::Choice(&["text", "json"]), Some("text"), "form of the log"),
    key(
        "log.level",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        Some("info"),
        "least level that is logged",
    ),
    key("log.show_text", Kind::Flag, Some("false"), "log spoken text and keypad digits, which are private"),
];

impl Key {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("TRUNKLINE__{}", self.path.to_ascii_uppercase().replace('.', "__"))
    }
}

/// The key at `path`.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// True if keys stand below `path`.
pub(super) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The key or section that whoever wrote `path` most likely meant.
pub(super) fn suggest(path: &str) -> Option<&'static str> {
    /// Below this, a suggestion is more often wrong than right.
    const LIKENESS_MIN: f64 = 0.72;
    let path = path.to_ascii_lowercase();
    if path == "speech.provider" {
        // As it was called when only one voice could be named.
        return Some("speech.chain");
    }
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |candidate: &str| {
        let whole = strsim::normalized_damerau_levenshtein(&path, candidate);
        // The right name in the wrong section; of several such sections, the one that looks most like it.
        let moved = strsim::normalized_damerau_levenshtein(&last(&path), &last(candidate)) * 0.95 + whole * 0.04;
        whole.max(moved)
    };
    let sections = [
        "server",
        "tls",
        "limits",
        "twilio",
        "hearing",
        "hearing.cartesia",
        "hearing.deepgram",
        "hearing.deepgram_flux",
        "hearing.gradium",
        "speech",
        "text",
        "playout",
        "barge_in",
        "call",
        "agent",
        "agent.script",
        "agent.relay",
        "agent.llm",
        "outbound",
        "player",
        "recording",
        "tape",
        "log",
    ];
    let candidates = KEYS.iter().map(|key| key.path).chain(sections).chain(speech::SECTIONS.iter().copied());
    let scored = candidates.map(|candidate| (likeness(candidate), candidate));
    let best = scored.max_by(|(left, _), (right, _)| left.total_cmp(right))?;
    (best.0 >= LIKENESS_MIN).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_unique_and_documented() {
        for (index, key) in KEYS.iter().enumerate() {
            assert!(KEYS.iter().skip(index + 1).all(|other| other.path != key.path), "{} stands twice", key.path);
            assert!(!is_section(key.path), "{} is a key and a section", key.path);
            assert!(!key.doc.is_empty() && !key.doc.contains(['\n', '|']), "{}", key.path);
        }
    }

    #[test]
    fn a_misspelt_or_misplaced_key_finds_its_way() {
        let cases = [
            ("playout.lead", Some("playout.lead_ms")),
            ("server.listn", Some("server.listen")),
            ("server.publicUrl", Some("server.public_url")),
            ("speech.emotion", Some("speech.cartesia.emotion")),
            ("cartesia", Some("speech.cartesia")),
            ("bargein.policy", Some("barge_in.policy")),
            ("zebra", None),
        ];
        for (path, expected) in cases {
            assert_eq!(suggest(path), expected, "{path}");
        }
    }

    #[test]
    fn the_default_greeting_lasts_twenty_seconds() {
        // A fast reader says three words a second.
        let words = GREETING.split_whitespace().count();
        assert!((60..=75).contains(&words), "{words} words");
    }
}
