//! From an answer and its faults to what is written when: a pure function, so that every byte is known beforehand.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{Answer, Part};
use super::fault::{FaultKind, Faults};

/// What happens next to a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So much later than the step before.
    Wait(Duration),
    /// These bytes in one write of their own; with them so many tokens are complete.
    Write { bytes: Bytes, tokens: u32 },
    /// Nothing more, for ever.
    Stall,
    /// The connection is closed, the body has no end.
    Cut,
    /// The body ends as it should, but what it says is that something failed.
    Failed,
}

/// How fast a model speaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) first_token: Duration,
    pub(super) token: Duration,
}

/// The faults of a rule, then those of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switches<'a> {
    pub(super) rule: Option<&'a Faults>,
    pub(super) server: &'a Faults,
}

impl Switches<'_> {
    /// Lets a fault happen: its amount if it is on.
    pub(super) fn take(&self, kind: FaultKind) -> Option<u32> {
        self.rule.and_then(|faults| faults.take(kind)).or_else(|| self.server.take(kind))
    }

    fn is_taken(&self, kind: FaultKind) -> bool {
        self.take(kind).is_some()
    }

    /// Lets a fault happen if its amount is at most `tokens`.
    fn take_within(&self, kind: FaultKind, tokens: u32) -> Option<u32> {
        let within = |faults: &&Faults| faults.amount(kind).is_some_and(|amount| amount <= tokens);
        let of_rule = self.rule.filter(within).and_then(|faults| faults.take(kind));
        of_rule.or_else(|| Some(self.server).filter(within).and_then(|faults| faults.take(kind)))
    }
}

/// An answer as a stream of server-sent events.
pub(super) fn stream(answer: &Answer, pace: Pace, faults: Switches<'_>) -> Vec<Step> {
    if faults.is_taken(FaultKind::Silent) {
        return vec![Step::Stall];
    }
    let has_calls = !answer.parts.iter().all(is_text);
    let whole_calls = has_calls && faults.is_taken(FaultKind::WholeToolCall);
    let parts: Vec<&Part> = answer.parts.iter().filter(|part| !whole_calls || is_text(part)).collect();
    let trouble = Trouble::of(&parts, faults);
    let mut out = Writer::new(faults);
    out.wait(pace.first_token);
    if out.noise {
        out.line(": the model is loading", 0);
        out.event(&answer.with_choices(json!([])), 0);
    }
    out.event(&answer.chunk(&answer.delta_begin(), None), 0);
    let mut pause = Duration::ZERO;
    for (index, part) in parts.iter().enumerate() {
        if trouble.as_ref().is_some_and(|trouble| trouble.before == index) {
            break;
        }
        if part.tokens() > 0 {
            out.wait(std::mem::replace(&mut pause, pace.token));
        }
        if out.noise {
            out.line(": ping", 0);
            out.event(&answer.chunk(&json!({"reasoning_content": "hm"}), None), 0);
        }
        out.event(&answer.chunk(&Answer::delta(part), None), part.tokens());
    }
    if let Some(trouble) = trouble {
        return out.fail(trouble.ending);
    }
    if whole_calls {
        out.wait(pause);
        // As they stand in a message that is not streamed, which is what such servers do: no `index`.
        let tokens = answer.parts.iter().filter(|part| !is_text(part)).map(Part::tokens).sum();
        out.event(&answer.chunk(&json!({"tool_calls": answer.calls()}), None), tokens);
    }
    out.event(&answer.chunk(&json!({}), Some(answer.finish)), 0);
    if answer.include_usage {
        out.event(&answer.usage_chunk(), 0);
    }
    if !faults.is_taken(FaultKind::NoDone) {
        out.data("[DONE]", 0);
    }
    out.finish()
}

fn is_text(part: &Part) -> bool {
    matches!(part, Part::Text(_))
}

/// An answer as one JSON object. Faults that are about a stream do not happen to it.
pub(super) fn whole(answer: &Answer, pace: Pace, faults: Switches<'_>) -> Vec<Step> {
    if faults.is_taken(FaultKind::Silent) {
        return vec![Step::Stall];
    }
    let mut out = Writer::new(faults);
    let tokens = answer.tokens();
    out.wait(pace.first_token + pace.token * tokens.saturating_sub(1));
    let text = answer.completion().to_string();
    for (kind, ending) in [(FaultKind::Drop, Ending::Cut), (FaultKind::Stall, Ending::Stall)] {
        if faults.take_within(kind, tokens).is_some() {
            let (half, _) = text.as_bytes().split_at(text.len() / 2);
            out.raw(half, 0);
            return out.fail(ending);
        }
    }
    out.raw(text.as_bytes(), tokens);
    out.finish()
}

/// How a body ends that does not end well.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Stall,
    Error,
    ErrorEvent,
    Cut,
}

