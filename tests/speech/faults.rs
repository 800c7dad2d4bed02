//! No silent call: whatever goes wrong with the vendor, the caller hears speech, and the next turn speaks again. Here over a
//! whole gateway, for what a configuration, a count of tries or a reason has a part in; every switch of every vendor is in
//! `tests/faults`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use trunkline::emulate::carrier::{EndedBy, Outcome};
use trunkline::emulate::cartesia::{self, ApiKey, Journal};

use crate::api::Events;
use crate::bench::{ANY, Bench, Spoken, vendor};
use crate::ear::{self, END, Sound};
use crate::scenarios::{run_all, scenario};

/// Words short enough to be whole even in the few chunks that some faults let through.
const TEXT: &str = "This is how it all goes on.";
/// Long enough to be cut off in the middle.
const LONG: &str = "And now we talk for far too long so that you can cut us off in the end.";

/// Who speaks while a fault is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// The vendor, perhaps after a while.
    Vendor,
    /// The local voice, with the fallback line.
    Fallback,
}

/// Three turns: one whole, one cut off in the middle, one whole.
struct Heard {
    outcome: Outcome,
    events: Events,
    journal: Journal,
    first: Spoken,
    cut: Spoken,
    last: Spoken,
}

async fn three_turns(vendor: cartesia::Settings, toml: &str) -> Heard {
    let bench = Bench::with_vendor(vendor, toml).await;
    let call = bench.call(|_| {}).await;
    let first = call.speak(TEXT).await;
    let from = call.now();
    let turn = call.say(json!({ "text": LONG })).await;
    call.sounds(turn).await;
    sleep(Duration::from_millis(500)).await;
    call.clear().await;
    let view = call.over(turn).await;
    let cut = Spoken { from, to: call.now(), view };
    // A pause, so that what comes after `clear` is not the new turn's speech.
    sleep(Duration::from_millis(300)).await;
    let last = call.speak(TEXT).await;
    let events = call.events.clone();
    let outcome = call.hang_up().await;
    let journal = bench.journal.clone();
    bench.finish().await;
    let heard = Heard { outcome, events, journal, first, cut, last };
    heard.check();
    heard
}

impl Heard {
    /// What holds in every case.
    fn check(&self) {
        for spoken in [&self.first, &self.cut, &self.last] {
            spoken.check_silence(&self.outcome);
        }
        let clears = ear::clears(&self.outcome);
        assert!(clears.len() <= 1, "{clears:?}");
        let Some(clear) = clears.first() else { return };
        assert!(self.outcome.report.media_after_clear.unwrap().count == 0);
        let after = ear::tones(&self.outcome, *clear, END);
        let old = self.tones_of(1, 2);
        if self.journal.contexts().len() <= cartesia::tone::TONES as usize {
            assert!(after.iter().all(|tone| !old.contains(tone)), "{old:?} after clear: {after:?}");
        }
    }

    /// The tones of some turns' contexts.
    fn tones_of(&self, first: usize, last: usize) -> BTreeSet<u32> {
        let of_turn = |id: &str| (first..=last).any(|turn| id.contains(&format!("-{turn}.")));
        self.journal
            .contexts()
            .iter()
            .filter(|context| of_turn(&context.id))
            .filter_map(|context| context.tone)
            .collect()
    }

    /// Why turns could not be spoken.
    fn reasons(&self) -> Vec<String> {
        let failed = self.events.of("speech_failed");
        assert!(!failed.is_empty());
        failed.iter().map(|event| event["reason"].as_str().unwrap().to_owned()).collect()
    }

    fn check_turn(&self, spoken: &Spoken, who: Who) {
        match who {
            Who::Vendor => spoken.check_spoken(&self.outcome, TEXT),
            Who::Fallback => spoken.check_fallback(&self.outcome),
        }
    }
}

