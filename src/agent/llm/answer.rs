//! From the events of a stream to an answer: text as it comes, calls of tools once they are whole.

use serde_json::Value;

use super::wire::{CallPart, Chunk, code_of};

/// Text of one answer that is read, in bytes: some twenty minutes of speech.
pub const TEXT_BYTES_MAX: usize = 32 * 1024;
/// Arguments of one call of a tool, in bytes.
pub const ARGUMENTS_BYTES_MAX: usize = 16 * 1024;
/// Calls of tools in one answer.
pub const CALLS_MAX: usize = 16;
/// Name and id of a call, in bytes each.
const NAME_BYTES_MAX: usize = 256;

/// What an answer brings.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerEvent {
    /// Text to speak, verbatim: white space belongs to it.
    Text(String),
    /// The model has begun to call a tool.
    Calling,
    /// A sign of life without anything in it.
    Alive,
    /// The answer is whole. Nothing follows.
    Done {
        /// Why it ended.
        finish: Finish,
        /// The tools that the model calls, in its order.
        calls: Vec<ToolCall>,
    },
    /// There is no answer, or no more of it. Nothing follows.
    Failed(AskError),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// All is said.
    Complete,
    /// It had become too long.
    Length,
    /// The server holds the rest back.
    Filtered,
}

/// A tool that the model calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// The model's id of the call; may be empty.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// A text that should be a JSON object.
    pub arguments: String,
}

/// Why a question was not answered, or not to the end. Holds nothing of what was said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No connection, or none in time.
    #[error("the model's server cannot be reached")]
    Unreachable,
    /// The server answered with an error before it began.
    #[error("the model's server answered with status {status} ({code})")]
    Status {
        /// HTTP status.
        status: u16,
        /// The server's word for it.
        code: String,
        /// When it may be asked again, in seconds.
        retry_after_s: Option<u32>,
    },
    /// What came was not a stream of events.
    #[error("the model's server did not answer with a stream of events")]
    NotAStream,
    /// The server reported an error in the middle.
    #[error("the model's server reported an error in mid-answer ({code})")]
    Reported {
        /// The server's word for it.
        code: String,
    },
    /// The connection broke.
    #[error("the connection to the model's server broke")]
    Broken,
    /// The answer ended without an end.
    #[error("the model's answer ended without an end")]
    Truncated,
    /// A piece of the answer was not JSON.
    #[error("a piece of the model's answer makes no sense")]
    Garbage,
    /// An event, an argument or the answer was too long.
    #[error("the model's answer is too long")]
    TooLong,
    /// Nothing was answered in time.
    #[error("the model is silent for too long")]
    Silent,
    /// The whole answer takes too long.
    #[error("the model's answer takes too long")]
    Slow,
    /// Nothing that could be spoken was answered.
    #[error("the model's answer is empty")]
    Empty,
    /// The server held the answer back.
    #[error("the model's server holds the answer back")]
    Filtered,
}

impl AskError {
    /// Whether the same question may be answered at a second try.
    pub fn is_retryable(&self) -> bool {
        match self {
            AskError::Status { status, .. } => matches!(status, 408 | 409 | 425 | 429 | 500..),
            AskError::Unreachable
            | AskError::Reported { .. }
            | AskError::Broken
            | AskError::Truncated
            | AskError::Garbage
            | AskError::Silent
            | AskError::Empty => true,
            AskError::NotAStream | AskError::TooLong | AskError::Slow | AskError::Filtered => false,
        }
    }
}

/// Puts one answer together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    text_bytes: usize,
    calls: Vec<(Option<u64>, ToolCall)>,
    is_over: bool,
}

impl Assembly {
    /// Takes one event of the stream. What it brings is in order, and an end is the last of it.
    pub(super) fn take(&mut self, name: &str, data: &str) -> Vec<AnswerEvent> {
        let data = data.trim();
        if data == "[DONE]" {
            return vec![self.done(Finish::Complete)];
        }
        if name == "error" {
            let error = serde_json::from_str::<Value>(data).unwrap_or_default();
            return vec![reported(error.get("error").unwrap_or(&error))];
        }
        if !data.starts_with('{') {
            // Proxies keep streams alive with words of their own.
            return vec![AnswerEvent::Alive];
        }
        let Ok(chunk) = serde_json::from_str::<Chunk>(data) else {
            return vec![AnswerEvent::Failed(AskError::Garbage)];
        };
        if let Some(error) = &chunk.error {
            return vec![reported(error)];
        }
        self.take_chunk(chunk)
    }

