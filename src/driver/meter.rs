//! What a node counts. A registry of its own, so that many servers can live in one process.

mod accounts;
mod ends;
mod limits;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::call::action::{AgentReport, EndReason};
use crate::call::stats::Stats;
use crate::http::outbound::{Purpose, Watch};
use accounts::Accounts;
pub(super) use accounts::{AccountMeter, Refused, Spared};
pub use ends::SpanEnd;
pub(super) use ends::{ClipEnd, PhraseEnd};
pub use limits::Limit;

/// Why requests and streams are refused. `stream`: it did not start, or not with a good token.
/// `scope`: a good token of the API that is not for what was asked; `guessing`: no good one, from somebody who has had none
/// too often of late; `handshake`: no TLS.
pub const REFUSALS: [&str; 12] = [
    "full",
    "draining",
    "strained",
    "account_rate",
    "signature",
    "stream",
    "api_token",
    "scope",
    "guessing",
    "handshake",
    "host",
    "origin",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    kind: &'static str,
}

/// Counters and histograms of a node.
#[derive(Debug)]
pub struct Meter {
    registry: Registry,
    calls: Gauge,
    ended: Family<Label, Counter>,
    refused: Family<Label, Counter>,
    outbound_refused: Family<Label, Counter>,
    frames: Family<Label, Counter>,
    lateness: Histogram,
    held: Histogram,
    first_byte: Histogram,
    marks: Family<Label, Counter>,
    underruns: Counter,
    slips: Counter,
    barge_ins: Counter,
    late_chunks: Counter,
    garbage: Counter,
    reconnects: Counter,
    retries: Counter,
    failures: Counter,
    accounts: Accounts,
    hearing_reconnects: Counter,
    hearing_failures: Counter,
    transcript: Histogram,
    clips: Family<Label, Counter>,
    phrases: Family<Label, Counter>,
    phrase_bytes: Gauge,
    tls_reloads: Family<Label, Counter>,
    certificate_until: Gauge,
    panics: Counter,
    reports_lost: Counter,
    tape_lines_lost: Counter,
    tapes_broken: Counter,
    spans: Family<Label, Counter>,
    recordings: Counter,
    recordings_broken: Counter,
    recording_lost: Counter<f64, AtomicU64>,
    files_expired: Family<Label, Counter>,
    limits: limits::Limits,
}

/// One live call.
pub(super) struct LiveCount {
    calls: Gauge,
    panics: Counter,
}

impl Drop for LiveCount {
    fn drop(&mut self) {
        self.calls.dec();
        // The core itself panicked: the call's own task is going down with it.
        if std::thread::panicking() {
            self.panics.inc();
        }
    }
}

impl Default for Meter {
    fn default() -> Self {
        let seconds = |bounds: &'static [f64]| Histogram::new(bounds.iter().copied());
        let mut meter = Meter {
            registry: Registry::with_prefix("trunkline"),
            calls: Gauge::default(),
            ended: Family::default(),
            refused: Family::default(),
            outbound_refused: Family::default(),
            frames: Family::default(),
            lateness: seconds(&[0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.12, 0.25, 0.5, 1.0]),
            held: seconds(&[0.02, 0.06, 0.1, 0.14, 0.18, 0.25, 0.5, 1.0, 2.0, 5.0]),
            first_byte: seconds(&[0.02, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0]),
            marks: Family::default(),
            underruns: Counter::default(),
            slips: Counter::default(),
            barge_ins: Counter::default(),
            late_chunks: Counter::default(),
            garbage: Counter::default(),
            reconnects: Counter::default(),
            retries: Counter::default(),
            failures: Counter::default(),
            accounts: Accounts::default(),
            hearing_reconnects: Counter::default(),
            hearing_failures: Counter::default(),
            transcript: seconds(&[0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0]),
            clips: Family::default(),
            phrases: Family::default(),
            phrase_bytes: Gauge::default(),
            tls_reloads: Family::default(),
            certificate_until: Gauge::default(),
            panics: Counter::default(),
            reports_lost: Counter::default(),
            tape_lines_lost: Counter::default(),
            tapes_broken: Counter::default(),
            spans: Family::default(),
            recordings: Counter::default(),
            recordings_broken: Counter::default(),
            recording_lost: Counter::default(),
            files_expired: Family::default(),
            limits: limits::Limits::default(),
        };
        meter.register();
        meter.begin();
        meter
    }
}

