//! The phone and its carrier as a state machine: text and time in, text out. No socket, no clock.

use std::collections::VecDeque;
use std::time::Duration;

use super::caller::{Caller, CallerFrame};
use super::figures::{FRESH_PAUSE, PAUSE_MIN};
use super::log::{EndedBy, Log, LogEntry, Logged, TimelineEntry};
use super::messages::{Fault, Names, Received, Scribe, read};
use super::plan::{HangUp, Plan};
use super::playout::Playout;
use super::recording::Recording;
use crate::audio::{MediaFormat, g711};
use crate::ids::CallTime;

/// Frame lengths that a carrier may use, in milliseconds.
const FRAME_MS: std::ops::RangeInclusive<u32> = 10..=200;

/// One call, from `start` to its end.
#[derive(Debug)]
pub(super) struct Phone {
    scribe: Scribe,
    format: MediaFormat,
    caller: Caller,
    playout: Playout,
    dtmf: VecDeque<(CallTime, char)>,
    hang_up: HangUp,
    duration_max: Duration,
    started: CallTime,
    /// When media last came, none before the first.
    media_at: Option<CallTime>,
    /// When `clear` came, until the gateway has spoken again.
    cleared_at: Option<CallTime>,
    outbox: VecDeque<String>,
    log: Log,
    /// Log entries already offered as progress.
    told: usize,
    caller_track: Vec<i16>,
    ended: Option<(CallTime, EndedBy)>,
}

impl Phone {
    /// A call whose stream starts at `now`: `connected` and `start` are the first messages to send.
    pub(super) fn new(plan: &Plan, now: CallTime) -> Self {
        let frame_ms = plan.frame_ms.clamp(*FRAME_MS.start(), *FRAME_MS.end());
        let format = MediaFormat { frame_ms, ..MediaFormat::TELEPHONE };
        let mut dtmf: Vec<(CallTime, char)> = plan.dtmf.iter().map(|(wait, digit)| (now + *wait, *digit)).collect();
        dtmf.sort_by_key(|(at, _)| *at);
        let mut scribe = Scribe::new(Names {
            account_sid: plan.account_sid.clone(),
            call_sid: plan.call_sid.as_str().to_owned(),
            stream_sid: plan.stream_sid.as_str().to_owned(),
        });
        let outbox = VecDeque::from([scribe.connected(), scribe.start(&plan.custom_parameters)]);
        let mut log = Log::default();
        log.push(now, Logged::Started);
        Phone {
            scribe,
            format,
            caller: Caller::new(format, now, plan.caller.clone()),
            playout: Playout::new(format, plan.marks),
            dtmf: dtmf.into(),
            hang_up: plan.hang_up,
            duration_max: plan.duration_max,
            started: now,
            media_at: None,
            cleared_at: None,
            outbox,
            log,
            told: 0,
            caller_track: Vec::new(),
            ended: None,
        }
    }

    /// The next message to send.
    pub(super) fn poll_send(&mut self) -> Option<String> {
        self.outbox.pop_front()
    }

    /// The next thing that a person wants to know.
    pub(super) fn poll_progress(&mut self) -> Option<TimelineEntry> {
        while let Some(entry) = self.log.entries().get(self.told) {
            self.told += 1;
            if let Some(line) = LogEntry::timeline(entry) {
                return Some(line);
            }
        }
        None
    }

    /// When to call [`Phone::wake`] if nothing comes before.
    pub(super) fn next_wake(&self) -> CallTime {
        let mut wake = self.caller.due().min(self.hang_up_due().0);
        for other in [self.playout.mark_due(), self.dtmf.front().map(|(at, _)| *at)].into_iter().flatten() {
            wake = wake.min(other);
        }
        wake
    }

    /// Whether the call is over.
    pub(super) fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// Does all that is due by `now`.
    pub(super) fn wake(&mut self, now: CallTime) {
        if self.is_over() {
            return;
        }
        while let Some(mark) = self.playout.pop_mark(now) {
            self.outbox.push_back(self.scribe.mark(mark.name));
            self.log.push(now, Logged::MarkEchoed { late_us: micros(now.since(mark.due)) });
        }
        while self.caller.due() <= now {
            self.send_frame(now);
        }
        while let Some((_, digit)) = self.dtmf.front().copied().filter(|(at, _)| *at <= now) {
            self.dtmf.pop_front();
            self.outbox.push_back(self.scribe.dtmf(digit));
            self.log.push(now, Logged::Dtmf { digit });
        }
        let (at, by) = self.hang_up_due();
        if at <= now {
            self.end(now, by);
        }
    }

