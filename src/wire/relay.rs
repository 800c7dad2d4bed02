//! ConversationRelay, both directions: what a carrier that hears and speaks tells an app, and what the app answers.
//!
//! Sources: Twilio's pages "ConversationRelay noun" and "WebSocket messages", twilio-python 9.13.0; the shape of `info` from
//! four independent apps. Reading is lenient where apps are known to differ, writing is strict.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// How often a `play` with `loop` 0 is played, and the most there is.
pub const LOOPS_MAX: u32 = 1_000;

/// A message to the app.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ToApp<'a> {
    /// The first message, once.
    Setup(&'a Setup),
    /// What the caller said.
    Prompt {
        /// The whole of it, or all that is known so far.
        voice_prompt: &'a str,
        /// Language code.
        lang: &'a str,
        /// The caller has finished.
        last: bool,
    },
    /// The caller pressed a key.
    Dtmf {
        /// Which.
        digit: char,
    },
    /// The caller cut off what was being said.
    Interrupt {
        /// What had been heard of it.
        utterance_until_interrupt: &'a str,
        /// How long it had been heard. A whole number: strict readers break at a point.
        duration_until_interrupt_ms: u64,
    },
    /// Something that the app sent cannot be done.
    Error {
        /// Why, in words.
        description: &'a str,
    },
    /// Something that the app subscribed to.
    Info {
        /// `agentSpeaking`, `clientSpeaking` or `tokensPlayed`.
        name: &'static str,
        /// `on` or `off`, or the text that was played.
        value: &'a str,
        /// Milliseconds of Unix time, with speakers only.
        #[serde(skip_serializing_if = "Option::is_none")]
        ts: Option<u64>,
    },
}

/// Who calls whom. Every key is always there; what is unknown is empty.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Setup {
    /// Name of the session: `VX` and 32 hexadecimal digits.
    pub session_id: String,
    /// The carrier's account.
    pub account_sid: String,
    /// The call that this one is a leg of.
    pub parent_call_sid: String,
    /// The call.
    pub call_sid: String,
    /// The caller's number or address.
    pub from: String,
    /// The called number or address.
    pub to: String,
    /// The number that sent the call on.
    pub forwarded_from: String,
    /// `PSTN`, `SIP` or `CLIENT`.
    pub call_type: String,
    /// Who the caller is registered as.
    pub caller_name: String,
    /// `inbound`, or one of the outbound ones.
    pub direction: String,
    /// Such as `RINGING`, in capitals.
    pub call_status: String,
    /// Whatever the operator or the stream attached.
    pub custom_parameters: BTreeMap<String, String>,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("direction", &self.direction).finish_non_exhaustive()
    }
}

/// A message from the app. Unknown fields are let be; an unknown type is no message.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FromApp {
    /// A piece of what is to be said.
    Text {
        /// The piece, verbatim; may be empty.
        token: String,
        /// It ends the talk cycle.
        #[serde(default, deserialize_with = "flag")]
        last: Option<bool>,
        /// Language of this piece alone.
        #[serde(default, deserialize_with = "word")]
        lang: Option<String>,
        /// Whether the caller may cut it off.
        #[serde(default, deserialize_with = "flag")]
        interruptible: Option<bool>,
        /// Whether what comes next may cut it off.
        #[serde(default, deserialize_with = "flag")]
        preemptible: Option<bool>,
    },
    /// A recording to be played.
    Play {
        /// Its URL.
        source: String,
        /// How often; 0 for as often as possible.
        #[serde(default, rename = "loop", deserialize_with = "count")]
        times: Option<u32>,
        /// Whether what comes next may cut it off.
        #[serde(default, deserialize_with = "flag")]
        preemptible: Option<bool>,
        /// Whether the caller may cut it off.
        #[serde(default, deserialize_with = "flag")]
        interruptible: Option<bool>,
    },
    /// Keys to be pressed.
    SendDigits {
        /// `0` to `9`, `*`, `#`, and `w` for half a second.
        #[serde(deserialize_with = "digits")]
        digits: String,
    },
    /// Another language from here on.
    Language {
        /// Of what is said.
        #[serde(default, deserialize_with = "word")]
        tts_language: Option<String>,
        /// Of what is heard.
        #[serde(default, deserialize_with = "word")]
        transcription_language: Option<String>,
    },
    /// The app is done with the call.
    End {
        /// What it leaves for whoever is next.
        #[serde(default, deserialize_with = "handoff")]
        handoff_data: Option<String>,
    },
}

/// A truth value, or the word for it.
fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(flag)),
        Value::String(text) => text.parse().map(Some).map_err(|_| D::Error::custom("no truth value")),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(D::Error::custom("no truth value")),
    }
}

/// A text that says something.
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.filter(|word| !word.trim().is_empty()))
}

/// A whole number that is not negative, or its digits.
fn count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let number = match Value::deserialize(from)? {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let number = number.ok_or_else(|| D::Error::custom("no whole number"))?;
    Ok(Some(u32::try_from(number).unwrap_or(u32::MAX)))
}

/// Keys as text, or as a number where they are one.
fn digits<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    match Value::deserialize(from)? {
        Value::String(text) => Ok(text),
        Value::Number(number) if number.is_u64() => Ok(number.to_string()),
        Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(D::Error::custom("no keys"))
        }
    }
}

