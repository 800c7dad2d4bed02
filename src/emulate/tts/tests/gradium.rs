//! Gradium's rules.

use super::*;

fn setup(id: Option<&str>) -> Value {
    let mut setup = json!({ "voice_id": "v", "output_format": "pcm_8000", "type": "setup" });
    if let Some(id) = id {
        setup["client_req_id"] = json!(id);
        setup["close_ws_on_eos"] = json!(false);
    }
    setup
}

fn text(id: Option<&str>, text: &str) -> Value {
    with_id(json!({ "type": "text", "text": text }), id)
}

fn end(id: Option<&str>) -> Value {
    with_id(json!({ "type": "end_of_stream" }), id)
}

fn with_id(mut message: Value, id: Option<&str>) -> Value {
    if let Some(id) = id {
        message["client_req_id"] = json!(id);
    }
    message
}

fn is_end(id: &'static str) -> impl Fn(&Value) -> bool {
    move |value| value["type"] == "end_of_stream" && value["client_req_id"] == id
}

fn audio_of(all: &[Got], id: &str) -> Vec<u8> {
    audio_where(all, "audio", |value| value["client_req_id"] == id)
}

#[tokio::test(start_paused = true)]
async fn a_single_request_has_all_fields_and_closes_the_socket() {
    let mut bench = Bench::new(Vendor::Gradium, &[]);
    let mut client = bench.connect().await;
    // As the SDK does: everything at once, without waiting for `ready`, the configuration as text.
    let mut first = setup(None);
    first["json_config"] = json!("{\"temp\": 0.6}");
    client.send(first).await;
    client.send(text(None, "Hello there.")).await;
    client.send(end(None)).await;
    let all = client.drain(5_000).await;
    assert_eq!(course(&all), "ready text audio text audio end_of_stream 1000");
    let messages: Vec<_> = jsons(&all).collect();
    let ready = messages[0];
    assert_eq!((&ready["sample_rate"], &ready["frame_size"]), (&json!(8_000), &json!(640)));
    assert_eq!((&ready["audio_stream_names"], &ready["text_stream_names"]), (&json!(["audio"]), &json!(["text"])));
    assert!(
        ready["request_id"].is_string() && ready["model_name"] == "default" && ready.get("client_req_id").is_none()
    );
    assert_eq!(messages[1], &json!({"type": "text", "text": "Hello", "start_s": 0.0, "stop_s": 0.3, "stream_id": 0}));
    let audio: Vec<_> = messages.iter().filter(|message| message["type"] == "audio").collect();
    assert_eq!(audio.len(), 9);
    assert_eq!((&audio[1]["start_s"], &audio[1]["stop_s"]), (&json!(0.08), &json!(0.16)));
    assert_eq!(audio[1]["stream_id"], 0);
    let bytes = audio_where(&all, "audio", |_| true);
    assert_eq!(bytes.len(), bytes_of(12));
    let record = bench.journal().contexts().remove(0);
    assert_tone(&bytes, record.tone);
    assert_eq!((record.text.as_str(), record.ended.unwrap().1), ("Hello there.", End::Done));
    assert_eq!(record.id, ready["request_id"].as_str().unwrap());
}

#[tokio::test(start_paused = true)]
async fn requests_share_the_socket_and_keep_apart() {
    let mut bench = Bench::new(Vendor::Gradium, &[]);
    let mut client = bench.connect().await;
    for id in ["a", "b"] {
        client.send(setup(Some(id))).await;
        client.send(text(Some(id), "This one speaks for quite a while.")).await;
        client.send(end(Some(id))).await;
    }
    let mut all = client.until(is_end("a")).await;
    if count(&all, "end_of_stream") < 2 {
        all.extend(client.until(is_end("b")).await);
    }
    let order: String = jsons(&all)
        .filter(|value| value["type"] == "audio")
        .map(|value| value["client_req_id"].as_str().unwrap())
        .collect();
    assert!(order.matches("ab").count() > 3, "{order}");
    for id in ["a", "b"] {
        assert_tone(&audio_of(&all, id), bench.record(id).tone);
        assert_eq!(audio_of(&all, id).len(), bytes_of(34));
    }
    // Nothing closes the socket, and an id that is over may be used again.
    assert_eq!(client.within(5_000).await, None);
    client.send(setup(Some("a"))).await;
    client.send(end(Some("a"))).await;
    assert_eq!(course(&client.until(is_end("a")).await), "ready end_of_stream");
    client.send(end(None)).await;
    assert_eq!(client.next().await, Got::Close(1_000));
}

