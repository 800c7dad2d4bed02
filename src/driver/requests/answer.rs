//! One request and its answer: asked for, judged by its head, read piece by piece, each within a limit.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Request, Response};
use tokio::time::{Sleep, sleep, timeout};

use crate::audio::SourceFormat;
use crate::call::event::{Fault, FaultKind};
use crate::dialect::{SpeechRequest, TtsRequests};
use crate::http::{self, Exchange};

/// From a request to the head of its answer, connecting included. An engine without streaming makes all of the speech first.
/// The core gives a silent voice up sooner; this keeps a request from outliving all interest in it.
const HEAD_LIMIT: Duration = Duration::from_secs(8);
/// Between two pieces of an answer that is being read. Here, too, the core is sooner.
const PIECE_LIMIT: Duration = Duration::from_secs(8);
/// For the body of a refusal, which only says more about what the status has said.
const REFUSAL_LIMIT: Duration = Duration::from_millis(500);
/// Of it, what is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 16 * 1024;
/// Longest piece that is passed on, in bytes: 200 ms at 24 kHz. The inbox holds so many pieces and no more, however much a
/// server sends at once.
const PIECE_BYTES_MAX: usize = 9_600;
/// Longest speech of a text: a base for its short forms, whose letters say nothing of their length, and this for each
/// character. The slowest speech that can be asked for has four characters a second.
const SPEECH_BASE: Duration = Duration::from_secs(10);
const SPEECH_PER_CHAR: Duration = Duration::from_millis(400);

/// Longest speech that a text can be, in bytes. A body without an end is left there.
pub(super) fn bytes_max(format: SourceFormat, text: &str) -> u64 {
    let chars = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    let longest = SPEECH_BASE + SPEECH_PER_CHAR * chars.min(1_000_000);
    longest.as_secs() * u64::from(format.rate) * format.encoding.sample_bytes() as u64
}

/// An answer on its way: speech that can be read, or why there is none. Dropping it closes its connection.
pub(super) type Answer = BoxFuture<'static, Result<Box<Speech>, Fault>>;

/// Who is asked, and in which words.
pub(super) struct Asking {
    pub(super) dialect: Arc<dyn TtsRequests>,
    pub(super) exchange: Arc<dyn Exchange>,
}

impl Asking {
    /// Asks for the speech of a text, of at most so many bytes. Nothing is sent before the answer is polled.
    pub(super) fn ask(&self, request: SpeechRequest, bytes_max: u64) -> Answer {
        let (dialect, exchange) = (self.dialect.clone(), self.exchange.clone());
        let asked = async move {
            let request = built(request).ok_or_else(|| fault(FaultKind::Fatal, "the request cannot be sent"))?;
            let answered = timeout(HEAD_LIMIT, exchange.exchange(request)).await;
            let answered = answered.map_err(|_| fault(FaultKind::Retryable, "no answer in time"))?;
            let response = answered.map_err(|error| fault(FaultKind::Retryable, &error.to_string()))?;
            let status = response.status().as_u16();
            let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            if dialect.is_speech(status, kind) {
                return Ok(Box::new(Speech::new(response, bytes_max)));
            }
            let refusal = timeout(REFUSAL_LIMIT, http::read(response, REFUSAL_BYTES_MAX)).await;
            let (body, _) = refusal.unwrap_or((Vec::new(), http::BodyEnd::Cut));
            Err(dialect.refusal(status, &body))
        };
        asked.boxed()
    }
}

fn built(request: SpeechRequest) -> Option<Request> {
    let mut built = Request::new(Method::POST, request.url.parse().ok()?);
    for (name, value) in request.headers {
        let mut value = HeaderValue::try_from(value.expose()).ok()?;
        value.set_sensitive(true);
        built.headers_mut().insert(HeaderName::from_static(name), value);
    }
    *built.body_mut() = Some(request.body.into());
    Some(built)
}

fn fault(kind: FaultKind, reason: &str) -> Fault {
    Fault { kind, reason: reason.to_owned() }
}

/// What comes of reading.
pub(super) enum Read {
    /// Whole samples.
    Audio(Bytes),
    /// All of the speech has been read.
    End,
    /// There is no more of it, or it is none.
    Fault(Fault),
}

/// An answer that is, or seems to be, speech.
pub(super) struct Speech {
    response: Response,
    /// What came and is not passed on yet.
    waiting: Bytes,
    /// The first half of a sample, whose second half has not come yet.
    half: Option<u8>,
    bytes: u64,
    bytes_max: u64,
    /// Runs while a piece is waited for.
    limit: Option<Pin<Box<Sleep>>>,
}

impl Speech {
    fn new(response: Response, bytes_max: u64) -> Self {
        Speech { response, waiting: Bytes::new(), half: None, bytes: 0, bytes_max, limit: None }
    }

    /// Whether anything of it has come.
    pub(super) fn has_begun(&self) -> bool {
        self.bytes > 0
    }

    /// The next piece. Cancel-safe. Nothing is read while a piece that came before is not passed on.
    pub(super) async fn next(&mut self, dialect: &dyn TtsRequests) -> Read {
        loop {
            if let Some(audio) = self.whole_samples() {
                return Read::Audio(audio);
            }
            let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(PIECE_LIMIT)));
            let read = tokio::select! {
                biased;
                read = self.response.chunk() => read,
                () = limit => return Read::Fault(fault(FaultKind::Retryable, "the speech stopped in its middle")),
            };
            self.limit = None;
            match read {
                Ok(Some(piece)) => {
                    if let Some(fault) = dialect.fault_in(&piece, self.bytes == 0) {
                        return Read::Fault(fault);
                    }
                    self.bytes += piece.len() as u64;
                    if self.bytes > self.bytes_max {
                        return Read::Fault(fault(FaultKind::Retryable, "more speech than the text can be"));
                    }
                    self.waiting = piece;
                }
                Ok(None) if self.bytes == 0 => {
                    return Read::Fault(fault(FaultKind::Retryable, "an answer without speech"));
                }
                // Half a sample at the end is nothing, and must not become the beginning of the next text.
                Ok(None) => return Read::End,
                Err(_) => return Read::Fault(fault(FaultKind::Retryable, "the speech broke off")),
            }
        }
    }

    /// Of what waits, as much as may be passed on at once, cut between samples.
    fn whole_samples(&mut self) -> Option<Bytes> {
        if let (Some(low), Some(high)) = (self.half, self.waiting.first()) {
            let sample = Bytes::copy_from_slice(&[low, *high]);
            (self.half, self.waiting) = (None, self.waiting.slice(1..));
            return Some(sample);
        }
        if self.waiting.len() < 2 {
            self.half = self.half.or(self.waiting.first().copied());
            self.waiting = Bytes::new();
            return None;
        }
        let length = self.waiting.len().min(PIECE_BYTES_MAX);
        Some(self.waiting.split_to(length - length % 2))
    }
}
