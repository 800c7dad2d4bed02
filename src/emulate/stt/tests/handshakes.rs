//! Who is let in, and with what query.

use super::*;

async fn status(bench: &mut Bench, path: &str, headers: &[(&'static str, &str)]) -> u16 {
    match bench.connect_with(Dialect::Nova, path, headers).await {
        Ok(_) => 101,
        Err(WsError::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_are_taken_from_every_documented_place_and_from_no_other() {
    let mut bench = Bench::new(Settings { api_key: Some(ApiKey::new("k")), ..Settings::default() });
    let version = ("Cartesia-Version", "2026-08-14");
    let ink = format!("/stt/turns/websocket?{}", credentials(Dialect::InkTurns).0);
    let manual = format!("/stt/websocket?{}", credentials(Dialect::InkManual).0);
    let nova = format!("/v1/listen?{}", credentials(Dialect::Nova).0);
    let flux = format!("/v2/listen?{}", credentials(Dialect::Flux).0);
    let gradium = "/api/speech/asr".to_owned();
    let (ink_key, gradium_key) = (format!("{ink}&api_key=k"), format!("{gradium}?token=k"));
    let (ink_version, ink_old) =
        (format!("{ink}&cartesia_version=2026-03-01"), format!("{ink}&cartesia_version=latest"));
    for (path, headers, expected) in [
        (&ink, vec![("Authorization", "Bearer k"), version], 101),
        (&manual, vec![("X-API-Key", "k"), version], 101),
        (&ink_key, vec![version], 101),
        (&ink_version, vec![("X-API-Key", "k")], 101),
        (&ink_old, vec![("X-API-Key", "k"), version], 400),
        (&ink, vec![("X-API-Key", "k")], 400),
        (&ink, vec![("X-API-Key", "other"), version], 401),
        (&ink, vec![("Authorization", "Token k"), version], 401),
        (&manual, vec![version], 401),
        (&nova, vec![("Authorization", "Token k")], 101),
        (&nova, vec![("Authorization", "Bearer k")], 101),
        (&nova, vec![("Authorization", "k")], 401),
        (&nova, vec![], 401),
        (&flux, vec![("Authorization", "token k")], 101),
        (&flux, vec![("X-API-Key", "k")], 401),
        (&gradium, vec![("x-api-key", "k")], 101),
        (&gradium_key, vec![], 101),
        (&gradium, vec![("Authorization", "Bearer k")], 401),
        (&gradium, vec![("x-api-key", "")], 401),
    ] {
        assert_eq!(status(&mut bench, path, &headers).await, expected, "{path} {headers:?}");
    }
    assert_eq!(status(&mut bench, "/v1/speak", &[("Authorization", "Token k")]).await, 404);
    let counts = bench.journal().counts();
    assert_eq!((counts.connections, counts.handshakes, counts.refused_401, counts.refused_other), (20, 9, 8, 3));
}

#[tokio::test(start_paused = true)]
async fn a_key_may_come_as_a_protocol_of_the_socket() {
    let mut bench = Bench::new(Settings { api_key: Some(ApiKey::new("k")), ..Settings::default() });
    let path = format!("/v1/listen?{}", credentials(Dialect::Nova).0);
    assert_eq!(status(&mut bench, &path, &[("Sec-WebSocket-Protocol", "token, k")]).await, 101);
    assert_eq!(status(&mut bench, &path, &[("Sec-WebSocket-Protocol", "token, other")]).await, 401);
}

#[tokio::test(start_paused = true)]
async fn queries_are_read_as_a_strict_server_would() {
    let mut bench = Bench::new(Settings::default());
    for (dialect, good, bad) in [
        (
            Dialect::InkTurns,
            vec![
                "keyterm=a&keyterm=b",
                "turn_end_timeout_ms=11200",
                "turn_start_threshold=0.9&turn_eager_end_threshold=0.6",
            ],
            vec![
                "model=ink-2",
                "turn_end_threshold=0.45",
                "turn_end_timeout_ms=600",
                "turn_start_threshold=1",
                "language=en",
            ],
        ),
        (
            Dialect::InkManual,
            vec!["language=en"],
            vec!["language=de", "min_volume=0.1", "max_silence_duration_secs=1", "turn_end_threshold=0.2", "lang=en"],
        ),
        (
            Dialect::Nova,
            vec![
                "interim_results=true&utterance_end_ms=1000&vad_events=true&channels=1",
                "endpointing=false",
                "endpointing=true&keyterm=a&keyterm=b&language=en-US&no_delay=true",
            ],
            vec![
                "utterance_end_ms=1000",
                "interim_results=yes",
                "endpointing=soon",
                "channels=2",
                "eot_threshold=0.7",
                "interim_results=true&utterance_end_ms=900",
            ],
        ),
        (
            Dialect::Flux,
            vec!["eot_threshold=1.0&eager_eot_threshold=0.9&eot_timeout_ms=60000", "keyterm=a&tag=b"],
            vec![
                "eot_threshold=0.4",
                "eager_eot_threshold=0.8",
                "eot_timeout_ms=499",
                "language_hint=en",
                "interim_results=true",
            ],
        ),
    ] {
        let (query, headers) = credentials(dialect);
        for (more, expected) in good.iter().map(|good| (good, 101)).chain(bad.iter().map(|bad| (bad, 400))) {
            let path = format!("{}?{query}&{more}", dialect.path());
            assert_eq!(status(&mut bench, &path, headers).await, expected, "{path}");
        }
        for wrong in ["", "model=other&encoding=mulaw&sample_rate=16000"] {
            assert_eq!(
                status(&mut bench, &format!("{}?{wrong}", dialect.path()), headers).await,
                400,
                "{dialect:?} {wrong}"
            );
        }
        for (from, to) in [("8000", "16000"), ("mulaw", "alaw"), ("mulaw", "ulaw")] {
            let path = format!("{}?{}", dialect.path(), query.replace(from, to));
            assert_eq!(status(&mut bench, &path, headers).await, 400, "{path}");
        }
    }
    let multilingual =
        "/v2/listen?model=flux-general-multi&encoding=linear16&sample_rate=8000&language_hint=de&language_hint=en";
    assert_eq!(status(&mut bench, multilingual, &[("Authorization", "Token k")]).await, 101);
}