#[tokio::test(start_paused = true)]
async fn texts_are_joined_with_a_space_and_the_model_lags_until_it_is_flushed() {
    let mut bench = Bench::new(Vendor::Gradium, &[]);
    let mut client = bench.connect().await;
    client.send(setup(Some("a"))).await;
    client.send(text(Some("a"), "foo")).await;
    client.send(text(Some("a"), ".")).await;
    assert_eq!(course(&client.drain(3_000).await), "ready", "a sentence nobody has gone on from");
    client.send(text(Some("a"), "bar <flush>")).await;
    let all = client.until(|value| value["type"] == "flushed").await;
    assert_eq!(audio_of(&all, "a").len(), bytes_of("foo . bar ".len()));
    client.send(text(Some("a"), "<break time=\"0.5s\" /> baz")).await;
    client.send(end(Some("a"))).await;
    let all = client.until(is_end("a")).await;
    let bytes = audio_of(&all, "a");
    // Half a second of silence, and the spaces that were around it with the word.
    assert!(bytes[..8_000].iter().all(|byte| *byte == 0) && bytes.len() == 8_000 + bytes_of(2 + "baz".len()));
    let record = bench.record("a");
    assert_eq!(record.inputs, ["foo", ".", "bar <flush>", "<break time=\"0.5s\" /> baz"]);
    assert_eq!((record.text.as_str(), record.flushes), ("foo . bar   baz", 1));
}

#[tokio::test(start_paused = true)]
async fn breaches_of_the_protocol_close_the_socket() {
    let (a, none) = (Some("a"), None);
    for (messages, code) in [
        (vec![setup(a), setup(a)], 1_002),
        (vec![setup(none), setup(none)], 1_002),
        (vec![text(none, "before setup")], 1_002),
        (vec![json!({ "type": "cancel" })], 1_002),
        (vec![json!([1])], 1_002),
        (vec![setup(a), end(a), text(a, "too late")], 1_002),
        (vec![json!({ "type": "setup", "output_format": "wav" })], 1_008),
    ] {
        let mut bench = Bench::new(Vendor::Gradium, &[]);
        let mut client = bench.connect().await;
        // The text of a request keeps it busy, so that it is still there.
        for message in messages.clone() {
            client.send(message).await;
        }
        let all = client.drain(1_000).await;
        let error = jsons(&all).find(|value| value["type"] == "error");
        assert!(all.last() == Some(&Got::Close(code)), "{messages:?}: {:?}", kinds(&all));
        assert_eq!(error.unwrap()["code"], code);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_had_ends_its_request_only() {
    let voices = Some(vec!["known".to_owned()]);
    let mut bench = Bench::with(Settings { voices, ..settings(Vendor::Gradium, &[]) });
    let mut client = bench.connect().await;
    client.send(setup(Some("a"))).await;
    let error = client.json().await;
    assert_eq!(
        (&error["type"], &error["client_req_id"], &error["code"]),
        (&json!("error"), &json!("a"), &json!(1_008))
    );
    let mut known = setup(Some("b"));
    known["voice_id"] = json!("known");
    client.send(known).await;
    assert_eq!(client.json().await["type"], "ready");
    // Text for the one that never was is that one's mistake.
    client.send(text(Some("a"), "lost")).await;
    assert_eq!(client.json().await["client_req_id"], "a");
    client.send(end(Some("b"))).await;
    client.until(is_end("b")).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_after_its_time() {
    let session = Duration::from_secs(7);
    let mut bench = Bench::with(Settings { session, speed_factor: 1.0, ..settings(Vendor::Gradium, &[]) });
    let mut client = bench.connect().await;
    client.send(setup(Some("a"))).await;
    client.send(text(Some("a"), &"ten chars ".repeat(100))).await;
    client.send(end(Some("a"))).await;
    let all = client.until(|value| value["type"] == "error").await;
    assert_eq!(client.elapsed_ms() / 100, 70);
    assert!(count(&all, "audio") > 80 && count(&all, "end_of_stream") == 0);
    assert_eq!(jsons(&all).last().unwrap()["client_req_id"], "a");
    assert_eq!(bench.end_of("a"), Some(End::Expired));
    assert_eq!(client.within(2_000).await, None, "nothing more");

    let mut client = bench.connect().await;
    client.send(setup(None)).await;
    assert_eq!(course(&client.drain(8_000).await), "ready error 1008");
}

#[tokio::test(start_paused = true)]
async fn keys_and_paths_are_checked() {
    let api_key = Some(ApiKey::new("right"));
    let mut bench = Bench::with(Settings { api_key, ..settings(Vendor::Gradium, &[]) });
    let path = "/api/speech/tts";
    assert_eq!(bench.status(path, &[("x-api-key", "right")]).await, 101);
    assert_eq!(bench.status(&format!("{path}?token=right"), &[]).await, 101);
    assert_eq!(bench.status(path, &[("x-api-key", "wrong")]).await, 401);
    assert_eq!(bench.status(path, &[]).await, 401);
    assert_eq!(bench.status("/api/speech/asr", &[("x-api-key", "right")]).await, 404);
}