impl Meter {
    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("calls", "Calls that are live", self.calls.clone());
        to.register("calls_ended", "Calls that ended, by reason", self.ended.clone());
        to.register("refused", "Requests that were refused, by reason", self.refused.clone());
        let outbound =
            "Requests of ours that were not made, since whoever was to be asked may not be, by what was wanted";
        to.register("outbound_refused", outbound, self.outbound_refused.clone());
        to.register("frames", "Audio frames from (in) and to (out) carriers", self.frames.clone());
        to.register("send_lateness_seconds", "How long after its due time a frame was sent", self.lateness.clone());
        to.register("clear_held_seconds", "Audio that the carrier held when it was cleared", self.held.clone());
        to.register("tts_first_byte_seconds", "From a turn's first text to its first audio", self.first_byte.clone());
        to.register("marks", "Marks, by what became of them", self.marks.clone());
        to.register("underruns", "Times that a carrier ran dry in the middle of a turn", self.underruns.clone());
        to.register("slips", "Wake-ups too late to catch up", self.slips.clone());
        to.register("barge_ins", "Times that speech was cut off", self.barge_ins.clone());
        to.register("late_chunks", "Chunks of contexts that no longer took any", self.late_chunks.clone());
        to.register("garbage", "Messages that made no sense", self.garbage.clone());
        to.register("tts_reconnects", "Links to a voice that were made again", self.reconnects.clone());
        to.register("tts_retries", "Contexts that were begun again after a fault", self.retries.clone());
        to.register("speech_failures", "Turns that could not be spoken", self.failures.clone());
        self.accounts.register(to);
        let again = "Links for hearing that were made again after they had been lost";
        to.register("hearing_reconnects", again, self.hearing_reconnects.clone());
        to.register("hearing_failures", "Times that hearing was given up", self.hearing_failures.clone());
        let transcript = "From the end of a caller's speech to its transcript";
        to.register("hearing_transcript_seconds", transcript, self.transcript.clone());
        to.register("clips", "Recordings that were to be played, by what became of them", self.clips.clone());
        let phrases =
            "Phrases, by whether a call found them spoken already and whether they could be spoken beforehand";
        to.register("phrases", phrases, self.phrases.clone());
        to.register("phrase_cache_bytes", "Speech that is kept for calls to come", self.phrase_bytes.clone());
        let reloads = "Changed files of the server's certificate, by whether they could be used";
        to.register("tls_reloads", reloads, self.tls_reloads.clone());
        let until = "When the server's certificate expires, in Unix time; 0: the port speaks no TLS";
        to.register("tls_certificate_not_after_seconds", until, self.certificate_until.clone());
        to.register("task_panics", "Tasks of calls that panicked", self.panics.clone());
        to.register("agent_reports_lost", "Reports that an agent did not take", self.reports_lost.clone());
        to.register("tape_lines_lost", "Lines of tapes that the disk was too slow for", self.tape_lines_lost.clone());
        to.register("tapes_broken", "Tapes that could not be written to their end", self.tapes_broken.clone());
        to.register("otlp_spans", "Spans of traces, by what became of them", self.spans.clone());
        to.register("recordings", "Calls whose recording was begun", self.recordings.clone());
        let broken = "Recordings that could not be begun, or written to their end";
        to.register("recordings_broken", broken, self.recordings_broken.clone());
        let lost = "Sound of calls that is missing in their recordings";
        to.register("recording_lost_seconds", lost, self.recording_lost.clone());
        let expired = "Files that were deleted because of their age";
        to.register("files_expired", expired, self.files_expired.clone());
        self.limits.register(to);
    }

    /// Begins every series at zero: a rate over one that appears with its first count misses that count.
    fn begin(&self) {
        let reasons = [
            EndReason::CarrierStopped,
            EndReason::CarrierLost,
            EndReason::HungUp,
            EndReason::SpeechFailed,
            EndReason::AgentDone,
            EndReason::AgentLost,
            EndReason::TimeUp,
            EndReason::Idle,
            EndReason::SentAway,
        ]
        .map(end_name);
        for (family, kinds) in [
            (&self.ended, &reasons[..]),
            (&self.frames, &["in", "out"]),
            (&self.marks, &["played", "flushed", "stale", "disbelieved", "lapsed"]),
            (&self.refused, &REFUSALS),
            (&self.outbound_refused, &Purpose::ALL.map(Purpose::name)),
            (&self.clips, &["fetched", "cached", "failed"]),
            (&self.files_expired, &["recording", "tape"]),
            (&self.tls_reloads, &["done", "failed"]),
            (&self.phrases, &["hit", "miss", "made", "failed"]),
            (&self.spans, &[SpanEnd::Sent, SpanEnd::Dropped, SpanEnd::Failed].map(SpanEnd::name)),
        ] {
            for kind in kinds {
                drop(family.get_or_create(&Label { kind }));
            }
        }
        self.limits.begin();
    }

    /// All of it in the text format of OpenMetrics.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Counts a request that was refused; `kind` is one of [`REFUSALS`].
    pub fn refused(&self, kind: &'static str) {
        debug_assert!(REFUSALS.contains(&kind), "a refusal without a name");
        self.refused.get_or_create(&Label { kind }).inc();
    }

    /// The files of the certificate changed; `kind` is `done` or `failed`.
    pub fn tls_reloaded(&self, kind: &'static str) {
        self.tls_reloads.get_or_create(&Label { kind }).inc();
    }

    /// The certificate that is in use expires then, in seconds of Unix time.
    pub fn certificate_until(&self, not_after: i64) {
        self.certificate_until.set(not_after);
    }

    /// Counts a live call until the result is dropped, in whichever way the call ends.
    pub(super) fn call_started(&self) -> LiveCount {
        self.calls.inc();
        LiveCount { calls: self.calls.clone(), panics: self.panics.clone() }
    }

    pub(super) fn call_ended(&self, reason: EndReason) {
        self.ended.get_or_create(&Label { kind: end_name(reason) }).inc();
        match reason {
            EndReason::Idle => self.limit(Limit::Idle),
            EndReason::TimeUp => self.limit(Limit::Duration),
            EndReason::CarrierStopped
            | EndReason::CarrierLost
            | EndReason::HungUp
            | EndReason::SpeechFailed
            | EndReason::AgentDone
            | EndReason::AgentLost
            | EndReason::SentAway => {}
        }
    }

    pub(super) fn panicked(&self) {
        self.panics.inc();
    }

    /// What the account with a provider counts.
    pub(super) fn account(&self, voice: &str) -> AccountMeter {
        self.accounts.of(voice)
    }

    /// An agent of this process did not take a report.
    pub fn report_lost(&self) {
        self.reports_lost.inc();
    }

    /// A clip was fetched, found or failed.
    pub(super) fn clip(&self, end: ClipEnd) {
        let kind = match end {
            ClipEnd::Fetched => "fetched",
            ClipEnd::Cached => "cached",
            ClipEnd::Failed => "failed",
        };
        self.clips.get_or_create(&Label { kind }).inc();
    }

    /// A phrase was wanted, or was to be made.
    pub(super) fn phrase(&self, end: PhraseEnd) {
        let kind = match end {
            PhraseEnd::Hit => "hit",
            PhraseEnd::Miss => "miss",
            PhraseEnd::Made => "made",
            PhraseEnd::Failed => "failed",
        };
        self.phrases.get_or_create(&Label { kind }).inc();
    }

    /// So many bytes of phrases are kept.
    pub(super) fn phrases_kept(&self, bytes: usize) {
        self.phrase_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn tape_lines_lost(&self, lines: u64) {
        self.tape_lines_lost.inc_by(lines);
    }

    pub(super) fn tape_broken(&self) {
        self.tapes_broken.inc();
    }

    /// So many spans were sent or lost.
    pub fn spans(&self, end: SpanEnd, spans: usize) {
        self.spans.get_or_create(&Label { kind: end.name() }).inc_by(spans as u64);
    }

    pub(super) fn recording_begun(&self) {
        self.recordings.inc();
    }

    pub(super) fn recording_broken(&self) {
        self.recordings_broken.inc();
    }

    pub(super) fn recording_lost(&self, span: Duration) {
        self.recording_lost.inc_by(span.as_secs_f64());
    }

    /// Counts files that were deleted because of their age; `kind` is `recording` or `tape`.
    pub fn expired(&self, kind: &'static str, count: u64) {
        self.files_expired.get_or_create(&Label { kind }).inc_by(count);
    }

    /// A frame was sent, so long after its due time.
    pub fn sent(&self, late: Duration) {
        self.lateness.observe(late.as_secs_f64());
        self.limits.sent(late);
    }

    pub(super) fn cleared(&self, held: Duration) {
        self.held.observe(held.as_secs_f64());
    }

    pub(super) fn hearing_again(&self) {
        self.hearing_reconnects.inc();
    }

    pub(super) fn observe(&self, report: &AgentReport) {
        if let AgentReport::FirstAudio { first_byte, .. } = report {
            self.first_byte.observe(first_byte.as_secs_f64());
        } else if let AgentReport::Answered { wait, .. } = report {
            self.transcript.observe(wait.hearing.as_secs_f64());
        } else if let AgentReport::HearingFailed { .. } = report {
            self.hearing_failures.inc();
        } else if let AgentReport::FailedOver { from, .. } = report {
            self.accounts.failed_over(from);
        }
    }

    /// Adds what a call counted between two moments.
    pub(super) fn absorb(&self, before: &Stats, after: &Stats) {
        let kinds = |family: &Family<Label, Counter>, kind, by: u64| {
            if by > 0 {
                family.get_or_create(&Label { kind }).inc_by(by);
            }
        };
        kinds(&self.frames, "in", after.frames_in - before.frames_in);
        kinds(&self.frames, "out", after.frames_out - before.frames_out);
        kinds(&self.marks, "played", after.marks_played - before.marks_played);
        kinds(&self.marks, "flushed", after.marks_flushed - before.marks_flushed);
        kinds(&self.marks, "stale", after.marks_stale - before.marks_stale);
        kinds(&self.marks, "disbelieved", after.marks_disbelieved - before.marks_disbelieved);
        kinds(&self.marks, "lapsed", after.marks_lapsed - before.marks_lapsed);
        self.underruns.inc_by(after.underruns - before.underruns);
        self.slips.inc_by(after.slips - before.slips);
        self.barge_ins.inc_by(after.barge_ins - before.barge_ins);
        self.late_chunks.inc_by(after.late_chunks - before.late_chunks);
        self.garbage.inc_by(after.garbage - before.garbage);
        self.reconnects.inc_by(after.reconnects - before.reconnects);
        self.retries.inc_by(after.retries - before.retries);
        self.failures.inc_by(after.speech_failures - before.speech_failures);
    }
}

