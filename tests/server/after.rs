//! What becomes of a call after its session: the carrier asks us, we ask the agent's app.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use trunkline::http::outbound::{Outbound, Rules};
use trunkline::ids::CallSid;
use trunkline::secret::Secret;
use trunkline::server::AfterApp;
use trunkline::server::aftermath::{Ended, Status};
use trunkline::server::twilio::public_url::PublicUrl;
use trunkline::server::twilio::signature::{Body, SignatureHeaders, Verifier};
use trunkline::server::twilio::token::PARAMETER;

use crate::support::carrier::{ACCOUNT, PUBLIC_URL, ask_with, attribute, elements};
use crate::support::gateway::{AUTH_TOKEN, Gateway};
use crate::support::http::{Answer, Request};
use crate::support::logs::Logs;
use crate::token;

const TWIML: &str = "<?xml version=\"1.0\"?><Response><Dial>+15550100009</Dial></Response>";
/// The query of the app's URL, which is signed as it stands.
const QUERY: &str = "a=1&b=%41";

/// What the app does next.
#[derive(Clone, Copy, Debug, Default)]
enum Mood {
    #[default]
    Helpful,
    Answers(u16, &'static str),
    Endless,
    Silent,
}

#[derive(Default)]
struct Asked {
    forms: Vec<BTreeMap<String, String>>,
    mood: Mood,
}

/// Apps are on loopback here.
fn local() -> Outbound {
    Outbound::new(Rules::default().with_loopback())
}

/// An app with an `action` URL. It believes signed requests only.
struct App {
    address: SocketAddr,
    asked: Arc<Mutex<Asked>>,
    _serving: JoinSet<()>,
}

impl App {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::<Mutex<Asked>>::default());
        let verifier = Arc::new(Verifier::new(
            PublicUrl::parse(&format!("http://{address}")).unwrap(),
            Some(Secret::new(AUTH_TOKEN)),
            BTreeMap::new(),
        ));
        let app = axum::Router::new().fallback(answer).with_state((asked.clone(), verifier));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
        App { address, asked, _serving: serving }
    }

    async fn gateway(&self, toml: &str) -> Gateway {
        let url = format!("http://{}/after?{QUERY}#end", self.address);
        let app = AfterApp::new(&url, Some(Secret::new(AUTH_TOKEN)), &local()).unwrap();
        Gateway::changed(PUBLIC_URL, toml, |settings| settings.after_app = Some(app)).await
    }

    fn is(&self, mood: Mood) {
        self.asked.lock().unwrap().mood = mood;
    }

    fn forms(&self) -> Vec<BTreeMap<String, String>> {
        self.asked.lock().unwrap().forms.clone()
    }
}

