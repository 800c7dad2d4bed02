//! What a call sent, in a few numbers.

use serde::{Deserialize, Serialize};

use super::Audio;
use crate::call::action::CarrierCommand;

/// Counts and a checksum of everything that a call told its carrier, so that a replay can prove itself without a copy of
/// the audio. The checksum covers the frames' bytes, or their lengths alone where audio is silence on the tape; names are
/// not part of it, so that redaction does not change it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Frames of audio.
    pub frames: u64,
    /// Marks.
    pub marks: u64,
    /// Clears.
    pub clears: u64,
    /// CRC-32 (IEEE) over all of them, in order.
    pub crc32: u32,
}

impl Digest {
    /// Takes the next command into account.
    pub fn take(&mut self, command: &CarrierCommand, audio: Audio) {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.crc32);
        match (command, audio) {
            (CarrierCommand::Media { frame, .. }, Audio::Keep) => {
                self.frames += 1;
                hasher.update(frame);
            }
            (CarrierCommand::Media { frame, .. }, Audio::Silence) => {
                self.frames += 1;
                hasher.update(&(frame.len() as u64).to_le_bytes());
            }
            (CarrierCommand::Mark(mark), _) => {
                self.marks += 1;
                hasher.update(&mark.0.to_le_bytes());
            }
            (CarrierCommand::Clear { .. }, _) => {
                self.clears += 1;
                hasher.update(b"clear");
            }
        }
        self.crc32 = hasher.finalize();
    }
}