/// Text as it stands; anything else as the JSON that it is, since some apps forget to write it into a text.
fn handoff<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        value @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Ok(Some(value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(message: Value) -> Option<FromApp> {
        serde_json::from_str(&message.to_string()).ok()
    }

    #[test]
    fn what_is_sent_has_the_documented_fields_and_no_others() {
        let setup = Setup { call_sid: "CA1".to_owned(), ..Setup::default() };
        let cases = [
            (
                ToApp::Setup(&setup),
                json!({"type": "setup", "sessionId": "", "accountSid": "", "parentCallSid": "", "callSid": "CA1",
                    "from": "", "to": "", "forwardedFrom": "", "callType": "", "callerName": "", "direction": "",
                    "callStatus": "", "customParameters": {}}),
            ),
            (
                ToApp::Prompt { voice_prompt: "Hi", lang: "en-US", last: true },
                json!({"type": "prompt", "voicePrompt": "Hi", "lang": "en-US", "last": true}),
            ),
            (ToApp::Dtmf { digit: '#' }, json!({"type": "dtmf", "digit": "#"})),
            (
                ToApp::Interrupt { utterance_until_interrupt: "We open at", duration_until_interrupt_ms: 460 },
                json!({"type": "interrupt", "utteranceUntilInterrupt": "We open at", "durationUntilInterruptMs": 460}),
            ),
            (ToApp::Error { description: "x" }, json!({"type": "error", "description": "x"})),
            (
                ToApp::Info { name: "agentSpeaking", value: "on", ts: Some(1_752_091_234_567) },
                json!({"type": "info", "name": "agentSpeaking", "value": "on", "ts": 1_752_091_234_567_u64}),
            ),
            (
                ToApp::Info { name: "tokensPlayed", value: "Hi,", ts: None },
                json!({"type": "info", "name": "tokensPlayed", "value": "Hi,"}),
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(serde_json::to_value(&message).unwrap(), expected);
        }
    }

    #[test]
    fn a_text_is_read_in_full_or_as_little_as_there_is() {
        let text = |last, lang: Option<&str>, interruptible, preemptible| FromApp::Text {
            token: " nine.".to_owned(),
            last,
            lang: lang.map(str::to_owned),
            interruptible,
            preemptible,
        };
        let full = json!({"type": "text", "token": " nine.", "last": true, "lang": "sv-SE", "interruptible": false,
            "preemptible": true, "brandNew": {"x": 1}});
        assert_eq!(read(full), Some(text(Some(true), Some("sv-SE"), Some(false), Some(true))));
        assert_eq!(read(json!({"token": " nine.", "type": "text"})), Some(text(None, None, None, None)));
        let nulls = json!({"type": "text", "token": " nine.", "last": null, "lang": "", "interruptible": null});
        assert_eq!(read(nulls), Some(text(None, None, None, None)));
        let words = json!({"type": "text", "token": " nine.", "last": "false", "preemptible": "true"});
        assert_eq!(read(words), Some(text(Some(false), None, None, Some(true))));
        for wrong in
            [json!({"type": "text"}), json!({"type": "text", "token": null}), json!({"type": "text", "token": 1})]
        {
            assert_eq!(read(wrong), None);
        }
        assert_eq!(read(json!({"type": "text", "token": "", "last": "yes"})), None);
    }

    #[test]
    fn the_other_messages_are_read() {
        let play = |times| FromApp::Play { source: "s".to_owned(), times, preemptible: None, interruptible: None };
        assert_eq!(read(json!({"type": "play", "source": "s"})), Some(play(None)));
        assert_eq!(read(json!({"type": "play", "source": "s", "loop": 0})), Some(play(Some(0))));
        assert_eq!(read(json!({"type": "play", "source": "s", "loop": "3"})), Some(play(Some(3))));
        assert_eq!(read(json!({"type": "play", "source": "s", "loop": -1})), None);
        assert_eq!(read(json!({"type": "play", "source": "s", "loop": 1.5})), None);
        assert_eq!(read(json!({"type": "play"})), None);

        let digits = |digits: &str| Some(FromApp::SendDigits { digits: digits.to_owned() });
        assert_eq!(read(json!({"type": "sendDigits", "digits": "9ww42#"})), digits("9ww42#"));
        assert_eq!(read(json!({"type": "sendDigits", "digits": 42})), digits("42"));
        assert_eq!(read(json!({"type": "sendDigits"})), None);

        let language = FromApp::Language { tts_language: Some("sv-SE".to_owned()), transcription_language: None };
        assert_eq!(read(json!({"type": "language", "ttsLanguage": "sv-SE"})), Some(language));

        let end = |data: Option<&str>| Some(FromApp::End { handoff_data: data.map(str::to_owned) });
        assert_eq!(read(json!({"type": "end"})), end(None));
        assert_eq!(read(json!({"type": "end", "handoffData": "{\"a\":1}"})), end(Some("{\"a\":1}")));
        assert_eq!(read(json!({"type": "end", "handoffData": {"a": 1}})), end(Some("{\"a\":1}")));

        for wrong in [json!({"type": "setup"}), json!({"foo": "bar"}), json!([]), json!("text"), json!({"type": 1})] {
            assert_eq!(read(wrong), None);
        }
    }
}