async fn answer(
    State((asked, verifier)): State<(Arc<Mutex<Asked>>, Arc<Verifier>)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let signature = headers.get("x-twilio-signature").and_then(|value| value.to_str().ok());
    let signature = SignatureHeaders { signature, settings: None };
    if verifier.webhook("/after", uri.query(), Body::Form(&body), signature).is_err() {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mood = {
        let mut asked = asked.lock().unwrap();
        let form: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
        let names = form.len();
        asked.forms.push(form.into_iter().collect());
        assert_eq!(asked.forms.last().unwrap().len(), names, "no field stands twice");
        asked.mood
    };
    match mood {
        Mood::Helpful => ([(header::CONTENT_TYPE, "application/xml")], TWIML).into_response(),
        Mood::Answers(status, body) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Mood::Endless => format!("<Response>{}</Response>", " ".repeat(70_000)).into_response(),
        Mood::Silent => {
            sleep(Duration::from_secs(3_600)).await;
            StatusCode::OK.into_response()
        }
    }
}

/// What the carrier posts when the stream is over.
async fn after(gateway: &Gateway, call: &str) -> Answer {
    let form = [
        ("AccountSid", ACCOUNT),
        ("CallSid", call),
        ("CallStatus", "in-progress"),
        ("Direction", "inbound"),
        ("From", "+15550100001"),
        ("To", "+15550100002"),
        // Not the carrier's to say.
        ("SessionStatus", "made-up"),
    ];
    ask_with(gateway, &format!("{PUBLIC_URL}/twilio/after"), &form).await
}

fn record(gateway: &Gateway, call: &str, status: Status) {
    let ended = Ended { session_id: "VX1".to_owned(), status, duration: Duration::from_millis(61_900) };
    gateway.node.aftermath().record(&CallSid::parse(call).unwrap(), ended);
}

#[tokio::test]
async fn the_app_hears_how_the_session_ended_and_says_what_follows() {
    let logs = Logs::take();
    let app = App::start().await;
    let gateway = app.gateway("").await;
    let handoff = "{\"reason\":\"a human, please\"}";
    let ways = [
        (Status::Completed, vec![("SessionStatus", "completed")]),
        (Status::Ended { handoff: None }, vec![("SessionStatus", "ended")]),
        (
            Status::Ended { handoff: Some(handoff.to_owned()) },
            vec![("SessionStatus", "ended"), ("HandoffData", handoff)],
        ),
        (
            Status::Failed { code: 39_001, message: "Network connection to WebSocket server failed.".to_owned() },
            vec![
                ("SessionStatus", "failed"),
                ("ErrorCode", "39001"),
                ("ErrorMessage", "Network connection to WebSocket server failed."),
            ],
        ),
    ];
    for (status, fields) in ways {
        record(&gateway, "CA1", status);
        let answer = after(&gateway, "CA1").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, TWIML));
        assert_eq!(answer.headers["content-type"], "text/xml");
        let form = app.forms().pop().unwrap();
        let expected: BTreeMap<String, String> = fields
            .into_iter()
            .chain([
                ("SessionId", "VX1"),
                ("SessionDuration", "61"),
                ("ControlUrl", PUBLIC_URL),
                ("AccountSid", ACCOUNT),
                ("CallSid", "CA1"),
                ("CallStatus", "in-progress"),
                ("Direction", "inbound"),
                ("From", "+15550100001"),
                ("To", "+15550100002"),
            ])
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(form, expected);
    }
    logs.holds_none_of(&["5550100001", "5550100002", "a human", "5550100009", AUTH_TOKEN]);
}

#[tokio::test]
async fn the_stream_leads_to_us_and_a_late_ending_is_waited_for() {
    let app = App::start().await;
    let gateway = app.gateway("twilio.after_url = \"https://b.example/after\"").await;
    let voice = ask_with(&gateway, &format!("{PUBLIC_URL}/twilio/voice"), &[("CallSid", "CA1")]).await;
    assert_eq!(attribute(&elements(&voice)[1], "action"), format!("{PUBLIC_URL}/twilio/after"));
    let recording = async {
        sleep(Duration::from_millis(300)).await;
        record(&gateway, "CA2", Status::Completed);
        record(&gateway, "CA1", Status::Completed);
    };
    let (answer, ()) = tokio::join!(after(&gateway, "CA1"), recording);
    assert_eq!(answer.body, TWIML);
    assert_eq!(app.forms().len(), 1);
}

#[tokio::test]
async fn an_app_that_does_not_help_leaves_the_call_to_the_fallback() {
    let logs = Logs::take();
    let app = App::start().await;
    let ending = app.gateway("").await;
    let going_on = app.gateway("twilio.after_url = \"https://b.example/after?a=1&b=2\"").await;
    let moods = [
        Mood::Answers(500, TWIML),
        Mood::Answers(302, TWIML),
        Mood::Answers(200, "<Say>hello</Say>"),
        Mood::Answers(200, "{}"),
        Mood::Endless,
        Mood::Silent,
    ];
    for mood in moods {
        app.is(mood);
        record(&ending, "CA1", Status::Completed);
        record(&going_on, "CA1", Status::Completed);
        let (ended, sent_on) = tokio::join!(after(&ending, "CA1"), after(&going_on, "CA1"));
        assert_eq!(elements(&ended)[1].0, "Hangup", "{mood:?}");
        assert_eq!(elements(&sent_on)[1].0, "Redirect", "{mood:?}");
        assert!(sent_on.body.contains("https://b.example/after?a=1&amp;b=2"), "{sent_on:?}");
    }
    assert_eq!(app.forms().len(), 2 * moods.len());
    assert_eq!(logs.text().matches("nobody says what to do").count(), 2 * moods.len());
    // To have nothing to say is an answer.
    for mood in [Mood::Answers(200, ""), Mood::Answers(204, "")] {
        app.is(mood);
        record(&going_on, "CA1", Status::Completed);
        assert_eq!(elements(&after(&going_on, "CA1").await)[1].0, "Hangup", "{mood:?}");
    }
}

