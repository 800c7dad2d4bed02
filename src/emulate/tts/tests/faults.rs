//! The fault switches, for every vendor that knows them.

use super::*;

const STORY: &str = "A long story begins here and it takes a while to be told.";

/// One vendor's protocol, as much of it as a fault needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Cartesia,
    Gradium,
    ElevenLabs,
    Aura,
    Flux,
    Rime,
}

const ALL: [Protocol; 6] =
    [Protocol::Cartesia, Protocol::Gradium, Protocol::ElevenLabs, Protocol::Aura, Protocol::Flux, Protocol::Rime];

impl Protocol {
    fn vendor(self) -> Vendor {
        match self {
            Protocol::Cartesia => Vendor::Cartesia,
            Protocol::Gradium => Vendor::Gradium,
            Protocol::ElevenLabs => Vendor::ElevenLabs,
            Protocol::Aura | Protocol::Flux => Vendor::Deepgram,
            Protocol::Rime => Vendor::Rime,
        }
    }

    fn path(self) -> &'static str {
        if self == Protocol::Flux { FLUX } else { address(self.vendor()).0 }
    }

    /// Everything that has `text` spoken on `id`.
    fn speech(self, id: &str, text: &str) -> Vec<Value> {
        match self {
            Protocol::Cartesia => vec![json!({
                "model_id": "m", "transcript": text, "voice": { "mode": "id", "id": "v" }, "context_id": id,
                "output_format": { "container": "raw", "encoding": "pcm_s16le", "sample_rate": 8_000 },
                "add_timestamps": true,
            })],
            Protocol::Gradium => vec![
                json!({ "type": "setup", "output_format": "pcm_8000", "client_req_id": id, "close_ws_on_eos": false }),
                json!({ "type": "text", "text": text, "client_req_id": id }),
                json!({ "type": "end_of_stream", "client_req_id": id }),
            ],
            Protocol::ElevenLabs => {
                vec![json!({ "text": text, "context_id": id }), json!({ "context_id": id, "close_context": true })]
            }
            Protocol::Aura | Protocol::Flux => {
                vec![json!({ "type": "Speak", "text": text }), json!({ "type": "Flush" })]
            }
            Protocol::Rime => vec![json!({ "text": text, "contextId": id }), json!({ "operation": "flush" })],
        }
    }

    /// Whether a message is the last one of `id`.
    fn is_last(self, value: &Value, id: &str) -> bool {
        match self {
            Protocol::Cartesia => value["type"] == "done" && value["context_id"] == id,
            Protocol::Gradium => value["type"] == "end_of_stream" && value["client_req_id"] == id,
            Protocol::ElevenLabs => value["isFinal"] == true && value["contextId"] == id,
            Protocol::Aura => value["type"] == "Flushed",
            Protocol::Flux => value["type"] == "SpeechMetadata" && value["speech_id"] != "dg_sp_ffffffffffff",
            Protocol::Rime => value["type"] == "done" && value["contextId"] == id,
        }
    }

    /// The audio of `id` in `all`.
    fn audio(self, all: &[Got], id: &str) -> Vec<u8> {
        let (field, key) = match self {
            Protocol::Cartesia => ("data", "context_id"),
            Protocol::Gradium => ("audio", "client_req_id"),
            Protocol::ElevenLabs => ("audio", "contextId"),
            Protocol::Rime => ("data", "contextId"),
            Protocol::Aura | Protocol::Flux => ("", ""),
        };
        let no_binary: Vec<Got> =
            all.iter().filter(|got| field.is_empty() || !matches!(got, Got::Binary(_))).cloned().collect();
        audio_where(&no_binary, field, |value| !field.is_empty() && value[key] == id)
    }

    fn chunks(self, all: &[Got]) -> usize {
        match self {
            Protocol::Cartesia | Protocol::Rime => count(all, "chunk"),
            Protocol::Gradium | Protocol::ElevenLabs => count(all, "audio"),
            Protocol::Aura | Protocol::Flux => count(all, "binary"),
        }
    }

    fn lasts(self, all: &[Got], id: &str) -> usize {
        jsons(all).filter(|value| self.is_last(value, id)).count()
    }
}

/// What a client reads that has one story told under a fault, until nothing comes for a minute.
async fn told(protocol: Protocol, faults: &[&str]) -> (Bench, Client, Vec<Got>) {
    let mut bench = Bench::new(protocol.vendor(), faults);
    let mut client = bench.connect_to(protocol.path()).await;
    for message in protocol.speech("a", STORY) {
        client.send(message).await;
    }
    let all = client.drain(15_000).await;
    (bench, client, all)
}

