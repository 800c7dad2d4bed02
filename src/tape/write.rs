//! Writing a tape, into memory.

use serde::Serialize;

use super::{Entry, Header};

/// Lines of a tape that are not on the disk yet.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    count: u64,
    /// Where the last line begins.
    last: usize,
}

impl Lines {
    /// Adds the first line.
    pub fn push_header(&mut self, header: &Header) {
        self.push(header);
    }

    /// Adds a line.
    pub fn push_entry(&mut self, entry: &Entry) {
        self.push(entry);
    }

    /// Adds a line before the last one, which has to be there still.
    pub fn push_before_last(&mut self, entry: &Entry) {
        let last = self.bytes.split_off(self.last);
        self.push(entry);
        self.last = self.bytes.len();
        self.bytes.extend(last);
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes what waits, and says how many lines it has.
    pub fn take(&mut self) -> (Vec<u8>, u64) {
        // As much will come again, and is not to be copied from one small buffer to the next until it fits.
        let next = Lines { bytes: Vec::with_capacity(self.bytes.len()), ..Lines::default() };
        let Lines { bytes, count, .. } = std::mem::replace(self, next);
        (bytes, count)
    }

    fn push(&mut self, line: &impl Serialize) {
        self.last = self.bytes.len();
        // Into memory, and of types that can always be written.
        if serde_json::to_writer(&mut self.bytes, line).is_ok() {
            self.bytes.push(b'\n');
            self.count += 1;
        }
    }
}
