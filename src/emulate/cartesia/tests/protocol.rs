//! What the protocol promises when nothing goes wrong, and its answers to a client's mistakes.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_flush_divides_the_audio_and_the_end_is_done() {
    let mut bench = Bench::new(tone());
    let mut client = bench.connect().await;
    client.send(request("c", "Hello there. ")).await;
    client.send(with(request("c", ""), "flush", json!(true))).await;
    client.send(request("c", "How are you?")).await;
    client.send(last("c", "")).await;
    let messages = client.until("done", "c").await;

    let chunks: Vec<_> = of_type(&messages, "chunk").collect();
    assert!(chunks.iter().all(|chunk| chunk["done"] == false && chunk["status_code"] == 206));
    let at = messages.iter().position(|message| message["type"] == "flush_done").unwrap();
    assert_eq!(messages[at]["flush_id"], 1);
    assert!(of_type(&messages[..at], "chunk").all(|chunk| chunk["flush_id"] == 1));
    assert!(of_type(&messages[at..], "chunk").all(|chunk| chunk["flush_id"] == 2));
    // 60 ms a character, 8 samples a millisecond, 2 bytes a sample.
    assert_eq!(audio(&messages[..at], "c").len(), 13 * 60 * 8 * 2);
    assert_eq!(audio(&messages[at..], "c").len(), 12 * 60 * 8 * 2);

    let record = bench.journal().context("c").unwrap();
    assert_eq!(record.inputs, ["Hello there. ", "", "How are you?", ""]);
    assert_eq!((record.samples_generated, record.samples_sent), (25 * 480, 25 * 480));
    assert_eq!(record.ended.unwrap().1, End::Done);
    assert_tone(&pcm(&audio(&messages, "c")), record.tone);
    let expected = [("Hello", 0, 300), ("there.", 360, 720), ("How", 780, 960), ("are", 1_020, 1_200)];
    assert_eq!(words(&messages)[..4], expected.map(|(text, start, end)| (text.to_owned(), start, end)));
    assert_eq!(words(&messages), journal_words(&record));
    assert_eq!(messages.last().unwrap()["done"], true);
}

#[tokio::test(start_paused = true)]
async fn audio_comes_after_the_first_byte_delay_at_the_speed_factor() {
    let mut bench = Bench::new(Settings { speed_factor: 4.0, first_byte: Duration::from_millis(75), ..tone() });
    let mut client = bench.connect().await;
    // 100 characters are 6,000 ms of speech in chunks of 90 ms.
    client.send(last("c", &"ten chars ".repeat(10))).await;
    while client.next().await["type"] != "chunk" {}
    let first_ms = client.elapsed_ms();
    assert!((75..=80).contains(&first_ms), "{first_ms}");
    client.until("done", "c").await;
    // The last of 67 chunks leaves when the 66 before it have been made: 66 * 90 / 4.
    let done_ms = client.elapsed_ms() - first_ms;
    assert!((1_480..=1_495).contains(&done_ms), "{done_ms}");
}

#[tokio::test(start_paused = true)]
async fn contexts_speak_at_the_same_time_and_keep_apart() {
    let mut bench = Bench::new(tone());
    let mut client = bench.connect().await;
    client.send(last("a", "The first context speaks here.")).await;
    client.send(last("b", "The second one speaks here.")).await;
    let mut messages = client.until("done", "b").await;
    messages.extend(client.until("done", "a").await);
    let order: String = of_type(&messages, "chunk").map(|chunk| chunk["context_id"].as_str().unwrap()).collect();
    assert!(order.matches("ab").count() > 3, "{order}");
    let journal = bench.journal();
    for id in ["a", "b"] {
        assert_tone(&pcm(&audio(&messages, id)), journal.context(id).unwrap().tone);
    }
    assert_ne!(journal.context("a").unwrap().tone, journal.context("b").unwrap().tone);
}

