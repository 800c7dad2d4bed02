//! What the caller, the carrier, the vendor and the machine do of themselves.

use std::time::Duration;

use trunkline::call::event::{AgentEvent, SpeechEvent};
use trunkline::ids::CallTime;

use super::{Parcel, Voice, World};
use crate::plan::Step;
use crate::session::{Body, Input, Port, What};
use crate::twilio::GARBAGE;

impl World {
    /// The caller's next twenty milliseconds, and what happens besides.
    pub(super) fn caller_frame(&mut self) {
        self.next_frame = self.next_frame + Duration::from_millis(20);
        let from = self.frames * 160;
        self.frames += 1;
        let timestamp = self.frames * 20;
        let message = match self.caller.get(from..from + 160) {
            Some(frame) => Some(self.carrier.media(timestamp, frame)),
            None if self.frames.is_multiple_of(self.quiet_every) => {
                Some(self.carrier.media(timestamp, &[0xFF; 160][..self.quiet_bytes]))
            }
            None => None,
        };
        if let Some(message) = message {
            self.post_from_carrier(Body::Text(message));
        }
        if self.dice.below(10_000) < self.meddling {
            self.meddle();
        }
    }

    /// Something that nobody planned.
    pub(super) fn meddle(&mut self) {
        let step = match self.dice.below(13) {
            0..=3 if self.caller.is_empty() => {
                let more = self.dice.millis(300, 2_000);
                self.plan(self.now + more, Step::Speech(SpeechEvent::Stopped));
                Step::Speech(SpeechEvent::Started)
            }
            4 | 5 => Step::Digit(self.dice.pick(&['1', '5', '#'])),
            6 => Step::Agent(AgentEvent::Clear),
            7 => Step::Raw(self.dice.pick(&GARBAGE).to_owned()),
            8 => Step::Binary(&[0, 1, 2, 0xFF]),
            9 if self.dice.happens(200) => Step::Drain,
            10 | 11 if self.sleeps => Step::Sleep(self.dice.pick(&[30, 150, 400, 1_500, 7_000])),
            _ => return,
        };
        self.step(step);
    }

    pub(super) fn plan(&mut self, at: CallTime, step: Step) {
        let place = self.steps.partition_point(|(other, _)| *other <= at);
        self.steps.insert(place, (at, step));
    }

    pub(super) fn step(&mut self, step: Step) {
        if self.story {
            println!("{} .. {step:?}", self.now);
        }
        match step {
            Step::Speech(speech) => self.post(self.now, Parcel::Inbox(What::Speech(speech))),
            Step::Digit(digit) => {
                let message = self.carrier.dtmf(digit);
                self.post_from_carrier(Body::Text(message));
            }
            Step::Raw(text) => self.post_from_carrier(Body::Text(text)),
            Step::Binary(bytes) => self.post_from_carrier(Body::Binary(bytes::Bytes::from_static(bytes))),
            Step::Outage(ms) => self.outage(ms),
            Step::Swap => self.network.disorder = 1_000 - self.network.disorder,
            Step::Vendor(mishap) => {
                let now = self.now;
                for link in &mut self.links {
                    if let Voice::Vendor(vendor) = &mut link.voice {
                        vendor.suffer(now, &mishap);
                    }
                }
            }
            Step::Sleep(ms) => {
                self.asleep_until = self.now + Duration::from_millis(ms);
                self.checks.awake_since = self.asleep_until + Duration::from_millis(500);
            }
            Step::Drain => self.post(self.now, Parcel::Inbox(What::Drain)),
            Step::Stop => {
                self.hung_up = true;
                let message = self.carrier.stop();
                self.post_from_carrier(Body::Text(message));
            }
            Step::Die(code) => {
                self.hung_up = true;
                self.post_from_carrier(Body::Closed { code, reason: String::new() });
            }
            Step::Agent(event) => self.agent_wants(event),
            Step::Hearing(link, body) => self.arrives(Port::Hearing { link }, body),
            Step::App(body) => self.arrives(Port::App, body),
        }
    }

    pub(super) fn outage(&mut self, ms: u64) {
        self.outage_until = self.now + Duration::from_millis(ms);
        self.checks.awake_since = self.checks.awake_since.max(self.outage_until);
    }

    pub(super) fn agent_wants(&mut self, event: AgentEvent) {
        self.arrives(Port::Agent, Body::Agent(event));
    }

    fn arrives(&mut self, port: Port, body: Body) {
        self.post(self.now, Parcel::Inbox(What::Input(Input { port, body })));
    }
}
