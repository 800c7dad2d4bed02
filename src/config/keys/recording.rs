//! The keys of `[recording]`.

use super::{Blank, KEEP_DAYS, Key, Kind, TEXT, key};

/// All of them, in the order of the documentation.
pub(super) const KEYS: &[Key] = &[
    key("recording.dir", TEXT, None, "directory in which every call leaves a stereo WAV file; absent: none does"),
    key(
        "recording.keep_days",
        KEEP_DAYS,
        // Somebody's voice for ever is nothing that a default may decide, and a month is enough to look into a complaint.
        Some("30"),
        "days after which a recording is deleted",
    ),
    key(
        "recording.announcement",
        Kind::Text(Blank::Allowed),
        None,
        "said first in every recorded call, and not interrupted by the caller; absent or empty: nothing",
    ),
    key(
        "recording.min_free_mib",
        Kind::Integer(0, 1_048_576),
        Some("1024"),
        "space that recordings leave free on the disk, in MiB: with less, no call is recorded",
    ),
];
