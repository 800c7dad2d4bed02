//! Every fault switch, seen from the client.

use super::*;

const STORY: &str = "A long story begins here and it takes a while to be told.";

/// A bench with `faults` and a client on it.
async fn bench(faults: &[&str]) -> (Bench, Client) {
    let mut bench = Bench::new(with_faults(faults));
    let client = bench.connect().await;
    (bench, client)
}

fn count(messages: &[Value], kind: &str) -> usize {
    of_type(messages, kind).count()
}

#[tokio::test(start_paused = true)]
async fn handshakes_are_refused_as_often_as_it_was_said() {
    let mut bench = Bench::new(with_faults(&["handshake-429:2", "handshake-401:1"]));
    let headers = [("X-API-Key", "k"), ("Cartesia-Version", "2026-08-14")];
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(match bench.connect_with(PATH, &headers).await {
            Err(WsError::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
            Ok(_) => 101,
        });
    }
    assert_eq!(statuses, [429, 429, 401, 101]);
    let counts = bench.journal().counts();
    assert_eq!((counts.connections, counts.refused_429, counts.refused_401, counts.handshakes), (4, 2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_handshake_takes_its_time() {
    let mut bench = Bench::new(with_faults(&["handshake-slow=2500:1"]));
    let started = Instant::now();
    bench.connect().await;
    assert!((2_500..2_600).contains(&started.elapsed().as_millis()));
    let started = Instant::now();
    bench.connect().await;
    assert!(started.elapsed().as_millis() < 100);
}

#[tokio::test(start_paused = true)]
async fn an_idle_socket_is_closed_early() {
    let (_bench, mut client) = bench(&["idle-close=1500"]).await;
    let Some(Ok(Message::Close(Some(frame)))) = client.raw_within(2_000).await else { panic!("no close frame") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1_000, "connection idle timeout"));
}

/// Reads chunks until the socket ends; how many came and how it ended.
async fn chunks_until_the_end(client: &mut Client) -> (usize, Result<u16, WsError>) {
    let mut chunks = 0;
    loop {
        match client.raw_within(10_000).await.expect("an end") {
            Ok(Message::Text(text)) => chunks += usize::from(text.contains("\"chunk\"")),
            Ok(Message::Close(frame)) => return (chunks, Ok(frame.unwrap().code.into())),
            Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => panic!("other traffic"),
            Err(error) => return (chunks, Err(error)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_socket_is_closed_or_cut_after_so_many_chunks() {
    let (mut bench, mut client) = bench(&["close-1011=4:1", "abort=2:1"]).await;
    client.send(last("a", STORY)).await;
    let (chunks, end) = chunks_until_the_end(&mut client).await;
    assert!(chunks == 2 && end.is_err(), "{chunks} {end:?}");

    let mut client = bench.connect().await;
    client.send(last("b", STORY)).await;
    let (chunks, end) = chunks_until_the_end(&mut client).await;
    assert_eq!((chunks, end.unwrap()), (4, 1_011));

    let mut client = bench.connect().await;
    client.send(last("c", STORY)).await;
    client.until("done", "c").await;
    let ends: Vec<_> = bench.journal().contexts().into_iter().map(|record| record.ended.unwrap().1).collect();
    assert_eq!(ends, [End::Lost, End::Lost, End::Done]);
}

#[tokio::test(start_paused = true)]
async fn new_contexts_are_limited() {
    let (_bench, mut client) = bench(&["limited=1:1"]).await;
    client.send(last("a", STORY)).await;
    client.send(last("b", STORY)).await;
    let refused = client.until("error", "b").await;
    let error = refused.last().unwrap();
    assert_eq!((&error["status_code"], &error["error_code"]), (&json!(429), &json!("concurrency_limited")));
    client.send(last("c", "Now it works.")).await;
    client.until("done", "c").await;
    client.until("done", "a").await;

    let (_bench, mut client) = self::bench(&["limited"]).await;
    for id in ["a", "b", "c"] {
        client.send(last(id, STORY)).await;
        assert_eq!(client.next().await["status_code"], 429);
    }
}

#[tokio::test(start_paused = true)]
async fn contexts_end_with_errors_with_and_without_their_id() {
    for (fault, status, named) in
        [("error-400=2", 400, true), ("error-500=2", 500, true), ("error-no-context=2", 500, false)]
    {
        let (bench, mut client) = bench(&[fault]).await;
        client.send(last("c", STORY)).await;
        let messages = client.drain(3_000).await;
        let error = messages.last().unwrap();
        assert_eq!((&error["type"], &error["status_code"]), (&json!("error"), &json!(status)), "{fault}");
        assert_eq!(error.get("context_id").is_some(), named, "{fault}");
        assert_eq!((count(&messages, "chunk"), count(&messages, "done")), (2, 0), "{fault}");
        assert_eq!(bench.journal().context("c").unwrap().ended.unwrap().1, End::Failed);
    }
}

#[tokio::test(start_paused = true)]
async fn audio_stalls_for_ever_and_only_as_often_as_it_was_said() {
    let (bench, mut client) = bench(&["stall=3:1", "stall-first:1"]).await;
    client.send(request("a", STORY)).await;
    assert!(client.within(100_000).await.is_none(), "not one message");
    client.send(last("b", STORY)).await;
    let messages = client.drain(100_000).await;
    assert_eq!((count(&messages, "chunk"), count(&messages, "done")), (3, 0));
    client.cancel("a").await;
    client.send(last("c", STORY)).await;
    client.until("done", "c").await;
    let record = bench.journal().context("b").unwrap();
    let stalled_ms = u32::try_from(record.samples_sent / 8).unwrap();
    assert!(record.words.iter().any(|word| word.start_ms < stalled_ms && stalled_ms < word.end_ms), "mid-word");
    assert_eq!(record.ended, None);
}

#[tokio::test(start_paused = true)]
async fn done_never_comes() {
    let (bench, mut client) = bench(&["no-done:1"]).await;
    client.send(last("a", "Hello there.")).await;
    let messages = client.drain(10_000).await;
    assert_eq!((audio(&messages, "a").len(), count(&messages, "done")), (12 * 960, 0));
    assert_eq!(bench.journal().context("a").unwrap().ended.unwrap().1, End::Done);
    client.send(last("b", "Hello there.")).await;
    client.until("done", "b").await;
}

#[tokio::test(start_paused = true)]
async fn audio_goes_on_after_a_cancel() {
    let whole = STORY.len() * 960;
    for (fault, chunks, done) in [
        ("late-chunks", None, 0),
        ("late-chunks=3", Some(3), 0),
        ("late-chunks-done=2", Some(2), 1),
        ("cancel-done", Some(0), 1),
    ] {
        let (bench, mut client) = bench(&[fault]).await;
        client.send(request("c", STORY)).await;
        let mut messages = client.until("chunk", "c").await;
        client.cancel("c").await;
        let late = client.drain(5_000).await;
        assert_eq!(count(&late, "done"), done, "{fault}");
        if let Some(chunks) = chunks {
            assert_eq!(count(&late, "chunk"), chunks, "{fault}");
        } else {
            messages.extend(late);
            assert_eq!(audio(&messages, "c").len(), whole, "{fault}");
        }
        let record = bench.journal().context("c").unwrap();
        assert_eq!(record.ended.unwrap().1, End::Cancelled);
    }
}

#[tokio::test(start_paused = true)]
async fn contexts_expire_early() {
    let (_bench, mut client) = bench(&["expiry=200"]).await;
    client.send(request("c", "Hello.")).await;
    client.drain(300).await;
    client.send(request("c", " More.")).await;
    assert_eq!(client.next().await["type"], "error");
}

#[tokio::test(start_paused = true)]
async fn odd_chunks_split_samples_and_lose_none() {
    let (bench, mut client) = bench(&["odd-chunks"]).await;
    client.send(request("c", "Hello there.")).await;
    client.send(last("c", " And goodbye.")).await;
    let messages = client.until("done", "c").await;
    let sizes: Vec<_> = of_type(&messages, "chunk")
        .map(|chunk| BASE64_STANDARD.decode(chunk["data"].as_str().unwrap()).unwrap().len())
        .collect();
    assert!(sizes.iter().filter(|size| *size % 2 == 1).count() > sizes.len() / 2, "{sizes:?}");
    let samples = pcm(&audio(&messages, "c"));
    assert_eq!(samples.len(), 25 * 480);
    assert_tone(&samples, bench.journal().context("c").unwrap().tone);
    assert_eq!(bench.journal().context("c").unwrap().samples_sent, 25 * 480);
}

#[tokio::test(start_paused = true)]
async fn a_burst_comes_all_at_once() {
    let (_bench, mut client) = bench(&["burst"]).await;
    client.send(last("c", STORY)).await;
    let messages = client.until("done", "c").await;
    assert_eq!(audio(&messages, "c").len(), STORY.len() * 960);
    assert!(client.elapsed_ms() < 85, "{}", client.elapsed_ms());
}

#[tokio::test(start_paused = true)]
async fn word_times_come_before_after_or_never() {
    let kinds = async |faults: &[&str]| -> Vec<String> {
        let (_bench, mut client) = bench(faults).await;
        client.send(last("c", "One two three.")).await;
        let messages = client.until("done", "c").await;
        messages.iter().map(|message| message["type"].as_str().unwrap().to_owned()).collect()
    };
    let chunks = |count| vec!["chunk".to_owned(); count];
    let (times, done) = (vec!["timestamps".to_owned()], vec!["done".to_owned()]);
    assert_eq!(kinds(&["timestamps-before"]).await, [times.clone(), chunks(10), done.clone()].concat());
    assert_eq!(kinds(&["timestamps-after"]).await, [chunks(10), times, done.clone()].concat());
    assert_eq!(kinds(&["timestamps-never"]).await, [chunks(10), done].concat());
    let along = kinds(&[]).await;
    assert_eq!(along.iter().filter(|kind| *kind == "timestamps").count(), 3);
    assert_eq!(along[0], "timestamps");
}

#[tokio::test(start_paused = true)]
async fn every_submission_is_flushed() {
    let (_bench, mut client) = bench(&["flush-done-each"]).await;
    client.send(request("c", "One. ")).await;
    client.send(request("c", "Two. ")).await;
    client.send(last("c", "Three.")).await;
    let messages = client.until("done", "c").await;
    let ids: Vec<_> = of_type(&messages, "flush_done").map(|message| message["flush_id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn garbage_and_unknown_types_come_between_and_the_audio_is_whole() {
    let (_bench, mut client) = bench(&["garbage", "unknown-types"]).await;
    client.send(last("c", STORY)).await;
    let (mut good, mut broken, mut binary, mut unknown) = (Vec::new(), 0, 0, 0);
    loop {
        match client.raw_within(5_000).await.unwrap().unwrap() {
            Message::Binary(_) => binary += 1,
            Message::Text(text) => match serde_json::from_str::<Value>(&text) {
                Err(_) => broken += 1,
                Ok(message) => match message["type"].as_str() {
                    Some("done") => break,
                    Some("usage" | "server_notice" | "phoneme_timestamps") => unknown += 1,
                    Some("chunk") if message["data"].as_str().is_some_and(|data| !data.contains('%')) => {
                        good.push(message)
                    }
                    _ => broken += 1,
                },
            },
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => panic!("other traffic"),
        }
    }
    assert_eq!(audio(&good, "c").len(), STORY.len() * 960);
    assert!(broken > 10 && binary > 3 && unknown > 10, "{broken} {binary} {unknown}");
}
