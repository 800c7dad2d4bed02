//! A replayed call as it sounded: the same mixer is given the same things at the same times as that of the live call's
//! recording.

use std::time::Duration;

use crate::audio::{Mixer, Sound};
use crate::call::action::CarrierCommand;
use crate::call::event::{CarrierEvent, Event};
use crate::ids::CallTime;

/// Listens to a call that is performed.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// From the start of the stream on, if one file can hold both its directions.
    mixer: Option<Mixer>,
    /// When the call took something last.
    now: CallTime,
}

impl Listener {
    /// The call takes something. `stamp` is the carrier's own time of it, if it is audio.
    pub(super) fn took(&mut self, now: CallTime, event: &Event, stamp: Option<Duration>) {
        self.now = now;
        match (event, &mut self.mixer) {
            (Event::Carrier(CarrierEvent::Started(start)), None) => {
                self.mixer = Mixer::new(start.inbound, start.outbound);
            }
            (Event::Carrier(CarrierEvent::Media(audio)), Some(mixer)) => {
                mixer.take(now, Sound::Caller { stamp, audio })
            }
            (
                Event::Carrier(_)
                | Event::Agent(_)
                | Event::Tts(_)
                | Event::Hearing { .. }
                | Event::Speech(_)
                | Event::Wake
                | Event::Drain
                | Event::Leave,
                _,
            ) => {}
        }
    }

    /// The call tells its carrier something.
    pub(super) fn told(&mut self, command: &CarrierCommand) {
        let Some(mixer) = &mut self.mixer else { return };
        match command {
            CarrierCommand::Media { frame, .. } => mixer.take(self.now, Sound::Gateway(frame)),
            CarrierCommand::Clear { held } => mixer.take(self.now, Sound::Clear { held: *held }),
            CarrierCommand::Mark(_) => {}
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        if let Some(mixer) = &mut self.mixer {
            mixer.end(self.now);
        }
    }

    /// Gives what is settled to `hear`, with its rate.
    pub(super) fn give(&mut self, hear: &mut impl FnMut(u32, &[i16])) {
        let Some(mixer) = &mut self.mixer else { return };
        let (mut block, mut is_more) = (Vec::new(), true);
        while is_more {
            block.clear();
            is_more = mixer.give(&mut block);
            if !block.is_empty() {
                hear(mixer.rate(), &block);
            }
        }
    }
}
