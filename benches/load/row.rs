//! One row: what the gateway is told, what the callers do, and what came of it.

use std::fmt::Write as _;

use serde_json::Value;

use crate::processes::{Scratch, Server, free_address, generate};

/// The sentence that is spoken over and over: 98 characters, which the voice takes 5.3 seconds for.
const SENTENCE: &str =
    "The next stop on this line is the old harbour, where you can change for the ferry to the islands. ";

/// Length of the window in seconds: two turns of the queue, which is filled to 20 s of speech and refilled at 10 s.
const WINDOW_S: u32 = 20;

/// New calls a second.
const RAMP: u32 = 100;

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
    /// Silent callers, each call recorded.
    Recorded,
    /// Callers press a key every four seconds, which interrupts.
    Keys,
    /// Callers interrupt by speaking, every eight seconds.
    BargeIn,
    /// Calls of a second, 200 new ones a second, and `after` before them that do not count.
    Short { after: u32 },
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) calls: u32,
}

/// A row and its figures.
pub(crate) struct Outcome {
    pub(crate) row: Row,
    pub(crate) report: Value,
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
            Kind::Keys => format!("a key every 4 s, {calls}"),
            Kind::BargeIn => format!("an interruption every 8 s, {calls}"),
            Kind::Short { after } => format!("calls of 1 s, {calls} after {after}"),
        }
    }

    /// Starts a server, makes the calls, and stops it.
    pub(crate) fn run(self) -> Outcome {
        let report = match self.kind {
            Kind::Floor => {
                let server = Server::start(&["emulate", "floor", "--listen", "127.0.0.1:0"]);
                generate(&self.arguments(&server.url, &server.pid(), self.calls, None))
            }
            kind => {
                let (scratch, voice) = (Scratch::new(), free_address());
                let file = scratch.path().join("load.toml");
                std::fs::write(&file, self.configuration(&voice)).expect("the configuration can be written");
                let tapes = scratch.path().join("tapes");
                let (file, tapes) = (file.to_string_lossy().into_owned(), tapes.to_string_lossy().into_owned());
                let mut serve = vec!["serve", "--config", &file];
                if kind == Kind::Recorded {
                    serve.extend(["--record", &tapes]);
                }
                let server = Server::start(&serve);
                let url = format!("{}/twilio/media", server.url.replacen("http", "ws", 1));
                let arguments = |calls| self.arguments(&url, &server.pid(), calls, Some(&voice));
                if let Kind::Short { after } = kind {
                    generate(&arguments(after));
                }
                generate(&arguments(self.calls))
            }
        };
        Outcome { row: self, report }
    }

    fn arguments(&self, url: &str, pid: &str, calls: u32, voice: Option<&str>) -> Vec<String> {
        let calls = calls.to_string();
        let (ramp, window) = (RAMP.to_string(), WINDOW_S.to_string());
        let mut arguments = vec!["call", url, "--json", "--calls", &calls, "--watch", pid];
        arguments.extend(match self.kind {
            Kind::Short { .. } => ["--ramp", "200", "--each-ms", "1000"],
            _ => ["--ramp", &ramp, "--seconds", &window],
        });
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
        let seconds = self.calls.min(2_000) / RAMP + WINDOW_S + 15;
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
             [speech]\nprovider = \"cartesia\"\n\
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

    /// Whether nobody heard a gap, frames were not too late, every call was made, and the generator was not the bottleneck.
    pub(crate) fn holds(&self, late_ms_max: f64) -> bool {
        let is = |path: &str, limit: f64| self.figure(path).is_some_and(|figure| figure <= limit);
        let all_live = self.figure("/live") == Some(f64::from(self.row.calls));
        is("/underruns", 0.0) && is("/send_late_ms/p99", late_ms_max) && all_live && self.is_valid()
    }

    /// Whether the figures are the gateway's and not the generator's.
    pub(crate) fn is_valid(&self) -> bool {
        self.report.pointer("/invalid").is_none_or(Value::is_null)
    }
}
