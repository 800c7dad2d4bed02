//! The clips that the recogniser knows, and what is said in them: a TOML file, or the one in the binary.
//!
//! ```toml
//! [[clip]]
//! file = "caller.wav"                      # next to this file; WAV, or mu-law bytes if it ends in .ulaw or .mulaw
//! words = [["I", 120, 240], ["would", 250, 480]]   # text, begins, ends: milliseconds from the start of the clip
//!
//! [[clip]]
//! file = "goodbye.wav"
//! text = "Thank you, goodbye."             # spread over what is loud in the clip
//! ```

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::audio::g711;
use crate::emulate::carrier::{self, ClipError};

/// Samples in a millisecond: everything here is mu-law at 8 kHz, one byte a sample.
pub(super) const PER_MS: u64 = 8;

/// Longest audio of all clips together, in bytes: ten minutes.
const AUDIO_BYTES_MAX: usize = 600 * 8_000;

/// Most words of one clip.
const WORDS_MAX: usize = 10_000;

/// From here on a sample is loud: -40 dB of full scale.
const LOUD: u16 = 328;

/// The clips in the binary: recorded human voices, see fixtures/audio/README.md.
const BUILT_IN: [(&str, &[u8]); 10] = [
    ("hello.wav", include_bytes!("../../../fixtures/audio/hello.wav")),
    ("question.wav", include_bytes!("../../../fixtures/audio/question.wav")),
    ("weasels.wav", include_bytes!("../../../fixtures/audio/weasels.wav")),
    ("wrong.wav", include_bytes!("../../../fixtures/audio/wrong.wav")),
    ("statement.wav", include_bytes!("../../../fixtures/audio/statement.wav")),
    ("long.wav", include_bytes!("../../../fixtures/audio/long.wav")),
    ("digits.wav", include_bytes!("../../../fixtures/audio/digits.wav")),
    ("thank-you.wav", include_bytes!("../../../fixtures/audio/thank-you.wav")),
    ("no.wav", include_bytes!("../../../fixtures/audio/no.wav")),
    ("goodbye.wav", include_bytes!("../../../fixtures/audio/goodbye.wav")),
];

/// A word of a clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptWord {
    /// As it is transcribed, punctuation attached.
    pub text: String,
    /// Where it begins, in milliseconds from the start of the clip.
    pub start_ms: u32,
    /// Where it ends, likewise; after its start, not after the next word's.
    pub end_ms: u32,
}

/// A clip and what is said in it.
#[derive(Clone, PartialEq, Eq)]
pub struct ScriptClip {
    /// The file's name, as the script has it.
    pub name: String,
    /// Mu-law at 8 kHz, minus zero written as zero.
    pub audio: Vec<u8>,
    /// In order, not overlapping, inside the audio.
    pub words: Vec<ScriptWord>,
}

impl std::fmt::Debug for ScriptClip {
    /// Without what is said.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptClip")
            .field("name", &self.name)
            .field("bytes", &self.audio.len())
            .field("words", &self.words.len())
            .finish()
    }
}

/// Everything that a recogniser knows. At most ten minutes of audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    clips: Vec<ScriptClip>,
}

/// Why a script cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file cannot be read.
    #[error("cannot read the script {path}")]
    Read {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not TOML.
    #[error("the script is not toml: {reason}")]
    Syntax {
        /// What the parser said, without the line, which is what somebody says.
        reason: String,
    },
    /// The script has something other than `[[clip]]` tables in it, or none.
    #[error("the script holds no [[clip]] tables, or more than those")]
    Shape,
    /// One clip is wrong.
    #[error("clip {clip}")]
    Clip {
        /// Its file name, or its number in the script if it has none.
        clip: String,
        /// What is wrong.
        source: ClipFault,
    },
    /// All clips together are longer than ten minutes.
    #[error("the clips are longer than ten minutes together")]
    Long,
}

