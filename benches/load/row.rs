//! One row: what the gateway is told, what the callers do, and what came of it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::processes::{Scratch, Server, free_address, generate};

/// The sentence that is spoken over and over: 98 characters, which the voice takes 5.3 seconds for.
const SENTENCE: &str =
    "The next stop on this line is the old harbour, where you can change for the ferry to the islands. ";

/// Length of the window in seconds: two turns of the queue, which is filled to 20 s of speech and refilled at 10 s, two
/// sentences each.
const WINDOW_S: u32 = 21;

/// Seconds between the last call's start and the window. The queue is filled for the first time in some 7, in which more is
/// spoken than played; after that the one is as much as the other.
const SETTLE_S: u32 = 10;

/// How much longer than planned the generator may take.
const OVERTIME_S: u32 = 60;

/// New calls a second, and short ones.
const RAMP: u32 = 100;
const RAMP_SHORT: u32 = 200;

/// A recording of a person, without a long pause in it; and one to interrupt with.
const TALK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/audio/long.wav");
const INTERRUPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/audio/question.wav");

/// What sets a row apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The least that a server can do.
    Floor,
    /// Callers are silent, the gateway speaks without a pause.
    Silent,
    /// The same with callers who speak all the time, into the voice detection; nothing interrupts.
    Speaking,
    /// Silent callers, a voice at 16 kHz.
    Wide,
    /// Silent callers, two frames in each write.
    Pairs,
    /// Silent callers, a tape of each call.
    Recorded,
    /// Silent callers, each call recorded as sound.
    Sound,
    /// Callers press a key every four seconds, which interrupts.
    Keys,
    /// Callers interrupt by speaking, every eight seconds.
    BargeIn,
    /// Calls of a second, 200 new ones a second, and `after` before them that do not count.
    Short { after: u32 },
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) calls: u32,
}

/// A row and its figures.
pub(crate) struct Outcome {
    pub(crate) row: Row,
    pub(crate) report: Value,
    /// What a row with recording did not record.
    lost: Option<String>,
}

impl Row {
    pub(crate) fn new(kind: Kind, calls: u32) -> Self {
        Row { kind, calls }
    }

    /// As it stands in the table.
    pub(crate) fn name(&self) -> String {
        let calls = self.calls;
        match self.kind {
            Kind::Floor => format!("floor, {calls}"),
            Kind::Silent => format!("silent callers, {calls}"),
            Kind::Speaking => format!("all callers speaking, {calls}"),
            Kind::Wide => format!("16 kHz voice, {calls}"),
            Kind::Pairs => format!("two frames a write, {calls}"),
            Kind::Recorded => format!("recorded, {calls}"),
            Kind::Sound => format!("recorded as sound, {calls}"),
            Kind::Keys => format!("a key every 4 s, {calls}"),
            Kind::BargeIn => format!("an interruption every 8 s, {calls}"),
            Kind::Short { after } => format!("calls of 1 s, {calls} after {after}"),
        }
    }

    /// Starts a server, makes the calls, and stops it.
    pub(crate) fn run(self) -> Outcome {
        let (report, lost) = match self.kind {
            Kind::Floor => {
                let server = Server::start(&["emulate", "floor", "--listen", "127.0.0.1:0"]);
                (generate(&self.arguments(&server.url, &server.pid(), self.calls, None), self.limit()), None)
            }
            kind => {
                let (scratch, voice) = (Scratch::new(), free_address());
                let file = scratch.path().join("load.toml");
                let tapes = scratch.path().join("tapes");
                let mut configuration = self.configuration(&voice);
                if kind == Kind::Sound {
                    let _ = write!(configuration, "[recording]\ndir = {tapes:?}\nmin_free_mib = 0\n");
                }
                std::fs::write(&file, configuration).expect("the configuration can be written");
                let (file, tapes) = (file.to_string_lossy().into_owned(), tapes.to_string_lossy().into_owned());
                let mut serve = vec!["serve", "--config", &file];
                if kind == Kind::Recorded {
                    serve.extend(["--record", &tapes]);
                }
                let server = Server::start(&serve);
                let url = format!("{}/twilio/media", server.url.replacen("http", "ws", 1));
                let arguments = |calls| self.arguments(&url, &server.pid(), calls, Some(&voice));
                if let Kind::Short { after } = kind {
                    generate(&arguments(after), self.limit());
                }
                let report = generate(&arguments(self.calls), self.limit());
                let counters = match kind {
                    Kind::Recorded => &["trunkline_tapes_broken_total", "trunkline_tape_lines_lost_total"][..],
                    Kind::Sound => &["trunkline_recordings_broken_total", "trunkline_recording_lost_seconds_total"],
                    _ => &[],
                };
                let is_recorded = !counters.is_empty();
                (report, is_recorded.then(|| not_recorded(&server, counters, Path::new(&tapes), self.calls)).flatten())
            }
        };
        Outcome { row: self, report, lost }
    }

    /// Whether the gateway speaks all the time, in every call.
    pub(crate) fn is_unbroken(&self) -> bool {
        !matches!(self.kind, Kind::Keys | Kind::BargeIn | Kind::Short { .. })
    }

    /// How long the generator may take.
    fn limit(self) -> Duration {
        let planned = match self.kind {
            Kind::Short { .. } => self.calls / RAMP_SHORT,
            _ => self.calls / RAMP + SETTLE_S + WINDOW_S,
        };
        Duration::from_secs((planned + OVERTIME_S).into())
    }