#[tokio::test]
async fn a_session_that_nobody_recorded_and_an_app_that_is_not_there() {
    let app = App::start().await;
    let gateway = app.gateway("").await;
    // Another replica ran the session: the app knows the call, and is asked without what we cannot know.
    assert_eq!(after(&gateway, "CA1").await.body, TWIML);
    let forms = app.forms();
    assert_eq!((forms.len(), forms[0]["CallSid"].as_str()), (1, "CA1"));
    assert!(!forms[0].contains_key("SessionStatus") && !forms[0].contains_key("SessionId"), "{forms:?}");
    let address = app.address;
    drop(app);
    let gone = AfterApp::new(&format!("http://{address}/after"), None, &local()).unwrap();
    let gateway = Gateway::changed(PUBLIC_URL, "", |settings| settings.after_app = Some(gone)).await;
    record(&gateway, "CA1", Status::Completed);
    assert_eq!(elements(&after(&gateway, "CA1").await)[1].0, "Hangup");
    for url in ["", "after", "ftp://a.example", "https://"] {
        assert!(AfterApp::new(url, None, &local()).is_err(), "{url}");
    }
}

#[tokio::test]
async fn the_app_is_not_asked_about_a_call_that_was_turned_away() {
    let app = App::start().await;
    let gateway = app.gateway("server.max_calls = 1").await;
    let _live = token::call(&gateway, "CA1").await;
    let mut late = token::dial(&gateway).await;
    late.start("CA2", &[(PARAMETER, &token::of_another_replica("CA2"))]);
    assert_eq!(late.end().await, Some(1000), "it hears that all lines are busy");
    assert_eq!(elements(&after(&gateway, "CA2").await)[1].0, "Hangup");
    assert!(app.forms().is_empty());
}

#[tokio::test]
async fn only_the_carrier_is_answered() {
    let app = App::start().await;
    let gateway = app.gateway("").await;
    record(&gateway, "CA1", Status::Completed);
    let answer = Request::new("POST", "/twilio/after").form("CallSid=CA1").send(gateway.address).await;
    assert_eq!(answer.status, 403);
    assert!(app.forms().is_empty());
    assert_eq!(after(&gateway, "CA1").await.body, TWIML, "a stranger's question uses nothing up");
}

#[tokio::test]
async fn an_app_that_may_not_be_asked_is_not() {
    let app = App::start().await;
    let logs = Logs::take();
    let url = format!("http://{}/after?{QUERY}", app.address);
    let refused = AfterApp::new(&url, None, &Outbound::default()).unwrap();
    let gateway = Gateway::changed(PUBLIC_URL, "", |settings| settings.after_app = Some(refused)).await;
    record(&gateway, "CA1", Status::Completed);
    assert_eq!(elements(&after(&gateway, "CA1").await)[1].0, "Hangup");
    assert!(app.forms().is_empty());
    assert!(logs.line("nobody says what to do").contains("the app may not be asked: the host has a loopback address"));
    let line = logs.line("an outbound request was refused");
    assert!(line.contains("kind=\"action\" host=\"127.0.0.1\""), "{line}");
    logs.holds_none_of(&["a=1", "http://127.0.0.1"]);
}
