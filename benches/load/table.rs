//! The rows as Markdown.

use std::fmt::Write as _;

use crate::row::{Kind, Outcome, Row};

/// Where the gateway's processor time stands in a report.
const CPU: &str = "/gateway/cpu_ms_per_call_second";

/// Two tables and what is to be known for reading them.
pub(crate) fn markdown(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| callers, calls | lateness ms p50 / p99 / p99.9 | underruns | frames missing | CPU ms per call-second | x floor | x silent | core | KiB per call, queued speech apart | start to audio ms p50 / p99 | generator: late ms p99, core |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let long = outcomes.iter().enumerate().filter(|(_, outcome)| !matches!(outcome.row.kind, Kind::Short { .. }));
    for (index, outcome) in long {
        let cpu_beside = |kind| nearest(outcomes, index, kind)?.figure(CPU);
        let _ = writeln!(text, "{}", row(outcome, cpu_beside(Kind::Floor), cpu_beside(Kind::Silent)));
    }
    text.push_str(&balance(outcomes));
    let interrupted = |outcome: &&Outcome| matches!(outcome.row.kind, Kind::Keys | Kind::BargeIn);
    if outcomes.iter().any(|outcome| interrupted(&outcome)) {
        text.push_str("\n| interruptions | to `clear` ms p50 / p99 / max | answered |\n|---|---|---|\n");
        for outcome in outcomes.iter().filter(interrupted) {
            let (path, armed) = match outcome.row.kind {
                Kind::Keys => ("/key_to_clear_ms", "/keys_armed"),
                _ => ("/onset_to_clear_ms", "/onsets_armed"),
            };
            let spread = spread(outcome, path, &["p50", "p99", "max"]);
            let _ = writeln!(
                text,
                "| {}{} | {spread} | {:.0} of {} |",
                outcome.row.name(),
                invalid(outcome),
                outcome.figure(&format!("{path}/count")).unwrap_or(0.0),
                number(outcome, armed, 0)
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
            invalid(outcome),
        );
    }
    text
}

/// One row for the terminal.
pub(crate) fn line(outcome: &Outcome) -> String {
    row(outcome, None, None)
}

fn row(outcome: &Outcome, floor: Option<f64>, silent: Option<f64>) -> String {
    let ratio = |kind, other: Option<f64>| match other.zip(outcome.figure(CPU)) {
        Some(_) if outcome.row.kind == kind => "1".to_owned(),
        Some((other, own)) => format!("{:.2}", own / other),
        None => "-".to_owned(),
    };
    let missing = outcome.missing();
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
        "| {}{} | {} | {} | {} | {} | {} | {} | {core} | {memory} | {} | {}, {own} |",
        outcome.row.name(),
        invalid(outcome),
        spread(outcome, "/send_late_ms", &["p50", "p99", "p999"]),
        number(outcome, "/underruns", 0),
        missing.map_or_else(|| "-".to_owned(), |missing| format!("{missing:.0}")),
        number(outcome, CPU, 2),
        ratio(Kind::Floor, floor),
        ratio(Kind::Silent, silent),
        spread(outcome, "/start_to_media_ms", &["p50", "p99"]),
        number(outcome, "/generator/late_ms/p99", 1),
    )
}

/// The row of `kind` with as many calls as the one at `index` that ran nearest to it, that one itself included.
fn nearest(outcomes: &[Outcome], index: usize, kind: Kind) -> Option<&Outcome> {
    let wanted = Row::new(kind, outcomes.get(index)?.row.calls);
    let alike = outcomes.iter().enumerate().filter(|(_, other)| other.row == wanted);
    alike.min_by_key(|(at, _)| at.abs_diff(index)).map(|(_, other)| other)
}

/// Whether the work for the voice was that for what was played.
fn balance(outcomes: &[Outcome]) -> String {
    let unbroken = outcomes.iter().filter(|outcome| outcome.row.is_unbroken());
    let shares: Vec<f64> = unbroken.filter_map(|outcome| outcome.figure("/spoken_per_heard")).collect();
    if shares.is_empty() {
        return String::new();
    }
    let (least, most) =
        shares.iter().fold((f64::MAX, f64::MIN), |(least, most), share| (least.min(*share), most.max(*share)));
    format!("\nWhile it was measured, the voice spoke {least:.2} to {most:.2} times as much as was heard.\n")
}

fn invalid(outcome: &Outcome) -> String {
    outcome.invalid().map_or_else(String::new, |reason| format!(" **(invalid: {reason})**"))
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
