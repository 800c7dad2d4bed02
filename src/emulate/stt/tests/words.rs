//! The dialects that leave the turn to the client: Cartesia's manual one, Deepgram v1 and Gradium.

use super::*;

#[tokio::test(start_paused = true)]
async fn ink_manual_gives_deltas_with_their_own_spaces() {
    let mut bench = Bench::new(Settings::default());
    let mut client = bench.connect(Dialect::InkManual, "language=en").await;
    let clip = raw("question.wav");
    // In the middle of "save": four words are known or at least over.
    let at = 1_500 * 8;
    client.play(&clip[..at]).await;
    client.text("finalize").await;
    let first = client.drain(1_000).await;
    assert_eq!(kinds(&first), ["transcript", "flush_done"]);
    let last = &first[first.len() - 2];
    assert_eq!((&last["text"], &last["is_final"]), (&json!("Which folder should I "), &json!(true)));
    assert_eq!((&last["language"], &last["duration"]), (&json!("en"), &json!(1.5)));
    assert_eq!(last["words"][1], json!({ "word": "folder", "start": 0.45, "end": 0.86 }));
    let interims: Vec<&str> =
        first.iter().filter(|m| m["is_final"] == false).map(|m| m["text"].as_str().unwrap()).collect();
    assert_eq!(interims, ["Which ", "Which folder ", "Which folder should ", "Which folder should I "]);

    client.play(&clip[at..]).await;
    client.text("close").await;
    let (rest, code) = client.until_the_end().await;
    assert_eq!((kinds(&rest), code), (vec!["transcript", "done"], Some(1_000)));
    let whole = [first, rest].concat();
    assert_eq!(finals(Dialect::InkManual, &whole), QUESTION);
    assert_eq!(bench.record().final_text(), QUESTION);
}

#[tokio::test(start_paused = true)]
async fn ink_manual_knows_two_commands_and_the_older_model_finalises_by_itself() {
    let mut bench = Bench::new(Settings::default());
    let mut client = bench.connect(Dialect::InkManual, "").await;
    client.send(json!({ "type": "finalize" })).await;
    assert_eq!(kinds(&client.drain(1_000).await), ["error"]);
    client.text("finalize").await;
    assert_eq!(kinds(&client.drain(1_000).await), ["flush_done"]);
    client.text("done").await;
    let (messages, code) = client.until_the_end().await;
    assert_eq!((kinds(&messages), code), (vec!["done"], Some(1_000)));

    let (_, headers) = credentials(Dialect::InkManual);
    let query = "model=ink-whisper&encoding=pcm_mulaw&sample_rate=8000&max_silence_duration_secs=0.5&language=de";
    let path = format!("{}?{query}", Dialect::InkManual.path());
    let mut client = bench.connect_with(Dialect::InkManual, &path, headers).await.unwrap();
    client.play(&[raw("no.wav"), silence(400)].concat()).await;
    assert_eq!(finals(Dialect::InkManual, &client.drain(1_000).await), "No.");
}

