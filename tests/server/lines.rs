//! One line for each turn and one for each call: its fields are those that the documentation promises, and nothing private.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trunkline::emulate::cartesia;

use crate::support::gateway::{Gateway, Vendor};
use crate::support::logs::Logs;
use crate::support::until;

const FIRST: &str = "The vault code is seven.";
const SECOND: &str = "Zebras wander slowly along the winding river, and nobody knows where they are going this time.";

/// The fields that `docs/observability.md` lists for an event, each marked with whether it may be missing.
fn documented(event: &str) -> Vec<(String, bool)> {
    let page = include_str!("../../docs/observability.md");
    let table = page.split(&format!("<!-- line:{event} -->")).nth(1).expect("a table of the event");
    let rows = table.lines().skip_while(|line| !line.starts_with('|')).skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells.map(|cells| (cells[1].trim_matches('`').to_owned(), cells[3].starts_with("only"))).collect()
}

/// The line has every field that has to be there, and no other than those that are documented.
fn is_as_documented(line: &Value) {
    let event = line["fields"]["event"].as_str().unwrap();
    let documented = documented(event);
    let there: BTreeSet<&str> = line["fields"].as_object().unwrap().keys().map(String::as_str).collect();
    let known: BTreeSet<&str> = documented.iter().map(|(name, _)| name.as_str()).collect();
    let due: BTreeSet<&str> =
        documented.iter().filter(|(_, may_miss)| !may_miss).map(|(name, _)| name.as_str()).collect();
    assert!(there.is_subset(&known), "not documented: {:?}", there.difference(&known));
    assert!(due.is_subset(&there), "missing in {event}: {:?}", due.difference(&there));
    assert_eq!((&line["level"], &line["span"]["name"]), (&json!("INFO"), &json!("call")), "{line}");
    assert_eq!((&line["span"]["call"], &line["span"]["stream"]), (&json!("CA1"), &json!("MZ1")), "{line}");
}

#[tokio::test]
async fn each_turn_and_each_call_has_one_line_without_a_word_in_it() {
    let logs = Logs::take_json();
    let vendor = Vendor::start(cartesia::Settings::default()).await;
    let gateway = Gateway::open(&vendor.toml).await;
    let mut phone = gateway.dial().await.unwrap();
    phone.start("CA1", &[("trunkline.from", "+15550100001"), ("tenant", "acme-secret")]);
    gateway.is_listed("CA1").await;
    phone.hush();
    assert_eq!(gateway.say_and_wait("CA1", json!({ "text": FIRST })).await.json()["outcome"], "heard");
    gateway.say("CA1", json!({ "text": SECOND })).await;
    let before = phone.seen().frames;
    phone.sees("speech", |seen| seen.frames > before + 50).await;
    phone.press('5');
    phone.sees("the clear", |seen| seen.clears == 1).await;
    phone.stop();
    phone.end().await;
    gateway.is_gone("CA1").await;
    until("the line", async || (!logs.objects("call").is_empty()).then_some(())).await;

    let turns = logs.objects("turn");
    assert_eq!(turns.len(), 2, "{}", logs.text());
    turns.iter().for_each(is_as_documented);
    let (heard, cut) = (&turns[0]["fields"], &turns[1]["fields"]);
    assert_eq!((&heard["turn"], &heard["outcome"], &heard["cause"]), (&json!(1), &json!("heard"), &Value::Null));
    assert_eq!((&heard["heard_chars"], &heard["said_chars"]), (&json!(FIRST.len()), &json!(FIRST.len())));
    assert_eq!((&heard["voices"], &heard["estimated"]), (&json!("cartesia"), &json!(false)));
    assert_eq!(heard["heard_ms"], heard["said_ms"]);
    assert!(heard["first_byte_ms"].as_f64().unwrap() > 0.0);
    assert_eq!((&cut["turn"], &cut["outcome"], &cut["cause"]), (&json!(2), &json!("interrupted"), &json!("dtmf")));
    assert_eq!(cut["interrupted_at_ms"], cut["over_at_ms"]);
    assert!(cut["heard_ms"].as_f64().unwrap() < cut["said_ms"].as_f64().unwrap(), "{cut}");
    assert!(cut["heard_chars"].as_u64().unwrap() < cut["said_chars"].as_u64().unwrap(), "{cut}");

    let calls = logs.objects("call");
    assert_eq!(calls.len(), 1, "{}", logs.text());
    is_as_documented(&calls[0]);
    let call = &calls[0]["fields"];
    assert_eq!((&call["reason"], &call["turns"]), (&json!("carrier_stopped"), &json!(2)));
    assert_eq!((&call["interruptions"], &call["frames_in"]), (&json!(1), &json!(1)));
    assert_eq!((&call["agent"], &call["hearing"]), (&json!("api"), &json!("none")));
    let sent = gateway.metric("trunkline_frames_total{kind=\"out\"}").await;
    assert_eq!(call["frames_out"].as_f64().unwrap(), sent);
    assert!(call["late_p99_ms"].as_f64().unwrap() <= call["late_max_ms"].as_f64().unwrap());
    logs.holds_none_of(&["vault", "Zebras", "15550100001", "acme", "'5'"]);
}

#[tokio::test]
async fn a_voice_that_fails_is_in_the_line_of_its_turn() {
    let logs = Logs::take_json();
    let vendor =
        Vendor::start(cartesia::Settings { voices: Some(vec!["another".to_owned()]), ..Default::default() }).await;
    let toml = vendor.toml.replace("[\"cartesia\"]", "[\"cartesia\", \"local\"]");
    let gateway = Gateway::open(&toml).await;
    let phone = gateway.call("CA1").await;
    let said = gateway.say_and_wait("CA1", json!({ "text": FIRST })).await;
    assert_eq!(said.json()["outcome"], "heard", "{said:?}");
    phone.stop();
    gateway.is_gone("CA1").await;
    // The call is gone from the list before its last line is written.
    until("the line", async || (!logs.objects("call").is_empty()).then_some(())).await;
    let turns = logs.objects("turn");
    assert_eq!(turns.len(), 1, "{}", logs.text());
    is_as_documented(&turns[0]);
    assert_eq!(turns[0]["fields"]["voices"], "cartesia,local");
    assert_eq!(turns[0]["fields"]["failovers"], 1);
    assert_eq!(logs.objects("call")[0]["fields"]["failovers"], 1);
    logs.holds_none_of(&["vault"]);
}
