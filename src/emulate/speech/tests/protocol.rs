//! What the API documents, as a client sees it.

use super::*;

#[tokio::test(start_paused = true)]
async fn speech_comes_in_pieces_as_it_is_made() {
    let mut rig = Rig::new(tones());
    let mut client = rig.client().await;
    let response = client.post(&request(TEXT)).await;
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"audio/pcm".parse().unwrap()));
    let (pieces, is_whole) = pieces(response).await;
    assert!(is_whole);
    // The first after 150 ms, each further one after a quarter of the 90 ms that it plays, by a clock of milliseconds.
    assert_eq!(pieces.len(), 14);
    assert_eq!(pieces[0].0.as_millis(), 150);
    assert_eq!((pieces[1].0 - pieces[0].0).as_millis(), 23);
    assert!(pieces[..13].iter().all(|(_, piece)| piece.len() == 4_320));
    let whole: Vec<u8> = pieces.iter().flat_map(|(_, piece)| piece.to_vec()).collect();
    assert_eq!(whole.len(), 1_200 * 48);
    assert_eq!(tone::classify(&samples(&whole)[4_800..5_760], RATE), Some(0));

    let record = rig.ended().await;
    assert_eq!((record.input.as_str(), record.voice.as_str(), record.model.as_str()), (TEXT, "alloy", "tts-1"));
    assert_eq!((record.samples, record.samples_sent, record.ended.unwrap().1), (28_800, 28_800, End::Complete));
    assert_eq!(record.first_at.unwrap() - record.at, Duration::from_millis(150));
    let words: Vec<_> = record.words.iter().map(|word| (word.text.as_str(), word.start_ms, word.end_ms)).collect();
    assert_eq!(words, [("Twenty", 0, 360), ("letters,", 420, 900), ("yes.", 960, 1_200)]);

    // The next request on the connection sounds at another tone.
    let (bytes, _) = bytes(client.post(&request(TEXT)).await).await;
    assert_eq!(tone::classify(&samples(&bytes)[4_800..5_760], RATE), Some(1));
    assert_eq!(rig.ended().await.connection, 1);
}

#[tokio::test(start_paused = true)]
async fn speed_and_rate_shorten_a_text() {
    let mut rig = Rig::new(Settings { rate: 16_000, ..tones() });
    let mut client = rig.client().await;
    let (bytes, is_whole) = bytes(client.post(&with(request(TEXT), json!({"speed": 2.0}))).await).await;
    assert_eq!((bytes.len(), is_whole), (600 * 32, true));
    assert_eq!(rig.ended().await.speed, Some(2.0));
}

