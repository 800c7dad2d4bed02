//! What happened in a call, in lines for people.

use serde_json::Value;

use super::check::told;
use super::{Line, Sent, ToVoice};
use crate::call::action::{AgentReport, TtsCommand};
use crate::call::event::{AgentEvent, TtsEvent};
use crate::dialect::{Body, Input, Port};
use crate::ids::CallTime;
use crate::tape::{Entry, What};

/// Tells a call. Frames, chunks and marks are gathered into one line; everything else has a line of its own.
#[derive(Debug, Default)]
pub struct Timeline {
    frames: u64,
    chunks: u64,
    marks: u64,
    echoes: u64,
}

impl Timeline {
    /// The lines of one step.
    pub fn step(&mut self, entry: &Entry, sent: &[Line]) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(line) = self.taken(&entry.what) {
            self.note(&mut lines, entry.at, &line);
        }
        for Line { at, sent } in sent {
            if let Some(line) = self.sent(sent) {
                self.note(&mut lines, *at, &line);
            }
        }
        lines
    }

    /// What was gathered last.
    pub fn rest(&mut self, at: CallTime) -> Option<String> {
        self.gathered().map(|line| format!("{at:>10}  {line}"))
    }

    fn note(&mut self, lines: &mut Vec<String>, at: CallTime, line: &str) {
        lines.extend(self.rest(at));
        lines.push(format!("{at:>10}  {}", printable(line)));
    }

    fn gathered(&mut self) -> Option<String> {
        let counts = [
            (self.chunks, "<- voice   ", "chunks"),
            (self.frames, "-> carrier ", "frames"),
            (self.marks, "-> carrier ", "marks"),
            (self.echoes, "<- carrier ", "marks back"),
        ];
        *self = Timeline::default();
        let told =
            counts.iter().filter(|(count, ..)| *count > 0).map(|(count, way, what)| format!("{way}{count} {what}"));
        Some(told.collect::<Vec<_>>().join(", ")).filter(|line| !line.is_empty())
    }

    fn taken(&mut self, what: &What) -> Option<String> {
        match what {
            What::Input(Input { port: Port::Carrier, body: Body::Text(text) }) => self.carrier_said(text),
            What::Input(Input { port: Port::Voice { voice, .. }, body }) => self.voice_said(*voice, body),
            What::Input(Input { port: Port::Agent, body: Body::Agent(event) }) => Some(match event {
                AgentEvent::Say(say) => {
                    format!("<- agent   turn {}: {:?}{}", say.turn, say.text, if say.last { ", last" } else { "" })
                }
                AgentEvent::Play(play) => format!("<- agent   turn {}: {:?}", play.turn, play.clip),
                AgentEvent::Clear => "<- agent   clear".to_owned(),
                AgentEvent::HangUp => "<- agent   hang up".to_owned(),
                AgentEvent::End { .. } => "<- agent   end".to_owned(),
                event @ (AgentEvent::Language { .. }
                | AgentEvent::Up { .. }
                | AgentEvent::Lost(_)
                | AgentEvent::Malformed(_)
                | AgentEvent::Ignored) => format!("<- agent   {event:?}"),
            }),
            What::Input(Input { port: Port::Hearing { link }, body }) => {
                Some(format!("<- hearing {link} {}", said(body)))
            }
            What::Input(Input { port: Port::App, body }) => Some(format!("<- app     {}", said(body))),
            What::Input(Input { port, body }) => Some(format!("<- {port:?} {}", by_length(body))),
            What::Wake | What::End(_) => None,
            What::Drain => Some("the node is about to stop".to_owned()),
            What::Leave => Some("the node stops and says goodbye".to_owned()),
            What::Speech(speech) => Some(format!("<- detector {speech:?}")),
            What::Lost(lines) => Some(format!("{lines} lines are missing here")),
        }
    }

    fn carrier_said(&mut self, text: &str) -> Option<String> {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        match message.get("event").and_then(Value::as_str) {
            Some("media") => None,
            Some("mark") => {
                self.echoes += 1;
                None
            }
            Some(event) => Some(match message.pointer("/dtmf/digit").and_then(Value::as_str) {
                Some(digit) => format!("<- carrier {event} {digit}"),
                None => format!("<- carrier {event}"),
            }),
            None => Some("<- carrier something that makes no sense".to_owned()),
        }
    }

    fn voice_said(&mut self, voice: usize, body: &Body) -> Option<String> {
        let kind = match body {
            Body::Text(text) => {
                let message: Value = serde_json::from_str(text).unwrap_or_default();
                kind_of(&message).to_owned()
            }
            Body::Voice(TtsEvent::Audio { .. } | TtsEvent::TimedAudio { .. }) => "chunk".to_owned(),
            Body::Voice(TtsEvent::Words { .. }) => "timestamps".to_owned(),
            Body::Voice(TtsEvent::Done { .. }) => "done".to_owned(),
            Body::Voice(
                event @ (TtsEvent::Up { .. }
                | TtsEvent::Down { .. }
                | TtsEvent::Spoken { .. }
                | TtsEvent::Granted { .. }
                | TtsEvent::Failed { .. }
                | TtsEvent::Ignored
                | TtsEvent::Garbage),
            ) => format!("{event:?}"),
            Body::Up => "up".to_owned(),
            // Some vendors send audio as it is.
            Body::Binary(_) => "chunk".to_owned(),
            Body::Oversize | Body::Refused(_) | Body::Closed { .. } | Body::Stuck | Body::Agent(_) => by_length(body),
        };
        match kind.as_str() {
            "chunk" => {
                self.chunks += 1;
                None
            }
            "timestamps" | "flush_done" | "flushed" | "text" | "ready" | "need_more_text" => None,
            _ => Some(format!("<- voice {voice} {kind}")),
        }
    }

    fn sent(&mut self, sent: &Sent) -> Option<String> {
        match sent {
            Sent::Carrier(text) if text.contains("\"event\":\"media\"") => {
                self.frames += 1;
                None
            }
            Sent::Carrier(text) if text.contains("\"event\":\"mark\"") => {
                self.marks += 1;
                None
            }
            Sent::Carrier(_) => Some("-> carrier clear".to_owned()),
            Sent::Voice { voice, what } => Some(match what {
                ToVoice::Dial => format!("-> voice {voice} dial"),
                ToVoice::HangUp => format!("-> voice {voice} hang up"),
                ToVoice::Text(text) => format!("-> voice {voice} {}", request(text)),
                ToVoice::Command(TtsCommand::Speak { text, .. }) => format!("-> voice {voice} speak {text:?}"),
                ToVoice::Command(
                    command @ (TtsCommand::Dial { .. }
                    | TtsCommand::HangUp { .. }
                    | TtsCommand::Reserve { .. }
                    | TtsCommand::Flush { .. }
                    | TtsCommand::Finish { .. }
                    | TtsCommand::Play { .. }
                    | TtsCommand::Cancel { .. }),
                ) => format!("-> voice {voice} {}", name_of(command)),
            }),
            // What is heard little by little is told when the turn ends.
            Sent::Agent(AgentReport::Heard { .. }) => None,
            Sent::Agent(_) | Sent::Hearing { .. } | Sent::App(_) | Sent::End(_) => Some(told(sent)),
        }
    }
}

