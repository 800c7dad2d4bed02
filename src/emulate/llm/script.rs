//! What the model answers: rules, tried in order, the first that fits.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::conversation::Heard;
use super::fault::{Fault, in_range};
use super::tokens::tokens;
use crate::emulate::fault::FaultError;

/// What in an answer stands for the words that it answers.
const HEARD: &str = "{heard}";

/// Longest script, in bytes.
const SCRIPT_BYTES_MAX: usize = 1024 * 1024;

/// Said if no rule fits and nobody has spoken yet.
const OPENING: &str = "Hello. How can I help you?";

/// Said if no rule fits a tool's result.
const TOOL_DONE: &str = "All right, that is done.";

/// A call of a tool that an answer makes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// The tool.
    pub name: String,
    /// A table, or a text that is sent as it is, so that it may be broken JSON. Without it `{}`.
    #[serde(default)]
    pub arguments: Value,
}

impl ToolCall {
    /// The arguments as a request and an answer carry them: one text.
    pub(super) fn arguments_text(&self) -> String {
        match &self.arguments {
            Value::Null => "{}".to_owned(),
            Value::String(text) => text.clone(),
            table @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => table.to_string(),
        }
    }
}

/// When to answer what. Made by [`Rule::default`] and the methods below, or read from a script file.
///
/// It fits if all that is set fits: `opens`, `after_tool` and `hears`, and if the request offers every tool of `calls`.
/// A rule without `after_tool` never answers a tool's result, lest a conversation call tools for ever.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Fits while nobody but the system has said anything.
    pub opens: bool,
    /// Fits the result of this tool; `"*"` fits that of any.
    pub after_tool: Option<String>,
    /// Fits if any of these stands in the last user message (or the tool's result): whole words, letter case ignored.
    pub hears: Vec<String>,
    /// The text of the answer; `{heard}` becomes the words answered.
    pub says: String,
    /// The text, already cut into tokens; `says` must be empty then.
    pub tokens: Vec<String>,
    /// The tools that the answer calls, after its text.
    pub calls: Vec<ToolCall>,
    /// What goes wrong with this answer, as on the command line: `"drop=3:1"`.
    pub faults: Vec<String>,
}

impl Rule {
    /// A rule that answers a caller who says any of `phrases`; with none of them, any caller.
    pub fn hearing(phrases: &[&str]) -> Self {
        Self { hears: phrases.iter().map(|phrase| (*phrase).to_owned()).collect(), ..Self::default() }
    }

    /// A rule that answers the result of the tool `name`.
    pub fn after_tool(name: impl Into<String>) -> Self {
        Self { after_tool: Some(name.into()), ..Self::default() }
    }

    /// A rule for a conversation in which nobody has spoken yet.
    pub fn opening() -> Self {
        Self { opens: true, ..Self::default() }
    }

    /// It answers with this text.
    #[must_use]
    pub fn says(self, text: impl Into<String>) -> Self {
        Self { says: text.into(), ..self }
    }

    /// It calls this tool too.
    #[must_use]
    pub fn calls(mut self, name: impl Into<String>, arguments: Value) -> Self {
        self.calls.push(ToolCall { name: name.into(), arguments });
        self
    }

    /// This goes wrong with its answers.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault.to_string());
        self
    }

    pub(super) fn fits(&self, heard: &Heard, offered: &[String]) -> bool {
        let situation = match heard {
            Heard::Nobody => self.after_tool.is_none() && self.hears.is_empty(),
            Heard::Caller(text) => !self.opens && self.after_tool.is_none() && self.hears_in(text),
            Heard::Tool { name, result } => {
                let after = self.after_tool.as_deref();
                !self.opens && (after == Some("*") || after == Some(name)) && self.hears_in(result)
            }
        };
        situation && self.calls.iter().all(|call| offered.contains(&call.name))
    }

    fn hears_in(&self, text: &str) -> bool {
        let text = words(text);
        self.hears.is_empty() || self.hears.iter().any(|phrase| text.contains(&words(phrase)))
    }

    /// The answer's text in tokens.
    pub(super) fn text(&self, heard: &Heard) -> Vec<String> {
        if self.tokens.is_empty() { tokens(&self.says.replace(HEARD, heard.words())) } else { self.tokens.clone() }
    }

    /// The faults of this rule, read.
    pub(super) fn faults_read(&self) -> Result<Vec<Fault>, RuleError> {
        let faults: Vec<Fault> = self.faults.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        if faults.iter().all(in_range) { Ok(faults) } else { Err(RuleError::Range) }
    }

    fn check(&self) -> Result<(), RuleError> {
        self.faults_read()?;
        if !self.says.is_empty() && !self.tokens.is_empty() {
            return Err(RuleError::Twice);
        }
        if self.opens && (self.after_tool.is_some() || !self.hears.is_empty()) {
            return Err(RuleError::Never);
        }
        if self.hears.iter().any(|phrase| words(phrase).trim().is_empty()) {
            return Err(RuleError::NoWord);
        }
        Ok(())
    }
}