/// What a scenario's name says.
#[test]
fn refusals_and_limits_end_in_speech() {
    let mut scenarios = vec![
        scenario("wrong key", || async {
            let api_key = Some(ApiKey::new("another"));
            let heard = three_turns(cartesia::Settings { api_key, ..vendor(&[]) }, "").await;
            heard.check_turn(&heard.first, Who::Fallback);
            heard.check_turn(&heard.last, Who::Fallback);
            // The first refusal says it all: nobody dials for ever.
            assert_eq!(heard.journal.counts().refused_401, 1);
            assert!(heard.reasons().iter().all(|reason| reason == "status 401"), "{:?}", heard.reasons());
        }),
        scenario("unknown voice", || async {
            let voices = Some(vec!["another".to_owned()]);
            let heard = three_turns(cartesia::Settings { voices, ..vendor(&[]) }, "").await;
            heard.check_turn(&heard.first, Who::Fallback);
            heard.check_turn(&heard.last, Who::Fallback);
            assert!(heard.reasons().iter().all(|reason| reason.contains("voice_not_found")), "{:?}", heard.reasons());
        }),
        scenario("429 at the handshake for ever", || async {
            let heard = three_turns(vendor(&["handshake-429"]), "").await;
            // A series of tries at the start of the call, and one for each turn.
            let tries = heard.journal.counts().refused_429;
            assert!((4..=16).contains(&tries), "{tries} tries");
            heard.check_turn(&heard.last, Who::Fallback);
        }),
        scenario("429 in the stream until the last turn", || async {
            // Four tries each for two turns.
            let heard = three_turns(vendor(&["limited:8"]), "").await;
            heard.check_turn(&heard.first, Who::Fallback);
            heard.check_turn(&heard.last, Who::Vendor);
            assert_eq!(heard.journal.counts().handshakes, 1, "a refused context is no reason to dial");
        }),
        scenario("429 in the stream until the last try", || async {
            let heard = three_turns(vendor(&["limited:3"]), "").await;
            heard.check_turn(&heard.first, Who::Vendor);
            heard.check_turn(&heard.last, Who::Vendor);
        }),
        scenario("a handshake that is never answered", || async {
            let heard = three_turns(vendor(&["handshake-slow=8000"]), "").await;
            heard.check_turn(&heard.first, Who::Fallback);
            heard.check_turn(&heard.last, Who::Fallback);
        }),
        scenario("an old error shape", || async {
            let toml = "speech.cartesia.version = \"2025-04-16\"";
            let heard = three_turns(vendor(&["limited:1", "error-500:1"]), toml).await;
            heard.check_turn(&heard.first, Who::Vendor);
            heard.check_turn(&heard.last, Who::Vendor);
        }),
    ];
    // Both ways of buffering, and a voice that has to be resampled.
    for fault in ["stall=2:1", "error-no-context=2:1", "abort=3:1", "expiry=100", "no-done", "timestamps-never"] {
        for toml in [
            "speech.cartesia.buffering = { managed_ms = 400 }",
            "speech.cartesia.sample_rate = 16000",
            "speech.cartesia.encoding = \"pcm_mulaw\"\nspeech.cartesia.sample_rate = 8000\nplayout.lead_ms = 20",
        ] {
            scenarios.push(scenario(format!("{fault} with {toml}"), move || async move {
                let heard = three_turns(vendor(&[fault]), toml).await;
                heard.check_turn(&heard.first, Who::Vendor);
                heard.check_turn(&heard.last, Who::Vendor);
            }));
        }
    }
    scenarios.push(scenario("on_failure = close", closed_after_the_fallback_line));
    scenarios.push(scenario("nobody there", nobody_there));
    run_all(scenarios);
}

async fn closed_after_the_fallback_line() {
    let bench = Bench::with_vendor(vendor(&["handshake-401"]), "speech.on_failure = \"close\"").await;
    let call = bench.call(|_| {}).await;
    let from = call.now();
    call.say(json!({ "text": TEXT })).await;
    let outcome = call.leave().await;
    assert_eq!(outcome.report.ended, EndedBy::Gateway { code: Some(1000) });
    let line = ear::heard_for(&outcome, from, END, |sound| sound == Sound::Other);
    assert!(line >= Duration::from_millis(600), "only {line:?} of the fallback line");
    bench.finish().await;
}

/// The vendor's port is closed.
async fn nobody_there() {
    let server = cartesia::Server::bind(ANY, vendor(&[])).await.unwrap();
    let listener = std::net::TcpListener::bind(ANY).unwrap();
    let url = format!("ws://{}/tts/websocket", listener.local_addr().unwrap());
    drop(listener);
    let bench = Bench::with_vendor_at(server, &url, "").await;
    let call = bench.call(|_| {}).await;
    let spoken = call.speak(TEXT).await;
    let outcome = call.hang_up().await;
    spoken.check_fallback(&outcome);
    bench.finish().await;
}

/// What comes each time is less than a word, so that nothing is ever gained: the tries have to end.
#[test]
fn tries_that_gain_nothing_end_in_the_fallback_line() {
    let faults = ["error-500=3", "error-400=3", "close-1011=3", "abort=3", "stall=3"];
    run_all(faults.map(|fault| scenario(fault, move || no_gain(fault))).into());
}

async fn no_gain(fault: &'static str) {
    let bench = Bench::with_vendor(vendor(&[fault]), "").await;
    let call = bench.call(|_| {}).await;
    let spoken = call.speak("Congratulations.").await;
    let outcome = call.hang_up().await;
    spoken.check_fallback(&outcome);
    let tries = bench.journal.contexts().len();
    assert!((2..=5).contains(&tries), "{tries} tries");
    bench.finish().await;
}
