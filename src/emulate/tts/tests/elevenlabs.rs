//! ElevenLabs' rules.

use super::*;

fn first(id: &str) -> Value {
    json!({ "text": " ", "context_id": id, "voice_settings": { "stability": 0.5, "speed": 1.0 } })
}

fn text(id: &str, text: &str) -> Value {
    json!({ "text": text, "context_id": id })
}

fn close(id: &str) -> Value {
    json!({ "context_id": id, "close_context": true })
}

fn is_final(id: &'static str) -> impl Fn(&Value) -> bool {
    move |value| value["isFinal"] == true && value["contextId"] == id
}

fn audio_of(all: &[Got], id: &str) -> Vec<u8> {
    audio_where(all, "audio", |value| value["contextId"] == id)
}

async fn connected(faults: &[&str]) -> (Bench, Client) {
    let mut bench = Bench::new(Vendor::ElevenLabs, faults);
    let client = bench.connect().await;
    (bench, client)
}

#[tokio::test(start_paused = true)]
async fn a_context_speaks_and_ends_with_is_final() {
    let (bench, mut client) = connected(&[]).await;
    client.send(first("a")).await;
    client.send(text("a", "Hello there. ")).await;
    client.send(json!({ "context_id": "a", "flush": true })).await;
    client.send(close("a")).await;
    let all = client.until(is_final("a")).await;
    assert_eq!(course(&all), "audio isFinal");
    assert_eq!(jsons(&all).last().unwrap(), &json!({ "isFinal": true, "contextId": "a" }));
    let bytes = audio_of(&all, "a");
    assert_eq!(bytes.len(), bytes_of(13));
    assert_tone(&bytes, bench.record("a").tone);
    assert_eq!(bench.record("a").text, "Hello there. ");
    assert_eq!(
        (bench.record("a").inputs, bench.record("a").flushes),
        (vec![" ".to_owned(), "Hello there. ".to_owned()], 1)
    );

    // Alignments restart at 0, cover their audio, and hold the text.
    let (mut spoken, mut offset) = (String::new(), 0);
    for message in jsons(&all).filter(|value| value["audio"].is_string()) {
        let alignment = &message["alignment"];
        assert_eq!(alignment, &message["normalizedAlignment"]);
        let list = |name: &str| alignment[name].as_array().unwrap().clone();
        let (chars, starts, lengths) = (list("chars"), list("charStartTimesMs"), list("charDurationsMs"));
        assert!(chars.len() == starts.len() && chars.len() == lengths.len());
        assert_eq!(starts[0], 0);
        spoken.extend(chars.iter().map(|c| c.as_str().unwrap()));
        offset += starts.last().unwrap().as_u64().unwrap() + lengths.last().unwrap().as_u64().unwrap();
    }
    assert_eq!(offset as usize * 16, bytes.len());
    assert_eq!(spoken.split_whitespace().collect::<Vec<_>>(), ["Hello", "there."]);
}

#[tokio::test(start_paused = true)]
async fn alignments_may_be_missing() {
    let (_bench, mut client) = connected(&["timestamps-never"]).await;
    client.send(text("a", "Hello there. ")).await;
    client.send(close("a")).await;
    let all = client.until(is_final("a")).await;
    assert!(jsons(&all).all(|value| value["alignment"].is_null()) && count(&all, "audio") == 9);
}

#[tokio::test(start_paused = true)]
async fn five_contexts_are_open_until_their_last_message() {
    let (_bench, mut client) = connected(&[]).await;
    for id in ["a", "b", "c", "d", "e"] {
        client.send(first(id)).await;
        client.send(text(id, "Something to say here. ")).await;
    }
    // Closing is not the end.
    client.send(close("a")).await;
    client.until(is_final("a")).await;
    client.send(first("f")).await;
    client.send(text("f", "Fine. ")).await;
    client.until(|value| value["contextId"] == "f").await;
    client.send(close("b")).await;
    client.send(close("c")).await;
    client.until(is_final("c")).await;

    let (_bench, mut client) = connected(&[]).await;
    for id in ["a", "b", "c", "d", "e"] {
        client.send(first(id)).await;
        client.send(text(id, "Something to say here. ")).await;
        client.send(close(id)).await;
    }
    // A flush of an id that was never seen is the sixth.
    client.send(json!({ "context_id": "f", "flush": true })).await;
    let all = client.drain(2_000).await;
    assert_eq!(all.last(), Some(&Got::Close(1_008)));
    assert_eq!(jsons(&all).last().unwrap()["code"], 1_008);
}

