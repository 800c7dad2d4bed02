//! Audio that says of itself what it is: every millisecond carries the name of its context and its own number, so that a
//! frame on the line can be traced to the chunk that it came in.

use trunkline::audio::MediaFormat;
use trunkline::ids::{ContextId, TurnId};

/// A stretch of speech within one frame: milliseconds of one context that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Whose speech it is.
    pub(crate) context: ContextId,
    /// Number of its first millisecond in the context's audio.
    pub(crate) ms: u64,
    /// Its length in milliseconds, at least one.
    pub(crate) len: u64,
    /// Milliseconds of the frame before it.
    pub(crate) at: u64,
}

impl Run {
    /// The millisecond behind its last one.
    pub(crate) fn end(&self) -> u64 {
        self.ms + self.len
    }
}

/// A millisecond's number is written in digits of six bits: as mu-law, they come unharmed through linear samples.
const DIGIT: u8 = 0x3F;

/// Bytes of a millisecond of `format`, eight or more in every format that is used here.
pub(crate) fn bytes_per_ms(format: MediaFormat) -> usize {
    format.frame_bytes() / format.frame_ms as usize
}

/// `len` bytes of a context's audio, from byte `from` on.
pub(crate) fn audio_of(format: MediaFormat, context: ContextId, from: usize, len: usize) -> Vec<u8> {
    let size = bytes_per_ms(format);
    let byte = |at: usize| {
        let ms = at / size;
        match at % size {
            0 => turn_as_byte(context.turn),
            1 => context.serial as u8,
            place @ 2..=4 => (ms >> (6 * (place - 2))) as u8 & DIGIT,
            _ => 1,
        }
    };
    (from..from + len).map(byte).collect()
}

/// Agents count their turns from 1; those of the gateway itself have the highest bit set, and keep it.
fn turn_as_byte(turn: TurnId) -> u8 {
    turn.0 as u8 & 0x7F | (turn.0 >> 24) as u8 & 0x80
}

fn turn_of_byte(byte: u8) -> TurnId {
    TurnId(u32::from(byte & 0x7F) | u32::from(byte & 0x80) << 24)
}

/// The speech in a frame. A millisecond that broke off, and one of silence, belongs to nobody.
pub(crate) fn runs_of(format: MediaFormat, frame: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (at, bytes) in (0_u64..).zip(frame.chunks(bytes_per_ms(format))) {
        let [turn, serial, low, middle, high, .., 1] = *bytes else { continue };
        let context = ContextId { turn: turn_of_byte(turn), serial: u32::from(serial) };
        let ms = u64::from(low) | u64::from(middle) << 6 | u64::from(high) << 12;
        match runs.last_mut() {
            Some(run) if run.context == context && run.end() == ms && run.at + run.len == at => run.len += 1,
            _ => runs.push(Run { context, ms, len: 1, at }),
        }
    }
    runs
}

#[test]
fn labels_survive_any_cut_into_chunks() {
    let (format, context) = (MediaFormat::TELEPHONE, ContextId { turn: TurnId(7), serial: 2 });
    let audio = [audio_of(format, context, 2_400, 77), audio_of(format, context, 2_477, 83)].concat();
    assert_eq!(runs_of(format, &audio), [Run { context, ms: 300, len: 20, at: 0 }]);
    let mut broken = audio;
    broken[9 * 8 + 7] = 0xFF;
    let lens = runs_of(format, &broken).iter().map(|run| (run.ms, run.len, run.at)).collect::<Vec<_>>();
    assert_eq!(lens, [(300, 9, 0), (310, 10, 10)]);
}
