//! `/metrics`: what it counts, under which names, and that the documentation says the same.

use std::collections::{BTreeMap, BTreeSet};

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

/// The settings with which every series exists from the start: what is counted of accounts begins with the account, and
/// limits are told where there are any.
const ACCOUNT: &str = "speech.chain = [\"cartesia\"]\nspeech.cartesia.url = \"ws://127.0.0.1:9/\"\n\
    speech.cartesia.max_contexts = 1\nspeech.cartesia.max_sockets = 1\n";

/// A family: its kind, and the values of each of its labels. Of a histogram's bounds nothing is said.
type Families = BTreeMap<String, (String, BTreeMap<String, BTreeSet<String>>)>;

/// Name without labels, and the labels, of a line of a scrape.
fn series(line: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let (series, _) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
    Some((name, labels.map(|(name, value)| (name, value.trim_matches('"'))).collect()))
}

/// Every family of a scrape.
fn served(text: &str) -> Families {
    let mut found: Families = families(text).into_iter().map(|(name, kind)| (name, (kind, BTreeMap::new()))).collect();
    for (name, labels) in text.lines().filter_map(series) {
        let ends = ["_total", "_bucket", "_sum", "_count", ""];
        let family = ends.iter().filter_map(|end| name.strip_suffix(end)).find(|name| found.contains_key(*name));
        let (_, values) = found.get_mut(family.unwrap_or_else(|| panic!("{name} has no type"))).unwrap();
        for (label, value) in labels.into_iter().filter(|(label, _)| *label != "le") {
            values.entry(label.to_owned()).or_default().insert(value.to_owned());
        }
    }
    found
}

/// Every family of the documentation.
fn documented() -> Families {
    let rows = include_str!("../../docs/metrics.md").lines().filter_map(|line| line.strip_prefix("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells[0].trim_end_matches('`');
        // "`voice`, `kind`: `one`, `two`": a label with its values behind it has no other ones.
        let mut labels = BTreeMap::<String, BTreeSet<String>>::new();
        let mut of = None;
        for word in cells[2].split('`').collect::<Vec<_>>().chunks_exact(2).map(|pair| (pair[0].trim(), pair[1])) {
            match word {
                (":" | ",", value) if of.is_some() => {
                    let values: &mut BTreeSet<String> = labels.get_mut(of.unwrap()).unwrap();
                    values.insert(value.to_owned());
                }
                (_, label) => {
                    labels.insert(label.to_owned(), BTreeSet::new());
                    of = (label == "kind").then_some(label);
                }
            }
        }
        (name.strip_suffix("_total").unwrap_or(name).to_owned(), (cells[1].to_owned(), labels))
    };
    rows.map(row).collect()
}

#[tokio::test]
async fn the_documentation_and_a_scrape_agree_on_names_kinds_and_labels() {
    let gateway = Gateway::open(ACCOUNT).await;
    let mut served = served(&gateway.get("/metrics").await.body);
    for (_, labels) in served.values_mut() {
        // Which voices there are is up to the configuration.
        if let Some(voices) = labels.get_mut("voice") {
            assert_eq!(std::mem::take(voices), BTreeSet::from(["cartesia".to_owned()]));
        }
    }
    let documented = documented();
    let names = |families: &Families| families.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&documented), names(&served));
    for (name, family) in &served {
        assert_eq!(&documented[name], family, "{name}: documented, served");
    }
}

#[tokio::test]
async fn no_storm_adds_a_series() {
    let vendor = Vendor::start(cartesia::Settings::default()).await;
    let gateway = Gateway::open(&vendor.toml).await;
    let names = async || -> BTreeSet<String> {
        let text = gateway.get("/metrics").await.body;
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    };
    let before = names().await;
    let calls: Vec<String> = (0..24).map(|n| format!("CA{n:032x}")).collect();
    let storm = calls.iter().enumerate().map(async |(n, call)| {
        let mut phone = gateway.dial().await.unwrap();
        let parameters = [("trunkline.from", format!("+1555{n:07}")), (call.as_str(), "a parameter".to_owned())];
        phone.start(call, &parameters.each_ref().map(|(name, value)| (*name, value.as_str())));
        gateway.is_listed(call).await;
        gateway.say(call, json!({ "text": format!("Sentence number {n}."), "voice": format!("voice-{n}") })).await;
        gateway.get(&format!("/v1/calls/{call}/nowhere")).await;
        gateway.api(&format!("VERB{n}"), &format!("/path/{n}")).send(gateway.address).await;
        gateway.api("GET", "/v1/calls").header("Origin", &format!("http://origin-{n}")).send(gateway.address).await;
        phone.send(json!({ "event": format!("event-{n}") }));
        phone.sees("speech", |seen| seen.frames > 0).await;
        match n % 4 {
            0 => phone.stop(),
            1 => drop(gateway.api("DELETE", &format!("/v1/calls/{call}")).send(gateway.address).await),
            2 => phone.press('5'),
            _ => {}
        }
    });
    futures_util::future::join_all(storm).await;
    for call in &calls {
        gateway.is_gone(call).await;
    }
    assert_eq!(gateway.metric("trunkline_calls").await, 0.0);
    let after = names().await;
    let new: Vec<&String> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:?}");
    // Two voices of a chain, every kind and every bucket: a node is cheap to scrape, whatever happens on it.
    assert!(after.len() < 300, "{}", after.len());
}
