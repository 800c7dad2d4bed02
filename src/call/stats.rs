//! What happened in a call, as plain counters that only grow.

/// Counters of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Pieces of the caller's audio.
    pub frames_in: u64,
    /// Frames sent to the carrier.
    pub frames_out: u64,
    /// Frames of these that were withdrawn again before they were fetched, because speech was cut off.
    pub frames_withdrawn: u64,
    /// Times that the carrier ran dry in the middle of a turn.
    pub underruns: u64,
    /// Times that we woke up too late to catch up.
    pub slips: u64,
    /// Times that the caller or the agent cut speech off.
    pub barge_ins: u64,
    /// `clear` messages.
    pub clears: u64,
    /// Marks that came back and count.
    pub marks_played: u64,
    /// Marks that `clear` cut off.
    pub marks_flushed: u64,
    /// Marks that came back after they had been flushed or given up.
    pub marks_stale: u64,
    /// Marks that came back before their audio can have been played.
    pub marks_disbelieved: u64,
    /// Marks that did not come back in time.
    pub marks_lapsed: u64,
    /// Chunks for contexts that no longer take any.
    pub late_chunks: u64,
    /// Messages that made no sense, of carrier and voices.
    pub garbage: u64,
    /// Links made again after they had been lost.
    pub reconnects: u64,
    /// Contexts that were begun again after a fault.
    pub retries: u64,
    /// Turns that went on with the next voice of the chain.
    pub failovers: u64,
    /// Turns that ended in the fallback line.
    pub speech_failures: u64,
}
