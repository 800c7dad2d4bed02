//! The figures of a load, and whether they may be believed.

use std::time::Duration;

use serde::Serialize;

use super::histogram::{Histogram, Percentiles};
use super::line::Armed;
use super::process::Usage;

/// Lateness of the generator's own frames, at the 99th percentile in milliseconds, above which it was the bottleneck: a
/// quarter of a frame. A timer of this resolution alone makes two.
const LATE_MS_MAX: f64 = 5.0;

/// Part of one processor above which the generator was the bottleneck.
const CORE_MAX: f64 = 0.85;

/// What is counted while calls run. What is not counted always is counted while the window is open.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) open: bool,
    pub(super) tick_late: Histogram,
    pub(super) send_late: Histogram,
    pub(super) key_to_clear: Histogram,
    pub(super) onset_to_clear: Histogram,
    pub(super) frames: u64,
    pub(super) clears: u64,
    pub(super) underruns: u64,
    pub(super) underrun_us: u64,
    pub(super) armed: Armed,
    /// At the end of the window.
    pub(super) silent: u64,
    /// Always.
    pub(super) first_media: Histogram,
    /// Always: calls that this process had no descriptor or port for.
    pub(super) starved: u64,
    /// Always: microseconds of audio received.
    pub(super) received_us: u64,
    /// Always: the most audio that the load's own voice had spoken and nobody had received, in microseconds.
    pub(super) queued_us_max: u64,
    /// Always.
    pub(super) ends: Ends,
}

impl Tally {
    /// There was nothing to play for so long.
    pub(super) fn ran_dry(&mut self, silence: Duration) {
        self.underruns += 1;
        self.underrun_us += u64::try_from(silence.as_micros()).unwrap_or(u64::MAX);
    }
}

/// How calls went that did not go as planned, and how many did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ends {
    /// Hung up as planned, and answered by the gateway with a close frame.
    pub in_order: u64,
    /// Could not be made: no connection, or the upgrade was refused.
    pub not_made: u64,
    /// Closed by the gateway, or lost, before the caller hung up.
    pub early: u64,
    /// Ended because the gateway sent what is no message of this protocol.
    pub broken: u64,
    /// Hung up as planned, and lost without a close frame, or not closed at all when the load was over.
    pub unclosed: u64,
}

/// What was measured at the gateway's process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Watched {
    /// Processor time in milliseconds for each second of each call.
    pub cpu_ms_per_call_second: f64,
    /// Part of one processor that was used.
    pub core: f64,
    /// Memory before the first call, in KiB.
    pub rss_before_kib: u64,
    /// Memory at the end of the window.
    pub rss_kib: u64,
    /// Memory when the calls were over, if the process was still there.
    pub rss_after_kib: Option<u64>,
    /// Growth of memory from before the first call to the end of the window, for each call that was live then.
    pub rss_kib_per_call: Option<f64>,
    /// The most of it that was speech made and not yet sent: an allocator keeps what it once took. Known if the voice is
    /// the load's own; nonsense if callers interrupt, because what is dropped then looks like waiting.
    pub queued_kib_per_call: Option<f64>,
    /// Open descriptors before the first call.
    pub descriptors_before: u64,
    /// Open descriptors when the calls were over, if the process was still there.
    pub descriptors_after: Option<u64>,
}

/// The generator itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Own {
    /// How late its own frames were.
    pub late_ms: Option<Percentiles>,
    /// Part of one processor that it used.
    pub core: Option<f64>,
}

