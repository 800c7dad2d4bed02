//! What must hold between the keys of what calls leave on the disk.

use crate::config::settings::Config;

/// What works but should be looked at: key, fault and fix.
pub(super) fn warnings(config: &Config) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut warnings = Vec::new();
    if config.recording.dir.is_none() && !config.recording.announcement.trim().is_empty() {
        let fault = "is set, but no call is recorded without recording.dir, and the line is never said";
        warnings.push(("recording.announcement", fault, "set recording.dir, or take it out"));
    }
    if config.tape.dir.is_none() && config.tape.keep_days.is_some() {
        let fault = "is set, but without tape.dir nothing is looked through and nothing deleted";
        warnings.push(("tape.keep_days", fault, "set tape.dir, or take it out"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use crate::config::{Input, load};

    fn read(text: &str) -> Result<(u32, Vec<String>), String> {
        let loaded = load(&Input { file: Some(("settings.toml".to_owned(), text.to_owned())), ..Input::default() });
        let loaded = loaded.map_err(|problems| problems.to_string())?;
        Ok((loaded.config.recording.keep_days, loaded.warnings.iter().map(|warning| warning.key.clone()).collect()))
    }

    #[test]
    fn recordings_are_kept_for_a_month_and_what_has_no_effect_is_told() {
        assert_eq!(
            read("recording.dir = \"r\"\nrecording.announcement = \"Hi.\"\ntape.dir = \"t\"\ntape.keep_days = 7"),
            Ok((30, vec![]))
        );
        let without = ["recording.announcement", "tape.keep_days"].map(str::to_owned).to_vec();
        assert_eq!(read("recording.announcement = \"Hi.\"\ntape.keep_days = 7"), Ok((30, without)));
        assert_eq!(read("recording.announcement = \" \""), Ok((30, vec![])));
    }

    #[test]
    fn an_age_that_is_none_is_refused_by_its_name() {
        for (line, fix) in [
            ("recording.keep_days = 0", "from 1 to 3650"),
            ("recording.keep_days = \"for ever\"", "from 1 to 3650"),
            ("tape.keep_days = 3651", "from 1 to 3650"),
            ("recording.min_free_mib = -1", "from 0 to 1048576"),
            ("recording.dir = \"\"", "leave the key out"),
        ] {
            let told = read(line).unwrap_err();
            assert!(told.contains(line.split(' ').next().unwrap()) && told.contains(fix), "{told}");
        }
    }
}