#[tokio::test(start_paused = true)]
async fn managed_text_waits_for_a_sentence_a_flush_or_the_delay() {
    let mut bench = Bench::new(tone());
    let mut client = bench.connect().await;
    let token = |text: &str| with(request("c", text), "max_buffer_delay_ms", json!(2_000));
    for text in ["It costs", " 3.", "50 today"] {
        client.send(token(text)).await;
    }
    let first = client.next().await;
    let waited_ms = client.elapsed_ms();
    assert!((2_075..=2_080).contains(&waited_ms), "{waited_ms}");
    assert_eq!(first["word_timestamps"]["words"], json!(["It"]));
    client.drain(900).await;

    let start_ms = client.elapsed_ms();
    client.send(token(". Good. And")).await;
    client.send(token(" more")).await;
    client.next().await;
    assert!(client.elapsed_ms() - start_ms < 90, "a whole sentence does not wait");
    client.drain(500).await;
    let start_ms = client.elapsed_ms();
    client.send(with(token(" now"), "flush", json!(true))).await;
    let flushed = client.until("flush_done", "c").await;
    assert!(client.elapsed_ms() - start_ms < 500);
    let texts: Vec<_> = words(&flushed).into_iter().map(|word| word.0).collect();
    assert_eq!(texts, ["And", "more", "now"]);
    let heard: Vec<_> = bench.journal().context("c").unwrap().words.into_iter().map(|word| word.text).collect();
    assert_eq!(heard, ["It", "costs", "3.50", "today", ".", "Good.", "And", "more", "now"]);
}