/// The figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadReport {
    /// Calls that were asked for.
    pub calls: u64,
    /// Calls that were live at the end of the window.
    pub live: u64,
    /// Length of the window in seconds.
    pub window_s: f64,
    /// How late the gateway's frames were, each against the earliest pace of its burst.
    pub send_late_ms: Option<Percentiles>,
    /// Times that the model carrier had nothing to play in the middle of speech.
    pub underruns: u64,
    /// How long it had nothing to play, in milliseconds.
    pub underrun_ms: f64,
    /// Calls that had nothing to play when the window closed. If the gateway is to speak without a pause, these are among
    /// the underruns.
    pub silent: u64,
    /// Frames of 20 ms that were received.
    pub frames: u64,
    /// Frames that unbroken speech in every live call would have been.
    pub frames_unbroken: u64,
    /// From `start` to the first audio.
    pub start_to_media_ms: Option<Percentiles>,
    /// Keys that were pressed while something could be heard, at least a second before the window closed or the call ended.
    /// Each is to be answered by a `clear`; one that is followed by the next key, or meets with the caller's speech, before
    /// that is not.
    pub keys_armed: u64,
    /// Times that the caller began to speak, counted likewise.
    pub onsets_armed: u64,
    /// From a key that interrupts, written, to `clear`, read: the way there and back and the decision between.
    pub key_to_clear_ms: Option<Percentiles>,
    /// From the first loud sample of the caller to `clear`.
    pub onset_to_clear_ms: Option<Percentiles>,
    /// Times that the gateway sent `clear`.
    pub clears: u64,
    /// How calls ended.
    pub ends: Ends,
    /// Audio that the load's own voice spoke within the window, as a part of what was heard in it: 1 if the gateway's work
    /// for the voice belongs to what it played meanwhile, more if it was filling its queues.
    pub spoken_per_heard: Option<f64>,
    /// The gateway's process.
    pub gateway: Option<Watched>,
    /// This process.
    pub generator: Own,
    /// Why the figures must not be used, if so.
    pub invalid: Option<String>,
}

/// Use of the two processes at the edges of the window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Edges {
    pub(super) before: Option<Usage>,
    pub(super) open: (Option<Usage>, Option<Usage>),
    pub(super) close: (Option<Usage>, Option<Usage>),
    pub(super) after: Option<Usage>,
    /// When the window opened and closed.
    pub(super) voice: (Option<Voice>, Option<Voice>),
}

/// How much audio the load's own voice has spoken, and how much was heard, in microseconds since the beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Voice {
    pub(super) spoken_us: u64,
    pub(super) heard_us: u64,
}

impl Edges {
    fn spoken_per_heard(&self) -> Option<f64> {
        let (open, close) = self.voice.0.zip(self.voice.1)?;
        let heard_us = close.heard_us.saturating_sub(open.heard_us);
        (heard_us > 0).then(|| close.spoken_us.saturating_sub(open.spoken_us) as f64 / heard_us as f64)
    }
}

/// What a load knows beside its tally.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) calls: u64,
    pub(super) live: u64,
    pub(super) window_s: f64,
    /// Seconds of all calls within the window.
    pub(super) call_seconds: f64,
    /// The most at a time, if the voice is the load's own.
    pub(super) queued_us: Option<u64>,
    /// Whether the gateway's process was to be measured.
    pub(super) is_watched: bool,
    pub(super) edges: Edges,
}

impl LoadReport {
    pub(super) fn new(tally: &Tally, facts: Facts) -> Self {
        let Facts { calls, live, window_s, call_seconds, queued_us, is_watched, edges } = facts;
        let spent = |(open, close): (Option<Usage>, Option<Usage>)| {
            open.zip(close).map(|(open, close)| close.cpu.saturating_sub(open.cpu).as_secs_f64())
        };
        let gateway = spent((edges.open.0, edges.close.0)).zip(edges.before.zip(edges.close.0)).map(
            |(seconds, (before, close))| Watched {
                cpu_ms_per_call_second: seconds * 1_000.0 / call_seconds.max(f64::EPSILON),
                core: seconds / window_s,
                rss_before_kib: before.rss_kib,
                rss_kib: close.rss_kib,
                rss_after_kib: edges.after.map(|after| after.rss_kib),
                rss_kib_per_call: (live > 0).then(|| (close.rss_kib as f64 - before.rss_kib as f64) / live as f64),
                // A microsecond of speech is held as 0.008 bytes of mu-law.
                queued_kib_per_call: queued_us.filter(|_| live > 0).map(|us| us as f64 * 0.008 / 1_024.0 / live as f64),
                descriptors_before: before.descriptors,
                descriptors_after: edges.after.map(|after| after.descriptors),
            },
        );
        let core = spent((edges.open.1, edges.close.1)).map(|seconds| seconds / window_s);
        let generator = Own { late_ms: tally.tick_late.percentiles(), core };
        let unmeasured = "the gateway's or the generator's processor time cannot be measured".to_owned();
        let starved = format!("the generator had no descriptor or port for {} calls", tally.starved);
        let invalid = [
            bottleneck(generator),
            (is_watched && (gateway.is_none() || core.is_none())).then_some(unmeasured),
            (tally.starved > 0).then_some(starved),
        ];
        let invalid: Vec<String> = invalid.into_iter().flatten().collect();
        LoadReport {
            calls,
            live,
            window_s,
            send_late_ms: tally.send_late.percentiles(),
            underruns: tally.underruns,
            underrun_ms: tally.underrun_us as f64 / 1_000.0,
            silent: tally.silent,
            frames: tally.frames,
            frames_unbroken: unbroken(call_seconds),
            start_to_media_ms: tally.first_media.percentiles(),
            keys_armed: tally.armed.keys,
            onsets_armed: tally.armed.onsets,
            key_to_clear_ms: tally.key_to_clear.percentiles(),
            onset_to_clear_ms: tally.onset_to_clear.percentiles(),
            clears: tally.clears,
            ends: tally.ends,
            spoken_per_heard: edges.spoken_per_heard(),
            gateway,
            invalid: (!invalid.is_empty()).then(|| invalid.join("; ")),
            generator,
        }
    }