    fn take_chunk(&mut self, chunk: Chunk) -> Vec<AnswerEvent> {
        let mut events = Vec::new();
        let own = |index: Option<u64>| index.unwrap_or(0) == 0;
        for choice in chunk.choices.into_iter().flatten().filter(|choice| own(choice.index)) {
            let delta = choice.delta.unwrap_or_default();
            let text = delta.text();
            self.text_bytes += text.len();
            if self.text_bytes > TEXT_BYTES_MAX {
                events.push(AnswerEvent::Failed(AskError::TooLong));
                return events;
            }
            if !text.is_empty() {
                events.push(AnswerEvent::Text(text));
            }
            for part in delta.tool_calls.into_iter().flatten() {
                if !self.take_call(part) {
                    events.push(AnswerEvent::Failed(AskError::TooLong));
                    return events;
                }
                events.push(AnswerEvent::Calling);
            }
            if let Some(reason) = choice.finish_reason {
                events.push(self.done(finish_of(&reason)));
                return events;
            }
        }
        if events.is_empty() {
            events.push(AnswerEvent::Alive);
        }
        events
    }

    /// The stream ended without saying so. What a half-written call would have done is not done.
    pub(super) fn end(&self) -> AnswerEvent {
        AnswerEvent::Failed(AskError::Truncated)
    }

    /// Whether the answer is whole.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    fn done(&mut self, finish: Finish) -> AnswerEvent {
        self.is_over = true;
        let calls = std::mem::take(&mut self.calls).into_iter().map(|(_, call)| call).collect();
        AnswerEvent::Done { finish, calls }
    }

    /// Adds a part of a call; `false` if there is too much of it.
    fn take_call(&mut self, part: CallPart) -> bool {
        let function = part.function.unwrap_or_default();
        let (id, name) = (part.id.unwrap_or_default(), function.name.unwrap_or_default());
        let arguments = match function.arguments {
            Some(Value::String(text)) => text,
            Some(whole @ (Value::Object(_) | Value::Array(_))) => whole.to_string(),
            Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => String::new(),
        };
        if id.len() > NAME_BYTES_MAX || name.len() > NAME_BYTES_MAX {
            return false;
        }
        let index = part.index;
        let known = match index {
            Some(_) => self.calls.iter().rposition(|(known, _)| known.unwrap_or(0) == index.unwrap_or(0)),
            None => self.calls.len().checked_sub(1),
        };
        // Some servers repeat the id with every part, some give every call the same index, and some give none.
        let known = known.and_then(|at| self.calls.get_mut(at)).filter(|(_, call)| {
            let is_other = !id.is_empty() && !call.id.is_empty() && id != call.id;
            !is_other
        });
        match known {
            Some((_, call)) => {
                if call.id.is_empty() {
                    call.id = id;
                }
                if call.name.is_empty() {
                    call.name = name;
                }
                call.arguments.push_str(&arguments);
                call.arguments.len() <= ARGUMENTS_BYTES_MAX
            }
            None => {
                let fits = self.calls.len() < CALLS_MAX && arguments.len() <= ARGUMENTS_BYTES_MAX;
                self.calls.push((index, ToolCall { id, name, arguments }));
                fits
            }
        }
    }
}

fn reported(error: &Value) -> AnswerEvent {
    AnswerEvent::Failed(AskError::Reported { code: code_of(error) })
}

