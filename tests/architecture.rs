//! Who may import whom. A single crate does not enforce its layers, so this does: it scans `src/` for `crate::` paths and
//! for the names of dependencies, and compares both with the table below. Changing the table is a design decision;
//! `docs/ARCHITECTURE.md` says why it is as it is.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Module, what it may import of this crate, which dependencies it may name. Arrows point down only.
const LAYERS: [(&str, &[&str], &[&str]); 20] = [
    ("ids", &[], &["serde", "thiserror"]),
    // What must not be printed is the same for whoever asks, dials, checks and configures.
    ("secret", &[], &["serde", "subtle", "zeroize"]),
    (
        "audio",
        &["ids"],
        &["audio_codec_algorithms", "audioadapter_buffers", "bytes", "earshot", "rubato", "serde", "thiserror"],
    ),
    // Whoever is asked over HTTP, and whoever is dialled, is trusted by the same rules: so this lies below all who ask. It
    // knows of nothing that is asked for.
    // `hyper_util`: which proxy of the environment is asked, by the very rules of the client.
    // `ipnet` and `tokio`: it looks names up itself, and leaves out addresses that may not be dialled; `tracing` tells of it.
    (
        "http",
        &["secret"],
        &["futures_util", "hyper_util", "ipnet", "reqwest", "rustls", "thiserror", "tokio", "tracing", "webpki_roots"],
    ),
    ("wire", &["ids"], &["base64", "serde", "serde_json", "thiserror"]),
    // `serde` without a format: settings, and what agents and voices of this process say, go onto tapes.
    // `icu_properties`: emoji are told from letters by Unicode's tables.
    ("call", &["ids", "audio"], &["backon", "bytes", "icu_properties", "serde", "tracing"]),
    (
        "dialect",
        &["ids", "secret", "audio", "wire", "call"],
        // `form_urlencoded`: the settings of a recogniser are the query of its URL, and words to listen for are among them.
        &["base64", "bytes", "form_urlencoded", "serde", "serde_json", "thiserror"],
    ),
    (
        "tape",
        &["ids", "audio", "call", "dialect"],
        &["base64", "bytes", "crc32fast", "hmac", "serde", "serde_json", "sha2", "thiserror"],
    ),
    // `audio`: a replayed call is heard as its recording is, by the same mixer.
    ("replay", &["ids", "audio", "tape", "call", "dialect"], &["crc32fast", "serde", "serde_json", "thiserror"]),
    ("voice", &["ids", "audio"], &["bytes", "flite_rs", "thiserror", "tokio"]),
    // Fetches and decodes what is played, and knows of no call: what serves one is the driver's link to it.
    ("player", &["ids", "audio", "http"], &["bytes", "reqwest", "symphonia", "thiserror", "tokio"]),
    (
        "driver",
        &["ids", "audio", "http", "tape", "call", "dialect", "voice", "player"],
        // `backon` and `governor`: when a provider that failed is dialled or asked again, and how fast by all calls together.
        &[
            "backon",
            "bytes",
            "futures_util",
            "governor",
            // Recordings are WAV files.
            "hound",
            "prometheus_client",
            // The requests to voices that are asked over HTTP, and their answers.
            "reqwest",
            // Space that is left on the disk of the recordings.
            "rustix",
            "rustls",
            "thiserror",
            "tokio",
            // A probe goes as far as TLS and asks for nothing.
            "tokio_rustls",
            "tokio_tungstenite",
            "tokio_util",
            "tracing",
        ],
    ),
    // Spans of calls for OpenTelemetry, made of the core's reports and counted on the driver's meter.
    (
        "traces",
        &["ids", "secret", "http", "call", "driver"],
        &[
            "opentelemetry",
            "opentelemetry_proto",
            "opentelemetry_sdk",
            "prost",
            "reqwest",
            "thiserror",
            "tokio",
            "tokio_util",
            "tracing",
        ],
    ),
    (
        "agent",
        &["ids", "secret", "audio", "http", "call", "driver"],
        // A language model is asked over HTTP and answers with events; tools are asked over HTTP.
        &[
            "bytes",
            "eventsource_stream",
            "futures_util",
            "reqwest",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "tracing",
        ],
    ),
    (
        "server",
        &["ids", "secret", "audio", "http", "tape", "call", "dialect", "driver", "voice", "player", "traces", "agent"],
        &[
            "axum",
            // Waits between tries of a request to the carrier's API.
            "backon",
            "base64",
            "form_urlencoded",
            "futures_util",
            "getrandom",
            "hmac",
            "hyper",
            "hyper_util",
            // Networks of proxies in front.
            "ipnet",
            "quick_xml",
            // What we ask over HTTP: the carrier's API, and an app after its session.
            "reqwest",
            // A limit on what a peer does not read.
            "rustix",
            // The certificate of the port.
            "rustls",
            "serde",
            "serde_json",
            "sha1",
            "sha2",
            "subtle",
            "thiserror",
            "tokio",
            "tokio_rustls",
            // To tell a message that is too long from a socket that broke, which axum does not.
            "tokio_tungstenite",
            "tokio_util",
            "tracing",
            // Until when a certificate is good.
            "x509_parser",
            // The key is read, and not left behind.
            "zeroize",
        ],
    ),
    (
        "emulate",
        &["ids", "audio", "voice"],
        &[
            "base64",
            "bytes",
            "form_urlencoded",
            "futures_util",
            "getrandom",
            "hmac",
            "hound",
            "http_body_util",
            "hyper",
            "hyper_util",
            "quick_xml",
            "rcgen",
            "rubato",
            "rustls",
            "serde",
            "serde_json",
            "sha1",
            "thiserror",
            "tokio",
            "tokio_rustls",
            "tokio_tungstenite",
            "tokio_util",
            // The scripts of the emulated recogniser and of the emulated language model are files.
            "toml",
            "tracing",
            "webpki_roots",
        ],
    ),
    // `agent` for the names that tools of the operator's may not have; `serde_json` because their schemas become JSON.
    // `audio`, `call` and `dialect` for their settings: the section of a voice says itself what it means to them, so that a
    // voice is one file here.
    (
        "config",
        // `http` for the rules about whom we ask.
        &["secret", "audio", "http", "call", "dialect", "agent", "server"],
        &["config", "ipnet", "serde", "serde_json", "strsim", "thiserror", "toml", "zeroize"],
    ),
    // `server` for the switch of the log's level, which its API turns.
    ("telemetry", &["config", "server"], &["tracing", "tracing_subscriber"]),
    (
        "gateway",
        &[
            "ids", "secret", "audio", "http", "tape", "call", "dialect", "driver", "voice", "player", "traces",
            "agent", "server", "config",
        ],
        // It names the module of that name, not the crate.
        &["config", "thiserror"],
    ),
    // The binary's own modules: they may name anything.
    ("cli", &[], &[]),
];

