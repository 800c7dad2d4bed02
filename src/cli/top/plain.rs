//! What is shown as plain text: for scripts and pipes, and the words of the live view.

use std::fmt::Write as _;
use std::time::Duration;

use super::look::{Call, Look};
use super::screen::Sort;

/// The heads of the columns, and how wide they are.
pub(super) const COLUMNS: [(&str, u16); 10] = [
    ("CALL", 14),
    ("AGE", 8),
    ("STATE", 9),
    ("VOICE", 14),
    ("TURNS", 5),
    ("INTR", 4),
    ("WAIT ms", 7),
    ("UNDER", 5),
    ("FAIL", 4),
    ("LATE ms", 7),
];

/// The cells of a call, in the order of the columns.
pub(super) fn cells(call: &Call) -> [String; 10] {
    [
        short(&call.id),
        age(call.seconds),
        call.state.clone(),
        call.voice.clone().unwrap_or_else(|| "-".to_owned()),
        call.turn_count.to_string(),
        call.interruptions.to_string(),
        call.last_wait_ms.map_or_else(|| "-".to_owned(), |wait| format!("{wait:.0}")),
        call.underruns.to_string(),
        call.failovers.to_string(),
        format!("{:.1}", call.late_p99_ms),
    ]
}

/// The lines above the table. Rates and quantiles are those since `before`; without it, those since the gateway began.
pub(super) fn head(look: &Look, before: Option<&Look>) -> Vec<String> {
    let (node, metrics) = (&look.node, &look.metrics);
    let earlier = before.map(|before| &before.metrics);
    let span = before.map_or(node.uptime_s, |before| look.at.duration_since(before.at).as_secs_f64());
    let since = |series: &str| {
        metrics.value(series).unwrap_or(0.0) - earlier.and_then(|before| before.value(series)).unwrap_or(0.0)
    };
    let rate = |series: &str, per: f64| since(series) * per / span.max(1e-3);
    let ms = |histogram: &str, quantile: f64| match metrics.quantile(histogram, quantile, earlier) {
        Some(seconds) => format!("{:.1}", seconds * 1_000.0),
        None => "-".to_owned(),
    };
    let strained = metrics.value("trunkline_strained").is_some_and(|level| level > 0.0);
    let state = match (node.draining, strained) {
        (true, _) => "draining",
        (false, true) => "strained",
        (false, false) => "ready",
    };
    let voices: Vec<String> =
        metrics.of("trunkline_tts_breaker").map(|(voice, level)| voice_of(voice, level)).collect();
    vec![
        format!("up {}   calls {}/{}   {state}", age(node.uptime_s), node.calls, node.calls_max),
        format!(
            "frames/s in {:.0} out {:.0}   late ms p50 {} p99 {}   underruns/min {:.1}   slips/min {:.1}",
            rate("trunkline_frames_total{kind=\"in\"}", 1.0),
            rate("trunkline_frames_total{kind=\"out\"}", 1.0),
            ms("trunkline_send_lateness_seconds", 0.5),
            ms("trunkline_send_lateness_seconds", 0.99),
            rate("trunkline_underruns_total", 60.0),
            rate("trunkline_slips_total", 60.0),
        ),
        format!(
            "tts first byte ms p50 {} p95 {}   refused {:.0}   speech failures {:.0}   panics {:.0}",
            ms("trunkline_tts_first_byte_seconds", 0.5),
            ms("trunkline_tts_first_byte_seconds", 0.95),
            metrics.sum("trunkline_refused_total"),
            metrics.sum("trunkline_speech_failures_total"),
            metrics.sum("trunkline_task_panics_total"),
        ),
        format!("voices {}", if voices.is_empty() { "local".to_owned() } else { voices.join("  ") }),
    ]
}

fn voice_of(voice: &str, level: f64) -> String {
    let breaker = if level >= 2.0 {
        "open"
    } else if level >= 1.0 {
        "half-open"
    } else {
        "closed"
    };
    format!("{voice} {breaker}")
}

/// All of it, once.
pub(super) fn table(look: &Look, sort: Sort) -> String {
    let mut calls = look.calls.clone();
    sort.apply(&mut calls);
    let mut text = head(look, None).join("\n") + "\n\n";
    let mut line = |cells: [String; 10]| {
        let padded: Vec<String> = COLUMNS
            .iter()
            .zip(cells)
            .map(|((_, width), cell)| format!("{cell:<width$}", width = usize::from(*width)))
            .collect();
        let _ = writeln!(text, "{}", padded.join(" ").trim_end());
    };
    line(COLUMNS.map(|(name, _)| name.to_owned()));
    calls.iter().for_each(|call| line(cells(call)));
    text
}

/// The end of a call's name, by which it is found: carriers' names begin alike.
fn short(id: &str) -> String {
    const CHARS: usize = 12;
    let chars = id.chars().count();
    if chars <= CHARS + 1 {
        id.to_owned()
    } else {
        format!("…{}", id.chars().skip(chars - CHARS).collect::<String>())
    }
}

/// `59s`, `4m05s`, `2h03m`, `3d04h`.
fn age(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_names_are_short() {
        assert_eq!(
            [5.9, 59.9, 65.0, 7_380.0, 273_600.0, -1.0].map(age),
            ["5s", "59s", "1m05s", "2h03m", "3d04h", "0s"]
        );
        assert_eq!(short("CA1"), "CA1");
        assert_eq!(short("CA0123456789abcdef0123456789abcdef"), "…456789abcdef");
    }
}