impl Watch for Meter {
    fn outbound_refused(&self, purpose: Purpose) {
        self.outbound_refused.get_or_create(&Label { kind: purpose.name() }).inc();
    }
}

/// Name of an end in metrics, events and logs.
pub const fn end_name(reason: EndReason) -> &'static str {
    match reason {
        EndReason::CarrierStopped => "carrier_stopped",
        EndReason::CarrierLost => "carrier_lost",
        EndReason::HungUp => "hung_up",
        EndReason::SpeechFailed => "speech_failed",
        EndReason::AgentDone => "agent_done",
        EndReason::AgentLost => "agent_lost",
        EndReason::TimeUp => "time_up",
        EndReason::Idle => "idle",
        EndReason::SentAway => "sent_away",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(meter: &Meter, series: &str) -> String {
        let text = meter.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)).unwrap();
        line.trim().to_owned()
    }

    #[test]
    fn what_is_told_of_hearing_is_counted() {
        use crate::call::action::Wait;
        use crate::call::event::{Fault, FaultKind};
        use crate::ids::TurnId;
        let meter = Meter::default();
        let wait = Wait { hearing: Duration::from_millis(250), thinking: Duration::from_secs(9), ..Wait::default() };
        meter.observe(&AgentReport::Answered { turn: TurnId(1), wait });
        let fault = Fault { kind: FaultKind::Fatal, reason: "status 401".to_owned() };
        meter.observe(&AgentReport::HearingFailed { fault });
        meter.hearing_again();
        assert_eq!(value(&meter, "trunkline_hearing_transcript_seconds_sum "), "0.25");
        assert_eq!(value(&meter, "trunkline_hearing_failures_total "), "1");
        assert_eq!(value(&meter, "trunkline_hearing_reconnects_total "), "1");
    }

    #[test]
    fn a_call_that_panics_is_counted_and_no_longer_live() {
        let meter = Meter::default();
        let live = meter.call_started();
        assert_eq!(value(&meter, "trunkline_calls "), "1");
        drop(live);
        assert_eq!(value(&meter, "trunkline_calls "), "0");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _live = meter.call_started();
            panic!("as a call might");
        }));
        assert!(panicked.is_err());
        assert_eq!(value(&meter, "trunkline_calls "), "0");
        assert_eq!(value(&meter, "trunkline_task_panics_total "), "1");
    }
}
