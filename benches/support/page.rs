//! `docs/performance.md`: every table stands between two comments, and the bench that measured it rewrites it in place.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, thread};

/// Folder of pictures and page.
pub(crate) fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Whether this run measures everything, so that its figures belong on the page. A run with arguments of one's own (a
/// filter, a baseline) is for the terminal, and so is one that `cargo test --benches` makes.
pub(crate) fn is_for_the_page() -> bool {
    std::env::args().skip(1).all(|argument| argument == "--bench")
        && std::env::args().any(|argument| argument == "--bench")
}

/// Puts `markdown` into the section `name` of the page, and the machine that measured it into the section `machine`.
pub(crate) fn replace(name: &str, markdown: &str) {
    let path = docs().join("performance.md");
    let page = fs::read_to_string(&path).expect("docs/performance.md is there");
    let page = with_section(&page, name, markdown);
    let page = with_section(&page, "machine", &machine());
    fs::write(&path, page).expect("docs/performance.md can be written");
    show(markdown);
    show(&format!("docs/performance.md: section {name} rewritten"));
}

/// Tells the terminal.
pub(crate) fn show(markdown: &str) {
    println!("\n{markdown}");
}

fn with_section(page: &str, name: &str, markdown: &str) -> String {
    let (open, close) = (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"));
    let (before, rest) = page.split_once(&open).unwrap_or_else(|| panic!("the page has no section {name}"));
    let (_, after) = rest.split_once(&close).unwrap_or_else(|| panic!("section {name} has no end"));
    format!("{before}{open}\n{}\n{close}{after}", markdown.trim())
}

/// Cores, processor, system and compiler.
fn machine() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": ")).map_or("unknown processor", |(_, model)| model);
    let rustc = Command::new("rustc").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let rustc = String::from_utf8_lossy(&rustc).trim().to_owned();
    let system = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    format!(
        "{cores} cores of {model}; {os} {} on {arch}; {rustc}; `--release` with the lock file's crates.",
        system.trim()
    )
}

/// What else the machine was doing: runnable processes over the last minute, as the system counts them.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let last_minute = load.split(' ').next().filter(|figure| !figure.is_empty()).unwrap_or("unknown");
    format!("Load of the machine when this began: {last_minute}.")
}
