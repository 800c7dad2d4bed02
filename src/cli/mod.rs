//! The commands of the binary: arguments in, library calls out, lines on standard output.

pub(crate) mod emulate;