/// What is wrong with one clip.
#[derive(Debug, thiserror::Error)]
pub enum ClipFault {
    /// A key is none of `file`, `words`, `text`.
    #[error("{0:?} is not a key of a clip")]
    Key(String),
    /// `file` is missing or not text.
    #[error("file is missing")]
    File,
    /// The audio cannot be read.
    #[error("cannot read its audio")]
    Read(#[source] std::io::Error),
    /// The audio is no WAV file that telephones can play.
    #[error("cannot use its audio")]
    Audio(#[source] ClipError),
    /// Neither `words` nor `text`, or both, or one of the wrong shape.
    #[error("either words = [[\"text\", begins, ends], ...] or text is wanted")]
    Words,
    /// The times of a word are not in order or not inside the clip.
    #[error("the times of word {0} are not in order, or outside the clip")]
    Times(usize),
    /// `text` was given for a clip in which nothing is loud.
    #[error("nothing is loud in it, so that its text cannot be spread over it")]
    Silent,
}

impl Script {
    /// The script in the binary: the recorded callers of `fixtures/audio`.
    ///
    /// # Errors
    /// None, unless the binary was built from a broken tree; a test sees to that.
    pub fn built_in() -> Result<Self, ScriptError> {
        Self::parse(include_str!("../../../fixtures/audio/transcripts.toml"), |file| {
            let found = BUILT_IN.iter().find(|(name, _)| *name == file);
            found.map(|(_, bytes)| bytes.to_vec()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
        })
    }

    /// Reads a script and its clips from disk.
    ///
    /// # Errors
    /// [`ScriptError`] names the clip and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ScriptError> {
        let read = |source| ScriptError::Read { path: path.display().to_string(), source };
        let text = std::fs::read_to_string(path).map_err(read)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, |file| std::fs::read(folder.join(file)))
    }

    /// Reads a script whose clips `read` finds by name.
    ///
    /// # Errors
    /// As [`Script::load`].
    pub fn parse(text: &str, read: impl Fn(&str) -> std::io::Result<Vec<u8>>) -> Result<Self, ScriptError> {
        let table = DeTable::parse(text).map_err(|error| ScriptError::Syntax { reason: error.message().to_owned() })?;
        let table = table.get_ref();
        let clips = table.get("clip").and_then(|clips| clips.get_ref().as_array()).ok_or(ScriptError::Shape)?;
        if table.len() != 1 || clips.is_empty() {
            return Err(ScriptError::Shape);
        }
        let mut script = Script { clips: Vec::new() };
        let mut bytes = 0;
        for (number, clip) in clips.iter().enumerate() {
            let table = clip.get_ref().as_table().ok_or(ScriptError::Shape)?;
            let name = table.get("file").and_then(|file| file.get_ref().as_str());
            let named = |source| ScriptError::Clip {
                clip: name.map_or_else(|| format!("number {}", number + 1), str::to_owned),
                source,
            };
            let clip = read_clip(table, &read).map_err(named)?;
            bytes += clip.audio.len();
            if bytes > AUDIO_BYTES_MAX {
                return Err(ScriptError::Long);
            }
            script.clips.push(clip);
        }
        Ok(script)
    }

    /// The clips, in the order of the script.
    pub fn clips(&self) -> &[ScriptClip] {
        &self.clips
    }
}

fn read_clip(table: &DeTable<'_>, read: &impl Fn(&str) -> std::io::Result<Vec<u8>>) -> Result<ScriptClip, ClipFault> {
    if let Some(key) =
        table.iter().map(|(key, _)| key.get_ref()).find(|key| !["file", "words", "text"].contains(&key.as_ref()))
    {
        return Err(ClipFault::Key(key.to_string()));
    }
    let name = table.get("file").and_then(|file| file.get_ref().as_str()).ok_or(ClipFault::File)?;
    let bytes = read(name).map_err(ClipFault::Read)?;
    let is_raw = [".ulaw", ".mulaw", ".ul"].iter().any(|end| name.ends_with(end));
    let mut audio = if is_raw { bytes } else { mulaw_of(&bytes).map_err(ClipFault::Audio)? };
    normalise(&mut audio);
    let words = match (table.get("words"), table.get("text")) {
        (Some(words), None) => listed(words.get_ref()).ok_or(ClipFault::Words)?,
        (None, Some(text)) => spread(text.get_ref().as_str().ok_or(ClipFault::Words)?, &audio)?,
        _ => return Err(ClipFault::Words),
    };
    let mut edge = 0;
    for (index, word) in words.iter().enumerate() {
        let in_order = edge <= word.start_ms && word.start_ms < word.end_ms;
        if !in_order || u64::from(word.end_ms) * PER_MS > audio.len() as u64 {
            return Err(ClipFault::Times(index + 1));
        }
        edge = word.end_ms;
    }
    Ok(ScriptClip { name: name.to_owned(), audio, words })
}

fn mulaw_of(wav: &[u8]) -> Result<Vec<u8>, ClipError> {
    let mut audio = Vec::new();
    g711::encode_mulaw_into(&carrier::clip_of(wav)?, &mut audio);
    Ok(audio)
}

/// Writes minus zero as zero: a trip through linear samples does the same, and both must be found.
pub(super) fn normalise(audio: &mut [u8]) {
    for byte in audio.iter_mut().filter(|byte| **byte == 0x7F) {
        *byte = 0xFF;
    }
}

/// `[["I", 120, 240], ...]`.
fn listed(value: &DeValue<'_>) -> Option<Vec<ScriptWord>> {
    let array = value.as_array()?;
    if array.is_empty() || array.len() > WORDS_MAX {
        return None;
    }
    let number = |value: &DeValue<'_>| {
        let integer = value.as_integer()?;
        u32::from_str_radix(integer.as_str(), integer.radix()).ok()
    };
    let word = |value: &DeValue<'_>| {
        let parts = value.as_array().filter(|parts| parts.len() == 3)?;
        let part = |index: usize| parts.get(index).map(toml::Spanned::get_ref);
        let text = part(0)?.as_str().filter(|text| is_word(text))?.to_owned();
        Some(ScriptWord { text, start_ms: number(part(1)?)?, end_ms: number(part(2)?)? })
    };
    array.iter().map(|value| word(value.get_ref())).collect()
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_whitespace)
}

