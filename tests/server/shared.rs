//! What the calls of a server share of an account: contexts, sockets, the knowledge that a voice is away.

use serde_json::{Value, json};
use trunkline::emulate::cartesia;

use crate::support::gateway::{Gateway, Vendor};
use crate::support::until;

/// A gateway whose account with `vendor` has these further settings.
async fn gateway(vendor: &Vendor, settings: &str) -> Gateway {
    let toml = vendor.toml.replace("api_key = \"k\"", &format!("api_key = \"k\", {settings}"));
    assert!(toml.contains(settings), "{toml}");
    Gateway::open(&toml).await
}

fn cartesia_with(contexts_max: Option<u32>, sockets_max: Option<u32>) -> cartesia::Settings {
    cartesia::Settings { voice: cartesia::Voice::Tone, contexts_max, sockets_max, ..cartesia::Settings::default() }
}

#[tokio::test]
async fn voices_are_shown_with_what_all_calls_share_and_a_call_takes_the_warm_socket() {
    let gateway_of_its_own = Gateway::open("").await;
    assert_eq!(gateway_of_its_own.get("/v1/voices").await.json(), json!({ "voices": [{ "voice": "local" }] }));

    let vendor = Vendor::start(cartesia_with(Some(1), Some(2))).await;
    let gateway = gateway(&vendor, "max_contexts = 1, max_sockets = 2, warm = 1").await;
    let shows = async |sockets: u32, warm: u32| {
        let voice = json!({
            "voice": "cartesia", "breaker": "closed",
            "contexts": { "in_use": 0, "limit": 1, "max": 1, "waiting": 0 },
            "sockets": { "in_use": sockets, "limit": 2, "max": 2, "warm": warm },
        });
        let expected = json!({ "voices": [voice, { "voice": "local" }] });
        until("the expected voices", async || (gateway.get("/v1/voices").await.json() == expected).then_some(())).await;
    };
    shows(1, 1).await;
    assert_eq!(vendor.journal.counts().handshakes, 1);
    let phone = gateway.call("CA1").await;
    assert_eq!(gateway.say_and_wait("CA1", json!({ "text": "Hello." })).await.json()["outcome"], "heard");
    // The call spoke on the socket that was there, and another one was made ready.
    shows(2, 1).await;
    assert_eq!(gateway.metric("trunkline_tts_warm_adoptions_total{voice=\"cartesia\"}").await, 1.0);
    assert_eq!(vendor.journal.counts().handshakes, 2);
    drop(phone);
    shows(1, 1).await;
    assert_eq!(vendor.journal.counts().refused_429, 0);
}

#[tokio::test]
async fn many_calls_share_few_contexts_and_the_vendor_never_refuses_one() {
    const CALLS: usize = 8;
    let vendor = Vendor::start(cartesia_with(Some(2), None)).await;
    let gateway = gateway(&vendor, "max_contexts = 2").await;
    let mut phones = Vec::new();
    for call in 0..CALLS {
        phones.push(gateway.call(&format!("CA{call}")).await);
    }
    let names: Vec<String> = (0..CALLS).map(|call| format!("CA{call}")).collect();
    let said = names.iter().map(|call| gateway.say_and_wait(call, json!({ "text": "There is one room left." })));
    for answer in futures_util::future::join_all(said).await {
        assert_eq!(answer.json()["outcome"], "heard");
    }
    let counts = vendor.journal.counts();
    assert_eq!((counts.contexts, counts.contexts_refused, counts.errors), (CALLS as u64, 0, 0));
    assert_eq!(counts.contexts_most, 2);
    let metric = async |name: &str| gateway.metric(&format!("trunkline_tts_{name}")).await;
    assert_eq!(metric("context_wait_seconds_count{voice=\"cartesia\"}").await, CALLS as f64);
    assert!(metric("context_wait_seconds_sum{voice=\"cartesia\"}").await > 0.0);
    assert_eq!(metric("refusals_total{voice=\"cartesia\",kind=\"context\"}").await, 0.0);
    assert_eq!(metric("contexts_waiting{voice=\"cartesia\"}").await, 0.0);
    assert_eq!(metric("contexts{voice=\"cartesia\"}").await, 0.0);
}

#[tokio::test]
async fn a_voice_that_is_away_is_spared_and_the_next_one_speaks() {
    // Nobody listens on this port.
    let away = "speech.chain = [\"cartesia\", \"local\"]\n\
                speech.cartesia = { url = \"ws://127.0.0.1:9/\", api_key = \"k\" }\n";
    let gateway = Gateway::open(away).await;
    let mut phones = Vec::new();
    for call in 0..8 {
        let call = format!("CA{call}");
        phones.push(gateway.call(&call).await);
        assert_eq!(gateway.say_and_wait(&call, json!({ "text": "Hello." })).await.json()["outcome"], "heard");
        assert_eq!(gateway.get(&format!("/v1/calls/{call}")).await.json()["voice"], "local");
    }
    let voices = gateway.get("/v1/voices").await.json();
    assert_eq!(voices["voices"][0]["breaker"], "open", "{voices}");
    assert_eq!(voices["voices"][1], json!({ "voice": "local" }));
    assert_eq!(voices["voices"][2], Value::Null);
    assert!(gateway.metric("trunkline_tts_breaker_opens_total{voice=\"cartesia\"}").await >= 1.0);
    let spared = gateway.metric("trunkline_tts_dials_spared_total{voice=\"cartesia\",kind=\"breaker\"}").await;
    assert!(spared >= 1.0, "{spared}");
}
