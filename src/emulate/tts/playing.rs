//! Speech on its way out: when its chunks are due, which word times go with them, how they are cut, and what a fault
//! changes about that.

use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::fault::FaultKind;
use super::order::{Lifetime, Order};
use super::speaker::Speech;
use crate::voice::Word;

/// When word times are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timing {
    /// Each just before the chunk in which the word begins.
    Along,
    Before,
    After,
    Never,
}

/// How one context behaves: the faults that are decided when it begins.
#[derive(Debug)]
pub(super) struct Manner {
    pub(super) timing: Timing,
    /// Cuts chunks at odd places, if they are to be.
    pub(super) cutter: Option<Cutter>,
    /// When the context ends by itself.
    pub(super) lifetime: Lifetime,
    /// All audio of a text at once.
    pub(super) burst: bool,
    /// The answer to a flush after every text.
    pub(super) flush_each: bool,
    /// Messages that are none in between.
    pub(super) garbage: bool,
    /// Messages of unknown types in between.
    pub(super) unknown: bool,
    /// Audio of nobody's contexts in between.
    pub(super) stray: bool,
    /// KiB of a very long message before the first audio.
    pub(super) huge: Option<u32>,
}

impl Manner {
    /// `timestamps`: the client asked for word times. `lifetime`: the vendor's own rule.
    pub(super) fn decide(shared: &Shared, timestamps: bool, lifetime: Lifetime) -> Self {
        let on = |kind| shared.faults.take(kind).is_some();
        let timing = if !timestamps || on(FaultKind::TimestampsNever) {
            Timing::Never
        } else if on(FaultKind::TimestampsBefore) {
            Timing::Before
        } else if on(FaultKind::TimestampsAfter) {
            Timing::After
        } else {
            Timing::Along
        };
        let expiry = shared.faults.take(FaultKind::Expiry).map(|ms| Duration::from_millis(ms.into()));
        Self {
            timing,
            cutter: on(FaultKind::OddChunks).then(Cutter::default),
            lifetime: expiry.map_or(lifetime, |expiry| lifetime.lasting(expiry)),
            burst: on(FaultKind::Burst),
            flush_each: on(FaultKind::FlushDoneEach),
            garbage: on(FaultKind::Garbage),
            unknown: on(FaultKind::UnknownTypes),
            stray: on(FaultKind::WrongIds),
            huge: shared.faults.take(FaultKind::Huge),
        }
    }
}

/// Speech on its way out.
pub(super) struct Playing {
    pub(super) speech: Speech,
    /// Moment of the first chunk; the others follow at the speed factor.
    pub(super) base: Instant,
    /// When generation began.
    pub(super) started: Instant,
    pub(super) samples_sent: u64,
    pub(super) words_sent: usize,
}

impl Playing {
    /// When the next chunk leaves.
    pub(super) fn due(&self, order: &Order, speed_factor: f64, burst: bool) -> Instant {
        if burst { self.base } else { self.base + span(self.samples_sent, order, speed_factor) }
    }

    /// The words whose times go with the chunk that was just read.
    pub(super) fn words_due(
        &mut self,
        timing: Timing,
        first: bool,
        last: bool,
        samples_before: u64,
        rate: u32,
    ) -> &[Word] {
        let sent_ms = (samples_before + self.samples_sent) * 1_000 / u64::from(rate);
        let all = self.speech.words.len();
        let until = match timing {
            Timing::Never => self.words_sent,
            Timing::Before if first => all,
            Timing::After if !last => self.words_sent,
            Timing::Before | Timing::After => all,
            Timing::Along if last => all,
            Timing::Along => self.speech.words.partition_point(|word| u64::from(word.start_ms) < sent_ms),
        };
        let from = std::mem::replace(&mut self.words_sent, until);
        self.speech.words.get(from..until).unwrap_or_default()
    }
}

/// How long `samples` take to send at `speed_factor` times real time.
pub(super) fn span(samples: u64, order: &Order, speed_factor: f64) -> Duration {
    Duration::from_secs_f64(samples as f64 / f64::from(order.rate) / speed_factor)
}

/// Cuts audio at odd places. Every part but the last of a text has an odd number of bytes.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    held: Vec<u8>,
    cuts: u32,
}

impl Cutter {
    pub(super) fn cut(&mut self, bytes: Vec<u8>, last: bool) -> Vec<Vec<u8>> {
        self.held.extend(bytes);
        self.cuts += 1;
        let mut part = std::mem::take(&mut self.held);
        if last {
            return vec![part];
        }
        if part.len().is_multiple_of(2) {
            self.held = part.split_off(part.len().saturating_sub(1));
        }
        if self.cuts.is_multiple_of(3) && part.len() > 2 {
            // A chunk of one byte, and one of an even length inside a sample.
            let rest = part.split_off(1);
            return vec![part, rest];
        }
        vec![part]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_chunks_hold_the_same_bytes() {
        let mut cutter = Cutter::default();
        let whole: Vec<u8> = (0..200).collect();
        let mut parts = Vec::new();
        for (index, piece) in whole.chunks(20).enumerate() {
            parts.extend(cutter.cut(piece.to_vec(), index == 9));
        }
        assert_eq!(parts.concat(), whole);
        assert!(parts.iter().filter(|part| part.len() % 2 == 1).count() > parts.len() / 2);
        assert!(parts.iter().any(|part| part.len() == 1));
    }
}
