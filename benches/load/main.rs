//! Many calls on one core: `cargo bench --bench load` writes its section of `docs/performance.md`.
//!
//! The gateway runs on one core and the generator (`trunkline call --calls`), which is also its voice, on another. Rows are
//! run one after the other, each with a fresh gateway; ratios are taken within one run, against a floor of the same run.
//! `-- --quick` runs a few short rows and reports to the terminal only, and so does `-- --only WORD` with the rows whose
//! name holds the word.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::double_ended_iterator_last,
    reason = "a bench reports to its terminal, and stops at the first thing that is not as it should be"
)]

#[path = "../support/page.rs"]
#[allow(dead_code, reason = "shared with other benches; this one uses a part of it")]
mod page;
mod processes;
mod row;
mod table;

use row::{Kind, Outcome, Row};

/// Lateness at the 99th percentile, in milliseconds, up to which a row holds.
const LATE_MS_MAX: f64 = 25.0;

/// Calls of the rows with silent callers; further ones follow while they hold.
const LEVELS: [u32; 7] = [1, 50, 100, 200, 400, 500, 600];
const FURTHER: [u32; 3] = [700, 800, 900];

/// Short calls, one after the other; the first of them warm the memory up.
const SHORT: u32 = 10_000;
const WARM_UP: u32 = 1_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let begun = page::load();
    if arguments.iter().any(|argument| argument == "--quick") {
        let rows = [Row::new(Kind::Floor, 100), Row::new(Kind::Silent, 100), Row::new(Kind::Speaking, 100)];
        let outcomes: Vec<Outcome> = rows.into_iter().map(run).collect();
        println!("\n{begun}\n\n{}", table::markdown(&outcomes));
        return;
    }
    if let Some([_, word]) = arguments.windows(2).find(|pair| pair.first().is_some_and(|first| first == "--only")) {
        let rows = all(600).into_iter().filter(|row| row.name().contains(word));
        let outcomes: Vec<Outcome> = rows.map(run).collect();
        println!("\n{begun}\n\n{}", table::markdown(&outcomes));
        return;
    }
    let mut outcomes: Vec<Outcome> = LEVELS.map(|calls| run(Row::new(Kind::Silent, calls))).into();
    for calls in FURTHER {
        if outcomes.last().is_some_and(|last| last.holds(LATE_MS_MAX)) {
            outcomes.push(run(Row::new(Kind::Silent, calls)));
        }
    }
    let highest = outcomes.iter().filter(|outcome| outcome.holds(LATE_MS_MAX)).map(|outcome| outcome.row.calls).max();
    let highest = highest.unwrap_or(1);
    outcomes.extend(all(highest).into_iter().filter(|row| row.kind != Kind::Silent || row.calls == 1_000).map(run));
    let verdict = format!(
        "The highest row with silent callers that holds (no underrun, p99 lateness under {LATE_MS_MAX} ms, generator not \
         the bottleneck): **{highest} calls**."
    );
    let markdown = format!("{}\n{begun}\n\n{verdict}", table::markdown(&outcomes));
    if page::is_for_the_page() {
        page::replace("load", &markdown);
    } else {
        println!("\n{markdown}");
    }
}

/// Every row, `highest` being the largest that holds.
fn all(highest: u32) -> Vec<Row> {
    let mut rows: Vec<Row> = LEVELS.map(|calls| Row::new(Kind::Silent, calls)).into();
    rows.extend([
        Row::new(Kind::Floor, 100),
        Row::new(Kind::Silent, 100),
        Row::new(Kind::Speaking, 100),
        Row::new(Kind::Speaking, 300),
        Row::new(Kind::Wide, 100),
        Row::new(Kind::Wide, 400),
        Row::new(Kind::Pairs, 100),
        Row::new(Kind::Recorded, 100),
        Row::new(Kind::Recorded, highest),
        Row::new(Kind::Silent, highest),
        Row::new(Kind::Keys, 100),
        Row::new(Kind::BargeIn, 100),
        Row::new(Kind::Floor, 400),
        Row::new(Kind::Silent, 400),
        Row::new(Kind::Pairs, 400),
        Row::new(Kind::Silent, 1_000),
        Row::new(Kind::Short { after: WARM_UP }, SHORT),
    ]);
    rows
}

fn run(row: Row) -> Outcome {
    println!("{} ...", row.name());
    let outcome = row.run();
    println!("{}", table::line(&outcome));
    outcome
}
