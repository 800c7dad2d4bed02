//! From the event log to the figures. A pure function: the same log gives the same report.

use std::time::Duration;

use super::bursts::{ahead, bursts, gaps, lateness};
use super::log::{EndedBy, Log, Logged};
use super::report::{AfterClear, CallerTurn, MarkCounts, Report, Spread, Warning};
use crate::audio::MediaFormat;
use crate::ids::CallTime;

/// Silence after which an utterance is over, whatever was marked.
pub(super) const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Media after `clear` is new speech only after a pause of this length.
pub(super) const FRESH_PAUSE: Duration = Duration::from_millis(100);

/// Warnings listed in a report.
const WARNINGS_MAX: usize = 100;

/// Computes the figures of a finished call.
pub(super) fn report(log: &Log) -> Report {
    let bursts = bursts(log);
    let (underruns, pauses) = gaps(&bursts);
    let caller_turns = caller_turns(log);
    let mut report = Report {
        duration_ms: 0.0,
        ended: EndedBy::Lost,
        first_audio_ms: None,
        media: 0,
        audio_received_ms: 0.0,
        audio_played_ms: 0.0,
        unplayed_ms: 0.0,
        lateness_ms: spread(lateness(&bursts)),
        underruns: (!bursts.is_empty()).then_some(underruns),
        pauses,
        ahead_ms: ahead(&bursts),
        speech_to_clear_ms: None,
        caller_turns,
        clears: 0,
        dropped_by_clear_ms: None,
        media_after_clear: media_after_clear(log),
        marks: MarkCounts::default(),
        warnings_total: 0,
        warnings: Vec::new(),
        own_lateness_ms: None,
    };
    let to_clear = report.caller_turns.iter().filter_map(|turn| turn.clear_after_ms);
    report.speech_to_clear_ms = spread(to_clear.collect());
    count(log, &mut report);
    report
}

/// What needs no context: sums and counts.
fn count(log: &Log, report: &mut Report) {
    let mut started = CallTime::ZERO;
    let mut own = Vec::new();
    for entry in log.entries() {
        match &entry.logged {
            Logged::Started => started = entry.at,
            Logged::FirstAudio => report.first_audio_ms = Some(ms(entry.at.since(started))),
            Logged::Media { samples, .. } => {
                report.media += 1;
                report.audio_received_ms += samples_ms(*samples);
            }
            Logged::Clear { dropped } => {
                report.clears += 1;
                *report.dropped_by_clear_ms.get_or_insert_default() += samples_ms(*dropped);
            }
            Logged::Mark => report.marks.received += 1,
            Logged::MarkFlushed => report.marks.flushed += 1,
            Logged::MarkEchoed { late_us } => {
                report.marks.echoed += 1;
                own.push(ms(Duration::from_micros(*late_us)));
            }
            Logged::CallerFrame { late_us } => own.push(ms(Duration::from_micros(*late_us))),
            Logged::Warning { fault } => {
                report.warnings_total += 1;
                if report.warnings.len() < WARNINGS_MAX {
                    let at_ms = ms(entry.at.since(CallTime::ZERO));
                    report.warnings.push(Warning { at_ms, code: fault.code(), fault: *fault });
                }
            }
            Logged::Ended { by, unplayed, marks_out } => {
                report.ended = *by;
                report.duration_ms = ms(entry.at.since(started));
                report.unplayed_ms = samples_ms(*unplayed);
                report.marks.out_at_end = *marks_out as u64;
            }
            Logged::ClipBegan { .. }
            | Logged::CallerSpeaks { .. }
            | Logged::CallerStops { .. }
            | Logged::Dtmf { .. }
            | Logged::SpeechAgain => {}
        }
    }
    let dropped = report.dropped_by_clear_ms.unwrap_or_default();
    report.audio_played_ms = report.audio_received_ms - dropped - report.unplayed_ms;
    report.own_lateness_ms = spread(own);
}

fn caller_turns(log: &Log) -> Vec<CallerTurn> {
    let mut turns: Vec<CallerTurn> = Vec::new();
    let (mut dry_at, mut spoke_at, mut cleared_at, mut stopped_at) = (CallTime::ZERO, CallTime::ZERO, None, None);
    for entry in log.entries() {
        let at = entry.at;
        match entry.logged {
            Logged::Media { samples, .. } => dry_at = dry_at.max(at) + MediaFormat::TELEPHONE.duration_of(samples),
            Logged::CallerSpeaks { .. } => {
                (spoke_at, cleared_at, stopped_at) = (at, None, None);
                turns.push(CallerTurn {
                    spoke_at_ms: ms(at.since(CallTime::ZERO)),
                    interrupts: dry_at > at,
                    clear_after_ms: None,
                    again_after_clear_ms: None,
                    again_after_caller_ms: None,
                });
            }
            Logged::CallerStops { .. } => stopped_at = Some(at),
            Logged::Clear { .. } => {
                dry_at = dry_at.min(at);
                if let Some(turn) = turns.last_mut().filter(|turn| turn.clear_after_ms.is_none()) {
                    turn.clear_after_ms = Some(ms(at.since(spoke_at)));
                    cleared_at = Some(at);
                }
            }
            Logged::SpeechAgain => {
                if let Some(turn) = turns.last_mut() {
                    let since = |from: Option<CallTime>| from.map(|from| ms(at.since(from)));
                    turn.again_after_clear_ms = turn.again_after_clear_ms.or(since(cleared_at));
                    turn.again_after_caller_ms = turn.again_after_caller_ms.or(since(stopped_at));
                }
            }
            Logged::Started
            | Logged::CallerFrame { .. }
            | Logged::ClipBegan { .. }
            | Logged::Dtmf { .. }
            | Logged::FirstAudio
            | Logged::Mark
            | Logged::MarkEchoed { .. }
            | Logged::MarkFlushed
            | Logged::Warning { .. }
            | Logged::Ended { .. } => {}
        }
    }
    turns
}