#[tokio::test(start_paused = true)]
async fn the_default_delay_depends_on_the_version() {
    let mut bench = Bench::new(tone());
    let mut plain = request("c", "no sentence end");
    plain.as_object_mut().unwrap().remove("max_buffer_delay_ms");
    for (version, expected_ms) in [("2025-04-16", 75), ("2026-03-01", 3_075)] {
        let headers = [("Authorization", "Bearer k"), ("Cartesia-Version", version)];
        let mut client = bench.connect_with(PATH, &headers).await.unwrap();
        client.send(plain.clone()).await;
        client.next().await;
        let elapsed_ms = client.elapsed_ms();
        assert!((expected_ms..expected_ms + 5).contains(&elapsed_ms), "{version}: {elapsed_ms}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_final_blank_ends_the_context_too() {
    let mut bench = Bench::new(tone());
    let mut client = bench.connect().await;
    client.send(request("c", "Fine.")).await;
    client.send(last("c", " ")).await;
    let messages = client.until("done", "c").await;
    assert_eq!(audio(&messages, "c").len(), 5 * 60 * 16);
}

#[tokio::test(start_paused = true)]
async fn timestamps_come_only_when_asked_for() {
    let mut bench = Bench::new(tone());
    let mut client = bench.connect().await;
    client.send(with(last("c", "Quiet please."), "add_timestamps", json!(false))).await;
    let messages = client.until("done", "c").await;
    assert_eq!(of_type(&messages, "timestamps").count(), 0);
}

#[tokio::test(start_paused = true)]
async fn fields_must_stay_the_same_within_a_context() {
    for (field, value) in [
        ("voice", json!({ "mode": "id", "id": "other" })),
        ("model_id", json!("sonic-2")),
        ("output_format", json!({ "container": "raw", "encoding": "pcm_mulaw", "sample_rate": 8_000 })),
        ("max_buffer_delay_ms", json!(1_000)),
    ] {
        let mut bench = Bench::new(tone());
        let mut client = bench.connect().await;
        client.send(request("c", "A long enough beginning of a speech.")).await;
        client.next().await;
        client.send(with(request("c", "More."), field, value)).await;
        let messages = client.until("error", "c").await;
        let error = messages.last().unwrap();
        assert_eq!((error["status_code"].as_u64(), error["done"].as_bool()), (Some(400), Some(true)), "{field}");
        assert!(error["request_id"].is_string() && error["title"].is_string());
        assert!(client.drain(3_000).await.is_empty(), "an error ends its context");
        assert_eq!(bench.journal().context("c").unwrap().ended.unwrap().1, End::Failed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_text_that_nobody_can_say_is_an_error() {
    let mut bench = Bench::new(tone());
    let mut client = bench.connect().await;
    for (index, text) in ["", " ", "...", "!?"].into_iter().enumerate() {
        let context = format!("c{index}");
        client.send(request(&context, text)).await;
        let error = client.next().await;
        assert_eq!((&error["type"], &error["context_id"]), (&json!("error"), &json!(context)));
        assert!(error["message"].as_str().unwrap().contains("only punctuation"));
    }
    assert_eq!(bench.journal().counts().errors, 4);
}

#[tokio::test(start_paused = true)]
async fn mistakes_cost_their_context_and_not_the_socket() {
    let mut bench = Bench::new(Settings { voices: Some(vec!["v".to_owned()]), ..tone() });
    let mut client = bench.connect().await;
    client.send(with(request("c", "Hi."), "voice", json!({ "mode": "id", "id": "unknown-voice" }))).await;
    let error = client.next().await;
    assert_eq!((&error["status_code"], &error["context_id"]), (&json!(404), &json!("c")));
    client.socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(client.next().await["type"], "error");
    client.socket.send(Message::text("{oops")).await.unwrap();
    let error = client.next().await;
    assert_eq!((&error["status_code"], error.get("context_id")), (&json!(400), None));
    client.send(last("fine", "Hi.")).await;
    client.until("done", "fine").await;
}

#[tokio::test(start_paused = true)]
async fn errors_have_the_old_shape_before_march_2026() {
    let mut bench = Bench::new(tone());
    let headers = [("X-API-Key", "k"), ("Cartesia-Version", "2025-04-16")];
    let mut client = bench.connect_with(PATH, &headers).await.unwrap();
    client.send(request("c", "")).await;
    let error = client.next().await;
    assert!(error["error"].as_str().unwrap().starts_with("Invalid request: "));
    assert_eq!(error.get("title"), None);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_stops_the_audio_and_the_id_is_spent() {
    let mut bench = Bench::new(tone());
    let mut client = bench.connect().await;
    client.send(request("c", "A long story begins here and is not told to its end.")).await;
    client.until("chunk", "c").await;
    client.cancel("c").await;
    client.cancel("never-heard-of").await;
    // What was on its way may still come; then there is silence.
    client.drain(200).await;
    assert!(client.drain(5_000).await.is_empty());
    let record = bench.journal().context("c").unwrap();
    assert!(record.cancelled_at.is_some() && record.ended.unwrap().1 == End::Cancelled);
    assert!(record.samples_sent < record.samples_generated / 4);
    client.send(request("c", "Again.")).await;
    assert_eq!(client.next().await["type"], "error");
}

#[tokio::test(start_paused = true)]
async fn an_id_cannot_be_used_after_done() {
    let mut bench = Bench::new(tone());
    let mut client = bench.connect().await;
    client.send(last("c", "Once.")).await;
    client.until("done", "c").await;
    client.send(last("c", "Twice.")).await;
    let error = client.next().await;
    assert_eq!((&error["type"], &error["context_id"]), (&json!("error"), &json!("c")));
    assert_eq!(bench.journal().contexts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_context_expires_a_second_after_its_last_audio() {
    let mut bench = Bench::new(tone());
    let mut client = bench.connect().await;
    client.send(request("c", "Hello.")).await;
    // The audio is out after 75 ms and 360 ms of speech at four times real time; 800 ms of quiet do no harm.
    client.drain(800).await;
    client.send(request("c", " Still here.")).await;
    let messages = client.drain(900).await;
    assert_eq!(audio(&messages, "c").len(), 12 * 60 * 16);
    client.drain(200).await;
    client.send(request("c", " Too late.")).await;
    let error = client.next().await;
    assert!(error["message"].as_str().unwrap().contains("expired"));
    assert_eq!(bench.journal().context("c").unwrap().ended.unwrap().1, End::Expired);
}

#[tokio::test(start_paused = true)]
async fn an_idle_socket_is_closed_after_five_minutes_and_pings_do_not_help() {
    let mut bench = Bench::new(tone());
    let mut client = bench.connect().await;
    client.send(last("c", "Hello.")).await;
    client.until("done", "c").await;
    assert!(client.raw_within(200_000).await.is_none());
    client.socket.send(Message::Ping("still there".into())).await.unwrap();
    let closed = loop {
        match client.raw_within(110_000).await.expect("a close").unwrap() {
            Message::Close(frame) => break frame.unwrap(),
            Message::Pong(_) => {}
            Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Frame(_) => panic!("traffic"),
        }
    };
    assert_eq!((u16::from(closed.code), closed.reason.as_str()), (1_000, "connection idle timeout"));
    let elapsed_ms = client.elapsed_ms();
    assert!((300_000..301_000).contains(&elapsed_ms), "{elapsed_ms}");
}

#[tokio::test(start_paused = true)]
async fn every_encoding_and_rate_gives_the_length_of_the_speech() {
    let mut bench = Bench::new(Settings { voice: Voice::Local, ..Settings::default() });
    let mut client = bench.connect().await;
    let mut length_ms = None;
    for (encoding, bytes) in [("pcm_s16le", 2), ("pcm_f32le", 4), ("pcm_mulaw", 1), ("pcm_alaw", 1)] {
        for rate in [8_000_usize, 16_000, 22_050, 24_000, 44_100, 48_000] {
            let format = json!({ "container": "raw", "encoding": encoding, "sample_rate": rate });
            let context = format!("{encoding}-{rate}");
            client.send(with(last(&context, "How are you?"), "output_format", format)).await;
            let messages = client.until("done", &context).await;
            let ms = audio(&messages, &context).len() * 1_000 / (bytes * rate);
            let expected = *length_ms.get_or_insert(ms);
            assert!(expected > 500 && ms.abs_diff(expected) <= 1, "{context}: {ms} ms, not {expected}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_local_voice_times_its_words_over_all_texts_of_a_context() {
    let mut bench = Bench::new(Settings { voice: Voice::Local, ..Settings::default() });
    let mut client = bench.connect().await;
    client.send(request("c", "Room 5 is free. ")).await;
    client.send(last("c", "Dr. Smith waits.")).await;
    let messages = client.until("done", "c").await;
    let heard = words(&messages);
    let texts: Vec<_> = heard.iter().map(|word| word.0.as_str()).collect();
    assert_eq!(texts, ["Room", "5", "is", "free.", "Dr.", "Smith", "waits."]);
    assert!(heard.windows(2).all(|pair| pair[0].2 <= pair[1].1));
    let length_ms = audio(&messages, "c").len() / 16;
    assert!(heard.last().unwrap().2 as usize <= length_ms);
    assert_eq!(heard, journal_words(&bench.journal().context("c").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn the_handshake_wants_credentials_and_a_version() {
    let mut bench = Bench::new(Settings { api_key: Some(ApiKey::new("right")), ..tone() });
    let version = ("Cartesia-Version", "2026-08-14");
    for (headers, status) in
        [(vec![version], 401), (vec![version, ("X-API-Key", "wrong")], 401), (vec![("X-API-Key", "right")], 400)]
    {
        match bench.connect_with(PATH, &headers).await {
            Err(WsError::Http(response)) => assert_eq!(response.status().as_u16(), status),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("accepted {headers:?}"),
        }
    }
    let path = format!("{PATH}?api_key=right&cartesia_version=2026-03-01");
    assert!(bench.connect_with(&path, &[]).await.is_ok());
    let counts = bench.journal().counts();
    assert_eq!((counts.handshakes, counts.refused_401, counts.refused_other), (1, 2, 1));
    assert!(!format!("{:?}", bench.emulator).contains("right"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_recorded() {
    let mut bench = Bench::new(tone());
    let mut client = bench.connect().await;
    client.send(request("c", "A long story begins here.")).await;
    client.until("chunk", "c").await;
    drop(client);
    bench.tasks.join_next().await.unwrap().unwrap();
    assert_eq!(bench.journal().context("c").unwrap().ended.unwrap().1, End::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_server_says_goodbye() {
    let mut bench = Bench::new(tone());
    let mut client = bench.connect().await;
    bench.cancel.cancel();
    let Some(Ok(Message::Close(Some(frame)))) = client.raw_within(1_000).await else { panic!("no close frame") };
    assert_eq!(u16::from(frame.code), 1_001);
}
