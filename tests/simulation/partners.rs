//! Whoever writes down what the caller says, and an app that answers: what they say stands in the script. Whether they can
//! say it, and whether they would understand what they are told, is judged here, from their vendors' documentation.

use std::collections::BTreeMap;

use serde_json::Value;
use trunkline::call::action::AgentReport;
use trunkline::call::event::{AgentEvent, Event};
use trunkline::dialect::Peers;
use trunkline::ids::CallTime;
use trunkline::replay::{ToApp, ToHearing};

use crate::session::{Body, Header, Input, Port, What};

/// Everything that any vendor takes beside audio.
const REQUESTS: [&str; 9] = [
    "finalize",
    "close",
    r#"{"type":"close"}"#,
    r#"{"type":"KeepAlive"}"#,
    r#"{"type":"Finalize"}"#,
    r#"{"type":"ForceEndTurn"}"#,
    r#"{"type":"CloseStream"}"#,
    r#"{"type":"end_of_stream"}"#,
    r#"{"type":"flush","flush_id":0}"#,
];

/// The messages of ConversationRelay to an app, each with every field that it has.
const MESSAGES: [(&str, &[&str]); 7] = [
    (
        "setup",
        &[
            "accountSid",
            "callSid",
            "callStatus",
            "callType",
            "callerName",
            "customParameters",
            "direction",
            "forwardedFrom",
            "from",
            "parentCallSid",
            "sessionId",
            "to",
        ],
    ),
    ("prompt", &["lang", "last", "voicePrompt"]),
    ("dtmf", &["digit"]),
    ("interrupt", &["durationUntilInterruptMs", "utteranceUntilInterrupt"]),
    ("error", &["description"]),
    ("info", &["name", "ts", "value"]),
    ("info", &["name", "value"]),
];

/// The scripted peers of one call.
pub(crate) struct Partners {
    /// Links for hearing, and whether each still counts.
    links: BTreeMap<u32, bool>,
    app: App,
    /// Understands the app as the call does, so that it is known which turns are the app's.
    understanding: Peers,
}

/// How far an app has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum App {
    /// It is being dialled, if there is one.
    Dialled,
    /// It was greeted with `setup`.
    Open,
    Gone,
}

impl Partners {
    pub(crate) fn new(header: &Header) -> Self {
        Partners { links: BTreeMap::new(), app: App::Dialled, understanding: header.peers() }
    }

    /// Whether what comes is from a live link; what a dead one says is nobody's, which is the driver's to know.
    pub(crate) fn is_heard(&mut self, input: &Input) -> bool {
        let is_end = matches!(input.body, Body::Closed { .. } | Body::Refused(_));
        match input.port {
            Port::Hearing { link } => {
                let live = self.links.get_mut(&link).unwrap_or_else(|| panic!("nobody dialled link {link}"));
                let was_live = *live;
                *live &= !is_end;
                was_live
            }
            Port::App => {
                let was_live = self.app != App::Gone;
                if is_end {
                    self.app = App::Gone;
                }
                was_live
            }
            _ => true,
        }
    }

    /// What an agent wants, in this process or outside of it.
    pub(crate) fn understand(&mut self, what: &What) -> Option<AgentEvent> {
        let What::Input(input @ Input { port: Port::App | Port::Agent, .. }) = what else { return None };
        match self.understanding.decode(input) {
            Event::Agent(event) => Some(event),
            _ => None,
        }
    }

    /// The agent is told.
    pub(crate) fn on_report(&mut self, now: CallTime, report: &AgentReport) {
        self.understanding.agent_messages(now, report, &mut |_| ());
    }

    pub(crate) fn on_hearing(&mut self, link: u32, what: &ToHearing) {
        match what {
            ToHearing::Dial { .. } => assert!(self.links.insert(link, true).is_none(), "link {link} is dialled twice"),
            ToHearing::HangUp => {
                self.links.insert(link, false);
            }
            ToHearing::Text(text) => {
                assert_eq!(self.links.get(&link), Some(&true), "{text} on the dead link {link}");
                assert!(is_request(text), "no vendor understands {text}");
            }
        }
    }

    pub(crate) fn on_app(&mut self, what: &ToApp) {
        assert_ne!(self.app, App::Gone, "{what:?}, and nobody is there any more");
        let ToApp::Text(text) = what else {
            self.app = App::Gone;
            return;
        };
        let Ok(Value::Object(mut message)) = serde_json::from_str(text) else { panic!("{text} is no object") };
        let kind = message.remove("type");
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_else(|| panic!("{text} has no type"));
        let fields: Vec<&str> = message.keys().map(String::as_str).collect();
        let is_known = MESSAGES.iter().any(|(known, its)| *known == kind && *its == fields);
        assert!(is_known, "an app does not know {text}");
        assert_eq!(self.app == App::Dialled, kind == "setup", "{text} before or after its time");
        self.app = App::Open;
    }
}

fn is_request(text: &str) -> bool {
    let Ok(mut request) = serde_json::from_str::<Value>(text) else { return REQUESTS.contains(&text) };
    match request["type"].as_str() {
        // Gradium's settings come before its audio.
        Some("setup") => request["input_format"] == "ulaw_8000" && request["model_name"].is_string(),
        // What did not fill a piece comes before a request.
        Some("audio") => request["audio"].is_string(),
        _ => {
            if request["flush_id"].is_number() {
                request["flush_id"] = 0.into();
            }
            let is_same = |known: &&&str| serde_json::from_str::<Value>(known).is_ok_and(|known| known == request);
            REQUESTS.iter().find(is_same).is_some()
        }
    }
}
