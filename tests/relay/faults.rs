//! Apps that cannot be reached, leave, or make no sense.

use serde_json::json;

use crate::app::App;
use crate::support::gateway::Gateway;
use crate::support::logs::Logs;

#[tokio::test]
async fn nonsense_is_answered_and_the_session_goes_on() {
    let app = App::start().await;
    let gateway = Gateway::open(&app.toml("")).await;
    let mut phone = gateway.call("CA1").await;
    let (mut session, _) = app.begin().await;
    session.say(json!({"foo": "bar"})).await;
    let error = session.next("an error").await;
    assert_eq!(error, json!({"type": "error", "description": "Invalid message received: {\"foo\":\"bar\"}"}));
    session.token("Still here.", true).await;
    phone.sees("speech", |seen| seen.frames > 10).await;
}

#[tokio::test]
async fn ten_in_a_row_end_the_session() {
    let app = App::start().await;
    let gateway = Gateway::open(&app.toml("")).await;
    let logs = Logs::take();
    let mut phone = gateway.call("CA1").await;
    let (mut session, _) = app.begin().await;
    // Nine do not, if something sensible follows.
    for _ in 0..9 {
        session.say_raw("a caller's secret").await;
    }
    session.token("One. ", false).await;
    for _ in 0..10 {
        session.say_raw("a caller's secret").await;
    }
    let (code, reason, errors) = session.closed().await;
    assert_eq!((code, reason.as_str()), (1007, "Too many consecutive malformed messages."));
    assert_eq!(errors.len(), 19);
    assert!(errors.iter().all(|error| error["type"] == "error"));
    // The caller is told that nobody answers any more, and the call ends.
    assert_eq!(phone.end().await, Some(1000));
    assert!(phone.seen().frames > 50);
    logs.holds_none_of(&["a caller's secret"]);
}

#[tokio::test]
async fn a_caller_whose_app_is_lost_hears_so() {
    for refused in [true, false] {
        let app = App::start().await;
        let gateway = Gateway::open(&app.toml("")).await;
        let dialled = async {
            match refused {
                true => app.refuse().await,
                false => app.begin().await.0.vanish(),
            }
        };
        let (mut phone, ()) = tokio::join!(gateway.call("CA1"), dialled);
        assert_eq!(phone.end().await, Some(1000));
        assert!(phone.seen().frames > 50, "{:?}", phone.seen());
        gateway.is_gone("CA1").await;
    }
}

#[tokio::test]
async fn a_source_that_is_no_url_is_nonsense() {
    let app = App::start().await;
    let gateway = Gateway::open(&app.toml("")).await;
    let _phone = gateway.call("CA1").await;
    let (mut session, _) = app.begin().await;
    session.say(json!({"type": "play", "source": "file:///etc/passwd"})).await;
    assert_eq!(session.next("an error").await["type"], "error");
}

#[tokio::test]
async fn nothing_that_is_said_or_told_is_logged() {
    let app = App::start().await;
    let gateway = Gateway::open(&app.toml("welcome_greeting = \"a secret greeting\"\ndtmf_detection = true")).await;
    let logs = Logs::take();
    let mut phone = gateway.dial().await.unwrap();
    phone.start("CA1", &[("patient", "a secret parameter")]);
    let (mut session, _) = app.begin().await;
    session.token("a secret answer", true).await;
    phone.press('7');
    session.skip_to("interrupt").await;
    session.say(json!({"type": "end", "handoffData": "a secret handoff"})).await;
    phone.end().await;
    gateway.is_gone("CA1").await;
    // The last line is written when the call is off the list.
    let logged = async {
        while !logs.text().contains("the call is over") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), logged).await.unwrap();
    logs.holds_none_of(&["a secret", "tenant=acme"]);
}
