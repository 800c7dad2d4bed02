//! The ways between the peers: delay, jitter, outages, loss and disorder.

use std::time::Duration;

use trunkline::ids::CallTime;

use super::{Parcel, Voice, Whose, World};
use crate::session::{Body, Input, Port, ToVoice, What};
use crate::twilio::GARBAGE;

impl World {
    pub(super) fn post(&mut self, at: CallTime, parcel: Parcel) {
        self.count += 1;
        self.parcels.insert((at, self.count), parcel);
    }

    /// How long a message takes between the carrier and us.
    pub(super) fn way(&mut self) -> CallTime {
        if self.network.outages > 0 && self.dice.below(100_000) < self.network.outages {
            self.outage(self.network.outage_ms);
        }
        let (delay, jitter) = (self.network.delay_ms, self.network.jitter_ms);
        self.now.max(self.outage_until) + self.dice.millis(delay, delay + jitter)
    }

    pub(super) fn post_from_carrier(&mut self, body: Body) {
        let what = |body| Parcel::Inbox(What::Input(Input { port: Port::Carrier, body }));
        let at = self.way();
        let is_stream = self.frames > 0 && matches!(body, Body::Text(_)) && !self.hung_up;
        if is_stream && self.dice.happens(self.network.loss) {
            return;
        }
        if is_stream && self.dice.happens(self.network.disorder) {
            let late = at + self.dice.millis(20, 120);
            return self.post(late, what(body));
        }
        let at = self.to_inbox.send(at);
        self.post(at, what(body));
        if is_stream && self.dice.happens(self.network.garbage) {
            let garbage = self.dice.pick(&GARBAGE).to_owned();
            self.post(at, what(Body::Text(garbage)));
        }
    }

    /// Whether a voice had something to say.
    pub(super) fn voice_speaks(&mut self, voice: usize) -> bool {
        let now = self.now;
        let link = &mut self.links[voice];
        let (body, delay) = match &mut link.voice {
            Voice::Vendor(vendor) => {
                let Some(body) = vendor.take(now, &mut self.dice) else { return false };
                (body, self.dice.millis(self.vendor_ms.0, self.vendor_ms.1))
            }
            Voice::Local(local) => {
                let Some(body) = local.take(now) else { return false };
                (body, Duration::ZERO)
            }
            Voice::Player(player) => {
                let Some(body) = player.take(now) else { return false };
                (body, Duration::ZERO)
            }
            Voice::Phrases(phrases) => {
                let Some(body) = phrases.take(now) else { return false };
                (body, Duration::ZERO)
            }
        };
        let (at, port) = (link.back.send(now + delay), Port::Voice { voice, link: link.count });
        self.post(at, Parcel::Inbox(What::Input(Input { port, body })));
        true
    }

    pub(super) fn arrive(&mut self, parcel: Parcel) {
        let now = self.now;
        match parcel {
            Parcel::Inbox(what) if self.asleep_until > now => self.slept.push_back(what),
            Parcel::Inbox(what) => self.take(what),
            Parcel::Carrier(text) => {
                let meaning = self.read(&text);
                self.carrier.hear(now, &text, meaning, &mut self.dice);
            }
            Parcel::Voice(voice, count, what) => {
                let link = &mut self.links[voice];
                if link.count != count || !link.live {
                    return;
                }
                match (&mut link.voice, what) {
                    (Voice::Vendor(vendor), ToVoice::Dial) => vendor.dial(now, &mut self.dice),
                    (Voice::Vendor(vendor), ToVoice::Text(text)) => {
                        vendor.hear(now, &text, &mut self.numbers, &mut self.dice);
                    }
                    (Voice::Local(_), ToVoice::Dial) => {
                        let port = Port::Voice { voice, link: count };
                        self.post(now, Parcel::Inbox(What::Input(Input { port, body: Body::Up })));
                    }
                    (Voice::Local(local), ToVoice::Command(command)) => local.hear(now, &command, &mut self.numbers),
                    (Voice::Player(player), ToVoice::Command(command)) => player.hear(now, &command, &mut self.numbers),
                    (Voice::Phrases(phrases), ToVoice::Command(command)) => {
                        phrases.hear(now, &command, &mut self.numbers);
                    }
                    (_, what) => panic!("not a thing to tell this voice: {what:?}"),
                }
                self.register(voice);
            }
        }
    }

    /// Notes the contexts that a voice has begun.
    pub(super) fn register(&mut self, voice: usize) {
        let newest = self.links[voice].voice.newest();
        if let Some((number, turn, count)) = newest {
            self.whose.entry(number).or_insert(Whose { turn, voice, index: count - 1 });
        }
    }
}
