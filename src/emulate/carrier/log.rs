//! Everything that happened in a call, stamped. All figures come from here and from nowhere else.

use std::fmt;

use serde::Serialize;

use super::messages::Fault;
use crate::ids::CallTime;

/// Who ended the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum EndedBy {
    /// The caller hung up, as planned.
    Caller,
    /// The longest allowed duration was reached.
    Limit,
    /// The gateway closed the stream.
    Gateway {
        /// Its close code, if it gave one.
        code: Option<u16>,
    },
    /// The connection was lost without a close.
    Lost,
    /// The gateway stopped reading for so long that a write could not be finished.
    Stuck,
    /// The emulator was told to stop.
    Cancelled,
}

impl fmt::Display for EndedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndedBy::Caller => f.write_str("the caller hung up"),
            EndedBy::Limit => f.write_str("the longest duration was reached"),
            EndedBy::Gateway { code: Some(code) } => write!(f, "the gateway closed the stream with {code}"),
            EndedBy::Gateway { code: None } => f.write_str("the gateway closed the stream"),
            EndedBy::Lost => f.write_str("the connection was lost"),
            EndedBy::Stuck => f.write_str("the gateway stopped reading"),
            EndedBy::Cancelled => f.write_str("cancelled"),
        }
    }
}

/// One event of a call. Times are microseconds, audio is counted in samples at 8 kHz.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Logged {
    /// `start` was sent.
    Started,
    /// A frame of the caller's audio was sent.
    CallerFrame {
        /// How late, against the absolute schedule.
        late_us: u64,
    },
    /// The frame just sent holds the first sample of this clip.
    ClipBegan {
        /// Counts the plan's clips from 0.
        clip: usize,
    },
    /// The frame just sent holds this clip's first sample above -40 dB.
    CallerSpeaks {
        /// Counts the plan's clips from 0.
        clip: usize,
    },
    /// The frame just sent holds the last sample of this clip.
    CallerStops {
        /// Counts the plan's clips from 0.
        clip: usize,
    },
    /// A key was pressed.
    Dtmf {
        /// Which.
        digit: char,
    },
    /// Audio arrived.
    Media {
        /// How much was kept.
        samples: u64,
        /// What was still to be played when it came.
        ahead_us: u64,
    },
    /// The gateway's first audio began to play.
    FirstAudio,
    /// The gateway's audio began to play again after `clear` or a second of silence.
    SpeechAgain,
    /// A mark arrived.
    Mark,
    /// A mark was echoed.
    MarkEchoed {
        /// How late, against the moment at which it was due.
        late_us: u64,
    },
    /// A mark was echoed because `clear` dropped what lay before it.
    MarkFlushed,
    /// `clear` arrived.
    Clear {
        /// Samples that will not be played.
        dropped: u64,
    },
    /// The gateway sent something that the protocol does not know.
    Warning {
        /// What was wrong.
        fault: Fault,
    },
    /// The call was over.
    Ended {
        /// Who ended it.
        #[serde(flatten)]
        by: EndedBy,
        /// Samples that had not been played.
        unplayed: u64,
        /// Marks that had not been echoed.
        marks_out: usize,
    },
}

/// An event and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// Microseconds since the stream was open.
    pub at: CallTime,
    /// What happened.
    #[serde(flatten)]
    pub logged: Logged,
}

/// The events of one call, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Log {
    entries: Vec<LogEntry>,
}

impl Log {
    pub(super) fn push(&mut self, at: CallTime, logged: Logged) {
        self.entries.push(LogEntry { at, logged });
    }

    /// The events in order.
    pub fn entries(&self) -> &[LogEntry] {
        &self.entries
    }

    /// What a person wants to know of them.
    pub fn timeline(&self) -> Vec<TimelineEntry> {
        self.entries.iter().filter_map(LogEntry::timeline).collect()
    }
}

/// What a person wants to know of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// The stream started.
    Started,
    /// The gateway's first audio began to play.
    FirstAudio,
    /// The caller's voice reached the wire.
    CallerSpeaks,
    /// The caller's clip was over.
    CallerStops,
    /// The gateway had its queued audio dropped.
    Clear {
        /// How much would still have been played.
        dropped_ms: u64,
    },
    /// The gateway's audio began to play again after `clear` or a second of silence.
    SpeechAgain,
    /// The caller pressed a key.
    Dtmf {
        /// Which.
        digit: char,
    },
    /// The gateway sent something that the protocol does not know.
    Warning {
        /// What was wrong.
        fault: Fault,
    },
    /// The call was over.
    Ended {
        /// Who ended it.
        by: EndedBy,
    },
}

/// One line of a call's story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimelineEntry {
    /// Microseconds since the stream was open.
    pub at: CallTime,
    /// What happened.
    #[serde(flatten)]
    pub happening: Happening,
}

impl LogEntry {
    pub(super) fn timeline(&self) -> Option<TimelineEntry> {
        let happening = match &self.logged {
            Logged::Started => Happening::Started,
            Logged::FirstAudio => Happening::FirstAudio,
            Logged::SpeechAgain => Happening::SpeechAgain,
            Logged::CallerSpeaks { .. } => Happening::CallerSpeaks,
            Logged::CallerStops { .. } => Happening::CallerStops,
            Logged::Clear { dropped } => Happening::Clear { dropped_ms: dropped / 8 },
            Logged::Dtmf { digit } => Happening::Dtmf { digit: *digit },
            Logged::Warning { fault } => Happening::Warning { fault: *fault },
            Logged::Ended { by, .. } => Happening::Ended { by: *by },
            Logged::CallerFrame { .. }
            | Logged::ClipBegan { .. }
            | Logged::Media { .. }
            | Logged::Mark
            | Logged::MarkEchoed { .. }
            | Logged::MarkFlushed => return None,
        };
        Some(TimelineEntry { at: self.at, happening })
    }
}

impl fmt::Display for TimelineEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8}  ", self.at.to_string())?;
        match &self.happening {
            Happening::Started => f.write_str("call started"),
            Happening::FirstAudio => f.write_str("first audio"),
            Happening::CallerSpeaks => f.write_str("caller speaks"),
            Happening::CallerStops => f.write_str("caller stops"),
            Happening::Clear { dropped_ms } => write!(f, "clear: {dropped_ms} ms dropped"),
            Happening::SpeechAgain => f.write_str("speech again"),
            Happening::Dtmf { digit } => write!(f, "key {digit}"),
            Happening::Warning { fault } => write!(f, "warning {}: {fault}", fault.code()),
            Happening::Ended { by } => write!(f, "ended: {by}"),
        }
    }
}