fn transcript(results: &Value) -> &str {
    results["channel"]["alternatives"][0]["transcript"].as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn nova_gives_interim_and_final_results_and_the_end_of_speech() {
    let mut bench = Bench::new(Settings::default());
    let more = "interim_results=true&endpointing=300&utterance_end_ms=1000&vad_events=true&smart_format=true";
    let mut client = bench.connect(Dialect::Nova, more).await;
    client.play(&[silence(500), raw("question.wav"), silence(1_500)].concat()).await;
    let messages = client.drain(1_000).await;
    assert_eq!(kinds(&messages), ["SpeechStarted", "Results", "UtteranceEnd"]);
    let timestamp = messages[0]["timestamp"].as_f64().unwrap();
    assert!((0.6..0.7).contains(&timestamp) && messages[0]["channel"] == json!([0, 1]), "{timestamp}");
    let results: Vec<&Value> = of_type(&messages, "Results").collect();
    assert_eq!(results.len(), 9);
    let last = results[8];
    assert!(results[..8].iter().all(|result| result["is_final"] == false && result["start"] == 0.0));
    assert_eq!((transcript(results[1]), transcript(last)), ("Which folder", QUESTION));
    assert_eq!(
        (&last["is_final"], &last["speech_final"], &last["from_finalize"]),
        (&json!(true), &json!(true), &json!(false))
    );
    // 300 ms after the last word, which ended at 3,110 ms.
    assert_eq!((&last["duration"], &last["channel_index"]), (&json!(3.41), &json!([0, 1])));
    let word = &last["channel"]["alternatives"][0]["words"][7];
    let expected = json!({ "word": "to", "start": 2.95, "end": 3.11, "confidence": 0.99, "punctuated_word": "to?" });
    assert_eq!(word, &expected);
    assert!(last["channel"]["alternatives"][0]["confidence"].is_number());
    let metadata = &last["metadata"];
    assert!(metadata["request_id"].is_string() && metadata["model_uuid"].is_string());
    assert_eq!(metadata["model_info"], json!({ "name": "nova-3", "version": "scripted", "arch": "scripted" }));
    assert_eq!(messages.last().unwrap(), &json!({ "type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 3.11 }));
}

#[tokio::test(start_paused = true)]
async fn nova_without_options_gives_bare_final_words_only_and_empty_results_in_silence() {
    let mut bench = Bench::new(Settings::default());
    let mut client = bench.connect(Dialect::Nova, "").await;
    client.play(&[raw("thank-you.wav"), silence(6_000)].concat()).await;
    let messages = client.drain(1_000).await;
    let texts: Vec<&str> = messages.iter().map(transcript).collect();
    // The default endpointing of 10 ms is over before a word is known.
    assert_eq!(texts, ["thank you", ""]);
    assert!(messages.iter().all(|message| message["is_final"] == true));
    assert_eq!((&messages[0]["speech_final"], &messages[1]["speech_final"]), (&json!(true), &json!(false)));
    assert_eq!(messages[1]["start"].as_f64().unwrap(), messages[0]["duration"].as_f64().unwrap());
    assert!(messages[0]["channel"]["alternatives"][0]["words"][0].get("punctuated_word").is_none());
}

#[tokio::test(start_paused = true)]
async fn nova_makes_long_speech_final_in_pieces_and_ends_it_by_the_utterance() {
    let mut bench = Bench::new(Settings::default());
    let more = "interim_results=true&endpointing=false&utterance_end_ms=1000&punctuate=true";
    let mut client = bench.connect(Dialect::Nova, more).await;
    client.play(&[raw("long.wav"), silence(1_500)].concat()).await;
    let messages = client.drain(1_000).await;
    let pieces: Vec<&Value> = of_type(&messages, "Results").filter(|result| result["is_final"] == true).collect();
    assert!(pieces.len() == 2 && pieces.iter().all(|piece| piece["speech_final"] == false), "{}", pieces.len());
    assert_eq!(finals(Dialect::Nova, &messages), LONG);
    assert_eq!(*kinds(&messages).last().unwrap(), "UtteranceEnd");
}

#[tokio::test(start_paused = true)]
async fn nova_finalises_and_closes_on_request() {
    let mut bench = Bench::new(Settings::default());
    let mut client = bench.connect(Dialect::Nova, "endpointing=500&punctuate=true").await;
    let clip = raw("question.wav");
    let at = 1_500 * 8;
    client.play(&clip[..at]).await;
    client.send(json!({ "type": "Finalize" })).await;
    let first = client.drain(1_000).await;
    assert_eq!((first.len(), transcript(&first[0])), (1, "Which folder should I"));
    assert_eq!((&first[0]["from_finalize"], &first[0]["speech_final"]), (&json!(true), &json!(false)));
    // Nothing new: no answer.
    client.send(json!({ "type": "Finalize" })).await;
    assert!(client.drain(1_000).await.is_empty());
    client.send(json!({ "type": "Hello" })).await;
    let error = client.drain(1_000).await.remove(0);
    assert_eq!((&error["type"], &error["variant"]), (&json!("Error"), &json!("SchemaError")));
    assert!(error["description"].is_string());

    client.play(&clip[at..]).await;
    client.send(json!({ "type": "CloseStream" })).await;
    let (rest, code) = client.until_the_end().await;
    assert_eq!((kinds(&rest), code), (vec!["Results", "Metadata"], Some(1_000)));
    assert_eq!(finals(Dialect::Nova, &[first, rest.clone()].concat()), QUESTION);
    let metadata = rest.last().unwrap();
    let fields = ["transaction_key", "request_id", "sha256", "created", "duration", "channels", "models", "model_info"];
    assert!(fields.iter().all(|field| metadata.get(*field).is_some()), "{metadata}");
    assert_eq!(metadata["duration"], 2.866);
    assert_eq!(bench.record().flushes, 2);
}

#[tokio::test(start_paused = true)]
async fn silent_clients_are_told_by_the_vendors_rule() {
    let mut bench = Bench::new(Settings::default());
    for (dialect, limit_ms, code) in
        [(Dialect::Nova, 10_000, 1_011), (Dialect::Flux, 10_000, 1_011), (Dialect::InkTurns, 20_000, 1_000)]
    {
        let mut client = bench.connect(dialect, "").await;
        let (_, ended) = client.until_the_end().await;
        assert_eq!(ended, Some(code), "{dialect:?}");
        assert!((limit_ms..limit_ms + 100).contains(&client.elapsed_ms()), "{dialect:?}: {}", client.elapsed_ms());
    }
    let mut client = bench.connect(Dialect::Nova, "").await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(8)).await;
        client.send(json!({ "type": "KeepAlive" })).await;
    }
    // A command that is no sign of life does not help.
    tokio::time::sleep(Duration::from_secs(5)).await;
    client.send(json!({ "type": "Finalize" })).await;
    assert_eq!(client.until_the_end().await.1, Some(1_011));
    assert!((50_000..50_100).contains(&client.elapsed_ms()), "{}", client.elapsed_ms());
}

#[tokio::test(start_paused = true)]
async fn gradium_gives_words_after_their_delay_and_the_likelihood_of_silence() {
    let mut bench = Bench::new(Settings::default());
    let mut client = bench.connect(Dialect::Gradium, r#"{"language":"en","delay_in_frames":7}"#).await;
    client.play(&[raw("thank-you.wav"), silence(1_050)].concat()).await;
    let messages = client.drain(1_000).await;
    let ready = &messages[0];
    assert_eq!((&ready["type"], &ready["delay_in_frames"]), (&json!("ready"), &json!(7)));
    let fields = ["request_id", "model_name", "sample_rate", "frame_size", "text_stream_names", "audio_stream_names"];
    assert!(fields.iter().all(|field| ready.get(*field).is_some()), "{ready}");
    let steps: Vec<&Value> = of_type(&messages, "step").collect();
    assert_eq!(steps.len(), 25);
    for (step, number) in steps.iter().zip(0..) {
        assert_eq!((&step["step_idx"], &step["step_duration_s"]), (&json!(number), &json!(0.08)));
        let horizons: Vec<f64> = (0..4).map(|n| step["vad"][n]["horizon_s"].as_f64().unwrap()).collect();
        assert_eq!(horizons, [0.5, 1.0, 2.0, 3.0]);
    }
    let likely = |step: usize| steps[step]["vad"][3]["inactivity_prob"].as_f64().unwrap();
    assert_eq!((likely(0), likely(5), likely(9)), (0.98, 0.15, 0.15));
    assert!((10..24).all(|step| likely(step) <= likely(step + 1)) && likely(24) > 0.9);

    let texts: Vec<&Value> = messages.iter().filter(|m| m["type"] == "text" || m["type"] == "end_text").collect();
    assert_eq!(texts[0], &json!({ "type": "text", "text": "Thank", "start_s": 0.11, "stream_id": 0 }));
    assert_eq!(texts[1], &json!({ "type": "end_text", "stop_s": 0.46, "stream_id": 0 }));
    assert_eq!((texts.len(), &texts[2]["text"]), (4, &json!("you.")));
    // "you." ends at 0.80 s and is known 0.56 s later: before the step of 1.36 s.
    let at = messages.iter().position(|message| message["text"] == "you.").unwrap();
    assert_eq!(of_type(&messages[..at], "step").count(), 16);
}

#[tokio::test(start_paused = true)]
async fn gradium_flushes_at_once_and_gives_the_mark_back_as_it_came() {
    let mut bench = Bench::new(Settings::default());
    let mut client = bench.connect(Dialect::Gradium, "").await;
    client.play(&raw("thank-you.wav")).await;
    assert_eq!(finals(Dialect::Gradium, &client.drain(1_000).await), "");
    for (mark, text) in [(json!(7), "Thank you."), (json!("seven"), ""), (json!({ "n": [7] }), "")] {
        client.send(json!({ "type": "flush", "flush_id": mark })).await;
        let messages = client.drain(1_000).await;
        assert_eq!(finals(Dialect::Gradium, &messages), text);
        assert_eq!(messages.last().unwrap(), &json!({ "type": "flushed", "flush_id": mark }));
    }
    client.play(&raw("no.wav")).await;
    client.send(json!({ "type": "end_of_stream" })).await;
    let (messages, code) = client.until_the_end().await;
    assert_eq!((finals(Dialect::Gradium, &messages).as_str(), code), ("No.", Some(1_000)));
    assert_eq!(*kinds(&messages).last().unwrap(), "end_of_stream");
}

#[tokio::test(start_paused = true)]
async fn gradium_closes_on_mistakes_with_the_code_of_its_error() {
    let mut bench = Bench::new(Settings::default());
    let (_, headers) = credentials(Dialect::Gradium);
    let setup = |format: &str, config: Value| json!({ "type": "setup", "input_format": format, "json_config": config });
    for wrong in [
        json!({ "type": "audio", "audio": "//8=" }),
        json!({ "type": "hello" }),
        setup("opus", Value::Null),
        setup("mp3", Value::Null),
        setup("ulaw_8000", json!("{")),
        setup("ulaw_8000", json!({ "delay_in_frames": 9 })),
        setup("ulaw_8000", json!([])),
    ] {
        let mut client = bench.connect_with(Dialect::Gradium, Dialect::Gradium.path(), headers).await.unwrap();
        client.send(wrong.clone()).await;
        let (messages, code) = client.until_the_end().await;
        assert_eq!((kinds(&messages), code), (vec!["error"], Some(1_008)), "{wrong}");
        assert!(messages[0]["code"] == 1_008 && messages[0]["message"].is_string());
    }
    for wrong in [setup("ulaw_8000", Value::Null), json!({ "type": "audio", "audio": "%" })] {
        let mut client = bench.connect(Dialect::Gradium, "").await;
        client.send(wrong).await;
        assert_eq!(client.until_the_end().await.1, Some(1_008));
    }
    let mut client = bench.connect(Dialect::Gradium, "").await;
    client.socket.send(Message::binary(vec![0xFF; 160])).await.unwrap();
    assert_eq!(client.until_the_end().await.1, Some(1_008));
}