/// What ends a stream in its middle.
#[derive(Debug)]
struct Trouble {
    ending: Ending,
    /// The index of the first part that is not written any more.
    before: usize,
}

impl Trouble {
    fn of(parts: &[&Part], faults: Switches<'_>) -> Option<Self> {
        let tokens: u32 = parts.iter().map(|part| part.tokens()).sum();
        for (kind, ending) in [
            (FaultKind::Stall, Ending::Stall),
            (FaultKind::ErrorMidway, Ending::Error),
            (FaultKind::ErrorEvent, Ending::ErrorEvent),
            (FaultKind::Drop, Ending::Cut),
        ] {
            if let Some(amount) = faults.take_within(kind, tokens) {
                return Some(Self { ending, before: after_tokens(parts, amount) });
            }
        }
        let begin = parts.iter().position(|part| matches!(part, Part::Call { .. }))?;
        let is_first = |part: &&&Part| matches!(part, Part::Arguments { index: 0, .. });
        let half = parts.iter().filter(is_first).count() / 2;
        faults.take(FaultKind::DropInTool).map(|_| Self { ending: Ending::Cut, before: begin + 1 + half })
    }
}

/// The index of the part after the first `amount` tokens.
fn after_tokens(parts: &[&Part], amount: u32) -> usize {
    let mut seen = 0;
    let taken = parts.iter().take_while(|part| {
        seen += part.tokens();
        seen <= amount
    });
    taken.count()
}

/// Collects steps, in the framing that the faults ask for.
struct Writer {
    steps: Vec<Step>,
    line_end: &'static str,
    noise: bool,
    /// Length of each write, if the body is to be cut.
    piece_bytes: Option<usize>,
    /// Bytes that do not fill a piece yet.
    rest: Vec<u8>,
    /// Where tokens end in `rest`.
    ends: VecDeque<usize>,
}

impl Writer {
    fn new(faults: Switches<'_>) -> Self {
        Self {
            steps: Vec::new(),
            line_end: if faults.is_taken(FaultKind::Crlf) { "\r\n" } else { "\n" },
            noise: faults.is_taken(FaultKind::Noise),
            piece_bytes: faults.take(FaultKind::Split).and_then(|bytes| usize::try_from(bytes).ok()),
            rest: Vec::new(),
            ends: VecDeque::new(),
        }
    }

    fn wait(&mut self, time: Duration) {
        if !time.is_zero() {
            self.steps.push(Step::Wait(time));
        }
    }

    fn event(&mut self, json: &Value, tokens: u32) {
        self.data(&json.to_string(), tokens);
    }

    fn data(&mut self, data: &str, tokens: u32) {
        self.line(&format!("data: {data}"), tokens);
    }

    /// An event of one line.
    fn line(&mut self, line: &str, tokens: u32) {
        // No `id`: after one, OpenAI's SDK (3.52.0) takes every comment for an event and fails to read it.
        let noise = if self.noise { format!("unheard-of: 1{}", self.line_end) } else { String::new() };
        let end = self.line_end;
        self.raw(format!("{noise}{line}{end}{end}").as_bytes(), tokens);
    }

    fn raw(&mut self, bytes: &[u8], tokens: u32) {
        let Some(length) = self.piece_bytes else {
            return self.steps.push(Step::Write { bytes: Bytes::copy_from_slice(bytes), tokens });
        };
        self.rest.extend_from_slice(bytes);
        self.ends.extend((0..tokens).map(|_| self.rest.len()));
        while self.rest.len() >= length {
            self.piece(length);
        }
    }

    fn piece(&mut self, length: usize) {
        let after = self.rest.split_off(length.min(self.rest.len()));
        let bytes = Bytes::from(std::mem::replace(&mut self.rest, after));
        let complete = self.ends.iter().take_while(|end| **end <= bytes.len()).count();
        self.ends.drain(..complete);
        for end in &mut self.ends {
            *end -= bytes.len();
        }
        self.steps.push(Step::Write { bytes, tokens: u32::try_from(complete).unwrap_or(u32::MAX) });
    }

    fn fail(mut self, ending: Ending) -> Vec<Step> {
        let error = json!({"error": {"message": "The server had an error while answering. This fault was switched on.",
            "type": "server_error", "param": null, "code": null}});
        let last = match ending {
            Ending::Stall => Step::Stall,
            Ending::Cut => Step::Cut,
            Ending::Error => {
                self.event(&error, 0);
                Step::Failed
            }
            Ending::ErrorEvent => {
                self.line(&format!("event: error{}data: {error}", self.line_end), 0);
                Step::Failed
            }
        };
        let mut steps = self.finish();
        steps.push(last);
        steps
    }

    fn finish(mut self) -> Vec<Step> {
        if !self.rest.is_empty() {
            self.piece(usize::MAX);
        }
        self.steps
    }
}
