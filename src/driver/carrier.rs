//! The two pumps of the carrier's socket.

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, sleep, timeout};

use super::meter::{Limit, Meter};
use super::outbox::Pending;
use super::rate::Rate;
use crate::dialect::{Body, Input, Port};

/// Longest message that is read from a carrier; a 20 ms frame takes 400 bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Close code for a message that is too long (RFC 6455, section 7.4.1).
pub const CLOSE_OVERSIZE: u16 = 1009;
/// A write that takes longer means that the peer is gone, whatever TCP says.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How often a carrier is pinged. Half-dead sockets do not report themselves.
const PING_EVERY: Duration = Duration::from_secs(20);
/// A carrier that neither sends nor answers a ping for so long is gone.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Messages that are read of a carrier in a second, and as many again after a pause of the network. One sends fifty frames a
/// second, and gives back at most as many marks as it was sent.
const MESSAGES: NonZeroU32 = NonZeroU32::new(500).unwrap();
const MESSAGES_AT_ONCE: NonZeroU32 = NonZeroU32::new(2_000).unwrap();

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

/// Moves what the carrier sends into the inbox, until it ends or the call does. A carrier that sends too much is read more
/// slowly, which its socket makes it feel.
pub(super) async fn read<R: Stream<Item = Frame> + Unpin>(
    mut reader: R,
    inbox: mpsc::Sender<Input>,
    meter: Arc<Meter>,
) {
    let (rate, mut is_flooding) = (Rate::new(MESSAGES, MESSAGES_AT_ONCE), false);
    // One timer for the whole call, moved by each message: a timer of its own for each would be made and removed fifty
    // times a second.
    let mut silence = pin!(sleep(SILENCE_LIMIT));
    loop {
        let frame = tokio::select! {
            biased;
            frame = reader.next() => frame,
            () = &mut silence => {
                meter.limit(Limit::Silence);
                tracing::warn!("the carrier neither sends nor answers; it counts as lost");
                Some(Frame::Close(None, "silent".to_owned()))
            }
        };
        while let Err(wait) = rate.take() {
            if !std::mem::replace(&mut is_flooding, true) {
                meter.limit(Limit::MessageRate);
                tracing::warn!("the carrier sends too many messages; it is read more slowly");
            }
            sleep(wait).await;
        }
        silence.as_mut().reset(Instant::now() + SILENCE_LIMIT);
        let body = match frame {
            Some(Frame::Text(text)) => Body::Text(text),
            Some(Frame::Binary(bytes)) => Body::Binary(bytes),
            Some(Frame::Alive) => continue,
            Some(Frame::Oversize) => {
                meter.limit(Limit::MessageSize);
                tracing::warn!("a message of the carrier is too long; the call ends");
                Body::Oversize
            }
            Some(Frame::Close(code, reason)) => Body::Closed { code, reason },
            None => Body::Closed { code: None, reason: String::new() },
        };
        let is_end = matches!(body, Body::Closed { .. } | Body::Oversize);
        let is_heard = inbox.send(Input { port: Port::Carrier, body }).await.is_ok();
        if is_end || !is_heard {
            break;
        }
    }
    // What is still under way is read and dropped: unread bytes would turn our close frame into a reset.
    while !matches!(reader.next().await, None | Some(Frame::Close(..))) {}
}

/// Moves the outbox to the carrier, all that waits in one flush, until the outbox ends; then says goodbye.
pub(super) async fn write<W: Sink<Frame> + Unpin>(
    mut writer: W,
    mut outbox: Pending,
    inbox: mpsc::Sender<Input>,
    meter: Arc<Meter>,
) {
    let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        let is_written = tokio::select! {
            biased;
            message = outbox.next() => match message {
                Some(message) => in_time(write_all(&mut writer, message, &mut outbox)).await,
                None => break,
            },
            _ = ping.tick() => in_time(writer.send(Frame::Alive)).await,
        };
        if is_written.is_none() {
            meter.limit(Limit::SlowReader);
            let body = Body::Closed { code: None, reason: "write failed".to_owned() };
            // The call may have ended by itself in the meantime.
            let _ = inbox.send(Input { port: Port::Carrier, body }).await;
            return;
        }
    }
    // A peer that is gone does not hear the goodbye.
    let _ = in_time(writer.send(Frame::Close(Some(outbox.close_code()), String::new()))).await;
    let _ = in_time(writer.close()).await;
}

/// Writes `first` and all that waits behind it, in one flush.
async fn write_all<W: Sink<Frame> + Unpin>(
    writer: &mut W,
    first: String,
    outbox: &mut Pending,
) -> Result<(), W::Error> {
    writer.feed(Frame::Text(first)).await?;
    loop {
        // Room comes first: a message that has left the outbox cannot be overtaken by `clear` any more.
        poll_fn(|cx| writer.poll_ready_unpin(cx)).await?;
        match outbox.next_now() {
            Some(next) => writer.start_send_unpin(Frame::Text(next))?,
            None => return writer.flush().await,
        }
    }
}

/// `None` if it failed or took too long.
async fn in_time<E>(work: impl Future<Output = Result<(), E>>) -> Option<()> {
    timeout(WRITE_LIMIT, work).await.ok()?.ok()
}
