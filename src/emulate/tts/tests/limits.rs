//! An account's limits, what the journal says of them, and its file.

use super::*;

#[tokio::test(start_paused = true)]
async fn sockets_are_limited_and_counted() {
    for vendor in Vendor::ALL {
        let mut bench = Bench::with(Settings { sockets_max: Some(2), ..settings(vendor, &[]) });
        let (path, header, key) = address(vendor);
        let one = bench.connect().await;
        let two = bench.connect().await;
        assert_eq!(bench.status(path, &[(header, key)]).await, 429, "{vendor:?}");
        assert_eq!(bench.emulator.sockets_active(), 2);
        drop((one, two));
        while bench.emulator.sockets_active() > 0 {
            bench.tasks.join_next().await.unwrap().unwrap();
        }
        assert_eq!(bench.status(path, &[(header, key)]).await, 101, "{vendor:?}");
        let counts = bench.journal().counts();
        assert_eq!((counts.sockets_most, counts.refused_429, counts.handshakes), (2, 1, 3));
    }
}

fn begin(vendor: Vendor, id: &str) -> Vec<Value> {
    let text = "A text that takes its time to be said.";
    match vendor {
        Vendor::Cartesia => vec![json!({
            "model_id": "m", "transcript": text, "voice": { "mode": "id", "id": "v" }, "context_id": id,
            "output_format": { "container": "raw", "encoding": "pcm_s16le", "sample_rate": 8_000 },
        })],
        Vendor::Gradium => vec![
            json!({ "type": "setup", "output_format": "pcm_8000", "client_req_id": id, "close_ws_on_eos": false }),
            json!({ "type": "text", "text": text, "client_req_id": id }),
            json!({ "type": "end_of_stream", "client_req_id": id }),
        ],
        Vendor::ElevenLabs => {
            vec![json!({ "text": text, "context_id": id }), json!({ "context_id": id, "close_context": true })]
        }
        Vendor::Rime => vec![json!({ "text": text, "contextId": id }), json!({ "operation": "flush" })],
        Vendor::Deepgram => vec![json!({ "type": "Speak", "text": text }), json!({ "type": "Flush" })],
    }
}

#[tokio::test(start_paused = true)]
async fn contexts_are_limited_as_each_vendor_does_it() {
    for (vendor, refusal, closes) in [
        (Vendor::Cartesia, json!({ "status_code": 429, "error_code": "concurrency_limited", "context_id": "b" }), None),
        (Vendor::Gradium, json!({ "type": "error", "code": 1_013, "client_req_id": "b" }), None),
        (Vendor::ElevenLabs, json!({ "error": "max_active_conversations", "code": 1_008 }), Some(1_008)),
        (Vendor::Rime, json!({ "type": "error" }), Some(1_008)),
    ] {
        let mut bench = Bench::with(Settings { contexts_max: Some(1), ..settings(vendor, &[]) });
        // The limit is the account's: two sockets share it.
        let (mut first, mut second) = (bench.connect().await, bench.connect().await);
        for message in begin(vendor, "a") {
            first.send(message).await;
        }
        while !name(&first.next().await).starts_with(['a', 'c']) {}
        second.send(begin(vendor, "b").remove(0)).await;
        let all = second.drain(500).await;
        let error = jsons(&all).next().unwrap();
        for (field, value) in refusal.as_object().unwrap() {
            assert_eq!(&error[field], value, "{vendor:?}");
        }
        assert_eq!(all.get(1), closes.map(Got::Close).as_ref(), "{vendor:?}");
        // When the first has read its last message, there is room.
        let is_last = |value: &Value| {
            matches!(value["type"].as_str(), Some("done" | "end_of_stream")) || value["isFinal"] == true
        };
        first.until(is_last).await;
        for message in begin(vendor, "c") {
            first.send(message).await;
        }
        first.until(is_last).await;
        let counts = bench.journal().counts();
        assert_eq!((counts.contexts_most, counts.contexts, counts.contexts_refused), (1, 2, 1), "{vendor:?}");
        assert_eq!(bench.emulator.contexts_active(), 0);
    }

    let mut bench = Bench::with(Settings { contexts_max: Some(1), ..settings(Vendor::Deepgram, &[]) });
    let (path, header, key) = address(Vendor::Deepgram);
    let _first = bench.connect().await;
    assert_eq!(bench.status(path, &[(header, key)]).await, 429, "Deepgram counts sockets");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_frees_its_place_at_once() {
    let faults = ["late-chunks"];
    let mut bench = Bench::with(Settings { contexts_max: Some(1), ..settings(Vendor::Cartesia, &faults) });
    let mut client = bench.connect().await;
    client.send(begin(Vendor::Cartesia, "a").remove(0)).await;
    client.next().await;
    client.send(json!({ "context_id": "a", "cancel": true })).await;
    client.send(begin(Vendor::Cartesia, "b").remove(0)).await;
    let all = client.until(|value| value["type"] == "done").await;
    assert_eq!(count(&all, "error"), 0);
    assert_eq!(bench.journal().counts().contexts_most, 1);
}

#[tokio::test(start_paused = true)]
async fn the_journal_says_what_was_said_and_when() {
    let file = std::env::temp_dir().join(format!("trunkline-journal-{}.jsonl", std::process::id()));
    let mut bench = Bench::with(Settings { journal: Some(file.clone()), ..settings(Vendor::Gradium, &[]) });
    let mut client = bench.connect().await;
    for message in begin(Vendor::Gradium, "a") {
        client.send(message).await;
    }
    client.until(|value| value["type"] == "end_of_stream").await;
    let record = bench.record("a");
    assert_eq!(record.samples_sent, 38 * 480);
    let (first, last) = (record.first_sent_at.unwrap(), record.last_sent_at.unwrap());
    // 2,280 ms at four times real time; the last of 29 pieces leaves after 28.
    assert_eq!((first - record.started_at).as_millis(), 75);
    assert_eq!((last - first).as_millis(), 28 * 20);
    assert_eq!(record.words[1].text, "text");
    drop(client);
    bench.tasks.join_next().await.unwrap().unwrap();
    let lines = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let line: Value = serde_json::from_str(lines.trim_end()).unwrap();
    assert_eq!((&line["id"], &line["end"], &line["samples_sent"]), (&json!("a"), &json!("done"), &json!(18_240)));
    assert_eq!(line["words"][1], json!(["text", 120, 360]));
    assert_eq!(line["text"], "A text that takes its time to be said.");
}

#[tokio::test(start_paused = true)]
async fn settings_that_cannot_be_are_refused() {
    let wrong = |settings: Settings| Emulator::new(settings).unwrap_err().to_string();
    assert_eq!(wrong(settings(Vendor::Gradium, &["late-chunks"])), "late-chunks is out of range");
    assert_eq!(wrong(settings(Vendor::Gradium, &["refuse=200"])), "refuse is out of range");
    let journal = Some("/nonexistent/journal".into());
    let nowhere = wrong(Settings { journal, ..settings(Vendor::Rime, &[]) });
    assert!(nowhere.starts_with("cannot write the journal"), "{nowhere}");
}
