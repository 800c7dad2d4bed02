//! The tools: what a model is offered, and what it asks for when it calls one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::answer::{Finish, ToolCall};
use super::settings::Settings;
use super::wire::{Offer, OfferedFunction};

/// Tones that may be sent in one go.
const TONES_MAX: usize = 64;
/// Digits that may be waited for in one go.
const COLLECTED_MAX: u64 = 64;
/// Longest wait for a digit, in seconds.
const COLLECT_TIMEOUT_S_MAX: u64 = 60;
/// Wait for a digit, if the model does not say.
const COLLECT_TIMEOUT_S: u64 = 10;

/// What a call of a tool comes down to.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// End the call.
    End,
    /// Hand the caller over.
    Transfer {
        /// The number, from the settings.
        number: String,
    },
    /// Play tones to the other side.
    Send {
        /// `0` to `9`, `*`, `#`, and `w` for half a second of silence.
        tones: String,
    },
    /// Wait for keys.
    Collect(Wanted),
    /// Post the arguments to one of the operator's tools.
    Post {
        /// Index of [`Settings::tools`].
        tool: usize,
        /// The arguments.
        arguments: Map<String, Value>,
    },
    /// Nothing can be done; the model is told why.
    Refused(String),
}

/// Which keys are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// So many end the wait.
    pub count: usize,
    /// So does this one, which does not count.
    pub terminator: Option<char>,
    /// So long without a key does, too.
    pub timeout: Duration,
}

/// The tools of an agent.
#[derive(Clone, Debug)]
pub struct Toolbox {
    settings: Arc<Settings>,
    can_transfer: bool,
}

impl Toolbox {
    /// The tools of `settings`. Without `can_transfer` nobody is handed over.
    pub fn new(settings: Arc<Settings>, can_transfer: bool) -> Self {
        Toolbox { settings, can_transfer }
    }

    /// What the model is offered.
    pub fn offers(&self) -> Vec<Offer> {
        let built_in = &self.settings.built_in;
        let mut offers = Vec::new();
        if built_in.end_call {
            let about =
                "Ends the telephone call once the caller has heard what you said. Say goodbye in the same answer.";
            offers.push(offer("end_call", about, object(json!({}), &[])));
        }
        if self.transfers() {
            let about = "Connects the caller to somebody else; your part of the call is then over. Tell the caller so in \
                the same answer.";
            let names: Vec<&String> = built_in.transfers.keys().collect();
            let to = json!({ "to": { "type": "string", "enum": names, "description": "whom to connect to" } });
            offers.push(offer("transfer_call", about, object(to, &["to"])));
        }
        if built_in.send_digits {
            let about = "Presses keys of the telephone, for machines on the other side.";
            let text = "0 to 9, *, #, and w for half a second of silence";
            let digits = json!({ "digits": { "type": "string", "description": text } });
            offers.push(offer("send_digits", about, object(digits, &["digits"])));
        }
        if built_in.collect_digits {
            let about = "Waits for keys that the caller presses, and returns them. Ask for them in the same answer.";
            let properties = json!({
                "count": { "type": "integer", "minimum": 1, "maximum": COLLECTED_MAX, "description": "how many keys" },
                "terminator": { "type": "string", "enum": ["#", "*"], "description": "a key that ends the input early" },
                "timeout_s": {
                    "type": "integer", "minimum": 1, "maximum": COLLECT_TIMEOUT_S_MAX,
                    "description": "seconds to wait for each key"
                },
            });
            offers.push(offer("collect_digits", about, object(properties, &["count"])));
        }
        let own = self.settings.tools.iter().map(|tool| offer(&tool.name, &tool.description, tool.parameters.clone()));
        offers.extend(own);
        offers
    }

    /// What `call` of an answer that ended with `finish` comes down to.
    pub fn task(&self, call: &ToolCall, finish: Finish) -> Task {
        if finish == Finish::Length {
            return Task::Refused("error: your answer was too long, and the call of the tool was cut off".to_owned());
        }
        let text = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
        let Ok(arguments) = serde_json::from_str::<Map<String, Value>>(text) else {
            return Task::Refused("error: the arguments are not a JSON object".to_owned());
        };
        let built_in = &self.settings.built_in;
        match call.name.as_str() {
            "end_call" if built_in.end_call => Task::End,
            "transfer_call" if self.transfers() => self.transfer(&arguments),
            "send_digits" if built_in.send_digits => send(&arguments),
            "collect_digits" if built_in.collect_digits => collect(&arguments),
            name => match self.settings.tools.iter().position(|tool| tool.name == name) {
                Some(tool) => Task::Post { tool, arguments },
                None => Task::Refused("error: there is no such tool".to_owned()),
            },
        }
    }

    fn transfers(&self) -> bool {
        self.can_transfer && !self.settings.built_in.transfers.is_empty()
    }

    /// The model chooses among those whom the operator named, by name or number: whoever talks to a model may make it say
    /// any number.
    fn transfer(&self, arguments: &Map<String, Value>) -> Task {
        let to = arguments.get("to").and_then(Value::as_str).unwrap_or_default();
        let transfers = &self.settings.built_in.transfers;
        match transfers.get(to).or_else(|| transfers.values().find(|number| *number == to)) {
            Some(number) => Task::Transfer { number: number.clone() },
            None => Task::Refused("error: to is not one of those who can be connected to".to_owned()),
        }
    }
}

