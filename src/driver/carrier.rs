//! The two pumps of the carrier's socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, timeout};

use super::inbox::{Body, Input, Port};

/// Longest message that is read from a carrier; a 20 ms frame takes 400 bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Close code for a message that is too long (RFC 6455, section 7.4.1).
pub const CLOSE_OVERSIZE: u16 = 1009;
const CLOSE_NORMAL: u16 = 1000;
/// A write that takes longer means that the peer is gone, whatever TCP says.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How often a carrier is pinged. Half-dead sockets do not report themselves.
const PING_EVERY: Duration = Duration::from_secs(20);
/// A carrier that neither sends nor answers a ping for so long is gone.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// A WebSocket message, whoever's implementation carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
    /// A ping or a pong: a sign of life.
    Alive,
    /// A message longer than [`MESSAGE_BYTES_MAX`].
    Oversize,
    /// The end, with code and reason.
    Close(Option<u16>, String),
}

/// Messages of lead and catch-up with their marks, and no more, so that `clear` never waits behind audio for long.
pub(super) fn outbox_frames(lead: Duration) -> usize {
    let frames = usize::try_from(lead.as_millis() / 20).unwrap_or(0) + 5;
    frames * 2 + 2
}

/// The close code that the writer will use.
#[derive(Debug)]
pub(super) struct Closing(AtomicU16);

impl Default for Closing {
    fn default() -> Self {
        Closing(AtomicU16::new(CLOSE_NORMAL))
    }
}

impl Closing {
    pub(super) fn set(&self, code: u16) {
        self.0.store(code, Ordering::Relaxed);
    }
}

/// Moves what the carrier sends into the inbox, until it ends or the call does.
pub(super) async fn read<R: Stream<Item = Frame> + Unpin>(mut reader: R, inbox: mpsc::Sender<Input>) {
    loop {
        let body = match timeout(SILENCE_LIMIT, reader.next()).await {
            Ok(Some(Frame::Text(text))) => Body::Text(text),
            Ok(Some(Frame::Binary(bytes))) => Body::Binary(bytes),
            Ok(Some(Frame::Alive)) => continue,
            Ok(Some(Frame::Oversize)) => Body::Oversize,
            Ok(Some(Frame::Close(code, reason))) => Body::Closed { code, reason },
            Ok(None) => Body::Closed { code: None, reason: String::new() },
            Err(_) => Body::Closed { code: None, reason: "silent".to_owned() },
        };
        let is_end = matches!(body, Body::Closed { .. } | Body::Oversize);
        if inbox.send(Input { port: Port::Carrier, body }).await.is_err() {
            return;
        }
        if is_end {
            break;
        }
    }
    // What is still under way is read and dropped: unread bytes would turn our close frame into a reset.
    while !matches!(reader.next().await, None | Some(Frame::Close(..))) {}
}

/// Moves the outbox to the carrier, all that waits in one flush, until the outbox ends; then says goodbye.
pub(super) async fn write<W: Sink<Frame> + Unpin>(
    mut writer: W,
    mut outbox: mpsc::Receiver<String>,
    inbox: mpsc::Sender<Input>,
    closing: Arc<Closing>,
) {
    let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        let written = tokio::select! {
            biased;
            message = outbox.recv() => match message {
                Some(message) => timeout(WRITE_LIMIT, write_all(&mut writer, message, &mut outbox)).await,
                None => break,
            },
            _ = ping.tick() => timeout(WRITE_LIMIT, writer.send(Frame::Alive)).await,
        };
        if !matches!(written, Ok(Ok(()))) {
            let body = Body::Closed { code: None, reason: "write failed".to_owned() };
            // The call may have ended by itself in the meantime.
            let _ = inbox.send(Input { port: Port::Carrier, body }).await;
            return;
        }
    }
    let code = closing.0.load(Ordering::Relaxed);
    // A peer that is gone does not hear the goodbye.
    let _ = timeout(WRITE_LIMIT, writer.send(Frame::Close(Some(code), String::new()))).await;
    let _ = timeout(WRITE_LIMIT, writer.close()).await;
}

async fn write_all<W: Sink<Frame> + Unpin>(
    writer: &mut W,
    first: String,
    outbox: &mut mpsc::Receiver<String>,
) -> Result<(), W::Error> {
    writer.feed(Frame::Text(first)).await?;
    while let Ok(next) = outbox.try_recv() {
        writer.feed(Frame::Text(next)).await?;
    }
    writer.flush().await
}
