//! Criterion's results, read back from where it leaves them, so that they can go into a table.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use criterion::Criterion;

/// Where criterion keeps its results: under `target/`.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("criterion")
}

fn estimates(id: &str) -> PathBuf {
    folder().join(id).join("new").join("estimates.json")
}

/// Criterion as the command line asks for it. What an earlier run measured under `ids` no longer counts.
pub(crate) fn criterion(ids: &[&str]) -> Criterion {
    for id in ids {
        // It may not be there, which is just as well.
        let _ = fs::remove_file(estimates(id));
    }
    // Two seconds settle the median of such small steps to a percent; criterion's own default is four times as long.
    let criterion = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    criterion.output_directory(&folder()).without_plots().configure_from_args()
}

/// The median time of one iteration of benchmark `id` in nanoseconds, with the bounds of its 95 % confidence interval.
pub(crate) struct Median {
    pub(crate) ns: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// What this run measured under `id`.
pub(crate) fn median(id: &str) -> Median {
    let path = estimates(id);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{id} was not measured: {error}"));
    let estimates: serde_json::Value = serde_json::from_str(&text).expect("criterion writes JSON");
    let median = estimates.get("median").expect("criterion estimates the median");
    let figure = |pointer: &str| median.pointer(pointer).and_then(serde_json::Value::as_f64).expect("a number");
    Median {
        ns: figure("/point_estimate"),
        low: figure("/confidence_interval/lower_bound"),
        high: figure("/confidence_interval/upper_bound"),
    }
}

/// Nanoseconds for people: three figures, thousands apart.
pub(crate) fn shown(ns: f64) -> String {
    if ns < 99.5 {
        return format!("{ns:.1}");
    }
    let whole = format!("{ns:.0}");
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share of the 20 ms that a frame lasts, in percent, and how many calls would fill a core with nothing else.
pub(crate) fn share_of_frame(ns: f64) -> String {
    let share = ns / 20_000_000.0 * 100.0;
    if share < 0.01 { format!("{share:.4} %") } else { format!("{share:.3} %") }
}
