//! The webhook in open mode: the TwiML that it answers with.

use crate::support::carrier::{attribute, elements};
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::logs::Logs;

const TWIML: &str = r#"
    twilio.after_url = "https://gw.example.com/after?a=1&b=2"
    twilio.parameters = { tenant = "acme & <sons>", lane = "7" }
"#;

#[tokio::test]
async fn get_and_post_are_answered_with_a_stream_and_its_parameters() {
    let gateway = Gateway::open(TWIML).await;
    let form = "CallSid=CA1&From=%2B15550100001&To=%2B15550100002";
    for request in
        [Request::new("POST", "/twilio/voice").form(form), Request::new("GET", &format!("/twilio/voice?{form}"))]
    {
        let answer = request.send(gateway.address).await;
        assert_eq!(answer.headers["cache-control"], "no-store");
        let elements = elements(&answer);
        let names: Vec<&str> = elements.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[..3], ["Response", "Connect", "Stream"]);
        assert!(names[3..].iter().all(|name| *name == "Parameter"), "{names:?}");
        assert_eq!(attribute(&elements[1], "action"), "https://gw.example.com/after?a=1&b=2");
        assert_eq!(attribute(&elements[2], "url"), format!("ws://{}/twilio/media", gateway.address));
        assert_eq!(
            attribute(&elements[2], "statusCallback"),
            format!("http://{}/twilio/stream-status", gateway.address)
        );
        let parameters: Vec<(&str, &str)> =
            elements[3..].iter().map(|each| (attribute(each, "name"), attribute(each, "value"))).collect();
        assert_eq!((parameters[0].0, parameters[0].1.len() > 60), ("trunkline_token", true));
        let facts = [("trunkline.from", "+15550100001"), ("trunkline.to", "+15550100002")];
        assert_eq!(parameters[1..3], facts);
        assert_eq!(parameters[3..], [("lane", "7"), ("tenant", "acme & <sons>")]);
    }
}

#[tokio::test]
async fn a_full_node_sends_calls_away() {
    let gateway = Gateway::open("server.max_calls = 1").await;
    let mut phone = gateway.call("CA1").await;
    let webhook = || Request::new("POST", "/twilio/voice").form("CallSid=CA2");
    let answer = webhook().send(gateway.address).await;
    assert_eq!(elements(&answer)[1], ("Reject".to_owned(), vec![("reason".to_owned(), "busy".to_owned())]));
    assert_eq!(gateway.metric("trunkline_refused_total{kind=\"full\"}").await, 1.0);
    // One that was answered before can only be told.
    let answered = Request::new("POST", "/twilio/voice").form("CallSid=CA2&CallStatus=in-progress");
    let answer = answered.send(gateway.address).await;
    assert_eq!((elements(&answer)[1].0.as_str(), elements(&answer)[2].0.as_str()), ("Say", "Hangup"));
    assert!(answer.body.contains("all lines are busy"), "{answer:?}");

    phone.stop();
    phone.end().await;
    gateway.is_gone("CA1").await;
    assert_eq!(elements(&webhook().send(gateway.address).await)[1].0, "Connect");
    gateway.call("CA2").await;
}

#[tokio::test]
async fn a_full_node_redirects_if_it_is_told_where() {
    let url = "https://other.example.com/twilio/voice?a=1&b=2";
    let gateway = Gateway::open(&format!("server = {{ max_calls = 1, busy_redirect_url = \"{url}\" }}")).await;
    let _phone = gateway.call("CA1").await;
    let answer = Request::new("GET", "/twilio/voice?CallSid=CA2").send(gateway.address).await;
    assert_eq!(elements(&answer)[1].0, "Redirect");
    assert!(answer.body.contains(&url.replace('&', "&amp;")), "{answer:?}");
}

#[tokio::test]
async fn a_webhook_about_no_call_is_a_mistake() {
    let gateway = Gateway::open("").await;
    for request in [
        Request::new("POST", "/twilio/voice").form("From=%2B15550100001"),
        Request::new("POST", "/twilio/voice").form("CallSid="),
        Request::new("POST", "/twilio/voice"),
        Request::new("GET", "/twilio/voice"),
        // The fields of a POST stand in its body.
        Request::new("POST", "/twilio/voice?CallSid=CA1").form(""),
    ] {
        let answer = request.send(gateway.address).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.starts_with("CallSid: "), "{answer:?}");
    }
}

#[tokio::test]
async fn a_stream_status_is_logged_and_no_number_is() {
    let logs = Logs::take();
    let gateway = Gateway::open("").await;
    let form =
        "AccountSid=AC1&CallSid=CA1&StreamSid=MZ1&StreamEvent=stream-error&StreamError=31921+x&From=%2B15550100001";
    let answer = Request::new("POST", "/twilio/stream-status").form(form).send(gateway.address).await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let line = logs.line("the carrier tells of a stream");
    for part in ["CA1", "MZ1", "stream-error", "31921 x"] {
        assert!(line.contains(part), "{line}");
    }
    let form = "CallSid=CA1&From=%2B15550100001&To=%2B15550100002&CallerName=Jane+Doe&FromCity=Springfield";
    let answer = Request::new("POST", "/twilio/voice").form(form).send(gateway.address).await;
    let token = attribute(&elements(&answer)[3], "value").to_owned();
    logs.holds_none_of(&["15550100001", "15550100002", "Jane", "Springfield", &token]);
}