#[tokio::test(start_paused = true)]
async fn a_wav_has_its_header_once() {
    let mut rig = Rig::new(tones());
    let mut client = rig.client().await;
    let response = client.post(&with(request(TEXT), json!({"response_format": "wav"}))).await;
    assert_eq!(response.headers()["content-type"], "audio/wav");
    let (bytes, _) = bytes(response).await;
    assert_eq!((&bytes[..4], bytes.len()), (&b"RIFF"[..], 44 + 1_200 * 48));
    assert_eq!(tone::classify(&samples(&bytes[44..])[4_800..5_760], RATE), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_body_of_events_says_the_same() {
    use base64::Engine as _;
    let mut rig = Rig::new(tones());
    let mut client = rig.client().await;
    let response = client.post(&with(request(TEXT), json!({"stream_format": "sse"}))).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (bytes, _) = bytes(response).await;
    let text = String::from_utf8(bytes).unwrap();
    let events: Vec<Value> =
        text.split_terminator("\n\n").map(|event| serde_json::from_str(&event["data: ".len()..]).unwrap()).collect();
    let audio: usize = events
        .iter()
        .filter(|event| event["type"] == "speech.audio.delta")
        .map(|event| base64::prelude::BASE64_STANDARD.decode(event["audio"].as_str().unwrap()).unwrap().len())
        .sum();
    assert_eq!((audio, events.last().unwrap()["type"].as_str()), (1_200 * 48, Some("speech.audio.done")));
    assert_eq!(events.last().unwrap()["usage"]["input_tokens"], 3);
}

#[tokio::test(start_paused = true)]
async fn refusals_have_the_documented_shape() {
    let settings = Settings {
        api_key: Some(ApiKey::new("k")),
        models: Some(vec!["tts-1".to_owned()]),
        voices: Some(vec!["alloy".to_owned()]),
        ..tones()
    };
    let mut rig = Rig::new(settings);
    let mut client = rig.client().await;
    let keyed = |body: Value| {
        let mut request = post(&body);
        request.headers_mut().insert("authorization", "Bearer k".parse().unwrap());
        request
    };
    let mut refused = async |request| {
        let response = client.send(request).await.unwrap();
        let status = response.status().as_u16();
        let error = json_of(response).await["error"].take();
        assert!(error["message"].is_string() && error["type"].is_string(), "{error}");
        (status, error["code"].as_str().unwrap_or_default().to_owned(), error["param"].as_str().map(str::to_owned))
    };
    assert_eq!(refused(post(&request(TEXT))).await, (401, "invalid_api_key".to_owned(), None));
    let format = refused(keyed(with(request(TEXT), json!({"response_format": "opus"})))).await;
    assert_eq!(format, (400, "invalid_value".to_owned(), Some("response_format".to_owned())));
    let model = refused(keyed(with(request(TEXT), json!({"model": "x"})))).await;
    assert_eq!(model, (404, "model_not_found".to_owned(), Some("model".to_owned())));
    assert_eq!(refused(keyed(with(request(TEXT), json!({"voice": "x"})))).await.2.as_deref(), Some("voice"));
    let mut plain = keyed(request(TEXT));
    plain.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(refused(plain).await.0, 400);
    let mut elsewhere = get("/v1/audio/translations");
    elsewhere.headers_mut().insert("authorization", "Bearer k".parse().unwrap());
    assert_eq!(refused(elsewhere).await.0, 404);
    let ends: Vec<_> = rig.emulator.journal().records().iter().map(|record| record.ended.unwrap().1).collect();
    assert_eq!(ends, [End::Refused; 4]);
}

#[tokio::test(start_paused = true)]
async fn an_account_serves_so_many_at_once() {
    let mut rig = Rig::new(Settings { requests_max: Some(2), ..tones() });
    let (mut one, mut two, mut three) = (rig.client().await, rig.client().await, rig.client().await);
    let (first, second) = (one.post(&request(TEXT)).await, two.post(&request(TEXT)).await);
    let third = three.post(&request(TEXT)).await;
    assert_eq!((third.status().as_u16(), &third.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    assert_eq!(json_of(third).await["error"]["code"], "rate_limit_exceeded");
    assert!(bytes(first).await.1);
    drop((second, two));
    assert!(bytes(three.post(&request(TEXT)).await).await.1);
    let counts = rig.emulator.journal().counts();
    assert_eq!((counts.requests, counts.refused_429, counts.active_most), (4, 1, 2));
}

#[tokio::test]
async fn the_embedded_voice_is_heard_at_the_documented_rate() {
    let mut rig = Rig::new(Settings { speed_factor: 1_000.0, first_byte: Duration::ZERO, ..Settings::default() });
    let mut client = rig.client().await;
    let (bytes, is_whole) = bytes(client.post(&request("Your appointment is on Tuesday.")).await).await;
    let record = rig.ended().await;
    assert!(is_whole && bytes.len() as u64 == record.samples * 2);
    // Two seconds of speech, and the last word ends within them.
    let ms = record.samples * 1_000 / u64::from(RATE);
    assert!((1_000..4_000).contains(&ms), "{ms} ms");
    assert_eq!((record.words.len(), record.words[4].text.as_str()), (5, "Tuesday."));
    assert!(u64::from(record.words[4].end_ms) <= ms && record.words[4].start_ms > 1_000);
}

#[tokio::test(start_paused = true)]
async fn the_journal_is_served() {
    let mut rig = Rig::new(tones());
    let mut client = rig.client().await;
    bytes(client.post(&with(request("Hi."), json!({"instructions": "Calmly."}))).await).await;
    rig.ended().await;
    let journal = json_of(client.send(get("/journal")).await.unwrap()).await;
    let asked = &journal["requests"][0];
    assert_eq!((&asked["input"], &asked["instructions"]), (&json!("Hi."), &json!("Calmly.")));
    assert_eq!((&asked["ended"]["how"], &asked["words"]), (&json!("complete"), &json!([["Hi.", 0, 180]])));
    assert_eq!(journal["counts"]["requests"], 1);
}