/// The words of a text in small letters, a space around each, so that whole words can be looked for.
fn words(text: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() || c == '\'' { c } else { ' ' };
    let text: String = text.to_lowercase().replace('\u{2019}', "'").chars().map(kept).collect();
    format!(" {} ", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The answer if no rule fits: an echo, so that a call without a script shows what was understood.
pub(super) fn fallback(heard: &Heard) -> Vec<String> {
    match heard {
        Heard::Nobody => tokens(OPENING),
        Heard::Caller(text) => tokens(&format!("You said: {text}")),
        Heard::Tool { .. } => tokens(TOOL_DONE),
    }
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A fault's name or number.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// A fault's amount.
    #[error("a fault's amount is out of range")]
    Range,
    /// Text in two forms.
    #[error("`says` and `tokens` exclude each other")]
    Twice,
    /// Conditions that nothing fulfils.
    #[error("`opens` excludes `hears` and `after_tool`")]
    Never,
    /// Something in `hears` has no letter and no digit.
    #[error("a phrase of `hears` holds no word")]
    NoWord,
}

/// Why there is no script.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file could not be read.
    #[error("cannot read the script {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is longer than a script may be.
    #[error("the script is longer than {SCRIPT_BYTES_MAX} bytes")]
    Long,
    /// It is no TOML, or not of a script's shape.
    #[error("the script cannot be understood")]
    Toml(#[from] toml::de::Error),
    /// One rule is wrong.
    #[error("rule {number} of the script is wrong")]
    Rule {
        /// Which one, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: RuleError,
    },
}

/// Rules in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "rule")]
    rules: Vec<Rule>,
}

impl Default for Script {
    /// The appointment desk of a doctor's practice; `desk.toml` beside this file.
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "the text is part of the program, and a test reads it")]
        Self::parse(include_str!("desk.toml")).expect("the built-in script is sound")
    }
}

impl Script {
    /// A script of these rules; with none of them the model echoes.
    ///
    /// # Errors
    /// [`ScriptError::Rule`] names the first rule that is wrong.
    pub fn new(rules: Vec<Rule>) -> Result<Self, ScriptError> {
        for (index, rule) in rules.iter().enumerate() {
            rule.check().map_err(|source| ScriptError::Rule { number: index + 1, source })?;
        }
        Ok(Self { rules })
    }

