//! A body as it is written: each piece at its time, until the client goes.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use hyper::body::Frame;
use serde_json::json;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Place;
use super::fault::FaultKind;
use super::journal::{End, Journal};
use super::request::Request;
use super::speaking::{Speech, bytes_of, epilogue, framed, preamble};

/// Lengths of pieces in turn, while they are odd: a byte, three, and so on, none of them whole samples.
const ODD: [usize; 5] = [1, 3, 961, 5, 1_999];

/// A request in the journal while it is served. Whoever drops it without an end has lost the client: the connection drops the
/// body as soon as it reads the client's close or fails to write.
#[derive(Debug)]
pub(super) struct Tally {
    journal: Journal,
    number: u64,
    stop: CancellationToken,
    is_over: bool,
}

impl Tally {
    /// Request `number`, on a server that stops with `stop`.
    pub(super) fn new(journal: Journal, number: u64, stop: CancellationToken) -> Self {
        Self { journal, number, stop, is_over: false }
    }

    pub(super) fn end(&mut self, end: End) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.journal.ended(self.number, end);
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.end(if self.stop.is_cancelled() { End::Stopped } else { End::Cancelled });
    }
}

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Playing {
    request: Request,
    speech: Speech,
    /// The request's place among those that are served, and with it what all share.
    place: Place,
    tally: Tally,
    /// When the next piece is due.
    due: Instant,
    /// Samples written.
    at: u64,
    /// Pieces of audio written.
    chunks: u32,
    /// Bytes that are due and wait for their turn, while pieces are odd.
    odd: Option<Vec<u8>>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Audio,
    /// Behind the audio there is silence for ever.
    Silence,
    Last,
    Over,
}

impl Playing {
    pub(super) fn new(request: Request, speech: Speech, place: Place, tally: Tally) -> Self {
        let faults = &place.0.faults;
        let late = faults.take(FaultKind::FirstByteSlow).map_or(0, u64::from);
        let due = Instant::now() + place.0.settings.first_byte + Duration::from_millis(late);
        let odd = faults.take(FaultKind::OddChunks).map(|_| Vec::new());
        Self { request, speech, place, tally, due, at: 0, chunks: 0, odd, stage: Stage::Audio }
    }

    /// The frames of the body.
    ///
    /// Dropping them is the client's leaving. An error among them makes the connection close without the body's end.
    pub(super) fn body(self) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static {
        unfold(self, |mut playing| async move { playing.next().await.map(|piece| (piece.map(Frame::data), playing)) })
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if self.stage == Stage::Over {
                self.tally.end(End::Complete);
                return None;
            }
            // What was written before goes out before this is added to it.
            yield_now().await;
            if let Some(trouble) = self.trouble().await {
                return Some(trouble);
            }
            let piece = match self.stage {
                Stage::Audio => self.audio().await,
                Stage::Silence => self.silence().await,
                Stage::Last | Stage::Over => self.last(),
            };
            if !piece.is_empty() {
                return Some(Ok(piece.into()));
            }
        }
    }

    /// What goes wrong before the next piece.
    async fn trouble(&mut self) -> Option<io::Result<Bytes>> {
        if !matches!(self.stage, Stage::Audio | Stage::Last) {
            return None;
        }
        let faults = &self.place.0.faults;
        let is_first = self.chunks == 0 && self.at == 0;
        if faults.take_at(FaultKind::Stall, self.chunks) || (is_first && faults.take(FaultKind::StallFirst).is_some()) {
            return std::future::pending().await;
        }
        if faults.take_at(FaultKind::Drop, self.chunks) {
            self.tally.end(End::Failed);
            return Some(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if faults.take_at(FaultKind::ErrorMidway, self.chunks) {
            self.tally.end(End::Failed);
            self.stage = Stage::Over;
            let error = json!({"error": {"message": "The engine failed.", "type": "server_error", "param": null, "code": null}});
            return Some(Ok(error.to_string().into()));
        }
        None
    }

    /// The next piece of speech, at its time.
    async fn audio(&mut self) -> Vec<u8> {
        if let Some(piece) = self.odd_piece() {
            return piece;
        }
        if self.at >= self.speech.samples {
            self.stage =
                if self.place.0.faults.take(FaultKind::Endless).is_some() { Stage::Silence } else { Stage::Last };
            return Vec::new();
        }
        sleep_until(self.due).await;
        let (rate, faults) = (self.place.0.settings.rate, &self.place.0.faults);
        let huge = faults.take(FaultKind::Huge);
        let is_whole = huge.is_some() || faults.take(FaultKind::Burst).is_some();
        let count = if is_whole { u64::MAX } else { self.chunk_samples() };
        let samples = self.speech.read(self.at, count);
        let mut bytes = if self.at == 0 { preamble(self.request.format, rate) } else { Vec::new() };
        self.at += samples.len() as u64;
        self.due += self.time_of(samples.len() as u64);
        bytes.extend(bytes_of(&samples));
        if let Some(kib) = huge {
            bytes.resize(bytes.len().max(kib as usize * 1_024), 0);
        }
        self.tally.journal.sent(self.tally.number, samples.len() as u64);
        if let Some(waiting) = &mut self.odd {
            *waiting = bytes;
            return self.odd_piece().unwrap_or_default();
        }
        self.chunks += 1;
        framed(bytes, self.request.framing)
    }

    /// The next piece of what waits, if pieces are odd.
    fn odd_piece(&mut self) -> Option<Vec<u8>> {
        let waiting = self.odd.as_mut().filter(|waiting| !waiting.is_empty())?;
        let length = ODD.get(self.chunks as usize % ODD.len()).copied().unwrap_or(1);
        let rest = waiting.split_off(length.min(waiting.len()));
        let piece = std::mem::replace(waiting, rest);
        self.chunks += 1;
        Some(framed(piece, self.request.framing))
    }

    async fn silence(&mut self) -> Vec<u8> {
        sleep_until(self.due).await;
        let samples = self.chunk_samples();
        self.due += self.time_of(samples);
        framed(bytes_of(&vec![0; usize::try_from(samples).unwrap_or_default()]), self.request.framing)
    }

    fn last(&mut self) -> Vec<u8> {
        self.stage = Stage::Over;
        epilogue(self.request.framing, &self.request)
    }

    /// Samples of one piece.
    fn chunk_samples(&self) -> u64 {
        let settings = &self.place.0.settings;
        let samples = settings.chunk.as_micros() * u128::from(settings.rate) / 1_000_000;
        u64::try_from(samples).unwrap_or(u64::MAX).max(1)
    }

    /// How long the making of `samples` takes.
    fn time_of(&self, samples: u64) -> Duration {
        let settings = &self.place.0.settings;
        Duration::from_secs_f64(samples as f64 / f64::from(settings.rate) / settings.speed_factor)
    }
}
