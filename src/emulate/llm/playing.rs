//! A body as it is written: each step at its time, until the client goes.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use hyper::body::Frame;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::journal::{End, Journal};
use super::plan::Step;

/// An exchange in the journal while it goes on. Whoever drops it without an end has lost the client: the connection
/// drops the body as soon as it reads the client's close or fails to write.
#[derive(Debug)]
pub(super) struct Tally {
    journal: Journal,
    number: u64,
    stop: CancellationToken,
    is_over: bool,
}

impl Tally {
    /// Exchange `number`, on a server that stops with `stop`.
    pub(super) fn new(journal: Journal, number: u64, stop: CancellationToken) -> Self {
        Self { journal, number, stop, is_over: false }
    }

    pub(super) fn end(&mut self, end: End) {
        self.is_over = true;
        self.journal.ended(self.number, end);
    }

    fn sent(&self, tokens: u32) {
        if tokens > 0 {
            self.journal.sent(self.number, tokens);
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(if self.stop.is_cancelled() { End::Stopped } else { End::Cancelled });
        }
    }
}

struct Playing {
    steps: VecDeque<Step>,
    /// When the next step is due.
    due: Instant,
    tally: Tally,
}

/// The frames of a body that performs `steps`, the first from now on.
///
/// Dropping it is the client's leaving. An error of it makes the connection close without the body's end.
pub(super) fn body(steps: Vec<Step>, tally: Tally) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static {
    unfold(Playing { steps: steps.into(), due: Instant::now(), tally }, next)
}

async fn next(mut playing: Playing) -> Option<(io::Result<Frame<Bytes>>, Playing)> {
    loop {
        match playing.steps.pop_front() {
            Some(Step::Wait(time)) => {
                playing.due += time;
                sleep_until(playing.due).await;
            }
            Some(Step::Write { bytes, tokens }) => {
                // What was written before goes out before this is added to it.
                yield_now().await;
                playing.tally.sent(tokens);
                return Some((Ok(Frame::data(bytes)), playing));
            }
            Some(Step::Stall) => std::future::pending().await,
            Some(Step::Cut) => {
                yield_now().await;
                playing.tally.end(End::Failed);
                return Some((Err(io::ErrorKind::ConnectionAborted.into()), playing));
            }
            Some(Step::Failed) => playing.tally.end(End::Failed),
            None => {
                if !playing.tally.is_over {
                    playing.tally.end(End::Complete);
                }
                return None;
            }
        }
    }
}
