//! `/metrics`: what it counts, under which names, and that the documentation says the same.

use std::collections::BTreeSet;

use serde_json::json;
use trunkline::emulate::cartesia;

use crate::support::gateway::{Gateway, Vendor};

/// Name and kind of every family, from the text format's own description.
fn families(text: &str) -> BTreeSet<(String, String)> {
    let described = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    described.map(|line| line.split_once(' ').unwrap()).map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

#[tokio::test]
async fn a_call_with_a_barge_in_fills_every_family_that_it_should() {
    let vendor = Vendor::start(cartesia::Settings::default()).await;
    let gateway = Gateway::open(&vendor.toml).await;
    let mut phone = gateway.call("CA1").await;
    gateway
        .say("CA1", json!({ "text": "A long sentence, so that there is time enough to cut it off in the middle." }))
        .await;
    phone.hush();
    phone.sees("speech", |seen| seen.frames > 40).await;
    assert_eq!(gateway.metric("trunkline_calls").await, 1.0);
    phone.press('5');
    phone.sees("the clear", |seen| seen.clears == 1).await;
    phone.stop();
    phone.end().await;
    gateway.is_gone("CA1").await;

    let answer = gateway.get("/metrics").await;
    assert!(answer.headers["content-type"].starts_with("application/openmetrics-text"), "{answer:?}");
    assert!(answer.body.ends_with("# EOF\n"));
    let value = |series: &str| -> f64 {
        let line = answer.body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} is missing")).parse().unwrap()
    };
    assert_eq!(value("trunkline_calls"), 0.0);
    assert_eq!(value("trunkline_calls_ended_total{kind=\"carrier_stopped\"}"), 1.0);
    assert_eq!(value("trunkline_frames_total{kind=\"in\"}"), 1.0);
    let sent = value("trunkline_frames_total{kind=\"out\"}");
    assert!(sent > 40.0);
    assert_eq!(value("trunkline_send_lateness_seconds_count"), sent);
    assert_eq!(value("trunkline_clear_held_seconds_count"), 1.0);
    assert!(value("trunkline_clear_held_seconds_sum") < 2.0);
    assert_eq!(value("trunkline_tts_first_byte_seconds_count"), 1.0);
    assert!(value("trunkline_marks_total{kind=\"played\"}") >= 1.0);
    assert_eq!(value("trunkline_barge_ins_total"), 1.0);
    for series in ["underruns", "slips", "late_chunks", "garbage", "tts_reconnects", "tts_retries", "speech_failures"] {
        assert!(value(&format!("trunkline_{series}_total")) >= 0.0);
    }
    assert_eq!(value("trunkline_task_panics_total"), 0.0);
}

#[tokio::test]
async fn the_documentation_lists_every_family_and_no_other() {
    // What is counted of accounts begins with the account, and limits are told where there are any.
    let gateway = Gateway::open(
        "speech.chain = [\"cartesia\"]\nspeech.cartesia.url = \"ws://127.0.0.1:9/\"\n\
         speech.cartesia.max_contexts = 1\nspeech.cartesia.max_sockets = 1\n",
    )
    .await;
    let served = families(&gateway.get("/metrics").await.body);
    let documented: BTreeSet<(String, String)> = include_str!("../../docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| {
            let mut cells = line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
            (cells.next().unwrap(), cells.next().unwrap())
        })
        .map(|(name, kind)| (name.strip_suffix("_total").unwrap_or(&name).to_owned(), kind))
        .collect();
    assert_eq!(documented, served);
}
