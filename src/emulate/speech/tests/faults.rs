//! Every fault, as a client sees it.

use super::*;

#[tokio::test(start_paused = true)]
async fn refusals_come_as_often_as_they_may() {
    let mut rig = Rig::faulty(&["refuse=503:1", "limited=0:1"]);
    let mut client = rig.client().await;
    assert_eq!(client.post(&request(TEXT)).await.status().as_u16(), 503);
    assert_eq!(rig.how_it_ended().await, End::Refused);
    assert_eq!(client.post(&request(TEXT)).await.status().as_u16(), 200);

    let mut rig = Rig::faulty(&["limited=1"]);
    let (mut one, mut two) = (rig.client().await, rig.client().await);
    let held = one.post(&request(TEXT)).await;
    let refused = two.post(&request(TEXT)).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    assert!(bytes(held).await.1);
    assert_eq!(two.post(&request(TEXT)).await.status().as_u16(), 200);
}

#[tokio::test(start_paused = true)]
async fn slow_answers_are_as_slow_as_they_should_be() {
    for (fault, head, first) in
        [("answer-slow=2000", 2_000, 150), ("first-byte-slow=2000", 0, 2_150), ("slow-reader=2000", 2_000, 150)]
    {
        let mut rig = Rig::faulty(&[fault]);
        let mut client = rig.client().await;
        let began = Instant::now();
        let response = client.post(&request(TEXT)).await;
        assert_eq!(began.elapsed().as_millis(), head, "{fault}");
        let (pieces, is_whole) = pieces(response).await;
        assert_eq!((pieces[0].0.as_millis(), is_whole), (first, true), "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn silences_last_until_the_client_leaves() {
    for (fault, chunks) in [("stall-first", 0), ("stall=3", 3)] {
        let mut rig = Rig::faulty(&[fault]);
        let mut client = rig.client().await;
        let mut body = client.post(&request(TEXT)).await.into_body();
        for _ in 0..chunks {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), 4_320);
        }
        assert!(timeout(Duration::from_secs(3_600), body.frame()).await.is_err(), "{fault}");
        drop((body, client));
        assert_eq!(rig.ended().await.samples_sent, chunks * 2_160);
        assert_eq!(rig.how_it_ended().await, End::Cancelled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_body_has_no_end() {
    for (fault, chunks) in [("drop=3", 3), ("drop=0", 0), ("drop=14", 14)] {
        let mut rig = Rig::faulty(&[fault]);
        let mut client = rig.client().await;
        let (bytes, is_whole) = bytes(client.post(&request(TEXT)).await).await;
        assert_eq!((bytes.len(), is_whole), ((chunks * 4_320).min(1_200 * 48), false), "{fault}");
        assert_eq!(rig.how_it_ended().await, End::Failed);
        assert!(client.send(post(&request(TEXT))).await.is_err());
    }
    let mut rig = Rig::faulty(&["drop=15"]);
    let mut client = rig.client().await;
    assert!(bytes(client.post(&request(TEXT)).await).await.1, "an answer of 14 chunks does not reach it");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_audio_comes_with_status_200() {
    let mut rig = Rig::faulty(&["error-midway=2"]);
    let mut client = rig.client().await;
    let (pieces, is_whole) = pieces(client.post(&request(TEXT)).await).await;
    assert_eq!((pieces.len(), is_whole), (3, true));
    let error: Value = serde_json::from_slice(&pieces[2].1).unwrap();
    assert_eq!(error["error"]["type"], "server_error");
    assert_eq!(rig.how_it_ended().await, End::Failed);

    let mut rig = Rig::faulty(&["garbage"]);
    let response = rig.client().await.post(&request(TEXT)).await;
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"text/html".parse().unwrap()));
    assert_eq!(rig.how_it_ended().await, End::Failed);

    let mut rig = Rig::faulty(&["empty"]);
    let response = rig.client().await.post(&request(TEXT)).await;
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(rig.how_it_ended().await, End::Failed);
}

#[tokio::test(start_paused = true)]
async fn odd_pieces_are_the_same_audio() {
    let mut rig = Rig::faulty(&["odd-chunks"]);
    let (odd, is_whole) = {
        let mut client = rig.client().await;
        pieces(client.post(&request(TEXT)).await).await
    };
    assert!(is_whole);
    let lengths: Vec<usize> = odd.iter().take(4).map(|(_, piece)| piece.len()).collect();
    assert_eq!(lengths, [1, 3, 961, 5]);
    let odd: Vec<u8> = odd.iter().flat_map(|(_, piece)| piece.to_vec()).collect();
    let mut rig = Rig::new(tones());
    let (even, _) = bytes(rig.client().await.post(&request(TEXT)).await).await;
    assert!(odd == even);
}

#[tokio::test(start_paused = true)]
async fn all_at_once_and_more_than_that() {
    let mut rig = Rig::faulty(&["burst"]);
    let began = Instant::now();
    let (whole, _) = bytes(rig.client().await.post(&request(TEXT)).await).await;
    assert_eq!((whole.len(), began.elapsed().as_millis()), (1_200 * 48, 150));

    let mut rig = Rig::faulty(&["huge"]);
    let (huge, is_whole) = bytes(rig.client().await.post(&request(TEXT)).await).await;
    assert_eq!((huge.len(), is_whole), (1024 * 1024, true));
    assert!(huge.starts_with(&whole) && huge[whole.len()..].iter().all(|byte| *byte == 0));
    assert_eq!(rig.ended().await.samples_sent, 28_800);
}

#[tokio::test(start_paused = true)]
async fn a_body_without_an_end_goes_on_in_silence() {
    let mut rig = Rig::faulty(&["endless"]);
    let mut client = rig.client().await;
    let mut body = client.post(&request(TEXT)).await.into_body();
    let mut bytes = 0;
    while bytes < 10_000_000 {
        bytes += timeout(LIMIT, body.frame()).await.unwrap().unwrap().unwrap().into_data().unwrap().len();
    }
    assert_eq!(rig.emulator.journal().last().unwrap().samples_sent, 28_800);
    drop((body, client));
    assert_eq!(rig.how_it_ended().await, End::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn connections_may_serve_one_request_each() {
    let mut rig = Rig::faulty(&["close-each"]);
    let mut client = rig.client().await;
    assert!(bytes(client.post(&request(TEXT)).await).await.1);
    assert!(client.send(post(&request(TEXT))).await.is_err());
    assert!(bytes(rig.client().await.post(&request(TEXT)).await).await.1);
    assert_eq!(rig.emulator.journal().counts().connections, 2);
}

#[test]
fn what_makes_no_sense_is_refused_at_the_start() {
    let name = |settings: Settings| Emulator::new(settings).unwrap_err().to_string();
    assert!(name(Settings { faults: vec!["refuse=200".parse().unwrap()], ..tones() }).contains("refuse=200"));
    assert!(name(Settings { speed_factor: 0.0, ..tones() }).contains("speed_factor"));
    assert!(name(Settings { chunk: Duration::ZERO, ..tones() }).contains("chunk"));
    assert!(name(Settings { rate: 0, ..tones() }).contains("rate"));
}
