//! Deepgram's rules, of Aura and of Flux.

use super::*;

fn speak(text: &str) -> Value {
    json!({ "type": "Speak", "text": text })
}

fn command(name: &str) -> Value {
    json!({ "type": name })
}

fn interrupt(at_ms: u64) -> Value {
    json!({ "type": "Interrupt", "playback_offset": { "type": "time_ms", "value": at_ms } })
}

fn is(kind: &'static str) -> impl Fn(&Value) -> bool {
    move |value| value["type"] == kind
}

async fn aura(faults: &[&str]) -> (Bench, Client) {
    let mut bench = Bench::new(Vendor::Deepgram, faults);
    let mut client = bench.connect().await;
    let metadata = client.json().await;
    assert!(metadata["type"] == "Metadata" && metadata["model_name"] == "m" && metadata["model_uuid"].is_string());
    (bench, client)
}

async fn flux(faults: &[&str]) -> (Bench, Client) {
    let mut bench = Bench::new(Vendor::Deepgram, faults);
    let mut client = bench.connect_to(FLUX).await;
    let connected = client.json().await;
    assert!(connected["type"] == "Connected" && connected["model_uuids"].is_array());
    (bench, client)
}

#[tokio::test(start_paused = true)]
async fn aura_numbers_its_answers_and_sends_audio_in_between() {
    let (bench, mut client) = aura(&[]).await;
    client.send(speak("Hello ")).await;
    assert_eq!(client.within(2_000).await, None, "no sentence yet");
    client.send(speak("there. How")).await;
    assert_eq!(course(&client.drain(2_000).await), "binary", "a whole sentence needs no flush");
    client.send(command("Flush")).await;
    let all = client.until(is("Flushed")).await;
    assert_eq!(jsons(&all).last().unwrap()["sequence_id"], 0);
    assert_eq!(audio_where(&all, "", |_| false).len(), bytes_of("How".len()));
    assert_eq!(bench.record("0.0").text, "Hello there. How");

    client.send(speak("One. ")).await;
    client.send(command("Flush")).await;
    client.send(speak("Two.")).await;
    client.send(command("Flush")).await;
    let all = client.until(|value| value["sequence_id"] == 2).await;
    assert_eq!(course(&all), "binary Flushed binary Flushed");
    let (one, two) = all.split_at(all.iter().position(|got| name(got) == "Flushed").unwrap());
    assert_tone(&audio_where(one, "", |_| false), bench.record("0.1").tone);
    assert_tone(&audio_where(two, "", |_| false), bench.record("0.2").tone);
    // Nothing to say is answered all the same.
    client.send(command("Flush")).await;
    assert_eq!(client.json().await, json!({ "type": "Flushed", "sequence_id": 3 }));
    client.send(speak("The end.")).await;
    client.send(command("Close")).await;
    assert_eq!(course(&client.drain(5_000).await), "binary Flushed 1000");
}

