//! What was spoken before it is needed: the second call asks the vendor for nothing.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use trunkline::emulate::cartesia;

use crate::bench::{Bench, cartesia_length, vendor};
use crate::ear::{self, END, Sound};
use crate::scenarios::{run_all, scenario};

const GREETING: &str = "Good morning. Is there anything that I can do for you?";
const MADE_MAX: Duration = Duration::from_secs(30);

#[test]
fn greetings_are_spoken_once_and_heard_in_every_call() {
    run_all(vec![
        scenario("the first call is cold, the second finds its greeting", cold_then_ready),
        scenario("a vendor of whom a phrase asks too much is asked again", || recovers("limited:2")),
        scenario("a vendor that hangs up in the middle of a phrase is asked again", || recovers("close-1011=5:1")),
        scenario("a vendor that falls silent in the middle of a phrase is asked again", || recovers("stall=5:1")),
    ]);
}

fn toml(more: &str) -> String {
    format!("[agent.script]\ngreeting = \"{GREETING}\"\nlines = []\n{more}")
}

/// Waits until so many phrases were made: one by the vendor, and the apology by the local voice.
async fn made(bench: &Bench, count: usize) {
    let until = Instant::now() + MADE_MAX;
    while !bench.api.text("/metrics").await.contains(&format!("trunkline_phrases_total{{kind=\"made\"}} {count}\n")) {
        assert!(Instant::now() < until, "{}", bench.api.text("/metrics").await);
        sleep(Duration::from_millis(20)).await;
    }
}

/// One call that hears the greeting to its end; how long it lasted, and in which tone.
async fn greeted(bench: &Bench) -> (Duration, Vec<u32>) {
    let call = bench.call(|_| {}).await;
    let over = call.over(1).await;
    assert_eq!((over["event"].as_str(), over["heard"].as_str()), (Some("turn_over"), Some(GREETING)), "{over}");
    let outcome = call.hang_up().await;
    let heard = ear::heard_for(&outcome, trunkline::ids::CallTime::ZERO, END, |sound| matches!(sound, Sound::Tone(_)));
    (heard, ear::tones(&outcome, trunkline::ids::CallTime::ZERO, END))
}

async fn cold_then_ready() {
    // The handshake of the phrases is the first, so that the first call has to speak for itself.
    let bench = Bench::prepared(vendor(&["handshake-429:1"]), &toml("")).await;
    let (heard, tones) = greeted(&bench).await;
    let whole = cartesia_length(GREETING);
    assert!(heard + Duration::from_millis(200) >= whole, "{heard:?} of {whole:?}");
    assert_eq!(tones.len(), 1, "{tones:?}");
    made(&bench, 2).await;
    let before = bench.journal.contexts();
    let spoken: Vec<String> = before.iter().map(|context| context.inputs.concat()).collect();
    assert_eq!(spoken, [GREETING, GREETING], "one of them for the call, one for those to come");
    let (heard, tones) = greeted(&bench).await;
    assert!(heard + Duration::from_millis(200) >= whole, "{heard:?} of {whole:?}");
    assert_eq!(bench.journal.contexts().len(), 2, "the second call asked the vendor");
    let kept = before.iter().find(|context| context.id.starts_with("phrases")).unwrap();
    assert_eq!(tones, [kept.tone.unwrap()]);
    let told = bench.api.text("/metrics").await;
    assert!(told.contains("trunkline_phrases_total{kind=\"hit\"} 1\n"), "{told}");
    assert!(told.contains("trunkline_phrases_total{kind=\"miss\"} 1\n"), "{told}");
    bench.finish().await;
}

/// A phrase is made although the first try fails, and is whole.
async fn recovers(fault: &'static str) {
    let bench = Bench::prepared(cartesia::Settings { speed_factor: 20.0, ..vendor(&[fault]) }, &toml("")).await;
    made(&bench, 2).await;
    let asked = bench.journal.contexts().len();
    let (heard, tones) = greeted(&bench).await;
    assert!(heard + Duration::from_millis(200) >= cartesia_length(GREETING), "{heard:?}");
    assert_eq!((tones.len(), bench.journal.contexts().len()), (1, asked));
    bench.finish().await;
}