/// Gives each word of `text` a share of what lies between the first and the last loud sample, by its letters.
fn spread(text: &str, audio: &[u8]) -> Result<Vec<ScriptWord>, ClipFault> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() || words.len() > WORDS_MAX {
        return Err(ClipFault::Words);
    }
    let mut samples = Vec::new();
    g711::decode_mulaw_into(audio, &mut samples);
    let is_loud = |sample: &i16| sample.unsigned_abs() >= LOUD;
    let ms = |sample: usize| sample as u64 / PER_MS;
    let from = ms(samples.iter().position(is_loud).ok_or(ClipFault::Silent)?);
    let to = ms(samples.iter().rposition(is_loud).ok_or(ClipFault::Silent)?);
    // One more than its letters: short words take longer than their letters say.
    let shares: Vec<u64> = words.iter().map(|word| word.chars().count() as u64 + 1).collect();
    let all: u64 = shares.iter().sum();
    let mut passed = 0;
    let mut edge = from;
    let mut placed = Vec::new();
    for (word, share) in words.iter().zip(&shares) {
        passed += share;
        let end = from + (to - from) * passed / all;
        let narrow = |ms: u64| u32::try_from(ms).unwrap_or(u32::MAX);
        placed.push(ScriptWord { text: (*word).to_owned(), start_ms: narrow(edge), end_ms: narrow(end) });
        edge = end;
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Script, String> {
        // A hundred milliseconds of silence around 800 of something loud.
        let audio = [vec![0xFF; 800], [0x10, 0x90].repeat(3_200), vec![0x7F; 800]].concat();
        let parsed = Script::parse(text, |file| match file {
            "a.ulaw" => Ok(audio.clone()),
            "quiet.ulaw" => Ok(vec![0xFF; 800]),
            "broken.wav" => Ok(vec![0; 100]),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        });
        parsed.map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        })
    }

    #[test]
    fn the_built_in_script_knows_every_recorded_caller() {
        let script = Script::built_in().unwrap();
        assert_eq!(script.clips().len(), BUILT_IN.len());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio");
        assert_eq!(Script::load(&folder.join("transcripts.toml")).unwrap(), script);
        let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
        for clip in script.clips() {
            let text: Vec<&str> = clip.words.iter().map(|word| word.text.as_str()).collect();
            let row = format!("| `{}` | \"{}\" |", clip.name, text.join(" "));
            assert!(readme.contains(&row), "the README says something else than {row}");
        }
    }

    #[test]
    fn words_are_listed_or_spread_over_what_is_loud() {
        let script =
            parse("[[clip]]\nfile = \"a.ulaw\"\nwords = [[\"One\", 100, 0x120], [\"two.\", 288, 1000]]").unwrap();
        let times: Vec<_> = script.clips()[0].words.iter().map(|word| (word.start_ms, word.end_ms)).collect();
        assert_eq!(times, [(100, 288), (288, 1_000)]);
        assert!(script.clips()[0].audio.ends_with(&[0xFF; 800]));
        let script = parse("[[clip]]\nfile = \"a.ulaw\"\ntext = \"One three, a\"").unwrap();
        let words: Vec<_> = script.clips()[0].words.iter().map(|w| (w.text.as_str(), w.start_ms, w.end_ms)).collect();
        assert_eq!(words, [("One", 100, 345), ("three,", 345, 776), ("a", 776, 899)]);
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |text: &str| parse(text).unwrap_err();
        assert!(wrong("[[clip]").starts_with("the script is not toml"));
        for text in ["", "clip = []", "x = 1\n[[clip]]\nfile = \"a.ulaw\"\ntext = \"a\"", "clip = [1]"] {
            assert!(wrong(text).starts_with("the script holds no [[clip]] tables"), "{text}");
        }
        let clip = |rest: &str| wrong(&format!("[[clip]]\n{rest}"));
        assert_eq!(clip("text = \"a\""), "clip number 1: file is missing");
        assert_eq!(clip("file = \"b.ulaw\"\ntext = \"a\""), "clip b.ulaw: cannot read its audio");
        assert_eq!(clip("file = \"broken.wav\"\ntext = \"a\""), "clip broken.wav: cannot use its audio");
        assert_eq!(clip("file = \"a.ulaw\"\nlanguage = \"en\""), "clip a.ulaw: \"language\" is not a key of a clip");
        assert!(clip("file = \"quiet.ulaw\"\ntext = \"a\"").contains("nothing is loud"));
        for words in [
            "",
            "text = \"\"",
            "text = 1",
            "text = \"a\"\nwords = []",
            "words = [[\"a\", 1]]",
            "words = [[\"a b\", 1, 2]]",
        ] {
            assert!(clip(&format!("file = \"a.ulaw\"\n{words}")).contains("is wanted"), "{words}");
        }
        for times in ["5, 5", "900, 1001", "7, 6"] {
            let fault = clip(&format!("file = \"a.ulaw\"\nwords = [[\"a\", 0, 5], [\"b\", {times}]]"));
            assert!(fault.contains("the times of word 2"), "{fault}");
        }
    }
}
