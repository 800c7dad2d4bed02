//! The dialects with turns of their own: Cartesia's turns and Deepgram Flux.

use super::*;

#[tokio::test(start_paused = true)]
async fn ink_tells_of_a_turn_from_its_start_to_its_end() {
    let mut bench = Bench::new(Settings::default());
    let mut client = bench.connect(Dialect::InkTurns, "keyterm=folder&turn_eager_end_threshold=0.5").await;
    client.play(&[silence(500), raw("question.wav"), silence(1_500)].concat()).await;
    let messages = client.drain(1_000).await;
    assert_eq!(kinds(&messages), ["connected", "turn.start", "turn.update", "turn.eager_end", "turn.end"]);
    let request_id = &messages[0]["request_id"];
    assert!(messages.iter().all(|message| &message["request_id"] == request_id && request_id.is_string()));
    assert!(messages[1].get("transcript").is_none());
    let updates: Vec<&str> = of_type(&messages, "turn.update").map(|m| m["transcript"].as_str().unwrap()).collect();
    assert_eq!(updates.len(), 8);
    assert!(updates.windows(2).all(|pair| pair[1].starts_with(pair[0]) && pair[1].len() > pair[0].len()));
    for last in [updates[7], messages[10]["transcript"].as_str().unwrap(), messages[11]["transcript"].as_str().unwrap()]
    {
        assert_eq!(last, QUESTION);
    }
    // The last word ends 2,610 ms into the clip; half a second on, the turn may be over, and after 800 ms it is.
    let record = bench.record();
    let at: Vec<u64> = record.sent.iter().rev().take(2).map(|sent| sent.audio_ms).collect();
    assert_eq!(at, [3_910, 3_610]);
    assert_eq!((record.recogniser, record.final_text().as_str()), ("scripted", QUESTION));
    assert_eq!((record.found.len(), record.found[0].clip.as_str(), record.found[0].clip_ms), (1, "question.wav", 0));
}

#[tokio::test(start_paused = true)]
async fn ink_counts_silence_in_audio_and_not_in_time() {
    let mut bench = Bench::new(Settings::default());
    let mut client = bench.connect(Dialect::InkTurns, "").await;
    // 790 ms after the last word, and then a long wait without audio.
    let clip = raw("no.wav");
    let left = (700 + 790) * 8 - clip.len();
    client.play(&[&clip[..], &silence(2_000)[..left]].concat()).await;
    assert_eq!(*kinds(&client.drain(15_000).await).last().unwrap(), "turn.eager_end");
    client.play(&silence(10)).await;
    assert_eq!(kinds(&client.drain(1_000).await), ["turn.end"]);
    assert_eq!(bench.record().sent.last().unwrap().audio_ms, 1_500);
}

#[tokio::test(start_paused = true)]
async fn ink_takes_an_eager_end_back_and_may_be_reconfigured() {
    let mut bench = Bench::new(Settings::default());
    let mut client = bench.connect(Dialect::InkTurns, "").await;
    client.play(&[raw("no.wav"), silence(450), raw("thank-you.wav"), silence(1_000)].concat()).await;
    let messages = client.drain(1_000).await;
    let expected = [
        "connected",
        "turn.start",
        "turn.update",
        "turn.eager_end",
        "turn.resume",
        "turn.update",
        "turn.eager_end",
        "turn.end",
    ];
    assert_eq!(kinds(&messages), expected);
    assert_eq!(finals(Dialect::InkTurns, &messages), "No. Thank you.");

    // A later end: the same pause is no eager end any more, and 800 ms are no end.
    let turn = json!({ "start_threshold": 0.9, "eager_end_threshold": 0.3, "end_threshold": 0.05 });
    client.send(json!({ "type": "config", "turn": turn })).await;
    client.play(&[raw("no.wav"), silence(300), raw("no.wav"), silence(760)].concat()).await;
    assert_eq!(kinds(&client.drain(1_000).await), ["turn.start", "turn.update", "turn.eager_end"]);
    client.play(&silence(100)).await;
    assert_eq!(finals(Dialect::InkTurns, &client.drain(1_000).await), "No. No.");

    for wrong in
        [json!({ "type": "config", "turn": { "end_threshold": 0.6 } }), json!({ "type": "halt" }), json!("close")]
    {
        client.send(wrong.clone()).await;
        let error = client.drain(1_000).await.remove(0);
        assert_eq!((&error["type"], &error["status_code"]), (&json!("error"), &json!(400)), "{wrong}");
        let fields = ["title", "message", "request_id", "error_code"];
        assert!(fields.iter().all(|field| error.get(*field).is_some()));
    }
    client.play(&raw("no.wav")).await;
    client.send(json!({ "type": "close" })).await;
    let (messages, code) = client.until_the_end().await;
    assert_eq!((finals(Dialect::InkTurns, &messages).as_str(), code), ("No.", Some(1_000)));
}

