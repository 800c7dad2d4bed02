//! The table of keys as Markdown, for the documentation.

use std::fmt::Write as _;

use super::keys::{KEYS, Key, Kind};

/// A Markdown table of all keys. Documents hold it between `<!-- config:start -->` and `<!-- config:end -->`, and a
/// test keeps them the same.
pub fn markdown() -> String {
    let mut text = String::from("| Key | Value | Default | What it does |\n|---|---|---|---|\n");
    for key in KEYS {
        let alias = key.alias.map(|alias| format!(" (also `{alias}`)")).unwrap_or_default();
        let row = format!("| `{}` | {} | {} | {}{alias} |", key.path, key.kind.describe(), default(key), key.doc);
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{row}");
    }
    text
}

fn default(key: &Key) -> String {
    const CHARS_MAX: usize = 44;
    match (key.kind, key.default) {
        (Kind::Texts, Some(_)) => "a few lines".to_owned(),
        (_, Some(text)) if text.chars().count() > CHARS_MAX => {
            format!("\"{}...\"", text.split_whitespace().take(4).collect::<Vec<_>>().join(" "))
        }
        (_, Some(text)) => format!("`{text}`"),
        (_, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "<!-- config:start -->";
    const END: &str = "<!-- config:end -->";

    #[test]
    fn the_documentation_shows_the_keys_that_there_are() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (_, rest) = text.split_once(START).expect("a start marker");
        let (table, _) = rest.split_once(END).expect("an end marker");
        assert!(
            table.trim() == markdown().trim(),
            "put this between the markers of docs/configuration.md:\n{}",
            markdown()
        );
    }
}
