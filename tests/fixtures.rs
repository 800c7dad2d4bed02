//! The recorded clips are what their README says: other tests and the demo measure reaction times from its figures.

#![expect(clippy::expect_used, clippy::panic, reason = "clippy's allowance for tests does not reach their helpers")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// All clips together: a clone should stay quick, and share-alike audio stays an exception.
const FOLDER_BYTES_MAX: u64 = 400 * 1024;
/// A clip is one utterance of a caller.
const CLIP_SAMPLES_MAX: usize = 4 * 8000;
/// -40 dBFS, the level that the README takes for the edge of speech.
const SPEECH_LEVEL: u16 = 327;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio")
}

fn clips() -> Vec<PathBuf> {
    let mut clips: Vec<PathBuf> = fs::read_dir(folder())
        .expect("fixtures/audio is part of the repository")
        .map(|entry| entry.expect("its entries can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wav"))
        .collect();
    clips.sort();
    clips
}

fn name_of(clip: &Path) -> String {
    clip.file_name().expect("a clip has a name").to_string_lossy().into_owned()
}

/// The row of `clip` in the README's first table, split at its bars and trimmed.
fn row_of(readme: &str, clip: &str) -> Vec<String> {
    let start = format!("| `{clip}` |");
    let row = readme.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no row for {clip}"));
    row.split('|').map(|cell| cell.trim().to_owned()).collect()
}

#[test]
fn every_clip_is_in_both_tables_and_every_row_has_its_clip() {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    let rows: Vec<&str> =
        readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|cells| cells.0)).collect();
    let named: BTreeSet<&str> = rows.iter().copied().collect();
    let present: BTreeSet<String> = clips().iter().map(|clip| name_of(clip)).collect();
    assert!(present.len() >= 4, "only {} clips", present.len());
    assert_eq!(named, present.iter().map(String::as_str).collect());
    assert_eq!(rows.len(), 2 * present.len(), "a clip has one row of words and one of origin");
}

#[test]
fn clips_are_telephone_format_and_as_long_as_stated() {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    let mut bytes = 0;
    for clip in clips() {
        let name = name_of(&clip);
        bytes += fs::metadata(&clip).unwrap().len();
        let mut reader = hound::WavReader::open(&clip).unwrap();
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 8000, 16), "{name}");
        assert_eq!(spec.sample_format, hound::SampleFormat::Int, "{name}");
        let samples: Vec<i16> = reader.samples().map(|sample| sample.unwrap()).collect();
        assert!(samples.len() <= CLIP_SAMPLES_MAX, "{name} lasts {} samples", samples.len());

        let row = row_of(&readme, &name);
        let stated = |cell: &str| cell.trim_end_matches(" s").parse::<f64>().unwrap();
        assert!((stated(&row[3]) - samples.len() as f64 / 8000.0).abs() < 0.001, "{name} lasts not {}", row[3]);

        let loud = |sample: &i16| sample.unsigned_abs() > SPEECH_LEVEL;
        let first = samples.iter().position(loud).unwrap_or_else(|| panic!("{name} is silent"));
        let last = samples.iter().rposition(loud).unwrap();
        let (from, to) = row[4].trim_end_matches(" ms").split_once('-').unwrap();
        for (stated, sample) in [(from, first), (to, last)] {
            let off = stated.parse::<f64>().unwrap() - sample as f64 / 8.0;
            assert!(off.abs() <= 1.0, "{name}: the README says {stated} ms, off by {off}");
        }
    }
    assert!(bytes <= FOLDER_BYTES_MAX, "{bytes} bytes of clips");
}
