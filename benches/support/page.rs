//! `docs/performance.md`: every table stands between two comments, and the bench that measured it rewrites it in place.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

/// Folder of pictures and page.
pub(crate) fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Whether cargo runs this as a bench: `cargo test --benches` does not say `--bench`, and only wants to know that it builds.
pub(crate) fn is_bench() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Whether this run measures everything, so that its figures belong on the page. A run with arguments of one's own (a
/// filter, a baseline) is for the terminal, and so is one that `cargo test --benches` makes.
pub(crate) fn is_for_the_page() -> bool {
    is_bench() && std::env::args().skip(1).all(|argument| argument == "--bench")
}

/// Whether a bench that is one measurement, without parts to choose from, is asked for: as a bench, and by no other name
/// than its own. The arguments of `cargo bench -- WORD` go to every bench.
pub(crate) fn is_asked_for(name: &str) -> bool {
    is_bench() && std::env::args().skip(1).all(|argument| argument == "--bench" || name.contains(&argument))
}

/// Puts `markdown` into the section `name` of the page, and below it the machine that measured it: sections may be measured
/// at different times and places.
pub(crate) fn replace(name: &str, markdown: &str) {
    let path = docs().join("performance.md");
    let page = fs::read_to_string(&path).expect("docs/performance.md is there");
    let page = with_section(&page, name, &format!("{}\n\n{}", markdown.trim(), machine()));
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

/// Cores, processor, system and compiler, as a sentence.
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
        "Machine: {cores} cores of {model}; {os} {} on {arch}; {rustc}; `--release` with the lock file's crates.",
        system.trim()
    )
}

/// What else the machine was doing before the measurement: the share of its processor time that was in use for two seconds.
pub(crate) fn busy() -> String {
    const LOOKED: Duration = Duration::from_secs(2);
    if !is_bench() {
        return String::new();
    }
    let before = processor_time();
    thread::sleep(LOOKED);
    let share = before.zip(processor_time()).map(|(before, after)| {
        let (all, idle) = (after.all.saturating_sub(before.all), after.idle.saturating_sub(before.idle));
        all.saturating_sub(idle) as f64 * 100.0 / all.max(1) as f64
    });
    share.map_or_else(
        || "How busy the machine was before this began is not known.".to_owned(),
        |percent| format!("The machine was {percent:.0} % busy before this began."),
    )
}

/// Ticks of all processors since the system started.
struct ProcessorTime {
    all: u64,
    /// Those in which nothing ran, waiting for a disk included.
    idle: u64,
}

/// The line of all processors of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal. What follows it is
/// part of the first two. What a hypervisor takes away counts as busy: it is not ours.
fn processor_time() -> Option<ProcessorTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let ticks = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8).map(|figure| figure.parse().ok());
    let ticks: Vec<u64> = ticks.collect::<Option<_>>()?;
    Some(ProcessorTime { all: ticks.iter().sum(), idle: ticks.get(3)? + ticks.get(4)? })
}
