//! Comparing what a replay sent with what was expected, line by line and byte by byte.

use std::fmt;

use serde_json::Value;

use super::timeline::printable;
use super::{Line, Sent, ToApp};
use crate::tape::{Audio, Digest};

/// Longest excerpt of a line that is shown, in characters.
const EXCERPT_CHARS: usize = 160;
/// Lines before the first difference that are shown.
const BEFORE: usize = 3;

/// What a replay is to send: one line of JSON for each [`Line`], in a file beside the tape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected(Vec<String>);

/// The first place where a replay went another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Counts from 1.
    pub line: usize,
    /// The line that should stand there, if any.
    pub expected: Option<String>,
    /// The line that stands there, if any.
    pub got: Option<String>,
    /// What both agree on before.
    pub before: Vec<String>,
}

impl Expected {
    /// What `lines` would be expected to be. Frames of audio are left out where the tape has none: there only the control
    /// messages, reports and what goes to voices can be compared.
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a Line>, audio: Audio) -> Self {
        let is_kept = |line: &&Line| audio == Audio::Keep || !is_media(&line.sent);
        let lines = lines.into_iter().filter(is_kept);
        Expected(lines.filter_map(|line| serde_json::to_string(line).ok()).collect())
    }

    /// Reads the text of a file.
    pub fn parse(text: &str) -> Self {
        Expected(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
    }

    /// The lines.
    pub fn lines(&self) -> &[String] {
        &self.0
    }

    /// The first difference between this, and what was `got`.
    pub fn difference(&self, got: &Expected) -> Option<Difference> {
        let longest = self.0.len().max(got.0.len());
        let at = (0..longest).find(|at| self.0.get(*at) != got.0.get(*at))?;
        let before = self.0.get(at.saturating_sub(BEFORE)..at).unwrap_or_default().to_vec();
        Some(Difference { line: at + 1, expected: self.0.get(at).cloned(), got: got.0.get(at).cloned(), before })
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "first difference in line {}", self.line)?;
        for line in &self.before {
            writeln!(f, "    both      {}", excerpt(&readable(line), 0))?;
        }
        let (expected, got) = self.excerpts();
        writeln!(f, "    expected  {expected}")?;
        write!(f, "    got       {got}")?;
        if let (Some(expected), Some(got)) = (&self.expected, &self.got) {
            let at = expected.bytes().zip(got.bytes()).take_while(|(a, b)| a == b).count();
            write!(f, "\n    they part at byte {at}")?;
        }
        Ok(())
    }
}

impl Difference {
    /// Both lines where they part.
    fn excerpts(&self) -> (String, String) {
        let nothing = || "nothing".to_owned();
        let (Some(expected), Some(got)) = (&self.expected, &self.got) else {
            let shown =
                |line: &Option<String>| line.as_deref().map_or_else(nothing, |line| excerpt(&readable(line), 0));
            return (shown(&self.expected), shown(&self.got));
        };
        let (a, b) = (readable(expected), readable(got));
        // Lines can mean the same and be written in different ways.
        let (a, b) = if a == b { (printable(expected), printable(got)) } else { (a, b) };
        let at = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
        (excerpt(&a, at), excerpt(&b, at))
    }
}

/// Why a replay did not send what the live call sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call sent {live:?} to its carrier, the replay {replayed:?}")]
pub struct Unfaithful {
    /// What the tape says.
    pub live: Digest,
    /// What the replay sent.
    pub replayed: Digest,
}

fn is_media(sent: &Sent) -> bool {
    match sent {
        Sent::Carrier(text) => serde_json::from_str::<Value>(text).is_ok_and(|message| event_of(&message) == "media"),
        Sent::Voice { .. } | Sent::Hearing { .. } | Sent::App(_) | Sent::Agent(_) | Sent::End(_) => false,
    }
}

/// A line for people: its time, whom it went to, and a payload only by its length.
fn readable(line: &str) -> String {
    let told = serde_json::from_str::<Line>(line).map(|Line { at, sent }| format!("{at} {}", told(&sent)));
    printable(&told.unwrap_or_else(|_| line.to_owned()))
}

