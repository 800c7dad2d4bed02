//! The properties, one small function each. A function sees the whole trace of a call, looks for its own fault and for no
//! other's, and says in words what it found.

pub(crate) mod agent;
pub(crate) mod heard;
pub(crate) mod line;
pub(crate) mod shape;
pub(crate) mod voices;

/// What a property says of a call.
pub(crate) type Verdict = Result<(), String>;

/// A fault unless `holds`.
fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(fault()) }
}
