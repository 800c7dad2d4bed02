//! The typed configuration of recordings.

use serde::Deserialize;

/// `[recording]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// Directory of the recordings; without one no call is recorded.
    pub dir: Option<String>,
    /// Days after which a recording is deleted, 1 to 3650.
    pub keep_days: u32,
    /// Said first in every recorded call; empty: nothing.
    #[serde(default)]
    pub announcement: String,
    /// Space that is left free on the disk, in MiB.
    pub min_free_mib: u32,
}
