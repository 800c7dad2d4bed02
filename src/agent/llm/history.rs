//! The conversation as the model is shown it: what the caller said, and of what the agent said exactly what was heard.

use std::collections::VecDeque;

use super::answer::ToolCall;
use super::settings::Limits;
use super::wire::{Message, WrittenCall, WrittenFunction};
use crate::ids::TurnId;

/// Longest text of the caller's that is kept, in bytes.
const USER_BYTES_MAX: usize = 8 * 1024;
/// Longest answer of a tool that is kept, in bytes.
pub const RESULT_BYTES_MAX: usize = 8 * 1024;
/// Longest name of a tool, in characters: OpenAI's own limit, which others copied.
const NAME_CHARS_MAX: usize = 64;

/// The conversation so far.
#[derive(Clone, Debug)]
pub struct History {
    system_prompt: String,
    marker: String,
    messages_max: usize,
    bytes_max: usize,
    entries: VecDeque<Entry>,
    /// Counts what the caller said and did, so that an answer prepared for less can be told.
    inputs: u64,
}

#[derive(Clone, Debug)]
enum Entry {
    /// Something that the caller said or did.
    User(String),
    /// A turn that was said.
    Said(Said),
    /// Tools that were called, each with what it answered. They stand or fall together: no server takes one without the other.
    Called(Vec<Called>),
}

/// A turn, as it was sent and as it was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Which.
    pub turn: TurnId,
    /// All text that was sent so far.
    pub sent: String,
    /// What became of it, once that is known.
    pub fate: Option<Fate>,
}

/// What became of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// What the caller heard of it.
    pub heard: String,
    /// It was cut off.
    pub was_cut: bool,
}

#[derive(Clone, Debug)]
struct Called {
    call: WrittenCall,
    result: Option<String>,
}

impl History {
    /// A conversation in which nothing was said.
    pub fn new(system_prompt: &str, marker: &str, limits: &Limits) -> Self {
        History {
            system_prompt: system_prompt.to_owned(),
            marker: marker.to_owned(),
            messages_max: limits.history_messages,
            bytes_max: limits.history_bytes,
            entries: VecDeque::new(),
            inputs: 0,
        }
    }

    /// The caller said or did something.
    pub(super) fn push_user(&mut self, text: &str) {
        self.inputs += 1;
        self.forget();
        self.entries.push_back(Entry::User(bounded(text, USER_BYTES_MAX)));
    }

    /// How often the caller said or did something.
    pub(super) fn inputs(&self) -> u64 {
        self.inputs
    }

    /// Text was sent for a turn; a turn not seen before begins.
    pub(super) fn say(&mut self, turn: TurnId, text: &str) {
        match self.said_mut(turn) {
            Some(said) => said.sent.push_str(text),
            None => self.entries.push_back(Entry::Said(Said { turn, sent: text.to_owned(), fate: None })),
        }
    }

    /// A turn is over. What was not heard was not said.
    pub(super) fn commit(&mut self, turn: TurnId, heard: &str, was_cut: bool) {
        if let Some(said) = self.said_mut(turn) {
            said.fate.get_or_insert(Fate { heard: heard.to_owned(), was_cut });
        }
    }

    /// The model called tools. Ids are made up where the model left them out, and returned in order.
    pub(super) fn call(&mut self, calls: &[ToolCall], request: u32) -> Vec<String> {
        let called: Vec<Called> = calls
            .iter()
            .enumerate()
            .map(|(n, call)| Called { call: written(call, request, n), result: None })
            .collect();
        let ids = called.iter().map(|called| called.call.id.clone()).collect();
        self.entries.push_back(Entry::Called(called));
        ids
    }

    /// What the tool in place `n` of the latest that were called answered.
    pub(super) fn answer(&mut self, n: usize, result: &str) {
        let called = self.entries.iter_mut().rev().find_map(|entry| match entry {
            Entry::Called(called) => called.get_mut(n),
            Entry::User(_) | Entry::Said(_) => None,
        });
        if let Some(called) = called {
            called.result.get_or_insert(bounded(result, RESULT_BYTES_MAX));
        }
    }

