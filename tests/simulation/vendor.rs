//! A vendor: the model of a voice, and the protocol in which it speaks.

use std::collections::VecDeque;

use serde_json::Value;
use trunkline::ids::CallTime;

use crate::cartesia::{Cartesia, Manner, Mishap};
use crate::dice::Dice;
use crate::session::{Body, Wanted};
use crate::sound::Sound;
use crate::tongues::{Tongue, tongue};

#[derive(Debug)]
pub(crate) struct Vendor {
    pub(crate) model: Cartesia,
    tongue: Option<Box<dyn Tongue>>,
    /// Said, but not sent yet: one message of the model may be several of the vendor's.
    said: VecDeque<Value>,
}

impl Vendor {
    pub(crate) fn new(wanted: Wanted, manner: Manner, sound: Sound) -> Self {
        Vendor { model: Cartesia::new(manner, sound), tongue: tongue(wanted), said: VecDeque::new() }
    }

    /// When it does something of itself.
    pub(crate) fn next_at(&self) -> Option<CallTime> {
        if self.said.is_empty() { self.model.next_at() } else { Some(CallTime::ZERO) }
    }

    /// The next message that leaves by `now`.
    pub(crate) fn take(&mut self, now: CallTime, dice: &mut Dice) -> Option<Body> {
        loop {
            if let Some(said) = self.said.pop_front() {
                return Some(Body::Text(said.to_string()));
            }
            let body = self.model.take(now, dice)?;
            let (Some(tongue), Body::Text(text)) = (&mut self.tongue, &body) else { return Some(body) };
            match serde_json::from_str::<Value>(text) {
                Ok(message) if message["type"].is_string() => self.said.extend(tongue.say(&message)),
                Ok(_) | Err(_) => return Some(body),
            }
        }
    }

    /// A request arrives. Whatever the vendor would refuse or misunderstand ends the test.
    pub(crate) fn hear(&mut self, now: CallTime, text: &str, numbers: &mut u16, dice: &mut Dice) {
        let Some(tongue) = &mut self.tongue else { return self.model.hear(now, text, numbers, dice) };
        if self.model.is_closed() {
            return;
        }
        let request: Value = serde_json::from_str(text).expect("a request is JSON");
        let mut answers = Vec::new();
        for request in tongue.hear(&request, &mut answers) {
            self.model.hear(now, &request.to_string(), numbers, dice);
        }
        self.said.extend(answers);
    }

    /// The gateway hangs up, or the socket is gone.
    pub(crate) fn drop_link(&mut self) {
        self.model.drop_link();
        self.forget();
    }

    pub(crate) fn dial(&mut self, now: CallTime, dice: &mut Dice) {
        self.model.dial(now, dice);
        self.forget();
    }

    fn forget(&mut self) {
        self.said.clear();
        if let Some(tongue) = &mut self.tongue {
            tongue.forget();
        }
    }

    /// Something happens to it.
    pub(crate) fn suffer(&mut self, now: CallTime, mishap: &Mishap) {
        self.model.suffer(now, mishap);
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn calm(&mut self) {
        self.model.calm();
    }
}
