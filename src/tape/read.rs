//! Reading a tape.

use std::io::{self, BufRead};

use super::{End, Entry, FORMAT, Header, What};
use crate::ids::CallTime;

/// A whole tape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tape {
    /// All that shaped the call.
    pub header: Header,
    /// What the call took, in order.
    pub entries: Vec<Entry>,
}

/// Why a tape cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// The file failed.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// There is nothing in it.
    #[error("it is empty; the first line has to be the header")]
    Empty,
    /// The first line is no header.
    #[error("line 1 is no header of a tape")]
    Header(#[source] serde_json::Error),
    /// The tape was written in another format.
    #[error("line 1: `tape` is {found}; this version reads {FORMAT}")]
    Format {
        /// What the header says.
        found: u64,
    },
    /// A line is no entry.
    #[error("line {line} is no entry of a tape")]
    Entry {
        /// Counts from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Time runs backwards.
    #[error("line {line}: `at_us` is earlier than in the line before")]
    Order {
        /// Counts from 1.
        line: usize,
    },
}

/// What decides whether the rest of a header can be understood.
#[derive(serde::Deserialize)]
struct Version {
    tape: u64,
}

impl Tape {
    /// Reads a tape. Empty lines are passed over. A last line that was cut off in the middle, as a crash leaves it, is an
    /// error like any other.
    ///
    /// # Errors
    /// [`TapeError`], which names the line.
    pub fn read(from: impl BufRead) -> Result<Self, TapeError> {
        let mut header = None;
        let mut entries: Vec<Entry> = Vec::new();
        for (number, line) in (1..).zip(from.lines()) {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            if header.is_none() {
                header = Some(header_of(&line)?);
                continue;
            }
            let entry: Entry =
                serde_json::from_str(&line).map_err(|source| TapeError::Entry { line: number, source })?;
            if entries.last().map_or(CallTime::ZERO, |last| last.at) > entry.at {
                return Err(TapeError::Order { line: number });
            }
            entries.push(entry);
        }
        Ok(Tape { header: header.ok_or(TapeError::Empty)?, entries })
    }

    /// How the call ended, if the tape goes so far: one that was composed, or cut off by a crash, need not.
    pub fn end(&self) -> Option<&End> {
        self.entries.iter().find_map(|entry| match &entry.what {
            What::End(end) => Some(end),
            What::Input(_) | What::Wake | What::Drain | What::Leave | What::Speech(_) | What::Lost(_) => None,
        })
    }

    /// Lines that are missing, because the disk was too slow.
    pub fn lost(&self) -> u64 {
        let lost = |entry: &Entry| match entry.what {
            What::Lost(lines) => lines,
            What::Input(_) | What::Wake | What::Drain | What::Leave | What::Speech(_) | What::End(_) => 0,
        };
        self.entries.iter().map(lost).sum()
    }
}

fn header_of(line: &str) -> Result<Header, TapeError> {
    let version: Version = serde_json::from_str(line).map_err(TapeError::Header)?;
    if version.tape != u64::from(FORMAT) {
        return Err(TapeError::Format { found: version.tape });
    }
    serde_json::from_str(line).map_err(TapeError::Header)
}