    /// Names and values for a person.
    pub fn table(&self) -> Vec<(&'static str, String)> {
        let spread = |spread: Option<Percentiles>| {
            spread.map_or_else(
                || "not observed".to_owned(),
                |of| {
                    format!(
                        "p50 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1} ms of {}",
                        of.p50, of.p99, of.p999, of.max, of.count
                    )
                },
            )
        };
        let ends = self.ends;
        let mut rows = vec![
            ("calls", format!("{} asked for, {} live at the end of {:.1} s", self.calls, self.live, self.window_s)),
            ("send lateness", spread(self.send_late_ms)),
            (
                "underruns",
                format!(
                    "{}, {:.0} ms in all; {} calls silent at the end",
                    self.underruns, self.underrun_ms, self.silent
                ),
            ),
            ("frames", format!("{} of {} in unbroken speech", self.frames, self.frames_unbroken)),
            ("start to audio", spread(self.start_to_media_ms)),
            ("key to clear", format!("{}, {} keys", spread(self.key_to_clear_ms), self.keys_armed)),
            ("speech to clear", format!("{}, {} onsets", spread(self.onset_to_clear_ms), self.onsets_armed)),
            ("clears", self.clears.to_string()),
            (
                "ends",
                format!(
                    "{} in order, {} not made, {} early, {} broken, {} unclosed",
                    ends.in_order, ends.not_made, ends.early, ends.broken, ends.unclosed
                ),
            ),
        ];
        if let Some(gateway) = &self.gateway {
            rows.push((
                "gateway cpu",
                format!(
                    "{:.2} ms per call-second, {:.0} % of a core",
                    gateway.cpu_ms_per_call_second,
                    gateway.core * 100.0
                ),
            ));
            let queued = gateway.queued_kib_per_call.map(|kib| format!(", of it {kib:.0} queued speech"));
            let memory =
                gateway.rss_kib_per_call.map(|kib| format!("{kib:.0} KiB per call{}", queued.unwrap_or_default()));
            rows.push(("gateway memory", memory.unwrap_or_else(|| "not observed".to_owned())));
            let after =
                |figure: Option<u64>| figure.map_or_else(|| "not observed".to_owned(), |figure| figure.to_string());
            rows.push((
                "gateway before, after",
                format!(
                    "{} and {} KiB, {} and {} descriptors",
                    gateway.rss_before_kib,
                    after(gateway.rss_after_kib),
                    gateway.descriptors_before,
                    after(gateway.descriptors_after)
                ),
            ));
        }
        rows.push(("own lateness", spread(self.generator.late_ms)));
        rows.push((
            "own cpu",
            self.generator
                .core
                .map_or_else(|| "not observed".to_owned(), |core| format!("{:.0} % of a core", core * 100.0)),
        ));
        rows.extend(self.invalid.clone().map(|reason| ("INVALID", reason)));
        rows
    }
}

/// Frames of 20 ms in so many seconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number far below the limit")]
fn unbroken(seconds: f64) -> u64 {
    (seconds.max(0.0) * 50.0) as u64
}

