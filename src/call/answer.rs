//! How long the caller waits for an answer, part by part.

use super::action::Wait;
use crate::ids::CallTime;

/// The caller has said something, and nobody has answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// When the caller fell silent.
    pub(super) ended: CallTime,
    /// When it was written down.
    pub(super) written: CallTime,
}

impl Asked {
    /// The agent's first token is there.
    pub(super) fn begin(self, now: CallTime) -> Answer {
        Answer { asked: self, token: now, text: None, audio: None, frame: None }
    }
}

/// A turn that answers, and how far it has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    asked: Asked,
    token: CallTime,
    text: Option<CallTime>,
    audio: Option<CallTime>,
    frame: Option<CallTime>,
}

impl Answer {
    /// A voice was given text of it.
    pub(super) fn on_text(&mut self, now: CallTime) {
        self.text.get_or_insert(now);
    }

    /// Audio of it came.
    pub(super) fn on_audio(&mut self, now: CallTime) {
        self.audio.get_or_insert(now);
    }

    /// A frame of it was sent.
    pub(super) fn on_frame(&mut self, now: CallTime) {
        self.frame.get_or_insert(now);
    }

    /// Something of it was heard: the whole wait, once a frame was sent.
    pub(super) fn on_heard(&self, now: CallTime) -> Option<Wait> {
        let frame = self.frame?;
        // A clip is given no text, and what the gateway says in a turn's place has its own.
        let (text, audio) = (self.text.unwrap_or(self.token), self.audio.unwrap_or(frame));
        Some(Wait {
            hearing: self.asked.written.since(self.asked.ended),
            thinking: self.token.since(self.asked.written),
            gathering: text.since(self.token),
            speaking: audio.since(text),
            sending: frame.since(audio),
            line: now.since(frame),
        })
    }
}