fn finish_of(reason: &str) -> Finish {
    match reason {
        "length" => Finish::Length,
        "content_filter" => Finish::Filtered,
        // `stop`, `tool_calls`, and what vendors may think of.
        _ => Finish::Complete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(events: &[&str]) -> Vec<AnswerEvent> {
        let mut assembly = Assembly::default();
        events.iter().flat_map(|data| assembly.take("message", data)).collect()
    }

    fn delta(delta: &str) -> String {
        format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#)
    }

    fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
        ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() }
    }

    fn calls(parts: &[&str]) -> Vec<ToolCall> {
        let mut assembly = Assembly::default();
        for part in parts {
            let events = assembly.take("message", &delta(&format!(r#"{{"tool_calls":[{part}]}}"#)));
            assert_eq!(events, [AnswerEvent::Calling], "{part}");
        }
        match assembly.take("message", r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#).pop() {
            Some(AnswerEvent::Done { finish: Finish::Complete, calls }) => calls,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn text_is_passed_on_verbatim_and_emptiness_is_a_sign_of_life() {
        let events = all(&[
            &delta(r#"{"role":"assistant","content":""}"#),
            &delta(r#"{"role":"assistant","content":null}"#),
            &delta(r#"{"reasoning_content":"hm"}"#),
            r#"{"choices":[]}"#,
            r#"{"choices":null,"usage":{"total_tokens":3}}"#,
            &delta(r#"{"content":" Tues"}"#),
            &delta(r#"{"content":[{"type":"thinking","thinking":"x"},{"type":"text","text":"day "}]}"#),
            "ping",
        ]);
        let (alive, text) = (AnswerEvent::Alive, |text: &str| AnswerEvent::Text(text.into()));
        let five = vec![alive.clone(); 5];
        assert_eq!(events[..5], five);
        assert_eq!(events[5..], [text(" Tues"), text("day "), alive]);
    }

    #[test]
    fn an_answer_ends_with_its_reason_or_with_the_word_done() {
        let done = |finish| AnswerEvent::Done { finish, calls: vec![] };
        let with =
            |reason: &str| format!(r#"{{"choices":[{{"delta":{{"content":"a"}},"finish_reason":"{reason}"}}]}}"#);
        for (reason, finish) in [
            ("stop", Finish::Complete),
            ("tool_calls", Finish::Complete),
            ("eos", Finish::Complete),
            ("length", Finish::Length),
            ("content_filter", Finish::Filtered),
        ] {
            assert_eq!(all(&[&with(reason)]), [AnswerEvent::Text("a".into()), done(finish)], "{reason}");
        }
        assert_eq!(all(&["[DONE]"]), [done(Finish::Complete)]);
        assert_eq!(Assembly::default().end(), AnswerEvent::Failed(AskError::Truncated));
    }

    #[test]
    fn calls_are_put_together_however_they_are_cut() {
        let weather = call("call_1", "weather", r#"{"city":"Rome"}"#);
        let by_index = calls(&[
            r#"{"index":0,"id":"call_1","type":"function","function":{"name":"weather","arguments":""}}"#,
            r#"{"index":1,"id":"call_2","function":{"name":"end_call","arguments":"{}"}}"#,
            r#"{"index":0,"function":{"arguments":"{\"city\":"}}"#,
            r#"{"index":0,"function":{"arguments":"\"Rome\"}"}}"#,
        ]);
        assert_eq!(by_index, [weather.clone(), call("call_2", "end_call", "{}")]);
        let repeated_id = calls(&[
            r#"{"index":0,"id":"call_1","function":{"name":"weather","arguments":"{\"city\":"}}"#,
            r#"{"index":0,"id":"call_1","function":{"name":"weather","arguments":"\"Rome\"}"}}"#,
        ]);
        assert_eq!(repeated_id.as_slice(), std::slice::from_ref(&weather));
        let no_index = calls(&[
            r#"{"id":"call_1","function":{"name":"weather","arguments":"{\"city\":"}}"#,
            r#"{"function":{"arguments":"\"Rome\"}"}}"#,
            r#"{"id":"call_2","function":{"name":"end_call","arguments":"{}"}}"#,
        ]);
        assert_eq!(no_index, [weather.clone(), call("call_2", "end_call", "{}")]);
        let one_index_for_all = calls(&[
            r#"{"index":0,"id":"call_1","function":{"name":"weather","arguments":{"city":"Rome"}}}"#,
            r#"{"index":0,"id":"call_2","function":{"name":"end_call"}}"#,
        ]);
        assert_eq!(one_index_for_all, [weather, call("call_2", "end_call", "")]);
    }

    #[test]
    fn errors_are_told_by_their_code_alone() {
        let mut assembly = Assembly::default();
        let reported = |code: &str| vec![AnswerEvent::Failed(AskError::Reported { code: code.into() })];
        let error = r#"{"error":{"message":"you said: my PIN is 1234","type":"server_error","code":null}}"#;
        assert_eq!(assembly.take("message", error), reported("server_error"));
        assert_eq!(assembly.take("error", error), reported("server_error"));
        assert_eq!(assembly.take("error", r#"{"message":"x","code":"over loaded\n"}"#), reported("overloaded"));
        assert_eq!(assembly.take("message", r#"{"error":"my PIN is 1234"}"#), reported("unnamed"));
        assert_eq!(assembly.take("message", "{\"choi"), [AnswerEvent::Failed(AskError::Garbage)]);
    }

    #[test]
    fn an_answer_without_end_is_ended() {
        let too_long = AnswerEvent::Failed(AskError::TooLong);
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(all(&[&delta(&format!(r#"{{"content":"{long}"}}"#))]).last(), Some(&too_long));
        let part = |text: &str| delta(&format!(r#"{{"tool_calls":[{{"function":{{"arguments":"{text}"}}}}]}}"#));
        assert_eq!(all(&[&part("x"), &part(&long)]).last(), Some(&too_long));
        let mut assembly = Assembly::default();
        let mut other = |n: usize| assembly.take("message", &delta(&format!(r#"{{"tool_calls":[{{"id":"{n}"}}]}}"#)));
        for n in 0..CALLS_MAX {
            assert_eq!(other(n), [AnswerEvent::Calling]);
        }
        assert_eq!(other(CALLS_MAX), [too_long]);
    }
}
