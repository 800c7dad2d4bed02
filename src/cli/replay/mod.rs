//! `trunkline replay`: recorded calls, performed again.

mod live;
mod screen;
#[cfg(test)]
mod tests;
mod wav;

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use screen::Screen;
use trunkline::replay::{Difference, Expected, Line, Timeline, Unfaithful, perform, perform_aloud, redacted};
use trunkline::tape::{Audio, End, Entry, Lines, Tape, TapeError, Text};
use wav::Wav;

/// Arguments of `trunkline replay`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// A tape, a folder with a `tape.jsonl`, or a folder of either
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Compare what is sent with `expected.jsonl`, byte for byte, and with what the live call sent
    #[arg(long, conflicts_with = "accept")]
    check: bool,
    /// Write what is sent as `expected.jsonl`
    #[arg(long)]
    accept: bool,
    /// Write the call as stereo WAV: the caller left, what the caller heard right
    #[arg(long, value_name = "FILE")]
    wav: Option<PathBuf>,
    /// Write the tape once more, into a new file, with its words made up and its audio silence: one that can be shown
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "accept", "wav"])]
    redact: Option<PathBuf>,
    /// Play the carrier's side against a running gateway, at the tape's own pace
    #[arg(long, value_name = "URL", conflicts_with_all = ["check", "accept", "wav", "redact"])]
    live: Option<String>,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error("{}: no tape there", .0.display())]
    NoTape(PathBuf),
    #[error("{}", .0.display())]
    Open(PathBuf, #[source] io::Error),
    #[error("{}", .0.display())]
    Tape(PathBuf, #[source] TapeError),
    #[error("--wav and --redact want exactly one tape")]
    ManyTapes,
    #[error("no redacted tape: it would not tell of the call that was")]
    Redact(#[source] Unfaithful),
    #[error("no random key for the words")]
    Random(#[from] getrandom::Error),
    #[error("the WAV file cannot be written")]
    Wav(#[from] hound::Error),
    #[error("cannot print")]
    Print(#[from] io::Error),
    #[error("{}", .0.display())]
    Live(PathBuf, #[source] live::LiveError),
    #[error("{failed} of {all} tapes failed the check")]
    Check { failed: usize, all: usize },
}

/// A tape and what it is compared with.
#[derive(Clone, Debug)]
struct Found {
    tape: PathBuf,
    expected: PathBuf,
}

/// Replays every tape that is found.
///
/// # Errors
/// [`ReplayError`]: a tape cannot be read, or a check failed.
pub(crate) async fn run(args: ReplayArgs) -> Result<(), ReplayError> {
    replay_all(&args, &mut Screen::new(io::stdout())).await
}

async fn replay_all(args: &ReplayArgs, out: &mut impl Write) -> Result<(), ReplayError> {
    let mut all = Vec::new();
    for path in &args.paths {
        let found = find(path)?;
        if found.is_empty() {
            return Err(ReplayError::NoTape(path.clone()));
        }
        all.extend(found);
    }
    if (args.wav.is_some() || args.redact.is_some()) && all.len() != 1 {
        return Err(ReplayError::ManyTapes);
    }
    let mut failed = 0;
    for found in &all {
        let name = found.tape.display();
        if all.len() > 1 && !args.check && !args.accept {
            writeln!(out, "{name}:")?;
        }
        match one(args, found, out).await {
            Ok(true) => {}
            Ok(false) => failed += 1,
            // Whoever checks a folder wants to know about all of it.
            Err(error @ (ReplayError::Open(..) | ReplayError::Tape(..))) if args.check => {
                failed += 1;
                writeln!(out, "FAILED  {name}: {}", reasons(&error))?;
            }
            Err(error) => return Err(error),
        }
    }
    if failed == 0 { Ok(()) } else { Err(ReplayError::Check { failed, all: all.len() }) }
}

/// Replays one tape; whether it passed what was asked of it.
async fn one(args: &ReplayArgs, found: &Found, out: &mut impl Write) -> Result<bool, ReplayError> {
    let tape = read(&found.tape)?;
    match (&args.live, &args.redact) {
        (Some(url), _) => {
            live::play(&tape, url, out).await.map_err(|error| ReplayError::Live(found.tape.clone(), error))?;
        }
        (None, Some(path)) => redact(&tape, path, out)?,
        (None, None) => return replay(args, found, &tape, out),
    }
    Ok(true)
}

/// An error and all that caused it.
fn reasons(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", reasons(cause)),
        None => error.to_string(),
    }
}

/// Every tape at `path`: the file itself, the folder's `tape.jsonl`, or those in it and in its folders.
fn find(path: &Path) -> Result<Vec<Found>, ReplayError> {
    let error = |error| ReplayError::Open(path.to_owned(), error);
    if !fs::metadata(path).map_err(error)?.is_dir() {
        let is_of_a_folder = path.file_name().is_some_and(|name| name == "tape.jsonl");
        let expected =
            if is_of_a_folder { path.with_file_name("expected.jsonl") } else { path.with_extension("expected.jsonl") };
        return Ok(vec![Found { tape: path.to_owned(), expected }]);
    }
    if path.join("tape.jsonl").exists() {
        return Ok(vec![Found { tape: path.join("tape.jsonl"), expected: path.join("expected.jsonl") }]);
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(error)?;
    let mut inside: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    inside.sort();
    let is_tape = |path: &Path| {
        let name = path.to_string_lossy();
        name.ends_with(".jsonl") && !name.ends_with("expected.jsonl")
    };
    let mut found = Vec::new();
    for path in inside.iter().filter(|path| is_tape(path) || path.join("tape.jsonl").exists()) {
        found.extend(find(path)?);
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Tape, ReplayError> {
    let file = File::open(path).map_err(|error| ReplayError::Open(path.to_owned(), error))?;
    Tape::read(BufReader::new(file)).map_err(|error| ReplayError::Tape(path.to_owned(), error))
}

/// Writes the tape as one that can be shown. The key is forgotten, so that nobody can undo the words.
fn redact(tape: &Tape, path: &Path, out: &mut impl Write) -> Result<(), ReplayError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)?;
    let covered = redacted(tape, Text::Redact, Audio::Silence, key).map_err(ReplayError::Redact)?;
    let mut lines = Lines::default();
    lines.push_header(&covered.header);
    covered.entries.iter().for_each(|entry| lines.push_entry(entry));
    // Never over a file that is there: it may be the tape itself.
    let written = OpenOptions::new().write(true).create_new(true).open(path);
    written
        .and_then(|mut file| file.write_all(&lines.take().0))
        .map_err(|error| ReplayError::Open(path.to_owned(), error))?;
    let of_what = match tape.end() {
        Some(_) if tape.lost() == 0 => "the call sent",
        Some(_) | None => "a replay of the tape sent: the tape itself does not tell of the whole call",
    };
    writeln!(out, "{}: redacted, and sends what {of_what}", path.display())?;
    Ok(())
}

/// Performs one tape; whether it passed what was asked of it.
fn replay(args: &ReplayArgs, found: &Found, tape: &Tape, out: &mut impl Write) -> Result<bool, ReplayError> {
    let mut lines: Vec<Line> = Vec::new();
    let mut timeline = Timeline::default();
    let (is_told, mut told) = (!args.check && !args.accept, Ok(()));
    // Told step by step, so that a tape whose call panics shows how far it came.
    let observe = |entry: &Entry, sent: &[Line]| {
        if is_told && told.is_ok() {
            told = timeline.step(entry, sent).iter().try_for_each(|line| writeln!(out, "{line}"));
        }
        lines.extend_from_slice(sent);
    };
    let session = match &args.wav {
        None => perform(tape, observe),
        Some(path) => {
            let mut wav = Wav::new(path);
            let session = perform_aloud(tape, observe, |rate, samples| wav.write(rate, samples));
            wav.finish()?;
            session
        }
    };
    told?;
    let last = tape.entries.last().map_or(trunkline::ids::CallTime::ZERO, |entry| entry.at);
    if let Some(line) = timeline.rest(last) {
        writeln!(out, "{line}")?;
    }
    let name = found.tape.display();
    let got = Expected::of(&lines, tape.header.audio);
    if args.accept {
        fs::write(&found.expected, got.to_string())
            .map_err(|error| ReplayError::Open(found.expected.clone(), error))?;
        writeln!(out, "{name}: {} lines accepted", got.lines().len())?;
    }
    if !args.check {
        return Ok(true);
    }
    match check(tape, found, &got, session.digest())? {
        Ok(against) => writeln!(out, "ok      {name} ({against}{})", remarks(tape))?,
        Err(failure) => {
            writeln!(out, "FAILED  {name}: {failure}")?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Why a tape failed the check.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Difference(Difference),
    #[error(transparent)]
    Unfaithful(#[from] Unfaithful),
    #[error("{0} lines are missing on the tape, because the disk was too slow: no replay of it can be exact")]
    Lost(u64),
    #[error("there is nothing to compare with: neither expected.jsonl nor the end of a live call")]
    Nothing,
}

/// What a passing tape was compared with.
fn check(
    tape: &Tape,
    found: &Found,
    got: &Expected,
    replayed: trunkline::tape::Digest,
) -> Result<Result<String, Failure>, ReplayError> {
    let lost = tape.lost();
    if lost > 0 {
        return Ok(Err(Failure::Lost(lost)));
    }
    let mut against = Vec::new();
    if let Some(&End { sent: live, .. }) = tape.end() {
        if live != replayed {
            return Ok(Err(Unfaithful { live, replayed }.into()));
        }
        against.push(format!("{} frames, {} marks, {} clears as the live call", live.frames, live.marks, live.clears));
    }
    match fs::read_to_string(&found.expected) {
        Ok(text) => {
            let expected = Expected::parse(&text);
            if let Some(difference) = expected.difference(got) {
                return Ok(Err(Failure::Difference(difference)));
            }
            against.push(format!("{} lines as expected", expected.lines().len()));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(ReplayError::Open(found.expected.clone(), error)),
    }
    Ok(if against.is_empty() { Err(Failure::Nothing) } else { Ok(against.join("; ")) })
}

/// What a check of this tape cannot show.
fn remarks(tape: &Tape) -> &'static str {
    match (tape.header.text, tape.header.audio) {
        (Text::Keep | Text::Redact, Audio::Silence) => "; its audio is silence: control messages only",
        (Text::Keep | Text::Redact, Audio::Keep) => "",
    }
}
