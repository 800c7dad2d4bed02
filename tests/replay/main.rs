//! Every call of `fixtures/calls`, performed again: a test for each folder, found by itself.
//!
//! - What the call sends is `expected.jsonl`, byte for byte. `trunkline replay --accept` rewrites that file.
//! - What became of its turns is `facts.toml`, which people write and no tool does (`facts`).
//! - With words, numbers and names made up, the call sends the same audio, marks and clears (`redacted`).
//! - Every promise of `tests/properties` holds in it (`promises`).
//!
//! `cargo test --test replay mark` plays those whose name holds `mark`.

#![expect(clippy::indexing_slicing, reason = "what is shared with tests/properties knows its own numbers")]
#![allow(clippy::cast_possible_truncation, clippy::wildcard_enum_match_arm, reason = "tests know their own numbers")]
#![allow(dead_code, reason = "of what is shared with tests/properties, tapes need a part")]

#[path = "../properties/checks/mod.rs"]
#[macro_use]
mod checks;
#[path = "../properties/evidence.rs"]
mod evidence;
mod facts;
#[path = "../properties/label.rs"]
mod label;
mod promises;
mod redacted;
#[path = "../properties/trace.rs"]
mod trace;

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use trunkline::replay::{Expected, Line, perform};
use trunkline::tape::Tape;

fn main() -> ExitCode {
    let calls = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/calls");
    let mut folders: Vec<PathBuf> = match fs::read_dir(&calls) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect(),
        Err(_) => Vec::new(),
    };
    folders.sort();
    let mut trials = vec![Trial::test("there_are_calls_on_tape", {
        let found = folders.len();
        move || if found >= 15 { Ok(()) } else { Err(format!("{found} folders in {}", calls.display()).into()) }
    })];
    trials.extend(folders.into_iter().map(|folder| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Trial::test(name, move || replay(&folder))
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Everything that must hold for one folder, all of it told at once.
fn replay(folder: &Path) -> Result<(), Failed> {
    let tape = Tape::read(BufReader::new(fs::File::open(folder.join("tape.jsonl"))?))?;
    let mut lines: Vec<Line> = Vec::new();
    let session = perform(&tape, |_, sent| lines.extend_from_slice(sent));
    let mut faults = Vec::new();
    faults.extend(unexpected(folder, &tape, &lines)?);
    faults.extend(facts::contradicted(folder, &tape, &lines, &session)?);
    faults.extend(redacted::differs(&tape));
    faults.extend(promises::broken(&tape));
    fs::metadata(folder.join("about.md")).map_err(|_| "about.md is missing: what does the call show?")?;
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

fn unexpected(folder: &Path, tape: &Tape, lines: &[Line]) -> Result<Option<String>, Failed> {
    let path = folder.join("expected.jsonl");
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("{}: {error}; `trunkline replay --accept` writes it", path.display()))?;
    let difference = Expected::parse(&text).difference(&Expected::of(lines, tape.header.audio));
    Ok(difference.map(|difference| difference.to_string()))
}
