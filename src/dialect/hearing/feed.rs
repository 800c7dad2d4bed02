//! The way of the caller's audio into messages.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::audio::{Encoding, MediaFormat};
use crate::call::action::HearingCommand;
use crate::dialect::Outgoing;

/// What a vendor wants to be told in words, where it takes audio as binary frames. All are text frames.
pub(super) struct Phrases {
    /// Report every word so far; `None` if it cannot be asked.
    pub(super) finalise: Option<&'static str>,
    /// The link is still wanted; `None` if silence has to say so.
    pub(super) keep_alive: Option<&'static str>,
    /// No more audio will come.
    pub(super) close: &'static str,
}

/// How to say a command to a vendor that takes audio as binary frames.
pub(super) fn say(command: &HearingCommand, pieces: &mut Pieces, phrases: &Phrases, send: &mut dyn FnMut(Outgoing)) {
    let mut phrase = None;
    match command {
        HearingCommand::Dial { .. } | HearingCommand::HangUp { .. } => return,
        HearingCommand::Audio { audio, .. } => return pieces.push(audio, &mut |piece| send(Outgoing::Binary(piece))),
        HearingCommand::KeepAlive { .. } if phrases.keep_alive.is_none() => pieces.push_silence(),
        HearingCommand::KeepAlive { .. } => phrase = phrases.keep_alive,
        HearingCommand::Finalise { .. } => phrase = phrases.finalise,
        HearingCommand::Close { .. } => phrase = Some(phrases.close),
    }
    if let Some(rest) = pieces.rest() {
        send(Outgoing::Binary(rest));
    }
    if let Some(phrase) = phrase {
        send(Outgoing::Text(phrase.to_owned()));
    }
}

/// Cuts audio into pieces of one length.
#[derive(Debug)]
pub(super) struct Pieces {
    bytes: usize,
    rest: BytesMut,
}

impl Pieces {
    /// Pieces of `length`, at least one sample.
    pub(super) fn new(length: Duration) -> Self {
        let samples = MediaFormat::TELEPHONE.samples_in(length);
        Pieces { bytes: usize::try_from(samples).unwrap_or(usize::MAX).max(1), rest: BytesMut::new() }
    }

    /// Adds audio and gives every piece that is whole.
    pub(super) fn push(&mut self, audio: &Bytes, send: &mut dyn FnMut(Bytes)) {
        let mut audio = audio.clone();
        if !self.rest.is_empty() {
            let missing = self.bytes - self.rest.len();
            self.rest.extend_from_slice(&audio.split_to(missing.min(audio.len())));
            if self.rest.len() < self.bytes {
                return;
            }
            send(self.rest.split().freeze());
        }
        // In step with the carrier's frames, as is usual, nothing is copied.
        while audio.len() >= self.bytes {
            send(audio.split_to(self.bytes));
        }
        self.rest.extend_from_slice(&audio);
    }

    /// Fills the piece that is begun, or a whole one, with silence.
    pub(super) fn push_silence(&mut self) {
        self.rest.resize(self.bytes, Encoding::Mulaw.silence());
    }

    /// What does not fill a piece, if there is anything.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        (!self.rest.is_empty()).then(|| self.rest.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn silence_fills_a_piece() {
        let mut pieces = Pieces::new(Duration::from_millis(80));
        pieces.push_silence();
        assert_eq!(pieces.rest().unwrap(), vec![0xFF; 640]);
        pieces.push(&Bytes::from_static(&[1; 600]), &mut |_| panic!("no piece is whole"));
        pieces.push_silence();
        let rest = pieces.rest().unwrap();
        assert_eq!((rest.len(), &rest[..600], &rest[600..]), (640, &[1; 600][..], &[0xFF; 40][..]));
        assert_eq!(pieces.rest(), None);
    }

    proptest! {
        #[test]
        fn no_sample_is_lost_or_moved(lengths in prop::collection::vec(0_usize..700, 0..20), ms in 1_u64..100) {
            let mut pieces = Pieces::new(Duration::from_millis(ms));
            let mut sent: Vec<u8> = Vec::new();
            let mut next = 0_u8;
            let mut given: Vec<u8> = Vec::new();
            for length in lengths {
                let audio: Vec<u8> = (0..length).map(|_| { next = next.wrapping_add(1); next }).collect();
                given.extend(&audio);
                pieces.push(&Bytes::from(audio), &mut |piece| {
                    assert_eq!(piece.len() as u64, ms * 8);
                    sent.extend(&piece);
                });
                prop_assert!((given.len() - sent.len()) as u64 <= ms * 8);
            }
            sent.extend(pieces.rest().unwrap_or_default());
            prop_assert_eq!(sent, given);
        }
    }
}