/// Words that have no business in the core: it knows no vendor and no wire format.
const VENDORS: [&str; 5] = ["twilio", "cartesia", "gradium", "json", "base64"];

/// Source with comments and unit tests cut off.
fn code_of(source: &str) -> String {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every name that stands before `::` after `prefix`, or at the start of a path if `prefix` is empty.
fn names(code: &str, prefix: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    if prefix.is_empty() {
        for (at, _) in code.match_indices("::") {
            let head = &code[..at];
            let start = head.rfind(|c| !is_name(c)).map_or(0, |before| before + 1);
            if !head[..start].ends_with(':') {
                found.insert(head[start..].to_owned());
            }
        }
        return found;
    }
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        // `use crate::{a::X, b::Y}` names several at once.
        let group = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(group, _)| group);
        for part in group.unwrap_or(rest).split(',').take(if group.is_some() { usize::MAX } else { 1 }) {
            let name: String = part.trim_start().chars().take_while(|c| is_name(*c)).collect();
            found.insert(name);
        }
    }
    found
}

fn dependencies() -> BTreeSet<String> {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let table = manifest.split("\n[dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap();
    let keys = table.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.replace('-', "_"));
    keys.collect()
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_test = name == "tests" || name == "tests.rs" || name.ends_with("_tests.rs");
        if path.is_dir() && !is_test {
            sources(&path, into);
        } else if name.ends_with(".rs") && !is_test {
            into.push(path);
        }
    }
}

