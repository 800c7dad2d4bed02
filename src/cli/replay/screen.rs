//! Standard output that may go away.

use std::io::{self, ErrorKind, Write};

/// Writes until nobody reads any more, as in `trunkline replay ... | head`, and then into nothing: that somebody has seen
/// enough is no failure, and what else was asked for is still to be done.
pub(super) struct Screen<W> {
    out: W,
    is_gone: bool,
}

impl<W: Write> Screen<W> {
    pub(super) fn new(out: W) -> Self {
        Screen { out, is_gone: false }
    }

    fn unless_gone<T>(&mut self, gone: T, write: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        if self.is_gone {
            return Ok(gone);
        }
        match write(&mut self.out) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_gone = true;
                Ok(gone)
            }
            written => written,
        }
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_gone(bytes.len(), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_gone((), W::flush)
    }
}