#[tokio::test(start_paused = true)]
async fn nothing_of_the_old_text_follows_cleared() {
    for fault in [&[][..], &["late-chunks=4"]] {
        let (bench, mut client) = aura(fault).await;
        client.send(speak("A long story begins here and goes on and on.")).await;
        client.send(command("Flush")).await;
        client.send(speak("More of it follows.")).await;
        client.next().await;
        client.send(command("Clear")).await;
        client.send(speak("Afterwards.")).await;
        client.send(command("Flush")).await;
        let old = client.until(is("Cleared")).await;
        assert_eq!(jsons(&old).last().unwrap()["sequence_id"], 0);
        let new = client.until(is("Flushed")).await;
        assert_eq!(count(&old, "binary"), fault.len() * 4, "{fault:?}");
        let bytes = audio_where(&new, "", |_| false);
        assert_eq!(bytes.len(), bytes_of(11));
        assert_tone(&bytes, bench.record("0.2").tone);
        assert_eq!((bench.end_of("0.0"), bench.end_of("0.1")), (Some(End::Cancelled), Some(End::Cancelled)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_twenty_first_flush_of_a_minute_is_ignored() {
    let (bench, mut client) = aura(&[]).await;
    for _ in 0..20 {
        client.send(command("Flush")).await;
    }
    client.until(|value| value["sequence_id"] == 19).await;
    client.send(speak("Unheard.")).await;
    client.send(command("Flush")).await;
    let warning = client.json().await;
    assert!(warning["type"] == "Warning" && warning["code"].is_string() && warning["description"].is_string());
    assert_eq!(client.within(50_000).await, None, "the text waits");
    tokio::time::sleep(Duration::from_secs(10)).await;
    client.send(command("Flush")).await;
    assert_eq!(course(&client.until(is("Flushed")).await), "binary Flushed");
    assert_eq!(bench.journal().contexts().len(), 21);
}

#[tokio::test(start_paused = true)]
async fn aura_closes_on_what_it_cannot_read() {
    for message in [json!({ "type": "Sing" }), json!({ "type": "Speak" }), json!([])] {
        let (_bench, mut client) = aura(&[]).await;
        client.send(message).await;
        assert_eq!(client.next().await, Got::Close(1_008));
    }
}

#[tokio::test(start_paused = true)]
async fn flux_speaks_one_turn_after_the_other() {
    let (bench, mut client) = flux(&[]).await;
    client.send(speak("The first turn is not so short.")).await;
    client.send(command("Flush")).await;
    client.send(speak("The second.")).await;
    client.send(command("Flush")).await;
    let first = client.until(is("SpeechMetadata")).await;
    let second = client.until(is("SpeechMetadata")).await;
    for (all, length) in [(&first, 31), (&second, 11)] {
        // More audio follows `Flushed`.
        assert_eq!(course(all), "SpeechStarted binary Flushed binary SpeechMetadata");
        let id = jsons(all).next().unwrap()["speech_id"].as_str().unwrap();
        assert!(id.starts_with("dg_sp_") && id.len() == 18 && jsons(all).all(|value| value["speech_id"] == id));
        let metadata = jsons(all).last().unwrap();
        assert_eq!(metadata["audio_duration_ms"], length * 60);
        assert_eq!(
            (&metadata["input_character_count"], &metadata["billable_character_count"]),
            (&json!(length), &json!(length))
        );
        assert_eq!(metadata["controls_applied"]["breaks_applied"], 0);
        assert_tone(&audio_where(all, "", |_| false), bench.record(id).tone);
    }
    client.send(command("Close")).await;
    let all = client.drain(1_000).await;
    assert_eq!(course(&all), "SessionMetadata 1000");
    assert_eq!(jsons(&all).next().unwrap()["total_audio_duration_ms"], 42 * 60);
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_splits_the_text_where_it_was_heard() {
    let (bench, mut client) = flux(&[]).await;
    client.send(speak("Short. ")).await;
    client.send(command("Flush")).await;
    client.until(is("SpeechMetadata")).await;
    client.send(speak("Your appointment is on Tuesday.")).await;
    client.send(command("Flush")).await;
    client.send(speak("Never heard.")).await;
    client.send(command("Flush")).await;
    client.until(is("SpeechStarted")).await;
    client.next().await;
    // 420 ms of the first turn, and 1,200 of the second: "is" ends at 1,140.
    client.send(interrupt(420 + 1_200)).await;
    let all = client.until(is("SpeechInterrupted")).await;
    let answer = jsons(&all).last().unwrap();
    assert_eq!(answer["audio_played_ms"], 1_620);
    assert_eq!(
        (&answer["text_spoken"], &answer["text_remaining"]),
        (&json!("Your appointment is"), &json!(" on Tuesday."))
    );
    assert_eq!(answer["metadata"]["input_character_count"], 31);
    assert_eq!(client.within(5_000).await, None, "the turn that waited is dropped");
    assert_eq!(bench.journal().contexts()[2].samples_sent, 0);

    client.send(interrupt(1_620)).await;
    assert_eq!(client.json().await["code"], "INVALID_INTERRUPT_OFFSET");
    client.send(speak("And a third.")).await;
    client.send(command("Flush")).await;
    client.until(is("SpeechMetadata")).await;
    // Long after it was sent, and before it was played: the session's audio goes on from where it was interrupted.
    client.send(interrupt(1_620 + 290)).await;
    let answer = client.json().await;
    assert_eq!((&answer["text_spoken"], &answer["text_remaining"]), (&json!("And"), &json!(" a third.")));
    client.send(speak("More.")).await;
    client.send(command("Flush")).await;
    client.until(is("SpeechMetadata")).await;
    client.send(command("Interrupt")).await;
    let answer = client.json().await;
    assert!(answer["type"] == "SpeechInterrupted" && answer.get("text_spoken").is_none(), "{answer}");
    assert_eq!(answer["audio_played_ms"], 1_910 + 300);
}

#[tokio::test(start_paused = true)]
async fn flux_warns_of_what_it_ignores_and_ends_with_errors() {
    let (_bench, mut client) = flux(&[]).await;
    client.send(command("Flush")).await;
    assert_eq!(client.json().await["code"], "NO_ACTIVE_SPEECH");
    client.send(interrupt(100)).await;
    assert_eq!(client.json().await["code"], "NO_AUDIO_GENERATED");
    client.send(speak("...")).await;
    client.send(command("Flush")).await;
    let all = client.until(is("SpeechMetadata")).await;
    assert_eq!(course(&all), "Flushed Warning SpeechMetadata");
    assert_eq!(jsons(&all).last().unwrap()["audio_duration_ms"], 0);
    client.send(json!({ "type": "Configure", "speed": 1.25 })).await;
    assert_eq!(client.json().await, json!({ "type": "ConfigureSuccess", "applied": { "speed": 1.25 } }));
    for (speed, code) in [(2.0, "SPEED_OUT_OF_RANGE"), (1.21, "SPEED_INCREMENT_INVALID")] {
        client.send(json!({ "type": "Configure", "speed": speed })).await;
        assert_eq!(client.json().await["code"], code);
    }
    // Twelve characters at 1.25 times the speed.
    client.send(speak("Twelve chars")).await;
    client.send(command("Flush")).await;
    let all = client.until(is("SpeechMetadata")).await;
    assert_eq!(jsons(&all).last().unwrap()["audio_duration_ms"], 576);
    client.send(json!({ "type": "Sing" })).await;
    let all = client.drain(1_000).await;
    assert_eq!(course(&all), "Error 1008");
    assert_eq!(jsons(&all).next().unwrap()["code"], "MESSAGE-0000");
}

#[tokio::test(start_paused = true)]
async fn handshakes_are_checked() {
    let mut bench = Bench::new(Vendor::Deepgram, &[]);
    let key = [("authorization", "Token k")];
    for path in ["/v1/speak", "/v2/speak"] {
        assert_eq!(bench.status(&format!("{path}?model=m&encoding=mulaw&sample_rate=8000"), &key).await, 101);
        assert_eq!(bench.status(&format!("{path}?model=m"), &[("authorization", "bearer k")]).await, 101);
        assert_eq!(bench.status(&format!("{path}?model=m"), &[]).await, 401);
        for wrong in ["", "model=m&encoding=mp3", "model=m&encoding=mulaw&sample_rate=24000", "model=m&container=wav"] {
            assert_eq!(bench.status(&format!("{path}?{wrong}"), &key).await, 400, "{wrong}");
        }
    }
    assert_eq!(bench.status("/v1/listen?model=m", &key).await, 404);
}