/// What was sent, in a few words.
pub(super) fn told(sent: &Sent) -> String {
    match sent {
        Sent::Carrier(text) => {
            let message: Value = serde_json::from_str(text).unwrap_or_default();
            match (event_of(&message), message.pointer("/media/payload").and_then(Value::as_str)) {
                ("media", Some(payload)) => {
                    format!("-> carrier media, payload of {} characters, crc32 {:08x}", payload.len(), crc(payload))
                }
                _ => format!("-> carrier {text}"),
            }
        }
        Sent::Voice { voice, what } => {
            format!("-> voice {voice} {}", serde_json::to_string(what).unwrap_or_default())
        }
        Sent::Hearing { link, what } => {
            format!("-> hearing {link} {}", serde_json::to_string(what).unwrap_or_default())
        }
        Sent::App(ToApp::Text(text)) => format!("-> app {text}"),
        Sent::App(ToApp::Close { code }) => format!("-> app close {code}"),
        Sent::Agent(report) => format!("-> agent {}", serde_json::to_string(report).unwrap_or_default()),
        Sent::End(reason) => format!("the end: {}", serde_json::to_string(reason).unwrap_or_default()),
    }
}

fn crc(text: &str) -> u32 {
    crc32fast::hash(text.as_bytes())
}

fn event_of(message: &Value) -> &str {
    message.get("event").and_then(Value::as_str).unwrap_or_default()
}

/// What a text has around its character number `at`, and from its beginning if that is near.
fn excerpt(text: &str, at: usize) -> String {
    let from = if at < EXCERPT_CHARS { 0 } else { at - EXCERPT_CHARS / 2 };
    let mut chars = text.chars().skip(from);
    let shown: String = chars.by_ref().take(EXCERPT_CHARS).collect();
    let before = if from > 0 { "..." } else { "" };
    let after = if chars.next().is_some() { "..." } else { "" };
    format!("{before}{shown}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CallTime;

    fn line(ms: u64, text: &str) -> Line {
        Line { at: CallTime::from_millis(ms), sent: Sent::Carrier(text.to_owned()) }
    }

    #[test]
    fn the_first_difference_is_shown_readably() {
        let media = |payload: &str| format!("{{\"event\":\"media\",\"media\":{{\"payload\":\"{payload}\"}}}}");
        let lines = [line(20, &media("AAAA")), line(40, &media("BBBB")), line(60, "{\"event\":\"clear\"}")];
        let expected = Expected::of(&lines, Audio::Keep);
        assert_eq!(expected.difference(&Expected::parse(&expected.to_string())), None);
        let got = Expected::of(&[line(20, &media("AAAA")), line(40, &media("BBCB"))], Audio::Keep);
        let difference = expected.difference(&got).unwrap();
        assert_eq!(difference.line, 2);
        let shown = difference.to_string();
        assert!(shown.contains("expected  0.040s -> carrier media, payload of 4 characters"), "{shown}");
        assert!(shown.contains("they part at byte"), "{shown}");
        // A line too few is a difference as well; without audio, frames are not compared.
        let short = Expected::of(&lines[..2], Audio::Keep);
        assert_eq!(expected.difference(&short).map(|difference| difference.line), Some(3));
        assert_eq!(Expected::of(&lines, Audio::Silence).lines().len(), 1);
    }

    #[test]
    fn a_difference_far_into_a_line_is_in_sight() {
        let (long, other) = (format!("{}wanted", "x".repeat(700)), format!("{}came", "x".repeat(700)));
        let of =
            |name: &str| Expected::of(&[line(20, &format!("{{\"event\":\"mark\",\"mark\":\"{name}\"}}"))], Audio::Keep);
        let shown = of(&long).difference(&of(&other)).unwrap().to_string();
        assert!(shown.contains("xxwanted") && shown.contains("xxcame"), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() < 2 * EXCERPT_CHARS), "{shown}");
        // Written differently, with the same meaning.
        let spaced = Expected::parse(&of("a").to_string().replacen(':', ": ", 1));
        let shown = of("a").difference(&spaced).unwrap().to_string();
        assert!(
            shown.contains("expected  {\"at_us\":20000") && shown.contains("got       {\"at_us\": 20000"),
            "{shown}"
        );
    }

    #[test]
    fn nothing_that_was_sent_reaches_the_terminal_as_a_command() {
        let sent = Expected::parse("\u{1b}[2Jno line of ours\n");
        let shown = Expected::parse("").difference(&sent).unwrap().to_string();
        assert!(shown.contains("\\u{1b}[2J") && !shown.contains('\u{1b}'), "{shown}");
    }
}