    /// Every turn that is remembered, in the order of speech.
    pub fn said(&self) -> impl Iterator<Item = &Said> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Said(said) => Some(said),
            Entry::User(_) | Entry::Called(_) => None,
        })
    }

    /// The messages of a request. `guess` stands for words of the caller that are not certain yet.
    ///
    /// Neighbours of one role become one message, because the templates of many models want roles to alternate. A request
    /// ends with what has to be answered: words of our own behind it, such as "one moment, please", are left to the next.
    pub fn messages(&self, guess: Option<&str>) -> Vec<Message> {
        let mut messages = Vec::new();
        if !self.system_prompt.is_empty() {
            messages.push(Message::System { content: self.system_prompt.clone() });
        }
        for entry in &self.entries {
            match entry {
                Entry::User(text) => push_user(&mut messages, text),
                Entry::Said(said) => push_said(&mut messages, &self.text_of(said)),
                Entry::Called(called) => push_called(&mut messages, called),
            }
        }
        if let Some(guess) = guess {
            push_user(&mut messages, guess);
        }
        if messages.len() > 1 {
            messages.pop_if(|last| matches!(last, Message::Assistant { tool_calls, .. } if tool_calls.is_empty()));
        }
        messages
    }

    /// A turn as the model is shown it: what was heard, or all of it as long as nobody has cut it off.
    fn text_of(&self, said: &Said) -> String {
        match &said.fate {
            None => said.sent.trim().to_owned(),
            Some(fate) => {
                let heard = fate.heard.trim();
                let is_marked = fate.was_cut && !heard.is_empty() && !self.marker.is_empty();
                if is_marked { format!("{heard} {}", self.marker) } else { heard.to_owned() }
            }
        }
    }

    fn said_mut(&mut self, turn: TurnId) -> Option<&mut Said> {
        self.entries.iter_mut().rev().find_map(|entry| match entry {
            Entry::Said(said) if said.turn == turn => Some(said),
            Entry::User(_) | Entry::Said(_) | Entry::Called(_) => None,
        })
    }

    /// Makes room: whole exchanges go, the oldest first. An exchange is what the caller said and all that came of it.
    fn forget(&mut self) {
        while self.count() >= self.messages_max || self.bytes() > self.bytes_max {
            if self.entries.pop_front().is_none() {
                return;
            }
            while self.entries.front().is_some_and(|entry| !matches!(entry, Entry::User(_))) {
                self.entries.pop_front();
            }
        }
    }

    fn count(&self) -> usize {
        self.entries.iter().map(|entry| if let Entry::Called(called) = entry { called.len() + 1 } else { 1 }).sum()
    }

    fn bytes(&self) -> usize {
        let size = |entry: &Entry| match entry {
            Entry::User(text) => text.len(),
            Entry::Said(said) => said.sent.len(),
            Entry::Called(called) => called.iter().map(Called::bytes).sum(),
        };
        self.entries.iter().map(size).sum()
    }
}

impl Called {
    fn bytes(&self) -> usize {
        self.call.function.arguments.len() + self.result.as_ref().map_or(0, String::len)
    }
}

fn push_user(messages: &mut Vec<Message>, text: &str) {
    match messages.last_mut() {
        Some(Message::User { content }) => {
            content.push('\n');
            content.push_str(text);
        }
        _ => messages.push(Message::User { content: text.to_owned() }),
    }
}

fn push_said(messages: &mut Vec<Message>, text: &str) {
    if text.is_empty() {
        return;
    }
    match messages.last_mut() {
        Some(Message::Assistant { content, tool_calls }) if tool_calls.is_empty() => {
            content.push(' ');
            content.push_str(text);
        }
        _ => messages.push(Message::Assistant { content: text.to_owned(), tool_calls: Vec::new() }),
    }
}

fn push_called(messages: &mut Vec<Message>, called: &[Called]) {
    let calls: Vec<WrittenCall> = called.iter().map(|called| called.call.clone()).collect();
    match messages.last_mut() {
        Some(Message::Assistant { tool_calls, .. }) if tool_calls.is_empty() => *tool_calls = calls,
        _ => messages.push(Message::Assistant { content: String::new(), tool_calls: calls }),
    }
    messages.extend(called.iter().map(|called| Message::Tool {
        tool_call_id: called.call.id.clone(),
        content: called.result.clone().unwrap_or_else(|| "no answer yet".to_owned()),
    }));
}

/// A call as it may be repeated: servers refuse names and arguments that are not what they should be.
fn written(call: &ToolCall, request: u32, n: usize) -> WrittenCall {
    let name: String = call
        .name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        .take(NAME_CHARS_MAX)
        .collect();
    let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&call.arguments).is_ok();
    WrittenCall {
        id: if call.id.is_empty() { format!("call_{request}_{n}") } else { call.id.clone() },
        kind: "function",
        function: WrittenFunction {
            name: if name.is_empty() { "unknown".to_owned() } else { name },
            arguments: if is_object { call.arguments.clone() } else { "{}".to_owned() },
        },
    }
}