/// A message as it stands, anything else by what it is.
fn said(body: &Body) -> String {
    match body {
        Body::Text(text) => text.clone(),
        Body::Binary(_)
        | Body::Oversize
        | Body::Up
        | Body::Refused(_)
        | Body::Closed { .. }
        | Body::Stuck
        | Body::Agent(_)
        | Body::Voice(_) => by_length(body),
    }
}

/// What came, bytes only by how many they are.
fn by_length(body: &Body) -> String {
    match body {
        Body::Binary(bytes) => format!("binary, {} bytes", bytes.len()),
        Body::Text(_)
        | Body::Oversize
        | Body::Up
        | Body::Refused(_)
        | Body::Closed { .. }
        | Body::Stuck
        | Body::Agent(_)
        | Body::Voice(_) => format!("{body:?}"),
    }
}

/// The text with everything escaped that a terminal would obey or hide: peers can write what they like.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

fn name_of(command: &TtsCommand) -> &'static str {
    match command {
        TtsCommand::Dial { .. } => "dial",
        TtsCommand::HangUp { .. } => "hang up",
        TtsCommand::Reserve { .. } => "reserve",
        TtsCommand::Speak { .. } => "speak",
        TtsCommand::Flush { .. } => "flush",
        TtsCommand::Finish { .. } => "finish",
        TtsCommand::Play { .. } => "play",
        TtsCommand::Cancel { .. } => "cancel",
    }
}