#[tokio::test(start_paused = true)]
async fn ink_ends_a_turn_by_its_time_out_as_well() {
    let mut bench = Bench::new(Settings { certainty: Duration::from_secs(10), ..Settings::default() });
    let mut client = bench.connect(Dialect::InkTurns, "turn_end_timeout_ms=640").await;
    client.play(&[raw("no.wav"), silence(450)].concat()).await;
    assert_eq!(kinds(&client.drain(1_000).await), ["connected", "turn.start", "turn.update"]);
    client.play(&silence(100)).await;
    assert_eq!(kinds(&client.drain(1_000).await), ["turn.end"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_word_wavers_if_it_is_told_to() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(Settings { wavers: true, ..Settings::default() });
        let more = match dialect {
            Dialect::Nova => "interim_results=true&endpointing=300&smart_format=true",
            _ => "",
        };
        let mut client = bench.connect(dialect, more).await;
        client.play(&[raw("thank-you.wav"), silence(3_000)].concat()).await;
        if dialect == Dialect::InkManual {
            client.text("finalize").await;
        }
        assert_eq!(finals(dialect, &client.drain(1_000).await), "Thank you.", "{dialect:?}");
        let mut interims: Vec<String> =
            bench.record().sent.into_iter().filter(|s| s.kind == Kind::Interim).map(|s| s.text).collect();
        interims.dedup();
        let interims: Vec<&str> = interims.iter().map(|text| text.trim()).collect();
        match dialect {
            Dialect::InkTurns => assert_eq!(interims, ["hmm", "Thank hmm", "Thank you."]),
            Dialect::Gradium => assert!(interims.is_empty()),
            _ => assert_eq!(interims, ["hmm", "Thank hmm"], "{dialect:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn flux_tells_of_a_turn_from_its_start_to_its_end() {
    let mut bench = Bench::new(Settings::default());
    let mut client = bench.connect(Dialect::Flux, "eager_eot_threshold=0.4&keyterm=a&keyterm=b").await;
    client.play(&[silence(500), raw("question.wav"), silence(2_000)].concat()).await;
    let messages = client.drain(1_000).await;
    let expected = ["Connected", "Update", "StartOfTurn", "Update", "EagerEndOfTurn", "Update", "EndOfTurn", "Update"];
    assert_eq!(kinds(&messages), expected);
    for (message, number) in messages.iter().zip(0..) {
        assert_eq!((&message["sequence_id"], &message["request_id"]), (&json!(number), &messages[0]["request_id"]));
    }
    let infos: Vec<&Value> = of_type(&messages, "TurnInfo").collect();
    for pair in infos.windows(2) {
        assert_eq!(pair[0]["audio_window_end"], pair[1]["audio_window_start"]);
    }
    let start = of_type(&messages, "StartOfTurn").next().unwrap();
    assert_eq!((&start["transcript"], &start["turn_index"]), (&json!("Which"), &json!(0)));
    assert_eq!(start["words"], json!([{ "word": "Which", "confidence": 0.99 }]));
    let end = of_type(&messages, "EndOfTurn").next().unwrap();
    assert_eq!((&end["transcript"], &end["trigger"]), (&json!(QUESTION), &json!("model")));
    assert!(end["end_of_turn_confidence"].as_f64().unwrap() >= 0.7);
    // The last word ended at 3,110 ms; the confidence is at 0.7 some 720 ms later.
    assert_eq!(end["audio_window_end"], 3.83);
    let eager = of_type(&messages, "EagerEndOfTurn").next().unwrap();
    assert_eq!((&eager["transcript"], &eager["audio_window_end"]), (&json!(QUESTION), &json!(3.51)));
    assert!(start.get("trigger").is_none());
    assert_eq!(messages.last().unwrap()["turn_index"], 1);
}

#[tokio::test(start_paused = true)]
async fn flux_resumes_is_forced_configured_and_closed() {
    let mut bench = Bench::new(Settings::default());
    let mut client = bench.connect(Dialect::Flux, "eager_eot_threshold=0.5&eot_threshold=0.9").await;
    client.play(&[raw("no.wav"), silence(400), raw("no.wav")].concat()).await;
    let messages = client.drain(1_000).await;
    let found: Vec<&str> = kinds(&messages).into_iter().filter(|kind| *kind != "Update").collect();
    assert_eq!(found, ["Connected", "StartOfTurn", "EagerEndOfTurn", "TurnResumed"]);

    client.send(json!({ "type": "ForceEndTurn" })).await;
    let end = client.drain(1_000).await;
    assert_eq!(
        kinds(&end),
        ["Update", "EndOfTurn"].into_iter().filter(|kind| kinds(&end).contains(kind)).collect::<Vec<_>>()
    );
    let end = end.last().unwrap();
    assert_eq!((&end["trigger"], &end["transcript"]), (&json!("manual"), &json!("No. No.")));
    client.send(json!({ "type": "ForceEndTurn" })).await;
    assert!(client.drain(1_000).await.is_empty());

    let thresholds = json!({ "eot_threshold": 1.0, "eot_timeout_ms": 1_500 });
    client.send(json!({ "type": "Configure", "thresholds": thresholds, "keyterms": ["c"] })).await;
    let success = client.drain(1_000).await.remove(0);
    assert_eq!((&success["type"], &success["keyterms"]), (&json!("ConfigureSuccess"), &json!(["c"])));
    assert_eq!(
        success["thresholds"],
        json!({ "eager_eot_threshold": 0.5, "eot_threshold": 1.0, "eot_timeout_ms": 1_500 })
    );
    for wrong in [json!({ "thresholds": { "eot_threshold": 0.4 } }), json!({ "language_hints": ["de"] })] {
        let mut message = wrong;
        message["type"] = json!("Configure");
        client.send(message).await;
        assert_eq!(kinds(&client.drain(1_000).await), ["ConfigureFailure"]);
    }
    // With native ends off, the time-out ends the turn.
    client.play(&[raw("no.wav"), silence(2_000)].concat()).await;
    let messages = client.drain(1_000).await;
    let end = of_type(&messages, "EndOfTurn").next().unwrap();
    assert_eq!((&end["trigger"], &end["turn_index"]), (&json!("timeout"), &json!(1)));

    client.play(&raw("no.wav")).await;
    client.send(json!({ "type": "CloseStream" })).await;
    let (messages, code) = client.until_the_end().await;
    assert_eq!((&messages.last().unwrap()["event"], code), (&json!("Update"), Some(1_000)));
    assert_eq!(messages.last().unwrap()["transcript"], "No.");

    let mut client = bench.connect(Dialect::Flux, "").await;
    client.send(json!({ "type": "KeepAlive" })).await;
    let (messages, code) = client.until_the_end().await;
    assert_eq!((kinds(&messages), code), (vec!["Connected", "Error"], Some(1_011)));
    assert_eq!(messages[1]["code"], "UNPARSABLE_CLIENT_MESSAGE");
    assert!(messages[1]["description"].is_string() && messages[1]["sequence_id"] == 1);
}
