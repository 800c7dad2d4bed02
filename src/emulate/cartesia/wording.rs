//! What happens to a context, in Cartesia's messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::reply;
use super::request::Refusal;
use crate::emulate::tts::wording::{Event, Failure, Frame, Wording};

/// How errors are written on one connection.
#[derive(Clone, Debug)]
pub(super) struct Errors {
    pub(super) connection: u64,
    /// API version of the connection.
    pub(super) version: Arc<str>,
    /// Errors so far.
    pub(super) count: Arc<AtomicU32>,
}

impl Errors {
    pub(super) fn frame(&self, refusal: &Refusal) -> Frame {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let context = refusal.context.as_deref().unwrap_or("-");
        let request_id = format!("{}:{context}:{number}", self.connection);
        Frame::Text(reply::error(&self.version, refusal, &request_id))
    }
}

/// The messages of one context.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) id: String,
    pub(super) errors: Errors,
}

impl Messages {
    fn failed(&self, failure: Failure) -> Frame {
        self.errors.frame(&Refusal {
            context: failure.named.then(|| self.id.clone()),
            status: failure.status,
            code: None,
            title: failure.title,
            message: failure.message.to_owned(),
        })
    }
}

impl Wording for Messages {
    fn say(&mut self, event: Event<'_>) -> Vec<Frame> {
        let id = self.id.as_str();
        let text = match event {
            Event::Started { .. } | Event::Expired => return Vec::new(),
            Event::Words { words, flush_id, .. } => reply::timestamps(id, words, flush_id),
            Event::Audio(piece) => reply::chunk(id, piece.bytes, piece.flush_id, piece.step_ms),
            Event::Stray(piece) => reply::chunk(&format!("{id}-nobody"), piece.bytes, piece.flush_id, piece.step_ms),
            Event::Flushed { flush_id } => reply::flush_done(id, flush_id),
            Event::Done { .. } => reply::done(id),
            Event::TooLate => return vec![self.failed(Failure::invalid("the context has expired"))],
            Event::Failed(failure) => return vec![self.failed(failure)],
            Event::Garbage(turn) => {
                let mut frames = vec![Frame::Text(reply::garbage(id, turn))];
                if turn % 4 == 1 {
                    frames.push(Frame::Binary(vec![0xFF, 0x00, 0x7F]));
                }
                return frames;
            }
            Event::Unknown(turn) => reply::unknown(id, turn),
        };
        vec![Frame::Text(text)]
    }
}
