//! A voice that is asked for each sentence over HTTP: the same calls as with the others, and the server's own record of what
//! it was asked to say.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use trunkline::emulate::speech::{ApiKey, End, Settings, Voice};

use crate::bench::{Bench, cartesia_length};
use crate::ear::{self, END, Sound};
use crate::scenarios::{run_all, scenario};

const SENTENCES: [&str; 3] =
    ["Good morning, and thank you for calling.", " We are open from nine to five.", " How can I help you today?"];
const OPENAI: &str = "speech.chain = [\"openai\"]";

/// A server that speaks in tones, one for each request.
fn tones(faults: &[&str]) -> Settings {
    Settings {
        voice: Voice::Tone,
        api_key: Some(ApiKey::new("k")),
        faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(),
        ..Settings::default()
    }
}

#[test]
fn calls_are_spoken_by_a_server_that_is_asked_for_each_sentence() {
    run_all(vec![
        scenario("three sentences", || spoken_whole(tones(&[]), "")),
        scenario("in odd pieces", || spoken_whole(tones(&["odd-chunks", "close-each"]), "")),
        scenario("at another rate", || {
            spoken_whole(Settings { rate: 16_000, ..tones(&[]) }, "speech.openai.sample_rate = 16000")
        }),
        scenario("one request at a time", || spoken_whole(Settings { requests_max: Some(1), ..tones(&[]) }, "")),
        scenario("cut off and spoken again", cut_off),
        scenario("a body that breaks off once", || recovered("drop=4:1")),
        scenario("a server that fails once", || recovered("refuse=503:1")),
        scenario("nobody there, and the next voice", next_voice),
    ]);
}

async fn spoken_whole(vendor: Settings, toml: &str) {
    let text = SENTENCES.concat();
    let requests_max = vendor.requests_max;
    let (bench, asked) = Bench::asking(vendor, &format!("{OPENAI}\n{toml}")).await;
    let call = bench.call(|_| {}).await;
    let from = call.now();
    let spoken = call.speak(&text).await;
    let outcome = call.hang_up().await;
    spoken.check_spoken(&outcome, &text);
    let records = asked.records();
    let said: Vec<_> = records.iter().filter(|record| record.status == Some(200)).collect();
    // Each sentence once, in order, and nothing else.
    assert_eq!(said.iter().map(|record| record.input.as_str()).collect::<Vec<_>>(), SENTENCES.map(str::trim));
    assert!(said.iter().all(|record| record.ended.unwrap().1 == End::Complete), "{said:?}");
    let tones: Vec<u32> = said.iter().map(|record| record.tone.unwrap()).collect();
    assert_eq!(ear::tones(&outcome, from, END), tones);
    for (tone, text) in tones.into_iter().zip(SENTENCES) {
        let heard = ear::heard_for(&outcome, from, END, |sound| sound == Sound::Tone(tone));
        let whole = cartesia_length(text.trim());
        // A window in which a frame came late has no tone: a busy machine costs some of them.
        let is_whole = heard + whole / 4 >= whole && heard <= whole + Duration::from_millis(80);
        assert!(is_whole, "tone {tone}: {heard:?} of {whole:?}");
    }
    if requests_max.is_none() {
        assert!(
            said[1].at < said[0].ended.unwrap().0,
            "the second was not asked for while the first was made: {said:?}"
        );
    }
    bench.finish().await;
}

async fn cut_off() {
    // Slow enough that something is still being made when it is cut off.
    let (bench, asked) = Bench::asking(Settings { speed_factor: 1.5, ..tones(&[]) }, OPENAI).await;
    let call = bench.call(|_| {}).await;
    let from = call.now();
    let turn = call.say(json!({ "text": SENTENCES.concat() })).await;
    call.sounds(turn).await;
    // In the middle of the first sentence of 2.4 s.
    sleep(Duration::from_millis(1_200)).await;
    call.clear().await;
    let cut = call.over(turn).await;
    let heard = cut["heard"].as_str().unwrap();
    assert!(!heard.is_empty() && SENTENCES[0].starts_with(heard.trim_end()), "{cut}");
    let again = call.speak("And now for something else.").await;
    let outcome = call.hang_up().await;
    assert_eq!(again.view["heard"], "And now for something else.");
    let clears = ear::clears(&outcome);
    assert_eq!(ear::tones(&outcome, from, clears[0]), [0]);
    let records = asked.records();
    let last = records.last().unwrap();
    assert_eq!(ear::tones(&outcome, clears[0], END), [last.tone.unwrap()]);
    let ends: Vec<End> = records.iter().map(|record| record.ended.unwrap().1).collect();
    assert_eq!((ends[0], ends.last()), (End::Cancelled, Some(&End::Complete)), "{records:?}");
    bench.finish().await;
}

/// One fault, and every word is heard in spite of it.
async fn recovered(fault: &'static str) {
    let text = SENTENCES.concat();
    let (bench, asked) = Bench::asking(tones(&[fault]), OPENAI).await;
    let call = bench.call(|_| {}).await;
    let spoken = call.speak(&text).await;
    let outcome = call.hang_up().await;
    spoken.check_silence(&outcome);
    assert_eq!((&spoken.view["outcome"], &spoken.view["heard"]), (&json!("heard"), &json!(text)), "{spoken:?}");
    // What had been spoken to its end is not said again.
    let said = asked.records().into_iter().filter(|record| record.ended.unwrap().1 == End::Complete);
    let said: Vec<String> = said.map(|record| record.input).collect();
    let times = |sentence: &str| said.iter().filter(|said| *said == sentence.trim()).count();
    assert!(SENTENCES[1..].iter().all(|sentence| times(sentence) == 1), "{said:?}");
    bench.finish().await;
}

async fn next_voice() {
    let text = SENTENCES.concat();
    let toml = "speech.chain = [\"openai\", \"local\"]";
    let (bench, asked) = Bench::asking(tones(&["refuse=503"]), toml).await;
    let call = bench.call(|_| {}).await;
    let spoken = call.speak(&text).await;
    let outcome = call.hang_up().await;
    spoken.check_silence(&outcome);
    assert_eq!((&spoken.view["outcome"], &spoken.view["heard"]), (&json!("heard"), &json!(text)), "{spoken:?}");
    assert!(ear::tones(&outcome, spoken.from, END).is_empty());
    assert!(asked.records().iter().all(|record| record.status == Some(503)));
    bench.finish().await;
}