/// The first `bytes_max` bytes of `text`, cut at a character.
pub(super) fn bounded(text: &str, bytes_max: usize) -> String {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= bytes_max).last();
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKER: &str = "[interrupted]";

    fn history() -> History {
        History::new("be kind", MARKER, &Limits::default())
    }

    fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
        ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() }
    }

    /// Messages in short: a letter for the role, then the text, then the tools that were called.
    fn short(messages: &[Message]) -> Vec<String> {
        let line = |message: &Message| match message {
            Message::System { content } => format!("s {content}"),
            Message::User { content } => format!("u {content}"),
            Message::Assistant { content, tool_calls } => {
                let names: String = tool_calls.iter().map(|call| format!(" +{}", call.function.name)).collect();
                format!("a {content}{names}")
            }
            Message::Tool { tool_call_id, content } => format!("t {tool_call_id}: {content}"),
        };
        messages.iter().map(line).collect()
    }

    #[test]
    fn the_model_is_shown_what_was_heard() {
        let mut history = history();
        history.say(TurnId(1), "Hello there.");
        history.commit(TurnId(1), "Hello there.", false);
        history.push_user("Tell me");
        history.push_user("a story.");
        history.say(TurnId(2), "Once upon");
        history.say(TurnId(2), " a time there was");
        history.commit(TurnId(2), "Once upon a", true);
        history.say(TurnId(3), "never heard");
        history.commit(TurnId(3), "", true);
        history.push_user("Shorter.");
        let shown = ["s be kind", "a Hello there.", "u Tell me\na story.", "a Once upon a [interrupted]", "u Shorter."];
        assert_eq!(short(&history.messages(None)), shown);
        // What is still being heard was not cut off by anybody.
        history.say(TurnId(4), "It was nothing.");
        assert_eq!(short(&history.messages(Some("What?")))[4..], ["u Shorter.", "a It was nothing.", "u What?"]);
    }

    #[test]
    fn a_call_and_its_answer_follow_each_other_whatever_is_said_meanwhile() {
        let mut history = history();
        history.push_user("Weather?");
        history.say(TurnId(1), "Let me look.");
        let ids = history.call(&[call("", "weather", "{\"city\""), call("c2", "we/ird name", "{}")], 7);
        assert_eq!(ids, ["call_7_0", "c2"]);
        history.say(TurnId(2), "One moment.");
        history.answer(1, "two");
        history.answer(0, "one");
        history.answer(0, "never");
        history.commit(TurnId(1), "Let me", true);
        history.commit(TurnId(2), "One moment.", false);
        let shown =
            ["s be kind", "u Weather?", "a Let me [interrupted] +weather +weirdname", "t call_7_0: one", "t c2: two"];
        assert_eq!(short(&history.messages(None)), shown);
        let Message::Assistant { tool_calls, .. } = &history.messages(None)[2] else { panic!("an assistant") };
        assert_eq!(tool_calls[0].function.arguments, "{}", "what is no JSON is not repeated");
        history.say(TurnId(3), "Sunny.");
        history.push_user("Thanks.");
        assert_eq!(short(&history.messages(None))[5..], ["a One moment. Sunny.", "u Thanks."]);
    }

    #[test]
    fn tools_that_were_called_are_kept_though_nothing_was_heard() {
        let mut history = history();
        history.push_user("Go.");
        history.say(TurnId(1), "Yes.");
        history.commit(TurnId(1), "", true);
        history.call(&[call("c", "go", "{}")], 1);
        history.answer(0, "gone");
        assert_eq!(short(&history.messages(None))[1..], ["u Go.", "a  +go", "t c: gone"]);
    }

    #[test]
    fn the_oldest_exchanges_go_whole() {
        let mut history = History::new("", MARKER, &Limits { history_messages: 12, ..Limits::default() });
        for n in 0..20_u32 {
            history.push_user(&format!("question {n}"));
            history.call(&[call("c", "look", "{}"), call("d", "look", "{}")], n);
            history.answer(0, "found");
            history.answer(1, "found");
            history.say(TurnId(n), "answer");
            assert!(history.count() <= 12 + 4);
        }
        history.push_user("last");
        let messages = history.messages(None);
        assert_eq!(short(&messages)[0], "u question 18", "an exchange begins with its question");
        for (n, message) in messages.iter().enumerate() {
            if let Message::Tool { .. } = message {
                assert!(
                    matches!(&messages[n - 1], Message::Assistant { tool_calls, .. } if tool_calls.len() == 2)
                        || matches!(&messages[n - 1], Message::Tool { .. })
                );
            }
        }
        let mut history = History::new("", MARKER, &Limits { history_bytes: 1_000, ..Limits::default() });
        for n in 0..20_u32 {
            history.push_user(&"\u{e9}".repeat(400));
            history.say(TurnId(n), "yes");
        }
        assert_eq!(history.messages(None).len(), 3, "the last exchange and the words before it");
        assert!(history.bytes() <= 1_000 + 800);
    }

    #[test]
    fn what_is_too_long_is_cut_at_a_character() {
        assert_eq!(bounded("h\u{e9}llo", 2), "h");
        assert_eq!(bounded("h\u{e9}llo", 3), "h\u{e9}");
        assert_eq!(bounded("hello", 10), "hello");
    }
}
