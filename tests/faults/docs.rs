//! What the tests really saw, in the documentation: between two markers stands what they print.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// The page.
const PAGE: &str = "docs/providers/README.md";

/// Checks that the section `name` of the page holds `table`; says what belongs there if it does not.
pub(crate) fn compare(name: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(path).unwrap();
    let (start, end) = (format!("<!-- {name}:start -->"), format!("<!-- {name}:end -->"));
    let (_, rest) = page.split_once(&start).unwrap_or_else(|| panic!("{PAGE} has no {start}"));
    let (shown, _) = rest.split_once(&end).unwrap_or_else(|| panic!("{PAGE} has no {end}"));
    assert!(shown.trim() == table.trim(), "put this between the markers `{name}` of {PAGE}:\n{table}");
}

/// A Markdown table; the first column is that of `rows`' names.
pub(crate) fn table(head: &[&str], rows: &[(String, Vec<String>)]) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for (name, cells) in rows {
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text
}

/// Seconds with one digit behind the point, rounded up.
pub(crate) fn seconds(duration: Duration) -> String {
    let tenths = duration.as_millis().div_ceil(100);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        let all = [0, 1, 100, 101, 1_950, 12_000].map(|ms| seconds(Duration::from_millis(ms)));
        assert_eq!(all, ["0.0", "0.1", "0.1", "0.2", "2.0", "12.0"]);
    }
}
