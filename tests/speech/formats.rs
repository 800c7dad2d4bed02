//! Every way of asking for speech brings the same speech: whole, once, and in its own words.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::bench::{Bench, cartesia_length, vendor};
use crate::ear::{self, END, Sound};
use crate::scenarios::{alone, run_all, scenario};

const TOKENS: [&str; 9] =
    ["Good", " morning,", " thank you", " for calling.", " How", " can", " I help", " you to", "day?"];

#[test]
fn both_bufferings_in_every_format() {
    let mut scenarios = Vec::new();
    for buffering in ["\"sentences\"", "{ managed_ms = 700 }"] {
        for (encoding, rate) in
            [("pcm_s16le", 8_000), ("pcm_s16le", 16_000), ("pcm_s16le", 24_000), ("pcm_mulaw", 8_000)]
        {
            let toml = format!(
                "speech.cartesia.buffering = {buffering}\nspeech.cartesia.encoding = \"{encoding}\"\n\
                 speech.cartesia.sample_rate = {rate}"
            );
            let name = format!("{buffering} {encoding} {rate}");
            scenarios.push(scenario(name, move || spoken_whole(toml, rate)));
        }
    }
    run_all(scenarios);
}

async fn spoken_whole(toml: String, rate: u32) {
    let text = TOKENS.concat();
    let bench = Bench::with_vendor(vendor(&[]), &toml).await;
    let call = bench.call(|_| {}).await;
    let from = call.now();
    let turn = call.say_tokens(&TOKENS).await;
    let over = call.over(turn).await;
    let outcome = call.hang_up().await;
    assert_eq!((over["outcome"].as_str(), over["heard"].as_str()), (Some("heard"), Some(text.as_str())), "{over}");
    assert_eq!(over["estimated"], false);
    assert_eq!(ear::tones(&outcome, from, END), [0]);
    // The last frame is padded; nothing else is added, and nothing is cut.
    let (played, whole) = (outcome.report.audio_played_ms, cartesia_length(&text).as_secs_f64() * 1_000.0);
    assert!((-5.0..=45.0).contains(&(played - whole)), "{played} ms of {whole} ms");
    let contexts = bench.journal.contexts();
    assert_eq!(contexts.len(), 1, "{contexts:?}");
    assert_eq!((contexts[0].inputs.concat(), contexts[0].rate), (text, rate));
    assert!(contexts[0].input_ended);
    bench.finish().await;
}

#[test]
fn the_local_voice_is_a_provider_like_the_others() {
    let text = "Good morning, thank you for calling. How can I help you today? We are open from nine to five.";
    alone(async {
        let bench = Bench::local("").await;
        let call = bench.call(|_| {}).await;
        let whole = call.speak(text).await;
        let turn = call.say(json!({ "text": text })).await;
        let next = call.say(json!({ "text": text })).await;
        call.sounds(turn).await;
        sleep(Duration::from_millis(1_500)).await;
        call.clear().await;
        let cut = call.over(turn).await;
        let dropped = call.over(next).await;
        sleep(Duration::from_millis(300)).await;
        let silent_from = call.now();
        sleep(Duration::from_millis(500)).await;
        let last = call.speak("Good bye.").await;
        let outcome = call.hang_up().await;
        assert_eq!((whole.view["outcome"].as_str(), whole.view["heard"].as_str()), (Some("heard"), Some(text)));
        let voice = ear::heard_for(&outcome, whole.from, whole.to, |sound| sound == Sound::Other);
        assert!(voice > Duration::from_secs(3), "{voice:?}");
        let heard = cut["heard"].as_str().unwrap();
        assert!(!heard.is_empty() && text.starts_with(heard) && heard.len() < text.len(), "{cut}");
        assert_eq!((cut["estimated"].as_bool(), dropped["heard"].as_str()), (Some(false), Some("")));
        let after = ear::heard_for(&outcome, silent_from, last.from, |sound| sound != Sound::Silence);
        assert!(after.is_zero(), "{after:?} of old speech after `clear`");
        assert_eq!(last.view["heard"], "Good bye.");
        assert_eq!(bench.journal.counts().connections, 0);
        bench.finish().await;
    });
}