    fn arguments(&self, url: &str, pid: &str, calls: u32, voice: Option<&str>) -> Vec<String> {
        let calls = calls.to_string();
        let (ramp, ramp_short, window) = (RAMP.to_string(), RAMP_SHORT.to_string(), WINDOW_S.to_string());
        let settle = (SETTLE_S * 1_000).to_string();
        let mut arguments = vec!["call", url, "--json", "--calls", &calls, "--watch", pid];
        arguments.extend(match self.kind {
            Kind::Short { .. } => vec!["--ramp", &ramp_short, "--each-ms", "1000"],
            _ => vec!["--ramp", &ramp, "--seconds", &window, "--settle-ms", &settle],
        });
        arguments.extend(self.is_unbroken().then_some("--unbroken"));
        arguments.extend(match self.kind {
            Kind::Speaking => vec!["--caller", TALK],
            Kind::BargeIn => vec!["--caller", INTERRUPTION, "--speak-every-ms", "8000"],
            Kind::Keys => vec!["--key-every-ms", "4000"],
            _ => Vec::new(),
        });
        arguments.extend(voice.map(|voice| ["--tts-listen", voice]).into_iter().flatten());
        arguments.into_iter().map(str::to_owned).collect()
    }

    fn configuration(&self, voice: &str) -> String {
        // From the first call to the end of the window, and some more, so that nobody falls silent.
        let seconds = self.calls.min(2_000) / RAMP + SETTLE_S + WINDOW_S + 15;
        let speech = SENTENCE.repeat((seconds / 5) as usize + 1);
        let speech = speech.trim();
        let rate = if self.kind == Kind::Wide { 16_000 } else { 8_000 };
        let (policy, line) = match self.kind {
            Kind::Keys | Kind::BargeIn => ("any", speech),
            _ => ("none", ""),
        };
        let mut text = String::new();
        let _ = write!(
            text,
            "[server]\nlisten = \"127.0.0.1:0\"\nmax_calls = 20000\n\
             [speech]\nchain = [\"cartesia\"]\nphrase_cache_mib = 0\n\
             [speech.cartesia]\nurl = \"ws://{voice}/tts/websocket\"\napi_key = \"load\"\nsample_rate = {rate}\n\
             [barge_in]\npolicy = \"{policy}\"\n\
             [agent.script]\ngreeting = \"{speech}\"\nlines = [\"{line}\"]\n\
             [log]\nlevel = \"error\"\n"
        );
        if self.kind == Kind::Pairs {
            text.push_str("[playout]\nframes_per_write = 2\n");
        }
        if self.kind == Kind::Keys {
            let _ = write!(text, "[agent.script.digits]\n1 = \"{line}\"\n");
        }
        text.replace("lines = [\"\"]", "lines = []")
    }
}

impl Outcome {
    /// A number of the report, by its path.
    pub(crate) fn figure(&self, path: &str) -> Option<f64> {
        self.report.pointer(path).and_then(Value::as_f64)
    }

    /// Frames that unbroken speech would have been and that did not come, in rows that have it.
    pub(crate) fn missing(&self) -> Option<f64> {
        let (all, some) = self.figure("/frames_unbroken").zip(self.figure("/frames"))?;
        self.row.is_unbroken().then_some((all - some).max(0.0))
    }

    /// What keeps the row from holding: it holds if every call was made and heard all the time, frames were not later than
    /// `late_ms_max` at the 99th percentile, and the figures are the gateway's. A figure that is not there keeps it too.
    pub(crate) fn lacks(&self, late_ms_max: f64) -> Vec<String> {
        /// At the edges of the window frames fall to one side or the other, two at a time if they are written so.
        const MISSING_PER_CALL: f64 = 2.0;
        let calls = f64::from(self.row.calls);
        let figure = |path: &str| self.figure(path).unwrap_or(f64::NAN);
        let (live, heard) = (figure("/live"), self.figure("/start_to_media_ms/count").unwrap_or(0.0));
        let (underruns, late, missing) =
            (figure("/underruns"), figure("/send_late_ms/p99"), self.missing().unwrap_or(f64::NAN));
        let lacks = [
            (live == calls, format!("{live} calls live at the end of the window")),
            (heard == calls, format!("{heard} calls heard anything")),
            (underruns == 0.0, format!("{underruns} underruns")),
            (missing <= MISSING_PER_CALL * calls, format!("{missing} frames missing")),
            (late <= late_ms_max, format!("p99 lateness {late} ms")),
        ];
        let lacks = lacks.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what);
        lacks.chain(self.invalid()).collect()
    }

    /// Why the figures are not the gateway's, or not those of what the row is about.
    pub(crate) fn invalid(&self) -> Option<String> {
        let generator = self.report.pointer("/invalid").and_then(Value::as_str).map(str::to_owned);
        let reasons: Vec<String> = generator.into_iter().chain(self.lost.clone()).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

/// What is missing of the tapes or recordings of so many calls: something was counted, or there are not as many files.
fn not_recorded(server: &Server, counters: &[&str], tapes: &Path, calls: u32) -> Option<String> {
    let counted = counters.iter().map(|name| (name, server.counter(name)));
    let lost = counted.into_iter().find(|(_, count)| *count != Some(0.0));
    let files = std::fs::read_dir(tapes).into_iter().flatten().flatten();
    let written = files.filter(|file| file.metadata().is_ok_and(|file| file.len() > 0)).count();
    let lost =
        lost.map(|(name, count)| format!("{name} is {}", count.map_or("not there".to_owned(), |n| n.to_string())));
    lost.or_else(|| (written != calls as usize).then(|| format!("{written} files of {calls} calls")))
}
