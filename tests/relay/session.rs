//! How a session begins: the request, its signature, `setup`, the greeting.

use serde_json::json;
use trunkline::server::twilio::signature::{Algorithm, sign};

use crate::app::App;
use crate::support::carrier::{ACCOUNT, PUBLIC_URL, ask_with, stream};
use crate::support::gateway::{AUTH_TOKEN, Gateway};

/// All keys of `setup`, as documented.
const KEYS: [&str; 13] = [
    "type",
    "sessionId",
    "accountSid",
    "parentCallSid",
    "callSid",
    "from",
    "to",
    "forwardedFrom",
    "callType",
    "callerName",
    "direction",
    "callStatus",
    "customParameters",
];

#[tokio::test]
async fn setup_has_every_key_and_is_the_first_message() {
    let app = App::start().await;
    let gateway = Gateway::open(&app.toml("parameters = { tenant = \"acme\", plan = \"gold\" }")).await;
    let phone = gateway.dial().await.unwrap();
    phone.start("CA1", &[("callReference", "bar"), ("plan", "silver")]);
    let (session, setup) = app.begin().await;
    let keys: Vec<&String> = setup.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), KEYS.len(), "{keys:?}");
    for key in KEYS.iter().filter(|key| **key != "customParameters") {
        assert!(setup[*key].is_string(), "{key}: {setup}");
    }
    assert_eq!((&setup["callSid"], &setup["from"]), (&json!("CA1"), &json!("")));
    let id = setup["sessionId"].as_str().unwrap();
    assert!(id.len() == 34 && id.starts_with("VX") && id[2..].chars().all(|c| c.is_ascii_hexdigit()), "{id}");
    // What the stream brought goes before what is the same in every call.
    let expected = json!({"tenant": "acme", "plan": "silver", "callReference": "bar",
        "trunkline.control_url": format!("http://{}", gateway.address)});
    assert_eq!(setup["customParameters"], expected);
    assert_eq!(session.upgrade.path, "/relay?tenant=acme");
    assert!(!session.upgrade.headers.contains_key("x-twilio-signature"));
}

#[tokio::test]
async fn setup_says_what_the_carriers_webhook_said() {
    let app = App::start().await;
    let gateway = Gateway::signed(PUBLIC_URL, &app.toml("")).await;
    let form = [
        ("AccountSid", ACCOUNT),
        ("ApiVersion", "2010-04-01"),
        ("CallSid", "CA1"),
        ("CallStatus", "ringing"),
        ("CallerName", "JANE DOE"),
        ("Direction", "inbound"),
        ("ForwardedFrom", "+15550100003"),
        ("From", "+15550100001"),
        ("ParentCallSid", "CA0"),
        ("To", "+15550100002"),
    ];
    let answer = ask_with(&gateway, &format!("{PUBLIC_URL}/twilio/voice"), &form).await;
    let (_phone, _) = stream(&gateway, "CA1", &answer).await;
    let (_session, setup) = app.begin().await;
    for (key, value) in [
        ("accountSid", ACCOUNT),
        ("callSid", "CA1"),
        ("parentCallSid", "CA0"),
        ("from", "+15550100001"),
        ("to", "+15550100002"),
        ("forwardedFrom", "+15550100003"),
        ("callerName", "JANE DOE"),
        ("callType", "PSTN"),
        ("direction", "inbound"),
        ("callStatus", "RINGING"),
    ] {
        assert_eq!(setup[key], value, "{key}");
    }
    // The stream's token is nobody's business.
    assert_eq!(setup["customParameters"], json!({"trunkline.control_url": "https://gw.example.com"}));
}

#[tokio::test]
async fn the_request_is_signed_as_twilio_signs_it() {
    let app = App::start().await;
    let toml = format!("twilio.auth_token = \"{AUTH_TOKEN}\"\n{}", app.toml(""));
    // Signed calls need a carrier that signs; trust is off here, the token is still what the app is shown.
    let gateway = Gateway::start(&toml, true, tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap()).await;
    let _phone = gateway.call("CA1").await;
    let session = app.accept().await;
    let url = format!("ws://{}{}", app.address(), session.upgrade.path);
    // What `RequestValidator` of Twilio's libraries computes: HMAC-SHA1 over the URL, without parameters.
    let expected = sign(Algorithm::HmacSha1, AUTH_TOKEN, &url, &[]);
    assert_eq!(session.upgrade.headers["x-twilio-signature"], expected);
}

#[tokio::test]
async fn the_greeting_is_spoken_and_told_as_played() {
    let app = App::start().await;
    let gateway =
        Gateway::open(&app.toml("welcome_greeting = \"Good morning.\"\nevents = \"speaker-events tokens-played\""))
            .await;
    let mut phone = gateway.call("CA1").await;
    let (mut session, _) = app.begin().await;
    let on = session.next("the start of speech").await;
    assert_eq!((&on["name"], &on["value"]), (&json!("agentSpeaking"), &json!("on")));
    assert!(on["ts"].as_u64().unwrap() > 1_700_000_000_000, "{on}");
    let mut played = String::new();
    let off = loop {
        let message = session.next("the end of speech").await;
        if message["name"] == "agentSpeaking" {
            break message;
        }
        assert_eq!(message["name"], "tokensPlayed");
        played += message["value"].as_str().unwrap();
    };
    assert_eq!((off["value"].as_str(), played.as_str()), (Some("off"), "Good morning."));
    assert!(off["ts"].as_u64() > on["ts"].as_u64());
    phone.sees("speech", |seen| seen.frames > 20).await;
}
