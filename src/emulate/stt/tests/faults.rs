//! Every fault switch, seen from the client.

use super::*;

/// A dialect's options under which it has a final transcript soon, and what makes it final.
fn options(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Nova => "interim_results=true&endpointing=300&punctuate=true",
        _ => "",
    }
}

#[tokio::test(start_paused = true)]
async fn handshakes_are_refused_and_slow_as_often_as_it_was_said() {
    let mut bench = Bench::new(with_faults(&["refuse=429:2", "slow_handshake=2500:1"]));
    let started = Instant::now();
    let (query, headers) = credentials(Dialect::Nova);
    let path = format!("/v1/listen?{query}");
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(match bench.connect_with(Dialect::Nova, &path, headers).await {
            Err(WsError::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
            Ok(_) => 101,
        });
    }
    assert_eq!(statuses, [429, 429, 101]);
    assert!((2_500..2_600).contains(&started.elapsed().as_millis()));
    assert_eq!(bench.journal().counts().refused_other, 2);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_caller_goes_on_where_the_next_connection_joins() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(with_faults(&["drop=1000:1"]));
        let mut client = bench.connect(dialect, options(dialect)).await;
        let clip = raw("question.wav");
        client.play(&clip[..12_000]).await;
        assert_eq!(client.until_the_end().await.1, None, "{dialect:?}");
        let record = bench.record();
        assert_eq!((record.audio_ms(), record.ended.unwrap().1), (1_000, End::Dropped), "{dialect:?}");

        // From the middle of "should", whose end is still to come: "folder" is over by then.
        let mut client = bench.connect(dialect, options(dialect)).await;
        client.play(&[&clip[1_000 * 8..], &silence(3_000)].concat()).await;
        if dialect == Dialect::InkManual {
            client.text("finalize").await;
        }
        let messages = client.drain(1_000).await;
        assert_eq!(finals(dialect, &messages), "should I save the message to?", "{dialect:?}");
        assert_eq!(bench.record().found[0].clip_ms, 1_000);
    }
}

#[tokio::test(start_paused = true)]
async fn the_socket_is_closed_or_fails_instead_of_the_first_transcript() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(with_faults(&["close=4001:1", "error:1"]));
        for (code, last) in [(4_001, None), (1_011, Some("rror"))] {
            let mut client = bench.connect(dialect, options(dialect)).await;
            client.play(&[raw("no.wav"), silence(3_000)].concat()).await;
            if dialect == Dialect::InkManual {
                client.text("finalize").await;
            }
            let (messages, ended) = client.until_the_end().await;
            assert_eq!(ended, Some(code), "{dialect:?}");
            assert!(!messages.iter().any(|message| message.to_string().to_lowercase().contains("no.")), "{dialect:?}");
            if let Some(last) = last {
                assert!(kinds(&messages).last().unwrap().ends_with(last), "{dialect:?}");
            }
            let record = bench.record();
            assert_eq!((record.sent_count, record.ended.unwrap().1), (0, End::Closed(code)));
        }
        let mut client = bench.connect(dialect, options(dialect)).await;
        client.play(&[raw("no.wav"), silence(3_000)].concat()).await;
        client.drain(1_000).await;
        assert!(bench.record().sent_count > 0, "{dialect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_says_nothing_and_stays() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(with_faults(&["silent:1"]));
        let mut client = bench.connect(dialect, options(dialect)).await;
        client.play(&[raw("no.wav"), silence(3_000)].concat()).await;
        assert!(client.raw_within(5_000).await.is_none(), "{dialect:?}");
        let record = bench.record();
        assert_eq!((record.sent_count, record.ended, record.audio_ms()), (0, None, 3_877));
        assert_eq!(record.found.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn final_transcripts_come_late_and_nothing_overtakes_them() {
    for dialect in [Dialect::InkTurns, Dialect::Nova, Dialect::Flux] {
        let mut bench = Bench::new(with_faults(&["late-final=1500:1"]));
        let mut client = bench.connect(dialect, options(dialect)).await;
        client.play(&[raw("no.wav"), silence(1_500), raw("thank-you.wav"), silence(1_500)].concat()).await;
        let early = client.drain(1_000).await;
        assert_eq!(finals(dialect, &early), "", "{dialect:?}");
        let late = client.drain(1_000).await;
        assert_eq!(finals(dialect, &late), "No. Thank you.", "{dialect:?}");
        assert!(client.elapsed_ms() >= 1_500, "{dialect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_to_finalise_is_ignored() {
    for (dialect, command) in [
        (Dialect::InkManual, "finalize".to_owned()),
        (Dialect::Nova, json!({ "type": "Finalize" }).to_string()),
        (Dialect::Flux, json!({ "type": "ForceEndTurn" }).to_string()),
        (Dialect::Gradium, json!({ "type": "flush", "flush_id": 1 }).to_string()),
    ] {
        let mut bench = Bench::new(with_faults(&["no_flush_answer:1"]));
        let more = if dialect == Dialect::Nova { "endpointing=1000&punctuate=true" } else { "" };
        let mut client = bench.connect(dialect, more).await;
        client.play(&raw("no.wav")).await;
        client.text(&command).await;
        let ignored = client.drain(1_000).await;
        assert_eq!(finals(dialect, &ignored), "", "{dialect:?}");
        client.text(&command).await;
        assert_eq!(finals(dialect, &client.drain(1_000).await), "No.", "{dialect:?}");
        assert_eq!(bench.record().flushes, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_lasts_so_long_and_ends_in_the_vendors_way() {
    for (dialect, code, last) in [
        (Dialect::InkTurns, 1_000, "connected"),
        (Dialect::InkManual, 1_000, ""),
        (Dialect::Nova, 1_011, ""),
        (Dialect::Flux, 1_011, "Error"),
        (Dialect::Gradium, 1_008, "error"),
    ] {
        let mut bench = Bench::new(with_faults(&["session_limit=4000:1"]));
        let mut client = bench.connect(dialect, "").await;
        let (messages, ended) = client.until_the_end().await;
        assert_eq!(ended, Some(code), "{dialect:?}");
        assert!((4_000..4_100).contains(&client.elapsed_ms()), "{dialect:?}: {}", client.elapsed_ms());
        assert_eq!(kinds(&messages).last().copied().unwrap_or_default(), last, "{dialect:?}");
        assert_eq!(bench.record().ended.unwrap().1, End::Closed(code));
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_is_mixed_in_and_all_that_matters_comes_as_well() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(with_faults(&["garbage:1"]));
        let mut client = bench.connect(dialect, options(dialect)).await;
        client.play(&[raw("question.wav"), silence(3_000)].concat()).await;
        if dialect == Dialect::InkManual {
            client.text("finalize").await;
        }
        let (mut good, mut nonsense, mut binary) = (Vec::new(), 0, 0);
        while let Some(message) = client.raw_within(1_000).await {
            match message.unwrap() {
                Message::Text(text) => match serde_json::from_str::<Value>(&text) {
                    Ok(message) if message["type"].is_string() && message["type"] != "from_the_future" => {
                        good.push(message)
                    }
                    _ => nonsense += 1,
                },
                Message::Binary(_) => binary += 1,
                Message::Close(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => panic!("other traffic"),
            }
        }
        assert_eq!(finals(dialect, &good), QUESTION, "{dialect:?}");
        assert_eq!(nonsense + binary, good.len(), "{dialect:?}");
        assert!(binary > 0, "{dialect:?}");
    }
}