fn media_after_clear(log: &Log) -> Option<AfterClear> {
    let mut after: Option<AfterClear> = None;
    // The latest `clear`, and the latest moment from which a pause would count; none once a pause was seen.
    let mut old: Option<(CallTime, CallTime)> = None;
    for entry in log.entries() {
        if let Logged::Clear { .. } = entry.logged {
            after.get_or_insert_default();
            old = Some((entry.at, entry.at));
        } else if let (Logged::Media { .. }, Some((cleared, quiet_since))) = (&entry.logged, old) {
            old = (entry.at.since(quiet_since) < FRESH_PAUSE).then_some((cleared, entry.at));
            if let (Some(after), Some(_)) = (&mut after, old) {
                after.count += 1;
                after.last_ms = Some(ms(entry.at.since(cleared)));
            }
        }
    }
    after
}

fn spread(values: Vec<f64>) -> Option<Spread> {
    let values = sorted(values);
    Some(Spread { count: values.len(), p50: rank(&values, 50)?, p99: rank(&values, 99)?, max: *values.last()? })
}

pub(super) fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The nearest-rank percentile of sorted values.
pub(super) fn rank(sorted: &[f64], percent: usize) -> Option<f64> {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied()
}

fn samples_ms(samples: u64) -> f64 {
    ms(MediaFormat::TELEPHONE.duration_of(samples))
}

