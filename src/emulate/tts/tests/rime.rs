//! Rime's rules, as far as they are known.

use super::*;

fn text(id: &str, text: &str) -> Value {
    json!({ "text": text, "contextId": id })
}

fn operation(name: &str) -> Value {
    json!({ "operation": name })
}

fn is_done(id: &'static str) -> impl Fn(&Value) -> bool {
    move |value| value["type"] == "done" && value["contextId"] == id
}

fn audio_of(all: &[Got], id: &str) -> Vec<u8> {
    audio_where(all, "data", |value| value["contextId"] == id)
}

#[tokio::test(start_paused = true)]
async fn word_times_begin_again_with_every_utterance() {
    let mut bench = Bench::new(Vendor::Rime, &[]);
    let mut client = bench.connect().await;
    client.send(text("a", "Hello there. ")).await;
    client.send(text("a", "And you?")).await;
    client.send(operation("flush")).await;
    let all = client.until(is_done("a")).await;
    assert_eq!(audio_of(&all, "a").len(), bytes_of(21));
    assert_tone(&audio_of(&all, "a"), bench.record("a").tone);
    let starts: Vec<_> = jsons(&all)
        .filter(|value| value["type"] == "timestamps")
        .map(|value| (value["word_timestamps"]["words"][0].clone(), value["word_timestamps"]["start"][0].clone()))
        .collect();
    assert_eq!(starts[0], (json!("Hello"), json!(0.0)));
    assert!(starts.contains(&(json!("And"), json!(0.0))), "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn operations_are_about_the_whole_socket() {
    let mut bench = Bench::new(Vendor::Rime, &[]);
    let mut client = bench.connect().await;
    client.send(text("a", "One")).await;
    // Another id speaks what waits of the one before.
    client.send(text("b", "Two")).await;
    client.send(operation("flush")).await;
    let all = client.until(is_done("b")).await;
    assert_eq!(
        course(&all),
        "timestamps chunk timestamps chunk done timestamps chunk done".replacen("timestamps chunk ", "", 1)
    );
    assert_eq!((audio_of(&all, "a").len(), audio_of(&all, "b").len()), (bytes_of(3), bytes_of(3)));

    client.send(text("c", "A story that nobody will hear to its end. And more of it.")).await;
    client.send(text("d", "This never begins. No.")).await;
    client.until(|value| value["type"] == "chunk").await;
    client.send(operation("clear")).await;
    assert_eq!(client.within(5_000).await, None);
    assert_eq!((bench.end_of("c"), bench.end_of("d")), (Some(End::Cancelled), Some(End::Cancelled)));

    client.send(json!({ "text": "No id. " })).await;
    client.send(operation("eos")).await;
    let all = client.drain(2_000).await;
    assert_eq!(course(&all), "timestamps chunk timestamps chunk done 1000");
    assert!(jsons(&all).all(|value| value["contextId"].is_null()));
}

#[tokio::test(start_paused = true)]
async fn mistakes_are_answered_without_an_id() {
    let mut bench = Bench::new(Vendor::Rime, &[]);
    let mut client = bench.connect().await;
    for wrong in [json!({}), operation("sing"), json!([]), json!({ "text": "x", "contextId": 7 })] {
        client.send(wrong).await;
        let error = client.json().await;
        assert!(error["type"] == "error" && error["message"].is_string() && error.get("contextId").is_none());
    }
    let key = [("authorization", "Bearer k")];
    let path = "/ws3?speaker=s&samplingRate=8000";
    assert_eq!(bench.status(&format!("{path}&audioFormat=mulaw"), &key).await, 400);
    assert_eq!(bench.status(&format!("{path}&audioFormat=pcm"), &[]).await, 401);
    assert_eq!(bench.status("/ws3?speaker=s&audioFormat=pcm&samplingRate=7", &key).await, 400);
    assert_eq!(bench.status("/ws2", &key).await, 404);
}
