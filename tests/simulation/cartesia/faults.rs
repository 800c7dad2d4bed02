//! What goes wrong: by itself, and from outside.

use std::time::Duration;

use serde_json::json;
use trunkline::ids::CallTime;

use super::Cartesia;
use crate::dice::Dice;
use crate::session::Body;

/// A context is forgotten so long after its last audio.
const EXPIRY: Duration = Duration::from_secs(1);

/// What can be done to it from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// The socket closes with a code, or just breaks.
    Close(Option<u16>, &'static str),
    /// Nothing more is ever said of the contexts that live now, though the socket is fine.
    Forget,
    /// Whatever was going to be sent comes so much later.
    Stall(u64),
    /// The next request is answered with an error.
    Refuse { status: u16, code: Option<&'static str>, named: bool },
    /// The next dials are answered with this status.
    Shut(Option<u16>),
    /// A message that makes no sense.
    Say(&'static str),
}

impl Cartesia {
    /// Tells of an error, and speaks no more for this context.
    fn error(&mut self, at: CallTime, context: usize, status: u16, code: Option<&str>, named: bool) {
        let context = &mut self.contexts[context];
        context.dead = true;
        context.faulty = true;
        context.speak_at = None;
        let number = context.number;
        let mut message = json!({"type": "error", "done": true, "status_code": status, "error_code": code,
            "title": "Refused", "message": "It was refused.", "request_id": "0b1c"});
        if named {
            message["context_id"] = json!(context.name);
        }
        self.out.retain(|(out, _), (whose, _)| *whose != Some(number) || *out <= at);
        self.say(at, None, &message);
    }

    /// Something goes wrong with a request, or its context has been forgotten.
    pub(super) fn goes_wrong(&mut self, now: CallTime, at: usize, dice: &mut Dice) -> bool {
        if let Some((status, code, named)) = self.refuse.take() {
            self.error(now, at, status, code, named);
            return true;
        }
        let context = &mut self.contexts[at];
        let has_spoken = context.made_ms > 0 && context.held.is_empty();
        if self.manner.expires && has_spoken && now.since(context.free_at) >= EXPIRY && !context.dead {
            let status = dice.pick(&[400, 404]);
            self.error(now, at, status, None, true);
            return true;
        }
        if context.dead || self.half_dead || !dice.happens(self.manner.faults) {
            return false;
        }
        context.faulty = true;
        let soon = now + dice.millis(0, 150);
        match dice.below(9) {
            0 | 1 => {
                let (status, code) = dice.pick(&[
                    (429, Some("concurrency_limited")),
                    (500, None),
                    (503, None),
                    (400, None),
                    (404, Some("model_not_found")),
                ]);
                let named = !dice.happens(300);
                self.error(soon, at, status, code, named);
                true
            }
            2 => {
                let (code, reason) =
                    dice.pick(&[(Some(1000), "connection idle timeout"), (Some(1011), ""), (None, "")]);
                let at = now + dice.millis(0, 2_000);
                self.later(at, None, Body::Closed { code, reason: reason.to_owned() });
                false
            }
            3 => {
                self.half_dead = true;
                true
            }
            4 => {
                context.dead = true;
                context.lied = true;
                let message = json!({"type": "done", "context_id": context.name, "done": true, "status_code": 200});
                let number = context.number;
                self.say(soon, Some(number), &message);
                true
            }
            5 => {
                self.later(soon, None, Body::Text(r#"{"type":"chunk","context_id":7}"#.to_owned()));
                false
            }
            6 => {
                self.later(soon, None, Body::Binary(bytes::Bytes::from_static(&[0xFF, 0, 0x7F])));
                self.say(soon, None, &json!({"type": "brand_new", "context_id": null}));
                self.say(soon, None, &json!({"type": "chunk", "context_id": "somebody-else-1.1", "data": "AAA="}));
                false
            }
            7 => {
                self.stalled_until = now + dice.millis(200, 1_500);
                false
            }
            _ => {
                context.dead = true;
                true
            }
        }
    }

    /// Something happens to it.
    pub(crate) fn suffer(&mut self, now: CallTime, mishap: &Mishap) {
        match mishap {
            Mishap::Close(code, reason) => {
                self.later(now, None, Body::Closed { code: *code, reason: (*reason).to_owned() });
                // What had not been sent yet never will be.
                self.out.retain(|(at, _), (number, _)| number.is_none() || *at < now);
            }
            Mishap::Forget => {
                for context in self.contexts.iter_mut().filter(|context| !context.dead) {
                    context.dead = true;
                    context.faulty = true;
                    context.speak_at = None;
                }
                self.out.clear();
            }
            Mishap::Stall(ms) => self.stalled_until = now + Duration::from_millis(*ms),
            Mishap::Refuse { status, code, named } => self.refuse = Some((*status, *code, *named)),
            Mishap::Shut(status) => self.shut = Some(*status),
            Mishap::Say(text) => self.later(now, None, Body::Text((*text).to_owned())),
        }
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn calm(&mut self) {
        self.manner.faults = 0;
        self.manner.refusals = 0;
        self.shut = None;
    }
}