pub(super) fn ms(span: Duration) -> f64 {
    span.as_micros() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::super::messages::Fault;
    use super::*;

    /// A log written by hand, in milliseconds, which keeps the buffer's account as the playout does.
    #[derive(Default)]
    struct Script {
        log: Log,
        dry_at: CallTime,
    }

    impl Script {
        fn push(&mut self, at_ms: u64, logged: Logged) -> &mut Self {
            self.log.push(CallTime::from_millis(at_ms), logged);
            self
        }

        fn media(&mut self, at_ms: u64, millis: u64) -> &mut Self {
            let at = CallTime::from_millis(at_ms);
            let ahead_us = u64::try_from(self.dry_at.since(at).as_micros()).unwrap();
            self.dry_at = self.dry_at.max(at) + Duration::from_millis(millis);
            self.push(at_ms, Logged::Media { samples: millis * 8, ahead_us })
        }

        /// Frames of 20 ms as a gateway with 100 ms of lead sends them: six at once, then one every 20 ms.
        fn utterance(&mut self, from_ms: u64, frames: u64) -> &mut Self {
            for n in 0..frames {
                self.media(from_ms + (20 * n).saturating_sub(100), 20);
            }
            self
        }

        fn clear(&mut self, at_ms: u64) -> &mut Self {
            let at = CallTime::from_millis(at_ms);
            let dropped = MediaFormat::TELEPHONE.samples_in(self.dry_at.since(at));
            self.dry_at = self.dry_at.min(at);
            self.push(at_ms, Logged::Clear { dropped })
        }

        fn report(&self) -> Report {
            report(&self.log)
        }
    }

    fn underruns(report: &Report) -> (u64, f64, f64) {
        report.underruns.map(|gaps| (gaps.count, gaps.total_ms, gaps.longest_ms)).unwrap()
    }

    #[test]
    fn nothing_observed_is_absent_and_not_zero() {
        let mut script = Script::default();
        script.push(3, Logged::Started);
        script.push(503, Logged::Ended { by: EndedBy::Caller, unplayed: 0, marks_out: 0 });
        let value = serde_json::to_value(script.report()).unwrap();
        for name in [
            "first_audio_ms",
            "lateness_ms",
            "underruns",
            "ahead_ms",
            "speech_to_clear_ms",
            "dropped_by_clear_ms",
            "media_after_clear",
            "own_lateness_ms",
        ] {
            assert!(value[name].is_null(), "{name}");
        }
        assert_eq!(value["duration_ms"], 500.0);
        let table = script.report().table();
        assert_eq!(table.iter().filter(|(_, value)| value == "not observed").count(), 9);
    }

    #[test]
    fn a_steady_gateway_is_on_time_and_keeps_its_lead() {
        let mut script = Script::default();
        script.utterance(1_000, 100);
        let report = script.report();
        let late = report.lateness_ms.unwrap();
        assert_eq!((late.count, late.p50, late.max), (100, 0.0, 0.0));
        let ahead = report.ahead_ms.unwrap();
        assert_eq!((ahead.min, ahead.median, ahead.max), (100.0, 100.0, 100.0));
        assert_eq!(underruns(&report), (0, 0.0, 0.0));
    }

    #[test]
    fn late_messages_show_although_the_lead_hides_them_from_the_ear() {
        let mut script = Script::default();
        for n in 0..100_u64 {
            // Every tenth message after the burst has settled is 7 ms late.
            let late = if n > 30 && n % 10 == 0 { 7 } else { 0 };
            script.media(1_000 + (20 * n).saturating_sub(100) + late, 20);
        }
        let late = script.report().lateness_ms.unwrap();
        assert_eq!((late.p50, late.p99, late.max), (0.0, 7.0, 7.0));
    }

    #[test]
    fn a_gap_of_60_ms_in_an_utterance_is_an_underrun() {
        let mut script = Script::default();
        script.utterance(0, 50).utterance(1_060, 50);
        let report = script.report();
        assert_eq!(underruns(&report), (1, 60.0, 60.0));
        assert_eq!(report.pauses, 0);
        // The message that ends the gap was due 100 ms before the buffer ran dry.
        assert_eq!(report.lateness_ms.unwrap().max, 160.0);
    }

    #[test]
    fn a_gap_of_a_second_or_after_clear_or_after_an_end_mark_is_none() {
        let mut long = Script::default();
        long.utterance(0, 50).utterance(2_000, 50);
        assert_eq!((underruns(&long.report()).0, long.report().pauses), (0, 0));

        let mut cleared = Script::default();
        cleared.utterance(0, 50).clear(500).utterance(700, 50);
        assert_eq!((underruns(&cleared.report()).0, cleared.report().pauses), (0, 0));

        let mut marked = Script::default();
        marked.utterance(0, 50).push(900, Logged::Mark).utterance(1_300, 50);
        assert_eq!((underruns(&marked.report()).0, marked.report().pauses), (0, 1));
    }

    #[test]
    fn a_regular_mark_at_the_edge_of_a_gap_does_not_hide_it() {
        let with_marks = |end_mark: bool| {
            let mut script = Script::default();
            for n in 0..50_u64 {
                script.media((20 * n).saturating_sub(100), 20);
                if n % 10 == 9 {
                    script.push((20 * n).saturating_sub(100), Logged::Mark);
                }
            }
            if end_mark {
                script.push(880, Logged::Mark);
            }
            script.utterance(1_060, 50).report()
        };
        assert_eq!(underruns(&with_marks(false)), (1, 60.0, 60.0));
        assert_eq!((underruns(&with_marks(true)).0, with_marks(true).pauses), (0, 1));
    }

    #[test]
    fn an_interruption_is_timed_from_the_first_loud_sample_on_the_wire() {
        let mut script = Script::default();
        script.push(0, Logged::Started).push(400, Logged::FirstAudio).utterance(400, 80);
        let mut again = Script { log: script.log.clone(), dry_at: script.dry_at };
        for script in [&mut script, &mut again] {
            script.push(1_900, Logged::ClipBegan { clip: 0 }).push(1_940, Logged::CallerSpeaks { clip: 0 });
        }
        again.clear(1_990).media(1_995, 20).media(2_010, 20).push(2_500, Logged::CallerStops { clip: 0 });
        again.push(2_900, Logged::SpeechAgain).utterance(2_900, 30);
        let report = again.report();
        let turn = report.caller_turns[0];
        assert_eq!((turn.interrupts, turn.clear_after_ms), (true, Some(50.0)));
        assert_eq!((turn.again_after_clear_ms, turn.again_after_caller_ms), (Some(910.0), Some(400.0)));
        assert_eq!(report.media_after_clear, Some(AfterClear { count: 2, last_ms: Some(20.0) }));
        assert_eq!(report.dropped_by_clear_ms, Some(10.0));
        assert_eq!((report.first_audio_ms, report.speech_to_clear_ms.unwrap().max), (Some(400.0), 50.0));
        // A gateway that goes on speaking is no zero.
        let deaf = script.report();
        assert_eq!((deaf.caller_turns[0].clear_after_ms, deaf.speech_to_clear_ms), (None, None));
    }

    #[test]
    fn what_came_was_played_dropped_or_left() {
        let mut script = Script::default();
        script.media(0, 1_000).clear(300).media(600, 1_000);
        script.push(900, Logged::Warning { fault: Fault::NotJson });
        script.push(900, Logged::Ended { by: EndedBy::Gateway { code: Some(1_008) }, unplayed: 5_600, marks_out: 2 });
        let report = script.report();
        assert_eq!((report.audio_received_ms, report.dropped_by_clear_ms), (2_000.0, Some(700.0)));
        assert_eq!((report.unplayed_ms, report.audio_played_ms), (700.0, 600.0));
        assert_eq!((report.warnings_total, report.warnings[0].code, report.marks.out_at_end), (1, 31_951, 2));
        assert!(!report.closed_at_once());
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(value["ended"], serde_json::json!({"by": "gateway", "code": 1_008}));
    }
}
