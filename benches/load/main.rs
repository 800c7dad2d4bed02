//! Many calls on one core: `cargo bench --bench load` writes its section of `docs/performance.md`.
//!
//! The gateway runs on one core and the generator (`trunkline call --calls`), which is also its voice, on another. Rows are
//! run one after the other, each with a fresh gateway; a ratio is taken between rows that ran beside each other.
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

/// Calls of the rows with silent callers. Those above `ALWAYS` follow while they hold.
const LEVELS: [u32; 10] = [1, 50, 100, 200, 400, 500, 600, 700, 800, 900];
const ALWAYS: u32 = 600;

/// Short calls, one after the other; the first of them warm the memory up.
const SHORT: u32 = 10_000;
const WARM_UP: u32 = 1_000;

/// What is to be run.
enum Wanted {
    /// All of it, for the page or, if it cannot be used there, for the terminal.
    Everything,
    Rows(Vec<Row>),
    /// The arguments are for another bench, or this is no bench at all.
    Nothing,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let wanted = if page::is_bench() { wanted(&arguments) } else { Wanted::Nothing };
    let rows = match wanted {
        Wanted::Nothing => return,
        Wanted::Rows(rows) => Some(rows),
        Wanted::Everything => None,
    };
    let is_for_the_page = rows.is_none() && !processes::is_other_program();
    assert!(
        !is_for_the_page || processes::can_pin(),
        "the page's figures are those of one core: this needs `taskset` (util-linux) and two cores"
    );
    let busy = page::busy();
    let (outcomes, verdict) = match rows {
        Some(rows) => (rows.into_iter().map(run).collect(), String::new()),
        None => everything(),
    };
    let markdown = format!("{}\n{verdict}\n\n{busy}", table::markdown(&outcomes));
    if is_for_the_page {
        page::replace("load", &markdown);
    } else {
        page::show(&markdown);
    }
}

/// What the arguments ask for.
fn wanted(arguments: &[String]) -> Wanted {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => Wanted::Everything,
        ["--quick"] => Wanted::Rows([Kind::Floor, Kind::Silent, Kind::Speaking].map(|kind| Row::new(kind, 100)).into()),
        ["--only", word] => {
            let levels = LEVELS.into_iter().flat_map(level);
            let mut rows: Vec<Row> = Vec::new();
            for row in levels.chain(at_highest(ALWAYS)).chain(others()).filter(|row| row.name().contains(word)) {
                if !rows.contains(&row) {
                    rows.push(row);
                }
            }
            Wanted::Rows(rows)
        }
        _ => Wanted::Nothing,
    }
}

/// Every row, and how many calls hold.
fn everything() -> (Vec<Outcome>, String) {
    let mut outcomes: Vec<Outcome> = Vec::new();
    // The last level that held with all below it, and what the first one lacked that did not.
    let (mut highest, mut lacking) = (None, None);
    for calls in LEVELS {
        if calls > ALWAYS && lacking.is_some() {
            break;
        }
        outcomes.extend(level(calls).into_iter().map(run));
        let silent = |outcome: &&Outcome| outcome.row == Row::new(Kind::Silent, calls);
        let lacks = outcomes.iter().rfind(silent).map(|outcome| outcome.lacks(LATE_MS_MAX)).unwrap_or_default();
        match (&lacking, lacks.is_empty()) {
            (None, true) => highest = Some(calls),
            (None, false) => lacking = Some(format!("With {calls}: {}.", lacks.join(", "))),
            (Some(_), _) => {}
        }
    }
    let rest = highest.map(at_highest).into_iter().flatten().chain(others());
    outcomes.extend(rest.map(run));
    let verdict = format!(
        "The highest row with silent callers up to which all hold (no underrun, no frame or call missing, p99 lateness under \
         {LATE_MS_MAX} ms, the generator not the bottleneck): **{}**. {}",
        highest.map_or_else(|| "none".to_owned(), |calls| format!("{calls} calls")),
        lacking.unwrap_or_default()
    );
    (outcomes, verdict)
}

/// The row with so many silent callers, with those beside it that are compared with it or with each other.
fn level(calls: u32) -> Vec<Row> {
    let kinds: &[Kind] = match calls {
        100 => &[Kind::Sound, Kind::Recorded, Kind::Pairs, Kind::Silent, Kind::Floor, Kind::Speaking, Kind::Wide],
        400 => &[Kind::Pairs, Kind::Silent, Kind::Floor, Kind::Wide],
        _ => &[Kind::Silent],
    };
    kinds.iter().map(|kind| Row::new(*kind, calls)).collect()
}

/// What recording costs at the highest level that holds.
fn at_highest(calls: u32) -> [Row; 3] {
    [Row::new(Kind::Recorded, calls), Row::new(Kind::Silent, calls), Row::new(Kind::Sound, calls)]
}

/// Rows that stand alone.
fn others() -> [Row; 5] {
    [
        Row::new(Kind::Speaking, 300),
        Row::new(Kind::Keys, 100),
        Row::new(Kind::BargeIn, 100),
        Row::new(Kind::Silent, 1_000),
        Row::new(Kind::Short { after: WARM_UP }, SHORT),
    ]
}

fn run(row: Row) -> Outcome {
    println!("{} ...", row.name());
    let outcome = row.run();
    println!("{}", table::line(&outcome));
    outcome
}