fn whole() -> usize {
    bytes_of(STORY.len())
}

#[tokio::test(start_paused = true)]
async fn without_a_fault_the_story_is_told_once_and_ends_once() {
    for protocol in ALL {
        let (bench, _client, all) = told(protocol, &[]).await;
        assert_eq!(protocol.audio(&all, "a").len(), whole(), "{protocol:?}");
        assert_eq!(protocol.lasts(&all, "a"), 1, "{protocol:?}");
        let record = bench.journal().contexts().remove(0);
        assert_tone(&protocol.audio(&all, "a"), record.tone);
        assert_eq!((record.text.as_str(), record.samples_sent), (STORY, whole() as u64 / 2), "{protocol:?}");
        assert_eq!(record.ended.unwrap().1, End::Done, "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn handshakes_are_refused_and_slow() {
    for protocol in ALL {
        let faults = ["refuse=503:1", "handshake-429:1", "handshake-401:1", "handshake-slow=2500"];
        let mut bench = Bench::new(protocol.vendor(), &faults);
        let (_, header, key) = address(protocol.vendor());
        let started = Instant::now();
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(bench.status(protocol.path(), &[(header, key)]).await);
        }
        assert_eq!(statuses, [429, 401, 503, 101], "{protocol:?}");
        assert_eq!(started.elapsed().as_millis() / 100, 100, "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn sockets_end_after_so_many_chunks() {
    for protocol in ALL {
        for (fault, end) in [
            ("close-1000=3", Got::Close(1_000)),
            ("close-1011=3", Got::Close(1_011)),
            ("drop=3", Got::Close(1_005)),
            ("abort=3", Got::Cut),
        ] {
            let (bench, _client, all) = told(protocol, &[fault]).await;
            assert_eq!((protocol.chunks(&all), all.last()), (3, Some(&end)), "{protocol:?} {fault}");
            assert_eq!(bench.journal().contexts()[0].ended.unwrap().1, End::Lost, "{protocol:?} {fault}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn audio_stalls_or_never_begins_or_its_end_is_missing() {
    for protocol in ALL {
        for (fault, chunks) in [("stall=3", Some(3)), ("stall-first", Some(0)), ("no-done", None)] {
            let (_bench, _client, all) = told(protocol, &[fault]).await;
            assert_eq!(protocol.lasts(&all, "a"), 0, "{protocol:?} {fault}");
            match chunks {
                Some(chunks) => assert_eq!(protocol.chunks(&all), chunks, "{protocol:?} {fault}"),
                None => assert_eq!(protocol.audio(&all, "a").len(), whole(), "{protocol:?} {fault}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn errors_come_with_and_without_an_id() {
    for protocol in ALL {
        for fault in ["error-400=2", "error-500=2", "error-no-context=2"] {
            let (bench, _client, all) = told(protocol, &[fault]).await;
            assert_eq!((protocol.chunks(&all), protocol.lasts(&all, "a")), (2, 0), "{protocol:?} {fault}");
            assert_eq!(bench.journal().contexts()[0].ended.unwrap().1, End::Failed, "{protocol:?} {fault}");
            let error =
                jsons(&all).find(|value| ["error", "Error"].contains(&name(&Got::Json((*value).clone())).as_str()));
            let close = match all.last() {
                Some(Got::Close(code)) => Some(*code),
                _ => None,
            };
            let (bad, named) = (fault == "error-400=2", fault != "error-no-context=2");
            let fatal = Some(if bad { 1_008 } else { 1_011 });
            match protocol {
                Protocol::Cartesia => {
                    assert_eq!((error.unwrap().get("context_id").is_some(), close), (named, None), "{fault}");
                }
                Protocol::Gradium => {
                    let expected = (named, if named { None } else { fatal });
                    assert_eq!((error.unwrap().get("client_req_id").is_some(), close), expected, "{fault}");
                }
                Protocol::ElevenLabs | Protocol::Flux => assert!(error.is_some() && close == fatal, "{fault}"),
                Protocol::Aura => assert!(error.is_none() && close == fatal, "{fault}"),
                Protocol::Rime => assert!(error.is_some() && close.is_none(), "{fault}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_mixed_in_leaves_the_audio_whole() {
    for protocol in ALL {
        for fault in ["garbage", "unknown-types", "wrong-ids", "huge", "burst", "odd-chunks"] {
            let (bench, _client, all) = told(protocol, &[fault]).await;
            assert_eq!(protocol.audio(&all, "a").len(), whole(), "{protocol:?} {fault}");
            assert_eq!(protocol.lasts(&all, "a"), 1, "{protocol:?} {fault}");
            assert_eq!(bench.journal().contexts()[0].samples_sent, whole() as u64 / 2, "{protocol:?} {fault}");
            let strange = match fault {
                "garbage" => count(&all, "broken") > 5,
                "unknown-types" => count(&all, "usage") > 5 && count(&all, "server_notice") > 5,
                "wrong-ids" => all.iter().filter(|got| is_nobodys(got)).count() > 20 || protocol == Protocol::Aura,
                "huge" => jsons(&all).any(|value| value["notice"].as_str().is_some_and(|text| text.len() == 1 << 20)),
                "burst" => true,
                _ => protocol.chunks(&all) > 40,
            };
            assert!(strange, "{protocol:?} {fault}");
        }
    }
}

fn is_nobodys(got: &Got) -> bool {
    let Got::Json(value) = got else { return false };
    let id = ["context_id", "client_req_id", "contextId", "speech_id"].iter().find_map(|key| value[*key].as_str());
    id.is_some_and(|id| id.ends_with("-nobody") || id == "dg_sp_ffffffffffff")
}

#[tokio::test(start_paused = true)]
async fn audio_comes_after_the_end() {
    for protocol in ALL {
        let (_bench, _client, all) = told(protocol, &["after-done=2"]).await;
        let at = all.iter().position(|got| matches!(got, Got::Json(value) if protocol.is_last(value, "a"))).unwrap();
        assert_eq!(protocol.chunks(&all[at..]), 2, "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn late_chunks_follow_a_cancel_where_there_is_one() {
    for (protocol, cancel, answer) in [
        (Protocol::Cartesia, json!({ "context_id": "a", "cancel": true }), None),
        (Protocol::Aura, json!({ "type": "Clear" }), Some("Cleared")),
        (Protocol::Flux, json!({ "type": "Interrupt" }), Some("SpeechInterrupted")),
        (Protocol::Rime, json!({ "operation": "clear" }), None),
    ] {
        for (fault, late) in [(None, 0), (Some("late-chunks=6"), 6)] {
            let mut bench = Bench::new(protocol.vendor(), fault.as_slice());
            let mut client = bench.connect_to(protocol.path()).await;
            for message in protocol.speech("a", STORY) {
                client.send(message).await;
            }
            while protocol.chunks(&[client.next().await]) == 0 {}
            client.send(cancel.clone()).await;
            let all = client.drain(5_000).await;
            assert_eq!((protocol.chunks(&all), protocol.lasts(&all, "a")), (late, 0), "{protocol:?} {fault:?}");
            if let Some(answer) = answer {
                assert_eq!(name(all.last().unwrap()), answer, "{protocol:?} {fault:?}");
            }
            assert_eq!(bench.journal().contexts()[0].ended.unwrap().1, End::Cancelled);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_speaks_on_and_hears_nothing() {
    for protocol in ALL {
        let messages = u32::try_from(protocol.speech("a", STORY).len()).unwrap();
        let mut bench = Bench::new(protocol.vendor(), &[&format!("slow-reader={messages}")]);
        let mut client = bench.connect_to(protocol.path()).await;
        for message in protocol.speech("a", STORY).into_iter().chain(protocol.speech("b", STORY)) {
            client.send(message).await;
        }
        let all = client.drain(60_000).await;
        assert_eq!(protocol.audio(&all, "a").len(), whole(), "{protocol:?}");
        assert_eq!((protocol.lasts(&all, "a"), all.last()), (1, Some(&Got::Cut)), "{protocol:?}");
        assert_eq!(bench.journal().counts().contexts, 1, "{protocol:?}");
        assert_eq!(client.elapsed_ms() / 1_000, 12);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_sockets_are_closed() {
    for protocol in ALL {
        let mut bench = Bench::new(protocol.vendor(), &["idle-close=1500"]);
        let mut client = bench.connect_to(protocol.path()).await;
        let all = client.drain(5_000).await;
        assert_eq!(all.last(), Some(&Got::Close(1_000)), "{protocol:?}");
        assert_eq!(client.elapsed_ms() / 100, 15);
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_of_a_stream_leaves_nothing_behind() {
    for protocol in ALL {
        let mut bench = Bench::new(protocol.vendor(), &[]);
        let mut client = bench.connect_to(protocol.path()).await;
        for message in protocol.speech("a", STORY) {
            client.send(message).await;
        }
        while protocol.chunks(&[client.next().await]) == 0 {}
        bench.tasks.shutdown().await;
        while client.next().await != Got::Cut {}
        tokio::task::yield_now().await;
        assert_eq!((bench.emulator.contexts_active(), bench.emulator.sockets_active()), (0, 0), "{protocol:?}");
    }
}
