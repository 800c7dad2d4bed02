//! How a session ends in good order, and what follows it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::app::App;
use crate::support::carrier::{ACCOUNT, PUBLIC_URL, ask_with, attribute, elements, stream};
use crate::support::gateway::Gateway;
use crate::support::http::Answer;

const HANDOFF: &str = "{\"reasonCode\":\"live-agent-handoff\"}";

type Forms = Arc<Mutex<Vec<BTreeMap<String, String>>>>;

/// What the app's `action` URL was posted.
struct Action {
    url: String,
    forms: Forms,
    _serving: JoinSet<()>,
}

impl Action {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/after", listener.local_addr().unwrap());
        let forms = Forms::default();
        let answer = async |State(forms): State<Forms>, body: Bytes| {
            forms.lock().unwrap().push(form_urlencoded::parse(&body).into_owned().collect());
            "<Response><Hangup/></Response>"
        };
        let app = axum::Router::new().fallback(answer).with_state(forms.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Action { url, forms, _serving: serving }
    }

    /// Lines of `[agent.relay]`, and that this host may be asked.
    fn toml(&self) -> String {
        format!("action_url = \"{}\"\n[outbound]\nprivate = [\"127.0.0.1\"]", self.url)
    }
}

const FORM: [(&str, &str); 6] = [
    ("AccountSid", ACCOUNT),
    ("CallSid", "CA1"),
    ("CallStatus", "in-progress"),
    ("Direction", "inbound"),
    ("From", "+15550100001"),
    ("To", "+15550100002"),
];

async fn incoming(gateway: &Gateway) -> Answer {
    ask_with(gateway, &format!("{PUBLIC_URL}/twilio/voice"), &FORM).await
}

/// What Twilio does when the stream is over: it asks the `action` that it was told.
async fn after(gateway: &Gateway, offer: &Answer) -> Answer {
    let connect = elements(offer).into_iter().find(|(name, _)| name == "Connect").unwrap();
    ask_with(gateway, attribute(&connect, "action"), &FORM).await
}

#[tokio::test]
async fn the_end_closes_the_stream_and_hands_over() {
    let (app, action) = (App::start().await, Action::start().await);
    let gateway = Gateway::signed(PUBLIC_URL, &app.toml(&action.toml())).await;
    let offer = incoming(&gateway).await;
    let (mut phone, _) = stream(&gateway, "CA1", &offer).await;
    let (mut session, setup) = app.begin().await;
    session.token("This is a long goodbye that nobody will hear to its end, since the end comes at once.", true).await;
    phone.sees("speech", |seen| seen.frames > 20).await;
    session.say(json!({"type": "end", "handoffData": HANDOFF})).await;
    assert_eq!(phone.end().await, Some(1000));
    // The caller did not interrupt anything.
    let (code, _, rest) = session.closed().await;
    assert_eq!((code, rest), (1000, Vec::<Value>::new()));
    let answer = after(&gateway, &offer).await;
    assert!(answer.body.contains("<Hangup/>"), "{answer:?}");
    let forms = action.forms.lock().unwrap();
    assert_eq!(forms[0]["SessionId"], setup["sessionId"].as_str().unwrap());
    assert_eq!((forms[0]["SessionStatus"].as_str(), forms[0]["HandoffData"].as_str()), ("ended", HANDOFF));
}

#[tokio::test]
async fn a_caller_who_hangs_up_completes_the_session() {
    let (app, action) = (App::start().await, Action::start().await);
    let gateway = Gateway::signed(PUBLIC_URL, &app.toml(&action.toml())).await;
    let offer = incoming(&gateway).await;
    let (phone, _) = stream(&gateway, "CA1", &offer).await;
    let (mut session, _) = app.begin().await;
    phone.stop();
    assert_eq!(session.closed().await.0, 1000);
    after(&gateway, &offer).await;
    let forms = action.forms.lock().unwrap();
    assert_eq!(forms[0]["SessionStatus"], "completed");
    assert!(!forms[0].contains_key("HandoffData") && !forms[0].contains_key("ErrorCode"));
}

#[tokio::test]
async fn an_app_that_leaves_is_a_failed_session_and_the_call_goes_on_elsewhere() {
    let (app, action) = (App::start().await, Action::start().await);
    let gateway = Gateway::signed(PUBLIC_URL, &app.toml(&action.toml())).await;
    let offer = incoming(&gateway).await;
    let (mut phone, _) = stream(&gateway, "CA1", &offer).await;
    let (session, _) = app.begin().await;
    session.vanish();
    // Nothing is said: whoever is asked next says what the caller hears.
    assert_eq!(phone.end().await, Some(1000));
    assert_eq!(phone.seen().frames, 0);
    after(&gateway, &offer).await;
    let forms = action.forms.lock().unwrap();
    assert_eq!((forms[0]["SessionStatus"].as_str(), forms[0]["ErrorCode"].as_str()), ("failed", "39001"));
}
