//! Configurations: a file, and an environment.

use trunkline::config::{Input, KEYS, load};

/// A file up to the first zero byte; behind it variables, one a line. A line of a number, an equals sign and a value sets the
/// key of that number.
pub fn configuration(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (file, environment) = text.split_once('\0').unwrap_or((&text, ""));
    let variable = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let name = match name.parse::<usize>() {
            Ok(number) => KEYS[number % KEYS.len()].variable(),
            Err(_) => name.to_owned(),
        };
        Some((name.into(), value.into()))
    };
    let input = Input {
        file: Some(("fuzz.toml".to_owned(), file.to_owned())),
        environment: environment.lines().filter_map(variable).collect(),
        ..Input::default()
    };
    match load(&input) {
        Ok(loaded) => {
            assert!(loaded.summary.iter().all(|setting| !setting.source.is_empty()));
            // What was taken can be used.
            let _ = loaded.config.outbound.rules(loaded.config.trust);
        }
        Err(problems) => {
            assert!(!problems.0.is_empty(), "refused without a reason");
            for problem in &problems.0 {
                assert!(!problem.fault.is_empty() && !problem.fix.is_empty(), "{problem:?}");
            }
        }
    }
}
