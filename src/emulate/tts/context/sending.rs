//! What a context sends: chunk after chunk, its last word, and what faults put in their place.

use tokio::time::Instant;

use super::{Context, Stage};
use crate::emulate::tts::connection::{Outgoing, failed, outgoing, sounding};
use crate::emulate::tts::fault::FaultKind;
use crate::emulate::tts::journal::End;
use crate::emulate::tts::playing::Timing;
use crate::emulate::tts::speaker;
use crate::emulate::tts::wording::{self, Event, Failure, Frame, Piece, Wording};

impl<W: Wording> Context<W> {
    /// Sends the next chunk, or what a fault sends in its place.
    pub(super) async fn play(&mut self) -> Option<End> {
        // The room first: a chunk and its word times go together or not at all.
        let outbox = self.seat.outbox.clone();
        let room = outbox.reserve().await.ok()?;
        if let Some(failure) = self.failure() {
            self.seat.place.release();
            room.send(failed(self.wording.say(Event::Failed(failure))));
            return Some(End::Failed);
        }
        let faults = &self.seat.shared.faults;
        let stalls = self.chunks == 0 && faults.take(FaultKind::StallFirst).is_some();
        if stalls || faults.take_at(FaultKind::Stall, self.chunks) {
            self.stage = Stage::Stalled;
            return None;
        }
        room.send(self.chunk());
        None
    }

    /// The error that a fault puts in place of the next chunk.
    fn failure(&self) -> Option<Failure> {
        let faults = &self.seat.shared.faults;
        if faults.take_at(FaultKind::Error400, self.chunks) {
            return Some(Failure::invalid("the request cannot be served"));
        }
        let internal = Failure::internal("Internal error", "something broke");
        if faults.take_at(FaultKind::Error500, self.chunks) {
            return Some(internal);
        }
        faults.take_at(FaultKind::ErrorNoContext, self.chunks).then_some(Failure { named: false, ..internal })
    }

    /// The messages of the next chunk; moves on.
    fn chunk(&mut self) -> Vec<Outgoing> {
        let Stage::Playing(playing) = &mut self.stage else { return Vec::new() };
        let (order, flush_id, turn) = (&self.order, self.flush_id, self.chunks);
        let ms = |samples: u64| samples * 1_000 / u64::from(order.rate.max(1));
        let chunk_ms = u64::try_from(self.seat.shared.settings.chunk.as_millis()).unwrap_or(u64::MAX);
        let samples = playing.speech.read(playing.samples_sent, (u64::from(order.rate) * chunk_ms / 1_000).max(1));
        let count = samples.len() as u64;
        let first = playing.samples_sent == 0;
        let from = self.samples_before + playing.samples_sent;
        playing.samples_sent += count;
        let last = playing.samples_sent >= playing.speech.samples;
        let words = playing.words_due(self.manner.timing, first, last, self.samples_before, order.rate);

        let (wording, mut frames) = (&mut self.wording, Vec::new());
        if turn == 0 {
            frames.extend(self.manner.huge.map(wording::huge));
            frames.extend(wording.say(Event::Started { timed: self.manner.timing != Timing::Never }));
        }
        if self.manner.garbage {
            frames.extend(wording.say(Event::Garbage(turn)));
        }
        if self.manner.unknown {
            frames.extend(wording.say(Event::Unknown(turn)));
        }
        let text_from_ms = u32::try_from(ms(self.samples_before)).unwrap_or(u32::MAX);
        let times = Event::Words { words, text_from_ms, flush_id };
        let word_times = if words.is_empty() { Vec::new() } else { wording.say(times) };
        let (before, after) =
            if self.manner.timing == Timing::After { (Vec::new(), word_times) } else { (word_times, Vec::new()) };
        frames.extend(before);
        let mut batch = outgoing(frames);

        let step_ms = (Instant::now() - playing.started).as_secs_f64() * 1_000.0;
        let bytes = speaker::encode(&samples, order.encoding);
        let parts = match &mut self.manner.cutter {
            Some(cutter) => cutter.cut(bytes, last),
            None => vec![bytes],
        };
        let mut uncounted = count;
        for part in &parts {
            let piece = Piece { bytes: part, from_ms: ms(from), to_ms: ms(from + count), flush_id, step_ms };
            if self.manner.stray {
                batch.extend(outgoing(wording.say(Event::Stray(piece))));
            }
            // The samples of all parts are counted with the first one.
            let samples = std::mem::take(&mut uncounted);
            batch.extend(sounding(wording.say(Event::Audio(piece)), self.seat.number, samples));
        }
        batch.extend(outgoing(after));

        self.chunks += 1;
        self.last_audio = Some(Instant::now());
        self.last_bytes = parts.into_iter().next_back().unwrap_or_default();
        if last {
            self.samples_before += playing.speech.samples;
            self.stage = Stage::Idle;
        }
        batch
    }

    /// The last word, and what a fault sends behind it.
    pub(super) async fn finish(&mut self) -> Option<End> {
        let permit = self.seat.outbox.reserve().await.ok()?;
        let faults = &self.seat.shared.faults;
        // A client that has read the last word may begin another context at once.
        self.seat.place.release();
        let mut batch = Vec::new();
        if faults.take(FaultKind::NoDone).is_none() {
            batch = outgoing(self.wording.say(Event::Done { samples: self.samples_before }));
        }
        if let Some(count) = faults.take(FaultKind::AfterDone) {
            let at_ms = self.ms(self.samples_before);
            let bytes = std::mem::take(&mut self.last_bytes);
            let piece = Piece { bytes: &bytes, from_ms: at_ms, to_ms: at_ms, flush_id: self.flush_id, step_ms: 0.0 };
            for _ in 0..count {
                batch.extend(outgoing(self.wording.say(Event::Audio(piece))));
            }
        }
        // Nothing can follow a close frame.
        batch.sort_by_key(|outgoing| matches!(outgoing, Outgoing::Frame(Frame::Close(..))));
        permit.send(batch);
        Some(End::Done)
    }
}
