//! The figures of one call. What was not observed is absent (`null`), never zero.

use serde::Serialize;

use super::log::EndedBy;
use super::messages::Fault;

/// A distribution of durations in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Number of observations, at least 1.
    pub count: usize,
    /// Median.
    pub p50: f64,
    /// 99th percentile by nearest rank; with fewer than 100 observations the largest one.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// A range of durations in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Span {
    /// Smallest.
    pub min: f64,
    /// Median.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

/// Gaps inside an utterance; [`Report::underruns`] says what counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Underruns {
    /// How many.
    pub count: u64,
    /// Milliseconds of silence in all of them.
    pub total_ms: f64,
    /// Milliseconds of silence in the longest.
    pub longest_ms: f64,
}

/// Media that came after `clear` without a pause of 100 ms before it: the old speech, still coming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AfterClear {
    /// Messages.
    pub count: u64,
    /// How long after its `clear` the last of them came.
    pub last_ms: Option<f64>,
}

/// One time that the caller spoke, and what the gateway made of it. Later times count only until the caller speaks again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CallerTurn {
    /// When the first sample above -40 dB was sent, since the stream was open.
    pub spoke_at_ms: f64,
    /// Whether audio of the gateway was playing or queued then.
    pub interrupts: bool,
    /// From there to the arrival of `clear`.
    pub clear_after_ms: Option<f64>,
    /// From `clear` to the gateway's speech again.
    pub again_after_clear_ms: Option<f64>,
    /// From the end of the caller's clip to the gateway's speech again.
    pub again_after_caller_ms: Option<f64>,
}

/// What became of the gateway's marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MarkCounts {
    /// Marks that came.
    pub received: u64,
    /// Echoed because the audio before them had been played.
    pub echoed: u64,
    /// Echoed because `clear` dropped the audio before them.
    pub flushed: u64,
    /// Not echoed when the call ended.
    pub out_at_end: u64,
}

/// Something the gateway sent that the protocol does not know.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Warning {
    /// When it came.
    pub at_ms: f64,
    /// The vendor's code for it.
    pub code: u16,
    /// What was wrong.
    pub fault: Fault,
}

/// The figures of one call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// From `start` to the end.
    pub duration_ms: f64,
    /// Who ended it.
    pub ended: EndedBy,
    /// From `start` to the moment at which the first audio played.
    pub first_audio_ms: Option<f64>,
    /// Media messages that came.
    pub media: u64,
    /// Audio that came.
    pub audio_received_ms: f64,
    /// Audio that was played.
    pub audio_played_ms: f64,
    /// Audio still queued when the call ended.
    pub unplayed_ms: f64,
    /// How late media came against the gateway's own schedule.
    ///
    /// The schedule of a burst begins with its first message and advances by the audio sent. It is drawn ahead by the
    /// largest lead that the gateway reaches in the first 500 ms, since nobody but the gateway knows the lead it aims at.
    /// What comes earlier still is on time. A new burst begins when the buffer was dry or cleared; the message that ends an
    /// underrun is first measured against the old schedule.
    pub lateness_ms: Option<Spread>,
    /// Stretches in which nothing was left to play although the utterance was not over; absent without any audio.
    ///
    /// A stretch counts if the buffer was empty for any time at all and audio came again within a second. It does not count
    /// if `clear` came between, or if the gateway had marked the exact end of the audio before it; then the utterance was
    /// over and it is one of the [`Report::pauses`]. A mark at a gateway's regular distance (the distance between marks that
    /// occurs most often, at least three times) proves no end, because it falls into real gaps too. So in doubt a gap counts.
    pub underruns: Option<Underruns>,
    /// Silences of less than a second between two utterances.
    pub pauses: u64,
    /// Audio still to be played when further audio came, once a burst was 500 ms old.
    pub ahead_ms: Option<Span>,
    /// The caller's turns in order.
    pub caller_turns: Vec<CallerTurn>,
    /// Over all turns that were followed by `clear`: from the first sample above -40 dB on the wire to its arrival.
    pub speech_to_clear_ms: Option<Spread>,
    /// `clear` messages that came.
    pub clears: u64,
    /// Audio that `clear` dropped; absent without `clear`.
    pub dropped_by_clear_ms: Option<f64>,
    /// Media after `clear`; absent without `clear`.
    pub media_after_clear: Option<AfterClear>,
    /// What became of marks.
    pub marks: MarkCounts,
    /// Warnings in all.
    pub warnings_total: u64,
    /// The first hundred warnings.
    pub warnings: Vec<Warning>,
    /// How late the emulator itself was with the caller's frames and its echoes.
    pub own_lateness_ms: Option<Spread>,
}

impl Report {
    /// Whether the gateway ended the call within its first second without a sound.
    pub fn closed_at_once(&self) -> bool {
        let gone = matches!(self.ended, EndedBy::Gateway { .. } | EndedBy::Lost);
        gone && self.media == 0 && self.duration_ms < 1_000.0
    }

    /// The figures for people: name and value.
    pub fn table(&self) -> Vec<(&'static str, String)> {
        let underruns = self.underruns.map(|gaps| match gaps.count {
            0 => "none".to_owned(),
            count => format!("{count}, together {:.1} ms, longest {:.1} ms", gaps.total_ms, gaps.longest_ms),
        });
        let after = self.media_after_clear.map(|after| match after.last_ms {
            Some(last) => format!("{} messages, the last {last:.1} ms after it", after.count),
            None => "none".to_owned(),
        });
        let marks = self.marks;
        vec![
            ("call", format!("{:.1} s, {}", self.duration_ms / 1_000.0, self.ended)),
            ("first audio", shown(self.first_audio_ms.map(milliseconds))),
            (
                "audio",
                format!("{:.2} s came, {:.2} s played", self.audio_received_ms / 1e3, self.audio_played_ms / 1e3),
            ),
            ("send lateness", shown(self.lateness_ms.map(spread))),
            ("underruns", shown(underruns)),
            ("audio ahead", shown(self.ahead_ms.map(span))),
            ("speech to clear", shown(self.speech_to_clear_ms.map(spread))),
            ("dropped by clear", shown(self.dropped_by_clear_ms.map(milliseconds))),
            ("media after clear", shown(after)),
            ("speech again", shown(self.caller_turns.iter().find_map(again))),
            (
                "marks",
                format!(
                    "{} came, {} played, {} cleared, {} out",
                    marks.received, marks.echoed, marks.flushed, marks.out_at_end
                ),
            ),
            ("protocol warnings", self.warnings_total.to_string()),
            ("own lateness", shown(self.own_lateness_ms.map(spread))),
        ]
    }
}

fn shown(value: Option<String>) -> String {
    value.unwrap_or_else(|| "not observed".to_owned())
}

fn milliseconds(ms: f64) -> String {
    format!("{ms:.1} ms")
}

fn spread(spread: Spread) -> String {
    format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms ({})", spread.p50, spread.p99, spread.max, spread.count)
}

fn span(span: Span) -> String {
    format!("min {:.1} ms, median {:.1} ms, max {:.1} ms", span.min, span.median, span.max)
}

fn again(turn: &CallerTurn) -> Option<String> {
    let cleared = turn.again_after_clear_ms.map(|ms| format!("{ms:.0} ms after clear"));
    let spoken = turn.again_after_caller_ms.map(|ms| format!("{ms:.0} ms after the caller"));
    let parts: Vec<String> = cleared.into_iter().chain(spoken).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