/// What a vendor's message is. Vendors have different names for what is alike, and one has none.
fn kind_of(message: &Value) -> &str {
    match message.get("type").and_then(Value::as_str) {
        Some("audio") => "chunk",
        Some(kind) => kind,
        None if message.get("error").is_some() || message.get("code").is_some() => "error",
        None if message.get("isFinal").and_then(Value::as_bool) == Some(true) => "done",
        None if message.get("audio").is_some() => "chunk",
        None => "nonsense",
    }
}

/// A request to a vendor without what is the same in all of them.
fn request(text: &str) -> String {
    let message: Value = serde_json::from_str(text).unwrap_or_default();
    let word = |names: &[&str]| names.iter().find_map(|name| message.get(*name)?.as_str());
    let context = word(&["context_id", "contextId", "client_req_id"]).unwrap_or("?");
    let flag = |name| message.get(name).and_then(Value::as_bool).unwrap_or(false);
    match word(&["type", "operation"]) {
        Some("text") => return format!("speak {context} {:?}", word(&["text"]).unwrap_or_default()),
        // What is for all that a socket holds bears no name.
        Some(kind) => {
            let named = format!("{} {context}", kind.to_lowercase());
            let named = named.trim_end_matches(" ?");
            return word(&["text"]).map_or_else(|| named.to_owned(), |text| format!("{named} {text:?}"));
        }
        None if flag("close_context") => return format!("close {context}"),
        None => {}
    }
    let transcript = word(&["transcript", "text"]).unwrap_or_default();
    match (flag("cancel"), transcript, flag("flush"), flag("continue")) {
        (true, ..) => format!("cancel {context}"),
        (_, "", true, _) => format!("flush {context}"),
        (_, "", _, false) => format!("finish {context}"),
        (_, transcript, ..) => format!("speak {context} {transcript:?}"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_peer_cannot_command_the_terminal() {
        let told = |port, body| {
            let entry = Entry { at: CallTime::ZERO, what: What::Input(Input { port, body }) };
            Timeline::default().step(&entry, &[]).join("\n")
        };
        let voice = Port::Voice { voice: 0, link: 1 };
        let escape = "\\u001b]0;gone\\u0007\\u009b1A";
        for (port, text) in [
            (Port::Carrier, format!("{{\"event\":\"{escape}\"}}")),
            (Port::Carrier, format!("{{\"event\":\"dtmf\",\"dtmf\":{{\"digit\":\"{escape}\"}}}}")),
            (voice, format!("{{\"type\":\"{escape}\"}}")),
        ] {
            let line = told(port, Body::Text(text));
            assert!(line.contains("gone") && !line.contains(char::is_control), "{line}");
        }
        assert!(told(Port::Carrier, Body::Binary(Bytes::from(vec![7; 1_000]))).ends_with("binary, 1000 bytes"));
    }

    #[test]
    fn what_a_vendor_is_asked_and_sends_is_told_in_its_own_words() {
        assert_eq!(request(r#"{"type":"Speak","text":"One."}"#), r#"speak "One.""#);
        assert_eq!(request(r#"{"type":"Clear"}"#), "clear");
        assert_eq!(request(r#"{"context_id":"MZ1-1.1","cancel":true}"#), "cancel MZ1-1.1");
        let (mut timeline, port) = (Timeline::default(), Port::Voice { voice: 0, link: 1 });
        for _ in 0..2 {
            let body = Body::Binary(Bytes::from_static(&[7; 10]));
            let entry = Entry { at: CallTime::ZERO, what: What::Input(Input { port, body }) };
            assert_eq!(timeline.step(&entry, &[]), Vec::<String>::new());
        }
        assert!(timeline.rest(CallTime::ZERO).unwrap().ends_with("<- voice   2 chunks"));
    }
}