    /// Takes a text message that came at `now`.
    pub(super) fn receive(&mut self, now: CallTime, text: &str) {
        // What was due before the message came is settled first, so that a late wake-up changes no meaning.
        self.wake(now);
        if self.is_over() {
            return;
        }
        match read(text, self.scribe.stream_sid()) {
            Ok(Received::Media(words)) => self.media(now, &words),
            Ok(Received::Mark(name)) => {
                self.log.push(now, Logged::Mark);
                if self.playout.mark(now, name).is_err() {
                    self.warn(now, Fault::TooManyMarks);
                }
                // With nothing queued before it, a mark is due on arrival.
                self.wake(now);
            }
            Ok(Received::Clear) => self.clear(now),
            Err(fault) => self.warn(now, fault),
        }
    }

    /// Takes a binary message that came at `now`; the carrier can make nothing of it.
    pub(super) fn receive_binary(&mut self, now: CallTime) {
        self.wake(now);
        if !self.is_over() {
            self.warn(now, Fault::Binary);
        }
    }

    /// Ends the call. `stop` is sent unless the gateway is gone.
    pub(super) fn end(&mut self, now: CallTime, by: EndedBy) {
        if self.is_over() {
            return;
        }
        match by {
            EndedBy::Caller | EndedBy::Limit | EndedBy::Cancelled => self.outbox.push_back(self.scribe.stop()),
            EndedBy::Gateway { .. } | EndedBy::Lost | EndedBy::Stuck => self.outbox.clear(),
        }
        self.ended = Some((now, by));
        let unplayed = self.format.samples_in(self.playout.dry_at().since(now));
        self.log.push(now, Logged::Ended { by, unplayed, marks_out: self.playout.marks_out() });
    }

    /// The log and what was really heard.
    pub(super) fn finish(self) -> (Log, Recording) {
        let end = self.ended.map_or(self.playout.dry_at(), |(at, _)| at);
        let (played, _) = self.playout.finish(end);
        (self.log, Recording::new(self.caller_track, played))
    }

    fn media(&mut self, now: CallTime, words: &[u8]) {
        let dry_for = now.since(self.playout.dry_at());
        let mut samples = Vec::with_capacity(words.len());
        g711::decode_mulaw_into(words, &mut samples);
        let arrival = self.playout.push(now, &samples);
        let kept = words.len() as u64 - arrival.discarded;
        self.log.push(now, Logged::Media { samples: kept, ahead_us: micros(arrival.ahead) });
        if arrival.discarded > 0 {
            self.warn(now, Fault::BufferFull);
        }
        // Audio that follows `clear` without a pause is the old speech still coming, not new speech.
        let fresh = |cleared: CallTime| now.since(cleared.max(self.media_at.unwrap_or_default())) >= FRESH_PAUSE;
        let again = self.cleared_at.is_some_and(fresh) || dry_for >= PAUSE_MIN;
        if self.media_at.is_none() || again {
            let first = self.media_at.is_none();
            self.log.push(now, if first { Logged::FirstAudio } else { Logged::SpeechAgain });
            self.caller.gateway_speaks(arrival.plays_at);
            self.cleared_at = None;
        }
        self.media_at = Some(now);
    }

    fn clear(&mut self, now: CallTime) {
        let cleared = self.playout.clear(now);
        self.log.push(now, Logged::Clear { dropped: cleared.samples });
        for name in cleared.marks {
            self.outbox.push_back(self.scribe.mark(name));
            self.log.push(now, Logged::MarkFlushed);
        }
        self.cleared_at = Some(now);
    }

    fn warn(&mut self, now: CallTime, fault: Fault) {
        self.log.push(now, Logged::Warning { fault });
    }

