//! The gateway takes something, and everything that it sends because of it is carried out and checked.

use std::time::Duration;

use trunkline::call::action::AgentReport;

use super::{Parcel, SENT_MAX, UNSENT_MS_MAX, Voice, World, spoken};
use crate::agent::Agent;
use crate::session::{Body, Entry, Input, Port, Sent, ToVoice, What};
use crate::sound::Unit;
use crate::twilio::{Meaning, Twilio};

impl World {
    /// The call takes something.
    pub(super) fn take(&mut self, what: What) {
        if !self.is_taken(&what) || self.checks.ended {
            return;
        }
        if self.story && !is_dull(&what) {
            println!("{} <- {}", self.now, short(&what));
        }
        if let Some(event) = self.partners.understand(&what) {
            self.checks.on_agent(self.now, &event);
        }
        let mut sent = Vec::new();
        self.session.take(self.now, &what, |line| sent.push(line));
        self.tape.push(Entry { at: self.now, what });
        assert!(sent.len() <= SENT_MAX, "{} things at once", sent.len());
        for line in sent {
            self.carry_out(line);
        }
        if let Some(due) = self.session.due() {
            assert!(due > self.now, "due at {due}, and it is {}", self.now);
        }
    }

    /// Whether it is from a live link; what a dead one said last is nobody's, which is the driver's to know.
    pub(super) fn is_taken(&mut self, what: &What) -> bool {
        let What::Input(input) = what else { return true };
        let Input { port: Port::Voice { voice, link: count }, body } = input else {
            return self.partners.is_heard(input);
        };
        let link = &mut self.links[*voice];
        let is_live = link.live && link.count == *count;
        if is_live && matches!(body, Body::Closed { .. } | Body::Refused(_)) {
            link.live = false;
        }
        is_live
    }

    pub(super) fn carry_out(&mut self, sent: Sent) {
        assert!(!self.checks.ended, "{sent:?} after the end");
        let now = self.now;
        self.sent += 1;
        match sent {
            Sent::Carrier(text) => {
                self.mix(&text);
                self.write_carrier(text);
            }
            Sent::Voice { voice, what } => {
                if self.story {
                    println!("{now} -> voice {voice} {}", cut(&format!("{what:?}")));
                }
                self.write_voice(voice, what);
            }
            Sent::Hearing { link, what } => {
                if self.story {
                    println!("{now} -> hearing {link} {what:?}");
                }
                self.mix(&format!("{link} {what:?}"));
                self.partners.on_hearing(link, &what);
            }
            Sent::App(what) => {
                if self.story {
                    println!("{now} -> app {what:?}");
                }
                self.mix(&format!("{what:?}"));
                self.partners.on_app(&what);
            }
            Sent::Agent(report) => {
                self.mix(&format!("{report:?}"));
                self.told(&report);
            }
            Sent::End(reason) => {
                self.reason = Some(reason);
                self.checks.ended = true;
                self.hung_up = true;
                self.parcels.retain(|_, parcel| matches!(parcel, Parcel::Carrier(_)));
                self.slept.clear();
                self.steps.clear();
                self.agent = Agent::scripted(Vec::new());
                for link in &mut self.links {
                    link.voice.drop_link();
                }
            }
        }
    }

    pub(super) fn mix(&mut self, text: &str) {
        for byte in text.bytes() {
            self.checksum = (self.checksum ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        }
    }

    pub(super) fn write_carrier(&mut self, text: String) {
        let now = self.now;
        let mut meaning = self.read(&text);
        if let Meaning::Media(units) = &mut meaning {
            self.count_units(units);
        } else if self.story {
            println!("{now} -> carrier {}", cut(&text));
        }
        if self.story && std::env::var_os("TRUNKLINE_MEDIA").is_some() {
            println!("{now} -> {meaning:.0?}");
        }
        let whose = &self.whose;
        self.checks.on_sent(now, &text, &meaning, |number| whose[&number].turn);
        let at = self.way();
        let at = self.to_carrier.send(at);
        self.post(at, Parcel::Carrier(text));
    }

    pub(super) fn read(&self, text: &str) -> Meaning {
        let live: Vec<u16> = self.whose.keys().rev().take(20).copied().collect();
        Twilio::read(self.sound, text, &live)
    }

    pub(super) fn count_units(&mut self, units: &mut [Option<Unit>]) {
        for unit in units.iter_mut().flatten() {
            let sent = self.sent_ms.entry(unit.number).or_default();
            if unit.ms == u32::MAX {
                unit.ms = *sent;
            }
            *sent = unit.ms + 1;
        }
        let Some(unit) = units.iter().flatten().next() else { return };
        let whose = self.whose[&unit.number];
        let made = self.links[whose.voice].voice.made_ms(whose.index);
        assert!(made.saturating_sub(unit.ms) <= UNSENT_MS_MAX, "{} ms wait to be sent", made - unit.ms);
        assert!(self.carrier.hold_max() < 4_000, "the carrier is swamped");
    }

    pub(super) fn write_voice(&mut self, voice: usize, what: ToVoice) {
        let link = &mut self.links[voice];
        match &what {
            ToVoice::Dial => {
                link.count += 1;
                link.live = true;
                link.voice.drop_link();
            }
            ToVoice::HangUp => {
                link.live = false;
                return link.voice.drop_link();
            }
            ToVoice::Text(_) | ToVoice::Command(_) if !link.live => return,
            ToVoice::Text(_) | ToVoice::Command(_) => {}
        }
        let (count, is_local) = (link.count, !matches!(link.voice, Voice::Vendor(_)));
        let delay = if is_local { Duration::ZERO } else { self.dice.millis(self.vendor_ms.0, self.vendor_ms.1) };
        let at = self.links[voice].there.send(self.now + delay);
        self.post(at, Parcel::Voice(voice, count, what));
    }

    pub(super) fn told(&mut self, report: &AgentReport) {
        let now = self.now;
        if self.story {
            println!("{now} -> agent {report:?}");
        }
        match report {
            AgentReport::TurnOver { .. } | AgentReport::Interrupted { .. } | AgentReport::SpeechFailed { .. } => {
                self.outcomes.push(format!("{now} {report:?}"));
            }
            _ => {}
        }
        self.partners.on_report(now, report);
        if let AgentReport::Interrupted { turn, heard, .. } = report {
            let words = heard.text.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
            self.cuts.push((*turn, words));
        }
        self.agent.on_report(now, report, &mut self.dice);
        let (carrier, links, whose, checks) = (&self.carrier, &self.links, &self.whose, &mut self.checks);
        let margins = (checks.late_ms(), checks.early_ms());
        checks.on_report(now, report, |turn| spoken(carrier, links, whose, margins, turn));
    }
}

fn is_dull(what: &What) -> bool {
    match what {
        What::Wake => true,
        What::Input(Input { body: Body::Text(text), .. }) => text.contains("\"media\"") || text.contains("\"chunk\""),
        _ => false,
    }
}

fn short(what: &What) -> String {
    cut(&format!("{what:?}"))
}

fn cut(text: &str) -> String {
    text.chars().take(260).collect()
}