#[tokio::test(start_paused = true)]
async fn settings_belong_to_the_first_message() {
    let (_bench, mut client) = connected(&[]).await;
    client.send(text("a", "No settings at all. ")).await;
    client.until(|value| value["contextId"] == "a").await;
    client.send(first("a")).await;
    assert_eq!(client.drain(2_000).await.last(), Some(&Got::Close(1_008)));

    // A sign of life opens a context, so that its settings come too late.
    let (_bench, mut client) = connected(&[]).await;
    client.send(text("a", "")).await;
    client.send(first("a")).await;
    assert_eq!(course(&client.drain(2_000).await), "error 1008");

    // One for the socket opens nothing.
    let (bench, mut client) = connected(&[]).await;
    client.send(json!({ "text": "" })).await;
    client.send(first("a")).await;
    assert_eq!(client.within(2_000).await, None);
    assert_eq!(bench.journal().counts().contexts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_context_dies_of_inactivity_and_signs_of_life_keep_it() {
    let mut bench = Bench::new(Vendor::ElevenLabs, &[]);
    let path = format!("{}&inactivity_timeout=30", address(Vendor::ElevenLabs).0);
    let mut client = bench.connect_to(&path).await;
    client.send(first("a")).await;
    assert_eq!(client.within(29_000).await, None);
    client.send(text("a", "")).await;
    assert_eq!(client.within(29_000).await, None);
    assert_eq!(client.json().await, json!({ "isFinal": true, "contextId": "a" }));
    assert_eq!((client.elapsed_ms() / 1_000, bench.end_of("a")), (59, Some(End::Expired)));
    // The same id is another context now.
    client.send(first("a")).await;
    client.send(text("a", "Again. ")).await;
    assert_eq!(name(&client.next().await), "audio");
    assert_eq!(bench.journal().counts().contexts, 2);

    let mut client = bench.connect().await;
    client.send(first("b")).await;
    client.until(is_final("b")).await;
    assert_eq!(client.elapsed_ms() / 1_000, 20);
}

#[tokio::test(start_paused = true)]
async fn closing_finishes_what_was_begun_and_forgets_what_waits() {
    let mut bench = Bench::new(Vendor::ElevenLabs, &[]);
    let path = address(Vendor::ElevenLabs).0.replace("auto_mode=true", "auto_mode=false");
    let mut client = bench.connect_to(&path).await;
    client.send(first("a")).await;
    client.send(text("a", "This waits for more. ")).await;
    assert_eq!(client.within(5_000).await, None, "fewer than 120 characters");
    client.send(json!({ "text": "Now speak. ", "context_id": "a", "flush": true })).await;
    client.send(text("a", "Never spoken. ")).await;
    client.send(close("a")).await;
    client.send(text("a", "Neither is this. ")).await;
    let all = client.until(is_final("a")).await;
    assert_eq!(audio_of(&all, "a").len(), bytes_of("This waits for more. Now speak. ".len()));

    client.send(first("b")).await;
    client.send(text("b", &"ten chars ".repeat(13))).await;
    let all = client.until(|value| value["contextId"] == "b").await;
    assert_eq!(course(&all), "audio");
    client.send(json!({ "close_socket": true })).await;
    assert_eq!(course(&client.drain(5_000).await), "audio isFinal 1000");
}

#[tokio::test(start_paused = true)]
async fn the_single_context_has_no_ids_and_closes_the_socket() {
    let mut bench = Bench::new(Vendor::ElevenLabs, &[]);
    let path = "/v1/text-to-speech/v/stream-input?output_format=pcm_8000&model_id=m";
    let mut client = bench.connect_to(path).await;
    let settings = json!({ "text": " ", "try_trigger_generation": true, "voice_settings": null,
        "generation_config": { "chunk_length_schedule": [50] } });
    client.send(settings).await;
    for part in ["Hello there, ", "how are you? "] {
        client.send(json!({ "text": part, "try_trigger_generation": true })).await;
    }
    client.send(json!({ "text": "" })).await;
    let all = client.drain(5_000).await;
    assert_eq!(course(&all), "audio isFinal 1000");
    assert!(
        jsons(&all).all(|value| value.get("contextId").is_none() && value.get("alignment").is_none_or(Value::is_null))
    );
    assert_eq!(audio_where(&all, "audio", |_| true).len(), bytes_of(26));
}

#[tokio::test(start_paused = true)]
async fn handshakes_are_checked() {
    let voices = Some(vec!["v".to_owned()]);
    let mut bench = Bench::with(Settings { voices, ..settings(Vendor::ElevenLabs, &[]) });
    let key = [("xi-api-key", "k")];
    let path = |query: &str| format!("/v1/text-to-speech/v/multi-stream-input?{query}");
    assert_eq!(bench.status(&path("output_format=ulaw_8000"), &key).await, 101);
    assert_eq!(bench.status(&path("output_format=ulaw_8000&single_use_token=t"), &[]).await, 101);
    assert_eq!(bench.status(&path("output_format=ulaw_8000"), &[]).await, 401);
    assert_eq!(bench.status(&path(""), &key).await, 400);
    assert_eq!(bench.status(&path("output_format=ulaw_8000&inactivity_timeout=181"), &key).await, 400);
    assert_eq!(bench.status("/v1/text-to-speech/v/else", &key).await, 404);
    let mut client = bench.connect_to("/v1/text-to-speech/x/multi-stream-input?output_format=pcm_8000").await;
    assert_eq!(course(&client.drain(1_000).await), "error 1008");
}