fn bottleneck(own: Own) -> Option<String> {
    let late = own.late_ms.map(|late| late.p99).filter(|late| *late > LATE_MS_MAX);
    let core = own.core.filter(|core| *core > CORE_MAX);
    let why = [
        late.map(|late| format!("its own frames were {late:.1} ms late at p99, more than {LATE_MS_MAX:.0}")),
        core.map(|core| format!("it used {:.0} % of a core, more than {:.0}", core * 100.0, CORE_MAX * 100.0)),
    ];
    let why: Vec<String> = why.into_iter().flatten().collect();
    (!why.is_empty()).then(|| format!("the generator was the bottleneck ({})", why.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(late_ms: u64, core: f64) -> Own {
        let mut late = Histogram::default();
        late.add(Duration::from_millis(late_ms), 100);
        Own { late_ms: late.percentiles(), core: Some(core) }
    }

    fn facts(edges: Edges, queued_us: Option<u64>) -> Facts {
        Facts { calls: 101, live: 100, window_s: 10.0, call_seconds: 1_000.0, queued_us, is_watched: true, edges }
    }

    fn voice(spoken_us: u64, heard_us: u64) -> Option<Voice> {
        Some(Voice { spoken_us, heard_us })
    }

    #[test]
    fn what_was_not_observed_is_not_zero() {
        let used = |cpu_ms| Some(Usage { cpu: Duration::from_millis(cpu_ms), rss_kib: 1, descriptors: 1 });
        let edges = Edges { before: used(1), open: (used(2), used(2)), close: (used(3), used(3)), ..Edges::default() };
        let gone = LoadReport::new(&Tally::default(), facts(edges, None));
        let gateway = gone.gateway.unwrap();
        assert_eq!((gateway.rss_after_kib, gateway.descriptors_after, gone.spoken_per_heard), (None, None, None));
        assert!(gone.invalid.is_none());
        let edges = Edges { close: (None, used(3)), ..edges };
        let unseen = LoadReport::new(&Tally::default(), facts(edges, None));
        assert!(unseen.gateway.is_none() && unseen.invalid.unwrap().contains("cannot be measured"));
        let unwatched = Facts { is_watched: false, ..facts(edges, None) };
        assert!(LoadReport::new(&Tally::default(), unwatched).invalid.is_none());
    }

    #[test]
    fn calls_that_fail_for_the_generator_s_own_limits_are_not_the_gateway_s_fault() {
        let starved = Tally { starved: 3, ..Tally::default() };
        let report = LoadReport::new(&starved, Facts { is_watched: false, ..facts(Edges::default(), None) });
        assert!(report.invalid.unwrap().contains("no descriptor or port for 3 calls"));
    }

    #[test]
    fn a_generator_that_was_the_bottleneck_says_so() {
        assert_eq!(bottleneck(own(2, 0.5)), None);
        assert!(bottleneck(own(7, 0.5)).unwrap().contains("7.1 ms late"));
        assert!(bottleneck(own(2, 0.9)).unwrap().contains("90 % of a core"));
        assert_eq!(bottleneck(Own { late_ms: None, core: None }), None);
    }

    #[test]
    fn what_the_gateway_used_is_told_for_each_call() {
        let usage =
            |cpu_ms, rss_kib, descriptors| Some(Usage { cpu: Duration::from_millis(cpu_ms), rss_kib, descriptors });
        let edges = Edges {
            before: usage(0, 10_000, 9),
            open: (usage(100, 15_000, 200), usage(0, 0, 0)),
            close: (usage(1_100, 20_000, 210), usage(500, 0, 0)),
            after: usage(1_200, 12_000, 9),
            ..Edges::default()
        };
        let queued_us = Some(100 * 12_800_000);
        let facts = facts(Edges { voice: (voice(1_000, 500), voice(4_000, 3_000)), ..edges }, queued_us);
        let report = LoadReport::new(&Tally::default(), facts);
        assert!((report.spoken_per_heard.unwrap() - 1.2).abs() < 1e-9);
        let gateway = report.gateway.unwrap();
        assert_eq!((gateway.rss_after_kib, gateway.descriptors_after), (Some(12_000), Some(9)));
        assert!((gateway.cpu_ms_per_call_second - 1.0).abs() < 1e-9 && (gateway.core - 0.1).abs() < 1e-9);
        assert!((gateway.rss_kib_per_call.unwrap() - 100.0).abs() < 1e-9);
        assert!((gateway.queued_kib_per_call.unwrap() - 100.0).abs() < 1e-9);
        assert_eq!((report.frames_unbroken, report.generator.core), (50_000, Some(0.05)));
        assert!(report.invalid.is_none() && report.send_late_ms.is_none());
        assert_eq!(report.table().iter().filter(|(_, value)| value.starts_with("not observed")).count(), 5);
    }
}