fn send(arguments: &Map<String, Value>) -> Task {
    let digits = match arguments.get("digits") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => String::new(),
    };
    let tones: String = digits.chars().filter(|c| !matches!(c, ' ' | '-')).map(|c| c.to_ascii_lowercase()).collect();
    let is_sound = tones.chars().all(|c| matches!(c, '0'..='9' | '*' | '#' | 'w'));
    if tones.is_empty() || tones.len() > TONES_MAX || !is_sound {
        return Task::Refused(format!("error: digits is not 1 to {TONES_MAX} of 0 to 9, *, #, w"));
    }
    Task::Send { tones }
}

fn collect(arguments: &Map<String, Value>) -> Task {
    let number = |key: &str| {
        arguments.get(key).and_then(|value| match value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_u64(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        })
    };
    let count = number("count").filter(|count| (1..=COLLECTED_MAX).contains(count));
    let Some(count) = count.and_then(|count| usize::try_from(count).ok()) else {
        return Task::Refused(format!("error: count is not a number from 1 to {COLLECTED_MAX}"));
    };
    let timeout_s = number("timeout_s").unwrap_or(COLLECT_TIMEOUT_S).clamp(1, COLLECT_TIMEOUT_S_MAX);
    let terminator = arguments.get("terminator").and_then(Value::as_str).and_then(|text| text.chars().next());
    Task::Collect(Wanted { count, terminator, timeout: Duration::from_secs(timeout_s) })
}

fn offer(name: &str, description: &str, parameters: Value) -> Offer {
    let function = OfferedFunction { name: name.to_owned(), description: description.to_owned(), parameters };
    Offer { kind: "function", function }
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

#[cfg(test)]
mod tests {
    use super::super::settings::{BUILT_IN_NAMES, BuiltIn, Tool};
    use super::*;

    fn toolbox(can_transfer: bool) -> Toolbox {
        let tool = Tool {
            name: "weather".into(),
            description: "weather in a city".into(),
            parameters: json!({ "type": "object" }),
            url: "http://127.0.0.1/".into(),
            token: None,
            timeout: Duration::from_secs(1),
            filler: String::new(),
            filler_after: Duration::ZERO,
        };
        let transfers = [("sales".to_owned(), "+15550100".to_owned())].into();
        let built_in = BuiltIn { transfers, ..BuiltIn::default() };
        Toolbox::new(Arc::new(Settings { tools: vec![tool], built_in, ..Settings::default() }), can_transfer)
    }

    fn task(name: &str, arguments: &str) -> Task {
        let call = ToolCall { id: "c".into(), name: name.into(), arguments: arguments.into() };
        toolbox(true).task(&call, Finish::Complete)
    }

    #[test]
    fn what_cannot_be_done_is_not_offered() {
        let names = |toolbox: &Toolbox| -> Vec<String> {
            toolbox.offers().into_iter().map(|offer| offer.function.name).collect()
        };
        assert_eq!(names(&toolbox(true)), [&BUILT_IN_NAMES[..], &["weather"]].concat());
        assert_eq!(names(&toolbox(false)), ["end_call", "send_digits", "collect_digits", "weather"]);
        let nothing = BuiltIn { end_call: false, send_digits: false, collect_digits: false, ..BuiltIn::default() };
        let bare = Toolbox::new(Arc::new(Settings { built_in: nothing, ..Settings::default() }), true);
        assert_eq!(bare.offers(), []);
        let call = ToolCall { name: "end_call".into(), ..ToolCall::default() };
        assert!(matches!(bare.task(&call, Finish::Complete), Task::Refused(_)), "not offered, not done");
    }

    #[test]
    fn a_caller_is_connected_to_those_whom_the_operator_named_and_to_nobody_else() {
        let offers = serde_json::to_string(&toolbox(true).offers()).unwrap();
        assert!(offers.contains("sales") && !offers.contains("5550100"), "{offers}");
        assert_eq!(task("transfer_call", r#"{"to":"sales"}"#), Task::Transfer { number: "+15550100".into() });
        assert_eq!(task("transfer_call", r#"{"to":"+15550100"}"#), Task::Transfer { number: "+15550100".into() });
        assert!(matches!(task("transfer_call", r#"{"to":"+19005550199"}"#), Task::Refused(_)));
    }

    #[test]
    fn arguments_are_read_kindly_and_refused_politely() {
        assert_eq!(task("end_call", ""), Task::End);
        assert_eq!(task("send_digits", r#"{"digits":"12 W-#"}"#), Task::Send { tones: "12w#".into() });
        assert_eq!(task("send_digits", r#"{"digits":42}"#), Task::Send { tones: "42".into() });
        let wanted = Wanted { count: 4, terminator: Some('#'), timeout: Duration::from_secs(60) };
        let arguments = r##"{"count":"4","terminator":"#","timeout_s":900}"##;
        assert_eq!(task("collect_digits", arguments), Task::Collect(wanted));
        let Task::Post { tool: 0, arguments } = task("weather", r#"{"city":"Rome"}"#) else { panic!("a post") };
        assert_eq!(arguments["city"], "Rome");
        for (name, arguments) in [
            ("weather", r#"{"city":"#),
            ("weather", "[]"),
            ("nothing", "{}"),
            ("send_digits", r#"{"digits":"call me"}"#),
            ("send_digits", "{}"),
            ("collect_digits", "{}"),
            ("collect_digits", r#"{"count":0}"#),
        ] {
            assert!(matches!(task(name, arguments), Task::Refused(_)), "{name} {arguments}");
        }
        let call = ToolCall { name: "end_call".into(), ..ToolCall::default() };
        assert!(matches!(toolbox(true).task(&call, Finish::Length), Task::Refused(_)), "half a call is no call");
    }
}
