//! Loads against small servers on loopback.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::emulate::floor::Floor;

pub(super) fn plan(url: String, calls: u32, lasting: Lasting) -> LoadPlan {
    let base = Plan::new(url, CallSid::parse("CA1").unwrap(), StreamSid::parse("MZ1").unwrap());
    let (says, key_every, watch, served) = (Says::Nothing, None, None, None);
    let settle = Duration::from_millis(500);
    LoadPlan { base, calls, ramp: 100, lasting, settle, unbroken: false, says, key_every, watch, served }
}

const LOOPBACK: &str = "127.0.0.1:0";

#[tokio::test]
async fn calls_are_live_together_and_frames_come_at_their_pace() {
    let floor = Floor::bind(LOOPBACK.parse::<SocketAddr>().unwrap()).await.unwrap();
    let plan = plan(floor.url(), 5, Lasting::Window(Duration::from_secs(1)));
    let mut tasks = JoinSet::new();
    tasks.spawn(floor.run(CancellationToken::new()));
    let watch = Some(std::process::id());
    let report = run_load(LoadPlan { watch, ..plan }, CancellationToken::new()).await.unwrap();
    assert_eq!((report.calls, report.live), (5, 5));
    assert_eq!(report.ends, Ends { in_order: 5, ..Ends::default() });
    // A busy machine may lose a few at the edges of the window, but not most.
    assert!(report.frames.abs_diff(report.frames_unbroken) < 50, "{} of {}", report.frames, report.frames_unbroken);
    assert_eq!((report.start_to_media_ms.unwrap().count, report.silent), (5, 0));
    assert_eq!(report.generator.late_ms.unwrap().count.abs_diff(report.frames_unbroken) / 50, 0);
    // How much it is says nothing here: what other tests of this process have used goes with their threads.
    #[cfg(target_os = "linux")]
    assert!(report.gateway.is_some());
}

/// Speaks as long as it is spoken to, `frames` times at most; falls silent at each key, if it obeys.
async fn speaker(listener: TcpListener, frames: usize, obeys: bool) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let media = format!(r#"{{"event":"media","streamSid":"MZ","media":{{"payload":"{}"}}}}"#, "f39/".repeat(400));
    let mut left = frames;
    while let Some(Ok(message)) = socket.next().await {
        let answer = match message {
            Message::Text(text) if obeys && text.contains(r#""dtmf""#) => r#"{"event":"clear","streamSid":"MZ"}"#,
            Message::Text(text) if left > 0 && text.contains(r#""media""#) => {
                left -= 1;
                &media
            }
            _ => continue,
        };
        if socket.send(Message::text(answer)).await.is_err() {
            break;
        }
    }
}

/// One call of two seconds to a [`speaker`].
async fn one_call(frames: usize, obeys: bool, change: impl FnOnce(&mut LoadPlan)) -> LoadReport {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(speaker(listener, frames, obeys));
    let mut plan = plan(url, 1, Lasting::Window(Duration::from_secs(2)));
    change(&mut plan);
    run_load(plan, CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn keys_are_followed_to_their_clear() {
    let keys = |plan: &mut LoadPlan| plan.key_every = Some(Duration::from_millis(200));
    let report = one_call(usize::MAX, true, keys).await;
    assert!((3..=6).contains(&report.keys_armed), "{report:?}");
    assert_eq!(report.key_to_clear_ms.unwrap().count, report.keys_armed);
    assert_eq!((report.onset_to_clear_ms, report.onsets_armed, report.underruns), (None, 0, 0));
}

#[tokio::test]
async fn keys_without_an_answer_do_not_disappear() {
    let report = one_call(usize::MAX, false, |plan| plan.key_every = Some(Duration::from_millis(200))).await;
    assert!((3..=6).contains(&report.keys_armed), "{report:?}");
    assert_eq!((report.key_to_clear_ms, report.clears), (None, 0));
}

#[tokio::test]
async fn a_gateway_that_falls_silent_is_heard_to() {
    // Frames of 150 ms: some are played when the window opens, none when it closes.
    let paused = one_call(10, false, |_| {}).await;
    assert_eq!((paused.silent, paused.underruns), (1, 0));
    let unbroken = one_call(10, false, |plan| plan.unbroken = true).await;
    assert_eq!((unbroken.silent, unbroken.underruns), (1, 1));
    assert!(unbroken.underrun_ms > 500.0, "{unbroken:?}");
    let mute = one_call(0, false, |plan| plan.unbroken = true).await;
    assert_eq!((mute.silent, mute.underruns, mute.frames), (1, 1, 0));
}

#[tokio::test]
async fn short_calls_follow_one_another_and_those_that_cannot_be_made_are_counted() {
    let floor = Floor::bind(LOOPBACK.parse::<SocketAddr>().unwrap()).await.unwrap();
    let each = Lasting::Each(Duration::from_millis(200));
    let short = plan(floor.url(), 30, each);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(floor.run(stop.clone()));
    let report = run_load(short.clone(), CancellationToken::new()).await.unwrap();
    assert_eq!(report.ends, Ends { in_order: 30, ..Ends::default() });
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    let report = run_load(LoadPlan { calls: 3, ..short }, CancellationToken::new()).await.unwrap();
    assert_eq!(report.ends, Ends { not_made: 3, ..Ends::default() });
    assert!(report.send_late_ms.is_none());
}

#[tokio::test]
async fn a_gateway_that_closes_is_told_from_one_that_is_hung_up_on() {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        // Its `connected`, so that the upgrade is behind it.
        socket.next().await.unwrap().unwrap();
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
    let each = Lasting::Each(Duration::from_secs(1));
    let report = run_load(plan(url, 1, each), CancellationToken::new()).await.unwrap();
    assert_eq!(report.ends, Ends { early: 1, ..Ends::default() });
}

#[tokio::test]
async fn a_gateway_that_vanishes_at_the_hang_up_did_not_close_in_order() {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.to_text().is_ok_and(|text| text.contains(r#""stop""#)) {
                break;
            }
        }
    });
    let each = Lasting::Each(Duration::from_millis(300));
    let report = run_load(plan(url, 1, each), CancellationToken::new()).await.unwrap();
    assert_eq!(report.ends, Ends { unclosed: 1, ..Ends::default() });
}

#[test]
fn a_descriptor_that_is_missing_is_ours() {
    let fault = |error| Fault::from(CarrierError::Dial(DialError::Connect(error)));
    for error in [io::Error::from_raw_os_error(24), io::Error::from(io::ErrorKind::AddrNotAvailable)] {
        assert_eq!(fault(error), Fault::Own);
    }
    assert_eq!(fault(io::Error::from(io::ErrorKind::ConnectionRefused)), Fault::Other);
    assert_eq!(Fault::from(CarrierError::Refused(503)), Fault::Other);
}