    /// Reads a script from TOML: tables `[[rule]]` with the fields of [`Rule`].
    ///
    /// # Errors
    /// [`ScriptError`] says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        if text.len() > SCRIPT_BYTES_MAX {
            return Err(ScriptError::Long);
        }
        Self::new(toml::from_str::<File>(text)?.rules)
    }

    /// Reads a script file.
    ///
    /// # Errors
    /// [`ScriptError`] says what is wrong, and where.
    pub async fn load(path: &Path) -> Result<Self, ScriptError> {
        let text = tokio::fs::read_to_string(path).await;
        Self::parse(&text.map_err(|source| ScriptError::Read { path: path.to_owned(), source })?)
    }

    /// The rules, in the order in which they are tried.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(script: &Script, heard: &Heard, tools: &[&str]) -> (String, Vec<String>) {
        let offered: Vec<String> = tools.iter().map(|tool| (*tool).to_owned()).collect();
        match script.rules().iter().find(|rule| rule.fits(heard, &offered)) {
            Some(rule) => (rule.text(heard).concat(), rule.calls.iter().map(|call| call.name.clone()).collect()),
            None => (fallback(heard).concat(), Vec::new()),
        }
    }

    fn caller(text: &str) -> Heard {
        Heard::Caller(text.to_owned())
    }

    #[test]
    fn whole_words_are_heard_whatever_their_letter_case() {
        let script = Script::new(vec![
            Rule::hearing(&["that\u{2019}s all"]).says("one"),
            Rule::hearing(&["book", "an Appointment"]).says("two {heard}"),
            Rule::hearing(&[]).says("three"),
        ]);
        let script = script.unwrap();
        let text = |words: &str| said(&script, &caller(words), &[]).0;
        assert_eq!(text("No, THAT'S ALL."), "one");
        assert_eq!(text("I need AN appointment!"), "two I need AN appointment!");
        assert_eq!(text("a facebook page"), "three");
        assert_eq!(text(""), "three");
    }

    #[test]
    fn tools_decide_with_their_results_and_with_being_offered() {
        let script = Script::new(vec![
            Rule::after_tool("lookup").says("found"),
            Rule::after_tool("*").says("any"),
            Rule::hearing(&["bye"]).says("with").calls("end_call", Value::Null),
            Rule::hearing(&[]).says("without"),
        ]);
        let script = script.unwrap();
        let tool = |name: &str| Heard::Tool { name: name.to_owned(), result: "bye".to_owned() };
        assert_eq!(said(&script, &tool("lookup"), &[]).0, "found");
        assert_eq!(said(&script, &tool("other"), &[]).0, "any");
        assert_eq!(said(&script, &caller("bye"), &["end_call"]), ("with".to_owned(), vec!["end_call".to_owned()]));
        assert_eq!(said(&script, &caller("bye"), &["lookup"]).0, "without");
        let silent = Script::new(Vec::new()).unwrap();
        assert_eq!(said(&silent, &caller("Four."), &[]).0, "You said: Four.");
        assert_eq!(said(&silent, &tool("other"), &[]).0, TOOL_DONE);
        assert_eq!(said(&silent, &Heard::Nobody, &[]).0, OPENING);
    }

    #[test]
    fn the_desk_holds_a_conversation() {
        let desk = Script::default();
        let (greeting, _) = said(&desk, &Heard::Nobody, &[]);
        assert!(greeting.starts_with("Hello"), "{greeting}");
        let (hours, calls) = said(&desk, &caller("When are you open?"), &["end_call"]);
        assert!(hours.split_whitespace().count() > 60 && calls.is_empty(), "{hours}");
        assert!(said(&desk, &caller("I would like to book a visit."), &[]).0.contains("Which one"));
        let (_, calls) = said(&desk, &caller("Tuesday, please."), &["book_appointment"]);
        assert_eq!(calls, ["book_appointment"]);
        let result = Heard::Tool { name: "book_appointment".to_owned(), result: r#"{"ok":true}"#.to_owned() };
        assert!(said(&desk, &result, &["book_appointment"]).0.contains("booked"));
        let (goodbye, calls) = said(&desk, &caller("No, that's all."), &["end_call"]);
        assert_eq!(
            (goodbye.as_str(), calls.as_slice()),
            ("Thank you for calling. Goodbye!", &["end_call".to_owned()][..])
        );
        assert_eq!(said(&desk, &caller("No, that is all."), &[]), (goodbye, Vec::new()));
        assert_eq!(said(&desk, &caller("Thank you."), &["end_call"]).1, ["end_call"]);
        assert_eq!(said(&desk, &caller("Tuesday, thank you."), &["end_call"]).1, [""; 0]);
    }

    #[tokio::test]
    async fn the_long_answer_is_long_enough_to_be_interrupted() {
        let (hours, _) = said(&Script::default(), &caller("opening hours"), &[]);
        let voice = crate::voice::Pool::new(crate::voice::Settings { workers: 1, waiting_max: 1 });
        let mut seconds = 0.0;
        for sentence in hours.split_inclusive(". ") {
            let utterance = voice.synthesize(sentence, None).await.unwrap();
            seconds += utterance.pcm.len() as f64 / f64::from(crate::voice::RATE);
        }
        assert!(seconds >= 12.0, "{seconds}");
    }

    #[test]
    fn a_script_is_read_and_its_mistakes_are_named() {
        let script = Script::parse(
            r#"
            [[rule]]
            hears = ["bye"]
            tokens = ["Good ", "bye"]
            calls = [{ name = "end_call", arguments = { reason = "bye" } }, { name = "b", arguments = "{\"half" }]
            faults = ["drop_in_tool:1"]
            "#,
        );
        let script = script.unwrap();
        let texts: Vec<_> = script.rules()[0].calls.iter().map(ToolCall::arguments_text).collect();
        assert_eq!(texts, [json!({"reason": "bye"}).to_string(), "{\"half".to_owned()]);
        assert_eq!(script.rules()[0].faults_read().unwrap().len(), 1);

        let wrong = |text: &str| {
            let error = Script::parse(text).unwrap_err();
            std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
        };
        assert!(wrong("[[rule]]\nheard = []").contains("heard"));
        assert!(wrong("[[rule]]\nfaults = [\"dorp\"]").contains("no fault is called"));
        assert!(wrong("[[rule]]\nfaults = [\"status=200\"]").contains("out of range"));
        assert!(wrong("[[rule]]\nsays = \"a\"\ntokens = [\"a\"]").contains("exclude"));
        assert!(wrong("[[rule]]\nopens = true\nhears = [\"a\"]").contains("excludes"));
        assert!(wrong("[[rule]]\nhears = [\"?\"]").contains("no word"));
        assert!(Script::parse("[[rule]]\n[[rule]]\nhears = [\"\"]").unwrap_err().to_string().contains("rule 2"));
    }
}