/// What `code` of `module` names although it may not.
fn violations(module: &str, code: &str, dependencies: &BTreeSet<String>) -> Vec<String> {
    let Some((_, modules, crates)) = LAYERS.iter().find(|(name, ..)| *name == module) else {
        return vec![format!("{module} has no row in the table")];
    };
    if module == "cli" {
        return Vec::new();
    }
    let modules_known: BTreeSet<&str> = LAYERS.iter().map(|(name, ..)| *name).collect();
    let inner = names(code, "crate::");
    let inner = inner.iter().filter(|name| modules_known.contains(name.as_str()) && *name != module);
    let inner = inner.filter(|name| !modules.contains(&name.as_str())).map(|name| format!("{module} imports {name}"));
    let outer = names(code, "").into_iter().filter(|name| dependencies.contains(name));
    let outer = outer.filter(|name| !crates.contains(&name.as_str())).map(|name| format!("{module} names {name}"));
    let mut found: Vec<String> = inner.chain(outer).collect();
    if module == "call" {
        let lower = code.to_lowercase();
        found.extend(VENDORS.iter().filter(|word| lower.contains(**word)).map(|word| format!("call speaks of {word}")));
    }
    found
}

#[test]
fn arrows_point_down_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let dependencies = dependencies();
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in &files {
        let inside = file.strip_prefix(&src).unwrap();
        let module = inside.iter().next().unwrap().to_string_lossy().replace(".rs", "");
        if module == "lib" || module == "main" {
            continue;
        }
        let wrong = violations(&module, &code_of(&fs::read_to_string(file).unwrap()), &dependencies);
        if !wrong.is_empty() {
            found.insert(inside.display().to_string(), wrong);
        }
    }
    assert!(files.len() > 80, "only {} files were scanned", files.len());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_table_has_no_way_round_in_it() {
    let rank = |name: &str| LAYERS.iter().position(|(row, ..)| *row == name).unwrap();
    for (module, imports, _) in LAYERS {
        for import in imports {
            assert!(rank(import) < rank(module), "{module} imports {import}, which stands below it in the table");
        }
    }
}

#[test]
fn a_violation_is_seen() {
    let dependencies = dependencies();
    let wrong = |module: &str, code: &str| violations(module, &code_of(code), &dependencies);
    assert_eq!(wrong("call", "use crate::driver::Clock;"), ["call imports driver"]);
    assert_eq!(
        wrong("call", "use crate::{ids::TurnId, wire::twilio};"),
        ["call imports wire", "call speaks of twilio"]
    );
    assert_eq!(wrong("call", "let now = tokio::time::Instant::now();"), ["call names tokio"]);
    assert_eq!(wrong("call", "serde_json::to_string(&x)"), ["call names serde_json", "call speaks of json"]);
    assert_eq!(wrong("emulate", "use crate::dialect::cartesia;"), ["emulate imports dialect"]);
    assert_eq!(wrong("driver", "use axum::Router;"), ["driver names axum"]);
    assert_eq!(wrong("audio", "use crate::config::Config;"), ["audio imports config"]);
    assert_eq!(wrong("call", "// tokio::spawn in a comment\nuse crate::ids::TurnId;"), [""; 0]);
    assert_eq!(wrong("new_room", ""), ["new_room has no row in the table"]);
}
