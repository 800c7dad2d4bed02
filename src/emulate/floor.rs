//! The least that a media-stream server can do: read a frame, write a frame made before. Whatever a gateway uses beyond
//! this, it uses for what it does; the rest is the price of sockets on that machine.
//!
//! The WebSocket library and the sizes of its buffers are the gateway's own. The inbound frame is the metronome, so that
//! there is no timer; six frames go out first, as a lead.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

/// The gateway's buffers for a carrier.
const READ_BYTES: usize = 2 * 1024;
const WRITE_BYTES: usize = 4 * 1024;

/// Frames that go out first.
const LEAD_FRAMES: u32 = 6;

/// Longest handshake, and longest wait for `start`.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Longest message taken.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// A listening server. Nothing is accepted before [`Floor::run`].
#[derive(Debug)]
pub struct Floor {
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl Floor {
    /// Binds `addr`; port 0 takes a free one.
    ///
    /// # Errors
    /// What the system says.
    pub async fn bind(addr: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let local_addr = listener.local_addr()?;
        Ok(Floor { listener, local_addr })
    }

    /// Where a carrier connects.
    pub fn url(&self) -> String {
        format!("ws://{}/", self.local_addr)
    }

    /// Serves until `cancel`, then drops every socket. Dropping the future does the same.
    pub async fn run(self, cancel: CancellationToken) {
        let mut calls = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                Some(_) = calls.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    // Without it, small messages wait for acknowledgements; if it fails, so will the connection.
                    stream.set_nodelay(true).ok();
                    calls.spawn(serve(stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// One call, until either side ends it; how it ended, nobody asks.
async fn serve(stream: TcpStream) -> Option<()> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let accepted = Box::pin(tokio_tungstenite::accept_async_with_config(stream, Some(config)));
    let mut socket = timeout(START_LIMIT, accepted).await.ok()?.ok()?;
    let frame = loop {
        if let Message::Text(text) = timeout(START_LIMIT, socket.next()).await.ok()??.ok()?
            && let Some(frame) = frame_for(&text)
        {
            break frame;
        }
    };
    for _ in 0..LEAD_FRAMES {
        socket.feed(Message::Text(frame.clone())).await.ok()?;
    }
    socket.flush().await.ok()?;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() {
            socket.send(Message::Text(frame.clone())).await.ok()?;
        }
    }
    None
}

/// The one frame of the stream that `start` names.
fn frame_for(start: &str) -> Option<Utf8Bytes> {
    let start: Value = serde_json::from_str(start).ok()?;
    let stream = start.get("start")?.get("streamSid")?;
    let payload = BASE64_STANDARD.encode([0x7E; 160]);
    Some(json!({ "event": "media", "streamSid": stream, "media": { "payload": payload } }).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_comes_for_each_frame_and_some_before() {
        let floor = Floor::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = floor.url();
        let mut tasks = JoinSet::new();
        tasks.spawn(floor.run(CancellationToken::new()));
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let start = json!({"event": "start", "start": {"streamSid": "MZ9"}}).to_string();
        for text in [r#"{"event":"connected"}"#, &start, "a", "b"] {
            socket.send(Message::text(text)).await.unwrap();
        }
        for _ in 0..LEAD_FRAMES + 2 {
            let frame: Value = serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
            assert_eq!((&frame["event"], &frame["streamSid"]), (&json!("media"), &json!("MZ9")));
        }
        let more = timeout(Duration::from_millis(50), socket.next()).await;
        assert!(more.is_err());
    }
}
