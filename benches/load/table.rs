//! The rows as Markdown.

use std::fmt::Write as _;

use crate::row::{Kind, Outcome};

/// Two tables and what is to be known for reading them.
pub(crate) fn markdown(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| callers, calls | lateness ms p50 / p99 / p99.9 | underruns | frames missing | CPU ms per call-second | x floor | core | KiB per call, queued speech apart | start to audio ms p50 / p99 | generator: late ms p99, core |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for outcome in outcomes.iter().filter(|outcome| !matches!(outcome.row.kind, Kind::Short { .. })) {
        let _ = writeln!(text, "{}", row(outcome, floor_of(outcome, outcomes)));
    }
    let interrupted = |outcome: &&Outcome| matches!(outcome.row.kind, Kind::Keys | Kind::BargeIn);
    if outcomes.iter().any(|outcome| interrupted(&outcome)) {
        text.push_str("\n| interruptions | to `clear` ms p50 / p99 / max | of |\n|---|---|---|\n");
        for outcome in outcomes.iter().filter(interrupted) {
            let path = if outcome.row.kind == Kind::Keys { "/key_to_clear_ms" } else { "/onset_to_clear_ms" };
            let spread = spread(outcome, path, &["p50", "p99", "max"]);
            let _ = writeln!(
                text,
                "| {} | {spread} | {} |",
                outcome.row.name(),
                number(outcome, &format!("{path}/count"), 0)
            );
        }
    }
    for outcome in outcomes.iter().filter(|outcome| matches!(outcome.row.kind, Kind::Short { .. })) {
        let of = |path: &str| number(outcome, path, 0);
        let _ = writeln!(
            text,
            "\n{}: {} in order, {} not; memory {} KiB before and {} KiB after, descriptors {} and {}{}.",
            outcome.row.name(),
            of("/ends/in_order"),
            sum(outcome, &["/ends/not_made", "/ends/early", "/ends/broken", "/ends/unclosed"]),
            of("/gateway/rss_before_kib"),
            of("/gateway/rss_after_kib"),
            of("/gateway/descriptors_before"),
            of("/gateway/descriptors_after"),
            if outcome.is_valid() { "" } else { " (generator was the bottleneck)" },
        );
    }
    text
}

/// One row for the terminal.
pub(crate) fn line(outcome: &Outcome) -> String {
    row(outcome, None)
}

fn row(outcome: &Outcome, floor: Option<f64>) -> String {
    let is_floor = outcome.row.kind == Kind::Floor;
    let cpu = outcome.figure("/gateway/cpu_ms_per_call_second");
    let ratio = floor.zip(cpu).map_or_else(|| "-".to_owned(), |(floor, cpu)| format!("{:.2}", cpu / floor));
    let missing =
        outcome.figure("/frames_unbroken").zip(outcome.figure("/frames")).map(|(all, some)| (all - some).max(0.0));
    let missing = missing.filter(|_| !matches!(outcome.row.kind, Kind::Keys | Kind::BargeIn | Kind::Short { .. }));
    let core = outcome.figure("/gateway/core").map_or_else(|| "-".to_owned(), |core| format!("{:.0} %", core * 100.0));
    let rss = outcome.figure("/gateway/rss_kib_per_call");
    let queued = outcome.figure("/gateway/queued_kib_per_call").filter(|_| missing.is_some()).unwrap_or(0.0);
    let memory = match (rss, outcome.row.calls) {
        (Some(_), 0..20) | (None, _) => "-".to_owned(),
        (Some(rss), _) if queued > 0.0 => format!("{:.0} + {queued:.0}", rss - queued),
        (Some(rss), _) => format!("{rss:.0}"),
    };
    let own = outcome.figure("/generator/core").map_or_else(|| "-".to_owned(), |core| format!("{:.0} %", core * 100.0));
    format!(
        "| {}{} | {} | {} | {} | {} | {} | {core} | {memory} | {} | {}, {own} |",
        outcome.row.name(),
        if outcome.is_valid() { "" } else { " **(invalid: the generator was the bottleneck)**" },
        spread(outcome, "/send_late_ms", &["p50", "p99", "p999"]),
        number(outcome, "/underruns", 0),
        missing.map_or_else(|| "-".to_owned(), |missing| format!("{missing:.0}")),
        number(outcome, "/gateway/cpu_ms_per_call_second", 2),
        if is_floor { "1".to_owned() } else { ratio },
        spread(outcome, "/start_to_media_ms", &["p50", "p99"]),
        number(outcome, "/generator/late_ms/p99", 1),
    )
}

/// CPU of the floor with as many calls.
fn floor_of(outcome: &Outcome, outcomes: &[Outcome]) -> Option<f64> {
    let floors = outcomes.iter().filter(|other| other.row.kind == Kind::Floor && other.row.calls == outcome.row.calls);
    floors.last().and_then(|floor| floor.figure("/gateway/cpu_ms_per_call_second"))
}

fn number(outcome: &Outcome, path: &str, digits: usize) -> String {
    outcome.figure(path).map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}"))
}

fn spread(outcome: &Outcome, path: &str, names: &[&str]) -> String {
    let figures: Vec<String> = names.iter().map(|name| number(outcome, &format!("{path}/{name}"), 1)).collect();
    figures.join(" / ")
}

fn sum(outcome: &Outcome, paths: &[&str]) -> String {
    format!("{:.0}", paths.iter().filter_map(|path| outcome.figure(path)).sum::<f64>())
}
