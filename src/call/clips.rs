//! Turns that are played, not spoken: a recording or tones, fetched piece by piece from the player of this process.

use std::time::Duration;

use super::Call;
use super::action::{AgentReport, TtsCommand};
use super::contexts::{Context, Recorded, State};
use super::event::{Fault, Play, VoiceIndex};
use crate::audio::{Encoding, SourceFormat};
use crate::ids::{CallTime, ContextId};

/// Audio that is asked for at a time, and below which more is: what waits for its frames is at most twice this.
const PIECE: Duration = Duration::from_secs(5);

impl Call {
    /// The player's place, behind all voices.
    pub(super) fn player(&self) -> VoiceIndex {
        self.settings.voices.len()
    }

    pub(super) fn on_play(&mut self, now: CallTime, play: Play) {
        if self.turn_mut(play.turn).is_some() || !self.open_turn(now, play.turn) {
            return;
        }
        let (player, interruptible) = (self.player(), self.settings.interruptible);
        let Some(rate) = self.line.as_ref().map(|line| line.format.rate) else { return };
        let Some(turn) = self.turn_mut(play.turn) else { return };
        turn.interruptible = play.interruptible.unwrap_or(interruptible);
        turn.preemptible = play.preemptible;
        turn.voice = player;
        turn.close();
        let format = SourceFormat { encoding: Encoding::PcmS16Le, rate };
        let recorded = Recorded { clip: play.clip, times: play.times.max(1), asked: Duration::ZERO, asked_at: now };
        self.open_place(now, play.turn, format, |context| context.recorded = Some(recorded));
    }

    /// Asks for the next piece of a turn's clip, if it has one and little of it waits.
    pub(super) fn give_clip(&mut self, now: CallTime, index: usize) {
        let (Some(turn), Some(line)) = (self.turns.get_mut(index), &self.line) else { return };
        let queued = line.playout.queued(turn.id);
        let Some(context) = turn.open_context().filter(|context| !context.is_short_of_clip()) else { return };
        if queued >= PIECE || context.recorded.is_none() {
            return;
        }
        let on = context.place();
        let Some(Recorded { clip, times, asked, asked_at }) = &mut context.recorded else { return };
        let (clip, times, from) = (clip.clone(), *times, *asked);
        *asked += PIECE;
        *asked_at = now;
        self.tell_voice(TtsCommand::Play { on, clip, times, from, length: PIECE });
    }

    /// A clip that cannot be played is over where it stands; there is nothing to say in its place.
    pub(super) fn fail_clip(&mut self, now: CallTime, id: ContextId, fault: Fault) {
        self.tell_voice(TtsCommand::Cancel { voice: self.player(), context: id });
        self.report(AgentReport::SpeechFailed { turn: id.turn, fault });
        self.complete(now, id);
    }

    /// Whether a context plays a clip.
    pub(super) fn is_clip(&mut self, id: ContextId) -> bool {
        self.live_context(id).is_some_and(|context| context.recorded.is_some())
    }
}

impl Context {
    /// When its player's silence becomes a fault.
    pub(super) fn clip_overdue_at(&self, limit: Duration) -> Option<CallTime> {
        let recorded = self.recorded.as_ref().filter(|_| self.is_short_of_clip())?;
        Some(self.last_sign().map_or(recorded.asked_at, |last| last.max(recorded.asked_at)) + limit)
    }

    /// Whether it was asked for more of its clip than came.
    fn is_short_of_clip(&self) -> bool {
        let recorded = self.recorded.as_ref().filter(|_| self.state != State::Done);
        recorded.is_some_and(|recorded| self.received() < recorded.asked)
    }
}