    fn send_frame(&mut self, now: CallTime) {
        let late_us = micros(now.since(self.caller.due()));
        let CallerFrame { samples, began, speaks, ended } = self.caller.frame();
        let mut words = Vec::with_capacity(samples.len());
        g711::encode_mulaw_into(&samples, &mut words);
        let chunk = self.caller.frames();
        let timestamp_ms = chunk.saturating_mul(u64::from(self.format.frame_ms));
        self.outbox.push_back(self.scribe.media(chunk, timestamp_ms, &words));
        self.caller_track.extend_from_slice(&samples);
        self.log.push(now, Logged::CallerFrame { late_us });
        for (clip, logged) in [
            (began, (|clip| Logged::ClipBegan { clip }) as fn(usize) -> Logged),
            (speaks, |clip| Logged::CallerSpeaks { clip }),
            (ended, |clip| Logged::CallerStops { clip }),
        ] {
            if let Some(clip) = clip {
                self.log.push(now, logged(clip));
            }
        }
    }

    fn hang_up_due(&self) -> (CallTime, EndedBy) {
        let limit = (self.started + self.duration_max, EndedBy::Limit);
        let planned = match self.hang_up {
            HangUp::WhenGatewayCloses => None,
            HangUp::After(wait) => Some(self.started + wait),
            HangUp::AfterSilence(_) if self.media_at.is_none() => None,
            HangUp::AfterSilence(_) if self.caller.has_more() || !self.dtmf.is_empty() => None,
            HangUp::AfterSilence(wait) => Some(self.playout.dry_at().max(self.caller.quiet_since()) + wait),
        };
        match planned {
            Some(at) if at <= limit.0 => (at, EndedBy::Caller),
            Some(_) | None => limit,
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::super::caller::{Clip, Moment};
    use super::super::plan::Marks;
    use super::*;
    use crate::ids::{CallSid, StreamSid};

    fn at(millis: u64) -> CallTime {
        CallTime::from_millis(millis)
    }

    fn plan() -> Plan {
        Plan::new("ws://gateway.test/", CallSid::parse("CA1").unwrap(), StreamSid::parse("MZ1").unwrap())
    }

    fn media(millis: usize) -> String {
        let payload = STANDARD.encode(vec![0x20; millis * 8]);
        json!({"event": "media", "streamSid": "MZ1", "media": {"payload": payload}}).to_string()
    }

    fn mark(name: &str) -> String {
        json!({"event": "mark", "streamSid": "MZ1", "mark": {"name": name}}).to_string()
    }

    const CLEAR: &str = r#"{"event":"clear","streamSid":"MZ1"}"#;

    /// Messages sent other than media, as event and what it names.
    fn sent(phone: &mut Phone) -> Vec<String> {
        let brief = |text: String| {
            let value: Value = serde_json::from_str(&text).unwrap();
            let event = value["event"].as_str().unwrap().to_owned();
            let name = value["mark"]["name"].as_str().or(value["dtmf"]["digit"].as_str());
            name.map_or(event.clone(), |name| format!("{event} {name}"))
        };
        std::iter::from_fn(|| phone.poll_send()).map(brief).filter(|event| event != "media").collect()
    }

    fn wake_until(phone: &mut Phone, until: CallTime) {
        while phone.next_wake() <= until && !phone.is_over() {
            phone.wake(phone.next_wake());
        }
    }

    #[test]
    fn a_call_begins_in_the_documented_order_and_numbers_its_messages() {
        let mut phone = Phone::new(&plan(), CallTime::ZERO);
        wake_until(&mut phone, at(60));
        let sequence = |text: String| serde_json::from_str::<Value>(&text).unwrap()["sequenceNumber"].clone();
        let numbers: Vec<Value> = std::iter::from_fn(|| phone.poll_send()).map(sequence).collect();
        assert_eq!(numbers, [Value::Null, json!("1"), json!("2"), json!("3"), json!("4")]);
    }

    #[test]
    fn marks_come_back_when_played_and_at_once_on_clear() {
        let mut phone = Phone::new(&plan(), CallTime::ZERO);
        phone.receive(at(5), &mark("nothing queued"));
        phone.receive(at(10), &media(100));
        phone.receive(at(10), &mark("played"));
        phone.receive(at(20), &media(900));
        phone.receive(at(20), &mark("dropped"));
        assert_eq!(sent(&mut phone), ["connected", "start", "mark nothing queued"]);
        wake_until(&mut phone, at(109));
        assert_eq!(sent(&mut phone), [""; 0]);
        assert_eq!(phone.next_wake(), at(110));
        phone.wake(at(112));
        assert_eq!(sent(&mut phone), ["mark played"]);
        phone.receive(at(200), CLEAR);
        assert_eq!(sent(&mut phone), ["mark dropped"]);
        let logged: Vec<&Logged> = phone.log.entries().iter().map(|entry| &entry.logged).collect();
        assert!(logged.contains(&&Logged::MarkEchoed { late_us: 2_000 }));
        assert!(logged.contains(&&Logged::Clear { dropped: 810 * 8 }));
        phone.end(at(210), EndedBy::Caller);
        let (_, recording) = phone.finish();
        assert_eq!(recording.samples_played_by(at(9_999)), 190 * 8);
    }

    #[test]
    fn a_late_wake_up_settles_what_was_due_before_a_clear() {
        let mut phone = Phone::new(&plan(), CallTime::ZERO);
        phone.receive(at(0), &media(100));
        phone.receive(at(0), &mark("played"));
        phone.receive(at(150), CLEAR);
        let echoed = phone.log.entries().iter().filter(|entry| matches!(entry.logged, Logged::MarkEchoed { .. }));
        assert_eq!(echoed.count(), 1);
    }

    #[test]
    fn a_carrier_that_never_echoes_keeps_silent_on_clear_too() {
        let mut phone = Phone::new(&Plan { marks: Marks::Never, ..plan() }, CallTime::ZERO);
        phone.receive(at(0), &media(20));
        phone.receive(at(0), &mark("a"));
        phone.receive(at(5), CLEAR);
        wake_until(&mut phone, at(500));
        assert_eq!(sent(&mut phone), ["connected", "start"]);
    }

    #[test]
    fn speech_again_needs_a_pause_after_clear() {
        let mut phone = Phone::new(&plan(), CallTime::ZERO);
        phone.receive(at(0), &media(500));
        phone.receive(at(100), CLEAR);
        phone.receive(at(110), &media(20));
        phone.receive(at(130), &media(20));
        phone.receive(at(400), &media(20));
        phone.receive(at(420), &media(20));
        phone.receive(at(1_500), &media(20));
        let begun: Vec<u64> = std::iter::from_fn(|| phone.poll_progress())
            .filter(|line| matches!(line.happening, super::super::log::Happening::SpeechAgain))
            .map(|line| line.at.as_micros() / 1_000)
            .collect();
        assert_eq!(begun, [400, 1_500]);
    }

    #[test]
    fn keys_and_hang_up_come_when_planned() {
        let dtmf = vec![(Duration::from_millis(70), '#'), (Duration::from_millis(30), '1')];
        let hang_up = HangUp::AfterSilence(Duration::from_millis(200));
        let caller =
            vec![Clip { at: Moment::AfterFirstAudio(Duration::from_millis(300)), samples: vec![5_000; 1_600] }];
        let mut phone = Phone::new(&Plan { dtmf, hang_up, caller, ..plan() }, CallTime::ZERO);
        wake_until(&mut phone, at(1_000));
        assert_eq!(sent(&mut phone), ["connected", "start", "dtmf 1", "dtmf #"]);
        phone.receive(at(1_000), &media(100));
        wake_until(&mut phone, at(9_000));
        assert_eq!(sent(&mut phone), ["stop"]);
        // The clip is spoken from 1300 to 1500 ms.
        let last = phone.log.entries().last().unwrap();
        assert_eq!(last.at, at(1_700));
        assert_eq!(last.logged, Logged::Ended { by: EndedBy::Caller, unplayed: 0, marks_out: 0 });
    }

    #[test]
    fn the_longest_duration_holds_for_a_silent_gateway() {
        let duration_max = Duration::from_millis(300);
        let mut phone = Phone::new(&Plan { duration_max, ..plan() }, CallTime::ZERO);
        wake_until(&mut phone, at(9_000));
        let last = phone.log.entries().last().unwrap();
        assert!(matches!(last.logged, Logged::Ended { by: EndedBy::Limit, .. }));
        assert_eq!(last.at, at(300));
    }

    #[test]
    fn garbage_is_a_warning_and_nothing_else() {
        let mut phone = Phone::new(&plan(), CallTime::ZERO);
        phone.receive_binary(at(1));
        phone.receive(at(2), "{");
        phone.receive(at(3), &media(20));
        let faults: Vec<Fault> = phone
            .log
            .entries()
            .iter()
            .filter_map(|entry| if let Logged::Warning { fault } = entry.logged { Some(fault) } else { None })
            .collect();
        assert_eq!(faults, [Fault::Binary, Fault::NotJson]);
        assert!(!phone.is_over());
    }
}
