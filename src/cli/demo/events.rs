//! What the gateway's API tells of the demonstrated call, followed as any client would.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use trunkline::ids::CallSid;

/// How long the call may take to appear in the API.
const APPEAR_LIMIT: Duration = Duration::from_secs(5);

/// What the agent is told, as far as the demonstration shows it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Told {
    /// Milliseconds since the call was accepted.
    pub(super) at_ms: u64,
    /// Name of the event.
    pub(super) event: String,
    #[serde(default)]
    pub(super) turn: Option<u32>,
    #[serde(default)]
    pub(super) heard: Option<String>,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) reason: Option<String>,
    /// The voice that failed.
    #[serde(default)]
    pub(super) from: Option<String>,
    /// The voice that goes on.
    #[serde(default)]
    pub(super) to: Option<String>,
    #[serde(default)]
    pub(super) wait: Option<Wait>,
}

/// How long the caller waited for an answer, part by part, in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Wait {
    pub(super) hearing_ms: f64,
    pub(super) thinking_ms: f64,
    pub(super) gathering_ms: f64,
    pub(super) speaking_ms: f64,
    pub(super) sending_ms: f64,
    pub(super) line_ms: f64,
    pub(super) total_ms: f64,
}

/// Follows the call's events in the gateway's API until the call is over.
pub(super) async fn watch(gateway: SocketAddr, call: CallSid, told: mpsc::Sender<Told>) {
    let appeared = timeout(APPEAR_LIMIT, async {
        loop {
            if let Some(body) = events(gateway, &call).await {
                return body;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let Ok((mut body, _connection)) = appeared.await else { return };
    let mut text = String::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        text.push_str(&String::from_utf8_lossy(&data));
        while let Some((line, rest)) = text.split_once('\n') {
            if let Some(Ok(event)) = line.strip_prefix("data:").map(|json| serde_json::from_str(json.trim_start())) {
                // Whoever shows it has gone; so may we.
                if told.send(event).await.is_err() {
                    return;
                }
            }
            text = rest.to_owned();
        }
    }
}

async fn events(gateway: SocketAddr, call: &CallSid) -> Option<(hyper::body::Incoming, JoinSet<()>)> {
    let socket = TcpStream::connect(gateway).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.ok()?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // It ends with the call; an error is the end of the events, which the reader sees.
        let _ = connection.await;
    });
    let request = hyper::Request::get(format!("/v1/calls/{call}/events"))
        .header(hyper::header::HOST, gateway.to_string())
        .body(Empty::<Bytes>::new())
        .ok()?;
    let response = sender.send_request(request).await.ok()?;
    response.status().is_success().then(|| (response.into_body(), driver))
}
